"""`SimNetwork`: links between clients and drives that delay, lose, repeat and cut messages, all from the seed.

A call is two messages. The request travels on its own: a caller that gives up, or is cancelled, does not call it back,
so a commit may reach the drive long after its writer has answered 503. A lost request or reply is silence until the
deadline.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, cast

from liteio_base.clock import Clock
from liteio_base.deadline import Deadline
from liteio_contracts.storage import StorageAPI
from liteio_contracts.storage_errors import DriveTimeout, StorageError
from liteio_testkit.intercepted_drive import REPEATABLE, Answer, Call, InterceptedDrive
from liteio_testkit.seeded_randomness import SeededRandomness

LATE_SECONDS = 30.0  # what the drive is given for a repetition


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """What a link does to its messages. Rates are probabilities a message; times are uniform, in virtual seconds.

    slow_rate: a message that takes `slow_seconds` and not `delay_seconds`: past most deadlines, and still delivered.
    repeat_rate: a call that changes the drive is delivered again `late_seconds` later.
    """

    delay_seconds: tuple[float, float] = (0.0002, 0.005)
    slow_rate: float = 0.0
    slow_seconds: tuple[float, float] = (1.0, 40.0)
    lost_request_rate: float = 0.0
    lost_reply_rate: float = 0.0
    repeat_rate: float = 0.0
    late_seconds: tuple[float, float] = (0.01, 60.0)


CALM = LinkPlan()
ROUGH = LinkPlan(slow_rate=0.03, lost_request_rate=0.03, lost_reply_rate=0.03, repeat_rate=0.1)


class SimNetwork:
    """All links. `plan` holds for those that have none of their own."""

    def __init__(self, randomness: SeededRandomness, clock: Clock, plan: LinkPlan = CALM) -> None:
        self.plan = plan
        self._randomness = randomness
        self._clock = clock
        self._cuts: set[tuple[str, str]] = set()
        self._plans: dict[tuple[str, str], LinkPlan] = {}
        self._in_flight: set[asyncio.Task[Any]] = set()

    def link(self, client: str, drive: StorageAPI) -> "LinkedDrive":
        """The drive as this client reaches it. Clients are names: one a gateway, one a healer."""
        return LinkedDrive(self, client, drive, self._randomness.fork(f"{client}-{drive.drive_id}"), self._clock)

    # -- partitions and plans

    def cut(self, client: str, drive: StorageAPI) -> None:
        """From now on no message passes between them, in either direction."""
        self._cuts.add((client, drive.drive_id))

    def mend(self, client: str, drive: StorageAPI) -> None:
        self._cuts.discard((client, drive.drive_id))

    def mend_all(self) -> None:
        """No cut is left, and every link has the common plan again."""
        self._cuts.clear()
        self._plans.clear()

    def set_plan(self, client: str, drive: StorageAPI, plan: LinkPlan) -> None:
        self._plans[client, drive.drive_id] = plan

    def is_cut(self, client: str, drive: StorageAPI) -> bool:
        return (client, drive.drive_id) in self._cuts

    def plan_of(self, client: str, drive: StorageAPI) -> LinkPlan:
        return self._plans.get((client, drive.drive_id), self.plan)

    # -- messages under way

    @property
    def in_flight_count(self) -> int:
        return len(self._in_flight)

    def send(self, message: Coroutine[Any, Any, Answer]) -> "asyncio.Task[Answer]":
        """Let a message travel. It belongs to the network and not to the task that sent it."""
        task = asyncio.get_running_loop().create_task(message)
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)
        return task

    async def drain(self) -> None:
        """Wait until every message has arrived or is lost, late repetitions too."""
        while self._in_flight:
            await asyncio.wait(list(self._in_flight))


class LinkedDrive(InterceptedDrive):
    """One client's way to one drive."""

    def __init__(
        self, network: SimNetwork, client: str, inner: StorageAPI, randomness: SeededRandomness, clock: Clock
    ) -> None:
        super().__init__(inner)
        self._network = network
        self._client = client
        self._randomness = randomness
        self._clock = clock

    async def intercept(self, operation: str, call: Call[Answer], deadline: Deadline) -> Answer:
        """Raises DriveTimeout when no reply is here by the deadline, whatever became of the request."""
        plan = self._network.plan_of(self._client, self.inner)
        journey = self._network.send(self._travel(plan, operation, call, deadline.seconds_left()))
        finished, _ = await asyncio.wait([journey], timeout=deadline.seconds_left())
        if not finished:
            raise DriveTimeout("no reply", drive_id=self.drive_id)
        outcome = journey.result()
        if isinstance(outcome, _Lost):
            await self._clock.sleep(deadline.seconds_left())
            raise DriveTimeout("no reply", drive_id=self.drive_id)
        if isinstance(outcome, StorageError):
            raise outcome
        return cast("Answer", outcome)

    async def _travel(self, plan: LinkPlan, operation: str, call: Call[Answer], seconds: float) -> object:
        """The answer, the drive's error as a value, or `_LOST`. Every chance is drawn first, so that what one message
        meets does not depend on how long the drive took.
        """
        draw = self._randomness
        is_request_lost, is_reply_lost = draw.chance(plan.lost_request_rate), draw.chance(plan.lost_reply_rate)
        there, back = self._draw_delay(plan), self._draw_delay(plan)
        is_repeated, late = draw.chance(plan.repeat_rate), draw.uniform(*plan.late_seconds)
        await self._clock.sleep(there)
        if is_request_lost or self._network.is_cut(self._client, self.inner):
            return _LOST
        if is_repeated and operation in REPEATABLE:
            self._network.send(self._repeat(late, call))
        try:
            answer: object = await call(Deadline.after(seconds, self._clock))
        except StorageError as error:
            answer = error
        await self._clock.sleep(back)
        if is_reply_lost or self._network.is_cut(self._client, self.inner):
            return _LOST
        return answer

    async def _repeat(self, late: float, call: Call[Answer]) -> None:
        await self._clock.sleep(late)
        if self._network.is_cut(self._client, self.inner):
            return
        try:
            await call(Deadline.after(LATE_SECONDS, self._clock))
        except StorageError:
            pass  # Nobody waits for the answer to a repetition; a refusal is what the drive is for.

    def _draw_delay(self, plan: LinkPlan) -> float:
        is_slow, quick, slow = (
            self._randomness.chance(plan.slow_rate),
            self._randomness.uniform(*plan.delay_seconds),
            self._randomness.uniform(*plan.slow_seconds),
        )
        return slow if is_slow else quick


class _Lost:
    """No reply comes."""


_LOST = _Lost()
