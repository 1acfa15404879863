"""Holding locks around writes, with the object layer's error when they can not be had."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar, overload

from liteio_base.deadline import Deadline
from liteio_base.ids import BucketId
from liteio_contracts.lock_names import bucket_lock_name, object_lock_name
from liteio_contracts.locks import Lease, LockTimeout
from liteio_contracts.object_errors import OperationTimeout
from liteio_contracts.object_layer import BucketInfo
from liteio_objects.company import Company
from liteio_objects.engine import Engine

Read = TypeVar("Read")


def object_lock(info: BucketInfo, key: bytes) -> bytes:
    """The lock that writers of an object hold, completing an upload of it included."""
    return object_lock_of(info.bucket_id, key)


def object_lock_of(bucket_id: BucketId, key: bytes) -> bytes:
    return object_lock_name(bucket_id, key)


def bucket_lock(name: str) -> bytes:
    """The lock that changes of a bucket hold."""
    return bucket_lock_name(name)


class hold(Generic[Read]):
    """Hold the locks of `names`: `async with hold(...) as held`. Raises OperationTimeout; nothing was written then.

    early: begins to read what the holder will want first. Where the lock is asked for on other machines, the reading
    travels with that request; on one machine it is not begun, since the lock costs nothing there. `read` gives what
    came of it.
    is_blind: the holder writes one key whatever is there, and may share its lock with others who do: see `company`.
    """

    __slots__ = ("_deadline", "_early", "_engine", "_is_blind", "_lock", "_names", "_reading", "company", "lease")

    lease: Lease
    company: Company | None

    @overload
    def __init__(self: "hold[None]", engine: Engine, names: Sequence[bytes], *, deadline: Deadline) -> None: ...

    @overload
    def __init__(
        self,
        engine: Engine,
        names: Sequence[bytes],
        *,
        deadline: Deadline,
        early: Callable[[], Coroutine[Any, Any, Read]] | None,
        is_blind: bool = False,
    ) -> None: ...

    def __init__(
        self,
        engine: Engine,
        names: Sequence[bytes],
        *,
        deadline: Deadline,
        early: Callable[[], Coroutine[Any, Any, Read]] | None = None,
        is_blind: bool = False,
    ) -> None:
        self._engine, self._names, self._deadline, self._is_blind = engine, names, deadline, is_blind
        self._early = early
        self.company = None
        self._reading: asyncio.Task[Read] | None = None
        self._lock = engine.locks.lock(names, deadline=deadline, on_ask=None if early is None else self._begin)

    async def __aenter__(self) -> "hold[Read]":
        try:
            if self._is_blind:
                [name] = self._names
                self.lease = self.company = await self._engine.companies.enter(name, self._lock, self._deadline)
            else:
                self.lease = await self._lock.__aenter__()
        except BaseException as trouble:
            self._drop_reading()
            if isinstance(trouble, LockTimeout):
                raise OperationTimeout("another write of the same key is still under way") from trouble
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reading is not None:
            self._drop_reading()
        if self.company is not None:
            await self.company.leave()
        else:
            await self._lock.__aexit__(None, None, None)

    async def read(self) -> Read | None:
        """What was read while the lock was asked for; None when nothing was. Raises what the reading raised."""
        reading, self._reading = self._reading, None
        return None if reading is None else await reading

    async def read_together(self, read: Callable[[], Coroutine[Any, Any, Read]]) -> Read | None:
        """The same, or what one of those that hold the lock together reads for all of them."""
        found = await self.read()
        if found is not None or self.company is None or self.company.is_alone:
            return found
        shared: Read = await self.company.read(read)
        return shared

    def _begin(self) -> None:
        """The lock is asked for, once more perhaps: what was read before the grant does not count."""
        self._drop_reading()
        if self._early is not None:
            self._reading = asyncio.ensure_future(self._early())
            self._reading.add_done_callback(_see)

    def _drop_reading(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()


def _see(reading: "asyncio.Task[Any]") -> None:
    """One that nobody waits for may fail unheard."""
    if not reading.cancelled():
        reading.exception()
