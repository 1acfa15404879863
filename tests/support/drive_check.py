"""A look into the drives themselves, past the object layer: what is unsettled, what is not whole, what nobody names."""

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_base.ids import SYSTEM_BUCKET, VersionId
from liteio_contracts.storage import KeyName, KeyQuery, StorageAPI
from liteio_drives.format_rules import Layout
from liteio_drives.format_set import OpenedDrives, open_drives
from liteio_drives.limits import DriveSettings
from liteio_formats.record import Kind, Space, decode_record
from liteio_testkit.drive_census import take_census

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class DriveReport:
    """Of all drives: what is left unsettled, which drives do not count, what is not whole on all, and unnamed files.
    `values` are the clients' own: what the store keeps for itself is checked and not counted."""

    unsettled: int
    unreliable: tuple[str, ...]
    not_whole: tuple[str, ...]
    unnamed: tuple[str, ...]
    values: int

    def __str__(self) -> str:
        lines = [f"{self.unsettled} unsettled, {self.values} values", *self.unreliable, *self.not_whole[:10]]
        return "\n".join([*lines, *self.unnamed[:10]])

    @property
    def is_clean(self) -> bool:
        return not (self.unsettled or self.unreliable or self.not_whole or self.unnamed)


def check_drives(paths: Sequence[Path], parity: int, *, collects: bool = True) -> DriveReport:
    """Read and hash everything. The server must be stopped. `collects`: first let the drives remove what nothing names
    without the hour's grace that they give to writers, which are all gone."""
    return asyncio.run(_check(paths, parity, collects))


def count_unsettled(paths: Sequence[Path], parity: int) -> int:
    """May be asked while the server runs: several processes may open a drive."""
    return asyncio.run(_count_unsettled(paths, parity))


def wait_settled(paths: Sequence[Path], parity: int, seconds: float) -> None:
    """Raises AssertionError when something is still unsettled after so long."""
    end = time.monotonic() + seconds
    while left := count_unsettled(paths, parity):
        assert time.monotonic() < end, f"{left} rows are still unsettled after {seconds} s"
        time.sleep(1)


def wait_authoritative(paths: Sequence[Path], parity: int, seconds: float) -> None:
    """Until every drive counts again, that is, is rebuilt. Raises AssertionError after so long."""
    end = time.monotonic() + seconds
    while unreliable := asyncio.run(_unreliable(paths, parity)):
        assert time.monotonic() < end, f"not rebuilt after {seconds} s: {unreliable}"
        time.sleep(1)


def unnamed_files(paths: Sequence[Path], parity: int) -> tuple[str, ...]:
    """Shard files that no drive's rows name. May be asked while the server runs: what is being written counts too."""
    return asyncio.run(_unnamed(paths, parity))


def wait_collected(paths: Sequence[Path], parity: int, seconds: float) -> None:
    """With nothing in flight, until no file is left that no row names. Raises AssertionError after so long."""
    end = time.monotonic() + seconds
    while left := unnamed_files(paths, parity):
        assert time.monotonic() < end, f"{len(left)} files are still named by nothing: {left[:10]}"
        time.sleep(1)


async def _unnamed(paths: Sequence[Path], parity: int) -> tuple[str, ...]:
    found = _all_shard_files(paths)  # before the rows: what is named meanwhile is named
    opened = await _open(paths, parity)
    try:
        named: set[str] = set()
        for name, version_ids in (await _versions(opened.as_storage)).items():
            for version_id in version_ids:
                named |= await _files_of(opened.as_storage, name, version_id)
    finally:
        await opened.close()
    return tuple(str(path) for path in found if path.name not in named)


async def _versions(drives: Sequence[StorageAPI]) -> dict[KeyName, list[VersionId]]:
    """Every version of every key that any drive knows of, in order."""
    names: set[KeyName] = set()
    for drive in drives:
        after: KeyName | None = None
        while page := await drive.walk(after, _PAGE, deadline=_deadline()):
            names.update(KeyName(*name) for name in page)
            after = page[-1]
    return {
        name: sorted({one for drive in drives for one in await drive.key_versions(name, deadline=_deadline())})
        for name in sorted(names)
    }


async def _unreliable(paths: Sequence[Path], parity: int) -> list[int]:
    opened = await _open(paths, parity)
    try:
        statuses = [await drive.status(deadline=_deadline()) for drive in opened.as_storage]
        return [status.slot for status in statuses if not status.is_authoritative]
    finally:
        await opened.close()


async def _open(paths: Sequence[Path], parity: int) -> OpenedDrives:
    settings = DriveSettings(orphan_grace_seconds=0, unlink_delay_seconds=0)
    clock, randomness = SystemClock(), SystemRandomness()
    layout = Layout(1, len(paths), parity)
    return await open_drives(
        [str(path) for path in paths], layout, clock=clock, randomness=randomness, settings=settings
    )


async def _count_unsettled(paths: Sequence[Path], parity: int) -> int:
    opened = await _open(paths, parity)
    try:
        statuses = [await drive.status(deadline=_deadline()) for drive in opened.as_storage]
        return sum(status.unsettled for status in statuses)
    finally:
        await opened.close()


async def _check(paths: Sequence[Path], parity: int, collects: bool) -> DriveReport:
    opened = await _open(paths, parity)
    try:
        return await report_on(opened.as_storage, paths, collects=collects)
    finally:
        await opened.close()


async def report_on(drives: Sequence[StorageAPI], paths: Sequence[Path], *, collects: bool) -> DriveReport:
    """As `check_drives`, of drives that are open; nothing may be under way."""
    if collects:
        for drive in drives:
            await drive.collect_garbage(deadline=_deadline())
    statuses = [await drive.status(deadline=_deadline()) for drive in drives]
    unreliable = tuple(
        f"{path}: {status.state} {status.reason} authoritative={status.is_authoritative}"
        for path, status in zip(paths, statuses, strict=True)
        if not status.is_authoritative or status.state != "online"
    )
    not_whole: list[str] = []
    named: set[str] = set()
    values = 0
    for name, version_ids in (await _versions(drives)).items():
        for version_id in version_ids:
            census = await take_census(drives, name, version_id, deadline=_deadline())
            held = [finding.entry for finding in census.findings if finding.entry is not None]
            if not held:
                continue  # a fence only
            if any(entry.kind is Kind.TOMBSTONE for entry in held):
                continue  # hides the version; kept for 30 days
            is_of_client = name.space is Space.OBJECT and name.bucket_id != SYSTEM_BUCKET
            values += is_of_client and held[0].kind is Kind.VALUE
            if not census.is_whole:
                not_whole.append(str(census))
            named |= await _files_of(drives, name, version_id)
    unnamed = [str(path) for path in _all_shard_files(paths) if path.name not in named]
    return DriveReport(
        sum(status.unsettled for status in statuses), unreliable, tuple(not_whole), tuple(unnamed), values
    )


async def _files_of(drives: Sequence[StorageAPI], name: KeyName, version_id: VersionId) -> set[str]:
    """The file names that any drive's rows of the version ask for."""
    files: set[str] = set()
    for drive in drives:
        answer = await drive.read_key(KeyQuery(name, (version_id,)), deadline=_deadline())
        for entry in answer.entries:
            record = decode_record(entry.encoded)
            if not record.is_inline:
                files |= {f"{part.data_id}.{part.number}" for part in record.parts}
    return files


def _all_shard_files(drives: Sequence[Path]) -> list[Path]:
    return [Path(folder) / name for drive in drives for folder, _, names in os.walk(drive / "data") for name in names]


def _deadline() -> Deadline:
    return Deadline.after(60, SystemClock())
