"""A store over drives in memory, for the tests of this member."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from liteio_base.byte_span import ByteSpan
from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_base.ids import DeploymentId
from liteio_contracts.object_layer import BodyFacts, CreateBucket, ObjectReader, PutObject, ReadObject
from liteio_erasure.code import CodeParams
from liteio_objects.drive_set import DriveSet
from liteio_objects.layer import Store
from liteio_objects.store_map import StoreMap
from liteio_testkit.memory_drive import GARBAGE_GRACE_SECONDS, MemoryDrive
from liteio_testkit.memory_locks import MemoryLocks
from liteio_testkit.seeded_randomness import SeededRandomness

DEPLOYMENT = DeploymentId("0123456789abcdef0123456789abcdef")


class PlainBody:
    """A Body of bytes at hand, given in chunks."""

    def __init__(self, content: bytes, chunk_bytes: int = 100_000) -> None:
        self._content, self._chunk_bytes = content, chunk_bytes

    @property
    def size_bytes(self) -> int | None:
        return len(self._content)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._content), self._chunk_bytes):
            yield self._content[start : start + self._chunk_bytes]

    def facts(self) -> BodyFacts:
        return BodyFacts(hashlib.md5(self._content).hexdigest())


@dataclass
class StoreBench:
    """A store, its drives, and short forms of what tests do with them."""

    store: Store
    drives: list[MemoryDrive]
    clock: SystemClock

    @classmethod
    def of(
        cls,
        width: int = 4,
        parity: int | None = None,
        seed: str = "bench",
        *,
        garbage_grace_seconds: float = GARBAGE_GRACE_SECONDS,
    ) -> "StoreBench":
        clock = SystemClock()
        randomness = SeededRandomness(seed)
        drives = [
            MemoryDrive(slot, clock, randomness.fork(f"drive {slot}"), garbage_grace_seconds=garbage_grace_seconds)
            for slot in range(width)
        ]
        drive_set = DriveSet(tuple(drives), CodeParams.for_set(width, parity), 0)
        store = Store(StoreMap(DEPLOYMENT, [drive_set]), clock, randomness, MemoryLocks())
        return cls(store, drives, clock)

    @property
    def deadline(self) -> Deadline:
        return Deadline.after(10, self.clock)

    async def make_bucket(self, name: str = "photos") -> None:
        await self.store.create_bucket(CreateBucket(name, "root"), deadline=self.deadline)

    async def put(self, key: str, content: bytes, bucket: str = "photos") -> str:
        """Returns the version id."""
        info = await self.store.put(PutObject(bucket, key), PlainBody(content), deadline=self.deadline)
        return info.version_id

    async def get(self, key: str, bucket: str = "photos", span: ByteSpan | None = None) -> bytes:
        reader = await self.store.open(ReadObject(bucket, key), deadline=self.deadline)
        return await read_all(reader, span)

    async def settle(self) -> None:
        """Let confirms and stragglers reach their end."""
        await self.store.engine.tasks.drain(5)


async def read_all(reader: ObjectReader, span: ByteSpan | None = None) -> bytes:
    try:
        wanted = span if span is not None else ByteSpan(0, reader.info.size_bytes)
        return b"".join([chunk async for chunk in reader.read(wanted)])
    finally:
        await reader.close()
