"""Answers: turns refusals into `<Error>` documents, and keeps or closes the connection after them."""

import logging
from dataclasses import dataclass
from typing import Final

from liteio_contracts.object_errors import ObjectError
from liteio_gateway.asgi import App, BrokenAnswer, ClientGone, Receive, Scope, Send
from liteio_gateway.body_source import drain, drains_cheaply, has_unread_body, is_sending
from liteio_gateway.errors import failure_of
from liteio_gateway.exchange import Exchange, exchange_of
from liteio_gateway.replies import XML
from liteio_gateway.requests import S3Request, find_request
from liteio_s3.errors import INTERNAL_ERROR, REQUEST_TIMEOUT, S3Failure, render_error

log: Final = logging.getLogger("liteio.gateway")
_SERVER_FAULT: Final = 500


class Answers:
    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except ObjectError as error:
            await _refuse(scope, failure_of(error), send, cause=error)
        except S3Failure as failure:
            await _refuse(scope, failure, send, cause=failure)
        except ClientGone:
            exchange_of(scope).error_code = "ClientGone"
            raise
        except Exception as error:
            # With the trace, as nobody foresaw it. The client learns the request id and no more.
            log.exception("request %s (%s) failed", exchange_of(scope).request_id, exchange_of(scope).operation)
            await _refuse(scope, S3Failure(INTERNAL_ERROR), send, cause=error)


async def _refuse(scope: Scope, failure: S3Failure, send: Send, *, cause: Exception) -> None:
    exchange = exchange_of(scope)
    exchange.error_code = failure.code
    if failure.status >= _SERVER_FAULT and isinstance(cause, ObjectError):
        log.error("request %s (%s): %s", exchange.request_id, exchange.operation, cause)
    if exchange.status:
        # The head is out, and said 200: only a broken connection can still tell the client.
        raise BrokenAnswer(exchange.request_id) from cause
    rest = await _settle_rest(find_request(scope), exchange, scope, failure)
    await _send(failure, _document(failure, exchange, scope), send, rest)


@dataclass(frozen=True, slots=True)
class _Rest:
    """What is to become of the connection. `unread`: a request whose body is read a little further, after the answer,
    since closing while the client still sends would reset the connection and may cost it the answer."""

    keeps: bool
    unread: S3Request | None = None


async def _settle_rest(request: S3Request | None, exchange: Exchange, scope: Scope, failure: S3Failure) -> _Rest:
    if request is None:
        # Not even the target could be read: whatever follows is not to be trusted.
        framed = any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
        return _Rest(keeps=exchange.method in ("GET", "HEAD") and not framed)
    if not has_unread_body(request):
        return _Rest(keeps=True)
    if failure.error is REQUEST_TIMEOUT or not is_sending(request):
        return _Rest(keeps=False)
    if drains_cheaply(request):
        return _Rest(keeps=await drain(request))
    return _Rest(keeps=False, unread=request)


def _document(failure: S3Failure, exchange: Exchange, scope: Scope) -> bytes:
    if exchange.method == "HEAD" or failure.status in (204, 304):
        return b""
    resource = scope["raw_path"].decode("latin-1")
    return render_error(failure.error, failure.message, exchange.request_id, exchange.host_id, resource, failure.fields)


async def _send(failure: S3Failure, body: bytes, send: Send, rest: _Rest) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in failure.headers.items()]
    if failure.status not in (204, 304):
        headers.append((b"content-type", XML.encode()))
        headers.append((b"content-length", str(len(body)).encode()))
    if not rest.keeps:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": failure.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": rest.unread is not None})
    if rest.unread is not None:
        await drain(rest.unread)
        await send({"type": "http.response.body", "body": b""})
