"""What is said at the start: true numbers, and secrets only once."""

import json
from pathlib import Path

import pytest

from liteio_erasure.code import CodeParams
from liteio_runtime.banner import ServerFacts, count_online, render_json, render_page, what_may_be_lost
from liteio_runtime.state import RootCredentials


def facts(*, is_new: bool = True, drives_online: int = 4) -> ServerFacts:
    return ServerFacts(
        urls=["http://127.0.0.1:9000", "http://host:9000"],
        drives=["/d1", "/d2", "/d3", "/d4"],
        drives_online=drives_online,
        set_count=1,
        code=CodeParams(2, 2),
        region="us-east-1",
        credentials=RootCredentials("ROOT", "very-secret", is_new),
        credentials_path=Path("/d1/.liteio.sys/root-credentials"),
        bus="own NATS server on 127.0.0.1:4222",
        workers=2,
    )


def test_the_page_has_what_one_needs_to_begin() -> None:
    page = render_page(facts())
    assert "http://127.0.0.1:9000" in page
    assert "4 of 4 online, 2 data + 2 parity" in page
    assert page.count("very-secret") == 3  # told, and in two lines to paste
    for command in ("aws --endpoint-url", "rclone", "mc alias set"):
        assert command in page


def test_known_secrets_are_not_shown_again() -> None:
    assert "very-secret" not in render_page(facts(is_new=False))
    assert "root-credentials" in render_page(facts(is_new=False))


def test_missing_drives_are_pointed_out() -> None:
    assert "3 of 4 online" in render_page(facts(drives_online=3))
    assert "liteio doctor" in render_page(facts(drives_online=3))


def test_the_json_line_never_holds_the_secret() -> None:
    line = render_json(facts())
    assert "\n" not in line
    assert "very-secret" not in line
    told = json.loads(line)
    assert (told["drives_that_may_fail_for_reading"], told["drives_that_may_fail_for_writing"]) == (2, 1)


@pytest.mark.parametrize(
    ("k", "m", "words"),
    [
        (2, 2, ["reading goes on without any 2 drives", "writing goes on without any 1 drive", "only 1 drive"]),
        (4, 4, ["without any 4 drives", "writing goes on without any 3 drives"]),
        (2, 1, ["without any 1 drive", "writing goes on without any 1 drive", "survives the loss of none"]),
        (1, 1, ["without any 1 drive", "writing needs every drive"]),
        (4, 0, ["none: without parity"]),
    ],
)
def test_losses_are_told_as_the_protocol_promises(k: int, m: int, words: list[str]) -> None:
    told = what_may_be_lost(CodeParams(k, m), 1)
    for part in words:
        assert part in told


def test_only_formatted_drives_count_as_online(tmp_path: Path) -> None:
    (tmp_path / "a" / ".liteio.sys").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / ".liteio.sys" / "format.json").write_text("{}")
    assert count_online([str(tmp_path / name) for name in "abc"]) == 1
