"""Opening a store over the drives of one machine."""

from pathlib import Path

import pytest

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_cluster.opening import open_store, prepare_drives
from liteio_cluster.settings import StoreSettings
from liteio_contracts.object_layer import CreateBucket
from liteio_drives.format_rules import FormatRefused


def settings_for(folder: Path, count: int = 4) -> StoreSettings:
    return StoreSettings(drives=tuple(str(folder / f"d{number}") for number in range(count)))


async def test_two_processes_with_the_same_drives_have_the_same_store(tmp_path: Path) -> None:
    settings, soon = settings_for(tmp_path), Deadline.after(30, SystemClock())
    async with (
        open_store(settings, SystemClock(), SystemRandomness()) as one,
        open_store(settings, SystemClock(), SystemRandomness()) as other,
    ):
        await one.store.create_bucket(CreateBucket("photos", "root"), deadline=soon)
        assert (await other.store.bucket("photos", deadline=soon)).name == "photos"
        assert one.deployment_id == other.deployment_id


def test_drives_that_hold_somebody_elses_files_are_refused(tmp_path: Path) -> None:
    (folder := tmp_path / "d1").mkdir()
    (folder / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(FormatRefused, match="somebody else"):
        prepare_drives(settings_for(tmp_path))
