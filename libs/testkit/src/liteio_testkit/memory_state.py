"""`MemoryState`: everything that a MemoryDrive holds, and what of it is durable.

All changes of keys go through `put`, which keeps the order of the names and the count of the rows that name each data
id. What `confirm` changed is not durable until the next transaction that is: `lose_unflushed` takes it back. A shard
file whose last name went is unlinked at `flush`, never before its loss is durable.
"""

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator

from liteio_base.ids import SYSTEM_BUCKET, BucketId, DataId
from liteio_contracts.storage import BucketUsage, KeyName, OutboxRow, StoredTopology
from liteio_formats.bodies import BucketBody, decode_bucket_body
from liteio_formats.record import Kind, Record, Space
from liteio_testkit.held_key import HeldKey
from liteio_testkit.memory_shards import ShardFile

FileName = tuple[DataId, int]  # data id and part number, as in data/<ab>/<data-id>.<part>
_EMPTY = HeldKey()


class MemoryState:
    def __init__(self) -> None:
        self._names: list[KeyName] = []  # sorted
        self._keys: dict[KeyName, HeldKey] = {}
        self._naming_rows: Counter[DataId] = Counter()
        self._before_flush: dict[KeyName, HeldKey] = {}  # what is durable of keys changed since the last flush
        self._unlinkable: set[DataId] = set()
        self.files: dict[FileName, ShardFile] = {}
        self.outbox: list[OutboxRow] = []
        self._outbox_number = 0
        self.topology = StoredTopology()

    def copy(self) -> "MemoryState":
        """As it is now. What it holds is never changed in place."""
        other = MemoryState()
        other._names, other._keys = list(self._names), dict(self._keys)
        other._naming_rows, other._unlinkable = Counter(self._naming_rows), set(self._unlinkable)
        other._before_flush = dict(self._before_flush)
        other.files, other.outbox = dict(self.files), list(self.outbox)
        other._outbox_number, other.topology = self._outbox_number, self.topology
        return other

    # -- keys

    def get(self, name: KeyName) -> HeldKey:
        return self._keys.get(name, _EMPTY)

    def put(self, name: KeyName, held: HeldKey) -> None:
        old = self.get(name)
        if old is held:
            return
        self._before_flush.setdefault(name, old)
        self._count_names(old, -1)
        self._count_names(held, +1)
        if held.is_empty:
            if self._keys.pop(name, None) is not None:
                del self._names[bisect_left(self._names, name)]
            return
        if name not in self._keys:
            insort(self._names, name)
        self._keys[name] = held

    def names(self, after: KeyName | None = None) -> Iterator[KeyName]:
        """All names behind `after`, in order. The caller may change keys meanwhile."""
        start = 0 if after is None else bisect_right(self._names, after)
        return iter(self._names[start:])

    def keys_in(self, space: Space, bucket_id: BucketId, prefix: bytes = b"") -> list[tuple[bytes, HeldKey]]:
        """The keys with this prefix of one space of a bucket, in order."""
        found = []
        for at in range(bisect_left(self._names, KeyName(space, bucket_id, prefix)), len(self._names)):
            name = self._names[at]
            if name[:2] != (space, bucket_id) or not name.key.startswith(prefix):
                break
            found.append((name.key, self._keys[name]))
        return found

    # -- buckets

    def bucket(self, bucket_id: BucketId) -> BucketBody | None:
        """The newest configuration of the incarnation, None when this drive knows none (any more)."""
        first = bisect_left(self._names, KeyName(Space.BUCKET, SYSTEM_BUCKET, b""))
        bodies = (newest_bucket_body(self._keys[name]) for name in self._names[first:])
        return next((body for body in bodies if body is not None and body.bucket_id == bucket_id), None)

    def usage(self, bucket_id: BucketId) -> BucketUsage:
        """Counted from the rows each time: exact because there is nothing to keep in step."""
        objects = versions = markers = size_bytes = unsettled = 0
        for _, held in self.keys_in(Space.OBJECT, bucket_id):
            values = [row for row in held.visible if row.record.kind is Kind.VALUE]
            objects += bool(values) and values[0] is held.visible[0]
            versions += len(values)
            markers += len(held.visible) - len(values)
            size_bytes += sum(row.record.size_bytes for row in values)
            unsettled += sum(1 for _ in held.unsettled)
        return BucketUsage(objects, versions, markers, size_bytes, unsettled)

    def usages(self) -> list[BucketUsage]:
        """Of every bucket that holds objects."""
        return [self.usage(bucket_id) for bucket_id in {name.bucket_id for name in self._names}]

    def drop_bucket(self, bucket_id: BucketId) -> None:
        """Everything of the incarnation but its configuration, which is the tombstone's to remove."""
        for name in self.names():
            if name.bucket_id == bucket_id and name.space is not Space.BUCKET:
                self.put(name, _EMPTY)

    # -- outbox

    def queue_events(self, payloads: Iterable[bytes], now_ns: int) -> None:
        for payload in payloads:
            self._outbox_number += 1
            self.outbox.append(OutboxRow(self._outbox_number, now_ns, payload))

    # -- shard files and durability

    def is_named(self, data_id: DataId) -> bool:
        return self._naming_rows[data_id] > 0

    def flush(self) -> None:
        """All that was done is durable now, and files that lost their last name go."""
        self._before_flush.clear()
        gone = {data_id for data_id in self._unlinkable if not self.is_named(data_id)}
        self._unlinkable.clear()
        if gone:
            self.files = {name: file for name, file in self.files.items() if name[0] not in gone}

    def drop_unnamed_files(self, before_ns: int) -> int:
        """Remove the files that no row names and that were staged before `before_ns`. Returns how many."""
        unnamed = [at for at, file in self.files.items() if not self.is_named(at[0]) and file.staged_ns < before_ns]
        for at in unnamed:
            del self.files[at]
        return len(unnamed)

    def lose_unflushed(self) -> None:
        for name, held in dict(self._before_flush).items():
            self.put(name, held)
        self._before_flush.clear()
        self._unlinkable = {data_id for data_id in self._unlinkable if not self.is_named(data_id)}

    def _count_names(self, held: HeldKey, change: int) -> None:
        for row in held.rows:
            for data_id in named_data(row.record):
                self._naming_rows[data_id] += change
                if self._naming_rows[data_id] <= 0:
                    del self._naming_rows[data_id]
                    self._unlinkable.add(data_id)


def named_data(record: Record) -> set[DataId]:
    """The data ids whose shard files this record needs."""
    return set() if record.is_inline else {part.data_id for part in record.parts if part.size_bytes}


def newest_bucket_body(held: HeldKey) -> BucketBody | None:
    """What the newest row says, None when it is gone or hidden."""
    head = next(iter(held.visible), None)
    return None if head is None or head.record.kind is not Kind.VALUE else decode_bucket_body(head.record.body)
