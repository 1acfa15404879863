"""Discovery on the bus: each process of a store is a NATS micro service, so `nats micro ls|info|stats` and whoever asks
$SRV.PING, $SRV.INFO or $SRV.STATS finds it. (NATS ADR-32, "Service API".)

Each has one endpoint, liteio.v1.ctl.<service>.status, that *every* process of the kind answers with its status as JSON:
who asks collects the answers for a moment.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import nats.errors
from nats.aio.msg import Msg
from nats.micro import add_service
from nats.micro.request import Request

from liteio_bus.connection import Bus, BusUnavailable
from liteio_bus.subjects import status_subject

_log = logging.getLogger(__name__)

SERVICE_PREFIX: Final = "liteio-"
ANSWERS_SECONDS: Final = 1.0  # a process that takes longer is as good as not there for somebody who looks

Status = Callable[[], Awaitable[bytes]]
"""The process's status now, as JSON."""


async def serve_status(
    bus: Bus, kind: str, status: Status, *, version: str, description: str, metadata: Mapping[str, str]
) -> None:
    """Be found as the service `liteio-<kind>`, and answer for the status, until cancelled. The bus may come and go."""

    async def answer(request: Request) -> None:
        try:
            await request.respond(await status())
        except nats.errors.Error as problem:
            _log.debug("a question for the status is not answered: %s", problem)

    await bus.wait_until_connected()
    service = await add_service(
        bus.client,
        name=f"{SERVICE_PREFIX}{kind}",
        version=version,
        description=description,
        metadata=dict(metadata),
    )
    try:
        # A queue group of its own: the usual one would have one process answer for all.
        await service.add_endpoint(
            name="status", subject=status_subject(kind), handler=answer, queue_group=f"{kind}-{service.id}"
        )
        await asyncio.Event().wait()
    finally:
        await _stop(service.stop)


async def ask_statuses(bus: Bus, kind: str, *, seconds: float = ANSWERS_SECONDS) -> list[bytes]:
    """The status of every process of the kind that answers in time. Raises BusUnavailable."""
    if not bus.client.is_connected:
        raise BusUnavailable("not connected")
    found: list[bytes] = []

    async def note(message: Msg) -> None:
        if message.data:  # an empty one says that nobody listens
            found.append(message.data)

    try:
        inbox = bus.client.new_inbox()
        answers = await bus.client.subscribe(inbox, cb=note)
        await bus.client.publish(status_subject(kind), reply=inbox)
        await bus.client.flush()
        await asyncio.sleep(seconds)
        await answers.unsubscribe()
    except (nats.errors.Error, TimeoutError) as problem:
        raise BusUnavailable(str(problem) or type(problem).__name__) from problem
    return found


async def _stop(stop: Callable[[], Awaitable[None]]) -> None:
    try:
        await stop()
    except nats.errors.Error as problem:
        _log.debug("the service did not take leave: %s", problem)
