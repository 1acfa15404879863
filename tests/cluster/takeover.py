"""How long clients notice that something of the cluster is gone, hung or slow.

    python -m tests.cluster.takeover --seconds 15

Objects of 4 KiB are written and read through two gateways over four nodes with two drives each: healthy first, then
with a node killed, a node hung, and a drive that takes 200 ms longer for each call. Figures are multiples of the
healthy median; and how long it took until the 99th percentile of each second was back under three times the healthy
one. Last, a gateway is killed in the middle of a write: how long its lock keeps the key from others.
"""

import argparse
import asyncio
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.async_s3 import AsyncS3
from tests.support.link_rules import Rule
from tests.support.rig import Rig, running_rig
from tests.support.s3_client import NoAnswer, S3Client

from liteio_drives.remote.limits import LEASE_SECONDS

BUCKET: Final = "takeover"
MEMORY: Final = Path("/dev/shm")
SLOW_SECONDS: Final = 0.2
BODY: Final = bytes(4096)
KEYS: Final = 200
_CLIENTS: Final = 2  # of each kind, a gateway
_REST_SECONDS: Final = 0.01  # between two operations of a client: the machine is not to be the bottleneck
_TIMES: Final = 3.0
_NODE: Final = 3


@dataclass(frozen=True, slots=True)
class Sample:
    """One operation: when it ended, how long it took; by the loop's clock."""

    at: float
    seconds: float
    has_succeeded: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one kind of operation in one phase."""

    median: float
    p99: float
    longest: float
    count: int
    failed: int

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> "Figures":
        times = sorted(one.seconds for one in samples)
        return cls(
            statistics.median(times),
            p99_of(times),
            times[-1],
            len(times),
            sum(not one.has_succeeded for one in samples),
        )


@dataclass(frozen=True, slots=True)
class Phase:
    """What was seen of PUT or GET while something was wrong."""

    trouble: str
    operation: str
    figures: Figures
    healthy: Figures
    back_after_seconds: float | None  # None: it did not come back

    @property
    def median_times(self) -> float:
        return self.figures.median / self.healthy.median

    @property
    def p99_times(self) -> float:
        return self.figures.p99 / self.healthy.median

    def __str__(self) -> str:
        back = "not back" if self.back_after_seconds is None else f"back after {self.back_after_seconds:.1f} s"
        return (
            f"{self.trouble:16} {self.operation}  median {self.median_times:5.1f} x  p99 {self.p99_times:6.1f} x  "
            f"longest {self.figures.longest:6.3f} s  p99 under {_TIMES:.0f} x the healthy one: {back}  "
            f"({self.figures.count} operations, {self.figures.failed} failed)"
        )


def p99_of(times: Sequence[float]) -> float:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


class Traffic:
    """Writers and readers, each with its samples."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.samples: dict[str, list[Sample]] = {"PUT": [], "GET": []}

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for gateway in range(self._rig.cluster.gateway_count):
                for number in range(_CLIENTS):
                    group.create_task(self._work(gateway, number, "PUT"))
                    group.create_task(self._work(gateway, number, "GET"))

    async def _work(self, gateway: int, number: int, operation: str) -> None:
        s3 = self._rig.async_client(gateway)
        loop = asyncio.get_running_loop()
        at = number * KEYS // _CLIENTS
        try:
            while True:
                at = (at + 1) % KEYS
                began = loop.time()
                has_succeeded = await _do(s3, operation, f"{operation}-{gateway if operation == 'PUT' else 0}-{at}")
                self.samples[operation].append(Sample(loop.time(), loop.time() - began, has_succeeded))
                await asyncio.sleep(_REST_SECONDS)
        finally:
            await s3.close()

    def since(self, operation: str, began: float, ended: float) -> list[Sample]:
        """Operations that ended in between."""
        return [one for one in self.samples[operation] if began <= one.at < ended]


async def _do(s3: AsyncS3, operation: str, key: str) -> bool:
    try:
        answer = await (s3.put(BUCKET, key, BODY) if operation == "PUT" else s3.get(BUCKET, key))
    except NoAnswer:
        return False
    return answer.is_success


async def measure(rig: Rig, seconds: float) -> list[Phase]:
    """Healthy, then each trouble for `seconds`, the cluster being well again in between."""
    node = rig.nodes[_NODE]
    dials = rig.dials[node.name]

    def be_slow() -> None:
        dials.slow_seconds = SLOW_SECONDS

    troubles: dict[str, Callable[[], None]] = {
        "a node killed": node.kill,
        "a node hung": lambda: node.signal(signal.SIGSTOP),
        "a drive slow": be_slow,
    }
    traffic, loop = Traffic(rig), asyncio.get_running_loop()
    await _write_what_is_read(rig)
    working = asyncio.create_task(traffic.run())
    try:
        await asyncio.sleep(2)
        began = loop.time()
        await asyncio.sleep(seconds)
        healthy = {kind: Figures.of(traffic.since(kind, began, loop.time())) for kind in traffic.samples}
        found = []
        for name, begin in troubles.items():
            began = loop.time()
            begin()
            await asyncio.sleep(seconds)
            for kind, samples in traffic.samples.items():
                limit = _TIMES * healthy[kind].p99
                back_after = _back_after([one for one in samples if one.at >= began], began, loop.time(), limit)
                seen = Figures.of(traffic.since(kind, began, loop.time()))
                found.append(Phase(name, kind, seen, healthy[kind], back_after))
            await asyncio.to_thread(rig.be_well)
            await asyncio.sleep(6)  # a verdict of slowness is forgotten after five
        return found
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


def _back_after(samples: Sequence[Sample], began: float, ended: float, limit: float) -> float | None:
    """When the first second began from which on every second's p99 keeps to `limit` and nothing failed."""
    second, back = began, None
    while second + 1 <= ended:
        # An operation counts where it was under way: a hung one spoils every second that it lasted.
        times = [one for one in samples if one.at - one.seconds < second + 1 and one.at >= second]
        is_well = bool(times) and p99_of([one.seconds for one in times]) <= limit
        if not is_well or not all(one.has_succeeded for one in times):
            back = None
        elif back is None:
            back = second
        second += 0.1
    return None if back is None else back - began


async def _write_what_is_read(rig: Rig) -> None:
    s3 = rig.async_client(0)
    for number in range(KEYS):
        answer = await s3.put(BUCKET, f"GET-0-{number}", BODY)
        assert answer.is_success, answer
    await s3.close()


def measure_dead_holder(rig: Rig, tries: int) -> list[float]:
    """Seconds for which the key of a gateway that was killed in a write could not be written through another."""
    found = []
    for number in range(tries):
        key = f"held-{number}"
        assert rig.client(1).put(BUCKET, key, BODY).is_success
        # It takes so long until the gateway hears of its lock: the commit is not sent yet.
        late = Rule(latency_seconds=0.5)
        rig.links.rule_all({(rig.gateways[0].name, node.name): late for node in rig.nodes})
        writing = threading.Thread(target=_put_and_be_killed, args=(rig.client(0), key))
        writing.start()
        asyncio.run(rig.wait_locked(key))
        rig.gateways[0].kill()
        began = time.monotonic()
        writing.join()
        answer = rig.client(1, timeout_seconds=40).put(BUCKET, key, BODY)
        found.append(time.monotonic() - began)
        assert answer.is_success, answer
        rig.be_well()
    return found


def _put_and_be_killed(s3: S3Client, key: str) -> None:
    try:
        s3.put(BUCKET, key, BODY)
    except NoAnswer:
        pass  # as it should be


@dataclass(frozen=True, slots=True)
class Seen:
    phases: Sequence[Phase]
    held_seconds: Sequence[float]

    def phase(self, trouble: str, operation: str) -> Phase:
        return next(one for one in self.phases if (one.trouble, one.operation) == (trouble, operation))

    def __str__(self) -> str:
        healthy = {one.operation: one.healthy for one in self.phases}
        lines = [
            f"healthy          {kind}  median {one.median * 1000:5.1f} ms  p99 {one.p99 * 1000:6.1f} ms  "
            f"longest {one.longest:6.3f} s  ({one.count} operations, {one.failed} failed)"
            for kind, one in healthy.items()
        ]
        held = ", ".join(f"{seconds:.1f}" for seconds in self.held_seconds)
        lines += [str(one) for one in self.phases]
        lines.append(
            f"a gateway killed while it held a lock kept the key from others for {held} s; "
            f"a lease is {LEASE_SECONDS:.0f} s"
        )
        return "\n".join(lines)


def run(seconds: float, tries: int, folder: Path = MEMORY) -> Seen:
    with ExitStack() as opened:
        name = opened.enter_context(tempfile.TemporaryDirectory(prefix="liteio-takeover-", dir=folder))
        rig = opened.enter_context(running_rig(Path(name), slow_drives=[(_NODE, 0)]))
        rig.client(0).create_bucket(BUCKET)
        phases = asyncio.run(measure(rig, seconds))
        return Seen(phases, measure_dead_holder(rig, tries))


def main() -> int:
    parser = argparse.ArgumentParser(description="How long clients notice what is gone, hung or slow.")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each phase")
    parser.add_argument("--tries", type=int, default=5, help="to kill the holder of a lock")
    asked = parser.parse_args()
    print(run(asked.seconds, asked.tries))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
