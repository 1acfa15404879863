"""Bytes that are stored and not named yet: where they lie, and moving them when their key lives elsewhere."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

import msgspec

from liteio_base.byte_span import ByteSpan
from liteio_base.check import BrokenBelief
from liteio_base.clock import Randomness
from liteio_base.ids import new_data_id
from liteio_contracts.object_layer import BodyFacts
from liteio_formats.record import Record
from liteio_objects.shard_coding import PayloadShard
from liteio_objects.shard_io import ShardIO
from liteio_objects.shard_reading import ShardSources, open_inline, open_object
from liteio_objects.shard_writing import StoredBody, store_body
from liteio_objects.store_map import Place


class Staged(msgspec.Struct, frozen=True):
    """A record that is not committed yet, and its bytes in the set of `place`.

    payloads: an inline object's shards, by shard index. slots: the drives that have its shard files; None when it has
    none of its own. is_linked: the bytes are another object's, and can not be moved.
    """

    place: Place
    draft: Record
    payloads: Mapping[int, PayloadShard] = {}
    slots: frozenset[int] | None = None
    is_linked: bool = False

    @classmethod
    def of(cls, place: Place, draft: Record, stored: StoredBody) -> "Staged":
        if stored.inline is not None:
            return cls(place, draft, dict(enumerate(stored.inline)))
        if stored.part is None:
            return cls(place, draft)
        return cls(place, draft, {}, frozenset(place.drive_set.slots) - stored.failed_slots)


async def move_staged(staged: Staged, place: Place, io: ShardIO, randomness: Randomness) -> Staged:
    """The same bytes in the set of another place; what lay in the first one is garbage from now on.

    Raises ReadQuorumLost, WriteQuorumLost, StoreFull. Cost: the object is read and written once.
    """
    draft = staged.draft
    code = place.drive_set.code
    draft_there = msgspec.structs.replace(draft, k=code.k, m=code.m, order=place.order)
    if not draft.parts:
        return Staged(place, draft_there)
    [part] = draft.parts
    stored = await store_body(
        place.drive_set,
        place.order,
        _StagedBody(staged, io),
        data_id=new_data_id(randomness),
        part_number=part.number,
        may_be_inline=True,
        io=io,
    )
    if stored.part is None:
        raise BrokenBelief("a part has bytes")
    part_there = msgspec.structs.replace(stored.part, etag=part.etag, checksum=part.checksum)
    moved = msgspec.structs.replace(draft_there, parts=(part_there,), is_inline=stored.inline is not None)
    return Staged.of(place, moved, stored)


class _StagedBody:
    """Body of bytes that were checked when they came: each block is verified by its hash."""

    def __init__(self, staged: Staged, io: ShardIO) -> None:
        self._staged, self._io = staged, io

    @property
    def size_bytes(self) -> int | None:
        return self._staged.draft.size_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        draft = self._staged.draft
        if draft.is_inline:
            yield await open_inline(draft, self._staged.payloads, _no_more)
            return
        sources = ShardSources(self._staged.place.drive_set, draft, holders=self._staged.slots)
        shards = await open_object(sources, ByteSpan(0, draft.size_bytes), io=self._io)
        try:
            async with aclosing(shards.read()) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            await shards.close()

    def facts(self) -> BodyFacts:
        return BodyFacts(self._staged.draft.etag, self._staged.draft.checksum)


async def _no_more() -> Mapping[int, PayloadShard]:
    return {}
