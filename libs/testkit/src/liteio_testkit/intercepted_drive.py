"""`InterceptedDrive`: a StorageAPI around another that hands every call to one method. What wrappers are made from."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from liteio_base.deadline import Deadline
from liteio_base.ids import BucketId, DriveId, Generation, VersionId
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
    ShardReader,
    ShardRef,
    ShardWriter,
    StorageAPI,
    StoredTopology,
    VersionRef,
)
from liteio_contracts.storage_errors import StorageError

Answer = TypeVar("Answer")
Call = Callable[[Deadline], Awaitable[Answer]]

# Calls that change the drive and that a network may deliver twice: the drive must take the repetition calmly.
REPEATABLE = frozenset(
    {"commit", "confirm", "fence", "roll_back", "outbox_done", "set_authoritative", "set_checked", "write_topology"}
)
# Operations as `intercept` names them: the methods of StorageAPI, and those of open shards.
SHARD_STEPS = frozenset({"shard.write", "shard.close", "shard.abort", "shard.read"})


class InterceptedDrive:
    """Passes everything through `intercept`, which a subclass overrides. Shard writers and readers go the same way."""

    def __init__(self, inner: StorageAPI) -> None:
        self.inner = inner

    async def intercept(self, operation: str, call: Call[Answer], deadline: Deadline) -> Answer:
        """Make `call` now, later, twice or never. `operation` is the method's name, "shard.…" for an open shard's."""
        return await call(deadline)

    # -- StorageAPI

    @property
    def drive_id(self) -> DriveId:
        return self.inner.drive_id

    @property
    def slot(self) -> int:
        return self.inner.slot

    @property
    def is_likely_slow(self) -> bool:
        return self.inner.is_likely_slow

    async def status(self, *, deadline: Deadline) -> DriveStatus:
        return await self.intercept("status", lambda at: self.inner.status(deadline=at), deadline)

    async def read_key(self, query: KeyQuery, *, deadline: Deadline) -> KeyAnswer:
        return await self.intercept("read_key", lambda at: self.inner.read_key(query, deadline=at), deadline)

    async def list_page(self, query: ListQuery, *, deadline: Deadline) -> ListPage:
        return await self.intercept("list_page", lambda at: self.inner.list_page(query, deadline=at), deadline)

    async def commit(self, commit: Commit, *, deadline: Deadline) -> None:
        return await self.intercept("commit", lambda at: self.inner.commit(commit, deadline=at), deadline)

    async def confirm(self, refs: Sequence[VersionRef], *, deadline: Deadline) -> None:
        sent = tuple(refs)
        return await self.intercept("confirm", lambda at: self.inner.confirm(sent, deadline=at), deadline)

    async def fence(self, request: FenceRequest, *, deadline: Deadline) -> FenceAnswer:
        return await self.intercept("fence", lambda at: self.inner.fence(request, deadline=at), deadline)

    async def roll_back(self, ref: VersionRef, *, deadline: Deadline) -> None:
        return await self.intercept("roll_back", lambda at: self.inner.roll_back(ref, deadline=at), deadline)

    async def create_shard(self, ref: ShardRef, *, size_hint: int, deadline: Deadline) -> ShardWriter:
        def call(at: Deadline) -> Awaitable[ShardWriter]:
            return self.inner.create_shard(ref, size_hint=size_hint, deadline=at)

        return _InterceptedWriter(self, await self.intercept("create_shard", call, deadline), deadline)

    async def open_shard(self, ref: ShardRef, first_block: int, block_count: int, *, deadline: Deadline) -> ShardReader:
        def call(at: Deadline) -> Awaitable[ShardReader]:
            return self.inner.open_shard(ref, first_block, block_count, deadline=at)

        return _InterceptedReader(self, await self.intercept("open_shard", call, deadline), deadline)

    async def shard_facts(self, ref: ShardRef, *, verify: bool, deadline: Deadline) -> ShardFacts:
        def call(at: Deadline) -> Awaitable[ShardFacts]:
            return self.inner.shard_facts(ref, verify=verify, deadline=at)

        return await self.intercept("shard_facts", call, deadline)

    async def walk(self, after: KeyName | None, limit: int, *, deadline: Deadline) -> Sequence[KeyName]:
        return await self.intercept("walk", lambda at: self.inner.walk(after, limit, deadline=at), deadline)

    async def range_digests(self, query: DigestQuery, *, deadline: Deadline) -> DigestAnswer:
        return await self.intercept("range_digests", lambda at: self.inner.range_digests(query, deadline=at), deadline)

    async def missing_shards(self, after: KeyName | None, limit: int, *, deadline: Deadline) -> MissingShards:
        def call(at: Deadline) -> Awaitable[MissingShards]:
            return self.inner.missing_shards(after, limit, deadline=at)

        return await self.intercept("missing_shards", call, deadline)

    async def key_versions(self, name: KeyName, *, deadline: Deadline) -> Sequence[VersionId]:
        return await self.intercept("key_versions", lambda at: self.inner.key_versions(name, deadline=at), deadline)

    async def unsettled(self, older_than_ns: int, limit: int, *, deadline: Deadline) -> Sequence[VersionRef]:
        def call(at: Deadline) -> Awaitable[Sequence[VersionRef]]:
            return self.inner.unsettled(older_than_ns, limit, deadline=at)

        return await self.intercept("unsettled", call, deadline)

    async def outbox(self, older_than_ns: int, limit: int, *, deadline: Deadline) -> Sequence[OutboxRow]:
        return await self.intercept("outbox", lambda at: self.inner.outbox(older_than_ns, limit, deadline=at), deadline)

    async def outbox_done(self, numbers: Sequence[int], *, deadline: Deadline) -> None:
        done = tuple(numbers)
        return await self.intercept("outbox_done", lambda at: self.inner.outbox_done(done, deadline=at), deadline)

    async def bucket_usage(self, bucket_id: BucketId, *, deadline: Deadline) -> BucketUsage:
        return await self.intercept(
            "bucket_usage", lambda at: self.inner.bucket_usage(bucket_id, deadline=at), deadline
        )

    async def collect_garbage(self, *, deadline: Deadline) -> int:
        return await self.intercept("collect_garbage", lambda at: self.inner.collect_garbage(deadline=at), deadline)

    async def set_authoritative(self, generation: Generation, *, deadline: Deadline) -> None:
        def call(at: Deadline) -> Awaitable[None]:
            return self.inner.set_authoritative(generation, deadline=at)

        return await self.intercept("set_authoritative", call, deadline)

    async def set_checked(self, boot: str, *, deadline: Deadline) -> None:
        return await self.intercept("set_checked", lambda at: self.inner.set_checked(boot, deadline=at), deadline)

    async def read_topology(self, *, deadline: Deadline) -> StoredTopology:
        return await self.intercept("read_topology", lambda at: self.inner.read_topology(deadline=at), deadline)

    async def write_topology(self, topology: StoredTopology, *, deadline: Deadline) -> None:
        def call(at: Deadline) -> Awaitable[None]:
            return self.inner.write_topology(topology, deadline=at)

        return await self.intercept("write_topology", call, deadline)


@dataclass(slots=True)
class _InterceptedWriter:
    drive: InterceptedDrive
    inner: ShardWriter
    deadline: Deadline

    async def write(self, shards: Sequence[bytes], hashes: Sequence[bytes]) -> None:
        await self.drive.intercept("shard.write", lambda _: self.inner.write(shards, hashes), self.deadline)

    async def close(self, facts_k: int, facts_m: int, part_size_bytes: int) -> None:
        def call(_: Deadline) -> Awaitable[None]:
            return self.inner.close(facts_k, facts_m, part_size_bytes)

        await self.drive.intercept("shard.close", call, self.deadline)

    async def abort(self) -> None:
        try:
            await self.drive.intercept("shard.abort", lambda _: self.inner.abort(), self.deadline)
        except StorageError:
            pass  # By contract an abort never raises: what it could not remove is garbage and collected.


@dataclass(slots=True)
class _InterceptedReader:
    drive: InterceptedDrive
    inner: ShardReader
    deadline: Deadline

    @property
    def hashes(self) -> Sequence[bytes]:
        return self.inner.hashes

    @property
    def ahead(self) -> int:
        return 0  # what is read meets with what stands in its way

    async def read(self, count: int) -> Sequence[bytes]:
        return await self.drive.intercept("shard.read", lambda _: self.inner.read(count), self.deadline)

    async def close(self) -> None:
        await self.inner.close()
