"""Which shard files rows name, and how long each should be: for a drive's look at its own files."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from liteio_contracts.storage import KeyName
from liteio_drives.index_data import FileName
from liteio_drives.index_digests import BEFORE_ALL_KEYS, find_bucket
from liteio_drives.index_sql import BEHIND_ALL_KEYS, Sql
from liteio_drives.record_view import data_id_bytes
from liteio_erasure.code import CodeParams
from liteio_erasure.framing import ShardLayout
from liteio_formats.footer import align_up, footer_bytes
from liteio_formats.record import RecordError, decode_record

SCANNED_MAX: Final = 4096  # rows that one call goes over: a millisecond or two
_STOP: Final = (
    "SELECT key FROM records NOT INDEXED WHERE space = ? AND bucket = ? AND key > ? ORDER BY key LIMIT 1 OFFSET ?"
)
_ROWS: Final = (
    "SELECT key, encoded FROM records NOT INDEXED WHERE space = ? AND bucket = ? AND key > ? AND key <= ?"
    " AND names_files = 1 ORDER BY key"
)


class ExpectedFile(NamedTuple):
    """A file that a row of the key names."""

    key_name: KeyName
    name: FileName
    file_bytes: int


class NamedFiles(NamedTuple):
    """The files of a stretch of keys. `reached`: where to go on, None at the end."""

    files: list[ExpectedFile]
    reached: KeyName | None


def named_files(sql: Sql, after: KeyName | None, limit: int) -> NamedFiles:
    """The files that the rows of the keys behind `after` name, going over `limit` rows or so; whole keys."""
    files: list[ExpectedFile] = []
    at = after
    left = max(1, min(limit, SCANNED_MAX))
    while left > 0:
        found = find_bucket(sql, at)
        if found is None:
            return NamedFiles(files, None)
        space, bucket_id, number = found
        low = at.key if at is not None and (space, bucket_id) == at[:2] else BEFORE_ALL_KEYS
        stop = sql.execute(_STOP, (space, number, low, left - 1)).fetchone()
        high = stop[0] if stop else BEHIND_ALL_KEYS
        rows = sql.execute(_ROWS, (space, number, low, high)).fetchall()
        for key, encoded in rows:
            files += _files_of(KeyName(space, bucket_id, key), encoded)
        left = 0 if stop else left - 1 - len(rows)
        at = KeyName(space, bucket_id, high)
    return NamedFiles(files, at)


def _files_of(name: KeyName, encoded: bytes) -> Iterator[ExpectedFile]:
    """None of a record that can not be read: that is another trouble, which its readers meet."""
    try:
        record = decode_record(encoded)
    except RecordError:
        return
    for part in record.parts:
        if part.size_bytes:
            file_bytes = _file_bytes(record.k, record.m, part.size_bytes)
            yield ExpectedFile(name, FileName(data_id_bytes(part.data_id), part.number), file_bytes)


@lru_cache(maxsize=1024)
def _file_bytes(k: int, m: int, part_size_bytes: int) -> int:
    code = CodeParams(k, m)
    blocks = ShardLayout(code, part_size_bytes).block_count
    return align_up(code.shard_file_bytes(part_size_bytes)) + footer_bytes(blocks)
