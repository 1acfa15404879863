"""The process itself: it refuses to start without a secret, serves its drives, drains at SIGTERM, speaks mutual TLS."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import trustme
from formatted_drive import format_drive
from live_node import SECRET

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_contracts.storage_errors import DriveOffline
from liteio_drives.remote.node_client import NodeTLS
from liteio_drives.remote.node_connection import NodeConnection

_PORT_LINE = b" port "


def environment(**more: str) -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("LITEIO_")} | more


@contextlib.asynccontextmanager
async def running(*flags: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    command = (sys.executable, "-m", "liteio_storage_node", "--port", "0", *flags)
    env = environment(LITEIO_CLUSTER_SECRET=SECRET.decode())
    process = await asyncio.create_subprocess_exec(*command, env=env, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    try:
        async with asyncio.timeout(20):
            while _PORT_LINE not in (line := await process.stderr.readline()):
                assert line, "the process ended before it served"
        yield process, int(line.rsplit(_PORT_LINE, 1)[1])
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def connection(port: int, tls: NodeTLS | None = None) -> NodeConnection:
    url = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
    return NodeConnection(url, SECRET, SystemClock(), SystemRandomness(), tls=tls)


def soon() -> Deadline:
    return Deadline.after(10.0, SystemClock())


@pytest.mark.parametrize(
    ("variables", "word"),
    [({}, b"secret"), ({"LITEIO_CLUSTER_SECRET": "short"}, b"16"), ({"LITEIO_CLUSTER_SECRET_FILE": "/nowhere"}, b"no")],
)
async def test_it_refuses_to_start_without_a_secret(tmp_path: Path, variables: dict[str, str], word: bytes) -> None:
    command = (sys.executable, "-m", "liteio_storage_node", "--port", "0", "--drives", str(tmp_path))
    process = await asyncio.create_subprocess_exec(
        *command, env=environment(**variables), stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    assert word in said.lower()


async def test_it_serves_its_drives_and_drains_at_sigterm(tmp_path: Path) -> None:
    drive_id = format_drive(tmp_path / "d0", slot=2).drive_id
    blank = tmp_path / "blank"
    blank.mkdir()
    async with running("--drives", f"{tmp_path / 'd0'},{blank}") as (process, port), connection(port) as node:
        (info,) = await node.drives(deadline=soon())
        assert (info.drive_id, info.slot, info.name) == (drive_id, 2, str(tmp_path / "d0"))
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 15) == 0


async def test_its_loop_stays_on_the_processor_that_it_is_given_and_its_file_threads_do_not(tmp_path: Path) -> None:
    format_drive(tmp_path / "d0")
    everywhere = os.sched_getaffinity(0)
    core = max(everywhere)
    async with (
        running("--drives", str(tmp_path / "d0"), "--core", str(core)) as (process, port),
        connection(port) as node,
    ):
        assert await node.drives(deadline=soon())
        places = [os.sched_getaffinity(int(thread)) for thread in os.listdir(f"/proc/{process.pid}/task")]
        assert os.sched_getaffinity(process.pid) == {core}
        assert everywhere in places


async def test_mutual_tls_lets_in_only_who_shows_a_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    served, shown = authority.issue_cert("localhost"), authority.issue_cert("gateway.example")
    files = {name: tmp_path / name for name in ("cert", "key", "ca")}
    served.cert_chain_pems[0].write_to_path(files["cert"])
    served.private_key_pem.write_to_path(files["key"])
    authority.cert_pem.write_to_path(files["ca"])
    identity = shown.private_key_pem.bytes() + shown.cert_chain_pems[0].bytes()
    flags = ("--cert-file", str(files["cert"]), "--key-file", str(files["key"]), "--client-ca-file", str(files["ca"]))
    async with running("--drives", str(tmp_path), *flags) as (_, port):
        async with connection(port, NodeTLS(authority.cert_pem.bytes(), identity)) as node:
            assert await node.drives(deadline=soon()) == ()
        async with connection(port, NodeTLS(authority.cert_pem.bytes())) as stranger:
            with pytest.raises(DriveOffline):
                await stranger.drives(deadline=soon())
