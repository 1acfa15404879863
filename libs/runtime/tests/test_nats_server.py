"""Our own bus: a real server takes the configuration, asks for the password, and comes back with the same address."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nats.errors
import pytest
from nats.aio.client import Client

from liteio_runtime.nats_server import NatsServer, prepare_nats_server
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
