"""Event records: the shape that MinIO's consumers read, field by field."""

import json

import pytest

from liteio_base.ids import BucketId, HybridTime, VersionId
from liteio_bus.events import EventOrigin, encode_message, event_headers, event_message
from liteio_contracts.messages import ObjectChange

ORIGIN = EventOrigin(region="eu-1", deployment_id="d" * 32)
TIME = HybridTime(1_700_000_000_123_456_789)


def change(
    event_name: str = "s3:ObjectCreated:Put", *, key: bytes = "a b/ü+.txt".encode(), **more: object
) -> ObjectChange:
    fields: dict[str, object] = {
        "event_name": event_name,
        "bucket": "photos",
        "bucket_id": BucketId("b"),
        "key": key,
        "version_id": VersionId(""),
        "time": TIME,
        "modified_ns": 1,
        "size_bytes": 12,
        "etag": "abc",
        "metadata": {"content-type": "text/plain", "x-amz-meta-colour": "red"},
        "facts": {"principal": "root", "source_ip": "10.0.0.1", "request_id": "R1", "user_agent": "aws-cli"},
    }
    return ObjectChange(**(fields | more))  # type: ignore[arg-type]  # a table of fields


def record_of(one: ObjectChange) -> dict[str, object]:
    message = json.loads(encode_message(event_message(one, ORIGIN)))
    (record,) = message["Records"]
    assert isinstance(record, dict)
    return record


def test_the_envelope_names_event_and_key_as_it_is() -> None:
    message = json.loads(encode_message(event_message(change(), ORIGIN)))
    assert set(message) == {"EventName", "Key", "Records"}
    assert message["EventName"] == "s3:ObjectCreated:Put"
    assert message["Key"] == "photos/a b/ü+.txt"


def test_a_created_object_is_described() -> None:
    assert record_of(change()) == {
        "eventVersion": "2.0",
        "eventSource": "liteio:s3",
        "awsRegion": "eu-1",
        "eventTime": "2023-11-14T22:13:20.123Z",
        "eventName": "s3:ObjectCreated:Put",
        "userIdentity": {"principalId": "root"},
        "requestParameters": {"principalId": "root", "region": "eu-1", "sourceIPAddress": "10.0.0.1"},
        "responseElements": {
            "x-amz-request-id": "R1",
            "x-amz-id-2": "d" * 32,
            "x-liteio-deployment-id": "d" * 32,
            "x-liteio-origin-endpoint": "",
        },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "Config",
            "bucket": {
                "name": "photos",
                "ownerIdentity": {"principalId": "root"},
                "arn": "arn:aws:s3:::photos",
            },
            "object": {
                "key": "a+b%2F%C3%BC%2B.txt",
                "sequencer": f"{TIME:016X}",
                "size": 12,
                "eTag": "abc",
                "contentType": "text/plain",
                "userMetadata": {"x-amz-meta-colour": "red"},
            },
        },
        "source": {"host": "10.0.0.1", "port": "", "userAgent": "aws-cli"},
    }


@pytest.mark.parametrize("name", ["s3:ObjectRemoved:Delete", "s3:ObjectRemoved:DeleteMarkerCreated"])
def test_a_removed_object_has_neither_size_nor_etag(name: str) -> None:
    s3 = record_of(change(name))["s3"]
    assert isinstance(s3, dict)
    assert set(s3["object"]) == {"key", "sequencer"}


@pytest.mark.parametrize(
    ("has_versions", "version_id", "shown"), [(True, "f" * 32, "f" * 32), (True, "", "null"), (False, "", None)]
)
def test_the_version_is_named_where_the_bucket_knows_versions(
    has_versions: bool, version_id: str, shown: str | None
) -> None:
    s3 = record_of(change(has_versions=has_versions, version_id=VersionId(version_id)))["s3"]
    assert isinstance(s3, dict)
    assert s3["object"].get("versionId") == shown


def test_sequencers_sort_as_text_the_way_times_do() -> None:
    def sequencer(time: int) -> str:
        s3 = record_of(change(time=HybridTime(time)))["s3"]
        assert isinstance(s3, dict)
        return str(s3["object"]["sequencer"])

    times = [1, 9, 10, 2**40, TIME, 2**63 - 1]
    assert sorted(sequencer(time) for time in times) == [sequencer(time) for time in times]


def test_headers_are_cloudevents_and_ascii() -> None:
    headers = event_headers(change(), ORIGIN)
    assert headers["ce-type"] == "com.amazonaws.s3.ObjectCreated:Put"
    assert headers["ce-source"] == "liteio:s3.eu-1.photos"
    assert headers["ce-subject"] == "a%20b/%C3%BC%2B.txt"
    assert headers["Nats-Msg-Id"] == headers["ce-id"] == change().event_id
    assert all(value.isascii() and "\n" not in value for value in headers.values())
