"""Every bound of the drive protocol, read by both sides. A peer that exceeds one is refused, never waited for."""

from typing import Final

from liteio_base.check import check
from liteio_base.limits import BLOCK_BYTES, KIB, MIB

PROTOCOL_VERSION: Final = 2

# HTTP/2 flow control. Measured: defaults 0.3-0.9 GB/s, these 1.1-1.8 GB/s (docs/protocols/drive.md, "Windows").
STREAM_WINDOW_BYTES: Final = 8 * MIB
CONNECTION_WINDOW_BYTES: Final = 64 * MIB  # what one node may have in flight towards one worker
HTTP_FRAME_BYTES: Final = MIB
STREAMS_MAX: Final = 1000  # open at once on one connection
HTTP_HEADERS_BYTES_MAX: Final = 16 * KIB

# A node that stops answering is noticed in PING_EVERY + PING_PATIENCE, at most 5 seconds.
PING_EVERY_SECONDS: Final = 2.0
PING_PATIENCE_SECONDS: Final = 3.0
CONNECT_SECONDS: Final = 2.0
CALL_SECONDS_MAX: Final = 3600.0  # no call may ask a node to work longer than this

# Calls. One that is larger than a batch travels alone, and so does a reply.
BATCH_CALLS_MAX: Final = 256
BATCH_BYTES: Final = MIB  # coalescing stops here
ALIKE_SECONDS: Final = 1.0  # deadlines of calls this close together are one to the node
LAZY_SECONDS: Final = 0.002  # how long a call that nobody waits for is kept for company
CALL_BYTES_MAX: Final = 16 * MIB  # a commit of 1,000 part rows with inline payloads stays far below
REQUEST_BYTES_MAX: Final = CALL_BYTES_MAX + 64 * KIB
REPLY_BYTES_MAX: Final = 16 * MIB  # a node cuts a page of a listing that would be larger

# Shard streams.
HASH_BYTES: Final = 32
BLOCK_FRAME_BYTES_MAX: Final = BLOCK_BYTES + 64 * KIB  # a coder may pad its shard
OPEN_BYTES_MAX: Final = 4 * KIB
WRITE_CHUNK_BYTES: Final = MIB  # blocks of one write are joined up to this size
WRITE_BUFFER_BYTES: Final = 4 * MIB  # a writer's blocks that wait for the wire
STREAM_BLOCKS_MAX: Final = 2**20  # blocks of one part at most: 1 TiB
STREAM_IDLE_SECONDS: Final = 120.0  # a peer that sends or takes nothing this long is gone
SHARD_STEP_SECONDS: Final = 30.0  # longest wait of a client for one step of a shard stream
ABORT_SECONDS: Final = 2.0

# Sessions.
NONCE_BYTES: Final = 16
MAC_BYTES: Final = 16
SECRET_BYTES_MIN: Final = 16
SECRET_BYTES_MAX: Final = 4 * KIB
HELLO_BYTES_MAX: Final = 256
# What a node keeps of all requests together whose seal it can not check yet, since their bodies are still coming; each
# costs something even when nothing has come. Whoever has overheard a session's id can send so much.
UNPROVED_BYTES_MAX: Final = 256 * MIB
UNPROVED_REQUEST_BYTES: Final = 32 * KIB
REPLAY_WINDOW: Final = 4096  # counters that may arrive late, because streams overtake each other
SESSIONS_MAX: Final = 4096
HALF_OPEN_SESSIONS_MAX: Final = 256  # greeted but not used yet: replayed greetings push out only each other

# Locks.
LOCK_NAMES_MAX: Final = 2_000
LOCK_NAME_BYTES_MAX: Final = 2 * KIB
LOCK_OWNER_BYTES: Final = 16
LEASE_SECONDS: Final = 10.0
RENEW_OWNERS_MAX: Final = 10_000
HOLDER_TEXT_MAX: Final = 255
BOOT_TEXT_MAX: Final = 255
LOCK_PAGE_MAX: Final = 500  # leases that a node tells of at once
LOCK_NAMES_SHOWN: Final = 10  # of each
LOCK_WAITERS_MAX: Final = 10_000
LOCK_WAIT_SECONDS: Final = 0.5  # a wait for a name that is held ends after this, whether it came free or not
KEPT_SECONDS: Final = 0.1  # a name that came free is kept so long for the one that waited longest for it

check(PING_EVERY_SECONDS + PING_PATIENCE_SECONDS <= 5.0, "a half-open connection is noticed within 5 s")
check(REPLAY_WINDOW >= 2 * STREAMS_MAX, "counters of all open streams may arrive in any order")
check(UNPROVED_BYTES_MAX >= 8 * REQUEST_BYTES_MAX, "several of the largest requests may be on their way at once")
check(UNPROVED_BYTES_MAX >= 8 * STREAMS_MAX * UNPROVED_REQUEST_BYTES, "and all streams of several connections")
check(
    LOCK_PAGE_MAX * LOCK_NAMES_SHOWN * (LOCK_NAME_BYTES_MAX + 4 * HOLDER_TEXT_MAX) < REPLY_BYTES_MAX,
    "a page of locks fits into a reply",
)
check(BATCH_BYTES <= CALL_BYTES_MAX, "a batch is not larger than the largest call")
