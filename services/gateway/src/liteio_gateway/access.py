"""Who is calling, and may they: authentication of every request, and the seam behind which permissions are decided."""

import re
from collections.abc import Awaitable
from typing import Final, Protocol

import msgspec

from liteio_base.clock import Clock
from liteio_gateway.asgi import App, Receive, Scope, Send
from liteio_gateway.requests import ANONYMOUS, Caller, S3Request, request_of
from liteio_s3.credentials import ROOT_OWNER_ID, Credential, CredentialSource
from liteio_s3.errors import ACCESS_DENIED, INVALID_ARGUMENT, S3Failure
from liteio_s3.presign_v2 import HOISTED_STANDARD, is_version_2
from liteio_s3.sigv4 import Authenticated, AuthKind, SignedRequest, authenticate


class Question(msgspec.Struct, frozen=True, gc=False):
    """One thing that a caller wants to do. `action` as policies spell it ("s3:GetObject"); `key` "" for a bucket."""

    action: str
    bucket: str = ""
    key: str = ""


class Authorizer(Protocol):
    """May this caller do that? Asked before anything of the store is looked at."""

    async def check(self, caller: Caller, question: Question) -> None:
        """Raises S3Failure with AccessDenied unless it is allowed. What is unknown is denied."""


class RootOnly:
    """The root user may do everything, nobody else anything."""

    def __init__(self, owner_id: str = ROOT_OWNER_ID) -> None:
        self._owner_id = owner_id

    async def check(self, caller: Caller, question: Question) -> None:
        if caller.is_anonymous or caller.owner_id != self._owner_id:
            raise S3Failure(ACCESS_DENIED)


# Parameters of the presigned form itself; every other x-amz-* parameter of a presigned URL stands for a header.
_OF_THE_SIGNATURE: Final = frozenset(
    {
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-signedheaders",
        "x-amz-signature",
        "x-amz-security-token",
        "x-amz-content-sha256",
    }
)
_is_header_name: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]{1,256}").fullmatch  # RFC 9110, 5.6.2: a token
_is_header_value: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*").fullmatch


class Authentication:
    """Verifies the signature before a byte of the body is asked for, so a refused client never sees 100 Continue."""

    def __init__(self, app: App, *, credentials: CredentialSource, clock: Clock, region: str) -> None:
        self._app, self._credentials, self._clock, self._region = app, credentials, clock, region

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http":
            request = request_of(scope)
            outcome = self._authenticate(request)
            request.authenticated = outcome
            request.caller = caller_of(outcome.credential)
            request.exchange.caller = request.caller.access_key
            if outcome.kind is AuthKind.PRESIGNED:
                _take_hoisted_headers(request)
        return self._app(scope, receive, send)

    def _authenticate(self, request: S3Request) -> Authenticated:
        signed = SignedRequest(
            request.method,
            request.raw_path,
            request.raw_query,
            request.raw_headers,
            hosted_bucket=request.bucket if request.is_hosted else "",
        )
        return authenticate(signed, self._credentials, now_ns=self._clock.now_ns(), region=self._region)


def caller_of(credential: Credential | None) -> Caller:
    return ANONYMOUS if credential is None else Caller(credential.access_key, credential.owner_id)


def _take_hoisted_headers(request: S3Request) -> None:
    """SDKs put headers of a presigned request into its query: checksums, metadata, tags. The signature covers them."""
    is_old = is_version_2(request.query)
    for name, value in request.query:
        header = name.lower()
        is_hoisted = header.startswith("x-amz-") or (is_old and header in HOISTED_STANDARD)
        if not is_hoisted or header in _OF_THE_SIGNATURE:
            continue
        if header in request.headers:
            if is_old:  # The signature holds only where both say the same.
                continue
            raise S3Failure(INVALID_ARGUMENT, f"{header[:64]} was given both as header and as query parameter.")
        # A query can say what no header can, such as line ends, which would come back as headers of the answer.
        if not _is_header_name(header) or not _is_header_value(value):
            raise S3Failure(INVALID_ARGUMENT, "A query parameter of this request can not stand for a header.")
        # As everywhere, a header's text is the latin-1 reading of its bytes, which in a query were UTF-8.
        request.headers[header] = value.encode().decode("latin-1")
