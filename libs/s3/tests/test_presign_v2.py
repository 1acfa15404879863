"""Presigned URLs of version 2: botocore's signer as the oracle, and every way in which one may not be believed."""

import base64
import contextlib
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch
from urllib.parse import quote, urlencode, urlsplit

import pytest
from botocore.auth import HmacV1QueryAuth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from liteio_s3.credentials import Credential, RootCredentials
from liteio_s3.errors import S3Failure
from liteio_s3.payload import PayloadMode
from liteio_s3.presign_v2 import EXPIRES_MAX
from liteio_s3.sigv4 import Authenticated, AuthKind, SignedRequest, authenticate

ACCESS, SECRET = "AKIDEXAMPLE", "secret/key+1"
NOW = 1_772_600_767
ROOT = RootCredentials(ACCESS, SECRET)
MD5 = base64.b64encode(hashlib.md5(b"data", usedforsecurity=False).digest()).decode()
HOISTED = ("content-md5", "content-type")


def sign(
    method: str = "GET",
    target: str = "/bucket/key",
    headers: dict[str, str] | None = None,
    *,
    bucket: str = "",
    signed_path: str | None = None,
    sends_headers: bool = True,
    token: str | None = None,
    secret: str = SECRET,
    expires: int = 60,
) -> SignedRequest:
    """The request as botocore presigns it and an HTTP server hands it on. `bucket`: of a virtual-hosted Host.

    `sends_headers`: the client repeats content-type and content-md5 as headers, as the maker of the URL expects.
    """
    host = f"{bucket}.store.example" if bucket else "store.example:9000"
    path = target.partition("?")[0]
    auth_path = signed_path or (f"/{bucket}{path}" if bucket else path)
    request = AWSRequest(method, f"http://{host}{target}", headers=dict(headers or {}), auth_path=auth_path)
    with patch("botocore.auth.time.time", lambda: NOW):
        HmacV1QueryAuth(Credentials(ACCESS, secret, token), expires=expires).add_auth(request)
    url = urlsplit(request.url)
    sent = [(name.lower(), value) for name, value in (headers or {}).items() if name.lower() in HOISTED]
    raw = [(name.encode(), value.encode("latin-1")) for name, value in sent if sends_headers]
    all_headers = [(b"host", host.encode()), *raw]
    return SignedRequest(method, url.path.encode(), url.query.encode(), all_headers, hosted_bucket=bucket)


def sign_text(text: str, query: str, *, path: bytes = b"/bucket/key", method: str = "GET") -> SignedRequest:
    """A request whose signature covers `text`, which takes `{expires}`."""
    signed = text.format(expires=NOW + 60).encode()
    signature = base64.b64encode(hmac.digest(SECRET.encode(), signed, "sha1"))
    own = urlencode({"AWSAccessKeyId": ACCESS, "Expires": NOW + 60, "Signature": signature}, quote_via=quote)
    raw_query = f"{query}&{own}" if query else own
    return SignedRequest(method, path, raw_query.encode(), [(b"host", b"h")])


def verify(request: SignedRequest, *, now: int = NOW) -> Authenticated:
    return authenticate(request, ROOT, now_ns=now * 10**9, region="eu-west-3")


def refusal(request: SignedRequest, *, now: int = NOW) -> S3Failure:
    with pytest.raises(S3Failure) as raised:
        verify(request, now=now)
    return raised.value


def with_header(request: SignedRequest, name: str, value: str) -> SignedRequest:
    return replace(request, headers=[*request.headers, (name.encode(), value.encode())])


def change_query(request: SignedRequest, change: Callable[[bytes], bytes]) -> SignedRequest:
    changed = change(request.raw_query)
    assert changed != request.raw_query
    return replace(request, raw_query=changed)


def test_the_example_of_the_documentation_verifies() -> None:
    """Amazon S3 API reference, "Query string request authentication alternative"."""
    query = b"AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620"
    headers = [(b"host", b"johnsmith.s3.amazonaws.com")]
    request = SignedRequest("GET", b"/photos/puppy.jpg", query, headers, hosted_bucket="johnsmith")
    root = RootCredentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    found = authenticate(request, root, now_ns=1_175_139_619 * 10**9, region="us-east-1")
    assert found.kind is AuthKind.PRESIGNED
    assert found.credential is not None
    assert found.payload.mode is PayloadMode.UNSIGNED


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/bucket/key",
        "/bucket/key?versionId=a%2Fb%2Bc%26d",
        "/bucket/key?response-content-disposition=attachment%3B%20filename%3D%22a%20b%2B.txt%22&versionId=null",
        "/bucket/key?uploadId=x~y&partNumber=3",
        "/bucket/key?uploads",
        "/bucket/key?uploads=",
        "/bucket/key?tagging",
        "/bucket/?versions&prefix=a%20b&max-keys=2",
        "/bucket/?list-type=2&delimiter=%2F&continuation-token=x",
        "/bucket/a%20b/%C3%B6%E2%82%AC/c%2Bd//e/../~f",
    ],
)
def test_botocore_urls_verify(target: str) -> None:
    found = verify(sign("GET", target))
    assert (found.kind, found.credential, found.chunks) == (AuthKind.PRESIGNED, ROOT.find(ACCESS), None)


@pytest.mark.parametrize("name", sorted(set(HmacV1QueryAuth.QSAOfInterest)))
def test_every_sub_resource_is_signed_with_its_value(name: str) -> None:
    request = sign("GET", f"/bucket/key?{name}=a%20b")
    assert verify(request).kind is AuthKind.PRESIGNED
    for other in (
        change_query(request, lambda query: query.replace(b"=a%20b", b"=a%20c")),
        change_query(request, lambda query: query.partition(b"&")[2]),
    ):
        assert refusal(other).code == "SignatureDoesNotMatch"


def test_botocore_signs_a_bucket_with_a_slash_that_it_does_not_send() -> None:
    assert verify(sign("GET", "/bucket?versions", signed_path="/bucket/")).kind is AuthKind.PRESIGNED
    assert refusal(sign("GET", "/bucket/key", signed_path="/bucket/key/")).code == "SignatureDoesNotMatch"
    assert refusal(sign("GET", "/", signed_path="//")).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize("sends_headers", [True, False])
def test_uploads_with_type_md5_and_metadata_verify(sends_headers: bool) -> None:
    headers = {"Content-Type": "text/plain", "Content-MD5": MD5, "x-amz-meta-b": "2", "x-amz-acl": "private"}
    request = sign("PUT", "/bucket/key", headers, sends_headers=sends_headers)
    assert b"x-amz-meta-b=2" in request.raw_query
    assert verify(request).kind is AuthKind.PRESIGNED
    assert verify(with_header(request, "x-amz-meta-b", "2")).kind is AuthKind.PRESIGNED  # said twice, but the same


def test_headers_that_stay_headers_are_signed_too() -> None:
    text = "PUT\n\ntext/plain\n{expires}\nx-amz-acl:private\nx-amz-meta-a:1,2  3\n/bucket/key"
    request = sign_text(text, "", method="PUT")
    for name, value in [("x-amz-meta-a", " 1 "), ("content-type", "text/plain"), ("x-amz-acl", "private")]:
        request = with_header(request, name, value)
    request = with_header(request, "x-amz-meta-a", "2  3")
    assert verify(request).kind is AuthKind.PRESIGNED
    assert refusal(replace(request, headers=request.headers[:-1])).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("sent", "signed_as"),
    [
        (b"/bucket/a(b)!*'", "/bucket/a%28b%29%21%2A%27"),
        (b"/bucket/%61%7e", "/bucket/a~"),
        (b"/bucket/a(b)", "/bucket/a(b)"),
        (b"/bucket/a%2fb", "/bucket/a%2fb"),
    ],
)
def test_paths_verify_however_the_client_escaped_them(sent: bytes, signed_as: str) -> None:
    assert verify(replace(sign("GET", signed_as), raw_path=sent)).kind is AuthKind.PRESIGNED


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)
words = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)


@settings(deadline=None, max_examples=150)
@given(
    key=texts,
    hosted=st.booleans(),
    signed=st.dictionaries(st.sampled_from(["versionId", "partNumber", "uploadId", "response-expires"]), texts),
    metadata=st.dictionaries(st.text("abcdefgh-", min_size=1, max_size=5), words, max_size=3),
    content_type=st.none() | words,
)
def test_whatever_botocore_signs_verifies(
    key: str, hosted: bool, signed: dict[str, str], metadata: dict[str, str], content_type: str | None
) -> None:
    path = "/" + quote(key, safe="/~")
    query = "&".join(f"{name}={quote(value, safe='-_.~')}" for name, value in signed.items())
    headers = {f"x-amz-meta-{name}": value for name, value in metadata.items()}
    if content_type is not None:
        headers["content-type"] = content_type
    target = (path if hosted else "/bucket" + path) + (f"?{query}" if query else "")
    request = sign("PUT", target, headers, bucket="bucket" if hosted else "")
    assert verify(request).credential is not None
    for other in (
        replace(request, raw_path=request.raw_path + b"x"),
        replace(request, method="DELETE"),
        replace(request, raw_query=request.raw_query + b"&acl"),
        replace(request, hosted_bucket="" if hosted else "bucket"),
    ):
        assert refusal(other).code == "SignatureDoesNotMatch"


def test_hosted_and_path_style_urls_are_not_each_others() -> None:
    by_host = sign("GET", "/a/b", bucket="bucket")
    assert verify(by_host).kind is AuthKind.PRESIGNED
    assert refusal(replace(by_host, hosted_bucket="")).code == "SignatureDoesNotMatch"
    assert refusal(replace(by_host, hosted_bucket="other")).code == "SignatureDoesNotMatch"
    # The same bucket and key, named the other way.
    assert verify(replace(by_host, hosted_bucket="", raw_path=b"/bucket/a/b")).kind is AuthKind.PRESIGNED


def test_each_part_of_a_request_is_covered() -> None:
    headers = {"content-type": "text/plain", "content-md5": MD5, "x-amz-meta-a": "v"}
    request = sign("PUT", "/bucket/key?partNumber=1&uploadId=x", headers, sends_headers=False)
    changed = [
        replace(request, method="DELETE"),
        replace(request, raw_path=b"/bucket/other"),
        replace(request, raw_path=b"/other/key"),
        *[
            change_query(request, lambda query, old=old, new=new: query.replace(old, new))  # type: ignore[misc]
            for old, new in [
                (b"partNumber=1", b"partNumber=2"),
                (b"partNumber=1&", b""),
                (b"uploadId=x", b"uploadId=x&versionId=y"),
                (b"content-type=text%2Fplain", b"content-type=text%2Fhtml"),
                (b"content-md5=", b"content-md5=A"),
                (b"x-amz-meta-a=v", b"x-amz-meta-a=w"),
                (b"x-amz-meta-a=v", b"x-amz-meta-b=v"),
                (b"&x-amz-meta-a=v", b""),
                (b"Expires=1", b"Expires=2"),
                (b"Signature=", b"Signature=A"),
            ]
        ],
        with_header(request, "x-amz-copy-source", "/other/secret"),
        with_header(request, "x-amz-meta-b", "second"),
    ]
    for other in changed:
        assert refusal(other).code == "SignatureDoesNotMatch"
    assert verify(request).kind is AuthKind.PRESIGNED


def test_what_is_said_twice_must_be_the_same() -> None:
    request = sign("PUT", "/bucket/key", {"content-type": "text/plain", "x-amz-meta-a": "v"}, sends_headers=False)
    for name, value in [("content-type", "text/html"), ("x-amz-meta-a", "w")]:
        assert refusal(with_header(request, name, value)).code == "InvalidArgument"
    for extra in (b"&x-amz-meta-a=v", b"&X-Amz-Meta-A=v", b"&Content-Type=text/plain", b"&Expires=9999999999"):
        assert refusal(replace(request, raw_query=request.raw_query + extra)).code == "InvalidArgument"
    assert refusal(replace(request, raw_query=request.raw_query + b"&Signature=")).code == "InvalidArgument"


def test_the_wrong_secret_and_the_unknown_key_are_refused() -> None:
    failure = refusal(sign(secret="another-secret"))
    assert failure.code == "SignatureDoesNotMatch"
    assert failure.fields == {"AWSAccessKeyId": ACCESS, "StringToSign": f"GET\n\n\n{NOW + 60}\n/bucket/key"}
    failure = refusal(change_query(sign(), lambda query: query.replace(ACCESS.encode(), b"AKIDOTHER")))
    assert (failure.code, failure.fields["AWSAccessKeyId"]) == ("InvalidAccessKeyId", "AKIDOTHER")


def test_no_damaged_signature_is_believed() -> None:
    request = sign()
    value = request.raw_query.partition(b"Signature=")[2].partition(b"&")[0]
    for at in range(len(value)):
        for byte in b"A%20=+":
            damaged = value[:at] + bytes([byte]) + value[at + 1 :]
            if damaged.lower() != value.lower():
                refusal(change_query(request, lambda query, damaged=damaged: query.replace(value, damaged)))  # type: ignore[misc]


def test_secrets_are_not_told_back() -> None:
    key = {"x-amz-server-side-encryption-customer-key": "c2VjcmV0"}
    failure = refusal(replace(sign("PUT", "/bucket/key", key), method="GET"))
    assert "c2VjcmV0" not in str(failure.fields)


# Requests that would share a signature, and what it leaves out.


@pytest.mark.parametrize("value", ["a&versionId=3", "a&versionId", "a&acl&b", "&tagging="])
def test_a_value_that_reads_like_a_further_parameter_is_refused(value: str) -> None:
    """Else who holds the URL of an old version could read the newest with it, under the very same signature."""
    split = sign("GET", "/bucket/key?response-content-disposition=a&versionId=3")
    merged = change_query(split, lambda query: query.replace(b"=a&versionId=3", b"=a%26versionId%3D3"))
    assert verify(split).kind is AuthKind.PRESIGNED
    assert refusal(merged).code == "InvalidArgument"
    assert refusal(sign("GET", f"/bucket/key?response-content-disposition={quote(value)}")).code == "InvalidArgument"
    harmless = quote("attachment; filename=a&b&aclx.txt")
    assert verify(sign("GET", f"/bucket/key?response-content-disposition={harmless}")).kind is AuthKind.PRESIGNED


@pytest.mark.parametrize(
    "query",
    [
        "x-amz-meta-a=1%0Ax-amz-acl%3Apublic-read",  # the text of two headers
        "x-amz-meta-a%3Ab=1",
        "content-type=a%0A",
        "content-md5=%0D%0A",
        "x-amz-meta-%C3%B6=1",
        "x-amz-=%00",
    ],
)
def test_a_line_break_cannot_move_text_between_the_lines_that_are_signed(query: str) -> None:
    assert refusal(sign_text("GET\n\n\n{expires}\n/bucket/key", query)).code == "InvalidArgument"


def test_a_line_break_in_the_resource_stays_in_it() -> None:
    text = "GET\n\n\n{expires}\n/bucket/key?response-expires=a\n/b"
    assert verify(sign_text(text, "response-expires=a%0A/b")).kind is AuthKind.PRESIGNED
    for path, query in [(b"/b", "response-expires=a"), (b"/bucket/key", "response-expires=a"), (b"/b", "")]:
        assert refusal(sign_text(text, query, path=path)).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    "name", ["retention", "legal-hold", "encryption", "attributes", "publicAccessBlock", "x", "Acl"]
)
def test_parameters_that_are_not_signed_are_refused(name: str) -> None:
    """Else the URL of an upload would be one that sets a retention."""
    failure = refusal(change_query(sign("PUT"), lambda query: query + b"&" + name.encode()))
    assert (failure.code, failure.status, failure.fields["ParametersNotSigned"]) == ("AccessDenied", 403, name)


def test_what_shapes_a_list_need_not_be_signed() -> None:
    request = sign("GET", "/bucket/")
    for extra in (b"&prefix=a%20b", b"&list-type=2&start-after=x", b"&max-keys=1", b"&x-id=ListObjects"):
        assert verify(replace(request, raw_query=request.raw_query + extra)).kind is AuthKind.PRESIGNED


# Time.


@pytest.mark.parametrize(("now", "is_taken"), [(NOW - 10**9, True), (NOW, True), (NOW + 59, True), (NOW + 60, False)])
def test_urls_live_until_the_second_that_they_name(now: int, is_taken: bool) -> None:
    if is_taken:
        assert verify(sign(), now=now).kind is AuthKind.PRESIGNED
        return
    failure = refusal(sign(), now=now)
    assert (failure.code, failure.status, failure.message) == ("AccessDenied", 403, "Request has expired")
    assert failure.fields == {"Expires": "2026-03-04T05:07:07.000Z", "ServerTime": "2026-03-04T05:07:07.000Z"}


def test_the_end_may_be_any_number_of_years_away() -> None:
    for expires in (604_801, 10**9, EXPIRES_MAX - NOW):
        assert verify(sign(expires=expires)).kind is AuthKind.PRESIGNED
    assert refusal(sign(expires=EXPIRES_MAX - NOW), now=EXPIRES_MAX).message == "Request has expired"


def test_the_end_is_looked_at_before_the_signature() -> None:
    assert refusal(sign(secret="another-secret"), now=NOW + 60).message == "Request has expired"


# Malformed claims.


@pytest.mark.parametrize(
    "value", ["soon", "-1", "+1772600827", "1772600827.5", "1772600827000", "253402300800", "%D9%A6", "1e12", " 1"]
)
def test_an_end_that_is_no_date_is_refused(value: str) -> None:
    request = change_query(sign(), lambda query: query.replace(b"Expires=", f"Expires={value}&x-id=".encode()))
    failure = refusal(request)
    assert (failure.code, failure.status) == ("AccessDenied", 403)
    assert failure.message.startswith("Invalid date (should be seconds since epoch): ")


@pytest.mark.parametrize("name", ["AWSAccessKeyId", "Signature", "Expires"])
def test_half_a_claim_is_refused(name: str) -> None:
    for new in (b"x-id=", name.encode() + b"=&x-id=", name.lower().encode() + b"="):
        request = change_query(sign(), lambda query, new=new: query.replace(name.encode() + b"=", new))  # type: ignore[misc]
        failure = refusal(request)
        assert (failure.code, failure.status) == ("AccessDenied", 403)
        assert "requires the Signature, Expires and AWSAccessKeyId" in failure.message


@pytest.mark.parametrize(
    "query", [b"Signature=c2ln", b"AWSAccessKeyId=a", b"signature", b"%53ignature=x", b"awsaccesskeyid=a"]
)
def test_a_part_of_a_claim_is_never_anonymous(query: bytes) -> None:
    assert refusal(SignedRequest("GET", b"/b/k", query, [(b"host", b"h")])).code == "AccessDenied"


def test_expires_alone_is_no_claim() -> None:
    request = SignedRequest("GET", b"/b/k", b"Expires=1", [(b"host", b"h")])
    assert verify(request).kind is AuthKind.ANONYMOUS


def test_an_access_key_of_any_length_is_refused() -> None:
    request = change_query(sign(), lambda query: query.replace(ACCESS.encode(), b"A" * 5000))
    assert refusal(request).code == "InvalidArgument"


def test_two_kinds_of_signature_are_refused() -> None:
    request = AWSRequest("GET", "http://store.example:9000/bucket/key")
    S3SigV4QueryAuth(Credentials(ACCESS, SECRET), "s3", "eu-west-3", expires=60).add_auth(request)
    version_4 = urlsplit(request.url).query.encode()
    for extra in (version_4, *version_4.split(b"&"), b"x-amz-date=20260304T050607Z"):
        failure = refusal(replace(sign(), raw_query=sign().raw_query + b"&" + extra))
        assert failure.code == "InvalidArgument"
        assert "Only one auth mechanism" in failure.message
    for header in ("AWS4-HMAC-SHA256 Credential=a", f"AWS {ACCESS}:c2ln", "Basic x"):
        assert refusal(with_header(sign(), "authorization", header)).code == "InvalidArgument"


def test_the_header_of_version_2_stays_refused() -> None:
    headers = [(b"host", b"h"), (b"date", b"Wed, 04 Mar 2026 05:06:07 GMT"), (b"authorization", b"AWS a:c2ln")]
    assert refusal(SignedRequest("GET", b"/b/k", b"", headers)).code == "InvalidRequest"


def test_other_services_do_not_take_version_2() -> None:
    with pytest.raises(S3Failure) as raised:
        authenticate(sign(), ROOT, now_ns=NOW * 10**9, region="eu-west-3", service="sts")
    assert raised.value.code == "InvalidRequest"


# Payloads and temporary credentials.


def test_a_signed_hash_of_the_body_counts() -> None:
    digest = hashlib.sha256(b"data").hexdigest()
    found = verify(sign("PUT", "/bucket/key", {"x-amz-content-sha256": digest}))
    assert found.payload.sha256 == bytes.fromhex(digest)
    assert refusal(with_header(sign("PUT"), "x-amz-content-sha256", digest)).code == "SignatureDoesNotMatch"
    streaming = {"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}
    assert refusal(sign("PUT", "/bucket/key", streaming)).code == "AccessDenied"


def test_session_tokens_must_be_the_credentials_own() -> None:
    temporary = Credential(ACCESS, SECRET, "root", session_token="token+/=", expires_at_ns=NOW * 10**9 + 1)

    class Source:
        def find(self, access_key: str) -> Credential | None:
            return temporary if access_key == ACCESS else None

    def code(token: str | None, now_ns: int = NOW * 10**9) -> str:
        with pytest.raises(S3Failure) as raised:
            authenticate(sign(token=token), Source(), now_ns=now_ns, region="eu-west-3")
        return raised.value.code

    found = authenticate(sign(token="token+/="), Source(), now_ns=NOW * 10**9, region="eu-west-3")
    assert found.credential is temporary
    assert (code(None), code("token")) == ("InvalidToken", "InvalidToken")
    assert code("token+/=", NOW * 10**9 + 1) == "ExpiredToken"
    assert refusal(sign(token="token+/=")).code == "InvalidToken"
    stripped = change_query(sign(token="token+/="), lambda query: query.replace(b"x-amz-security-token", b"x-id"))
    assert refusal(stripped).code == "SignatureDoesNotMatch"
    failure = refusal(sign(token="token+/=", secret="another-secret"))
    assert "token" not in str(failure.fields)


# Whatever comes.


@given(
    path=st.binary(max_size=40),
    pairs=st.lists(
        st.tuples(
            st.sampled_from(
                ["AWSAccessKeyId", "Signature", "Expires", "acl", "uploads", "x-amz-meta-a", "content-type", "x", ""]
            ),
            texts | st.just(ACCESS) | st.just("1900000000"),
        ),
        max_size=8,
    ),
    headers=st.lists(st.tuples(st.sampled_from([b"host", b"x-amz-meta-a", b"content-md5"]), st.binary(max_size=20))),
    bucket=st.sampled_from(["", "bucket"]),
)
def test_no_request_raises_anything_but_a_failure(
    path: bytes, pairs: list[tuple[str, str]], headers: list[tuple[bytes, bytes]], bucket: str
) -> None:
    request: Any = SignedRequest("GET", path, urlencode(pairs).encode(), headers, hosted_bucket=bucket)
    with contextlib.suppress(S3Failure):
        assert verify(request).kind is AuthKind.ANONYMOUS
