"""Small records of the store's own, kept in the set that they are about: how far a scan came, or a rebuild.

They are records like any other (committed to W drives, settled, healed, rebuilt), in the system bucket, which no client
can name. They hold no shards.
"""

from liteio_base.deadline import Deadline
from liteio_base.ids import NO_TIME, NULL_VERSION, SYSTEM_BUCKET
from liteio_contracts.storage import KeyName
from liteio_formats.record import Kind, Record, Space
from liteio_objects.committing import VersionWrite
from liteio_objects.drive_set import DriveSet
from liteio_objects.engine import Engine


async def read_system_record(engine: Engine, drive_set: DriveSet, key: bytes, *, deadline: Deadline) -> bytes | None:
    """The body; None when there is none. Raises ReadQuorumLost."""
    found = await engine.reader.version(drive_set, _name(key), NULL_VERSION, deadline=deadline)
    return found.record.body if found.record is not None else None


async def write_system_record(
    engine: Engine, drive_set: DriveSet, key: bytes, body: bytes, *, deadline: Deadline
) -> None:
    """Raises ReadQuorumLost, WriteQuorumLost, StoreFull."""
    draft = Record(
        space=Space.OBJECT,
        bucket_id=SYSTEM_BUCKET,
        key=key,
        version_id=NULL_VERSION,
        kind=Kind.VALUE,
        created=NO_TIME,
        time=NO_TIME,
        base=NO_TIME,
        generations=(),
        modified_ns=engine.clock.now_ns(),
        k=drive_set.code.k,
        m=drive_set.code.m,
        body=body,
    )
    await engine.committer.write(drive_set, VersionWrite(_name(key), draft), deadline=deadline)


def _name(key: bytes) -> KeyName:
    return KeyName(Space.OBJECT, SYSTEM_BUCKET, key)
