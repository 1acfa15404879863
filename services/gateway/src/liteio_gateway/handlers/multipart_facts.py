"""What an upload's parts add up to: the object's ETag and checksum; and the upload that a request names."""

from collections.abc import Sequence

from liteio_base.ids import UploadId
from liteio_contracts.object_layer import BodyFacts, PartInfo, UploadInfo, UploadName
from liteio_formats.record import StoredChecksum
from liteio_gateway.requests import S3Request
from liteio_s3.checksums import (
    ChecksumAlgorithm,
    ChecksumType,
    combine_checksums,
    composite_checksum,
    decode_checksum,
    encode_checksum,
)
from liteio_s3.errors import NO_SUCH_UPLOAD, S3Failure
from liteio_s3.etag import multipart_etag

_UPLOAD_ID_CHARACTERS = 48
_HEXADECIMAL = frozenset("0123456789abcdef")


def upload_name(request: S3Request) -> UploadName:
    """Raises S3Failure with NoSuchUpload for what no upload can be called."""
    text = request.parameters.get("uploadId", "")
    if len(text) != _UPLOAD_ID_CHARACTERS or not _HEXADECIMAL.issuperset(text):
        raise S3Failure(NO_SUCH_UPLOAD, fields={"UploadId": text})
    return UploadName(request.bucket, request.key, UploadId(text))


def algorithm_of(upload: UploadInfo) -> ChecksumAlgorithm | None:
    return ChecksumAlgorithm(upload.checksum_algorithm) if upload.checksum_algorithm else None


def summarise_parts(upload: UploadInfo, parts: Sequence[PartInfo]) -> BodyFacts:
    """The object's facts from its parts, in their order. No byte is read again."""
    etag = multipart_etag([bytes.fromhex(part.etag) for part in parts])
    algorithm = algorithm_of(upload)
    if algorithm is None or not all(part.checksum for part in parts):
        return BodyFacts(etag)
    digests = [decode_checksum(algorithm, part.checksum) for part in parts]
    if upload.checksum_kind == ChecksumType.COMPOSITE:
        value = composite_checksum(algorithm, digests)
    else:
        sizes = [part.size_bytes for part in parts]
        value = encode_checksum(combine_checksums(algorithm, list(zip(digests, sizes, strict=True))))
    return BodyFacts(etag, StoredChecksum(algorithm.value, upload.checksum_kind, value))
