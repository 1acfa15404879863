"""The catalogue is consistent, and its document is one that parsers read back."""

import re

from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from liteio_s3 import errors
from liteio_s3.errors import CATALOGUE, NO_SUCH_KEY, S3Failure, render_error

# What XML 1.0 can carry at all; the rest is written as references that only lenient parsers take.
xml_text = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"))


def test_every_row_has_a_code_an_error_status_and_a_wording() -> None:
    assert len(CATALOGUE) > 70
    for row in CATALOGUE:
        assert re.fullmatch(r"[A-Z][A-Za-z0-9]+", row.code), row
        assert row.status == 304 or 400 <= row.status <= 507, row
        assert row.message, row


def test_no_row_stands_twice_and_a_code_has_one_status() -> None:
    assert len(set(CATALOGUE)) == len(CATALOGUE)
    status_of: dict[str, int] = {}
    for row in CATALOGUE:
        assert status_of.setdefault(row.code, row.status) == row.status, row


def test_the_statuses_that_sdks_branch_on() -> None:
    assert (errors.PRECONDITION_FAILED.status, errors.CONDITIONAL_REQUEST_CONFLICT.status) == (412, 409)
    assert (errors.INVALID_RANGE.status, errors.MISSING_CONTENT_LENGTH.status) == (416, 411)
    assert (errors.NOT_IMPLEMENTED.status, errors.SLOW_DOWN.status, errors.INTERNAL_ERROR.status) == (501, 503, 500)
    assert (errors.SIGNATURE_DOES_NOT_MATCH.status, errors.METHOD_NOT_ALLOWED.status) == (403, 405)


def test_a_failure_keeps_its_row_and_may_reword_it() -> None:
    failure = S3Failure(NO_SUCH_KEY, "gone", fields={"Key": "a"}, headers={"x-amz-delete-marker": "true"})
    assert (failure.code, failure.status, failure.message) == ("NoSuchKey", 404, "gone")
    assert S3Failure(NO_SUCH_KEY).message == NO_SUCH_KEY.message
    assert dict(failure.fields) == {"Key": "a"}
    assert str(failure) == "NoSuchKey: gone"


def test_the_document_has_the_elements_in_the_order_of_aws() -> None:
    document = render_error(NO_SUCH_KEY, None, "id-1", "host-1", "/b/a", {"Key": "a"})
    assert document == (
        b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code>'
        b"<Message>The specified key does not exist.</Message><Key>a</Key><Resource>/b/a</Resource>"
        b"<RequestId>id-1</RequestId><HostId>host-1</HostId></Error>"
    )
    assert b"<Resource>" not in render_error(NO_SUCH_KEY, None, "id-1", "host-1", "")


@given(xml_text, xml_text)
def test_any_text_comes_back_from_a_parser(message: str, key: str) -> None:
    root = etree.fromstring(render_error(NO_SUCH_KEY, message, "r", "h", key, {"Key": key}))
    assert [child.tag for child in root if child.tag != "Resource"] == ["Code", "Message", "Key", "RequestId", "HostId"]
    assert (root.findtext("Message"), root.findtext("Key")) == (message, key)


@given(st.text())
def test_no_control_character_is_written_raw(key: str) -> None:
    document = render_error(NO_SUCH_KEY, None, "r", "h", "", {"Key": key})
    text = document.decode().partition("\n")[2]
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\ufffe\uffff]", text)
    assert text.count("<") == 2 * 6


def test_control_characters_become_references() -> None:
    assert b"<Key>a&#x1;b&#xD;&#xA;</Key>" in render_error(NO_SUCH_KEY, None, "r", "h", "", {"Key": "a\x01b\r\n"})
