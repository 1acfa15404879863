"""The gateway's app: one ordered list of pure ASGI middlewares around the dispatcher."""

import hashlib
import socket
from collections.abc import Sequence

from liteio_base.clock import Clock, Randomness, SystemClock, SystemRandomness
from liteio_contracts.object_layer import ObjectLayer
from liteio_gateway.access import Authentication, Authorizer, RootOnly
from liteio_gateway.addressing import Addressing
from liteio_gateway.answers import Answers
from liteio_gateway.asgi import App
from liteio_gateway.context import Context
from liteio_gateway.dispatch import Dispatch
from liteio_gateway.guard import Guard
from liteio_gateway.probes import Probes
from liteio_gateway.request_log import LogSink, RequestLog
from liteio_gateway.settings import GatewaySettings
from liteio_s3.credentials import CredentialSource


def build_app(
    object_layer: ObjectLayer,
    settings: GatewaySettings,
    credentials: CredentialSource,
    clock: Clock | None = None,
    *,
    authorizer: Authorizer | None = None,
    randomness: Randomness | None = None,
    log_sink: LogSink | None = None,
) -> App:
    """The S3 front door over any ObjectLayer. What is not given is the system's; without a sink nothing is logged."""
    return build_pipeline(
        object_layer,
        credentials=credentials,
        authorizer=authorizer or RootOnly(),
        clock=clock or SystemClock(),
        randomness=randomness or SystemRandomness(),
        log_sink=log_sink or (lambda facts: None),
        region=settings.region,
        domains=settings.domains,
        host_id=host_id_of(f"{socket.gethostname()}/{settings.worker_index}"),
        operation_seconds=settings.operation_seconds,
        body_idle_seconds=settings.body_idle_seconds,
    )


def build_pipeline(
    store: ObjectLayer,
    *,
    credentials: CredentialSource,
    authorizer: Authorizer,
    clock: Clock,
    randomness: Randomness,
    log_sink: LogSink,
    region: str,
    domains: Sequence[str],
    host_id: str,
    operation_seconds: float,
    body_idle_seconds: float,
) -> App:
    """Read from the bottom to the top: the last one wrapped is the first to see a request.

    One that only acts before it hands a request on is a plain function that returns what the next one gives: the event
    loop passes through every coroutine of a chain each time that the innermost one waits.
    """
    context = Context(store, authorizer, clock, region, operation_seconds, body_idle_seconds)
    app: App = Dispatch(context)
    # Authentication stands right before the dispatcher, behind addressing: it verifies the very target that is
    # dispatched, and nothing between them can read a body or the store.
    app = Authentication(app, credentials=credentials, clock=clock, region=region)
    # Addressing decides once what the request names, and refuses what can not be told apart safely.
    app = Addressing(app, domains=domains)
    # Answers stands outside all that refuses requests in S3's words, and inside the log, which prints the outcome.
    app = Answers(app)
    # Probes go before everything that needs a well-formed S3 request. They are logged like the rest.
    app = Probes(app, store=store, clock=clock)
    # The log sees every request's end, also one that a middleware inside refused.
    app = RequestLog(app, clock=clock, sink=log_sink)
    # The guard is outermost: request id for all, an answer to whatever failed, no answer shorter than it said.
    return Guard(app, clock=clock, randomness=randomness, host_id=host_id)


def host_id_of(name: str) -> str:
    """A stable, opaque x-amz-id-2 for one worker."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]
