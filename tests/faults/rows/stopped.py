"""Row 31: a writer that is stopped, loses its lock to another, and goes on."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE
from collections import Counter

from tests.faults.machine import Machine, machine_in
from tests.faults.registry import Trial, require, row
from tests.support.paths import REPOSITORY


@row(
    31,
    "holder of a write lock is stopped past its lease, another writes, it goes on",
    "a process that has read the key is sent SIGSTOP before its first, second, third or fourth commit, of four; "
    "another one, which was given the lock meanwhile, overwrites or deletes the key; then SIGCONT; blind writes, and "
    "those with If-None-Match: *",
    unit="stops",
    bounded=8,
    full=100,
)
async def stopped_writer(trial: Trial) -> str:
    told: Counter[str] = Counter()
    async with machine_in(trial.folder, seed=trial.seed) as machine:
        for number in range(trial.count):
            kind = "absent" if number % 2 else "blind"
            key, deletes = f"{kind}/{number}", number % 3 == 2
            outcome, held = await _stop_a_writer(machine, key, before=1 + number // 2 % 4, deletes=deletes)
            # Both writes are under way at once, so either may be the last. But what was refused is not there, and a
            # key that the other has written, and not deleted, is not created by the late one any more.
            mine, other = b"late " + key.encode(), None if deletes else b"other " + key.encode()
            is_late_allowed = outcome != "refused" and (kind == "blind" or deletes)
            allowed = (other, mine) if is_late_allowed else (other,)
            require(held in allowed, f"{key}: the late writer was told {outcome}, and the key is {held!r}")
            await machine.settle()
            settled = await machine.get(key)
            require(settled == held, f"{key}: {held!r} at first, and {settled!r} when settled")
            told[outcome] += 1
        await machine.require_clean("after all stops")
    shown = ", ".join(f"{times} {outcome}" for outcome, times in sorted(told.items()))
    return f"late writers were told: {shown}; no creation of a key that was there, every key as one of the two left it"


async def _stop_a_writer(machine: Machine, key: str, *, before: int, deletes: bool) -> tuple[str, bytes | None]:
    """What the late writer was told, and what is there then."""
    arguments = [str(machine.paths[0].parent), key, f"late {key}", str(before)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.stopped_writer", *arguments, cwd=REPOSITORY, stdin=PIPE, stdout=PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        require(await process.stdout.readline() == b"read\n", "the writer did not come to its commit")
        process.send_signal(signal.SIGSTOP)
        process.stdin.write(b"go on\n")
        await machine.put(key, b"other " + key.encode())
        if deletes:
            await machine.delete(key)
        await machine.rest()
        process.send_signal(signal.SIGCONT)
        outcome = (await process.stdout.readline()).decode().strip()
        require(await process.wait() == 0, "the writer broke down")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return outcome, await machine.get(key)
