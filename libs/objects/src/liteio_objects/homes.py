"""Which of its places a key lives in, for writers of a store with several placement epochs.

A key lives in one set at a time: where some drive remembers anything of it, be it a tombstone or an upload, there it
stays. Only a key that is remembered nowhere goes to the newest epoch's place.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from liteio_base.clock import Clock
from liteio_base.deadline import Deadline
from liteio_base.ids import NO_TIME, NULL_VERSION, BucketId, UploadId
from liteio_contracts.storage import CasScope, KeyName, ListQuery
from liteio_formats.keys import upload_key
from liteio_formats.record import Kind, Record, Space
from liteio_objects.committing import Committer, VersionWrite
from liteio_objects.drive_set import ask_most, values
from liteio_objects.key_reading import KeyReader
from liteio_objects.listing import list_latest
from liteio_objects.resolving import Resolver
from liteio_objects.store_map import Place, StoreMap

_log = logging.getLogger(__name__)


class Homes:
    """Looks for keys in all of their places. Raises ReadQuorumLost where one of these can not tell."""

    def __init__(
        self, store_map: Callable[[], StoreMap], reader: KeyReader, committer: Committer, clock: Clock
    ) -> None:
        self._store_map, self._reader, self._committer, self._clock = store_map, reader, committer, clock

    async def look(self, bucket_id: BucketId, key: bytes, *, deadline: Deadline) -> Place:
        """Where the key lives, or would be written, as far as can be told without its lock."""
        return (await self._find(bucket_id, key, deadline))[0]

    async def find(self, bucket_id: BucketId, key: bytes, *, deadline: Deadline) -> Place:
        """The same under the key's lock; what was left of it in other places is removed.

        Something is left there only when a creation by an older topology, which was not acknowledged, came to light
        after the key was made by the newer one. Readers do not see it, since they find the key before.
        """
        home, *strays = await self._find(bucket_id, key, deadline)
        for stray in strays:
            await self._clear(stray, KeyName(Space.OBJECT, bucket_id, key), deadline)
        return home

    async def _find(self, bucket_id: BucketId, key: bytes, deadline: Deadline) -> list[Place]:
        """The key's place, and behind it others that hold something of the key which nobody sees."""
        places = self._store_map().places(bucket_id, key)
        if len(places) == 1:
            return places
        name = KeyName(Space.OBJECT, bucket_id, key)
        remember = await asyncio.gather(*(self._remembers(place, name, deadline) for place in places))
        holders = [place for place, is_known in zip(places, remember, strict=True) if is_known]
        if len(holders) < 2:
            return holders or places[:1]
        live = await self._live(holders, name, deadline)
        return live or holders[:1]

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
