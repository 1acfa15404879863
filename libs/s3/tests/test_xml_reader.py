from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_s3.errors import MALFORMED_ACL, S3Failure
from liteio_s3.limits import XML_BODY_BYTES_MAX
from liteio_s3.xml_reader import leaves, nested, read_document, table

S3 = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def refusal(body: bytes) -> str:
    with pytest.raises(S3Failure) as caught:
        read_document(body, "Tagging")
    return caught.value.code


@pytest.mark.parametrize(
    "body",
    [
        b"<Tagging><A>b</A></Tagging>",
        f"<Tagging {S3}><A>b</A></Tagging>".encode(),
        b'<s:Tagging xmlns:s="http://s3.amazonaws.com/doc/2006-03-01/"><s:A>b</s:A></s:Tagging>',
        b'<?xml version="1.0" encoding="UTF-8"?>\n<!-- c --><Tagging><?pi x?><A><!-- c -->b</A></Tagging>\n',
        b"<Tagging><A><![CDATA[b]]></A></Tagging>",
    ],
)
def test_the_namespace_may_be_left_out_and_comments_do_not_matter(body: bytes) -> None:
    assert leaves(read_document(body, "Tagging"), {"A"}) == {"A": "b"}


@pytest.mark.parametrize(
    "body",
    [
        b"junk",
        b"<Tagging>",
        b"<Other/>",
        b'<Tagging xmlns="urn:other"/>',
        b"<Tagging>&unknown;</Tagging>",
        b"<Tagging>\xff</Tagging>",
        b'<?xml version="1.0" encoding="iso-8859-1"?><Tagging><A>\xe9</A></Tagging>',
        b"<Tagging>" + b" " * XML_BODY_BYTES_MAX + b"</Tagging>",
    ],
)
def test_what_does_not_fit_is_malformed(body: bytes) -> None:
    assert refusal(body) == "MalformedXML"


def test_an_empty_body_is_named_as_such() -> None:
    assert refusal(b"") == "MissingRequestBodyError"


BOMB = '<!DOCTYPE t [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><Tagging><A>&b;</A></Tagging>'


@pytest.mark.parametrize(
    "body",
    [
        BOMB.encode(),
        ('<?xml version="1.0" encoding="utf-16"?>' + BOMB).encode("utf-16"),
        b'<!DOCTYPE t [<!ENTITY f SYSTEM "file:///etc/hostname">]><Tagging><A>&f;</A></Tagging>',
        b'<!DOCTYPE t SYSTEM "http://127.0.0.1:9/t.dtd"><Tagging/>',
        b'<!DOCTYPE t [<!ENTITY % p SYSTEM "file:///etc/hostname"> %p;]><Tagging/>',
    ],
)
def test_document_types_are_refused_in_any_encoding(body: bytes) -> None:
    assert refusal(body) == "MalformedXML"


def test_leaves_refuse_strangers_twins_and_children() -> None:
    for inside in ("<B/>", "<A/><A/>", "<A><A/></A>"):
        with pytest.raises(S3Failure):
            leaves(read_document(f"<R>{inside}</R>".encode(), "R"), {"A"})


def test_nested_refuses_strangers_and_twins_with_the_fault_it_is_told() -> None:
    for inside in ("<B/>", "<A/><A/>"):
        with pytest.raises(S3Failure) as caught:
            nested(read_document(f"<R>{inside}</R>".encode(), "R"), {"A"}, fault=MALFORMED_ACL)
        assert caught.value.code == "MalformedACLError"


def test_a_table_gives_rows_and_singles() -> None:
    root = read_document(f"<R {S3}><Q>x</Q><Row><A>1</A><B/></Row><Row/></R>".encode(), "R")
    assert table(root, "Row", {"A", "B"}, rows_max=2, singles={"Q"}) == ([{"A": "1", "B": ""}, {}], {"Q": "x"})


@pytest.mark.parametrize(
    "inside",
    [
        "<Row/><Row/><Row/>",
        "<A>1</A>",
        "<Row><C/></Row>",
        "<Row><A/><A/></Row>",
        "<Row><A><B/></A></Row>",
        "<Row><Row/></Row>",
        "<Row><Q/></Row>",
        "<Row><A/></Row><Q/><Q/>",
        "<Row/><Q><A/></Q>",
        "<Row/><Q/><A/>",
    ],
)
def test_a_table_refuses_what_stands_in_the_wrong_place(inside: str) -> None:
    with pytest.raises(S3Failure):
        table(read_document(f"<R>{inside}</R>".encode(), "R"), "Row", {"A", "B"}, rows_max=2, singles={"Q"})


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for framed in (body, b"<Tagging>" + body + b"</Tagging>"):
        with suppress(S3Failure):
            read_document(framed, "Tagging")
