"""`SpreadLocks`: names spread over several lock services, so that a big cluster does not ask all its nodes for each."""

import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from liteio_base.check import check
from liteio_base.deadline import Deadline
from liteio_contracts.locks import Lease, LockAPI


def group_of(name: bytes, group_count: int) -> int:
    """By CRC-32: the same in every process, for ever."""
    return zlib.crc32(name) % group_count


@dataclass(frozen=True, slots=True)
class _LeaseOfAll:
    leases: tuple[Lease, ...]

    @property
    def is_held(self) -> bool:
        return all(lease.is_held for lease in self.leases)


class SpreadLocks:
    """LockAPI. A name always belongs to the same group; groups are asked in their order, as names are within one."""

    def __init__(self, groups: Sequence[LockAPI]) -> None:
        check(len(groups) > 0, "locks need at least one group")
        self._groups = tuple(groups)

    def lock(
        self, names: Sequence[bytes], *, deadline: Deadline, on_ask: Callable[[], object] | None = None
    ) -> AbstractAsyncContextManager[Lease]:
        """Raises LockTimeout."""
        by_group: dict[int, list[bytes]] = {}
        for name in names:
            by_group.setdefault(group_of(name, len(self._groups)), []).append(name)
        if len(by_group) == 1:
            [(group, grouped)] = by_group.items()
            return self._groups[group].lock(grouped, deadline=deadline, on_ask=on_ask)
        return self._hold(by_group, deadline, on_ask)

    @asynccontextmanager
    async def _hold(
        self, by_group: dict[int, list[bytes]], deadline: Deadline, on_ask: Callable[[], object] | None
    ) -> AsyncIterator[Lease]:
        last = max(by_group)  # Whose grant is the last one needed.
        async with AsyncExitStack() as held:
            leases = [
                await held.enter_async_context(
                    self._groups[group].lock(
                        by_group[group], deadline=deadline, on_ask=on_ask if group == last else None
                    )
                )
                for group in sorted(by_group)
            ]
            yield _LeaseOfAll(tuple(leases))
