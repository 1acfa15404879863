"""`docker compose up` for real: three gateways, four storage nodes, one of them killed, everything whole in the end."""

import time
from collections.abc import Iterator
from typing import Final

import pytest
from tests.cluster.compose_cluster import NODES, PARITY, ComposeCluster, compose_cluster
from tests.cluster.container_engine import Engine, build_context, container_engine, why_not
from tests.cluster.outage import BUCKET, HEAL_SECONDS, Ledger, in_slot_order, look_alike, wait_until, wipe
from tests.support.drive_check import check_drives

GATEWAYS: Final = 3
KILLED: Final = "storage2"

pytestmark = [pytest.mark.timeout(1500), pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can run here")]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with container_engine() as running:
        yield running


@pytest.fixture(scope="module")
def cluster(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeCluster]:
    with compose_cluster(engine, build_context(tmp_path_factory.mktemp("context")), GATEWAYS) as up:
        yield up


def answered(cluster: ComposeCluster) -> list[int]:
    """How many uploads each gateway has in its log."""
    return [cluster.log(one).count('"PutObject"') for one in cluster.containers("gateway")]


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


def test_a_node_is_killed_and_nobody_notices_and_all_is_whole_again(cluster: ComposeCluster) -> None:
    s3 = cluster.s3()
    s3.create_bucket(Bucket=BUCKET)
    ledger = Ledger(s3)
    with cluster.telling():
        ledger.store_some("before")
        assert len(answered(cluster)) == GATEWAYS
        assert min(answered(cluster)) > 0, answered(cluster)
        ledger.check()

        (node,) = cluster.containers(KILLED)
        cluster.engine.docker("kill", node)
        began = time.monotonic()
        ledger.put("while/first", 4096)
        print(f"first write after the kill: {time.monotonic() - began:.2f} s")
        ledger.store_some("while")
        ledger.store_some("before")  # overwritten
        for number in range(0, 40, 4):
            ledger.delete(f"before/small/{number}")
        ledger.check()
        assert cluster.health(KILLED) == ["gone"]
        assert cluster.drive_states() == {node: {"offline" if node == KILLED else "online"} for node in NODES}
        wipe(cluster.drive_folders(KILLED)[1])

        cluster.engine.docker("start", node)
        back = time.monotonic()
        wait_until(lambda: cluster.health(KILLED) == ["healthy"], 60, f"{KILLED} is not healthy")
        wait_until(lambda: look_alike(cluster.drive_folders()), HEAL_SECONDS, "the drives differ")
        print(f"healed {time.monotonic() - back:.1f} s after the node's start")
        ledger.check()
        assert cluster.drive_states() == {node: {"online"} for node in NODES}

        cluster.compose("stop", "--timeout", "40")
        report = check_drives(in_slot_order(cluster.drive_folders()), PARITY)
        print(report)
        assert report.is_clean, str(report)
        assert report.values == len(ledger.alive)
