"""The contract of `list_page`: order, paging, delimiters, and what is said of keys that are not settled.

`naive_listing` says what a whole listing of settled keys must be, in a few lines without any paging.
"""

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liteio_base.ids import HybridTime, VersionId
from liteio_contracts.storage import ListItem, ListMode, ListQuery
from liteio_formats.record import Kind, Space, decode_record
from liteio_testkit.contract_bench import Bench

ID_A, ID_B, ID_C = "0" * 31 + "a", "0" * 31 + "b", "0" * 31 + "c"
PAGES_MAX = 500  # more than any listing here has, at one item a page


def end_of_prefix(prefix: bytes) -> bytes | None:
    """The least key behind all that begin with `prefix`; None when there is none: it is empty or all 0xff."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes((stem[-1] + 1,)) if stem else None


def naive_listing(keys: Sequence[bytes], prefix: bytes, delimiter: bytes) -> list[tuple[bytes, bool]]:
    """(key or common prefix, whether it is a prefix) of live keys, as S3 defines it."""
    found: dict[tuple[bytes, bool], None] = {}
    for key in sorted(key for key in keys if key.startswith(prefix)):
        at = key.find(delimiter, len(prefix)) if delimiter else -1
        found[(key, False) if at < 0 else (key[: at + len(delimiter)], True)] = None
    return list(found)


async def list_all(bench: Bench, limit: int, **fields: object) -> list[ListItem]:
    """A whole listing in pages of `limit`, going on as a gateway does. Fails when a page breaks a rule of paging."""
    found: list[ListItem] = []
    place: dict[str, object] = {}
    for _ in range(PAGES_MAX):
        query = ListQuery(**{"space": Space.OBJECT, "bucket_id": bench.bucket_id, "limit": limit, **fields, **place})  # type: ignore[arg-type]  # fields are the query's
        page = await bench.drive.list_page(query, deadline=bench.soon)
        assert len(page.items) <= limit
        found.extend(page.items)
        if not page.is_truncated:
            return found
        assert page.items, "a truncated page has a last item"
        if (following := place_behind(page.items[-1], query.mode)) is None:
            return found
        place = following
    raise AssertionError("the listing does not end")


def place_behind(last: ListItem, mode: ListMode) -> dict[str, object] | None:
    """The fields of a ListQuery that goes on behind this item; None behind a prefix that ends the key space."""
    if last.is_prefix:
        end = end_of_prefix(last.key)
        return None if end is None else {"after": end, "is_after_inclusive": True, "after_created": None}
    place: dict[str, object] = {"after": last.key, "is_after_inclusive": False, "after_created": None}
    if mode is ListMode.VERSIONS and last.entry is not None:
        place |= {"after_created": last.entry.created, "after_version_id": last.entry.version_id}
    return place


def shape(items: Sequence[ListItem]) -> list[tuple[bytes, bool]]:
    return [(item.key, item.is_prefix) for item in items]


def rows_of(items: Sequence[ListItem]) -> list[tuple[bytes, int, str]]:
    return [(item.key, item.entry.created, item.entry.version_id) for item in items if item.entry is not None]


CASES = [
    # keys, prefix, delimiter
    ([b"a", b"b", b"c"], b"", b""),
    ([b"a", b"a/b", b"a/c", b"ab"], b"", b"/"),
    ([b"a/", b"a/b", b"a"], b"a/", b"/"),
    ([b"a/", b"a//", b"a//b", b"a/b/", b"a/b/c"], b"a/", b"/"),
    ([b"/", b"//", b"///", b"/a", b"a"], b"", b"/"),
    ([b"/", b"//", b"///", b"/a", b"a"], b"/", b"/"),
    ([b"photos/", b"photos/a", b"photosynthesis"], b"photos", b"/"),
    ([b"photos", b"photos/a"], b"photos", b"/"),
    ([b"a--b--c", b"a--b", b"a-b", b"a--", b"a---"], b"", b"--"),
    ([b"a--b--c", b"a--b", b"a--", b"a---"], b"a--", b"--"),
    ([b"a-", b"a--"], b"a-", b"--"),
    (["ä/ö".encode(), "ä/ü".encode(), "äö".encode()], "ä".encode(), "ö".encode()),
    ([b"a\xff", b"a\xff\xff", b"a\xff/", b"a\xff/x", b"b"], b"a\xff", b"/"),
    ([b"\xff", b"\xff\xff", b"\xff\xff\xff", b"\xfe"], b"", b"\xff"),
    ([b"\xff", b"\xff\xff", b"\xff\xff\xff"], b"\xff\xff", b""),
    ([b"a\x00", b"a\x00b", b"a", b"a\x01"], b"a", b"\x00"),
    ([b"abc", b"abd"], b"abc", b"c"),
    ([b"abc", b"abd"], b"x", b"/"),
    ([b"aXbXc", b"aXb", b"aX"], b"", b"X"),
]

_letters = st.sampled_from([b"a", b"b", b"/", b"//", b"-", b"\xff", b"\x00"])
_keys = st.lists(_letters, min_size=1, max_size=5).map(b"".join)


# The suite is inherited, so one property runs in several classes, and a fixture's drive serves all examples, each in a
# bucket of its own. Both are meant; derandomized and without a database nothing is carried from one to the other.
_over_any_drive = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)


class ListContract:
    # -- order, prefixes, delimiters, pages

    @pytest.mark.parametrize(("keys", "prefix", "delimiter"), CASES)
    async def test_a_listing_is_what_the_naive_one_is(
        self, bench: Bench, keys: list[bytes], prefix: bytes, delimiter: bytes
    ) -> None:
        bucket = await filled(bench, keys)
        expected = naive_listing(keys, prefix, delimiter)
        for limit in (1, 2, 1000):
            found = await list_all(bucket, limit, prefix=prefix, delimiter=delimiter)
            assert shape(found) == expected, f"limit {limit}"
            versions = await list_all(bucket, limit, prefix=prefix, delimiter=delimiter, mode=ListMode.VERSIONS)
            assert shape(versions) == expected, f"versions, limit {limit}"

    @_over_any_drive
    @given(
        keys=st.sets(_keys, max_size=12),
        dead=st.sets(_keys, max_size=4),
        prefix=st.one_of(st.just(b""), _keys),
        delimiter=st.sampled_from([b"", b"/", b"//", b"a", b"\xff", b"-/"]),
        limit=st.integers(1, 5),
    )
    async def test_any_listing_is_what_the_naive_one_is(
        self, bench: Bench, keys: set[bytes], dead: set[bytes], prefix: bytes, delimiter: bytes, limit: int
    ) -> None:
        bucket = await filled(bench, sorted(keys))
        for key in dead:
            await bucket.put_settled(key, 100, ID_C, kind=Kind.DELETE_MARKER)
        found = await list_all(bucket, limit, prefix=prefix, delimiter=delimiter)
        assert shape(found) == naive_listing(sorted(keys - dead), prefix, delimiter)
        versions = await list_all(bucket, limit, prefix=prefix, delimiter=delimiter, mode=ListMode.VERSIONS)
        assert list(dict.fromkeys(shape(versions))) == naive_listing(sorted(keys | dead), prefix, delimiter)

    async def test_listing_begins_behind_after_or_at_it(self, bench: Bench) -> None:
        bucket = await filled(bench, [b"a", b"b", b"c"])
        assert shape(await list_all(bucket, 9, after=b"b")) == [(b"c", False)]
        assert shape(await list_all(bucket, 9, after=b"b", is_after_inclusive=True)) == [(b"b", False), (b"c", False)]
        assert shape(await list_all(bucket, 9, after=b"aa")) == [(b"b", False), (b"c", False)]
        assert shape(await list_all(bucket, 9, after=b"a", prefix=b"b")) == [(b"b", False)]
        assert await list_all(bucket, 9, after=b"z", prefix=b"b") == []

    async def test_a_page_that_ends_exactly_may_but_need_not_say_that_more_may_come(self, bench: Bench) -> None:
        bucket = await filled(bench, [b"a", b"b"])
        query = ListQuery(space=Space.OBJECT, bucket_id=bucket.bucket_id, limit=3)
        page = await bucket.drive.list_page(query, deadline=bucket.soon)
        assert (shape(page.items), page.is_truncated) == ([(b"a", False), (b"b", False)], False)
        assert page.is_authoritative
        assert page.generation == await bucket.generation()

    async def test_a_page_with_more_behind_it_is_truncated(self, bench: Bench) -> None:
        bucket = await filled(bench, [b"a", b"b", b"c"])
        query = ListQuery(space=Space.OBJECT, bucket_id=bucket.bucket_id, limit=2)
        assert (await bucket.drive.list_page(query, deadline=bucket.soon)).is_truncated

    async def test_spaces_and_buckets_are_listed_apart(self, bench: Bench) -> None:
        one, two = await filled(bench, [b"a"]), await filled(bench, [b"b"])
        upload = one.upload_record("ab" * 24, 5)
        await one.commit(upload)
        assert shape(await list_all(one, 9)) == [(b"a", False)]
        assert shape(await list_all(two, 9)) == [(b"b", False)]
        assert shape(await list_all(one, 9, space=Space.UPLOAD)) == [(upload.key, False)]

    # -- heads

    async def test_an_item_carries_its_record_and_no_payload(self, bench: Bench) -> None:
        record = bench.record(b"k", 5, is_inline=True)
        await bench.commit(record, payload=b"xyz", payload_hash=b"h" * 32)
        for mode in ListMode:
            (item,) = await list_all(bench, 9, mode=mode)
            assert item.entry is not None
            assert decode_record(item.entry.encoded) == record
            assert (item.entry.payload, item.entry.payload_hash) == (None, b"")

    async def test_the_newest_version_is_the_head(self, bench: Bench) -> None:
        for time, version in enumerate((ID_A, ID_B, ID_C), 1):
            await bench.put_settled(b"k", time, version)
        assert rows_of(await list_all(bench, 9)) == [(b"k", 3, ID_C)]

    async def test_a_settled_delete_marker_is_passed_by(self, bench: Bench) -> None:
        await bench.put_settled(b"k", 1, ID_A)
        await bench.put_settled(b"k", 2, ID_B, kind=Kind.DELETE_MARKER)
        await bench.put_settled(b"l", 1)
        assert shape(await list_all(bench, 1)) == [(b"l", False)]

    async def test_a_settled_tombstone_is_passed_by_and_shows_the_older_version(self, bench: Bench) -> None:
        await bench.put_settled(b"k", 1, ID_A)
        await bench.confirm(await bench.bury(await bench.put_settled(b"k", 2, ID_B), 3))
        await bench.confirm(await bench.bury(await bench.put_settled(b"gone", 2, ID_B), 3))
        (item,) = await list_all(bench, 9)
        assert rows_of([item]) == [(b"k", 1, ID_A)]
        assert not item.is_ambiguous

    async def test_a_fence_lists_nothing(self, bench: Bench) -> None:
        await bench.fence(bench.record(b"k", 5))
        assert await list_all(bench, 9) == []
        assert await list_all(bench, 9, mode=ListMode.VERSIONS) == []

    async def test_a_prefix_carries_the_head_of_its_first_live_key(self, bench: Bench) -> None:
        await bench.put_settled(b"p/a", 1, kind=Kind.DELETE_MARKER)
        await bench.put_settled(b"p/b", 2)
        await bench.put_settled(b"p/c", 3)
        (item,) = await list_all(bench, 9, delimiter=b"/")
        assert (item.key, item.is_prefix) == (b"p/", True)
        assert item.entry is not None
        assert decode_record(item.entry.encoded).key == b"p/b"

    async def test_a_prefix_without_live_keys_is_not_listed(self, bench: Bench) -> None:
        await bench.put_settled(b"p/a", 1, kind=Kind.DELETE_MARKER)
        await bench.confirm(await bench.bury(await bench.put_settled(b"q/a", 1), 2))
        assert await list_all(bench, 9, delimiter=b"/") == []
        assert shape(await list_all(bench, 9, delimiter=b"/", mode=ListMode.VERSIONS)) == [(b"p/", True)]

    # -- what is not settled

    async def test_an_unsettled_head_is_an_entry_that_says_so(self, bench: Bench) -> None:
        await bench.put_settled(b"k", 1)
        await bench.put(b"k", 2)
        (item,) = await list_all(bench, 9)
        assert item.entry is not None
        assert (item.entry.time, item.entry.is_settled, item.is_ambiguous) == (2, False, False)

    async def test_other_unsettled_rows_make_an_item_ambiguous(self, bench: Bench) -> None:
        await bench.put(b"k", 1)
        await bench.put(b"k", 2)
        (item,) = await list_all(bench, 9)
        assert item.is_ambiguous
        await bench.put_settled(b"k", 3, ID_A)
        (item,) = await list_all(bench, 9)
        assert rows_of([item]) == [(b"k", 3, ID_A)]
        assert item.is_ambiguous, "the null version below is not settled"

    async def test_a_settled_head_alone_is_not_ambiguous(self, bench: Bench) -> None:
        await bench.put_settled(b"k", 1, ID_A)
        await bench.put_settled(b"k", 2, ID_B)
        (item,) = await list_all(bench, 9)
        assert not item.is_ambiguous

    async def test_an_unsettled_delete_marker_leaves_the_key_undecided(self, bench: Bench) -> None:
        await bench.put_settled(b"k", 1, ID_A)
        await bench.put(b"k", 2, ID_B, kind=Kind.DELETE_MARKER)
        (item,) = await list_all(bench, 9)
        assert (item.key, item.is_prefix, item.entry) == (b"k", False, None)

    async def test_an_unsettled_tombstone_of_the_only_version_leaves_the_key_undecided(self, bench: Bench) -> None:
        await bench.bury(await bench.put_settled(b"k", 1), 2)
        for mode in ListMode:
            (item,) = await list_all(bench, 9, mode=mode)
            assert (item.key, item.is_prefix, item.entry) == (b"k", False, None)

    async def test_an_unsettled_tombstone_of_the_newest_version_shows_the_next_one_as_ambiguous(
        self, bench: Bench
    ) -> None:
        await bench.put_settled(b"k", 1, ID_A)
        await bench.bury(await bench.put_settled(b"k", 2, ID_B), 3)
        for mode in ListMode:
            (item,) = await list_all(bench, 9, mode=mode)
            assert rows_of([item]) == [(b"k", 1, ID_A)]
            assert item.is_ambiguous

    async def test_a_settled_marker_over_an_unsettled_row_is_undecided(self, bench: Bench) -> None:
        await bench.put(b"k", 1, ID_A)
        await bench.put_settled(b"k", 2, ID_B, kind=Kind.DELETE_MARKER)
        (item,) = await list_all(bench, 9)
        assert (item.key, item.entry) == (b"k", None)

    async def test_a_prefix_of_undecided_keys_is_itself_undecided(self, bench: Bench) -> None:
        await bench.bury(await bench.put_settled(b"p/a", 1), 2)
        (item,) = await list_all(bench, 9, delimiter=b"/")
        assert (item.key, item.is_prefix, item.entry, item.is_ambiguous) == (b"p/", True, None, True)
        await bench.put_settled(b"p/b", 3)
        (item,) = await list_all(bench, 9, delimiter=b"/")
        assert item.entry is not None
        assert (item.entry.time, item.is_ambiguous) == (3, False)

    async def test_undecided_keys_take_their_place_in_pages(self, bench: Bench) -> None:
        for key in (b"a", b"b", b"c", b"d"):
            await bench.put_settled(key, 1)
        for key in (b"b", b"d"):
            await bench.bury(bench.record(key, 1), 2)
        for mode in ListMode:
            for limit in (1, 2, 3):
                found = await list_all(bench, limit, mode=mode)
                assert [(item.key, item.entry is None) for item in found] == [
                    (b"a", False),
                    (b"b", True),
                    (b"c", False),
                    (b"d", True),
                ]

    # -- versions

    async def test_versions_are_listed_newest_first_within_a_key(self, bench: Bench) -> None:
        await bench.put_settled(b"a", 1, ID_A)
        await bench.put_settled(b"a", 3, ID_B, kind=Kind.DELETE_MARKER)
        await bench.put_settled(b"a", 2)
        await bench.put_settled(b"b", 9)
        expected = [(b"a", 3, ID_B), (b"a", 2, ""), (b"a", 1, ID_A), (b"b", 9, "")]
        for limit in (1, 2, 3, 9):
            assert rows_of(await list_all(bench, limit, mode=ListMode.VERSIONS)) == expected

    async def test_versions_of_one_creation_time_are_paged_by_id(self, bench: Bench) -> None:
        for version in (ID_A, ID_C, ID_B):
            await bench.put_settled(b"a", 5, version)
        expected = [(b"a", 5, ID_C), (b"a", 5, ID_B), (b"a", 5, ID_A)]
        assert rows_of(await list_all(bench, 1, mode=ListMode.VERSIONS)) == expected

    async def test_without_a_row_the_rest_of_the_key_is_skipped(self, bench: Bench) -> None:
        for time, version in enumerate((ID_A, ID_B), 1):
            await bench.put_settled(b"a", time, version)
        await bench.put_settled(b"b", 1)
        assert rows_of(await list_all(bench, 9, mode=ListMode.VERSIONS, after=b"a")) == [(b"b", 1, "")]
        behind = {"after": b"a", "after_created": HybridTime(2), "after_version_id": VersionId(ID_B)}
        found = await list_all(bench, 9, mode=ListMode.VERSIONS, **behind)
        assert rows_of(found) == [(b"a", 1, ID_A), (b"b", 1, "")]

    async def test_a_listing_goes_on_behind_a_row_that_is_gone(self, bench: Bench) -> None:
        for time, version in ((1, ID_A), (3, ID_C)):
            await bench.put_settled(b"a", time, version)
        behind = {"after": b"a", "after_created": HybridTime(2), "after_version_id": VersionId(ID_B)}
        assert rows_of(await list_all(bench, 9, mode=ListMode.VERSIONS, **behind)) == [(b"a", 1, ID_A)]

    async def test_unsettled_rows_make_the_keys_other_versions_ambiguous(self, bench: Bench) -> None:
        await bench.put_settled(b"a", 1, ID_A)
        await bench.put(b"a", 2, ID_B)
        await bench.put_settled(b"b", 1)
        for limit in (1, 9):
            found = await list_all(bench, limit, mode=ListMode.VERSIONS)
            assert [item.is_ambiguous for item in found] == [False, True, False]

    async def test_an_unsettled_tombstone_makes_every_version_of_the_key_ambiguous(self, bench: Bench) -> None:
        for time, version in enumerate((ID_A, ID_B, ID_C), 1):
            await bench.put_settled(b"a", time, version)
        await bench.bury(bench.record(b"a", 2, ID_B), 7)
        for limit in (1, 9):
            found = await list_all(bench, limit, mode=ListMode.VERSIONS)
            assert rows_of(found) == [(b"a", 3, ID_C), (b"a", 1, ID_A)]
            assert all(item.is_ambiguous for item in found)

    async def test_a_changed_record_that_is_not_settled_is_one_item(self, bench: Bench) -> None:
        await bench.put_settled(b"a", 1, ID_A)
        await bench.put(b"a", 7, ID_A, created=1, tags="a=b")
        for limit in (1, 9):
            (item,) = await list_all(bench, limit, mode=ListMode.VERSIONS)
            assert item.entry is not None
            assert (item.entry.time, item.entry.is_settled) == (7, False)


async def filled(bench: Bench, keys: Sequence[bytes]) -> Bench:
    """A fresh bucket that holds these keys, settled."""
    bucket = bench.new_bucket()
    records = [await bucket.put(key, time) for time, key in enumerate(keys, 1)]
    await bucket.confirm(*records)
    return bucket
