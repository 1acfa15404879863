"""`liteio admin` beside a cluster that runs: its drives, its locks, and who holds them."""

import asyncio
import json
import os
from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from tests.support.cluster import CLUSTER_SECRET, Cluster, running
from tests.support.s3_client import S3Client

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_cluster.opening import open_store
from liteio_cluster.settings import StoreSettings
from liteio_contracts.lock_names import object_lock_name


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("store")
    with running(Cluster(folder, node_count=3, drives_per_node=2, gateway_count=1)) as cluster:
        yield cluster


async def test_locks_name_the_object_and_who_holds_it(store: Cluster) -> None:
    client = S3Client(store.host(0))
    assert client.send("PUT", "/photos").status == 200
    client.close()
    assert "no lock is held" in store.admin("locks")
    settings = StoreSettings(peers=tuple(store.peers.split(",")), cluster_secret=SecretStr(CLUSTER_SECRET))
    soon = Deadline.after(60, SystemClock())
    async with open_store(settings, SystemClock(), SystemRandomness()) as opened:
        bucket = await opened.store.bucket("photos", deadline=soon)
        name = object_lock_name(bucket.bucket_id, b"cat.jpg")
        async with opened.store.engine.locks.lock([name], deadline=soon):
            told = json.loads(await asyncio.to_thread(store.admin, "locks", "--json"))
            table = await asyncio.to_thread(store.admin, "locks")
    [held] = told["locks"]
    assert held["on"] == ["photos/cat.jpg"]
    assert held["holder"]["pid"] == os.getpid()
    assert (len(held["nodes"]), held["has_quorum"]) == (3, True)
    assert "photos/cat.jpg" in table


def test_a_lost_node_shows_in_the_drives_and_in_the_locks(store: Cluster) -> None:
    store.nodes[1].kill()
    try:
        drives = json.loads(store.admin("drives", "--json"))
        states = [drive["state"] for drive in drives]
        assert sorted(states) == ["offline"] * 2 + ["online"] * 4
        assert "does not answer" in store.admin("locks")
    finally:
        store.nodes[1].start()
