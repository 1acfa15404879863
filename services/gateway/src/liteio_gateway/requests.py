"""`S3Request`: one request as handlers see it. Its names were decoded once, from the raw path; nobody looks again."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from liteio_base.ids import VersionId
from liteio_gateway.asgi import Receive, Scope
from liteio_gateway.exchange import Exchange
from liteio_s3.names import parse_version_id
from liteio_s3.payload import UNSIGNED
from liteio_s3.response_parts import Owner
from liteio_s3.sigv4 import Authenticated, AuthKind

_KEY: Final = "liteio.request"
_VERSION_PARAMETER: Final = "versionId"
_USER_AGENT_CHARACTERS_MAX: Final = 256


class Caller(msgspec.Struct, frozen=True, gc=False):
    """Who asks. An anonymous caller has empty names."""

    access_key: str = ""
    owner_id: str = ""

    @property
    def is_anonymous(self) -> bool:
        return not self.access_key

    @property
    def owner(self) -> Owner:
        return Owner(self.owner_id, self.owner_id)


ANONYMOUS: Final = Caller()
_UNPROVEN: Final = Authenticated(AuthKind.ANONYMOUS, None, UNSIGNED)


class S3Request(msgspec.Struct):
    """`parameters` and `headers` hold decoded text by name (headers in lower case), `query` the same in order. Of a
    presigned request, `x-amz-*` parameters count as headers. `raw_headers` are as they came, for the signature.
    `has_message`: whether `receive` would answer at once. `is_hosted`: the Host header names the bucket, so `raw_path`
    does not."""

    exchange: Exchange
    receive: Receive
    method: str
    scheme: str
    raw_path: bytes
    raw_query: bytes
    bucket: str
    key: str
    is_hosted: bool
    query: Sequence[tuple[str, str]]
    parameters: Mapping[str, str]
    headers: dict[str, str]
    raw_headers: list[tuple[bytes, bytes]]
    has_message: Callable[[], bool]
    caller: Caller = ANONYMOUS
    authenticated: Authenticated = _UNPROVEN

    @property
    def is_head(self) -> bool:
        return self.method == "HEAD"

    def version_id(self) -> VersionId | None:
        """The version that the query names; None for the latest. Raises InvalidArgument."""
        text = self.parameters.get(_VERSION_PARAMETER)
        return None if text is None else parse_version_id(text)

    def event_facts(self) -> dict[str, str]:
        """What an event record says of its cause."""
        exchange = self.exchange
        return {
            "principal": self.caller.access_key,
            "source_ip": exchange.client,
            "request_id": exchange.request_id,
            "user_agent": self.headers.get("user-agent", "")[:_USER_AGENT_CHARACTERS_MAX],
        }


def attach_request(scope: Scope, request: S3Request) -> None:
    scope[_KEY] = request


def request_of(scope: Scope) -> S3Request:
    request: S3Request = scope[_KEY]
    return request


def find_request(scope: Scope) -> S3Request | None:
    """The request, None while its target was not understood."""
    return scope.get(_KEY)
