"""Whether work is done for a client, who waits, or in the background.

Drives count what is asked of them for clients, so that background work can yield to it, in whichever process it is.
"""

from contextvars import ContextVar
from typing import Final

IS_BACKGROUND: Final[ContextVar[bool]] = ContextVar("liteio_is_background", default=False)
"""Set at the beginning of a task that heals, scans or tidies; tasks begun by it inherit it."""
