"""The contract of upkeep: unsettled lists, walks, usage, the end of buckets, outbox, expiry, restarts."""

import pytest

from liteio_base.background import IS_BACKGROUND
from liteio_base.ids import Generation
from liteio_contracts.storage import BucketUsage, Commit, KeyName, ListQuery, VersionRef
from liteio_contracts.storage_errors import BucketHoldsObjects, Fenced, GenerationChanged, ShardMissing, StaleBucket
from liteio_formats.bodies import BucketState
from liteio_formats.record import Kind, Space
from liteio_testkit.contract_bench import NS, Bench, collect_all, data_of, ref_of, row_commit

ID_A, ID_B = "0" * 31 + "a", "0" * 31 + "b"
FOR_EVER = 2**62


class UpkeepContract:
    async def _usage(self, bench: Bench) -> BucketUsage:
        return await bench.drive.bucket_usage(bench.bucket_id, deadline=bench.soon)

    async def _walk(self, bench: Bench, limit: int) -> list[KeyName]:
        found: list[KeyName] = []
        while page := await bench.drive.walk(found[-1] if found else None, limit, deadline=bench.soon):
            assert len(page) <= limit
            found.extend(page)
        return found

    # -- status

    async def test_a_fresh_drive_says_what_it_is(self, bench: Bench) -> None:
        status = await bench.drive.status(deadline=bench.soon)
        assert (status.drive_id, status.slot) == (bench.drive.drive_id, bench.drive.slot)
        assert status.is_authoritative
        assert (status.state, status.unsettled, status.outbox) == ("online", 0, 0)
        assert 0 < status.free_bytes <= status.total_bytes

    async def test_status_counts_unsettled_records_and_the_outbox(self, bench: Bench) -> None:
        record = await bench.put(b"k", 5)
        await bench.bury(record, 6)
        await bench.commit(bench.upload_record("ab" * 24, 6), events=(b"a", b"b"))
        status = await bench.drive.status(deadline=bench.soon)
        assert (status.unsettled, status.outbox) == (3, 2)

    async def test_status_tells_versions_and_their_bytes(self, bench: Bench) -> None:
        await bench.put_settled(b"a", 5, size_bytes=10)
        await bench.put_settled(b"b", 5, ID_A, size_bytes=7)
        await bench.put_settled(b"b", 6, ID_B, kind=Kind.DELETE_MARKER)
        await bench.new_bucket().put_settled(b"a", 5, size_bytes=100)
        status = await bench.drive.status(deadline=bench.soon)
        assert (status.versions, status.stored_bytes) == (4, 117)

    async def test_calls_for_clients_are_counted_and_others_not(self, bench: Bench) -> None:
        async def counted() -> int:
            return (await bench.drive.status(deadline=bench.soon)).client_calls

        async def ask() -> None:
            await bench.put(b"k", 5)
            await bench.head(b"k")
            query = ListQuery(space=Space.OBJECT, bucket_id=bench.bucket_id)
            await bench.drive.list_page(query, deadline=bench.soon)

        before = await counted()
        assert await counted() == before, "asking for the status is no client's call"
        await ask()
        assert await counted() == before + 3
        token = IS_BACKGROUND.set(True)
        try:
            await ask()
        finally:
            IS_BACKGROUND.reset(token)
        assert await counted() == before + 3

    async def test_only_the_named_generation_becomes_authoritative(self, bench: Bench) -> None:
        with pytest.raises(GenerationChanged):
            await bench.drive.set_authoritative(Generation("0123456789abcdef"), deadline=bench.soon)
        await bench.drive.set_authoritative(await bench.generation(), deadline=bench.soon)
        assert (await bench.head(b"k")).is_authoritative

    async def test_a_drive_is_checked_for_no_other_start_of_its_machine(self, bench: Bench) -> None:
        assert not (await bench.drive.status(deadline=bench.soon)).is_unchecked
        assert not (await bench.head(b"k")).is_unchecked
        with pytest.raises(GenerationChanged):
            await bench.drive.set_checked("another start", deadline=bench.soon)

    # -- unsettled

    async def test_unsettled_records_are_listed_oldest_first(self, bench: Bench) -> None:
        made = []
        for key in (b"c", b"a", b"b"):
            made.append(await bench.put(key, 5))
            bench.subject.clock.advance(1)
        made.append(await bench.bury(made[0], 6))
        bench.subject.clock.advance(1)
        refs = [ref_of(record) for record in made]
        now_ns = bench.subject.clock.now_ns()
        assert list(await bench.drive.unsettled(now_ns, 10, deadline=bench.soon)) == refs
        assert list(await bench.drive.unsettled(now_ns, 2, deadline=bench.soon)) == refs[:2]
        young = now_ns - 2 * NS - NS // 2
        assert list(await bench.drive.unsettled(young, 10, deadline=bench.soon)) == refs[:2]
        moment_of_the_second = now_ns - 3 * NS
        assert list(await bench.drive.unsettled(moment_of_the_second, 10, deadline=bench.soon)) == refs[:1]

    async def test_what_was_marked_before_the_clock_was_stepped_back_is_old(self, bench: Bench) -> None:
        bench.subject.clock.step_wall(3600)
        record = await bench.put(b"a", 5)
        now_ns = bench.subject.clock.now_ns()
        assert list(await bench.drive.unsettled(now_ns - NS, 10, deadline=bench.soon)) == []
        bench.subject.clock.step_wall(-3600)
        assert list(await bench.drive.unsettled(now_ns - 3601 * NS, 10, deadline=bench.soon)) == [ref_of(record)]

    async def test_settled_and_rolled_back_records_leave_the_list(self, bench: Bench) -> None:
        kept, gone = await bench.put(b"a", 5), await bench.put(b"b", 5)
        await bench.confirm(kept)
        await bench.roll_back(gone)
        assert list(await bench.drive.unsettled(FOR_EVER, 10, deadline=bench.soon)) == []

    async def test_unsettled_records_of_every_space_are_listed(self, bench: Bench) -> None:
        records = [bench.record(b"k", 5), bench.upload_record("ab" * 24, 5), bench.bucket_record(b"bucket", 5, 1)]
        for record in records:
            await bench.commit(record)
        listed: list[VersionRef] = list(await bench.drive.unsettled(FOR_EVER, 10, deadline=bench.soon))
        assert sorted(listed, key=lambda ref: ref.name) == sorted(map(ref_of, records), key=lambda ref: ref.name)

    # -- walk

    @pytest.mark.parametrize("limit", [1, 2, 100])
    async def test_a_walk_gives_every_key_once_in_order(self, bench: Bench, limit: int) -> None:
        other = bench.new_bucket()
        await bench.put(b"b", 5, ID_A)
        await bench.put(b"b", 6, ID_B)
        await bench.put(b"a\xff", 5)
        await other.put(b"a", 5)
        await bench.confirm(await bench.bury(bench.record(b"only-a-tombstone", 5), 6))
        await bench.fence(bench.record(b"only-a-fence", 5))
        upload = bench.upload_record("ab" * 24, 5)
        await bench.commit(upload)
        expected = [
            bench.name(b"a\xff"),
            bench.name(b"b"),
            bench.name(b"only-a-tombstone"),
            other.name(b"a"),
            bench.name(upload.key, Space.UPLOAD),
        ]
        assert await self._walk(bench, limit) == sorted(expected)

    # -- usage

    async def test_usage_follows_every_commit(self, bench: Bench) -> None:
        assert await self._usage(bench) == BucketUsage()
        first = await bench.put(b"a", 1, ID_A, size_bytes=10)
        assert await self._usage(bench) == BucketUsage(1, 1, 0, 10, 1)
        second = await bench.put(b"a", 2, ID_B, size_bytes=5)
        assert await self._usage(bench) == BucketUsage(1, 2, 0, 15, 2)
        await bench.confirm(first, second)
        assert await self._usage(bench) == BucketUsage(1, 2, 0, 15, 0)
        marker = await bench.put_settled(b"a", 3, "0" * 31 + "c", kind=Kind.DELETE_MARKER)
        assert await self._usage(bench) == BucketUsage(0, 2, 1, 15, 0)
        stone = await bench.bury(marker, 4)
        assert await self._usage(bench) == BucketUsage(1, 2, 0, 15, 1)
        await bench.confirm(stone)
        assert await self._usage(bench) == BucketUsage(1, 2, 0, 15, 0)

    async def test_a_tombstone_takes_its_version_out_of_usage_at_once(self, bench: Bench) -> None:
        record = await bench.put_settled(b"a", 1, size_bytes=10)
        await bench.bury(record, 2)
        assert await self._usage(bench) == BucketUsage(0, 0, 0, 0, 1)
        await bench.put_settled(b"a", 3, size_bytes=7)
        assert await self._usage(bench) == BucketUsage(1, 1, 0, 7, 0)

    async def test_replacing_an_object_counts_both_until_it_is_settled(self, bench: Bench) -> None:
        await bench.put_settled(b"a", 1, size_bytes=10)
        new = await bench.put(b"a", 2, size_bytes=7)
        assert await self._usage(bench) == BucketUsage(1, 2, 0, 17, 1)
        await bench.confirm(new)
        assert await self._usage(bench) == BucketUsage(1, 1, 0, 7, 0)

    async def test_roll_back_takes_back_the_usage(self, bench: Bench) -> None:
        await bench.put_settled(b"a", 1, size_bytes=10)
        await bench.roll_back(await bench.put(b"a", 2, size_bytes=7))
        await bench.roll_back(await bench.put(b"b", 2, size_bytes=7))
        assert await self._usage(bench) == BucketUsage(1, 1, 0, 10, 0)

    async def test_uploads_parts_and_other_buckets_are_no_objects(self, bench: Bench) -> None:
        await bench.commit(bench.upload_record("ab" * 24, 5))
        await bench.put_part("ab" * 24, await bench.stage(300_000), 6)
        await bench.new_bucket().put(b"a", 1, size_bytes=10)
        usage = await self._usage(bench)
        assert (usage.objects, usage.versions, usage.delete_markers, usage.size_bytes) == (0, 0, 0, 0)

    # -- a bucket's end

    async def test_a_bucket_that_holds_an_object_can_not_close(self, bench: Bench) -> None:
        bucket = bench.new_bucket()
        await bucket.open_bucket()
        record = await bucket.put_settled(b"k", 5, ID_A)
        closing = bucket.bucket_record(b"bucket", 2, 2, BucketState.CLOSING)
        generation = (await bucket.drive.status(deadline=bucket.soon)).generation
        with pytest.raises(BucketHoldsObjects):
            await bucket.commit(closing, generation=generation)
        await bucket.commit(bucket.record(b"other", 5), bucket_number=1)
        await bucket.bury(await bucket.put(b"other", 6), 7)
        await bucket.bury(record, 7)
        await bucket.commit(closing, generation=generation)

    async def test_a_settler_brings_a_closing_to_a_drive_that_holds_an_object(self, bench: Bench) -> None:
        bucket = bench.new_bucket()
        await bucket.open_bucket()
        await bucket.put_settled(b"k", 5, ID_A)
        await bucket.commit(bucket.bucket_record(b"bucket", 2, 2, BucketState.CLOSING))
        with pytest.raises(StaleBucket):
            await bucket.commit(bucket.record(b"other", 5), bucket_number=2)

    async def test_a_delete_marker_keeps_a_bucket_open(self, bench: Bench) -> None:
        bucket = bench.new_bucket()
        await bucket.open_bucket()
        await bucket.put(b"k", 5, ID_A, kind=Kind.DELETE_MARKER)
        generation = (await bucket.drive.status(deadline=bucket.soon)).generation
        with pytest.raises(BucketHoldsObjects):
            await bucket.commit(bucket.bucket_record(b"bucket", 2, 2, BucketState.CLOSING), generation=generation)

    async def test_a_reopened_bucket_takes_writers_again(self, bench: Bench) -> None:
        bucket = bench.new_bucket()
        await bucket.open_bucket()
        await bucket.commit(bucket.bucket_record(b"bucket", 2, 2, BucketState.CLOSING))
        await bucket.commit(bucket.bucket_record(b"bucket", 3, 3))
        await bucket.commit(bucket.record(b"k", 5), bucket_number=3)

    async def test_a_settled_bucket_tombstone_takes_everything_that_is_left(self, bench: Bench) -> None:
        bucket, neighbour = bench.new_bucket(), bench.new_bucket()
        config = await bucket.open_bucket(b"gone")
        await neighbour.open_bucket(b"stays")
        await bucket.confirm(await bucket.bury(await bucket.put(b"k", 5), 6))
        await bucket.fence(bucket.record(b"fenced", 5))
        await bucket.commit(bucket.upload_record("ab" * 24, 5))
        part = await bucket.put_part("ab" * 24, await bucket.stage(300_000), 6)
        await neighbour.put(b"k", 5)
        await bucket.commit(bucket.bucket_record(b"gone", 7, 2, BucketState.CLOSING))
        stone = await bucket.bury(config, 8)
        with pytest.raises(StaleBucket):
            await bucket.commit(bucket.record(b"late", 9), bucket_number=2)
        assert (await bucket.head(part.key, Space.PART)).entries, "not before it is settled"
        await bucket.confirm(stone)
        await collect_all(neighbour)
        left = {name.bucket_id for name in await self._walk(bench, 100)}
        assert bucket.bucket_id not in left
        assert neighbour.bucket_id in left
        assert list(await bench.drive.key_versions(bucket.name(b"fenced"), deadline=bench.soon)) == []
        with pytest.raises(ShardMissing):
            await bench.drive.shard_facts(data_of(part), verify=False, deadline=bench.soon)

    async def test_a_bucket_made_anew_keeps_its_objects_when_the_old_tombstone_settles(self, bench: Bench) -> None:
        old, new = bench.new_bucket(), bench.new_bucket()
        stone = await old.bury(await old.open_bucket(), 5)
        await new.commit(new.bucket_record(b"bucket", 6, 1))
        await new.commit(new.record(b"k", 7), bucket_number=1)
        await old.confirm(stone)
        assert await new.times(b"k") == {7: False}
        await new.commit(new.record(b"k", 8), bucket_number=1)

    # -- outbox

    async def test_events_wait_in_the_outbox_until_done(self, bench: Bench) -> None:
        await bench.commit(bench.record(b"a", 5), events=(b"one", b"two"))
        bench.subject.clock.advance(10)
        await bench.commit(bench.record(b"b", 5), events=(b"three",))
        rows = list(await bench.drive.outbox(FOR_EVER, 10, deadline=bench.soon))
        assert [row.payload for row in rows] == [b"one", b"two", b"three"]
        assert [row.number for row in rows] == sorted({row.number for row in rows})
        assert rows[2].queued_ns - rows[0].queued_ns == 10 * NS
        old = await bench.drive.outbox(rows[2].queued_ns, 10, deadline=bench.soon)
        assert [row.payload for row in old] == [b"one", b"two"]
        assert len(await bench.drive.outbox(FOR_EVER, 1, deadline=bench.soon)) == 1
        await bench.drive.outbox_done([rows[0].number, rows[2].number, 10**9], deadline=bench.soon)
        assert [row.payload for row in await bench.drive.outbox(FOR_EVER, 10, deadline=bench.soon)] == [b"two"]

    async def test_a_repeated_commit_queues_no_event_again(self, bench: Bench) -> None:
        commit = Commit((row_commit(bench.record(b"a", 5)),), events=(b"one",))
        for _ in range(2):
            await bench.drive.commit(commit, deadline=bench.soon)
        assert len(await bench.drive.outbox(FOR_EVER, 10, deadline=bench.soon)) == 1

    # -- expiry

    async def test_settled_tombstones_and_fences_expire_and_nothing_else(self, bench: Bench) -> None:
        await bench.confirm(await bench.bury(bench.record(b"settled", 5), 6))
        await bench.bury(bench.record(b"unsettled", 5), 6)
        await bench.fence(bench.record(b"fenced", 5))
        await bench.put(b"row", 5)
        bench.subject.clock.advance(bench.subject.tombstone_seconds - 10)
        await bench.drive.collect_garbage(deadline=bench.soon)
        assert len((await bench.register(b"settled")).entries) == 1
        with pytest.raises(Fenced):
            await bench.commit(bench.record(b"fenced", 5))
        bench.subject.clock.advance(20)
        await bench.drive.collect_garbage(deadline=bench.soon)
        assert (await bench.register(b"settled")).entries == ()
        assert (await bench.register(b"fenced")).fences == ()
        assert len((await bench.register(b"unsettled")).entries) == 1
        assert await bench.times(b"row") == {5: False}

    # -- durability

    async def test_what_was_answered_survives_a_restart(self, bench: Bench) -> None:
        kept, dead = await bench.put(b"kept", 5), await bench.put(b"dead", 5)
        await bench.fence(bench.record(b"fenced", 5))
        await bench.roll_back(dead)
        stone = await bench.bury(kept, 6)
        await bench.commit(bench.record(b"with-event", 5), events=(b"event",))
        generation = await bench.generation()
        await bench.restart()
        assert await bench.generation() == generation
        assert await bench.times(b"kept") == {5: False, 6: False}
        assert await bench.times(b"dead") == {}
        assert len((await bench.register(b"fenced")).fences) == 1
        assert len(await bench.drive.outbox(FOR_EVER, 10, deadline=bench.soon)) == 1
        refs = await bench.drive.unsettled(FOR_EVER, 10, deadline=bench.soon)
        assert ref_of(stone) in refs

    async def test_a_confirm_may_be_lost_but_not_half(self, bench: Bench) -> None:
        await bench.put(b"k", 5)
        await bench.confirm(await bench.put(b"k", 6))
        await bench.restart()
        assert await bench.times(b"k") in ({6: True}, {6: False, 5: False})

    async def test_data_outlives_a_confirm_that_may_be_lost(self, bench: Bench) -> None:
        old = await bench.put_staged(b"k", 5)
        new = await bench.put_staged(b"k", 6)
        await bench.confirm(new)
        await bench.restart()
        for time in await bench.times(b"k"):
            record = old if time == 5 else new
            await bench.drive.shard_facts(data_of(record), verify=True, deadline=bench.soon)

    async def test_usage_is_exact_after_a_restart(self, bench: Bench) -> None:
        await bench.put_settled(b"a", 1, size_bytes=10)
        await bench.confirm(await bench.put(b"a", 2, size_bytes=7))
        await bench.put(b"b", 2, size_bytes=5)
        await bench.restart()
        held = await bench.times(b"a")
        expected = 5 + sum({1: 10, 2: 7}[time] for time in held)
        assert (await self._usage(bench)).size_bytes == expected
