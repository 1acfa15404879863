"""The listening socket, bound once by the supervisor and inherited by every gateway worker.

While a worker is started again, connections wait in the socket's queue instead of being refused.
"""

import errno
import os
import socket
from typing import Final

from liteio_runtime.problems import Problem, StartRefused
from liteio_runtime.settings import ServerSettings

_BACKLOG: Final = 4096  # the kernel cuts it to net.core.somaxconn, 4096 on today's Linux


def listen(settings: ServerSettings) -> socket.socket:
    """Bind and listen; the socket is inheritable only through an explicit pass_fds. Raises StartRefused."""
    try:
        return _bind(settings.host, settings.port)
    except OSError as problem:
        remedy = {
            errno.EADDRINUSE: f"stop what uses port {settings.port}, or choose another: --address :PORT",
            errno.EACCES: f"ports below 1024 need rights that uid {os.getuid()} lacks: choose a higher one",
        }.get(problem.errno or 0, "choose an address of this machine")
        raise StartRefused(
            [Problem(problem.strerror or str(problem), f"--address {settings.address}", remedy)]
        ) from None


def _bind(host: str, port: int) -> socket.socket:
    if host == "" and socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


def make_tally(workers: int) -> int:
    """The descriptor of memory that the workers share, for liteio_gateway.accepting: an unsigned 32-bit integer each,
    all bits set while there is no such worker."""
    tally = os.memfd_create("liteio-connections")
    os.write(tally, b"\xff" * (4 * workers))
    return tally


def urls_of(listener: socket.socket, settings: ServerSettings) -> list[str]:
    """Where clients reach it: on this machine, and by its name when it listens on all addresses."""
    scheme = "https" if settings.cert else "http"
    port = listener.getsockname()[1]
    if settings.host:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        return [f"{scheme}://{host}:{port}"]
    return [f"{scheme}://127.0.0.1:{port}", f"{scheme}://{socket.gethostname()}:{port}"]
