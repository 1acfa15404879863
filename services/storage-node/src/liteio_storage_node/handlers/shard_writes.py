"""POST /v1/shards/write: a shard file from a stream of blocks, each of which is what its hash says. Only a sealed and
matching END closes it.
"""

import asyncio
from typing import Final

import msgspec

from liteio_base.background import IS_BACKGROUND
from liteio_base.clock import Clock
from liteio_base.deadline import Deadline
from liteio_contracts.storage import ShardRef, ShardWriter
from liteio_drives.remote.frames import Frame, FrameError, FrameKind
from liteio_drives.remote.hash_chain import HashChain
from liteio_drives.remote.limits import HASH_BYTES, SHARD_STEP_SECONDS
from liteio_drives.remote.messages import UNREADABLE, StreamEnd, WriteShard
from liteio_drives.remote.sealing import NotAuthentic
from liteio_erasure.bitrot import wrong_blocks
from liteio_storage_node.answers import error_frame, sealed_frame
from liteio_storage_node.asgi import ClientGone, send_part, start_answer
from liteio_storage_node.drive_set import DriveSet
from liteio_storage_node.errors import quietly
from liteio_storage_node.guard import SealedUpload

_head_decoder: Final = msgspec.msgpack.Decoder(WriteShard)
_end_decoder: Final = msgspec.msgpack.Decoder(StreamEnd)
_NOT_SOUND: Final = (FrameError, NotAuthentic, *UNREADABLE, ClientGone)


class ShardWriteHandler:
    def __init__(self, drives: DriveSet, clock: Clock) -> None:
        self._drives, self._clock = drives, clock

    async def __call__(self, upload: SealedUpload) -> None:
        wanted = _head_decoder.decode(upload.head)
        await start_answer(upload.send)
        try:
            async with asyncio.timeout(wanted.seconds_left):
                writer = await self._create(wanted)
        except Exception as problem:
            await send_part(upload.send, error_frame(problem, upload.key), is_last=True)
            return
        receiver = _Receiver(writer, wanted.ref, upload)
        try:
            await send_part(upload.send, sealed_frame(FrameKind.OPENED, b"", upload.key))
            last = await receiver.run()
        except _NOT_SOUND:
            last = b""  # Not a word: the client finds its stream cut, as it cut or spoiled its own.
        except Exception as problem:
            last = error_frame(problem, upload.key)
        finally:
            if not receiver.is_closed:
                with quietly("abort a shard"):
                    await writer.abort()
        await send_part(upload.send, last, is_last=True)

    async def _create(self, wanted: WriteShard) -> ShardWriter:
        drive = self._drives.get(wanted.target)
        deadline = Deadline.after(wanted.seconds_left, self._clock)
        IS_BACKGROUND.set(wanted.is_background)
        return await drive.create_shard(wanted.ref, size_hint=wanted.size_hint, deadline=deadline)


class _Receiver:
    """Carries one upload into its writer."""

    def __init__(self, writer: ShardWriter, ref: ShardRef, upload: SealedUpload) -> None:
        self._writer, self._ref, self._upload = writer, ref, upload
        self._chain = HashChain()
        self.is_closed = False

    async def run(self) -> bytes:
        """The answer's last frame. Raises what the drive raises, and _NOT_SOUND for a stream that is none."""
        while frames := await self._upload.frames():
            blocks = [frame for frame in frames if frame.kind is FrameKind.HASHED_BLOCK]
            last = frames[len(blocks) :]
            if blocks:
                await self._write(frames[: len(blocks)])
            if last:
                return await self._finish(last)
        raise ClientGone  # The body ended without its end marker.

    async def _write(self, frames: list[Frame]) -> None:
        hashes = [frame.payload[:HASH_BYTES] for frame in frames]
        shards = [frame.payload[HASH_BYTES:] for frame in frames]
        first = self._chain.block_count
        for frame, block_hash, shard in zip(frames, hashes, shards, strict=True):
            if frame.kind is not FrameKind.HASHED_BLOCK or len(block_hash) != HASH_BYTES:
                raise FrameError("a block was due")
            self._chain.add(block_hash, len(shard))
        ref = self._ref
        places = [(ref.shard_index, first + at) for at in range(len(shards))]
        # The end seals the hashes, not the bytes: those that were spoilt on their way would be acknowledged.
        if wrong_blocks(shards, hashes, ref.data_id, ref.part_number, places):
            raise FrameError("a block is not what its hash says")
        async with asyncio.timeout(SHARD_STEP_SECONDS):
            await self._writer.write(shards, hashes)

    async def _finish(self, last: list[Frame]) -> bytes:
        if len(last) != 1 or last[0].kind not in (FrameKind.END, FrameKind.ABORT):
            raise FrameError("an end was due")
        if last[0].kind is FrameKind.ABORT:
            await self._writer.abort()
        else:
            end = _end_decoder.decode(self._upload.key.open_end(last[0].payload))
            if not self._chain.matches(end):
                raise FrameError("the stream's end does not match what came")
            await self._writer.close(end.k, end.m, end.part_size_bytes)
        self.is_closed = True
        return sealed_frame(FrameKind.REPLY, b"", self._upload.key)
