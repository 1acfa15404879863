"""A process of its own that commits to a drive: `python drive_process.py PATH NAME COUNT`.

Prints each key when its commit is answered, so that whoever kills this process knows what was promised.
"""

import asyncio
import sys

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_base.ids import SYSTEM_BUCKET, HybridTime
from liteio_contracts.storage import Commit, KeyName, RowCommit, ShardRef, VersionRef
from liteio_drives.limits import DriveSettings
from liteio_drives.local_drive import LocalDrive
from liteio_erasure.bitrot import hash_block
from liteio_formats.record import Kind, PartEntry, Record, Space, encode_record

WRITERS = 8


def record_of(key: bytes, time: int, parts: tuple[PartEntry, ...], size_bytes: int) -> Record:
    return Record(
        space=Space.OBJECT,
        bucket_id=SYSTEM_BUCKET,
        key=key,
        version_id="",  # type: ignore[arg-type]  # the null version
        kind=Kind.VALUE,
        created=HybridTime(time),
        time=HybridTime(time),
        base=HybridTime(0),
        generations=(),
        size_bytes=size_bytes,
        is_inline=not parts,
        parts=parts,
    )


async def main(path: str, name: str, count: int) -> None:
    clock, randomness = SystemClock(), SystemRandomness()
    settings = DriveSettings(free_min_bytes=0, ballast_bytes=0, unlink_delay_seconds=0.05, orphan_grace_seconds=3600)
    drive = await LocalDrive.open(path, 0, clock=clock, randomness=randomness, settings=settings)
    print("ready", flush=True)

    def soon() -> Deadline:
        return Deadline.after(60, clock)

    async def put(number: int) -> None:
        key = f"{name}-{number:05d}".encode()
        parts: tuple[PartEntry, ...] = ()
        if number % 5 == 0:
            data_id = randomness.token_bytes(16).hex()
            shard = key * 1000
            ref = ShardRef(data_id, 1, 0)  # type: ignore[arg-type]  # 32 hex digits
            writer = await drive.create_shard(ref, size_hint=0, deadline=soon())
            await writer.write([shard], [hash_block(shard, ref.data_id, 1, 0, 0)])
            await writer.close(1, 0, len(shard))
            parts = (PartEntry(1, len(shard), ref.data_id, ""),)
        record = record_of(key, clock.now_ns(), parts, 10)
        row = RowCommit(encode_record(record), base=record.time, payload=None if parts else key * 20)
        await drive.commit(Commit((row,)), deadline=soon())
        print(key.decode(), flush=True)
        ref_of = VersionRef(KeyName(Space.OBJECT, SYSTEM_BUCKET, key), record.version_id, record.time)
        if number % 2 == 0:
            await drive.confirm([ref_of], deadline=soon())

    async def write(first: int) -> None:
        for number in range(first, count, WRITERS):
            await put(number)

    await asyncio.gather(*(write(first) for first in range(WRITERS)))
    await drive.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
