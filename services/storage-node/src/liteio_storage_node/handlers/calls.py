"""POST /v1/calls: many calls in one request, each answered by a frame of its own as soon as its drive is done."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import msgspec

from liteio_base.check import check
from liteio_base.clock import Clock
from liteio_base.deadline import Deadline
from liteio_contracts.storage import ListPage, ListQuery, StorageAPI
from liteio_contracts.storage_errors import DriveUnavailable, StorageError
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
from liteio_storage_node.asgi import ClientGone, send_part, start_answer
from liteio_storage_node.drive_set import DriveSet
from liteio_storage_node.errors import wire_error_of
from liteio_storage_node.guard import SealedRequest

_encoder: Final = msgspec.msgpack.Encoder()
_batch_decoder: Final = msgspec.msgpack.Decoder(Batch)
_ROOM_BYTES: Final = 4096  # of a reply, for what stands around its result

NodeCall = Callable[[Any], Awaitable[Any]]


class CallsHandler:
    """Asks the drives, and the node itself by `node_calls`."""

    def __init__(self, drives: DriveSet, node_calls: dict[str, NodeCall], clock: Clock) -> None:
        check(node_calls.keys() == NODE_METHODS.keys(), "the node answers every method of its own")
        self._drives, self._node_calls, self._clock = drives, node_calls, clock

    async def __call__(self, request: SealedRequest) -> None:
        calls = _batch_decoder.decode(request.body)
        asked = [(call, self._arguments(call)) for call in calls]
        if len(asked) == 1:
            frame = await self._answer(0, *asked[0], request.key)
            await start_answer(request.send)
            await send_part(request.send, frame, is_last=True)
            return
        await start_answer(request.send)
        await self._stream_answers(asked, request)

    def _arguments(self, call: Call) -> Any:
        """Decoded before anything is done: a batch with a call that can not be read is refused whole."""
        if call.method not in (NODE_METHODS if call.target == NODE else DRIVE_METHODS):
            raise msgspec.ValidationError("no such method")
        return decode_arguments(call.method, call.arguments)

    async def _stream_answers(self, asked: list[tuple[Call, Any]], request: SealedRequest) -> None:
        """What is ready in one turn of the loop leaves in one piece. Calls outlive a client that leaves: a commit that
        has begun is finished."""
        ready: list[bytes] = []
        news = asyncio.Event()

        async def work(index: int, call: Call, arguments: Any) -> None:
            ready.append(await self._answer(index, call, arguments, request.key))
            news.set()

        async with asyncio.TaskGroup() as group:
            for index, (call, arguments) in enumerate(asked):
                group.create_task(work(index, call, arguments))
            left = len(asked)
            while left:
                await news.wait()
                news.clear()
                frames, ready[:] = list(ready), []
                left -= len(frames)
                with suppress(ClientGone):
                    await send_part(request.send, b"".join(frames), is_last=not left)

    async def _answer(self, index: int, call: Call, arguments: Any, key: ExchangeKey) -> bytes:
        try:
            async with asyncio.timeout(call.seconds_left):
                packed = await self._ask(call, arguments)
            payload = _encoder.encode(Reply(index, None, msgspec.Raw(packed)))
        except Exception as problem:
            payload = _encoder.encode(Reply(index, to_wire(wire_error_of(problem))))
        return sealed_frame(FrameKind.REPLY, payload, key)

    async def _ask(self, call: Call, arguments: Any) -> bytes:
        """The result, packed. Raises StorageError."""
        if call.target == NODE:
            return _packed(await self._node_calls[call.method](arguments), call.method)
        drive = self._drives.get(call.target)
        deadline = Deadline.after(call.seconds_left, self._clock)
        if call.method == "list_page":
            return await _packed_page(drive, arguments[0], deadline)
        return _packed(await ask_drive(drive, call.method, arguments, deadline), call.method)


def _packed(result: Any, method: str) -> bytes:
    packed = _encoder.encode(result)
    if len(packed) > REPLY_BYTES_MAX - _ROOM_BYTES:
        raise DriveUnavailable("the answer is too large for the wire", method=method, length_bytes=len(packed))
    return packed


async def _packed_page(drive: StorageAPI, query: ListQuery, deadline: Deadline) -> bytes:
    """A page that is too large for the wire is asked for again, half as long; one item always fits or is refused."""
    while True:
        page: ListPage = await drive.list_page(query, deadline=deadline)
        try:
            return _packed(page, "list_page")
        except StorageError:
            if len(page.items) <= 1:
                raise
            query = msgspec.structs.replace(query, limit=len(page.items) // 2)
