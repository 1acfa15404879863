"""A million objects on four drives within a minute: rows are put straight into the indexes.

The records are those that a PUT makes, each with its own digest; only their inline shards are one and the same, since
nothing that is measured here reads them. The first drive's rows are made, the others take them over.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

from liteio_base.ids import DataId, HybridTime
from liteio_formats.record import Record, decode_record, encode_record

_INDEX: Final = Path(".liteio.sys", "index.db")
_COLUMNS: Final = (
    "space, bucket, key, created, version, time, kind, live, stray, size_bytes, shard_index, names_files, payload,"
    " payload_hash, encoded, payload_head"
)


def multiply_object(drives: Sequence[str], template_key: bytes, count: int) -> None:
    """`count` more objects like the one under `template_key`, on every drive. No process has the drives open."""
    first = str(Path(drives[0], _INDEX))
    with _connection(first) as db:
        row = db.execute(f"SELECT {_COLUMNS} FROM records WHERE key = ?", (template_key,)).fetchone()
        assert row is not None, "the template is there"
        places = ",".join("?" * len(row))
        db.executemany(f"INSERT INTO records({_COLUMNS}) VALUES ({places})", _rows(row, count))
        _count(db, row, count)
    for drive in drives[1:]:
        with _connection(str(Path(drive, _INDEX))) as db:
            query = "SELECT bucket, shard_index, payload, payload_hash, payload_head FROM records WHERE key = ?"
            held = db.execute(query, (template_key,)).fetchone()
            assert held is not None, "every drive has it"
            bucket, *own = held
            db.execute("COMMIT; ATTACH ? AS first; BEGIN", (first,))
            db.execute(
                f"INSERT OR IGNORE INTO records({_COLUMNS}) SELECT space, ?, key, created, version, time, kind, live,"
                " stray, size_bytes, ?, names_files, ?, ?, encoded, ? FROM first.records WHERE bucket = ? AND key > ?",
                (bucket, own[0], own[1], own[2], own[3], row[1], template_key),
            )
            _count(db, (row[0], bucket, *row[2:]), count)
            db.execute("COMMIT; DETACH first; BEGIN")


def lose_rows(drive: str, keys: Sequence[bytes]) -> None:
    """Take the rows of these keys, and their inline shards, from a drive that no process has open."""
    with _connection(str(Path(drive, _INDEX))) as db:
        for key in keys:
            row = db.execute("SELECT bucket, payload, size_bytes FROM records WHERE key = ?", (key,)).fetchone()
            assert row is not None
            db.execute("DELETE FROM payloads WHERE id = ?", (row[1],))
            db.execute("DELETE FROM records WHERE key = ?", (key,))
            db.execute(
                "UPDATE buckets SET objects = objects - 1, versions = versions - 1, size_bytes = size_bytes - ?"
                " WHERE number = ?",
                (row[2], row[0]),
            )


class _connection:
    """One transaction, unsynced: it is the bench's own drive."""

    def __init__(self, path: str) -> None:
        self._db = apsw.Connection(path)

    def __enter__(self) -> apsw.Connection:
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("PRAGMA cache_size = -500000")
        self._db.execute("BEGIN")
        return self._db

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._db.execute("ROLLBACK" if kind else "COMMIT")
        self._db.close()


def _rows(row: Sequence[Any], count: int) -> Iterator[tuple[Any, ...]]:
    """In key order, behind the template's."""
    template: Record = decode_record(row[14])
    [part] = template.parts
    for number in range(count):
        key = template.key + b"/%09d" % number
        time = HybridTime(template.time + number + 1)
        data_id = DataId(f"{number + 1:032x}")
        record = msgspec.structs.replace(
            template,
            key=key,
            created=time,
            time=time,
            modified_ns=int(time),
            parts=(msgspec.structs.replace(part, data_id=data_id),),
        )
        yield (*row[:2], key, time, row[4], time, *row[6:14], encode_record(record), row[15])


def _count(db: apsw.Connection, row: Sequence[Any], count: int) -> None:
    db.execute(
        "UPDATE buckets SET objects = objects + ?, versions = versions + ?, size_bytes = size_bytes + ?"
        " WHERE number = ?",
        (count, count, count * row[9], row[1]),
    )
