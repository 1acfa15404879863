"""A service's settings as one JSON object, and how it says what is wrong with them."""

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from liteio_runtime.service_settings import read_config, report_settings_problem


class Settings(BaseModel):
    port: int
    secret: SecretStr


def test_a_variable_that_is_not_set_says_nothing() -> None:
    assert read_config({}, "LITEIO_X") == {}


@pytest.mark.parametrize("text", ["{", "[]", "7", ""])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="LITEIO_X"):
        read_config({"LITEIO_X": text}, "LITEIO_X")


def test_all_that_is_wrong_is_said_but_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValidationError) as refusal:
        Settings(port="http", secret=["hush"])  # type: ignore[arg-type]  # what JSON could hold
    report_settings_problem("healer", refusal.value)
    lines = capsys.readouterr().err
    assert "liteio healer: port: " in lines
    assert "liteio healer: secret: " in lines
    assert "hush" not in lines
