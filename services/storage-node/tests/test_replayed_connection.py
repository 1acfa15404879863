"""Somebody who has written down every byte of a connection sends them again: nothing happens a second time."""

import asyncio

import msgspec
import pytest
from live_node import connection_to, serving
from raw_h2 import Kind, frames_of
from raw_node import CLIENT_NONCE, KEY, RawNode
from spies import SpyDrive, open_table, spy_on_node_calls
from tcp_proxy import TcpProxy

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_base.ids import DataId, HybridTime, VersionId
from liteio_contracts.storage import Commit, KeyName, KeyQuery, ShardRef
from liteio_drives.remote.limits import HALF_OPEN_SESSIONS_MAX, PROTOCOL_VERSION
from liteio_drives.remote.messages import NODE, SESSION_PATH, Holder
from liteio_drives.remote.node_client import build_client
from liteio_drives.remote.node_connection import NodeConnection
from liteio_drives.remote.remote_drive import RemoteDrive
from liteio_drives.remote.sealing import Hello, hello_header
from liteio_formats.record import Kind as RecordKind
from liteio_formats.record import Record, Space
from liteio_testkit.contract_bench import block_hashes, row_commit, shard_blocks

CLOCK = SystemClock()
REF = ShardRef(DataId("d" * 32), 1, 0)
ACTS = ("commit", "create_shard", "shard.write", "shard.close", "lock.acquire")


def soon() -> Deadline:
    return Deadline.after(10.0, CLOCK)


def commit_at(time: int) -> Commit:
    record = Record(
        space=Space.OBJECT,
        bucket_id="",  # type: ignore[arg-type]  # the system bucket
        key=b"k",
        version_id=VersionId(""),
        kind=RecordKind.VALUE,
        created=HybridTime(time),
        time=HybridTime(time),
        base=HybridTime(0),
        generations=(),
    )
    return Commit((row_commit(record, base=time - 1),))


async def act(node: NodeConnection, drive: SpyDrive) -> None:
    """Everything that changes something: a commit, a shard, a lock."""
    remote = RemoteDrive(node, drive.drive_id, 0)
    await remote.commit(commit_at(5), deadline=soon())
    blocks = shard_blocks(REF, 1000)
    writer = await remote.create_shard(REF, size_hint=1000, deadline=soon())
    await writer.write(blocks, block_hashes(REF, blocks))
    await writer.close(2, 2, 1000)
    assert await node.call(NODE, "lock.acquire", b"o" * 16, (b"k",), Holder(), deadline=soon())


async def send_again(port: int, heard: bytes) -> int:
    """The bytes of a whole connection, on a new one. How many requests the node answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(heard)
    said = bytearray()
    try:
        async with asyncio.timeout(1.5):
            while chunk := await reader.read(65536):
                said += chunk
    except TimeoutError:
        pass
    writer.transport.abort()
    return sum(frame.kind == Kind.HEADERS for frame in frames_of(bytes(said)))


@pytest.mark.parametrize("is_successor", [False, True], ids=["the_same_node", "its_successor"])
async def test_a_connection_sent_again_does_nothing(monkeypatch: pytest.MonkeyPatch, is_successor: bool) -> None:
    seen: list[str] = []
    spy_on_node_calls(monkeypatch, seen)
    drive = SpyDrive(seen)
    async with (
        serving([drive], locks=open_table()) as server,
        serving([drive], locks=open_table()) as successor,
        TcpProxy(server.port) as proxy,
        connection_to(proxy.port) as node,
    ):
        await act(node, drive)
        assert set(ACTS) <= set(seen)
        seen.clear()
        (heard,) = proxy.heard
        answered = await send_again(successor.port if is_successor else server.port, bytes(heard))
        assert answered >= 4, "the node looked at what came"
        assert seen == []
        await RemoteDrive(node, drive.drive_id, 0).commit(commit_at(6), deadline=soon())
        assert seen == ["commit"], "the session that was overheard goes on"


async def test_a_greeting_sent_again_and_again_pushes_out_nobody_at_work() -> None:
    seen: list[str] = []
    drive = SpyDrive(seen)
    async with serving([drive]) as server, connection_to(server.port) as node:
        remote = RemoteDrive(node, drive.drive_id, 0)
        await remote.commit(commit_at(5), deadline=soon())
        session = node.client._session
        raw = RawNode(build_client(None), server.port)
        body = msgspec.msgpack.encode(Hello(PROTOCOL_VERSION, CLIENT_NONCE))
        seal = hello_header(KEY, "POST", SESSION_PATH, body)
        for _ in range(HALF_OPEN_SESSIONS_MAX + 10):
            assert await raw.send("POST", SESSION_PATH, seal, body) == 200
        answer = await remote.read_key(KeyQuery(KeyName(Space.OBJECT, "", b"k")), deadline=soon())  # type: ignore[arg-type]
        assert answer.head_time == 5
        assert node.client._session is session
        await raw.client.close()
