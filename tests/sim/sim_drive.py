"""`SimDrive`: a MemoryDrive that notes every transaction in the trace.

A writer's commit that it has refused it refuses for good, also when the network delivers the message once more. The
protocol has no such rule: a repetition after the reason has gone would be taken, though the client was told that
nothing
was written. The drives' wire does not deliver a message twice on its own, so this is left out here, as in the model.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from liteio_base.deadline import Deadline
from liteio_base.ids import Generation
from liteio_contracts.storage import Commit, FenceAnswer, FenceRequest, KeyName, VersionRef
from liteio_contracts.storage_errors import DriveOffline, DriveTimeout, StorageError
from liteio_formats.record import Record, decode_record
from liteio_testkit.manual_clock import EPOCH_NS
from liteio_testkit.memory_drive import MemoryDrive

_NS = 1_000_000_000


class SimDrive(MemoryDrive):
    """`log` is the simulation's trace."""

    def __init__(self, log: Callable[[str], None], slot: int, *arguments: Any, **options: Any) -> None:
        super().__init__(slot, *arguments, **options)
        self._log = log
        self.whole_since = -math.inf  # when it was last made whole again, on the simulation's monotonic time
        self._refused: dict[Commit, StorageError] = {}

    def note(self, text: str) -> None:
        self._log(f"    d{self.slot} {text}")

    @property
    def state(self) -> Any:
        """What it holds, for oracles and planted bugs."""
        return self._state

    async def commit(self, commit: Commit, *, deadline: Deadline) -> None:
        records = [decode_record(row.encoded) for row in commit.rows]
        told = " + ".join(describe(record) for record in records)
        how = "settles" if commit.generation is None else f"base {short_time(commit.rows[0].base)}"
        if (refusal := self._refused.get(commit)) is not None:
            self.note(f"refuses again {told} {how}: {type(refusal).__name__}")
            raise refusal
        try:
            await super().commit(commit, deadline=deadline)
        except StorageError as error:
            self.note(f"REFUSES {told} {how}: {type(error).__name__}")
            if commit.generation is not None and not isinstance(error, DriveOffline | DriveTimeout):
                self._refused[commit] = error
            raise
        self.note(f"takes {told} {how}")

    async def confirm(self, refs: Sequence[VersionRef], *, deadline: Deadline) -> None:
        await super().confirm(refs, deadline=deadline)
        held = [ref for ref in refs if self.held(ref.name).find(ref.version_id, ref.time) is not None]
        self.note("confirms " + (" + ".join(describe_ref(ref) for ref in held) or "nothing"))

    async def fence(self, request: FenceRequest, *, deadline: Deadline) -> FenceAnswer:
        answer = await super().fence(request, deadline=deadline)
        told = "held" if answer.is_held else "fenced" if answer.is_fenced else "may not vouch"
        self.note(f"fence {describe_ref(request.ref)}: {told}")
        return answer

    async def roll_back(self, ref: VersionRef, *, deadline: Deadline) -> None:
        await super().roll_back(ref, deadline=deadline)
        self.note(f"rolls back {describe_ref(ref)}")

    async def set_authoritative(self, generation: Generation, *, deadline: Deadline) -> None:
        await super().set_authoritative(generation, deadline=deadline)
        self.whole_since = self._clock.monotonic()
        self.note("is whole again")


def short_time(time: int) -> str:
    """Seconds since the start of the simulation, by the clock that gave the time."""
    return f"{(time - EPOCH_NS) / _NS:.6f}" if time else "0"


def short_key(name: KeyName) -> str:
    return f"{name.space.name[0].lower()}:{name.bucket_id[-4:]}/{name.key.decode(errors='replace')[-12:]}"


def describe(record: Record) -> str:
    name = short_key(KeyName(record.space, record.bucket_id, record.key))
    return f"{name} {record.kind.name} {record.etag[:6]} v{record.version_id[-4:]} @{short_time(record.time)}"


def describe_ref(ref: VersionRef) -> str:
    return f"{short_key(KeyName(*ref.name))} v{ref.version_id[-4:]} @{short_time(ref.time)}"
