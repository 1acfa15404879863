"""`liteio server` as a newcomer runs it: one command, credentials made for them, a bucket, events, a clean end."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3
import pytest
from botocore.config import Config

LITEIO: Final = str(Path(sys.executable).with_name("liteio"))
READY_SECONDS: Final = 60.0  # about 3 s on an idle machine


@dataclass
class Store:
    folder: Path
    port: int
    process: subprocess.Popen[str]
    ready: dict[str, Any]

    @property
    def drives(self) -> str:
        return f"{self.folder}/d{{1...4}}"

    def s3(self) -> Any:
        credentials = self.credentials()
        return boto3.client(
            "s3",
            endpoint_url=self.ready["s3"][0],
            aws_access_key_id=credentials["LITEIO_ACCESS_KEY"],
            aws_secret_access_key=credentials["LITEIO_SECRET_KEY"],
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 5, "mode": "standard"}),
        )

    def credentials(self) -> dict[str, str]:
        lines = Path(self.ready["credentials_file"]).read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def children(self) -> dict[int, str]:
        """Command lines by process id."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if parent == self.process.pid:
                    found[int(path.name)] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
        return found

    def liteio(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run((LITEIO, *words), capture_output=True, text=True, check=False, timeout=60)


def start(folder: Path, port: int) -> Store:
    command = (LITEIO, "server", "--drives", f"{folder}/d{{1...4}}", "--address", f"127.0.0.1:{port}", "--workers", "2")
    with (folder / "server.log").open("a") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=clean_environment())
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], READY_SECONDS)
    line = process.stdout.readline() if readable else ""
    if not line:
        process.kill()
        process.wait()
        pytest.fail(f"not ready: {(folder / 'server.log').read_text()[-4000:]}")
    return Store(folder, port, process, json.loads(line))


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("LITEIO_", "AWS_"))}


def end(store: Store) -> int:
    store.process.send_signal(signal.SIGTERM)
    code = store.process.wait(timeout=40)
    if store.process.stdout is not None:
        store.process.stdout.close()
    return code


def until(is_true: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    running = start(tmp_path, free_port())
    yield running
    if running.process.poll() is None:
        end(running)


def test_one_command_is_enough_and_what_was_stored_outlives_it(store: Store) -> None:
    assert (store.ready["drives_online"], store.ready["code"]) == (4, "2+2")
    kinds = " ".join(store.children().values())
    assert kinds.count("-m liteio_gateway ") == 2
    assert "-m liteio_healer" in kinds
    assert "nats-server" in kinds
    store.s3().create_bucket(Bucket="photos")
    store.s3().put_object(Bucket="photos", Key="cat", Body=b"meow")
    children, credentials = store.children(), store.credentials()
    assert end(store) == 0
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    assert "Traceback" not in (store.folder / "server.log").read_text()  # every process came to its own end
    again = start(store.folder, store.port)
    try:
        assert again.credentials() == credentials
        assert again.s3().get_object(Bucket="photos", Key="cat")["Body"].read() == b"meow"
    finally:
        assert end(again) == 0


def test_what_heals_is_told(store: Store) -> None:
    until(lambda: '"healers"' in store.liteio("admin", "heal", "status", "--drives", store.drives, "--json").stdout)
    told = json.loads(store.liteio("admin", "heal", "status", "--drives", store.drives, "--json").stdout)
    assert len(told["healing"]["healers"]) == 1
    page = store.liteio("admin", "heal", "status", "--drives", store.drives).stdout
    assert "1 healers" in page
    assert "4 of 4 whole and online" in page


def test_a_second_server_over_the_same_drives_is_refused(store: Store) -> None:
    second = store.liteio("server", "--drives", store.drives, "--address", f"127.0.0.1:{free_port()}")
    assert second.returncode == 2
    assert f"process {store.process.pid}" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_killed_worker_is_replaced_and_clients_do_not_notice(store: Store) -> None:
    s3 = store.s3()
    s3.create_bucket(Bucket="photos")
    before = store.children()
    worker = next(pid for pid, command in before.items() if command.endswith("-m liteio_gateway "))
    os.kill(worker, signal.SIGKILL)
    for number in range(20):
        s3.put_object(Bucket="photos", Key=str(number), Body=b"x")
    until(lambda: len(store.children()) == len(before))
    assert worker not in store.children()


def test_events_are_switched_on_watched_and_inspected(store: Store) -> None:
    s3 = store.s3()
    s3.create_bucket(Bucket="photos")
    switched = store.liteio("events", "on", "photos", "--drives", store.drives)
    assert switched.returncode == 0, switched.stderr
    tail = subprocess.Popen(
        (LITEIO, "events", "tail", "photos", "--json", "--drives", store.drives),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert tail.stdout is not None
    assert tail.stderr is not None
    try:
        assert "listening" in tail.stderr.readline()
        s3.put_object(Bucket="photos", Key="a/cat", Body=b"meow")
        message = json.loads(tail.stdout.readline())
    finally:
        tail.send_signal(signal.SIGINT)
        tail.wait(timeout=10)
        tail.stdout.close()
        tail.stderr.close()
    assert (message["EventName"], message["Key"]) == ("s3:ObjectCreated:Put", "photos/a/cat")
    (record,) = message["Records"]
    assert record["userIdentity"]["principalId"] == store.credentials()["LITEIO_ACCESS_KEY"]
    assert record["requestParameters"]["sourceIPAddress"] == "127.0.0.1"
    assert record["responseElements"]["x-amz-request-id"]
    assert "Boto3" in record["source"]["userAgent"]
    assert record["s3"]["object"]["size"] == 4
    shown = store.liteio("inspect", f"{store.folder}/d1", "photos/a/cat")
    assert shown.returncode == 0, shown.stderr
    assert "4 bytes" in shown.stdout
    unknown = store.liteio("events", "on", "nothing", "--drives", store.drives)
    assert unknown.returncode == 2
    assert "no bucket 'nothing'" in unknown.stderr


def test_a_taken_port_is_told_with_a_remedy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = (LITEIO, "server", "--drives", str(tmp_path / "d1"), "--address", f"127.0.0.1:{port}")
        refused = subprocess.run(command, capture_output=True, text=True, check=False, env=clean_environment())
    assert refused.returncode == 2
    assert "Address already in use" in refused.stderr
    assert "→" in refused.stderr
    assert "Traceback" not in refused.stderr
