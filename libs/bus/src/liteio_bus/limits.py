"""How much the bus's streams may hold, for whoever runs a server for them."""

from typing import Final

from liteio_base.limits import GIB, MIB

EVENTS_BYTES_MAX: Final = 4 * GIB
HEAL_BYTES_MAX: Final = 256 * MIB  # about half a million tasks; what does not fit is found by the scanner
DEAD_BYTES_MAX: Final = 64 * MIB
STREAMS_BYTES_MAX: Final = EVENTS_BYTES_MAX + HEAL_BYTES_MAX + DEAD_BYTES_MAX
# What a server must be allowed to store. A stream that is there counts a second time when another process makes sure
# that it is (nats-server 2.15.1: error 10047, though nothing would be added).
STORE_BYTES_MIN: Final = 2 * STREAMS_BYTES_MAX
