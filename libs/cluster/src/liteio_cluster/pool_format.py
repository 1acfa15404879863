"""Formatting a pool over its nodes: what the nodes' drives say of themselves, and the two halves of a first format."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from liteio_base.clock import Clock
from liteio_base.deadline import Deadline
from liteio_base.ids import DeploymentId
from liteio_cluster.nodes import Nodes
from liteio_cluster.plan import PoolPlan
from liteio_contracts.storage_errors import StorageError
from liteio_drives.format_rules import DriveReport, FormatRefused, judge, mount_points_of
from liteio_drives.remote.messages import NODE, MountPoints

REPORT_SECONDS: Final = 5.0
FORMAT_SECONDS: Final = 60.0  # for a node to prepare its drives: 256 folders and an index on each


class PoolFormat:
    """What is asked of the nodes of a pool, or of all but the one that asks (`without`)."""

    def __init__(self, plan: PoolPlan, nodes: Nodes, clock: Clock, without: str = "") -> None:
        self._plan, self._nodes, self._clock = plan, nodes, clock
        self._origins = [origin for origin in plan.origins if origin != without]

    async def reports(self, own: Sequence[DriveReport | None] = ()) -> list[DriveReport | None]:
        """Of every drive of the pool, as far as the nodes answer; `own` are those that need not be asked for."""
        merged = list(own) or [None] * self._plan.layout.drive_count
        answers = await asyncio.gather(*map(self._report_of, self._origins))
        for origin, answer in zip(self._origins, answers, strict=True):
            for number in self._plan.drives_of(origin):
                merged[number] = answer.get(number)
        return merged

    async def prepare(self, deployment_id: DeploymentId, pool: int, mount_points: MountPoints) -> None:
        """Everything but the identity, on every node. Raises StorageError when one does not do it."""
        await self._ask_all("format.prepare", deployment_id, pool, mount_points)

    async def take_on(self, deployment_id: DeploymentId) -> None:
        """The identity, on every node. Raises StorageError when one does not do it."""
        await self._ask_all("format.take_on", deployment_id)

    async def _report_of(self, origin: str) -> Mapping[int, DriveReport]:
        deadline = Deadline.after(REPORT_SECONDS, self._clock)
        try:
            found: Mapping[int, DriveReport] = await self._nodes.get(origin).call(
                NODE, "format.report", deadline=deadline
            )
        except StorageError:
            return {}
        return found

    async def _ask_all(self, method: str, *arguments: Any) -> None:
        deadline = Deadline.after(FORMAT_SECONDS, self._clock)
        asked = (self._nodes.get(origin).call(NODE, method, *arguments, deadline=deadline) for origin in self._origins)
        await asyncio.gather(*asked)


async def format_new_pool(plan: PoolPlan, deployment_id: DeploymentId, nodes: Nodes, clock: Clock) -> None:
    """Format the drives of a pool that joins a store, led from outside: its nodes wait for it. What was cut short is
    carried on. Raises FormatRefused, with what is in the way; StorageError."""
    pool_format = PoolFormat(plan, nodes, clock)
    reports = await pool_format.reports()
    verdict = judge(reports, plan.layout)
    if verdict.is_first:
        await pool_format.prepare(deployment_id, plan.layout.pool, mount_points_of(reports, plan.layout))
    elif verdict.deployment_id != deployment_id or verdict.reasons:
        told = [f"{plan.endpoints[number]}: {reason}" for number, reason in sorted(verdict.reasons.items())]
        raise FormatRefused("; ".join(told) or f"the drives belong to deployment {verdict.deployment_id}")
    await pool_format.take_on(deployment_id)
