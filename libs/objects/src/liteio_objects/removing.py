"""The deletes of the ObjectWrites role: of one object, and of several at once."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from liteio_base.deadline import Deadline
from liteio_base.ids import NO_TIME, NULL_VERSION, VersionId
from liteio_contracts.locks import Lease
from liteio_contracts.object_errors import ObjectError, OperationTimeout, ReadQuorumLost
from liteio_contracts.object_layer import BucketInfo, DeleteObject, DeleteResult
from liteio_contracts.storage import CasScope, KeyName
from liteio_formats.record import Kind, Record, Space
from liteio_objects.buckets import BucketStore
from liteio_objects.committing import BucketChanged, TopologyChanged, VersionWrite
from liteio_objects.conditions import condition_check
from liteio_objects.drive_set import DriveSet
from liteio_objects.engine import Engine
from liteio_objects.events import event_row
from liteio_objects.info import versions_a_write
from liteio_objects.key_reading import READ_SECONDS, Found, WriteBasis
from liteio_objects.locking import hold, object_lock
from liteio_objects.store_map import Place

_ALONE_AT_ONCE: Final = 16  # of several deletes; more would only queue at the drives and starve other callers
# A key that somebody is writing is not to hold up those that are to be removed with it, nor their writers.
_LOCKS_SECONDS: Final = 0.5
_REMOVED: Final = DeleteResult(is_delete_marker=False, version_id=None)  # in a bucket without versions

Outcome = DeleteResult | Exception


class _Placed(NamedTuple):
    """One of several deletes: where it stands among them, and where its key lives."""

    at: int
    request: DeleteObject
    place: Place


class ObjectRemoving:
    """Deletes objects of a store."""

    def __init__(self, engine: Engine, buckets: BucketStore) -> None:
        self._engine, self._buckets = engine, buckets

    async def delete(self, request: DeleteObject, *, deadline: Deadline) -> DeleteResult:
        async def work(info: BucketInfo) -> DeleteResult:
            return await self._engine.tasks.to_its_end(self._delete(request, info, deadline))

        return await self._buckets.with_bucket(request.bucket, work, deadline=deadline)

    async def delete_all(self, requests: Sequence[DeleteObject], *, deadline: Deadline) -> list[Outcome]:
        """Those that likely need not be read are committed together, and the others one by one."""
        seconds = deadline.seconds_left()
        done = await self._delete_together(requests, deadline)
        left = [at for at in range(len(requests)) if at not in done]
        for start in range(0, len(left), _ALONE_AT_ONCE):
            wave = left[start : start + _ALONE_AT_ONCE]
            wave_deadline = Deadline.after(seconds, self._engine.clock)
            deletes = [self.delete(requests[at], deadline=wave_deadline) for at in wave]
            for at, outcome in zip(wave, await asyncio.gather(*deletes, return_exceptions=True), strict=True):
                if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
                    raise outcome
                done[at] = outcome
        return [done[at] for at in range(len(requests))]

    # --- several

    async def _delete_together(self, requests: Sequence[DeleteObject], deadline: Deadline) -> dict[int, Outcome]:
        """What became of those, by place in `requests`, that could be removed unread; nothing was done about others."""
        if len(requests) < 2 or not self._engine.maps.is_sure:
            return {}
        [bucket] = {request.bucket for request in requests}
        try:
            info = await self._buckets.cached(bucket, deadline=deadline)
        except ObjectError:
            return {}  # Each is told so.
        if info.versioning.value:
            return {}
        by_set: dict[int, dict[str, _Placed]] = {}
        for at, request in enumerate(requests):
            place = self._engine.store_map.place(info.bucket_id, request.key.encode())
            if request.version_id is None and condition_check(request.key, request.condition) is None and place.is_only:
                of_set = by_set.setdefault(place.drive_set.set_index, {})
                of_set.setdefault(request.key, _Placed(at, request, place))
        tasks = self._engine.tasks
        removing = [
            tasks.to_its_end(self._remove_together(list(of_set.values()), info, deadline)) for of_set in by_set.values()
        ]
        return {at: outcome for outcomes in await asyncio.gather(*removing) for at, outcome in outcomes.items()}

    async def _remove_together(
        self, targets: Sequence[_Placed], info: BucketInfo, deadline: Deadline
    ) -> dict[int, Outcome]:
        """Of keys of one set."""
        drive_set, committer = targets[0].place.drive_set, self._engine.committer
        if not committer.may_remove_unread(drive_set, info.bucket_id):
            return {}
        names = [object_lock(info, target.request.key.encode()) for target in targets]
        async with AsyncExitStack() as stack:
            try:
                held = await stack.enter_async_context(
                    hold(self._engine, names, deadline=deadline.sooner(_LOCKS_SECONDS))
                )
            except OperationTimeout:
                return {}
            writes = [
                self._removal(request, info, place, Kind.TOMBSTONE, NULL_VERSION, CasScope.KEY, deadline)
                for _, request, place in targets
            ]
            outcomes = await committer.remove_all_unread(drive_set, writes, lease=held.lease, deadline=deadline)
        return {
            target.at: outcome if isinstance(outcome, Exception) else _REMOVED
            for target, outcome in zip(targets, outcomes, strict=True)
            if outcome is not None and not isinstance(outcome, BucketChanged | TopologyChanged)
        }

    # --- one

    async def _delete(self, request: DeleteObject, info: BucketInfo, deadline: Deadline) -> DeleteResult:
        if request.version_id is not None:
            key = request.key.encode()
            async with hold(self._engine, [object_lock(info, key)], deadline=deadline) as held:
                place = await self._engine.homes.find(info.bucket_id, key, deadline=deadline)
                return await self._delete_version(request, request.version_id, info, place, held.lease, deadline)
        if info.versioning.value:
            return await self._add_marker(request, info, deadline)
        return await self._delete_null(request, info, deadline)

    async def _delete_version(
        self,
        request: DeleteObject,
        version_id: VersionId,
        info: BucketInfo,
        place: Place,
        lease: Lease,
        deadline: Deadline,
    ) -> DeleteResult:
        name = KeyName(Space.OBJECT, info.bucket_id, request.key.encode())
        check, in_time = condition_check(request.key, request.condition), deadline.sooner(READ_SECONDS)
        is_marker = False
        try:
            found = await self._engine.reader.version(place.drive_set, name, version_id, deadline=deadline)
        except ReadQuorumLost:
            if check is not None:
                raise
            deadline = in_time  # Removing needs no decision on what is there: a key in doubt is cleared so.
        else:
            if found.record is None:
                await self._buckets.must_be_current(info, place.topology_number, deadline=deadline)
                return DeleteResult(is_delete_marker=False, version_id=version_id)
            if check is not None:
                check(found.record)
            is_marker = found.record.kind is Kind.DELETE_MARKER
        write = self._removal(request, info, place, Kind.TOMBSTONE, version_id, CasScope.VERSION, deadline)
        await self._engine.committer.write(place.drive_set, write, lease=lease, deadline=deadline)
        return DeleteResult(is_delete_marker=is_marker, version_id=version_id)

    async def _delete_null(self, request: DeleteObject, info: BucketInfo, deadline: Deadline) -> DeleteResult:
        key = request.key.encode()
        name = KeyName(Space.OBJECT, info.bucket_id, key)
        check, in_time = condition_check(request.key, request.condition), deadline.sooner(READ_SECONDS)
        place = self._engine.store_map.place(info.bucket_id, key)

        def look(drive_set: DriveSet) -> Coroutine[Any, Any, tuple[WriteBasis, Found | ReadQuorumLost]]:
            return self._engine.reader.basis_and_latest(drive_set, name, version_id=NULL_VERSION, deadline=deadline)

        committer = self._engine.committer
        is_unread = check is None and place.is_only and committer.may_remove_unread(place.drive_set, info.bucket_id)
        early = (lambda: look(place.drive_set)) if place.is_only and not is_unread else None
        async with hold(self._engine, [object_lock(info, key)], deadline=deadline, early=early) as held:
            if is_unread:
                write = self._removal(request, info, place, Kind.TOMBSTONE, NULL_VERSION, CasScope.KEY, deadline)
                if await committer.remove_unread(place.drive_set, write, lease=held.lease, deadline=deadline):
                    return _REMOVED
            home = await self._engine.homes.find(info.bucket_id, key, deadline=deadline)
            seen = await held.read() if home.drive_set is place.drive_set else None
            basis, found = seen or await look(home.drive_set)
            decided = None
            if isinstance(found, ReadQuorumLost):
                if check is not None:
                    raise found
                deadline = in_time  # Removing needs no decision on what is there: a key in doubt is cleared so.
            else:
                is_there = found.record is not None
                committer.learn_of_removal(home.drive_set, info.bucket_id, basis, was_there=is_there)
                if check is not None:
                    check(found.record)
                    decided = found
                if found.record is None:  # A remembered configuration could hide that the bucket is versioned, or gone.
                    await self._buckets.must_be_current(info, home.topology_number, deadline=deadline)
                    return _REMOVED
            write = self._removal(request, info, home, Kind.TOMBSTONE, NULL_VERSION, CasScope.KEY, deadline)
            write = msgspec.structs.replace(write, check=check)
            await committer.write(home.drive_set, write, lease=held.lease, read=(basis, decided), deadline=deadline)
        return _REMOVED

    async def _add_marker(self, request: DeleteObject, info: BucketInfo, deadline: Deadline) -> DeleteResult:
        key = request.key.encode()
        version_id = None if versions_a_write(info) else NULL_VERSION
        check = condition_check(request.key, request.condition)

        def marker(place: Place) -> VersionWrite:
            write = self._removal(request, info, place, Kind.DELETE_MARKER, version_id, CasScope.KEY, deadline)
            return msgspec.structs.replace(write, check=check)

        place = self._engine.store_map.place(info.bucket_id, key)
        early = None
        if place.is_only:
            early = self._engine.committer.early_read(place.drive_set, marker(place), deadline=deadline)
        async with hold(
            self._engine, [object_lock(info, key)], deadline=deadline, early=early, is_blind=check is None
        ) as held:
            home = await self._engine.homes.find(info.bucket_id, key, deadline=deadline)
            write = marker(home)
            read = None
            if home.drive_set is place.drive_set:
                read = await held.read_together(
                    partial(self._engine.committer.read, home.drive_set, write, deadline=deadline)
                )
            record = await self._engine.committer.write(
                home.drive_set, write, lease=held.lease, company=held.company, read=read, deadline=deadline
            )
        return DeleteResult(is_delete_marker=True, version_id=record.version_id)

    def _removal(
        self,
        request: DeleteObject,
        info: BucketInfo,
        place: Place,
        kind: Kind,
        version_id: VersionId | None,
        scope: CasScope,
        deadline: Deadline,
    ) -> VersionWrite:
        key = request.key.encode()
        draft = Record(
            space=Space.OBJECT,
            bucket_id=info.bucket_id,
            key=key,
            version_id=NULL_VERSION,
            kind=kind,
            created=NO_TIME,
            time=NO_TIME,
            base=NO_TIME,
            generations=(),
            modified_ns=self._engine.clock.now_ns(),
        )
        is_marker = kind is Kind.DELETE_MARKER
        event_name = "s3:ObjectRemoved:DeleteMarkerCreated" if is_marker else "s3:ObjectRemoved:Delete"
        return VersionWrite(
            name=KeyName(Space.OBJECT, info.bucket_id, key),
            draft=draft,
            version_id=version_id,
            scope=scope,
            bucket_number=info.number,
            reload_bucket=self._buckets.reload_number(info.name, info.bucket_id, deadline=deadline),
            event=event_row(info, event_name, request.event_facts),
            topology_number=place.topology_number,
        )
