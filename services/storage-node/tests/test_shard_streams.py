"""Shard streams that break: nothing half-written is ever a shard, nothing half-read is ever taken for whole."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from live_node import connected, connection_to, serving
from tcp_proxy import TcpProxy

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_base.ids import DataId
from liteio_base.limits import BLOCK_BYTES
from liteio_contracts.storage import ShardRef, ShardWriter
from liteio_contracts.storage_errors import DriveFull, DriveOffline, DriveUnavailable, ShardCorrupt, StorageError
from liteio_drives.remote.frames import FrameKind, encode_frame
from liteio_drives.remote.hash_chain import HashChain
from liteio_drives.remote.messages import WRITE_PATH, StreamEnd, WriteShard
from liteio_drives.remote.node_connection import NodeConnection
from liteio_drives.remote.remote_drive import RemoteDrive
from liteio_drives.remote.sealing import ExchangeKey
from liteio_testkit.contract_bench import K, M, block_hashes, shard_blocks
from liteio_testkit.manual_clock import ManualClock
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.seeded_randomness import SeededRandomness

REF = ShardRef(DataId("d" * 32), 1, 0)
SIZE = 40 * BLOCK_BYTES
BLOCKS = shard_blocks(REF, SIZE)
HASHES = block_hashes(REF, BLOCKS)


def soon() -> Deadline:
    return Deadline.after(10.0, SystemClock())


@pytest.fixture
def drive() -> MemoryDrive:
    return MemoryDrive(0, ManualClock(), SeededRandomness("streams"))


@pytest.fixture
async def node(drive: MemoryDrive) -> AsyncIterator[NodeConnection]:
    async with connected([drive]) as connection:
        yield connection


@pytest.fixture
def remote(node: NodeConnection, drive: MemoryDrive) -> RemoteDrive:
    return RemoteDrive(node, drive.drive_id, drive.slot)


async def send_upload(node: NodeConnection, drive: MemoryDrive, tail: list[bytes], end: StreamEnd | None) -> bool:
    """An upload as a client of the protocol would send it, with any end. True when the node says that it is closed."""
    sealed: asyncio.Future[ExchangeKey] = asyncio.get_running_loop().create_future()
    head = msgspec.msgpack.encode(WriteShard(drive.drive_id, REF, 0, 5.0))

    async def body() -> AsyncIterator[bytes]:
        yield encode_frame(FrameKind.OPEN, head)
        key = await sealed
        for chunk in tail:
            yield chunk
        if end is not None:
            payload = msgspec.msgpack.encode(end)
            yield encode_frame(FrameKind.END, key.seal_end(payload), payload)

    answer, key = await node.client.stream(WRITE_PATH, head, body())
    try:
        opened = await answer.next()
        assert opened is not None
        assert opened.kind is FrameKind.OPENED
        sealed.set_result(key)
        return await answer.next() is not None
    finally:
        await answer.close()


def hashed(number: int) -> bytes:
    return encode_frame(FrameKind.HASHED_BLOCK, HASHES[number], BLOCKS[number])


def end_of(count: int) -> StreamEnd:
    chain = HashChain()
    for number in range(count):
        chain.add(HASHES[number], len(BLOCKS[number]))
    return chain.end(K, M, count * BLOCK_BYTES)


async def test_an_upload_that_ends_well_is_closed(node: NodeConnection, drive: MemoryDrive) -> None:
    assert await send_upload(node, drive, [hashed(0), hashed(1)], end_of(2))
    assert drive.shard_files == [REF]


def spoilt(frame: bytes) -> bytes:
    """With one bit of the block turned."""
    return frame[:-1] + bytes([frame[-1] ^ 1])


@pytest.mark.parametrize(
    ("tail", "end"),
    [
        ([hashed(0)], None),
        ([hashed(0), hashed(1)[:-1]], None),
        ([hashed(0)], end_of(2)),
        ([hashed(0), hashed(1)], end_of(1)),
        ([hashed(1), hashed(0)], end_of(2)),
        ([], end_of(1)),
        ([hashed(0), encode_frame(FrameKind.ABORT)], None),
        ([hashed(0), encode_frame(FrameKind.END, b"x" * 60)], None),
        ([hashed(0), encode_frame(FrameKind.HASHED_BLOCK, b"short")], end_of(1)),
        ([hashed(0), spoilt(hashed(1))], end_of(2)),
        ([hashed(0), encode_frame(FrameKind.REPLY, b"")], end_of(1)),
        ([hashed(0), b"\xff" * 40], end_of(1)),
    ],
)
async def test_an_upload_that_is_cut_or_changed_never_makes_a_shard(
    node: NodeConnection, drive: MemoryDrive, tail: list[bytes], end: StreamEnd | None
) -> None:
    is_abort = encode_frame(FrameKind.ABORT) == (tail[-1] if tail else b"")
    assert await send_upload(node, drive, tail, end) is is_abort
    assert drive.shard_files == []
    assert drive._writers == [], "the node gave the writer up"


async def test_a_client_that_dies_leaves_nothing(drive: MemoryDrive) -> None:
    async with serving([drive]) as server, TcpProxy(server.port) as proxy, connection_to(proxy.port) as node:
        writer = await RemoteDrive(node, drive.drive_id, drive.slot).create_shard(REF, size_hint=0, deadline=soon())
        await writer.write(BLOCKS[:5], HASHES[:5])
        proxy.reset()
        for _ in range(100):
            if not drive._writers:
                break
            await asyncio.sleep(0.02)
        assert (drive.shard_files, drive._writers) == ([], [])
        with pytest.raises(DriveUnavailable):
            await writer.close(K, M, SIZE)
        await writer.abort()


async def test_trouble_while_writing_reaches_the_writer(remote: RemoteDrive, drive: MemoryDrive) -> None:
    writer = await remote.create_shard(REF, size_hint=0, deadline=soon())
    drive.set_offline()
    with pytest.raises(DriveOffline):
        await write_on(writer)
    await writer.abort()
    await writer.abort()


async def test_a_full_drive_says_so_at_once(remote: RemoteDrive, drive: MemoryDrive) -> None:
    drive.set_full()
    with pytest.raises(DriveFull):
        await remote.create_shard(REF, size_hint=0, deadline=soon())


async def test_a_closed_writer_takes_nothing_more(remote: RemoteDrive) -> None:
    writer = await remote.create_shard(REF, size_hint=0, deadline=soon())
    await writer.write(BLOCKS, HASHES)
    await writer.close(K, M, SIZE)
    with pytest.raises(DriveUnavailable):
        await writer.write(BLOCKS[:1], HASHES[:1])
    await writer.abort()


async def test_a_torn_file_is_corrupt_where_it_is_torn(remote: RemoteDrive, drive: MemoryDrive) -> None:
    await store(remote)
    drive.tear_shard(REF, 8)
    reader = await remote.open_shard(REF, 0, 40, deadline=soon())
    assert list(await reader.read(4)) == BLOCKS[:4]
    assert list(await reader.read(4)) == BLOCKS[4:8]
    with pytest.raises(ShardCorrupt) as raised:
        await reader.read(4)
    assert raised.value.fields["ref"] == REF
    with pytest.raises(StorageError):
        await reader.read(1)
    await reader.close()


async def test_a_reader_reads_nothing_once_it_is_closed_early(remote: RemoteDrive) -> None:
    await store(remote)
    reader = await remote.open_shard(REF, 0, 40, deadline=soon())
    assert list(await reader.read(1)) == BLOCKS[:1]
    await reader.close()
    with pytest.raises(DriveUnavailable):
        await reader.read(1)


async def write_on(writer: ShardWriter) -> None:
    for start in range(0, 40, 2):
        await writer.write(BLOCKS[start : start + 2], HASHES[start : start + 2])
    await writer.close(K, M, SIZE)


async def store(remote: RemoteDrive) -> None:
    writer = await remote.create_shard(REF, size_hint=0, deadline=soon())
    await writer.write(BLOCKS, HASHES)
    await writer.close(K, M, SIZE)
