"""The catalogue of S3 errors, the one exception that carries a row of it, and AWS's `<Error>` document.

    Exception
    └── S3Failure        a row of the catalogue, with the facts of this one request

Codes, statuses and wording are those that Amazon S3 answers (API reference, "Error responses"), so that SDKs take their
usual branches. A row's wording may be replaced for one request; its code and status never are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class S3Error:
    """One row: the code that SDKs compare, the HTTP status, the usual wording."""

    code: str
    status: int
    message: str


_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class S3Failure(Exception):
    """A request that S3 would refuse.

    `fields` become elements of the error document, in order (`BucketName`, `Key`, `UploadId`, `Region`);
    `headers` are added to the answer (`Content-Range`, `x-amz-delete-marker`...). Neither may hold a secret.
    """

    def __init__(
        self,
        error: S3Error,
        message: str | None = None,
        *,
        fields: Mapping[str, str] = _NOTHING,
        headers: Mapping[str, str] = _NOTHING,
    ) -> None:
        self.error = error
        self.message = error.message if message is None else message
        self.fields = fields
        self.headers = headers
        super().__init__(f"{error.code}: {self.message}")

    @property
    def code(self) -> str:
        return self.error.code

    @property
    def status(self) -> int:
        return self.error.status


# Who asks: signatures, tokens, permission.
ACCESS_DENIED = S3Error("AccessDenied", 403, "Access Denied")
AUTHORIZATION_HEADER_MALFORMED = S3Error(
    "AuthorizationHeaderMalformed", 400, "The authorization header you provided is invalid."
)
AUTHORIZATION_QUERY_PARAMETERS_ERROR = S3Error(
    "AuthorizationQueryParametersError", 400, "The authorization query parameters that you provided are not valid."
)
EXPIRED_TOKEN = S3Error("ExpiredToken", 400, "The provided token has expired.")
INVALID_ACCESS_KEY_ID = S3Error(
    "InvalidAccessKeyId", 403, "The AWS Access Key Id you provided does not exist in our records."
)
INVALID_TOKEN = S3Error("InvalidToken", 400, "The provided token is malformed or otherwise invalid.")
MISSING_SECURITY_HEADER = S3Error("MissingSecurityHeader", 400, "Your request was missing a required header.")
REQUEST_EXPIRED = S3Error("AccessDenied", 403, "Request has expired")  # AWS answers an old presigned URL like this
REQUEST_TIME_TOO_SKEWED = S3Error(
    "RequestTimeTooSkewed", 403, "The difference between the request time and the current time is too large."
)
SIGNATURE_DOES_NOT_MATCH = S3Error(
    "SignatureDoesNotMatch",
    403,
    "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
)
UNSUPPORTED_AUTHORIZATION = S3Error(
    "InvalidRequest",
    400,
    "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
)
UNSUPPORTED_SIGNATURE = S3Error(
    "UnsupportedSignature",
    400,
    "The provided request is signed with an unsupported STS Token version or signature version.",
)

# The body: its length, its checksums, its framing.
BAD_DIGEST = S3Error("BadDigest", 400, "The Content-MD5 you specified did not match what we received.")
ENTITY_TOO_LARGE = S3Error("EntityTooLarge", 400, "Your proposed upload exceeds the maximum allowed size")
ENTITY_TOO_SMALL = S3Error("EntityTooSmall", 400, "Your proposed upload is smaller than the minimum allowed size")
INCOMPLETE_BODY = S3Error(
    "IncompleteBody", 400, "You did not provide the number of bytes specified by the Content-Length HTTP header."
)
INVALID_CHUNK_SIZE = S3Error(
    "InvalidChunkSizeError", 403, "Only the last chunk is allowed to have a size less than 8192 bytes"
)
INVALID_DIGEST = S3Error("InvalidDigest", 400, "The Content-MD5 you specified is not valid.")
MALFORMED_TRAILER = S3Error(
    "MalformedTrailerError",
    400,
    "The request contained trailing data that was not well-formed or did not conform to our published schema.",
)
MAX_MESSAGE_LENGTH_EXCEEDED = S3Error("MaxMessageLengthExceeded", 400, "Your request was too big.")
MISSING_CONTENT_LENGTH = S3Error("MissingContentLength", 411, "You must provide the Content-Length HTTP header.")
MISSING_REQUEST_BODY = S3Error("MissingRequestBodyError", 400, "Request body is empty.")
REQUEST_IS_NOT_MULTIPART_CONTENT = S3Error(
    "RequestIsNotMultiPartContent", 400, "Bucket POST must be of the enclosure-type multipart/form-data."
)
REQUEST_TIMEOUT = S3Error(
    "RequestTimeout",
    400,
    "Your socket connection to the server was not read from or written to within the timeout period."
    " Idle connections will be closed.",
)
UNEXPECTED_CONTENT = S3Error("UnexpectedContent", 400, "This request does not support content.")
X_AMZ_CONTENT_SHA256_MISMATCH = S3Error(
    "XAmzContentSHA256Mismatch", 400, "The provided 'x-amz-content-sha256' header does not match what was computed."
)

# The request: its line, headers, XML.
BAD_REQUEST = S3Error("BadRequest", 400, "Bad Request")
INVALID_ARGUMENT = S3Error("InvalidArgument", 400, "Invalid Argument")
INVALID_BUCKET_NAME = S3Error("InvalidBucketName", 400, "The specified bucket is not valid.")
INVALID_BUCKET_STATE = S3Error(
    "InvalidBucketState", 409, "The request is not valid for the current state of the bucket."
)
INVALID_ENCRYPTION_ALGORITHM = S3Error(
    "InvalidEncryptionAlgorithmError",
    400,
    "The Encryption request you specified is not valid. Supported value: AES256.",
)
INVALID_LOCATION_CONSTRAINT = S3Error(
    "InvalidLocationConstraint", 400, "The specified location-constraint is not valid"
)
INVALID_OBJECT_NAME = S3Error("InvalidObjectName", 400, "The specified object key is not valid.")
INVALID_OBJECT_STATE = S3Error("InvalidObjectState", 403, "The operation is not valid for the object's storage class")
INVALID_POLICY_DOCUMENT = S3Error(
    "InvalidPolicyDocument",
    400,
    "The content of the form does not meet the conditions specified in the policy document.",
)
INVALID_RANGE = S3Error("InvalidRange", 416, "The requested range is not satisfiable")
INVALID_REQUEST = S3Error("InvalidRequest", 400, "Invalid Request")
INVALID_STORAGE_CLASS = S3Error("InvalidStorageClass", 400, "The storage class you specified is not valid")
INVALID_TAG = S3Error("InvalidTag", 400, "The tag provided was not a valid tag.")
INVALID_URI = S3Error("InvalidURI", 400, "Couldn't parse the specified URI.")
KEY_TOO_LONG = S3Error("KeyTooLongError", 400, "Your key is too long")
MALFORMED_ACL = S3Error(
    "MalformedACLError",
    400,
    "The XML you provided was not well-formed or did not validate against our published schema",
)
MALFORMED_POLICY = S3Error("MalformedPolicy", 400, "Policies must be valid JSON and the first byte must be '{'")
MALFORMED_POST_REQUEST = S3Error(
    "MalformedPOSTRequest", 400, "The body of your POST request is not well-formed multipart/form-data."
)
MALFORMED_XML = S3Error(
    "MalformedXML", 400, "The XML you provided was not well-formed or did not validate against our published schema"
)
METADATA_TOO_LARGE = S3Error("MetadataTooLarge", 400, "Your metadata headers exceed the maximum allowed metadata size")
METHOD_NOT_ALLOWED = S3Error("MethodNotAllowed", 405, "The specified method is not allowed against this resource.")
NOT_IMPLEMENTED = S3Error("NotImplemented", 501, "A header you provided implies functionality that is not implemented")
REQUEST_HEADER_SECTION_TOO_LARGE = S3Error(
    "RequestHeaderSectionTooLarge", 400, "Your request header section exceeds the maximum allowed size."
)
USER_KEY_MUST_BE_SPECIFIED = S3Error(
    "UserKeyMustBeSpecified",
    400,
    "The bucket POST must contain the specified field name. If it is specified, check the order of the fields.",
)

# Buckets.
ACCESS_CONTROL_LIST_NOT_SUPPORTED = S3Error("AccessControlListNotSupported", 400, "The bucket does not allow ACLs")
BUCKET_ALREADY_EXISTS = S3Error(
    "BucketAlreadyExists",
    409,
    "The requested bucket name is not available. The bucket namespace is shared by all users of the system."
    " Please select a different name and try again.",
)
BUCKET_ALREADY_OWNED_BY_YOU = S3Error(
    "BucketAlreadyOwnedByYou",
    409,
    "Your previous request to create the named bucket succeeded and you already own it.",
)
BUCKET_NOT_EMPTY = S3Error("BucketNotEmpty", 409, "The bucket you tried to delete is not empty")
NO_SUCH_BUCKET = S3Error("NoSuchBucket", 404, "The specified bucket does not exist")
OPERATION_ABORTED = S3Error(
    "OperationAborted",
    409,
    "A conflicting conditional operation is currently in progress against this resource. Please try again.",
)
TOO_MANY_BUCKETS = S3Error("TooManyBuckets", 400, "You have attempted to create more buckets than allowed")

# Objects, versions, conditions.
CONDITIONAL_REQUEST_CONFLICT = S3Error(
    "ConditionalRequestConflict",
    409,
    "The conditional request cannot succeed due to a conflicting operation against this resource.",
)
NOT_MODIFIED = S3Error("NotModified", 304, "Not Modified")
NO_SUCH_KEY = S3Error("NoSuchKey", 404, "The specified key does not exist.")
NO_SUCH_VERSION = S3Error("NoSuchVersion", 404, "The specified version does not exist.")
PRECONDITION_FAILED = S3Error(
    "PreconditionFailed", 412, "At least one of the pre-conditions you specified did not hold"
)

# Multipart uploads.
INVALID_PART = S3Error(
    "InvalidPart",
    400,
    "One or more of the specified parts could not be found. The part may not have been uploaded,"
    " or the specified entity tag may not match the part's entity tag.",
)
INVALID_PART_NUMBER = S3Error("InvalidPartNumber", 416, "The requested partnumber is not satisfiable")
INVALID_PART_ORDER = S3Error(
    "InvalidPartOrder",
    400,
    "The list of parts was not in ascending order. Parts must be ordered by part number.",
)
NO_SUCH_UPLOAD = S3Error(
    "NoSuchUpload",
    404,
    "The specified upload does not exist. The upload ID may be invalid,"
    " or the upload may have been aborted or completed.",
)

# Configurations that are not set.
NO_SUCH_BUCKET_POLICY = S3Error("NoSuchBucketPolicy", 404, "The bucket policy does not exist")
NO_SUCH_CONFIGURATION = S3Error("NoSuchConfiguration", 404, "The specified configuration does not exist.")
NO_SUCH_CORS_CONFIGURATION = S3Error("NoSuchCORSConfiguration", 404, "The CORS configuration does not exist")
NO_SUCH_LIFECYCLE_CONFIGURATION = S3Error(
    "NoSuchLifecycleConfiguration", 404, "The lifecycle configuration does not exist"
)
NO_SUCH_OBJECT_LOCK_CONFIGURATION = S3Error(
    "NoSuchObjectLockConfiguration", 404, "The specified object does not have a ObjectLock configuration"
)
NO_SUCH_PUBLIC_ACCESS_BLOCK_CONFIGURATION = S3Error(
    "NoSuchPublicAccessBlockConfiguration", 404, "The public access block configuration was not found"
)
NO_SUCH_TAG_SET = S3Error("NoSuchTagSet", 404, "The TagSet does not exist")
NO_SUCH_WEBSITE_CONFIGURATION = S3Error(
    "NoSuchWebsiteConfiguration", 404, "The specified bucket does not have a website configuration"
)
OBJECT_LOCK_CONFIGURATION_NOT_FOUND = S3Error(
    "ObjectLockConfigurationNotFoundError", 404, "Object Lock configuration does not exist for this bucket"
)
OWNERSHIP_CONTROLS_NOT_FOUND = S3Error(
    "OwnershipControlsNotFoundError", 404, "The bucket ownership controls were not found"
)
REPLICATION_CONFIGURATION_NOT_FOUND = S3Error(
    "ReplicationConfigurationNotFoundError", 404, "The replication configuration was not found"
)
SERVER_SIDE_ENCRYPTION_CONFIGURATION_NOT_FOUND = S3Error(
    "ServerSideEncryptionConfigurationNotFoundError", 404, "The server side encryption configuration was not found"
)

# The store itself.
INSUFFICIENT_STORAGE = S3Error("InsufficientStorage", 507, "The store has no room left for this request.")
INTERNAL_ERROR = S3Error("InternalError", 500, "We encountered an internal error. Please try again.")
SERVICE_UNAVAILABLE = S3Error("ServiceUnavailable", 503, "Service is unable to handle request.")
SLOW_DOWN = S3Error("SlowDown", 503, "Please reduce your request rate.")

CATALOGUE: Final = tuple(row for row in tuple(globals().values()) if isinstance(row, S3Error))


def render_error(
    error: S3Error,
    message: str | None,
    request_id: str,
    host_id: str,
    resource: str,
    fields: Mapping[str, str] = _NOTHING,
) -> bytes:
    """AWS's `<Error>` document, UTF-8. Any text may be given: nothing in it can open or close an element.

    `message` None takes the row's wording; an empty `resource` leaves its element out. `fields` stand before the
    resource; their names come from this program, never from a request.
    """
    elements = {
        "Code": error.code,
        "Message": error.message if message is None else message,
        **fields,
        **({"Resource": resource} if resource else {}),
        "RequestId": request_id,
        "HostId": host_id,
    }
    inside = "".join(f"<{name}>{_escape(value)}</{name}>" for name, value in elements.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inside}</Error>'.encode("utf-8", "replace")


# Most control characters have no legal form in XML 1.0; AWS writes them as references, which lenient parsers accept.
# A raw one would break every parser, and a raw CR would come back as LF.
_ESCAPES: Final = str.maketrans(
    {
        **{chr(code): f"&#x{code:X};" for code in (*range(0x20), *range(0x7F, 0xA0), 0xFFFE, 0xFFFF)},
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
        '"': "&quot;",
    }
)


def _escape(text: str) -> str:
    return text.translate(_ESCAPES)
