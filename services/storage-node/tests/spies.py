"""Doubles that note what a node does for whoever asks, so that a test can tell that it did nothing."""

from collections.abc import Awaitable
from typing import Any

import pytest

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_contracts.storage_errors import DriveOffline
from liteio_drives.remote.lock_table import LockTable
from liteio_storage_node.handlers.calls import NodeCall
from liteio_storage_node.handlers.node_calls import node_calls
from liteio_testkit.intercepted_drive import Answer, Call, InterceptedDrive
from liteio_testkit.manual_clock import ManualClock
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.seeded_randomness import SeededRandomness


class SpyDrive(InterceptedDrive):
    """Notes every call in `seen`. `is_mute`: and carries none out."""

    def __init__(self, seen: list[str], *, is_mute: bool = False) -> None:
        super().__init__(MemoryDrive(0, ManualClock(), SeededRandomness("spied on")))
        self._seen, self._is_mute = seen, is_mute

    async def intercept(self, operation: str, call: Call[Answer], deadline: Deadline) -> Answer:
        self._seen.append(operation)
        if self._is_mute:
            raise DriveOffline("it only listens")
        return await call(deadline)


def spy_on_node_calls(monkeypatch: pytest.MonkeyPatch, seen: list[str]) -> None:
    """Nodes that are built from now on note the calls that they answer themselves."""

    def noting(method: str, call: NodeCall) -> NodeCall:
        def answer(arguments: Any) -> Awaitable[Any]:
            seen.append(method)
            return call(arguments)

        return answer

    def build_noting(*parts: Any, **named: Any) -> dict[str, NodeCall]:
        return {method: noting(method, call) for method, call in node_calls(*parts, **named).items()}

    monkeypatch.setattr("liteio_storage_node.app.node_calls", build_noting)


def open_table() -> LockTable:
    """A lock table that grants at once."""
    return LockTable(SystemClock(), is_first=True)
