"""Holding locks around writes, with the object layer's error when they can not be had."""

from collections.abc import Sequence

from liteio_base.deadline import Deadline
from liteio_base.ids import BucketId
from liteio_contracts.lock_names import bucket_lock_name, object_lock_name
from liteio_contracts.locks import LockTimeout
from liteio_contracts.object_errors import OperationTimeout
from liteio_contracts.object_layer import BucketInfo
from liteio_objects.engine import Engine


def object_lock(info: BucketInfo, key: bytes) -> bytes:
    """The lock that writers of an object hold, completing an upload of it included."""
    return object_lock_of(info.bucket_id, key)


def object_lock_of(bucket_id: BucketId, key: bytes) -> bytes:
    return object_lock_name(bucket_id, key)


def bucket_lock(name: str) -> bytes:
    """The lock that changes of a bucket hold."""
    return bucket_lock_name(name)


class hold:
    """Hold the locks of `names`: `async with hold(...)`. Raises OperationTimeout; nothing was written then."""

    __slots__ = ("_lock",)

    def __init__(self, engine: Engine, names: Sequence[bytes], *, deadline: Deadline) -> None:
        self._lock = engine.locks.lock(names, deadline=deadline)

    async def __aenter__(self) -> None:
        try:
            await self._lock.__aenter__()
        except LockTimeout as late:
            raise OperationTimeout("another write of the same key is still under way") from late

    async def __aexit__(self, *_: object) -> None:
        await self._lock.__aexit__(None, None, None)
