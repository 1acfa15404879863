"""What the client modules share: the store they talk to, a tree of files, and running a program in clean order."""

import hashlib
import os
import random
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from tests.clients.report import Uses, version_in
from tests.support.client_env import ClientMissing, client_environment
from tests.support.paths import REPOSITORY
from tests.support.server import ACCESS_KEY, REGION, SECRET_KEY, Server

MIB: Final = 1024 * 1024
PROGRAMS: Final = REPOSITORY / "tests" / "clients" / "programs"
COMMAND_SECONDS: Final = 100

# Names that have been stumbled over: spaces, plus, percent, non-ASCII, quotes, deep folders, a dot first.
# Sizes on both sides of what is stored inline, of a 1 MiB block, and of the 5 MiB and 8 MiB at which clients cut.
TREE: Final[Mapping[str, int]] = {
    "empty": 0,
    "one": 1,
    "a space + plus.txt": 1_000,
    "100% of it": 70_000,
    "ünï/cödé/文.bin": 300_000,
    "quote's & <angle>": 12_345,
    ".hidden/deep/er/still": MIB,
    "block and one": MIB + 1,
    "big/seventeen": 17 * MIB + 17,
}


@dataclass(frozen=True, slots=True)
class Store:
    """A running server, as clients see it."""

    server: Server
    scheme: str

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    @property
    def ca(self) -> str:
        """The CA's file, "" on http."""
        return str(self.server.tls.ca) if self.server.tls else ""


@dataclass
class Runner:
    """Runs a client's programs with nothing of the caller's surroundings."""

    client: str
    store: Store
    home: Path
    uses: Uses
    variables: Mapping[str, str]

    def run(self, *command: str | Path, expect: int = 0, stdin: bytes = b"", extra: Mapping[str, str] = {}) -> str:
        """Standard output. Raises AssertionError with all output when the exit code is another."""
        done = self._done(command, stdin, extra)
        assert done.returncode == expect, _described(command, done)
        return done.stdout.decode(errors="replace")

    def run_bytes(self, *command: str | Path) -> bytes:
        done = self._done(command, b"", {})
        assert done.returncode == 0, _described(command, done)
        return done.stdout

    def program(self, python: Path, name: str, *arguments: str | Path) -> None:
        """Run programs/<name>.py, which works with a Python library and prints its version and a line for each work."""
        store = self.store
        fixed = (store.url, ACCESS_KEY, SECRET_KEY, store.ca)
        lines = self.run(
            python, "-W", "error::ResourceWarning", PROGRAMS / f"{name}.py", *fixed, *arguments
        ).splitlines()
        assert len(lines) > 1, f"{name}.py did nothing: {lines}"
        self.did(lines[0], *lines[1:])

    def did(self, version: str, *works: str) -> None:
        """Note for the table that all this went right."""
        self.uses.note(self.client, version_in(version), self.store.scheme, works)

    def _done(
        self, command: Sequence[str | Path], stdin: bytes, extra: Mapping[str, str]
    ) -> "subprocess.CompletedProcess[bytes]":
        environment = client_environment(self.home, {**self.variables, **extra})
        return subprocess.run(
            [str(word) for word in command],
            cwd=self.home,
            env=environment,
            input=stdin,
            capture_output=True,
            timeout=COMMAND_SECONDS,
        )


def aws_variables(store: Store) -> dict[str, str]:
    """How most clients take credentials. The CA only where the client is known to read it."""
    return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_DEFAULT_REGION": REGION}


def have(get: Callable[[], Path]) -> Path:
    """The client, or a skip that is printed and counted. As root only mc without Go may be missing: everything else can
    be installed, so its absence is a failure."""
    try:
        return get()
    except ClientMissing as missing:
        if os.getuid() == 0 and "Go" not in str(missing):
            pytest.fail(f"as root every client can be had: {missing}")
        pytest.skip(f"client missing: {missing}")


def make_tree(folder: Path, seed: int = 1) -> dict[str, str]:
    """Write TREE into `folder`. SHA-256 by relative name."""
    for number, (name, size) in enumerate(TREE.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.Random(seed * 1000 + number).randbytes(size))
    return hashes_of(folder)


def hashes_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below, by relative name."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _described(command: Sequence[str | Path], done: "subprocess.CompletedProcess[bytes]") -> str:
    output = (done.stdout[-3000:] + done.stderr[-5000:]).decode(errors="replace")
    return f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{output}"
