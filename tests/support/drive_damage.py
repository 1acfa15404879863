"""Ways to lose a drive: removed, emptied, corrupted, hung."""

import fcntl
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_INDEX: Final = Path(".liteio.sys") / "index.db"
_LOCK: Final = Path(".liteio.sys") / "index.lock"
PAGE_BYTES: Final = 4096
_EMPTY_TRIES: Final = 10


def shard_files(drive: Path) -> list[Path]:
    return sorted(path for path in (drive / "data").rglob("*") if path.is_file())


def remove(drive: Path) -> None:
    """Gone from its place; `bring_back` undoes it."""
    drive.rename(_aside(drive))


def bring_back(drive: Path) -> None:
    """With what it held when it went."""
    if drive.exists():
        shutil.rmtree(drive)
    _aside(drive).rename(drive)


def empty(drive: Path) -> None:
    """A new disk in the place of the old one. Whoever serves it may make a file meanwhile, in a folder that is being
    removed: then once more."""
    for path in drive.iterdir():
        if not path.is_dir():
            path.unlink()
            continue
        for _ in range(_EMPTY_TRIES):
            shutil.rmtree(path, ignore_errors=True)
            if not path.exists():
                break
        else:
            shutil.rmtree(path)


def corrupt_shards(drive: Path, chance: random.Random) -> None:
    """Flip a bit of every shard file: in the data, in the hashes, or anywhere."""
    files = shard_files(drive)
    assert files, f"{drive} has no shard file to corrupt"
    for path in files:
        content = bytearray(path.read_bytes())
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)


def corrupt_rows(drive: Path, chance: random.Random) -> None:
    """Garbage in the pages that hold the index's rows; its header stays, so that it opens."""
    path = drive / _INDEX
    content = bytearray(path.read_bytes())
    pages = len(content) // PAGE_BYTES
    assert pages > 8, f"{path} has only {pages} pages"
    for page in chance.sample(range(2, pages), pages // 2):
        content[page * PAGE_BYTES : page * PAGE_BYTES + 512] = chance.randbytes(512)
    path.write_bytes(content)


def corrupt_index(drive: Path, chance: random.Random) -> None:
    """The index is no longer one."""
    (drive / _INDEX).write_bytes(chance.randbytes(64 * 1024))


def cut_index(drive: Path, chance: random.Random) -> None:
    """Cut off somewhere in its first page, or empty, as a lost write leaves it."""
    os.truncate(drive / _INDEX, chance.choice([0, 100, PAGE_BYTES]))


@contextmanager
def hung(*drives: Path) -> Iterator[None]:
    """Writes to the drive wait for a lock that is never given, and shards are opened but never read: each shard file is
    a FIFO without a writer. Undone at the end. Rows can still be read: they are in the server's own cache."""
    locks = [os.open(drive / _LOCK, os.O_RDWR) for drive in drives]
    moved = [path for drive in drives for path in shard_files(drive)]
    try:
        for lock in locks:
            fcntl.flock(lock, fcntl.LOCK_EX)
        for path in moved:
            path.rename(path.with_suffix(".aside"))
            os.mkfifo(path)
        yield
    finally:
        for path in moved:
            # Whoever waits to read it is let go with an end of file.
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                pass  # nobody waits
            path.with_suffix(".aside").replace(path)
        for lock in locks:
            os.close(lock)


def _aside(drive: Path) -> Path:
    return drive.with_name(drive.name + ".aside")
