"""A process of its own that stages on a drive and waits to be killed: `python staging_process.py PATH [unlocked]`.

Makes one shard that is named by a row, one that is whole and named by nothing, one that replaces a whole one, and two
that are in the middle of being written. Then says "ready". `unlocked` plants the bug that claims are not locked.
"""

import asyncio
import os
import sys

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_contracts.storage import ShardRef, StorageAPI
from liteio_drives.files import FileSystem, RealFiles
from liteio_drives.limits import DriveSettings
from liteio_drives.local_drive import LocalDrive
from liteio_testkit.contract_bench import Bench, block_hashes, shard_blocks
from liteio_testkit.manual_clock import ManualClock
from liteio_testkit.seeded_randomness import SeededRandomness
from liteio_testkit.storage_contract import DriveUnderTest

BIG_BYTES = 6 * 1024 * 1024


class UnlockedFiles(RealFiles):
    """Says that it locked, and did not."""

    def try_lock(self, descriptor: int, *, is_shared: bool) -> bool:
        return True


async def begin(bench: Bench, ref: ShardRef) -> None:
    blocks = shard_blocks(ref, BIG_BYTES)
    writer = await bench.drive.create_shard(ref, size_hint=BIG_BYTES, deadline=bench.soon)
    await writer.write(blocks[:-1], block_hashes(ref, blocks)[:-1])


async def main(path: str, files: FileSystem) -> None:
    settings = DriveSettings(free_min_bytes=0, ballast_bytes=0)
    drive = await LocalDrive.open(
        path, 0, clock=SystemClock(), randomness=SystemRandomness(), settings=settings, files=files
    )

    async def restart() -> StorageAPI:
        raise AssertionError("not here")

    subject = DriveUnderTest(
        drive, ManualClock(), restart, settings.orphan_grace_seconds, settings.tombstone_keep_seconds
    )
    bench = Bench(subject, randomness=SeededRandomness(os.getpid()))
    await bench.put_staged(b"named by %d" % os.getpid(), 5)
    await bench.stage(300_000)
    again = await bench.stage(300_000)
    await bench.stage(300_000, again.data_id)
    await begin(bench, ShardRef(bench.new_data_id(), 1, 0))
    await begin(bench, ShardRef(again.data_id, 1, 0))
    print("ready", flush=True)
    await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], UnlockedFiles() if sys.argv[2:] == ["unlocked"] else RealFiles()))
