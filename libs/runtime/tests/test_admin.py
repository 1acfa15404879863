"""`liteio admin`: what it says of a store, for people and for programs."""

import json
import os
import shutil
from pathlib import Path

import pytest

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_contracts.object_layer import CreateBucket
from liteio_runtime.admin import show_drives, show_info
from liteio_runtime.problems import StartRefused
from liteio_runtime.settings import ServerSettings
from liteio_runtime.settings_loading import load_settings
from liteio_runtime.store_access import open_for_command


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServerSettings:
    for name in [name for name in os.environ if name.startswith("LITEIO_")]:
        monkeypatch.delenv(name)
    return load_settings({"drives": f"{tmp_path}/d{{1...4}}"})


async def make_store(settings: ServerSettings) -> None:
    from liteio_drives.files import RealFiles
    from liteio_drives.format_rules import Layout
    from liteio_drives.format_set import settle_formats
    from liteio_testkit.seeded_randomness import SeededRandomness

    settle_formats(settings.drives, Layout(1, 4, 2), randomness=SeededRandomness(0), files=RealFiles())
    async with open_for_command(settings) as opened:
        soon = Deadline.after(30, SystemClock())
        await opened.store.create_bucket(CreateBucket("photos", "root"), deadline=soon)


async def test_a_healthy_store_says_what_it_is_and_what_may_be_lost(settings: ServerSettings) -> None:
    await make_store(settings)
    page = await show_info(settings, as_json=False)
    assert "4 of 4 online; 1 set, 2 data + 2 parity" in page
    assert "reading goes on without any 2 drives" in page
    assert "0 in 1 buckets" in page
    told = json.loads(await show_info(settings, as_json=True))
    assert told["buckets"] == [{"name": "photos", "objects": 0, "bytes": 0}]
    assert [drive["state"] for drive in told["drives"]] == ["online"] * 4


async def test_a_drive_in_trouble_is_named_with_the_reason(settings: ServerSettings) -> None:
    await make_store(settings)
    shutil.rmtree(settings.drives[1])
    shutil.rmtree(settings.drives[2])
    os.mkdir(settings.drives[2])
    page = await show_info(settings, as_json=False)
    assert "3 of 4 online" in page
    assert f"{settings.drives[1]}: offline: the folder is not there" in page
    assert f"{settings.drives[2]}: rebuilding: being rebuilt" in page
    table = await show_drives(settings, as_json=False)
    assert [line.split()[:4] for line in table.splitlines()][1:3] == [
        ["0", "0", settings.drives[0], "online"],
        ["0", "1", settings.drives[1], "offline"],
    ]
    told = json.loads(await show_drives(settings, as_json=True))
    assert [(drive["state"], drive["is_whole"]) for drive in told] == [
        ("online", True),
        ("offline", False),
        ("online", False),
        ("online", True),
    ]


async def test_what_is_no_store_is_refused(settings: ServerSettings) -> None:
    with pytest.raises(StartRefused, match="not a store yet"):
        await show_info(settings, as_json=False)


async def test_a_drive_whose_machine_has_restarted_is_being_compared(settings: ServerSettings) -> None:
    await make_store(settings)
    os.unlink(f"{settings.drives[3]}/.liteio.sys/checked-boot")
    table = (await show_drives(settings, as_json=False)).splitlines()
    assert [line.endswith("being compared with the others") for line in table[1:5]] == [False, False, False, True]
