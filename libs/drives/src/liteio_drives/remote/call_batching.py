"""Calls made in two turns of the loop travel to their node as one request, and each is answered on its own.

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
from liteio_drives.remote.deadlines import Deadlines
from liteio_drives.remote.frames import FrameKind
from liteio_drives.remote.limits import (
    ALIKE_SECONDS,
    BATCH_BYTES,
    BATCH_CALLS_MAX,
    CALL_BYTES_MAX,
    CALL_SECONDS_MAX,
    LAZY_SECONDS,
)
from liteio_drives.remote.messages import CALLS_PATH, METHODS, NODE, Calls, Replies, Reply, decode_result
from liteio_drives.remote.node_client import TROUBLE, NodeClient
from liteio_drives.remote.sealing import MAY_SEND_AGAIN, NotAuthentic
from liteio_drives.remote.wire_errors import from_wire

_ANSWER_GRACE_SECONDS: Final = 1.0  # beyond the latest deadline, before a request is torn down
_encoder: Final = msgspec.msgpack.Encoder()
_replies_decoder: Final = msgspec.msgpack.Decoder(Replies)


@dataclass(eq=False, slots=True)
class _Waiting:
    """A call on its way. `Expiring` itself: with an `Expiry` of its own it would be a cycle, and its answer, maybe a
    page of a listing, would wait for the collector."""

    target: DriveId
    method: str
    arguments: bytes
    at: float  # its deadline, by the loop's clock
    answer: asyncio.Future[Any]
    node: str
    is_background: bool = field(default_factory=IS_BACKGROUND.get)
    is_second_try: bool = False

    def may_join(self, other: "_Waiting") -> bool:
        """Whether the two can travel as one."""
        return (
            self.method == other.method
            and self.is_background == other.is_background
            and abs(self.at - other.at) <= ALIKE_SECONDS
        )

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
        self._is_urgent = False  # the queue leaves at the end of the next turn
        self._deadlines = Deadlines()
        self._senders: set[asyncio.Task[None]] = set()

    def call(
        self, target: DriveId, method: str, arguments: tuple[Any, ...], deadline: Deadline, *, is_lazy: bool = False
    ) -> asyncio.Future[Any]:
        """The result, of the contract's type; fails with StorageError. is_lazy: nobody waits for it, so it may travel
        with the calls of a later turn."""
        packed = _encoder.encode(arguments)
        check(len(packed) <= CALL_BYTES_MAX, "a call stays within the protocol's bound")
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        seconds_left = deadline.seconds_left()
        waiting = _Waiting(target, method, packed, loop.time() + seconds_left, answer, self._client.url)
        if not seconds_left:
            waiting.settle(DriveTimeout("the deadline passed before the call was sent", method=method))
            return answer
        self._deadlines.watch(waiting)
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
            self._flushing = loop.call_soon(self._wait_a_turn)

    def _wait_a_turn(self) -> None:
        """A request costs as much as ten reads in it. Under load the next turn brings some; without, it is short."""
        self._flushing = asyncio.get_running_loop().call_soon(self._flush)

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
            if waiting.answer.done():
                self._deadlines.drop(waiting)

    async def _exchange(self, batch: list[_Waiting]) -> None:
        groups = _grouped(batch)
        asked = [waiting for group in groups for waiting in group]
        now = asyncio.get_running_loop().time()
        body = _encoder.encode([_to_calls(group, now) for group in groups])
        longest = max(0.0, max(waiting.at for waiting in batch) - now)
        answer = await self._client.exchange(CALLS_PATH, body, longest + _ANSWER_GRACE_SECONDS)
        try:
            left = len(asked)
            while left > 0:
                frame = await answer.next()
                if frame is None or frame.kind is not FrameKind.REPLY:
                    return
                replies = _replies_decoder.decode(frame.payload)
                left -= len(replies)
                for reply in replies:
                    self._take(asked, reply)
        finally:
            await answer.close()

    def _take(self, asked: list[_Waiting], reply: Reply) -> None:
        if not 0 <= reply.index < len(asked):
            raise msgspec.ValidationError("a reply to no call of the batch")
        waiting = asked[reply.index]
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


def _grouped(batch: list[_Waiting]) -> list[list[_Waiting]]:
    """Calls that travel as one: those of one method that a drive is asked one behind the other. The order at each drive
    stays, and what was asked of the node itself stays before all that was asked after it."""
    groups: list[list[_Waiting]] = []
    newest: dict[DriveId, list[_Waiting]] = {}
    for waiting in batch:
        group = newest.get(waiting.target)
        if group is not None and waiting.may_join(group[0]):
            group.append(waiting)
            continue
        groups.append([waiting])
        if waiting.target == NODE:
            newest.clear()
        else:
            newest[waiting.target] = groups[-1]
    return groups


def _to_calls(group: list[_Waiting], now: float) -> Calls:
    first = group[0]
    seconds_left = min(max(0.0, max(waiting.at for waiting in group) - now), CALL_SECONDS_MAX)
    arguments = _encoder.encode([msgspec.Raw(waiting.arguments) for waiting in group])
    return Calls(first.target, first.method, seconds_left, msgspec.Raw(arguments), first.is_background)
