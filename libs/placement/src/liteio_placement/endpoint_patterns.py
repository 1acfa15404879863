"""Endpoint patterns: `https://node{1...4}.lan:9100/mnt/disk{01...16}` to the endpoints it stands for.

`{1...8}` counts, `{01...16}` counts with leading zeros, `{a,b,c}` lists; several braces multiply, the leftmost varying
slowest; a comma outside braces separates patterns. Nothing is read from the host: the text alone decides, so every node
that is given the same pattern gets the same drives in the same order.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Final
from urllib.parse import urlsplit

from liteio_placement.errors import PatternRefused

ENDPOINTS_MAX: Final = 10_000
_ENDPOINT_CHARACTERS_MAX: Final = 4096  # Linux: PATH_MAX; times ENDPOINTS_MAX, the most memory a pattern can take
_RANGE: Final = re.compile(r"(\d{1,9})\.\.\.(\d{1,9})", re.ASCII)
_RANGE_LIKE: Final = re.compile(r"\d\.{2,}\d", re.ASCII)  # {1..8} and {1...4,7} are slips, not names of drives
_URL_HINT: Final = "write it as https://host:port/path"
_RANGE_HINT: Final = "write a range as {1...8} (three dots) or a list as {a,b}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One drive's address: a path on a host. `origin` is "" on this machine, else like "https://node1.lan:9100"."""

    origin: str
    path: str

    def __str__(self) -> str:
        return self.origin + self.path


def expand(patterns: str | Iterable[str]) -> list[str]:
    """All texts that the patterns stand for, in order: 1 to ENDPOINTS_MAX, none twice. Raises PatternRefused."""
    given = [patterns] if isinstance(patterns, str) else list(patterns)
    results: list[str] = []
    for pattern in given:
        for one in _split_at_commas(pattern):
            results.extend(_expand_one(one, ENDPOINTS_MAX - len(results)))
    _refuse_duplicates(results)
    if not results:
        raise PatternRefused("no drives are named", "endpoint patterns", "name at least one, like /mnt/disk{1...4}")
    return results


def expand_endpoints(patterns: str | Iterable[str]) -> list[Endpoint]:
    """As `expand`, parsed. All are paths of this machine, or all are URLs of one scheme; raises PatternRefused."""
    endpoints = [parse_endpoint(text) for text in expand(patterns)]
    if len({endpoint.origin == "" for endpoint in endpoints}) > 1:
        raise PatternRefused(
            "paths and URLs are mixed", str(endpoints[0]), "write every drive as a path, or every drive as a URL"
        )
    _refuse_mixed_schemes([endpoint.origin for endpoint in endpoints])
    _refuse_duplicates(map(str, endpoints))  # again: two spellings may name one drive
    return endpoints


def expand_origins(patterns: str | Iterable[str]) -> list[str]:
    """The nodes that patterns like `https://node{1...4}.lan:9100` stand for, as origins. Raises PatternRefused."""
    origins = []
    for text in expand(patterns):
        origin, path = _parse_url(text)
        if path.strip("/"):
            raise PatternRefused("a folder is named", text, "name nodes only, like https://node{1...4}.lan:9100")
        origins.append(origin)
    _refuse_mixed_schemes(origins)
    _refuse_duplicates(origins)
    return origins


def parse_endpoint(text: str) -> Endpoint:
    """One expanded endpoint. A path may be relative; a URL needs http or https, a host and an absolute path.

    Host and scheme become lower case, repeated and closing slashes go. Raises PatternRefused.
    """
    if "://" not in text:
        return Endpoint("", _drive_path(text, text))
    origin, path = _parse_url(text)
    return Endpoint(origin, _drive_path(path, text))


def _parse_url(text: str) -> tuple[str, str]:
    """Origin and path."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise PatternRefused(f"this is not a URL ({error})", text, _URL_HINT) from error
    if url.scheme not in ("http", "https") or not url.hostname:
        raise PatternRefused("the scheme is not http or https, or the host is missing", text, _URL_HINT)
    if url.query or url.fragment or url.username is not None:
        raise PatternRefused("user, query or fragment in a drive's URL", text, _URL_HINT)
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    return f"{url.scheme}://{host}" + (f":{port}" if port is not None else ""), url.path


def _drive_path(path: str, text: str) -> str:
    tidy = re.sub("/+", "/", path)
    if tidy in ("", "/"):
        raise PatternRefused("no folder is named", text, "name the drive's folder, like /mnt/disk1")
    return tidy.rstrip("/")


def _split_at_commas(pattern: str) -> list[str]:
    """Parts between commas outside braces; braces must be closed and not nested."""
    parts, start, opened = [], 0, -1
    for position, character in enumerate(pattern):
        if character == "{":
            if opened >= 0:
                raise PatternRefused(f"brace in a brace at character {position + 1}", pattern, _RANGE_HINT)
            opened = position
        elif character == "}":
            if opened < 0:
                raise PatternRefused(f"nothing opens the brace at character {position + 1}", pattern, _RANGE_HINT)
            opened = -1
        elif character == "," and opened < 0:
            parts.append(pattern[start:position])
            start = position + 1
    if opened >= 0:
        raise PatternRefused(f"nothing closes the brace at character {opened + 1}", pattern, _RANGE_HINT)
    parts = [part.strip() for part in [*parts, pattern[start:]]]
    if "" in parts:
        raise PatternRefused("an empty name", pattern or '""', "remove the extra comma, or name a drive")
    return parts


def _expand_one(pattern: str, room: int) -> list[str]:
    if len(pattern) > _ENDPOINT_CHARACTERS_MAX:
        raise PatternRefused(f"{len(pattern)} characters are too many", pattern[:40] + "…", "use ranges like {1...8}")
    literals_and_braces = re.split(r"\{([^{}]*)\}", pattern)
    choices: list[list[str]] = []
    count = 1
    for index, text in enumerate(literals_and_braces):
        options = _expand_brace(text, pattern) if index % 2 else [text]
        count *= len(options)
        _refuse_too_many(count, room, pattern)
        choices.append(options)
    return ["".join(combination) for combination in product(*choices)]


def _expand_brace(inside: str, pattern: str) -> list[str]:
    if (match := _RANGE.fullmatch(inside)) is not None:
        return _count(match[1], match[2], pattern)
    options = [option.strip() for option in inside.split(",")]
    if len(options) < 2 or "" in options or _RANGE_LIKE.search(inside):
        raise PatternRefused(f"{{{inside}}} is neither a range nor a list", pattern, _RANGE_HINT)
    return options


def _count(first: str, last: str, pattern: str) -> list[str]:
    low, high = int(first), int(last)
    if low > high:
        raise PatternRefused(f"{{{first}...{last}}} counts down", pattern, f"write {{{last}...{first}}}")
    _refuse_too_many(high - low + 1, ENDPOINTS_MAX, pattern)
    padded = (first.startswith("0") and len(first) > 1) or (last.startswith("0") and len(last) > 1)
    if padded and len(first) != len(last):
        raise PatternRefused(
            f"{{{first}...{last}}} has leading zeros but two widths", pattern, "write both ends equally long"
        )
    return [str(number).zfill(len(first) if padded else 1) for number in range(low, high + 1)]


def _refuse_too_many(count: int, room: int, pattern: str) -> None:
    if count > room:
        raise PatternRefused(f"more than {ENDPOINTS_MAX} drives", pattern, "name fewer drives")


def _refuse_mixed_schemes(origins: list[str]) -> None:
    if len({origin.split("://")[0] for origin in origins}) > 1:
        raise PatternRefused("http and https are mixed", origins[0], "use one scheme for all nodes")


def _refuse_duplicates(results: Iterable[str]) -> None:
    seen: set[str] = set()
    for text in results:
        if text in seen:
            raise PatternRefused("named twice", text, "name every drive once")
        seen.add(text)
