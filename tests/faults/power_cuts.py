"""Power cuts of a whole machine: a story is told once, with every call to the disks written down; then many of the
states that a cut at many moments may leave are made, opened, read, and settled.

What must hold: a subject (an object, its tags, a part) is as the last acknowledged change left it, or as one that was
under way then would have it; what is read once does not go back; and after maintenance every drive is whole.
"""

import asyncio
import multiprocessing
import os
import random
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any, Final, TypeVar

from tests.faults.machine import EAGER, USUAL, Machine, machine_in
from tests.faults.registry import FaultFound, Trial, require
from tests.support.power import NEVER, PowerCut, Recorder, Recording, make_drives

from liteio_contracts.object_errors import ReadQuorumLost

Result = TypeVar("Result")
_JOBS: Final = 2
_STATES_A_CUT: Final = (4, 12)  # in part, in full
_CUTS_FACTOR: Final = 4


@dataclass(slots=True)
class Entry:
    """A change of one subject. `value` is what a look at it gives afterwards."""

    subject: str
    value: Any
    began: int
    acknowledged: int = NEVER


@dataclass
class Diary:
    """What was done, and what was told of it, in ticks of the recorder."""

    recorder: Recorder
    entries: list[Entry] = field(default_factory=list)
    before: dict[str, Any] = field(default_factory=dict)  # what subjects were when the story began, if not None

    @asynccontextmanager
    async def change(self, subject: str, value: Any) -> AsyncIterator[None]:
        """One change; it is acknowledged when nothing is raised."""
        entry = Entry(subject, value, self.recorder.tick())
        self.entries.append(entry)
        yield
        entry.acknowledged = self.recorder.tick()


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the subjects at a cut. `possible`: the values that each may have, oldest first."""

    possible: dict[str, list[Any]]

    @classmethod
    def at(cls, told: "Told", tick: int) -> "Known":
        possible: dict[str, list[Any]] = {subject: [value] for subject, value in told.before.items()}
        for one in told.entries:
            held = possible.setdefault(one.subject, [None])
            if one.acknowledged < tick:
                held.clear()
            if one.began < tick:
                held.append(one.value)
        return cls(possible)


@dataclass(frozen=True, slots=True)
class Story:
    """`tell` does what is to be cut short. `look` gives a subject's value in a store that is up again, and may raise
    for what must not be. `more`: what else must hold, after all subjects were looked at."""

    tell: Callable[[Machine, Diary], Awaitable[None]]
    look: Callable[[Machine, str], Awaitable[Any]]
    more: Callable[[Machine, Known], Awaitable[None]] | None = None
    prepare: Callable[[Machine], Awaitable[None]] | None = None
    liars: Collection[int] = ()
    is_settled_first: bool = True  # before the story begins; else its drives are as `prepare` left them
    is_cut_late: bool = False  # cuts only once all that was told is settled


@dataclass(frozen=True, slots=True)
class Told:
    recording: Recording
    entries: list[Entry]
    before: dict[str, Any]
    settled_at: int  # the tick


@dataclass(slots=True)
class Tried:
    """`states` are different ones; `doubtful` is the most that was in doubt at one cut."""

    states: set[int] = field(default_factory=set)
    cuts: int = 0
    doubtful: int = 0

    def add(self, other: "Tried") -> None:
        self.states |= other.states
        self.cuts += other.cuts
        self.doubtful = max(self.doubtful, other.doubtful)

    def __str__(self) -> str:
        return f"{len(self.states):,} different states of {self.cuts:,} cuts, up to {self.doubtful} writes in doubt"


async def record(machine: Machine, story: Story) -> Told:
    """Tell the story on a machine whose drives rest."""
    if story.prepare is not None:
        await story.prepare(machine)
    if machine.drives:
        if story.is_settled_first:
            await machine.settle()
        await machine.stop()  # so that all that is there is certain
    recorder = Recorder(machine.disk)
    with machine.disk.hooked(recorder):
        await machine.start()
        diary = Diary(recorder)
        await story.tell(machine, diary)
        if story.is_cut_late:
            await machine.settle()
        settled_at = recorder.tick()
        await machine.rest()
        await machine.stop()
    return Told(recorder.recording, diary.entries, diary.before, settled_at)


def try_cuts(trial: Trial, story: Story, **options: Any) -> Tried:
    """`trial.count` states, on two processes. Each tries different ones, and a few that the other tries, too: hence
    some more in full. Raises FaultFound.
    """
    share = -(-trial.count // _JOBS) + trial.count // 50
    told = asyncio.run(_record(trial, story, options))

    def job(number: int) -> Callable[[], Tried]:
        return lambda: asyncio.run(_try_some(trial, story, told, number, share, options))

    tried = Tried()
    for found in run_side_by_side([job(number) for number in range(_JOBS)]):
        tried.add(found)
    return tried


async def _record(trial: Trial, story: Story, options: dict[str, Any]) -> Told:
    async with machine_in(trial.folder, seed=trial.seed, is_started=story.is_settled_first, **options) as machine:
        return await record(machine, story)


async def _try_some(trial: Trial, story: Story, told: Told, job: int, count: int, options: dict[str, Any]) -> Tried:
    chance = random.Random(f"{trial.seed}/{job}")
    ticks = _ticks(told, story)
    after_acknowledgements = [one.acknowledged + 1 for one in told.entries if one.acknowledged + 1 in ticks]
    tried = Tried()
    cuts_left = _CUTS_FACTOR * count  # few of them may be different
    async with machine_in(trial.folder, seed=trial.seed, is_started=False, **options) as machine:
        while len(tried.states) < count and cuts_left:
            cuts_left -= 1
            is_after = bool(after_acknowledgements) and chance.random() < 0.5
            tick = chance.choice(after_acknowledgements if is_after else ticks)
            cut = PowerCut(told.recording, tick, story.liars)
            known = Known.at(told, tick)
            tried.cuts += 1
            tried.doubtful = max(tried.doubtful, len(cut.doubtful_writes))
            for number, state in enumerate(islice(cut.states(chance), _STATES_A_CUT[trial.is_full])):
                found = make_drives(told.recording, state, machine.paths)
                machine.disk.boot += 1
                if found in tried.states:
                    continue
                tried.states.add(found)
                try:
                    await _judge(machine, story, known)
                except Exception as problem:
                    where = f"cut at tick {tick} of {ticks.stop}, state {number}, seed {trial.seed}, job {job}"
                    raise FaultFound(f"{where}: {problem!r}; possible: {_all_short(known)}") from problem
                if len(tried.states) >= count:
                    break
    return tried


def _ticks(told: Told, story: Story) -> range:
    return range(told.settled_at if story.is_cut_late else 1, told.recording.ticks + 2)


async def _judge(machine: Machine, story: Story, known: Known) -> None:
    machine.settings = EAGER
    await machine.start(is_lenient=bool(story.liars))
    places: dict[str, int] = {}
    if story.liars:  # Those that have lost something could be all that a read asks: it may not know, then.
        async with machine.asking_first(story.liars):
            await _look_at_all(machine, story, known, places, "asked of liars first", may_not_know=True)
    may_not_know = machine.has_lost_drives  # Until what is left is trusted, the lost drives could know better.
    await _look_at_all(machine, story, known, places, "before settling", may_not_know=may_not_know)
    await machine.settle()
    await _look_at_all(machine, story, known, places, "after settling")
    if machine.is_whole:
        if story.liars:  # Bytes that one lost inside of a file are found by who reads them.
            await machine.verify()
        await machine.require_clean("after the cut, settled")
    if story.more is not None:
        await machine.restart(USUAL)
        await story.more(machine, known)
        await machine.require_clean("after what was done then")
    await machine.stop()


async def _look_at_all(
    machine: Machine, story: Story, known: Known, places: dict[str, int], when: str, *, may_not_know: bool = False
) -> None:
    """`places`: how far each subject was seen to have come, which it does not go back behind."""
    for subject, possible in known.possible.items():
        try:
            value = await story.look(machine, subject)
        except ReadQuorumLost:
            if may_not_know:
                continue
            raise
        require(value in possible, f"{subject} is {_short(value)} {when}")
        # The oldest that fits and is not behind what was seen: two absences look alike.
        fitting = [place for place, one in enumerate(possible) if one == value and place >= places.get(subject, 0)]
        require(bool(fitting), f"{subject} went back to {_short(value)}")
        places[subject] = fitting[0]


def _short(value: object) -> str:
    """Contents differ from their first byte on."""
    return f"{value[:6].hex()}… ({len(value)} bytes)" if isinstance(value, bytes) else repr(value)


def _all_short(known: Known) -> str:
    return "; ".join(f"{subject}: {', '.join(map(_short, values))}" for subject, values in known.possible.items())


def run_side_by_side(jobs: Sequence[Callable[[], Result]]) -> list[Result]:
    """Each in a process of its own, forked from this one. Raises FaultFound for the first that raises."""
    context = multiprocessing.get_context("fork")
    running = []
    for job in jobs:
        ours, theirs = multiprocessing.Pipe(duplex=False)
        process = context.Process(target=_answer, args=(job, theirs))
        process.start()
        theirs.close()
        running.append((process, ours))
    results: list[Result] = []
    for process, answer in running:
        has_held, told = answer.recv()
        if not has_held:
            raise FaultFound(told)
        results.append(told)
        process.join()
    return results


def _answer(job: Callable[[], object], answer: Connection) -> None:
    try:
        answer.send((True, job()))
    except BaseException:
        answer.send((False, traceback.format_exc()))
    answer.close()
    os._exit(0)
