"""Which writes need no read before their commit, because their key is likely new, or is to be removed and likely there.

docs/protocols/commit.md, "A new key" and "A key that is there": whole drives say by taking or refusing the commit what
a read would have told.
"""

from collections.abc import Mapping
from typing import Final

from liteio_base.ids import NO_TIME, BucketId, Generation
from liteio_objects.drive_set import DriveSet
from liteio_objects.key_reading import WriteBasis

_BUCKETS_MAX: Final = 10_000


class Guesses:
    """From the last write of a bucket, and the last removal. A wrong guess costs a refused commit, and nothing else."""

    def __init__(self) -> None:
        self._generations: dict[int, Mapping[int, Generation]] = {}  # by index, of sets whose N drives were all whole
        self._new = _Buckets()  # whose last key written was a new one
        self._gone = _Buckets()  # whose last key to be removed was not there

    def new_key(self, drive_set: DriveSet, bucket_id: BucketId) -> WriteBasis | None:
        """What a read would likely find; None when the key may well be there, or a drive is away."""
        return self._basis(drive_set) if bucket_id in self._new else None

    def held_key(self, drive_set: DriveSet, bucket_id: BucketId) -> WriteBasis | None:
        """What the removal of a key can begin with; None when it may well be gone, or a drive is away."""
        return None if bucket_id in self._gone else self._basis(drive_set)

    def learn(self, drive_set: DriveSet, basis: WriteBasis) -> None:
        """From what a writer has read."""
        if basis.is_whole:
            self._generations[drive_set.set_index] = basis.generations
        else:
            self._generations.pop(drive_set.set_index, None)

    def learn_of_write(self, drive_set: DriveSet, bucket_id: BucketId, basis: WriteBasis) -> None:
        """From what the writer of a key has read that may have been new."""
        self.learn(drive_set, basis)
        if basis.is_whole:
            self._new.note(bucket_id, basis.newest_seen == NO_TIME)

    def learn_of_removal(self, bucket_id: BucketId, *, was_there: bool) -> None:
        self._gone.note(bucket_id, not was_there)

    def forget(self, drive_set: DriveSet, bucket_id: BucketId) -> None:
        """Not every drive took a commit that was sent on a guess: read before the next."""
        self._generations.pop(drive_set.set_index, None)
        self._new.note(bucket_id, False)

    def _basis(self, drive_set: DriveSet) -> WriteBasis | None:
        generations = self._generations.get(drive_set.set_index)
        if generations is None:
            return None
        if any(drive.is_likely_slow for drive in drive_set.drives):  # A read tells first whether W drives are there.
            return None
        return WriteBasis(NO_TIME, generations, None, is_whole=True)


class _Buckets:
    """Some buckets of which something is true: no more than are worth remembering."""

    def __init__(self) -> None:
        self._ids: set[BucketId] = set()

    def __contains__(self, bucket_id: BucketId) -> bool:
        return bucket_id in self._ids

    def note(self, bucket_id: BucketId, is_true: bool) -> None:
        if not is_true:
            self._ids.discard(bucket_id)
            return
        if len(self._ids) >= _BUCKETS_MAX:
            self._ids.clear()
        self._ids.add(bucket_id)
