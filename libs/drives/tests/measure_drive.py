"""Print what a drive's operations cost on this machine: `python libs/drives/tests/measure_drive.py [PUTS] [FOLDER]`.

Not a test: figures differ from machine to machine and from minute to minute. The thread's own time is printed where it
tells more than the clock.
"""

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_base.ids import NULL_VERSION, SYSTEM_BUCKET, Generation, HybridTime, new_data_id
from liteio_contracts.storage import Commit, KeyName, KeyQuery, ListQuery, RowCommit, VersionRef
from liteio_drives.format_rules import Layout
from liteio_drives.format_set import open_drives
from liteio_drives.index import DriveIndex
from liteio_drives.limits import DriveSettings
from liteio_drives.local_drive import LocalDrive
from liteio_formats.record import Kind, PartEntry, Record, Space, encode_record

CLIENTS = 20
PAYLOAD = bytes(2048)
CLOCK, RANDOMNESS = SystemClock(), SystemRandomness()


def soon() -> Deadline:
    return Deadline.after(60, CLOCK)


def key_of(number: int) -> bytes:
    return b"photos/%08d.jpg" % number


def record_of(number: int) -> Record:
    now = HybridTime(CLOCK.now_ns())
    etag = "d41d8cd98f00b204e9800998ecf8427e"
    return Record(
        space=Space.OBJECT,
        bucket_id=SYSTEM_BUCKET,
        key=key_of(number),
        version_id=NULL_VERSION,
        kind=Kind.VALUE,
        created=now,
        time=now,
        base=HybridTime(0),
        generations=(Generation("0123456789abcdef"),) * 4,
        size_bytes=4096,
        etag=etag,
        k=2,
        m=2,
        order=(0, 1, 2, 3),
        parts=(PartEntry(1, 4096, new_data_id(RANDOMNESS), etag),),
        is_inline=True,
        metadata={"content-type": "binary/octet-stream"},
    )


async def put(drives: list[LocalDrive], number: int) -> None:
    """One inline object on all drives, confirmed when all have it."""
    record = record_of(number)
    row = RowCommit(encode_record(record), base=record.time, payload=PAYLOAD, payload_hash=bytes(32))
    commit = Commit((row,), bucket_number=0)
    await asyncio.gather(*(drive.commit(commit, deadline=soon()) for drive in drives))
    ref = VersionRef(KeyName(Space.OBJECT, SYSTEM_BUCKET, record.key), record.version_id, record.time)
    await asyncio.gather(*(drive.confirm([ref], deadline=soon()) for drive in drives))


async def measure_puts(drives: list[LocalDrive], count: int) -> None:
    async def client(first: int) -> None:
        for number in range(first, count, CLIENTS):
            await put(drives, number)

    began, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(client(first) for first in range(CLIENTS)))
    seconds, used = time.perf_counter() - began, time.process_time() - used
    print(
        f"PUT on {len(drives)} drives, {CLIENTS} clients: {count / seconds:.0f}/s, {used / count * 1e6:.0f} µs CPU each"
    )


async def measure_reads(drive: LocalDrive, count: int) -> None:
    names = [KeyName(Space.OBJECT, SYSTEM_BUCKET, key_of(number * 7919 % count)) for number in range(5000)]
    for wants in (False, True):
        queries = [KeyQuery(name, wants_payload=wants) for name in names]
        what = "GET, payload too" if wants else "HEAD"
        await in_thread(drive, what, len(queries), lambda index, asked=queries: read_all(index, asked))  # type: ignore[misc]
    began = time.perf_counter()
    for start in range(0, len(queries), 50):
        some = queries[start : start + 50]
        await asyncio.gather(*(drive.read_key(query, deadline=soon()) for query in some))
    print(f"GET through the loop, 50 at a time: {(time.perf_counter() - began) / len(queries) * 1e6:.1f} µs")


def read_all(index: DriveIndex, queries: list[KeyQuery]) -> None:
    for query in queries:
        index.keys.read_key(query, index.meta)


async def measure_lists(drive: LocalDrive) -> None:
    plain = ListQuery(space=Space.OBJECT, bucket_id=SYSTEM_BUCKET)
    deep = ListQuery(space=Space.OBJECT, bucket_id=SYSTEM_BUCKET, delimiter=b"1")
    for what, query in (("LIST 1000 keys", plain), ("LIST common prefixes", deep)):
        await in_thread(drive, what, 1, lambda index, asked=query: index.pages.list_page(asked, index.meta))  # type: ignore[misc]


async def in_thread(drive: LocalDrive, what: str, count: int, work: Callable[[DriveIndex], object]) -> None:
    def timed(index: DriveIndex) -> float:
        work(index)  # once to warm up
        began = time.thread_time()
        work(index)
        return time.thread_time() - began

    seconds = await drive._reader.call(timed, soon())
    print(f"{what}: {seconds / count * 1e6:.1f} µs in the reader's thread")


async def main(count: int, folder: Path) -> None:
    paths = [str(folder / f"d{number}") for number in range(4)]
    settings = DriveSettings(ballast_bytes=0)
    opened = await open_drives(paths, Layout(1, 4, 2), clock=CLOCK, randomness=RANDOMNESS, settings=settings)
    drives = [drive for drive in opened.drives if isinstance(drive, LocalDrive)]
    await measure_puts(drives, count)
    await measure_reads(drives[0], count)
    await measure_lists(drives[0])
    await opened.close()


if __name__ == "__main__":
    made = Path(tempfile.mkdtemp(dir=sys.argv[2] if len(sys.argv) > 2 else None))
    try:
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000, made))
    finally:
        shutil.rmtree(made)
