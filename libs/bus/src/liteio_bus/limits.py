"""How much the bus's streams may hold, for whoever runs a server for them."""

from typing import Final

from liteio_base.limits import GIB, MIB

EVENTS_BYTES_MAX: Final = 4 * GIB
HEAL_BYTES_MAX: Final = 256 * MIB  # about half a million tasks; what does not fit is found by the scanner
DEAD_BYTES_MAX: Final = 64 * MIB
STREAMS_BYTES_MAX: Final = EVENTS_BYTES_MAX + HEAL_BYTES_MAX + DEAD_BYTES_MAX
