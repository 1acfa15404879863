"""One supervised process: start it on a leash, pass its lines on, ask it to stop, make it stop."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from liteio_runtime.leash import LEASH_VARIABLE

LINE_BYTES_MAX: Final = 64 * 1024  # a longer line is passed on in pieces: a child must not make us hold its output
CONFIG_EXIT_CODE: Final = 2  # a process that ends so was told something impossible: starting it again will not help

OUTPUT_SECONDS: Final = 1.0  # how long a dead process's pipe may take to give up its last lines

LineSink = Callable[[str, str], None]
"""Takes a process's name and one line of its output, without the line end."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to run. `environment` is added to ours. `pass_fds` stay open in the process under the same numbers. Lines
    that hold one of `noise` are not passed on; one that holds one of `ends_on` tells of something that only a new start
    mends. `stops_last`: others need it until they have stopped."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    pass_fds: tuple[int, ...] = ()
    noise: tuple[str, ...] = ()
    ends_on: tuple[str, ...] = ()
    stops_last: bool = False


class Process:
    """A running process. It leads a session of its own, so that a Ctrl-C at the terminal reaches the supervisor alone.

    It is on two leashes: the kernel kills it when we die, and a pipe that only we hold open ends (see leash.py).
    """

    def __init__(self, spec: ProcessSpec, process: asyncio.subprocess.Process, output: "asyncio.Task[None]") -> None:
        self.spec = spec
        self._process, self._output = process, output

    @classmethod
    async def start(cls, spec: ProcessSpec, *, leash_fd: int, on_line: LineSink) -> "Process":
        """Raises OSError when the interpreter itself can not be started; a missing program ends the process later."""
        leash = (sys.executable, "-I", "-S", str(Path(__file__).with_name("leash.py")), str(os.getpid()))
        # The pipe is ours, not asyncio's: its wait() would also wait for the pipe, which a grandchild may keep open.
        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *leash,
                *spec.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                env={**os.environ, **spec.environment, LEASH_VARIABLE: str(leash_fd)},
                pass_fds=(*spec.pass_fds, leash_fd),
                start_new_session=True,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)

        def take(name: str, line: str) -> None:
            on_line(name, line)
            if any(telling in line for telling in spec.ends_on) and process.returncode is None:
                process.terminate()

        return cls(spec, process, asyncio.create_task(_pass_lines(reading, spec, take)))

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> int:
        """The exit code, negative for a signal. Its last lines have been passed on by then, and whatever it started in
        its session is gone."""
        code = await self._process.wait()
        self._signal_session(signal.SIGKILL)
        # What left the session may still hold the pipe open; it gets no further hearing.
        _, unfinished = await asyncio.wait([self._output], timeout=OUTPUT_SECONDS)
        if unfinished:
            self._output.cancel()
            await asyncio.wait(unfinished)
        return code

    def ask_to_stop(self) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    def kill(self) -> None:
        if self._process.returncode is None:
            self._signal_session(signal.SIGKILL)

    def _signal_session(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


async def _pass_lines(fd: int, spec: ProcessSpec, on_line: LineSink) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", buffering=0)
    )
    try:
        async for line in _lines(reader):
            text = line.decode(errors="replace")
            if text.strip() and not any(noise in text for noise in spec.noise):
                on_line(spec.name, text)
    finally:
        transport.close()


async def _lines(output: asyncio.StreamReader) -> AsyncIterator[bytes]:
    held = b""
    while chunk := await output.read(LINE_BYTES_MAX):
        *whole, held = (held + chunk).split(b"\n")
        for line in whole:
            yield line
        if len(held) >= LINE_BYTES_MAX:
            yield held
            held = b""
    if held:
        yield held
