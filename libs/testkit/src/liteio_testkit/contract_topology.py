"""The contract of the topology that a drive keeps: which one, and what is refused because of it."""

import pytest

from liteio_contracts.storage import StoredTopology
from liteio_contracts.storage_errors import StaleTopology
from liteio_testkit.contract_bench import Bench

FIRST = StoredTopology(1, b"first")
SECOND = StoredTopology(2, b"second")


class TopologyContract:
    async def _keep(self, bench: Bench, topology: StoredTopology) -> None:
        await bench.drive.write_topology(topology, deadline=bench.soon)

    async def _kept(self, bench: Bench) -> StoredTopology:
        return await bench.drive.read_topology(deadline=bench.soon)

    async def test_a_fresh_drive_keeps_no_topology(self, bench: Bench) -> None:
        assert await self._kept(bench) == StoredTopology(0, b"", False)

    async def test_the_newest_topology_is_kept_over_a_restart(self, bench: Bench) -> None:
        await self._keep(bench, FIRST)
        await self._keep(bench, SECOND)
        await bench.restart()
        assert await self._kept(bench) == SECOND

    async def test_an_older_topology_and_another_of_the_same_number_are_refused(self, bench: Bench) -> None:
        await self._keep(bench, SECOND)
        for refused in (FIRST, StoredTopology(2, b"another")):
            with pytest.raises(StaleTopology) as refusal:
                await self._keep(bench, refused)
            assert refusal.value.fields["number"] == 2
        assert await self._kept(bench) == SECOND

    async def test_a_topology_once_active_stays_active(self, bench: Bench) -> None:
        await self._keep(bench, SECOND)
        await self._keep(bench, StoredTopology(2, b"second", is_active=True))
        await self._keep(bench, SECOND)
        await bench.restart()
        assert await self._kept(bench) == StoredTopology(2, b"second", is_active=True)

    async def test_a_newer_topology_is_not_active_because_the_older_one_was(self, bench: Bench) -> None:
        await self._keep(bench, StoredTopology(1, b"first", is_active=True))
        await self._keep(bench, SECOND)
        assert not (await self._kept(bench)).is_active

    async def test_a_commit_by_an_older_topology_is_refused_and_writes_nothing(self, bench: Bench) -> None:
        await self._keep(bench, SECOND)
        with pytest.raises(StaleTopology) as refusal:
            await bench.commit(bench.record(b"k", 5), topology_number=1)
        assert refusal.value.fields["number"] == 2
        assert await bench.times(b"k") == {}

    async def test_a_commit_by_the_same_a_newer_or_no_topology_is_taken(self, bench: Bench) -> None:
        await self._keep(bench, SECOND)
        for time, number in ((5, 2), (6, 3), (7, None)):
            await bench.commit(bench.record(b"k", time), topology_number=number)
        assert sorted(await bench.times(b"k")) == [5, 6, 7]

    async def test_answers_about_keys_tell_the_topology(self, bench: Bench) -> None:
        await bench.put_settled(b"settled", 5)
        await bench.put(b"unsettled", 5)
        for number in (0, 2):
            if number:
                await self._keep(bench, SECOND)
            for key in (b"settled", b"unsettled", b"absent"):
                assert (await bench.head(key)).topology_number == number
                assert (await bench.register(key)).topology_number == number
