"""Our own bus: a real server takes the configuration, asks for the password, and comes back with the same address."""

import asyncio
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import nats.errors
import pytest
from nats.aio.client import Client
from nats.js.api import StreamConfig
from nats.js.errors import APIError

from liteio_bus.connection import Bus
from liteio_bus.limits import STREAMS_BYTES_MAX
from liteio_runtime.nats_server import NatsRoutes, NatsServer, prepare_nats_server
from liteio_testkit.polling import until


@contextmanager
def running(server: NatsServer) -> Iterator[None]:
    process = subprocess.Popen(server.spec.argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


async def connects(url: str) -> bool:
    client = Client()
    try:
        await client.connect(
            url, allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0, error_cb=_ignore
        )
        await client.jetstream().account_info()
    except (OSError, nats.errors.Error):
        return False
    finally:
        await client.close()
    return True


async def _ignore(_: Exception) -> None:
    """Refusals are what the test is about."""


async def test_it_runs_with_jetstream_and_keeps_its_url(tmp_path: Path) -> None:
    (tmp_path / 'with "quotes"').mkdir()
    folder = tmp_path / 'with "quotes"'
    server = prepare_nats_server(folder)
    with running(server):
        await until(lambda: connects(server.url))
        assert (folder / "jetstream").is_dir()
    again = prepare_nats_server(folder)
    assert again.url == server.url


async def test_it_has_room_for_all_streams_however_little_is_free(tmp_path: Path) -> None:
    server = prepare_nats_server(tmp_path)
    with running(server):
        async with Bus(server.url, name="test") as bus:
            async with asyncio.timeout(20):
                await bus.wait_until_ready()
            account = await bus.jetstream.account_info()
            assert account.storage == 0
            too_much = StreamConfig(name="MORE", subjects=["more"], max_bytes=STREAMS_BYTES_MAX + 1)
            with pytest.raises(APIError, match="insufficient storage"):  # so it does not go by what is free
                await bus.jetstream.add_stream(too_much)
        async with Bus(server.url, name="another process") as bus, asyncio.timeout(20):
            await bus.wait_until_ready()


async def test_nobody_gets_in_without_the_password(tmp_path: Path) -> None:
    server = prepare_nats_server(tmp_path)
    port = server.url.rpartition(":")[2]
    with running(server):
        await until(lambda: connects(server.url))
        assert not await connects(f"nats://127.0.0.1:{port}")
        assert not await connects(f"nats://liteio:guess@127.0.0.1:{port}")


def test_files_with_secrets_are_private(tmp_path: Path) -> None:
    prepare_nats_server(tmp_path)
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == dict.fromkeys(
        ("password", "port", "url", "nats.conf"), 0o600
    )


def test_a_port_that_was_taken_meanwhile_is_left_to_its_owner(tmp_path: Path) -> None:
    port = int(prepare_nats_server(tmp_path).url.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        assert int(prepare_nats_server(tmp_path).url.rpartition(":")[2]) != port


@pytest.mark.parametrize("name", ["password", "port"])
def test_a_lost_file_is_made_again(tmp_path: Path, name: str) -> None:
    prepare_nats_server(tmp_path)
    (tmp_path / name).unlink()
    assert prepare_nats_server(tmp_path).url.startswith("nats://liteio:")


async def test_the_servers_of_a_cluster_keep_streams_together(tmp_path: Path) -> None:
    """Three servers with a stream of three copies: one is killed, and what was published is still there."""
    ports = free_ports(3)
    servers = []
    for index, port in enumerate(ports):
        (folder := tmp_path / f"n{index}").mkdir()
        peers = tuple(f"127.0.0.1:{other}" for other in ports if other != port)
        routes = NatsRoutes(f"127.0.0.1:{port - 1}", port, peers, b"a cluster secret for tests")
        servers.append(prepare_nats_server(folder, routes))
    with running(servers[0]), running(servers[1]):
        with running(servers[2]):
            for server in servers:
                await until(lambda url=server.url: connects(url), 30)  # type: ignore[misc]  # bound at once
            client = await client_of(servers[0].url)
            stream = client.jetstream()
            await until(lambda: has_stream(client), 30)
            await stream.publish("kept", b"before")
        await until(lambda: is_kept(client, b"after"), 30)
        info = await stream.stream_info("KEPT")
        assert info.state.messages == 2
        await client.close()


async def test_a_server_with_another_secret_is_no_part_of_the_cluster(tmp_path: Path) -> None:
    ports = free_ports(2)
    servers = []
    for index, port in enumerate(ports):
        (folder := tmp_path / f"n{index}").mkdir()
        routes = NatsRoutes(f"n{index}", port, (f"127.0.0.1:{ports[1 - index]}",), b"a secret of its own %d" % index)
        servers.append(prepare_nats_server(folder, routes))
    with running(servers[0]), running(servers[1]):
        first, second = await client_of(servers[0].url), await client_of(servers[1].url)
        heard = await second.subscribe("news")
        await second.flush()
        await first.publish("news", b"x")
        await first.flush()
        with pytest.raises(nats.errors.TimeoutError):
            await heard.next_msg(timeout=1.0)
        await first.close()
        await second.close()


def free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


async def client_of(url: str) -> Client:
    client = Client()
    await client.connect(url, error_cb=_ignore, max_reconnect_attempts=-1, reconnect_time_wait=1)
    return client


async def is_kept(client: Client, payload: bytes) -> bool:
    """Whether the stream took it: not while its servers choose another leader."""
    try:
        await client.jetstream().publish("kept", payload, headers={"Nats-Msg-Id": payload.decode()})
    except (nats.errors.Error, TimeoutError):
        return False
    return True


async def has_stream(client: Client) -> bool:
    """Made, once the servers have found each other and a leader."""
    config = StreamConfig(name="KEPT", subjects=["kept"], num_replicas=3)
    try:
        await client.jetstream().add_stream(config)
    except (nats.errors.Error, TimeoutError):
        return False
    return True
