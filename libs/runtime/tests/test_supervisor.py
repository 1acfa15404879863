"""The supervisor over real, tiny processes: restarts, stops, and never leaves one behind."""

import asyncio
import os
import signal
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from liteio_runtime.process import LINE_BYTES_MAX, ProcessSpec
from liteio_runtime.supervisor import Backoff, ConfigurationRefused, Supervisor

QUICK = Backoff(first=0.01, longest=0.05, healthy=60.0)
SLEEPER = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def python(name: str, source: str, **environment: str) -> ProcessSpec:
    return ProcessSpec(name, (sys.executable, "-I", "-S", "-c", textwrap.dedent(source)), environment)


class Lines:
    """What the processes wrote, and a wait for a number of lines."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def __call__(self, name: str, line: str) -> None:
        self.seen.append((name, line))

    async def wait_for(self, count: int, seconds: float = 10.0) -> None:
        await until(lambda: len(self.seen) >= count, seconds)


async def until(is_true: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not is_true():  # noqa: ASYNC110  # what is waited for happens in other processes
            await asyncio.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


async def test_output_is_passed_on_by_name_and_stop_ends_all() -> None:
    lines = Lines()
    supervisor = Supervisor([python("one", SLEEPER), python("two", SLEEPER)], on_line=lines)
    running = asyncio.create_task(supervisor.run())
    await lines.wait_for(2)
    pids = supervisor.pids
    assert sorted(pids) == ["one", "two"]
    supervisor.stop()
    await running
    assert sorted(lines.seen) == [("one", "up"), ("two", "up")]
    assert not any(is_alive(pid) for pid in pids.values())


async def test_a_killed_process_is_started_again() -> None:
    lines = Lines()
    supervisor = Supervisor([python("one", SLEEPER), python("two", SLEEPER)], on_line=lines, backoff=QUICK)
    running = asyncio.create_task(supervisor.run())
    await lines.wait_for(2)
    before = supervisor.pids
    os.kill(before["one"], signal.SIGKILL)
    await lines.wait_for(3)
    after = supervisor.pids
    assert after["two"] == before["two"]
    assert after["one"] != before["one"]
    supervisor.stop()
    await running


async def test_what_can_not_be_run_is_tried_again() -> None:
    lines = Lines()
    supervisor = Supervisor([ProcessSpec("none", ("/no/such/program",))], on_line=lines, backoff=QUICK)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: sum("FileNotFoundError" in line for _, line in lines.seen) >= 2)
    supervisor.stop()
    await running


async def test_a_process_deaf_to_sigterm_is_killed_after_the_grace() -> None:
    lines = Lines()
    supervisor = Supervisor([python("deaf", STUBBORN)], on_line=lines, stop_seconds=0.2)
    running = asyncio.create_task(supervisor.run())
    await lines.wait_for(1)
    pid = supervisor.pids["deaf"]
    began = time.monotonic()
    supervisor.stop()
    await running
    assert time.monotonic() - began < 5
    assert not is_alive(pid)


async def test_sigterm_lets_a_process_finish() -> None:
    source = """
        import os, signal, sys, time
        def end(*_):
            time.sleep(0.2)
            os.write(1, b'drained\\n')
            sys.exit(0)
        signal.signal(signal.SIGTERM, end)
        os.write(1, b'up\\n')
        time.sleep(60)
    """
    lines = Lines()
    supervisor = Supervisor([python("tidy", source)], on_line=lines)
    running = asyncio.create_task(supervisor.run())
    await lines.wait_for(1)
    supervisor.stop()
    await running
    assert lines.seen == [("tidy", "up"), ("tidy", "drained")]


async def test_what_others_need_stops_after_them() -> None:
    source = """
        import os, signal, sys, time
        def end(*_):
            time.sleep(float(sys.argv[1]))
            os.write(1, b'stopped\\n')
            sys.exit(0)
        signal.signal(signal.SIGTERM, end)
        os.write(1, b'up\\n')
        time.sleep(60)
    """
    lines = Lines()
    bus, gateway = python("bus", source), python("gateway", source)
    specs = [replace(bus, argv=(*bus.argv, "0"), stops_last=True), replace(gateway, argv=(*gateway.argv, "0.3"))]
    supervisor = Supervisor(specs, on_line=lines)
    running = asyncio.create_task(supervisor.run())
    await lines.wait_for(2)
    supervisor.stop()
    await running
    assert lines.seen[2:] == [("gateway", "stopped"), ("bus", "stopped")]


async def test_noise_is_kept_back() -> None:
    lines = Lines()
    spec = replace(python("one", "print('[INF] hello'); print(); print('[ERR] help')"), noise=("[INF]",))
    supervisor = Supervisor([spec], on_line=lines, backoff=Backoff(first=30))
    running = asyncio.create_task(supervisor.run())
    await lines.wait_for(1)
    assert lines.seen == [("one", "[ERR] help")]
    supervisor.stop()
    await running


async def test_what_only_a_new_start_mends_is_started_anew() -> None:
    lines = Lines()
    source = "import time; print('no space left on device', flush=True); time.sleep(60)"
    spec = replace(python("bus", source), ends_on=("no space left",))
    supervisor = Supervisor([spec, python("other", SLEEPER)], on_line=lines, backoff=QUICK)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: lines.seen.count(("bus", "no space left on device")) >= 3)
    supervisor.stop()
    await running
    assert lines.seen.count(("other", "up")) == 1


async def test_an_impossible_configuration_ends_everything() -> None:
    lines = Lines()
    refusing = python("picky", "import sys; print('no such drive', flush=True); sys.exit(2)")
    supervisor = Supervisor([refusing, python("other", SLEEPER)], on_line=lines, backoff=QUICK)
    with pytest.raises(ConfigurationRefused, match="picky"):
        await supervisor.run()
    assert ("picky", "no such drive") in lines.seen
    assert supervisor.pids == {}


async def test_once_up_an_exit_code_of_2_is_a_crash_like_any_other() -> None:
    lines = Lines()
    supervisor = Supervisor([python("picky", "import sys; print('x'); sys.exit(2)")], on_line=lines, backoff=QUICK)
    supervisor.mark_up()
    running = asyncio.create_task(supervisor.run())
    await lines.wait_for(3)
    supervisor.stop()
    await running


async def test_a_line_without_end_is_passed_on_in_pieces() -> None:
    lines = Lines()
    source = f"import sys, time; sys.stdout.write('x' * {3 * LINE_BYTES_MAX}); sys.stdout.flush(); time.sleep(60)"
    supervisor = Supervisor([python("long", source)], on_line=lines)
    running = asyncio.create_task(supervisor.run())
    await lines.wait_for(1)
    assert all(len(line) < 2 * LINE_BYTES_MAX for _, line in lines.seen)
    supervisor.stop()
    await running


async def test_a_process_takes_its_own_children_along() -> None:
    source = """
        import subprocess, sys, time
        child = subprocess.Popen([sys.executable, '-I', '-S', '-c', 'import time; time.sleep(60)'])
        print(child.pid, flush=True)
    """
    lines = Lines()
    supervisor = Supervisor([python("parent", source)], on_line=lines, backoff=Backoff(first=30.0))
    running = asyncio.create_task(supervisor.run())
    await lines.wait_for(1)
    await until(lambda: not is_alive(int(lines.seen[0][1])))
    supervisor.stop()
    await running


def test_delays_double_up_to_the_longest() -> None:
    assert [Backoff().delay(crashes) for crashes in (1, 2, 3, 6, 7, 5000)] == [0.2, 0.4, 0.8, 6.4, 10.0, 10.0]


async def test_kill_9_of_the_supervisor_leaves_no_process() -> None:
    """Also of those that are only just being started: the kill comes at every stage of the start."""
    source = """
        import asyncio, os, sys
        from liteio_runtime.process import ProcessSpec
        from liteio_runtime.supervisor import Supervisor
        sleeper = (sys.executable, "-I", "-S", "-c", "import time; print('up', flush=True); time.sleep(60)")
        specs = [ProcessSpec(str(number), sleeper, {"LITEIO_TEST_MARK": sys.argv[1]}) for number in range(3)]
        def show(name, line):
            print(line, flush=True)
        print("ready", flush=True)
        asyncio.run(Supervisor(specs, on_line=show).run())
    """
    for delay_seconds in (0.0, 0.01, 0.03, 0.06, 1.0):
        mark = f"mark-{os.getpid()}-{delay_seconds}"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", textwrap.dedent(source), mark, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        await process.stdout.readline()
        if delay_seconds == 1.0:  # this time all three are up, which also shows that the search below finds them
            await process.stdout.readline()
            await until(lambda mark=mark: len(marked(mark)) == 3)  # type: ignore[misc]  # bound per turn
        else:
            await asyncio.sleep(delay_seconds)
        process.kill()
        await process.wait()
        await until(lambda mark=mark: not marked(mark), 5.0)  # type: ignore[misc]  # bound per turn


def marked(mark: str) -> list[int]:
    """Live processes that carry `mark` in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"LITEIO_TEST_MARK={mark}".encode() in (path / "environ").read_bytes() and is_alive(int(path.name)):
                found.append(int(path.name))
        except (OSError, FileNotFoundError):
            continue
    return found


async def test_the_pipe_alone_ends_a_process_whose_parent_dies() -> None:
    """`watch_pipe` without the kernel's help: for what is not our direct child."""
    reading, writing = os.pipe()
    source = "import time, liteio_runtime.leash as leash; leash.watch_pipe(); print('up', flush=True); time.sleep(60)"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        source,
        env={**os.environ, "LITEIO_LEASH_FD": str(reading)},
        pass_fds=(reading,),
        stdout=asyncio.subprocess.PIPE,
    )
    os.close(reading)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"up\n"
    os.close(writing)
    async with asyncio.timeout(5):
        assert await process.wait() == -signal.SIGKILL
