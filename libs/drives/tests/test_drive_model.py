"""LocalDrive against MemoryDrive: random schedules of changes, after which both must answer everything the same."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from liteio_base.deadline import Deadline
from liteio_base.ids import (
    NULL_VERSION,
    SYSTEM_BUCKET,
    BucketId,
    Generation,
    HybridTime,
    UploadId,
    VersionId,
)
from liteio_contracts.storage import (
    CasScope,
    Commit,
    DigestQuery,
    Entry,
    FenceRequest,
    KeyName,
    KeyQuery,
    ListMode,
    ListQuery,
    RowCommit,
    StorageAPI,
    VersionRef,
)
from liteio_contracts.storage_errors import CommitRefused, StorageError
from liteio_drives.index_live import LiveIndex
from liteio_formats.bodies import BucketBody, BucketState, UploadBody, UploadState, encode_body
from liteio_formats.keys import part_key, part_prefix, upload_key
from liteio_formats.record import Kind, Record, Space, encode_record
from liteio_testkit.manual_clock import ManualClock
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.seeded_randomness import SeededRandomness

from .drive_bench import format_drive, open_drive

KEYS = (b"a", b"a/b", b"a/c", b"b", b"c/\xff")
BUCKETS = (BucketId(""), BucketId("0" * 15 + "1" + "0" * 16))
UPLOADS = (UploadId("ab" * 24), UploadId("cd" * 24))
STEPS = 60
Call = Callable[[StorageAPI, Deadline], Awaitable[object]]


def version_at(created: int, number: int) -> VersionId:
    return VersionId(f"{created:016x}{number:016x}")


class Schedule:
    """Draws records and calls. Times are small, so that rivals, repetitions and late messages are frequent."""

    def __init__(self, seed: int, plain_records: int = 0) -> None:
        """`plain_records`: so many are drawn before the first of a version of its own, or delete marker."""
        self.chance = random.Random(seed)
        self.plain_records = plain_records
        self.made: list[Record] = []
        self.is_purge = False

    def calls(self, count: int) -> list[Call]:
        """Some calls. What an ended bucket or upload leaves is removed when the transaction ends: no call behind."""
        calls: list[Call] = []
        self.is_purge = False
        while len(calls) < count and not self.is_purge:
            calls.append(self._call())
        return calls

    def _call(self) -> Call:
        pick = self.chance.random()
        if pick < 0.55 or not self.made:
            return self._commit()
        record = self.chance.choice(self.made[-12:])
        ref = VersionRef(KeyName(record.space, record.bucket_id, record.key), record.version_id, record.time)
        if pick < 0.8:
            self.is_purge = record.space in (Space.UPLOAD, Space.BUCKET)
            return lambda drive, soon: drive.confirm([ref], deadline=soon)
        if pick < 0.9:
            request = FenceRequest(ref, record.base, Generation(""))
            return lambda drive, soon: drive.fence(request, deadline=soon)
        return lambda drive, soon: drive.roll_back(ref, deadline=soon)

    def _commit(self) -> Call:
        chance = self.chance
        if self.made and chance.random() < 0.2:
            records = [chance.choice(self.made)]  # a late or repeated message
        else:
            records = [self._record() for _ in range(chance.choice((1, 1, 1, 2)))]
            if len({(record.space, record.bucket_id, record.key) for record in records}) < len(records):
                records = records[:1]
        self.made += records
        scope, is_settling = chance.choice(tuple(CasScope)), chance.random() < 0.7
        rows = tuple(
            RowCommit(
                encode_record(record),
                scope=scope,
                base=HybridTime(record.time if is_settling else record.base),
                payload=b"p%d" % record.time if record.is_inline else None,
                payload_hash=b"h" * 32,
            )
            for record in records
        )
        bucket_number = None if is_settling else chance.randrange(4)
        commit = Commit(
            rows,
            bucket_number=bucket_number,
            # Parts of an upload that has ended are removed some time: they must not come again.
            requires=next((_upload_of(each) for each in records if each.space is Space.PART), None),
            lifts_fences=chance.random() < 0.1,
            events=(b"e",) if chance.random() < 0.2 else (),
        )
        return lambda drive, soon: drive.commit(commit, deadline=soon)

    def _record(self) -> Record:
        chance = self.chance
        time = len(self.made) // 2 + chance.randrange(1, 6)
        space = chance.choice((Space.OBJECT,) * 7 + (Space.UPLOAD, Space.PART, Space.BUCKET))
        kind = chance.choice((Kind.VALUE,) * 5 + (Kind.DELETE_MARKER,) * 2 + (Kind.TOMBSTONE,) * 3)
        fields: dict[str, Any] = {"bucket_id": chance.choice(BUCKETS), "key": chance.choice(KEYS), "body": b""}
        created, version = time, NULL_VERSION
        if space is Space.OBJECT:
            if len(self.made) < self.plain_records:
                kind = Kind.VALUE if kind is Kind.DELETE_MARKER else kind
            elif chance.random() < 0.6:
                # Old versions too, so that metadata changes and tombstones of what is there are drawn.
                created = max(1, time - chance.choice((0, 0, 1, 2, 4)))
                version = version_at(created, chance.randrange(2))
                if chance.random() < 0.1:
                    created = max(1, created - 1)  # an id that does not carry the creation
        else:
            kind = Kind.VALUE if kind is Kind.DELETE_MARKER else kind
            fields |= self._special(space, time)
        return Record(
            space=space,
            kind=kind,
            version_id=version,
            created=HybridTime(created),
            time=HybridTime(time),
            base=HybridTime(max(0, time - chance.randrange(1, 4))),
            generations=(),
            size_bytes=chance.randrange(1, 100),
            is_inline=kind is Kind.VALUE,
            tags=str(chance.randrange(3)),
            **fields,
        )

    def _special(self, space: Space, time: int) -> dict[str, Any]:
        chance = self.chance
        upload_id = chance.choice(UPLOADS)
        if space is Space.PART:
            return {"key": part_key(upload_id, chance.randrange(1, 4))}
        if space is Space.UPLOAD:
            state = chance.choice(tuple(UploadState))
            body = encode_body(UploadBody(upload_id=upload_id, state=state, initiated_ns=1))
            return {"key": upload_key(b"a", upload_id), "body": body}
        standing = chance.choice((BucketState.OPEN, BucketState.OPEN, BucketState.CLOSING))
        body = encode_body(BucketBody(bucket_id=BUCKETS[1], number=time, state=standing, created_ns=1))
        return {"bucket_id": SYSTEM_BUCKET, "key": b"bucket", "body": body}


def _upload_of(part: Record) -> KeyName:
    upload_id = next(each for each in UPLOADS if part.key.startswith(part_prefix(each)))
    return KeyName(Space.UPLOAD, part.bucket_id, upload_key(b"a", upload_id))


async def outcome(call: Awaitable[object]) -> object:
    try:
        return await call
    except CommitRefused:
        return "refused"  # a commit with several faults may be refused for any of them
    except StorageError as error:
        return error.code


def plain(entry: Entry | None) -> object:
    return entry and (entry.version_id, entry.created, entry.time, entry.kind, entry.is_settled, entry.digest)


async def everything(drive: StorageAPI, soon: Deadline) -> dict[str, object]:
    """All that a drive can be asked, as values that compare."""
    said: dict[str, object] = {}
    names = list(await drive.walk(None, 10_000, deadline=soon))
    said["walk"] = names
    heads = [drive.read_key(KeyQuery(name, wants_payload=True), deadline=soon) for name in names]
    for name, head in zip(names, await asyncio.gather(*heads), strict=True):
        said[f"head {name}"] = (head.head_time, sorted(map(str, map(plain, head.entries))))
        said[f"payloads {name}"] = [entry.payload for entry in head.entries if not entry.is_tombstone]
        for below in (3, 9, 15):
            lower = await drive.read_key(KeyQuery(name, below=HybridTime(below)), deadline=soon)
            said[f"below {below} {name}"] = sorted(map(str, map(plain, lower.entries)))
        versions = tuple(sorted(await drive.key_versions(name, deadline=soon)))
        said[f"versions {name}"] = versions
        whole = await drive.read_key(KeyQuery(name, versions), deadline=soon)
        said[f"registers {name}"] = (
            whole.head_time,
            sorted(map(str, map(plain, whole.entries))),
            sorted((fence.version_id, fence.time) for fence in whole.fences),
        )
    for bucket_id in BUCKETS:
        said[f"usage {bucket_id}"] = await drive.bucket_usage(bucket_id, deadline=soon)
        for mode in ListMode:
            for limit, delimiter in ((1000, b""), (2, b""), (1000, b"/")):
                query = ListQuery(space=Space.OBJECT, bucket_id=bucket_id, mode=mode, limit=limit, delimiter=delimiter)
                page = await drive.list_page(query, deadline=soon)
                said[f"list {bucket_id} {mode} {limit} {delimiter!r}"] = (
                    [
                        # Which certain key stands for a prefix is the drive's own choice.
                        (item.key, item.is_prefix, item.is_prefix or (plain(item.entry), item.is_ambiguous))
                        for item in page.items
                    ],
                    page.is_truncated,
                )
    refs = await drive.unsettled(2**62, 10_000, deadline=soon)
    said["unsettled"] = sorted(refs, key=lambda ref: (ref.name, ref.version_id, ref.time))
    places = [name._replace(key=name.key + b"+") if number % 2 else name for number, name in enumerate(names)]
    for digests in (
        *(DigestQuery(rows=rows, tombstones_after=HybridTime(after)) for rows in (1, 2, 7, 100) for after in (0, 8)),
        DigestQuery(bounds=tuple(places[::3])),
        DigestQuery(after=places[len(places) // 4], until=places[len(places) // 2], rows=3),
        DigestQuery(after=places[len(places) // 4], until=places[-1], bounds=tuple(places[len(places) // 2 : -1 : 2])),
    ):
        said[f"digests {digests}"] = (await drive.range_digests(digests, deadline=soon)).ranges
    said["outbox"] = [row.payload for row in await drive.outbox(2**62, 10_000, deadline=soon)]
    return said


async def in_turn(calls: list[Call], drive: StorageAPI, soon: Deadline) -> list[object]:
    return [await outcome(call(drive, soon)) for call in calls]


async def at_once(calls: list[Call], drive: StorageAPI, soon: Deadline) -> list[object]:
    """In one turn of the loop, so that a drive makes one transaction of them."""

    async def one(call: Call) -> object:
        return await outcome(call(drive, soon))

    return await asyncio.gather(*map(one, calls))


@pytest.mark.parametrize("together_max", [1, 8])
@pytest.mark.parametrize("seed", range(25))
async def test_both_drives_answer_the_same_after_any_schedule(tmp_path: Path, seed: int, together_max: int) -> None:
    await compare_drives(tmp_path, Schedule(seed), together_max)


@pytest.mark.parametrize("chore_rows", [0, 1, 500])
@pytest.mark.parametrize("seed", range(15))
async def test_so_they_do_where_versions_come_later(
    tmp_path: Path, seed: int, chore_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`chore_rows`: how many rows a transaction takes up into the live index; 0: it stays empty."""
    fill = LiveIndex.fill
    monkeypatch.setattr(LiveIndex, "fill", lambda index, _: bool(chore_rows) and fill(index, chore_rows))
    await compare_drives(tmp_path, Schedule(seed, plain_records=20), 2)


async def compare_drives(tmp_path: Path, schedule: Schedule, together_max: int) -> None:
    clock = ManualClock()
    soon = Deadline.after(3600, clock)
    format_drive(tmp_path)
    local, memory = await open_drive(tmp_path, clock=clock), MemoryDrive(0, clock, SeededRandomness(1))
    step = 0
    try:
        while step < STEPS:
            calls = schedule.calls(schedule.chance.randint(1, together_max))
            looked, step = step, step + len(calls)
            ours, theirs = await asyncio.gather(at_once(calls, local, soon), in_turn(calls, memory, soon))
            assert ours == theirs, f"step {step}: {schedule.made[-1]}"
            if step // 10 > looked // 10:
                expected = await everything(memory, soon)
                found = await everything(local, soon)
                for asked, answer in expected.items():
                    assert found.get(asked) == answer, f"step {step}: {asked}"
                assert found.keys() == expected.keys()
    finally:
        await local.close()


async def test_nothing_is_added_to_a_bucket_that_closes_in_the_same_transaction(tmp_path: Path) -> None:
    clock = ManualClock()
    soon = Deadline.after(3600, clock)
    format_drive(tmp_path)
    drive = await open_drive(tmp_path, clock=clock)

    def commit(time: int, bucket_number: int | None = None, **fields: Any) -> Call:
        record = Record(
            kind=Kind.VALUE,
            version_id=NULL_VERSION,
            created=HybridTime(time),
            time=HybridTime(time),
            base=HybridTime(time - 1),
            generations=(),
            is_inline=True,
            **fields,
        )
        row = RowCommit(
            encode_record(record), scope=CasScope.KEY, base=record.base, payload=b"p", payload_hash=b"h" * 32
        )
        return lambda drive, soon: drive.commit(Commit((row,), bucket_number=bucket_number), deadline=soon)

    def configure(number: int, state: BucketState) -> Call:
        body = encode_body(BucketBody(bucket_id=BUCKETS[1], number=number, state=state, created_ns=1))
        return commit(number, space=Space.BUCKET, bucket_id=SYSTEM_BUCKET, key=b"bucket", body=body)

    def put(key: bytes) -> Call:
        return commit(9, bucket_number=1, space=Space.OBJECT, bucket_id=BUCKETS[1], key=key)

    try:
        assert await at_once([configure(1, BucketState.OPEN), put(b"a")], drive, soon) == [None, None]
        closing = [put(b"b"), configure(2, BucketState.CLOSING), put(b"c"), put(b"d")]
        assert await at_once(closing, drive, soon) == [None, None, "refused", "refused"]
    finally:
        await drive.close()
