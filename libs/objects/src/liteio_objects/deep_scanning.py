"""Reading everything, slowly: every shard of every drive is read and hashed over time, and what rotted is healed.

One pass goes over the keys of a set at a set rate; how far it came is kept in the set, so that it goes on there in
whichever process comes next. It is the only thing that finds damage which nobody reads and no digest of an index shows:
flipped bits in shards, and in the index itself.
"""

import logging
from typing import Final

import msgspec

from liteio_base.deadline import Deadline
from liteio_base.ids import BucketId
from liteio_base.limits import KIB
from liteio_contracts.object_errors import ObjectError
from liteio_contracts.object_layer import HealResult
from liteio_contracts.storage import KeyName
from liteio_contracts.storage_errors import StorageError
from liteio_formats.record import Space
from liteio_objects.drive_set import DriveSet, ask_drives, values
from liteio_objects.engine import Engine
from liteio_objects.pacing import Pacer
from liteio_objects.scanning import UNHEALED_MAX, HealsKeys
from liteio_objects.system_records import read_system_record, write_system_record
from liteio_objects.walking import FIRST, walk_set

_log = logging.getLogger(__name__)

SAVE_EVERY_SECONDS: Final = 60.0
KEY_BYTES: Final = 64 * KIB  # what looking at a key costs a drive besides its bytes, in bytes
_LAG_SECONDS: Final = 1.0
_CALL_SECONDS: Final = 30.0
_NS: Final = 1_000_000_000


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """A pass as it is kept. New fields go last and have defaults."""

    began_ns: int
    is_done: bool
    space: int
    bucket_id: BucketId
    key: bytes
    keys: int
    bytes_read: int
    healed: int
    unhealed: int


class DeepScan:
    """One pass over a set. What it counts can be looked at meanwhile. `bytes_read`: on all drives together."""

    def __init__(
        self, engine: Engine, healer: HealsKeys, drive_set: DriveSet, pacer: Pacer, bytes_a_second: float
    ) -> None:
        """`bytes_a_second`: of each drive."""
        self._engine, self._healer, self._drive_set, self._pacer = engine, healer, drive_set, pacer
        self._bytes_a_second = bytes_a_second
        self._began = engine.clock.monotonic()
        self.began_ns = engine.clock.now_ns()
        self.is_done = False
        self.keys = self.keys_total = self.bytes_read = self.healed = self.unhealed_count = 0
        self.unhealed: list[tuple[KeyName, HealResult]] = []

    @property
    def seconds(self) -> float:
        return (self._engine.clock.now_ns() - self.began_ns) / _NS

    async def run(self, every_seconds: float) -> None:
        """Go on with the pass that was begun, or begin one when the last began `every_seconds` ago; else nothing."""
        kept = await self._kept()
        if kept is not None and kept.is_done and self._engine.clock.now_ns() - kept.began_ns < every_seconds * _NS:
            self._take_over(kept)
            self.is_done = True
            return
        after = FIRST
        if kept is not None and not kept.is_done:
            self._take_over(kept)
            after = KeyName(Space(kept.space), kept.bucket_id, kept.key)
        await self._count()
        await self._pass(after)

    async def _pass(self, after: KeyName) -> None:
        clock = self._engine.clock
        saved, cost = clock.monotonic(), 0.0
        began, reached = saved, after
        async for stretch in walk_set(self._drive_set, self._deadline, after=after):
            for name in stretch.names:
                async with self._pacer.turn():
                    cost += KEY_BYTES + await self._verify(name)
                reached = name
                ahead = cost / self._bytes_a_second - (clock.monotonic() - began)
                if ahead > 0:
                    await clock.sleep(ahead)
                else:  # What clients took is not made up for at once.
                    began += max(0.0, -ahead - _LAG_SECONDS)
                if clock.monotonic() - saved >= SAVE_EVERY_SECONDS:
                    await self._keep(reached)
                    saved = clock.monotonic()
            reached = stretch.reached or reached
        self.is_done = True
        await self._keep(reached)

    async def _verify(self, name: KeyName) -> int:
        """Returns the bytes that one drive read for it. The trouble of one key must not end the pass."""
        try:
            result = await self._healer.heal_key(self._drive_set, name, verify=True)
        except (ObjectError, StorageError) as trouble:
            result = HealResult(is_whole=False, shards_total=0, shards_good=0, rewritten=0, problems=(str(trouble),))
        self.keys += 1
        self.bytes_read += result.bytes_read * self._drive_set.code.width
        if result.is_whole:
            self.healed += result.rewritten > 0
        else:
            self.unhealed_count += 1
            if len(self.unhealed) < UNHEALED_MAX:
                self.unhealed.append((name, result))
            _log.warning("not whole: %s: %s", name, "; ".join(result.problems))
        return result.bytes_read

    async def _count(self) -> None:
        deadline = self._deadline()
        drive_set = self._drive_set
        statuses = values(await ask_drives(drive_set, drive_set.slots, lambda drive: drive.status(deadline=deadline)))
        self.keys_total = max((each.versions for each in statuses.values()), default=0)

    # --- where it was

    def _take_over(self, kept: _Kept) -> None:
        self.began_ns, self.keys, self.bytes_read = kept.began_ns, kept.keys, kept.bytes_read
        self.healed, self.unhealed_count = kept.healed, kept.unhealed

    async def _kept(self) -> _Kept | None:
        body = await read_system_record(self._engine, self._drive_set, self._record_key, deadline=self._deadline())
        try:
            kept = msgspec.msgpack.decode(body, type=_Kept) if body else None
        except msgspec.DecodeError as problem:
            _log.warning("where the deep scan of set %s was can not be read: %s", self._drive_set.set_index, problem)
            return None
        return kept if kept is None or kept.space in set(Space) else None

    async def _keep(self, reached: KeyName) -> None:
        """Its trouble costs reading a minute's worth again."""
        kept = _Kept(
            self.began_ns, self.is_done, *reached, self.keys, self.bytes_read, self.healed, self.unhealed_count
        )
        try:
            body = msgspec.msgpack.encode(kept)
            await write_system_record(self._engine, self._drive_set, self._record_key, body, deadline=self._deadline())
        except (ObjectError, StorageError) as trouble:
            _log.info("how far the deep scan of set %s is can not be kept: %s", self._drive_set.set_index, trouble)

    @property
    def _record_key(self) -> bytes:
        return b"healer/deep/%d" % self._drive_set.set_index

    def _deadline(self) -> Deadline:
        return Deadline.after(_CALL_SECONDS, self._engine.clock)
