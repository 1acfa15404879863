"""Buckets: a record in the system bucket of every set of every pool. DESIGN section 4 gives the protocol.

The first set decides what a bucket is; the others hold it so that their drives can refuse commits that name an older
configuration. A bucket is written to the first set last and removed from it first, so that it is never seen half made.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

import msgspec

from liteio_base.deadline import Deadline
from liteio_base.ids import NO_TIME, NULL_VERSION, SYSTEM_BUCKET, BucketId, HybridTime, new_bucket_id
from liteio_contracts.object_errors import (
    BucketExists,
    BucketMissing,
    BucketNotEmpty,
    ConditionalConflict,
    ObjectError,
    OperationTimeout,
)
from liteio_contracts.object_layer import BucketChange, BucketInfo, CreateBucket, UsageInfo
from liteio_contracts.storage import KeyName, ListMode, ListQuery
from liteio_contracts.storage_errors import BucketHoldsObjects
from liteio_formats.bodies import BucketBody, BucketState, decode_bucket_body, encode_body
from liteio_formats.record import Kind, Record, Space
from liteio_objects.committing import BucketChanged, TopologyChanged, VersionWrite
from liteio_objects.drive_set import DriveSet, ask_most, values
from liteio_objects.engine import Engine
from liteio_objects.listing import list_latest, list_versions
from liteio_objects.locking import bucket_lock, hold
from liteio_objects.store_map import StoreMap

T = TypeVar("T")

# How long a remembered configuration serves reads. Writes need no bound: the drives refuse an outdated one.
CACHE_SECONDS: Final = 1.0
REOPEN_SECONDS: Final = 10.0
LIST_PAGE: Final = 1000
# Closing takes milliseconds. A bucket still closing after so many looks was left by a process that died: whoever
# finds it takes its lock and opens it again.
_CLOSING_RETRIES: Final = 40
_CLOSING_PAUSE_SECONDS: Final = 0.05


class BucketStore:
    """The Buckets role, and the cache of configurations that the other roles read."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._cache: dict[str, tuple[float, BucketInfo]] = {}

    # --- what other roles ask

    async def cached(self, name: str, *, deadline: Deadline) -> BucketInfo:
        """The configuration, at most a second old. Raises BucketMissing."""
        return self.remembered(name) or await self.bucket(name, deadline=deadline)

    def remembered(self, name: str) -> BucketInfo | None:
        """The configuration where nobody need be asked for it."""
        kept = self._cache.get(name)
        return kept[1] if kept is not None and kept[0] > self._engine.clock.monotonic() else None

    async def with_bucket(self, name: str, work: Callable[[BucketInfo], Awaitable[T]], *, deadline: Deadline) -> T:
        """Run a write with the bucket's configuration; again with a newer one when the drives say that
        it is outdated, or the topology."""
        info = self.remembered(name) or await self.bucket(name, deadline=deadline)
        told = 0
        for _ in range(_CLOSING_RETRIES):
            if not self._engine.maps.is_sure:
                await self._engine.maps.refresh(deadline=deadline)
            try:
                return await work(info)
            except BucketChanged as change:
                told, before = max(told, change.number), info
                info = await self.bucket(name, deadline=deadline)
                if (info.bucket_id, info.number) == (before.bucket_id, before.number):
                    await self._engine.clock.sleep(_CLOSING_PAUSE_SECONDS)
            except TopologyChanged:
                await self._engine.maps.catch_up(deadline=deadline)
        # Whoever closed it in some sets and not yet in the first one has died, or holds the lock that this waits for.
        if info.number < told:
            await self._under_topology(lambda: self._reopen_locked(name, told, deadline), deadline)
        raise OperationTimeout(f"the configuration of bucket {name!r} keeps changing")

    async def must_be_current(self, info: BucketInfo, topology_number: int, *, deadline: Deadline) -> None:
        """For what is answered without a write, which drives would refuse. Raises BucketChanged, BucketMissing,
        TopologyChanged."""
        fresh = await self.bucket(info.name, deadline=deadline)
        if (fresh.bucket_id, fresh.number) != (info.bucket_id, info.number):
            raise BucketChanged
        if self._engine.store_map.number != topology_number:
            raise TopologyChanged

    def forget(self, name: str) -> None:
        self._cache.pop(name, None)

    def reload_number(self, name: str, bucket_id: BucketId, *, deadline: Deadline) -> Callable[[], Awaitable[int]]:
        """For commits that some drives have taken: the present number of the very same bucket."""

        async def reload() -> int:
            info = await self.bucket(name, deadline=deadline)
            if info.bucket_id != bucket_id:
                raise BucketMissing(name)
            return info.number

        return reload

    # --- the Buckets role

    async def bucket(self, name: str, *, deadline: Deadline) -> BucketInfo:
        """Read from the drives; a newer topology, of which they tell, is acted on from then on."""
        for _ in range(_CLOSING_RETRIES):
            body = await self._read(name, deadline=deadline)
            if body.state is BucketState.OPEN:
                info = _info(name, body)
                self._cache[name] = (self._engine.clock.monotonic() + CACHE_SECONDS, info)
                return info
            await self._engine.clock.sleep(_CLOSING_PAUSE_SECONDS)
        return await self._under_topology(lambda: self._reopen_locked(name, 0, deadline), deadline)

    async def create_bucket(self, request: CreateBucket, *, deadline: Deadline) -> BucketInfo:
        return await self._engine.tasks.to_its_end(
            self._under_topology(lambda: self._create(request, deadline), deadline)
        )

    async def change_bucket(self, name: str, change: BucketChange, *, deadline: Deadline) -> BucketInfo:
        return await self._engine.tasks.to_its_end(
            self._under_topology(lambda: self._change(name, change, deadline), deadline)
        )

    async def delete_bucket(self, name: str, *, deadline: Deadline) -> None:
        await self._engine.tasks.to_its_end(self._under_topology(lambda: self._delete(name, deadline), deadline))

    async def list_buckets(self, *, deadline: Deadline) -> Sequence[BucketInfo]:
        found: list[BucketInfo] = []
        after = b""
        while True:
            query = ListQuery(space=Space.BUCKET, bucket_id=SYSTEM_BUCKET, after=after, limit=LIST_PAGE)
            page = await list_latest(self._engine.store_map.sets[:1], self._engine.resolver, query, deadline=deadline)
            for key, record in page.records.items():
                body = decode_bucket_body(record.body)
                found.append(_info(key.decode(), body))
            if not page.is_truncated:
                return found
            after = page.last_key

    async def usage(self, name: str, *, deadline: Deadline) -> UsageInfo:
        """The sum over the sets of a drive that has nothing unsettled; without one, of the drive that holds most."""
        info = await self.cached(name, deadline=deadline)
        objects = versions = markers = size = 0
        is_exact = True
        for drive_set in self._engine.store_map.sets:
            answers = values(
                await ask_most(
                    drive_set,
                    drive_set.slots,
                    lambda drive: drive.bucket_usage(info.bucket_id, deadline=deadline),
                    deadline=deadline,
                )
            )
            settled = [usage for usage in answers.values() if not usage.unsettled]
            is_exact = is_exact and bool(settled)
            best = max(settled or answers.values(), key=lambda usage: usage.versions, default=None)
            if best is not None:
                objects, versions = objects + best.objects, versions + best.versions
                markers, size = markers + best.delete_markers, size + best.size_bytes
        return UsageInfo(objects, versions, markers, size, is_exact)

    async def copy_all(self, sets: Sequence[DriveSet], *, deadline: Deadline) -> None:
        """Give every bucket's record to these sets: those of a new pool, before a key can come there. The topology by
        which buckets are made by then has the pool already, so what is made or changed meanwhile is there, too."""
        for info in await self.list_buckets(deadline=deadline):
            await self._under_topology(partial(self._copy, info.name, sets, deadline), deadline)

    # --- how

    async def _under_topology(self, work: Callable[[], Awaitable[T]], deadline: Deadline) -> T:
        """Run a write; again when the store has a newer topology than it acted on."""
        for _ in range(_CLOSING_RETRIES):
            if not self._engine.maps.is_sure:
                await self._engine.maps.refresh(deadline=deadline)
            try:
                return await work()
            except TopologyChanged:
                await self._engine.maps.catch_up(deadline=deadline)
        raise OperationTimeout("the topology keeps changing")

    async def _copy(self, name: str, sets: Sequence[DriveSet], deadline: Deadline) -> None:
        async with hold(self._engine, [bucket_lock(name)], deadline=deadline):
            try:
                body = await self._read(name, deadline=deadline)
            except BucketMissing:
                return

            def must_be_older(record: Record | None) -> None:
                held = decode_bucket_body(record.body) if record is not None else None
                if held is not None and held.bucket_id == body.bucket_id and held.number >= body.number:
                    raise ConditionalConflict("the set has it already")

            for drive_set in sets:
                try:
                    await self._write(
                        self._engine.store_map, drive_set, name, body, check=must_be_older, deadline=deadline
                    )
                except ConditionalConflict:
                    continue

    async def _reopen_locked(self, name: str, told: int, deadline: Deadline) -> BucketInfo:
        async with hold(self._engine, [bucket_lock(name)], deadline=deadline):
            return await self._reopen(name, told, deadline=deadline)

    async def _create(self, request: CreateBucket, deadline: Deadline) -> BucketInfo:
        now_ns = self._engine.clock.now_ns()
        body = BucketBody(
            bucket_id=new_bucket_id(HybridTime(now_ns), self._engine.randomness),
            number=1,
            state=BucketState.OPEN,
            created_ns=now_ns,
            region=request.region,
            owner=request.owner,
        )

        def must_be_absent(record: Record | None) -> None:
            if record is not None:
                raise BucketExists(request.name, decode_bucket_body(record.body).owner)

        async with hold(self._engine, [bucket_lock(request.name)], deadline=deadline):
            store_map = self._engine.store_map
            first, *others = store_map.sets
            found = await self._engine.reader.latest(first, _name(request.name), deadline=deadline)
            must_be_absent(found.record)
            for drive_set in others:
                await self._write(store_map, drive_set, request.name, body, deadline=deadline)
            await self._write(store_map, first, request.name, body, check=must_be_absent, deadline=deadline)
        return self._remember(request.name, body)

    async def _change(self, name: str, change: BucketChange, deadline: Deadline) -> BucketInfo:
        async with hold(self._engine, [bucket_lock(name)], deadline=deadline):
            before = await self._read(name, deadline=deadline)
            fields = {
                field: value
                for field in ("versioning", "tags", "has_events")
                if (value := getattr(change, field)) is not None
            }
            body = msgspec.structs.replace(before, number=before.number + 1, state=BucketState.OPEN, **fields)
            await self._write_everywhere(name, body, deadline=deadline)
        return self._remember(name, body)

    async def _delete(self, name: str, deadline: Deadline) -> None:
        """Mark it closing on W drives of every set, each refusing while it holds an object; then remove it."""
        async with hold(self._engine, [bucket_lock(name)], deadline=deadline):
            body = await self._read(name, deadline=deadline)
            closing = msgspec.structs.replace(body, number=body.number + 1, state=BucketState.CLOSING)
            self.forget(name)
            try:
                await self._write_everywhere(name, closing, deadline=deadline)
                is_empty = await self._is_surely_empty(body.bucket_id, deadline=deadline)
            except ObjectError as trouble:
                await self._reopen(name, closing.number, deadline=Deadline.after(REOPEN_SECONDS, deadline.clock))
                # Drives that missed the objects may have taken it; too few, as those tell that hold them.
                if any(isinstance(cause, BucketHoldsObjects) for cause in trouble.causes):
                    raise BucketNotEmpty(name) from trouble
                raise
            if not is_empty:
                await self._reopen(name, closing.number, deadline=Deadline.after(REOPEN_SECONDS, deadline.clock))
                raise BucketNotEmpty(name)

            await self._remove(name, closing, deadline=deadline)
            self.forget(name)

    async def _read(self, name: str, *, deadline: Deadline) -> BucketBody:
        told: list[int] = []
        found = await self._engine.reader.latest(
            self._engine.store_map.sets[0],
            _name(name),
            hear=lambda answers: told.extend(answer.topology_number for answer in answers),
            deadline=deadline,
        )
        # W drives of this set keep a topology that is active, so one of those that answered tells of it.
        if max(told, default=0) > self._engine.store_map.number or not self._engine.maps.is_sure:
            await self._engine.maps.refresh(deadline=deadline)
        if found.record is None:
            self.forget(name)
            raise BucketMissing(name)
        return decode_bucket_body(found.record.body)

    async def _reopen(self, name: str, told: int, *, deadline: Deadline) -> BucketInfo:
        """Open it in every set. The first one, which is closed last, may be open still: `told` is the newest number
        under which another one was closed."""
        body = await self._read(name, deadline=deadline)
        if body.state is BucketState.CLOSING or body.number <= told:
            body = msgspec.structs.replace(body, number=max(body.number, told) + 1, state=BucketState.OPEN)
            try:
                await self._write_everywhere(name, body, deadline=deadline)
            except ConditionalConflict:  # Somebody else was first: with opening it, or with removing it.
                body = await self._read(name, deadline=deadline)
                if body.state is BucketState.CLOSING:
                    raise
        return self._remember(name, body)

    async def _is_surely_empty(self, bucket_id: BucketId, *, deadline: Deadline) -> bool:
        """W drives of each set found it empty inside their transactions; what only fewer hold was never acknowledged or
        is
        being settled. A listing by the read rule has the last word."""
        query = ListQuery(space=Space.OBJECT, bucket_id=bucket_id, mode=ListMode.VERSIONS, limit=1)
        page = await list_versions(self._engine.store_map.sets, self._engine.resolver, query, deadline=deadline)
        return not page.items

    async def _write_everywhere(self, name: str, body: BucketBody, *, deadline: Deadline) -> None:
        """A new configuration of a bucket that is there. Never written blindly: one that a rival has removed meanwhile,
        or removed and made anew, must not come back. The first set decides, and is written last."""
        store_map = self._engine.store_map
        first, *others = store_map.sets
        for drive_set in reversed(others):
            check = _must_be_of(name, body.bucket_id)
            await self._write(store_map, drive_set, name, body, check=check, deadline=deadline)

        def must_be_older(record: Record | None) -> None:
            _must_be_of(name, body.bucket_id)(record)
            if record is not None and decode_bucket_body(record.body).number >= body.number:
                raise ConditionalConflict("the bucket has changed meanwhile")

        await self._write(store_map, first, name, body, check=must_be_older, deadline=deadline)

    async def _remove(self, name: str, closing: BucketBody, *, deadline: Deadline) -> None:
        """Tombstones, on the first set first. Somebody who took this process for dead may have opened the bucket again,
        and there are objects in it: then nothing is removed."""
        store_map = self._engine.store_map
        first, *others = store_map.sets

        def must_be_closing(record: Record | None) -> None:
            if record is None or decode_bucket_body(record.body) != closing:
                raise ConditionalConflict("the bucket was opened again meanwhile")

        tombstone = Kind.TOMBSTONE
        await self._write(store_map, first, name, closing, kind=tombstone, check=must_be_closing, deadline=deadline)
        for drive_set in others:  # By whatever topology: the bucket is gone, and must go here.
            check = _must_be_of(name, closing.bucket_id)
            try:
                await self._write(None, drive_set, name, closing, kind=tombstone, check=check, deadline=deadline)
            except (BucketMissing, ConditionalConflict):
                continue  # It is gone, or a new bucket of that name is being made.

    async def _write(
        self,
        store_map: StoreMap | None,
        drive_set: DriveSet,
        name: str,
        body: BucketBody,
        *,
        kind: Kind = Kind.VALUE,
        check: Callable[[Record | None], None] | None = None,
        deadline: Deadline,
    ) -> None:
        draft = Record(
            space=Space.BUCKET,
            bucket_id=SYSTEM_BUCKET,
            key=name.encode(),
            version_id=NULL_VERSION,
            kind=kind,
            created=NO_TIME,
            time=NO_TIME,
            base=NO_TIME,
            generations=(),
            modified_ns=self._engine.clock.now_ns(),
            k=drive_set.code.k,
            m=drive_set.code.m,
            body=encode_body(body),
        )
        number = store_map.number if store_map is not None else None
        write = VersionWrite(_name(name), draft, check=check, topology_number=number)
        await self._engine.committer.write(drive_set, write, deadline=deadline)

    def _remember(self, name: str, body: BucketBody) -> BucketInfo:
        info = _info(name, body)
        self._cache[name] = (self._engine.clock.monotonic() + CACHE_SECONDS, info)
        return info


def _must_be_of(name: str, bucket_id: BucketId) -> Callable[[Record | None], None]:
    """The check that a bucket record is there and of this incarnation."""

    def check(record: Record | None) -> None:
        if record is None:
            raise BucketMissing(name)
        if decode_bucket_body(record.body).bucket_id != bucket_id:
            raise ConditionalConflict("the bucket was removed and made anew meanwhile")

    return check


def _name(name: str) -> KeyName:
    return KeyName(Space.BUCKET, SYSTEM_BUCKET, name.encode())


def _info(name: str, body: BucketBody) -> BucketInfo:
    return BucketInfo(
        name=name,
        bucket_id=body.bucket_id,
        number=body.number,
        created_ns=body.created_ns,
        region=body.region,
        owner=body.owner,
        versioning=body.versioning,
        tags=body.tags,
        has_events=body.has_events,
    )
