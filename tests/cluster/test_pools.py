"""A pool is added to a store that is being written to: one command, nothing moves, nothing is lost from sight."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.cluster import Cluster, running
from tests.support.s3_client import S3Client

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_drives.local_drive import LocalDrive
from liteio_formats.record import Space

BUCKET = "/photos"
WRITING_SECONDS = 30.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Cluster]:
    (first := tmp_path / "first").mkdir()
    with running(Cluster(first, node_count=2, drives_per_node=2, gateway_count=2)) as cluster:
        yield cluster


class Writer(threading.Thread):
    """PUTs one key after the other, through both gateways in turn, until it is told to stop."""

    def __init__(self, store: Cluster) -> None:
        super().__init__()
        self._store, self._told_to_stop = store, threading.Event()
        self.acknowledged: list[str] = []
        self.refused: list[int] = []

    def run(self) -> None:
        clients = [S3Client(self._store.host(gateway)) for gateway in range(2)]
        number, end = 0, time.monotonic() + WRITING_SECONDS
        while not self._told_to_stop.is_set() and time.monotonic() < end:
            key = f"{BUCKET}/written-{number:05}"
            answer = clients[number % 2].send("PUT", key, body=key.encode())
            (self.acknowledged.append(key) if answer.is_success else self.refused.append(answer.status))
            number += 1
        for client in clients:
            client.close()

    def stop(self) -> None:
        self._told_to_stop.set()
        self.join()


def test_a_pool_is_added_under_load_and_every_key_stays_in_sight(store: Cluster, tmp_path: Path) -> None:
    (second := tmp_path / "second").mkdir()
    client, other = S3Client(store.host(0)), S3Client(store.host(1))
    assert client.send("PUT", BUCKET).status == 200
    before = [f"{BUCKET}/before-{number:03}" for number in range(40)]
    for key in before:
        assert client.send("PUT", key, body=b"old").status == 200
    with ExitStack() as stack:
        stack.callback(client.close)
        stack.callback(other.close)
        pool = Cluster(second, node_count=2, drives_per_node=2, gateway_count=0, joins=True)
        stack.callback(pool.kill)
        for node in pool.nodes:
            node.start()
        writer = Writer(store)
        writer.start()
        stack.callback(writer.stop)
        time.sleep(2.0)  # the nodes of the pool wait, and load goes on
        assert "pool 1 is part of the store" in store.admin("pool", "add", pool.drive_patterns)
        time.sleep(1.0)
        writer.stop()
        assert writer.refused == []
        assert len(writer.acknowledged) > 20
        told = store.admin("pool", "list")
        assert "pool 1: 1 set of 2+2" in told
        for through in (client, other):
            for key in before:
                assert through.send("GET", key).body == b"old"
            for key in writer.acknowledged:
                assert through.send("GET", key).body == key.encode()
        _overwrite_and_delete(client, other, before)
        for key in [f"{BUCKET}/after-{number:03}" for number in range(40)]:
            assert other.send("PUT", key, body=b"new").status == 200
            assert client.send("GET", key).body == b"new"
        listed = client.send("GET", BUCKET, query="list-type=2&max-keys=1000&prefix=after-").texts("Key")
        assert listed == [f"after-{number:03}" for number in range(40)]
        new_home = _keys_on(pool.drives_of(0)[0], slot=0)
        assert any(key.startswith("after-") for key in new_home)
        assert not any(key.startswith("before-") for key in new_home)
        assert "takes 0 % of new keys" in store.admin("pool", "weigh", "0=0", "1=1")
        store.gateways[1].stop()
        store.gateways[1].start()
        store.wait_ready(1)
        other.close()
        assert other.send("GET", before[1]).body == b"newer"


def _overwrite_and_delete(client: S3Client, other: S3Client, keys: list[str]) -> None:
    """Old keys stay in the set where they are: no second home comes up."""
    for number, key in enumerate(keys):
        if number % 2:
            assert client.send("PUT", key, body=b"newer").status == 200
            assert other.send("GET", key).body == b"newer"
        else:
            assert client.send("DELETE", key).status == 204
            assert other.send("GET", key).status == 404


def _keys_on(drive: Path, slot: int) -> set[str]:
    """The objects that a drive holds records of. Its node may run."""

    async def walk() -> set[str]:
        clock = SystemClock()
        opened = await LocalDrive.open(str(drive), slot, clock=clock, randomness=SystemRandomness())
        try:
            names = await opened.walk(None, 1000, deadline=Deadline.after(30, clock))
        finally:
            await opened.close()
        return {name.key.decode() for name in names if name.space is Space.OBJECT}

    return asyncio.run(walk())


def test_a_pool_whose_nodes_are_away_is_refused_and_nothing_changes(store: Cluster, tmp_path: Path) -> None:
    (second := tmp_path / "second").mkdir()
    pool = Cluster(second, node_count=2, drives_per_node=2, gateway_count=0, joins=True)
    try:
        pool.nodes[0].start()
        with pytest.raises(AssertionError, match="its node is away"):
            store.admin("pool", "add", pool.drive_patterns)
        assert "topology 1, 1 live epochs" in store.admin("pool", "list")
    finally:
        pool.kill()
