"""`liteio admin pool`: adding a pool of nodes to a store that runs, and spreading new keys over pools."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_cluster.nodes import Nodes
from liteio_cluster.opening import OpenStore
from liteio_cluster.plan import PoolPlan
from liteio_cluster.pool_format import format_new_pool
from liteio_contracts.object_errors import ObjectError
from liteio_contracts.storage_errors import StorageError
from liteio_drives.format_rules import FormatRefused
from liteio_formats.topology import TopologyRecord
from liteio_objects.topology_changes import TopologyChanger
from liteio_placement.errors import PlacementError
from liteio_runtime.problems import Problem, StartRefused
from liteio_runtime.settings import ServerSettings
from liteio_runtime.store_access import open_for_command

_CHANGE_SECONDS: Final = 300.0
_RETIRE_SECONDS: Final = 24 * 3600.0  # it reads the name of every key


async def add_pool(settings: ServerSettings, drives: str, parity: int | None) -> str:
    """Format the drives of a pool whose nodes run and wait, and let it take new keys. Raises StartRefused."""
    try:
        plan = PoolPlan.of_patterns(drives, parity)
    except PlacementError as refusal:
        raise StartRefused([Problem(f"{refusal.problem} ({refusal.where})", drives, refusal.remedy)]) from None
    async with _changing(settings) as (opened, nodes, before):
        pool = plan.to_record()
        index = before.pools.index(pool) if pool in before.pools else len(before.pools)
        try:
            await format_new_pool(plan.as_pool(index), before.deployment_id, nodes, SystemClock())
        except (FormatRefused, StorageError) as trouble:
            remedy = "start every node of the pool with these --drives, and --peers naming nodes of this store"
            raise StartRefused([Problem(f"the pool can not be formatted: {trouble}", drives, remedy)]) from None
        after = await TopologyChanger(opened.store).add_pool(pool, deadline=_soon(_CHANGE_SECONDS))
    return f"pool {index} is part of the store\n{render_pools(after)}"


async def weigh_pools(settings: ServerSettings, weights: Mapping[int, int] | None) -> str:
    """Spread new keys by weights, or by free space. Raises StartRefused."""
    async with _changing(settings) as (opened, _, _):
        return render_pools(await TopologyChanger(opened.store).weigh_pools(weights, deadline=_soon(_CHANGE_SECONDS)))


async def retire_epochs(settings: ServerSettings) -> str:
    """Give up the epochs that no key needs. Raises StartRefused."""
    async with _changing(settings) as (opened, _, before):
        after = await TopologyChanger(opened.store).retire_epochs(deadline=_soon(_RETIRE_SECONDS))
    return f"{len(before.epochs) - len(after.epochs)} of {len(before.epochs)} epochs were given up"


async def show_pools(settings: ServerSettings, *, as_json: bool) -> str:
    """Raises StartRefused."""
    async with _changing(settings) as (_, _, record):
        if not as_json:
            return render_pools(record)
        pools = [
            {"sets": pool.set_count, "set_width": pool.set_width, "parity": pool.parity, "drives": pool.endpoints}
            for pool in record.pools
        ]
        epochs = [{"number": epoch.number, "weights": dict(epoch.weights)} for epoch in record.epochs]
        return json.dumps({"number": record.number, "pools": pools, "epochs": epochs})


def parse_weights(given: Sequence[str]) -> dict[int, int] | None:
    """`POOL=WEIGHT` words; None of none. Raises StartRefused."""
    weights: dict[int, int] = {}
    for word in given:
        pool, equals, weight = word.partition("=")
        if not (equals and pool.isdecimal() and weight.isdecimal()):
            raise StartRefused([Problem(f"{word!r} is no weight", "pool weigh", "write POOL=WEIGHT, like 0=1 1=3")])
        weights[int(pool)] = int(weight)
    return weights or None


def render_pools(record: TopologyRecord) -> str:
    """One line a pool, with the share of new keys that it takes."""
    weights = dict(record.epochs[-1].weights)
    total = sum(weights.values())
    lines = [f"topology {record.number}, {len(record.epochs)} live epochs"]
    for index, pool in enumerate(record.pools):
        share = 100 * weights.get(index, 0) / total
        sets = "1 set" if pool.set_count == 1 else f"{pool.set_count} sets"
        code = f"{pool.set_width - pool.parity}+{pool.parity}"
        lines.append(
            f"  pool {index}: {sets} of {code}, takes {share:.0f} % of new keys; first drive {pool.endpoints[0]}"
        )
    return "\n".join(lines)


@asynccontextmanager
async def _changing(settings: ServerSettings) -> AsyncIterator[tuple[OpenStore, Nodes, TopologyRecord]]:
    """The store, its nodes and its topology; what refuses a change is told as a problem."""
    async with open_for_command(settings) as opened:
        record = opened.store.engine.store_map.record
        if record is None or opened.nodes is None:
            remedy = "pools are of nodes: run the store as a cluster, also of one node"
            raise StartRefused([Problem("a store of this machine's folders has one pool for good", "pool", remedy)])
        try:
            yield opened, opened.nodes, record
        except PlacementError as refusal:
            raise StartRefused([Problem(f"{refusal.problem} ({refusal.where})", "pool", refusal.remedy)]) from None
        except ObjectError as trouble:
            remedy = "see that the drives are there (liteio admin drives), and say the same again"
            raise StartRefused([Problem(str(trouble), "pool", remedy)]) from None


def _soon(seconds: float) -> Deadline:
    return Deadline.after(seconds, SystemClock())
