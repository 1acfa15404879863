"""liteio beside its peers: each started fresh on folders of its own on the same disk, one at a time, in alternation.

Every server is filled once, and then measured in rounds: A B C, A B C. A round starts each anew on the folders that
it filled. A server that fails is told about and left out of what follows; the others go on.
"""

import asyncio
import shutil
import signal
import tempfile
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.lines import Line, Scale
from tests.bench.measuring import Figure, fill, measure_lines
from tests.bench.physical import Limit, measure_limits
from tests.bench.servers import SERVERS, Server, ServerFailed, ports_for_server, running, warp_program
from tests.bench.warp import WarpFailed, WarpFigure, run_warp, warp_runs


@dataclass(slots=True)
class Findings:
    """`figures` and `warp` are by server, line and round. `notes` are sentences for whoever reads the figures."""

    servers: list[Server]
    lines: list[Line]
    scale: Scale
    figures: dict[tuple[str, str, int], Figure] = field(default_factory=dict)
    warp: dict[tuple[str, str, int], WarpFigure] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)
    rounds_done: int = 0

    def rounds_of(self, server: str, line: str) -> dict[int, Figure]:
        return {number: one for (of, what, number), one in self.figures.items() if (of, what) == (server, line)}

    def note(self, text: str) -> None:
        """Of what a server or a tool said only the first line is kept; all of it is printed."""
        print(text, flush=True)
        self.notes.append(text.partition("\n")[0].rstrip(":"))


def select_servers(names: str) -> list[Server]:
    """Those named, with commas between; all for "". Raises ValueError for an unknown name."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    known = {server.name: server for server in SERVERS}
    for name in wanted:
        if name not in known:
            raise ValueError(f"no server is called {name!r}; there are: {', '.join(known)}")
    return [server for server in SERVERS if not wanted or server.name in wanted]


async def compare(servers: Sequence[Server], lines: Sequence[Line], scale: Scale) -> Findings:
    """Measure what is there. The servers' folders are made in the temporary folder, and removed."""
    found = Findings([], list(lines), scale)
    began = time.monotonic()
    measuring = asyncio.current_task()
    assert measuring is not None, "a coroutine runs in a task"
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, measuring.cancel)  # servers and folders go with it
    with tempfile.TemporaryDirectory(prefix="liteio-bench-") as name:
        place = Path(name)
        print("measuring what the machine can do at most", flush=True)
        found.limits = await measure_limits(place, min(scale.seconds, 3.0))
        for server in servers:
            if reason := server.missing():
                found.note(f"{server.title} is not measured: {reason}.")
            else:
                found.servers.append(server)
        if not warp_program():
            found.note("warp is not measured with: it is not on PATH, and BENCH_WARP does not name it.")
        await _Rounds(found, place, began).run()
    return found


class _Rounds:
    def __init__(self, found: Findings, place: Path, began: float) -> None:
        self._found, self._place, self._began = found, place, began
        self._living = list(found.servers)
        self._ports = {server.name: ports_for_server() for server in found.servers}

    async def run(self) -> None:
        for server in list(self._living):
            await self._guarded(server, self._fill(server), "filling it")
        longest = 0.0
        for number in range(1, self._found.scale.rounds + 1):
            if number > 1 and time.monotonic() - self._began + longest > self._found.scale.minutes * 60:
                self._found.note(
                    f"Only {number - 1} of {self._found.scale.rounds} rounds were run: "
                    f"{self._found.scale.minutes:g} minutes are the limit."
                )
                return
            began = time.monotonic()
            for server in list(self._living):
                await self._guarded(server, self._measure(server, number), f"round {number}")
            longest = max(longest, time.monotonic() - began)
            self._found.rounds_done = number

    async def _guarded(self, server: Server, work: Coroutine[None, None, None], doing: str) -> None:
        """Whatever fails in a server is a sentence, and the end of that server's part."""
        try:
            await work
        except (ServerFailed, RuntimeError, OSError) as failed:
            self._found.note(f"{server.title} failed in {doing}, and is left out from there on: {failed}")
            self._living.remove(server)
            shutil.rmtree(self._folder(server), ignore_errors=True)

    async def _fill(self, server: Server) -> None:
        began = time.monotonic()
        scale, lines = self._found.scale, self._found.lines
        versions = await fill(server, self._folder(server), self._ports[server.name], lines, scale)
        self._found.versions[server.name] = versions
        print(f"{server.title}: filled in {time.monotonic() - began:.0f} s", flush=True)

    async def _measure(self, server: Server, number: int) -> None:
        found = self._found
        with running(server, self._folder(server), self._ports[server.name]) as process:
            async for line, figure in measure_lines(process, found.lines, found.scale, number):
                found.figures[server.name, line.name, number] = figure
                print(
                    f"round {number}: {server.title:20} {line.name:32} {figure.operations_a_second:9.1f}/s  "
                    f"{figure.cpu_ms:8.2f} ms of CPU  {figure.memory_mib:6.0f} MiB  {figure.errors or ''}",
                    flush=True,
                )
            if program := warp_program():
                await self._run_warp(server, number, program, process.port)

    async def _run_warp(self, server: Server, number: int, program: str, port: int) -> None:
        for run in warp_runs(self._found.scale):
            try:
                figure = await asyncio.to_thread(run_warp, program, run, port, self._found.scale, self._place)
            except WarpFailed as failed:
                self._found.note(f"{run.name} on {server.title}, round {number}: {failed}")
            else:
                self._found.warp[server.name, run.name, number] = figure

    def _folder(self, server: Server) -> Path:
        return self._place / server.name
