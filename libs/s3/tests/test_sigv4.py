"""Verification against botocore's signers as the oracle, and every way in which a request may not be believed."""

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch
from urllib.parse import quote, urlsplit

import botocore.auth
import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from liteio_s3.credentials import Credential, RootCredentials
from liteio_s3.errors import S3Failure
from liteio_s3.payload import PayloadMode
from liteio_s3.sigv4 import Authenticated, AuthKind, SignedRequest, authenticate

ACCESS, SECRET, REGION = "AKIDEXAMPLE", "secret/key+1", "eu-west-3"
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
NOW_NS = int(NOW.timestamp()) * 10**9
SECOND_NS = 10**9
ROOT = RootCredentials(ACCESS, SECRET)
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class OneCredential:
    def __init__(self, credential: Credential) -> None:
        self._credential = credential

    def find(self, access_key: str) -> Credential | None:
        return self._credential if access_key == self._credential.access_key else None


def sign(
    method: str = "GET",
    target: str = "/bucket/key",
    headers: dict[str, str] | None = None,
    *,
    body: bytes = b"",
    token: str | None = None,
    region: str = REGION,
    secret: str = SECRET,
    expires: int | None = None,
    signer: Any = None,
) -> SignedRequest:
    """The request as botocore signs and an HTTP server hands it on; presigned when `expires` is given."""
    request = AWSRequest(method, "http://store.example:9000" + target, headers=dict(headers or {}), data=body)
    credentials = Credentials(ACCESS, secret, token)
    auth = signer or (
        S3SigV4Auth(credentials, "s3", region)
        if expires is None
        else S3SigV4QueryAuth(credentials, "s3", region, expires=expires)
    )
    with patch.object(botocore.auth, "get_current_datetime", lambda: NOW.replace(tzinfo=None)):
        auth.add_auth(request)
    url = urlsplit(request.url)
    raw = [(name.lower().encode(), str(value).encode("latin-1")) for name, value in request.headers.items()]
    return SignedRequest(method, url.path.encode(), url.query.encode(), [(b"host", url.netloc.encode()), *raw])


def verify(request: SignedRequest, *, now_ns: int = NOW_NS, region: str = REGION) -> Authenticated:
    return authenticate(request, ROOT, now_ns=now_ns, region=region)


def refusal(request: SignedRequest, *, now_ns: int = NOW_NS, region: str = REGION) -> S3Failure:
    with pytest.raises(S3Failure) as raised:
        verify(request, now_ns=now_ns, region=region)
    return raised.value


def with_header(request: SignedRequest, name: str, value: str) -> SignedRequest:
    return replace(request, headers=[*request.headers, (name.encode(), value.encode())])


def change_header(request: SignedRequest, name: str, change: Callable[[bytes], bytes]) -> SignedRequest:
    headers = [(found, change(value) if found == name.encode() else value) for found, value in request.headers]
    assert headers != request.headers
    return replace(request, headers=headers)


def test_the_example_of_the_documentation_verifies() -> None:
    """Amazon S3 API reference, "Signature calculations: single chunk", GET Object."""
    authorization = (
        b"AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
        b"SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
        b"Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )
    headers = [
        (b"host", b"examplebucket.s3.amazonaws.com"),
        (b"range", b"bytes=0-9"),
        (b"x-amz-content-sha256", EMPTY_SHA256.encode()),
        (b"x-amz-date", b"20130524T000000Z"),
        (b"authorization", authorization),
    ]
    request = SignedRequest("GET", b"/test.txt", b"", headers)
    root = RootCredentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    now_ns = int(datetime(2013, 5, 24, tzinfo=UTC).timestamp()) * SECOND_NS
    assert authenticate(request, root, now_ns=now_ns, region="us-east-1").kind is AuthKind.HEADER


def test_botocore_header_signature_verifies() -> None:
    found = verify(sign("PUT", "/bucket/key", {"x-amz-meta-a": "  one   two "}, body=b"data"))
    assert found.kind is AuthKind.HEADER
    assert found.credential is not None
    assert found.credential.access_key == ACCESS
    assert found.payload.mode is PayloadMode.SIGNED_SHA256
    assert found.chunks is None


def test_botocore_presigned_url_verifies() -> None:
    found = verify(sign("GET", "/bucket/key?versionId=a%2Fb&partNumber=2", expires=60))
    assert found.kind is AuthKind.PRESIGNED
    assert found.payload.mode is PayloadMode.UNSIGNED


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)
header_values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)


@settings(deadline=None, max_examples=150)
@given(
    key=texts,
    query=st.lists(st.tuples(texts.filter(bool), texts), max_size=4),
    metadata=st.dictionaries(st.text("abcdefgh-", min_size=1, max_size=5), header_values, max_size=3),
    expires=st.none() | st.integers(1, 604800),
)
def test_whatever_botocore_signs_verifies(
    key: str, query: list[tuple[str, str]], metadata: dict[str, str], expires: int | None
) -> None:
    query_text = "&".join(f"{quote('z' + name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in query)
    target = "/bucket/" + quote(key, safe="/~") + ("?" + query_text if query else "")
    headers = {f"x-amz-meta-{name}": value for name, value in metadata.items()}
    request = sign("PUT", target, headers, expires=expires)
    assert verify(request).credential is not None
    assert refusal(replace(request, raw_path=request.raw_path + b"x")).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("sent", "signed_as"),
    [
        (b"/bucket/a(b)!*'", "/bucket/a%28b%29%21%2A%27"),  # sent less escaped than signed
        (b"/bucket/%61%7e", "/bucket/a~"),  # sent more escaped than signed
        (b"/bucket/a%2fb", "/bucket/a/b"),
        (b"/bucket/a%2fb", "/bucket/a%2fb"),  # signed exactly as sent
        (b"/bucket/a(b)", "/bucket/a(b)"),
        (b"/bucket//a/../b/./", "/bucket//a/../b/./"),  # never normalised
    ],
)
def test_paths_verify_however_the_client_escaped_them(sent: bytes, signed_as: str) -> None:
    request = sign("GET", signed_as)
    assert verify(replace(request, raw_path=sent)).credential is not None


def test_a_signed_path_does_not_cover_its_normal_form() -> None:
    for other in (b"/bucket/b", b"/bucket/a/b", b"/bucket/a/%252e%252e/b"):
        assert refusal(replace(sign("GET", "/bucket/a/../b"), raw_path=other)).code == "SignatureDoesNotMatch"


def test_query_order_and_escapes_do_not_matter_but_values_do() -> None:
    request = sign("GET", "/bucket?prefix=a%20b&list-type=2&max-keys=3")
    for same in (b"max-keys=3&list-type=2&prefix=a%20b", b"list-type=2&prefix=%61+b&max-keys=3"):
        assert verify(replace(request, raw_query=same)).credential is not None
    for other in (b"prefix=a%2Bb&list-type=2&max-keys=3", b"list-type=2&prefix=a%20b", b"list-type=2&max-keys=3"):
        assert refusal(replace(request, raw_query=other)).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize("expires", [None, 60])
def test_each_part_of_a_request_is_covered(expires: int | None) -> None:
    request = sign("PUT", "/bucket/key?a=b", {"x-amz-meta-a": "v", "content-type": "text/plain"}, expires=expires)
    changed = [
        replace(request, method="DELETE"),
        replace(request, raw_path=b"/bucket/other"),
        replace(request, raw_query=request.raw_query + b"&c=d"),
        replace(request, raw_query=request.raw_query.replace(b"a=b", b"a=c")),
        change_header(request, "host", lambda host: b"other.example"),
        change_header(request, "x-amz-meta-a", lambda value: b"w"),
        change_header(request, "content-type", lambda value: b"text/html"),
        with_header(request, "x-amz-meta-a", "second"),
    ]
    for other in changed:
        assert refusal(other).code == "SignatureDoesNotMatch"


def test_the_wrong_secret_is_refused() -> None:
    for expires in (None, 60):
        failure = refusal(sign(secret="another-secret", expires=expires))
        assert failure.code == "SignatureDoesNotMatch"
        assert failure.fields["AWSAccessKeyId"] == ACCESS
        assert SECRET not in str(failure.fields)


def test_the_unknown_key_is_refused() -> None:
    request = change_header(sign(), "authorization", lambda value: value.replace(ACCESS.encode(), b"AKIDOTHER"))
    assert refusal(request).code == "InvalidAccessKeyId"


def test_a_line_break_cannot_move_text_between_the_lines_that_are_signed() -> None:
    request = sign("PUT", headers={"content-type": "a", "x-amz-meta-a": "v"})
    for other in (
        change_header(request, "content-type", lambda _: b"a\nhost:other"),
        replace(request, raw_path=b"/bucket/key\n"),
        replace(request, method="PUT\n"),
    ):
        assert refusal(other).code == "SignatureDoesNotMatch"
    # The very canonical text that was signed, its lines dealt out otherwise.
    moved = replace(request, method="PUT\n/bucket/key", raw_path=b"", raw_query=b"")
    assert refusal(moved).code == "SignatureDoesNotMatch"


# Headers that the signer never saw.


@pytest.mark.parametrize("expires", [None, 60])
@pytest.mark.parametrize("name", ["x-amz-copy-source", "x-amz-acl", "x-amz-meta-b", "x-amz-tagging"])
def test_unsigned_amz_headers_are_refused(name: str, expires: int | None) -> None:
    failure = refusal(with_header(sign("PUT", expires=expires), name, "/other/secret"))
    assert (failure.code, failure.status) == ("AccessDenied", 403)
    assert failure.fields["HeadersNotSigned"] == name


def test_headers_that_s3_does_not_act_on_may_be_unsigned() -> None:
    request = sign("PUT", expires=60)
    for name in ("x-amzn-trace-id", "content-type", "user-agent", "content-md5"):
        assert verify(with_header(request, name, "v")).credential is not None


def test_an_unsigned_content_sha256_is_taken_only_when_its_value_is_signed() -> None:
    presigned = sign("PUT", expires=60)
    assert verify(with_header(presigned, "x-amz-content-sha256", "UNSIGNED-PAYLOAD")).kind is AuthKind.PRESIGNED
    assert refusal(with_header(presigned, "x-amz-content-sha256", EMPTY_SHA256)).code == "AccessDenied"


def test_the_host_must_be_signed_and_there_once() -> None:
    request = sign()
    unsigned = change_header(request, "authorization", lambda value: value.replace(b"host;", b""))
    assert refusal(unsigned).fields["HeadersNotSigned"] == "host"
    assert refusal(replace(request, headers=request.headers[1:])).code == "InvalidRequest"
    assert refusal(with_header(request, "host", "other.example")).code == "InvalidRequest"


# Time.


@pytest.mark.parametrize(("seconds", "is_taken"), [(-901, False), (-900, True), (900, True), (901, False)])
def test_clocks_may_differ_by_fifteen_minutes(seconds: int, is_taken: bool) -> None:
    request = sign()
    if is_taken:
        assert verify(request, now_ns=NOW_NS + seconds * SECOND_NS).credential is not None
    else:
        failure = refusal(request, now_ns=NOW_NS + seconds * SECOND_NS)
        assert failure.code == "RequestTimeTooSkewed"
        assert failure.fields["RequestTime"] == "20260304T050607Z"
        assert failure.fields["MaxAllowedSkewMilliseconds"] == "900000"


@pytest.mark.parametrize(("seconds", "is_taken"), [(-901, False), (-900, True), (0, True), (60, True), (61, False)])
def test_presigned_urls_live_from_their_date_to_their_end(seconds: int, is_taken: bool) -> None:
    request = sign(expires=60)
    if is_taken:
        assert verify(request, now_ns=NOW_NS + seconds * SECOND_NS).credential is not None
    else:
        assert refusal(request, now_ns=NOW_NS + seconds * SECOND_NS).code == "AccessDenied"


@pytest.mark.parametrize("expires", [0, -1, 604801, 10**9])
def test_presigned_lifetimes_are_bounded(expires: int) -> None:
    assert refusal(sign(expires=expires)).code == "AuthorizationQueryParametersError"


def test_the_date_header_stands_in_for_x_amz_date() -> None:
    request = sign()
    iso = [(b"date" if name == b"x-amz-date" else name, value) for name, value in request.headers]
    iso = [(name, value.replace(b";x-amz-date", b"")) for name, value in iso]
    assert refusal(replace(request, headers=iso)).code == "SignatureDoesNotMatch"
    http = [(name, b"Wed, 04 Mar 2026 05:06:07 GMT" if name == b"date" else value) for name, value in iso]
    assert refusal(replace(request, headers=http)).code == "SignatureDoesNotMatch"
    signed = sign(headers={"Date": "now"})
    assert b"x-amz-date" not in dict(signed.headers)
    assert verify(signed).credential is not None
    bad = [(name, b"yesterday" if name == b"date" else value) for name, value in iso]
    assert refusal(replace(request, headers=bad)).code == "AccessDenied"


# Scope.


def test_the_configured_region_and_us_east_1_are_taken() -> None:
    assert verify(sign(region="us-east-1")).credential is not None
    failure = refusal(sign(region="ap-south-1"))
    assert (failure.code, failure.fields["Region"]) == ("AuthorizationHeaderMalformed", REGION)
    failure = refusal(sign(region="ap-south-1", expires=60))
    assert (failure.code, failure.fields["Region"]) == ("AuthorizationQueryParametersError", REGION)


def test_other_services_are_refused_unless_asked_for() -> None:
    signer = SigV4Auth(Credentials(ACCESS, SECRET), "sts", REGION)
    request = replace(sign("POST", "/", body=b"Action=X", signer=signer))
    assert refusal(request).code == "InvalidRequest"  # no x-amz-content-sha256
    body_sha256 = "60f2ccf4bcb9a9c1cf3a5b0a0e0f2f6b2c2b3e2c7a9a2d1b8e5f4a3b2c1d0e9f"
    assert refusal(replace(request, body_sha256=body_sha256)).code == "AuthorizationHeaderMalformed"
    right = replace(request, body_sha256=hashlib.sha256(b"Action=X").hexdigest())
    assert authenticate(right, ROOT, now_ns=NOW_NS, region=REGION, service="sts").kind is AuthKind.HEADER


def test_the_day_of_the_scope_is_the_day_of_the_request() -> None:
    request = change_header(sign(), "authorization", lambda value: value.replace(b"/20260304/", b"/20260303/"))
    assert refusal(request).code == "AuthorizationHeaderMalformed"


# Malformed claims.


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Signature=", b"Sig="),
        (b"SignedHeaders=", b"Signed="),
        (b"Credential=", b"Cred="),
        (b"Credential=", b"Credential=a, Credential="),
        (b"SignedHeaders=", b"SignedHeaders=host, SignedHeaders="),
        (b"SignedHeaders=host", b"SignedHeaders=host;host"),
        (b"SignedHeaders=host", b"SignedHeaders=ho st"),
        (b"SignedHeaders=host", b"SignedHeaders=;host"),
        (b"/aws4_request", b"/aws5_request"),
        (b"/s3/aws4_request", b""),
        (b"/s3/", b"/ec2/"),
        (b"/20260304/", b"/2026034/"),
        (b"AKIDEXAMPLE", b""),
        (b"Signature=", b"Signature=0"),
        (b"Signature=", b"Extra=1, Signature="),
        (b"SignedHeaders=host", b"SignedHeaders=" + b"x;" * 3000 + b"host"),
    ],
)
def test_malformed_authorization_is_refused(old: bytes, new: bytes) -> None:
    request = change_header(sign(), "authorization", lambda value: value.replace(old, new))
    assert refusal(request).code == "AuthorizationHeaderMalformed"


def test_two_authorization_headers_are_refused() -> None:
    request = sign()
    value = dict(request.headers)[b"authorization"].decode()
    assert refusal(with_header(request, "authorization", value)).code == "AuthorizationHeaderMalformed"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"X-Amz-Credential=", b"x-amz-credential="),
        (b"X-Amz-Signature=", b"X-Amz-Signature=0&X-Amz-Signature="),
        (b"X-Amz-Signature=", b"Y="),
        (b"X-Amz-Signature=", b"X-Amz-Signature=G"),
        (b"X-Amz-Expires=60", b"X-Amz-Expires=soon"),
        (b"X-Amz-Expires=60", b"X-Amz-Expires=60&X-Amz-Expires=600"),
        (b"X-Amz-Expires=60", b"X-Amz-Expires=%D9%A6%D9%A0"),
        (b"X-Amz-Expires=60", b""),
        (b"X-Amz-Date=2026", b"X-Amz-Date=x026"),
        (b"X-Amz-SignedHeaders=host", b"X-Amz-SignedHeaders="),
        (b"X-Amz-SignedHeaders=host", b"X-Amz-SignedHeaders=host&X-Amz-SignedHeaders=host"),
        (b"X-Amz-Algorithm=AWS4-HMAC-SHA256&", b""),
    ],
)
def test_malformed_query_auth_is_refused(old: bytes, new: bytes) -> None:
    request = sign(expires=60)
    assert old in request.raw_query
    request = replace(request, raw_query=request.raw_query.replace(old, new))
    assert refusal(request).code == "AuthorizationQueryParametersError"


def test_escaped_parameter_names_are_still_query_auth() -> None:
    request = SignedRequest("GET", b"/b/k", b"%58-Amz-Credential=a", [(b"host", b"h")])
    assert refusal(request).code == "AuthorizationQueryParametersError"


def test_header_and_query_auth_together_are_refused() -> None:
    request = replace(sign(), raw_query=sign(expires=60).raw_query)
    assert refusal(request).code == "InvalidArgument"
    assert refusal(replace(sign(), raw_query=b"X-Amz-Credential=a")).code == "InvalidArgument"


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (b"AWS AKIDEXAMPLE:c2lnbmF0dXJl", "InvalidRequest"),
        (b"AWS4-ECDSA-P256-SHA256 Credential=a, SignedHeaders=b, Signature=c", "InvalidRequest"),
        (b"Bearer secret-token", "InvalidArgument"),
        (b"Basic dXNlcjpwYXNz", "InvalidArgument"),
        (b"", "InvalidArgument"),
        (b"AWS4-HMAC-SHA256", "InvalidRequest"),
    ],
)
def test_other_ways_of_signing_are_refused(authorization: bytes, code: str) -> None:
    request = SignedRequest("GET", b"/b/k", b"", [(b"host", b"h"), (b"authorization", authorization)])
    failure = refusal(request)
    assert failure.code == code
    assert "token" not in failure.message
    assert "dXNlcjpwYXNz" not in str(failure.fields)


def test_other_ways_of_presigning_are_refused() -> None:
    query = sign(expires=60).raw_query.replace(b"AWS4-HMAC-SHA256", b"AWS4-ECDSA-P256-SHA256")
    assert refusal(SignedRequest("GET", b"/b/k", query, [(b"host", b"h")])).code == "InvalidRequest"


# Anonymous requests.


def test_a_request_without_any_claim_is_anonymous() -> None:
    found = verify(SignedRequest("GET", b"/b/k", b"versionId=1", [(b"host", b"h"), (b"x-amz-meta-a", b"v")]))
    assert (found.kind, found.credential) == (AuthKind.ANONYMOUS, None)


def test_an_anonymous_request_with_a_session_token_is_refused() -> None:
    headers = [(b"host", b"h"), (b"x-amz-security-token", b"t")]
    assert refusal(SignedRequest("GET", b"/b/k", b"", headers)).code == "AccessDenied"


# Payload modes by kind of authentication: the whole table.

STREAMING = [mode.value for mode in PayloadMode if mode.is_streaming]
PLAIN = ["UNSIGNED-PAYLOAD", EMPTY_SHA256]
OTHER_STREAMING = [
    "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
    "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER",
    "STREAMING-AWS4-HMAC-SHA256-EVENTS",
    "STREAMING-UNSIGNED-PAYLOAD",
]
GARBAGE = ["", "unsigned-payload", "0" * 63, "g" * 64, "UNSIGNED-PAYLOAD,UNSIGNED-PAYLOAD"]
RESULTS = {
    ("header", "plain"): "ok",
    ("header", "streaming"): "ok",
    ("header", "other"): "NotImplemented",
    ("header", "garbage"): "InvalidArgument",
    ("header-wrong-secret", "plain"): "SignatureDoesNotMatch",
    ("header-wrong-secret", "streaming"): "SignatureDoesNotMatch",
    ("header-wrong-secret", "other"): "NotImplemented",
    ("header-wrong-secret", "garbage"): "InvalidArgument",
    ("presigned", "plain"): "ok",
    ("presigned", "streaming"): "AccessDenied",
    ("presigned", "other"): "NotImplemented",
    ("presigned", "garbage"): "InvalidArgument",
    ("presigned-unsigned-header", "streaming"): "AccessDenied",
    ("presigned-unsigned-header", "other"): "AccessDenied",
    ("presigned-wrong-secret", "plain"): "SignatureDoesNotMatch",
    ("presigned-wrong-secret", "streaming"): "AccessDenied",
    ("credential-only-in-query", "plain"): "AuthorizationQueryParametersError",
    ("credential-only-in-query", "streaming"): "AuthorizationQueryParametersError",
    ("anonymous", "plain"): "ok",
    ("anonymous", "streaming"): "AccessDenied",
    ("anonymous", "other"): "NotImplemented",
    ("anonymous", "garbage"): "InvalidArgument",
}
VALUES = {"plain": PLAIN, "streaming": STREAMING, "other": OTHER_STREAMING, "garbage": GARBAGE}


class WithPayload(S3SigV4Auth):  # type: ignore[misc]  # botocore is untyped
    """Signs whatever the header announces."""

    def payload(self, request: Any) -> str:
        return str(request.headers["X-Amz-Content-SHA256"])

    def _modify_request_before_signing(self, request: Any) -> None:
        announced = request.headers["X-Amz-Content-SHA256"]
        super()._modify_request_before_signing(request)
        del request.headers["X-Amz-Content-SHA256"]
        request.headers["X-Amz-Content-SHA256"] = announced


class PresignWithPayload(S3SigV4QueryAuth):  # type: ignore[misc]  # botocore is untyped
    def payload(self, request: Any) -> str:
        return str(request.headers["X-Amz-Content-SHA256"])


def request_of(kind: str, announced: str) -> SignedRequest:
    secret = "another-secret" if kind.endswith("wrong-secret") else SECRET
    credentials = Credentials(ACCESS, secret)
    headers = {"X-Amz-Content-SHA256": announced}
    if kind.startswith("header"):
        return sign("PUT", headers=headers, signer=WithPayload(credentials, "s3", REGION))
    if kind == "presigned-unsigned-header":
        return with_header(sign("PUT", expires=60), "x-amz-content-sha256", announced)
    if kind.startswith("presigned"):
        return sign("PUT", headers=headers, signer=PresignWithPayload(credentials, "s3", REGION, expires=60))
    query = f"X-Amz-Credential={ACCESS}".encode() if kind == "credential-only-in-query" else b""
    return SignedRequest("PUT", b"/b/k", query, [(b"host", b"h"), (b"x-amz-content-sha256", announced.encode())])


@pytest.mark.parametrize(
    ("kind", "announced", "expected"),
    [(kind, value, expected) for (kind, group), expected in RESULTS.items() for value in VALUES[group]],
)
def test_every_payload_under_every_kind_of_authentication(kind: str, announced: str, expected: str) -> None:
    request = request_of(kind, announced)
    if expected != "ok":
        assert refusal(request).code == expected
        return
    found = verify(request)
    assert (found.chunks is not None) == announced.startswith("STREAMING-AWS4")
    assert found.payload.sha256 == (bytes.fromhex(announced) if announced == EMPTY_SHA256 else None)


def test_a_header_request_must_announce_its_payload() -> None:
    request = sign(signer=SigV4Auth(Credentials(ACCESS, SECRET), "s3", REGION))
    assert refusal(request).code == "InvalidRequest"


def test_the_body_is_held_against_its_announced_hash() -> None:
    payload = verify(sign("PUT", body=b"data", headers={})).payload
    payload.check_sha256(hashlib.sha256(b"data").digest())
    with pytest.raises(S3Failure) as raised:
        payload.check_sha256(hashlib.sha256(b"date").digest())
    assert raised.value.code == "XAmzContentSHA256Mismatch"


# Temporary credentials.

TEMPORARY = Credential(ACCESS, SECRET, "root", session_token="token+/=", expires_at_ns=NOW_NS + 1)


@pytest.mark.parametrize("expires", [None, 60])
def test_session_tokens_must_be_the_credentials_own(expires: int | None) -> None:
    source = OneCredential(TEMPORARY)
    found = authenticate(sign(token="token+/=", expires=expires), source, now_ns=NOW_NS, region=REGION)
    assert found.credential is TEMPORARY
    for token in (None, "token", ""):
        with pytest.raises(S3Failure) as raised:
            authenticate(sign(token=token, expires=expires), source, now_ns=NOW_NS, region=REGION)
        assert raised.value.code == "InvalidToken"
    assert refusal(sign(token="token+/=", expires=expires)).code == "InvalidToken"


def test_expired_credentials_are_refused() -> None:
    with pytest.raises(S3Failure) as raised:
        authenticate(sign(token="token+/="), OneCredential(TEMPORARY), now_ns=NOW_NS + 1, region=REGION)
    assert raised.value.code == "ExpiredToken"


# Whatever comes.

wild_bytes = st.binary(max_size=60)
wild_headers = st.lists(
    st.tuples(
        st.sampled_from([b"host", b"authorization", b"x-amz-date", b"date", b"x-amz-content-sha256", b"x-amz-meta-a"]),
        wild_bytes | st.just(b"AWS4-HMAC-SHA256 ") | st.just(b"20260304T050607Z"),
    ),
    max_size=6,
)


@given(path=wild_bytes, query=wild_bytes, headers=wild_headers)
def test_no_request_raises_anything_but_a_failure(
    path: bytes, query: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    with contextlib.suppress(S3Failure):
        assert verify(SignedRequest("GET", path, query, headers)).kind is AuthKind.ANONYMOUS


def test_no_damaged_authorization_header_is_believed() -> None:
    request = sign()
    value = dict(request.headers)[b"authorization"]

    def words(text: bytes) -> list[bytes]:
        return [word.strip().lower() for word in text.split(b",")]

    for at in range(len(value)):
        for byte in (value[at] ^ 0x01, value[at] ^ 0x20, 0x00, 0x20, 0x2C, 0x2F, 0x3B, 0x3D, 0xFF):
            damaged = value[:at] + bytes([byte]) + value[at + 1 :]
            # Spaces around the parts, and the case of the header names, say the same as before.
            if words(damaged) != words(value):
                refusal(replace(request, headers=[*request.headers[:-1], (b"authorization", damaged)]))
