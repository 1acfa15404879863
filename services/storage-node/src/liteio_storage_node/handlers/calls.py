"""POST /v1/calls: many calls in one request, each answered by a frame of its own as soon as its drive is done."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

import msgspec

from liteio_base.background import IS_BACKGROUND
from liteio_base.check import check
from liteio_base.clock import Clock
from liteio_base.deadline import Deadline
from liteio_contracts.storage import ListPage, ListQuery, StorageAPI
from liteio_contracts.storage_errors import DriveOffline, DriveUnavailable, StorageError
from liteio_drives.remote.deadlines import Deadlines, Expiry
from liteio_drives.remote.frames import FrameKind
from liteio_drives.remote.limits import REPLY_BYTES_MAX
from liteio_drives.remote.messages import (
    DRIVE_METHODS,
    NODE,
    NODE_METHODS,
    Batch,
    Call,
    Reply,
    ask_drive,
    decode_arguments,
)
from liteio_drives.remote.sealing import ExchangeKey
from liteio_drives.remote.wire_errors import to_wire
from liteio_storage_node.answers import sealed_frame
from liteio_storage_node.asgi import ClientGone, Send, send_part, start_answer
from liteio_storage_node.drive_set import DriveSet
from liteio_storage_node.errors import wire_error_of
from liteio_storage_node.guard import SealedRequest

_encoder: Final = msgspec.msgpack.Encoder()
_batch_decoder: Final = msgspec.msgpack.Decoder(Batch)
_ROOM_BYTES: Final = 4096  # of a reply, for what stands around its result

NodeCall = Callable[[Any], Awaitable[Any]]


class CallsHandler:
    """Asks the drives, and the node itself by `node_calls`."""

    def __init__(self, drives: DriveSet, node_calls: dict[str, NodeCall], clock: Clock, deadlines: Deadlines) -> None:
        check(node_calls.keys() == NODE_METHODS.keys(), "the node answers every method of its own")
        self._drives, self._node_calls, self._clock, self._deadlines = drives, node_calls, clock, deadlines

    async def __call__(self, request: SealedRequest) -> None:
        calls = _batch_decoder.decode(request.body)
        asked = [(call, self._arguments(call)) for call in calls]
        answers = _Answers(request.key, self._deadlines)
        for index, (call, arguments) in enumerate(asked):
            answers.expect(index, call, asyncio.ensure_future(self._ask(call, arguments)))
        frames = await answers.next()
        await start_answer(request.send)
        await self._send_all(answers, frames, request.send)

    def _arguments(self, call: Call) -> Any:
        """Decoded before anything is done: a batch with a call that can not be read is refused whole."""
        if call.method not in (NODE_METHODS if call.target == NODE else DRIVE_METHODS):
            raise msgspec.ValidationError("no such method")
        return decode_arguments(call.method, call.arguments)

    async def _send_all(self, answers: "_Answers", frames: bytes, send: Send) -> None:
        """Calls outlive a client that leaves: a commit that has begun is finished."""
        while True:
            with suppress(ClientGone):
                await send_part(send, frames, is_last=not answers.left_count)
            if not answers.left_count:
                return
            frames = await answers.next()

    def _ask(self, call: Call, arguments: Any) -> Awaitable[Any]:
        """The call under way; fails with StorageError."""
        if call.target == NODE:
            return self._node_calls[call.method](arguments)
        try:
            drive = self._drives.get(call.target)
        except DriveOffline as error:
            return _failed(error)
        deadline = Deadline.after(call.seconds_left, self._clock)
        IS_BACKGROUND.set(call.is_background)  # for what is begun now, here or in the task that begins next
        if call.method == "list_page":
            return _page_that_fits(drive, arguments[0], deadline)
        return ask_drive(drive, call.method, arguments, deadline)


class _Answers:
    """The answers to one request. What is ready in one turn of the loop leaves in one piece."""

    def __init__(self, key: ExchangeKey, deadlines: Deadlines) -> None:
        self._key, self._deadlines = key, deadlines
        self._under_way: set[asyncio.Future[Any]] = set()
        self._ready: list[bytes] = []
        self._has_news = asyncio.Event()

    @property
    def left_count(self) -> int:
        """Frames that `next` has not given yet."""
        return len(self._under_way) + len(self._ready)

    def expect(self, index: int, call: Call, answer: asyncio.Future[Any]) -> None:
        """At its deadline the call is cancelled, which answers it."""
        expiry = self._deadlines.add(call.seconds_left, answer.cancel)
        self._under_way.add(answer)
        answer.add_done_callback(partial(self._note, index, call.method, expiry))

    async def next(self) -> bytes:
        """The next frames, when there are some."""
        await self._has_news.wait()
        self._has_news.clear()
        frames = b"".join(self._ready)
        self._ready.clear()
        return frames

    def _note(self, index: int, method: str, expiry: Expiry, answer: asyncio.Future[Any]) -> None:
        self._deadlines.drop(expiry)
        self._under_way.discard(answer)
        try:
            payload = _encoder.encode(Reply(index, None, _result_of(answer)))
            if len(payload) > REPLY_BYTES_MAX:
                raise _too_large(method, len(payload))
        except Exception as problem:
            payload = _encoder.encode(Reply(index, to_wire(wire_error_of(problem))))
        self._ready.append(sealed_frame(FrameKind.REPLY, payload, self._key))
        self._has_news.set()


def _result_of(answer: asyncio.Future[Any]) -> Any:
    """Raises what the call failed with; TimeoutError when it was cancelled."""
    if answer.cancelled():
        raise TimeoutError
    return answer.result()


def _failed(error: StorageError) -> asyncio.Future[Any]:
    answer = asyncio.get_running_loop().create_future()
    answer.set_exception(error)
    return answer


def _too_large(method: str, length_bytes: int) -> DriveUnavailable:
    return DriveUnavailable("the answer is too large for the wire", method=method, length_bytes=length_bytes)


async def _page_that_fits(drive: StorageAPI, query: ListQuery, deadline: Deadline) -> msgspec.Raw:
    """The packed page. One that is too large for the wire is asked for again, half as long; one item always fits or is
    refused."""
    while True:
        page: ListPage = await drive.list_page(query, deadline=deadline)
        packed = _encoder.encode(page)
        if len(packed) <= REPLY_BYTES_MAX - _ROOM_BYTES:
            return msgspec.Raw(packed)
        if len(page.items) <= 1:
            raise _too_large("list_page", len(packed))
        query = msgspec.structs.replace(query, limit=len(page.items) // 2)
