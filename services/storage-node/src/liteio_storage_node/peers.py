"""`Peers`: who is connected to the node's port. A connection on which nobody proved the secret in time is closed.

The server has no time-out of its own for a connection that says nothing, half a greeting, or that only answers pings;
with as many of them as it takes connections, a stranger would keep every new gateway out. Its sockets are the server's,
but they are files of this process, so they are found, and shut down, from outside.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final, NamedTuple

from liteio_base.clock import Clock

STRANGER_SECONDS: Final = 15.0
_LOOK_EVERY: Final = 0.2  # of that
_FILES: Final = "/proc/self/fd"
log: Final = logging.getLogger("liteio.storage_node")


class Peer(NamedTuple):
    address: IPv4Address | IPv6Address
    port: int


class Peers:
    """The guard notes who is proved; `watch` closes the connections of those who are not."""

    def __init__(self, clock: Clock, *, patience_seconds: float = STRANGER_SECONDS) -> None:
        self._clock, self._patience_seconds = clock, patience_seconds
        self._proved: set[tuple[Any, ...]] = set()  # as the server names them
        self._since: dict[tuple[Peer, int], float] = {}  # connections by their peer and their socket's number

    def prove(self, client: Sequence[Any] | None) -> None:
        """A request from there is sealed as it should be. `client`: of its ASGI scope."""
        if client is not None:
            self._proved.add(tuple(client))

    async def watch(self, port: int) -> None:
        """For ever: the connections to this port of this process."""
        while True:
            await self._clock.sleep(self._patience_seconds * _LOOK_EVERY)
            await asyncio.to_thread(self.close_strangers, port)

    def close_strangers(self, port: int) -> int:
        """Shut down the connections that were seen a while ago and proved nothing since; how many."""
        now, closed = self._clock.monotonic(), 0
        proved = {_peer_of(client) for client in self._proved.copy()}
        since: dict[tuple[Peer, int], float] = {}
        for end, peer, number in _connections_to(port):
            began = since[peer, number] = self._since.get((peer, number), now)
            if peer not in proved and now - began >= self._patience_seconds:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                closed += 1
        self._since = since
        here = {peer for peer, _ in since}
        self._proved.difference_update([client for client in self._proved.copy() if _peer_of(client) not in here])
        if closed:
            log.warning("closed %s connections on which nobody proved the cluster secret", closed)
        return closed


def _peer_of(client: Sequence[Any]) -> Peer:
    address = ip_address(str(client[0]).partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return Peer(mapped or address, int(client[1]))


def _connections_to(port: int) -> Iterator[tuple[socket.socket, Peer, int]]:
    """Those of this process; each is looked at through a duplicate, which stays the same if the file is closed."""
    for name in os.listdir(_FILES):
        with suppress(OSError), _duplicate(name) as end:
            if end is not None and end.family in (socket.AF_INET, socket.AF_INET6) and end.getsockname()[1] == port:
                yield end, _peer_of(end.getpeername()), os.fstat(end.fileno()).st_ino


@contextmanager
def _duplicate(name: str) -> Iterator[socket.socket | None]:
    if not os.readlink(f"{_FILES}/{name}").startswith("socket:"):
        yield None
        return
    with socket.socket(fileno=os.dup(int(name))) as end:
        yield end
