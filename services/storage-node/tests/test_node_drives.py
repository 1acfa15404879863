"""The drives of several nodes through their lives: first format, loss, replacement, misplacement."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from live_node import SECRET
from pydantic import SecretStr
from test_process import free_port

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_base.ids import NULL_VERSION, SYSTEM_BUCKET, DeploymentId, HybridTime
from liteio_cluster.access import ClusterAccess
from liteio_cluster.nodes import Nodes
from liteio_cluster.plan import PoolPlan
from liteio_cluster.pool_format import format_new_pool
from liteio_contracts.storage import Commit, DriveState, DriveStatus, RowCommit
from liteio_contracts.storage_errors import DriveOffline, DriveUnavailable
from liteio_drives.drive_format import read_format
from liteio_drives.files import RealFiles
from liteio_drives.format_rules import FormatRefused
from liteio_drives.health import SyncFailed
from liteio_drives.limits import DriveSettings
from liteio_drives.local_drive import LocalDrive
from liteio_drives.remote.messages import NODE, DriveInfo
from liteio_drives.remote.remote_drive import RemoteDrive
from liteio_formats.format_json import DriveFormat, encode_format
from liteio_formats.record import Kind, Record, Space, encode_record
from liteio_formats.topology import decode_topology
from liteio_storage_node.app import build_app
from liteio_storage_node.node_drives import NodeDrives
from liteio_storage_node.server import NodeServer

SMALL = DriveSettings(free_min_bytes=0, ballast_bytes=0)


class Rig:
    """Nodes of this process that look at their drives when they are told to."""

    def __init__(self, folder: Path, node_count: int = 2, drives_per_node: int = 2) -> None:
        self.ports = [free_port() for _ in range(node_count)]
        self.folders = [folder / f"n{index}" for index in range(node_count)]
        self.patterns = ",".join(
            f"http://127.0.0.1:{port}{own}/d{{1...{drives_per_node}}}"
            for port, own in zip(self.ports, self.folders, strict=True)
        )
        self.joins = False
        self.access = ClusterAccess(cluster_secret=SecretStr(SECRET.decode()))

    @property
    def plan(self) -> PoolPlan:
        return PoolPlan.of_patterns(self.patterns)

    def path(self, node: int, number: int) -> Path:
        return self.folders[node] / f"d{number}"

    def identity(self, node: int, number: int) -> DriveFormat:
        found = read_format(str(self.path(node, number)), RealFiles())
        assert found is not None
        return found

    @asynccontextmanager
    async def up(self, *indexes: int) -> AsyncIterator[list[NodeDrives]]:
        """These nodes serving, each after a look on its own."""
        clock, randomness = SystemClock(), SystemRandomness()
        connections = Nodes(self.access, clock, randomness)
        servers, looked = [], []
        try:
            for index in indexes:
                origin = f"http://127.0.0.1:{self.ports[index]}"
                node = NodeDrives(self.plan, origin, connections, clock, randomness, joins=self.joins, settings=SMALL)
                looked.append(node)
                await node.look(is_alone=True)
                app = build_app(node.drives, SECRET, clock, randomness, formats=node)
                servers.append(NodeServer(app, "127.0.0.1", self.ports[index]))
                await servers[-1].start()
            self.connections = connections
            yield looked
        finally:
            for server in servers:
                await server.stop(2.0)
            for node in looked:
                await node.close()
            await connections.close()


def served(node: NodeDrives) -> list[DriveInfo]:
    return [info for info in node.drives.infos() if not info.reason]


def reasons(node: NodeDrives) -> list[str]:
    return [info.reason for info in node.drives.infos() if info.reason]


async def look_at(nodes: Sequence[NodeDrives]) -> None:
    for node in nodes:
        await node.look()


async def format_all(rig: Rig) -> None:
    async with rig.up(0, 1) as nodes:
        await look_at(nodes)
        assert [len(served(node)) for node in nodes] == [2, 2]


def formatted_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name == "format.json"]


def empty(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


async def test_all_empty_drives_become_one_deployment_and_every_node_tells_of_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await format_all(rig)
    formats = [rig.identity(node, number) for node in (0, 1) for number in (1, 2)]
    assert len({drive.deployment_id for drive in formats}) == 1
    assert sorted(drive.slot for drive in formats) == [0, 1, 2, 3]
    async with rig.up(0, 1) as nodes:
        told = [decode_topology(encoded) for node in nodes if (encoded := await node.topology()) is not None]
        assert len(told) == 2
        assert told[0] == told[1]
        assert told[0].deployment_id == formats[0].deployment_id
        assert set(told[0].pools[0].endpoints) == {str(one) for one in rig.plan.endpoints}


async def test_nothing_is_formatted_while_a_node_is_away(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    for first in (0, 1):
        async with rig.up(first) as nodes:
            await look_at(nodes)
            assert served(nodes[0]) == []
            assert await nodes[0].topology() is None
    assert formatted_in(tmp_path) == []


async def test_nothing_is_formatted_while_a_drive_holds_something(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.path(1, 2).mkdir(parents=True)
    (rig.path(1, 2) / "holiday.jpg").write_bytes(b"x")
    async with rig.up(0, 1) as nodes:
        await look_at(nodes)
        assert [await node.topology() for node in nodes] == [None, None]
    assert formatted_in(tmp_path) == []


async def test_a_node_restarts_without_the_others(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await format_all(rig)
    async with rig.up(1) as [node]:
        assert len(served(node)) == 2


async def test_a_first_format_that_was_cut_short_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The leading node has taken its drives on, and the other never heard of it."""
    rig = Rig(tmp_path)

    async def deaf(self: NodeDrives, deployment_id: str) -> None:
        raise DriveUnavailable("not now")

    async with rig.up(0, 1) as nodes:
        with monkeypatch.context() as cut:
            cut.setattr(NodeDrives, "take_on", deaf)
            await nodes[0].look()
        assert [len(served(node)) for node in nodes] == [2, 0]
        await nodes[1].look()
        assert [len(served(node)) for node in nodes] == [2, 2]
    assert len({rig.identity(node, number).deployment_id for node in (0, 1) for number in (1, 2)}) == 1


async def test_a_drive_that_was_emptied_under_way_is_taken_in_again_and_is_no_witness(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await format_all(rig)
    async with rig.up(0, 1) as nodes:
        before = rig.identity(1, 1)
        target = next(info.target for info in served(nodes[1]) if info.drive_id == before.drive_id)
        remote = RemoteDrive(rig.connections.get(f"http://127.0.0.1:{rig.ports[1]}"), target, before.slot)
        empty(rig.path(1, 1))
        await nodes[1].look()
        status: DriveStatus = await remote.status(deadline=Deadline.after(5, SystemClock()))
        assert status.drive_id == rig.identity(1, 1).drive_id != before.drive_id
        assert remote.drive_id == status.drive_id
        assert not status.is_authoritative
        assert len(served(nodes[1])) == 2


async def test_an_emptied_drive_is_left_alone_while_too_many_of_its_set_are_not_seen(tmp_path: Path) -> None:
    rig = Rig(tmp_path)  # 2+2 over two nodes: with one away, an empty drive is the third that is missing
    await format_all(rig)
    empty(rig.path(1, 1))
    async with rig.up(1) as [node]:
        await node.look()
        assert len(served(node)) == 1
        assert "nodes that do not answer" in reasons(node)[0]
    assert list(rig.path(1, 1).iterdir()) == []


async def test_a_drive_that_is_not_mounted_any_more_is_not_written_to(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await format_all(rig)
    for node in (0, 1):
        for number in (1, 2):
            drive = rig.identity(node, number)
            changed = msgspec.structs.replace(drive, was_mount_point=((True,) * 4,))
            (rig.path(node, number) / ".liteio.sys" / "format.json").write_bytes(encode_format(changed))
    empty(rig.path(1, 1))
    async with rig.up(0, 1) as nodes:
        await look_at(nodes)
        assert "nothing is mounted" in reasons(nodes[1])[0]
        with pytest.raises(DriveOffline, match="nothing is mounted"):
            nodes[1].drives.get(next(info.target for info in nodes[1].drives.infos() if info.reason))
    assert list(rig.path(1, 1).iterdir()) == []


async def test_swapped_and_foreign_drives_are_refused_and_the_others_serve(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await format_all(rig)
    rig.path(1, 1).rename(tmp_path / "aside")
    rig.path(1, 2).rename(rig.path(1, 1))
    (tmp_path / "aside").rename(rig.path(1, 2))
    async with rig.up(0, 1) as nodes:
        await look_at(nodes)
        assert [len(served(node)) for node in nodes] == [2, 0]
        assert all("stands in the place of" in reason for reason in reasons(nodes[1]))


async def test_another_layout_is_refused(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await format_all(rig)
    rig.patterns = f"http://127.0.0.1:{rig.ports[0]}{rig.folders[0]}/d{{1...2}}"
    with pytest.raises(FormatRefused, match="set\\(s\\) of 4 drives"):
        async with rig.up(0):
            pass


async def test_a_prepare_by_a_rival_leaves_formatted_drives_alone(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await format_all(rig)
    async with rig.up(1) as [_]:
        node = rig.connections.get(f"http://127.0.0.1:{rig.ports[1]}")
        deadline = Deadline.after(5, SystemClock())
        before = rig.identity(1, 1)
        with pytest.raises(DriveUnavailable, match="not empty"):
            await node.call(NODE, "format.prepare", "f" * 32, 0, ((False,) * 4,), deadline=deadline)
        await node.call(NODE, "format.take_on", "f" * 32, deadline=deadline)
        assert rig.identity(1, 1) == before


async def test_two_looks_at_once_take_turns(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    async with rig.up(0, 1) as nodes:
        await asyncio.gather(*(node.look() for node in nodes for _ in range(3)))
        await look_at(nodes)
        assert [len(served(node)) for node in nodes] == [2, 2]
    assert len({rig.identity(node, number).deployment_id for node in (0, 1) for number in (1, 2)}) == 1


async def test_a_pool_that_joins_waits_and_takes_its_place_in_the_store(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig, deployment_id = Rig(tmp_path), DeploymentId("ab" * 16)
    rig.joins = True
    async with rig.up(0, 1) as nodes:
        await look_at(nodes)
        assert formatted_in(tmp_path) == []
        assert caplog.text.count("`liteio admin pool add`") == 4
        plan = rig.plan.as_pool(3)
        await format_new_pool(plan, deployment_id, rig.connections, SystemClock())
        assert [len(served(node)) for node in nodes] == [2, 2]
        assert {info.target[:34] for node in nodes for info in served(node)} == {f"{deployment_id}/3"}
        assert await nodes[0].topology() is None  # It does not say that it is a store of its own.
        await format_new_pool(plan, deployment_id, rig.connections, SystemClock())  # again: nothing is left to do
    async with rig.up(0, 1) as nodes:
        assert [len(served(node)) for node in nodes] == [2, 2]
        assert rig.identity(1, 2).pool == 3
        with pytest.raises(FormatRefused, match="belong to deployment"):
            await format_new_pool(plan, DeploymentId("cd" * 16), rig.connections, SystemClock())


async def test_a_pool_is_not_formatted_while_a_node_is_away(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.joins = True
    async with rig.up(0):
        with pytest.raises(FormatRefused, match="its node is away"):
            await format_new_pool(rig.plan.as_pool(1), DeploymentId("ab" * 16), rig.connections, SystemClock())
    assert formatted_in(tmp_path) == []


async def test_a_drive_that_lost_a_sync_is_opened_anew_and_is_no_witness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liteio_storage_node.node_drives.REOPEN_SECONDS_MIN", 0.2)
    rig = Rig(tmp_path)
    await format_all(rig)
    async with rig.up(0, 1) as nodes:
        before = rig.identity(1, 1)
        target = next(info.target for info in served(nodes[1]) if info.drive_id == before.drive_id)
        drive = nodes[1].drives.get(target)
        assert isinstance(drive, LocalDrive)
        monkeypatch.setattr("liteio_drives.index.DriveIndex.sync", fail_to_sync)
        record = encode_record(bucket_record())
        with pytest.raises(DriveOffline, match="a sync failed"):
            await drive.commit(Commit((RowCommit(record),)), deadline=Deadline.after(5, SystemClock()))
        monkeypatch.undo()
        monkeypatch.setattr("liteio_storage_node.node_drives.REOPEN_SECONDS_MIN", 0.2)
        await nodes[1].look()
        assert nodes[1].drives.get(target) is drive  # Not at once: what is going on may pass.
        await asyncio.sleep(0.3)
        await nodes[1].look()
        again = await nodes[1].drives.get(target).status(deadline=Deadline.after(5, SystemClock()))
        assert (again.state, again.is_authoritative) == (DriveState.ONLINE, False)
        assert again.drive_id == before.drive_id


def fail_to_sync(*_: object) -> None:
    raise SyncFailed from OSError(5, "Input/output error")


def bucket_record() -> Record:
    return Record(
        space=Space.BUCKET,
        bucket_id=SYSTEM_BUCKET,
        key=b"photos",
        version_id=NULL_VERSION,
        kind=Kind.VALUE,
        created=HybridTime(1),
        time=HybridTime(1),
        base=HybridTime(0),
        generations=(),
    )
