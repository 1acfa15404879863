"""Fixed bounds of the S3 surface. Each says where it comes from."""

from typing import Final

from liteio_base.check import check
from liteio_base.limits import KEY_BYTES_MAX, KIB, MIB, PART_NUMBER_MAX

BUCKET_NAME_BYTES_MAX: Final = 63  # S3: general purpose bucket names
HOST_BYTES_MAX: Final = 255 + 6  # RFC 1035: a name is at most 255 bytes; then ":" and five digits
PATH_BYTES_MAX: Final = 2 + 3 * (255 + KEY_BYTES_MAX)  # both names with every byte written as %XX; more names no key
QUERY_BYTES_MAX: Final = 32 * KIB  # a presigned URL with a session token of some KiB, every byte escaped, fits
QUERY_PARAMETERS_MAX: Final = 128  # S3's widest operation takes about 20, and presigned URLs hoist headers into it

AUTHORIZATION_BYTES_MAX: Final = 4 * KIB  # the names of 2 KiB of metadata headers, and a scope
SIGNED_HEADERS_MAX: Final = 128  # 2 KiB of metadata in the shortest possible headers, and as many again

CHUNK_LINE_BYTES_MAX: Final = 128  # 16 digits of length, ";chunk-signature=", 64 digits, CRLF: 99
CHUNK_LENGTH_DIGITS_MAX: Final = 16
TRAILER_BYTES_MAX: Final = 2 * KIB  # a handful of checksum lines and the signature

check(CHUNK_LENGTH_DIGITS_MAX + len(";chunk-signature=") + 64 + 2 <= CHUNK_LINE_BYTES_MAX, "a signed chunk line fits")
check(PATH_BYTES_MAX < 8 * KIB, "a path fits the buffers of HTTP servers")

# Bodies in XML.
XML_BODY_BYTES_MAX: Final = MIB  # configurations, tags, access control
# 1,000 keys of 1,024 bytes with their elements are 1.1 MB; 10,000 parts with ETag and SHA-256 are 1.9 MB.
LONG_XML_BODY_BYTES_MAX: Final = 3 * MIB
# What a long document may be made of, so that parsing it takes no more than 50 ms. A part has its number, ETag and a
# checksum or two, and minio-go repeats the namespace in each.
LONG_XML_TAGS_MAX: Final = 2 * (1 + 2 + 2) * PART_NUMBER_MAX + 1_000
LONG_XML_QUOTES_MAX: Final = 5 * PART_NUMBER_MAX  # that ETag and namespace; with more, attributes are counted
LONG_XML_ATTRIBUTED_TAGS_MAX: Final = 2 * PART_NUMBER_MAX
LONG_XML_ATTRIBUTES_OF_TAG_MAX: Final = 4
DELETE_KEYS_MAX: Final = 1_000  # S3: DeleteObjects
check(2 * DELETE_KEYS_MAX * KEY_BYTES_MAX < LONG_XML_BODY_BYTES_MAX, "a full Delete document fits")
check(256 * PART_NUMBER_MAX < LONG_XML_BODY_BYTES_MAX, "a full CompleteMultipartUpload document fits")

# Lists.
LIST_BUCKETS_MAX: Final = 10_000  # S3: ListBuckets
INTEGER_MAX: Final = 2**31 - 1  # S3: larger numbers in a query are not numbers

# Tags.
OBJECT_TAGS_MAX: Final = 10  # S3: "Categorizing your objects using tags"
BUCKET_TAGS_MAX: Final = 50  # S3: PutBucketTagging
TAG_KEY_CHARACTERS_MAX: Final = 128
TAG_VALUE_CHARACTERS_MAX: Final = 256

# Headers.
USER_METADATA_BYTES_MAX: Final = 2 * KIB  # S3: "Working with object metadata"
SYSTEM_METADATA_BYTES_MAX: Final = 2 * KIB  # the same page
HEADER_SECTION_BYTES_MAX: Final = 8 * KIB  # S3: "The PUT request header is limited to 8 KB in size"
RANGE_CHARACTERS_MAX: Final = 64  # "bytes=" and two numbers of 19 digits are 45; a longer header is no single range
HTTP_DATE_CHARACTERS_MAX: Final = 64  # the longest of the three forms is 33 long
