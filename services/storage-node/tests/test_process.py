"""The process itself: it refuses to start without a secret, serves its drives, drains at SIGTERM, speaks mutual TLS."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from live_node import SECRET

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_contracts.storage_errors import DriveOffline
from liteio_drives.remote.messages import DriveInfo
from liteio_drives.remote.node_client import NodeTLS
from liteio_drives.remote.node_connection import NodeConnection
from liteio_testkit.polling import until

_PORT_LINE = b" port "


def environment(**more: str) -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("LITEIO_")} | more


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def running(
    folder: Path, *flags: str, scheme: str = "http", host: str = "127.0.0.1"
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """A node that is a pool of its own, of the drives d1 and d2 in the folder."""
    port = free_port()
    drives = f"{scheme}://{host}:{port}{folder}/d{{1...2}}"
    command = (sys.executable, "-m", "liteio_storage_node", "--drives", drives, *flags)
    env = environment(LITEIO_CLUSTER_SECRET=SECRET.decode())
    process = await asyncio.create_subprocess_exec(*command, env=env, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    try:
        async with asyncio.timeout(20):
            while _PORT_LINE not in (line := await process.stderr.readline()):
                assert line, "the process ended before it served"
        yield process, port
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def served(node: NodeConnection, count: int = 2) -> list[DriveInfo]:
    """The node's drives, once so many are served."""

    async def found() -> list[DriveInfo]:
        return [info for info in await node.drives(deadline=soon()) if not info.reason]

    async def are_all_there() -> bool:
        return len(await found()) >= count

    await until(are_all_there, 20)
    return await found()


def connection(port: int, tls: NodeTLS | None = None) -> NodeConnection:
    url = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
    return NodeConnection(url, SECRET, SystemClock(), SystemRandomness(), tls=tls)


def soon() -> Deadline:
    return Deadline.after(10.0, SystemClock())


@pytest.mark.parametrize(
    ("variables", "word"),
    [
        ({}, b"secret"),
        ({"LITEIO_CLUSTER_SECRET": ""}, b"16"),
        ({"LITEIO_CLUSTER_SECRET": "short"}, b"16"),
        ({"LITEIO_CLUSTER_SECRET_FILE": "/nowhere"}, b"no"),
        # The root credentials are no secret of the cluster's, and none is made from them.
        ({"LITEIO_GATEWAY_ACCESS_KEY": "root", "LITEIO_GATEWAY_SECRET_KEY": "a root key of some length"}, b"secret"),
    ],
)
async def test_it_refuses_to_start_without_a_secret(tmp_path: Path, variables: dict[str, str], word: bytes) -> None:
    command = (sys.executable, "-m", "liteio_storage_node", "--drives", f"http://127.0.0.1:9100{tmp_path}/d")
    process = await asyncio.create_subprocess_exec(
        *command, env=environment(**variables), stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    assert word in said.lower()


async def test_it_formats_and_serves_its_drives_and_drains_at_sigterm(tmp_path: Path) -> None:
    async with running(tmp_path) as (process, port), connection(port) as node:
        first, second = await served(node)
        assert (first.slot, first.name) == (0, str(tmp_path / "d1"))
        assert (second.slot, second.name) == (1, str(tmp_path / "d2"))
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 15) == 0
    async with running(tmp_path) as (_, port), connection(port) as node:
        assert {info.drive_id for info in await served(node)} == {first.drive_id, second.drive_id}


async def test_its_loop_stays_on_the_processor_that_it_is_given_and_its_file_threads_do_not(tmp_path: Path) -> None:
    everywhere = os.sched_getaffinity(0)
    core = max(everywhere)
    async with running(tmp_path) as (_, port), connection(port) as node:
        await served(node)  # Formatted: a drive that is taken in later has all its threads on the processor.
    async with running(tmp_path, "--core", str(core)) as (process, port), connection(port) as node:
        await served(node)
        places = [os.sched_getaffinity(int(thread)) for thread in os.listdir(f"/proc/{process.pid}/task")]
        assert os.sched_getaffinity(process.pid) == {core}
        assert everywhere in places


async def test_mutual_tls_lets_in_only_who_shows_a_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    files = {name: tmp_path / name for name in ("cert", "key", "ca")}
    issued = authority.issue_cert("nodes.cluster.example")
    issued.cert_chain_pems[0].write_to_path(files["cert"])
    issued.private_key_pem.write_to_path(files["key"])
    authority.cert_pem.write_to_path(files["ca"])
    identity = issued.private_key_pem.bytes() + issued.cert_chain_pems[0].bytes()
    flags: list[str] = ["--cluster-cert-file", str(files["cert"]), "--cluster-key-file", str(files["key"])]
    flags += ["--cluster-ca-file", str(files["ca"]), "--cluster-server-name", "nodes.cluster.example"]
    async with running(tmp_path, *flags, scheme="https", host="localhost") as (_, port):
        known = NodeTLS(authority.cert_pem.bytes(), identity, "nodes.cluster.example")
        async with connection(port, known) as node:
            assert len(await served(node)) == 2
        for tls in (NodeTLS(authority.cert_pem.bytes(), None, "nodes.cluster.example"), replace(known, server_name="")):
            async with connection(port, tls) as stranger:
                with pytest.raises(DriveOffline):
                    await stranger.drives(deadline=soon())
