"""Eight drives, four of them parity: any four may be lost in any way, a fifth stops the store in order, and what comes
back is put right."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from tests.support import drive_damage as damage
from tests.support.drive_check import check_drives, wait_authoritative, wait_settled
from tests.support.ledger import body_of
from tests.support.paths import IS_PROOF
from tests.support.s3_client import Answer, S3Client
from tests.support.server import Server, running_server

DRIVES: Final = 8
PARITY: Final = 4
BUCKET: Final = "lost-drives"
KIB: Final = 1024
SIZES: Final = (0, 1, 4 * KIB, 40 * KIB, 200 * KIB, 1024 * KIB + 1, 3 * 1024 * KIB)
KEYS: Final = 70 if IS_PROOF else 28
ANSWER_SECONDS: Final = 10.0
REPAIR_SECONDS: Final = 90.0

pytestmark = pytest.mark.timeout(300)


class Filled:
    """A server and what was written to it, all acknowledged."""

    def __init__(self, server: Server, seed: int) -> None:
        self.server, self.seed = server, seed
        self.chance = random.Random(seed)
        self.s3 = S3Client(server, timeout_seconds=60)
        self.bodies: dict[str, bytes] = {}

    def fill(self) -> None:
        self.s3.create_bucket(BUCKET)
        for number in range(KEYS):
            self.put(f"{'deep/' * (number % 2)}k{number:03}", body_of(self.seed + number, SIZES[number % len(SIZES)]))
        wait_settled(self.server.drives, PARITY, REPAIR_SECONDS)

    def put(self, key: str, body: bytes) -> None:
        answer = self.s3.put(BUCKET, key, body)
        assert answer.is_success, (answer.status, answer.body)
        self.bodies[key] = body

    def delete(self, key: str) -> None:
        assert self.s3.delete(BUCKET, key).is_success
        del self.bodies[key]

    def some_drives(self, count: int) -> list[Path]:
        return self.chance.sample(list(self.server.drives), count)

    def assert_all_right(self) -> None:
        """Every byte and every listing, each answer in time, and nothing that was deleted."""
        for key, body in self.bodies.items():
            answer = self.timely(lambda key=key: self.s3.get(BUCKET, key))  # type: ignore[misc]  # mypy: lambda default
            assert (answer.status, answer.body == body) == (200, True), (
                key,
                len(body),
                answer.status,
                answer.body[:300],
            )
        listed = self.s3.list_keys(BUCKET, page=10)
        assert {key: size for key, (size, _) in listed.items()} == {key: len(body) for key, body in self.bodies.items()}
        by_folder = self.timely(lambda: self.s3.send("GET", f"/{BUCKET}", query="list-type=2&delimiter=%2F"))
        assert by_folder.texts("Key") == sorted(key for key in self.bodies if "/" not in key)

    def timely(self, send: Callable[[], Answer]) -> Answer:
        begun = time.monotonic()
        answer = send()
        assert time.monotonic() - begun < ANSWER_SECONDS, f"answered only after {time.monotonic() - begun:.1f} s"
        return answer

    def restart(
        self, change: Callable[[Path], None] | None = None, drives: Sequence[Path] = (), *, is_ready: bool = True
    ) -> None:
        """Change these drives while nothing runs."""
        self.s3.close()
        self.server.stop()
        for drive in drives:
            assert change is not None
            change(drive)
        self.server.start(waits=is_ready)
        if not is_ready:
            self._wait_alive()

    def _wait_alive(self) -> None:
        end = time.monotonic() + 60
        while self.server.probe("/health/live") != 200:
            assert time.monotonic() < end, f"no gateway answers:\n{self.server.log()}"
            time.sleep(0.1)

    def assert_repaired(self) -> None:
        """All drives count again, and hold everything."""
        wait_authoritative(self.server.drives, PARITY, REPAIR_SECONDS)
        end = time.monotonic() + REPAIR_SECONDS
        self.s3.close()
        while True:
            self.server.stop()
            report = check_drives(self.server.drives, PARITY, collects=False)
            if not (report.not_whole or report.unreliable or report.unsettled):
                return
            assert time.monotonic() < end, str(report)
            self.server.start()
            time.sleep(10)


@contextmanager
def filled_server(seed: int) -> Iterator[Filled]:
    with running_server(DRIVES, PARITY, nats="off") as server:
        filled = Filled(server, seed)
        filled.fill()
        yield filled
        filled.s3.close()


@pytest.mark.parametrize("way", [damage.remove, damage.empty])
def test_any_four_drives_may_be_lost(seed: int, way: Callable[[Path], None]) -> None:
    """While it runs, and over a restart."""
    with filled_server(seed) as filled:
        for drive in filled.some_drives(PARITY):
            way(drive)
        filled.assert_all_right()
        filled.restart(is_ready=way is damage.empty)  # with the four removed, nothing can be written
        filled.assert_all_right()


def test_the_shards_of_any_four_drives_may_be_corrupt(seed: int) -> None:
    with filled_server(seed) as filled:
        for drive in filled.some_drives(PARITY):
            damage.corrupt_shards(drive, filled.chance)
        filled.assert_all_right()


def test_any_four_drives_may_be_corrupt_over_a_restart(seed: int) -> None:
    """Each in another way: shards, rows, the whole index, and an index cut short."""
    with filled_server(seed) as filled:
        drives = filled.some_drives(PARITY)
        ways = iter([damage.corrupt_shards, damage.corrupt_rows, damage.corrupt_index, damage.cut_index])
        filled.restart(lambda drive: next(ways)(drive, filled.chance), drives, is_ready=False)
        filled.assert_all_right()


def test_four_hung_drives_hold_up_no_reader_and_three_no_writer(seed: int) -> None:
    with filled_server(seed) as filled:
        drives = filled.some_drives(PARITY)
        with damage.hung(*drives):
            filled.assert_all_right()
        with damage.hung(*drives[:3]):
            filled.put("at the quorum", body_of(filled.seed - 1, 700 * KIB))
            filled.assert_all_right()
        filled.assert_all_right()


def test_with_too_many_drives_hung_it_says_so_within_ten_seconds(seed: int) -> None:
    with filled_server(seed) as filled:
        key = next(key for key, body in filled.bodies.items() if len(body) > 2000 * KIB)
        drives = filled.some_drives(PARITY + 1)
        with damage.hung(*drives):
            assert filled.timely(lambda: filled.s3.get(BUCKET, key)).status == 503
            assert filled.timely(lambda: filled.s3.put(BUCKET, "new", b"x")).status == 503


def test_below_the_write_quorum_nothing_becomes_visible(seed: int) -> None:
    with filled_server(seed) as filled:
        drives = filled.some_drives(PARITY)  # 4 are left, a write needs 5
        old, new = next(iter(filled.bodies)), "never seen"
        filled.restart(damage.remove, drives, is_ready=False)
        for key in (old, new):
            for size in (10, 900 * KIB):
                answer = filled.timely(lambda key=key, size=size: filled.s3.put(BUCKET, key, b"x" * size))  # type: ignore[misc]
                assert (answer.status, answer.code) == (503, "SlowDown"), (answer.status, answer.body)
        assert filled.timely(lambda: filled.s3.delete(BUCKET, old)).status == 503
        filled.assert_all_right()
        filled.restart(damage.bring_back, drives)
        filled.assert_all_right()
        assert filled.s3.get(BUCKET, new).status == 404


def test_with_five_drives_lost_it_says_so_within_ten_seconds(seed: int) -> None:
    with filled_server(seed) as filled:
        drives = filled.some_drives(PARITY + 1)
        filled.restart(damage.remove, drives, is_ready=False)
        assert not filled.server.is_ready()
        key = next(key for key, body in filled.bodies.items() if len(body) > 100 * KIB)
        for send in (
            lambda: filled.s3.get(BUCKET, key),
            lambda: filled.s3.head(BUCKET, key),
            lambda: filled.s3.put(BUCKET, key, b"new"),
            lambda: filled.s3.delete(BUCKET, key),
            lambda: filled.s3.send("GET", f"/{BUCKET}", query="list-type=2"),
        ):
            assert filled.timely(send).status == 503
        filled.restart(damage.bring_back, drives)
        filled.assert_all_right()


def test_a_drive_that_comes_back_with_old_content_resurrects_nothing(seed: int) -> None:
    with filled_server(seed) as filled:
        (drive,) = filled.some_drives(1)
        keys = list(filled.bodies)
        filled.restart(damage.remove, [drive])
        for number, key in enumerate(keys):
            if number % 3 == 0:
                filled.delete(key)
            elif number % 3 == 1:
                filled.put(key, body_of(filled.seed + 1000 + number, SIZES[-1 - number % len(SIZES)]))
        filled.put("new meanwhile", b"n" * 300 * KIB)
        filled.restart(damage.bring_back, [drive])
        filled.assert_all_right()
        for key in keys:
            if key not in filled.bodies:
                assert filled.s3.get(BUCKET, key).status == 404, f"{key} was deleted and is back"
        filled.assert_repaired()


def test_an_emptied_drive_is_rebuilt_whole(seed: int) -> None:
    with filled_server(seed) as filled:
        (drive,) = filled.some_drives(1)
        filled.restart(damage.empty, [drive])
        filled.assert_all_right()
        filled.assert_repaired()
        assert damage.shard_files(drive)
