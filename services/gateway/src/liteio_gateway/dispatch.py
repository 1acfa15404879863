"""The innermost application: recognise the operation, ask whether it is allowed, let its handler answer."""

from typing import Final

from liteio_gateway.access import Question
from liteio_gateway.asgi import Receive, Scope, Send
from liteio_gateway.body_source import drain, drains_cheaply, has_unread_body
from liteio_gateway.context import Context
from liteio_gateway.operations import Operation, action_of, recognise
from liteio_gateway.replies import Reply, send_reply
from liteio_gateway.requests import S3Request, request_of
from liteio_s3.errors import ACCESS_DENIED, S3Failure
from liteio_s3.names import check_bucket_name

_EXPECTED_OWNER: Final = "x-amz-expected-bucket-owner"


class Dispatch:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = request_of(scope)
        operation = _recognise(request)
        request.exchange.operation = operation.name
        # Before anything of the store, of the body or of conditional headers is looked at.
        question = Question(action_of(operation, request), request.bucket, request.key)
        await self._context.authorizer.check(request.caller, question)
        # A name that no bucket can have is a bucket that is not there; and the bucket is whose the caller expects.
        if request.bucket and operation.name != "CreateBucket":
            check_bucket_name(request.bucket)
            if _EXPECTED_OWNER in request.headers:
                await self._check_owner(request, request.headers[_EXPECTED_OWNER])
        reply = await operation.handler(request, self._context)
        if has_unread_body(request):
            await _settle_body(request, reply)
        await send_reply(reply, is_head=request.is_head, receive=receive, send=send)

    async def _check_owner(self, request: S3Request, expected: str) -> None:
        bucket = await self._context.buckets.bucket(request.bucket, deadline=self._context.deadline())
        if bucket.owner != expected:
            raise S3Failure(ACCESS_DENIED)


def _recognise(request: S3Request) -> Operation:
    """The operation. Strangers are not told what is implemented."""
    try:
        return recognise(request)
    except S3Failure:
        if request.caller.is_anonymous:
            raise S3Failure(ACCESS_DENIED) from None
        raise


async def _settle_body(request: S3Request, reply: Reply) -> None:
    """A body that the handler had no use for must not be read as the next request."""
    if not (drains_cheaply(request) and await drain(request)):
        reply.headers["connection"] = "close"
