"""Rows 5, 46 and 66: a whole `liteio server` on real file systems, with rivals over HTTP, and with evil names."""

import threading

from tests.faults.registry import Lane, Trial, require, row
from tests.support.loop_drives import can_cut_power
from tests.support.real_power_cuts import cut_power_under_load
from tests.support.s3_client import Answer, S3Client
from tests.support.server import running_server

BUCKET = "faults"


@row(
    5,
    "power cut for real",
    "a server with eight drives, 4+4, each on an ext4 of its own whose journal is cut off by ioctl under load, right "
    "after acknowledgements; e2fsck, mount, start, and everything read",
    unit="cuts",
    bounded=1,
    full=50,
    needs=can_cut_power,
    lane=Lane.CLUSTER,
)
def real_power_cut(trial: Trial) -> str:
    load = cut_power_under_load(trial.disk, drive_count=8, parity=4, cuts=trial.count, writes_a_cut=80, seed=trial.seed)
    return f"{load.acknowledged:,} writes acknowledged, none lost; {load.unknown} not known; all drives whole"


# -- conditions


@row(
    46,
    "races of If-None-Match: * and of If-Match",
    "eight clients over HTTP, on connections of their own to two gateway processes of one server, send the same "
    "conditional PUT of one key at once",
    unit="races of each kind",
    bounded=15,
    full=100,
    lane=Lane.CLUSTER,
)
def conditional_races(trial: Trial) -> str:
    refused: dict[int, int] = {}
    with running_server(4, 2, nats="off") as server:
        clients = [S3Client(server) for _ in range(8)]
        clients[0].create_bucket(BUCKET)
        for number in range(trial.count):
            for kind in ("none", "match"):
                key = f"{kind}/{number}"
                headers = {"if-none-match": "*"}
                if kind == "match":
                    headers = {"if-match": clients[0].put(BUCKET, key, b"before").headers["etag"]}
                bodies = [f"{key} of {client}".encode() * 50 for client in range(8)]
                answers = _put_at_once(clients, key, bodies, headers)
                winners = [at for at, answer in enumerate(answers) if answer.is_success]
                told = [(answer.status, answer.code) for answer in answers]
                require(len(winners) == 1, f"{key}: {len(winners)} winners: {told}")
                for answer in answers:
                    require(answer.is_success or answer.status in (409, 412), f"{key}: {told}")
                    refused[answer.status] = refused.get(answer.status, 0) + 1
                held = clients[-1].get(BUCKET, key).body
                require(held == bodies[winners[0]], f"{key}: not what its winner wrote")
        for client in clients:
            client.close()
    return (
        f"one winner in each of {2 * trial.count} races, and its bytes; the others: {refused[412]} times 412, "
        f"{refused.get(409, 0)} times 409"
    )


def _put_at_once(clients: list[S3Client], key: str, bodies: list[bytes], headers: dict[str, str]) -> list[Answer]:
    barrier = threading.Barrier(len(clients))
    answers: list[Answer | None] = [None] * len(clients)

    def run(at: int) -> None:
        barrier.wait()
        answers[at] = clients[at].put(BUCKET, key, bodies[at], headers)

    threads = [threading.Thread(target=run, args=(at,)) for at in range(len(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answer for answer in answers if answer is not None]
