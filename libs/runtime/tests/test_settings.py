"""Settings: which source wins, and that every mistake is told at once, with its place and its remedy."""

from pathlib import Path

import pytest

from liteio_runtime.problems import Mistake, StartRefused
from liteio_runtime.settings import LogFormat, split_address
from liteio_runtime.settings_loading import load_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("LITEIO_"):
            monkeypatch.delenv(name)


def refused(flags: dict[str, object], config: Path | None = None) -> StartRefused:
    with pytest.raises(StartRefused) as caught:
        load_settings(flags, config=config)
    return caught.value


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "liteio.toml"
    config.write_text('drives = ["/a", "/b"]\nregion = "file"\nparity = 0\naddress = ":1"\n')
    monkeypatch.setenv("LITEIO_REGION", "env")
    monkeypatch.setenv("LITEIO_PARITY", "1")
    settings = load_settings({"region": "flag"}, config=config)
    assert settings.drives == ("/a", "/b")
    assert (settings.region, settings.parity, settings.address, settings.log_format) == (
        "flag",
        1,
        ":1",
        LogFormat.AUTO,
    )


def test_drives_are_counted_out_in_every_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITEIO_DRIVES", "/x/d{1...4}")
    assert load_settings({}).drives == ("/x/d1", "/x/d2", "/x/d3", "/x/d4")
    assert load_settings({"drives": "/y/a,/y/b"}).drives == ("/y/a", "/y/b")


def test_code_and_state_follow_from_the_drives() -> None:
    settings = load_settings({"drives": "/x/d{1...4}"})
    assert (settings.code.k, settings.code.m, settings.code.write_quorum) == (2, 2, 3)
    assert settings.state_dir == Path("/x/d1/.liteio.sys")


def test_secrets_come_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "user").write_text("admin\n")
    (tmp_path / "secret").write_text("very secret\n")
    monkeypatch.setenv("LITEIO_ACCESS_KEY_FILE", str(tmp_path / "user"))
    monkeypatch.setenv("LITEIO_SECRET_KEY_FILE", str(tmp_path / "secret"))
    settings = load_settings({"drives": "/a"})
    assert (settings.access_key, settings.secret_key.get_secret_value()) == ("admin", "very secret")
    assert "very secret" not in repr(settings)


def test_all_problems_are_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "liteio.toml"
    config.write_text("workers = 0\nparty = 2\n")
    monkeypatch.setenv("LITEIO_ADRESS", ":9000")
    monkeypatch.setenv("LITEIO_LOG_FORMAT", "yaml")
    monkeypatch.setenv("LITEIO_SECRET_KEY_FILE", str(tmp_path / "none"))
    found = refused(
        {"drives": "/x/d{1...4}", "parity": 3, "address": "nowhere", "cert": tmp_path / "none", "key": None}, config
    )
    by_place = {problem.where: problem for problem in found.problems}
    assert set(by_place) == {
        f"workers in {config}",
        f"party in {config}",
        "LITEIO_ADRESS",
        "LITEIO_LOG_FORMAT",
        "LITEIO_SECRET_KEY_FILE",
        "--parity",
        "--address",
        "--cert",
    }
    assert by_place["LITEIO_ADRESS"].remedy == "did you mean LITEIO_ADDRESS?"
    assert by_place[f"party in {config}"].remedy == "did you mean parity?"
    assert "0 to 2" in by_place["--parity"].remedy
    assert all(problem.what and problem.remedy for problem in found.problems)
    assert "8 problems" in found.report


def test_missing_drives_are_told_with_the_ways_to_give_them() -> None:
    (problem,) = refused({}).problems
    assert "--drives" in problem.where
    assert "LITEIO_DRIVES" in problem.where


@pytest.mark.parametrize(
    "flags",
    [
        {"drives": "/x/{1..4}"},
        {"drives": "/x,/x"},
        {"drives": "http://other/x"},
        {"drives": ""},
        {"drives": "/a", "access_key": "admin"},
        {"drives": "/a", "secret_key": "long enough"},
        {"drives": "/a", "access_key": "admin", "secret_key": "short"},
        {"drives": "/a", "access_key": "a/b", "secret_key": "long enough"},
        {"drives": "/a", "nats": "http://bus"},
        {"drives": "/a", "domain": "s3.example.org:9000"},
        {"drives": "/a", "region": "Not A Region"},
        {"drives": "/a", "workers": "many"},
    ],
)
def test_one_mistake_is_one_problem(flags: dict[str, object]) -> None:
    (problem,) = refused(flags).problems
    assert problem.what
    assert problem.remedy
    assert problem.where.startswith("--")


def test_a_config_file_that_is_missing_or_broken_is_a_problem(tmp_path: Path) -> None:
    (problem,) = refused({"drives": "/a"}, tmp_path / "none.toml").problems
    assert "No such file" in problem.what
    (tmp_path / "broken.toml").write_text("= 3")
    (problem,) = refused({"drives": "/a"}, tmp_path / "broken.toml").problems
    assert "not TOML" in problem.what


def test_variables_that_kubernetes_sets_are_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITEIO_PORT", "tcp://10.0.0.1:9000")
    monkeypatch.setenv("LITEIO_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("LITEIO_PORT_9000_TCP_ADDR", "10.0.0.1")
    load_settings({"drives": "/a"})


@pytest.mark.parametrize(
    ("address", "parts"),
    [(":9000", ("", 9000)), ("h:1", ("h", 1)), ("[::1]:0", ("::1", 0)), ("0.0.0.0:80", ("0.0.0.0", 80))],
)
def test_addresses_are_split(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts


@pytest.mark.parametrize("address", ["", "9000", "h:", "h:x", "h:70000", "::1:80", "h:١"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(Mistake):
        split_address(address)


NODES = "https://node{1...4}.lan:9100"


def cluster_flags(tmp_path: Path, **more: str) -> dict[str, object]:
    (tmp_path / "secret").write_text("a secret that is long enough\n")
    for name in ("cert", "key", "ca"):
        (tmp_path / name).write_text("pem")
    files = {f"cluster_{name}": str(tmp_path / name) for name in ("cert", "key", "ca")}
    return {"cluster_secret_file": str(tmp_path / "secret"), "node_host": "node2.lan", **files, **more}


@pytest.mark.parametrize(
    "given",
    [{"drives": f"{NODES}/mnt/disk{{1...2}}"}, {"drives": "/mnt/disk{1...2}", "peers": NODES}],
    ids=["urls", "folders and peers"],
)
def test_a_cluster_is_named_by_urls_or_by_folders_and_peers(tmp_path: Path, given: dict[str, str]) -> None:
    settings = load_settings(cluster_flags(tmp_path, **given))
    assert settings.is_cluster
    assert settings.own_origins == ("https://node2.lan:9100",)
    assert settings.own_drives == ("/mnt/disk1", "/mnt/disk2")
    assert (settings.layout.set_width, settings.code.m) == (8, 4)
    assert settings.state_dir == Path("/mnt/disk1/.liteio.sys")


TWO_A_HOST = "https://node{1...4}.lan:9100/mnt/disk{1...2},https://node{1...4}.lan:9101/mnt/disk{3...4}"


def test_all_nodes_of_a_host_are_its_server_s(tmp_path: Path) -> None:
    settings = load_settings(cluster_flags(tmp_path, drives=TWO_A_HOST))
    assert settings.own_origins == ("https://node2.lan:9100", "https://node2.lan:9101")
    assert settings.own_drives == ("/mnt/disk1", "/mnt/disk2", "/mnt/disk3", "/mnt/disk4")
    assert len(settings.servers) == 4
    assert settings.servers[1] == settings.own_origins


def test_a_node_that_is_named_with_its_port_has_a_server_of_its_own(tmp_path: Path) -> None:
    flags = cluster_flags(tmp_path, drives=TWO_A_HOST, node_host="node2.lan:9101", cluster_address=":9101")
    settings = load_settings(flags)
    assert settings.own_drives == ("/mnt/disk3", "/mnt/disk4")
    assert len(settings.servers) == 8


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cluster_secret_file": None}, "without a secret"),
        ({"cluster_key": None}, "needs its certificate, its key"),
        ({"drives": "http://node{1...4}.lan:9100/mnt/disk{1...2}"}, "not named https"),
        ({"node_host": "node9.lan"}, "no drive is on this host"),
        ({"node_host": None}, "does not show"),
        ({"parity": "5"}, "too much parity"),
        ({"cluster_address": "9100"}, "not host:port"),
        ({"drives": TWO_A_HOST, "cluster_address": ":9100"}, "several nodes"),
        ({"drives": "https://node{1...4}.lan:910{0...1}/mnt/disk1"}, "2 nodes of this machine have /mnt/disk1"),
        ({"drives": "https://n1:9100/d{1...2},https://n2:9100/d1"}, "the same number"),
    ],
)
def test_what_is_no_cluster_is_refused(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    flags = cluster_flags(tmp_path, drives=f"{NODES}/mnt/disk{{1...2}}") | changes
    report = refused({name: value for name, value in flags.items() if value is not None}).report
    assert said in report


def test_a_weak_cluster_secret_is_refused(tmp_path: Path) -> None:
    flags = cluster_flags(tmp_path, drives=f"{NODES}/mnt/disk{{1...2}}")
    (tmp_path / "secret").write_text("short")
    assert "must have 16" in refused(flags).report


def test_http_needs_no_certificates(tmp_path: Path) -> None:
    flags = cluster_flags(tmp_path, drives="http://node{1...4}.lan:9100/mnt/disk{1...2}")
    assert load_settings({name: flags[name] for name in ("drives", "cluster_secret_file", "node_host")}).is_cluster


def test_a_cluster_s_certificates_are_found_under_the_names_that_services_have_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a storage node's container, where `liteio admin` runs beside it."""
    for name in ("secret", "cert", "key", "ca"):
        (tmp_path / name).write_text("a secret of this test only")
    monkeypatch.setenv("LITEIO_CLUSTER_SECRET_FILE", str(tmp_path / "secret"))
    for name in ("cert", "key", "ca"):
        monkeypatch.setenv(f"LITEIO_CLUSTER_{name.upper()}_FILE", str(tmp_path / name))
    flags: dict[str, object] = {"drives": "https://node{1...4}.lan:9100/mnt/d{1...2}", "node_host": "node1.lan"}
    settings = load_settings(flags)
    assert settings.cluster_cert == tmp_path / "cert"
    assert settings.cluster_key == tmp_path / "key"
    assert settings.cluster_ca == tmp_path / "ca"
    assert load_settings(flags | {"cluster_ca": str(tmp_path / "key")}).cluster_ca == tmp_path / "key"
    monkeypatch.setenv("LITEIO_CLUSTER_CA_FILE", str(tmp_path / "nowhere"))
    assert "cluster_ca" in str(refused(flags)).lower()
