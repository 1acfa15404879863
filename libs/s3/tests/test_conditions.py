import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_s3.conditions import (
    ANY_ETAG,
    COPY_SOURCE_PREFIX,
    Outcome,
    WriteConditions,
    is_range_current,
    judge_copy_source,
    judge_read,
    parse_delete_conditions,
    parse_read_conditions,
    parse_write_conditions,
)
from liteio_s3.errors import S3Failure
from liteio_s3.timestamps import http_date

ETAG = "0123456789abcdef0123456789abcdef"
CHANGED = 1_700_000_000_500_000_000  # half a second past a whole one: dates cannot say it
BEFORE, SAME, LATER = (http_date(CHANGED + seconds * 1_000_000_000) for seconds in (-1, 0, 1))
OK, SAME_STILL, FAILED = Outcome.PROCEED, Outcome.NOT_MODIFIED, Outcome.PRECONDITION_FAILED


def judged(**headers: str) -> Outcome:
    conditions = parse_read_conditions({name.replace("_", "-"): value for name, value in headers.items()})
    return judge_read(conditions, ETAG, CHANGED)


@pytest.mark.parametrize(
    ("header", "outcome"),
    [
        (ETAG, OK),
        (f'"{ETAG}"', OK),
        (f'"x", "{ETAG}"', OK),
        ("*", OK),
        ('"x"', FAILED),
        ("", FAILED),
        (f'W/"{ETAG}"', FAILED),
    ],
)
def test_if_match(header: str, outcome: Outcome) -> None:
    assert judged(if_match=header) is outcome


@pytest.mark.parametrize(
    ("header", "outcome"),
    [
        (ETAG, SAME_STILL),
        (f'"x" ,"{ETAG}"', SAME_STILL),
        (f'W/"{ETAG}"', SAME_STILL),
        ("*", SAME_STILL),
        ('"x"', OK),
        ("", OK),
    ],
)
def test_if_none_match(header: str, outcome: Outcome) -> None:
    assert judged(if_none_match=header) is outcome


@pytest.mark.parametrize(("date", "outcome"), [(BEFORE, OK), (SAME, SAME_STILL), (LATER, SAME_STILL), ("soon", OK)])
def test_if_modified_since(date: str, outcome: Outcome) -> None:
    assert judged(if_modified_since=date) is outcome


@pytest.mark.parametrize(("date", "outcome"), [(BEFORE, FAILED), (SAME, OK), (LATER, OK), ("soon", OK)])
def test_if_unmodified_since(date: str, outcome: Outcome) -> None:
    assert judged(if_unmodified_since=date) is outcome


@pytest.mark.parametrize(
    ("header", "is_current"),
    [
        (None, True),
        (ETAG, True),
        (f'"{ETAG}"', True),
        (SAME, True),
        ('"x"', False),
        (f'W/"{ETAG}"', False),
        ("*", False),
        (BEFORE, False),
        (LATER, False),
        ("soon", False),
        ("", False),
    ],
)
def test_if_range_must_name_this_very_object(header: str | None, is_current: bool) -> None:
    assert is_range_current(header, ETAG, CHANGED) is is_current


def test_etags_decide_before_dates() -> None:
    assert judged(if_match=ETAG, if_unmodified_since=BEFORE) is OK
    assert judged(if_match="x", if_unmodified_since=LATER) is FAILED
    assert judged(if_none_match=ETAG, if_modified_since=BEFORE) is SAME_STILL
    assert judged(if_none_match="x", if_modified_since=LATER) is OK
    assert judged(if_match="x", if_none_match=ETAG) is FAILED
    assert judged() is OK


def test_a_copy_has_no_not_modified() -> None:
    for header, outcome in ((ETAG, FAILED), ("x", OK)):
        conditions = parse_read_conditions({"x-amz-copy-source-if-none-match": header}, prefix=COPY_SOURCE_PREFIX)
        assert judge_copy_source(conditions, ETAG, CHANGED) is outcome


def test_conditions_of_the_source_and_of_the_request_stay_apart() -> None:
    headers = {"if-match": "x", "x-amz-copy-source-if-match": ETAG}
    source = parse_read_conditions(headers, prefix=COPY_SOURCE_PREFIX)
    assert judge_copy_source(source, ETAG, CHANGED) is OK
    assert parse_write_conditions(headers) == WriteConditions(must_match="x")


@pytest.mark.parametrize(
    ("headers", "conditions"),
    [
        ({}, WriteConditions()),
        ({"if-none-match": "*"}, WriteConditions(must_be_absent=True)),
        ({"if-match": f'"{ETAG}"'}, WriteConditions(must_match=ETAG)),
        ({"if-match": ETAG}, WriteConditions(must_match=ETAG)),
        ({"if-match": "*"}, WriteConditions(must_match=ANY_ETAG)),
    ],
)
def test_write_conditions(headers: dict[str, str], conditions: WriteConditions) -> None:
    assert parse_write_conditions(headers) == conditions


@pytest.mark.parametrize(
    "headers",
    [
        {"if-none-match": ETAG},
        {"if-none-match": ""},
        {"if-none-match": "*", "if-match": ETAG},
        {"if-match": "a, b"},
        {"if-match": ""},
    ],
)
def test_write_conditions_that_cannot_be_kept_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(S3Failure) as caught:
        parse_write_conditions(headers)
    assert (caught.value.code, caught.value.status) == ("NotImplemented", 501)


def test_deletes_have_if_match_only_and_of_the_current_version_only() -> None:
    assert parse_delete_conditions({}, names_version=True) == WriteConditions()
    assert parse_delete_conditions({"if-match": "*"}, names_version=False) == WriteConditions(must_match=ANY_ETAG)
    for headers, names_version in (({"if-match": ETAG}, True), ({"if-none-match": "*"}, False)):
        with pytest.raises(S3Failure) as caught:
            parse_delete_conditions(headers, names_version=names_version)
        assert caught.value.status == 501


@given(st.text(max_size=200), st.text(max_size=70))
def test_any_header_is_judged(etags: str, date: str) -> None:
    assert judged(if_match=etags) in (OK, FAILED)
    assert judged(if_none_match=etags, if_modified_since=date) in (OK, SAME_STILL)
