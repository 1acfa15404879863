"""A process that writes one key of a store and is stopped in the midst of it: `python -m tests.faults.stopped_writer
FOLDER KEY TEXT STOPS_BEFORE`. It says "read" on its standard output when it has read the key and is about to send its
STOPS_BEFORE-th commit, waits for a line, goes on, and says what came of it.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from tests.faults.machine import BUCKET, Machine

from liteio_base.deadline import Deadline
from liteio_contracts.object_errors import ConditionalConflict, ObjectError, PreconditionFailed
from liteio_contracts.object_layer import PutObject, WriteCondition
from liteio_testkit.intercepted_drive import Answer, Call, InterceptedDrive
from liteio_testkit.memory_locks import LyingLocks
from liteio_testkit.store_bench import PlainBody


class Pause:
    """Before the n-th commit, whichever drive's it is; those before it are over: stopped in the midst of one, the
    process would hold the drive's own lock, and nobody could commit there."""

    def __init__(self, before: int) -> None:
        self.left = before
        self.under_way: set[asyncio.Future[Any]] = set()
        self.over = asyncio.Event()

    async def wait(self) -> None:
        self.left -= 1
        if self.left == 0:
            await asyncio.gather(*self.under_way, return_exceptions=True)
            print("read", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            self.over.set()
        elif self.left < 0:
            await self.over.wait()


class PausedDrive(InterceptedDrive):
    pause: Pause

    async def intercept(self, operation: str, call: Call[Answer], deadline: Deadline) -> Answer:
        if operation != "commit":
            return await call(deadline)
        await self.pause.wait()
        answer: asyncio.Future[Answer] = asyncio.ensure_future(call(deadline))
        self.pause.under_way.add(answer)
        return await answer


async def write(folder: Path, key: str, text: str, before: int) -> str:
    machine = Machine(folder, seed=text)
    await machine.start()
    pause = Pause(before)
    drives = [PausedDrive(drive) for drive in machine.drives]
    for drive in drives:
        drive.pause = pause
    store = machine.store_over(drives, "stopped", locks=LyingLocks())  # its lease has run out, and it does not know
    condition = WriteCondition(if_absent=True) if key.startswith("absent") else WriteCondition()
    try:
        await store.put(PutObject(BUCKET, key, condition=condition), PlainBody(text.encode()), deadline=machine.soon)
        told = "done"
    except (PreconditionFailed, ConditionalConflict):
        told = "refused"
    except ObjectError as trouble:
        told = f"unknown {type(trouble).__name__}"
    await store.close()
    await machine.stop()
    return told


def main() -> None:
    folder, key, text, before = sys.argv[1:]
    print(asyncio.run(write(Path(folder), key, text, int(before))), flush=True)


if __name__ == "__main__":
    main()
