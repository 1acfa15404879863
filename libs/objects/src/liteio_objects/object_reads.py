"""The ObjectReads role: head and open."""

from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, Final

from liteio_base.byte_span import ByteSpan
from liteio_base.deadline import Deadline
from liteio_base.ids import NO_TIME
from liteio_contracts.object_errors import DeleteMarkerFound, ObjectMissing, ReadQuorumLost, VersionMissing
from liteio_contracts.object_layer import BucketInfo, ObjectInfo, ReadObject
from liteio_contracts.storage import KeyName
from liteio_formats.record import Kind, Record, Space, digest_of, encode_record
from liteio_objects.buckets import BucketStore
from liteio_objects.engine import Engine
from liteio_objects.info import object_info
from liteio_objects.key_reading import Found
from liteio_objects.registers import read_registers
from liteio_objects.settling import payload_shards
from liteio_objects.shard_reading import (
    BadShard,
    ObjectShards,
    PayloadShard,
    ShardsGone,
    ShardSources,
    open_inline,
    open_object,
)
from liteio_objects.store_map import Place

_REOPENINGS_MAX: Final = 3


class ObjectReading:
    """Reads objects of a store."""

    def __init__(self, engine: Engine, buckets: BucketStore) -> None:
        self._engine, self._buckets = engine, buckets

    async def head(self, request: ReadObject, *, deadline: Deadline) -> ObjectInfo:
        info, _, found = await self.find(request, wants_payload=False, deadline=deadline)
        return object_info(info, shown(request, found), is_latest=request.version_id is None)

    async def open(self, request: ReadObject, *, deadline: Deadline) -> "StoredObject":
        info, place, found = await self.find(request, wants_payload=True, deadline=deadline)
        record = shown(request, found)
        whole = None
        if record.is_inline:
            more = MorePayloads(place, record, deadline)
            whole = await open_inline(record, found.payloads, more, alarm=self._alarm(place, record))
        return StoredObject(self, self._engine, request, info, place, record, whole)

    async def find(
        self, request: ReadObject, *, wants_payload: bool, deadline: Deadline
    ) -> tuple[BucketInfo, Place, Found]:
        """The record asked for, or none. Raises BucketMissing and ReadQuorumLost only."""
        info = self._buckets.remembered(request.bucket) or await self._buckets.bucket(request.bucket, deadline=deadline)
        key = request.key.encode()
        while True:
            place = self._engine.store_map.place(info.bucket_id, key)
            found = await self._read(info, place, request, wants_payload, deadline)
            if found.record is None and not place.is_only:
                place, found = await self._read_older(info, place, request, wants_payload, deadline)
            if found.record is not None:
                return info, place, found
            # Absence must not rest on a remembered bucket, nor on a map that is out of date.
            before, info = info, await self._buckets.bucket(request.bucket, deadline=deadline)
            if info.bucket_id == before.bucket_id and place.topology_number == self._engine.store_map.number:
                return info, place, found

    async def _read_older(
        self, info: BucketInfo, newest: Place, request: ReadObject, wants_payload: bool, deadline: Deadline
    ) -> tuple[Place, Found]:
        """Look where older epochs place a key that is not in the newest one's place."""
        for place in self._engine.store_map.places(info.bucket_id, request.key.encode()):
            if place.drive_set is not newest.drive_set:
                found = await self._read(info, place, request, wants_payload, deadline)
                if found.record is not None:
                    return place, found
        return newest, Found(None, NO_TIME)

    def _read(
        self, info: BucketInfo, place: Place, request: ReadObject, wants_payload: bool, deadline: Deadline
    ) -> Coroutine[Any, Any, Found]:
        name, reader = KeyName(Space.OBJECT, info.bucket_id, request.key.encode()), self._engine.reader
        if request.version_id is None:
            payload_order = place.order if wants_payload else None
            return reader.latest(place.drive_set, name, payload_order=payload_order, deadline=deadline)
        return reader.version(place.drive_set, name, request.version_id, wants_payload=wants_payload, deadline=deadline)

    def _alarm(self, place: Place, record: Record) -> "Alarm":
        return Alarm(self._engine, place, record)


class Alarm:
    """Hears of bad shards while an object is read, and reports the object for repair once."""

    def __init__(self, engine: Engine, place: Place, record: Record) -> None:
        self._engine, self._place, self._record = engine, place, record
        self._is_reported = False

    def __call__(self, bad: BadShard) -> None:
        if not self._is_reported:
            self._is_reported = True
            self._engine.report_bad_shard(self._place.drive_set, self._record)


class MorePayloads:
    """Further inline shards of a record, from all drives, when those at hand are not good enough."""

    def __init__(self, place: Place, record: Record, deadline: Deadline) -> None:
        self._place, self._record, self._deadline = place, record, deadline

    async def __call__(self) -> Mapping[int, PayloadShard]:
        record = self._record
        registers = await read_registers(
            self._place.drive_set,
            KeyName(record.space, record.bucket_id, record.key),
            (record.version_id,),
            wants_payload=True,
            deadline=self._deadline,
        )
        return payload_shards(registers, record, digest_of(encode_record(record)))


class StoredObject:
    """ObjectReader over shards."""

    def __init__(
        self,
        reading: ObjectReading,
        engine: Engine,
        request: ReadObject,
        bucket: BucketInfo,
        place: Place,
        record: Record,
        whole: bytes | None,
    ) -> None:
        self._reading, self._engine, self._request = reading, engine, request
        self._place, self._record, self._whole = place, record, whole
        self._shards: ObjectShards | None = None
        self.info: ObjectInfo = object_info(bucket, record, is_latest=request.version_id is None)

    def read(self, span: ByteSpan) -> AsyncIterator[bytes]:
        if self._whole is not None:
            return _Once(self._whole[span.start : span.end])
        return self._read_shards(span)

    async def _read_shards(self, span: ByteSpan) -> AsyncIterator[bytes]:
        """The shards are opened before the first bytes are given, and stay open; replaced data goes seconds later."""
        if not span.length:
            return
        self._shards = shards = await self._opened(span)
        try:
            async with aclosing(shards.read()) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            await shards.close()

    async def close(self) -> None:
        """Also when a `read` was begun and not read to its end."""
        self._whole = None
        if self._shards is not None:
            await self._shards.close()

    async def _opened(self, span: ByteSpan) -> ObjectShards:
        for attempt in range(_REOPENINGS_MAX):
            try:
                return await open_object(
                    ShardSources(self._place.drive_set, self._record),
                    span,
                    io=self._engine.shard_io,
                    alarm=Alarm(self._engine, self._place, self._record),
                )
            except ShardsGone:
                if attempt == _REOPENINGS_MAX - 1 or not await self._is_still_named():
                    raise
        raise AssertionError("unreachable")

    async def _is_still_named(self) -> bool:
        """Whether the record is still what the key holds: its shards may have been moved by a repair meanwhile."""
        deadline = self._engine.shard_io.deadline()
        try:
            _, _, found = await self._reading.find(self._request, wants_payload=False, deadline=deadline)
        except ReadQuorumLost:
            return False
        return found.record is not None and found.record.time == self._record.time


class _Once:
    """One chunk, or none when it is empty. A generator costs more: the loop keeps book of those that are open."""

    __slots__ = ("_chunk",)

    def __init__(self, chunk: bytes) -> None:
        self._chunk = chunk

    def __aiter__(self) -> "_Once":
        return self

    async def __anext__(self) -> bytes:
        chunk, self._chunk = self._chunk, b""
        if not chunk:
            raise StopAsyncIteration
        return chunk


def shown(request: ReadObject, found: Found) -> Record:
    """The value that a client sees. Raises ObjectMissing, VersionMissing, DeleteMarkerFound."""
    record = found.record
    if record is None:
        if request.version_id is not None:
            raise VersionMissing(request.key, request.version_id)
        raise ObjectMissing(request.key)
    if record.kind is Kind.DELETE_MARKER:
        if request.version_id is not None:
            raise DeleteMarkerFound(request.key, record.version_id, record.modified_ns)
        raise ObjectMissing(request.key, is_delete_marker=True, version_id=record.version_id)
    return record
