"""What a peer names is never a path: references to shards that spell one are refused, and the node lives."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from formatted_drive import format_drive, open_drive
from live_node import connected

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_base.ids import DataId
from liteio_contracts.storage import ShardRef
from liteio_contracts.storage_errors import StorageError
from liteio_drives.limits import DriveSettings
from liteio_drives.remote.remote_drive import RemoteDrive
from liteio_testkit.contract_bench import block_hashes, shard_blocks

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


@pytest.mark.parametrize("call", [write, read, look])
async def test_no_reference_becomes_a_path(
    tmp_path: Path, call: Callable[[RemoteDrive, ShardRef, Deadline], Coroutine[Any, Any, None]]
) -> None:
    clock = SystemClock()
    format_drive(tmp_path / "drive")
    drive = await open_drive(tmp_path / "drive", clock, DriveSettings())
    async with connected([drive]) as node:
        remote = RemoteDrive(node, drive.drive_id, 0)
        for data_id in DATA_IDS:
            with pytest.raises(StorageError):
                await call(remote, ShardRef(DataId(data_id), 1, 0), Deadline.after(5, clock))
        await write(remote, ShardRef(DataId("d" * 32), 1, 0), Deadline.after(5, clock))
    await drive.close()
    assert_only_shards(tmp_path)


def assert_only_shards(folder: Path) -> None:
    files = {path.name for path in (folder / "drive" / "data").rglob("*") if path.is_file()}
    assert files == {"d" * 32 + ".1"}
    assert [path.name for path in folder.iterdir()] == ["drive"]
    assert not list(folder.rglob("*escaped*"))
    assert not Path("/tmp/escaped").exists()
