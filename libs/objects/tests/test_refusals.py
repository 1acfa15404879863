"""What a writer is told when every drive refused its commit."""

import pytest

from liteio_base.ids import NO_TIME, NULL_VERSION, BucketId
from liteio_contracts.object_errors import UploadMissing, WriteQuorumLost
from liteio_contracts.storage import KeyName
from liteio_contracts.storage_errors import RequirementMissing, ShardMissing, StorageError
from liteio_formats.record import Kind, Record, Space
from liteio_objects.committing import VersionWrite, refusal_error
from liteio_testkit.store_bench import StoreBench

BUCKET = BucketId("b")
UPLOAD = KeyName(Space.UPLOAD, BUCKET, b"k\0" + b"7" * 48)


def part_write() -> VersionWrite:
    name = KeyName(Space.PART, BUCKET, b"part")
    draft = Record(
        space=name.space,
        bucket_id=BUCKET,
        key=name.key,
        version_id=NULL_VERSION,
        kind=Kind.VALUE,
        created=NO_TIME,
        time=NO_TIME,
        base=NO_TIME,
        generations=(),
        modified_ns=0,
    )
    return VersionWrite(name, draft, requires=UPLOAD)


@pytest.mark.parametrize(
    ("missing", "others", "expected"), [(3, 0, UploadMissing), (3, 1, UploadMissing), (2, 2, WriteQuorumLost)]
)
def test_an_upload_is_gone_when_more_drives_say_so_than_may_be_lost(
    missing: int, others: int, expected: type[Exception]
) -> None:
    """An emptied drive knows no upload at all."""
    drive_set = StoreBench.of(4, 2).store.engine.store_map.sets[0]
    refusals: list[StorageError] = [RequirementMissing("no upload here")] * missing + [ShardMissing("no file")] * others
    assert isinstance(refusal_error(drive_set, part_write(), refusals), expected)
