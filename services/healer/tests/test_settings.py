"""Settings: where they come from, and what is refused."""

import json

import pytest
from pydantic import ValidationError

from liteio_healer.settings import CONFIG_VARIABLE, load_settings


def test_the_supervisors_json_goes_before_single_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITEIO_HEALER_NATS_URL", "nats://elsewhere:4222")
    monkeypatch.setenv("LITEIO_HEALER_REGION", "eu-north-1")
    loaded = load_settings({CONFIG_VARIABLE: json.dumps({"drives": ["/a", "/b"], "nats_url": "nats://here:4222"})})
    assert (loaded.drives, loaded.nats_url, loaded.region) == (("/a", "/b"), "nats://here:4222", "eu-north-1")


@pytest.mark.parametrize("change", [{"drive": ["/a"]}, {"parity": -1}, {"access_key": "root"}])
def test_what_can_not_be_used_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        load_settings({CONFIG_VARIABLE: json.dumps({"drives": ["/a"], **change})})


@pytest.mark.parametrize("text", ["{", "[]", "7"])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=CONFIG_VARIABLE):
        load_settings({CONFIG_VARIABLE: text})
