"""What several responses share: owners, checksums, and keys under `encoding-type=url`."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from liteio_s3.checksums import ChecksumAlgorithm, ChecksumType
from liteio_s3.xml_writer import leaf, parent

Checksums = Sequence[tuple[ChecksumAlgorithm, str]]  # values in base64, with "-N" when made of N parts
KeyEncoder = Callable[[str], str]

_escape_runs: Final = re.compile(r"[^A-Za-z0-9_.~/-]+").sub


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom a bucket, object or upload belongs to: a canonical id and a name to show."""

    id: str
    display_name: str


def owner_element(owner: Owner, name: str = "Owner") -> str:
    return parent(name, (leaf("ID", owner.id), leaf("DisplayName", owner.display_name)))


def checksum_elements(checksums: Checksums, checksum_type: ChecksumType | None = None) -> str:
    """`ChecksumCRC32` and its siblings, then `ChecksumType` where it is known."""
    values = "".join(leaf(algorithm.element, value) for algorithm, value in checksums)
    return values if checksum_type is None else values + leaf("ChecksumType", checksum_type)


def key_encoder(encodes_keys: bool) -> KeyEncoder:
    """How a list writes keys, prefixes, delimiters and markers: as they are, or percent-encoded.

    Spaces become %20, which decoders of forms and of paths both understand; slashes stay.
    """
    return _percent_encode if encodes_keys else _unchanged


def encoding_element(encodes_keys: bool) -> str:
    return leaf("EncodingType", "url") if encodes_keys else ""


def delimiter_element(delimiter: str, encode: KeyEncoder) -> str:
    """S3 leaves the element out when no delimiter was given."""
    return leaf("Delimiter", encode(delimiter)) if delimiter else ""


def common_prefix_elements(prefixes: Iterable[str], encode: KeyEncoder) -> str:
    return "".join(f"<CommonPrefixes>{leaf('Prefix', encode(prefix))}</CommonPrefixes>" for prefix in prefixes)


def _percent_encode(key: str) -> str:
    return _escape_runs(_percent_encode_run, key)


def _percent_encode_run(found: re.Match[str]) -> str:
    return _quote(found[0])


@lru_cache(maxsize=1024)
def _quote(run: str) -> str:
    """Keys of a page mostly need the same few characters encoded, and `quote` is slow."""
    return quote(run, safe="", errors="replace")


def _unchanged(key: str) -> str:
    return key
