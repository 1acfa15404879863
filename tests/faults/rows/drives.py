"""Rows 9 and 19 to 23: a drive's disk fails, fills up, turns read-only, can not be read, comes back."""

import asyncio
import errno
import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from tests.faults.machine import INLINE, ONE_BLOCK, USUAL, Machine, content_of, machine_in
from tests.faults.measures import filled, latencies, p99, require_contents
from tests.faults.registry import Trial, require, row
from tests.support.disk import READS, SYNCS, Call, Hook, Refuse
from tests.support.small_disks import can_mount, small_disks

from liteio_contracts.object_errors import ObjectError, QuorumLost, ReadQuorumLost, StoreFull
from liteio_contracts.storage import DriveState
from liteio_contracts.storage_errors import StorageError
from liteio_drives.offline_drive import OfflineDrive

MIB: Final = 1024 * 1024
GROWTH: Final = frozenset({"create", "pwrite", "allocate", "index.write", "index.create"})


async def state_of(machine: Machine, slot: int) -> DriveState:
    """As the drive sees itself; OFFLINE when it does not answer."""
    try:
        return (await machine.drives[slot].status(deadline=machine.soon)).state
    except StorageError:
        return DriveState.OFFLINE


# -- syncs


@row(
    9,
    "fsync fails once, then works again",
    "EIO at the n-th sync of one drive, for every n, and of two at once, during a PUT inline, one of a block and an "
    "overwrite",
    unit="syncs at most",
    bounded=12,
    full=100,
)
async def failed_sync(trial: Trial) -> str:
    struck, refused, read_only, distrusted = 0, 0, 0, 0
    for number in range(trial.count):
        count = 1 + number % 2
        async with machine_in(trial.folder, seed=(trial.seed, number)) as machine:
            contents = {"inline": content_of(1, INLINE), "block": content_of(2, ONE_BLOCK)}
            await machine.put("overwritten", content_of(0, INLINE))
            await machine.rest()
            hooks = [Refuse(_is_sync_of(slot), errno.EIO, skip=number // 2, times=1) for slot in range(count)]
            machine.disk.hooks += hooks
            contents |= {"overwritten": content_of(3, ONE_BLOCK)}
            acknowledged = {}
            for key, content in contents.items():
                try:
                    await machine.put(key, content)
                    acknowledged[key] = content
                except ObjectError as trouble:
                    require(count > 1, f"one failed sync of four drives, and {trouble!r}")
                    refused += 1
            await machine.rest()
            if not any(hook.count for hook in hooks):
                break
            struck += sum(hook.count for hook in hooks)
            for slot, hook in enumerate(hooks):
                if hook.count:
                    state = await state_of(machine, slot)
                    require(state is DriveState.READ_ONLY, f"drive {slot} lost sync {number // 2} and is {state}")
                    read_only += 1
            await require_contents(machine, acknowledged, "after a failed sync")
            await machine.die()
            await machine.start()
            for slot, hook in enumerate(hooks):
                status = await machine.drives[slot].status(deadline=machine.soon)
                # A shard whose sync failed was not promised to anybody: nothing is lost that a row names.
                if hook.last is not None and ".liteio.sys/index" in hook.last.path:
                    require(not status.is_authoritative, f"drive {slot} is trusted after a failed sync")
                    distrusted += 1
            await require_contents(machine, acknowledged, "after a failed sync and a restart")
            await machine.settle()
            await machine.require_clean("rebuilt after a failed sync")
    return (
        f"{struck} syncs failed, {distrusted} of an index; {read_only} drives turned read-only at once, those of the "
        "indexes were no witnesses after a restart until they were rebuilt, the shards were named by nothing; with one "
        f"drive no write was refused, with two {refused}; everything acknowledged was there"
    )


def _is_sync_of(slot: int) -> Callable[[Call], bool]:
    return lambda call: call.drive == slot and call.name in SYNCS


# -- a drive that was away


@row(
    19,
    "stale drive comes back after overwrites and deletes",
    "one drive of four is away during so many overwrites, deletes and PUTs of 60 keys, and comes back as it was",
    unit="changes",
    bounded=300,
    full=3000,
)
async def stale_drive(trial: Trial) -> str:
    chance = trial.chance
    async with machine_in(trial.folder, seed=trial.seed) as machine:
        contents = {f"k{number:02}": content_of(number, (INLINE, ONE_BLOCK)[number % 8 == 0]) for number in range(60)}
        for key, content in contents.items():
            await machine.put(key, content)
        await machine.settle()
        await machine.stop()
        await machine.start()
        drives = list(machine.local_drives)
        slot = chance.randrange(4)
        await drives[slot].close()
        machine.use([*drives[:slot], OfflineDrive("", slot, "away"), *drives[slot + 1 :]])
        deleted = 0
        for number in range(trial.count):
            key = f"k{chance.randrange(75):02}"
            if key in contents and chance.random() < 0.4:
                await machine.delete(key)
                del contents[key]
                deleted += 1
            else:
                contents[key] = content_of((key, number), (INLINE, ONE_BLOCK)[number % 16 == 0])
                await machine.put(key, contents[key])
        await machine.rest()
        machine.use([*drives[:slot], await machine.open_drive(slot), *drives[slot + 1 :]])
        for what in ("at once", "after healing"):
            listed = await machine.list_keys(limit=7)
            require(listed == sorted(contents), f"{what} the listing differs: {set(listed) ^ set(contents)}")
            for key in (f"k{number:02}" for number in range(75)):
                require(await machine.get(key) == contents.get(key), f"{what}: {key} is old, or was deleted")
            await machine.settle()
        report = await machine.require_clean("with the stale drive")
    return (
        f"{trial.count - deleted} PUTs and {deleted} deletes missed; every read and listing right at once, nothing "
        f"came back; then all {report.values} objects were whole on all drives"
    )


# -- room


@row(
    20,
    "no space left at any operation; drives that are full",
    "ENOSPC from the n-th write of any drive on, for every n, on one drive and on all; and four drives on file systems "
    "of 24 MiB filled up by PUTs",
    unit="points",
    bounded=12,
    full=200,
    needs=can_mount,
)
async def no_space(trial: Trial) -> str:
    refused = 0
    async with machine_in(trial.folder, seed=trial.seed) as machine:
        await machine.put("there", content_of("there", ONE_BLOCK))
        for number in range(trial.count):
            refused += await _fill_at(machine, number * 3 % 97, only_one=number % 2 == 0)
        await machine.settle()
        await machine.require_clean("with room again")
    filled = await _fill_up(trial, size_bytes=24 * MIB, inodes=10_000, key_bytes=ONE_BLOCK)
    return f"{refused} of {trial.count} PUTs refused cleanly, the others whole; {filled}"


async def _fill_at(machine: Machine, number: int, *, only_one: bool) -> bool:
    """Whether the PUT was refused."""
    key, before = f"{number}-{only_one}", content_of((number, "before"), INLINE)
    await machine.put(key, before)
    await machine.rest()
    after = content_of((number, "after"), ONE_BLOCK)
    full = Refuse(
        lambda call: call.name in GROWTH and call.drive in ((0,) if only_one else range(4)), errno.ENOSPC, skip=number
    )
    with machine.disk.hooked(full):
        try:
            await machine.put(key, after)
            is_refused = False
        except (StoreFull, QuorumLost) as trouble:
            require(not only_one, f"one full drive of four, and {trouble!r}")
            is_refused = True
        try:
            held = await machine.get(key)
        except ReadQuorumLost as trouble:  # K drives took it: without room it can be neither finished nor undone.
            require(is_refused, f"{key}: {trouble!r}")
            held = before
        require(held in ((before, after) if is_refused else (after,)), f"{key}: neither old nor new")
        require(await machine.get("there") == content_of("there", ONE_BLOCK), "an object is gone from full drives")
        await machine.rest()
    await machine.die()  # and room again
    await machine.start()
    again = await machine.get(key)
    require(again in ((held, after) if is_refused else (after,)), f"{key}: back to the old one")
    return is_refused


async def _fill_up(trial: Trial, *, size_bytes: int, inodes: int, key_bytes: int) -> str:
    """Real file systems, filled by PUTs until they are refused."""
    settings = replace(USUAL, ballast_bytes=MIB)
    async with machine_in(trial.folder, seed=trial.seed, settings=settings, is_started=False) as machine:
        with small_disks(machine.paths, size_bytes=size_bytes, inodes=inodes):
            await machine.start()
            await machine.make_bucket()
            contents: dict[str, bytes] = {}
            refusal: ObjectError | None = None
            while refusal is None:
                key = f"k{len(contents):04}"
                require(len(contents) < 2000, "the drives are never full")
                try:
                    await machine.put(key, content_of(key, key_bytes))
                    contents[key] = content_of(key, key_bytes)
                except (StoreFull, QuorumLost) as trouble:
                    refusal = trouble
            if await machine.get(key) is not None:  # 503: its outcome was not known
                require(isinstance(refusal, QuorumLost), f"{key} was refused ({refusal!r}), and is there")
                contents[key] = content_of(key, key_bytes)
            await require_contents(machine, contents, "on full drives")
            gone = sorted(contents)[::2]
            for key in gone:
                await machine.delete(key)
                del contents[key]
            require(await machine.list_keys() == sorted(contents), "the listing after deletes on full drives")
            await machine.settle()
            await _put_until_taken(machine, "room again", content_of("room again", key_bytes))
            contents["room again"] = content_of("room again", key_bytes)
            await machine.settle()
            await require_contents(machine, contents, "with room again")
            await machine.require_clean("with room again")
            await machine.stop()
    return (
        f"full after {len(contents) + len(gone) - 1} objects ({type(refusal).__name__}), then {len(gone)} deletes went "
        "on, and PUTs after them"
    )


async def _put_until_taken(machine: Machine, key: str, content: bytes, seconds: float = 10.0) -> None:
    """A drive looks at its room once a second."""
    end = machine.clock.monotonic() + seconds
    while True:
        try:
            await machine.put(key, content)
            return
        except StoreFull as trouble:
            require(machine.clock.monotonic() < end, f"still full after {seconds} s with room: {trouble}")
            await asyncio.sleep(0.2)


@row(
    21,
    "inodes exhausted",
    "four drives on file systems with 340 inodes, 256 of them folders, filled up by PUTs of a block each",
    unit="stores",
    bounded=1,
    full=3,
    needs=can_mount,
)
async def no_inodes(trial: Trial) -> str:
    told = [
        await _fill_up(replace(trial, seed=number), size_bytes=64 * MIB, inodes=340 + number, key_bytes=ONE_BLOCK)
        for number in range(trial.count)
    ]
    return "; ".join(told)


# -- read-only, unreadable


@row(
    22,
    "drive turns read-only",
    "EROFS for everything that one drive of four would change, all at once",
    unit="times",
    bounded=2,
    full=20,
)
async def read_only(trial: Trial) -> str:
    seconds = []
    for number in range(trial.count):
        async with machine_in(trial.folder, seed=(trial.seed, number)) as machine:
            slot = number % 4
            contents = {f"k{at}": content_of((number, at), (INLINE, ONE_BLOCK)[at % 2]) for at in range(8)}
            for key, content in contents.items():
                await machine.put(key, content)
            await machine.rest()
            hook = Refuse(lambda call, slot=slot: call.drive == slot and call.is_change, errno.EROFS)  # type: ignore[misc]
            machine.disk.hooks.append(hook)
            began = time.monotonic()
            while await state_of(machine, slot) is not DriveState.READ_ONLY:
                require(time.monotonic() - began < 15.0, "not marked read-only within 15 s")
                contents["new"] = content_of((number, time.monotonic()), ONE_BLOCK)
                await machine.put("new", contents["new"])
            seconds.append(time.monotonic() - began)
            contents["missed"] = content_of((number, "missed"), ONE_BLOCK)
            await machine.put("missed", contents["missed"])
            await machine.rest()
            require(len(machine.store.repairs) > 0, "the key that the drive missed was not queued to be healed")
            await require_contents(machine, contents, "with a read-only drive")
            census = await machine.census("k1")
            require(census.findings[slot].has_data, f"the read-only drive is not read any more: {census}")
            await machine.die()
            await machine.start()
            await machine.settle()
            await machine.require_clean("writable again")
    return (
        f"marked within {max(seconds):.2f} s, read on, writes acknowledged by the others, the missed key queued to be "
        "healed; whole again when it could be written"
    )


class FailSome(Hook):
    """A share of what `chosen` says fails with EIO."""

    def __init__(self, chosen: Callable[[Call], bool], share: float, chance: random.Random) -> None:
        self._chosen, self._share, self._chance = chosen, share, chance
        self.count = 0

    def before(self, call: Call) -> None:
        if self._chosen(call) and self._chance.random() < self._share:
            self.count += 1
            raise OSError(errno.EIO, "injected")


@row(
    23,
    "reads of one drive fail, 10 % to 100 % of them",
    "EIO for 10, 50 and 100 % of one drive's reads of shard files and of the index, during GETs",
    unit="GETs each",
    bounded=60,
    full=3000,
)
async def unreadable(trial: Trial) -> str:
    told = []
    for share in (0.1, 0.5, 1.0):
        async with machine_in(trial.folder, seed=(trial.seed, share)) as machine:
            contents = await filled(machine, share)
            hook = FailSome(lambda call: call.drive == 1 and call.name in READS, share, trial.chance)
            with machine.disk.hooked(hook):
                slow = p99(await latencies(machine, contents, trial.count))
                state = await state_of(machine, 1)
            require(hook.count > 0, "no read was failed")
            require(share < 1.0 or state is not DriveState.ONLINE, f"all reads fail, and the drive is {state}")
            told.append(f"{share:.0%}: {hook.count} reads failed, GET p99 {slow * 1000:.1f} ms, the drive is {state}")
            await machine.die()
            await machine.start()
            await machine.settle()
            await machine.require_clean("readable again")
    return f"every byte right; {'; '.join(told)}"
