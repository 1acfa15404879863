"""Rows 4, 6, 7, 8 and 10: power cuts, in every state that the syncs allow."""

import hashlib
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

from tests.faults.machine import BLOCKS, BUCKET, INLINE, ONE_BLOCK, Machine, content_of
from tests.faults.power_cuts import Diary, Known, Story, try_cuts
from tests.faults.registry import Trial, require, row

from liteio_base.ids import UploadId
from liteio_contracts.object_errors import UploadMissing
from liteio_contracts.object_layer import (
    BodyFacts,
    CompleteUpload,
    CreateUpload,
    DeleteObject,
    ListVersions,
    NamedPart,
    PartInfo,
    PutPart,
    ReadObject,
    SetTags,
    UploadInfo,
    UploadName,
)
from liteio_formats.bodies import Versioning
from liteio_testkit.store_bench import PlainBody

_RECORDED: Final = "all calls to the disks of four drives written down meanwhile; cuts at many moments, half of them "
_STATES: Final = (
    "right after an acknowledgement, and of each cut states in which any unsynced writes and names are missing or torn "
    "(every state when three writes or fewer are in doubt)"
)
VERSIONED: Final = "faults-versions"


async def _content(machine: Machine, subject: str) -> bytes | None:
    return await machine.get(subject)


async def _put(machine: Machine, diary: Diary, key: str, content: bytes) -> None:
    async with diary.change(key, content):
        await machine.put(key, content)


async def _put_and_overwrite(machine: Machine, diary: Diary) -> None:
    """New objects, overwrites and a delete, small and large, one after the other."""
    sizes = {"inline": INLINE, "block": ONE_BLOCK, "blocks": BLOCKS}
    for number, (key, size) in enumerate(sizes.items()):
        await _put(machine, diary, key, content_of((key, number), size))
    await _put(machine, diary, "inline", content_of("inline again", ONE_BLOCK))
    await _put(machine, diary, "block", content_of("block again", INLINE))
    async with diary.change("inline", None):
        await machine.delete("inline")
    await _put(machine, diary, "inline", content_of("once more", INLINE))


WRITES: Final = Story(_put_and_overwrite, _content)


@row(
    4,
    "power cut of all drives at once, right after an acknowledgement",
    f"PUTs, overwrites and deletes, {_RECORDED}{_STATES}",
    unit="states",
    bounded=24,
    full=10_000,
    seconds=240,
)
def power_cut_at_puts(trial: Trial) -> str:
    tried = try_cuts(trial, WRITES)
    return f"{tried}: everything acknowledged was there, at once and after settling, and all drives were whole"


# -- deletes, markers, tags


class Changes:
    """Deletes and changes of what is there, with and without versions."""

    FIRST: Final = content_of("the first version", ONE_BLOCK)
    TAGGED: Final = content_of("the tagged object", ONE_BLOCK)

    async def prepare(self, machine: Machine) -> None:
        await machine.make_bucket(VERSIONED, Versioning.ENABLED)
        for number in range(3):
            await machine.put(f"many/{number}", content_of(number, INLINE))
        await machine.put("tagged", self.TAGGED)

    async def tell(self, machine: Machine, diary: Diary) -> None:
        """A delete marker and the removal of a version, a bulk delete, tags put, changed and removed."""
        diary.before |= {f"many/{number}": content_of(number, INLINE) for number in range(3)} | {"tagged": ""}
        async with diary.change("first version", self.FIRST), diary.change("latest", self.FIRST):
            info = await machine.put("key", self.FIRST, bucket=VERSIONED)
        async with diary.change("latest", None):
            await machine.delete("key", bucket=VERSIONED)
        for number in range(3):  # as DeleteObjects does it
            async with diary.change(f"many/{number}", None):
                await machine.delete(f"many/{number}")
        for tags in ("colour=red", "colour=blue&size=2", ""):
            async with diary.change("tagged", tags):
                await machine.store.set_tags(SetTags(BUCKET, "tagged", None, tags), deadline=machine.soon)
        async with diary.change("first version", None):
            request = DeleteObject(VERSIONED, "key", info.version_id)
            await machine.store.delete(request, deadline=machine.soon)

    async def look(self, machine: Machine, subject: str) -> object:
        if subject == "latest":
            return await machine.get("key", bucket=VERSIONED)
        if subject == "first version":
            page = await machine.store.list_versions(ListVersions(VERSIONED), deadline=machine.soon)
            ids = [info.version_id for info in page.versions if not info.is_delete_marker]
            return await machine.get("key", ids[0], bucket=VERSIONED) if ids else None
        if subject == "tagged":
            require(await machine.get("tagged") == self.TAGGED, "the tagged object is not whole")
            return (await machine.store.head(ReadObject(BUCKET, "tagged"), deadline=machine.soon)).tags
        return await machine.get(subject)


@row(
    6,
    "power cut in DELETE, in making a delete marker, in a bulk delete, in changes of tags",
    f"these, one after the other, {_RECORDED}{_STATES}",
    unit="states",
    bounded=20,
    full=3000,
)
def power_cut_at_deletes(trial: Trial) -> str:
    changes = Changes()
    tried = try_cuts(trial, Story(changes.tell, changes.look, prepare=changes.prepare))
    return f"{tried}: each key, version and set of tags was the old or the new one, and all drives were whole"


# -- uploads


class Upload:
    """One upload with parts, one of them put twice, that is completed; another that is aborted. What a subject "a/1"
    is: the ETag of the part, None when the upload has none or is over.
    """

    PARTS: Final = {  # by ETag
        hashlib.md5(content).hexdigest(): content
        for content in (content_of(("part", number), 90 * 1024 + number) for number in range(4))
    }

    def __init__(self) -> None:
        self.ids: dict[str, UploadId] = {}

    async def tell(self, machine: Machine, diary: Diary) -> None:
        one, two, two_again, other = self.PARTS
        diary.before |= {"a is open": False, "b is open": False}
        for name in ("a", "b"):
            async with diary.change(f"{name} is open", True):
                made = await machine.store.create_upload(CreateUpload(BUCKET, name), deadline=machine.soon)
            self.ids[name] = made.upload_id
        for name, number, etag in (("a", 1, one), ("a", 2, two), ("b", 1, other), ("a", 2, two_again)):
            async with diary.change(f"{name}/{number}", etag):
                body = PlainBody(self.PARTS[etag])
                await machine.store.put_part(PutPart(self._name(name), number), body, deadline=machine.soon)
        whole = self.PARTS[one] + self.PARTS[two_again]
        async with AsyncExitStack() as changes:
            for subject, value in (("a", whole), ("a/1", None), ("a/2", None), ("a is open", False)):
                await changes.enter_async_context(diary.change(subject, value))
            await self.complete(machine, [one, two_again])
        async with diary.change("b/1", None), diary.change("b is open", False):
            await machine.store.abort_upload(self._name("b"), deadline=machine.soon)

    async def look(self, machine: Machine, subject: str) -> object:
        name, _, number = subject.partition("/")
        if subject == "a":
            return await machine.get("a")
        parts = await self._parts(machine, name.split()[0])
        if subject.endswith("is open"):
            return parts is not None
        return (parts or {}).get(int(number))

    async def more(self, machine: Machine, known: Known) -> None:
        """A Complete may be sent again, whatever became of the first."""
        parts = await self._parts(machine, "a")
        if parts is None or known.possible["a/1"] == [None] or len(parts) < 2:
            return
        etags = [parts[number] for number in sorted(parts)]
        for _ in range(2):
            await self.complete(machine, etags)
            require(await machine.get("a") == b"".join(self.PARTS[etag] for etag in etags), "completed, not whole")

    async def complete(self, machine: Machine, etags: Sequence[str]) -> None:
        parts = [NamedPart(number, etag) for number, etag in enumerate(etags, start=1)]
        request = CompleteUpload(self._name("a"), parts, _summarise, part_bytes_min=1)
        await machine.store.complete_upload(request, deadline=machine.soon)

    async def _parts(self, machine: Machine, name: str) -> dict[int, str] | None:
        """ETags by number; None when the upload is not there."""
        try:
            page = await machine.store.list_parts(self._name(name), 0, 100, deadline=machine.soon)
        except UploadMissing:
            return None
        return {part.number: part.etag for part in page.parts}

    def _name(self, name: str) -> UploadName:
        return UploadName(BUCKET, name, self.ids[name])


def _summarise(upload: UploadInfo, parts: Sequence[PartInfo]) -> BodyFacts:
    return BodyFacts(f"{hashlib.md5(''.join(part.etag for part in parts).encode()).hexdigest()}-{len(parts)}")


@row(
    7,
    "power cut in UploadPart, in one that is repeated, in CompleteMultipartUpload, in AbortMultipartUpload",
    f"an upload that is completed and one that is aborted, {_RECORDED}{_STATES}; Complete is sent again after each",
    unit="states",
    bounded=20,
    full=3000,
)
def power_cut_at_uploads(trial: Trial) -> str:
    upload = Upload()
    tried = try_cuts(trial, Story(upload.tell, upload.look, more=upload.more))
    return (
        f"{tried}: acknowledged parts were there, Complete could be repeated, the object was whole or absent, and all "
        "drives were whole"
    )


# -- what maintenance does


class Rebuild:
    """A drive is replaced by an empty one: it is formatted, rebuilt, and garbage is collected everywhere."""

    OBJECTS: Final = {f"k{number}": content_of(number, (INLINE, ONE_BLOCK)[number % 2]) for number in range(4)}

    async def prepare(self, machine: Machine) -> None:
        await machine.start()
        await machine.make_bucket()
        for key, content in self.OBJECTS.items():
            await machine.put(key, content_of("before", ONE_BLOCK))
            await machine.put(key, content)
        await machine.settle()
        await machine.stop()
        machine.empty(0)

    async def tell(self, machine: Machine, diary: Diary) -> None:
        diary.before |= self.OBJECTS
        await machine.put("k1", self.OBJECTS["k1"])  # leaves garbage
        await machine.settle()

    @property
    def story(self) -> Story:
        return Story(self.tell, _content, prepare=self.prepare, is_settled_first=False)


async def _tell_nothing(machine: Machine, diary: Diary) -> None:
    """Starting formats the drives."""


async def _is_a_store(machine: Machine, known: Known) -> None:
    await machine.make_bucket()
    await machine.put("first", content_of("first", ONE_BLOCK))
    require(await machine.get("first") == content_of("first", ONE_BLOCK), "a new store does not keep its first object")


@row(
    8,
    "power cut during a rebuild, a collection of garbage, a first format",
    f"a drive emptied, formatted again and rebuilt while garbage is collected, and four empty drives formatted, "
    f"{_RECORDED}{_STATES}",
    unit="states, half of each",
    bounded=20,
    full=3000,
)
def power_cut_in_maintenance(trial: Trial) -> str:
    half = replace(trial, count=-(-trial.count // 2))
    rebuilt = try_cuts(half, Rebuild().story)
    formatted = try_cuts(half, Story(_tell_nothing, _content, more=_is_a_store, is_settled_first=False))
    return (
        f"rebuild and garbage: {rebuilt}, every object right and all drives whole again; format: {formatted}, the "
        "drives were formatted or could be, and took their first object"
    )


# -- disks that lie


@row(
    10,
    "syncs that do nothing on up to M drives, then a power cut",
    "as row 4, with drives that lose all that they did not write of their own accord: one of eight, 4+4 and W=5, at "
    f"any cut; four of eight, and two of four, 2+2, once all drives have the writes, overwrites and deletes; {_STATES}",
    unit="states, a third of each",
    bounded=12,
    full=2000,
)
def lying_disks(trial: Trial) -> str:
    chance = trial.chance
    third = replace(trial, count=-(-trial.count // 3))
    told = []
    for width, count, is_late in ((8, 1, False), (8, 4, True), (4, 2, True)):
        story = replace(WRITES, liars=chance.sample(range(width), count), is_cut_late=is_late)
        told.append(
            f"{count} of {width}, {'settled' if is_late else 'at any time'}: {try_cuts(third, story, width=width)}"
        )
    return f"{'; '.join(told)}; all that was acknowledged was read, at once and settled"
