"""`liteio inspect`: a key's records as one drive holds them, for people who look after a store. Reads only."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_base.ids import SYSTEM_BUCKET
from liteio_contracts.storage import Entry, KeyAnswer, KeyName, KeyQuery
from liteio_contracts.storage_errors import StorageError
from liteio_drives.drive_format import has_index, read_format
from liteio_drives.files import RealFiles
from liteio_drives.local_drive import LocalDrive
from liteio_formats.bodies import BucketBody, decode_bucket_body
from liteio_formats.checked_json import FormatError
from liteio_formats.format_json import DriveFormat
from liteio_formats.record import Kind, Record, RecordError, Space, decode_record
from liteio_runtime.problems import Problem, StartRefused

_READ_SECONDS: Final = 30.0
_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Inspection:
    """What one drive says. `bucket` None: it does not know the bucket."""

    drive: DriveFormat
    bucket_name: str
    key: str
    bucket: BucketBody | None
    answers: tuple[KeyAnswer, ...] = ()


async def inspect_key(path: str, bucket: str, key: str) -> Inspection:
    """Raises StartRefused when the drive can not be opened or read."""
    found = _require_format(path)
    try:
        drive = await LocalDrive.open(path, found.slot, clock=SystemClock(), randomness=SystemRandomness())
    except StorageError as problem:
        raise StartRefused([Problem(str(problem), path, "run `liteio doctor` on this machine's drives")]) from None
    try:
        return await _read(drive, bucket, key)
    except StorageError as problem:
        raise StartRefused([Problem(str(problem), path, "the other drives of the set can still answer")]) from None
    finally:
        await drive.close()


def _require_format(path: str) -> DriveFormat:
    """A drive without an index is left alone: opening it would begin its rebuild."""
    try:
        found = read_format(path, RealFiles())
    except (FormatError, OSError) as problem:
        raise StartRefused([Problem(str(problem), path, "name the folder of a drive, as --drives does")]) from None
    if found is None:
        raise StartRefused([Problem("not a drive of liteio", path, "name the folder of a drive, as --drives does")])
    if not has_index(path, RealFiles()):
        raise StartRefused([Problem("the drive has lost its index", path, "start the server: it rebuilds the drive")])
    return found


async def _read(drive: LocalDrive, bucket: str, key: str) -> Inspection:
    deadline = Deadline.after(_READ_SECONDS, SystemClock())
    bucket_name = KeyName(Space.BUCKET, SYSTEM_BUCKET, os.fsencode(bucket))
    body = None
    for entry in (await drive.read_key(KeyQuery(bucket_name), deadline=deadline)).entries:
        if entry.kind is Kind.VALUE:
            body = decode_bucket_body(decode_record(entry.encoded).body)
            break
    if body is None:
        return Inspection(drive.format, bucket, key, None)
    name = KeyName(Space.OBJECT, body.bucket_id, key.encode("utf-8", "surrogateescape"))
    versions = await drive.key_versions(name, deadline=deadline)
    answers = [
        await drive.read_key(KeyQuery(name, version_ids=(version,), wants_payload=True), deadline=deadline)
        for version in sorted(versions, reverse=True)
    ]
    return Inspection(drive.format, bucket, key, body, tuple(answers))


def render(inspection: Inspection) -> str:
    return "\n".join(_lines(inspection))


def _lines(inspection: Inspection) -> Iterator[str]:
    drive, bucket = inspection.drive, inspection.bucket
    yield f"drive     {drive.drive_id}, set {drive.set_index}, slot {drive.slot} of {drive.set_width}"
    if bucket is None:
        yield f"bucket    {inspection.bucket_name}: not known to this drive"
        return
    yield f"bucket    {inspection.bucket_name}, incarnation {bucket.bucket_id}, configuration {bucket.number}"
    yield f"key       {inspection.key}"
    if not inspection.answers:
        yield "          nothing on this drive: no row, no tombstone, no fence"
    for answer in inspection.answers:
        for entry in answer.entries:
            yield ""
            yield from _entry_lines(entry, drive.slot)
        for fence in answer.fences:
            yield ""
            yield f"fence     version {fence.version_id or 'null'} at {_time(fence.time)} will be refused"


def _entry_lines(entry: Entry, slot: int) -> Iterator[str]:
    state = "settled" if entry.is_settled else "unsettled"
    yield f"{entry.kind.name.lower().replace('_', ' '):<9} version {entry.version_id or 'null'}, {state}"
    yield f"  digest       {entry.digest.hex()}"
    try:
        record = decode_record(entry.encoded)
    except RecordError as problem:
        yield f"  damaged      {problem}"
        return
    for name, value in _facts(record, slot):
        yield f"  {name:<12} {value}"
    if entry.payload is not None:
        yield f"  inline       {len(entry.payload)} bytes of this drive's shard, hash {entry.payload_hash.hex()}"


def _facts(record: Record, slot: int) -> Iterator[tuple[str, Any]]:
    yield "created", _time(record.created)
    yield "committed", f"{_time(record.time)}, base {record.base}"
    yield "generations", " ".join(generation or "-" for generation in record.generations)
    if record.kind is not Kind.VALUE:
        return
    yield "modified", _time(record.modified_ns)
    yield "size", f"{record.size_bytes} bytes"
    yield "etag", record.etag
    shard = f"; this drive holds shard {record.shard_index_of(slot)}" if record.order else ""
    yield "code", f"{record.k}+{record.m}, shard order by slot {list(record.order)}{shard}"
    for part in record.parts:
        yield f"part {part.number}", f"{part.size_bytes} bytes, data {part.data_id}, etag {part.etag}"
    for name, value in sorted(record.metadata.items()):
        yield "metadata", f"{name}: {value}"
    if record.tags:
        yield "tags", record.tags
    if record.checksum is not None:
        yield "checksum", " ".join(msgspec.structs.astuple(record.checksum))


def _time(nanoseconds: int) -> str:
    """UTC to the nanosecond, and the number itself, which is what orders records."""
    seconds, rest = divmod(nanoseconds, _NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest:09d} ({nanoseconds})"
