"""Nagle's algorithm is off at both ends: with it the second small frame of an answer waits 40 ms for the peer's delayed
acknowledgement of the first."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from live_node import connection_to, serving

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline


async def test_both_ends_send_small_frames_at_once() -> None:
    async with serving([]) as server, connection_to(server.port) as node:
        await node.drives(deadline=Deadline.after(5.0, SystemClock()))
        ends = _has_no_delay_by_end(server.port)
    assert ends == {"client": True, "node": True}


def _has_no_delay_by_end(port: int) -> dict[str, bool]:
    """Of this process's connections to a port of its own: whether TCP_NODELAY is set, at each end."""
    found: dict[str, bool] = {}
    for end in _connected_sockets():
        ports = {"client": end.getpeername()[1], "node": end.getsockname()[1]}
        found |= {
            role: end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            for role, number in ports.items()
            if number == port
        }
    return found


def _connected_sockets() -> Iterator[socket.socket]:
    """Those of TCP that this process holds, whichever library opened them; looked at through a duplicate."""
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # what is no connected socket, or is gone by now
            if str(entry.readlink()).startswith("socket:"):
                with socket.socket(fileno=os.dup(int(entry.name))) as end:
                    if end.family == socket.AF_INET and end.getpeername():
                        yield end
