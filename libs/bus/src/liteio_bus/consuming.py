"""The healer's end of the heal queue: take a task, repair, acknowledge; a repair that fails comes back later, and is
given up after a few times.

A task that waits for a drive is given up sooner and without a letter: the scan that follows a drive's return finds it,
and a queue full of what can not be done would keep the rest waiting.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig
from pydantic import ValidationError

from liteio_bus.connection import Bus, BusUnavailable
from liteio_bus.dead_letters import DeadLetters
from liteio_bus.streams import HEAL_STREAM
from liteio_bus.subjects import ALL_HEAL_TASKS
from liteio_contracts.messages import DeadHealTask, HealTask
from liteio_contracts.object_layer import HealResult

_log = logging.getLogger(__name__)

CONSUMER: Final = "healers"
# A task whose healer is gone comes to another one after the wait; a healer that repairs says so several times in it.
ACK_WAIT_SECONDS: Final = 15.0
_HEARTBEAT_SECONDS: Final = 5.0
RETRY_SECONDS: Final = (5.0, 15.0, 30.0)
ATTEMPTS_MAX: Final = len(RETRY_SECONDS) + 1
_FETCH_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 1.0

Heal = Callable[[HealTask], Awaitable[HealResult]]


class HealConsumer:
    """Takes tasks as long as `run` runs. Any number of processes may: each task goes to one of them."""

    def __init__(self, bus: Bus, heal: Heal, *, workers: int = 2) -> None:
        """`workers`: tasks at a time."""
        self._bus, self._heal, self._workers = bus, heal, workers
        self._letters = DeadLetters(bus)
        self.in_hand = 0
        """Tasks being repaired now."""
        self.left_for_scan = 0
        """Tasks given up since the start because drives were away."""
        self.given_up = 0
        """Tasks given up since the start for which a letter was kept."""

    async def run(self) -> None:
        """Until cancelled."""
        await self._bus.wait_until_ready()
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    async def queue_length(self) -> int:
        """Tasks that wait or are being repaired, by anybody. Raises BusUnavailable."""
        try:
            return (await self._bus.jetstream.stream_info(HEAL_STREAM)).state.messages
        except (nats.errors.Error, TimeoutError) as problem:
            raise BusUnavailable(str(problem)) from problem

    async def _work(self) -> None:
        subscription: JetStreamContext.PullSubscription | None = None
        while True:
            try:
                if subscription is None:
                    subscription = await self._subscribe()
                messages = await subscription.fetch(1, timeout=_FETCH_SECONDS)
            except (TimeoutError, nats.errors.TimeoutError):
                continue
            except nats.errors.Error as problem:  # away, or the stream was made anew
                _log.debug("no heal tasks for now: %s", problem)
                subscription = None
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            for message in messages:
                await self._handle(message)

    async def _subscribe(self) -> JetStreamContext.PullSubscription:
        """Redelivery is bounded by us and not by the server: what it gives up stays in its queue."""
        config = ConsumerConfig(
            durable_name=CONSUMER,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT_SECONDS,
            max_ack_pending=1_000,
            max_deliver=-1,
            filter_subject=ALL_HEAL_TASKS,
        )
        await self._bus.jetstream.add_consumer(HEAL_STREAM, config)
        return await self._bus.jetstream.pull_subscribe_bind(consumer=CONSUMER, stream=HEAL_STREAM)

    async def _handle(self, message: Msg) -> None:
        """A failing acknowledgement needs no care: the task comes again, and healing twice does no harm."""
        try:
            task = HealTask.model_validate_json(message.data)
        except ValidationError as problem:
            _log.error("dropped a message that is no heal task (%s): %s", message.subject, problem)
            await _quietly(message.term())
            return
        attempt = message.metadata.num_delivered
        if attempt > ATTEMPTS_MAX:  # Whoever had it last ended over it.
            result = _failed("no attempt came to its end")
        else:
            result = await self._repair(message, task)
        if result.is_whole:
            await _quietly(message.ack())
        elif attempt < ATTEMPTS_MAX:
            await _quietly(message.nak(delay=RETRY_SECONDS[attempt - 1]))
        else:
            await self._give_up(message, task, attempt, result)

    async def _repair(self, message: Msg, task: HealTask) -> HealResult:
        heartbeat = asyncio.create_task(_keep_alive(message))
        self.in_hand += 1
        try:
            return await self._heal(task)
        except Exception as problem:
            _log.exception("heal task failed: %s", task)
            return _failed(repr(problem))
        finally:
            self.in_hand -= 1
            heartbeat.cancel()

    async def _give_up(self, message: Msg, task: HealTask, attempts: int, result: HealResult) -> None:
        if result.waits_for_drives:
            self.left_for_scan += 1
            _log.debug("left for the scan when the drives are back: %s", task)
        else:
            letter = DeadHealTask(task=task, attempts=attempts, problems=result.problems, given_up_ns=time.time_ns())
            try:
                await self._letters.park(letter)
            except BusUnavailable as problem:
                _log.debug("a dead letter waits: %s", problem)
                await _quietly(message.nak(delay=RETRY_SECONDS[-1]))
                return
            self.given_up += 1
            _log.warning("given up after %s attempts: %s: %s", attempts, task, "; ".join(result.problems))
        await _quietly(message.term())


def _failed(problem: str) -> HealResult:
    return HealResult(is_whole=False, shards_total=0, shards_good=0, rewritten=0, problems=(problem,))


async def _keep_alive(message: Msg) -> None:
    while True:
        await asyncio.sleep(_HEARTBEAT_SECONDS)
        await _quietly(message.in_progress())


async def _quietly(call: Awaitable[None]) -> None:
    try:
        await call
    except nats.errors.Error as problem:
        _log.debug("the bus did not take an acknowledgement: %s", problem)
