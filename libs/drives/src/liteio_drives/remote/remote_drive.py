"""`RemoteDrive`: StorageAPI of a drive that a storage node serves."""

import asyncio
from collections.abc import Sequence
from typing import Any

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
    StoredTopology,
    VersionRef,
)
from liteio_drives.remote.node_connection import NodeConnection
from liteio_drives.remote.shard_reading import open_remote_shard
from liteio_drives.remote.shard_writing import create_remote_shard


class RemoteDrive:
    """One drive of a node. What it is called there is told, not asked, so that it is known while the node is away. Its
    id is known from its first status on, and until then what it is called stands for it.
    """

    def __init__(self, node: NodeConnection, target: DriveId, slot: int) -> None:
        self._node = node
        self._target = self._drive_id = target
        self._slot = slot

    @property
    def drive_id(self) -> DriveId:
        return self._drive_id

    @property
    def slot(self) -> int:
        return self._slot

    @property
    def is_likely_slow(self) -> bool:
        return self._node.is_down

    def _ask(self, method: str, *arguments: Any, deadline: Deadline) -> "asyncio.Future[Any]":
        """The call is made at once, so that it travels with the others of its time, and without a task of its own."""
        return self._node.call(self._target, method, *arguments, deadline=deadline)

    async def status(self, *, deadline: Deadline) -> DriveStatus:
        found: DriveStatus = await self._ask("status", deadline=deadline)
        self._drive_id = found.drive_id
        return found

    def read_key(self, query: KeyQuery, *, deadline: Deadline) -> "asyncio.Future[KeyAnswer]":
        return self._ask("read_key", query, deadline=deadline)

    async def list_page(self, query: ListQuery, *, deadline: Deadline) -> ListPage:
        found: ListPage = await self._ask("list_page", query, deadline=deadline)
        return found

    def commit(self, commit: Commit, *, deadline: Deadline) -> "asyncio.Future[None]":
        return self._ask("commit", commit, deadline=deadline)

    async def confirm(self, refs: Sequence[VersionRef], *, deadline: Deadline) -> None:
        await self._ask("confirm", tuple(refs), deadline=deadline)

    async def fence(self, request: FenceRequest, *, deadline: Deadline) -> FenceAnswer:
        found: FenceAnswer = await self._ask("fence", request, deadline=deadline)
        return found

    async def roll_back(self, ref: VersionRef, *, deadline: Deadline) -> None:
        await self._ask("roll_back", ref, deadline=deadline)

    async def create_shard(self, ref: ShardRef, *, size_hint: int, deadline: Deadline) -> ShardWriter:
        return await create_remote_shard(self._node.client, self._target, ref, size_hint, deadline)

    async def open_shard(self, ref: ShardRef, first_block: int, block_count: int, *, deadline: Deadline) -> ShardReader:
        return await open_remote_shard(self._node.client, self._target, ref, first_block, block_count, deadline)

    async def shard_facts(self, ref: ShardRef, *, verify: bool, deadline: Deadline) -> ShardFacts:
        found: ShardFacts = await self._ask("shard_facts", ref, verify, deadline=deadline)
        return found

    async def walk(self, after: KeyName | None, limit: int, *, deadline: Deadline) -> Sequence[KeyName]:
        found: Sequence[KeyName] = await self._ask("walk", after, limit, deadline=deadline)
        return found

    async def range_digests(self, query: DigestQuery, *, deadline: Deadline) -> DigestAnswer:
        found: DigestAnswer = await self._ask("range_digests", query, deadline=deadline)
        return found

    async def missing_shards(self, after: KeyName | None, limit: int, *, deadline: Deadline) -> MissingShards:
        found: MissingShards = await self._ask("missing_shards", after, limit, deadline=deadline)
        return found

    async def key_versions(self, name: KeyName, *, deadline: Deadline) -> Sequence[VersionId]:
        found: Sequence[VersionId] = await self._ask("key_versions", name, deadline=deadline)
        return found

    async def unsettled(self, older_than_ns: int, limit: int, *, deadline: Deadline) -> Sequence[VersionRef]:
        found: Sequence[VersionRef] = await self._ask("unsettled", older_than_ns, limit, deadline=deadline)
        return found

    async def outbox(self, older_than_ns: int, limit: int, *, deadline: Deadline) -> Sequence[OutboxRow]:
        found: Sequence[OutboxRow] = await self._ask("outbox", older_than_ns, limit, deadline=deadline)
        return found

    async def outbox_done(self, numbers: Sequence[int], *, deadline: Deadline) -> None:
        await self._ask("outbox_done", tuple(numbers), deadline=deadline)

    async def bucket_usage(self, bucket_id: BucketId, *, deadline: Deadline) -> BucketUsage:
        found: BucketUsage = await self._ask("bucket_usage", bucket_id, deadline=deadline)
        return found

    async def collect_garbage(self, *, deadline: Deadline) -> int:
        found: int = await self._ask("collect_garbage", deadline=deadline)
        return found

    async def set_authoritative(self, generation: Generation, *, deadline: Deadline) -> None:
        await self._ask("set_authoritative", generation, deadline=deadline)

    async def set_checked(self, boot: str, *, deadline: Deadline) -> None:
        await self._ask("set_checked", boot, deadline=deadline)

    async def read_topology(self, *, deadline: Deadline) -> StoredTopology:
        found: StoredTopology = await self._ask("read_topology", deadline=deadline)
        return found

    async def write_topology(self, topology: StoredTopology, *, deadline: Deadline) -> None:
        await self._ask("write_topology", topology, deadline=deadline)
