"""Addressing: from the raw request line and headers to an `S3Request`. The only place that decodes a path.

Authentication, routing and storage all use what is decided here, from `raw_path`; the server's own `path` is not read.
"""

from collections.abc import Awaitable, Sequence
from typing import Final

from liteio_gateway.asgi import HAS_MESSAGE, App, Receive, Scope, Send
from liteio_gateway.exchange import exchange_of
from liteio_gateway.limits import HEADERS_MAX
from liteio_gateway.requests import S3Request, attach_request
from liteio_s3.errors import INVALID_ARGUMENT, INVALID_REQUEST, REQUEST_HEADER_SECTION_TOO_LARGE, S3Failure
from liteio_s3.headers import read_headers
from liteio_s3.names import check_key
from liteio_s3.query import parse_query, parse_resource

# What these say decides how a request is framed, authenticated and routed: two of them are an attack or a mistake.
_ONCE: Final = frozenset({b"host", b"content-length", b"authorization", b"x-amz-content-sha256", b"x-amz-copy-source"})


class Addressing:
    """`domains`: for virtual-host style, lower case."""

    def __init__(self, app: App, *, domains: Sequence[str]) -> None:
        self._app, self._domains = app, tuple(domains)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http":
            request = self._read(scope, receive)
            exchange = request.exchange
            exchange.bucket, exchange.key = request.bucket, request.key
            attach_request(scope, request)
        return self._app(scope, receive, send)

    def _read(self, scope: Scope, receive: Receive) -> S3Request:
        raw_headers = scope["headers"]
        host = _check_headers(raw_headers)
        raw_path, raw_query = scope["raw_path"], scope["query_string"]
        resource = parse_resource(raw_path, host, self._domains)
        if resource.key:
            check_key(resource.key)
        query = parse_query(raw_query)
        parameters = dict(query)
        if len(parameters) != len(query):
            raise S3Failure(INVALID_ARGUMENT, "A query parameter was given more than once.")
        return S3Request(
            exchange=exchange_of(scope),
            receive=receive,
            method=scope["method"],
            scheme=scope["scheme"],
            raw_path=raw_path,
            raw_query=raw_query,
            bucket=resource.bucket,
            key=resource.key,
            is_hosted=resource.is_hosted,
            query=query,
            parameters=parameters,
            headers=read_headers(raw_headers),
            raw_headers=raw_headers,
            has_message=scope.get("extensions", {}).get(HAS_MESSAGE, _is_unknown),
        )


def _is_unknown() -> bool:
    """Under a server that does not tell, a message may be a while in coming."""
    return False


def _check_headers(raw_headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The Host header. Raises S3Failure for too many headers, a repeated one that must stand once, or no Host."""
    if len(raw_headers) > HEADERS_MAX:
        raise S3Failure(REQUEST_HEADER_SECTION_TOO_LARGE)
    by_name = dict(raw_headers)
    if len(by_name) != len(raw_headers):
        names = [name for name, _ in raw_headers if name in _ONCE]
        if len(set(names)) != len(names):
            raise S3Failure(INVALID_REQUEST, "A header that may stand once was given more than once.")
    host = by_name.get(b"host")
    if host is None:
        raise S3Failure(INVALID_REQUEST, "The request needs a Host header.")
    return host
