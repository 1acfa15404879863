"""The calls that the node answers itself: which drives it has, their formats, the topology, and its lock table."""

import asyncio
from collections.abc import Awaitable
from typing import Any, Protocol, TypeVar

from liteio_base.ids import DeploymentId
from liteio_contracts.storage_errors import DriveUnavailable
from liteio_drives.format_rules import DriveReport
from liteio_drives.remote.lock_table import LockTable
from liteio_drives.remote.messages import DriveInfo, Holder, LockPage, MountPoints
from liteio_storage_node.drive_set import DriveSet
from liteio_storage_node.handlers.calls import NodeCall

Answer = TypeVar("Answer")


class Formats(Protocol):
    """The node's part in formats and topology: NodeDrives, or nothing where drives are given as they are."""

    async def topology(self) -> bytes | None: ...

    async def report(self) -> dict[int, DriveReport]: ...

    async def prepare(self, deployment_id: DeploymentId, pool: int, mount_points: MountPoints) -> None: ...

    async def take_on(self, deployment_id: DeploymentId) -> None: ...


class NoFormats:
    """Of a node whose drives were formatted by others."""

    async def topology(self) -> bytes | None:
        return None

    async def report(self) -> dict[int, DriveReport]:
        return {}

    async def prepare(self, deployment_id: DeploymentId, pool: int, mount_points: MountPoints) -> None:
        raise DriveUnavailable("this node formats no drives")

    async def take_on(self, deployment_id: DeploymentId) -> None:
        raise DriveUnavailable("this node formats no drives")


def node_calls(drives: DriveSet, locks: LockTable, formats: Formats) -> dict[str, NodeCall]:
    """By method name; each takes the decoded arguments."""

    async def topology(_: Any) -> bytes | None:
        return await formats.topology()

    async def report(_: Any) -> dict[int, DriveReport]:
        return await formats.report()

    async def prepare(arguments: tuple[DeploymentId, int, MountPoints]) -> None:
        await formats.prepare(*arguments)

    async def take_on(arguments: tuple[DeploymentId]) -> None:
        await formats.take_on(*arguments)

    async def list_drives(_: Any) -> tuple[DriveInfo, ...]:
        return drives.infos()

    def acquire(arguments: tuple[bytes, tuple[bytes, ...], Holder]) -> Awaitable[bool]:
        return _at_once(locks.acquire(*arguments))  # What the same request has drives read is read behind the grant.

    async def wait(arguments: tuple[bytes, tuple[bytes, ...], float]) -> None:
        told = asyncio.Event()
        if locks.wait(*arguments, told.set):
            try:
                await told.wait()
            finally:
                locks.stop_waiting(arguments[0])

    async def list_locks(arguments: tuple[int]) -> LockPage:
        return locks.page(*arguments)

    async def renew(arguments: tuple[tuple[bytes, ...]]) -> tuple[bool, ...]:
        (owners,) = arguments
        return tuple(map(locks.renew, owners))

    def release(arguments: tuple[tuple[bytes, ...]]) -> Awaitable[None]:
        (owners,) = arguments
        for owner in owners:
            locks.release(owner)
        return _at_once(None)

    return {
        "drives": list_drives,
        "topology": topology,
        "format.report": report,
        "format.prepare": prepare,
        "format.take_on": take_on,
        "lock.acquire": acquire,
        "lock.wait": wait,
        "lock.list": list_locks,
        "lock.renew": renew,
        "lock.release": release,
    }


def _at_once(answer: Answer) -> "asyncio.Future[Answer]":
    """What was done already. A coroutine would only begin when the calls behind it have begun."""
    done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    done.set_result(answer)
    return done
