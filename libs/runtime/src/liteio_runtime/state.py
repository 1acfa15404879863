"""The state folder: what belongs to this machine and to no object.

<state>/server.lock        held by the one `liteio server` that uses this folder
<state>/root-credentials   LITEIO_ACCESS_KEY=… and LITEIO_SECRET_KEY=… lines, mode 0600; made on the first start
<state>/nats/              configuration, port and JetStream files of our own bus
"""

import fcntl
import os
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from liteio_runtime.problems import Problem, StartRefused

CREDENTIALS_NAME: Final = "root-credentials"
_ACCESS_KEY_SIGNS: Final = string.ascii_uppercase + string.digits
_ACCESS_KEY_LENGTH: Final = 20  # as long as AWS's: clients have been seen to check
_SECRET_BYTES: Final = 30  # 40 characters of base64, as AWS's


@dataclass(frozen=True, slots=True)
class RootCredentials:
    """`is_new`: made just now, to be shown once."""

    access_key: str
    secret_key: str = field(repr=False)
    is_new: bool = False


class StateFolder:
    """An open state folder, locked against a second server. Raises StartRefused when that is not possible."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            (path / "nats").mkdir(mode=0o700, exist_ok=True)
            self._lock = os.open(path / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as problem:
            raise StartRefused([_not_writable(path, problem)]) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._lock, 32, 0).decode(errors="replace").strip()
            os.close(self._lock)
            what = f"another liteio server uses this folder (process {owner or 'unknown'})"
            raise StartRefused([Problem(what, str(path), "stop it, or give this one its own --state")]) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        os.close(self._lock)

    @property
    def nats_path(self) -> Path:
        return self.path / "nats"

    def root_credentials(self, drives: Sequence[str] = ()) -> RootCredentials:
        """Those of the folder, else a copy on one of the drives (the folder was on a drive that was replaced); made
        and kept when there are none. Raises StartRefused when a file is damaged."""
        path = self.path / CREDENTIALS_NAME
        for place in (path, *(_copy_on(drive) for drive in drives)):
            try:
                text = place.read_text(encoding="utf-8")
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as problem:
                remedy = f"make it readable for uid {os.getuid()}"
                raise StartRefused([Problem(problem.strerror or str(problem), str(place), remedy)]) from None
            found = _parse_credentials(place, text)
            if place != path:
                write_private(path, text)
            return found
        access_key = "".join(secrets.choice(_ACCESS_KEY_SIGNS) for _ in range(_ACCESS_KEY_LENGTH))
        made = RootCredentials(access_key, secrets.token_urlsafe(_SECRET_BYTES), is_new=True)
        write_private(path, f"LITEIO_ACCESS_KEY={made.access_key}\nLITEIO_SECRET_KEY={made.secret_key}\n")
        return made

    def spread_credentials(self, drives: Sequence[str]) -> None:
        """Leave a copy on every formatted drive that has none, so that no single drive's loss changes the root user's
        secret. A drive in trouble is passed by: the next start tries again."""
        text = (self.path / CREDENTIALS_NAME).read_text(encoding="utf-8")
        for place in map(_copy_on, drives):
            try:
                if (place.parent / "format.json").exists() and not place.exists():
                    write_private(place, text)
            except OSError:
                continue


def write_private(path: Path, text: str) -> None:
    """As `write_whole`, readable by its owner only."""
    write_whole(path, text, 0o600)


def write_whole(path: Path, text: str, mode: int) -> None:
    """Put `text` under `path`, whole and durable or not at all, with the rights `mode` whatever the umask."""
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    beside.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _copy_on(drive: str) -> Path:
    return Path(drive) / ".liteio.sys" / CREDENTIALS_NAME


def _parse_credentials(path: Path, text: str) -> RootCredentials:
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    try:
        return RootCredentials(values["LITEIO_ACCESS_KEY"], values["LITEIO_SECRET_KEY"])
    except KeyError as missing:
        remedy = "restore the file, or remove it to have new credentials made"
        raise StartRefused([Problem(f"{missing} is missing", str(path), remedy)]) from None


def _not_writable(path: Path, problem: OSError) -> Problem:
    remedy = f"make it writable for uid {os.getuid()}: chown {os.getuid()} {path}"
    return Problem(f"{problem.strerror} ({problem.filename})", str(path), remedy)
