"""Whether the change that an outbox row tells of really happened, as the drive that holds the row sees it.

A row is written with the commit, before it is known whether enough drives accept. So it waits until the version is
settled, and goes without being published when the version was rolled back.
"""

from enum import Enum, auto
from typing import Final

import msgspec

from liteio_base.deadline import Deadline
from liteio_base.ids import SYSTEM_BUCKET
from liteio_contracts.messages import ObjectChange
from liteio_contracts.storage import KeyName, KeyQuery, StorageAPI
from liteio_formats.bodies import decode_bucket_body
from liteio_formats.record import Kind, RecordError, Space, decode_record

_TOMBSTONE_NS: Final = 7 * 86_400 * 1_000_000_000  # well below the 30 days for which tombstones are kept


class Verdict(Enum):
    """PUBLISH: it happened. WAIT: not decided yet. DROP: it was rolled back."""

    PUBLISH = auto()
    WAIT = auto()
    DROP = auto()


async def judge(drive: StorageAPI, change: ObjectChange, *, now_ns: int, deadline: Deadline) -> Verdict:
    """Raises StorageError.

    The drive's own record of the change decides while it is there: published once settled. When it is gone it was
    replaced (something newer of the version is there), or its bucket was removed, or it is so old that what replaced
    it is gone as well: it happened. Else it was rolled back.
    """
    query = KeyQuery(change.key_name, version_ids=(change.version_id,))
    answer = await drive.read_key(query, deadline=deadline)
    for entry in answer.entries:
        if entry.time == change.time:
            return Verdict.PUBLISH if entry.is_settled else Verdict.WAIT
    if any(entry.time > change.time for entry in answer.entries):
        return Verdict.PUBLISH
    if now_ns - change.time > _TOMBSTONE_NS or not await _has_bucket(drive, change, deadline):
        return Verdict.PUBLISH
    return Verdict.DROP


async def _has_bucket(drive: StorageAPI, change: ObjectChange, deadline: Deadline) -> bool:
    """Whether the drive still holds the very bucket: what is left of a removed one goes without a trace."""
    answer = await drive.read_key(
        KeyQuery(KeyName(Space.BUCKET, SYSTEM_BUCKET, change.bucket.encode())), deadline=deadline
    )
    for entry in answer.entries:
        if entry.kind is Kind.VALUE:
            try:
                return decode_bucket_body(decode_record(entry.encoded).body).bucket_id == change.bucket_id
            except (RecordError, msgspec.DecodeError):
                return True  # there is a bucket, unreadable here; its drive will be repaired
    return False
