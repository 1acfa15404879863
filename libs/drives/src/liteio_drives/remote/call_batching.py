"""Calls made in one turn of the loop travel to their node as one request, and each is answered on its own.

What may be sent again: everything, when the node refused the request before looking at it; calls that only read, once,
when the connection broke under them. A commit that may have arrived is never repeated from here.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from liteio_base.background import IS_BACKGROUND
from liteio_base.check import check
from liteio_base.deadline import Deadline
from liteio_base.ids import DriveId
from liteio_contracts.storage_errors import DriveTimeout, DriveUnavailable, StorageError
from liteio_drives.remote.deadlines import Deadlines, Expiry
from liteio_drives.remote.frames import FrameKind
from liteio_drives.remote.limits import BATCH_BYTES, BATCH_CALLS_MAX, CALL_BYTES_MAX, CALL_SECONDS_MAX, LAZY_SECONDS
from liteio_drives.remote.messages import CALLS_PATH, METHODS, Call, Reply, decode_result
from liteio_drives.remote.node_client import TROUBLE, NodeClient
from liteio_drives.remote.sealing import MAY_SEND_AGAIN, NotAuthentic
from liteio_drives.remote.wire_errors import from_wire

_ANSWER_GRACE_SECONDS: Final = 1.0  # beyond the latest deadline, before a request is torn down
_encoder: Final = msgspec.msgpack.Encoder()
_reply_decoder: Final = msgspec.msgpack.Decoder(Reply)


@dataclass(eq=False, slots=True)
class _Waiting:
    """A call on its way."""

    target: DriveId
    method: str
    arguments: bytes
    deadline: Deadline
    answer: asyncio.Future[Any]
    node: str
    is_background: bool = field(default_factory=IS_BACKGROUND.get)
    is_second_try: bool = False
    expiry: Expiry | None = None

    def to_call(self) -> Call:
        seconds_left = min(self.deadline.seconds_left(), CALL_SECONDS_MAX)
        return Call(self.target, self.method, seconds_left, msgspec.Raw(self.arguments), self.is_background)

    def settle(self, result: Any) -> None:
        if not self.answer.done():
            if isinstance(result, StorageError):
                self.answer.set_exception(result)
            else:
                self.answer.set_result(result)

    def expire(self) -> None:
        self.settle(DriveTimeout("no answer before the deadline", method=self.method, node=self.node))


class CallBatcher:
    """The calls to one node."""

    def __init__(self, client: NodeClient) -> None:
        self._client = client
        self._queue: list[_Waiting] = []
        self._flushing: asyncio.Handle | None = None
        self._is_urgent = False  # the queue leaves at the end of this turn
        self._deadlines = Deadlines()
        self._senders: set[asyncio.Task[None]] = set()

    def call(
        self, target: DriveId, method: str, arguments: tuple[Any, ...], deadline: Deadline, *, is_lazy: bool = False
    ) -> asyncio.Future[Any]:
        """The result, of the contract's type; fails with StorageError. is_lazy: nobody waits for it, so it may travel
        with the calls of a later turn."""
        packed = _encoder.encode(arguments)
        check(len(packed) <= CALL_BYTES_MAX, "a call stays within the protocol's bound")
        answer = asyncio.get_running_loop().create_future()
        waiting = _Waiting(target, method, packed, deadline, answer, self._client.url)
        if deadline.has_passed:
            waiting.settle(DriveTimeout("the deadline passed before the call was sent", method=method))
            return answer
        waiting.expiry = self._deadlines.add(deadline.seconds_left(), waiting.expire)
        self._add(waiting, is_lazy=is_lazy)
        return answer

    async def close(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
        for waiting in self._queue:
            waiting.answer.cancel()
        for sender in list(self._senders):
            sender.cancel()
        await asyncio.gather(*self._senders, return_exceptions=True)
        self._deadlines.close()

    def _add(self, waiting: _Waiting, *, is_lazy: bool = False) -> None:
        self._queue.append(waiting)
        loop = asyncio.get_running_loop()
        if is_lazy:
            if self._flushing is None:
                self._flushing = loop.call_later(LAZY_SECONDS, self._flush)
        elif not self._is_urgent:
            self._is_urgent = True
            if self._flushing is not None:
                self._flushing.cancel()
            self._flushing = loop.call_soon(self._flush)

    def _flush(self) -> None:
        waiting, self._queue = self._queue, []
        self._flushing, self._is_urgent = None, False
        for batch in _batches(waiting):
            sender = asyncio.create_task(self._send(batch))
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)

    async def _send(self, batch: list[_Waiting]) -> None:
        failure: Exception | None = None
        try:
            await self._exchange(batch)
        except StorageError as error:  # the node is known to be down: nothing was sent
            for waiting in batch:
                waiting.settle(error)
        except TROUBLE as trouble:
            failure = trouble
        except asyncio.CancelledError:
            for waiting in batch:
                waiting.answer.cancel()
            raise
        left = [waiting for waiting in batch if not waiting.answer.done()]
        if left:
            self._settle_unanswered(left, failure)
        for waiting in batch:
            if waiting.expiry is not None and waiting.answer.done():
                self._deadlines.drop(waiting.expiry)

    async def _exchange(self, batch: list[_Waiting]) -> None:
        body = _encoder.encode([waiting.to_call() for waiting in batch])
        longest = max(waiting.deadline.seconds_left() for waiting in batch)
        answer = await self._client.exchange(CALLS_PATH, body, longest + _ANSWER_GRACE_SECONDS)
        try:
            for _ in batch:
                frame = await answer.next()
                if frame is None or frame.kind is not FrameKind.REPLY:
                    return
                self._take(batch, _reply_decoder.decode(frame.payload))
        finally:
            await answer.close()

    def _take(self, batch: list[_Waiting], reply: Reply) -> None:
        if not 0 <= reply.index < len(batch):
            raise msgspec.ValidationError("a reply to no call of the batch")
        waiting = batch[reply.index]
        waiting.settle(from_wire(reply.error) if reply.error else decode_result(waiting.method, reply.result))

    def _settle_unanswered(self, left: list[_Waiting], failure: Exception | None) -> None:
        was_refused = isinstance(failure, NotAuthentic) and failure.reason in MAY_SEND_AGAIN
        error = DriveUnavailable("the node left calls unanswered") if failure is None else self._client.judge(failure)
        for waiting in left:
            may_repeat = was_refused or METHODS[waiting.method].is_read
            if may_repeat and not waiting.is_second_try and not isinstance(error, DriveTimeout):
                waiting.is_second_try = True
                self._add(waiting)
            else:
                waiting.settle(error)


def _batches(queue: list[_Waiting]) -> list[list[_Waiting]]:
    """In order, cut where a batch would hold too many calls or bytes. A call that is larger goes alone."""
    batches: list[list[_Waiting]] = []
    size_bytes = 0
    for waiting in queue:
        size_bytes += len(waiting.arguments)
        if not batches or len(batches[-1]) == BATCH_CALLS_MAX or size_bytes > BATCH_BYTES:
            batches.append([])
            size_bytes = len(waiting.arguments)
        batches[-1].append(waiting)
    return batches
