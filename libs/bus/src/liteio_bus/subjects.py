"""Subjects: `liteio.v1.<area>.…`, the one place that spells them. docs/protocols/bus.md lists them.

Bucket names may hold dots, which separate tokens on the bus: whatever is not a letter, digit, "-" or "_" is written as
%XX, so that `liteio.v1.events.my%2Ebucket.>` means one bucket. Object keys never stand in a subject.
"""

from typing import Final
from urllib.parse import quote, unquote

from liteio_contracts.messages import BucketChanged, DriveStateChanged, HealTask, ObjectChange

PREFIX: Final = "liteio.v1"
ALL_EVENTS: Final = f"{PREFIX}.events.>"
ALL_HEAL_TASKS: Final = f"{PREFIX}.mrf.>"
ALL_DEAD_HEAL_TASKS: Final = f"{PREFIX}.mrf-dead.>"
ALL_BUCKET_CHANGES: Final = f"{PREFIX}.bucket.*.changed"
HEAL_STATUS: Final = f"{PREFIX}.heal.status"
ALL_DRIVE_STATES: Final = f"{PREFIX}.drive.*.state"


def encode_token(text: str) -> str:
    """One token of a subject. Raises ValueError for "", which the bus does not allow."""
    if not text:
        raise ValueError("a subject's token must not be empty")
    return quote(text, safe="").replace(".", "%2E").replace("~", "%7E")


def decode_token(token: str) -> str:
    return unquote(token)


def event_subject(change: ObjectChange) -> str:
    """liteio.v1.events.<bucket>.<group>.<name>; for s3:ObjectCreated:Put the last two are ObjectCreated.Put."""
    tokens = [encode_token(part) for part in change.event_name.removeprefix("s3:").split(":")]
    return ".".join((PREFIX, "events", encode_token(change.bucket), *tokens))


def events_of(bucket: str) -> str:
    """All events of a bucket, to subscribe to; of all buckets for ""."""
    return f"{PREFIX}.events.{encode_token(bucket)}.>" if bucket else ALL_EVENTS


def heal_task_subject(task: HealTask) -> str:
    """liteio.v1.mrf.<set>.<object>: the same subject for every task about an object, so that one waits at a time."""
    return f"{PREFIX}.mrf.{task.set_index}.{task.object_token}"


def dead_heal_task_subject(task: HealTask) -> str:
    """liteio.v1.mrf-dead.<set>.<object>: what is given up for an object takes the place of an older one."""
    return f"{PREFIX}.mrf-dead.{task.set_index}.{task.object_token}"


def heal_tasks_of(set_index: int) -> str:
    return f"{PREFIX}.mrf.{set_index}.*"


def bucket_changed_subject(message: BucketChanged) -> str:
    return f"{PREFIX}.bucket.{encode_token(message.bucket)}.changed"


def drive_state_subject(message: DriveStateChanged) -> str:
    return f"{PREFIX}.drive.{encode_token(message.drive_id)}.state"


def status_subject(kind: str) -> str:
    """liteio.v1.ctl.<kind>.status: asks every process of the kind (gateway, healer) for its status."""
    return f"{PREFIX}.ctl.{encode_token(kind)}.status"
