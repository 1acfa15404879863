"""The doctor: finds what is wrong, and leaves nothing behind."""

import datetime
import os
import socket
from pathlib import Path

import pytest
import trustme

from liteio_runtime import doctor_drives
from liteio_runtime.doctor import certificate_dates, examine, render
from liteio_runtime.findings import Finding, Level
from liteio_runtime.settings import ServerSettings
from liteio_runtime.settings_loading import load_settings
from liteio_runtime.state import StateFolder

NOW = datetime.datetime.now(datetime.UTC)


def levels(findings: list[Finding], subject: str) -> list[Level]:
    return [finding.level for finding in findings if finding.subject == subject]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settings_of(folder: Path, **more: object) -> ServerSettings:
    drives = [str(folder / name) for name in ("d1", "d2")]
    for drive in drives:
        os.makedirs(drive, exist_ok=True)
    return load_settings({"drives": drives, "address": f"127.0.0.1:{free_port()}", "nats": "off"} | more)


def test_a_sound_machine_has_nothing_bad_and_keeps_nothing(tmp_path: Path) -> None:
    findings = examine(settings_of(tmp_path))
    assert not [finding for finding in findings if finding.level is Level.BAD], render(findings)
    assert not [path for drive in tmp_path.iterdir() for path in drive.iterdir()]


def test_drives_on_one_device_are_pointed_out(tmp_path: Path) -> None:
    (finding,) = doctor_drives.shared_devices([str(tmp_path), str(tmp_path.parent)])
    assert finding.level is Level.WARN
    assert not list(doctor_drives.shared_devices([str(tmp_path)]))


def test_a_missing_drive_is_bad(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    (tmp_path / "d2").rmdir()
    assert levels(examine(settings), str(tmp_path / "d2")) == [Level.BAD]


def test_a_taken_port_is_bad_unless_it_is_our_own(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with socket.create_server(("127.0.0.1", settings.port)):
        assert levels(examine(settings), "port") == [Level.BAD]
        state = StateFolder(settings.state_dir)
        assert levels(examine(settings), "port") == [Level.GOOD]
        state.close()


def test_a_bus_that_does_not_answer_is_bad(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, nats=f"nats://127.0.0.1:{free_port()}")
    assert levels(examine(settings), "bus") == [Level.BAD]


@pytest.mark.parametrize(("free_share", "level"), [(0.5, Level.GOOD), (0.05, Level.WARN), (0.001, Level.BAD)])
def test_free_space_is_judged(monkeypatch: pytest.MonkeyPatch, free_share: float, level: Level) -> None:
    blocks = 2**30
    fields = (
        4096,
        4096,
        blocks,
        int(blocks * free_share),
        int(blocks * free_share),
        100,
        50,
        int(100 * free_share),
        0,
        255,
    )
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(fields))
    assert doctor_drives.free_space("/d").level is level


@pytest.mark.parametrize(("days", "level"), [(-1, Level.BAD), (5, Level.WARN), (300, Level.GOOD)])
def test_certificates_are_judged_by_their_dates(days: int, level: Level) -> None:
    issued = trustme.CA().issue_cert("s3.example.org", not_after=NOW + datetime.timedelta(days=days, hours=1))
    (finding,) = certificate_dates(issued.cert_chain_pems[0].bytes(), NOW)
    assert finding.level is level


def test_a_key_of_another_certificate_is_bad(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.issue_cert("one.example.org").cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    authority.issue_cert("two.example.org").private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    findings = examine(settings_of(tmp_path, cert=tmp_path / "cert.pem", key=tmp_path / "key.pem"))
    assert levels(findings, "TLS") == [Level.BAD]


def cluster_settings(folder: Path, port: int) -> ServerSettings:
    (secret := folder / "secret").write_text("a secret that is long enough")
    secret.chmod(0o644)
    authority = trustme.CA()
    issued = authority.issue_cert("elsewhere.example")
    authority.cert_pem.write_to_path(str(folder / "ca"))
    issued.cert_chain_pems[0].write_to_path(str(folder / "cert"))
    issued.private_key_pem.write_to_path(str(folder / "key"))
    drives = f"https://127.0.0.1:{port}{folder}/d{{1...2}}"
    files = {f"cluster_{name}": str(folder / name) for name in ("cert", "key", "ca")}
    return settings_of(folder, drives=drives, cluster_secret_file=str(secret), **files)


def test_a_cluster_is_looked_at_with_its_secret_its_certificate_and_its_nodes(tmp_path: Path) -> None:
    port = free_port()
    findings = examine(cluster_settings(tmp_path, port))
    assert levels(findings, "cluster secret") == [Level.WARN]
    assert levels(findings, "cluster certificate") == [Level.BAD, Level.GOOD]  # its name, and its dates
    assert levels(findings, f"node 127.0.0.1:{port}") == [Level.BAD]
    assert "is for elsewhere.example, not for 127.0.0.1" in render(findings)


def test_a_cluster_without_certificates_is_warned_of(tmp_path: Path) -> None:
    (secret := tmp_path / "secret").write_text("a secret that is long enough")
    secret.chmod(0o600)
    drives = f"http://127.0.0.1:{free_port()}{tmp_path}/d{{1...2}}"
    findings = examine(settings_of(tmp_path, drives=drives, cluster_secret_file=str(secret)))
    assert levels(findings, "cluster secret") == [Level.GOOD]
    assert levels(findings, "cluster TLS") == [Level.WARN]
