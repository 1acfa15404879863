"""The contract of a drive that is not authoritative: it takes commits and proves what is there, vouching for little."""

import pytest

from liteio_base.ids import Generation
from liteio_contracts.storage import FenceAnswer, ListQuery
from liteio_contracts.storage_errors import Fenced, GenerationChanged, NotAuthoritative
from liteio_formats.record import Space
from liteio_testkit.contract_bench import Bench, DriveUnderTest

OTHER_GENERATION = "0123456789abcdef"


class DoubtfulDriveContract:
    """Give a fixture `subject`: a drive just formatted in place of another, empty and not authoritative."""

    @pytest.fixture
    def bench(self, subject: DriveUnderTest) -> Bench:
        return Bench(subject)

    async def test_every_answer_says_that_the_drive_is_not_authoritative(self, bench: Bench) -> None:
        assert not (await bench.drive.status(deadline=bench.soon)).is_authoritative
        assert not (await bench.head(b"k")).is_authoritative
        page = await bench.drive.list_page(
            ListQuery(space=Space.OBJECT, bucket_id=bench.bucket_id), deadline=bench.soon
        )
        assert not page.is_authoritative
        assert page.generation == (await bench.head(b"k")).generation == await bench.generation()

    async def test_it_takes_commits_and_settles_them(self, bench: Bench) -> None:
        await bench.confirm(await bench.put_staged(b"k", 5))
        assert await bench.times(b"k") == {5: True}

    async def test_it_refuses_what_its_writer_did_not_read(self, bench: Bench) -> None:
        record, generation = bench.record(b"k", 5), await bench.generation()
        with pytest.raises(NotAuthoritative):
            await bench.commit(record, base=0, generation=generation, is_unread=True)
        assert await bench.times(b"k") == {}
        await bench.commit(record, base=0, generation=generation)
        await bench.drive.set_authoritative(generation, deadline=bench.soon)
        await bench.commit(bench.record(b"l", 6), base=0, generation=generation, is_unread=True)
        assert await bench.times(b"l") == {6: False}

    async def test_it_fences_for_a_version_that_names_its_generation(self, bench: Bench) -> None:
        record = bench.record(b"k", 5)
        answer = await bench.fence(record, named=await bench.generation())
        assert answer == FenceAnswer(is_held=False, is_fenced=True)
        with pytest.raises(Fenced):
            await bench.commit(record)

    async def test_it_fences_for_a_version_that_names_no_generation(self, bench: Bench) -> None:
        assert (await bench.fence(bench.record(b"k", 5), named="")).is_fenced

    async def test_it_does_not_fence_for_a_version_that_it_may_have_held_before(self, bench: Bench) -> None:
        record = bench.record(b"k", 5)
        answer = await bench.fence(record, named=OTHER_GENERATION)
        assert answer == FenceAnswer(is_held=False, is_fenced=False)
        assert (await bench.register(b"k")).fences == ()
        await bench.commit(record)

    async def test_it_says_what_it_holds_whatever_generation_is_named(self, bench: Bench) -> None:
        record = await bench.put(b"k", 5)
        assert await bench.fence(record, named=OTHER_GENERATION) == FenceAnswer(is_held=True, is_fenced=False)

    async def test_it_collects_nothing(self, bench: Bench) -> None:
        await bench.stage(300_000)
        await bench.confirm(await bench.bury(bench.record(b"k", 5), 6))
        age = max(bench.subject.garbage_grace_seconds, bench.subject.tombstone_seconds)
        bench.subject.clock.advance(age + 10)
        assert await bench.drive.collect_garbage(deadline=bench.soon) == 0
        assert await bench.times(b"k") == {6: True}
        await bench.drive.set_authoritative(await bench.generation(), deadline=bench.soon)
        assert await bench.drive.collect_garbage(deadline=bench.soon) == 1
        assert await bench.times(b"k") == {}

    async def test_it_becomes_authoritative_by_its_own_generation_and_stays_so(self, bench: Bench) -> None:
        with pytest.raises(GenerationChanged):
            await bench.drive.set_authoritative(Generation(OTHER_GENERATION), deadline=bench.soon)
        await bench.drive.set_authoritative(await bench.generation(), deadline=bench.soon)
        await bench.restart()
        assert (await bench.head(b"k")).is_authoritative
        answer = await bench.fence(bench.record(b"k", 5), named=OTHER_GENERATION)
        assert answer.is_fenced, "authoritative drives always vouch"

    async def test_it_stays_doubtful_over_a_restart(self, bench: Bench) -> None:
        await bench.put(b"k", 5)
        generation = await bench.generation()
        await bench.restart()
        answer = await bench.head(b"k")
        assert (answer.is_authoritative, answer.generation) == (False, generation)
