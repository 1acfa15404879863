"""Rows 17, 18, 26, 28 to 30, 54, 56, 57 and 70: drives, nodes and gateways that go, starve and come back."""

import asyncio
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.cluster.history import load_while, require_order, wait_whole
from tests.cluster.shared_keys import SharedKeys
from tests.faults.cluster import BUCKET, Keeper, cluster_in, healed, must, refused_in_time
from tests.faults.registry import Lane, Trial, require, row
from tests.support.cluster import Member, is_ready
from tests.support.drive_damage import empty
from tests.support.rig import Rig, Usage

from liteio_drives.remote.limits import LEASE_SECONDS

_DRAIN_SECONDS: Final = 30.0
_READ_BYTES: Final = 32_000_000  # more than sockets and a gateway hold
_CGROUPS: Final = Path("/sys/fs/cgroup")


# -- drives


@row(
    17,
    "a whole drive is wiped, while its node runs and while it is stopped",
    "everything in one of the eight drives' folders is removed; objects are read all the while",
    unit="wipes",
    bounded=2,
    full=20,
    lane=Lane.CLUSTER,
)
def drive_wiped(trial: Trial) -> str:
    chance, seconds = trial.chance, list[float]()
    with cluster_in(trial) as rig:
        keeper = Keeper(rig, trial.seed)
        keeper.some(30)
        for number in range(trial.count):
            index = chance.randrange(len(rig.nodes))
            node, drive = rig.nodes[index], chance.choice(rig.cluster.drives_of(index))
            is_stopped = number % 2 == 1
            if is_stopped:
                node.stop()
            empty(drive)
            keeper.read_all(gateway=number % 2)
            if is_stopped:
                node.start()
            _wait_formatted(drive)
            keeper.read_all(gateway=number % 2)
            must(keeper.put(f"after/{number}"), "a write behind the wipe")
            seconds.append(wait_whole(rig))
        healed(rig)
    told = ", ".join(f"{one:.1f}" for one in seconds)
    return f"{len(keeper.keys)} keys read at every moment; all shards of all versions on all drives after {told} s"


def _wait_formatted(drive: Path, seconds: float = 30.0) -> None:
    """Until the node has found the drive empty and made it one of the cluster's again."""
    end = time.monotonic() + seconds
    while not (drive / ".liteio.sys" / "index.db").exists():
        require(time.monotonic() < end, f"{drive.name} was not taken back after {seconds} s")
        time.sleep(0.2)


def _can_mount() -> str:
    return "" if os.getuid() == 0 else "only root may mount file systems"


@row(
    18,
    "a drive's file system is unmounted under its node",
    "umount -l of a tmpfs, so that the drive's place is an empty folder of its parent; objects are written and read; "
    "then it is mounted again",
    unit="unmounts",
    bounded=1,
    full=10,
    needs=_can_mount,
    lane=Lane.CLUSTER,
)
def drive_unmounted(trial: Trial) -> str:
    with ExitStack() as opened:

        def mount_drive(rig: Rig) -> None:
            opened.enter_context(_mounted(trial.folder / "held", rig.cluster.drives_of(2)[0]))

        rig = opened.enter_context(cluster_in(trial, prepare=mount_drive))
        place, held = rig.cluster.drives_of(2)[0], trial.folder / "held"
        keeper = Keeper(rig, trial.seed)
        keeper.some(10, "before")
        for number in range(trial.count):
            _run("umount", "-l", str(place))
            end = time.monotonic() + 8
            written = 0
            while time.monotonic() < end:
                must(keeper.put(f"during/{number}/{written}", size=300_000), "a write while it is away")
                written += 1
                time.sleep(0.2)
            require(not list(place.iterdir()), f"written into the folder below: {list(place.iterdir())[:5]}")
            keeper.read_all(gateway=1)
            _run("mount", "--bind", str(held), str(place))
            seconds = wait_whole(rig)
        keeper.read_all()
        healed(rig)
        rig.cluster.kill()
    return f"no file in the folder below; back, and all shards whole {seconds:.1f} s after it was mounted again"


@contextmanager
def _mounted(held: Path, place: Path) -> Iterator[None]:
    """A file system that outlives being unmounted at `place`."""
    held.mkdir()
    place.mkdir(parents=True)
    _run("mount", "-t", "tmpfs", "-o", "size=1g", "liteio-faults", str(held))
    try:
        _run("mount", "--bind", str(held), str(place))
        yield
    finally:
        for path in (place, held):
            while os.path.ismount(path):
                _run("umount", "-l", str(path))


# -- nodes


@row(
    26,
    "M drives are down, then more",
    "kill -9 of one, two and three of four nodes with two drives each, 4+4",
    unit="times",
    bounded=1,
    full=20,
    lane=Lane.CLUSTER,
)
def drives_down(trial: Trial) -> str:
    refusals = list[float]()
    with cluster_in(trial) as rig:
        keeper = Keeper(rig, trial.seed)
        keeper.some(20)
        for number in range(trial.count):
            rig.nodes[3].kill()
            must(keeper.put(f"one/{number}"), "a write with two of eight drives down")
            keeper.read_all(gateway=1)
            rig.nodes[2].kill()
            keeper.read_all(gateway=0)
            refusals.append(refused_in_time(lambda: keeper.put("two", size=900), "a write with four down"))
            rig.nodes[1].kill()
            for gateway in (0, 1):
                key = next(iter(keeper.keys))
                refusals.append(refused_in_time(lambda: keeper.read(key, gateway=gateway), "a read with six down"))  # noqa: B023
            rig.be_well()
            keeper.read_all(gateway=1)
        seconds, report = healed(rig)
    return (
        f"M down: reads and, with a write quorum, writes go on; more: refused with 503 after {max(refusals):.1f} s at "
        f"most; {report.values} versions whole on all drives {seconds:.1f} s after the nodes were back"
    )


@row(
    28,
    "kill -9 of a node every two seconds under load",
    "16 clients write, read and list six keys through two gateways; a node is killed, and started again a second later",
    unit="kills",
    bounded=4,
    full=300,
    lane=Lane.CLUSTER,
)
def nodes_killed(trial: Trial) -> str:
    with cluster_in(trial) as rig:
        before = rig.usage()
        keys = SharedKeys(rig, trial.seed, bucket=BUCKET)
        asyncio.run(load_while(keys, trial.count * 10.0, _kill_nodes(rig, trial.count, trial.chance)))
        require_order(keys)
        after = rig.usage()
        seconds, report = healed(rig)
    require(after.descriptors < before.descriptors * 1.3 + 60, f"descriptors: {before} before, {after} after")
    require(after.threads < before.threads * 1.3 + 20, f"threads: {before} before, {after} after")
    return f"{_told(keys)}; {report.values} versions whole after {seconds:.1f} s; {before} before, {after} after"


async def _kill_nodes(rig: Rig, count: int, chance: random.Random) -> None:
    for _ in range(count):
        node = chance.choice(rig.nodes)
        node.kill()
        await asyncio.sleep(1)
        node.start()
        await asyncio.sleep(1)


@row(
    29,
    "kill -9 of a gateway in the body of a PUT and of a GET",
    "a raw client sends half of 2 MB, and takes a quarter of 32 MB, when its gateway is killed; then the key is "
    "written through another",
    unit="kills of each kind",
    bounded=2,
    full=50,
    lane=Lane.CLUSTER,
)
def gateway_killed(trial: Trial) -> str:
    longest = 0.0
    with cluster_in(trial) as rig:
        keeper = Keeper(rig, trial.seed)
        must(keeper.put("large", gateway=1, size=_READ_BYTES), "the object that is read")
        for number in range(trial.count):
            key = f"half/{number}"
            if number % 2:
                must(keeper.put(key, gateway=1, size=900), "what is there before")
            _break_in_put(rig, key)
            _break_in_get(rig, "large", _READ_BYTES)
            if key in keeper.keys:
                keeper.read(key, gateway=1)
            else:
                require(keeper.client(1).get(BUCKET, key).status == 404, f"{key}: half of a body is visible")
            began = time.monotonic()
            must(keeper.put(key, gateway=1), "a write of the key through another gateway")
            longest = max(longest, time.monotonic() - began)
        require(longest < LEASE_SECONDS + 1, f"the key was kept for {longest:.1f} s")
        keeper.read_all(gateway=1)
        healed(rig)
    return f"every client saw its connection break; no half object; the key was free after {longest:.1f} s at most"


def _break_in_put(rig: Rig, key: str) -> None:
    size = 2_000_000
    host = rig.cluster.host(0)
    signed = rig.client(0).sign("PUT", f"/{BUCKET}/{key}", "", {}, "UNSIGNED-PAYLOAD")
    lines = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
    with socket.create_connection(("127.0.0.1", host.port), 10) as connection:
        head = f"PUT /{BUCKET}/{key} HTTP/1.1\r\nhost: 127.0.0.1:{host.port}\r\ncontent-length: {size}\r\n{lines}\r\n"
        connection.sendall(head.encode())
        connection.sendall(bytes(size // 2))
        time.sleep(0.2)
        _restart(rig, 0)
        require(_is_broken(connection), "the client was answered by a gateway that is dead")


def _break_in_get(rig: Rig, key: str, size: int) -> None:
    host = rig.cluster.host(0)
    signed = rig.client(0).sign("GET", f"/{BUCKET}/{key}", "", {}, "UNSIGNED-PAYLOAD")
    lines = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.settimeout(10)
        connection.connect(("127.0.0.1", host.port))
        connection.sendall(f"GET /{BUCKET}/{key} HTTP/1.1\r\nhost: 127.0.0.1:{host.port}\r\n{lines}\r\n".encode())
        got = 0
        while got < size // 4:
            got += len(connection.recv(65536))
        _restart(rig, 0)
        with suppress(OSError):
            while piece := connection.recv(1 << 20):
                got += len(piece)
        require(got < size, "the whole answer came from a gateway that was killed in the middle")


def _is_broken(connection: socket.socket) -> bool:
    try:
        return not connection.recv(1)
    except OSError:
        return True


def _restart(rig: Rig, gateway: int) -> None:
    rig.gateways[gateway].kill()
    rig.gateways[gateway].start()
    rig.cluster.wait_ready(gateway)


@row(
    30,
    "SIGTERM to gateways and nodes under load",
    "16 clients on six keys; a gateway and a node in turn are told to stop, and started again",
    unit="drains",
    bounded=4,
    full=60,
    lane=Lane.CLUSTER,
)
def drained(trial: Trial) -> str:
    ended = list[float]()
    with cluster_in(trial) as rig:
        keys = SharedKeys(rig, trial.seed, bucket=BUCKET)
        asyncio.run(load_while(keys, trial.count * 40.0, _drain(rig, trial.count, trial.chance, ended)))
        require_order(keys)
        seconds, _ = healed(rig)
    return f"{_told(keys)}; each ended in order, after {max(ended):.1f} s at most; whole after {seconds:.1f} s"


async def _drain(rig: Rig, count: int, chance: random.Random, ended: list[float]) -> None:
    for number in range(count):
        member = chance.choice(rig.gateways if number % 2 else rig.nodes)
        began = time.monotonic()
        code = await asyncio.to_thread(member.stop)
        ended.append(time.monotonic() - began)
        # uvicorn ends by the signal that it was sent, once all is closed.
        require(code in (0, -signal.SIGTERM), f"{member.name} ended with {code}: {member.log()[-1500:]}")
        require(ended[-1] < _DRAIN_SECONDS + 2, f"{member.name} took {ended[-1]:.1f} s to stop")
        member.start()
        await asyncio.sleep(2)


@row(
    70,
    "cold start: nodes in any order, some of them late",
    "all is stopped, then nodes and gateways are started in an order of chance, one or two nodes last and late",
    unit="starts",
    bounded=1,
    full=40,
    lane=Lane.CLUSTER,
)
def cold_starts(trial: Trial) -> str:
    chance, first = trial.chance, list[float]()
    with cluster_in(trial) as rig:
        formats = _formats(rig)
        keeper = Keeper(rig, trial.seed)
        keeper.some(20)
        for number in range(trial.count):
            rig.cluster.stop()
            late = chance.sample(rig.nodes, chance.choice((1, 2)))
            began = time.monotonic()
            _start_in_any_order([member for member in rig.members if member not in late], chance)
            if len(late) == 1:  # with two nodes of four missing nothing can be written: a gateway is not ready
                rig.cluster.wait_ready(number % 2)
            keeper.read_all(gateway=number % 2)
            first.append(time.monotonic() - began)
            if len(late) == 1:
                must(keeper.put(f"early/{number}"), "a write with one node missing")
            for node in late:
                node.start()
                time.sleep(chance.uniform(0, 1))
            keeper.read_all(gateway=1 - number % 2)
        seconds, report = healed(rig)
        require(_formats(rig) == formats, "a drive was formatted again")
    return (
        f"all read {max(first):.1f} s after the start at most, without the late; nothing that was removed is back; no "
        f"drive was formatted twice; {report.values} versions whole after {seconds:.1f} s"
    )


def _start_in_any_order(members: list[Member], chance: random.Random) -> None:
    for member in chance.sample(members, len(members)):
        member.start()
        time.sleep(chance.uniform(0, 0.5))


def _formats(rig: Rig) -> dict[str, bytes]:
    return {str(path): (path / ".liteio.sys" / "format.json").read_bytes() for path in rig.drive_paths()}


# -- too little of something


@row(
    54,
    "no more than 256 file descriptors, on gateways and nodes",
    "prlimit of a gateway and a node, then 400 connections to each, half of them with a request begun",
    unit="times",
    bounded=1,
    full=20,
    lane=Lane.CLUSTER,
)
def few_descriptors(trial: Trial) -> str:
    with cluster_in(trial) as rig:
        keeper = Keeper(rig, trial.seed)
        keeper.some(10)
        gateway, node = rig.gateways[0], rig.nodes[0]
        before = Usage.of([gateway.pid, node.pid])
        for member in (gateway, node):
            resource.prlimit(member.pid, resource.RLIMIT_NOFILE, (256, 256))
        for _ in range(trial.count):
            with ExitStack() as opened:
                for port in (rig.cluster.gateway_ports[0], rig.cluster.node_ports[0]):
                    _crowd(port, 400, opened)
                time.sleep(1)
                for number in range(5):
                    must(keeper.put(f"crowded/{number}", gateway=1), "a write through the other gateway")
                for member in (gateway, node):
                    require(member.is_running, f"{member.name} ended:\n{member.log()[-2000:]}")
            _until(lambda: is_ready(rig.cluster.gateway_ports[0]), 20, "the gateway takes connections again")
            keeper.read_all(gateway=0)
            must(keeper.put("again", gateway=0), "a write once the crowd is gone")
        _until(lambda: Usage.of([gateway.pid, node.pid]).descriptors <= before.descriptors * 1.1 + 10, 30, "all closed")
        after = Usage.of([gateway.pid, node.pid])
        seconds, _ = healed(rig)
    return f"both lived, and served again; {before} before, {after} after; whole after {seconds:.1f} s"


def _crowd(port: int, count: int, opened: ExitStack) -> None:
    for number in range(count):
        connection = opened.enter_context(socket.socket())
        connection.settimeout(0.5)
        with suppress(OSError):
            connection.connect(("127.0.0.1", port))
            if number % 2:
                connection.sendall(b"GET /health/live HTTP/1.1\r\nhost: x\r\n")


@row(
    56,
    "the kernel's OOM killer in the middle of commits",
    "a node under load in a memory cgroup whose limit is set below what it holds",
    unit="kills",
    bounded=1,
    full=30,
    needs=lambda: "" if _memory_cgroup_root() is not None else "no memory cgroup can be made here",
    lane=Lane.CLUSTER,
)
def out_of_memory(trial: Trial) -> str:
    with cluster_in(trial) as rig:
        keys = SharedKeys(rig, trial.seed, bucket=BUCKET)
        asyncio.run(load_while(keys, trial.count * 30.0, _starve_of_memory(rig, trial.count, trial.chance)))
        require_order(keys)
        seconds, report = healed(rig)
    return f"{_told(keys)}; {report.values} versions whole after {seconds:.1f} s"


async def _starve_of_memory(rig: Rig, count: int, chance: random.Random) -> None:
    await asyncio.sleep(2)
    for _ in range(count):
        node = chance.choice(rig.nodes)
        with _memory_cgroup(node.pid) as limit:
            limit(16 << 20)
            end = time.monotonic() + 20
            while node.is_running:
                require(time.monotonic() < end, "the kernel let it live")
                await asyncio.sleep(0.05)
        assert node.process is not None
        require(node.process.returncode == -signal.SIGKILL, f"it ended with {node.process.returncode}")
        node.start()
        await asyncio.sleep(3)


def _memory_cgroup_root() -> Path | None:
    for root in (_CGROUPS / "memory", _CGROUPS):
        if os.access(root, os.W_OK) and any(
            (root / name).exists() for name in ("memory.limit_in_bytes", "memory.stat")
        ):
            return root
    return None


@contextmanager
def _memory_cgroup(pid: int) -> Iterator[Callable[[int], None]]:
    """A group with the process in it. Gives the setter of its limit; a version 1 group and a version 2 one differ."""
    root = _memory_cgroup_root()
    assert root is not None
    group = root / f"liteio-faults-{os.getpid()}-{pid}"
    group.mkdir()
    name = "memory.limit_in_bytes" if (group / "memory.limit_in_bytes").exists() else "memory.max"
    try:
        with suppress(OSError):  # Version 2, and some of version 1, count only what is asked for from now on.
            (group / "memory.move_charge_at_immigrate").write_text("3")
        (group / "cgroup.procs").write_text(str(pid))

        def limit(size: int) -> None:
            with suppress(OSError):  # Version 1 refuses to go below what it can not take back: then a step at a time.
                (group / name).write_text(str(size))
                return
            for step in range(200, 8, -8):
                with suppress(OSError):
                    (group / name).write_text(str(step << 20))

        yield limit
    finally:
        end = time.monotonic() + 10
        while group.exists() and time.monotonic() < end:
            with suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.1)


@row(
    57,
    "a node starved of processor time",
    "nice 19 for one node, and two processes that only burn, while 16 clients work on six keys",
    unit="seconds",
    bounded=6,
    full=120,
    lane=Lane.ALONE,
)
def starved(trial: Trial) -> str:
    with cluster_in(trial) as rig:
        keys = SharedKeys(rig, trial.seed, bucket=BUCKET)
        asyncio.run(load_while(keys, trial.count * 4.0, _burn(rig, trial.count)))
        require_order(keys)
        seconds, _ = healed(rig)
    return f"{_told(keys)}; whole after {seconds:.1f} s"


async def _burn(rig: Rig, seconds: float) -> None:
    os.setpriority(os.PRIO_PROCESS, rig.nodes[0].pid, 19)
    burning = (sys.executable, "-c", "while True: pass")
    burners = [await asyncio.create_subprocess_exec(*burning) for _ in range(2)]
    try:
        await asyncio.sleep(seconds)
    finally:
        for burner in burners:
            burner.kill()
            await burner.wait()


# -- how


def _told(keys: SharedKeys) -> str:
    counts = keys.ledger.counts
    done = sum(count for name, count in counts.items() if name.endswith(("done", "refused")))
    unknown = sum(count for name, count in counts.items() if name.endswith("unknown"))
    return f"{done:,} operations, {unknown} of unknown outcome, every history has an order"


def _until(is_so: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        require(time.monotonic() < end, f"not within {seconds} s: {what}")
        time.sleep(0.2)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    require(done.returncode == 0, f"{' '.join(command)}: {done.stderr}")
