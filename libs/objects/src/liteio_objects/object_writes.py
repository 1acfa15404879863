"""The ObjectWrites role: put, link, tags; the deletes are in `removing`."""

from functools import partial
from typing import Final

import msgspec

from liteio_base.deadline import Deadline
from liteio_base.ids import NO_TIME, NULL_VERSION, BucketId, new_data_id
from liteio_contracts.object_errors import (
    BucketMissing,
    ConditionalConflict,
    NotLinkable,
    ObjectMissing,
    OperationTimeout,
    ReadQuorumLost,
)
from liteio_contracts.object_layer import (
    Body,
    BodyFacts,
    BucketInfo,
    LinkObject,
    ObjectInfo,
    PutObject,
    ReadObject,
    SetTags,
)
from liteio_contracts.storage import CasScope, KeyName
from liteio_formats.record import Kind, Record, Space
from liteio_objects.buckets import BucketStore
from liteio_objects.committing import VersionWrite
from liteio_objects.conditions import condition_check
from liteio_objects.engine import Engine
from liteio_objects.events import event_row
from liteio_objects.info import object_info, versions_a_write
from liteio_objects.key_reading import Found
from liteio_objects.locking import hold, object_lock
from liteio_objects.object_reads import MorePayloads, ObjectReading, shown
from liteio_objects.shard_coding import PayloadShard
from liteio_objects.shard_reading import rebuild_inline
from liteio_objects.shard_writing import StoredBody, store_body
from liteio_objects.staging import Staged, move_staged
from liteio_objects.store_map import Place

_ELSEWHERE: Final = "the data does not lie where the new key's data must lie"
# A key that was nowhere when its bytes were stored, and is in another place when they are committed, stays there.
_MOVES_MAX: Final = 3


class ObjectWriting:
    """Writes objects of a store."""

    def __init__(self, engine: Engine, buckets: BucketStore, reading: ObjectReading) -> None:
        self._engine, self._buckets, self._reading = engine, buckets, reading

    async def put(self, request: PutObject, body: Body, *, deadline: Deadline) -> ObjectInfo:
        seconds = deadline.seconds_left()
        info = self._buckets.remembered(request.bucket) or await self._buckets.bucket(request.bucket, deadline=deadline)
        key = request.key.encode()
        place = self._engine.store_map.place(info.bucket_id, key)
        if not place.is_only:  # As far as can be told without the key's lock.
            place = await self._engine.homes.look(info.bucket_id, key, deadline=deadline)
        stored = await store_body(
            place.drive_set,
            place.order,
            body,
            data_id=new_data_id(self._engine.randomness),
            part_number=1,
            may_be_inline=True,
            io=self._engine.shard_io,
        )
        facts = body.facts()
        draft = self._draft(request, info.bucket_id, place, stored, facts)
        # The client took its time with the body: what follows is bounded by the time that was given at the start.
        return await self._write(request, info, Staged.of(place, draft, stored), seconds)

    async def link(self, request: LinkObject, *, deadline: Deadline) -> ObjectInfo:
        _, source_place, found = await self._reading.find(request.source, wants_payload=False, deadline=deadline)
        source = shown(request.source, found)
        target = request.target
        info = await self._buckets.cached(target.bucket, deadline=deadline)
        place = self._engine.store_map.place(info.bucket_id, target.key.encode())
        if not place.is_only:
            place = await self._engine.homes.look(info.bucket_id, target.key.encode(), deadline=deadline)
        if place.drive_set is not source_place.drive_set or source.is_inline:
            raise NotLinkable(_ELSEWHERE)
        if (source.etag, source.modified_ns) != (request.source_info.etag, request.source_info.modified_ns):
            raise NotLinkable("the source has changed")
        draft = msgspec.structs.replace(
            source,
            bucket_id=info.bucket_id,
            key=target.key.encode(),
            modified_ns=self._engine.clock.now_ns(),
            metadata=dict(target.metadata),
            tags=target.tags,
        )
        return await self._write(target, info, Staged(place, draft, is_linked=True), deadline.seconds_left())

    async def set_tags(self, request: SetTags, *, deadline: Deadline) -> ObjectInfo:
        async def work(info: BucketInfo) -> ObjectInfo:
            return await self._engine.tasks.to_its_end(self._set_tags(request, info, deadline))

        return await self._buckets.with_bucket(request.bucket, work, deadline=deadline)

    # --- put and link

    def _draft(
        self, request: PutObject, bucket_id: BucketId, place: Place, stored: StoredBody, facts: BodyFacts
    ) -> Record:
        code = place.drive_set.code
        parts = (msgspec.structs.replace(stored.part, etag=facts.etag),) if stored.part is not None else ()
        return Record(
            space=Space.OBJECT,
            bucket_id=bucket_id,
            key=request.key.encode(),
            version_id=NULL_VERSION,
            kind=Kind.VALUE,
            created=NO_TIME,
            time=NO_TIME,
            base=NO_TIME,
            generations=(),
            modified_ns=self._engine.clock.now_ns(),
            size_bytes=stored.size_bytes,
            etag=facts.etag,
            k=code.k,
            m=code.m,
            order=place.order,
            parts=parts,
            is_inline=stored.inline is not None,
            metadata=dict(request.metadata),
            tags=request.tags,
            checksum=facts.checksum,
        )

    async def _write(self, request: PutObject, info: BucketInfo, staged: Staged, seconds: float) -> ObjectInfo:

        async def work(info: BucketInfo) -> ObjectInfo:
            nonlocal staged
            if info.bucket_id != staged.draft.bucket_id:  # Deleted and made anew, through another gateway likely.
                staged = await self._bring_over(staged, info, seconds)
            return await self._engine.tasks.to_its_end(self._write_staged(request, info, staged, seconds))

        deadline = Deadline.after(seconds, self._engine.clock)
        return await self._buckets.with_bucket(request.bucket, work, deadline=deadline)

    async def _bring_over(self, staged: Staged, info: BucketInfo, seconds: float) -> Staged:
        """The same for a bucket of the same name, whose keys live elsewhere. Raises BucketMissing for linked bytes."""
        if staged.is_linked:
            raise BucketMissing(info.name)
        place = await self._engine.homes.find(
            info.bucket_id, staged.draft.key, deadline=Deadline.after(seconds, self._engine.clock)
        )
        draft = msgspec.structs.replace(staged.draft, bucket_id=info.bucket_id)
        there = msgspec.structs.replace(staged, draft=draft)
        return await move_staged(there, place, self._engine.shard_io, self._engine.randomness)

    async def _write_staged(self, request: PutObject, info: BucketInfo, staged: Staged, seconds: float) -> ObjectInfo:
        """Commit it where the key lives, after moving the bytes there if they lie elsewhere."""
        for _ in range(_MOVES_MAX):
            deadline = Deadline.after(seconds, self._engine.clock)
            home = staged.place
            write = self._write_of(request, info, home, staged, deadline)
            early = None
            if home.is_only:
                early = self._engine.committer.early_read(home.drive_set, write, deadline=deadline)
            is_blind = write.check is None
            async with hold(
                self._engine, [object_lock(info, staged.draft.key)], deadline=deadline, early=early, is_blind=is_blind
            ) as held:
                read = None
                if not home.is_only or home.topology_number != self._engine.store_map.number:
                    home = await self._engine.homes.find(info.bucket_id, staged.draft.key, deadline=deadline)
                    write = self._write_of(request, info, home, staged, deadline)
                else:
                    read = await held.read_together(
                        partial(self._engine.committer.read, home.drive_set, write, deadline=deadline)
                    )
                if home.drive_set is staged.place.drive_set:
                    record = await self._engine.committer.write(
                        home.drive_set, write, lease=held.lease, company=held.company, read=read, deadline=deadline
                    )
                    return object_info(info, record, is_latest=True)
            if staged.is_linked:
                raise NotLinkable(_ELSEWHERE)
            staged = await move_staged(staged, home, self._engine.shard_io, self._engine.randomness)
        raise OperationTimeout("the key does not stay where it was found")

    def _write_of(
        self, request: PutObject, info: BucketInfo, place: Place, staged: Staged, deadline: Deadline
    ) -> VersionWrite:
        draft = staged.draft
        return VersionWrite(
            name=KeyName(Space.OBJECT, info.bucket_id, draft.key),
            draft=draft,
            version_id=None if versions_a_write(info) else NULL_VERSION,
            check=condition_check(request.key, request.condition),
            payloads=staged.payloads,
            staged_slots=staged.slots,
            bucket_number=info.number,
            reload_bucket=self._buckets.reload_number(info.name, info.bucket_id, deadline=deadline),
            event=event_row(info, request.event_name, request.event_facts),
            topology_number=place.topology_number,
        )

    # --- tags

    async def _set_tags(self, request: SetTags, info: BucketInfo, deadline: Deadline) -> ObjectInfo:
        key = request.key.encode()
        name = KeyName(Space.OBJECT, info.bucket_id, key)
        async with hold(self._engine, [object_lock(info, key)], deadline=deadline) as held:
            source = ReadObject(request.bucket, request.key, request.version_id)
            _, place, found = await self._reading.find(source, wants_payload=True, deadline=deadline)
            before = shown(source, found)

            def must_be_unchanged(record: Record | None) -> None:
                if record is None and request.version_id is not None:
                    raise ObjectMissing(request.key)
                if record is None or record.time != before.time:  # The key's latest may be another version by now.
                    raise ConditionalConflict("the version has changed meanwhile")

            write = VersionWrite(
                name=name,
                draft=msgspec.structs.replace(before, tags=request.tags),
                version_id=before.version_id,
                scope=CasScope.VERSION,
                keeps_created=before.created,
                check=must_be_unchanged,
                payloads=await self._all_payloads(place, before, found, deadline),
                bucket_number=info.number,
                reload_bucket=self._buckets.reload_number(info.name, info.bucket_id, deadline=deadline),
                topology_number=place.topology_number,
            )
            record = await self._engine.committer.write(place.drive_set, write, lease=held.lease, deadline=deadline)
        return object_info(info, record, is_latest=request.version_id is None)

    async def _all_payloads(
        self, place: Place, record: Record, found: Found, deadline: Deadline
    ) -> dict[int, PayloadShard]:
        """An inline object's shard for every drive: the new row carries its own copy. Raises ReadQuorumLost: a row
        without its bytes would lose them, since it replaces the one that has them."""
        if not record.is_inline:
            return {}
        code, every_index = place.drive_set.code, frozenset(range(record.k + record.m))
        rebuilt = rebuild_inline(code, record, found.payloads, every_index)
        if not rebuilt:
            more = await MorePayloads(place, record, deadline)()
            rebuilt = rebuild_inline(code, record, {**found.payloads, **more}, every_index)
        if not rebuilt:
            raise ReadQuorumLost("too few good shards of the object", needed=record.k, got=0)
        return rebuilt
