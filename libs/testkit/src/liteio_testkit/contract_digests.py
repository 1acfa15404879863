"""The contract of `range_digests`: what drives that hold the same show alike, and what makes a range differ."""

from collections.abc import Sequence

from liteio_base.ids import HybridTime
from liteio_contracts.storage import DigestQuery, KeyName, RangeDigest
from liteio_formats.record import Kind, Space
from liteio_testkit.contract_bench import Bench

ID_A, ID_B = "0" * 31 + "a", "0" * 31 + "b"


class DigestContract:
    async def _ranges(self, bench: Bench, **query: object) -> Sequence[RangeDigest]:
        """All ranges, asked on from where an answer ended."""
        found: list[RangeDigest] = []
        asked = DigestQuery(**query)  # type: ignore[arg-type]  # its own fields
        after = asked.after
        while True:
            left = tuple(bound for bound in asked.bounds if after is None or bound > after)
            part = DigestQuery(
                after=after,
                until=asked.until,
                bounds=left,
                rows=asked.rows,
                tombstones_after=asked.tombstones_after,
            )
            answer = await bench.drive.range_digests(part, deadline=bench.soon)
            assert answer.ranges, "an answer moves on"
            found += answer.ranges
            after = answer.ranges[-1].until
            if after == asked.until:
                return found

    async def _whole(self, bench: Bench) -> RangeDigest:
        [whole] = await self._ranges(bench, rows=1_000_000)
        return whole

    async def _by_key(self, bench: Bench) -> dict[KeyName | None, bytes]:
        return {one.until: one.digest for one in await self._ranges(bench, rows=1) if one.count}

    async def test_an_empty_drive_has_one_empty_range(self, bench: Bench) -> None:
        for query in (DigestQuery(), DigestQuery(rows=1)):
            [only] = (await bench.drive.range_digests(query, deadline=bench.soon)).ranges
            assert (only.until, only.count) == (None, 0)

    async def test_an_answer_says_whose_it_is(self, bench: Bench) -> None:
        answer = await bench.drive.range_digests(DigestQuery(), deadline=bench.soon)
        status = await bench.drive.status(deadline=bench.soon)
        assert (answer.generation, answer.is_authoritative) == (status.generation, status.is_authoritative)

    async def test_a_digest_tells_of_records_marks_and_tombstones(self, bench: Bench) -> None:
        seen = [await self._whole(bench)]
        record = await bench.put(b"k", 5)
        seen.append(await self._whole(bench))
        await bench.confirm(record)
        seen.append(await self._whole(bench))
        stone = await bench.bury(record, 6)
        seen.append(await self._whole(bench))
        await bench.confirm(stone)
        seen.append(await self._whole(bench))
        assert len({one.digest for one in seen}) == len(seen)
        assert [one.count for one in seen] == [0, 2, 1, 3, 1]

    async def test_a_lost_inline_shard_is_told(self, bench: Bench) -> None:
        record = bench.record(b"k", 5, is_inline=True, size_bytes=3)
        await bench.commit(record)
        before = await self._whole(bench)
        await bench.commit(record, payload=b"abc", payload_hash=b"h" * 32)
        assert (await self._whole(bench)).digest != before.digest
        [entry] = (await bench.head(b"k", wants_payload=True)).entries
        assert (entry.payload, entry.is_settled) == (b"abc", False)

    async def test_what_drives_may_differ_in_is_not_told(self, bench: Bench) -> None:
        """Fences, shard indexes, and in which order the same things came."""
        one, other = bench.new_bucket(), bench.new_bucket()
        first, second = bench.record(b"a", 5), bench.record(b"b", 6, ID_A)
        await bench.commit(first, shard_index=0)
        await bench.commit(second, shard_index=0)
        before = await self._whole(bench)
        for record in (first, second):
            await bench.roll_back(record)
        await bench.commit(second, shard_index=3)
        await bench.commit(first, shard_index=3)
        await bench.fence(bench.record(b"c", 7))
        await one.fence(one.record(b"c", 7))
        await other.roll_back(await other.put(b"c", 7))
        assert await self._whole(bench) == before

    async def test_each_key_has_a_range_of_its_own(self, bench: Bench) -> None:
        other = bench.new_bucket()
        await bench.put(b"a", 5, ID_A)
        await bench.put(b"a", 6, ID_B)
        await bench.confirm(await bench.bury(bench.record(b"b", 5), 6))
        await bench.put_settled(b"a/b", 5, kind=Kind.DELETE_MARKER)
        await other.put(b"a", 5)
        await bench.commit(bench.upload_record("ab" * 24, 5))
        walked = await bench.drive.walk(None, 100, deadline=bench.soon)
        found = await self._ranges(bench, rows=1)
        assert [one.until for one in found[:-1]] == [KeyName(*name) for name in walked]
        assert sorted(one.count for one in found) == [0, 1, 1, 2, 2, 4]
        before = await self._by_key(bench)
        await bench.put(b"a/b", 7, ID_A)
        after = await self._by_key(bench)
        assert {name for name in after if before.get(name) != after[name]} == {bench.name(b"a/b")}

    async def test_ranges_are_cut_by_rows_behind_whole_keys(self, bench: Bench) -> None:
        for number in range(10):
            await bench.put_settled(b"k%d" % number, 5)
        for time, version in ((6, ID_A), (7, ID_B)):
            await bench.put_settled(b"k3", time, version)
        found = await self._ranges(bench, rows=4)
        assert [one.count for one in found] == [6, 4, 2]
        assert [one.until for one in found] == [bench.name(b"k3"), bench.name(b"k7"), None]

    async def test_ranges_are_cut_at_bounds_whatever_is_there(self, bench: Bench) -> None:
        other = bench.new_bucket()
        for key in (b"a", b"b", b"c"):
            await bench.put_settled(key, 5)
        await other.put_settled(b"x", 5)
        first, second = sorted((bench, other), key=lambda one: one.bucket_id)
        bounds = tuple(
            sorted(
                {
                    KeyName(Space.OBJECT, first.bucket_id, b"\x00"),
                    bench.name(b"a"),
                    bench.name(b"b0"),
                    bench.name(b"b1"),
                    other.name(b"x"),
                    second.name(b"zz"),
                    bench.name(b"", Space.PART),
                }
            )
        )
        found = await self._ranges(bench, bounds=bounds)
        assert [one.until for one in found] == [*bounds, None]
        counts = dict(zip((*bounds, None), (one.count for one in found), strict=True))
        assert counts[bench.name(b"a")] == 1
        assert (counts[bench.name(b"b0")], counts[bench.name(b"b1")]) == (1, 0)
        assert counts[other.name(b"x")] == (2 if other is second else 1)
        assert sum(counts.values()) == 4

    async def test_the_same_range_has_the_same_digest_however_it_is_asked_for(self, bench: Bench) -> None:
        for number in range(12):
            await bench.put(b"k%02d" % number, 5)
        cut = await self._ranges(bench, rows=5)
        bounds = tuple(one.until for one in cut if one.until is not None)
        assert await self._ranges(bench, bounds=bounds) == cut
        after: KeyName | None = None
        for one in cut:
            assert await self._ranges(bench, after=after, until=one.until, rows=100) == [one]
            after = one.until

    async def test_old_settled_tombstones_are_left_out(self, bench: Bench) -> None:
        await bench.confirm(await bench.bury(bench.record(b"a", 1), 5))
        await bench.bury(bench.record(b"b", 1), 5)
        await bench.confirm(await bench.bury(bench.record(b"c", 1), 6))
        for rows in (1, 100):
            found = await self._ranges(bench, rows=rows, tombstones_after=HybridTime(5))
            assert sum(one.count for one in found) == 3  # b, its mark, and c
        assert sum(one.count for one in await self._ranges(bench)) == 4

    async def test_many_rows_are_told_in_one_go_or_several(self, bench: Bench) -> None:
        records = [bench.record(b"%05d" % number, 5) for number in range(5000)]
        for start in range(0, len(records), 500):
            await bench.commit(*records[start : start + 500])
        by_key = await self._ranges(bench, rows=1)
        assert [one.until for one in by_key] == [*(bench.name(record.key) for record in records), None]
        assert len(await self._ranges(bench, rows=1000)) == 6
        whole = await self._whole(bench)
        assert whole.count == 10_000
        await bench.roll_back(records[2500])
        assert (await self._whole(bench)).count == 9_998
