"""Settings: where they come from, what is refused, and that secrets stay out of sight."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from liteio_gateway.settings import CONFIG_VARIABLE, GatewaySettings, LogFormat, load_settings

KEYS = {"access_key": "root", "secret_key": "a-long-secret"}


def test_the_supervisors_json_is_taken_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITEIO_GATEWAY_PORT", "1234")
    monkeypatch.setenv("LITEIO_GATEWAY_REGION", "eu-north-1")
    config = {**KEYS, "port": 9005, "drives": ["/a", "/b"], "domains": ["S3.Example.org"], "log_format": "plain"}
    loaded = load_settings({CONFIG_VARIABLE: json.dumps(config)})
    assert (loaded.port, loaded.region) == (9005, "eu-north-1")
    assert (loaded.drives, loaded.domains) == (("/a", "/b"), ("s3.example.org",))
    assert loaded.log_format is LogFormat.PLAIN
    assert loaded.read_secret_key() == "a-long-secret"


@pytest.mark.parametrize(
    "change",
    [
        {"port": 70_000},
        {"secret_key": None},
        {"secret_key_file": "/x"},
        {"cert_file": "/x"},
        {"domains": ["a:9000"]},
        {"drive": ["/a"]},
        {"header_seconds": 0},
    ],
)
def test_what_can_not_be_used_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        load_settings({CONFIG_VARIABLE: json.dumps({**KEYS, **change})})


@pytest.mark.parametrize("text", ["{", "[]", "7"])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=CONFIG_VARIABLE):
        load_settings({CONFIG_VARIABLE: text})


def test_the_secret_may_come_from_a_file_and_is_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("  from-a-file \n")
    settings = GatewaySettings(access_key="root", secret_key_file=path)
    assert settings.read_secret_key() == "from-a-file"
    assert "a-long-secret" not in repr(load_settings({CONFIG_VARIABLE: json.dumps(KEYS)}))


def test_names_and_urls_may_come_from_files_as_well(tmp_path: Path) -> None:
    (tmp_path / "name").write_text("root-of-file\n")
    (tmp_path / "bus").write_text("nats://liteio:word@nats:4222\n")
    files = {"ACCESS_KEY": "name", "NATS_URL": "bus"}
    variables = {f"LITEIO_GATEWAY_{name}_FILE": str(tmp_path / file) for name, file in files.items()}
    secret = {CONFIG_VARIABLE: json.dumps({"secret_key": "a-long-secret"})}
    loaded = load_settings(variables | secret)
    assert (loaded.access_key, loaded.nats_url) == ("root-of-file", "nats://liteio:word@nats:4222")
    assert load_settings(variables | {CONFIG_VARIABLE: json.dumps(KEYS)}).access_key == "root"
    with pytest.raises(ValueError, match="one of them"):
        load_settings(variables | secret | {"LITEIO_GATEWAY_NATS_URL": "nats://elsewhere:4222"})
    with pytest.raises(ValueError, match="ACCESS_KEY_FILE"):
        load_settings(secret | {"LITEIO_GATEWAY_ACCESS_KEY_FILE": str(tmp_path / "nowhere")})
