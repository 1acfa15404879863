"""The Multipart role. An upload is a record, a part is a record; both live in the set of the object's key.

Completing commits the object, whose record names the parts' data, and the upload's last record in the same transaction
on each drive: so a repeated Complete finds what the first one did, and nothing is copied. The drives drop the part
records when that last record, or Abort's tombstone, is confirmed there.
"""

from collections.abc import Callable, Sequence

import msgspec

from liteio_base.deadline import Deadline
from liteio_base.ids import (
    NO_TIME,
    NULL_VERSION,
    DataId,
    HybridTime,
    UploadId,
    VersionId,
    new_data_id,
    new_upload_id,
)
from liteio_contracts.lock_names import part_lock_name
from liteio_contracts.locks import Lease
from liteio_contracts.object_errors import (
    BucketMissing,
    ConditionalConflict,
    OperationTimeout,
    PartRejected,
    UploadMissing,
)
from liteio_contracts.object_layer import (
    Body,
    BucketInfo,
    CompleteUpload,
    CreateUpload,
    ListUploads,
    ObjectInfo,
    PartInfo,
    PartPage,
    PutPart,
    UploadInfo,
    UploadName,
    UploadPage,
)
from liteio_contracts.storage import CasScope, KeyName, ListPage, ListQuery, RowCommit
from liteio_formats.bodies import UploadBody, UploadState, decode_upload_body, encode_body
from liteio_formats.keys import part_key, part_number_of, part_prefix, upload_key
from liteio_formats.record import Kind, PartEntry, Record, Space, StoredChecksum, encode_record
from liteio_objects.buckets import BucketStore
from liteio_objects.committing import VersionWrite
from liteio_objects.completing import chosen_parts
from liteio_objects.conditions import condition_check
from liteio_objects.drive_set import Answers, ask_most, values
from liteio_objects.engine import Engine
from liteio_objects.events import event_row
from liteio_objects.info import object_info, part_info, upload_info, versions_a_write
from liteio_objects.listing import LatestPage, list_latest
from liteio_objects.locking import hold, object_lock
from liteio_objects.resolving import Resolver
from liteio_objects.shard_writing import store_body
from liteio_objects.store_map import Place
from liteio_objects.upload_listing import list_open_uploads

_PAGE = 1000


class Uploads:
    """Multipart uploads of a store."""

    def __init__(self, engine: Engine, buckets: BucketStore) -> None:
        self._engine, self._buckets = engine, buckets

    async def create_upload(self, request: CreateUpload, *, deadline: Deadline) -> UploadInfo:
        async def work(info: BucketInfo) -> UploadInfo:
            return await self._engine.tasks.to_its_end(self._create(request, info, deadline))

        return await self._buckets.with_bucket(request.bucket, work, deadline=deadline)

    async def upload(self, name: UploadName, *, deadline: Deadline) -> UploadInfo:
        info = await self._buckets.cached(name.bucket, deadline=deadline)
        _, record, body = await self._read(name, info, deadline=deadline)
        if body.state is not UploadState.OPEN:
            raise UploadMissing(name.upload_id)
        return upload_info(name.bucket, name.key, record, body)

    async def put_part(self, request: PutPart, body: Body, *, deadline: Deadline) -> PartInfo:
        seconds = deadline.seconds_left()
        name = request.upload
        info = await self._buckets.cached(name.bucket, deadline=deadline)
        place, _, upload = await self._read(name, info, deadline=deadline)
        if upload.state is not UploadState.OPEN:
            raise UploadMissing(name.upload_id)
        stored = await store_body(
            place.drive_set,
            place.order,
            body,
            data_id=new_data_id(self._engine.randomness),
            part_number=request.number,
            may_be_inline=False,
            io=self._engine.shard_io,
        )
        facts = body.facts()
        checksum = facts.checksum.value if facts.checksum is not None else ""
        entry = (
            (msgspec.structs.replace(stored.part, etag=facts.etag, checksum=checksum),)
            if stored.part is not None
            else ()
        )
        draft = msgspec.structs.replace(
            self._draft(Space.PART, info, part_key(name.upload_id, request.number), place),
            size_bytes=stored.size_bytes,
            etag=facts.etag,
            parts=entry,
            checksum=facts.checksum,
        )
        first_id = info.bucket_id

        async def work(info: BucketInfo) -> PartInfo:
            if info.bucket_id != first_id:
                raise BucketMissing(name.bucket)
            return await self._engine.tasks.to_its_end(
                self._commit_part(request, info, place, draft, stored.failed_slots, seconds)
            )

        fresh = Deadline.after(seconds, self._engine.clock)
        return await self._buckets.with_bucket(name.bucket, work, deadline=fresh)

    async def complete_upload(self, request: CompleteUpload, *, deadline: Deadline) -> ObjectInfo:
        async def work(info: BucketInfo) -> ObjectInfo:
            return await self._engine.tasks.to_its_end(self._complete(request, info, deadline))

        return await self._buckets.with_bucket(request.upload.bucket, work, deadline=deadline)

    async def abort_upload(self, name: UploadName, *, deadline: Deadline) -> None:
        async def work(info: BucketInfo) -> None:
            await self._engine.tasks.to_its_end(self._abort(name, info, deadline))

        await self._buckets.with_bucket(name.bucket, work, deadline=deadline)

    async def list_parts(self, name: UploadName, after_number: int, limit: int, *, deadline: Deadline) -> PartPage:
        info = await self._buckets.cached(name.bucket, deadline=deadline)
        place, record, body = await self._read(name, info, deadline=deadline)
        if body.state is not UploadState.OPEN:
            raise UploadMissing(name.upload_id)
        upload = upload_info(name.bucket, name.key, record, body)
        if limit == 0:
            return PartPage(upload, (), is_truncated=False)
        page = await self._part_page(info, place, name.upload_id, after_number, limit, deadline=deadline)
        parts = tuple(part_info(record) for record in page.records.values())
        return PartPage(upload, parts, page.is_truncated, parts[-1].number if parts and page.is_truncated else 0)

    async def list_uploads(self, request: ListUploads, *, deadline: Deadline) -> UploadPage:
        info = await self._buckets.bucket(request.bucket, deadline=deadline)
        return await list_open_uploads(self._engine, info, request, deadline=deadline)

    # --- how

    async def _create(self, request: CreateUpload, info: BucketInfo, deadline: Deadline) -> UploadInfo:
        now_ns = self._engine.clock.now_ns()
        upload_id = new_upload_id(HybridTime(now_ns), self._engine.randomness)
        body = UploadBody(upload_id=upload_id, state=UploadState.OPEN, initiated_ns=now_ns, owner=request.owner)
        key = request.key.encode()
        checksum = None
        if request.checksum_algorithm:
            checksum = StoredChecksum(request.checksum_algorithm, request.checksum_kind, "")

        async def write_in(place: Place) -> Record:
            draft = msgspec.structs.replace(
                self._draft(Space.UPLOAD, info, upload_key(key, upload_id), place),
                metadata=dict(request.metadata),
                tags=request.tags,
                checksum=checksum,
                body=encode_body(body),
            )
            write = self._write_of(draft, info, place, deadline)
            return await self._engine.committer.write(place.drive_set, write, deadline=deadline)

        place = self._engine.store_map.place(info.bucket_id, key)
        if place.is_only:
            record = await write_in(place)
        else:  # The key will live where its upload is: nobody may make it elsewhere meanwhile.
            async with hold(self._engine, [object_lock(info, key)], deadline=deadline):
                record = await write_in(await self._engine.homes.find(info.bucket_id, key, deadline=deadline))
        return upload_info(request.bucket, request.key, record, body)

    async def _commit_part(
        self,
        request: PutPart,
        info: BucketInfo,
        place: Place,
        draft: Record,
        failed_slots: frozenset[int],
        seconds: float,
    ) -> PartInfo:
        deadline = Deadline.after(seconds, self._engine.clock)
        name = request.upload
        # An upload stays where it is, under every topology.
        place = place._replace(topology_number=self._engine.store_map.number)
        write = msgspec.structs.replace(
            self._write_of(draft, info, place, deadline),
            staged_slots=frozenset(place.drive_set.slots) - failed_slots if draft.parts else None,
            requires=_upload_name(name, info),
        )
        part_lock = part_lock_name(draft.key)
        committer = self._engine.committer
        early = committer.early_read(place.drive_set, write, deadline=deadline)
        async with hold(self._engine, [part_lock], deadline=deadline, early=early) as held:
            read = await held.read()
            record = await committer.write(place.drive_set, write, lease=held.lease, read=read, deadline=deadline)
        return part_info(record)

    async def _complete(self, request: CompleteUpload, info: BucketInfo, deadline: Deadline) -> ObjectInfo:
        name = request.upload
        key = name.key.encode()
        async with hold(self._engine, [object_lock(info, key)], deadline=deadline) as held:
            place, upload, body = await self._read(name, info, deadline=deadline)
            if not place.is_only and body.state is UploadState.OPEN:
                await self._must_be_home(place, info, key, deadline)
            try:
                if body.state is UploadState.OPEN:
                    return await self._complete_open(request, info, place, upload, body, held.lease, deadline)
            except (PartRejected, ConditionalConflict, OperationTimeout):
                # Nothing was written. A rival that no lock held back may have ended the upload, and its parts are gone.
                _, upload, body = await self._read(name, info, deadline=deadline)
                if body.state is UploadState.OPEN:
                    raise
            return await self._completed_before(name, info, upload, body, place, deadline)

    async def _complete_open(
        self,
        request: CompleteUpload,
        info: BucketInfo,
        place: Place,
        upload: Record,
        body: UploadBody,
        lease: Lease,
        deadline: Deadline,
    ) -> ObjectInfo:
        name = request.upload
        stored = await self._all_parts(info, place, name.upload_id, deadline=deadline)
        chosen = chosen_parts(request, stored)
        infos = tuple(part_info(part) for part in chosen)
        facts = request.summarise(upload_info(name.bucket, name.key, upload, body), infos)
        await self._spread_parts(info, place, name.upload_id, chosen, deadline=deadline)
        draft = msgspec.structs.replace(
            self._draft(Space.OBJECT, info, name.key.encode(), place),
            size_bytes=sum(part.size_bytes for part in chosen),
            etag=facts.etag,
            parts=tuple(_entry_of(part) for part in chosen),
            metadata=upload.metadata,
            tags=upload.tags,
            checksum=facts.checksum,
        )
        write = msgspec.structs.replace(
            self._write_of(draft, info, place, deadline),
            version_id=None if versions_a_write(info) else NULL_VERSION,
            check=condition_check(name.key, request.condition),
            not_before=upload.time,
            also=_completion(upload, body),
            event=event_row(info, "s3:ObjectCreated:CompleteMultipartUpload", request.event_facts),
        )
        record = await self._engine.committer.write(place.drive_set, write, lease=lease, deadline=deadline)
        return object_info(info, record, is_latest=True)

    async def _completed_before(
        self, name: UploadName, info: BucketInfo, upload: Record, body: UploadBody, place: Place, deadline: Deadline
    ) -> ObjectInfo:
        """What the first Complete answered. The object itself may have been replaced since.

        Raises UploadMissing when neither it nor anything newer is there: a Complete that was not acknowledged was
        rolled back with its object, but not with the upload's end, and the client must not take it for done. While the
        object may yet come to be, the answer is ReadQuorumLost, as that Complete's was or may be.
        """
        object_name = KeyName(Space.OBJECT, info.bucket_id, name.key.encode())
        version_id = body.object_version_id
        found = await self._engine.reader.version(place.drive_set, object_name, version_id, deadline=deadline)
        if found.decided_time < upload.time:  # The object has the time of the upload's last record.
            await self._engine.reader.check_gone(
                place.drive_set, object_name, version_id, upload.time, deadline=deadline
            )
            raise UploadMissing(name.upload_id)
        if found.record is not None and found.record.etag == body.object_etag:
            return object_info(info, found.record, is_latest=False)
        return ObjectInfo(
            bucket=name.bucket,
            key=name.key,
            version_id=VersionId(version_id),
            is_latest=False,
            is_delete_marker=False,
            modified_ns=body.initiated_ns,
            size_bytes=0,
            etag=body.object_etag,
            is_versioned=bool(info.versioning.value),
        )

    async def _abort(self, name: UploadName, info: BucketInfo, deadline: Deadline) -> None:
        key = name.key.encode()
        async with hold(self._engine, [object_lock(info, key)], deadline=deadline) as held:
            place, record, body = await self._read(name, info, deadline=deadline)
            if body.state is not UploadState.OPEN:
                raise UploadMissing(name.upload_id)

            def must_be_open(now: Record | None) -> None:
                """A Complete that no lock held back may have come between: an upload ends once."""
                if now is None or decode_upload_body(now.body).state is not UploadState.OPEN:
                    raise UploadMissing(name.upload_id)

            draft = msgspec.structs.replace(self._draft(Space.UPLOAD, info, record.key, place), kind=Kind.TOMBSTONE)
            write = msgspec.structs.replace(self._write_of(draft, info, place, deadline), check=must_be_open)
            await self._engine.committer.write(place.drive_set, write, lease=held.lease, deadline=deadline)

    async def _read(
        self, name: UploadName, info: BucketInfo, *, deadline: Deadline
    ) -> tuple[Place, Record, UploadBody]:
        """The upload's last record, and where it, its parts and its key live. Raises UploadMissing."""
        key_name = _upload_name(name, info)
        while True:
            store_map = self._engine.store_map
            for place in store_map.places(info.bucket_id, name.key.encode()):
                found = await self._engine.reader.latest(place.drive_set, key_name, deadline=deadline)
                if found.record is not None:
                    return place, found.record, decode_upload_body(found.record.body)
            # Absence must not rest on a map that is out of date: whoever reads a bucket hears of a newer one.
            await self._buckets.bucket(name.bucket, deadline=deadline)
            if self._engine.store_map.number == store_map.number:
                raise UploadMissing(name.upload_id)

    async def _must_be_home(self, place: Place, info: BucketInfo, key: bytes, deadline: Deadline) -> None:
        """Raises ConditionalConflict when the key came to live elsewhere than its upload, which no lock held back."""
        home = await self._engine.homes.find(info.bucket_id, key, deadline=deadline)
        if home.drive_set is not place.drive_set:
            raise ConditionalConflict("the key was made in another set while the upload was open")

    async def _part_page(
        self,
        info: BucketInfo,
        place: Place,
        upload_id: UploadId,
        after_number: int,
        limit: int,
        *,
        deadline: Deadline,
    ) -> LatestPage:
        query = ListQuery(
            space=Space.PART,
            bucket_id=info.bucket_id,
            prefix=part_prefix(upload_id),
            after=part_key(upload_id, after_number) if after_number else b"",
            limit=limit,
        )
        resolver = Resolver(self._engine.reader, lambda _: (place.drive_set,))
        return await list_latest((place.drive_set,), resolver, query, deadline=deadline)

    async def _all_parts(
        self, info: BucketInfo, place: Place, upload_id: UploadId, *, deadline: Deadline
    ) -> dict[int, Record]:
        found: dict[int, Record] = {}
        after_number = 0
        while True:
            page = await self._part_page(info, place, upload_id, after_number, _PAGE, deadline=deadline)
            for record in page.records.values():
                found[part_number_of(record.key)] = record
            if not page.is_truncated:
                return found
            after_number = part_number_of(page.last_key)

    async def _spread_parts(
        self,
        info: BucketInfo,
        place: Place,
        upload_id: UploadId,
        chosen: Sequence[Record],
        *,
        deadline: Deadline,
    ) -> None:
        """Bring the chosen parts to every drive that answers: each was acknowledged by W drives, but not all by the
        same,
        and a drive takes the object only when it holds a shard of every part."""
        wanted = {record.key: record.time for record in chosen}
        lacking: set[bytes] = set()
        after = b""
        while True:
            query = ListQuery(
                space=Space.PART, bucket_id=info.bucket_id, prefix=part_prefix(upload_id), after=after, limit=_PAGE
            )
            pages = values(await self._ask_for_page(place, query, deadline))
            ends = [page.items[-1].key for page in pages.values() if page.is_truncated and page.items]
            end = min(ends, default=None)
            in_reach = {key for key in wanted if key > after and (end is None or key <= end)}
            for page in pages.values():
                held = {
                    item.key
                    for item in page.items
                    if item.entry is not None and wanted.get(item.key) == item.entry.time
                }
                lacking |= in_reach - held
            if end is None:
                break
            after = end
        for key in sorted(lacking):
            name = KeyName(Space.PART, info.bucket_id, key)
            await self._engine.settler.settle(place.drive_set, name, NULL_VERSION, deadline=deadline)

    @staticmethod
    async def _ask_for_page(place: Place, query: ListQuery, deadline: Deadline) -> Answers[ListPage]:
        return await ask_most(
            place.drive_set,
            place.drive_set.slots,
            lambda drive: drive.list_page(query, deadline=deadline),
            deadline=deadline,
        )

    def _draft(self, space: Space, info: BucketInfo, key: bytes, place: Place) -> Record:
        return Record(
            space=space,
            bucket_id=info.bucket_id,
            key=key,
            version_id=NULL_VERSION,
            kind=Kind.VALUE,
            created=NO_TIME,
            time=NO_TIME,
            base=NO_TIME,
            generations=(),
            modified_ns=self._engine.clock.now_ns(),
            k=place.drive_set.code.k,
            m=place.drive_set.code.m,
            order=place.order,
        )

    def _write_of(self, draft: Record, info: BucketInfo, place: Place, deadline: Deadline) -> VersionWrite:
        return VersionWrite(
            name=KeyName(draft.space, draft.bucket_id, draft.key),
            draft=draft,
            bucket_number=info.number,
            reload_bucket=self._buckets.reload_number(info.name, info.bucket_id, deadline=deadline),
            topology_number=place.topology_number,
        )


def _completion(upload: Record, body: UploadBody) -> Callable[[Record], tuple[RowCommit, ...]]:
    """The upload's last record, for the same transaction as the object's: what a repeated Complete answers."""

    def rows(record: Record) -> tuple[RowCommit, ...]:
        finished = msgspec.structs.replace(
            body,
            state=UploadState.COMPLETED,
            object_version_id=record.version_id,
            object_etag=record.etag,
        )
        last = msgspec.structs.replace(
            upload,
            created=record.time,
            time=record.time,
            base=upload.time,
            generations=record.generations,
            body=encode_body(finished),
        )
        return (RowCommit(encode_record(last), CasScope.KEY, upload.time),)

    return rows


def _entry_of(part: Record) -> PartEntry:
    """The part as the object's record names it. An empty part, the last one, has no data and no data id."""
    if part.parts:
        return part.parts[0]
    checksum = part.checksum.value if part.checksum is not None else ""
    return PartEntry(part_number_of(part.key), 0, DataId(""), part.etag, checksum)


def _upload_name(name: UploadName, info: BucketInfo) -> KeyName:
    return KeyName(Space.UPLOAD, info.bucket_id, upload_key(name.key.encode(), name.upload_id))
