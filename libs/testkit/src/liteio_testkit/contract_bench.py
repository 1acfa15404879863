"""What the StorageAPI contract suite stands on: the drive under test, and short words for making records and shards."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from liteio_base.deadline import Deadline
from liteio_base.ids import (
    NULL_VERSION,
    SYSTEM_BUCKET,
    BucketId,
    DataId,
    Generation,
    HybridTime,
    UploadId,
    VersionId,
    new_bucket_id,
    new_data_id,
)
from liteio_contracts.storage import (
    CasScope,
    Commit,
    Entry,
    FenceAnswer,
    FenceRequest,
    KeyAnswer,
    KeyName,
    KeyQuery,
    RowCommit,
    ShardRef,
    StorageAPI,
    VersionRef,
)
from liteio_erasure.bitrot import hash_block
from liteio_erasure.code import CodeParams
from liteio_erasure.framing import ShardLayout
from liteio_formats.bodies import BucketBody, BucketState, UploadBody, UploadState, encode_body
from liteio_formats.keys import part_key, upload_key
from liteio_formats.record import Kind, PartEntry, Record, Space, encode_record
from liteio_testkit.manual_clock import ManualClock
from liteio_testkit.seeded_randomness import SeededRandomness

NS = 1_000_000_000
PATIENCE_SECONDS = 30.0
K, M = 2, 2


@dataclass(slots=True)
class DriveUnderTest:
    """A fresh, empty, authoritative drive at slot 0 of a set of K + M = 4.

    clock: the drive's own, wall and monotonic. restart: stop the drive as kill -9 does, open it again on what it had
    made durable, and give the new object. The two ages are what the drive was configured with.
    """

    drive: StorageAPI
    clock: ManualClock
    restart: Callable[[], Awaitable[StorageAPI]]
    garbage_grace_seconds: float
    tombstone_seconds: float


@dataclass(slots=True)
class Bench:
    """Makes records of one bucket and commits them. Times are small whole numbers; `time` 7 is newer than 6."""

    subject: DriveUnderTest
    bucket_id: BucketId = SYSTEM_BUCKET
    randomness: SeededRandomness = field(default_factory=lambda: SeededRandomness("bench"))

    @property
    def drive(self) -> StorageAPI:
        return self.subject.drive

    @property
    def soon(self) -> Deadline:
        return Deadline.after(PATIENCE_SECONDS, self.subject.clock)

    async def restart(self) -> None:
        self.subject.drive = await self.subject.restart()

    async def generation(self) -> Generation:
        return (await self.drive.status(deadline=self.soon)).generation

    # -- records

    def name(self, key: bytes, space: Space = Space.OBJECT) -> KeyName:
        return KeyName(space, self.bucket_id, key)

    def record(
        self, key: bytes, time: int, version: str = NULL_VERSION, kind: Kind = Kind.VALUE, **more: Any
    ) -> Record:
        """`created` is `time` unless given; so is the size, so that records of one key differ."""
        fields: dict[str, Any] = {
            "space": Space.OBJECT,
            "bucket_id": self.bucket_id,
            "created": time,
            "base": 0,
            "generations": (),
            "k": K,
            "m": M,
            "order": tuple(range(K + M)),
        }
        return Record(key=key, time=HybridTime(time), version_id=VersionId(version), kind=kind, **(fields | more))

    def tombstone(self, of: Record, time: int) -> Record:
        return Record(
            space=of.space,
            bucket_id=of.bucket_id,
            key=of.key,
            version_id=of.version_id,
            kind=Kind.TOMBSTONE,
            created=of.created,
            time=HybridTime(time),
            base=of.time,
            generations=(),
        )

    # -- transactions

    async def commit(self, *records: Record, **options: Any) -> None:
        """As a settler does unless told otherwise: base is each record's own time, and no promise is checked.

        options: base, scope, payload, payload_hash, shard_index of the rows; the rest are the Commit's fields.
        """
        names = ("base", "scope", "payload", "payload_hash", "shard_index")
        of_rows = {name: options.pop(name) for name in names if name in options}
        rows = tuple(row_commit(record, **of_rows) for record in records)
        await self.drive.commit(Commit(rows, **options), deadline=self.soon)

    async def put(self, key: bytes, time: int, version: str = NULL_VERSION, **more: Any) -> Record:
        """Commit an unsettled row, checked against its version only."""
        made = self.record(key, time, version, **more)
        await self.commit(made, scope=CasScope.VERSION)
        return made

    async def put_settled(self, key: bytes, time: int, version: str = NULL_VERSION, **more: Any) -> Record:
        made = await self.put(key, time, version, **more)
        await self.confirm(made)
        return made

    async def bury(self, record: Record, time: int) -> Record:
        """Commit an unsettled tombstone of the record's version."""
        stone = self.tombstone(record, time)
        await self.commit(stone, scope=CasScope.VERSION)
        return stone

    async def confirm(self, *records: Record) -> None:
        await self.drive.confirm([ref_of(record) for record in records], deadline=self.soon)

    async def roll_back(self, record: Record) -> None:
        await self.drive.roll_back(ref_of(record), deadline=self.soon)

    async def fence(self, record: Record, *, base: int = 0, named: str = "") -> FenceAnswer:
        request = FenceRequest(ref_of(record), HybridTime(base), Generation(named))
        return await self.drive.fence(request, deadline=self.soon)

    # -- looking

    async def head(self, key: bytes, space: Space = Space.OBJECT, **more: Any) -> KeyAnswer:
        return await self.drive.read_key(KeyQuery(self.name(key, space), **more), deadline=self.soon)

    async def register(self, key: bytes, *versions: str, space: Space = Space.OBJECT) -> KeyAnswer:
        asked = tuple(VersionId(version) for version in versions or (NULL_VERSION,))
        return await self.head(key, space, version_ids=asked)

    async def times(self, key: bytes, *versions: str, space: Space = Space.OBJECT) -> dict[int, bool]:
        """Time to "is settled" of all that the drive holds in these registers."""
        return settled_by_time((await self.register(key, *versions, space=space)).entries)

    # -- shards

    def new_data_id(self) -> DataId:
        return new_data_id(self.randomness)

    async def stage(
        self, size_bytes: int, data_id: DataId | None = None, number: int = 1, shard_index: int = 0
    ) -> PartEntry:
        """Write this drive's shard file of a part and close it. The part it makes is named by nothing yet."""
        part = PartEntry(number, size_bytes, data_id or self.new_data_id(), f"etag-{number}")
        ref = ShardRef(part.data_id, number, shard_index)
        writer = await self.drive.create_shard(ref, size_hint=0, deadline=self.soon)
        blocks = shard_blocks(ref, size_bytes)
        await writer.write(blocks, block_hashes(ref, blocks))
        await writer.close(K, M, size_bytes)
        return part

    async def put_staged(self, key: bytes, time: int, version: str = NULL_VERSION, size_bytes: int = 300_000) -> Record:
        """An object whose one part is in a shard file."""
        part = await self.stage(size_bytes)
        return await self.put(key, time, version, size_bytes=size_bytes, parts=(part,))

    # -- buckets and uploads

    def new_bucket(self) -> "Bench":
        """The same drive, another bucket incarnation, which the drive does not know before `open_bucket`."""
        return Bench(self.subject, new_bucket_id(HybridTime(1), self.randomness), self.randomness)

    def bucket_record(self, name: bytes, time: int, number: int, state: BucketState = BucketState.OPEN) -> Record:
        body = encode_body(BucketBody(bucket_id=self.bucket_id, number=number, state=state, created_ns=1))
        return self.record(name, time, space=Space.BUCKET, bucket_id=SYSTEM_BUCKET, created=1, body=body)

    async def open_bucket(self, name: bytes = b"bucket", number: int = 1, time: int = 1) -> Record:
        made = self.bucket_record(name, time, number)
        await self.commit(made)
        await self.confirm(made)
        return made

    def upload_record(self, upload_id: str, time: int, state: UploadState = UploadState.OPEN) -> Record:
        body = encode_body(UploadBody(upload_id=UploadId(upload_id), state=state, initiated_ns=1))
        key = upload_key(b"object", UploadId(upload_id))
        return self.record(key, time, space=Space.UPLOAD, created=1, body=body)

    async def put_part(self, upload_id: str, part: PartEntry, time: int, **options: Any) -> Record:
        key = part_key(UploadId(upload_id), part.number)
        made = self.record(key, time, space=Space.PART, size_bytes=part.size_bytes, parts=(part,))
        await self.commit(made, **options)
        return made


def row_commit(record: Record, **fields: Any) -> RowCommit:
    return RowCommit(encode_record(record), **({"base": record.time} | fields))


def ref_of(record: Record) -> VersionRef:
    return VersionRef(KeyName(record.space, record.bucket_id, record.key), record.version_id, record.time)


def settled_by_time(entries: Sequence[Entry]) -> dict[int, bool]:
    return {entry.time: entry.is_settled for entry in entries}


def data_of(record: Record) -> ShardRef:
    """This drive's shard of the record's first part."""
    return ShardRef(record.parts[0].data_id, record.parts[0].number, 0)


async def collect_all(bench: Bench) -> None:
    """Make what was confirmed durable, let the grace pass, and collect."""
    await bench.put(b"zz-%d" % bench.subject.clock.now_ns(), 1)
    bench.subject.clock.advance(bench.subject.garbage_grace_seconds + 1)
    await bench.drive.collect_garbage(deadline=bench.soon)


def shard_blocks(ref: ShardRef, size_bytes: int) -> list[bytes]:
    """Blocks of the right sizes; their bytes differ from block to block."""
    layout = ShardLayout(CodeParams(K, M), size_bytes)
    sizes = [layout.shard_block_span(number).length for number in range(layout.block_count)]
    return [(f"{ref.data_id}{number}".encode() * (size // 32 + 1))[:size] for number, size in enumerate(sizes)]


def block_hashes(ref: ShardRef, blocks: Sequence[bytes]) -> list[bytes]:
    address = (ref.data_id, ref.part_number, ref.shard_index)
    return [hash_block(shard, *address, number) for number, shard in enumerate(blocks)]
