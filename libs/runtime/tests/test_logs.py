"""Log lines: whole JSON for machines, names for people."""

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from liteio_runtime.logs import configure_logs, is_json, line_passer
from liteio_runtime.settings import LogFormat


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_lines_that_are_json_pass_as_they_are_and_others_are_wrapped() -> None:
    out = io.StringIO()
    passer = line_passer(as_json=True, stream=out)
    passer("gateway-0", '{"event":"request"}')
    passer("nats", 'Server is "ready"')
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        {"event": "request"},
        {"process": "nats", "event": 'Server is "ready"'},
    ]


def test_plain_lines_carry_the_process_name() -> None:
    out = io.StringIO()
    line_passer(as_json=False, stream=out)("nats", "ready")
    assert out.getvalue() == "nats         | ready\n"


@pytest.mark.parametrize("as_json", [True, False])
def test_our_own_lines_hold_the_facts(as_json: bool) -> None:
    out = io.StringIO()
    configure_logs(as_json=as_json, stream=out)
    structlog.get_logger().warning("drive gone", drive="/d1")
    (line,) = out.getvalue().splitlines()
    assert "drive gone" in line
    assert "/d1" in line
    if as_json:
        assert json.loads(line)["level"] == "warning"


def test_auto_is_json_where_nobody_looks() -> None:
    assert is_json(LogFormat.AUTO, io.StringIO())
    assert not is_json(LogFormat.PRETTY, io.StringIO())
