"""The lines of the table: what is asked of each server, how big it is, and what liteio wants to reach beside MinIO."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from tests.bench.credentials import ACCESS_KEY, SECRET_KEY
from tests.bench.load import DELETED_TOGETHER, Load

PROCESSES: Final = 2
BUCKET: Final = "bench"
LISTED: Final = "bench-listed"
VERSIONED: Final = "bench-versioned"
_UNBOUNDED: Final = 1 << 40

SMALL_BYTES: Final = 4096
MEDIUM_BYTES: Final = 1 << 20
LARGE_BYTES: Final = 64 << 20
LISTED_BYTES: Final = 16
VERSIONS_FILL: Final = "versions of one key"


@dataclass(frozen=True, slots=True)
class Line:
    """`goal` is liteio's operations a second as times MinIO's."""

    name: str
    operation: str  # of tests.bench.load
    size_bytes: int
    goal: float

    @property
    def is_large(self) -> bool:
        return self.size_bytes == LARGE_BYTES


LINES: Final = (
    Line("PUT 4 KiB", "PUT", SMALL_BYTES, 3.0),
    Line("GET 4 KiB", "GET", SMALL_BYTES, 1.5),
    Line("STAT 4 KiB", "HEAD", SMALL_BYTES, 1.5),
    Line("mixed 4 KiB", "MIXED", SMALL_BYTES, 3.0),
    Line("DELETE 4 KiB", "DELETE", SMALL_BYTES, 3.0),
    Line(f"DELETE 4 KiB, {DELETED_TOGETHER} keys a request", "DELETE_MANY", SMALL_BYTES, 3.0),
    Line("LIST 1,000 keys a page", "LIST", 0, 5.0),
    Line("versioned PUT 4 KiB to one key", "PUT_VERSION", SMALL_BYTES, 5.0),
    Line("PUT 1 MiB", "PUT", MEDIUM_BYTES, 1.2),
    Line("GET 1 MiB", "GET", MEDIUM_BYTES, 1.2),
    Line("multipart PUT 64 MiB", "MULTIPART", LARGE_BYTES, 1.0),
    Line("GET 64 MiB", "GET", LARGE_BYTES, 1.0),
)
MEMORY_GOAL: Final = 1.0
"""liteio's peak over all lines, as times MinIO's, at most."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is done. Counts of keys are of all processes together; `fill_seconds` bounds the filling with versions,
    which takes longer the more there are. `minutes`: no round is begun that would go beyond."""

    rounds: int
    seconds: float
    clients: int
    large_clients: int
    small_keys: int
    listed_keys: int
    versions: int
    fill_seconds: float
    medium_keys: int
    large_keys: int
    minutes: float


FULL: Final = Scale(5, 5.0, 20, 20, 4000, 100_000, 10_000, 60.0, 100, 20, 60.0)
QUICK: Final = Scale(1, 2.0, 20, 4, 1000, 3000, 500, 5.0, 20, 4, 5.0)


def select_lines(only: str) -> list[Line]:
    """Those whose name has one of the words between commas in it; all for "". Raises ValueError for an unknown word."""
    words = [word.strip().lower() for word in only.split(",") if word.strip()]
    for word in words:
        if not any(word in line.name.lower() for line in LINES):
            raise ValueError(f"no line is called {word!r}; there are: {', '.join(line.name for line in LINES)}")
    return [line for line in LINES if not words or any(word in line.name.lower() for word in words)]


def loads_of(line: Line, scale: Scale, port: int, round_number: int, made: list[int]) -> list[Load]:
    """One load a process. `made`: how many keys there are in each for a line that deletes them, from the round's PUT of
    small objects, or by `puts_before`."""
    clients = (scale.large_clients if line.is_large else scale.clients) // PROCESSES
    bucket, prefix, keys = BUCKET, "small/{}/", scale.small_keys // PROCESSES
    counts = [_UNBOUNDED] * PROCESSES
    if line.operation == "LIST":
        bucket = LISTED
    elif line.operation == "PUT_VERSION":
        bucket, prefix = VERSIONED, "many"
    elif line.size_bytes == MEDIUM_BYTES:
        prefix, keys = "medium/{}/", scale.medium_keys // PROCESSES
    elif line.is_large:
        prefix, keys = "large/{}/", scale.large_keys // PROCESSES
    elif line.operation in ("PUT", "DELETE"):
        prefix, keys = f"made/{round_number}/{{}}/", 0
        counts = made if line.operation == "DELETE" else counts
    elif line.operation == "DELETE_MANY":
        prefix, keys, counts = _many(round_number), 0, [count // DELETED_TOGETHER for count in made]
    return _loads(port, bucket, line.operation, prefix, counts, clients, line.size_bytes, scale.seconds, keys)


def puts_before(line: Line, scale: Scale, port: int, round_number: int) -> list[Load]:
    """What makes the keys that the line deletes, and that nothing else made in the round."""
    loads = loads_of(replace(line, operation="PUT"), scale, port, round_number, [])
    if line.operation == "DELETE_MANY":
        prefix, seconds = _many(round_number), 2 * scale.seconds
        loads = [replace(load, prefix=prefix.format(at), seconds=seconds) for at, load in enumerate(loads)]
    return loads


def _many(round_number: int) -> str:
    return f"many/{round_number}/{{}}/"


def _loads(
    port: int,
    bucket: str,
    operation: str,
    prefix: str,
    counts: Sequence[int],
    clients: int,
    size_bytes: int,
    seconds: float = 0.0,
    keys: int = 0,
) -> list[Load]:
    """One a process, of so many clients each; `{}` in `prefix` stands for its number."""
    key = ("127.0.0.1", port, ACCESS_KEY, SECRET_KEY, bucket, operation)
    return [
        Load(*key, prefix.format(process), count, clients, size_bytes, seconds, keys)
        for process, count in enumerate(counts)
    ]


def fills_of(lines: Sequence[Line], scale: Scale, port: int) -> dict[str, list[Load]]:
    """What must be there before the lines are measured, by what it is called: one load a process."""
    operations = {line.operation for line in lines}
    sizes = {line.size_bytes for line in lines if line.operation not in ("LIST", "PUT_VERSION")}

    def fill(bucket: str, operation: str, prefix: str, keys: int, size_bytes: int, clients: int = 0) -> list[Load]:
        each = (clients or scale.clients) // PROCESSES
        return _loads(port, bucket, operation, prefix, [keys // PROCESSES] * PROCESSES, each, size_bytes)

    buckets = [BUCKET] + [LISTED] * ("LIST" in operations) + [VERSIONED] * ("PUT_VERSION" in operations)
    found = {f"bucket {bucket}": fill(bucket, "BUCKET", "", 1, 0)[:1] for bucket in buckets}
    found = {name: [replace(load, count=1, clients=1) for load in loads] for name, loads in found.items()}
    if "PUT_VERSION" in operations:
        found["versioning"] = [replace(fill(VERSIONED, "VERSIONING", "", 1, 0)[0], count=1, clients=1)]
    found["small objects"] = fill(BUCKET, "PUT", "small/{}/", scale.small_keys, SMALL_BYTES)
    if MEDIUM_BYTES in sizes:
        found["objects of 1 MiB"] = fill(BUCKET, "PUT", "medium/{}/", scale.medium_keys, MEDIUM_BYTES)
    if LARGE_BYTES in sizes:
        found["objects of 64 MiB"] = fill(
            BUCKET, "MULTIPART", "large/{}/", scale.large_keys, LARGE_BYTES, scale.large_clients
        )
    if "LIST" in operations:
        found["keys to list"] = fill(LISTED, "PUT", "{}/", scale.listed_keys, LISTED_BYTES)
    if "PUT_VERSION" in operations:
        versions = fill(VERSIONED, "PUT_VERSION", "many", scale.versions, SMALL_BYTES)
        found[VERSIONS_FILL] = [replace(load, seconds=scale.fill_seconds) for load in versions]
    return found
