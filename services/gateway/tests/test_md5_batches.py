"""Blocks of several bodies are hashed together, and no body pays for another."""

import asyncio
import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liteio_gateway import md5_batches
from liteio_gateway.body_sums import BodySums
from liteio_gateway.limits import THREADED_HASH_BYTES_MIN
from liteio_gateway.md5_batches import MD5Batches
from liteio_s3.checksums import Checksum, ChecksumAlgorithm, checksum_of
from liteio_s3.md5 import MD5Updates, new_md5, update_all

NAMES = "abcdefghijkl"


class Kernel:
    """Hashes, and tells the batches by the first letters of their blocks. Fails on a block that begins with `!`."""

    def __init__(self) -> None:
        self.batches: list[str] = []

    def __call__(self, updates: MD5Updates) -> None:
        self.batches.append("".join(chr(data[0]) for _, data in updates))
        if "!" in self.batches[-1]:
            raise MemoryError
        update_all(updates)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """Eight lanes, whatever the processor. Nothing is hashed merely because it waited long."""
    found = Kernel()
    monkeypatch.setattr(md5_batches, "update_all", found)
    monkeypatch.setattr(md5_batches, "MD5_LANES", 8)
    monkeypatch.setattr(md5_batches, "HELD_SECONDS", 1000.0)
    return found


class Body:
    def __init__(self, batches: MD5Batches, name: str) -> None:
        self.batches, self.name = batches, name
        self.md5, self.sent = new_md5(), hashlib.md5()

    def give(self, name: str = "") -> "asyncio.Future[None]":
        block = (name or self.name).encode() * 1000
        self.sent.update(block)
        return self.batches.update(self.md5, block)

    async def hash(self) -> None:
        hashed = self.give()
        self.batches.hurry(hashed)
        await hashed

    def check(self) -> None:
        assert self.md5.digest() == self.sent.digest()


async def all_of(hashed: Sequence["asyncio.Future[None]"]) -> None:
    async with asyncio.timeout(10):
        await asyncio.gather(*hashed)


async def together(bodies: Sequence[Body]) -> None:
    """A first batch, of all of them: whatever is given after it may wait."""
    async with asyncio.timeout(10):
        await asyncio.gather(*(body.hash() for body in bodies))


async def test_a_body_alone_never_waits(kernel: Kernel) -> None:
    body = Body(MD5Batches(), "a")
    for _ in range(3):
        await all_of([body.give()])
    assert kernel.batches == ["a", "a", "a"]
    body.check()


async def test_bodies_that_keep_pace_go_together(kernel: Kernel) -> None:
    batches = MD5Batches()
    a, b, c = bodies = [Body(batches, name) for name in "abc"]
    await together(bodies)
    for _ in range(2):
        waiting = [b.give(), c.give()]
        for _ in range(5):
            await asyncio.sleep(0)
        assert kernel.batches[1:] in ([], ["bca"])
        await all_of([*waiting, a.give()])
    assert kernel.batches == ["abc", "bca", "bca"]
    for body in bodies:
        body.check()


async def test_a_block_that_is_needed_takes_the_others_along(kernel: Kernel) -> None:
    batches = MD5Batches()
    a, b, c = bodies = [Body(batches, name) for name in "abc"]
    await together(bodies)
    waiting = [a.give(), b.give()]
    batches.hurry(waiting[1])
    await all_of(waiting)
    assert kernel.batches == ["abc", "ba"]
    c.check()


async def test_eight_blocks_wait_for_nobody(kernel: Kernel) -> None:
    batches = MD5Batches()
    bodies = [Body(batches, name) for name in NAMES]
    await together(bodies[:8])
    waiting = [body.give() for body in bodies[4:]]
    await all_of(waiting)
    assert kernel.batches == ["abcdefgh", "efghijkl"]


async def test_of_too_many_those_that_are_needed_go_first_and_then_the_oldest(kernel: Kernel) -> None:
    batches = MD5Batches()
    bodies = [Body(batches, name) for name in NAMES]
    await together(bodies[:8])
    waiting = [body.give() for body in reversed(bodies)]
    batches.hurry(waiting[-1])
    await all_of([waiting[-1]])
    assert kernel.batches == ["abcdefgh", "alkjihgf"]
    batches.hurry(waiting[9])
    await all_of(waiting)
    assert sorted(kernel.batches[-1]) == list("bcde")
    for body in bodies:
        body.check()


async def test_a_body_that_has_ended_is_not_waited_for(kernel: Kernel) -> None:
    batches = MD5Batches()
    a, b = bodies = [Body(batches, name) for name in "ab"]
    await together(bodies)
    waiting = a.give()
    batches.leave(b.md5)
    await all_of([waiting])
    assert kernel.batches == ["ab", "a"]


async def test_nothing_waits_for_long_when_nobody_needs_it(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(md5_batches, "HELD_SECONDS", 0.01)
    batches = MD5Batches()
    a, b, c = bodies = [Body(batches, name) for name in "abc"]
    await together(bodies)
    for _ in range(2):
        await all_of([a.give(), c.give()])
    assert kernel.batches[:2] == ["abc", "ac"]
    b.check()


async def test_a_client_that_is_gone_disturbs_no_other(kernel: Kernel) -> None:
    batches = MD5Batches()
    a, b, c = bodies = [Body(batches, name) for name in "abc"]
    await together(bodies)
    gone, kept = asyncio.ensure_future(a.hash()), asyncio.ensure_future(b.hash())
    await asyncio.sleep(0)
    gone.cancel()
    await all_of([kept])
    with pytest.raises(asyncio.CancelledError):
        await gone
    await together([b, c])
    b.check()
    c.check()


async def test_a_failure_reaches_its_batch_and_no_other(kernel: Kernel) -> None:
    batches = MD5Batches()
    a, b, c = bodies = [Body(batches, name) for name in "abc"]
    await together(bodies)
    failing = [a.give("!"), b.give()]
    batches.hurry(failing[0])
    for hashed in failing:
        with pytest.raises(MemoryError):
            await hashed
    await together([c])
    c.check()


async def test_without_lanes_each_block_is_hashed_by_itself(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(md5_batches, "MD5_LANES", 1)
    batches = MD5Batches()
    bodies = [Body(batches, name) for name in "abc"]
    await together(bodies)
    await all_of([body.give() for body in bodies])
    assert kernel.batches == []
    for body in bodies:
        body.check()


@settings(max_examples=50, deadline=None)
@given(
    bodies=st.lists(
        st.lists(
            st.tuples(
                st.sampled_from([0, 1, 100, THREADED_HASH_BYTES_MIN - 1, THREADED_HASH_BYTES_MIN, 600_001]),
                st.integers(0, 3),
            ),
            max_size=4,
        ),
        min_size=1,
        max_size=10,
    ),
    algorithms=st.sets(st.sampled_from([ChecksumAlgorithm.CRC32C, ChecksumAlgorithm.SHA256])),
)
def test_bodies_are_summed_in_any_blocks_and_company(
    bodies: list[list[tuple[int, int]]], algorithms: set[ChecksumAlgorithm]
) -> None:
    """A body is blocks, each of a length, with some turns of the loop before it."""

    async def summed(number: int, blocks: list[tuple[int, int]], batches: MD5Batches) -> None:
        sums, whole = BodySums(batches, algorithms), b""
        for length, turns in blocks:
            for _ in range(turns):
                await asyncio.sleep(0)
            block = bytes([number]) * length
            await sums.add(block)
            whole += block
        await sums.settle()
        assert sums.md5() == hashlib.md5(whole).digest()
        for algorithm in algorithms:
            assert sums.digest(algorithm) == checksum_of(algorithm, whole)

    async def all_summed() -> None:
        batches = MD5Batches()
        await asyncio.gather(*(summed(number, blocks, batches) for number, blocks in enumerate(bodies)))

    asyncio.run(all_summed())


async def test_what_summing_raises_is_raised_to_the_body() -> None:
    class Broken:
        def update(self, data: bytes | memoryview, /) -> None:
            raise OSError("planted")

        def digest(self) -> bytes:
            raise AssertionError

    sums = BodySums(MD5Batches(), [ChecksumAlgorithm.SHA256])
    broken: Checksum = Broken()
    sums._others[ChecksumAlgorithm.SHA256] = broken
    await sums.add(bytes(THREADED_HASH_BYTES_MIN))
    with pytest.raises(OSError, match="planted"):
        await sums.settle()
