"""POST /v1/calls: many calls in one request, each answered as soon as its drive is done."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
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
from liteio_drives.remote.limits import BATCH_BYTES, BATCH_CALLS_MAX, REPLY_BYTES_MAX
from liteio_drives.remote.messages import (
    DRIVE_METHODS,
    NODE,
    NODE_METHODS,
    Batch,
    Calls,
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
        asked = [(calls, self._arguments(calls)) for calls in _batch_decoder.decode(request.body)]
        if sum(len(arguments) for _, arguments in asked) > BATCH_CALLS_MAX:
            raise msgspec.ValidationError("too many calls")
        answers = _Answers(request.key, self._deadlines)
        for calls, arguments in asked:
            answers.expect([asyncio.ensure_future(one) for one in self._ask(calls, arguments)], calls.seconds_left)
        frames = await answers.next()
        await start_answer(request.send)
        await self._send_all(answers, frames, request.send)

    def _arguments(self, calls: Calls) -> list[Any]:
        """Decoded before anything is done: a batch with a call that can not be read is refused whole."""
        if calls.method not in (NODE_METHODS if calls.target == NODE else DRIVE_METHODS):
            raise msgspec.ValidationError("no such method")
        return decode_arguments(calls.method, calls.arguments)

    async def _send_all(self, answers: "_Answers", frames: bytes, send: Send) -> None:
        """Calls outlive a client that leaves: a commit that has begun is finished."""
        while True:
            with suppress(ClientGone):
                await send_part(send, frames, is_last=not answers.left_count)
            if not answers.left_count:
                return
            frames = await answers.next()

    def _ask(self, calls: Calls, arguments: list[Any]) -> Iterable[Awaitable[Any]]:
        """The calls under way, one after the other; they fail with StorageError."""
        method = calls.method
        if calls.target == NODE:
            return map(self._node_calls[method], arguments)
        try:
            drive = self._drives.get(calls.target)
        except DriveOffline as error:
            return [_failed(error) for _ in arguments]
        deadline = Deadline.after(calls.seconds_left, self._clock)
        IS_BACKGROUND.set(calls.is_background)  # for what is begun now, here or in the task that begins next
        if method == "list_page":
            return (_page_that_fits(drive, query, deadline) for (query,) in arguments)
        return (ask_drive(drive, method, each, deadline) for each in arguments)


class _Answers:
    """The answers to one request. What is ready in one turn of the loop leaves in one piece."""

    def __init__(self, key: ExchangeKey, deadlines: Deadlines) -> None:
        self._key, self._deadlines = key, deadlines
        self._expected = 0
        self._under_way: dict[asyncio.Future[Any], int] = {}
        self._ready: list[tuple[int, asyncio.Future[Any]]] = []
        self._has_news = asyncio.Event()
        self._expiries: list[Expiry] = []

    @property
    def left_count(self) -> int:
        """Answers that `next` has not given yet."""
        return len(self._under_way) + len(self._ready)

    def expect(self, answers: list[asyncio.Future[Any]], seconds: float) -> None:
        """The next of the batch. At their deadline they are cancelled, which answers them."""
        for answer in answers:
            self._under_way[answer] = self._expected
            self._expected += 1
            answer.add_done_callback(self._note)
        self._expiries.append(self._deadlines.add(seconds, lambda: [answer.cancel() for answer in answers]))

    async def next(self) -> bytes:
        """The next frames, when there are some."""
        await self._has_news.wait()
        self._has_news.clear()
        replies = [_reply(index, answer) for index, answer in self._ready]
        self._ready.clear()
        return b"".join(sealed_frame(FrameKind.REPLY, payload, self._key) for payload in _packed(replies))

    def _note(self, answer: asyncio.Future[Any]) -> None:
        self._ready.append((self._under_way.pop(answer), answer))
        if not self._under_way:
            for expiry in self._expiries:
                self._deadlines.drop(expiry)
        self._has_news.set()


def _reply(index: int, answer: asyncio.Future[Any]) -> Reply:
    try:
        return Reply(index, None, _result_of(answer))
    except Exception as problem:
        return Reply(index, to_wire(wire_error_of(problem)))


def _packed(replies: Sequence[Reply]) -> list[bytes]:
    """In one piece; or each in its own, when that is too large or one of them can not be packed."""
    is_alone = len(replies) == 1
    problem: Exception
    try:
        payload = _encoder.encode(replies)
        if len(payload) <= (REPLY_BYTES_MAX if is_alone else BATCH_BYTES):
            return [payload]
        problem = _too_large(len(payload))
    except Exception as unexpected:
        problem = unexpected
    if is_alone:
        return _packed([Reply(replies[0].index, to_wire(wire_error_of(problem)))])
    return [payload for reply in replies for payload in _packed([reply])]


def _result_of(answer: asyncio.Future[Any]) -> Any:
    """Raises what the call failed with; TimeoutError when it was cancelled."""
    if answer.cancelled():
        raise TimeoutError
    return answer.result()


def _failed(error: StorageError) -> asyncio.Future[Any]:
    answer = asyncio.get_running_loop().create_future()
    answer.set_exception(error)
    return answer


def _too_large(length_bytes: int) -> DriveUnavailable:
    return DriveUnavailable("the answer is too large for the wire", length_bytes=length_bytes)


async def _page_that_fits(drive: StorageAPI, query: ListQuery, deadline: Deadline) -> msgspec.Raw:
    """The packed page. One that is too large for the wire is asked for again, half as long; one item always fits or is
    refused."""
    while True:
        page: ListPage = await drive.list_page(query, deadline=deadline)
        packed = _encoder.encode(page)
        if len(packed) <= REPLY_BYTES_MAX - _ROOM_BYTES:
            return msgspec.Raw(packed)
        if len(page.items) <= 1:
            raise _too_large(len(packed))
        query = msgspec.structs.replace(query, limit=len(page.items) // 2)
