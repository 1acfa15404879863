"""Reading XML bodies, within bounds: no document type, no entities, no network, no huge trees, a size limit first.

A body is judged by its caller's schema: `leaves`, `nested` and `table` refuse elements that the caller does not name,
so a condition of a newer client is answered with MalformedXML and never silently skipped.
"""

import re
from collections.abc import Set
from typing import Any, Final

from lxml import etree

from liteio_s3.errors import MALFORMED_XML, MISSING_REQUEST_BODY, S3Error, S3Failure
from liteio_s3.limits import (
    LONG_XML_ATTRIBUTED_TAGS_MAX,
    LONG_XML_ATTRIBUTES_OF_TAG_MAX,
    LONG_XML_QUOTES_MAX,
    LONG_XML_TAGS_MAX,
    XML_BODY_BYTES_MAX,
)
from liteio_s3.xml_writer import S3_NAMESPACE

Element = Any  # lxml's element; lxml carries no types

# Older documents of AWS name the second one, and some clients still send it. Many send none.
_NAMESPACES: Final = frozenset({"", S3_NAMESPACE, "http://doc.s3.amazonaws.com/2006-03-01"})


def read_document(
    body: bytes, root: str, *, bytes_max: int = XML_BODY_BYTES_MAX, fault: S3Error = MALFORMED_XML
) -> Element:
    """The root element of `body`, which must be called `root`.

    Raises: S3Failure with MissingRequestBodyError for an empty body, else with `fault`. Cost: linear in `bytes_max`.
    """
    if not body:
        raise S3Failure(MISSING_REQUEST_BODY)
    # Without a document type there are no entities to expand and no files to fetch. The parser is told that the bytes
    # are UTF-8, so that another encoding cannot hide one from this search.
    if len(body) > bytes_max or b"<!DOCTYPE" in body or not _is_cheap(body):
        raise S3Failure(fault)
    try:
        element = etree.fromstring(body, _new_parser())
    except (etree.XMLSyntaxError, ValueError) as error:
        raise S3Failure(fault) from error
    namespace, _, name = element.tag.rpartition("}")
    if name != root or namespace.lstrip("{") not in _NAMESPACES:
        raise S3Failure(fault)
    return element


def name_of(element: Element) -> str:
    """The element's name without its namespace."""
    return str(element.tag.rpartition("}")[2])


def leaves(parent: Element, names: Set[str], *, fault: S3Error = MALFORMED_XML) -> dict[str, str]:
    """The texts of the children of `parent`: each of `names` at most once, nothing else, nothing nested in them."""
    found: dict[str, str] = {}
    for child in parent:
        name = child.tag.rpartition("}")[2]
        if name not in names or name in found or len(child):
            raise S3Failure(fault)
        found[name] = child.text or ""
    return found


def nested(parent: Element, names: Set[str], *, fault: S3Error = MALFORMED_XML) -> dict[str, Element]:
    """The children of `parent` themselves: each of `names` at most once, nothing else."""
    found: dict[str, Element] = {}
    for child in parent:
        name = name_of(child)
        if name not in names or name in found:
            raise S3Failure(fault)
        found[name] = child
    return found


def table(
    root: Element,
    row: str,
    columns: Set[str],
    *,
    rows_max: int,
    singles: Set[str] = frozenset(),
    fault: S3Error = MALFORMED_XML,
) -> tuple[list[dict[str, str]], dict[str, str]]:
    """The rows under `root`, and the other leaves that may stand there once each, `singles`.

    A row is a child called `row` that holds each of `columns` at most once. Anything else is refused, and so are more
    rows than `rows_max`. Cost: one pass, under 1 µs an element; one iterator a row would cost as much again.
    """
    rows: list[dict[str, str]] = []
    alone: dict[str, str] = {}
    current: Element = None
    record: dict[str, str] = {}
    names: dict[str, str] = {}  # a tag's name: the same few tags come thousands of times
    for element in root.iterdescendants():
        tag, parent = element.tag, element.getparent()
        name = names.get(tag) or names.setdefault(tag, name_of(element))
        if parent is current and name in columns and name not in record:
            record[name] = element.text or ""
        elif parent is root and name == row and len(rows) < rows_max:
            current, record = element, {}
            rows.append(record)
        elif parent is root and name in singles and name not in alone:
            alone[name] = element.text or ""
        else:
            raise S3Failure(fault)
    return rows, alone


def _is_cheap(body: bytes) -> bool:
    """Whether a long document has no more tags and attributes than one that S3 knows can have.

    Parsing costs by these: 4 MiB made of little else take 150 ms. Cost: under 1 ms where there are few quotes, up to
    10 ms where many must be told from attributes. A document within XML_BODY_BYTES_MAX is cheap whatever it is made of.
    """
    if len(body) <= XML_BODY_BYTES_MAX:
        return True
    if body.count(b"<") > LONG_XML_TAGS_MAX:
        return False
    if body.count(b'"') + body.count(b"'") <= LONG_XML_QUOTES_MAX:
        return True  # and no more than half as many attributes
    if _find_crowded_tag(body):
        return False
    return sum(1 for _ in _tags_with_attributes(body)) <= LONG_XML_ATTRIBUTED_TAGS_MAX


# A tag's first attribute is its first quote, as neither angle stands before it; what begins with ! or ? is no tag.
_tags_with_attributes: Final = re.compile(rb"""<(?![!?])[^<>"']*+["']""").finditer
_find_crowded_tag: Final = re.compile(
    rb"""<(?![!?])(?:[^<>"']*+(?:"[^"<]*+"|'[^'<]*+')){%d}""" % (LONG_XML_ATTRIBUTES_OF_TAG_MAX + 1)
).search


def _new_parser() -> Any:
    """A parser for one document; one that is shared would serialise threads behind its lock."""
    return etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
