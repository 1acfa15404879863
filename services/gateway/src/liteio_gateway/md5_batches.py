"""`MD5Batches`: MD5 of the large bodies of a process, blocks of several bodies in one pass (liteio_s3.md5).

One batch is hashed at a time, in a thread of the loop's pool. A block waits for company while that costs its body
nothing: nobody needs its sum before the next block is there. So a batch is due when

- all bodies of the batch before are back with a block, or have ended: a body alone never waits, and those that keep
  pace go together; or
- all lanes have a block; or
- a body needs its block hashed (`hurry`), or a block has waited for `HELD_SECONDS`: slow bodies keep no memory long.

It begins with the loop's next turn, and takes who is there by then: first the blocks that are needed, then the oldest.
"""

import asyncio
from functools import partial
from itertools import chain, islice
from typing import Final, TypeAlias

from liteio_s3.checksums import Checksum
from liteio_s3.md5 import MD5_LANES, update_all

HELD_SECONDS: Final = 0.1

_Blocks: TypeAlias = "dict[asyncio.Future[None], tuple[Checksum, bytes]]"


class MD5Batches:
    """For one event loop. Holds at most one block of each body: the next is given when the last one is hashed."""

    def __init__(self) -> None:
        self._waiting: _Blocks = {}
        self._needed: _Blocks = {}
        self._expected: set[Checksum] = set()  # of the last batch, those that are not back yet
        self._is_busy = False  # a batch is about to be looked for, or is being hashed
        self._timer: asyncio.TimerHandle | None = None

    def update(self, md5: Checksum, block: bytes) -> "asyncio.Future[None]":
        """Done when `block` is hashed. `md5`: of `new_md5`. Who awaits it calls `hurry` before."""
        loop = asyncio.get_running_loop()
        if MD5_LANES == 1:
            return loop.run_in_executor(None, md5.update, block)
        hashed = loop.create_future()
        self._waiting[hashed] = (md5, block)
        self._expected.discard(md5)
        if self._timer is None:
            self._timer = loop.call_later(HELD_SECONDS, self._hurry_all)
        self._look()
        return hashed

    def hurry(self, hashed: "asyncio.Future[None]") -> None:
        """The block is needed, if it is not being hashed already."""
        update = self._waiting.pop(hashed, None)
        if update is not None:
            self._needed[hashed] = update
            self._look()

    def leave(self, md5: Checksum) -> None:
        """No other body need wait for this one. One that is given up is waited for once, `HELD_SECONDS` at most."""
        if md5 in self._expected:
            self._expected.remove(md5)
            self._look()

    def _hurry_all(self) -> None:
        self._timer = None
        self._needed |= self._waiting
        self._waiting.clear()
        self._look()

    def _look(self) -> None:
        if not self._is_busy and self._is_due():
            self._is_busy = True
            asyncio.get_running_loop().call_soon(self._start)

    def _is_due(self) -> bool:
        return bool(self._needed) or len(self._waiting) >= MD5_LANES or bool(self._waiting and not self._expected)

    def _start(self) -> None:
        batch = dict(islice(chain(self._needed.items(), self._waiting.items()), MD5_LANES))
        for hashed in batch:
            self._needed.pop(hashed, None)
            self._waiting.pop(hashed, None)
        if self._timer is not None and not self._waiting:
            self._timer.cancel()
            self._timer = None
        self._expected = {md5 for md5, _ in batch.values()}
        hashing = asyncio.ensure_future(asyncio.to_thread(update_all, list(batch.values())))
        hashing.add_done_callback(partial(self._end, batch))

    def _end(self, batch: _Blocks, hashing: "asyncio.Future[None]") -> None:
        self._is_busy = False
        failure = asyncio.CancelledError() if hashing.cancelled() else hashing.exception()
        for hashed in batch:
            if hashed.cancelled():
                continue
            if failure is None:
                hashed.set_result(None)
            else:
                hashed.set_exception(failure)
        self._look()
