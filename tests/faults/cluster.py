"""A cluster for rows that break one: real processes, links, clocks and a bus (`tests.support.rig`), with a keeper of
what was written."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.cluster.history import require_whole, wait_whole
from tests.faults.registry import Trial, require
from tests.support.drive_check import DriveReport
from tests.support.ledger import KeyLedger, Value, body_of, value_of
from tests.support.load import observe
from tests.support.rig import Rig, running_rig
from tests.support.s3_client import Answer, NoAnswer, S3Client

BUCKET: Final = "faults"
QUORUM_SECONDS: Final = 10.0  # an operation that can not be done is refused within this
_SIZES: Final = (0, 900, 4_000, 40_000, 300_000, 2_500_000)


class Keeper:
    """One client with keys of its own, through any gateway; what it was told is in a ledger."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig = rig
        self.keys: dict[str, KeyLedger] = {}
        self.acknowledged = self.unknown = 0
        self._chance = random.Random(seed)
        self._seed = seed
        self._number = 0
        self._clients: dict[int, S3Client] = {}

    def client(self, gateway: int) -> S3Client:
        if gateway not in self._clients:
            self._clients[gateway] = self.rig.client(gateway, timeout_seconds=40)
        return self._clients[gateway]

    def put(self, key: str, *, gateway: int = 0, size: int | None = None) -> Answer | None:
        """A new value. None without an answer."""
        self._number += 1
        body = body_of(self._seed * 1_000_000 + self._number, self._chance.choice(_SIZES) if size is None else size)
        return self._write(key, value_of(self._number, body), lambda: self.client(gateway).put(BUCKET, key, body))

    def delete(self, key: str, *, gateway: int = 0) -> Answer | None:
        self._number += 1
        return self._write(key, Value(self._number, 0, ""), lambda: self.client(gateway).delete(BUCKET, key))

    def some(self, count: int, prefix: str = "k", *, gateways: int = 2) -> None:
        """Values for so many keys, some of them written twice or removed; each must be acknowledged."""
        for number in range(count):
            key = f"{prefix}/{number:04}"
            gateway = self._chance.randrange(gateways)
            must(self.put(key, gateway=gateway), f"PUT {key}")
            if number % 5 == 0:
                must(self.put(key, gateway=gateway), f"PUT {key} again")
            if number % 7 == 0:
                must(self.delete(key, gateway=gateway), f"DELETE {key}")

    def read(self, key: str, *, gateway: int = 0) -> Answer:
        """Must be what the ledger has, if it is answered. Raises LedgerBroken, NoAnswer."""
        answer = self.client(gateway).get(BUCKET, key)
        observe(self.keys[key], answer)
        return answer

    def read_all(self, *, gateway: int = 0, seconds: float = 20.0) -> int:
        """Every key must be answered, within `seconds` when the store is settling. How many there are."""
        for key in self.keys:
            end = time.monotonic() + seconds
            while (status := self._status_of_read(key, gateway)) >= 500:
                require(time.monotonic() < end, f"GET {key} through gateway {gateway} is answered {status}")
                time.sleep(0.2)
        self._check_listing(gateway)
        return len(self.keys)

    def _status_of_read(self, key: str, gateway: int) -> int:
        try:
            return self.read(key, gateway=gateway).status
        except NoAnswer:
            return 599

    def _check_listing(self, gateway: int) -> None:
        listed = self.client(gateway).list_keys(BUCKET, page=7)
        for key, ledger in self.keys.items():
            require(key in listed or ledger.may_be_absent, f"{key} is missing in the listing")
            require(key not in listed or not ledger.must_be_absent, f"{key} is listed, and absent")

    def _write(self, key: str, value: Value, send: Callable[[], Answer]) -> Answer | None:
        ledger = self.keys.setdefault(key, KeyLedger(key))
        ledger.begin(value)
        try:
            answer = send()
        except NoAnswer:
            self.unknown += 1
            return None
        if answer.is_success:
            ledger.acknowledge(value)
            self.acknowledged += 1
        elif answer.status >= 500:
            self.unknown += 1
        else:
            require(False, f"{key}: a plain write was refused: {answer.status} {answer.body[:200]!r}")
        return answer


def must(answer: Answer | None, what: str) -> Answer:
    """Raises FaultFound unless it succeeded."""
    require(answer is not None and answer.is_success, f"{what} failed: {answer and (answer.status, answer.code)}")
    assert answer is not None
    return answer


def refused_in_time(send: Callable[[], Answer | None], what: str) -> float:
    """Raises FaultFound unless it is answered 503 in time. The seconds that it took."""
    began = time.monotonic()
    answer = send()
    seconds = time.monotonic() - began
    require(answer is not None and answer.status == 503, f"{what}: {answer and (answer.status, answer.code)}")
    require(seconds < QUORUM_SECONDS, f"{what} was refused after {seconds:.1f} s only")
    return seconds


@contextmanager
def cluster_in(trial: Trial, **options: Any) -> Iterator[Rig]:
    """Four nodes with two drives each, 4+4, two gateways and a healer, unless `options` say otherwise, and a bucket."""
    with running_rig(trial.folder, **options) as rig:
        rig.client(0).create_bucket(BUCKET)
        yield rig


def healed(rig: Rig) -> tuple[float, DriveReport]:
    """Seconds until all drives hold everything whole while the cluster runs; then stop it and look again. Raises.

    Gateways first: what a client gave up waiting for may be written as late as that, and is then to be healed, too."""
    seconds = wait_whole(rig)
    for gateway in rig.gateways:
        if gateway.is_running:
            gateway.stop()
    wait_whole(rig)
    report = rig.census()
    require_whole(report)
    return seconds, report
