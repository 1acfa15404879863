"""The contract of `commit`: what is accepted, what is refused, and that a refusal writes nothing."""

import pytest

from liteio_base.ids import NULL_VERSION, BucketId, Generation
from liteio_contracts.storage import CasScope, Commit, KeyName, ShardRef
from liteio_contracts.storage_errors import (
    Fenced,
    GenerationChanged,
    NothingHeld,
    RequirementMissing,
    ShardMissing,
    StaleBucket,
    Superseded,
)
from liteio_formats.bodies import BucketState, UploadState
from liteio_formats.record import Kind, PartEntry, Space, digest_of, encode_record
from liteio_testkit.contract_bench import Bench, block_hashes, row_commit, shard_blocks

ID_A, ID_B = "0" * 31 + "a", "0" * 31 + "b"


class CommitContract:
    async def test_a_commit_adds_an_unsettled_row(self, bench: Bench) -> None:
        record = await bench.put(b"k", 5)
        (entry,) = (await bench.head(b"k")).entries
        assert (entry.version_id, entry.created, entry.time, entry.kind) == (NULL_VERSION, 5, 5, Kind.VALUE)
        assert not entry.is_settled
        assert entry.encoded == encode_record(record)
        assert entry.digest == digest_of(entry.encoded)

    async def test_a_commit_keeps_all_older_rows(self, bench: Bench) -> None:
        await bench.put_settled(b"k", 5)
        await bench.put(b"k", 6)
        await bench.put(b"k", 7)
        assert await bench.times(b"k") == {7: False, 6: False, 5: True}

    async def test_a_row_that_is_held_is_a_yes_and_changes_nothing(self, bench: Bench) -> None:
        record = await bench.put_settled(b"k", 5)
        await bench.commit(record, base=0)
        assert await bench.times(b"k") == {5: True}

    async def test_a_repeated_commit_is_a_yes_though_newer_rows_came_since(self, bench: Bench) -> None:
        record = await bench.put(b"k", 5)
        await bench.put(b"k", 6)
        await bench.commit(record, base=0)
        assert await bench.times(b"k") == {6: False, 5: False}

    async def test_a_trimmed_row_does_not_come_back_by_repetition(self, bench: Bench) -> None:
        record = await bench.put(b"k", 5)
        await bench.put_settled(b"k", 6)
        with pytest.raises(Superseded):
            await bench.commit(record, base=0)
        assert await bench.times(b"k") == {6: True}

    async def test_key_scope_refuses_when_another_version_is_newer_than_the_base(self, bench: Bench) -> None:
        await bench.put(b"k", 5, ID_A)
        with pytest.raises(Superseded) as refusal:
            await bench.commit(bench.record(b"k", 9, ID_B), base=4)
        assert refusal.value.fields["newest"] == 5
        await bench.commit(bench.record(b"k", 9, ID_B), base=5)
        assert await bench.times(b"k", ID_A, ID_B) == {5: False, 9: False}

    async def test_key_scope_counts_a_tombstone_of_another_version(self, bench: Bench) -> None:
        await bench.bury(bench.record(b"k", 5, ID_A), 6)
        with pytest.raises(Superseded):
            await bench.commit(bench.record(b"k", 9, ID_B), base=5)

    async def test_key_scope_orders_other_versions_by_creation_not_by_later_changes(self, bench: Bench) -> None:
        await bench.put_settled(b"k", 5, ID_A)
        await bench.put_settled(b"k", 20, ID_A, created=5, tags="a=b")
        await bench.commit(bench.record(b"k", 9, ID_B), base=5)
        assert (await bench.head(b"k")).head_time == 9

    async def test_key_scope_includes_the_records_own_version(self, bench: Bench) -> None:
        await bench.put_settled(b"k", 20, created=5, tags="a=b")
        with pytest.raises(Superseded):
            await bench.commit(bench.record(b"k", 21), base=19)
        await bench.commit(bench.record(b"k", 21), base=20)

    async def test_version_scope_looks_at_the_version_only(self, bench: Bench) -> None:
        await bench.put(b"k", 5, ID_A)
        await bench.put(b"k", 9, ID_B)
        await bench.commit(bench.record(b"k", 7, ID_A, created=5), base=5, scope=CasScope.VERSION)
        with pytest.raises(Superseded):
            await bench.commit(bench.record(b"k", 8, ID_A, created=5), base=6, scope=CasScope.VERSION)

    async def test_version_scope_refuses_what_a_tombstone_ended(self, bench: Bench) -> None:
        record = bench.record(b"k", 5, ID_A)
        await bench.bury(record, 6)
        with pytest.raises(Superseded):
            await bench.commit(record, scope=CasScope.VERSION)

    async def test_two_records_of_a_version_with_one_time_never_stand_side_by_side(self, bench: Bench) -> None:
        first = await bench.put(b"k", 5)
        with pytest.raises(Superseded):
            await bench.commit(bench.record(b"k", 5, etag="other"), base=5)
        (entry,) = (await bench.register(b"k")).entries
        assert entry.encoded == encode_record(first)

    async def test_another_generation_is_refused(self, bench: Bench) -> None:
        record = bench.record(b"k", 5)
        with pytest.raises(GenerationChanged) as refusal:
            await bench.commit(record, generation=Generation("0123456789abcdef"))
        assert refusal.value.fields["generation"] == await bench.generation()
        await bench.commit(record, generation=await bench.generation())

    async def test_what_its_writer_did_not_read_is_taken_where_nothing_is_held(self, bench: Bench) -> None:
        first = bench.record(b"k", 5)
        await bench.commit(first, base=0, is_unread=True)
        await bench.commit(first, base=0, is_unread=True)
        with pytest.raises(Superseded):
            await bench.commit(bench.record(b"k", 6), base=0, is_unread=True)
        await bench.confirm(await bench.bury(first, 7))
        with pytest.raises(Superseded):
            await bench.commit(bench.record(b"k", 8), base=0, is_unread=True)
        another = Generation("0123456789abcdef")
        with pytest.raises(GenerationChanged):
            await bench.commit(bench.record(b"l", 9), base=0, is_unread=True, generation=another)

    async def test_a_removal_that_its_writer_did_not_read_is_taken_where_something_older_is_shown(
        self, bench: Bench
    ) -> None:
        record = bench.record(b"k", 5)
        with pytest.raises(NothingHeld):
            await bench.commit(bench.tombstone(record, 7), base=6, is_unread=True)
        assert (await bench.register(b"k")).entries == ()
        await bench.commit(record)
        with pytest.raises(Superseded):
            await bench.commit(bench.tombstone(record, 5), base=4, is_unread=True)
        with pytest.raises(Superseded):
            await bench.commit(bench.tombstone(record, 4), base=3, is_unread=True)
        stone = bench.tombstone(record, 7)
        await bench.commit(stone, base=6, is_unread=True)
        await bench.commit(stone, base=6, is_unread=True)
        with pytest.raises(NothingHeld):
            await bench.commit(bench.tombstone(record, 9), base=8, is_unread=True)
        await bench.confirm(stone)
        with pytest.raises(NothingHeld):
            await bench.commit(bench.tombstone(record, 9), base=8, is_unread=True)

    async def test_a_fenced_record_is_refused_and_others_are_not(self, bench: Bench) -> None:
        await bench.fence(bench.record(b"k", 5))
        with pytest.raises(Fenced):
            await bench.commit(bench.record(b"k", 5))
        await bench.commit(bench.record(b"k", 6))

    async def test_lifting_removes_the_fence(self, bench: Bench) -> None:
        record = bench.record(b"k", 5)
        await bench.fence(record)
        await bench.commit(record, lifts_fences=True)
        answer = await bench.register(b"k")
        assert (len(answer.entries), answer.fences) == (1, ())

    async def test_lifting_does_not_overrule_what_is_newer(self, bench: Bench) -> None:
        await bench.fence(bench.record(b"k", 5))
        await bench.put(b"k", 6)
        with pytest.raises(Superseded):
            await bench.commit(bench.record(b"k", 5), lifts_fences=True)
        assert len((await bench.register(b"k")).fences) == 1

    async def test_rows_are_added_all_or_none(self, bench: Bench) -> None:
        await bench.put(b"b", 9)
        rows = (row_commit(bench.record(b"a", 5)), row_commit(bench.record(b"b", 5)))
        with pytest.raises(Superseded):
            await bench.drive.commit(Commit(rows, events=(b"event",)), deadline=bench.soon)
        assert (await bench.head(b"a")).entries == ()
        assert list(await bench.drive.outbox(2**62, 10, deadline=bench.soon)) == []

    async def test_rows_of_several_spaces_are_added_together(self, bench: Bench) -> None:
        upload = bench.upload_record("ab" * 24, 5)
        await bench.commit(bench.record(b"object", 5), upload)
        assert await bench.times(b"object") == {5: False}
        assert await bench.times(upload.key, space=Space.UPLOAD) == {5: False}

    async def test_half_held_rows_are_completed(self, bench: Bench) -> None:
        first, second = bench.record(b"a", 5), bench.record(b"b", 5)
        await bench.commit(first)
        await bench.commit(first, second)
        assert await bench.times(b"b") == {5: False}

    # -- data that a row names

    async def test_a_row_whose_shard_was_never_staged_is_refused(self, bench: Bench) -> None:
        part = PartEntry(1, 300_000, bench.new_data_id(), "etag")
        with pytest.raises(ShardMissing):
            await bench.put(b"k", 5, size_bytes=300_000, parts=(part,))
        assert (await bench.head(b"k")).entries == ()

    async def test_a_row_whose_shard_is_still_open_is_refused(self, bench: Bench) -> None:
        part = PartEntry(1, 300_000, bench.new_data_id(), "etag")
        ref = ShardRef(part.data_id, 1, 0)
        writer = await bench.drive.create_shard(ref, size_hint=0, deadline=bench.soon)
        blocks = shard_blocks(ref, 300_000)
        await writer.write(blocks, block_hashes(ref, blocks))
        with pytest.raises(ShardMissing):
            await bench.put(b"k", 5, size_bytes=300_000, parts=(part,))
        await writer.abort()

    async def test_a_row_whose_shard_has_another_length_is_refused(self, bench: Bench) -> None:
        staged = await bench.stage(300_000)
        longer = PartEntry(1, 400_000, staged.data_id, "etag")
        with pytest.raises(ShardMissing):
            await bench.put(b"k", 5, size_bytes=400_000, parts=(longer,))

    async def test_every_part_must_be_there(self, bench: Bench) -> None:
        here, missing = await bench.stage(300_000), PartEntry(2, 9, bench.new_data_id(), "etag")
        with pytest.raises(ShardMissing):
            await bench.put(b"k", 5, size_bytes=300_009, parts=(here, missing))

    async def test_an_inline_row_needs_no_shard_file(self, bench: Bench) -> None:
        part = PartEntry(1, 3, bench.new_data_id(), "etag")
        record = bench.record(b"k", 5, size_bytes=3, parts=(part,), is_inline=True)
        await bench.commit(record, payload=b"xyz", payload_hash=b"h" * 32)
        (entry,) = (await bench.head(b"k", wants_payload=True)).entries
        assert (entry.payload, entry.payload_hash) == (b"xyz", b"h" * 32)

    # -- buckets and requirements

    async def test_an_unknown_bucket_is_stale(self, bench: Bench) -> None:
        other = bench.new_bucket()
        with pytest.raises(StaleBucket) as refusal:
            await other.commit(other.record(b"k", 5), bucket_number=1)
        assert refusal.value.fields["number"] == 0

    async def test_a_writer_with_an_older_configuration_is_refused(self, bench: Bench) -> None:
        other = bench.new_bucket()
        await other.open_bucket(number=3)
        with pytest.raises(StaleBucket) as refusal:
            await other.commit(other.record(b"k", 5), bucket_number=2)
        assert refusal.value.fields["number"] == 3

    @pytest.mark.parametrize("number", [3, 4])
    async def test_a_writer_with_the_same_or_a_newer_configuration_is_served(self, bench: Bench, number: int) -> None:
        other = bench.new_bucket()
        await other.open_bucket(number=3)
        await other.commit(other.record(b"k", 5), bucket_number=number)

    async def test_a_closing_bucket_refuses_writers_but_not_settlers(self, bench: Bench) -> None:
        other = bench.new_bucket()
        await other.open_bucket(number=1)
        await other.commit(other.bucket_record(b"bucket", 2, 2, BucketState.CLOSING))
        with pytest.raises(StaleBucket):
            await other.commit(other.record(b"k", 5), bucket_number=2)
        await other.commit(other.record(b"k", 5), bucket_number=None)

    async def test_an_unsettled_configuration_binds_already(self, bench: Bench) -> None:
        other = bench.new_bucket()
        await other.open_bucket(number=1)
        await other.commit(other.bucket_record(b"bucket", 2, 2))
        with pytest.raises(StaleBucket):
            await other.commit(other.record(b"k", 5), bucket_number=1)

    async def test_the_system_bucket_has_no_configuration_to_be_stale(self, bench: Bench) -> None:
        assert bench.bucket_id == BucketId("")
        await bench.commit(bench.record(b"k", 5), bucket_number=0)

    async def test_a_repeated_commit_is_a_yes_though_the_bucket_closed_since(self, bench: Bench) -> None:
        other = bench.new_bucket()
        await other.open_bucket(number=1)
        record = other.record(b"k", 5)
        await other.commit(record, bucket_number=1)
        await other.open_bucket(number=2, time=2)
        await other.commit(record, bucket_number=1)

    async def test_a_part_needs_its_open_upload(self, bench: Bench) -> None:
        upload = bench.upload_record("ab" * 24, 5)
        requires = KeyName(upload.space, upload.bucket_id, upload.key)
        part = await bench.stage(300_000)
        with pytest.raises(RequirementMissing):
            await bench.put_part("ab" * 24, part, 6, requires=requires)
        await bench.commit(upload)
        await bench.put_part("ab" * 24, part, 6, requires=requires)

    async def test_a_part_of_an_aborted_upload_is_refused(self, bench: Bench) -> None:
        upload = bench.upload_record("ab" * 24, 5)
        await bench.commit(upload)
        await bench.bury(upload, 6)
        requires = KeyName(upload.space, upload.bucket_id, upload.key)
        with pytest.raises(RequirementMissing):
            await bench.put_part("ab" * 24, await bench.stage(300_000), 7, requires=requires)

    async def test_a_part_of_a_completed_upload_is_refused(self, bench: Bench) -> None:
        await bench.commit(bench.upload_record("ab" * 24, 5))
        upload = bench.upload_record("ab" * 24, 6, UploadState.COMPLETED)
        await bench.commit(upload)
        requires = KeyName(upload.space, upload.bucket_id, upload.key)
        with pytest.raises(RequirementMissing):
            await bench.put_part("ab" * 24, await bench.stage(300_000), 7, requires=requires)
