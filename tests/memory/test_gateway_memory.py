"""A gateway worker stays small, whatever its clients do: one worker takes all of them, so nothing is shared out."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from typing import Final

import pytest
from tests.memory.pss import MIB, Peaks, cpu_seconds_of, watched
from tests.memory.streams import Stream
from tests.support.paths import IS_PROOF
from tests.support.processes import is_alive
from tests.support.s3_client import S3Client
from tests.support.server import Server, running_server

BUCKET: Final = "memory"
CLIENTS: Final = 8
OBJECT_BYTES: Final = (1024 if IS_PROOF else 96) * MIB
WORKER_BYTES_MAX: Final = 200 * MIB
SLOW_READERS: Final = 3
SLOW_BYTES_A_SECOND: Final = MIB
SLOW_SECONDS: Final = 60.0 if IS_PROOF else 8.0
# Fills the page caches of the drives' indexes: small objects lie in them, half of each on every drive.
SMALL_OBJECTS: Final = 4_000 if IS_PROOF else 1_200
SMALL_BYTES: Final = 120 * 1024


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.timeout(1800 if IS_PROOF else 240)
def test_a_worker_stays_under_its_limit(scheme: str) -> None:
    with running_server(drive_count=4, parity=2, is_https=scheme == "https", workers=1, nats="off") as server:
        (worker,) = server.find("gateway")
        with closing(S3Client(server)) as s3:
            s3.create_bucket(BUCKET)
        with ExitStack() as stack, watched(lambda: [worker.pid]) as peaks:
            streams = [stack.enter_context(closing(Stream(server, n, BUCKET, OBJECT_BYTES))) for n in range(CLIENTS)]
            for name, works in phases(server, streams):
                peaks.phase = name
                at_once(works)
        cpu_seconds = cpu_seconds_of(worker.pid)
        assert is_alive(worker), "the worker that was measured did not live to the end"
    retries = sum(one.retries for one in streams)
    load = f"{CLIENTS} clients, {OBJECT_BYTES // MIB} MiB objects, {SLOW_READERS} slow readers, {scheme}"
    print(f"{load}: {peaks}, {retries} retries, {cpu_seconds:.0f} s of processor time")
    assert_small(peaks)


def phases(server: Server, streams: list[Stream]) -> Iterator[tuple[str, list[Callable[[], object]]]]:
    """What all clients do at once, one after the other."""
    yield "small objects", [partial(small_objects, server, n) for n in range(CLIENTS)]
    yield "upload", [one.upload_chunked if index % 2 else one.upload for index, one in enumerate(streams)]
    yield "download", [one.download for one in streams]
    slow = [partial(read_slowly, one) for one in streams[:SLOW_READERS]]
    rest = streams[SLOW_READERS:]
    half = len(rest) // 2
    yield (
        "mixed with slow readers",
        [*slow, *(one.upload for one in rest[:half]), *(one.download for one in rest[half:])],
    )


def small_objects(server: Server, number: int) -> None:
    with closing(S3Client(server)) as s3:
        for index in range(SMALL_OBJECTS // CLIENTS):
            assert s3.put(BUCKET, f"small/{number}/{index}", bytes([number]) * SMALL_BYTES).is_success
            assert s3.get(BUCKET, f"small/{number}/{index}").body == bytes([number]) * SMALL_BYTES


def read_slowly(stream: Stream) -> None:
    received = stream.download_slowly(SLOW_BYTES_A_SECOND, SLOW_SECONDS)
    wanted = min(stream.size_bytes, SLOW_BYTES_A_SECOND * SLOW_SECONDS)
    assert received >= wanted / 2, f"a slow reader got {received} bytes in {SLOW_SECONDS} s: it was starved"


def at_once(works: list[Callable[[], object]]) -> None:
    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(work) for work in works]:
            done.result()


def assert_small(peaks: Peaks) -> None:
    assert peaks.samples > 20, "too few samples to say anything"
    assert max(peaks.by_pid.values()) < WORKER_BYTES_MAX, str(peaks)
