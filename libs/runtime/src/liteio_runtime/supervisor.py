"""The supervisor: keeps a list of processes running, and leaves none behind.

A process that ends is started again after a delay that doubles from 0.2 s to 10 s, and is forgiven once it has run for
a minute. A process that says "my configuration is impossible" (exit code 2) before it was ever up ends the supervisor
with the same code; later it is a crash like any other, because the rest of the store is serving.

On stop every process gets SIGTERM and 30 s to finish what it is doing, then SIGKILL. If the supervisor itself is killed
the kernel ends its children (see leash.py).
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from liteio_base.clock import Clock, SystemClock
from liteio_runtime.process import CONFIG_EXIT_CODE, LineSink, Process, ProcessSpec

STOP_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays before a restart, in seconds. `healthy` is the run time after which earlier crashes are forgiven."""

    first: float = 0.2
    longest: float = 10.0
    healthy: float = 60.0

    def delay(self, crashes: int) -> float:
        """Before the restart that follows the `crashes`-th crash in a row, 1 or more."""
        return min(self.longest, self.first * 2.0 ** min(crashes - 1, 32))


class ConfigurationRefused(Exception):
    """A process ended at its first start because what it was told is impossible. It has said why on its own."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} refuses its configuration")
        self.name = name


class Supervisor:
    """Runs `specs` until told to stop. Use it once."""

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        *,
        on_line: LineSink,
        backoff: Backoff = Backoff(),
        stop_seconds: float = STOP_SECONDS,
        clock: Clock | None = None,
    ) -> None:
        self._specs = tuple(specs)
        self._on_line, self._backoff, self._stop_seconds = on_line, backoff, stop_seconds
        self._clock = clock or SystemClock()
        self._stopping = asyncio.Event()
        self._running: dict[str, Process] = {}
        self._is_up = False
        self._may_stop: set[str] = set()
        self.all_started = asyncio.Event()
        """Set once every process has been started for the first time."""

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name, of what runs now."""
        return {name: process.pid for name, process in self._running.items()}

    def mark_up(self) -> None:
        """The store serves: from now on no process's end stops the others."""
        self._is_up = True

    def stop(self) -> None:
        """Begin to stop; `run` returns when all processes are gone. A second call kills them at once."""
        if self._stopping.is_set():
            for process in self._running.values():
                process.kill()
        self._stopping.set()

    async def run(self) -> None:
        """Start all, keep them running, return after `stop`. Raises ConfigurationRefused when all are stopped again."""
        leash_read, leash_write = os.pipe()
        keepers = [asyncio.create_task(self._keep(spec, leash_read), name=spec.name) for spec in self._specs]
        stop = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([stop, *keepers], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping.set()
            stop.cancel()
            await self._stop_all(keepers)
            os.close(leash_read)
            os.close(leash_write)
        for keeper in keepers:
            keeper.result()

    async def _keep(self, spec: ProcessSpec, leash_fd: int) -> None:
        crashes = 0
        while not self._stopping.is_set():
            started = self._clock.monotonic()
            try:
                code: int | str = await self._run_once(spec, leash_fd)
            except OSError as problem:  # out of processes, memory or descriptors: as likely to pass as a crash
                code = str(problem)
            if self._stopping.is_set():
                return
            if code == CONFIG_EXIT_CODE and not self._is_up:
                raise ConfigurationRefused(spec.name)
            crashes = 1 if self._clock.monotonic() - started >= self._backoff.healthy else crashes + 1
            delay = self._backoff.delay(crashes)
            _warn("process ended, starting it again", process=spec.name, exit_code=code, delay_seconds=delay)
            await self._pause(delay)

    async def _run_once(self, spec: ProcessSpec, leash_fd: int) -> int:
        process = await Process.start(spec, leash_fd=leash_fd, on_line=self._on_line)
        self._running[spec.name] = process
        if len(self._running) == len(self._specs):
            self.all_started.set()
        try:
            if spec.name in self._may_stop:  # the order to stop came while it was being started
                process.ask_to_stop()
            return await process.wait()
        finally:
            process.kill()
            del self._running[spec.name]

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            pass

    async def _stop_all(self, keepers: Sequence["asyncio.Task[None]"]) -> None:
        """Those that others need go last."""
        for is_last in (False, True):
            names = {spec.name for spec in self._specs if spec.stops_last is is_last}
            await self._stop_some(names, [keeper for keeper in keepers if keeper.get_name() in names])

    async def _stop_some(self, names: set[str], keepers: Sequence["asyncio.Task[None]"]) -> None:
        if not keepers:
            return
        self._may_stop |= names
        for process in self._running_of(names):
            process.ask_to_stop()
        _, late = await asyncio.wait(keepers, timeout=self._stop_seconds)
        if late:
            _warn("killing what did not stop in time", processes=sorted(task.get_name() for task in late))
            for process in self._running_of(names):
                process.kill()
            await asyncio.wait(late)

    def _running_of(self, names: set[str]) -> list[Process]:
        return [process for name, process in self._running.items() if name in names]


def _warn(event: str, **facts: Any) -> None:
    import structlog  # late: it takes longer to import than all that comes before the first process

    structlog.get_logger().warning(event, **facts)
