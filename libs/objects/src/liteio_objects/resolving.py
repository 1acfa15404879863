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
    """Resolves keys of any space; `set_of` tells the set that a key lives in."""

    def __init__(self, reader: KeyReader, set_of: Callable[[KeyName], DriveSet]) -> None:
        self._reader, self._set_of = reader, set_of

    async def resolve_latest(self, name: KeyName, *, deadline: Deadline) -> Record | None:
        """The key's latest record, a value or a delete marker. Raises ReadQuorumLost."""
        drive_set = self._set_of(name)
        return (await self._reader.latest(drive_set, name, deadline=deadline)).record

    async def resolve_versions(
        self, name: KeyName, version_ids: Sequence[VersionId], *, deadline: Deadline
    ) -> list[Record]:
        """The records of those of these versions that are there, in no order. Raises ReadQuorumLost."""
        drive_set = self._set_of(name)
        found = await asyncio.gather(
            *(self._reader.version(drive_set, name, version_id, deadline=deadline) for version_id in version_ids)
        )
        return [version.record for version in found if version.record is not None]
