"""S3 event records from outbox rows, in the shape that consumers of MinIO's NATS target already read.

Structure version 2.0 of the S3 event message; differences from AWS are MinIO's (event names keep "s3:", an envelope
with EventName and Key) and one of ours (eventSource "liteio:s3"). CloudEvents attributes travel as headers (binary
mode), so that the body stays what it is.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, quote_plus

from liteio_contracts.messages import ObjectChange, S3EventMessage

EVENT_SOURCE: Final = "liteio:s3"
_REMOVED: Final = "s3:ObjectRemoved:"
_METADATA_PREFIX: Final = "x-amz-meta-"


@dataclass(frozen=True, slots=True)
class EventOrigin:
    """What is the same in all events of a store."""

    region: str
    deployment_id: str = ""


def event_message(change: ObjectChange, origin: EventOrigin) -> S3EventMessage:
    return S3EventMessage(
        EventName=change.event_name,
        Key=f"{change.bucket}/{_text(change.key)}",
        Records=(_record(change, origin),),
    )


def encode_message(message: S3EventMessage) -> bytes:
    return json.dumps(message.model_dump(by_alias=True), ensure_ascii=False, separators=(",", ":")).encode()


def event_headers(change: ObjectChange, origin: EventOrigin) -> dict[str, str]:
    """CloudEvents 1.0 in binary mode, and the id by which JetStream drops a second copy. Values are ASCII."""
    region = change.facts.get("region") or origin.region
    return {
        "Nats-Msg-Id": change.event_id,
        "ce-specversion": "1.0",
        "ce-id": change.event_id,
        "ce-type": "com.amazonaws.s3." + change.event_name.removeprefix("s3:"),
        "ce-source": f"{EVENT_SOURCE}.{region}.{change.bucket}",
        "ce-subject": quote(change.key),
        "ce-time": _time(change.time),
        "ce-datacontenttype": "application/json",
    }


def _record(change: ObjectChange, origin: EventOrigin) -> dict[str, Any]:
    facts = change.facts
    region = facts.get("region") or origin.region
    principal = {"principalId": facts.get("principal", "")}
    return {
        "eventVersion": "2.0",
        "eventSource": EVENT_SOURCE,
        "awsRegion": region,
        "eventTime": _time(change.time),
        "eventName": change.event_name,
        "userIdentity": principal,
        "requestParameters": {**principal, "region": region, "sourceIPAddress": facts.get("source_ip", "")},
        "responseElements": {
            "x-amz-request-id": facts.get("request_id", ""),
            "x-amz-id-2": origin.deployment_id,
            "x-liteio-deployment-id": origin.deployment_id,
            "x-liteio-origin-endpoint": facts.get("origin_endpoint", ""),
        },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "Config",
            "bucket": {"name": change.bucket, "ownerIdentity": principal, "arn": f"arn:aws:s3:::{change.bucket}"},
            "object": _object(change),
        },
        "source": {"host": facts.get("source_ip", ""), "port": "", "userAgent": facts.get("user_agent", "")},
    }


def _object(change: ObjectChange) -> dict[str, Any]:
    """Ordered by `sequencer`, compared as text: the hybrid time, which never goes back for a key."""
    shown: dict[str, Any] = {"key": quote_plus(change.key), "sequencer": f"{change.time:016X}"}
    if change.has_versions:
        shown["versionId"] = change.version_id or "null"
    if not change.event_name.startswith(_REMOVED):
        shown["size"] = change.size_bytes
        shown["eTag"] = change.etag
        shown["contentType"] = change.metadata.get("content-type", "")
        shown["userMetadata"] = {
            name: value for name, value in change.metadata.items() if name.startswith(_METADATA_PREFIX)
        }
    return shown


def _text(key: bytes) -> str:
    return key.decode("utf-8", "replace")


def _time(nanoseconds: int) -> str:
    """2006-01-02T15:04:05.000Z"""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z"
