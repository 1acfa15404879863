"""A store for a process: from its settings to the object layer over drives of this machine, or over storage nodes."""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from liteio_base.clock import Clock, Randomness, SystemRandomness
from liteio_base.ids import DeploymentId
from liteio_cluster.nodes import Nodes
from liteio_cluster.plan import PoolPlan, target_of
from liteio_cluster.settings import StoreSettings
from liteio_cluster.spread_locks import SpreadLocks
from liteio_contracts.locks import LockAPI
from liteio_contracts.storage import KeyName, StorageAPI
from liteio_drives.file_locks import FileLocks
from liteio_drives.files import RealFiles
from liteio_drives.format_rules import Layout
from liteio_drives.format_set import open_drives, settle_formats
from liteio_drives.remote.node_connection import NodeConnection
from liteio_drives.remote.remote_drive import RemoteDrive
from liteio_drives.remote.remote_locks import RemoteLocks
from liteio_drives.remote.sealing import cluster_key
from liteio_erasure.code import CodeParams
from liteio_formats.topology import TopologyRecord
from liteio_objects.drive_set import DriveSet
from liteio_objects.layer import Store
from liteio_objects.store_map import StoreMap

LOCKS_FOLDER: Final = "key-locks"

Report = Callable[[DriveSet, KeyName], bool]


@dataclass(frozen=True, slots=True)
class OpenStore:
    """A store and what it stands on. `folders` are those of the drives of this machine; `nodes` is None for these."""

    store: Store
    deployment_id: DeploymentId
    folders: Sequence[str] = ()
    nodes: Nodes | None = None

    @property
    def drives(self) -> Sequence[StorageAPI]:
        """All drives of now: a pool may be added while the store is open."""
        return [drive for drive_set in self.store.engine.store_map.sets for drive in drive_set.drives]

    @property
    def names(self) -> Sequence[str]:
        """What operators call the drives, in the same order: their folders, or their URLs."""
        record = self.store.engine.store_map.record
        if record is None:
            return self.folders
        return [endpoint for pool in record.pools for endpoint in pool.endpoints]


def open_store(
    settings: StoreSettings,
    clock: Clock,
    randomness: Randomness,
    report: Report = lambda drive_set, name: False,
) -> AbstractAsyncContextManager[OpenStore]:
    """The store that the settings name. Background repairs run while it is open.

    Drives of this machine are opened, and formatted the first time; storage nodes are waited for until one tells of the
    store. Raises liteio_drives.format_rules.FormatRefused.
    """
    opening = _open_nodes if settings.peers else _open_local
    return opening(settings, clock, randomness, report)


def prepare_drives(settings: StoreSettings) -> None:
    """Before anything else is begun: format what must be formatted of this machine's drives, or see that there is what
    it takes to talk to the nodes. Raises FormatRefused, WeakSecret, OSError."""
    if settings.peers:
        cluster_key(settings.read_secret())
        settings.read_tls()
    else:
        settle_formats(settings.drives, _layout(settings), randomness=SystemRandomness(), files=RealFiles())


@asynccontextmanager
async def _open_local(
    settings: StoreSettings, clock: Clock, randomness: Randomness, report: Report
) -> AsyncIterator[OpenStore]:
    layout = _layout(settings)
    async with AsyncExitStack() as opened:
        drives = await open_drives(settings.drives, layout, clock=clock, randomness=randomness)
        opened.push_async_callback(drives.close)
        locks = FileLocks(_state_folder(settings) / LOCKS_FOLDER, clock, randomness)
        opened.callback(locks.close)
        store_map = StoreMap(drives.deployment_id, _divide(drives.as_storage, layout))
        store = Store(store_map, clock, randomness, locks, report)
        await _start(store, opened)
        yield OpenStore(store, drives.deployment_id, settings.drives)


@asynccontextmanager
async def _open_nodes(
    settings: StoreSettings, clock: Clock, randomness: Randomness, report: Report
) -> AsyncIterator[OpenStore]:
    async with AsyncExitStack() as opened:
        nodes = Nodes(settings, clock, randomness)
        opened.push_async_callback(nodes.close)
        topology = await nodes.wait_for_topology(settings.peers)

        async def open_pool(record: TopologyRecord, pool: int, first_set: int) -> Sequence[DriveSet]:
            return _remote_sets(nodes, record, pool, first_set)

        sets: list[DriveSet] = []
        for pool in range(len(topology.pools)):
            sets += _remote_sets(nodes, topology, pool, len(sets))
        first_pool = PoolPlan.of_record(topology.pools[0], 0)
        locks = await opened.enter_async_context(_locks_of(first_pool, nodes, clock, randomness))
        store_map = StoreMap(topology.deployment_id, sets, topology)
        store = Store(store_map, clock, randomness, locks, report, open_pool)
        await _start(store, opened)
        yield OpenStore(store, topology.deployment_id, nodes=nodes)


def _remote_sets(nodes: Nodes, record: TopologyRecord, pool: int, first_set: int) -> list[DriveSet]:
    """The sets of a pool over its nodes. Nothing is asked of them yet."""
    plan = PoolPlan.of_record(record.pools[pool], pool)
    drives = []
    for number, endpoint in enumerate(plan.endpoints):
        _, slot = plan.layout.place_of(number)
        target = target_of(record.deployment_id, plan.layout, number)
        drives.append(RemoteDrive(nodes.get(endpoint.origin), target, slot))
    return _divide(drives, plan.layout, first_set)


async def _start(store: Store, opened: AsyncExitStack) -> None:
    store.start()
    opened.push_async_callback(store.close)


@asynccontextmanager
async def _locks_of(plan: PoolPlan, nodes: Nodes, clock: Clock, randomness: Randomness) -> AsyncIterator[LockAPI]:
    async with AsyncExitStack() as opened:
        groups = [
            await opened.enter_async_context(RemoteLocks(group, clock, randomness))
            for group in lock_groups(plan, nodes)
        ]
        yield groups[0] if len(groups) == 1 else SpreadLocks(groups)


def lock_groups(first_pool: PoolPlan, nodes: Nodes) -> list[Sequence[NodeConnection]]:
    """The nodes that grant locks, by the group that `group_of` gives a name: those of one set of the first pool,
    whatever set the name itself lives in. Pools are never removed, so every gateway, however old its topology, asks
    the same ones."""
    return [nodes.of(first_pool.origins_of_set(set_index)) for set_index in range(first_pool.layout.set_count)]


def _divide(drives: Sequence[StorageAPI], layout: Layout, first_set: int = 0) -> list[DriveSet]:
    width = layout.set_width
    code = CodeParams.for_set(width, layout.parity)
    return [
        DriveSet(tuple(drives[start : start + width]), code, first_set + start // width)
        for start in range(0, len(drives), width)
    ]


def _layout(settings: StoreSettings) -> Layout:
    width = settings.set_drives or len(settings.drives)
    code = CodeParams.for_set(width, settings.parity)
    return Layout(len(settings.drives) // width, width, code.m)


def _state_folder(settings: StoreSettings) -> Path:
    folder = settings.state_dir or Path(settings.drives[0]) / ".liteio.sys"
    os.makedirs(folder, exist_ok=True)
    return folder
