"""Ask the gateway's readiness probe until it says yes."""

import asyncio
import contextlib
import ssl
from typing import Final

_PROBE_SECONDS: Final = 4.0  # the gateway gives its drives 3 s
_PAUSE_SECONDS: Final = 0.05


async def wait_until_ready(host: str, port: int, *, has_tls: bool) -> None:
    """Return once `GET /health/ready` answers 200. Ask with asyncio.timeout around it to bound the wait."""
    while not await is_ready(host, port, has_tls=has_tls):  # noqa: ASYNC110  # it becomes true in another process
        await asyncio.sleep(_PAUSE_SECONDS)


async def is_ready(host: str, port: int, *, has_tls: bool) -> bool:
    context = None
    if has_tls:  # our own socket on this machine, and nothing secret is said: the certificate's name does not matter
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            reader, writer = await asyncio.open_connection(host or "127.0.0.1", port, ssl=context)
            try:
                writer.write(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return (await reader.readline()).split(b" ")[1:2] == [b"200"]
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
