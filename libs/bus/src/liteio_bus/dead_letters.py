"""Heal tasks that were given up: kept for operators, who read them, mend what is wrong, and queue them again."""

from collections.abc import AsyncIterator
from typing import Final

import nats.errors
from nats.js.errors import NotFoundError
from pydantic import ValidationError

from liteio_bus.connection import Bus, BusUnavailable
from liteio_bus.streams import DEAD_STREAM
from liteio_bus.subjects import ALL_DEAD_HEAL_TASKS, dead_heal_task_subject, heal_task_subject
from liteio_contracts.messages import DeadHealTask

LIST_MAX: Final = 1000


class DeadLetters:
    """The dead letters of a store. Raises BusUnavailable."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def park(self, dead: DeadHealTask) -> None:
        """Keep it, in the place of an older one for the same object. Returns when it is kept."""
        await self._bus.publish(dead_heal_task_subject(dead.task), dead.model_dump_json().encode())

    async def count(self) -> int:
        try:
            return (await self._bus.jetstream.stream_info(DEAD_STREAM)).state.messages
        except (nats.errors.Error, TimeoutError) as problem:
            raise BusUnavailable(str(problem)) from problem

    async def list(self, limit: int = LIST_MAX) -> list[DeadHealTask]:
        """The oldest first, at most `limit`."""
        return [dead async for _, dead in self._walk(limit)]

    async def requeue(self, limit: int = LIST_MAX) -> int:
        """Queue them again, the oldest first. Returns how many."""
        queued = 0
        async for number, dead in self._walk(limit):
            await self._bus.publish(heal_task_subject(dead.task), dead.task.model_dump_json().encode())
            await self._drop(number)
            queued += 1
        return queued

    async def _walk(self, limit: int) -> AsyncIterator[tuple[int, DeadHealTask]]:
        """Letters with their numbers. What is none is removed: nobody could ever do anything about it."""
        number = 0
        while limit > 0:
            try:
                found = await self._bus.jetstream.get_msg(
                    DEAD_STREAM, seq=number + 1, subject=ALL_DEAD_HEAL_TASKS, next=True
                )
            except NotFoundError:
                return
            except (nats.errors.Error, TimeoutError) as problem:
                raise BusUnavailable(str(problem)) from problem
            number = found.seq or number + 1
            try:
                dead = DeadHealTask.model_validate_json(found.data or b"")
            except ValidationError:
                await self._drop(number)
                continue
            limit -= 1
            yield number, dead

    async def _drop(self, number: int) -> None:
        try:
            await self._bus.jetstream.delete_msg(DEAD_STREAM, number)
        except NotFoundError:
            return  # A newer one for the object has taken its place meanwhile.
        except (nats.errors.Error, TimeoutError) as problem:
            raise BusUnavailable(str(problem)) from problem
