"""`leave`: everything that was said is out, and the interpreter is not taken apart."""

import subprocess
import sys

import pytest

ENDED_OTHERWISE = 99


def run(source: str, *, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    preamble = f"import atexit, os, sys; atexit.register(os._exit, {ENDED_OTHERWISE}); "
    preamble += "from liteio_runtime.leaving import leave; "
    command = (sys.executable, "-c", preamble + source)
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, check=False)


@pytest.mark.parametrize("code", [0, 2])
def test_it_ends_with_the_code_and_all_that_was_printed(code: int) -> None:
    done = run(f"print('told', end=''); print('why', end='', file=sys.stderr); leave({code})")
    assert (done.returncode, done.stdout, done.stderr) == (code, "told", "why")


def test_a_reader_that_went_away_does_not_matter() -> None:
    assert run("print('told'); os.close(1); leave(0)").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code"), [(("version",), 0), (("certs", "--nodes", "a b"), 2), (("nothing",), 2), (("--help",), 0)]
)
def test_every_command_ends_so(arguments: tuple[str, ...], code: int) -> None:
    done = run(f"sys.argv[1:] = {list(arguments)}; from liteio_runtime.cli import main; main()")
    assert done.returncode == code
    assert done.stdout or done.stderr
