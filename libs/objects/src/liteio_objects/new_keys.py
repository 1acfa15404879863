"""Which writes need no read before their commit, because their key is likely new.

docs/protocols/commit.md, "A new key": drives that are whole and hold nothing of a key say so by taking the commit.
"""

from collections.abc import Mapping
from typing import Final

from liteio_base.ids import NO_TIME, BucketId, Generation
from liteio_objects.drive_set import DriveSet
from liteio_objects.key_reading import WriteBasis

_BUCKETS_MAX: Final = 10_000


class NewKeys:
    """Guesses from the last write of a bucket. A wrong guess costs a refused commit, and nothing else."""

    def __init__(self) -> None:
        self._generations: dict[int, Mapping[int, Generation]] = {}  # by index, of sets whose N drives were all whole
        self._buckets: set[BucketId] = set()  # whose last key written was a new one

    def guess(self, drive_set: DriveSet, bucket_id: BucketId) -> WriteBasis | None:
        """What a read would likely find; None when the key may well be there, or a drive is away."""
        generations = self._generations.get(drive_set.set_index)
        if generations is None or bucket_id not in self._buckets:
            return None
        if any(drive.is_likely_slow for drive in drive_set.drives):  # A read tells first whether W drives are there.
            return None
        return WriteBasis(NO_TIME, generations, None, is_whole=True)

    def learn(self, drive_set: DriveSet, bucket_id: BucketId, basis: WriteBasis) -> None:
        """From what a writer has read."""
        if not basis.is_whole:
            self._generations.pop(drive_set.set_index, None)
            return
        self._generations[drive_set.set_index] = basis.generations
        if basis.newest_seen == NO_TIME:
            if len(self._buckets) >= _BUCKETS_MAX:
                self._buckets.clear()
            self._buckets.add(bucket_id)
        else:
            self._buckets.discard(bucket_id)

    def forget(self, drive_set: DriveSet, bucket_id: BucketId) -> None:
        """Not every drive took a commit that was sent on a guess: read before the next."""
        self._generations.pop(drive_set.set_index, None)
        self._buckets.discard(bucket_id)
