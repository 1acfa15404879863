"""What the processes of a server are told."""

import json
import os
from pathlib import Path

import pytest

from liteio_runtime.process import ProcessSpec
from liteio_runtime.settings_loading import load_settings
from liteio_runtime.state import RootCredentials
from liteio_runtime.store_specs import GATEWAY_CONFIG, store_specs


def specs_of(tmp_path: Path, **flags: object) -> dict[str, ProcessSpec]:
    (tmp_path / "secret").write_text("a secret that is long enough\n")
    cluster = {"cluster_secret_file": str(tmp_path / "secret"), "node_host": "n1"}
    given = {"drives": "http://n{1...2}:9100/disks/{1...2}", "workers": "2", **cluster, **flags}
    settings = load_settings({name: value for name, value in given.items() if value is not None})
    credentials = RootCredentials("access12", "secret1234")
    return {spec.name: spec for spec in store_specs(settings, credentials, "", (3, 4), log_format="json")}


@pytest.mark.parametrize(("cores", "held"), [({0, 1}, [0, 1, 0]), ({2, 5, 7}, [2, 5, 7])])
def test_workers_and_the_storage_node_are_kept_on_a_processor_each_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: set[int], held: list[int]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores)
    specs = specs_of(tmp_path)
    workers = [json.loads(specs[f"gateway-{index}"].environment[GATEWAY_CONFIG])["core"] for index in range(2)]
    assert [*workers, int(specs["storage-node"].environment["LITEIO_STORAGE_NODE_CORE"])] == held


def test_a_machine_with_several_nodes_runs_a_process_for_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    drives = "http://n{1...2}:9100/disks/{1...2},http://n{1...2}:9101/disks/{3...4}"
    specs = specs_of(tmp_path, drives=drives, workers=None)
    assert [name for name in specs if name.startswith("storage")] == ["storage-node-0", "storage-node-1"]
    nodes = [specs[f"storage-node-{index}"].environment for index in range(2)]
    assert [node["LITEIO_STORAGE_NODE_NODE_HOST"] for node in nodes] == ["n1:9100", "n1:9101"]
    assert sum(name.startswith("gateway") for name in specs) == 6
    assert [node["LITEIO_STORAGE_NODE_CORE"] for node in nodes] == ["6", "7"]


def test_none_is_kept_where_that_is_turned_off(tmp_path: Path) -> None:
    specs = specs_of(tmp_path, pin_workers="off")
    assert json.loads(specs["gateway-1"].environment[GATEWAY_CONFIG])["core"] is None
    assert "LITEIO_STORAGE_NODE_CORE" not in specs["storage-node"].environment
