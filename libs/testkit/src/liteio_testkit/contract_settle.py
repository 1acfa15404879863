"""The contract of `confirm`, `fence` and `roll_back` (docs/protocols/commit.md R8 and R1)."""

import pytest

from liteio_contracts.storage import CasScope, FenceAnswer, ShardRef
from liteio_contracts.storage_errors import Fenced, ShardMissing
from liteio_formats.bodies import UploadState
from liteio_formats.record import Kind, Space
from liteio_testkit.contract_bench import Bench, collect_all, data_of

ID_A, ID_B = "0" * 31 + "a", "0" * 31 + "b"
UPLOAD = "ab" * 24


class SettleContract:
    # -- confirm

    async def test_confirm_settles_the_row_and_trims_older_ones_of_its_version(self, bench: Bench) -> None:
        await bench.put_settled(b"k", 5)
        await bench.put(b"k", 6)
        newest = await bench.put(b"k", 7)
        await bench.confirm(newest)
        assert await bench.times(b"k") == {7: True}

    async def test_confirming_the_middle_of_three_leaves_the_newest_unsettled(self, bench: Bench) -> None:
        await bench.put(b"k", 5)
        middle = await bench.put(b"k", 6)
        await bench.put(b"k", 7)
        await bench.confirm(middle)
        assert await bench.times(b"k") == {7: False, 6: True}

    async def test_confirm_does_nothing_on_a_drive_that_does_not_hold_the_row(self, bench: Bench) -> None:
        await bench.put(b"k", 5)
        await bench.fence(bench.record(b"k", 4), base=1)
        await bench.confirm(bench.record(b"k", 9))
        answer = await bench.register(b"k")
        assert [(entry.time, entry.is_settled) for entry in answer.entries] == [(5, False)]
        assert len(answer.fences) == 1

    async def test_confirm_leaves_other_versions_alone(self, bench: Bench) -> None:
        await bench.put(b"k", 5, ID_A)
        await bench.put(b"k", 6)
        await bench.fence(bench.record(b"k", 4, ID_A), base=1)
        await bench.confirm(await bench.put(b"k", 7, ID_B))
        assert await bench.times(b"k", ID_A, ID_B, "") == {5: False, 6: False, 7: True}
        assert len((await bench.register(b"k", ID_A)).fences) == 1

    async def test_confirm_deletes_fences_whose_base_is_older(self, bench: Bench) -> None:
        await bench.fence(bench.record(b"k", 8), base=4)
        await bench.fence(bench.record(b"k", 9), base=5)
        await bench.confirm(await bench.put(b"k", 5))
        assert [fence.time for fence in (await bench.register(b"k")).fences] == [9]

    async def test_a_settled_tombstone_takes_its_versions_rows_and_stays(self, bench: Bench) -> None:
        record = await bench.put_settled(b"k", 5, ID_A)
        await bench.put_settled(b"k", 4, ID_B)
        await bench.confirm(await bench.bury(record, 6))
        (entry,) = (await bench.register(b"k", ID_A)).entries
        assert (entry.kind, entry.time, entry.is_settled) == (Kind.TOMBSTONE, 6, True)
        assert await bench.times(b"k", ID_B) == {4: True}

    async def test_a_tombstone_spares_the_row_that_replaced_its_version(self, bench: Bench) -> None:
        old = await bench.put_settled(b"k", 5)
        stone = await bench.bury(old, 6)
        await bench.put(b"k", 7)
        await bench.confirm(stone)
        assert await bench.times(b"k") == {7: False, 6: True}

    async def test_a_row_that_settles_takes_older_tombstones_of_its_version(self, bench: Bench) -> None:
        await bench.confirm(await bench.bury(bench.record(b"k", 5), 6))
        await bench.confirm(await bench.put(b"k", 7))
        assert await bench.times(b"k") == {7: True}

    async def test_a_null_version_replaces_null_below_newer_versions(self, bench: Bench) -> None:
        await bench.put_settled(b"k", 5)
        await bench.put_settled(b"k", 6, ID_A)
        newer_null = bench.record(b"k", 7)
        await bench.commit(newer_null)
        await bench.confirm(newer_null)
        assert await bench.times(b"k") == {7: True}
        assert await bench.times(b"k", ID_A) == {6: True}

    async def test_confirm_twice_is_confirm_once(self, bench: Bench) -> None:
        record = await bench.put(b"k", 5)
        await bench.confirm(record, record)
        await bench.confirm(record)
        assert await bench.times(b"k") == {5: True}

    async def test_one_confirm_settles_many_keys(self, bench: Bench) -> None:
        records = [await bench.put(b"k%d" % number, 5) for number in range(20)]
        await bench.confirm(*records)
        assert list(await bench.drive.unsettled(2**62, 100, deadline=bench.soon)) == []

    # -- uploads

    @pytest.mark.parametrize("ending", ["completed", "aborted"])
    async def test_the_end_of_an_upload_takes_its_part_rows(self, bench: Bench, ending: str) -> None:
        upload = bench.upload_record(UPLOAD, 5)
        await bench.commit(upload)
        part = await bench.put_part(UPLOAD, await bench.stage(300_000), 6)
        other = await bench.put_part("cd" * 24, await bench.stage(300_000), 6)
        if ending == "completed":
            end = bench.upload_record(UPLOAD, 8, UploadState.COMPLETED)
            await bench.commit(end)
        else:
            end = await bench.bury(upload, 8)
        assert await bench.times(part.key, space=Space.PART) == {6: False}, "not before it is settled"
        await bench.confirm(end)
        assert await bench.times(part.key, space=Space.PART) == {}
        assert await bench.times(other.key, space=Space.PART) == {6: False}

    async def test_confirming_an_open_upload_keeps_its_parts(self, bench: Bench) -> None:
        upload = bench.upload_record(UPLOAD, 5)
        await bench.commit(upload)
        part = await bench.put_part(UPLOAD, await bench.stage(300_000), 6)
        await bench.confirm(upload, part)
        assert await bench.times(part.key, space=Space.PART) == {6: True}

    async def test_a_completed_objects_row_keeps_the_parts_data(self, bench: Bench) -> None:
        await bench.commit(bench.upload_record(UPLOAD, 5))
        used, unused = await bench.stage(300_000, number=1), await bench.stage(300_000, number=2)
        for part in (used, unused):
            await bench.put_part(UPLOAD, part, 6)
        end = bench.upload_record(UPLOAD, 8, UploadState.COMPLETED)
        await bench.commit(bench.record(b"object", 8, size_bytes=300_000, parts=(used,)), end)
        await bench.confirm(end)
        await collect_all(bench)
        await bench.drive.shard_facts(ShardRef(used.data_id, 1, 0), verify=True, deadline=bench.soon)
        with pytest.raises(ShardMissing):
            await bench.drive.shard_facts(ShardRef(unused.data_id, 2, 0), verify=False, deadline=bench.soon)

    # -- data of replaced rows

    async def test_replaced_data_goes_once_its_row_is_trimmed(self, bench: Bench) -> None:
        old = await bench.put_staged(b"k", 5)
        new = await bench.put_staged(b"k", 6)
        await collect_all(bench)
        await bench.drive.shard_facts(data_of(old), verify=True, deadline=bench.soon)
        await bench.confirm(new)
        await collect_all(bench)
        await bench.drive.shard_facts(data_of(new), verify=True, deadline=bench.soon)
        with pytest.raises(ShardMissing):
            await bench.drive.shard_facts(data_of(old), verify=False, deadline=bench.soon)

    async def test_a_changed_record_of_the_same_data_keeps_it(self, bench: Bench) -> None:
        old = await bench.put_staged(b"k", 5)
        tagged = await bench.put(b"k", 6, created=5, tags="a=b", size_bytes=old.size_bytes, parts=old.parts)
        await bench.confirm(tagged)
        await collect_all(bench)
        await bench.drive.shard_facts(data_of(old), verify=True, deadline=bench.soon)

    # -- fence

    async def test_a_held_row_is_not_fenced(self, bench: Bench) -> None:
        record = await bench.put(b"k", 5)
        assert await bench.fence(record) == FenceAnswer(is_held=True, is_fenced=False)
        assert (await bench.register(b"k")).fences == ()

    async def test_a_held_tombstone_is_held(self, bench: Bench) -> None:
        stone = await bench.bury(bench.record(b"k", 5), 6)
        assert await bench.fence(stone) == FenceAnswer(is_held=True, is_fenced=False)

    async def test_what_is_not_held_is_fenced_once(self, bench: Bench) -> None:
        await bench.put(b"k", 4)
        for _ in range(2):
            assert await bench.fence(bench.record(b"k", 5)) == FenceAnswer(is_held=False, is_fenced=True)
        (fence,) = (await bench.register(b"k")).fences
        assert (fence.version_id, fence.time) == ("", 5)

    async def test_a_fence_is_of_one_version_and_time(self, bench: Bench) -> None:
        await bench.fence(bench.record(b"k", 5, ID_A))
        await bench.commit(bench.record(b"k", 5, ID_B))
        await bench.commit(bench.record(b"k", 6, ID_A), scope=CasScope.VERSION)
        with pytest.raises(Fenced):
            await bench.commit(bench.record(b"k", 5, ID_A), scope=CasScope.VERSION)

    async def test_a_tombstone_can_be_fenced(self, bench: Bench) -> None:
        record = await bench.put_settled(b"k", 5)
        await bench.fence(bench.tombstone(record, 6))
        with pytest.raises(Fenced):
            await bench.bury(record, 6)

    async def test_fences_are_not_part_of_the_head(self, bench: Bench) -> None:
        await bench.fence(bench.record(b"k", 5))
        answer = await bench.head(b"k")
        assert (answer.head_time, answer.entries) == (0, ())

    # -- roll back

    async def test_roll_back_deletes_an_unsettled_row(self, bench: Bench) -> None:
        await bench.put_settled(b"k", 5)
        dead = await bench.put(b"k", 6)
        await bench.roll_back(dead)
        await bench.roll_back(dead)
        assert await bench.times(b"k") == {5: True}
        assert (await bench.head(b"k")).head_time == 5

    async def test_roll_back_keeps_a_settled_row(self, bench: Bench) -> None:
        record = await bench.put_settled(b"k", 5)
        await bench.roll_back(record)
        assert await bench.times(b"k") == {5: True}

    async def test_roll_back_of_a_middle_row_touches_no_other(self, bench: Bench) -> None:
        await bench.put(b"k", 5)
        dead = await bench.put(b"k", 6)
        await bench.put(b"k", 7)
        await bench.roll_back(dead)
        assert await bench.times(b"k") == {7: False, 5: False}

    async def test_roll_back_of_a_tombstone_shows_its_version_again(self, bench: Bench) -> None:
        record = await bench.put_settled(b"k", 5)
        stone = await bench.bury(record, 6)
        assert (await bench.drive.bucket_usage(bench.bucket_id, deadline=bench.soon)).objects == 0
        await bench.roll_back(stone)
        assert (await bench.drive.bucket_usage(bench.bucket_id, deadline=bench.soon)).objects == 1
        assert await bench.times(b"k") == {5: True}

    async def test_roll_back_frees_the_rows_data(self, bench: Bench) -> None:
        dead = await bench.put_staged(b"k", 5)
        await bench.roll_back(dead)
        await collect_all(bench)
        with pytest.raises(ShardMissing):
            await bench.drive.shard_facts(data_of(dead), verify=False, deadline=bench.soon)
