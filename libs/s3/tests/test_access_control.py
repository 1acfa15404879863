import pytest

from liteio_s3.access_control import AccessControl, Grant, check_access_control, check_acl_headers, parse_access_control
from liteio_s3.bucket_responses import access_control_response
from liteio_s3.errors import S3Failure
from liteio_s3.response_parts import Owner

GROUP = (
    '<Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="Group"><URI>all</URI></Grantee>'
    "<Permission>READ</Permission></Grant>"
)


def policy(grants: str) -> bytes:
    list_ = f"<AccessControlList>{grants}</AccessControlList>"
    return f"<AccessControlPolicy><Owner><ID>me</ID></Owner>{list_}</AccessControlPolicy>".encode()


def test_the_list_that_the_store_gives_is_accepted() -> None:
    access = parse_access_control(access_control_response(Owner("me", "Me & <you>")))
    assert access == AccessControl("me", (Grant("me", "FULL_CONTROL"),))
    check_access_control(access, "me")


@pytest.mark.parametrize(
    "grants",
    [
        GROUP,
        "",
        "<Grant><Grantee><ID>me</ID></Grantee><Permission>READ</Permission></Grant>",
        "<Grant><Grantee><ID>you</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant>",
        "<Grant><Grantee><ID>me</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant>" + GROUP,
    ],
)
def test_other_lists_are_not_implemented(grants: str) -> None:
    with pytest.raises(S3Failure) as caught:
        check_access_control(parse_access_control(policy(grants)), "me")
    assert caught.value.code == "NotImplemented"


def test_a_private_list_of_somebody_else_is_not_accepted() -> None:
    with pytest.raises(S3Failure):
        check_access_control(AccessControl("you", (Grant("you", "FULL_CONTROL"),)), "me")


@pytest.mark.parametrize(
    "body", [b"<x/>", b"<AccessControlPolicy/>", policy("<Grant/>"), policy("<Give/>"), policy(GROUP * 101)]
)
def test_malformed_lists(body: bytes) -> None:
    with pytest.raises(S3Failure) as caught:
        parse_access_control(body)
    assert caught.value.code == "MalformedACLError"


@pytest.mark.parametrize("headers", [{}, {"x-amz-acl": "private"}, {"x-amz-acl": "bucket-owner-full-control"}])
def test_acl_headers_that_change_nothing(headers: dict[str, str]) -> None:
    check_acl_headers(headers)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-amz-acl": "public-read"}, "NotImplemented"),
        ({"x-amz-acl": "private", "x-amz-grant-read": "id=x"}, "NotImplemented"),
        ({"x-amz-acl": "open"}, "InvalidArgument"),
    ],
)
def test_acl_headers_that_would_share(headers: dict[str, str], code: str) -> None:
    with pytest.raises(S3Failure) as caught:
        check_acl_headers(headers)
    assert caught.value.code == code
