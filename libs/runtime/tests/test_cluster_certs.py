"""`liteio certs`: what it makes verifies, what is there is kept, what does not fit is told and left alone."""

import datetime
import ipaddress
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store

from liteio_runtime.certificates import is_pair, load_key, names_of
from liteio_runtime.cluster_certs import CertReport, make_cluster_certs
from liteio_runtime.problems import StartRefused

NOW = datetime.datetime(2030, 6, 1, 12, tzinfo=datetime.UTC)


def make(folder: Path, nodes: str = "node{1...2}.lan", *, days_later: float = 0, **more: object) -> list[CertReport]:
    now = NOW + datetime.timedelta(days=days_later)
    return make_cluster_certs(folder, nodes, now=now, **more)  # type: ignore[arg-type]  # the keywords of each test


def certificate(folder: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())


def outcomes(reports: list[CertReport]) -> dict[str, str]:
    return {report.path.name: report.outcome.value for report in reports}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_chain_verifies_for_servers_and_for_clients(tmp_path: Path) -> None:
    make(tmp_path, "node1.lan,10.0.0.5,fd00::1")
    verifier = PolicyBuilder().store(Store([certificate(tmp_path, "ca")])).time(NOW + datetime.timedelta(days=1))
    for name in ("node1.lan", "10.0.0.5", "fd00::1"):
        leaf = certificate(tmp_path, name)
        own = x509.DNSName(name) if name == "node1.lan" else x509.IPAddress(ipaddress.ip_address(name))
        assert verifier.build_server_verifier(own).verify(leaf, [])[0] == leaf
        assert verifier.build_client_verifier().verify(leaf, []).chain[0] == leaf
        assert load_key((tmp_path / f"{name}.key").read_bytes()).public_key() == leaf.public_key()


def test_a_certificate_says_what_it_may_be_used_for(tmp_path: Path) -> None:
    make(tmp_path, "node1.lan", server_name="cluster.lan,10.9.9.9")
    authority, leaf = certificate(tmp_path, "ca"), certificate(tmp_path, "node1.lan")
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(True, 0)
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert names_of(leaf) == {"node1.lan", "cluster.lan", "10.9.9.9"}
    assert (leaf.not_valid_after_utc - NOW).days == 825
    assert leaf.not_valid_before_utc < NOW


def test_private_keys_are_for_their_owner_and_certificates_for_all(tmp_path: Path) -> None:
    make(tmp_path / "certs", "node1.lan")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "certs").iterdir()}
    assert modes == {"ca.pem": 0o644, "ca.key": 0o600, "node1.lan.pem": 0o644, "node1.lan.key": 0o600}


def test_a_second_run_adds_what_is_missing_and_changes_nothing(tmp_path: Path) -> None:
    assert set(outcomes(make(tmp_path)).values()) == {"made"}
    before = contents(tmp_path)
    again = make(tmp_path, "node{1...3}.lan", days_later=100)
    assert outcomes(again) == {
        "ca.pem": "kept",
        "node1.lan.pem": "kept",
        "node2.lan.pem": "kept",
        "node3.lan.pem": "made",
    }
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before


def test_names_are_the_same_in_any_spelling(tmp_path: Path) -> None:
    make(tmp_path, "NODE1.lan,FD00:0::1")
    assert outcomes(make(tmp_path, "node1.LAN,fd00::1")) == {
        "ca.pem": "kept",
        "node1.lan.pem": "kept",
        "fd00::1.pem": "kept",
    }


def test_what_ends_within_a_third_of_its_time_is_renewed_for_the_same_key(tmp_path: Path) -> None:
    make(tmp_path, "node1.lan", days=90)
    old, key = certificate(tmp_path, "node1.lan"), (tmp_path / "node1.lan.key").read_bytes()
    assert outcomes(make(tmp_path, "node1.lan", days=90, days_later=59))["node1.lan.pem"] == "kept"
    assert outcomes(make(tmp_path, "node1.lan", days=90, days_later=61))["node1.lan.pem"] == "renewed"
    new = certificate(tmp_path, "node1.lan")
    assert new.not_valid_after_utc == old.not_valid_after_utc + datetime.timedelta(days=61)
    assert (tmp_path / "node1.lan.key").read_bytes() == key
    assert is_pair(new, load_key(key))
    assert new.serial_number != old.serial_number


def test_nothing_outlives_the_authority_and_its_end_is_told(tmp_path: Path) -> None:
    make(tmp_path, "node1.lan")
    (authority, late) = make(tmp_path, "node2.lan", days_later=3640)
    assert late.end == authority.end == certificate(tmp_path, "node2.lan").not_valid_after_utc
    assert "new authority" in str(authority)
    assert outcomes(make(tmp_path, "node2.lan", days_later=3649))["node2.lan.pem"] == "kept"
    before = contents(tmp_path)
    with pytest.raises(StartRefused, match="ended"):
        make(tmp_path, "node3.lan", days_later=3651)
    assert contents(tmp_path) == before


def test_a_run_that_was_cut_after_the_key_is_finished_by_the_next(tmp_path: Path) -> None:
    make(tmp_path, "node1.lan")
    (tmp_path / "node1.lan.pem").unlink()
    key = (tmp_path / "node1.lan.key").read_bytes()
    assert outcomes(make(tmp_path, "node1.lan"))["node1.lan.pem"] == "made"
    assert (tmp_path / "node1.lan.key").read_bytes() == key


def other_authority(folder: Path) -> None:
    make(folder / "other", "node1.lan")
    for name in ("node1.lan.pem", "node1.lan.key"):
        (folder / "other" / name).rename(folder / name)
    for path in (folder / "other").iterdir():
        path.unlink()
    (folder / "other").rmdir()


def other_key(folder: Path) -> None:
    (folder / "node1.lan.key").write_bytes((folder / "node2.lan.key").read_bytes())


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda folder: (folder / "node1.lan.key").unlink(), "private key is not there"),
        (lambda folder: (folder / "node1.lan.pem").write_text("rubbish"), "can not be read"),
        (lambda folder: (folder / "node1.lan.key").write_text("rubbish"), "can not be read"),
        (lambda folder: (folder / "ca.key").unlink(), "ca.key: is missing"),
        (lambda folder: (folder / "ca.pem").unlink(), "ca.pem: is missing"),
        (lambda folder: (folder / "ca.key").write_bytes((folder / "node1.lan.key").read_bytes()), "is not the key"),
        (other_authority, "another authority"),
        (other_key, "private key is not there"),
    ],
)
def test_what_does_not_fit_is_told_and_nothing_is_changed(tmp_path: Path, spoil: object, word: str) -> None:
    make(tmp_path)
    assert callable(spoil)
    spoil(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(StartRefused, match=word):
        make(tmp_path, "node{1...3}.lan")
    assert contents(tmp_path) == before


def test_other_names_for_a_machine_that_has_a_certificate_are_refused(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(StartRefused, match=r"it is for node1\.lan, not for node1\.lan, cluster\.lan"):
        make(tmp_path, server_name="cluster.lan")


@pytest.mark.parametrize(
    "nodes",
    [
        "",
        "node{1..4}",
        "https://node1.lan:9100",
        "node1.lan:9100",
        "../node",
        "a/b",
        "ca",
        "CA",
        "10.0.0.256",
        "-a.lan",
        "a" * 64,
        "a..b",
        "*.lan",
        "knöten.lan",
        "node1,NODE1",
        "fd00::1,fd00:0::1",
    ],
)
def test_names_that_are_none_are_refused_before_anything_is_made(tmp_path: Path, nodes: str) -> None:
    with pytest.raises(StartRefused, match="--nodes"):
        make(tmp_path / "certs", nodes)
    assert not (tmp_path / "certs").exists()


@pytest.mark.parametrize("days", [0, -1, 3651])
def test_a_lifetime_that_is_none_is_refused(tmp_path: Path, days: int) -> None:
    with pytest.raises(StartRefused, match="--days"):
        make(tmp_path, days=days)


def test_a_folder_that_can_not_be_made_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartRefused, match="Not a directory"):
        make(tmp_path / "file" / "certs")


def test_the_command_tells_what_it_made_and_reports_mistakes(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "liteio_runtime.cli", "certs", "--folder", str(tmp_path / "certs"), "--nodes")
    made = subprocess.run((*command, "node{1...2}.lan"), capture_output=True, text=True, check=True)
    assert "node2.lan.pem: made, ends " in made.stdout
    assert (tmp_path / "certs" / "node2.lan.key").exists()
    refused = subprocess.run((*command, "node 1"), capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "--nodes" in refused.stderr
    assert "Traceback" not in refused.stderr
