"""The healer's end of the heal queue: take a task, repair, acknowledge; a repair that fails comes back later."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig
from pydantic import ValidationError

from liteio_bus.connection import Bus
from liteio_bus.streams import HEAL_STREAM
from liteio_bus.subjects import ALL_HEAL_TASKS
from liteio_contracts.messages import HealTask

_log = logging.getLogger(__name__)

_CONSUMER: Final = "healers"
_ACK_WAIT_SECONDS: Final = 30.0
_HEARTBEAT_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = (10.0, 60.0, 300.0)  # then the task is dropped: the scanner finds what is still wrong
_FETCH_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 1.0


async def consume_heal_tasks(bus: Bus, heal: Callable[[HealTask], Awaitable[bool]], *, workers: int = 2) -> None:
    """Until cancelled: `heal` returns whether the object is whole now; what is not, or raises, is tried again after a
    while, three times. Any number of processes may do this: each task goes to one of them."""
    await bus.wait_until_ready()
    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(_work(bus, heal))


async def _work(bus: Bus, heal: Callable[[HealTask], Awaitable[bool]]) -> None:
    subscription: JetStreamContext.PullSubscription | None = None
    while True:
        try:
            if subscription is None:
                subscription = await _subscribe(bus)
            messages = await subscription.fetch(1, timeout=_FETCH_SECONDS)
        except (TimeoutError, nats.errors.TimeoutError):
            continue
        except nats.errors.Error as problem:  # away, or the stream was made anew
            _log.debug("no heal tasks for now: %s", problem)
            subscription = None
            await asyncio.sleep(_PAUSE_SECONDS)
            continue
        for message in messages:
            await _handle(message, heal)


async def _subscribe(bus: Bus) -> JetStreamContext.PullSubscription:
    config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, ack_wait=_ACK_WAIT_SECONDS, max_ack_pending=1_000)
    return await bus.jetstream.pull_subscribe(ALL_HEAL_TASKS, durable=_CONSUMER, stream=HEAL_STREAM, config=config)


async def _handle(message: Msg, heal: Callable[[HealTask], Awaitable[bool]]) -> None:
    """A failing acknowledgement needs no care: the task comes again, and healing twice does no harm."""
    try:
        task = HealTask.model_validate_json(message.data)
    except ValidationError as problem:
        _log.error("dropped a message that is no heal task (%s): %s", message.subject, problem)
        await _quietly(message.term())
        return
    heartbeat = asyncio.create_task(_keep_alive(message))
    try:
        is_whole = await heal(task)
    except Exception:
        _log.exception("heal task failed: %s", task)
        is_whole = False
    finally:
        heartbeat.cancel()
    attempt = message.metadata.num_delivered
    if is_whole:
        await _quietly(message.ack())
    elif attempt <= len(_RETRY_SECONDS):
        await _quietly(message.nak(delay=_RETRY_SECONDS[attempt - 1]))
    else:
        _log.warning("left for the scanner after %s attempts: %s", attempt, task)
        await _quietly(message.term())


async def _keep_alive(message: Msg) -> None:
    while True:
        await asyncio.sleep(_HEARTBEAT_SECONDS)
        await _quietly(message.in_progress())


async def _quietly(call: Awaitable[None]) -> None:
    try:
        await call
    except nats.errors.Error as problem:
        _log.debug("the bus did not take an acknowledgement: %s", problem)
