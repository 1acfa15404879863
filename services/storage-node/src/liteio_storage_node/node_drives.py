"""`NodeDrives`: this node's drives through their lives: first format, opening, loss, replacement.

What is to be done is decided by liteio_drives.format_rules from what all drives of the pool say of themselves; each
node does it for its own drives. The first format alone is led by one node, that of the pool's first drive: it waits
until every drive of every node is known to be empty, has all prepared, and only then has any taken on.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from liteio_base.clock import Clock, Randomness
from liteio_base.deadline import Deadline
from liteio_base.ids import DeploymentId, DriveId, new_deployment_id
from liteio_cluster.nodes import Nodes
from liteio_cluster.plan import PoolPlan, target_of, topology_of
from liteio_cluster.pool_format import PoolFormat
from liteio_contracts.storage import DriveState, StoredTopology
from liteio_contracts.storage_errors import DriveUnavailable, StorageError
from liteio_drives.drive_format import has_format, read_format, take_on
from liteio_drives.files import RealFiles
from liteio_drives.format_rules import (
    DriveCondition,
    DriveReport,
    FormatRefused,
    Verdict,
    judge,
    mount_points_of,
)
from liteio_drives.format_set import identity, prepare_drive, replace_drive, report_on
from liteio_drives.limits import DriveSettings
from liteio_drives.local_drive import LocalDrive
from liteio_drives.remote.messages import MountPoints
from liteio_formats.checked_json import FormatError
from liteio_formats.topology import encode_topology
from liteio_storage_node.drive_set import DriveSet

log: Final = logging.getLogger("liteio.storage_node")

_TOPOLOGY_SECONDS: Final = 2.0
LOOK_SECONDS: Final = 2.0  # between looks at the drives: whether served ones are in place, missing ones have come
REOPEN_SECONDS_MIN: Final = 10.0
REOPEN_SECONDS_MAX: Final = 3600.0  # each time a drive that lost a sync is rebuilt whole: not too often
_STATUS_SECONDS: Final = 2.0
LOOK_SECONDS_NEW: Final = 0.3  # while there is no store yet


@dataclass(frozen=True, slots=True)
class _Trouble:
    """Of a served drive: when it is opened anew, and how long that was or will be waited for."""

    reopens_at: float
    pause_seconds: float


class NodeDrives:
    """`drives` is kept up to date with what can be served. Close it when done."""

    def __init__(
        self,
        plan: PoolPlan,
        origin: str,
        nodes: Nodes,
        clock: Clock,
        randomness: Randomness,
        *,
        joins: bool = False,
        settings: DriveSettings | None = None,
        on_first_format: Callable[[], None] = lambda: None,
    ) -> None:
        """`joins`: the pool is to join a store that is there already, so this node leads no first format.
        `on_first_format`: called when the store came to be in this process's time, so that no process of this node
        before it can have promised anything to anybody."""
        self.drives = DriveSet()
        self._plan, self._origin, self._joins = plan, origin, joins
        self._own = plan.drives_of(origin)
        self._others = PoolFormat(plan, nodes, clock, without=origin)
        self._clock, self._randomness, self._settings = clock, randomness, settings
        self._files = RealFiles()
        self._served: dict[int, LocalDrive] = {}
        self._on_first_format = on_first_format
        self._prepared_for: DeploymentId | None = None  # by this process
        self._deployment_id: DeploymentId | None = None
        self._reasons: dict[int, str] = {}
        self._troubles: dict[int, _Trouble] = {}
        self._turn = asyncio.Lock()  # one step at a time looks at drives and changes them

    async def close(self) -> None:
        async with self._turn:
            await asyncio.gather(*(drive.close() for drive in self._served.values()))
            self._served.clear()

    async def run(self) -> None:
        """Look after the drives until cancelled. Trouble is logged, and met again in the next look."""
        while True:
            try:
                await self.look()
            except (FormatRefused, OSError) as trouble:
                log.error("the drives can not be looked after: %s", trouble)
            is_new = self._deployment_id is None
            await self._clock.sleep(LOOK_SECONDS_NEW if is_new else LOOK_SECONDS)

    async def look(self, *, is_alone: bool = False) -> None:
        """One look at all own drives. `is_alone`: only what this node can tell without the others, which is all there
        is to do when its drives are formatted. Raises FormatRefused when they belong to another layout."""
        async with self._turn:
            await self._drop_displaced()
            await self._close_troubled()
            if len(self._served) < len(self._own):
                await self._take_in_missing(is_alone)

    # --- what other nodes and gateways ask

    async def topology(self) -> bytes | None:
        """The newest record that the drives keep. None before the first format, and while the pool has not joined."""
        deadline = Deadline.after(_TOPOLOGY_SECONDS, self._clock)
        asked = [drive.read_topology(deadline=deadline) for drive in self._served.values()]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        kept = [answer for answer in answers if isinstance(answer, StoredTopology) and answer.number]
        if kept:
            return max(kept, key=lambda stored: stored.number).encoded
        if self._deployment_id is None or self._plan.layout.pool:
            return None
        return encode_topology(topology_of(self._plan, self._deployment_id))

    async def report(self) -> dict[int, DriveReport]:
        """Of every own drive, by its number in the pool."""
        return await asyncio.to_thread(self._report_now)

    async def prepare(self, deployment_id: DeploymentId, pool: int, mount_points: MountPoints) -> None:
        """The first half of the first format, as whoever leads it asks. Raises DriveUnavailable."""
        async with self._turn:
            await self._prepare_own(deployment_id, pool, mount_points)

    async def take_on(self, deployment_id: DeploymentId) -> None:
        """The second half, once every node has done the first. Raises DriveUnavailable."""
        async with self._turn:
            await self._take_on_own(deployment_id)
            await self._take_in_missing(is_alone=True)

    # --- one look

    async def _drop_displaced(self) -> None:
        """Stop serving drives that are not in their place any more: unmounted, emptied, taken away."""
        for number, drive in list(self._served.items()):
            if not await asyncio.to_thread(self._is_in_place, self._own[number], drive.drive_id):
                del self._served[number]
                self._leave_out(number, "it is not in its place any more")
                await drive.close()

    async def _close_troubled(self) -> None:
        """Close the drives whose trouble lasts until they are opened anew, so that they are, after a pause that grows:
        a disk that was mounted read-only for a while, or lost a sync, is rebuilt without anybody's help."""
        now = self._clock.monotonic()
        for number, drive in list(self._served.items()):
            trouble = self._troubles.get(number)
            if not await self._is_in_lasting_trouble(drive):
                if trouble is not None and now > trouble.reopens_at + trouble.pause_seconds:
                    del self._troubles[number]
            elif trouble is None:
                self._troubles[number] = _Trouble(now + REOPEN_SECONDS_MIN, REOPEN_SECONDS_MIN)
            elif now >= trouble.reopens_at:
                pause = min(2 * trouble.pause_seconds, REOPEN_SECONDS_MAX)
                self._troubles[number] = _Trouble(now + pause, pause)
                log.warning("drive %s is opened anew to be rid of its trouble", self._own[number])
                del self._served[number]
                self._leave_out(number, "it is being opened anew")
                await drive.close()

    async def _is_in_lasting_trouble(self, drive: LocalDrive) -> bool:
        try:
            status = await drive.status(deadline=Deadline.after(_STATUS_SECONDS, self._clock))
        except StorageError:
            return False  # It does not answer, so there is nothing that opening it anew would mend.
        return status.state in (DriveState.READ_ONLY, DriveState.CORRUPT)

    async def _take_in_missing(self, is_alone: bool) -> None:
        reports: list[DriveReport | None] = self._in_order(await self.report())
        self._note_pool(reports)
        verdict = judge(reports, self._plan.layout)
        if not is_alone and any(_is_empty(report) for report in reports):
            reports = await self._others.reports(reports)
            self._note_pool(reports)
            verdict = judge(reports, self._plan.layout)
            if verdict.is_first and not self._joins and self._origin == self._plan.first_origin:
                verdict = await self._format_all(reports)
            elif verdict.deployment_id is not None:
                verdict = await self._format_own(verdict, verdict.deployment_id)
        self._deployment_id = self._deployment_id or verdict.deployment_id
        found = await self.report()
        for number in self._own:
            if number not in self._served:
                await self._serve(number, verdict, found[number])

    async def _format_own(self, verdict: Verdict, deployment_id: DeploymentId) -> Verdict:
        """Finish or begin what the verdict asks for on this node. What is to be thought of it then."""
        reasons = dict(verdict.reasons)
        for number, path in self._own.items():
            if number in verdict.resume:
                await self._on_disk(path, take_on, path, self._files)
            elif number in verdict.replace:
                drive = identity(number, self._plan.layout, deployment_id, verdict.mount_points, self._randomness)
                reason = await asyncio.to_thread(replace_drive, path, drive, self._files, self._randomness)
                reasons |= {number: reason} if reason else {}
        return replace(verdict, reasons=reasons)

    async def _format_all(self, reports: Sequence[DriveReport | None]) -> Verdict:
        """The first format, led from here. Cut short anywhere, the next look begins it anew or, when some drive was
        taken on already, each node finishes its own."""
        deployment_id = new_deployment_id(self._randomness)
        mount_points = mount_points_of(reports, self._plan.layout)
        log.info("every drive of the pool is empty: formatting them for the new deployment %s", deployment_id)
        try:
            await self._prepare_own(deployment_id, 0, mount_points)
            await self._others.prepare(deployment_id, 0, mount_points)
            await self._take_on_own(deployment_id)
            await self._others.take_on(deployment_id)
        except StorageError as trouble:
            log.warning("the first format is not finished: %s; will try again", trouble)
        return judge(self._in_order(await self.report()), self._plan.layout)

    async def _serve(self, number: int, verdict: Verdict, found: DriveReport) -> None:
        """Open a drive that belongs here, or note why it can not be served."""
        path, slot = self._own[number], self._plan.layout.place_of(number)[1]
        if reason := verdict.reasons.get(number, ""):
            self._leave_out(number, reason)
            return
        if found.condition is not DriveCondition.FORMATTED or verdict.deployment_id is None:
            self._leave_out(number, found.reason or self._wait_of_empty(verdict))
            return
        try:
            drive = await LocalDrive.open(
                path, slot, clock=self._clock, randomness=self._randomness, settings=self._settings
            )
        except (StorageError, FormatError, OSError) as trouble:
            self._leave_out(number, str(trouble))
            return
        target = self._target(number, verdict.deployment_id)
        self.drives.forget(target)
        self.drives.add(drive, path, target)
        self._served[number] = drive
        self._reasons.pop(number, None)
        log.info("drive %s is served as %s", path, drive.drive_id)

    # --- how

    def _wait_of_empty(self, verdict: Verdict) -> str:
        if self._joins and verdict.deployment_id is None:
            return "it is empty, and waits for its pool to be added to a store: do so with `liteio admin pool add`"
        return "it is empty; waiting for the other nodes to say what is to be done"

    def _report_now(self) -> dict[int, DriveReport]:
        if not any(has_format(path) for path in self._own.values()):
            for path in self._own.values():
                with suppress(OSError):  # The report says that it is not there.
                    os.makedirs(path, exist_ok=True)
        return {number: report_on(path, self._files) for number, path in self._own.items()}

    def _in_order(self, own: Mapping[int, DriveReport]) -> list[DriveReport | None]:
        return [own.get(number) for number in range(self._plan.layout.drive_count)]

    def _note_pool(self, reports: Sequence[DriveReport | None]) -> None:
        """Which pool of its store this is, the drives say; before they are formatted it counts as the first."""
        named = [report.identity.pool for report in reports if report is not None and report.identity is not None]
        if named and self._plan.layout.pool not in named:
            self._plan = self._plan.as_pool(named[0])

    async def _prepare_own(self, deployment_id: DeploymentId, pool: int, mount_points: MountPoints) -> None:
        reports = await self.report()
        for number, path in self._own.items():
            if not _is_empty(reports[number]):
                raise DriveUnavailable("a drive is not empty", path=path, reason=reports[number].reason)
        layout = self._plan.as_pool(pool).layout
        for number, path in self._own.items():
            drive = identity(number, layout, deployment_id, mount_points, self._randomness)
            await self._on_disk(path, prepare_drive, path, drive, self._files, self._randomness)
        self._prepared_for = deployment_id if pool == 0 else None  # Others join a store that was there before.

    async def _take_on_own(self, deployment_id: DeploymentId) -> None:
        for number, report in (await self.report()).items():
            if report.condition is DriveCondition.FORMATTED:
                continue  # It was taken on before.
            if report.identity is None or report.identity.deployment_id != deployment_id:
                raise DriveUnavailable("a drive was not prepared for this deployment", path=self._own[number])
            await self._on_disk(self._own[number], take_on, self._own[number], self._files)
        if deployment_id == self._prepared_for:
            self._on_first_format()

    async def _on_disk(self, path: str, work: Callable[..., None], *arguments: Any) -> None:
        """Off the loop. Raises DriveUnavailable."""
        try:
            await asyncio.to_thread(work, *arguments)
        except (OSError, FormatRefused) as trouble:
            raise DriveUnavailable(str(trouble), path=path) from trouble

    def _is_in_place(self, path: str, drive_id: DriveId) -> bool:
        """Trouble with reading is not for here: the drive notices it, too."""
        try:
            found = read_format(path, self._files)
        except FormatError:
            return False
        except OSError:
            return True
        return found is not None and found.drive_id == drive_id

    def _target(self, number: int, deployment_id: DeploymentId) -> DriveId:
        return target_of(deployment_id, self._plan.layout, number)

    def _leave_out(self, number: int, reason: str) -> None:
        """Say it once, and to whoever asks for the drive."""
        if self._reasons.get(number) != reason:
            log.warning("drive %s is not served: %s", self._own[number], reason)
            self._reasons[number] = reason
        if self._deployment_id is not None:
            slot = self._plan.layout.place_of(number)[1]
            self.drives.leave_out(self._target(number, self._deployment_id), slot, self._own[number], reason)


def _is_empty(report: DriveReport | None) -> bool:
    return report is not None and report.condition in (DriveCondition.BLANK, DriveCondition.PENDING)
