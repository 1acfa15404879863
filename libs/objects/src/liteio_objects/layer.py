"""`Store`: the ObjectLayer, put together. One a process; it runs in the gateway, and in whatever else
stores objects."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from liteio_base.clock import Clock, Randomness
from liteio_base.deadline import Deadline
from liteio_contracts.locks import LockAPI
from liteio_contracts.object_layer import (
    Body,
    BucketChange,
    BucketInfo,
    CompleteUpload,
    CreateBucket,
    CreateUpload,
    DeleteObject,
    DeleteResult,
    LinkObject,
    ListObjects,
    ListUploads,
    ListVersions,
    ObjectInfo,
    ObjectLayer,
    ObjectPage,
    ObjectReader,
    PartInfo,
    PartPage,
    PutObject,
    PutPart,
    ReadObject,
    SetTags,
    UploadInfo,
    UploadName,
    UploadPage,
    UsageInfo,
    VersionPage,
)
from liteio_contracts.storage import KeyName, VersionRef
from liteio_objects.buckets import BucketStore
from liteio_objects.drive_set import DriveSet, ask_most, values
from liteio_objects.engine import Engine
from liteio_objects.healing import Healer
from liteio_objects.map_keeping import OpenPool, no_pools
from liteio_objects.object_listing import ObjectListing
from liteio_objects.object_reads import ObjectReading
from liteio_objects.object_writes import ObjectWriting
from liteio_objects.removing import ObjectRemoving
from liteio_objects.repairs import RepairQueue
from liteio_objects.store_map import StoreMap
from liteio_objects.uploads import Uploads


class Store(ObjectLayer):
    """Every role, over the sets of a `StoreMap`. `start` begins background repairs; `close` drains what is under way.

    `report`: hears of keys that need a repair and answers whether somebody else will see to it; what nobody takes, this
    process repairs itself. `open_pool`: opens the drives of a pool that is added while the store is open.
    """

    def __init__(
        self,
        store_map: StoreMap,
        clock: Clock,
        randomness: Randomness,
        locks: LockAPI,
        report: Callable[[DriveSet, KeyName], bool] = lambda drive_set, name: False,
        open_pool: OpenPool = no_pools,
    ) -> None:
        self._report = report
        self.repairs = RepairQueue(clock)
        self.engine = Engine.build(store_map, clock, randomness, locks, self._note, open_pool)
        self.healer = Healer(self.engine)
        self._buckets = BucketStore(self.engine)
        self._reading = ObjectReading(self.engine, self._buckets)
        self._writing = ObjectWriting(self.engine, self._buckets, self._reading)
        self._removing = ObjectRemoving(self.engine, self._buckets)
        self._uploads = Uploads(self.engine, self._buckets)
        self._listing = ObjectListing(self.engine, self._buckets)
        self._repairing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to heal, in the background, what this process finds wanting."""
        self._repairing = asyncio.ensure_future(self.repairs.run(self.healer))

    async def close(self, seconds: float = 10.0) -> None:
        """Let writes that were acknowledged or under way reach their end, at most so long."""
        if self._repairing is not None:
            self._repairing.cancel()
            await asyncio.gather(self._repairing, return_exceptions=True)
        await self.engine.tasks.drain(seconds)

    def _note(self, drive_set: DriveSet, ref: VersionRef) -> None:
        name = KeyName(*ref.name)
        if not self._report(drive_set, name):
            self.repairs.add(drive_set, name)

    async def copy_buckets(self, sets: Sequence[DriveSet], *, deadline: Deadline) -> None:
        """Give every bucket's record to the sets of a pool that takes no keys yet."""
        await self._buckets.copy_all(sets, deadline=deadline)

    async def drives_ready(self, *, deadline: Deadline) -> bool:
        for drive_set in self.engine.store_map.sets:
            answers = await ask_most(
                drive_set, drive_set.slots, lambda drive: drive.status(deadline=deadline), deadline=deadline
            )
            if len(values(answers)) < drive_set.code.write_quorum:
                return False
        return True

    # --- buckets

    async def create_bucket(self, request: CreateBucket, *, deadline: Deadline) -> BucketInfo:
        return await self._buckets.create_bucket(request, deadline=deadline)

    async def bucket(self, name: str, *, deadline: Deadline) -> BucketInfo:
        return await self._buckets.bucket(name, deadline=deadline)

    async def change_bucket(self, name: str, change: BucketChange, *, deadline: Deadline) -> BucketInfo:
        return await self._buckets.change_bucket(name, change, deadline=deadline)

    async def delete_bucket(self, name: str, *, deadline: Deadline) -> None:
        await self._buckets.delete_bucket(name, deadline=deadline)

    async def list_buckets(self, *, deadline: Deadline) -> Sequence[BucketInfo]:
        return await self._buckets.list_buckets(deadline=deadline)

    async def usage(self, name: str, *, deadline: Deadline) -> UsageInfo:
        return await self._buckets.usage(name, deadline=deadline)

    # --- objects

    def head(self, request: ReadObject, *, deadline: Deadline) -> Coroutine[Any, Any, ObjectInfo]:
        return self._reading.head(request, deadline=deadline)

    def open(self, request: ReadObject, *, deadline: Deadline) -> Coroutine[Any, Any, ObjectReader]:
        return self._reading.open(request, deadline=deadline)

    def put(self, request: PutObject, body: Body, *, deadline: Deadline) -> Coroutine[Any, Any, ObjectInfo]:
        return self._writing.put(request, body, deadline=deadline)

    async def link(self, request: LinkObject, *, deadline: Deadline) -> ObjectInfo:
        return await self._writing.link(request, deadline=deadline)

    async def delete(self, request: DeleteObject, *, deadline: Deadline) -> DeleteResult:
        return await self._removing.delete(request, deadline=deadline)

    async def delete_all(
        self, requests: Sequence[DeleteObject], *, deadline: Deadline
    ) -> Sequence[DeleteResult | Exception]:
        return await self._removing.delete_all(requests, deadline=deadline)

    async def set_tags(self, request: SetTags, *, deadline: Deadline) -> ObjectInfo:
        return await self._writing.set_tags(request, deadline=deadline)

    # --- uploads

    async def create_upload(self, request: CreateUpload, *, deadline: Deadline) -> UploadInfo:
        return await self._uploads.create_upload(request, deadline=deadline)

    async def upload(self, name: UploadName, *, deadline: Deadline) -> UploadInfo:
        return await self._uploads.upload(name, deadline=deadline)

    async def put_part(self, request: PutPart, body: Body, *, deadline: Deadline) -> PartInfo:
        return await self._uploads.put_part(request, body, deadline=deadline)

    async def complete_upload(self, request: CompleteUpload, *, deadline: Deadline) -> ObjectInfo:
        return await self._uploads.complete_upload(request, deadline=deadline)

    async def abort_upload(self, name: UploadName, *, deadline: Deadline) -> None:
        await self._uploads.abort_upload(name, deadline=deadline)

    async def list_parts(self, name: UploadName, after_number: int, limit: int, *, deadline: Deadline) -> PartPage:
        return await self._uploads.list_parts(name, after_number, limit, deadline=deadline)

    async def list_uploads(self, request: ListUploads, *, deadline: Deadline) -> UploadPage:
        return await self._uploads.list_uploads(request, deadline=deadline)

    # --- listings

    def list_objects(self, request: ListObjects, *, deadline: Deadline) -> Coroutine[Any, Any, ObjectPage]:
        return self._listing.list_objects(request, deadline=deadline)

    async def list_versions(self, request: ListVersions, *, deadline: Deadline) -> VersionPage:
        return await self._listing.list_versions(request, deadline=deadline)
