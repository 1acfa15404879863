"""`BodySums`: MD5 and other checksums of one body, block after block.

A small block is summed in place, as the hop to a thread would cost more than the sum. A large one is summed aside while
the object layer works on it, its MD5 together with those of other bodies.
"""

import asyncio
from collections.abc import Iterable

from liteio_gateway.limits import THREADED_HASH_BYTES_MIN
from liteio_gateway.md5_batches import MD5Batches
from liteio_s3.checksums import ChecksumAlgorithm, new_checksum
from liteio_s3.md5 import new_md5


class BodySums:
    __slots__ = ("_aside", "_batches", "_hashing", "_md5", "_others")

    def __init__(self, batches: MD5Batches, algorithms: Iterable[ChecksumAlgorithm]) -> None:
        self._batches = batches
        self._md5 = new_md5()
        self._others = {algorithm: new_checksum(algorithm) for algorithm in algorithms}
        self._hashing: asyncio.Future[None] | None = None
        self._aside: asyncio.Future[None] | None = None

    async def add(self, block: bytes) -> None:
        """Take the next block. Returns when those before it are summed."""
        await self.settle()
        if len(block) < THREADED_HASH_BYTES_MIN:
            self._md5.update(block)
            self._update_others(block)
            return
        self._hashing = self._batches.update(self._md5, block)
        if self._others:
            self._aside = asyncio.get_running_loop().run_in_executor(None, self._update_others, block)

    async def settle(self) -> None:
        """Wait until all is summed that was added. Raises what summing it raised."""
        hashing, self._hashing = self._hashing, None
        aside, self._aside = self._aside, None
        if hashing is not None:
            self._batches.hurry(hashing)
            await hashing
        if aside is not None:
            await aside

    def md5(self) -> bytes:
        """The 16 bytes of the whole body's sum, once all is settled."""
        self._batches.leave(self._md5)
        return self._md5.digest()

    def digest(self, algorithm: ChecksumAlgorithm) -> bytes:
        """The raw checksum of the whole body by one of `algorithms`, once all is settled."""
        return self._others[algorithm].digest()

    def _update_others(self, block: bytes) -> None:
        for running in self._others.values():
            running.update(block)
