"""What may be done to a link, the TCP connections from one process of a cluster to one node; and the messages between
a test and the proxy that does it (`tests.support.link_proxy`)."""

from enum import StrEnum

import msgspec


class Way(StrEnum):
    """A direction: of requests, from the process that connects; of replies, from the node."""

    REQUESTS = "requests"
    REPLIES = "replies"


class Deed(StrEnum):
    RESET = "reset"  # bytes before it pass; then both ends see a reset
    FLIP = "flip"  # one bit of this byte
    REPEAT = "repeat"  # the piece that holds the byte comes twice


class Strike(msgspec.Struct, frozen=True):
    """Done once, to the byte that comes `after` so many of its way, over all connections of the link, since the rule
    was set."""

    way: Way
    after: int
    deed: Deed


class Rule(msgspec.Struct, frozen=True):
    """How a link behaves. What is held keeps its order and passes when the rule ends, as what TCP sends again does.
    A new connection on a link that holds is taken and hears nothing: half open."""

    latency_seconds: float = 0.0
    jitter_seconds: float = 0.0
    bytes_per_second: float = 0.0  # 0: as fast as it goes
    holds_requests: bool = False
    holds_replies: bool = False
    resets_new: bool = False  # connections made from now on are reset at once
    strikes: tuple[Strike, ...] = ()

    def holds(self, way: Way) -> bool:
        return self.holds_requests if way is Way.REQUESTS else self.holds_replies


FREE = Rule()
CUT = Rule(holds_requests=True, holds_replies=True)
"""A partition, seen from both ends."""


class LinkRule(msgspec.Struct, frozen=True):
    source: str
    target: str
    rule: Rule


class Order(msgspec.Struct, frozen=True):
    """From the test: what is given replaces what was. Answered by `Seen`."""

    rules: tuple[LinkRule, ...] | None = None
    processes: dict[str, int] | None = None  # who connects, by process id
    reset: tuple[tuple[str, str], ...] = ()  # links whose connections are broken now


class LinkSeen(msgspec.Struct, frozen=True):
    source: str
    target: str
    connections: int  # open now
    connected: int  # ever
    request_bytes: int
    reply_bytes: int
    struck: int


class Seen(msgspec.Struct, frozen=True):
    links: tuple[LinkSeen, ...]


class Door(msgspec.Struct, frozen=True):
    """A port of the proxy, and the node's behind it."""

    target: str
    port: int
    node_port: int
