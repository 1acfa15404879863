"""Opening a machine's drives: the first format, replaced drives, and drives that must be left alone."""

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_contracts.storage import DriveStatus
from liteio_drives.drive_format import read_format
from liteio_drives.files import FileSystem, RealFiles
from liteio_drives.format_rules import FormatRefused, Layout
from liteio_drives.format_set import OpenedDrives, open_drives
from liteio_drives.limits import DATA_FOLDERS, DriveSettings
from liteio_drives.offline_drive import OfflineDrive
from liteio_formats.format_json import DriveFormat, encode_format
from liteio_testkit.seeded_randomness import SeededRandomness

from .faulty_files import Crash, CrashingFiles

LAYOUT = Layout(set_count=1, set_width=4, parity=2)
SMALL = DriveSettings(free_min_bytes=0, ballast_bytes=0)


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    return [str(tmp_path / f"d{number}") for number in range(4)]


async def open_all(
    paths: list[str], layout: Layout = LAYOUT, files: FileSystem | None = None, seed: int = 0
) -> OpenedDrives:
    return await open_drives(
        paths, layout, clock=SystemClock(), randomness=SeededRandomness(seed), settings=SMALL, files=files
    )


async def statuses(opened: OpenedDrives) -> list[DriveStatus | str]:
    """What each drive says of itself; the reason of one that is left out."""
    soon = Deadline.after(30, SystemClock())
    said: list[DriveStatus | str] = []
    for drive in opened.drives:
        said.append(drive.reason if isinstance(drive, OfflineDrive) else await drive.status(deadline=soon))
    await opened.close()
    return said


def is_witness(said: DriveStatus | str) -> bool:
    return isinstance(said, DriveStatus) and said.is_authoritative


def identity(path: str) -> DriveFormat:
    found = read_format(path, RealFiles())
    assert found is not None
    return found


def rewrite(path: str, **changes: object) -> None:
    drive = msgspec.structs.replace(identity(path), **changes)
    (Path(path) / ".liteio.sys" / "format.json").write_bytes(encode_format(drive))


def make_empty(path: str) -> None:
    shutil.rmtree(path)
    Path(path).mkdir()


def names_in(path: str) -> list[str] | None:
    folder = Path(path)
    return [one.name for one in folder.iterdir()] if folder.exists() else None


async def test_empty_folders_become_one_deployment(paths: list[str]) -> None:
    opened = await open_all(paths)
    formats = [identity(path) for path in paths]
    assert {drive.deployment_id for drive in formats} == {opened.deployment_id}
    assert len({drive.drive_id for drive in formats}) == 4
    assert [(drive.set_index, drive.slot) for drive in formats] == [(0, 0), (0, 1), (0, 2), (0, 3)]
    assert all(map(is_witness, await statuses(opened)))
    assert len(list((Path(paths[0]) / "data").iterdir())) == DATA_FOLDERS


async def test_a_second_start_finds_the_same_drives(paths: list[str]) -> None:
    first = await open_all(paths)
    told = await statuses(first)
    again = await open_all(paths, seed=1)
    assert again.deployment_id == first.deployment_id
    assert [(one.drive_id, one.generation) for one in await statuses(again) if isinstance(one, DriveStatus)] == [
        (one.drive_id, one.generation) for one in told if isinstance(one, DriveStatus)
    ]


async def test_slots_count_within_each_set(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"d{number}") for number in range(4)]
    opened = await open_all(paths, Layout(2, 2, 1))
    assert [(identity(path).set_index, identity(path).slot) for path in paths] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert all(map(is_witness, await statuses(opened)))


async def test_folders_with_files_of_others_are_not_formatted(paths: list[str]) -> None:
    (folder := Path(paths[2])).mkdir()
    (folder / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(FormatRefused, match=r"d2: there are files of somebody else"):
        await open_all(paths)
    assert not (Path(paths[0]) / ".liteio.sys" / "format.json").exists()


async def test_a_replaced_drive_is_formatted_and_is_no_witness(paths: list[str]) -> None:
    before = await statuses(await open_all(paths))
    make_empty(paths[1])
    told = await statuses(await open_all(paths, seed=1))
    assert [is_witness(one) for one in told] == [True, False, True, True]
    assert isinstance(told[1], DriveStatus)
    assert isinstance(before[1], DriveStatus)
    assert told[1].drive_id != before[1].drive_id
    assert told[1].generation != before[1].generation


async def test_a_missing_folder_is_left_out_and_not_made(paths: list[str]) -> None:
    await (await open_all(paths)).close()
    shutil.rmtree(paths[1])
    told = await statuses(await open_all(paths, seed=1))
    assert "not there" in str(told[1])
    assert names_in(paths[1]) is None


async def test_an_unmounted_drive_is_not_written_to(paths: list[str]) -> None:
    await (await open_all(paths)).close()
    for path in paths:
        rewrite(path, was_mount_point=((False, True, False, False),))
    make_empty(paths[1])
    told = await statuses(await open_all(paths, seed=1))
    assert "nothing is mounted" in str(told[1])
    assert names_in(paths[1]) == []


async def test_more_empty_drives_than_the_set_can_lose_are_left_alone(paths: list[str]) -> None:
    await (await open_all(paths)).close()
    for path in paths[1:]:
        make_empty(path)
    told = await statuses(await open_all(paths, seed=1))
    assert is_witness(told[0])
    assert all("mount them" in str(one) for one in told[1:])
    assert names_in(paths[1]) == []


async def test_swapped_drives_are_refused_and_named(paths: list[str]) -> None:
    await (await open_all(paths)).close()
    told = await statuses(await open_all([paths[0], paths[2], paths[1], paths[3]], seed=1))
    assert "slot 2, and stands in the place of set 0, slot 1" in str(told[1])
    assert [is_witness(one) for one in told] == [True, False, False, True]


async def test_a_drive_of_another_deployment_is_refused(paths: list[str]) -> None:
    await (await open_all(paths)).close()
    rewrite(paths[3], deployment_id="f" * 32)
    told = await statuses(await open_all(paths, seed=1))
    assert "another deployment" in str(told[3])
    assert "put the drive of this store in its place" in str(told[3])


@pytest.mark.parametrize("foreign", [(0, 1), (2, 3)])
async def test_half_the_drives_of_one_store_and_half_of_another_are_refused(
    paths: list[str], foreign: tuple[int, int]
) -> None:
    await (await open_all(paths)).close()
    for number in foreign:
        rewrite(paths[number], deployment_id="f" * 32)
    with pytest.raises(FormatRefused, match=f"drives {foreign[0] + 1}, {foreign[1] + 1} to ffff.*: put drives of one"):
        await open_all(paths, seed=1)


async def test_half_of_two_stores_leaves_the_empty_drives_alone(paths: list[str]) -> None:
    await (await open_all(paths)).close()
    rewrite(paths[0], deployment_id="f" * 32)
    for path in paths[2:]:
        make_empty(path)
    with pytest.raises(FormatRefused, match="drives 1 to ffff"):
        await open_all(paths, seed=1)
    assert [names_in(path) for path in paths[2:]] == [[], []]


@pytest.mark.parametrize("damage", [b"", b"{}", b"\x00" * 500])
async def test_a_damaged_identity_is_not_formatted_over(paths: list[str], damage: bytes) -> None:
    await (await open_all(paths)).close()
    broken = Path(paths[2]) / ".liteio.sys" / "format.json"
    broken.write_bytes(damage)
    told = await statuses(await open_all(paths, seed=1))
    assert "damaged" in str(told[2])
    assert broken.read_bytes() == damage


async def test_a_lost_identity_beside_an_index_is_not_taken_for_an_empty_drive(paths: list[str]) -> None:
    await (await open_all(paths)).close()
    (Path(paths[2]) / ".liteio.sys" / "format.json").unlink()
    told = await statuses(await open_all(paths, seed=1))
    assert isinstance(told[2], str)
    assert (Path(paths[2]) / ".liteio.sys" / "index.db").exists()


async def test_a_lost_index_gives_a_new_generation_that_is_no_witness(paths: list[str]) -> None:
    before = await statuses(await open_all(paths))
    (Path(paths[2]) / ".liteio.sys" / "index.db").unlink()
    told = await statuses(await open_all(paths, seed=1))
    assert [is_witness(one) for one in told] == [True, True, False, True]
    assert isinstance(told[2], DriveStatus)
    assert isinstance(before[2], DriveStatus)
    assert (told[2].drive_id, told[2].generation != before[2].generation) == (before[2].drive_id, True)


async def test_another_layout_is_refused(paths: list[str]) -> None:
    await (await open_all(paths)).close()
    with pytest.raises(FormatRefused, match="1 set\\(s\\) of 4 drives with parity 2"):
        await open_all(paths, replace(LAYOUT, parity=1))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the process's end, in its threads
async def test_a_first_format_may_be_cut_short_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every call to the file system in turn: the next start ends with one deployment of whole drives."""
    monkeypatch.setattr("liteio_drives.drive_format.DATA_FOLDERS", 2)
    calls, is_cut = 0, True
    while is_cut:
        paths = [str(tmp_path / f"{calls}-{number}") for number in range(2)]
        layout = Layout(1, 2, 1)
        try:
            opened = await open_all(paths, layout, CrashingFiles(calls))
            await opened.close()
            is_cut = False
        except Crash:
            pass
        told = await statuses(await open_all(paths, layout, seed=1))
        assert all(map(is_witness, told)), f"cut at call {calls}: {told}"
        assert len({identity(path).deployment_id for path in paths}) == 1
        calls += 1
    assert calls > 60
