"""The calls that the node answers itself: which drives it has, and its lock table."""

from typing import Any

from liteio_drives.remote.lock_table import LockTable
from liteio_drives.remote.messages import DriveInfo
from liteio_storage_node.drive_set import DriveSet
from liteio_storage_node.handlers.calls import NodeCall


def node_calls(drives: DriveSet, locks: LockTable) -> dict[str, NodeCall]:
    """By method name; each takes the decoded arguments."""

    async def list_drives(_: Any) -> tuple[DriveInfo, ...]:
        return drives.infos()

    async def acquire(arguments: tuple[bytes, tuple[bytes, ...]]) -> bool:
        owner, names = arguments
        return locks.acquire(owner, names)

    async def renew(arguments: tuple[tuple[bytes, ...]]) -> tuple[bool, ...]:
        (owners,) = arguments
        return tuple(map(locks.renew, owners))

    async def release(arguments: tuple[tuple[bytes, ...]]) -> None:
        (owners,) = arguments
        for owner in owners:
            locks.release(owner)

    return {"drives": list_drives, "lock.acquire": acquire, "lock.renew": renew, "lock.release": release}
