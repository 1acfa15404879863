"""Reading a shard from a node: one stream, whose descriptor the node holds while it lasts."""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from liteio_base.background import IS_BACKGROUND
from liteio_base.deadline import Deadline
from liteio_base.ids import DriveId
from liteio_contracts.storage import ShardRef
from liteio_contracts.storage_errors import DriveTimeout, DriveUnavailable, StorageError
from liteio_drives.remote.answer_stream import AnswerStream
from liteio_drives.remote.frames import Frame, FrameError, FrameKind
from liteio_drives.remote.hash_chain import HashChain
from liteio_drives.remote.limits import CALL_SECONDS_MAX, SHARD_STEP_SECONDS
from liteio_drives.remote.messages import READ_PATH, ReadShard, StreamEnd
from liteio_drives.remote.node_client import TROUBLE, NodeClient

_TRIES: Final = 2  # reading changes nothing, so a connection that broke before the first frame is tried once more


async def open_remote_shard(
    client: NodeClient, target: DriveId, ref: ShardRef, first_block: int, block_count: int, deadline: Deadline
) -> "RemoteShardReader":
    """Raises ShardMissing, ShardCorrupt, DriveUnavailable."""
    for left in reversed(range(_TRIES)):
        if deadline.has_passed:
            break
        seconds_left = min(deadline.seconds_left(), CALL_SECONDS_MAX)
        body = msgspec.msgpack.encode(
            ReadShard(target, ref, first_block, block_count, seconds_left, IS_BACKGROUND.get())
        )
        try:
            async with asyncio.timeout(seconds_left):
                return await _open(client, body, ref)
        except TimeoutError:
            break
        except TROUBLE as trouble:
            error = client.judge(trouble)
            if not left:
                raise error from trouble
    raise DriveTimeout("the shard was not opened in time", ref=ref, node=client.url)


async def _open(client: NodeClient, body: bytes, ref: ShardRef) -> "RemoteShardReader":
    answer = await client.exchange(READ_PATH, body)
    try:
        frame = await answer.next()
        if frame is None or frame.kind is not FrameKind.HEAD:
            raise FrameError("a read stream begins with its hashes")
        return RemoteShardReader(client, answer, ref, msgspec.msgpack.decode(frame.payload, type=tuple[bytes, ...]))
    except BaseException:
        await answer.close()
        raise


class RemoteShardReader:
    """An open shard of a node. After a failure every further read fails alike."""

    def __init__(self, client: NodeClient, answer: AnswerStream, ref: ShardRef, hashes: tuple[bytes, ...]) -> None:
        self._client, self._answer, self._ref, self._hashes = client, answer, ref, hashes
        self._chain = HashChain()
        self._failure: StorageError | None = None
        self._has_ended = False

    @property
    def hashes(self) -> Sequence[bytes]:
        return self._hashes

    @property
    def ahead(self) -> int:
        return 0

    async def read(self, count: int) -> Sequence[bytes]:
        """The shards of the next `count` blocks, fewer at the end. Raises ShardCorrupt, DriveUnavailable."""
        if self._failure is not None:
            raise self._failure
        try:
            async with asyncio.timeout(SHARD_STEP_SECONDS):
                return await self._take(count)
        except TimeoutError:
            self._failure = DriveTimeout("the shard stream stands still", ref=self._ref)
        except StorageError as error:
            self._failure = error
        except TROUBLE as trouble:
            self._failure = self._client.judge(trouble)
        raise self._failure

    async def close(self) -> None:
        if self._failure is None and not self._has_ended:
            self._failure = DriveUnavailable("the reader is closed", ref=self._ref)
        await self._answer.close()

    async def _take(self, count: int) -> list[bytes]:
        taken: list[bytes] = []
        while len(taken) < count and self._chain.block_count < len(self._hashes):
            frame = await self._frame(FrameKind.BLOCK)
            self._chain.add(self._hashes[self._chain.block_count], len(frame.payload))
            taken.append(frame.payload)
        if self._chain.block_count == len(self._hashes) and not self._has_ended:
            end = msgspec.msgpack.decode((await self._frame(FrameKind.END)).payload, type=StreamEnd)
            if not self._chain.matches(end):
                raise FrameError("the stream's end does not match what came")
            self._has_ended = True
        return taken

    async def _frame(self, kind: FrameKind) -> Frame:
        frame = await self._answer.next()
        if frame is None or frame.kind is not kind:
            raise FrameError(f"{kind.name} was due")
        return frame
