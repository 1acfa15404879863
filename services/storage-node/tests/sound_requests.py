"""The routes of a node as its own router has them, and for each a request that would do something if it were let in."""

from collections.abc import Callable
from typing import Final

import msgspec
from live_node import SECRET
from raw_node import CLIENT_NONCE
from starlette.routing import Route

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.ids import DataId, DriveId
from liteio_contracts.storage import ShardRef
from liteio_drives.remote.frames import FrameDecoder, FrameKind, encode_frame
from liteio_drives.remote.limits import PROTOCOL_VERSION
from liteio_drives.remote.messages import (
    CALLS_PATH,
    HEALTH_PATH,
    NODE,
    READ_PATH,
    SESSION_PATH,
    WRITE_PATH,
    Holder,
    ReadShard,
    WriteShard,
)
from liteio_drives.remote.sealing import Hello
from liteio_storage_node.app import build_app
from liteio_testkit.contract_bench import block_hashes, shard_blocks

ROUTES: Final = build_app((), SECRET, SystemClock(), SystemRandomness()).routes
PATHS: Final = [route.path for route in ROUTES if isinstance(route, Route)]
GUARDED: Final = [path for path in PATHS if path != HEALTH_PATH]
SESSION_SEALED: Final = [path for path in GUARDED if path != SESSION_PATH]

REF: Final = ShardRef(DataId("d" * 32), 1, 0)
BLOCKS: Final = shard_blocks(REF, 1000)


def sealed_part(path: str, body: bytes) -> bytes:
    """What the seal of a request covers: of an upload its first frame's payload, else the body."""
    return FrameDecoder().receive(body)[0].payload if path == WRITE_PATH else body


def calls_body(drive_id: DriveId) -> bytes:
    drive, owner = str(drive_id), b"o" * 16
    acquire = [owner, [b"k"], Holder("host", "program", 1)]
    return msgspec.msgpack.encode(
        [[drive, "status", 5.0, [[]]], [drive, "collect_garbage", 5.0, [[]]], [NODE, "lock.acquire", 5.0, [acquire]]]
    )


def read_body(drive_id: DriveId) -> bytes:
    return msgspec.msgpack.encode(ReadShard(drive_id, REF, 0, 1, 5.0))


def write_body(drive_id: DriveId) -> bytes:
    """Without an end marker, which needs the key of the request's own seal: the shard is begun and written all the
    same."""
    hashed = zip(block_hashes(REF, BLOCKS), BLOCKS, strict=True)
    blocks = b"".join(encode_frame(FrameKind.HASHED_BLOCK, hash_, block) for hash_, block in hashed)
    return encode_frame(FrameKind.OPEN, msgspec.msgpack.encode(WriteShard(drive_id, REF, 1000, 5.0))) + blocks


def hello_body(drive_id: DriveId) -> bytes:
    return msgspec.msgpack.encode(Hello(PROTOCOL_VERSION, CLIENT_NONCE))


SOUND: Final[dict[str, Callable[[DriveId], bytes]]] = {
    CALLS_PATH: calls_body,
    READ_PATH: read_body,
    WRITE_PATH: write_body,
    SESSION_PATH: hello_body,
}
