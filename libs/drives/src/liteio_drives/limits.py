"""A drive's fixed bounds and its settings. Settings are few: what tests and operators may change."""

from dataclasses import dataclass
from typing import Final

from liteio_base.check import check
from liteio_base.limits import KIB, MIB

DIRECT_IO_MIN_BYTES: Final = MIB  # below this a direct write's fixed cost outweighs the copy that it saves
WRITE_BUFFER_BYTES: Final = 512 * KIB  # one direct write; page-aligned; an open writer holds one
SPARE_BUFFERS_MAX: Final = 4  # kept for the next writers of a drive: as many as it has data threads
READ_AHEAD_BYTES: Final = MIB  # read together with the footer, so that a small span costs one hand-off
DATA_FOLDERS: Final = 256

CHECKPOINT_PAGES: Final = 4096  # 16 MiB of write-ahead log: one checkpoint in some thousands of small commits
CHECKPOINT_REST_PAGES: Final = 256  # no more are left, when it ends, by a checkpoint beside the writers
WAL_RESTART_PAGES: Final = 8 * CHECKPOINT_PAGES  # readers kept the log from starting over: insist
# Page cache of a connection, two connections a drive and process: 32 MiB for four drives. The inner pages of an index
# of a million keys fit; leaves come from the kernel's cache, which processes share. At 64 MiB a worker grew to 530 MiB.
INDEX_CACHE_KIB: Final = 4 * KIB

CHORE_ROWS: Final = 500  # rows that one transaction removes of a dropped bucket, or takes up into the live index
VACUUM_PAGES: Final = 2_000  # free pages that a collection gives back to the file system
GARBAGE_BATCH: Final = 100  # files or rows that one transaction of the collector looks at
CLAIMS_BYTES: Final = 256 * KIB  # some 3,000 staged files; longer claims are written anew without what was committed
NOTES_MAX: Final = 4_000  # commits that wait for their confirm and are remembered by what it has to do
BATCH_JOBS_MAX: Final = 1000  # what one transaction answers at most: bounds the wait of the first in it
REPRESENTATIVES_MAX: Final = 64  # undecided keys that a common prefix is searched through for one that proves it

check(WRITE_BUFFER_BYTES % 4096 == 0, "direct writes are whole pages")


@dataclass(frozen=True, slots=True)
class DriveSettings:
    """What may differ from drive to drive.

    free_min_bytes: new data is refused below this; None: 1 % of the file system, at least 256 MiB.
    ballast_bytes: a file that is given up when the drive is full, so that deletes still commit; 0 for none.
    """

    free_min_bytes: int | None = None
    ballast_bytes: int = 64 * MIB
    commit_gather_seconds: float = 0.01  # a commit waits at most so long for as many as shared the last transaction
    confirm_delay_seconds: float = 0.02  # a confirm waits this long for other traffic to share a transaction with
    orphan_grace_seconds: float = 3600.0  # a staged file that nothing names is garbage after this, if its writer lives
    unlink_delay_seconds: float = 5.0  # between dropping the last name of a file and removing it: readers open by name
    tombstone_keep_seconds: float = 30 * 86400.0
    hung_after_seconds: float = 5.0  # a drive thread stuck this long makes further calls fail at once
    retry_after_seconds: float = 5.0  # an I/O error keeps the drive offline this long before it is tried again
    shard_call_seconds: float = 30.0  # for one step of a shard writer or reader, which have no deadline of their own
    data_threads: int = 4
    index_cache_kib: int = INDEX_CACHE_KIB
    vfs: str = ""  # SQLite's VFS by name; "" is the operating system's


def free_min_of(settings: DriveSettings, total_bytes: int) -> int:
    """The free bytes below which a drive of this size refuses new data."""
    if settings.free_min_bytes is not None:
        return settings.free_min_bytes
    return max(total_bytes // 100, 256 * MIB)
