"""Writing a shard to a node: one stream of blocks that ends in a sealed account of them.

The node makes the file durable and known only after that end marker; a stream that breaks before it leaves nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec

from liteio_base.background import IS_BACKGROUND
from liteio_base.check import check
from liteio_base.deadline import Deadline
from liteio_base.ids import DriveId
from liteio_contracts.storage import ShardRef
from liteio_contracts.storage_errors import DriveOffline, DriveTimeout, StorageError
from liteio_drives.remote.answer_stream import AnswerStream
from liteio_drives.remote.frames import FrameError, FrameKind, encode_frame
from liteio_drives.remote.hash_chain import HashChain
from liteio_drives.remote.limits import (
    ABORT_SECONDS,
    CALL_SECONDS_MAX,
    HASH_BYTES,
    SHARD_STEP_SECONDS,
    WRITE_BUFFER_BYTES,
    WRITE_CHUNK_BYTES,
)
from liteio_drives.remote.messages import WRITE_PATH, WriteShard
from liteio_drives.remote.node_client import TROUBLE, NodeClient
from liteio_drives.remote.sealing import MAY_SEND_AGAIN, ExchangeKey, NotAuthentic

_TRIES: Final = 2  # only after a refusal that came before anything was done


async def create_remote_shard(
    client: NodeClient, target: DriveId, ref: ShardRef, size_hint: int, deadline: Deadline
) -> "RemoteShardWriter":
    """Raises DriveFull, DriveUnavailable."""
    for left in reversed(range(_TRIES)):
        if deadline.has_passed:
            break
        seconds_left = min(deadline.seconds_left(), CALL_SECONDS_MAX)
        head = msgspec.msgpack.encode(WriteShard(target, ref, size_hint, seconds_left, IS_BACKGROUND.get()))
        outgoing = _Outgoing(encode_frame(FrameKind.OPEN, head))
        try:
            async with asyncio.timeout(seconds_left):
                return await _create(client, ref, head, outgoing)
        except TimeoutError:
            break
        except TROUBLE as trouble:
            error = client.judge(trouble)
            if not (left and isinstance(trouble, NotAuthentic) and trouble.reason in MAY_SEND_AGAIN):
                raise error from trouble
    raise DriveTimeout("the shard was not begun in time", ref=ref, node=client.url)


async def _create(client: NodeClient, ref: ShardRef, head: bytes, outgoing: "_Outgoing") -> "RemoteShardWriter":
    answer: AnswerStream | None = None
    try:
        answer, key = await client.stream(WRITE_PATH, head, outgoing.chunks())
        frame = await answer.next()
        if frame is None or frame.kind is not FrameKind.OPENED:
            raise FrameError("OPENED was due")
    except BaseException:
        outgoing.cut()
        if answer is not None:
            await answer.close()
        raise
    return RemoteShardWriter(client, ref, answer, key, outgoing)


class _Outgoing:
    """The request's body while it is made: bounded, and cut without an end when the writer gives up."""

    def __init__(self, first: bytes) -> None:
        self._chunks: list[bytes] = [first]
        self._has_ended = False
        self._is_cut = False
        self._has_news = asyncio.Event()
        self._has_room = asyncio.Event()
        self.held_bytes = len(first)

    def put(self, chunk: bytes, *, is_last: bool = False) -> None:
        self._chunks.append(chunk)
        self._has_ended = is_last
        self.held_bytes += len(chunk)
        self._has_news.set()

    def cut(self) -> None:
        self._is_cut = True
        self._has_news.set()

    async def wait_for_room(self) -> None:
        """Until what waits for the wire is within bounds again."""
        while self.held_bytes > WRITE_BUFFER_BYTES:
            self._has_room.clear()
            await self._has_room.wait()

    async def chunks(self) -> AsyncIterator[bytes]:
        while True:
            chunks, self._chunks = self._chunks, []
            for chunk in chunks:
                if self._is_cut:
                    break
                yield chunk
                self.held_bytes -= len(chunk)
                self._has_room.set()
            if self._is_cut or (self._has_ended and not self._chunks):
                return
            self._has_news.clear()
            if not self._chunks:
                await self._has_news.wait()


class RemoteShardWriter:
    """A shard being written to a node. A task watches for the node's word, which may come early: a drive in trouble."""

    def __init__(
        self, client: NodeClient, ref: ShardRef, answer: AnswerStream, key: ExchangeKey, outgoing: _Outgoing
    ) -> None:
        self._client, self._ref, self._answer, self._key, self._outgoing = client, ref, answer, key, outgoing
        self._chain = HashChain()
        self._verdict = asyncio.create_task(self._await_verdict())
        self._is_done = False

    async def write(self, shards: Sequence[bytes], hashes: Sequence[bytes]) -> None:
        """Raises DriveUnavailable, also for trouble that the node met with earlier blocks."""
        check(len(shards) == len(hashes), "one hash a block")
        for chunk in self._encode(shards, hashes):
            self._check_usable()
            self._outgoing.put(chunk)
        await self._wait(asyncio.ensure_future(self._outgoing.wait_for_room()))
        self._check_usable()

    async def close(self, facts_k: int, facts_m: int, part_size_bytes: int) -> None:
        """Returns when the node has made the file durable. Raises DriveUnavailable: unknown whether it did."""
        self._check_usable()
        end = msgspec.msgpack.encode(self._chain.end(facts_k, facts_m, part_size_bytes))
        self._outgoing.put(encode_frame(FrameKind.END, self._key.seal_end(end), end), is_last=True)
        try:
            await self._wait(self._verdict)
            self._check_usable(is_closing=True)
        finally:
            await self._end()

    async def abort(self) -> None:
        """Tell the node to forget the file and wait a little for its word; the broken stream says so anyway."""
        if self._is_done:
            return
        try:
            if not self._verdict.done():
                self._outgoing.put(encode_frame(FrameKind.ABORT), is_last=True)
                await asyncio.wait((self._verdict,), timeout=ABORT_SECONDS)
        finally:
            await self._end()

    def _encode(self, shards: Sequence[bytes], hashes: Sequence[bytes]) -> list[bytes]:
        """Frames, joined to chunks: each piece given to the wire costs a crossing into native code."""
        chunks: list[bytes] = []
        frames: list[bytes] = []
        size_bytes = 0
        for shard, block_hash in zip(shards, hashes, strict=True):
            check(len(block_hash) == HASH_BYTES, "a block hash has 32 bytes")
            self._chain.add(block_hash, len(shard))
            frames.append(encode_frame(FrameKind.HASHED_BLOCK, block_hash, shard))
            size_bytes += len(frames[-1])
            if size_bytes >= WRITE_CHUNK_BYTES:
                chunks.append(b"".join(frames))
                frames, size_bytes = [], 0
        return [*chunks, b"".join(frames)] if frames else chunks

    async def _wait(self, step: "asyncio.Future[None] | asyncio.Task[None]") -> None:
        """For a step of the stream or the node's verdict, whichever comes first; bounded."""
        try:
            done, _ = await asyncio.wait(
                {step, self._verdict}, timeout=SHARD_STEP_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            if step is not self._verdict:
                step.cancel()
        if not done:
            raise DriveTimeout("the shard stream stands still", ref=self._ref)

    def _check_usable(self, *, is_closing: bool = False) -> None:
        if self._verdict.done() and not self._verdict.cancelled():
            failure = self._verdict.exception()
            if failure is not None:
                raise failure
            if is_closing:
                return
        if self._is_done or self._verdict.done():
            raise DriveOffline("the shard writer is closed", ref=self._ref)

    async def _await_verdict(self) -> None:
        """Ends well with the node's word that the file is closed (or forgotten). Raises StorageError otherwise."""
        try:
            frame = await self._answer.next()
            if frame is None or frame.kind is not FrameKind.REPLY:
                raise FrameError("REPLY was due")
        except StorageError:
            raise
        except TROUBLE as trouble:
            raise self._client.judge(trouble) from trouble

    async def _end(self) -> None:
        self._is_done = True
        self._outgoing.cut()
        self._verdict.cancel()
        await asyncio.gather(self._verdict, return_exceptions=True)
        await self._answer.close()
