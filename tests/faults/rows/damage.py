"""Rows 11 to 16: what is on the drives is wrong."""

import asyncio
import os
import random
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import apsw
from tests.faults.machine import BLOCKS, BUCKET, INLINE, ONE_BLOCK, USUAL, Machine, content_of, machine_in
from tests.faults.registry import FaultFound, Trial, require, row
from tests.support.drive_damage import PAGE_BYTES
from tests.support.power import SECTOR_BYTES

from liteio_base.byte_span import ByteSpan
from liteio_contracts.object_errors import ObjectError, QuorumLost
from liteio_contracts.object_layer import ReadObject
from liteio_contracts.storage import DriveState, KeyQuery
from liteio_contracts.storage_errors import StorageError
from liteio_drives.local_drive import LocalDrive
from liteio_formats.record import Record, decode_record

INDEX: Final = Path(".liteio.sys", "index.db")
FORMAT: Final = Path(".liteio.sys", "format.json")
_FOOTER_HASHES_AT: Final = 64  # docs/formats/shard-footer.md
_FOOTER_BYTES: Final = 4096  # of shards with few blocks
_HEAL_SECONDS: Final = 25.0
_MENDING_ROUNDS: Final = 4


async def record_of(machine: Machine, key: str) -> Record:
    answer = await machine.drives[0].read_key(KeyQuery(await machine.name_of(key)), deadline=machine.soon)
    return decode_record(answer.entries[0].encoded)


def slots_by_shard(record: Record, width: int) -> list[int]:
    """The slot of each shard, data shards first."""
    return sorted(range(width), key=record.shard_index_of)


def file_of(machine: Machine, record: Record, slot: int) -> Path:
    name = f"{record.parts[0].data_id}.{record.parts[0].number}"
    return machine.paths[slot] / "data" / name[:2] / name


def flip(path: Path, at: int, chance: random.Random) -> None:
    """One bit of the byte at `at`; counted from the end when it is negative."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def flip_in_row(machine: Machine, slot: int, key: bytes, column: str, chance: random.Random) -> None:
    """One bit of what a row holds, with the index closed: SQLite finds its pages in order."""
    db = apsw.Connection(str(machine.paths[slot] / INDEX))
    table, where = ("payloads", "id = (SELECT payload FROM records WHERE key = ?)")
    if column != "payload":
        table, where = "records", "key = ?"
    wrong = bytearray(db.execute(f"SELECT {column} FROM {table} WHERE {where}", (key,)).get)
    wrong[chance.randrange(len(wrong))] ^= 1 << chance.randrange(8)
    db.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (bytes(wrong), key))
    db.close()


# Where a bit may be wrong: in an object inline, and in a shard file of three blocks.
INLINE_PLACES: Final = ("payload", "payload_hash")


def _file_places(size: int, chance: random.Random) -> dict[str, int]:
    """The offset of one byte of each kind; negative ones count from the end."""
    return {
        "block": chance.randrange(size - _FOOTER_BYTES - PAGE_BYTES),
        "header": -_FOOTER_BYTES + chance.randrange(_FOOTER_HASHES_AT),
        "hash": -_FOOTER_BYTES + _FOOTER_HASHES_AT + chance.randrange(96),
        "trailer": -48 + chance.randrange(48),
    }


FILE_PLACES: Final = ("block", "header", "hash", "trailer")


async def spoil(machine: Machine, record: Record, slots: Sequence[int], place: str, chance: random.Random) -> None:
    """One bit wrong in the record's shard on each of `slots`, of a shard file in the same byte."""
    if not record.is_inline:
        paths = [file_of(machine, record, slot) for slot in slots]
        await asyncio.to_thread(flip_in_files, paths, place, chance)
        return
    for slot in slots:
        await asyncio.to_thread(flip_in_row, machine, slot, record.key, place, chance)


def flip_in_files(paths: Sequence[Path], place: str, chance: random.Random) -> None:
    at = _file_places(paths[0].stat().st_size, chance)[place]
    for path in paths:
        flip(path, at, chance)


@dataclass(frozen=True, slots=True)
class Victim:
    key: str
    content: bytes = field(repr=False)
    slots: tuple[int, ...]
    place: str


async def _prepare_victims(
    machine: Machine, trial: Trial, count_of: Callable[[random.Random], int]
) -> tuple[list[Victim], random.Random]:
    """`trial.count` objects with one bit wrong in as many shards as `count_of` says, one of data among them; the
    machine is down.
    """
    chance = trial.chance
    places = (*INLINE_PLACES, *FILE_PLACES)
    victims = []
    records = {}
    for number in range(trial.count):
        place = places[number % len(places)]
        key, size = f"{place}/{number}", INLINE if place in INLINE_PLACES else BLOCKS
        content = content_of((trial.seed, key), size)
        await machine.put(key, content)
        await machine.rest()
        records[key] = record = await record_of(machine, key)
        by_shard = slots_by_shard(record, machine.code.width)
        data = chance.choice(by_shard[: machine.code.k])
        others = chance.sample([slot for slot in by_shard if slot != data], count_of(chance) - 1)
        victims.append(Victim(key, content, (data, *others), place))
    await machine.settle()
    await machine.stop()
    for victim in victims:
        await spoil(machine, records[victim.key], victim.slots, victim.place, chance)
    return victims, chance


@row(
    13,
    "one bit wrong in the shards of 1 to M drives",
    "bits flipped with the store stopped: in inline payloads and their hashes, in blocks, headers, hashes and trailers "
    "of shard files; a data shard is always among them",
    unit="objects",
    bounded=18,
    full=600,
)
async def flipped_bits(trial: Trial) -> str:
    async with machine_in(trial.folder, seed=trial.seed) as machine:
        victims, _ = await _prepare_victims(machine, trial, lambda chance: chance.randint(1, 2))
        await machine.start()
        machine.store.start()
        for victim in victims:
            require(await machine.get(victim.key) == victim.content, f"{victim}: wrong bytes")
        queued = len(machine.store.repairs)
        require(queued > 0, "nothing was queued to be healed")
        for victim in victims:
            await _wait_whole(machine, victim.key)
        await machine.settle()
        await machine.require_clean("healed")
        shards = sum(len(victim.slots) for victim in victims)
    return f"{trial.count} objects with {shards} wrong shards read right; all of them healed by themselves, N of N good"


async def _wait_whole(machine: Machine, key: str) -> None:
    """What a read found wrong is healed in the background. A hash or footer of a shard that nobody read is found by a
    scan that verifies.
    """
    end = machine.clock.monotonic() + _HEAL_SECONDS
    while not (census := await machine.census(key)).is_whole:
        require(machine.clock.monotonic() < end, f"not healed after {_HEAL_SECONDS} s: {census}")
        await asyncio.sleep(0.1)


@row(
    14,
    "one bit wrong in the shards of M+1 drives",
    "as row 13, with one shard more than can be lost, of blocks in the same byte; then a heal, a scan, a collection of "
    "garbage",
    unit="objects",
    bounded=18,
    full=300,
)
async def too_many_flipped_bits(trial: Trial) -> str:
    async with machine_in(trial.folder, seed=trial.seed) as machine:
        victims, _ = await _prepare_victims(machine, trial, lambda chance: 3)
        before = {slot: _tree(machine.paths[slot] / "data") for slot in range(4)}
        await machine.start()
        broken = {}
        for victim in victims:
            broken[victim.key] = await _read_broken(machine, victim)
        for victim in victims:
            result = await machine.store.healer.heal_key(machine.drive_set, await machine.name_of(victim.key))
            require(not result.is_whole, f"{victim}: told whole")
        await machine.settle()
        require(await machine.list_keys() == sorted(victim.key for victim in victims), "a key is gone")
        await machine.stop()
        after = {slot: _tree(machine.paths[slot] / "data") for slot in range(4)}
        require(after == before, "a shard file was removed or rewritten")
        await machine.start()
    refused = sum(sent == 0 for sent in broken.values())
    return (
        f"{refused} reads refused, {len(broken) - refused} broken off midway after right bytes, no wrong one; healing "
        "told them lost and removed nothing: keys listed, files as they were"
    )


async def _read_broken(machine: Machine, victim: Victim) -> int:
    """How many bytes came before the error. Every one of them is right."""

    sent = 0
    try:
        reader = await machine.store.open(ReadObject(BUCKET, victim.key), deadline=machine.soon)
        try:
            async for chunk in reader.read(ByteSpan(0, reader.info.size_bytes)):
                require(chunk == victim.content[sent : sent + len(chunk)], f"{victim}: wrong bytes at {sent}")
                sent += len(chunk)
        finally:
            await reader.close()
    except QuorumLost:
        return sent
    raise FaultFound(f"{victim}: {sent} of {len(victim.content)} bytes and a clean end, with too few right shards")


def _tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


# -- the index, and whole files


async def _fill(machine: Machine, trial: Trial, count: int) -> dict[str, bytes]:
    """Objects inline and in files, some of them the second under their key; settled, and the machine is down."""
    contents = {}
    for number in range(count):
        key = f"k{number:03}"
        for generation in range(1 + number % 2):
            contents[key] = content_of((trial.seed, key, generation), (INLINE, ONE_BLOCK)[number % 4 // 2])
            await machine.put(key, contents[key])
    await machine.settle()
    await machine.stop()
    return contents


async def _require_all(machine: Machine, contents: dict[str, bytes], what: str) -> None:
    for key, content in contents.items():
        require(await machine.get(key) == content, f"{what}: {key} is wrong or gone")
    require(await machine.list_keys() == sorted(contents), f"{what}: the listing is wrong")


async def _mend(machine: Machine, contents: dict[str, bytes], what: str) -> int:
    """Scan with every shard looked at. Drives that say that their index is damaged, at once or when they come to the
    page, are replaced by empty ones, as an operator does. All is whole then; how many were replaced.
    """
    replaced: set[int] = set()
    for _ in range(_MENDING_ROUNDS):
        # As long as more drives are out than a write can do without, there is nothing to heal.
        with suppress(ObjectError, StorageError):
            await machine.store.healer.scan(machine.drive_set, verify=True)
            await machine.settle()
        damaged = await _damaged(machine)
        if not damaged and await _is_clean(machine, what):
            break
        damaged = await _damaged(machine)
        replaced.update(damaged)
        require(len(replaced) <= machine.code.m, f"{what}: more drives are damaged than were touched: {replaced}")
        await machine.stop()
        for slot in damaged:
            machine.empty(slot)
        machine.settings = USUAL
        await machine.start(is_lenient=True)
    await machine.require_clean(what)
    await _require_all(machine, contents, f"{what}, mended")
    return len(replaced)


async def _is_clean(machine: Machine, what: str) -> bool:
    """Whether all is whole, and no drive finds its index damaged while it is looked at."""
    try:
        await machine.require_clean(what)
    except (FaultFound, ObjectError, StorageError):
        if await _damaged(machine):
            return False
        raise
    return True


async def _damaged(machine: Machine) -> list[int]:
    return [slot for slot in range(machine.code.width) if await _is_damaged(machine, slot)]


async def _is_damaged(machine: Machine, slot: int) -> bool:
    drive = machine.drives[slot]
    if not isinstance(drive, LocalDrive):
        return True
    try:
        return (await drive.status(deadline=machine.soon)).state is not DriveState.ONLINE
    except StorageError:
        return True


Damage = Callable[[Machine, int, random.Random], None]


async def damage_and_mend(trial: Trial, damages: dict[str, Damage], *, keys: int = 12) -> str:
    """Each damage in turn, on one drive or on two."""
    told = []
    chance = trial.chance
    for round_number in range(trial.count):
        what, damage = list(damages.items())[round_number % len(damages)]
        slots = chance.sample(range(4), chance.choice((1, 2)))
        async with machine_in(trial.folder, seed=(trial.seed, round_number)) as machine:
            contents = await _fill(machine, trial, keys)
            for slot in slots:
                await asyncio.to_thread(damage, machine, slot, chance)
            await machine.start(is_lenient=True)
            await _require_all(machine, contents, f"{what} on {slots}")
            replaced = await _mend(machine, contents, f"{what} on {slots}")
            told.append((what, replaced))
    return "; ".join(
        f"{what}: {sum(each == what for each, _ in told)} times, {sum(many for each, many in told if each == what)} "
        "drives said to be damaged and replaced"
        for what in damages
    )


def _flip_in_index(machine: Machine, slot: int, chance: random.Random) -> None:
    path = machine.paths[slot] / INDEX
    flip(path, chance.randrange(path.stat().st_size), chance)


def _flip_in_records(machine: Machine, slot: int, chance: random.Random) -> None:
    for number in chance.sample(range(12), 4):
        flip_in_row(machine, slot, f"k{number:03}".encode(), "encoded", chance)


def _no_length(machine: Machine, slot: int, chance: random.Random) -> None:
    os.truncate(machine.paths[slot] / INDEX, 0)


def _cut(machine: Machine, slot: int, chance: random.Random) -> None:
    path = machine.paths[slot] / INDEX
    os.truncate(path, chance.randrange(1, path.stat().st_size))


@row(
    15,
    "bits wrong in the index of up to M drives, an index of length 0, an index cut off",
    "with the store stopped: a bit anywhere in index.db, bits in four records (SQLite finds its pages in order), the "
    "file emptied or cut; on one drive and on two of four",
    unit="stores",
    bounded=4,
    full=160,
)
async def wrong_metadata(trial: Trial) -> str:
    damages: dict[str, Damage] = {
        "a bit of the index": _flip_in_index,
        "bits of records": _flip_in_records,
        "length 0": _no_length,
        "cut off": _cut,
    }
    told = await damage_and_mend(trial, damages)
    return f"every object and listing right, whole on all drives in the end; {told}"


# -- torn and misdirected


def _tear(path: Path, old: bytes, chance: random.Random) -> None:
    """Some sectors of the file are as they were before the last write, or zeros where there was nothing."""
    content = bytearray(path.read_bytes())
    sectors = range(0, len(content), SECTOR_BYTES)
    for start in chance.sample(sectors, chance.randint(1, max(1, len(sectors) - 1))):
        end = min(start + SECTOR_BYTES, len(content))
        content[start:end] = old[start:end].ljust(end - start, b"\0")
    path.write_bytes(content)


def _tear_shards(machine: Machine, slot: int, chance: random.Random) -> None:
    for path in machine.shard_files(slot):
        _tear(path, b"", chance)


def _tear_page(machine: Machine, slot: int, chance: random.Random) -> None:
    """Of the index: sectors of two of its pages are zeros."""
    path = machine.paths[slot] / INDEX
    content = bytearray(path.read_bytes())
    for page in chance.sample(range(1, len(content) // PAGE_BYTES), 2):
        start = page * PAGE_BYTES + SECTOR_BYTES * chance.randrange(PAGE_BYTES // SECTOR_BYTES)
        content[start : start + SECTOR_BYTES] = bytes(SECTOR_BYTES)
    path.write_bytes(content)


@row(
    11,
    "torn writes: only some sectors of shard files and index pages are new",
    "with the store stopped, on one drive and on two of four: any sectors of every shard file are zeros, or sectors of "
    "two pages of the index",
    unit="stores",
    bounded=4,
    full=120,
)
async def torn_writes(trial: Trial) -> str:
    damages: dict[str, Damage] = {"torn shards": _tear_shards, "torn pages": _tear_page}
    return f"every object and listing right, whole on all drives in the end; {await damage_and_mend(trial, damages)}"


def _swap_shards(machine: Machine, slot: int, chance: random.Random) -> None:
    """Each file has another's content, of the same length."""
    files = machine.shard_files(slot)
    contents = [path.read_bytes() for path in files]
    for at, path in enumerate(files):
        path.write_bytes(contents[at - 1])


def _swap_payloads(machine: Machine, slot: int, chance: random.Random) -> None:
    """Each inline object has another's payload and its hash."""
    db = apsw.Connection(str(machine.paths[slot] / INDEX))
    rows = db.execute(
        "SELECT key, payload, payload_hash, payload_head FROM records WHERE payload IS NOT NULL"
    ).fetchall()
    for at, (key, *_) in enumerate(rows):
        db.execute(
            "UPDATE records SET payload = ?, payload_hash = ?, payload_head = ? WHERE key = ?", (*rows[at - 1][1:], key)
        )
    db.close()


@row(
    12,
    "misdirected and stale reads: another object's shard, an older generation of the drive's files",
    "with the store stopped, on one drive and on two of four: the contents of all shard files changed round, inline "
    "payloads with their hashes changed round, shard files and index pages as before the last overwrite",
    unit="stores",
    bounded=3,
    full=90,
)
async def misdirected_reads(trial: Trial) -> str:
    damages: dict[str, Damage] = {"shards changed round": _swap_shards, "payloads changed round": _swap_payloads}
    told = await damage_and_mend(replace(trial, count=trial.count * 2 // 3), damages)
    stale = 0
    for number in range(trial.count - trial.count * 2 // 3):
        stale += await _stale_shards(replace(trial, seed=trial.seed + number))
    return f"every object right, whole on all drives in the end; {told}; {stale} older shards under newer names noticed"


async def _stale_shards(trial: Trial) -> int:
    """The shard of an older generation of the object stands under the name of the newer one's."""
    chance = trial.chance
    async with machine_in(trial.folder, seed=trial.seed) as machine:
        contents = {f"k{number}": content_of((trial.seed, number), ONE_BLOCK) for number in range(6)}
        older: dict[str, dict[int, bytes]] = {}
        for key in contents:
            await machine.put(key, content_of((trial.seed, key, "older"), ONE_BLOCK))
            await machine.rest()
            record = await record_of(machine, key)
            older[key] = {slot: file_of(machine, record, slot).read_bytes() for slot in range(4)}
            await machine.put(key, contents[key])
        await machine.settle()
        slots = chance.sample(range(4), chance.choice((1, 2)))
        for key in contents:
            record = await record_of(machine, key)
            for slot in slots:
                file_of(machine, record, slot).write_bytes(older[key][slot])
        await _require_all(machine, contents, f"older shards on {slots}")
        await _mend(machine, contents, f"older shards on {slots}")
        return len(slots) * len(contents)


# -- identities


def _damage_format(machine: Machine, other: Machine, slot: int, way: str, chance: random.Random) -> None:
    path = machine.paths[slot] / FORMAT
    if way == "corrupt":
        path.write_bytes(path.read_bytes()[: chance.randrange(1, 100)] + chance.randbytes(40))
    elif way == "empty":
        path.write_bytes(b"")
    elif way == "missing":
        path.unlink()
    elif way == "of another store":
        shutil.copy(other.paths[slot] / FORMAT, path)
    else:  # of another slot
        shutil.copy(machine.paths[(slot + 1) % 4] / FORMAT, path)


_WAYS: Final = ("corrupt", "empty", "missing", "of another store", "of another slot")


@row(
    16,
    "format.json corrupt, empty, missing, of another store, of another slot; two drives changed round",
    "with the store stopped, on one drive and on two of four (another store's on one, as of two halves none is the "
    "store); started, read and written to, and put right again",
    unit="damages",
    bounded=6,
    full=60,
)
async def wrong_identity(trial: Trial) -> str:
    chance = trial.chance
    seen: dict[str, int] = {}
    async with machine_in(trial.folder, seed="another") as other:
        await other.stop()
        for number in range(trial.count):
            way = (*_WAYS, "changed round")[number % 6]
            many = {"changed round": 2, "of another store": 1}.get(way) or chance.choice((1, 2))
            slots = chance.sample(range(4), many)
            async with machine_in(trial.folder, seed=(trial.seed, number)) as machine:
                await _start_with_wrong_identity(trial, machine, other, slots, way, chance)
            seen[way] = seen.get(way, 0) + len(slots)
    shown = ", ".join(f"{many} {way}" for way, many in seen.items())
    return (
        f"drives left out, as they were, and the others served: {shown}; put right, they were taken in and made whole"
    )


async def _start_with_wrong_identity(
    trial: Trial, machine: Machine, other: Machine, slots: list[int], way: str, chance: random.Random
) -> None:
    contents = await _fill(machine, trial, 8)
    kept = {slot: (machine.paths[slot] / FORMAT).read_bytes() for slot in slots}
    if way == "changed round":
        _change_round(machine, slots)
    else:
        for slot in slots:
            _damage_format(machine, other, slot, way, chance)
    before = {slot: _tree(machine.paths[slot]) for slot in slots}
    await machine.start(is_lenient=True)
    lost = [slot for slot in range(4) if not isinstance(machine.drives[slot], LocalDrive)]
    require(lost == sorted(slots), f"{way}: drives {lost} were left out, not {slots}")
    await _require_all(machine, contents, f"{way} on {slots}")
    if len(slots) == 1:
        contents["written without it"] = content_of((trial.seed, way), ONE_BLOCK)
        await machine.put("written without it", contents["written without it"])
    await machine.stop()
    require({slot: _tree(machine.paths[slot]) for slot in slots} == before, f"{way}: a drive was written to")
    if way == "changed round":
        _change_round(machine, slots)
    else:
        for slot in slots:
            (machine.paths[slot] / FORMAT).write_bytes(kept[slot])
    await machine.start()
    await _require_all(machine, contents, f"{way}, put right")
    await machine.settle()
    await machine.require_clean(f"{way}, put right")


def _change_round(machine: Machine, slots: list[int]) -> None:
    one, two = (machine.paths[slot] for slot in slots)
    aside = one.with_name("aside")
    one.rename(aside)
    two.rename(one)
    aside.rename(two)
