"""The contract of shard files: staged, named, read in spans, verified, unlinked."""

import pytest

from liteio_base.limits import BLOCK_BYTES
from liteio_contracts.storage import KeyName, ShardRef
from liteio_contracts.storage_errors import DriveUnavailable, ShardCorrupt, ShardMissing
from liteio_formats.record import PartEntry
from liteio_testkit.contract_bench import Bench, K, M, block_hashes, collect_all, data_of, shard_blocks

ID_A = "0" * 31 + "a"
FIVE_BLOCKS_BYTES = 4 * BLOCK_BYTES + 1001


class ShardContract:
    @pytest.mark.parametrize("size_bytes", [1, 300_000, BLOCK_BYTES, BLOCK_BYTES + 1, FIVE_BLOCKS_BYTES])
    async def test_what_was_written_is_read(self, bench: Bench, size_bytes: int) -> None:
        part = await bench.stage(size_bytes)
        ref = ShardRef(part.data_id, 1, 0)
        expected = shard_blocks(ref, size_bytes)
        reader = await bench.drive.open_shard(ref, 0, len(expected), deadline=bench.soon)
        assert list(await reader.read(len(expected))) == expected
        assert list(reader.hashes) == block_hashes(ref, expected)
        assert list(await reader.read(1)) == []
        await reader.close()

    @pytest.mark.parametrize(("first", "count"), [(0, 1), (0, 3), (1, 2), (2, 3), (4, 1), (3, 2)])
    async def test_a_span_of_blocks_is_read_in_steps(self, bench: Bench, first: int, count: int) -> None:
        part = await bench.stage(FIVE_BLOCKS_BYTES)
        ref = ShardRef(part.data_id, 1, 0)
        expected = shard_blocks(ref, FIVE_BLOCKS_BYTES)[first : first + count]
        reader = await bench.drive.open_shard(ref, first, count, deadline=bench.soon)
        assert list(reader.hashes) == block_hashes(ref, shard_blocks(ref, FIVE_BLOCKS_BYTES))[first : first + count]
        found = list(await reader.read(1))
        while more := await reader.read(2):
            found.extend(more)
        assert found == expected
        await reader.close()

    async def test_what_is_ahead_comes_without_waiting(self, bench: Bench) -> None:
        part = await bench.stage(FIVE_BLOCKS_BYTES)
        ref = ShardRef(part.data_id, 1, 0)
        reader = await bench.drive.open_shard(ref, 0, 5, deadline=bench.soon)
        ahead = reader.ahead
        if ahead:
            with pytest.raises(StopIteration) as end:
                reader.read(ahead).send(None)
            assert list(end.value.value) == shard_blocks(ref, FIVE_BLOCKS_BYTES)[:ahead]
        rest = await reader.read(5)
        assert len(rest) == 5 - ahead
        assert reader.ahead == 0
        await reader.close()

    async def test_blocks_may_come_in_many_writes(self, bench: Bench) -> None:
        ref = ShardRef(bench.new_data_id(), 7, 2)
        blocks = shard_blocks(ref, FIVE_BLOCKS_BYTES)
        hashes = block_hashes(ref, blocks)
        writer = await bench.drive.create_shard(ref, size_hint=sum(map(len, blocks)), deadline=bench.soon)
        await writer.write(blocks[:1], hashes[:1])
        await writer.write(blocks[1:4], hashes[1:4])
        await writer.write(blocks[4:], hashes[4:])
        await writer.close(K, M, FIVE_BLOCKS_BYTES)
        facts = await bench.drive.shard_facts(ref, verify=True, deadline=bench.soon)
        assert (facts.ref, facts.k, facts.m, facts.part_size_bytes) == (ref, K, M, FIVE_BLOCKS_BYTES)
        assert list(facts.hashes) == hashes

    async def test_facts_come_with_and_without_verifying(self, bench: Bench) -> None:
        part = await bench.stage(300_000)
        ref = ShardRef(part.data_id, 1, 0)
        plain = await bench.drive.shard_facts(ref, verify=False, deadline=bench.soon)
        assert plain == await bench.drive.shard_facts(ref, verify=True, deadline=bench.soon)

    async def test_verifying_finds_a_block_that_does_not_match_its_hash(self, bench: Bench) -> None:
        ref = ShardRef(bench.new_data_id(), 1, 0)
        blocks = shard_blocks(ref, FIVE_BLOCKS_BYTES)
        hashes = block_hashes(ref, blocks)
        hashes[3] = bytes(32)
        writer = await bench.drive.create_shard(ref, size_hint=0, deadline=bench.soon)
        try:
            await writer.write(blocks, hashes)
            await writer.close(K, M, FIVE_BLOCKS_BYTES)
        except DriveUnavailable:  # It was found at once.
            with pytest.raises(ShardMissing):
                await bench.drive.shard_facts(ref, verify=False, deadline=bench.soon)
            return
        await bench.drive.shard_facts(ref, verify=False, deadline=bench.soon)
        with pytest.raises(ShardCorrupt):
            await bench.drive.shard_facts(ref, verify=True, deadline=bench.soon)
        reader = await bench.drive.open_shard(ref, 0, 5, deadline=bench.soon)
        assert list(await reader.read(5)) == blocks, "a reader does not judge: its caller verifies"
        await reader.close()

    async def test_a_missing_shard_is_missing(self, bench: Bench) -> None:
        ref = ShardRef(bench.new_data_id(), 1, 0)
        with pytest.raises(ShardMissing):
            await bench.drive.open_shard(ref, 0, 1, deadline=bench.soon)
        with pytest.raises(ShardMissing):
            await bench.drive.shard_facts(ref, verify=False, deadline=bench.soon)

    async def test_parts_of_one_data_id_are_apart(self, bench: Bench) -> None:
        part = await bench.stage(300_000, number=1)
        with pytest.raises(ShardMissing):
            await bench.drive.shard_facts(ShardRef(part.data_id, 2, 0), verify=False, deadline=bench.soon)

    async def test_a_footer_of_another_shard_index_is_corrupt(self, bench: Bench) -> None:
        part = await bench.stage(300_000, shard_index=1)
        wrong = ShardRef(part.data_id, 1, 0)
        with pytest.raises(ShardCorrupt):
            await bench.drive.open_shard(wrong, 0, 1, deadline=bench.soon)
        with pytest.raises(ShardCorrupt):
            await bench.drive.shard_facts(wrong, verify=False, deadline=bench.soon)

    async def test_an_open_or_aborted_shard_can_not_be_read(self, bench: Bench) -> None:
        ref = ShardRef(bench.new_data_id(), 1, 0)
        writer = await bench.drive.create_shard(ref, size_hint=0, deadline=bench.soon)
        blocks = shard_blocks(ref, 300_000)
        await writer.write(blocks, block_hashes(ref, blocks))
        with pytest.raises((ShardMissing, ShardCorrupt)):
            await bench.drive.open_shard(ref, 0, 1, deadline=bench.soon)
        await writer.abort()
        with pytest.raises(ShardMissing):
            await bench.drive.open_shard(ref, 0, 1, deadline=bench.soon)

    async def test_a_shard_can_be_written_again_to_heal_it(self, bench: Bench) -> None:
        record = await bench.put_staged(b"k", 5)
        await bench.stage(record.size_bytes, record.parts[0].data_id)
        await bench.drive.shard_facts(data_of(record), verify=True, deadline=bench.soon)
        assert await bench.times(b"k") == {5: False}

    async def test_an_open_reader_survives_the_end_of_its_file(self, bench: Bench) -> None:
        old = await bench.put_staged(b"k", 5, size_bytes=FIVE_BLOCKS_BYTES)
        expected = shard_blocks(data_of(old), FIVE_BLOCKS_BYTES)
        reader = await bench.drive.open_shard(data_of(old), 0, 5, deadline=bench.soon)
        assert list(await reader.read(1)) == expected[:1]
        await bench.confirm(await bench.put_staged(b"k", 6))
        await collect_all(bench)
        with pytest.raises(ShardMissing):
            await bench.drive.open_shard(data_of(old), 0, 1, deadline=bench.soon)
        assert list(await reader.read(4)) == expected[1:]
        await reader.close()

    # -- a drive's look at its own files

    async def test_files_that_are_there_are_looked_for_and_none_is_missing(self, bench: Bench) -> None:
        other = bench.new_bucket()
        await bench.put_staged(b"one", 5)
        await bench.put_staged(b"one", 6, ID_A)
        await bench.put(b"none", 5)
        await other.put_staged(b"two", 5, size_bytes=FIVE_BLOCKS_BYTES)
        parts = tuple([await bench.stage(size, number=number) for number, size in ((1, BLOCK_BYTES), (2, 1))])
        await bench.put(b"parts", 5, size_bytes=BLOCK_BYTES + 1, parts=parts)
        await bench.put_part("ab" * 24, await bench.stage(300_000), 6)
        tiny = PartEntry(1, 3, bench.new_data_id(), "")
        inline = bench.record(b"inline", 5, is_inline=True, size_bytes=3, parts=(tiny,))
        await bench.commit(inline, payload=b"abc", payload_hash=b"h" * 32)
        for limit in (1, 2, 1000):
            assert await self._look(bench, limit) == ([], 6)

    async def test_a_look_ends_on_a_drive_with_many_rows_that_name_no_files(self, bench: Bench) -> None:
        for start in range(0, 10_000, 500):
            await bench.commit(*(bench.record(b"%05d" % number, 5) for number in range(start, start + 500)))
        await bench.put_staged(b"zz", 5)
        assert await self._look(bench, 100_000) == ([], 1)

    async def _look(self, bench: Bench, limit: int) -> tuple[list[KeyName], int]:
        """What is missing, and how many files were looked for."""
        missing: list[KeyName] = []
        looked, after = 0, None
        while True:
            found = await bench.drive.missing_shards(after, limit, deadline=bench.soon)
            missing += found.names
            looked += found.looked_at
            if found.reached is None:
                return missing, looked
            assert after is None or found.reached > after, "it moves on"
            after = found.reached

    # -- garbage

    async def test_staged_shards_are_collected_after_the_grace_and_named_ones_kept(self, bench: Bench) -> None:
        named = await bench.put_staged(b"k", 5)
        staged = await bench.stage(300_000)
        assert await bench.drive.collect_garbage(deadline=bench.soon) == 0
        bench.subject.clock.advance(bench.subject.garbage_grace_seconds + 1)
        assert await bench.drive.collect_garbage(deadline=bench.soon) == 1
        await bench.drive.shard_facts(data_of(named), verify=True, deadline=bench.soon)
        with pytest.raises(ShardMissing):
            await bench.put(b"late", 6, size_bytes=300_000, parts=(staged,))

    async def test_a_restart_keeps_what_was_closed_and_named(self, bench: Bench) -> None:
        record = await bench.put_staged(b"k", 5, size_bytes=FIVE_BLOCKS_BYTES)
        open_ref = ShardRef(bench.new_data_id(), 1, 0)
        writer = await bench.drive.create_shard(open_ref, size_hint=0, deadline=bench.soon)
        await bench.restart()
        await writer.abort()
        await bench.drive.shard_facts(data_of(record), verify=True, deadline=bench.soon)
        with pytest.raises((ShardMissing, ShardCorrupt)):
            await bench.drive.shard_facts(open_ref, verify=False, deadline=bench.soon)
