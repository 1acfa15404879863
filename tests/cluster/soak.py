"""Half an hour of rotating faults under load, and whether processes and queues are then as they were at first.

    python -m tests.cluster.soak --seconds 1800 --seed 7

Rounds of a minute, each with a bucket of its own: 16 clients and `Nemesis`, as in tests.cluster.history, but for the
kill of gateways and healers, which live through all of it. After each round every history must have an order. In the
end the descriptors, threads and memory of all processes, the heal queue and what the drives have left to settle are
compared with what they were after a first round without faults.
"""

import argparse
import asyncio
import os
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster.history import MEMORY, NotHeld, load_while, require_order, require_whole, wait_whole
from tests.cluster.nemesis import Nemesis
from tests.cluster.shared_keys import SharedKeys
from tests.support.rig import Rig, Usage, running_rig

from liteio_bus.connection import Bus
from liteio_bus.streams import HEAL_STREAM
from liteio_testkit.polling import until

_ROUND_SECONDS: Final = 60.0
_WARM_UP_SECONDS: Final = 15.0
_TROUBLES: Final = (
    "node killed",
    "node paused",
    "node cut off",
    "gateway cut off a minority",
    "gateway cut off a majority",
    "nodes split between gateways",
    "replies lost",
    "links late",
    "links struck",
    "gateway paused",
)
# What is held at rest wanders a little: pools of connections and threads, and what allocators keep.
_TIMES: Final = 1.1
_MORE_DESCRIPTORS, _MORE_THREADS, _MORE_BYTES = 20, 8, 64 << 20
_QUEUE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class AtRest:
    """All members at rest. `queued`: tasks in the heal queue."""

    usage: Usage
    queued: int

    def __str__(self) -> str:
        return f"{self.usage}, {self.queued} heal tasks"


def run(seconds: float, seed: int, folder: Path = MEMORY) -> str:
    """Raises NotHeld, LedgerBroken."""
    with ExitStack() as opened:
        name = opened.enter_context(tempfile.TemporaryDirectory(prefix="liteio-soak-", dir=folder))
        rig = opened.enter_context(running_rig(Path(name)))
        _round(rig, seed, 0, _WARM_UP_SECONDS, has_trouble=False)
        before = asyncio.run(_at_rest(rig))
        print(f"at first: {before}", flush=True)
        end, number = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            number += 1
            told = _round(rig, seed, number, min(_ROUND_SECONDS, max(5.0, end - time.monotonic())), has_trouble=True)
            print(f"round {number}: {told}; {rig.usage()}", flush=True)
        after = asyncio.run(_at_rest(rig))
        _require_same(before, after)
        report = rig.census()
        require_whole(report)
        return f"{number} rounds, seed {seed}: {before} at first, {after} in the end; {report.values} versions whole"


def _round(rig: Rig, seed: int, number: int, seconds: float, *, has_trouble: bool) -> str:
    bucket = f"soak-{number}"
    rig.client(0).create_bucket(bucket)
    keys = SharedKeys(rig, seed * 1000 + number, bucket=bucket)
    nemesis = Nemesis(rig, keys.seed)
    trouble = nemesis.run(names=_TROUBLES) if has_trouble else asyncio.sleep(seconds)
    well_after = asyncio.run(load_while(keys, seconds, trouble))
    require_order(keys, ("put done", "read done"))
    done = sum(count for name, count in keys.ledger.counts.items() if name.endswith(("done", "refused")))
    return f"{done:,} operations, {sum(nemesis.counts.values())} troubles, all well after {well_after:.1f} s"


async def _at_rest(rig: Rig) -> AtRest:
    """Once all drives hold everything and the heal queue is empty. Raises NotHeld after a minute each."""
    await asyncio.to_thread(wait_whole, rig)
    assert rig.nats is not None
    async with Bus(rig.nats.url, name="a soak") as bus:
        await bus.wait_until_ready()

        async def is_empty() -> bool:
            return not (await bus.jetstream.stream_info(HEAL_STREAM)).state.messages

        with suppress(TimeoutError):
            await until(is_empty, _QUEUE_SECONDS)
        queued = (await bus.jetstream.stream_info(HEAL_STREAM)).state.messages
    return AtRest(rig.usage(), queued)


def _require_same(before: AtRest, after: AtRest) -> None:
    then, now = before.usage, after.usage
    is_same = (
        now.descriptors <= then.descriptors * _TIMES + _MORE_DESCRIPTORS
        and now.threads <= then.threads * _TIMES + _MORE_THREADS
        and now.memory_bytes <= then.memory_bytes * _TIMES + _MORE_BYTES
        and after.queued == 0
    )
    if not is_same:
        raise NotHeld(f"{before} at first, {after} in the end")


def main() -> int:
    parser = argparse.ArgumentParser(description="Rotating faults for long, and whether all is then as it was.")
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--seed", type=int, default=None)
    asked = parser.parse_args()
    seed = asked.seed if asked.seed is not None else int.from_bytes(os.urandom(2))
    print(run(asked.seconds, seed))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
