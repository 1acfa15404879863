"""The rig itself: a cut that lost nothing would prove nothing."""

import os
from pathlib import Path

import pytest
from tests.support.loop_drives import can_cut_power, loop_drives


@pytest.mark.skipif(can_cut_power() != "", reason=can_cut_power())
def test_a_cut_loses_what_was_not_synced_and_keeps_what_was(tmp_path: Path) -> None:
    with loop_drives(tmp_path, 1) as (drive,):
        kept = os.open(drive.mount_point / "kept", os.O_WRONLY | os.O_CREAT)
        os.write(kept, b"synced")
        os.fsync(kept)
        os.write(kept, b" and not synced")
        os.close(kept)
        folder = os.open(drive.mount_point, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        (drive.mount_point / "lost").write_bytes(b"not synced")
        drive.cut_power()
        with pytest.raises(OSError, match="Input/output error"):
            (drive.mount_point / "later").write_bytes(b"")
        drive.come_back()
        content = (drive.mount_point / "kept").read_bytes()
        assert content.startswith(b"synced")
        assert b"not" not in content
        assert not (drive.mount_point / "lost").exists()
