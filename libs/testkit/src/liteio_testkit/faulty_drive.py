"""`FaultyDrive`: a drive with faults that a plan chooses, around any other drive."""

from collections.abc import Awaitable, Callable

from liteio_base.clock import Clock
from liteio_base.deadline import Deadline
from liteio_contracts.storage import StorageAPI
from liteio_contracts.storage_errors import DriveOffline, DriveTimeout, StorageError
from liteio_testkit.bit_flips import spoil
from liteio_testkit.fault_plan import Fault, FaultPlan, ScriptedPlan
from liteio_testkit.intercepted_drive import REPEATABLE, Answer, Call, InterceptedDrive
from liteio_testkit.seeded_randomness import SeededRandomness

LATE_SECONDS = 30.0  # what a call that arrives late is given
_INSTEAD = (Fault.OFFLINE_BEFORE, Fault.TIMEOUT_BEFORE, Fault.HANG, Fault.LATE)
_BEHIND = (Fault.OFFLINE_AFTER, Fault.TIMEOUT_AFTER, Fault.HANG_AFTER)


class FaultyDrive(InterceptedDrive):
    """`plan` says which call fails how. Without one it is scripted: `drive.script.add(Fault.HANG, "commit")`.

    REPEAT and LATE concern calls that change the drive; on others REPEAT does nothing and LATE only times out.
    """

    def __init__(
        self,
        inner: StorageAPI,
        clock: Clock,
        *,
        plan: FaultPlan | None = None,
        randomness: SeededRandomness | None = None,
        delay_seconds: tuple[float, float] = (0.01, 0.5),
    ) -> None:
        super().__init__(inner)
        self.script = ScriptedPlan()
        self.plan: FaultPlan = plan or self.script
        self.calls: list[str] = []  # every operation asked for, in order
        self._clock = clock
        self._randomness = randomness or SeededRandomness("faulty drive")
        self._delay_seconds = delay_seconds
        self._late: list[Callable[[], Awaitable[object]]] = []
        self._is_offline = False

    def set_offline(self, is_offline: bool = True) -> None:
        """Off: every call raises DriveOffline. The inner drive is not told."""
        self._is_offline = is_offline

    @property
    def is_likely_slow(self) -> bool:
        return self._is_offline or self.inner.is_likely_slow

    async def deliver_late(self) -> int:
        """Make the calls that REPEAT and LATE kept back, in order. Nobody hears their answers. Returns how many."""
        late, self._late = self._late, []
        for call in late:
            try:
                await call()
            except StorageError:
                pass  # The drive refused what came too late: exactly what it is for.
        return len(late)

    async def intercept(self, operation: str, call: Call[Answer], deadline: Deadline) -> Answer:
        self.calls.append(operation)
        if self._is_offline:
            raise DriveOffline(drive_id=self.drive_id)
        fault = self.plan.next_fault(operation)
        if fault is Fault.LATE:
            self._keep_back(operation, call)
        if fault in _INSTEAD:
            await self._fail(fault, deadline)
        if fault is Fault.DELAY:
            await self._clock.sleep(self._randomness.uniform(*self._delay_seconds))
        answer = await call(deadline)
        if fault is Fault.REPEAT:
            self._keep_back(operation, call)
        if fault in _BEHIND:
            await self._fail(fault, deadline)
        return spoil(answer, self._randomness) if fault is Fault.FLIP else answer

    async def _fail(self, fault: Fault, deadline: Deadline) -> None:
        if fault in (Fault.OFFLINE_BEFORE, Fault.OFFLINE_AFTER):
            raise DriveOffline(drive_id=self.drive_id)
        if fault in (Fault.HANG, Fault.HANG_AFTER):
            await self._clock.sleep(deadline.seconds_left())
        raise DriveTimeout(drive_id=self.drive_id)

    def _keep_back(self, operation: str, call: Call[Answer]) -> None:
        if operation in REPEATABLE:
            self._late.append(lambda: call(Deadline.after(LATE_SECONDS, self._clock)))
