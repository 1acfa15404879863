"""The index of live rows: no bucket has one before it needs one, and until it is whole listings do without."""

from pathlib import Path

import apsw
import pytest

from liteio_contracts.storage import ListMode, ListQuery
from liteio_drives.index_changes import Changes
from liteio_drives.local_drive import LocalDrive
from liteio_formats.record import Kind, Space
from liteio_testkit.contract_bench import Bench
from liteio_testkit.polling import until

from .drive_bench import list_steps, put_many

INDEX = Path(".liteio.sys", "index.db")
VERSION = f"{5:016x}{5:016x}"
KEYS = [b"k%03d" % number for number in range(30)]


def marks(path: Path) -> dict[int, int]:
    """How many rows have each value of `live`."""
    rows = apsw.Connection(str(path / INDEX)).execute("SELECT live, count(*) FROM records WHERE space = 0 GROUP BY 1")
    return dict(rows)


async def listed(bench: Bench) -> list[bytes]:
    query = ListQuery(space=Space.OBJECT, bucket_id=bench.bucket_id)
    page = await bench.drive.list_page(query, deadline=bench.soon)
    by_prefix = await bench.drive.list_page(
        ListQuery(space=Space.OBJECT, bucket_id=bench.bucket_id, delimiter=b"/"), deadline=bench.soon
    )
    assert [item.key for item in by_prefix.items] == [item.key for item in page.items]
    return [item.key for item in page.items]


async def test_a_bucket_of_null_versions_has_none(drive: LocalDrive, bench: Bench, tmp_path: Path) -> None:
    await put_many(bench, KEYS, 1)
    await put_many(bench, KEYS[:10], 2)
    await bench.confirm(await bench.bury(bench.record(KEYS[0], 2), 3))
    assert marks(tmp_path) == {2: 29}
    assert await listed(bench) == KEYS[1:]


@pytest.mark.parametrize("kind", [Kind.VALUE, Kind.DELETE_MARKER])
async def test_the_first_version_or_delete_marker_brings_it(
    drive: LocalDrive, bench: Bench, tmp_path: Path, kind: Kind
) -> None:
    await put_many(bench, KEYS, 1)
    version = VERSION if kind is Kind.VALUE else ""
    await bench.put_settled(b"k999", 5, version, kind=kind)
    assert marks(tmp_path).get(2, 0) == 0
    assert await listed(bench) == ([*KEYS, b"k999"] if kind is Kind.VALUE else KEYS)


async def test_while_it_is_filled_listings_and_deletes_are_right(
    drive: LocalDrive, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Changes, "do_chores", lambda changes, rows_max, now_ns: False)
    await put_many(bench, KEYS, 1)
    await bench.put_settled(b"k999", 5, VERSION)
    expected = [*KEYS, b"k999"]
    has_more, round_ = True, 0
    while has_more:
        assert await listed(bench) == expected
        marker = f"{10 + round_:016x}{1:016x}"
        for key in (KEYS[round_], KEYS[-1 - round_]):  # one that was taken up, one that was not
            await bench.put_settled(key, 10 + round_, marker, kind=Kind.DELETE_MARKER)
            expected.remove(key)
        assert await listed(bench) == expected
        usage = await drive.bucket_usage(bench.bucket_id, deadline=bench.soon)
        assert usage.objects == len(expected)
        has_more = await drive._committer.call(lambda index: index.changes.live_index.fill(5), bench.soon)
        round_ += 1
    assert round_ > 5
    assert 2 not in marks(tmp_path)
    assert await listed(bench) == expected


async def test_it_is_filled_a_few_rows_a_transaction(
    drive: LocalDrive, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liteio_drives.committer.CHORE_ROWS", 4)
    await put_many(bench, KEYS, 1)
    await bench.put_settled(b"k999", 5, VERSION)
    await bench.put_settled(b"k998", 6, f"{6:016x}{6:016x}")
    await until(lambda: 2 not in marks(tmp_path), 20)
    await put_many(bench, KEYS[2:], 9, kind=Kind.DELETE_MARKER)
    assert await listed(bench) == [*KEYS[:2], b"k998", b"k999"]
    cheap = await list_steps(drive, bench)
    await put_many(bench, [b"k5%03d" % number for number in range(500)], 9, kind=Kind.DELETE_MARKER)
    assert await list_steps(drive, bench) <= cheap + 50


async def test_other_modes_are_right_in_both_states(drive: LocalDrive, bench: Bench) -> None:
    await put_many(bench, KEYS, 1)
    query = ListQuery(space=Space.OBJECT, bucket_id=bench.bucket_id, mode=ListMode.VERSIONS)
    before = await drive.list_page(query, deadline=bench.soon)
    await bench.put_settled(KEYS[-1], 5, VERSION)
    after = await drive.list_page(query, deadline=bench.soon)
    assert [item.key for item in before.items] == KEYS
    assert [item.key for item in after.items] == [*KEYS, KEYS[-1]]
