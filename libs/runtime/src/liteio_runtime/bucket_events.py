"""`liteio events`: switch a bucket's events on or off, and watch them come."""

import asyncio
import signal
import sys
from typing import Final

from nats.aio.msg import Msg
from pydantic import ValidationError

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_bus.connection import Bus
from liteio_bus.subjects import events_of
from liteio_contracts.messages import S3EventMessage
from liteio_contracts.object_errors import BucketMissing, ObjectError
from liteio_contracts.object_layer import BucketChange
from liteio_runtime.bus_access import bus_url
from liteio_runtime.problems import Problem, StartRefused
from liteio_runtime.settings import ServerSettings

_CHANGE_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 10.0


async def switch_events(settings: ServerSettings, bucket: str, *, is_on: bool) -> str:
    """Change the bucket's configuration. Gateways notice with their next write to it. Raises StartRefused."""
    from liteio_runtime.store_access import open_for_command

    async with open_for_command(settings) as opened:
        deadline = Deadline.after(_CHANGE_SECONDS, SystemClock())
        try:
            await opened.store.change_bucket(bucket, BucketChange(has_events=is_on), deadline=deadline)
        except BucketMissing:
            problem = Problem(f"no bucket {bucket!r}", "events", "make it first, with any S3 client")
            raise StartRefused([problem]) from None
        except ObjectError as trouble:
            problem = Problem(f"not changed: {trouble}", bucket, "see that enough drives are there: liteio doctor")
            raise StartRefused([problem]) from None
    return f"events of {bucket} are {'on' if is_on else 'off'}"


async def tail_events(settings: ServerSettings, bucket: str, *, as_json: bool) -> None:
    """Print events as they come, until interrupted. Raises StartRefused when there is no bus to listen to."""
    async with Bus(bus_url(settings), name="liteio events tail") as bus:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await bus.wait_until_ready()
        except TimeoutError:
            problem = Problem("the bus does not answer", "--nats", "start the server, or check the URL")
            raise StartRefused([problem]) from None

        async def show(message: Msg) -> None:
            print(message.data.decode() if as_json else describe(message.data), flush=True)

        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        await bus.subscribe(events_of(bucket), show)
        print(f"listening for events of {bucket or 'all buckets'}; Ctrl-C ends", file=sys.stderr, flush=True)
        await stopped.wait()


def describe(payload: bytes) -> str:
    """One line: time, event, bucket/key, size."""
    try:
        message = S3EventMessage.model_validate_json(payload)
    except ValidationError:
        return payload.decode(errors="replace")
    lines = []
    for record in message.records:
        size = record.get("s3", {}).get("object", {}).get("size")
        measure = "" if size is None else f"  {size} bytes"
        lines.append(f"{record.get('eventTime', '')}  {message.event_name:<36} {message.key}{measure}")
    return "\n".join(lines)
