import re

from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from liteio_s3.xml_writer import S3_NAMESPACE, boolean, document, escape, leaf, number, optional, parent, quoted

# What XML 1.0 cannot carry at all, not even as a reference.
UNCARRIABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_that_xml_can_carry_comes_back_unchanged(text: str) -> None:
    text = UNCARRIABLE.sub("", text)
    root = etree.fromstring(document("Key", (escape(text),)))
    assert (root.text or "") == text


@given(st.text())
def test_no_text_can_open_close_or_break_an_element(text: str) -> None:
    written = document("List", (leaf("Key", text), leaf("After", "here"))).decode()
    readable = re.sub(r"&#x(?:[0-8BCEF]|1[0-9A-F]|FFFE|FFFF);", "", written)
    root = etree.fromstring(readable.encode())
    assert [child.tag for child in root] == [f"{{{S3_NAMESPACE}}}Key", f"{{{S3_NAMESPACE}}}After"]


def test_control_characters_are_references() -> None:
    assert leaf("Key", "a\x1fb\r\n\x00\x7f") == "<Key>a&#x1F;b&#xD;&#xA;&#x0;&#x7F;</Key>"


def test_elements_are_written_as_s3_writes_them() -> None:
    children = (quoted("ETag", "abc-2"), number("Size", 7), boolean("IsLatest", False), optional("Gone", None))
    assert document("R", (parent("P", children),)) == (
        b'<?xml version="1.0" encoding="UTF-8"?>\n<R xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        b"<P><ETag>&quot;abc-2&quot;</ETag><Size>7</Size><IsLatest>false</IsLatest></P></R>"
    )
