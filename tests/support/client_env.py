"""Each client in an environment of its own, under the git-ignored `.clients/`, made once and kept.

They can not share one: s3fs, the aws cli and boto3 pin botocores that exclude each other, and resolvers then fall back
to releases years old without a word. Python packages come from hashed requirement files beside the tests, restic from
Debian's package (unpacked here, not installed), mc is built where Go is present.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from tests.support.paths import BIN, CLIENTS, REPOSITORY

REQUIREMENTS: Final = REPOSITORY / "tests" / "clients" / "requirements"
MC_MODULE: Final = "github.com/minio/mc@v0.0.0-20250313080218-cf909e1063a9"
INSTALL_SECONDS: Final = 900
_KEPT_VARIABLES: Final = ("PATH", "LANG", "TMPDIR")


class ClientMissing(Exception):
    """The client can not be had here. The text says why."""


def client_environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a client's process gets: no credentials, CA bundles or proxies of whoever runs the tests. AWS_CA_BUNDLE and
    its like break Go clients, and a profile in ~/.aws would sign for somebody else."""
    home.mkdir(parents=True, exist_ok=True)
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return {**kept, "HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true", **(extra or {})}


@cache
def python_client(name: str) -> Path:
    """The `bin` folder of the environment made from requirements/<name>.txt. Raises ClientMissing."""
    wanted = REQUIREMENTS / f"{name}.txt"
    folder = CLIENTS / name
    stamp_text = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()
    with _making(folder, stamp_text) as is_needed:
        if is_needed:
            _make_environment(folder, wanted)
    return folder / "bin"


@cache
def restic() -> Path:
    """The program restic, from Debian's package. Raises ClientMissing."""
    folder = CLIENTS / "restic"
    with _making(folder, "debian") as is_needed:
        if is_needed:
            if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
                raise ClientMissing("restic comes from Debian's package, and this is no Debian")
            folder.mkdir(parents=True)
            try:
                _run(["apt-get", "download", "-qq", "restic"], folder)
            except ClientMissing:
                if os.getuid() != 0:
                    raise
                _run(["apt-get", "update", "-qq"], folder)  # a new machine's lists are empty
                _run(["apt-get", "download", "-qq", "restic"], folder)
            (package,) = folder.glob("*.deb")
            _run(["dpkg-deb", "-x", str(package), "."], folder)
    return folder / "usr" / "bin" / "restic"


@cache
def mc() -> Path:
    """MinIO's client, built from its Go module. Raises ClientMissing where there is no Go."""
    if shutil.which("go") is None:
        raise ClientMissing("mc is built with Go, and there is none here")
    folder = CLIENTS / "mc"
    with _making(folder, MC_MODULE) as is_needed:
        if is_needed:
            folder.mkdir(parents=True)
            extra = {"GOBIN": str(folder / "bin"), "GOMAXPROCS": "2"}
            _run(["go", "install", MC_MODULE], folder, {**os.environ, **extra})
    return folder / "bin" / "mc"


@contextmanager
def _making(folder: Path, stamp_text: str) -> Iterator[bool]:
    """Whether `folder` must be made; one process at a time, and what was begun but not finished is begun again."""
    CLIENTS.mkdir(exist_ok=True)
    stamp = folder / "stamp"
    with (CLIENTS / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        is_needed = not stamp.exists() or stamp.read_text(encoding="utf-8") != stamp_text
        if is_needed:
            shutil.rmtree(folder, ignore_errors=True)
        yield is_needed
        if is_needed:
            stamp.write_text(stamp_text, encoding="utf-8")


def _make_environment(folder: Path, wanted: Path) -> None:
    uv = shutil.which("uv", path=f"{BIN}:{os.environ.get('PATH', '')}")
    if uv:
        _run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], CLIENTS)
        python = str(folder / "bin" / "python")
        _run([uv, "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", str(wanted)], CLIENTS)
    else:
        _run([sys.executable, "-m", "venv", str(folder)], CLIENTS)
        _run([str(folder / "bin" / "pip"), "install", "--quiet", "--require-hashes", "-r", str(wanted)], CLIENTS)


def _run(command: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
    try:
        subprocess.run(
            command, cwd=folder, env=environment, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS
        )
    except subprocess.CalledProcessError as failed:
        raise ClientMissing(f"{' '.join(command)}: {failed.stderr.strip()[-2000:]}") from None
    except subprocess.TimeoutExpired:
        raise ClientMissing(f"{' '.join(command)}: not done within {INSTALL_SECONDS} s") from None
