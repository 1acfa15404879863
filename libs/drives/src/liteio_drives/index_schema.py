"""The tables of index.db. docs/formats/index-db.md explains them; SCHEMA_VERSION says which of them a file has.

The words in capitals are enums that reach the disk: liteio_formats.record.Space and Kind, and Standing below.
"""

from enum import IntEnum
from typing import Final

SCHEMA_VERSION: Final = 3
APPLICATION_ID: Final = 0x4C494F31  # "LIO1": what `file` and SQLite's own tools show
PAGE_BYTES: Final = 4096


class Standing(IntEnum):
    """What a drive knows of a bucket. The numbers reach the disk."""

    UNKNOWN = 0  # rows came by settling, the bucket's own record did not
    OPEN = 1
    CLOSING = 2
    GONE = 3  # its record is tombstoned


BUSY_MS: Final = 5000
PRAGMAS: Final = (
    f"PRAGMA busy_timeout = {BUSY_MS}",  # first: the next one reads the file, which another process may be recovering
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 0",
    "PRAGMA mmap_size = 0",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA foreign_keys = OFF",
    "PRAGMA cell_size_check = ON",
)

# Before the first table: these can not be changed afterwards.
CREATION_PRAGMAS: Final = (
    f"PRAGMA page_size = {PAGE_BYTES}",
    "PRAGMA auto_vacuum = INCREMENTAL",
    f"PRAGMA application_id = {APPLICATION_ID}",
)

TABLES: Final = """
CREATE TABLE meta(
    id INTEGER PRIMARY KEY CHECK (id = 1),
    schema_version INTEGER NOT NULL,
    drive_id TEXT NOT NULL,
    generation TEXT NOT NULL,
    authoritative INTEGER NOT NULL,
    topology_number INTEGER NOT NULL DEFAULT 0,
    topology_active INTEGER NOT NULL DEFAULT 0,
    topology BLOB NOT NULL DEFAULT x''
) STRICT;

CREATE TABLE buckets(
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    bucket_id TEXT NOT NULL UNIQUE,
    config INTEGER NOT NULL DEFAULT 0,
    standing INTEGER NOT NULL DEFAULT 0,
    objects INTEGER NOT NULL DEFAULT 0,
    versions INTEGER NOT NULL DEFAULT 0,
    delete_markers INTEGER NOT NULL DEFAULT 0,
    size_bytes INTEGER NOT NULL DEFAULT 0,
    has_live_index INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE records(
    space INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    key BLOB NOT NULL,
    created INTEGER NOT NULL,
    version BLOB NOT NULL,
    time INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    live INTEGER NOT NULL,
    stray INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    shard_index INTEGER NOT NULL,
    names_files INTEGER NOT NULL,
    payload INTEGER,
    payload_hash BLOB,
    encoded BLOB NOT NULL,
    payload_head BLOB,
    PRIMARY KEY (space, bucket, key, created DESC, version DESC, time DESC)
) WITHOUT ROWID, STRICT;

CREATE INDEX records_live ON records(space, bucket, key) WHERE live = 1;
CREATE INDEX records_stray ON records(space, bucket, key) WHERE stray = 1;

CREATE TABLE live_fills(bucket INTEGER PRIMARY KEY, after BLOB NOT NULL) STRICT;

CREATE TABLE payloads(id INTEGER PRIMARY KEY, payload BLOB NOT NULL) STRICT;

CREATE TABLE tombstones(
    space INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    key BLOB NOT NULL,
    version BLOB NOT NULL,
    time INTEGER NOT NULL,
    created INTEGER NOT NULL,
    since_ns INTEGER NOT NULL,
    encoded BLOB NOT NULL,
    PRIMARY KEY (space, bucket, key, version, time DESC)
) WITHOUT ROWID, STRICT;

CREATE INDEX tombstones_by_time ON tombstones(space, bucket, key, time DESC);
CREATE INDEX tombstones_by_age ON tombstones(since_ns);

CREATE TABLE unsettled(
    space INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    key BLOB NOT NULL,
    version BLOB NOT NULL,
    time INTEGER NOT NULL,
    is_tombstone INTEGER NOT NULL,
    since_ns INTEGER NOT NULL,
    PRIMARY KEY (space, bucket, key, version, time)
) WITHOUT ROWID, STRICT;

CREATE TABLE fences(
    space INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    key BLOB NOT NULL,
    version BLOB NOT NULL,
    time INTEGER NOT NULL,
    base INTEGER NOT NULL,
    since_ns INTEGER NOT NULL,
    PRIMARY KEY (space, bucket, key, version, time)
) WITHOUT ROWID, STRICT;

CREATE INDEX fences_by_age ON fences(since_ns);

CREATE TABLE data_refs(
    data_id BLOB NOT NULL,
    part INTEGER NOT NULL,
    names INTEGER NOT NULL,
    PRIMARY KEY (data_id, part)
) WITHOUT ROWID, STRICT;

CREATE TABLE garbage(
    data_id BLOB NOT NULL,
    part INTEGER NOT NULL,
    since_ns INTEGER NOT NULL,
    PRIMARY KEY (data_id, part)
) WITHOUT ROWID, STRICT;

CREATE TABLE purges(
    id INTEGER PRIMARY KEY,
    space INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    low BLOB NOT NULL,
    high BLOB,
    drops_bucket INTEGER NOT NULL
) STRICT;

CREATE TABLE outbox(number INTEGER PRIMARY KEY AUTOINCREMENT, queued_ns INTEGER NOT NULL, payload BLOB NOT NULL) STRICT;
"""

# From each version to the next: what `TABLES` has more, last in its table.
MIGRATIONS: Final = {
    1: "ALTER TABLE records ADD COLUMN payload_head BLOB;"
    " ALTER TABLE buckets ADD COLUMN has_live_index INTEGER NOT NULL DEFAULT 0;"
    " CREATE TABLE live_fills(bucket INTEGER PRIMARY KEY, after BLOB NOT NULL) STRICT;"
    " UPDATE buckets SET has_live_index = 1",
    2: "ALTER TABLE meta ADD COLUMN topology_number INTEGER NOT NULL DEFAULT 0;"
    " ALTER TABLE meta ADD COLUMN topology_active INTEGER NOT NULL DEFAULT 0;"
    " ALTER TABLE meta ADD COLUMN topology BLOB NOT NULL DEFAULT x''",
}
