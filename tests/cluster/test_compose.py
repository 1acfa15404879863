"""`docker compose up` for real: three gateways, four storage nodes, one of them killed, everything whole in the end."""

import hashlib
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import apsw
import pytest
from tests.cluster.compose_cluster import NODES, PARITY, ComposeCluster, compose_cluster, wait_until
from tests.cluster.container_engine import Engine, build_context, container_engine, why_not
from tests.support.drive_check import check_drives

from liteio_drives.drive_format import read_format
from liteio_drives.files import RealFiles

GATEWAYS: Final = 3
BUCKET: Final = "photos"
KILLED: Final = "storage2"
_HEAL_SECONDS: Final = 120.0
_COUNTED: Final = ("records", "tombstones", "unsettled")

pytestmark = [pytest.mark.timeout(1500), pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can run here")]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with container_engine() as running:
        yield running


@pytest.fixture(scope="module")
def cluster(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeCluster]:
    with compose_cluster(engine, build_context(tmp_path_factory.mktemp("context")), GATEWAYS) as up:
        yield up


class Ledger:
    """What was acknowledged: each key's hash, or None for a deleted one."""

    def __init__(self, s3: Any) -> None:
        self._s3 = s3
        self._random = random.Random(20_26)
        self.hashes: dict[str, str | None] = {}

    def put(self, key: str, size_bytes: int) -> None:
        body = self._random.randbytes(size_bytes)
        self._s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        self.hashes[key] = hashlib.sha256(body).hexdigest()

    def delete(self, key: str) -> None:
        self._s3.delete_object(Bucket=BUCKET, Key=key)
        self.hashes[key] = None

    def check(self) -> None:
        """Every key reads as it was acknowledged, and the listing holds just these."""
        alive = {key: known for key, known in self.hashes.items() if known is not None}
        read = {
            key: hashlib.sha256(self._s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()).hexdigest() for key in alive
        }
        assert read == alive
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        assert {one["Key"] for page in pages for one in page.get("Contents", [])} == set(alive)


def store_some(ledger: Ledger, prefix: str) -> None:
    """Small ones, which live in the index, and some of several blocks, which have files."""
    for number in range(40):
        ledger.put(f"{prefix}/small/{number}", 4096 + number)
    for number in range(4):
        ledger.put(f"{prefix}/large/{number}", 5 * 2**20 + number)


def answered(cluster: ComposeCluster) -> list[int]:
    """How many uploads each gateway has in its log."""
    return [cluster.log(one).count('"PutObject"') for one in cluster.containers("gateway")]


def counts(drive: Path) -> list[int]:
    """Rows of _COUNTED, read beside the running node."""
    index = apsw.Connection(str(drive / ".liteio.sys" / "index.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        index.set_busy_timeout(5000)
        return [len(index.execute(f"SELECT 1 FROM {table}").fetchall()) for table in _COUNTED]
    finally:
        index.close()


def look_alike(cluster: ComposeCluster) -> bool:
    """Whether all drives hold as many rows, and nothing is unsettled: the sign to stop and look closely."""
    try:
        found = [counts(drive) for drive in cluster.drive_folders()]
    except apsw.Error:  # the wiped drive has no index yet
        return False
    return all(one == found[0] and one[_COUNTED.index("unsettled")] == 0 for one in found)


def test_what_runs_has_no_rights_to_spare(cluster: ComposeCluster) -> None:
    for service in ("nats", *NODES, "gateway", "healer", "balancer"):
        for container in cluster.containers(service):
            facts = cluster.inspect(container)
            host = facts["HostConfig"]
            assert host["ReadonlyRootfs"], service
            assert host["CapDrop"] == ["ALL"], service
            assert not host["CapAdd"], service
            assert host["SecurityOpt"] == ["no-new-privileges:true"], service
            assert host["Memory"] > 0, service
            assert host["NanoCpus"] > 0, service
            assert host["PidsLimit"] > 0, service
            status = cluster.engine.docker("exec", container, "cat", "/proc/1/status")
            assert "Uid:\t10001\t10001\t10001\t10001" in status, service
            assert "CapEff:\t0000000000000000" in status, service
    published = {
        service
        for service in ("first-start", "nats", *NODES, "gateway", "healer", "balancer")
        for container in cluster.containers(service)
        if cluster.inspect(container)["HostConfig"]["PortBindings"]
    }
    assert published == {"balancer"}


def test_secrets_are_in_files_that_only_their_owner_reads(cluster: ComposeCluster) -> None:
    (node,) = cluster.containers("storage1")
    listing = cluster.engine.docker("exec", node, "find", "/secrets", "-type", "f", "-printf", "%m %P\n").splitlines()
    modes = {name: mode for mode, _, name in (line.partition(" ") for line in listing)}
    assert {"cluster-secret", "root-secret-key", "nats-url", "certs/ca.pem", "certs/storage1.key"} <= set(modes)
    assert set(modes.values()) == {"600"}
    assert "certs/ca.key" not in modes
    secret = cluster.engine.docker("exec", node, "cat", "/secrets/cluster-secret")
    for service in (*NODES, "gateway", "healer", "nats"):
        for container in cluster.containers(service):
            assert secret not in str(cluster.inspect(container)), service


def test_a_second_start_changes_no_secret(cluster: ComposeCluster) -> None:
    (node,) = cluster.containers("storage1")
    command = ("exec", node, "sh", "-c", "find /secrets -type f | sort | xargs sha256sum")
    before = cluster.engine.docker(*command)
    cluster.compose("run", "--rm", "first-start")
    assert cluster.engine.docker(*command) == before


def wipe(drive: Path) -> None:
    """As a disk that was exchanged: the volume's folder stays, empty and its owner's."""
    for one in drive.iterdir():
        shutil.rmtree(one) if one.is_dir() else one.unlink()


def test_a_node_is_killed_and_nobody_notices_and_all_is_whole_again(cluster: ComposeCluster) -> None:
    s3 = cluster.s3()
    s3.create_bucket(Bucket=BUCKET)
    ledger = Ledger(s3)
    with cluster.telling():
        store_some(ledger, "before")
        assert len(answered(cluster)) == GATEWAYS
        assert min(answered(cluster)) > 0, answered(cluster)
        ledger.check()

        (node,) = cluster.containers(KILLED)
        cluster.engine.docker("kill", node)
        began = time.monotonic()
        ledger.put("while/first", 4096)
        print(f"first write after the kill: {time.monotonic() - began:.2f} s")
        store_some(ledger, "while")
        store_some(ledger, "before")  # overwritten
        for number in range(0, 40, 4):
            ledger.delete(f"before/small/{number}")
        ledger.check()
        assert cluster.health(KILLED) == ["gone"]
        wipe(cluster.drive_folders(KILLED)[1])

        cluster.engine.docker("start", node)
        back = time.monotonic()
        wait_until(lambda: cluster.health(KILLED) == ["healthy"], 60, f"{KILLED} is not healthy")
        wait_until(lambda: look_alike(cluster), _HEAL_SECONDS, "the drives differ")
        print(f"healed {time.monotonic() - back:.1f} s after the node's start")
        ledger.check()

        cluster.compose("stop", "--timeout", "40")
        report = check_drives(in_slot_order(cluster.drive_folders()), PARITY)
        print(report)
        assert report.is_clean, str(report)
        assert report.values == sum(known is not None for known in ledger.hashes.values())


def in_slot_order(drives: Sequence[Path]) -> list[Path]:
    def slot_of(drive: Path) -> int:
        found = read_format(str(drive), RealFiles())
        assert found is not None, f"{drive} is not formatted"
        return found.slot

    return sorted(drives, key=slot_of)
