"""What all clients share: asking a gateway, telling the outcomes apart, and the contents they send."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from tests.sim.processes import ProcessDied
from tests.sim.recorder import Recorder, Violation
from tests.sim.world import Draw, Gateway, World

from liteio_base.byte_span import ByteSpan
from liteio_base.deadline import Deadline
from liteio_contracts.object_errors import (
    BucketMissing,
    ConditionalConflict,
    OperationTimeout,
    QuorumLost,
    StoreFull,
)
from liteio_contracts.object_layer import ObjectInfo, ReadObject
from liteio_contracts.storage_errors import StorageError
from liteio_formats.bodies import Versioning
from liteio_objects.layer import Store
from liteio_testkit.store_bench import read_all

T = TypeVar("T")

INLINE_SHARD_BYTES: Final = 64 * 1024


class Unknown(Exception):
    """503, a broken connection, a client that hung up: the operation may have happened, or may yet."""


class Failed(Exception):
    """Certainly nothing was written, and nothing was learnt."""


@dataclass
class Client:
    """One client: asks one thing at a time."""

    name: str
    world: World
    recorder: Recorder
    draw: Draw
    contents: dict[str, bytes]  # by etag: what GET must give; shared by all clients, as what follows
    modes: dict[str, Versioning]  # of the buckets that stay
    keys: tuple[str, ...]
    copied: set[tuple[str, str, str]]  # bucket, key and content of each copy, so that none is made twice
    fresh: list[str]  # keys among `keys` that nobody has put yet, the next one last
    numbers: list[int] = field(default_factory=lambda: [0])
    is_patient: bool = False  # never hangs up, and grants much time

    def log(self, text: str) -> None:
        self.world.sim.log(f"{self.name} {text}")

    def new_content(self) -> bytes:
        """Unique bytes; now and then too many to be stored inline."""
        self.numbers[0] += 1
        content = f"{self.name}.{self.numbers[0]}.".encode() + self.draw.token_bytes(6).hex().encode()
        if self.draw.chance(0.07):
            content += bytes(self.world.shape.code.k * INLINE_SHARD_BYTES + self.draw.below(1000))
        self.contents[hashlib.md5(content).hexdigest()] = content
        return content

    def key(self) -> str:
        known = self.keys[: len(self.keys) - len(self.fresh)]
        return self.draw.weighed((4, known[0]), (2, known[1]), (2, self.draw.one_of(known)))

    def bucket(self) -> str:
        return self.draw.one_of(sorted(self.modes))

    async def ask(
        self, what: str, work: Callable[[Store, Deadline], Awaitable[T]], gateway: Gateway | None = None
    ) -> T:
        """Ask a gateway. Raises Unknown, Failed, and the object errors that tell something."""
        chosen = gateway if gateway is not None else self.draw.one_of(self.world.live_gateways() or self.world.gateways)
        hangs_up = self.draw.chance(0.05) and not self.is_patient
        patience = self.draw.uniform(0.001, 2.0) if hangs_up else None
        deadline = chosen.deadline(30.0 if self.is_patient else self.draw.uniform(1.0, 12.0))
        self.recorder.count(what)
        self.log(f"-> {chosen.process.name} {what}")
        try:
            result = await chosen.ask(_call(work, chosen.store, deadline), patience_seconds=patience)
        except (ProcessDied, TimeoutError, QuorumLost) as trouble:
            self.recorder.count(f"{what}: unknown")
            self.log(f"<- {what}: unknown ({type(trouble).__name__})")
            raise Unknown from trouble
        except (OperationTimeout, StoreFull, ConditionalConflict) as trouble:
            self.recorder.count(f"{what}: failed")
            self.log(f"<- {what}: failed ({type(trouble).__name__})")
            raise Failed from trouble
        except BucketMissing as missing:
            self.log(f"<- {what}: BucketMissing")
            if missing.bucket in self.modes:
                raise Violation(f"bucket {missing.bucket} is missing though nobody deletes it") from missing
            raise
        except StorageError as leak:
            raise Violation(f"{what} let a drive's error through: {leak!r}") from leak
        except Exception as told:
            self.log(f"<- {what}: {type(told).__name__}")
            raise
        self.log(f"<- {what}: {_short(result)}")
        return result

    async def fetch(self, request: ReadObject) -> ObjectInfo:
        """GET, its bytes compared with what was sent."""

        async def work(store: Store, deadline: Deadline) -> tuple[ObjectInfo, bytes]:
            reader = await store.open(request, deadline=deadline)
            return reader.info, await read_all(reader, ByteSpan(0, reader.info.size_bytes))

        info, content = await self.ask(f"get {request.key} {(request.version_id or '')[-4:]}", work)
        if content != self.contents.get(info.etag):
            raise Violation(f"GET {request} gave {content[:40]!r}, not what was put as {info.etag}")
        return info


async def _call(work: Callable[[Store, Deadline], Awaitable[T]], store: Store, deadline: Deadline) -> T:
    return await work(store, deadline)


def _short(result: object) -> str:
    if isinstance(result, tuple):
        result = result[0]
    if isinstance(result, ObjectInfo):
        return f"{result.etag[:6]} v{result.version_id[-4:]} {result.tags}"
    return str(result)[:100]
