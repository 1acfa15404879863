"""`Exchange`: what is known of one HTTP exchange so far. The guard makes it, everyone adds to it, the log prints it."""

from typing import Final

import msgspec

from liteio_gateway.asgi import Scope

_KEY: Final = "liteio.exchange"


class Exchange(msgspec.Struct, gc=False):
    """Nothing secret is ever put here: no signature, no token, no query value.

    A struct, as are the other values that every request makes: a dataclass takes a multiple of its time to make.
    """

    request_id: str
    host_id: str
    started: float  # monotonic seconds
    client: str  # the peer's address; forwarding headers are not trusted
    method: str
    caller: str = ""  # access key, once proven
    operation: str = ""
    bucket: str = ""
    key: str = ""
    status: int = 0
    error_code: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    body_is_read: bool = False  # the body's last byte was seen


def attach_exchange(scope: Scope, exchange: Exchange) -> None:
    scope[_KEY] = exchange


def exchange_of(scope: Scope) -> Exchange:
    exchange: Exchange = scope[_KEY]
    return exchange
