"""Listings over drives that lag, differ, are emptied or away: always what is committed, in order, whatever the page."""

import asyncio
import random
import zlib
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_base.ids import NULL_VERSION, BucketId, HybridTime, VersionId
from liteio_contracts.object_errors import ReadQuorumLost
from liteio_contracts.storage import (
    CasScope,
    Commit,
    KeyName,
    KeyQuery,
    ListItem,
    ListMode,
    ListPage,
    ListQuery,
    RowCommit,
    VersionRef,
)
from liteio_erasure.code import CodeParams
from liteio_formats.record import Kind, Record, Space, encode_record
from liteio_objects.confirming import Confirmer
from liteio_objects.drive_set import DriveSet
from liteio_objects.key_reading import KeyReader
from liteio_objects.listing import VersionRow, list_latest, list_versions
from liteio_objects.page_merge import end_of_prefix
from liteio_objects.resolving import Resolver
from liteio_objects.settling import Settler
from liteio_objects.tasks import OwnedTasks
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.seeded_randomness import SeededRandomness

BUCKET: Final = BucketId("b" * 32)
KEYS: Final = [b"a", b"a!", b"a/", b"a/b", b"a/c/d", b"a0", b"b/x", b"b/y", b"c\xff", b"c\xff\xff", b"d"]
NEVER_SECONDS: Final = 3600.0


class SlowDrive(MemoryDrive):
    """A MemoryDrive that counts its list calls, may hang on them, and lists the record of one key damaged."""

    list_calls = 0
    key_reads = 0
    delay_seconds = 0.0
    damaged: bytes | None = None

    async def list_page(self, query: ListQuery, *, deadline: Deadline) -> ListPage:
        self.list_calls += 1
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        page = await super().list_page(query, deadline=deadline)
        if self.damaged is None:
            return page
        return msgspec.structs.replace(page, items=tuple(map(self._damage, page.items)))

    def _damage(self, item: ListItem) -> ListItem:
        if item.key != self.damaged or item.entry is None:
            return item
        encoded = item.entry.encoded
        return msgspec.structs.replace(
            item, entry=msgspec.structs.replace(item.entry, encoded=encoded[:-1] + bytes((encoded[-1] ^ 1,)))
        )

    async def read_key(self, query: KeyQuery, *, deadline: Deadline) -> Any:
        self.key_reads += 1
        return await super().read_key(query, deadline=deadline)


@dataclass
class Store:
    """Sets of drives, and beside them the truth: the committed records of each key by version id."""

    code: CodeParams
    set_count: int = 1
    sets: list[DriveSet] = field(init=False)
    truth: dict[bytes, dict[VersionId, Record]] = field(init=False, default_factory=dict)
    now: int = field(init=False, default=1_000)

    def __post_init__(self) -> None:
        clock = SystemClock()
        self.sets = [
            DriveSet(
                tuple(SlowDrive(slot, clock, SeededRandomness(100 * index + slot)) for slot in range(self.code.width)),
                self.code,
                index,
            )
            for index in range(self.set_count)
        ]
        tasks = OwnedTasks()
        self.resolver = Resolver(KeyReader(Settler(Confirmer(clock, tasks)), tasks), lambda name: (self.set_of(name),))

    @property
    def deadline(self) -> Deadline:
        return Deadline.after(20.0, SystemClock())

    def set_of(self, name: KeyName) -> DriveSet:
        return self.sets[zlib.crc32(name.key) % self.set_count]

    def drives(self, set_index: int = 0) -> tuple[SlowDrive, ...]:
        return self.sets[set_index].drives  # type: ignore[return-value]  # made so

    def tick(self) -> HybridTime:
        self.now += 10
        return HybridTime(self.now)

    async def write(
        self,
        key: bytes,
        kind: Kind,
        holders: Sequence[int],
        confirmed: Sequence[int] = (),
        *,
        version_id: VersionId | None = None,
        created: HybridTime | None = None,
    ) -> Record:
        """Commit a record on the `holders`, confirm it on some; it is truth when W hold it."""
        time = self.tick()
        created = time if created is None else created
        drive_set = self.set_of(KeyName(Space.OBJECT, BUCKET, key))
        record = Record(
            space=Space.OBJECT,
            bucket_id=BUCKET,
            key=key,
            version_id=VersionId(f"{created:016x}{'0' * 16}") if version_id is None else version_id,
            kind=kind,
            created=created,
            time=time,
            base=HybridTime(time - 1),
            generations=tuple(drive.generation for drive in drive_set.drives),  # type: ignore[attr-defined]  # as above
            k=self.code.k,
            m=self.code.m,
            order=tuple(drive_set.slots),
        )
        commit = Commit((RowCommit(encode_record(record), CasScope.VERSION, HybridTime(time - 1)),))
        name = KeyName(Space.OBJECT, BUCKET, key)
        for slot in holders:
            await drive_set.drives[slot].commit(commit, deadline=self.deadline)
        if len(holders) >= self.code.write_quorum:
            versions = self.truth.setdefault(key, {})
            if kind is Kind.TOMBSTONE:
                versions.pop(record.version_id, None)
            else:
                versions[record.version_id] = record
            for slot in confirmed:
                ref = VersionRef(name, record.version_id, record.time)
                await drive_set.drives[slot].confirm((ref,), deadline=self.deadline)
        return record

    async def put_settled(self, key: bytes, version_id: VersionId | None = NULL_VERSION) -> Record:
        everyone = range(self.code.width)
        return await self.write(key, Kind.VALUE, everyone, everyone, version_id=version_id)

    # --- what must be listed ------------------------------------------------------------------------------------------

    def rows(self, key: bytes) -> list[Record]:
        return sorted(self.truth.get(key, {}).values(), key=lambda row: (row.created, row.version_id), reverse=True)

    def expected_latest(self, query: ListQuery) -> list[Any]:
        heads = [(key, self.rows(key)[0]) for key in sorted(self.truth) if self.rows(key)]
        live = [(key, head) for key, head in heads if head.kind is Kind.VALUE]
        return _rolled(query, live)

    def expected_versions(self, query: ListQuery) -> list[Any]:
        rows = [
            (key, VersionRow(row, place == 0)) for key in sorted(self.truth) for place, row in enumerate(self.rows(key))
        ]
        return _rolled(query, rows)

    # --- listing to the end -------------------------------------------------------------------------------------------

    async def all_latest(self, query: ListQuery) -> list[Any]:
        found: list[Any] = []
        while True:
            page = await list_latest(self.sets, self.resolver, query, deadline=self.deadline)
            found += sorted([*page.prefixes, *page.records.values()], key=_key_of)
            assert list(page.records) == sorted(page.records)
            count = len(page.records) + len(page.prefixes)
            assert count <= query.limit
            if not page.is_truncated:
                return found
            assert count == query.limit
            query = _behind_key(query, page.last_key, is_prefix=page.last_key in page.prefixes)

    async def all_versions(self, query: ListQuery) -> list[Any]:
        found: list[Any] = []
        while True:
            page = await list_versions(self.sets, self.resolver, query, deadline=self.deadline)
            found += sorted([*page.prefixes, *page.items], key=_key_of)
            if not page.is_truncated:
                return found
            assert len(page.items) + len(page.prefixes) == query.limit
            query = _behind_key(query, page.last_key, is_prefix=page.last_row is None)
            if page.last_row is not None:
                row = page.last_row.record
                query = msgspec.structs.replace(query, after_created=row.created, after_version_id=row.version_id)


def _behind_key(query: ListQuery, key: bytes, *, is_prefix: bool) -> ListQuery:
    after = end_of_prefix(key) if is_prefix else key
    assert after is not None
    return msgspec.structs.replace(query, after=after, is_after_inclusive=is_prefix, after_created=None)


def _key_of(item: Any) -> bytes:
    return item if isinstance(item, bytes) else item.key


def _rolled(query: ListQuery, rows: Sequence[tuple[bytes, Any]]) -> list[Any]:
    found: list[Any] = []
    for key, row in rows:
        if not key.startswith(query.prefix):
            continue
        at = key.find(query.delimiter, len(query.prefix)) if query.delimiter else -1
        item = key[: at + 1] if at >= 0 else row
        if not (isinstance(item, bytes) and item in found):
            found.append(item)
    return found


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


# --- random histories -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One write: what, to which key, how widely it is held, and where it is confirmed."""

    key: bytes
    action: str
    is_half: bool
    shuffle: int
    confirmed: int  # bits by slot
    which: int


ACTIONS: Final = ["null", "null", "version", "version", "marker", "retag", "tombstone", "tombstone", "tombstone"]


def history(seed: int) -> list[Step]:
    """Many writes to few keys: what is hard lies within a key. Hypothesis alone keeps it too tame."""
    chance = random.Random(seed)
    keys = chance.sample(KEYS, chance.choice([1, 2, 4]))
    half_percent = chance.choice([0, 30, 60])
    return [
        Step(
            chance.choice(keys),
            chance.choice(ACTIONS),
            chance.randrange(100) < half_percent,
            chance.randrange(2**16),
            chance.choice([0, 255, 255, chance.randrange(256)]),
            chance.randrange(4),
        )
        for _ in range(chance.randrange(30))
    ]


async def play(store: Store, steps: Sequence[Step]) -> None:
    for step in steps:
        holders = _holders(store.code, step)
        confirmed = [slot for slot in holders if step.confirmed >> slot & 1]
        rows = store.rows(step.key)
        chosen = rows[step.which % len(rows)] if rows else None
        if step.action == "null":
            await store.write(step.key, Kind.VALUE, holders, confirmed, version_id=NULL_VERSION)
        elif step.action in ("version", "marker"):
            kind = Kind.VALUE if step.action == "version" else Kind.DELETE_MARKER
            await store.write(step.key, kind, holders, confirmed)
        elif chosen is not None:
            kind = Kind.TOMBSTONE if step.action == "tombstone" else chosen.kind
            await store.write(step.key, kind, holders, confirmed, version_id=chosen.version_id, created=chosen.created)


def _holders(code: CodeParams, step: Step) -> list[int]:
    """W drives or more for a committed write, too few to be rolled forward for half of one."""
    order = SeededRandomness(step.shuffle).token_bytes(code.width)
    slots = sorted(range(code.width), key=lambda slot: (order[slot], slot))
    if step.is_half:
        return slots[: 1 + step.shuffle % max(1, code.k - 1)] if code.k > 1 else []
    return slots[: code.write_quorum + step.shuffle % (code.width - code.write_quorum + 1)]


QUERIES = st.builds(
    lambda prefix, delimiter, limit: ListQuery(
        space=Space.OBJECT, bucket_id=BUCKET, prefix=prefix, delimiter=delimiter, limit=limit
    ),
    st.sampled_from([b"", b"", b"a", b"a/", b"c\xff"]),
    st.sampled_from([b"", b"/", b"\xff"]),
    st.integers(1, 9),
)
CODES = st.sampled_from([CodeParams(2, 2), CodeParams(3, 1), CodeParams(4, 2), CodeParams(4, 4), CodeParams(2, 1)])


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    CODES,
    st.integers(1, 3),
    st.integers(0, 2**40),
    QUERIES,
    st.sampled_from(["", "", "offline", "empty", "unsure"]),
    st.integers(0, 7),
    st.booleans(),
)
def test_a_listing_shows_what_is_committed_and_nothing_else(
    code: CodeParams,
    set_count: int,
    seed: int,
    query: ListQuery,
    harm: str,
    victim: int,
    versions_first: bool,
) -> None:
    async def check_it(harm: str) -> None:
        store = Store(code, set_count)
        steps = history(seed)
        if code.m < 2:
            harm = ""
        if harm:  # With a drive lost and half a write on another, no quorum may be left to decide every key.
            steps = [replace(step, is_half=False) for step in steps]
        await play(store, steps)
        _harm(store.drives(victim % set_count)[victim % code.width], harm)
        if versions_first:  # Deciding a key may write: what comes second sees other drives.
            assert await store.all_versions(query) == store.expected_versions(query)
        assert await store.all_latest(query) == store.expected_latest(query)
        assert await store.all_versions(query) == store.expected_versions(query)

    run(check_it(harm))


def _harm(drive: SlowDrive, harm: str) -> None:
    if harm == "offline":
        drive.set_offline()
    elif harm == "empty":
        drive.empty()
    elif harm == "unsure":
        drive.set_not_authoritative()


# --- cases of their own -----------------------------------------------------------------------------------------------


def query_of(prefix: bytes = b"", delimiter: bytes = b"", limit: int = 1000, **more: Any) -> ListQuery:
    return ListQuery(space=Space.OBJECT, bucket_id=BUCKET, prefix=prefix, delimiter=delimiter, limit=limit, **more)


async def test_a_healthy_listing_asks_a_read_quorum_and_no_key() -> None:
    store = Store(CodeParams(4, 4))
    for number in range(30):
        await store.put_settled(b"%03d" % number)
    page = await list_latest(store.sets, store.resolver, query_of(limit=10), deadline=store.deadline)
    assert list(page.records) == [b"%03d" % number for number in range(10)]
    assert page.is_truncated
    assert page.last_key == b"009"
    assert sorted(drive.list_calls for drive in store.drives()) == [0, 0, 0, 0, 1, 1, 1, 1]
    assert not any(drive.key_reads for drive in store.drives())


async def test_a_record_that_all_asked_drives_show_damaged_alike_is_read_anew() -> None:
    store = Store(CodeParams(2, 2))
    records = [await store.put_settled(b"%03d" % number) for number in range(3)]
    for drive in store.drives():
        drive.damaged = records[1].key
    page = await list_latest(store.sets, store.resolver, query_of(), deadline=store.deadline)
    assert list(page.records.values()) == records


async def test_a_limit_of_nothing_gives_nothing() -> None:
    store = Store(CodeParams(2, 2))
    await store.put_settled(b"a")
    page = await list_latest(store.sets, store.resolver, query_of(limit=0), deadline=store.deadline)
    assert (dict(page.records), page.prefixes, page.is_truncated, page.last_key) == ({}, (), False, b"")


async def test_a_full_last_page_is_not_truncated() -> None:
    store = Store(CodeParams(2, 2))
    for key in (b"a", b"b/1", b"b/2"):
        await store.put_settled(key)
    page = await list_latest(store.sets, store.resolver, query_of(delimiter=b"/", limit=2), deadline=store.deadline)
    assert (list(page.records), page.prefixes, page.is_truncated) == ([b"a"], (b"b/",), False)


async def test_hung_and_failing_drives_are_replaced() -> None:
    store = Store(CodeParams(4, 4))
    await store.put_settled(b"a")
    for slot, drive in enumerate(store.drives()):
        drive.delay_seconds = NEVER_SECONDS if slot in (0, 1) else 0.0
        drive.set_offline(slot in (4, 5))
    for prefix in (b"", b"a"):
        page = await list_latest(store.sets, store.resolver, query_of(prefix), deadline=store.deadline)
        assert list(page.records) == [b"a"]
    assert not any(drive.key_reads for drive in store.drives())


@pytest.mark.parametrize("harm", ["offline", "unsure", "hung"])
async def test_too_few_witnesses_fail_the_listing(harm: str) -> None:
    store = Store(CodeParams(4, 4), set_count=2)
    await store.put_settled(b"a")
    for drive in store.drives(1)[:5]:
        drive.delay_seconds = NEVER_SECONDS if harm == "hung" else 0.0
        _harm(drive, harm)
    with pytest.raises(ReadQuorumLost) as caught:
        await list_latest(store.sets, store.resolver, query_of(), deadline=Deadline.after(0.6, SystemClock()))
    assert (caught.value.needed, caught.value.got) == (4, 3)


async def test_slow_drives_are_asked_last() -> None:
    store = Store(CodeParams(4, 4))
    await store.put_settled(b"a")
    for drive in store.drives()[2:6]:
        drive.is_likely_slow = True
    await list_latest(store.sets, store.resolver, query_of(), deadline=store.deadline)
    assert [drive.list_calls for drive in store.drives()] == [1, 1, 0, 0, 0, 0, 1, 1]


def _key_that_asks(slots: set[int], width: int, quorum: int) -> bytes:
    """A key whose own listing, with it as the prefix, begins at the drives `slots`."""
    for number in range(1000):
        key = b"k%d" % number
        first = zlib.crc32(BUCKET.encode() + key) % width
        if {(first + step) % width for step in range(quorum)} == slots:
            return key
    raise AssertionError("the rotation never begins there")


async def test_a_version_veiled_by_half_a_delete_is_listed_on_its_page() -> None:
    """Drive 0 hides a committed version under a tombstone that was never committed, drive 1 missed the version."""
    store = Store(CodeParams(2, 2))
    key = _key_that_asks({0, 1}, 4, 2)
    older, veiled = [await store.put_settled(key, None), await store.write(key, Kind.VALUE, [0, 2, 3], [0, 2, 3])]
    await store.write(key, Kind.TOMBSTONE, [0], version_id=veiled.version_id, created=veiled.created)
    latest = await list_latest(store.sets, store.resolver, query_of(key), deadline=store.deadline)
    assert list(latest.records.values()) == [veiled]
    page = await list_versions(store.sets, store.resolver, query_of(key), deadline=store.deadline)
    assert page.items == (VersionRow(veiled, True), VersionRow(older, False))


async def test_a_veiled_version_is_listed_on_a_page_that_begins_within_its_key() -> None:
    """What the asked drives show of the key all stands before the page."""
    store = Store(CodeParams(2, 2))
    key = _key_that_asks({0, 1}, 4, 2)
    veiled = await store.write(key, Kind.VALUE, [0, 2, 3], [0, 2, 3])
    newest = await store.put_settled(key, None)
    await store.write(key, Kind.TOMBSTONE, [0], version_id=veiled.version_id, created=veiled.created)
    query = query_of(after=key, after_created=newest.created, after_version_id=newest.version_id)
    page = await list_versions(store.sets, store.resolver, query, deadline=store.deadline)
    assert page.items == (VersionRow(veiled, False),)


async def test_a_veiled_version_is_listed_though_its_drive_shows_only_what_stands_behind_the_page() -> None:
    store = Store(CodeParams(2, 2))
    key = _key_that_asks({0, 1}, 4, 2)
    await store.put_settled(key, None)
    for _ in range(3):
        await store.write(key, Kind.VALUE, [1, 2, 3], [1, 2, 3])
    veiled = await store.write(key, Kind.VALUE, [0, 2, 3], [0, 2, 3])
    await store.write(key, Kind.TOMBSTONE, [0], version_id=veiled.version_id, created=veiled.created)
    page = await list_versions(store.sets, store.resolver, query_of(key, limit=1), deadline=store.deadline)
    assert page.items == (VersionRow(veiled, True),)


async def test_sets_are_merged_no_further_than_all_of_them_were_read() -> None:
    store = Store(CodeParams(2, 2), set_count=2)
    first_set = [key for number in range(200) if zlib.crc32(key := b"%03d" % number) % 2 == 0][:60]
    other_set = next(key for number in range(9) if zlib.crc32(key := b"z%d" % number) % 2 == 1)
    for key in (*first_set, other_set):
        await store.put_settled(key)
    page = await list_latest(store.sets, store.resolver, query_of(limit=50), deadline=store.deadline)
    assert list(page.records) == first_set[:50]


async def test_a_page_goes_on_behind_all_keys_of_its_last_prefix() -> None:
    store = Store(CodeParams(2, 2))
    for key in (b"a/1", b"b/1", b"c/1", b"c/2", b"d/1"):
        await store.put_settled(key)
    for key in (b"a/1", b"d/1"):
        await store.write(key, Kind.DELETE_MARKER, [0, 1, 2])
    query = query_of(delimiter=b"/", limit=2)
    page = await list_latest(store.sets, store.resolver, query, deadline=store.deadline)
    assert (page.prefixes, page.is_truncated) == ((b"b/", b"c/"), False)


async def test_a_null_version_being_replaced_is_listed_once() -> None:
    store = Store(CodeParams(2, 2))
    await store.put_settled(b"k")
    newer = await store.write(b"k", Kind.VALUE, range(4), version_id=NULL_VERSION)
    page = await list_versions(store.sets, store.resolver, query_of(), deadline=store.deadline)
    assert page.items == (VersionRow(newer, True),)
    await store.write(b"k", Kind.VALUE, [1], version_id=NULL_VERSION)
    for limit in (1, 2):
        query = query_of(limit=limit)
        assert await store.all_versions(query) == [VersionRow(newer, True)]


async def test_half_a_write_is_not_listed_though_all_asked_drives_show_it() -> None:
    store = Store(CodeParams(4, 2))
    key = _key_that_asks({2, 3}, 6, 2)
    await store.write(key, Kind.VALUE, [2, 3])
    assert await store.all_latest(query_of(key)) == []
    assert await store.all_versions(query_of(key)) == []
    await store.write(key, Kind.VALUE, [1, 2, 3, 4, 5])
    assert await store.all_latest(query_of(key)) == store.rows(key)


async def test_a_page_that_begins_within_a_key_knows_the_latest() -> None:
    store = Store(CodeParams(2, 2))
    for _ in range(3):
        await store.put_settled(b"k", None)
    newest, middle, oldest = store.rows(b"k")
    query = query_of(after=b"k", after_created=newest.created, after_version_id=newest.version_id)
    page = await list_versions(store.sets, store.resolver, query, deadline=store.deadline)
    assert page.items == (VersionRow(middle, False), VersionRow(oldest, False))
    assert page.last_row == page.items[-1]
    everyone = range(4)
    await store.write(b"k", Kind.TOMBSTONE, everyone, everyone, version_id=newest.version_id, created=newest.created)
    page = await list_versions(store.sets, store.resolver, query, deadline=store.deadline)
    assert page.items == (VersionRow(middle, True), VersionRow(oldest, False))


async def test_many_keys_deleted_on_some_drives_do_not_end_a_listing_early() -> None:
    store = Store(CodeParams(2, 2))
    for number in range(40):
        key = b"%02d" % number
        row = await store.put_settled(key)
        if 5 <= number < 35:
            gone = [slot for slot in range(4) if slot != number % 4]
            await store.write(key, Kind.TOMBSTONE, gone, gone, version_id=row.version_id, created=row.created)
    for limit in (1, 3, 7, 1000):
        query = query_of(limit=limit)
        assert await store.all_latest(query) == store.expected_latest(query)


async def test_a_prefix_whose_keys_are_gone_on_a_quorum_is_not_shown() -> None:
    store = Store(CodeParams(2, 2))
    for key in (b"a/1", b"a/2", b"b/1"):
        await store.put_settled(key)
    for key in (b"a/1", b"a/2"):
        await store.write(key, Kind.DELETE_MARKER, [0, 1, 2], [0, 1, 2])
    query = query_of(delimiter=b"/")
    assert await store.all_latest(query) == [b"b/"]
    assert await store.all_versions(query) == [b"a/", b"b/"]


async def test_both_modes_are_chosen_by_the_call() -> None:
    store = Store(CodeParams(2, 2))
    for _ in range(2):
        await store.put_settled(b"k", None)
    query = query_of()
    assert len((await list_latest(store.sets, store.resolver, query, deadline=store.deadline)).records) == 1
    query = msgspec.structs.replace(query, mode=ListMode.LATEST)
    assert len((await list_versions(store.sets, store.resolver, query, deadline=store.deadline)).items) == 2
