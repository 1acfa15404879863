"""What a listing asks of a key on which the drives of its page differ: the read rule, over all drives."""

import asyncio
from collections.abc import Callable, Sequence

from liteio_base.deadline import Deadline
from liteio_base.ids import VersionId
from liteio_contracts.storage import KeyName
from liteio_formats.record import Record
from liteio_objects.drive_set import DriveSet
from liteio_objects.key_reading import KeyReader


class Resolver:
    """Resolves keys of any space; `sets_of` tells the sets that a key may live in, in the order in which to look."""

    def __init__(self, reader: KeyReader, sets_of: Callable[[KeyName], Sequence[DriveSet]]) -> None:
        self._reader, self._sets_of = reader, sets_of

    async def resolve_latest(self, name: KeyName, *, deadline: Deadline) -> Record | None:
        """The key's latest record, a value or a delete marker. Raises ReadQuorumLost."""
        for drive_set in self._sets_of(name):
            found = await self._reader.latest(drive_set, name, deadline=deadline)
            if found.record is not None:
                return found.record
        return None

    async def resolve_versions(
        self, name: KeyName, version_ids: Sequence[VersionId], *, deadline: Deadline
    ) -> list[Record]:
        """The records of those of these versions that are there, in no order. Raises ReadQuorumLost."""
        found = await asyncio.gather(*(self._version(name, version_id, deadline) for version_id in version_ids))
        return [record for record in found if record is not None]

    async def _version(self, name: KeyName, version_id: VersionId, deadline: Deadline) -> Record | None:
        for drive_set in self._sets_of(name):
            found = await self._reader.version(drive_set, name, version_id, deadline=deadline)
            if found.record is not None:
                return found.record
        return None
