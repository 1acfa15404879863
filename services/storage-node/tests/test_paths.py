"""What a peer names is never a path: whatever it spells, the node opens nothing outside of its drive, and lives."""

import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from formatted_drive import format_drive, open_drive
from live_node import connected

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_base.ids import BucketId, DataId, DriveId, HybridTime, VersionId
from liteio_contracts.storage import Commit, FenceRequest, KeyName, KeyQuery, ListQuery, ShardRef, VersionRef
from liteio_contracts.storage_errors import StorageError
from liteio_drives.files import RealFiles
from liteio_drives.limits import DriveSettings
from liteio_drives.remote.node_connection import NodeConnection
from liteio_drives.remote.remote_drive import RemoteDrive
from liteio_formats.record import Kind, PartEntry, Record, Space
from liteio_testkit.contract_bench import block_hashes, row_commit, shard_blocks

CLOCK = SystemClock()
DATA_IDS = [
    "../" * 10 + "ab",
    "../../escaped",
    "/tmp/escaped",
    "..\\..\\escaped",
    "\x00" * 32,
    "ab/" * 10 + "ab",
    "AB" * 16,
    "0" * 31,
    "0" * 31 + "/",
    "\uff10" * 32,
    "",
]


async def write(drive: RemoteDrive, ref: ShardRef, deadline: Deadline) -> None:
    blocks = shard_blocks(ref, 1000)
    writer = await drive.create_shard(ref, size_hint=1000, deadline=deadline)
    await writer.write(blocks, block_hashes(ref, blocks))
    await writer.close(2, 2, 1000)


async def read(drive: RemoteDrive, ref: ShardRef, deadline: Deadline) -> None:
    await (await drive.open_shard(ref, 0, 1, deadline=deadline)).read(1)


async def look(drive: RemoteDrive, ref: ShardRef, deadline: Deadline) -> None:
    await drive.shard_facts(ref, verify=False, deadline=deadline)


class WatchedFiles(RealFiles):
    """Notes every path that a drive touches."""

    def __init__(self) -> None:
        self.touched: set[str] = set()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or not callable(found):
            return found

        def noting(*arguments: Any, **options: Any) -> Any:
            self.touched.update(one for one in arguments if isinstance(one, str))
            return found(*arguments, **options)

        return noting

    def outside(self, folder: Path) -> set[str]:
        """Of the paths those that do not lead into the folder, once their dots are resolved."""
        return {path for path in self.touched if folder not in Path(os.path.abspath(path), "x").parents}


@asynccontextmanager
async def watched(tmp_path: Path) -> AsyncIterator[tuple[NodeConnection, RemoteDrive, WatchedFiles]]:
    format_drive(tmp_path / "drive")
    files = WatchedFiles()
    drive = await open_drive(
        tmp_path / "drive", CLOCK, DriveSettings(orphan_grace_seconds=0.0, unlink_delay_seconds=0.0), files
    )
    async with connected([drive]) as node:
        yield node, RemoteDrive(node, drive.drive_id, 0), files
    await drive.close()
    assert files.touched
    assert files.outside(tmp_path / "drive") == set()
    assert_nothing_escaped(tmp_path)


def soon() -> Deadline:
    return Deadline.after(5, CLOCK)


@pytest.mark.parametrize("call", [write, read, look])
async def test_no_reference_becomes_a_path(
    tmp_path: Path, call: Callable[[RemoteDrive, ShardRef, Deadline], Coroutine[Any, Any, None]]
) -> None:
    async with watched(tmp_path) as (_, remote, _):
        for data_id in DATA_IDS:
            with pytest.raises(StorageError):
                await call(remote, ShardRef(DataId(data_id), 1, 0), soon())
        await write(remote, ShardRef(DataId("d" * 32), 1, 0), soon())
    assert shards_in(tmp_path) == {"d" * 32 + ".1"}


async def test_no_drive_id_becomes_a_path(tmp_path: Path) -> None:
    async with watched(tmp_path) as (node, _, _):
        for drive_id in DATA_IDS[:-1]:  # "" is the node itself
            stranger = RemoteDrive(node, DriveId(drive_id), 0)
            for call in (write, read, look):
                with pytest.raises(StorageError):
                    await call(stranger, ShardRef(DataId("d" * 32), 1, 0), soon())
    assert shards_in(tmp_path) == set()


async def test_no_bucket_key_or_version_becomes_a_path(tmp_path: Path) -> None:
    """Most of these are good names for a key; what the drive makes of the others is its own affair, but no file."""
    async with watched(tmp_path) as (_, remote, _):
        for name in DATA_IDS:
            for space in Space:
                key = KeyName(space, BucketId(name), name.encode())
                ref = VersionRef(key, VersionId(name), HybridTime(5))
                record = record_of(key, VersionId(name), 5, data_ids=())
                with suppress(StorageError):
                    await remote.commit(Commit((row_commit(record),), requires=key), deadline=soon())
                with suppress(StorageError):
                    await remote.commit(Commit((row_commit(record),)), deadline=soon())
                for asked in (
                    remote.read_key(KeyQuery(key, (VersionId(name),)), deadline=soon()),
                    remote.list_page(ListQuery(space=space, bucket_id=BucketId(name)), deadline=soon()),
                    remote.key_versions(key, deadline=soon()),
                    remote.walk(key, 10, deadline=soon()),
                    remote.bucket_usage(BucketId(name), deadline=soon()),
                    remote.fence(FenceRequest(ref, HybridTime(0), ""), deadline=soon()),  # type: ignore[arg-type]
                    remote.confirm((ref,), deadline=soon()),
                    remote.roll_back(ref, deadline=soon()),
                ):
                    with suppress(StorageError):
                        await asked
    assert shards_in(tmp_path) == set()


async def test_a_record_that_names_a_path_as_its_data_removes_nothing_when_it_is_replaced(tmp_path: Path) -> None:
    """An inline record's data ids are not looked for when it is committed; when it goes, its files are removed."""
    bystander = tmp_path / "drive" / "bystander.1"
    async with watched(tmp_path) as (_, remote, _):
        bystander.write_bytes(b"not a shard")
        for number, data_id in enumerate(["../bystander", "../../drive/bystander", *DATA_IDS]):
            key = KeyName(Space.OBJECT, BucketId(""), b"k%d" % number)
            for time in (5, 6):
                record = record_of(key, VersionId(""), time, data_ids=(data_id,) if time == 5 else ())
                with suppress(StorageError):
                    commit = Commit((row_commit(record, base=time - 1, payload=b"p", payload_hash=bytes(32)),))
                    await remote.commit(commit, deadline=soon())
                    await remote.confirm((VersionRef(key, VersionId(""), HybridTime(time)),), deadline=soon())
        await remote.collect_garbage(deadline=soon())
    assert bystander.read_bytes() == b"not a shard"


async def test_a_record_that_names_a_path_as_its_file_is_refused(tmp_path: Path) -> None:
    async with watched(tmp_path) as (_, remote, _):
        for data_id in DATA_IDS:
            name = KeyName(Space.OBJECT, BucketId(""), b"k")
            record = msgspec.structs.replace(record_of(name, VersionId(""), 5, (data_id,)), is_inline=False)
            with pytest.raises(StorageError):
                await remote.commit(Commit((row_commit(record),)), deadline=soon())


def record_of(name: KeyName, version_id: VersionId, time: int, data_ids: tuple[str, ...]) -> Record:
    return Record(
        space=name.space,
        bucket_id=name.bucket_id,
        key=name.key,
        version_id=version_id,
        kind=Kind.VALUE,
        created=HybridTime(time),
        time=HybridTime(time),
        base=HybridTime(0),
        generations=(),
        size_bytes=1,
        k=2,
        m=2,
        order=(0, 1, 2, 3),
        parts=tuple(PartEntry(1, 1, DataId(data_id), "etag") for data_id in data_ids),
        is_inline=True,
    )


def assert_nothing_escaped(folder: Path) -> None:
    assert [path.name for path in folder.iterdir()] == ["drive"]
    assert not list(folder.rglob("*escaped*"))
    assert not Path("/tmp/escaped").exists()


def shards_in(folder: Path) -> set[str]:
    return {path.name for path in (folder / "drive" / "data").rglob("*") if path.is_file()}
