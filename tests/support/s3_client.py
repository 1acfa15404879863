"""A lean S3 client over http.client: one connection, no retries, nothing hidden. It tells an answer from no answer,
which SDKs blur by retrying, and sends what SDKs refuse to send."""

import hashlib
import http.client
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import quote
from xml.etree import ElementTree

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from tests.support.server import ACCESS_KEY, REGION, SECRET_KEY

_NAMESPACE: Final = "{http://s3.amazonaws.com/doc/2006-03-01/}"


class NoAnswer(Exception):
    """The connection broke or timed out: whether the request was carried out is not known."""


class NotSent(NoAnswer):
    """There was no connection to send it on: it was certainly not carried out."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def code(self) -> str:
        """The `<Code>` of an error document; "" without one. An object's bytes may begin like one."""
        return "" if self.is_success or not self.body.startswith(b"<") else self.text("Code")

    def text(self, name: str) -> str:
        """The text of the first element of this name, "" without one."""
        return next(iter(self.texts(name)), "")

    def texts(self, name: str) -> list[str]:
        root = ElementTree.fromstring(self.body)
        return [one.text or "" for one in root.iter() if one.tag.rpartition("}")[2] == name]


class Host(Protocol):
    """Where S3 is served."""

    @property
    def url(self) -> str: ...

    def connect(self, *, timeout_seconds: float = ...) -> http.client.HTTPConnection: ...


class S3Client:
    """Not for several threads at once. `timeout_seconds` bounds each wait for the socket."""

    def __init__(self, server: Host, *, timeout_seconds: float = 30) -> None:
        self._server, self._timeout_seconds = server, timeout_seconds
        self._connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    def send(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        payload: str | None = None,
    ) -> Answer:
        """`path` and `query` go out as they stand, so they must be escaped. `payload` is the x-amz-content-sha256, the
        body's hash by default. Raises NoAnswer."""
        named = self.sign(method, path, query, headers or {}, payload or hashlib.sha256(body).hexdigest())
        if body or method in ("PUT", "POST"):
            named["content-length"] = str(len(body))
        return self.speak(method, path, query, named, body)

    def sign(self, method: str, path: str, query: str, headers: Mapping[str, str], payload: str) -> dict[str, str]:
        """The headers with a signature."""
        url = f"{self._server.url}{path}" + (f"?{query}" if query else "")
        request = AWSRequest(method=method, url=url, headers=dict(headers))
        request.context["payload_signing_enabled"] = True
        _Signer(payload).add_auth(request)
        return {name.lower(): value for name, value in request.headers.items()}

    def speak(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes | Iterable[bytes]
    ) -> Answer:
        """One exchange without signing. Raises NoAnswer."""
        target = path + (f"?{query}" if query else "")
        try:
            self._connection = self._connection or self._server.connect(timeout_seconds=self._timeout_seconds)
            self._connection.request(method, target, body=body or None, headers=dict(headers))
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as problem:
            self.close()
            raise NoAnswer(repr(problem)) from None
        if response.will_close:
            self.close()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, content)

    def put(self, bucket: str, key: str, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        return self.send("PUT", _path(bucket, key), body=body, headers=headers)

    def get(self, bucket: str, key: str, *, version_id: str = "", byte_range: str = "") -> Answer:
        headers = {"range": byte_range} if byte_range else {}
        return self.send("GET", _path(bucket, key), query=_version(version_id), headers=headers)

    def head(self, bucket: str, key: str) -> Answer:
        return self.send("HEAD", _path(bucket, key))

    def delete(self, bucket: str, key: str, *, version_id: str = "") -> Answer:
        return self.send("DELETE", _path(bucket, key), query=_version(version_id))

    def create_bucket(self, bucket: str) -> None:
        """Raises AssertionError unless it is there and ours afterwards."""
        answer = self.send("PUT", f"/{bucket}")
        assert answer.is_success or answer.code == "BucketAlreadyOwnedByYou", (answer.status, answer.body)

    def enable_versioning(self, bucket: str) -> None:
        document = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        answer = self.send("PUT", f"/{bucket}", query="versioning=", body=document)
        assert answer.is_success, (answer.status, answer.body)

    def create_upload(self, bucket: str, key: str) -> Answer:
        return self.send("POST", _path(bucket, key), query="uploads=")

    def put_part(self, bucket: str, key: str, upload_id: str, number: int, body: bytes) -> Answer:
        query = f"partNumber={number}&uploadId={quote(upload_id, safe='')}"
        return self.send("PUT", _path(bucket, key), query=query, body=body)

    def complete_upload(self, bucket: str, key: str, upload_id: str, etags: list[str]) -> Answer:
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
            for number, etag in enumerate(etags, start=1)
        )
        document = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        return self.send("POST", _path(bucket, key), query=f"uploadId={quote(upload_id, safe='')}", body=document)

    def abort_upload(self, bucket: str, key: str, upload_id: str) -> Answer:
        return self.send("DELETE", _path(bucket, key), query=f"uploadId={quote(upload_id, safe='')}")

    def list_uploads(self, bucket: str) -> list[tuple[str, str]]:
        """(key, upload id) of the first page. Raises AssertionError for an error answer."""
        answer = self.send("GET", f"/{bucket}", query="uploads=")
        assert answer.is_success, (answer.status, answer.body)
        uploads = ElementTree.fromstring(answer.body).iter(f"{_NAMESPACE}Upload")
        return [(_text(one, "Key"), _text(one, "UploadId")) for one in uploads]

    def list_keys(self, bucket: str, *, prefix: str = "", page: int = 1000) -> dict[str, tuple[int, str]]:
        """Every key with (size, ETag), page by page. Raises AssertionError for an error answer or a key seen twice."""
        found: dict[str, tuple[int, str]] = {}
        token = ""
        while True:
            query = f"list-type=2&max-keys={page}&prefix={quote(prefix, safe='')}"
            answer = self.send("GET", f"/{bucket}", query=query + token)
            assert answer.is_success, (answer.status, answer.body)
            root = ElementTree.fromstring(answer.body)
            for content in root.iter(f"{_NAMESPACE}Contents"):
                key = _text(content, "Key")
                assert key not in found, f"{key} is listed twice"
                found[key] = int(_text(content, "Size")), _text(content, "ETag")
            if _text(root, "IsTruncated") != "true":
                return found
            token = "&continuation-token=" + quote(_text(root, "NextContinuationToken"), safe="")


class _Signer(botocore.auth.S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """SigV4 over the declared payload, whatever the body is."""

    def __init__(self, payload: str) -> None:
        super().__init__(Credentials(ACCESS_KEY, SECRET_KEY), "s3", REGION)
        self._payload = payload

    def payload(self, request: AWSRequest) -> str:
        return self._payload


def _path(bucket: str, key: str) -> str:
    return f"/{bucket}/{quote(key, safe='/~')}"


def _version(version_id: str) -> str:
    return f"versionId={quote(version_id, safe='')}" if version_id else ""


def _text(element: ElementTree.Element, name: str) -> str:
    return element.findtext(f"{_NAMESPACE}{name}", "")
