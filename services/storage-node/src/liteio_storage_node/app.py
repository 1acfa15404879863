"""What a storage node answers: the routes of the drive protocol over any drives."""

from collections.abc import Sequence

from starlette.routing import Route, Router

from liteio_base.clock import Clock, Randomness
from liteio_contracts.storage import StorageAPI
from liteio_drives.remote.deadlines import Deadlines
from liteio_drives.remote.limits import OPEN_BYTES_MAX, REQUEST_BYTES_MAX
from liteio_drives.remote.lock_table import LockTable
from liteio_drives.remote.messages import CALLS_PATH, HEALTH_PATH, READ_PATH, SESSION_PATH, WRITE_PATH
from liteio_drives.remote.sealing import ServerSessions, cluster_key
from liteio_storage_node.asgi import App, Patient, Receive, Scope, Send, answer
from liteio_storage_node.drive_set import DriveSet
from liteio_storage_node.guard import Guard, Sealed, SealedStream
from liteio_storage_node.handlers.calls import CallsHandler
from liteio_storage_node.handlers.health import answer_live
from liteio_storage_node.handlers.node_calls import Formats, NoFormats, node_calls
from liteio_storage_node.handlers.sessions import SessionHandler
from liteio_storage_node.handlers.shard_reads import ShardReadHandler
from liteio_storage_node.handlers.shard_writes import ShardWriteHandler
from liteio_storage_node.peers import Peers


def build_app(
    drives: DriveSet | Sequence[StorageAPI],
    secret: bytes,
    clock: Clock,
    randomness: Randomness,
    *,
    locks: LockTable | None = None,
    formats: Formats | None = None,
    peers: Peers | None = None,
) -> Router:
    """Every route but the life sign stands behind a guard. Raises WeakSecret: there is no node without a secret.

    peers: hears who is proved.
    """
    key = cluster_key(secret)
    guard = Guard(ServerSessions(), peers or Peers(clock))
    drive_set = drives if isinstance(drives, DriveSet) else DriveSet(*drives)
    deadlines = Deadlines()
    calls = CallsHandler(
        drive_set, node_calls(drive_set, locks or LockTable(clock), formats or NoFormats()), clock, deadlines
    )
    reads, writes = ShardReadHandler(drive_set, clock), ShardWriteHandler(drive_set, clock)
    routes = [
        Route(HEALTH_PATH, _Only("GET", Patient(answer_live, deadlines))),
        Route(SESSION_PATH, _Only("POST", Patient(SessionHandler(guard, key, randomness), deadlines))),
        Route(CALLS_PATH, _Only("POST", Patient(Sealed(guard, calls, REQUEST_BYTES_MAX), deadlines))),
        Route(READ_PATH, _Only("POST", Patient(Sealed(guard, reads, OPEN_BYTES_MAX), deadlines))),
        Route(WRITE_PATH, _Only("POST", Patient(SealedStream(guard, writes), deadlines))),
    ]
    return Router(routes, redirect_slashes=False)


class _Only:
    """One method of a route. (A Route restricts methods only of endpoints that it wraps itself.)"""

    def __init__(self, method: str, app: App) -> None:
        self._method, self._app = method, app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == self._method:
            await self._app(scope, receive, send)
        else:
            await answer(send, 405)
