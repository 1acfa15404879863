"""The outermost layers: guard, log, lifespan."""

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from services.gateway.tests.memory_layer import MemoryLayer
from services.gateway.tests.raw_client import Answer, RawClient

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_gateway.asgi import App, BrokenAnswer, Message, Receive, Scope, Send
from liteio_gateway.guard import Guard
from liteio_gateway.lifespan import Lifespan
from liteio_gateway.request_log import LineLog
from liteio_testkit.polling import until


async def speak(app: App, method: str = "GET") -> Answer:
    guard = Guard(app, clock=SystemClock(), randomness=SystemRandomness(), host_id="host")
    return await RawClient(guard, MemoryLayer()).speak(method, b"/", b"", [(b"host", b"h")])


def answering(length: bytes | None, *bodies: bytes) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [] if length is None else [(b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for index, body in enumerate(bodies):
            await send({"type": "http.response.body", "body": body, "more_body": index < len(bodies) - 1})

    return app


async def test_an_answer_of_its_declared_length_passes() -> None:
    answer = await speak(answering(b"6", b"abc", b"def"))
    assert (answer.body, answer.is_complete) == (b"abcdef", True)
    assert answer.headers["x-amz-id-2"] == "host"


@pytest.mark.parametrize("app", [answering(b"6", b"abc"), answering(b"2", b"abc"), answering(b"3")])
async def test_an_answer_of_another_length_is_broken(app: App) -> None:
    with pytest.raises(BrokenAnswer):
        await speak(app)


async def test_an_answer_without_length_becomes_a_500() -> None:
    assert (await speak(answering(None, b"abc"))).status == 500


async def test_a_head_declares_without_sending() -> None:
    answer = await speak(answering(b"6", b""), "HEAD")
    assert (answer.headers["content-length"], answer.is_complete) == ("6", True)


async def test_whatever_fails_there_is_an_answer() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    answer = await speak(app)
    assert (answer.status, answer.code) == (500, "InternalError")
    assert (await speak(app, "HEAD")).body == b""


async def test_every_request_has_an_id_of_its_own() -> None:
    guard = Guard(answering(b"0", b""), clock=SystemClock(), randomness=SystemRandomness(), host_id="host")
    client = RawClient(guard, MemoryLayer())
    answers = [await client.speak("GET", b"/", b"", [(b"host", b"h")]) for _ in range(200)]
    ids = {answer.headers["x-amz-request-id"] for answer in answers}
    assert len(ids) == 200
    assert all(re.fullmatch("[0-9A-F]{16}", each) for each in ids)


async def test_log_lines_are_gathered_and_written() -> None:
    stream = io.BytesIO()
    lines = LineLog(stream)
    lines({"key": "a\nb", "status": 200})
    lines({"key": "c", "status": 404})
    assert stream.getvalue() == b""
    await asyncio.sleep(0.1)
    assert [json.loads(line) for line in stream.getvalue().splitlines()] == [
        {"key": "a\nb", "status": 200},
        {"key": "c", "status": 404},
    ]
    plain = io.BytesIO()
    lines = LineLog(plain, is_json=False)
    lines({"key": "a\nb"})
    lines.flush()
    assert plain.getvalue() == b"key='a\\nb'\n"


async def test_a_closed_log_loses_lines_not_requests() -> None:
    stream = io.BytesIO()
    lines = LineLog(stream)
    lines({"key": "a"})
    stream.close()
    lines.flush()


async def live(lifespan: Lifespan) -> list[str]:
    asked: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    told: list[str] = []

    async def receive() -> Message:
        return asked.pop(0)

    async def send(message: Message) -> None:
        told.append(message["type"])

    await lifespan({"type": "lifespan"}, receive, send)
    return told


async def test_the_store_is_opened_and_closed_with_the_server() -> None:
    steps: list[str] = []

    @asynccontextmanager
    async def opening() -> AsyncIterator[App]:
        steps.append("opened")
        yield answering(b"0", b"")
        steps.append("closed")

    assert await live(Lifespan(opening)) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert steps == ["opened", "closed"]


async def test_a_store_that_does_not_open_stops_the_server() -> None:
    drives: list[App] = []

    @asynccontextmanager
    async def opening() -> AsyncIterator[App]:
        yield drives[0]

    assert await live(Lifespan(opening)) == ["lifespan.startup.failed"]


async def test_a_store_that_takes_its_time_is_not_waited_for() -> None:
    """Requests before it is there: alive, and try again. A stop is heard then as well."""
    opens = asyncio.Event()

    @asynccontextmanager
    async def opening() -> AsyncIterator[App]:
        await opens.wait()
        yield answering(b"0", b"")

    lifespan = Lifespan(opening, patience_seconds=0.01)
    asked: asyncio.Queue[Message] = asyncio.Queue()
    told: asyncio.Queue[Message] = asyncio.Queue()
    asked.put_nowait({"type": "lifespan.startup"})
    living = asyncio.ensure_future(lifespan({"type": "lifespan"}, asked.get, told.put))
    assert (await told.get())["type"] == "lifespan.startup.complete"
    assert await status_of(lifespan, b"/health/live") == 200
    assert await status_of(lifespan, b"/health/ready") == 503
    assert await status_of(lifespan, b"/bucket/key") == 503
    opens.set()

    async def is_open() -> bool:
        return await status_of(lifespan, b"/bucket/key") == 200

    await until(is_open)
    asked.put_nowait({"type": "lifespan.shutdown"})
    await living
    assert (await told.get())["type"] == "lifespan.shutdown.complete"


async def test_a_stop_before_the_store_is_open_ends_at_once() -> None:
    @asynccontextmanager
    async def opening() -> AsyncIterator[App]:
        await asyncio.Event().wait()
        yield answering(b"0", b"")

    lifespan = Lifespan(opening, patience_seconds=0.01)
    assert await live(lifespan) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_store_that_fails_late_is_told_to_the_server() -> None:
    failed = asyncio.Event()

    drives: list[App] = []

    @asynccontextmanager
    async def opening() -> AsyncIterator[App]:
        await asyncio.sleep(0.02)
        yield drives[0]

    lifespan = Lifespan(opening, on_failure=failed.set, patience_seconds=0.001)
    asked: asyncio.Queue[Message] = asyncio.Queue()
    told: asyncio.Queue[Message] = asyncio.Queue()
    asked.put_nowait({"type": "lifespan.startup"})
    living = asyncio.ensure_future(lifespan({"type": "lifespan"}, asked.get, told.put))
    async with asyncio.timeout(5):
        await failed.wait()
    asked.put_nowait({"type": "lifespan.shutdown"})
    await living


async def status_of(app: App, path: bytes) -> int:
    told: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        told.append(message)

    await app({"type": "http", "method": "GET", "raw_path": path, "query_string": b"", "headers": []}, receive, send)
    return int(told[0]["status"])
