"""What travels: calls and their replies, the messages of shard streams, and the table of all methods.

A call names a drive of the node ("" is the node itself) and a method; both sides look the method up in the same table,
so arguments and results are decoded to the contract's own types and nothing from the wire is used as a name.
"""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec

from liteio_base.deadline import Deadline
from liteio_base.ids import BucketId, DeploymentId, DriveId, Generation, VersionId
from liteio_contracts.storage import (
    BucketUsage,
    Commit,
    DigestAnswer,
    DigestQuery,
    DriveStatus,
    FenceAnswer,
    FenceRequest,
    KeyAnswer,
    KeyName,
    KeyQuery,
    ListPage,
    ListQuery,
    MissingShards,
    OutboxRow,
    ShardFacts,
    ShardRef,
    StorageAPI,
    StoredTopology,
    VersionRef,
)
from liteio_drives.format_rules import DriveReport
from liteio_drives.remote.limits import (
    BATCH_CALLS_MAX,
    BOOT_TEXT_MAX,
    CALL_SECONDS_MAX,
    HOLDER_TEXT_MAX,
    LOCK_NAME_BYTES_MAX,
    LOCK_NAMES_MAX,
    LOCK_OWNER_BYTES,
    LOCK_PAGE_MAX,
    RENEW_OWNERS_MAX,
    STREAM_BLOCKS_MAX,
)
from liteio_drives.remote.wire_errors import WireError

SESSION_PATH: Final = "/v1/session"
CALLS_PATH: Final = "/v1/calls"
READ_PATH: Final = "/v1/shards/read"
WRITE_PATH: Final = "/v1/shards/write"
HEALTH_PATH: Final = "/health/live"

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError)  # the second: text that is no UTF-8
NODE: Final = DriveId("")  # the target of calls that concern no drive
Limit = Annotated[int, msgspec.Meta(ge=0, le=2**31)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=CALL_SECONDS_MAX)]


BootText = Annotated[str, msgspec.Meta(max_length=BOOT_TEXT_MAX)]


class Calls(msgspec.Struct, frozen=True, array_like=True):
    """Calls of one method of one drive. `seconds_left`: of the last of their deadlines, when they were sent.
    `arguments`: a list, with a tuple for each call. `is_background`: no client waits for them."""

    target: DriveId
    method: str
    seconds_left: Seconds
    arguments: msgspec.Raw
    is_background: bool = False


Batch = Annotated[list[Calls], msgspec.Meta(min_length=1, max_length=BATCH_CALLS_MAX)]


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """The answer to the call at `index` of its batch: an error, or else a result."""

    index: int
    error: WireError | None = None
    result: msgspec.Raw = msgspec.Raw(b"\xc0")


Replies = Annotated[list[Reply], msgspec.Meta(min_length=1, max_length=BATCH_CALLS_MAX)]


class ReadShard(msgspec.Struct, frozen=True, array_like=True):
    target: DriveId
    ref: ShardRef
    first_block: Annotated[int, msgspec.Meta(ge=0, lt=STREAM_BLOCKS_MAX)]
    block_count: Annotated[int, msgspec.Meta(ge=0, le=STREAM_BLOCKS_MAX)]
    seconds_left: Seconds
    is_background: bool = False


class WriteShard(msgspec.Struct, frozen=True, array_like=True):
    target: DriveId
    ref: ShardRef
    size_hint: Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
    seconds_left: Seconds
    is_background: bool = False


class StreamEnd(msgspec.Struct, frozen=True, array_like=True):
    """What the blocks of a stream were, so that a stream that was cut or changed is never taken for whole.

    hashes_hash: `hash_of_hashes` of the block hashes. k, m and part_size_bytes: the footer's, of a write stream only.
    """

    block_count: int
    length_bytes: int
    hashes_hash: bytes
    k: int = 0
    m: int = 0
    part_size_bytes: int = 0


class DriveInfo(msgspec.Struct, frozen=True, array_like=True):
    """A drive of a node. `target`: what calls to it name. `reason`: why it is not served; it has no id then, and its
    calls fail with the same reason."""

    drive_id: DriveId
    slot: int
    name: str = ""
    target: DriveId = DriveId("")
    reason: str = ""


MountPoints = tuple[tuple[bool, ...], ...]
PoolIndex = Annotated[int, msgspec.Meta(ge=0, lt=2**16)]


Owner = Annotated[bytes, msgspec.Meta(min_length=LOCK_OWNER_BYTES, max_length=LOCK_OWNER_BYTES)]
LockName = Annotated[bytes, msgspec.Meta(max_length=LOCK_NAME_BYTES_MAX)]
LockNames = Annotated[tuple[LockName, ...], msgspec.Meta(min_length=1, max_length=LOCK_NAMES_MAX)]
Waited = Annotated[float, msgspec.Meta(ge=0)]
PageLimit = Annotated[int, msgspec.Meta(ge=1, le=LOCK_PAGE_MAX)]
HolderText = Annotated[str, msgspec.Meta(max_length=HOLDER_TEXT_MAX)]
Owners = Annotated[tuple[Owner, ...], msgspec.Meta(max_length=RENEW_OWNERS_MAX)]


class Holder(msgspec.Struct, frozen=True, array_like=True):
    """Who asks for a lock, for operators: a process, by its machine, its program and its id there."""

    host: HolderText = ""
    program: HolderText = ""
    pid: int = 0


class HeldLock(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """A lease as one node has given it. `names`: the first of `name_count`. Seconds: since the grant, and what is left
    of the lease unless it is renewed."""

    owner: bytes
    holder: Holder
    names: tuple[bytes, ...]
    name_count: int
    held_seconds: float
    left_seconds: float


class LockPage(msgspec.Struct, frozen=True, array_like=True):
    """What a table holds: the longest held of `total`. `opens_seconds`: how long it will grant nothing yet, having just
    begun."""

    held: tuple[HeldLock, ...]
    total: int
    waiting: int
    opens_seconds: float


@dataclass(frozen=True, slots=True)
class Method:
    """`arguments`: a tuple type. is_read: nothing changes, so asking once more does no harm."""

    arguments: Any
    result: Any
    is_read: bool


def _list_of(arguments: Any) -> Any:
    return Annotated[list[arguments], msgspec.Meta(min_length=1, max_length=BATCH_CALLS_MAX)]


DRIVE_METHODS: Final[dict[str, Method]] = {
    "status": Method(tuple[()], DriveStatus, True),
    "read_key": Method(tuple[KeyQuery], KeyAnswer, True),
    "list_page": Method(tuple[ListQuery], ListPage, True),
    "commit": Method(tuple[Commit], None, False),
    "confirm": Method(tuple[tuple[VersionRef, ...]], None, False),
    "fence": Method(tuple[FenceRequest], FenceAnswer, False),
    "roll_back": Method(tuple[VersionRef], None, False),
    "shard_facts": Method(tuple[ShardRef, bool], ShardFacts, True),
    "walk": Method(tuple[KeyName | None, Limit], tuple[KeyName, ...], True),
    "range_digests": Method(tuple[DigestQuery], DigestAnswer, True),
    "missing_shards": Method(tuple[KeyName | None, Limit], MissingShards, True),
    "key_versions": Method(tuple[KeyName], tuple[VersionId, ...], True),
    "unsettled": Method(tuple[int, Limit], tuple[VersionRef, ...], True),
    "outbox": Method(tuple[int, Limit], tuple[OutboxRow, ...], True),
    "outbox_done": Method(tuple[tuple[int, ...]], None, False),
    "bucket_usage": Method(tuple[BucketId], BucketUsage, True),
    "collect_garbage": Method(tuple[()], int, False),
    "set_authoritative": Method(tuple[Generation], None, False),
    "set_checked": Method(tuple[BootText], None, False),
    "read_topology": Method(tuple[()], StoredTopology, True),
    "write_topology": Method(tuple[StoredTopology], None, False),
}

NODE_METHODS: Final[dict[str, Method]] = {
    "drives": Method(tuple[()], tuple[DriveInfo, ...], True),
    "topology": Method(tuple[()], bytes | None, True),
    "format.report": Method(tuple[()], dict[int, DriveReport], True),
    "format.prepare": Method(tuple[DeploymentId, PoolIndex, MountPoints], None, False),
    "format.take_on": Method(tuple[DeploymentId], None, False),
    "lock.acquire": Method(tuple[Owner, LockNames, Holder], bool, False),
    "lock.wait": Method(tuple[Owner, LockNames, Waited], None, True),
    "lock.list": Method(tuple[PageLimit], LockPage, True),
    "lock.renew": Method(tuple[Owners], tuple[bool, ...], False),
    "lock.release": Method(tuple[Owners], None, False),
}
METHODS: Final[dict[str, Method]] = {**DRIVE_METHODS, **NODE_METHODS}
_decoders: Final = {name: msgspec.msgpack.Decoder(_list_of(method.arguments)) for name, method in METHODS.items()}
_result_decoders: Final = {name: msgspec.msgpack.Decoder(method.result) for name, method in METHODS.items()}


def ask_drive(drive: StorageAPI, method: str, arguments: Any, deadline: Deadline) -> Awaitable[Any]:
    """Call a method of DRIVE_METHODS. Only names of the table get here."""
    if method == "shard_facts":  # the one whose argument has a keyword
        ref, verify = arguments
        return drive.shard_facts(ref, verify=verify, deadline=deadline)
    answer: Awaitable[Any] = getattr(drive, method)(*arguments, deadline=deadline)
    return answer


def decode_arguments(method: str, packed: msgspec.Raw) -> list[Any]:
    """The arguments of each call, as a tuple. Raises UNREADABLE; KeyError for a method that is not in the table."""
    found: list[Any] = _decoders[method].decode(packed)
    return found


def decode_result(method: str, packed: msgspec.Raw) -> Any:
    return _result_decoders[method].decode(packed)
