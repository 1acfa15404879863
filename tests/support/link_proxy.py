"""The proxy between the processes of a cluster and its nodes: one process for all links, told by lines of JSON.

    python -m tests.support.link_proxy '[{"target": "node0", "port": 20001, "node_port": 20002}]'

It ends with its standard input. Who connects is found out from the kernel's table of sockets and the process ids that
it was told, so that the processes need no addresses of their own. A node that refuses connections is refused here too:
its door is closed until it takes one again.
"""

import asyncio
import os
import random
import socket
import struct
import sys
from collections import deque
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import uvloop
from tests.support.link_rules import FREE, Deed, Door, LinkRule, LinkSeen, Order, Rule, Seen, Way

_LINGER_RESET: Final = struct.pack("ii", 1, 0)  # closing sends RST instead of FIN
_WAITING_BYTES_MAX: Final = 4 << 20  # of one flow, late or not taken; reading stops then
_KNOCK_SECONDS: Final = 0.05
_LOCALHOST: Final = "127.0.0.1"


class _Link:
    def __init__(self, source: str, target: str) -> None:
        self.source, self.target = source, target
        self.rule = FREE
        self.wires: set[_Wire] = set()
        self.byte_counts = {Way.REQUESTS: 0, Way.REPLIES: 0}
        self.connected = self.struck = 0
        self._since_rule = {Way.REQUESTS: 0, Way.REPLIES: 0}
        self._strikes: dict[Way, list[tuple[int, Deed]]] = {}

    def set_rule(self, rule: Rule) -> None:
        self.rule = rule
        self._since_rule = {Way.REQUESTS: 0, Way.REPLIES: 0}
        self._strikes = {
            way: sorted((one.after, one.deed) for one in rule.strikes if one.way is way) for way in Way if rule.strikes
        }
        for wire in list(self.wires):
            wire.adjust()

    def pass_on(self, way: Way, data: bytes) -> tuple[bytes, bool]:
        """Count them, do what is due to them. What passes, and whether the connection is reset then."""
        self.byte_counts[way] += len(data)
        waiting = self._strikes.get(way)
        begins = self._since_rule[way]
        self._since_rule[way] += len(data)
        while waiting and waiting[0][0] < self._since_rule[way]:
            place, deed = waiting.pop(0)
            at = max(0, place - begins)  # what a reset kept from passing is struck in the next connection
            self.struck += 1
            if deed is Deed.RESET:
                return data[:at], True
            if deed is Deed.FLIP:
                data = data[:at] + bytes((data[at] ^ 1 << place % 8,)) + data[at + 1 :]
            else:
                data += data
        return data, False

    def seen(self) -> LinkSeen:
        counts = self.byte_counts
        return LinkSeen(
            self.source,
            self.target,
            len(self.wires),
            self.connected,
            counts[Way.REQUESTS],
            counts[Way.REPLIES],
            self.struck,
        )


class _Wire:
    """One connection through the proxy: a flow each way."""

    def __init__(self, link: _Link, client: asyncio.Transport, client_end: "_End") -> None:
        self.link, self.client, self._client_end = link, client, client_end
        self.node: asyncio.Transport | None = None
        self.flows: list[_Flow] = []

    def join(self, node: asyncio.Transport, node_end: "_End") -> None:
        self.node = node
        if self.client.is_closing():
            node.abort()
            return
        self.flows = [_Flow(self, Way.REQUESTS, self.client, node), _Flow(self, Way.REPLIES, node, self.client)]
        self.link.wires.add(self)
        self.adjust()
        self._client_end.give_early()
        node_end.give_early()

    def adjust(self) -> None:
        for flow in self.flows:
            flow.adjust()

    def reset(self) -> None:
        """Both ends see RST, now."""
        for transport in (self.client, self.node):
            if transport is not None and not transport.is_closing():
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
                transport.abort()
        self.link.wires.discard(self)

    def end(self, was_broken: bool) -> None:
        """One end is gone: so is the other, once it has what was on its way."""
        self.link.wires.discard(self)
        if was_broken:
            self.reset()
            return
        for flow in self.flows:
            flow.flush()
        for transport in (self.client, self.node):
            if transport is not None and not transport.is_closing():
                transport.close()


class _Flow:
    """What `source` sends goes to `sink` as the link's rule has it."""

    def __init__(self, wire: _Wire, way: Way, source: asyncio.Transport, sink: asyncio.Transport) -> None:
        self._wire, self.way, self.source, self._sink = wire, way, source, sink
        self._late: deque[tuple[float, bytes]] = deque()
        self._late_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._free_at = 0.0
        self._is_paused = False
        self.is_sink_full = False

    def take(self, data: bytes) -> None:
        link = self._wire.link
        passing, is_reset = link.pass_on(self.way, data)
        rule = link.rule
        is_plain = not (rule.latency_seconds or rule.jitter_seconds or rule.bytes_per_second or self._late)
        if is_plain and not rule.holds(self.way):
            if not self._sink.is_closing():
                self._sink.write(passing)
        else:
            self._delay(rule, passing)
        if is_reset:
            self.flush()
            asyncio.get_running_loop().call_soon(self._wire.reset)

    def adjust(self) -> None:
        """Read or do not, as rule and room have it; let go what is due."""
        holds = self._wire.link.rule.holds(self.way)
        if not holds and self._late and self._timer is None:
            self._deliver()
        is_paused = holds or self.is_sink_full or self._late_bytes > _WAITING_BYTES_MAX
        if is_paused != self._is_paused and not self.source.is_closing():
            self._is_paused = is_paused
            (self.source.pause_reading if is_paused else self.source.resume_reading)()

    def flush(self) -> None:
        while self._late:
            self._send_first()

    def _delay(self, rule: Rule, data: bytes) -> None:
        now = asyncio.get_running_loop().time()
        due = now + rule.latency_seconds + random.uniform(-rule.jitter_seconds, rule.jitter_seconds)
        if rule.bytes_per_second:
            self._free_at = max(self._free_at, now) + len(data) / rule.bytes_per_second
            due = max(due, self._free_at)
        self._late.append((max(due, self._late[-1][0] if self._late else now), data))
        self._late_bytes += len(data)
        if self._timer is None:
            self._deliver()
        self.adjust()

    def _deliver(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        while self._late and not self._wire.link.rule.holds(self.way):
            due = self._late[0][0]
            if due > loop.time():
                self._timer = loop.call_at(due, self._deliver)
                break
            self._send_first()
        if self._timer is None or self._is_paused:
            asyncio.get_running_loop().call_soon(self.adjust)

    def _send_first(self) -> None:
        _, data = self._late.popleft()
        self._late_bytes -= len(data)
        if not self._sink.is_closing():
            self._sink.write(data)


class _End(asyncio.Protocol):
    """What one end of a wire sends; `at` is its flow's place among the wire's. What comes before there is a flow is
    kept until then: uvloop reads on when reading is paused as early as that."""

    def __init__(self, house: "_House", door: Door, at: int, wire: _Wire | None = None) -> None:
        self._house, self._door, self._at, self.wire = house, door, at, wire
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        made = cast(asyncio.Transport, transport)
        if self.wire is None:
            link = self._house.link_of(made.get_extra_info("peername"), self._door.target)
            self.wire = _Wire(link, made, self)
            link.connected += 1
            if link.rule.resets_new:
                self.wire.reset()
            else:
                self._house.connect(self._door, self.wire)
        else:
            asyncio.get_running_loop().call_soon(self.wire.join, made, self)

    def data_received(self, data: bytes) -> None:
        assert self.wire is not None
        if self.wire.flows:
            self.wire.flows[self._at].take(data)
        else:
            self._early.append(data)

    def give_early(self) -> None:
        early, self._early = self._early, []
        for data in early:
            self.data_received(data)

    def pause_writing(self) -> None:
        self._note_room(is_full=True)

    def resume_writing(self) -> None:
        self._note_room(is_full=False)

    def connection_lost(self, problem: Exception | None) -> None:
        assert self.wire is not None
        self.wire.end(was_broken=problem is not None)
        if self._at == 1:
            self._house.knock_soon(self._door)

    def _note_room(self, *, is_full: bool) -> None:
        """This end is where the other flow goes."""
        assert self.wire is not None
        if self.wire.flows:
            flow = self.wire.flows[1 - self._at]
            flow.is_sink_full = is_full
            flow.adjust()


class _House:
    """All doors, and who is known to come through them."""

    def __init__(self, doors: list[Door]) -> None:
        self._doors = doors
        self._listeners: dict[str, asyncio.Server] = {}
        self._links: dict[tuple[str, str], _Link] = {}
        self._rules: dict[tuple[str, str], Rule] = {}
        self._processes: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._knocking: set[str] = set()

    async def serve(self) -> None:
        for door in self._doors:
            self.knock_soon(door)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            self._obey(msgspec.json.decode(line, type=Order))
            os.write(1, msgspec.json.encode(Seen(tuple(link.seen() for link in self._links.values()))) + b"\n")

    def link_of(self, address: tuple[str, int], target: str) -> _Link:
        return self._link(_owner_of(address, self._processes), target)

    def connect(self, door: Door, wire: _Wire) -> None:
        self._spawn(self._connect(door, wire))

    def knock_soon(self, door: Door) -> None:
        """See whether the node takes connections, and have the door open or closed accordingly."""
        if door.target not in self._knocking:
            self._knocking.add(door.target)
            self._spawn(self._knock(door))

    def _link(self, source: str, target: str) -> _Link:
        name = (source, target)
        if name not in self._links:
            self._links[name] = _Link(source, target)
            self._links[name].set_rule(self._rules.get(name, FREE))
        return self._links[name]

    def _obey(self, order: Order) -> None:
        if order.processes is not None:
            self._processes = order.processes
        if order.rules is not None:
            self._set_rules(order.rules)
        for source, target in order.reset:
            for wire in list(self._link(source, target).wires):
                wire.reset()

    def _set_rules(self, rules: tuple[LinkRule, ...]) -> None:
        self._rules = {(one.source, one.target): one.rule for one in rules}
        for name in {*self._links, *self._rules}:
            link, rule = self._link(*name), self._rules.get(name, FREE)
            if link.rule != rule:
                link.set_rule(rule)

    async def _connect(self, door: Door, wire: _Wire) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: _End(self, door, 1, wire), _LOCALHOST, door.node_port)
        except OSError:
            wire.reset()
            self.knock_soon(door)

    async def _knock(self, door: Door) -> None:
        try:
            while not await self._is_there(door):
                await self._close(door)
                await asyncio.sleep(_KNOCK_SECONDS)
            if door.target not in self._listeners:
                self._listeners[door.target] = await asyncio.get_running_loop().create_server(
                    lambda: _End(self, door, 0), _LOCALHOST, door.port
                )
        finally:
            self._knocking.discard(door.target)

    async def _close(self, door: Door) -> None:
        listener = self._listeners.pop(door.target, None)
        if listener is not None:
            listener.close()

    @staticmethod
    async def _is_there(door: Door) -> bool:
        try:
            _, writer = await asyncio.open_connection(_LOCALHOST, door.node_port)
        except OSError:
            return False
        writer.close()
        return True

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _owner_of(address: tuple[str, int], processes: dict[str, int]) -> str:
    """Who has the socket that is bound to `address`; "" for nobody known."""
    inode = _inode_of(address)
    for name, pid in processes.items():
        try:
            for descriptor in os.scandir(f"/proc/{pid}/fd"):
                if os.readlink(descriptor.path) == inode:
                    return name
        except OSError:
            continue  # it ends, or closes files, meanwhile
    return ""


def _inode_of(address: tuple[str, int]) -> str:
    packed = int.from_bytes(socket.inet_aton(address[0]), sys.byteorder)
    wanted = f"{packed:08X}:{address[1]:04X}"
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        words = line.split()
        if words[1] == wanted and words[9] != "0":
            return f"socket:[{words[9]}]"
    return "none"


def main() -> None:
    uvloop.run(_House(msgspec.json.decode(sys.argv[1], type=list[Door])).serve())


if __name__ == "__main__":
    main()
