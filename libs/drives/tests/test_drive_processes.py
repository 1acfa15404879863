"""Several processes on one drive, and processes that are killed."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import apsw
import pytest

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_base.ids import SYSTEM_BUCKET, DataId
from liteio_contracts.storage import KeyName, KeyQuery, ShardRef
from liteio_drives.local_drive import LocalDrive
from liteio_formats.record import Space, decode_record

from .drive_bench import format_drive, open_drive

SCRIPT = Path(__file__).with_name("drive_process.py")


async def start(path: Path, name: str, count: int) -> Process:
    return await asyncio.create_subprocess_exec(sys.executable, str(SCRIPT), str(path), name, str(count), stdout=PIPE)


async def acknowledged(process: Process, until: int | None = None) -> list[bytes]:
    """The keys that the process was answered for; kills it after `until` of them."""
    assert process.stdout
    keys = []
    async for line in process.stdout:
        if line != b"ready\n" and line.endswith(b"\n"):
            keys.append(line.strip())
        if until is not None and len(keys) == until:
            process.kill()
    await process.wait()
    return keys


async def check_all(drive: LocalDrive, keys: list[bytes]) -> None:
    """Every acknowledged key is there, with its payload or its whole shard file."""
    soon = Deadline.after(60, SystemClock())
    for key in keys:
        query = KeyQuery(KeyName(Space.OBJECT, SYSTEM_BUCKET, key), wants_payload=True)
        answer = await drive.read_key(query, deadline=soon)
        (entry,) = answer.entries
        record = decode_record(entry.encoded)
        if record.is_inline:
            assert entry.payload == key * 20
        for part in record.parts:
            await drive.shard_facts(ShardRef(DataId(part.data_id), 1, 0), verify=True, deadline=soon)


def check_index(path: Path) -> None:
    """SQLite finds its file sound, and every count is what the rows say."""
    db = apsw.Connection(str(path / ".liteio.sys" / "index.db"))
    try:
        assert db.execute("PRAGMA integrity_check").get == "ok"
        assert (
            db.execute("SELECT count(*) FROM payloads").get
            == db.execute("SELECT count(*) FROM records WHERE payload IS NOT NULL").get
        )
        rows, size = db.execute("SELECT count(*), ifnull(sum(size_bytes), 0) FROM records WHERE space = 0").get
        assert db.execute("SELECT objects, versions, size_bytes FROM buckets WHERE bucket_id = ''").get == (
            rows,
            rows,
            size,
        )
        named = db.execute("SELECT count(*) FROM records WHERE names_files = 1").get
        assert db.execute("SELECT count(*) FROM data_refs").get == named
    finally:
        db.close()


async def test_processes_share_a_drive(tmp_path: Path) -> None:
    format_drive(tmp_path)
    processes = [await start(tmp_path, name, 150) for name in ("a", "b", "c")]
    drive = await open_drive(tmp_path)
    answers = await asyncio.gather(*(acknowledged(process) for process in processes))
    assert [process.returncode for process in processes] == [0, 0, 0]
    keys = [key for some in answers for key in some]
    assert len(keys) == 450
    await check_all(drive, keys)
    await drive.close()
    check_index(tmp_path)


@pytest.mark.parametrize("until", [1, 17, 60, 140])
async def test_what_was_answered_survives_a_kill(tmp_path: Path, until: int) -> None:
    """The survivor beside it goes on: the kernel freed the dead process's lock."""
    format_drive(tmp_path)
    victim, survivor = await start(tmp_path, "victim", 100_000), await start(tmp_path, "survivor", 100)
    lost, kept = await asyncio.gather(acknowledged(victim, until), acknowledged(survivor))
    assert len(lost) >= until
    assert len(kept) == 100
    drive = await open_drive(tmp_path)
    await check_all(drive, lost + kept)
    await drive.close()
    check_index(tmp_path)
