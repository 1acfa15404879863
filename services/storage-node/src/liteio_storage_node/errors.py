"""The one translation of this service: what went wrong in a drive, as the StorageError that crosses the wire."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from liteio_contracts.storage_errors import DriveTimeout, DriveUnavailable, StorageError

log: Final = logging.getLogger("liteio.storage_node")


def wire_error_of(problem: Exception) -> StorageError:
    """What is unexpected becomes "no answer", which is the truth about it, and leaves its trace in the log here."""
    if isinstance(problem, StorageError):
        return problem
    if isinstance(problem, TimeoutError):
        return DriveTimeout("the deadline passed on the node")
    log.error("a drive failed in an unexpected way", exc_info=problem)
    return DriveUnavailable("internal error of the storage node")


@contextmanager
def quietly(what: str) -> Iterator[None]:
    """For cleaning up after a failure: its own failures are logged and end here."""
    try:
        yield
    except asyncio.CancelledError:
        raise
    except Exception:
        log.exception("could not %s", what)
