"""POST /v1/shards/read: one open shard, held while its blocks stream to the client at the client's pace."""

import asyncio
from typing import Final

import msgspec

from liteio_base.background import IS_BACKGROUND
from liteio_base.clock import Clock
from liteio_base.deadline import Deadline
from liteio_contracts.storage import ShardReader
from liteio_drives.remote.frames import FrameKind, encode_frame
from liteio_drives.remote.hash_chain import HashChain
from liteio_drives.remote.limits import SHARD_STEP_SECONDS
from liteio_drives.remote.messages import ReadShard
from liteio_storage_node.answers import error_frame, sealed_frame
from liteio_storage_node.asgi import ClientGone, send_part, start_answer
from liteio_storage_node.drive_set import DriveSet
from liteio_storage_node.errors import quietly
from liteio_storage_node.guard import SealedRequest

_STEP_BLOCKS: Final = 4  # read and sent together
_decoder: Final = msgspec.msgpack.Decoder(ReadShard)


class ShardReadHandler:
    def __init__(self, drives: DriveSet, clock: Clock) -> None:
        self._drives, self._clock = drives, clock

    async def __call__(self, request: SealedRequest) -> None:
        wanted = _decoder.decode(request.body)
        await start_answer(request.send)
        try:
            async with asyncio.timeout(wanted.seconds_left):
                reader = await self._open(wanted)
        except Exception as problem:
            await send_part(request.send, error_frame(problem, request.key), is_last=True)
            return
        try:
            await _stream(reader, request)
        finally:
            with quietly("close a shard"):
                await reader.close()

    async def _open(self, wanted: ReadShard) -> ShardReader:
        drive = self._drives.get(wanted.target)
        deadline = Deadline.after(wanted.seconds_left, self._clock)
        IS_BACKGROUND.set(wanted.is_background)
        return await drive.open_shard(wanted.ref, wanted.first_block, wanted.block_count, deadline=deadline)


async def _stream(reader: ShardReader, request: SealedRequest) -> None:
    hashes = tuple(reader.hashes)
    head = sealed_frame(FrameKind.HEAD, msgspec.msgpack.encode(hashes), request.key)
    chain = HashChain()
    pending = head  # goes out together with the first blocks
    while chain.block_count < len(hashes):
        try:
            async with asyncio.timeout(SHARD_STEP_SECONDS):
                shards = await reader.read(min(_STEP_BLOCKS, len(hashes) - chain.block_count))
        except Exception as problem:
            await send_part(request.send, pending + error_frame(problem, request.key), is_last=True)
            return
        if not shards:
            raise ClientGone  # a reader that ends early and says nothing: cut the stream, never end it well
        for shard in shards:
            chain.add(hashes[chain.block_count], len(shard))
        blocks = b"".join(encode_frame(FrameKind.BLOCK, shard) for shard in shards)
        await send_part(request.send, pending + blocks if pending else blocks)
        pending = b""
    end = sealed_frame(FrameKind.END, msgspec.msgpack.encode(chain.end()), request.key)
    await send_part(request.send, pending + end, is_last=True)
