"""Bugs planted on purpose, the ones that a store like this has had: each must be caught, or the simulation proves
nothing. Every plant changes the code only while its context lasts; the product knows nothing of them.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, Final
from unittest.mock import patch

from tests.sim.sim_drive import SimDrive

from liteio_base.deadline import Deadline
from liteio_base.ids import HybridTime
from liteio_contracts.storage import Commit, RowCommit
from liteio_contracts.storage_errors import Fenced
from liteio_formats.record import Record
from liteio_objects.committing import Committer
from liteio_objects.drive_set import Answers, DriveSet, values
from liteio_objects.hybrid_clock import HybridClock
from liteio_objects.settling import Settler
from liteio_testkit.held_key import HeldKey, HeldRow
from liteio_testkit.memory_shards import ShardFile

WRITE_BACK_SECONDS: Final = 30.0  # after so long a kernel has written what nobody asked it to sync


class LaxDrive(SimDrive):
    """`synchronous=OFF`: a commit is answered before it is durable."""

    async def commit(self, commit: Commit, *, deadline: Deadline) -> None:
        state = self._state
        state.flush = lambda: None  # type: ignore[method-assign]  # for this commit
        try:
            await super().commit(commit, deadline=deadline)
        finally:
            del state.flush


class ForgetfulDrive(SimDrive):
    """A row is settled from the start: its unsettled mark is dropped."""

    def _row_of(self, step: Any) -> HeldRow:
        return replace(super()._row_of(step), is_settled=True)


class CredulousDrive(SimDrive):
    """What its writer did not read it takes whatever it holds."""

    def _check_step(self, step: Any, commit: Commit) -> None:
        if not commit.is_unread:
            super()._check_step(step, commit)


class UnsyncedShards(SimDrive):
    """A shard file is closed without a sync: power loses it, while the row that names it stays."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._closed: dict[tuple[Any, int], float] = {}

    def _keep_file(self, file: ShardFile) -> None:
        super()._keep_file(file)
        self._closed[file.facts.ref.data_id, file.facts.ref.part_number] = self._clock.monotonic()

    def crash(self) -> None:
        super().crash()
        now = self._clock.monotonic()
        for name, closed in self._closed.items():
            if now - closed < WRITE_BACK_SECONDS:
                self._state.files.pop(name, None)
        self._closed.clear()


def _ack_below_quorum() -> AbstractContextManager[object]:
    send = Committer._send

    async def count_one_more(
        self: Committer, drive_set: DriveSet, commits: Mapping[int, Commit], *rest: Any, **options: Any
    ) -> Answers[None]:
        answers = await send(self, drive_set, commits, *rest, **options)
        failed = sorted(answers.keys() - values(answers).keys())
        if failed and len(values(answers)) == drive_set.code.write_quorum - 1:
            answers[failed[0]] = None
        return answers

    return patch.object(Committer, "_send", count_one_more)


def _no_compare_and_set() -> AbstractContextManager[object]:
    def check_commit(self: HeldKey, row: RowCommit, record: Record, *, lifts_fences: bool) -> None:
        if not lifts_fences and self._has_fence(record):
            raise Fenced(time=record.time)

    return patch.object(HeldKey, "check_commit", check_commit)


def _no_fences() -> AbstractContextManager[object]:
    async def fence(self: Settler, *arguments: Any, **options: Any) -> bool:
        return True

    return patch.object(Settler, "_fence", fence)


def _wall_clock() -> AbstractContextManager[object]:
    def after(self: HybridClock, newest_seen: HybridTime) -> HybridTime:
        step = int.from_bytes(self._randomness.token_bytes(3), "big") % 1_000_000
        return HybridTime(self._clock.now_ns() + step)

    return patch.object(HybridClock, "after", after)


_CHANGES: Final[Mapping[str, Callable[[], AbstractContextManager[object]]]] = {
    "ack at W-1": _ack_below_quorum,
    "compare-and-set skipped": _no_compare_and_set,
    "rollback without fences": _no_fences,
    "order by wall clock": _wall_clock,
}
_DRIVES: Final[Mapping[str, type[SimDrive]]] = {
    "synchronous=OFF": LaxDrive,
    "shard file not synced": UnsyncedShards,
    "unsettled row dropped": ForgetfulDrive,
    "unread commit taken unchecked": CredulousDrive,
}
PLANTS: Final = (*_CHANGES, *_DRIVES)


@contextmanager
def planted(name: str) -> Iterator[type[SimDrive]]:
    """The class of drives to use; the object layer is changed while the context lasts. "" plants nothing."""
    if name and name not in PLANTS:
        raise ValueError(f"no such plant: {name!r}; there are {PLANTS}")
    with _CHANGES.get(name, nullcontext)():
        yield _DRIVES.get(name, SimDrive)
