"""What this machine can do at most, measured in the same run: disk, hashes, coding and HTTP, each alone."""

import hashlib
import mmap
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tests.bench.lines import PROCESSES, SMALL_BYTES
from tests.bench.load import Load, merged, run_loads
from tests.bench.servers import Server, ports_for_server, running

from liteio_base.ids import DataId
from liteio_erasure.bitrot import hash_block
from liteio_erasure.code import CodeParams
from liteio_erasure.codec import codec_for

_BLOCK_BYTES: Final = 1 << 20
_FILE_BYTES: Final = 256 << 20
_CODE: Final = CodeParams(2, 2)
_DATA_ID: Final = DataId("0" * 32)


@dataclass(frozen=True, slots=True)
class Limit:
    """`unit` says what `figure` counts a second."""

    name: str
    figure: float
    unit: str


async def measure_limits(folder: Path, seconds: float) -> list[Limit]:
    """`folder` lies on the disk of the servers' drives; each takes about `seconds`."""
    return [*_disk(folder, seconds), *_computing(seconds), *[limit async for limit in _http(folder, seconds)]]


def _disk(folder: Path, seconds: float) -> Iterator[Limit]:
    path = folder / "limit"
    with mmap.mmap(-1, _BLOCK_BYTES) as block:  # anonymous memory begins at a page, as O_DIRECT wants it
        block.write(os.urandom(_BLOCK_BYTES))
        try:
            with _opened(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT) as file:

                def write(number: int) -> None:
                    os.pwrite(file, block, number * _BLOCK_BYTES % _FILE_BYTES)

                os.posix_fallocate(file, 0, _FILE_BYTES)
                rate = _rate(write, seconds, finish=lambda: os.fdatasync(file))
                yield Limit("disk, write by direct I/O, blocks of 1 MiB", rate, "MiB")
            with _opened(path, os.O_RDONLY | os.O_DIRECT) as file:

                def read(number: int) -> None:
                    os.preadv(file, [block], number * _BLOCK_BYTES % _FILE_BYTES)

                yield Limit("disk, read by direct I/O, blocks of 1 MiB", _rate(read, seconds), "MiB")
            with _opened(path, os.O_WRONLY) as file:

                def sync(number: int) -> None:
                    os.pwrite(file, b"s" * SMALL_BYTES, number * SMALL_BYTES % _FILE_BYTES)
                    os.fdatasync(file)

                yield Limit("disk, 4 KiB written and synced (fdatasync), one after the other", _rate(sync, seconds), "")
        finally:
            path.unlink(missing_ok=True)


def _computing(seconds: float) -> Iterator[Limit]:
    step: Callable[[int], object]
    block = os.urandom(_BLOCK_BYTES)
    shard = block[: _CODE.shard_bytes(_BLOCK_BYTES)]
    codec = codec_for(_CODE)
    share_of_shard = len(shard) / _BLOCK_BYTES
    for name, step, share in (
        ("MD5", lambda number: hashlib.md5(block).digest(), 1.0),
        ("erasure coding 2+2, blocks of 1 MiB", lambda number: codec.encode(block), 1.0),
        ("HighwayHash-256 of shards", lambda number: hash_block(shard, _DATA_ID, 1, 0, number), share_of_shard),
    ):
        # By processor time: what else runs on the machine takes nothing from it.
        yield Limit(f"{name}, one core", _rate(step, seconds, clock=time.process_time) * share, "MiB")


async def _http(folder: Path, seconds: float) -> AsyncIterator[Limit]:
    """A bare application under the HTTP server that liteio's gateways use, answering the load generator."""
    ports = ports_for_server()
    with running(_BARE, folder, ports):
        loads = [
            Load("127.0.0.1", ports[0], "-", "-", "bare", "GET", "", 1 << 40, 20 // PROCESSES, SMALL_BYTES, seconds)
            for _ in range(PROCESSES)
        ]
        result = merged(await run_loads(loads))
    operations = result.operations
    yield Limit("HTTP on loopback: 4 KiB from a bare application to this load", operations / result.seconds, "")
    yield Limit("4 KiB that this load can ask for and receive, one core", operations / result.cpu_seconds, "")


def _bare_command(folder: Path, ports: Sequence[int]) -> list[str]:
    workers = str(len(os.sched_getaffinity(0)))
    command = [sys.executable, "-m", "uvicorn", "tests.bench.bare_http:app", "--port", str(ports[0])]
    return [*command, "--workers", workers, "--no-access-log", "--log-level", "error"]


_BARE: Final = Server("bare", "a bare application", "Answers 4 KiB.", _bare_command, lambda: version("uvicorn"))


def _rate(
    step: Callable[[int], object],
    seconds: float,
    *,
    finish: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Steps a second of `clock`, each given its number, for about `seconds`; `finish` is a part of the time."""
    end, began, count = time.perf_counter() + seconds, clock(), 0
    while time.perf_counter() < end:
        step(count)
        count += 1
    finish()
    return count / max(clock() - began, 1e-9)


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    file = os.open(path, flags, 0o600)
    try:
        yield file
    finally:
        os.close(file)
