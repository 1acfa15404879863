"""Which of its places a key lives in, for writers of a store with several placement epochs.

A key lives in one set at a time: where some drive remembers anything of it, be it a tombstone or an upload, there it
stays. Only a key that is remembered nowhere goes to the newest epoch's place.
"""

import asyncio
import logging
from collections.abc import Sequence

from liteio_base.clock import Clock
from liteio_base.deadline import Deadline
from liteio_base.ids import NO_TIME, NULL_VERSION, BucketId, UploadId
from liteio_contracts.storage import CasScope, KeyName, ListQuery
from liteio_formats.keys import split_upload_key, upload_key
from liteio_formats.record import Kind, Record, Space
from liteio_objects.committing import Committer, VersionWrite
from liteio_objects.drive_set import DriveSet, ask_most, values
from liteio_objects.key_reading import KeyReader
from liteio_objects.listing import list_latest
from liteio_objects.map_keeping import MapKeeper
from liteio_objects.resolving import Resolver
from liteio_objects.store_map import Place

_log = logging.getLogger(__name__)


class Homes:
    """Looks for keys in all of their places. Raises ReadQuorumLost where one of these can not tell."""

    def __init__(self, maps: MapKeeper, reader: KeyReader, committer: Committer, clock: Clock) -> None:
        self._maps, self._reader, self._committer, self._clock = maps, reader, committer, clock

    async def look(self, bucket_id: BucketId, key: bytes, *, deadline: Deadline) -> Place:
        """Where the key lives, or would be written, as far as can be told without its lock."""
        return (await self._find(bucket_id, key, deadline))[0]

    async def find(self, bucket_id: BucketId, key: bytes, *, deadline: Deadline) -> Place:
        """The same under the key's lock; what was left of it in other places is removed.

        Something is left there only when a creation by an older topology, which was not acknowledged, came to light
        after the key was made by the newer one. Readers do not see it, since they find the key before.
        """
        place = self._maps.current.place(bucket_id, key)
        if place.is_only:
            return place
        home, *strays = await self._find(bucket_id, key, deadline)
        for stray in strays:
            await self._clear(stray, KeyName(Space.OBJECT, bucket_id, key), deadline)
        return home

    async def may_stay(self, drive_set: DriveSet, name: KeyName, deadline: Deadline) -> int | None:
        """The number of the topology of now, when a write of which some drives of this set took their part may be
        carried to its end there: an object or upload that no other place remembers, a part in any case."""
        await self._maps.catch_up(deadline=deadline)
        if name.space is Space.PART:
            return self._maps.current.number
        if name.space is Space.BUCKET:
            return None
        key = split_upload_key(name.key)[0] if name.space is Space.UPLOAD else name.key
        holders = await self._holders(name.bucket_id, key, deadline)
        is_here = len(holders) == 1 and holders[0].drive_set is drive_set
        return holders[0].topology_number if is_here else None

    async def _find(self, bucket_id: BucketId, key: bytes, deadline: Deadline) -> list[Place]:
        """The key's place, and behind it others that hold something of the key which nobody sees."""
        places = self._maps.current.places(bucket_id, key)
        if len(places) == 1:
            return places
        holders = await self._holders(bucket_id, key, deadline)
        if len(holders) < 2:
            return holders or places[:1]
        live = await self._live(holders, KeyName(Space.OBJECT, bucket_id, key), deadline)
        return live or holders[:1]

    async def _holders(self, bucket_id: BucketId, key: bytes, deadline: Deadline) -> list[Place]:
        """The key's places, newest epoch first, of which some drive remembers it."""
        places, name = self._maps.current.places(bucket_id, key), KeyName(Space.OBJECT, bucket_id, key)
        remember = await asyncio.gather(*(self._remembers(place, name, deadline) for place in places))
        return [place for place, is_known in zip(places, remember, strict=True) if is_known]

    async def _live(self, places: Sequence[Place], name: KeyName, deadline: Deadline) -> list[Place]:
        """Those in which the key has a value or a delete marker, in order."""
        found = await asyncio.gather(
            *(self._reader.latest(place.drive_set, name, deadline=deadline) for place in places)
        )
        return [place for place, each in zip(places, found, strict=True) if each.record is not None]

    async def _remembers(self, place: Place, name: KeyName, deadline: Deadline) -> bool:
        """Whether any drive asked has anything of the key, acknowledged or not, or of an upload to it."""
        drive_set = place.drive_set
        basis = await self._reader.basis(drive_set, name, deadline=deadline)
        if basis.newest_seen != NO_TIME:
            return True
        uploads = ListQuery(
            space=Space.UPLOAD, bucket_id=name.bucket_id, prefix=upload_key(name.key, UploadId("")), limit=1
        )
        resolver = Resolver(self._reader, lambda _: (drive_set,))
        return bool((await list_latest((drive_set,), resolver, uploads, deadline=deadline)).records)

    async def _clear(self, place: Place, name: KeyName, deadline: Deadline) -> None:
        """Remove every version of the key from one of its places."""
        _log.warning("set %s holds %s, which lives elsewhere: it is removed there", place.drive_set.set_index, name)
        drive_set = place.drive_set
        held = await ask_most(
            drive_set, drive_set.slots, lambda drive: drive.key_versions(name, deadline=deadline), deadline=deadline
        )
        draft = Record(
            space=name.space,
            bucket_id=name.bucket_id,
            key=name.key,
            version_id=NULL_VERSION,
            kind=Kind.TOMBSTONE,
            created=NO_TIME,
            time=NO_TIME,
            base=NO_TIME,
            generations=(),
            modified_ns=self._clock.now_ns(),
        )
        for version_id in sorted({version_id for ids in values(held).values() for version_id in ids}):
            write = VersionWrite(name, draft, version_id, scope=CasScope.VERSION, topology_number=place.topology_number)
            await self._committer.write(drive_set, write, deadline=deadline)
