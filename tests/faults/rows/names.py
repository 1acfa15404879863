"""Row 66: names that spell paths, over S3 and straight to a storage node."""

import asyncio
import random
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from tests.faults.registry import Lane, Trial, require, row
from tests.support.cluster import CLUSTER_SECRET
from tests.support.paths import REPOSITORY
from tests.support.rig import Rig, running_rig
from tests.support.s3_client import S3Client

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_base.ids import BucketId, DataId, DriveId, HybridTime, VersionId
from liteio_contracts.storage import KeyName, KeyQuery, ListQuery, ShardRef, StorageAPI, VersionRef
from liteio_contracts.storage_errors import StorageError
from liteio_drives.drive_format import read_format
from liteio_drives.files import RealFiles
from liteio_drives.remote.node_connection import NodeConnection
from liteio_drives.remote.remote_drive import RemoteDrive
from liteio_formats.record import Space
from liteio_testkit.contract_bench import block_hashes, shard_blocks

BUCKET: Final = "faults"
MARK: Final = "escapee"  # in every name: whatever file has it in its name came of one
_PIECES: Final = (
    *("..", ".", "", "...", "....//", "%2e%2e", "%2e.", "..%2f", "..%5c", "..\\", "\\", "~", "~root"),
    *("/etc", "/tmp", "C:", ".liteio.sys", "data", "index.db", "%00", "\x00", "\u2024\u2024", "\uff0e\uff0e", "\u2215"),
    *("\uff0f", "a" * 255, "\u202e", " ", "*", "con", "nul"),
)
# What a drive keeps besides the shards of objects.
_OURS: Final = re.compile(r"\.liteio\.sys/.*|data/[0-9a-f]{2}/[0-9a-f]{32}\.[0-9]+")


def evil_names(chance: random.Random, count: int) -> Iterator[str]:
    """Each holds MARK; most lead out of a folder for somebody who takes them for a path."""
    for _ in range(count):
        pieces = [chance.choice(_PIECES) for _ in range(chance.randint(1, 8))]
        pieces.insert(chance.randrange(len(pieces) + 1), MARK)
        yield chance.choice(("/", "/", "/", "\\", "//", "")).join(pieces)[:900]


@row(
    66,
    "names that spell paths, over S3 and to a storage node",
    "made of .. and its encodings, backslashes, NUL, absolute and reserved names, look-alikes of dots and slashes; as "
    "keys, buckets, version and upload ids, copy sources over HTTP, and as keys, buckets, data and drive ids to a node",
    unit="names",
    bounded=100,
    full=5000,
    seconds=180,
    lane=Lane.CLUSTER,
)
def evil_paths(trial: Trial) -> str:
    chance = trial.chance
    before = set(Path(tempfile.gettempdir()).iterdir()) | set(REPOSITORY.iterdir()) | set(Path("/etc").iterdir())
    folder = trial.disk / "cluster"
    folder.mkdir()
    with running_rig(folder, drives_per_node=1, gateway_count=1, healer_count=0, has_bus=False, parity=2) as rig:
        s3 = rig.client(0)
        s3.create_bucket(BUCKET)
        kept = sum(_send(s3, name) for name in evil_names(chance, trial.count))
        asked = asyncio.run(_ask_node(rig, list(evil_names(chance, trial.count // 3))))
        s3.close()
        require(all(member.is_running for member in rig.members), "a process ended")
        drives = rig.drive_paths()
    found = [path for path in folder.rglob("*") if MARK in path.name]
    require(not found, f"files of such names: {found[:5]}")
    strays = [path for drive in drives for path in _files(drive) if not _OURS.fullmatch(str(path))]
    require(not strays, f"files that are no shards: {strays[:5]}")
    now = set(Path(tempfile.gettempdir()).iterdir()) | set(REPOSITORY.iterdir()) | set(Path("/etc").iterdir())
    require(not [path for path in now - before if MARK in path.name], "files outside")
    return (
        f"{kept} of {trial.count} were good keys and read back, the others refused with 4xx; {asked:,} calls to the "
        "node answered or refused; 0 files of such a name anywhere, every file on the drives a shard or the drive's own"
    )


def _files(drive: Path) -> Iterator[Path]:
    return (path.relative_to(drive) for path in drive.rglob("*") if path.is_file())


def _send(s3: S3Client, name: str) -> bool:
    """Whether it was taken as a key; then it reads back. Escaped once, so that the server decodes to the name, and as
    it stands where HTTP has such a thing."""
    body = name.encode()
    path = f"/{BUCKET}/{quote(name, safe='')}"
    stored = s3.send("PUT", path, body=body)
    require(stored.status < 500, f"PUT {path}: {stored.status}")
    if stored.is_success:
        read = s3.send("GET", path)
        require((read.status, read.body) == (200, body), f"GET {path}: {read.status} {read.body[:80]!r}")
    raw = quote(name, safe="/%~")
    for method, target, query, headers in (
        ("GET", f"/{BUCKET}/{raw}", "", {}),
        ("PUT", f"/{quote(name, safe='')}", "", {}),
        ("GET", f"/{BUCKET}/k", f"versionId={quote(name, safe='')}", {}),
        ("DELETE", f"/{BUCKET}/k", f"uploadId={quote(name, safe='')}", {}),
        ("PUT", f"/{BUCKET}/copied", "", {"x-amz-copy-source": f"/{BUCKET}/{quote(name, safe='/')}"}),
    ):
        answer = s3.send(method, target, query=query, headers=headers)
        require(answer.status < 500, f"{method} {target}?{query}: {answer.status} {answer.body[:200]!r}")
    return stored.is_success


async def _ask_node(rig: Rig, names: list[str]) -> int:
    """How many calls. Each is answered or refused as a drive's error."""
    drive = read_format(str(rig.drive_paths()[0]), RealFiles())
    assert drive is not None
    url = f"http://127.0.0.1:{rig.cluster.node_ports[0]}"
    calls = 0
    async with NodeConnection(url, CLUSTER_SECRET.encode(), SystemClock(), SystemRandomness()) as node:
        remote = RemoteDrive(node, drive.drive_id, 0)
        for name in names:
            for call in _calls(remote, RemoteDrive(node, DriveId(name), 0), name):
                calls += 1
                with suppress(StorageError):
                    await call
    return calls


def _calls(drive: StorageAPI, stranger: StorageAPI, name: str) -> Iterator["asyncio.Future[object]"]:
    soon = Deadline.after(10, SystemClock())
    key = KeyName(Space.OBJECT, BucketId(name), name.encode())
    ref = ShardRef(DataId(name), 1, 0)
    for made in (
        _write_shard(drive, ref, soon),
        _write_shard(stranger, ShardRef(DataId("d" * 32), 1, 0), soon),
        drive.open_shard(ref, 0, 1, deadline=soon),
        drive.shard_facts(ref, verify=False, deadline=soon),
        drive.read_key(KeyQuery(key, (VersionId(name),)), deadline=soon),
        drive.list_page(ListQuery(space=Space.OBJECT, bucket_id=BucketId(name)), deadline=soon),
        drive.confirm((VersionRef(key, VersionId(name), HybridTime(5)),), deadline=soon),
        drive.roll_back(VersionRef(key, VersionId(name), HybridTime(5)), deadline=soon),
    ):
        yield asyncio.ensure_future(made)


async def _write_shard(drive: StorageAPI, ref: ShardRef, soon: Deadline) -> None:
    blocks = shard_blocks(ref, 1000)
    writer = await drive.create_shard(ref, size_hint=1000, deadline=soon)
    await writer.write(blocks, block_hashes(ref, blocks))
    await writer.close(2, 2, 1000)
