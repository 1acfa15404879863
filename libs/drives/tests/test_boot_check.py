"""A drive is unchecked from a restart of its machine until it was compared with the others; a kill is no restart."""

from pathlib import Path

import pytest

from liteio_contracts.storage import ListMode, ListQuery
from liteio_contracts.storage_errors import GenerationChanged
from liteio_drives import reader
from liteio_drives.boot_check import CHECKED_NAME
from liteio_drives.drive_format import SYSTEM_FOLDER
from liteio_drives.files import RealFiles
from liteio_drives.local_drive import LocalDrive
from liteio_formats.record import Space

from .drive_bench import bench_of, format_drive, open_drive


class Machine(RealFiles):
    """The files of a machine that can be restarted."""

    def __init__(self) -> None:
        self.boot = RealFiles().boot_id()

    def boot_id(self) -> str:
        return self.boot


async def unchecked_boot(drive: LocalDrive) -> str:
    """As every kind of answer tells it."""
    bench = bench_of(drive)
    status = await drive.status(deadline=bench.soon)
    query = ListQuery(space=Space.OBJECT, bucket_id=bench.bucket_id, mode=ListMode.LATEST)
    told = {
        (await drive.list_page(query, deadline=bench.soon)).is_unchecked,
        (await bench.head(b"there")).is_unchecked,
        (await bench.head(b"not there")).is_unchecked,
    }
    assert told == {status.is_unchecked}
    return status.unchecked_boot


async def test_only_a_restart_of_the_machine_makes_a_drive_unchecked(tmp_path: Path) -> None:
    format_drive(tmp_path / "d")
    machine = Machine()
    first = await open_drive(tmp_path / "d", files=machine)
    await bench_of(first).confirm(await bench_of(first).put(b"there", 5))
    assert await unchecked_boot(first) == ""
    again = await open_drive(tmp_path / "d", files=machine)  # the other was killed, as far as this one can tell
    assert await unchecked_boot(again) == ""
    await again.close()
    await first.close()
    machine.boot = "2"
    restarted = await open_drive(tmp_path / "d", files=machine)
    assert await unchecked_boot(restarted) == "2"
    assert (await restarted.status(deadline=bench_of(restarted).soon)).is_authoritative
    await restarted.close()


async def test_what_was_compared_stays_checked_until_the_next_restart(tmp_path: Path) -> None:
    format_drive(tmp_path / "d")
    machine = Machine()
    for boot in ("2", "3"):
        machine.boot = boot
        drive = await open_drive(tmp_path / "d", files=machine)
        with pytest.raises(GenerationChanged):
            await drive.set_checked("1", deadline=bench_of(drive).soon)
        assert await unchecked_boot(drive) == boot
        await drive.set_checked(boot, deadline=bench_of(drive).soon)
        assert await unchecked_boot(drive) == ""
        await drive.close()
        drive = await open_drive(tmp_path / "d", files=machine)
        assert await unchecked_boot(drive) == ""
        await drive.close()


async def test_other_processes_hear_that_a_drive_was_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_LOOK_SECONDS", 0.0)
    format_drive(tmp_path / "d")
    machine = Machine()
    machine.boot = "2"
    here, there = [await open_drive(tmp_path / "d", files=machine) for _ in range(2)]
    assert (await unchecked_boot(here), await unchecked_boot(there)) == ("2", "2")
    await here.set_checked("2", deadline=bench_of(here).soon)
    assert await unchecked_boot(there) == ""
    await here.close()
    await there.close()


@pytest.mark.parametrize("left", [None, b"", b"\x00" * 20, b"boot \xff"])
async def test_a_note_that_was_lost_or_torn_leaves_the_drive_unchecked(tmp_path: Path, left: bytes | None) -> None:
    format_drive(tmp_path / "d")
    note = tmp_path / "d" / SYSTEM_FOLDER / CHECKED_NAME
    note.unlink()
    if left is not None:
        note.write_bytes(left)
    drive = await open_drive(tmp_path / "d")
    assert await unchecked_boot(drive) == RealFiles().boot_id() != ""
    await drive.close()


async def test_a_system_that_does_not_number_its_starts_has_no_unchecked_drives(tmp_path: Path) -> None:
    format_drive(tmp_path / "d")
    machine = Machine()
    machine.boot = ""
    drive = await open_drive(tmp_path / "d", files=machine)
    assert await unchecked_boot(drive) == ""
    await drive.close()
