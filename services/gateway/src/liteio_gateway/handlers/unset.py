"""Configurations that this store does not have yet: reading one finds it not set, removing it succeeds.

Setting one is refused (operations.py): a rule that is taken and then not kept would be worse than none.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from liteio_contracts.object_layer import ReadObject
from liteio_gateway.context import Context
from liteio_gateway.replies import Reply, xml_reply
from liteio_gateway.requests import S3Request
from liteio_s3.errors import (
    NO_SUCH_BUCKET_POLICY,
    NO_SUCH_CONFIGURATION,
    NO_SUCH_CORS_CONFIGURATION,
    NO_SUCH_LIFECYCLE_CONFIGURATION,
    NO_SUCH_OBJECT_LOCK_CONFIGURATION,
    NO_SUCH_PUBLIC_ACCESS_BLOCK_CONFIGURATION,
    NO_SUCH_WEBSITE_CONFIGURATION,
    OBJECT_LOCK_CONFIGURATION_NOT_FOUND,
    OWNERSHIP_CONTROLS_NOT_FOUND,
    REPLICATION_CONFIGURATION_NOT_FOUND,
    SERVER_SIDE_ENCRYPTION_CONFIGURATION_NOT_FOUND,
    S3Error,
    S3Failure,
)
from liteio_s3.xml_writer import boolean, document, leaf

Handler = Callable[[S3Request, Context], Awaitable[Reply]]

# Bucket subresource → the error that AWS answers where it is not set.
MISSING_OF_BUCKET: Final[dict[str, S3Error]] = {
    "cors": NO_SUCH_CORS_CONFIGURATION,
    "encryption": SERVER_SIDE_ENCRYPTION_CONFIGURATION_NOT_FOUND,
    "lifecycle": NO_SUCH_LIFECYCLE_CONFIGURATION,
    "object-lock": OBJECT_LOCK_CONFIGURATION_NOT_FOUND,
    "ownershipControls": OWNERSHIP_CONTROLS_NOT_FOUND,
    "policy": NO_SUCH_BUCKET_POLICY,
    "policyStatus": NO_SUCH_BUCKET_POLICY,
    "publicAccessBlock": NO_SUCH_PUBLIC_ACCESS_BLOCK_CONFIGURATION,
    "replication": REPLICATION_CONFIGURATION_NOT_FOUND,
    "website": NO_SUCH_WEBSITE_CONFIGURATION,
}
# Bucket subresource → the document that AWS answers where it is not set.
EMPTY_OF_BUCKET: Final[dict[str, bytes]] = {
    "accelerate": document("AccelerateConfiguration", ()),
    "logging": document("BucketLoggingStatus", ()),
    "notification": document("NotificationConfiguration", ()),
    "requestPayment": document("RequestPaymentConfiguration", (leaf("Payer", "BucketOwner"),)),
}
# Bucket subresource → root of its list. With an `id` in the query one of them is asked for.
LISTS_OF_BUCKET: Final[dict[str, str]] = {
    "analytics": "ListBucketAnalyticsConfigurationResult",
    "intelligent-tiering": "ListBucketIntelligentTieringConfigurationsOutput",
    "inventory": "ListInventoryConfigurationsResult",
    "metrics": "ListMetricsConfigurationsResult",
}
MISSING_OF_OBJECT: Final[dict[str, S3Error]] = {
    "legal-hold": NO_SUCH_OBJECT_LOCK_CONFIGURATION,
    "retention": NO_SUCH_OBJECT_LOCK_CONFIGURATION,
}
REMOVABLE_OF_BUCKET: Final = frozenset(
    {
        "analytics",
        "cors",
        "encryption",
        "intelligent-tiering",
        "inventory",
        "lifecycle",
        "metrics",
        "ownershipControls",
        "policy",
        "publicAccessBlock",
        "replication",
        "website",
    }
)


def missing_of_bucket(error: S3Error) -> Handler:
    async def handler(request: S3Request, context: Context) -> Reply:
        await context.buckets.bucket(request.bucket, deadline=context.deadline())
        raise S3Failure(error, fields={"BucketName": request.bucket})

    return handler


def empty_of_bucket(answer: bytes) -> Handler:
    async def handler(request: S3Request, context: Context) -> Reply:
        await context.buckets.bucket(request.bucket, deadline=context.deadline())
        return xml_reply(answer)

    return handler


def list_of_bucket(root: str) -> Handler:
    answer = document(root, (boolean("IsTruncated", False),))

    async def handler(request: S3Request, context: Context) -> Reply:
        await context.buckets.bucket(request.bucket, deadline=context.deadline())
        if "id" in request.parameters:
            raise S3Failure(NO_SUCH_CONFIGURATION)
        return xml_reply(answer)

    return handler


def missing_of_object(error: S3Error) -> Handler:
    async def handler(request: S3Request, context: Context) -> Reply:
        named = ReadObject(request.bucket, request.key, request.version_id())
        await context.reads.head(named, deadline=context.deadline())
        raise S3Failure(error, fields={"BucketName": request.bucket, "Key": request.key})

    return handler


async def remove_from_bucket(request: S3Request, context: Context) -> Reply:
    await context.buckets.bucket(request.bucket, deadline=context.deadline())
    return Reply(204)
