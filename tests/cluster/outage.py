"""What is done around the loss of a node: objects that are kept in a ledger, drives that must look alike again."""

import hashlib
import random
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import apsw

from liteio_drives.drive_format import read_format
from liteio_drives.files import RealFiles

BUCKET: Final = "photos"
HEAL_SECONDS: Final = 120.0
_COUNTED: Final = ("records", "tombstones", "unsettled")


class Ledger:
    """What was acknowledged: each key's hash, or None for a deleted one. `clients` take turns."""

    def __init__(self, *clients: Any) -> None:
        self._clients = clients
        self._turn = 0
        self._random = random.Random(20_26)
        self.hashes: dict[str, str | None] = {}

    @property
    def alive(self) -> dict[str, str]:
        return {key: known for key, known in self.hashes.items() if known is not None}

    def put(self, key: str, size_bytes: int) -> None:
        body = self._random.randbytes(size_bytes)
        self._next().put_object(Bucket=BUCKET, Key=key, Body=body)
        self.hashes[key] = hashlib.sha256(body).hexdigest()

    def delete(self, key: str) -> None:
        self._next().delete_object(Bucket=BUCKET, Key=key)
        self.hashes[key] = None

    def check(self) -> None:
        """Every key reads as it was acknowledged, and the listing holds just these."""
        alive = self.alive
        read = {key: hashlib.sha256(self._get(key)).hexdigest() for key in alive}
        assert read == alive
        pages = self._next().get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        assert {one["Key"] for page in pages for one in page.get("Contents", [])} == set(alive)

    def store_some(self, prefix: str) -> None:
        """Small ones, which live in the index, and some of several blocks, which have files."""
        for number in range(40):
            self.put(f"{prefix}/small/{number}", 4096 + number)
        for number in range(4):
            self.put(f"{prefix}/large/{number}", 5 * 2**20 + number)

    def _get(self, key: str) -> bytes:
        body: bytes = self._next().get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return body

    def _next(self) -> Any:
        self._turn += 1
        return self._clients[self._turn % len(self._clients)]


def look_alike(drives: Sequence[Path]) -> bool:
    """Whether all drives hold as many rows, nothing is unsettled, and none is being rebuilt: the sign to stop and look
    closely."""
    try:
        found = [_state(drive) for drive in drives]
    except apsw.Error:  # a wiped drive has no index yet
        return False
    return all(one == found[0] and one["unsettled"] == 0 and one["authoritative"] == 1 for one in found)


def wipe(drive: Path) -> None:
    """As a disk that was exchanged: the drive's folder stays, empty and its owner's."""
    for one in drive.iterdir():
        shutil.rmtree(one) if one.is_dir() else one.unlink()


def in_slot_order(drives: Sequence[Path]) -> list[Path]:
    def slot_of(drive: Path) -> int:
        found = read_format(str(drive), RealFiles())
        assert found is not None, f"{drive} is not formatted"
        return found.slot

    return sorted(drives, key=slot_of)


def wait_until(holds: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """Raises AssertionError after so long."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"{otherwise} after {seconds} s"
        time.sleep(0.5)


def _state(drive: Path) -> dict[str, int]:
    """How many rows _COUNTED have, and whether the drive counts, read beside the running node."""
    index = apsw.Connection(str(drive / ".liteio.sys" / "index.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        index.set_busy_timeout(5000)
        state = {table: len(index.execute(f"SELECT 1 FROM {table}").fetchall()) for table in _COUNTED}
        return state | {"authoritative": len(index.execute("SELECT 1 FROM meta WHERE authoritative = 1").fetchall())}
    finally:
        index.close()
