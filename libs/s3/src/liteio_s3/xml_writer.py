"""Writing XML: escaped text, elements, the document. Every response of the store is made here.

lxml and ElementTree are not used for writing: neither can write the control characters that S3 keys may hold, and both
take several times as long over a list of 1,000 keys. Elements are plain strings, so a page is one join.
"""

import re
from collections.abc import Iterable
from typing import Final

S3_NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
_DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'

# Most control characters have no legal form in XML 1.0. AWS writes them as references, which lenient parsers accept and
# strict ones refuse loudly; written raw they would break every parser, and a raw CR would silently come back as LF.
_CONTROLS: Final = (*range(0x20), *range(0x7F, 0xA0), 0xFFFE, 0xFFFF)
_ESCAPES: Final = str.maketrans(
    {chr(code): f"&#x{code:X};" for code in _CONTROLS} | {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}
)
_find_special: Final = re.compile('[\x00-\x1f"&<>\x7f-\x9f\ufffe\uffff]').search


def document(name: str, children: Iterable[str]) -> bytes:
    """A whole document in UTF-8, its root `name` in S3's namespace. `children` are elements already written."""
    text = "".join((_DECLARATION, f'<{name} xmlns="{S3_NAMESPACE}">', *children, f"</{name}>"))
    return text.encode("utf-8", "replace")


def parent(name: str, children: Iterable[str]) -> str:
    """An element around elements already written."""
    return f"<{name}>{''.join(children)}</{name}>"


def leaf(name: str, text: str) -> str:
    """An element around text, which may be anything at all."""
    return f"<{name}>{escape(text)}</{name}>"


def number(name: str, value: int) -> str:
    return f"<{name}>{value}</{name}>"


def boolean(name: str, value: bool) -> str:
    return f"<{name}>{'true' if value else 'false'}</{name}>"


def optional(name: str, text: str | None) -> str:
    """An element around text, or nothing when there is none."""
    return "" if text is None else leaf(name, text)


def quoted(name: str, etag: str) -> str:
    """An element around an ETag in its quotes, as S3 writes it."""
    return f"<{name}>&quot;{escape(etag)}&quot;</{name}>"


def escape(text: str) -> str:
    """`text` with everything replaced that could end the text, or that no parser would give back unchanged.

    Cost: one scan; 0.2 µs when nothing needs replacing, which is nearly always.
    """
    return text.translate(_ESCAPES) if _find_special(text) else text
