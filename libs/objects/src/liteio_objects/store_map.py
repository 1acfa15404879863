"""Where keys live in this store: its sets of drives, and the set and drive order of a name."""

from collections.abc import Sequence
from typing import NamedTuple

from liteio_base.check import check
from liteio_base.ids import BucketId, DeploymentId
from liteio_contracts.storage import KeyName
from liteio_formats.keys import split_upload_key
from liteio_formats.record import Space
from liteio_objects.drive_set import DriveSet
from liteio_placement.sets import drive_order, placement_name, set_index


class Place(NamedTuple):
    """The set of a name, and its drives in the name's order: shard i lies on slot order[i]."""

    drive_set: DriveSet
    order: tuple[int, ...]


class StoreMap:
    """The sets of one pool. Pure: every gateway computes the same places."""

    def __init__(self, deployment_id: DeploymentId, sets: Sequence[DriveSet]) -> None:
        check(len(sets) > 0, "a store has at least one set")
        self._deployment_id = deployment_id
        self.sets = tuple(sets)

    def place(self, bucket_id: BucketId, key: bytes) -> Place:
        """Where the object `key`, its uploads and their parts live."""
        name = placement_name(bucket_id, key)
        drive_set = self.sets[set_index(name, self._deployment_id, len(self.sets))]
        return Place(drive_set, drive_order(name, drive_set.set_index, drive_set.code.width, self._deployment_id))

    def set_of(self, name: KeyName) -> DriveSet:
        """The set of an object's or an upload's key. A bucket is decided by the first set; a part's
        key does not tell."""
        if name.space is Space.BUCKET:
            return self.sets[0]
        check(name.space is not Space.PART, "a part lives where its object's key says")
        key = split_upload_key(name.key)[0] if name.space is Space.UPLOAD else name.key
        return self.place(name.bucket_id, key).drive_set
