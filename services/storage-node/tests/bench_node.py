"""Operations a second of 4 KiB inline commits and reads through one node process: `python bench_node.py [FOLDER]`.

One client process with 64 calls in flight, one node process (both on this machine), one drive of two in FOLDER
(default: a temporary folder). Prints one line a measure.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from test_process import connection, running, served, soon

from liteio_base.ids import BucketId, DataId, HybridTime, VersionId
from liteio_contracts.storage import CasScope, Commit, KeyName, KeyQuery, RowCommit, ShardRef
from liteio_drives.remote.remote_drive import RemoteDrive
from liteio_formats.record import Kind, PartEntry, Record, Space, encode_record
from liteio_testkit.contract_bench import block_hashes, shard_blocks

_IN_FLIGHT = 64
_SECONDS = 3.0
_PAYLOAD = bytes(4096)
_BUCKET = BucketId("")


def key_of(number: int) -> bytes:
    return b"key-%08d" % number


def commit_of(number: int) -> Commit:
    record = Record(
        space=Space.OBJECT,
        bucket_id=_BUCKET,
        key=key_of(number),
        version_id=VersionId(""),
        kind=Kind.VALUE,
        created=HybridTime(number + 1),
        time=HybridTime(number + 1),
        base=HybridTime(0),
        generations=(),
        size_bytes=len(_PAYLOAD),
        order=(0,),
        parts=(PartEntry(1, len(_PAYLOAD), DataId(f"{number:032x}"), "etag"),),
        is_inline=True,
    )
    row = RowCommit(encode_record(record), scope=CasScope.KEY, payload=_PAYLOAD, payload_hash=bytes(32))
    return Commit((row,))


async def measure(name: str, work: Callable[[int], Awaitable[object]], numbers: list[int]) -> None:
    left = iter(numbers)
    done = 0
    ends = time.monotonic() + _SECONDS

    async def worker() -> None:
        nonlocal done
        for number in left:
            await work(number)
            done += 1
            if time.monotonic() > ends:
                return

    started = time.monotonic()
    await asyncio.gather(*(worker() for _ in range(_IN_FLIGHT)))
    print(f"{name}: {done / (time.monotonic() - started):,.0f} a second")


async def main(folder: Path) -> None:
    async with running(folder) as (_, port), connection(port) as node:
        drive = RemoteDrive(node, (await served(node))[0].target, 0)
        await measure("status", lambda _: drive.status(deadline=soon()), list(range(10**6)))
        await measure("commit 4 KiB", lambda n: drive.commit(commit_of(n), deadline=soon()), list(range(10**6)))
        query = [KeyQuery(KeyName(Space.OBJECT, _BUCKET, key_of(n)), wants_payload=True) for n in range(1000)]
        await measure("read 4 KiB", lambda n: drive.read_key(query[n % 1000], deadline=soon()), list(range(10**6)))
        ref, size = ShardRef(DataId("d" * 32), 1, 0), 256 * 2**20
        blocks = shard_blocks(ref, size)
        hashes = block_hashes(ref, blocks)
        started = time.monotonic()
        writer = await drive.create_shard(ref, size_hint=0, deadline=soon())
        for at in range(0, len(blocks), 4):
            await writer.write(blocks[at : at + 4], hashes[at : at + 4])
        await writer.close(2, 2, size)
        print(f"write a shard of 128 MiB: {128 / (time.monotonic() - started):,.0f} MiB/s")
        started = time.monotonic()
        reader = await drive.open_shard(ref, 0, len(blocks), deadline=soon())
        while await reader.read(4):
            pass
        print(f"read a shard of 128 MiB: {128 / (time.monotonic() - started):,.0f} MiB/s")
        await reader.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        uvloop.run(main(Path(sys.argv[1])))
    else:
        with tempfile.TemporaryDirectory() as folder:
            uvloop.run(main(Path(folder)))
