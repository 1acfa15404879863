"""The JetStream streams: what is kept, for how long, and what happens when one is full."""

from typing import Final

from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, PersistMode, RetentionPolicy, StorageType, StoreCompression, StreamConfig
from nats.js.errors import APIError

from liteio_bus.limits import DEAD_BYTES_MAX, EVENTS_BYTES_MAX, HEAL_BYTES_MAX
from liteio_bus.subjects import ALL_DEAD_HEAL_TASKS, ALL_EVENTS, ALL_HEAL_TASKS

EVENTS_STREAM: Final = "LITEIO_EVENTS"
HEAL_STREAM: Final = "LITEIO_MRF"
DEAD_STREAM: Final = "LITEIO_MRF_DEAD"
EVENTS_AGE_SECONDS: Final = 3 * 86_400.0
DEAD_AGE_SECONDS: Final = 30 * 86_400.0
# Copies of one event lie on several drives, which may come back minutes apart; later copies are told by their event id.
DUPLICATE_SECONDS: Final = 600.0

_NAME_IN_USE: Final = 10058  # err_code of a stream that exists with another configuration


def stream_configs(replicas: int) -> tuple[StreamConfig, ...]:
    """Events: kept by age for any number of readers, synced before they are acknowledged (the server's sync_interval).
    Heal tasks: a work queue that holds one task an object, a hint and therefore not synced. The newest one: what the
    task before it stands for may be half repaired by now, and the new damage not seen by whoever is at it. Those
    given up: kept by age, the newest an object."""
    events = StreamConfig(
        name=EVENTS_STREAM,
        description="S3 event records of buckets whose events are on",
        subjects=[ALL_EVENTS],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_age=EVENTS_AGE_SECONDS,
        max_bytes=EVENTS_BYTES_MAX,
        duplicate_window=DUPLICATE_SECONDS,
        compression=StoreCompression.S2,
        num_replicas=replicas,
    )
    heal = StreamConfig(
        name=HEAL_STREAM,
        description="objects that need a repair, one task an object",
        subjects=[ALL_HEAL_TASKS],
        retention=RetentionPolicy.WORK_QUEUE,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_msgs_per_subject=1,
        discard_new_per_subject=False,
        max_bytes=HEAL_BYTES_MAX,
        persist_mode=PersistMode.ASYNC if replicas == 1 else None,
        num_replicas=replicas,
    )
    dead = StreamConfig(
        name=DEAD_STREAM,
        description="heal tasks that were given up, the newest an object",
        subjects=[ALL_DEAD_HEAL_TASKS],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_msgs_per_subject=1,
        max_age=DEAD_AGE_SECONDS,
        max_bytes=DEAD_BYTES_MAX,
        num_replicas=replicas,
    )
    return events, heal, dead


async def ensure_streams(jetstream: JetStreamContext, *, replicas: int = 1) -> None:
    """Create the streams, or bring them to this version's configuration. Raises nats.errors.Error."""
    for config in stream_configs(replicas):
        try:
            await jetstream.add_stream(config)
        except APIError as refusal:
            if refusal.err_code != _NAME_IN_USE:
                raise
            await jetstream.update_stream(config)
