"""The threads between an event loop and a disk. Whatever hangs, hangs in here; the loop only waits, with a deadline.

Calls of one loop turn travel to the thread as one batch, and the answers of a batch travel back by one
`call_soon_threadsafe`: a hand-off costs more than a small read (docs/architecture.md, "Speed").

A batch can be worth waiting for: where many callers come back again and again, the first to come would have a
transaction, and its sync, for itself, and all others the next. So a batch waits until the one before it is done, and
then a moment for as many as were in that one or wait already; one caller alone never waits.
"""

import asyncio
import math
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

import msgspec

from liteio_base.check import check
from liteio_base.clock import Clock
from liteio_base.deadline import Deadline
from liteio_contracts.storage_errors import DriveOffline, DriveTimeout, StorageError

Result = TypeVar("Result")
_TIMER_SLACK_SECONDS: Final = 0.001  # deadlines this close together expire together


class Job(msgspec.Struct, eq=False):
    """One call: what to do, and what came of it. `work` runs on the thread with what the thread owns as argument."""

    work: Callable[[Any], Any]
    future: "asyncio.Future[Any]"
    at: float = math.inf  # the loop's time at which its caller gives up
    is_lazy: bool = False  # may wait a little for company, and need not be on the disk when it is answered
    is_new_data: bool = False  # refused when the drive is full
    # All that it is about, for a handler that looks at many at once; None: it can not tell.
    topics: Sequence[Any] | None = None
    undo: Callable[[Any], object] | None = None  # gives back a result that nobody waited for
    result: Any = None
    error: BaseException | None = None
    is_answered: bool = False

    @property
    def is_wanted(self) -> bool:
        """False when its caller gave up: it missed its deadline or was cancelled."""
        return not self.future.done()


Answer = Callable[[list[Job]], None]  # tells the callers; a handler may call it before its own work is over
Handler = Callable[[list[Job], Answer], bool]  # whether work of its own is left: it is called again, with no jobs


class JobThreads:
    """Daemon threads that hand batches of jobs to `handle` and answer all of a batch at once.

    `gather_seconds`: how long a call waits at most, while the thread is free, for as many as are likely to come; 0: not
    even until the thread is free.

    With more than one thread every batch is a single job. Bound: callers wait for their answers, and once a call missed
    its deadline further ones fail at once while all threads are stuck for more than `hung_after` seconds.
    """

    def __init__(
        self,
        name: str,
        handle: Handler,
        *,
        clock: Clock,
        count: int = 1,
        batch_max: int = 1,
        lazy_seconds: float = 0.0,
        gather_seconds: float = 0.0,
        hung_after: float,
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        check(count == 1 or batch_max == 1, "only a single thread takes batches")
        self._handle = handle
        self._clock = clock
        self._batch_max = batch_max
        self._lazy_seconds = lazy_seconds
        self._gather_seconds = gather_seconds
        self._hung_after = hung_after
        self._at_end = at_end
        self.loop: Final = asyncio.get_running_loop()
        self._queue: Final[SimpleQueue[list[Job] | None]] = SimpleQueue()
        self._waiting: list[Job] = []  # of this loop turn, or for company
        self._gathering: asyncio.TimerHandle | None = None
        self._is_due = False  # they are handed over at the end of this turn
        # Where batches are worth waiting for, of jobs that are not lazy:
        self._callers = 0  # how many wait
        self._company = 0  # how many are likely to come
        self._handed = self._under_way = 0  # how many the last batch had, and has still
        self._busy_since: list[float | None] = [None] * count
        self._ended = [self.loop.create_future() for _ in range(count)]
        self._progress = 0  # rises whenever a thread is done with a batch
        self._missed_at = -1  # the progress at which a call missed its deadline
        self._watched: set[Job] = set()  # whose callers wait; those who were cancelled stay until their deadline
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        for number in range(count):
            threading.Thread(target=self._run, args=(number,), name=f"{name}-{number}", daemon=True).start()

    def call(
        self,
        work: Callable[[Any], Result],
        deadline: Deadline,
        *,
        is_lazy: bool = False,
        is_new_data: bool = False,
        topics: Sequence[Any] | None = None,
        undo: Callable[[Result], object] | None = None,
    ) -> "asyncio.Future[Result]":
        """Run `work` on a thread. Fails with what it raises, with DriveTimeout when the deadline passes first. `undo`
        gets a result that came too late.
        """
        if self._is_closed or self._missed_at == self._progress:
            problem = self._find_problem()
            if problem is not None:
                return self.refuse(problem)
        future: asyncio.Future[Result] = self.loop.create_future()
        job = Job(work, future, self.loop.time() + deadline.seconds_left(), is_lazy, is_new_data, topics, undo)
        # One timer for all callers, at the first deadline: a timer for each call costs more than the call.
        self._watched.add(job)
        if self._timer is None or job.at < self._timer.when():
            self._set_timer(job.at)
        self._submit(job)
        return future

    def refuse(self, error: StorageError) -> "asyncio.Future[Any]":
        """The answer of a call that need not be made."""
        future: asyncio.Future[Any] = self.loop.create_future()
        future.set_exception(error)
        return future

    def post(self, work: Callable[[Any], object]) -> bool:
        """Run `work` some time; nobody waits for it and its errors are the threads' own business. Returns whether it
        will be: not after `close`.
        """
        if self._is_closed:
            return False
        future: asyncio.Future[object] = self.loop.create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._submit(Job(work, future))
        return True

    @property
    def has_ended(self) -> bool:
        """After `close`: whether no thread was left behind."""
        return all(ended.done() for ended in self._ended)

    async def close(self, wait_seconds: float) -> None:
        """Let the threads finish what they have and end. A hung thread is left behind."""
        if not self._is_closed:
            self._is_closed = True
            self._flush()
            for _ in self._ended:
                self._queue.put(None)
        await asyncio.wait(self._ended, timeout=wait_seconds)
        if self._timer is not None and not any(job.is_wanted for job in self._watched):
            self._timer.cancel()

    def _find_problem(self) -> StorageError | None:
        """Why a call need not even be tried, after one missed its deadline and nothing was done since."""
        if self._is_closed:
            return DriveOffline("the drive was closed")
        if self._is_stuck():
            return DriveTimeout("the drive has not answered an earlier call yet")
        return None

    def _is_stuck(self) -> bool:
        now = self._clock.monotonic()
        return all(since is not None and now - since > self._hung_after for since in self._busy_since)

    def _submit(self, job: Job) -> None:
        self._waiting.append(job)
        if self._gather_seconds and not job.is_lazy:
            self._callers += 1
        if not self._under_way and not self._is_due:
            self._gather()

    def _gather(self) -> None:
        """Hand over what waits: once a turn of the loop, or when there is company."""
        if not self._callers or self._callers >= self._company:
            self._is_due = True
            self.loop.call_soon(self._flush)
        elif self._gathering is None:
            self._gathering = self.loop.call_later(self._gather_seconds, self._flush)

    def _flush(self) -> None:
        jobs, self._waiting = self._waiting, []
        self._is_due = False
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        self._handed, self._callers = self._callers, 0
        self._under_way += self._handed
        if self._batch_max > 1:
            if jobs:
                self._queue.put(jobs)
        else:
            for job in jobs:
                self._queue.put([job])

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(at, self._expire)

    def _deliver(self, jobs: list[Job]) -> None:
        self._watched.difference_update(jobs)
        if self._under_way:
            self._under_way -= [job.is_lazy for job in jobs].count(False)
            if not self._under_way:
                self._company = self._handed + self._callers
                if self._waiting:
                    self._gather()
        for job in jobs:
            if job.future.done():
                if job.undo is not None and job.error is None:
                    job.undo(job.result)
                continue
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.result)

    def _expire(self) -> None:
        self._timer = None
        now = self.loop.time() + _TIMER_SLACK_SECONDS
        for job in [job for job in self._watched if job.at <= now]:
            self._watched.discard(job)
            if not job.future.done():
                self._missed_at = self._progress
                job.future.set_exception(DriveTimeout("no answer before the deadline"))
        if self._watched:
            self._set_timer(min(job.at for job in self._watched))

    # On the threads.

    def _run(self, number: int) -> None:
        is_last, has_more = False, False
        while not is_last:
            jobs, is_last = self._take(waits=not has_more)
            self._busy_since[number] = self._clock.monotonic()
            for start in range(0, max(1, len(jobs)), self._batch_max):
                has_more = self._work_on(jobs[start : start + self._batch_max])
            self._busy_since[number] = None
            self._progress += 1
        try:
            self._at_end()
        finally:
            self._tell(self._end, number)

    def _take(self, *, waits: bool) -> tuple[list[Job], bool]:
        """Everything that is queued; lazy jobs alone wait for company first. The second: whether it is the last."""
        try:
            first = self._queue.get(block=waits)
        except Empty:
            return [], False
        if first is None:
            return [], True
        jobs = list(first)
        if self._batch_max == 1:
            return jobs, False
        until = self._clock.monotonic() + self._lazy_seconds
        while len(jobs) < self._batch_max:
            is_lazy = self._lazy_seconds > 0 and all(job.is_lazy for job in jobs)
            patience = until - self._clock.monotonic() if is_lazy else 0.0
            try:
                more = self._queue.get(timeout=patience) if patience > 0 else self._queue.get_nowait()
            except Empty:
                break
            if more is None:
                return jobs, True
            jobs.extend(more)
        return jobs, False

    def _work_on(self, jobs: list[Job]) -> bool:
        wanted = []
        for job in jobs:  # Its caller may give up at any moment: each is asked once.
            if job.is_wanted:
                wanted.append(job)
            else:
                job.error = DriveTimeout("nobody waited for it any more")
        has_more = False
        try:
            if wanted or not jobs:
                has_more = self._handle(wanted, self._answer)
        except BaseException as problem:  # a bug must fail its callers, not end the thread
            for job in wanted:
                job.error = job.error or problem
        self._answer([job for job in jobs if not job.is_answered])
        return has_more

    def _answer(self, jobs: list[Job]) -> None:
        for job in jobs:
            job.is_answered = True
        if jobs:
            self._tell(self._deliver, jobs)

    def _tell(self, callback: Callable[..., object], *arguments: object) -> None:
        try:
            self.loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            pass  # the loop was closed: nobody is left to be told

    def _end(self, number: int) -> None:
        if not self._ended[number].done():
            self._ended[number].set_result(None)
