"""Health probes: live (this process answers) and ready (every set has a write quorum of drives).

The paths are MinIO's and our own. A bucket may still be called `health` or `minio`: only the exact paths, asked with
GET or HEAD and no signature, are probes. Answers carry no details: anyone may ask.
"""

from collections.abc import Awaitable
from typing import Final

from liteio_base.clock import Clock
from liteio_base.deadline import Deadline
from liteio_contracts.object_errors import ObjectError
from liteio_contracts.object_layer import ObjectLayer
from liteio_gateway.asgi import App, Receive, Scope, Send
from liteio_gateway.exchange import exchange_of

LIVE_PATHS: Final = frozenset({b"/health/live", b"/minio/health/live"})
_READY: Final = frozenset({b"/health/ready", b"/minio/health/ready", b"/minio/health/cluster"})
_PATHS: Final = LIVE_PATHS | _READY
_READY_SECONDS: Final = 3.0  # orchestrators commonly give a probe 5 s or more


class Probes:
    def __init__(self, app: App, *, store: ObjectLayer, clock: Clock) -> None:
        self._app, self._store, self._clock = app, store, clock

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http" or scope["raw_path"] not in _PATHS or not _is_probe(scope):
            return self._app(scope, receive, send)
        return self._answer(scope, send)

    async def _answer(self, scope: Scope, send: Send) -> None:
        exchange_of(scope).operation = "HealthProbe"
        is_well = scope["raw_path"] in LIVE_PATHS or await self._is_ready()
        headers = [(b"content-length", b"0"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200 if is_well else 503, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _is_ready(self) -> bool:
        try:
            return await self._store.drives_ready(deadline=Deadline.after(_READY_SECONDS, self._clock))
        except ObjectError:
            return False


def _is_probe(scope: Scope) -> bool:
    is_signed = b"X-Amz-" in scope["query_string"] or any(name == b"authorization" for name, _ in scope["headers"])
    return scope["method"] in ("GET", "HEAD") and not is_signed
