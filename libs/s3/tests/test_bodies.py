import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_s3.bodies import (
    CompletedPart,
    DeleteObjects,
    KeyToDelete,
    NewBucket,
    VersioningStatus,
    check_location,
    parse_bucket_tagging,
    parse_complete_multipart_upload,
    parse_create_bucket,
    parse_delete,
    parse_object_tagging,
    parse_versioning,
)
from liteio_s3.checksums import ChecksumAlgorithm
from liteio_s3.errors import S3Failure
from liteio_s3.tags import Tag
from liteio_s3.xml_writer import document, leaf, parent

XML_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), min_size=1)


def code_of(parse: object, body: bytes | str) -> str:
    assert callable(parse)
    with pytest.raises(S3Failure) as caught:
        parse(body if isinstance(body, bytes) else body.encode())
    return caught.value.code


def test_a_bucket_may_be_asked_for_without_a_body() -> None:
    assert parse_create_bucket(b"") == NewBucket()
    assert parse_create_bucket(b"<CreateBucketConfiguration/>") == NewBucket()


def test_a_bucket_has_a_location_and_tags() -> None:
    inside = "<LocationConstraint>eu-west-1</LocationConstraint><Tags><Tag><Key>a</Key><Value>b</Value></Tag></Tags>"
    body = f"<CreateBucketConfiguration>{inside}</CreateBucketConfiguration>".encode()
    assert parse_create_bucket(body) == NewBucket("eu-west-1", (Tag("a", "b"),))


def test_the_location_is_the_own_region_or_left_out() -> None:
    for location, region in (("", "us-east-1"), ("us-east-1", "us-east-1"), ("EU", "eu-west-1")):
        check_location(location, region)
    with pytest.raises(S3Failure) as caught:
        check_location("eu-west-1", "us-east-1")
    assert caught.value.code == "InvalidLocationConstraint"


def test_directory_buckets_are_not_implemented() -> None:
    body = "<CreateBucketConfiguration><Bucket><Type>Directory</Type></Bucket></CreateBucketConfiguration>"
    assert code_of(parse_create_bucket, body) == "NotImplemented"


@given(st.lists(st.tuples(XML_TEXT, st.none() | XML_TEXT), min_size=1, max_size=20), st.booleans())
def test_delete_reads_back_what_was_written(objects: list[tuple[str, str | None]], quiet: bool) -> None:
    rows = [
        parent("Object", (leaf("Key", key), "" if version is None else leaf("VersionId", version)))
        for key, version in objects
    ]
    body = document("Delete", (*rows, leaf("Quiet", str(quiet).lower())))
    assert parse_delete(body) == DeleteObjects(tuple(KeyToDelete(key, version) for key, version in objects), quiet)


def test_delete_takes_conditions_and_empty_versions() -> None:
    inside = '<Key>a</Key><VersionId/><ETag>"e1"</ETag>'
    assert parse_delete(f"<Delete><Object>{inside}</Object></Delete>".encode()) == DeleteObjects(
        (KeyToDelete("a", None, "e1"),)
    )
    starred = parse_delete(b"<Delete><Object><Key>a</Key><ETag>*</ETag></Object></Delete>")
    assert starred.objects[0].etag == "*"


def test_delete_takes_a_thousand_keys_of_full_length_and_no_more() -> None:
    row = b"<Object><Key>" + b"k" * 1024 + b"</Key></Object>"
    assert len(parse_delete(b"<Delete>" + row * 1000 + b"</Delete>").objects) == 1000
    assert code_of(parse_delete, b"<Delete>" + row * 1001 + b"</Delete>") == "MalformedXML"


@pytest.mark.parametrize(
    ("inside", "code"),
    [
        ("", "MalformedXML"),
        ("<Quiet>true</Quiet>", "MalformedXML"),
        ("<Object/>", "MalformedXML"),
        ("<Object><Key/></Object>", "MalformedXML"),
        ("<Object><Key>a</Key></Object><Quiet>perhaps</Quiet>", "MalformedXML"),
        ("<Object><Key>a</Key><NewCondition>x</NewCondition></Object>", "MalformedXML"),
        ("<Object><Key>a</Key><Size>3</Size></Object>", "NotImplemented"),
        ("<Object><Key>a</Key><LastModifiedTime>x</LastModifiedTime></Object>", "NotImplemented"),
    ],
)
def test_delete_refuses(inside: str, code: str) -> None:
    assert code_of(parse_delete, f"<Delete>{inside}</Delete>") == code


def part(number: object, extra: str = "<ETag>e</ETag>") -> str:
    return f"<Part><PartNumber>{number}</PartNumber>{extra}</Part>"


def complete(*parts: str) -> str:
    return f"<CompleteMultipartUpload>{''.join(parts)}</CompleteMultipartUpload>"


def test_parts_carry_bare_etags_and_checksums() -> None:
    first = part(1, "<ETag>&quot;e1&quot;</ETag><ChecksumCRC64NVME>x=</ChecksumCRC64NVME>")
    assert parse_complete_multipart_upload(complete(first, part(7)).encode()) == (
        CompletedPart(1, "e1", ((ChecksumAlgorithm.CRC64NVME, "x="),)),
        CompletedPart(7, "e"),
    )


def test_ten_thousand_parts_fit() -> None:
    extra = f"<ETag>&quot;{'0' * 32}&quot;</ETag><ChecksumSHA256>{'A' * 43}=</ChecksumSHA256>"
    body = complete(*(part(number, extra) for number in range(1, 10_001)))
    assert len(parse_complete_multipart_upload(body.encode())) == 10_000


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("", "MalformedXML"),
        (complete(), "MalformedXML"),
        (complete(part(1, "")), "MalformedXML"),
        (complete(part("one")), "MalformedXML"),
        (complete(part("²")), "MalformedXML"),
        (complete(part(1, "<ETag>e</ETag><ChecksumXXHASH64>x</ChecksumXXHASH64>")), "MalformedXML"),
        (complete(part(0)), "InvalidArgument"),
        (complete(part(10_001)), "InvalidArgument"),
        (complete(part("9" * 5000)), "InvalidArgument"),
        (complete(part(2), part(1)), "InvalidPartOrder"),
        (complete(part(2), part(2)), "InvalidPartOrder"),
    ],
)
def test_complete_refuses(body: str, code: str) -> None:
    assert code_of(parse_complete_multipart_upload, body) == code


def versioning(inside: str) -> str:
    return f"<VersioningConfiguration>{inside}</VersioningConfiguration>"


def test_versioning_is_enabled_or_suspended() -> None:
    assert parse_versioning(versioning("<Status>Enabled</Status>").encode()) is VersioningStatus.ENABLED
    suspended = versioning("<MfaDelete>Disabled</MfaDelete><Status>Suspended</Status>")
    assert parse_versioning(suspended.encode()) is VersioningStatus.SUSPENDED


@pytest.mark.parametrize(
    ("inside", "code"),
    [
        ("", "MalformedXML"),
        ("<Status>enabled</Status>", "MalformedXML"),
        ("<Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>", "NotImplemented"),
        ("<Status>Enabled</Status><MfaDelete>maybe</MfaDelete>", "MalformedXML"),
    ],
)
def test_versioning_refuses(inside: str, code: str) -> None:
    assert code_of(parse_versioning, versioning(inside)) == code


def tagging(count: int) -> bytes:
    rows = "".join(f"<Tag><Key>k{number}</Key><Value/></Tag>" for number in range(count))
    return f"<Tagging><TagSet>{rows}</TagSet></Tagging>".encode()


def test_objects_have_ten_tags_and_buckets_fifty() -> None:
    assert len(parse_object_tagging(tagging(10))) == 10
    assert code_of(parse_object_tagging, tagging(11)) == "BadRequest"
    assert len(parse_bucket_tagging(tagging(50))) == 50
    assert code_of(parse_bucket_tagging, tagging(51)) == "BadRequest"


@pytest.mark.parametrize(
    "body",
    [
        "<Tagging/>",
        "<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
        "<Tagging><TagSet><Tag><Value>a</Value></Tag></TagSet></Tagging>",
        "<Tagging><Tag><Key>a</Key><Value>b</Value></Tag></Tagging>",
    ],
)
def test_tagging_refuses_other_shapes(body: str) -> None:
    assert code_of(parse_object_tagging, body) == "MalformedXML"
