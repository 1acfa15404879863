"""Settings: where they come from, and what is refused."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from liteio_healer.settings import CONFIG_VARIABLE, load_settings


def test_the_supervisors_json_goes_before_single_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITEIO_HEALER_NATS_URL", "nats://elsewhere:4222")
    monkeypatch.setenv("LITEIO_HEALER_REGION", "eu-north-1")
    loaded = load_settings({CONFIG_VARIABLE: json.dumps({"drives": ["/a", "/b"], "nats_url": "nats://here:4222"})})
    assert (loaded.drives, loaded.nats_url, loaded.region) == (("/a", "/b"), "nats://here:4222", "eu-north-1")


def test_the_bus_with_its_password_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "bus").write_text("nats://liteio:word@nats:4222\n")
    loaded = load_settings(
        {"LITEIO_HEALER_NATS_URL_FILE": str(tmp_path / "bus"), CONFIG_VARIABLE: '{"drives": ["/a"]}'}
    )
    assert loaded.nats_url == "nats://liteio:word@nats:4222"


@pytest.mark.parametrize("change", [{"drive": ["/a"]}, {"parity": -1}, {"access_key": "root"}])
def test_what_can_not_be_used_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        load_settings({CONFIG_VARIABLE: json.dumps({"drives": ["/a"], **change})})


@pytest.mark.parametrize("text", ["{", "[]", "7"])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=CONFIG_VARIABLE):
        load_settings({CONFIG_VARIABLE: text})
