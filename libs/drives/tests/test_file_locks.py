"""FileLocks: turns inside a process, the file between processes, and those who give up waiting."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_contracts.locks import LockTimeout
from liteio_drives.file_locks import FileLocks
from liteio_testkit.lock_bench import longest_crowd

CLOCK = SystemClock()


def soon(seconds: float = 5.0) -> Deadline:
    return Deadline.after(seconds, CLOCK)


@contextmanager
def opened(folder: Path) -> Iterator[FileLocks]:
    """Locks as one more process has them: open-file-description locks belong to the open file."""
    locks = FileLocks(folder / "locks", CLOCK, SystemRandomness())
    yield locks
    locks.close()


async def is_free(locks: FileLocks, *names: bytes) -> bool:
    try:
        async with locks.lock(names, deadline=soon(0.01)) as lease:
            return lease.is_held
    except LockTimeout:
        return False


async def test_one_at_a_time_holds_a_name_and_opposite_orders_do_not_block(tmp_path: Path) -> None:
    with opened(tmp_path) as one, opened(tmp_path) as other:
        takers = [(one, [b"a", b"b"]), (other, [b"b", b"a"])] * 3
        assert await longest_crowd(takers, inside_seconds=0.001) == 1
        assert await is_free(one, b"a", b"b")


async def test_a_name_is_had_in_turn(tmp_path: Path) -> None:
    with opened(tmp_path) as locks:
        served: list[int] = []

        async def work(number: int) -> None:
            async with locks.lock([b"a"], deadline=soon()):
                served.append(number)
                await asyncio.sleep(0)

        await asyncio.gather(*map(work, range(5)))
        assert served == [0, 1, 2, 3, 4]


async def test_a_process_whose_writers_wait_all_the_time_lets_others_in(tmp_path: Path) -> None:
    with opened(tmp_path) as busy, opened(tmp_path) as other:
        taken = 0

        async def work() -> None:
            nonlocal taken
            while True:
                async with busy.lock([b"a"], deadline=soon()):
                    taken += 1
                    await asyncio.sleep(0.001)

        working = [asyncio.ensure_future(work()) for _ in range(3)]
        for _ in range(5):
            await asyncio.sleep(0.005)
            before = taken
            async with other.lock([b"a"], deadline=soon()):
                assert taken - before <= 20  # Its first tries are some milliseconds apart.
        for each in working:
            each.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        assert await is_free(other, b"a")


@pytest.mark.parametrize("is_same_process", [True, False])
async def test_waiting_ends_at_the_deadline_and_leaves_nothing(tmp_path: Path, is_same_process: bool) -> None:
    with opened(tmp_path) as one, opened(tmp_path) as another:
        waiting = one if is_same_process else another
        async with one.lock([b"b"], deadline=soon()):
            assert not await is_free(waiting, b"a", b"b")
            assert await is_free(one, b"a")
        assert await is_free(waiting, b"a", b"b")
        assert await is_free(one, b"a", b"b")


async def test_who_gives_up_waiting_is_passed_over(tmp_path: Path) -> None:
    with opened(tmp_path) as locks:
        async with locks.lock([b"a"], deadline=soon()):
            gone = asyncio.ensure_future(is_free(locks, b"a"))
            next_one = asyncio.ensure_future(locks.lock([b"a"], deadline=soon()).__aenter__())
            await asyncio.sleep(0)
            gone.cancel()
        assert (await asyncio.wait_for(next_one, 1)).is_held


async def test_who_is_cancelled_when_the_turn_comes_hands_it_on(tmp_path: Path) -> None:
    with opened(tmp_path) as locks:
        async with locks.lock([b"a"], deadline=soon()):
            unlucky = asyncio.ensure_future(is_free(locks, b"a"))
            await asyncio.sleep(0)
        unlucky.cancel()  # It has been given the turn, and has not run yet.
        await asyncio.wait({unlucky})
        assert unlucky.cancelled()
        assert await is_free(locks, b"a")


async def test_a_name_is_given_back_when_its_holder_fails(tmp_path: Path) -> None:
    with opened(tmp_path) as one, opened(tmp_path) as another:
        with pytest.raises(ZeroDivisionError):
            async with one.lock([b"a"], deadline=soon()):
                raise ZeroDivisionError
        assert await is_free(another, b"a")


async def test_trouble_with_the_file_is_no_busy_lock(tmp_path: Path) -> None:
    with opened(tmp_path) as locks:
        pass
    with pytest.raises(OSError, match="Bad file descriptor"):
        await is_free(locks, b"a")
