"""The contract of `read_key` and `key_versions`: the head, and whole registers."""

import pytest

from liteio_base.ids import NULL_VERSION, HybridTime
from liteio_formats.record import Kind, PartEntry
from liteio_testkit.contract_bench import Bench

ID_A, ID_B, ID_C = "0" * 31 + "a", "0" * 31 + "b", "0" * 31 + "c"


class ReadContract:
    async def test_an_absent_key_is_an_answer(self, bench: Bench) -> None:
        answer = await bench.head(b"nothing")
        assert (answer.head_time, answer.entries, answer.fences) == (0, (), ())
        assert answer.is_authoritative
        assert answer.generation == await bench.generation()

    async def test_keys_are_bytes_and_told_apart(self, bench: Bench) -> None:
        keys = [b"a", b"a/", b"a//", b"a/b", b"\x00", b"a\x00", b"\xff\xff", "ü".encode(), b"k" * 1024]
        for time, key in enumerate(keys, 1):
            await bench.put(key, time)
        for time, key in enumerate(keys, 1):
            assert (await bench.head(key)).head_time == time

    async def test_the_head_ends_at_the_first_settled_row(self, bench: Bench) -> None:
        await bench.put_settled(b"k", 1, ID_A)
        await bench.put_settled(b"k", 2, ID_B)
        await bench.put(b"k", 3, ID_C)
        answer = await bench.head(b"k")
        assert [(entry.time, entry.is_settled) for entry in answer.entries] == [(3, False), (2, True)]
        assert answer.head_time == 3

    async def test_unsettled_rows_below_the_first_settled_one_are_not_in_the_head(self, bench: Bench) -> None:
        await bench.put(b"k", 1, ID_A)
        await bench.put_settled(b"k", 2, ID_B)
        assert [entry.time for entry in (await bench.head(b"k")).entries] == [2]

    async def test_the_head_has_every_row_when_none_is_settled(self, bench: Bench) -> None:
        for time, version in enumerate((ID_A, ID_B, ID_C), 1):
            await bench.put(b"k", time, version)
        assert [entry.time for entry in (await bench.head(b"k")).entries] == [3, 2, 1]

    @pytest.mark.parametrize(("below", "expected"), [(9, [3]), (4, [3]), (3, [3, 2]), (2, [3, 2, 1]), (1, [3, 2, 1])])
    async def test_below_goes_on_to_a_settled_row_that_is_older(
        self, bench: Bench, below: int, expected: list[int]
    ) -> None:
        for time, version in enumerate((ID_A, ID_B, ID_C), 1):
            await bench.put_settled(b"k", time, version)
        answer = await bench.head(b"k", below=HybridTime(below))
        assert [entry.time for entry in answer.entries] == expected

    async def test_rows_are_ordered_by_creation_and_not_by_last_change(self, bench: Bench) -> None:
        await bench.put(b"k", 1, ID_A)
        await bench.put(b"k", 2, ID_B)
        await bench.put(b"k", 9, ID_A, created=1, tags="a=b")
        answer = await bench.head(b"k")
        assert [(entry.created, entry.time) for entry in answer.entries] == [(2, 2), (1, 9), (1, 1)]
        assert answer.head_time == 2

    async def test_versions_of_one_creation_time_are_ordered_by_id(self, bench: Bench) -> None:
        for version in (ID_B, ID_C, ID_A):
            await bench.put(b"k", 5, version)
        assert [entry.version_id for entry in (await bench.head(b"k")).entries] == [ID_C, ID_B, ID_A]

    async def test_of_two_settled_versions_of_one_creation_time_the_head_is_the_greater_id(self, bench: Bench) -> None:
        await bench.put_settled(b"k", 5, ID_A)
        await bench.put_settled(b"k", 6, ID_B, created=5)
        await bench.put_settled(b"k", 7, ID_C, created=4)
        assert [entry.version_id for entry in (await bench.head(b"k")).entries] == [ID_B]

    async def test_the_head_has_unsettled_tombstones_of_any_version(self, bench: Bench) -> None:
        old = await bench.put_settled(b"k", 1, ID_A)
        await bench.put_settled(b"k", 2, ID_B)
        await bench.bury(old, 7)
        answer = await bench.head(b"k")
        assert {(entry.version_id, entry.time, entry.kind) for entry in answer.entries} == {
            (ID_B, 2, Kind.VALUE),
            (ID_A, 7, Kind.TOMBSTONE),
        }
        assert answer.head_time == 7

    async def test_a_row_that_a_tombstone_hides_is_still_evidence(self, bench: Bench) -> None:
        await bench.put_settled(b"k", 1, ID_A)
        await bench.bury(await bench.put_settled(b"k", 2, ID_B), 7)
        assert {entry.time for entry in (await bench.head(b"k")).entries} == {2, 7}
        assert {entry.time for entry in (await bench.head(b"k", below=HybridTime(2))).entries} == {2, 1, 7}

    async def test_settled_tombstones_count_in_head_time_but_are_not_in_the_head(self, bench: Bench) -> None:
        old = await bench.put_settled(b"k", 1, ID_A)
        await bench.put_settled(b"k", 2, ID_B)
        await bench.confirm(await bench.bury(old, 7))
        answer = await bench.head(b"k")
        assert [entry.time for entry in answer.entries] == [2]
        assert answer.head_time == 7

    async def test_a_register_has_everything_of_its_versions_and_of_no_other(self, bench: Bench) -> None:
        await bench.put_settled(b"k", 1)
        await bench.put(b"k", 2)
        await bench.bury(bench.record(b"k", 2), 3)
        await bench.put(b"k", 4)
        await bench.fence(bench.record(b"k", 5))
        await bench.put_settled(b"k", 6, ID_A)
        await bench.fence(bench.record(b"k", 7, ID_A))
        answer = await bench.register(b"k")
        assert {entry.time: entry.is_settled for entry in answer.entries} == {1: True, 2: False, 3: False, 4: False}
        assert [fence.time for fence in answer.fences] == [5]
        assert answer.head_time == 6

    async def test_a_register_shows_settled_tombstones(self, bench: Bench) -> None:
        await bench.confirm(await bench.bury(bench.record(b"k", 1, ID_A), 3))
        assert await bench.times(b"k", ID_A) == {3: True}

    async def test_several_registers_in_one_question(self, bench: Bench) -> None:
        for time, version in enumerate((ID_A, ID_B, ID_C), 1):
            await bench.put(b"k", time, version)
        assert await bench.times(b"k", ID_A, ID_C) == {1: False, 3: False}

    async def test_the_null_register_is_found_below_newer_versions(self, bench: Bench) -> None:
        await bench.put_settled(b"k", 1)
        for time, version in enumerate((ID_A, ID_B, ID_C), 2):
            await bench.put_settled(b"k", time, version)
        assert [entry.time for entry in (await bench.head(b"k")).entries] == [4]
        assert await bench.times(b"k") == {1: True}

    async def test_payloads_come_only_when_asked_for(self, bench: Bench) -> None:
        part = PartEntry(1, 3, bench.new_data_id(), "etag")
        record = bench.record(b"k", 5, size_bytes=3, parts=(part,), is_inline=True)
        await bench.commit(record, payload=b"xyz", payload_hash=b"h" * 32, shard_index=2)
        for version_ids in (None, (NULL_VERSION,)):
            (lean,) = (await bench.head(b"k", version_ids=version_ids)).entries
            (full,) = (await bench.head(b"k", version_ids=version_ids, wants_payload=True)).entries
            assert lean.payload is None
            assert (full.payload, full.payload_hash) == (b"xyz", b"h" * 32)
            assert lean.encoded == full.encoded

    async def test_an_empty_payload_is_a_payload(self, bench: Bench) -> None:
        await bench.commit(bench.record(b"k", 5, is_inline=True), payload=b"", payload_hash=b"h" * 32)
        (entry,) = (await bench.head(b"k", wants_payload=True)).entries
        assert entry.payload == b""

    async def test_spaces_and_buckets_are_apart(self, bench: Bench) -> None:
        await bench.put(b"k", 5)
        upload = bench.upload_record("ab" * 24, 6)
        await bench.commit(upload)
        other = bench.new_bucket()
        assert (await other.head(b"k")).entries == ()
        assert (await bench.head(upload.key)).entries == ()
        assert await bench.times(upload.key, space=upload.space) == {6: False}

    async def test_key_versions_names_rows_tombstones_and_fences(self, bench: Bench) -> None:
        await bench.put_settled(b"k", 1)
        await bench.put(b"k", 2, ID_A)
        await bench.bury(bench.record(b"k", 3, ID_B), 4)
        await bench.fence(bench.record(b"k", 5, ID_C))
        versions = await bench.drive.key_versions(bench.name(b"k"), deadline=bench.soon)
        assert sorted(versions) == ["", ID_A, ID_B, ID_C]
        assert list(await bench.drive.key_versions(bench.name(b"other"), deadline=bench.soon)) == []
