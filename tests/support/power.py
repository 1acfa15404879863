"""What a power cut may leave of what drives wrote: every state that their syncs allow, made anew in folders.

A `Recorder` notes each call that changes a disk, with the tick at which it began and at which it was done. At a cut,

- a write, truncation or allocation of a file is there for certain when a sync of the file that began after it was done
  was itself done before the cut; any other that had begun is there, is not, or (a write) is there but for some sectors,
  each on its own, whatever became of those before it;
- names of a folder come and go in their order: those that a sync of the folder covers for certain, and any number of
  those behind them. A sync of a file says nothing of its name.

That is less than what ext4, XFS or btrfs promise. A disk that lies about its syncs is one of which none counts.
"""

import os
import random
import shutil
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Final

from tests.support.disk import SYNCS, Call, Disk, Hook

NEVER: Final = 2**62
SECTOR_BYTES: Final = 512
EXHAUSTIVE_WRITES: Final = 3
_FOLDER: Final = -1
_SHARED_MEMORY: Final = "-shm"  # SQLite makes it anew when nobody has the index open


@dataclass(slots=True)
class Change:
    """One call of one drive. `file` counts files, whatever their names; `names` are what becomes of names in `folder`:
    pairs of a name and the file that it stands for from then on, None for none."""

    began: int
    drive: int
    done: int = NEVER
    file: int = -1
    offset: int = 0
    content: bytes = b""
    size: int | None = None  # of a truncation
    grows_to: int = 0  # of an allocation
    folder: str = ""
    names: tuple[tuple[str, int | None], ...] = ()
    syncs_file: int = -1
    syncs_folder: str = ""

    @property
    def is_write(self) -> bool:
        return self.file >= 0

    @property
    def is_naming(self) -> bool:
        return bool(self.names)


@dataclass
class Recording:
    """What was on the drives in the beginning, all of it certain, and what was done to them. Paths are relative to the
    drive's root."""

    contents: dict[int, bytes] = field(default_factory=dict)  # of files, as they were in the beginning
    names: list[dict[str, dict[str, int]]] = field(default_factory=list)  # by drive: folder, name, file
    changes: list[Change] = field(default_factory=list)
    ticks: int = 0


class Recorder(Hook):
    """Put it on a Disk whose drives rest. `tick` numbers the events of whoever watches."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._guard = threading.Lock()
        self._open: dict[tuple[int, str, str], Change] = {}
        self.recording = Recording()
        self._files: list[dict[str, int]] = []  # by drive: path, file; as it is now
        for root in disk.drives:
            self._take_up(Path(root))

    def tick(self) -> int:
        with self._guard:
            return self._tick()

    def before(self, call: Call) -> None:
        if call.drive < 0 or not (call.is_change or call.path.endswith("index.sync")):
            return
        with self._guard:
            change = self._change_of(call)
            if change is not None:
                self.recording.changes.append(change)
                self._open[threading.get_ident(), call.name, call.path] = change

    def after(self, call: Call) -> None:
        with self._guard:
            change = self._open.pop((threading.get_ident(), call.name, call.path), None)
            if change is not None:
                change.done = self._tick()

    def _tick(self) -> int:
        self.recording.ticks += 1
        return self.recording.ticks

    def _take_up(self, root: Path) -> None:
        folders: dict[str, dict[str, int]] = {}
        paths: dict[str, int] = {}
        for folder, below, names in os.walk(root):
            inside = os.path.relpath(folder, root)
            folders[inside] = {f"{name}/": _FOLDER for name in below}
            for name in names:
                if not name.endswith(_SHARED_MEMORY):
                    number = len(self.recording.contents)
                    self.recording.contents[number] = Path(folder, name).read_bytes()
                    folders[inside][name] = paths[os.path.normpath(os.path.join(inside, name))] = number
        self.recording.names.append(folders)
        self._files.append(paths)

    def _change_of(self, call: Call) -> Change | None:
        root = self._disk.drives[call.drive]
        path = os.path.relpath(call.path, root)
        folder, name = os.path.split(path)
        made = Change(self._tick(), call.drive, folder=folder or ".")
        files = self._files[call.drive]
        if call.name in ("create", "index.create"):
            if path not in files:
                files[path] = self._new_file()
                made.names = ((name, files[path]),)
            elif call.size:
                made.file, made.size = files[path], 0
            else:
                return None
        elif call.name in ("pwrite", "index.write"):
            made.file, made.offset, made.content = files[path], call.offset, call.content
        elif call.name == "index.truncate":
            made.file, made.size = files[path], call.size
        elif call.name == "allocate":
            made.file, made.grows_to = files[path], call.size
        elif call.name == "sync_folder":
            made.syncs_folder = path
        elif call.name in SYNCS:
            made.syncs_file = files[path]
            made.syncs_folder = made.folder if call.name == "index.sync" and call.size else ""
        elif call.name in ("unlink", "index.delete"):
            if files.pop(path, None) is None:
                return None
            made.names = ((name, None),)
            made.syncs_folder = made.folder if call.name == "index.delete" and call.size else ""
        elif call.name == "rename":
            target = os.path.relpath(call.new_path, root)
            assert os.path.dirname(target) == folder, "files are renamed within their folder"
            files[target] = files.pop(path)
            made.names = ((name, None), (os.path.basename(target), files[target]))
        elif call.name == "make_folder":
            made.names = ((f"{name}/", _FOLDER),)
        else:
            return None  # the time of a file
        return made

    def _new_file(self) -> int:
        number = len(self.recording.contents)
        self.recording.contents[number] = b""
        return number


@dataclass(frozen=True, slots=True)
class Kept:
    """What is there of a drive after the cut: names by folder, and the changes of files that took place."""

    names: dict[str, dict[str, int]]
    writes: tuple[tuple[Change, int], ...]  # with the number that chooses the sectors of a torn one, 0 for a whole one


class PowerCut:
    """The power fails at `tick`. `liars`: drives whose syncs do nothing."""

    def __init__(self, recording: Recording, tick: int, liars: Collection[int] = ()) -> None:
        self._recording = recording
        begun = [change for change in recording.changes if change.began < tick]
        syncs = [change for change in begun if change.done < tick and change.drive not in liars]
        self._file_syncs: dict[int, int] = {}  # of each file: when the last sync began
        self._folder_syncs: dict[tuple[int, str], int] = {}
        for sync in syncs:
            if sync.syncs_file >= 0:
                self._file_syncs[sync.syncs_file] = max(sync.began, self._file_syncs.get(sync.syncs_file, 0))
            if sync.syncs_folder:
                place = (sync.drive, sync.syncs_folder)
                # That of a deletion covers itself.
                since = sync.done if sync.is_naming else sync.began
                self._folder_syncs[place] = max(since, self._folder_syncs.get(place, 0))
        self._writes = [change for change in begun if change.is_write]
        self._namings: dict[tuple[int, str], list[Change]] = {}
        for change in begun:
            if change.is_naming:
                self._namings.setdefault((change.drive, change.folder), []).append(change)
        self.doubtful_writes = [change for change in self._writes if not self._is_certain(change)]
        self._certain_namings = {
            place: max(
                (at + 1 for at, one in enumerate(made) if one.done <= self._folder_syncs.get(place, 0)), default=0
            )
            for place, made in self._namings.items()
        }

    def states(self, chance: random.Random) -> Iterator[list[Kept]]:
        """Every one when there are few; else without end: nothing that is in doubt, all of it, all but one, one alone,
        and then what chance gives.
        """
        doubtful = self.doubtful_writes
        if len(doubtful) <= EXHAUSTIVE_WRITES:
            yield from self._every_state()
            return
        yield self._state({}, dict(self._certain_namings))
        every = {id(change): 0 for change in doubtful}
        all_names = {place: len(made) for place, made in self._namings.items()}
        yield self._state(every, all_names)
        for change in chance.sample(doubtful, len(doubtful)):
            rest = {number: torn for number, torn in every.items() if number != id(change)}
            yield self._state(rest, all_names)
            yield self._state({id(change): 0}, dict(self._certain_namings))
        while True:
            share = chance.random()
            kept = {
                id(change): chance.getrandbits(32) if chance.random() < 0.15 else 0
                for change in doubtful
                if chance.random() < share
            }
            names = {
                place: chance.randint(self._certain_namings[place], len(made)) for place, made in self._namings.items()
            }
            yield self._state(kept, names)

    def _every_state(self) -> Iterator[list[Kept]]:
        """With whole writes."""
        numbers = [range(self._certain_namings[place], len(made) + 1) for place, made in self._namings.items()]
        for kept in product((False, True), repeat=len(self.doubtful_writes)):
            chosen = {id(change): 0 for change, is_kept in zip(self.doubtful_writes, kept, strict=True) if is_kept}
            for names in product(*numbers):
                yield self._state(chosen, dict(zip(self._namings, names, strict=True)))

    def _is_certain(self, change: Change) -> bool:
        return change.done <= self._file_syncs.get(change.file, 0)

    def _state(self, kept: dict[int, int], named: dict[tuple[int, str], int]) -> list[Kept]:
        state = []
        for drive, names in enumerate(self._recording.names):
            held = {folder: dict(inside) for folder, inside in names.items()}
            for place, made in self._namings.items():
                if place[0] == drive:
                    for change in made[: named[place]]:
                        _rename(held.setdefault(place[1], {}), change)
            writes = [
                (change, kept.get(id(change), 0))
                for change in self._writes
                if change.drive == drive and (self._is_certain(change) or id(change) in kept)
            ]
            state.append(Kept(held, tuple(writes)))
        return state


def _rename(names: dict[str, int], change: Change) -> None:
    for name, file in change.names:
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file


def make_drives(recording: Recording, state: Sequence[Kept], roots: Sequence[Path]) -> int:
    """Write what was kept into folders, whatever is in them now. A number that tells states apart."""
    told = [_fill(root, ".", kept, _Contents(recording, kept)) for root, kept in zip(roots, state, strict=True)]
    return hash(tuple(told))


def _fill(place: Path, folder: str, kept: Kept, contents: "_Contents") -> int:
    place.mkdir(exist_ok=True)
    wanted = kept.names.get(folder, {})
    for name in set(os.listdir(place)) - {name.rstrip("/") for name in wanted}:
        found = place / name
        if found.is_dir():
            shutil.rmtree(found)
        else:
            found.unlink()
    told = []
    for name, file in sorted(wanted.items()):
        if name.endswith("/"):
            told.append(_fill(place / name, os.path.normpath(os.path.join(folder, name)), kept, contents))
        else:
            content = contents.of(file)
            (place / name).write_bytes(content)
            told.append(hash((name, content)))
    return hash((folder, tuple(told)))


class _Contents:
    def __init__(self, recording: Recording, kept: Kept) -> None:
        self._before = recording.contents
        self._writes: dict[int, list[tuple[Change, int]]] = {}
        for change, torn in kept.writes:
            self._writes.setdefault(change.file, []).append((change, torn))

    def of(self, file: int) -> bytes:
        writes = self._writes.get(file)
        if writes is None:
            return self._before[file]
        content = bytearray(self._before[file])
        for change, torn in writes:
            _apply(content, change, torn)
        return bytes(content)


def _apply(content: bytearray, change: Change, torn: int) -> None:
    if change.size is not None:
        del content[change.size :]
        return
    end = max(change.grows_to, change.offset + len(change.content) if change.content else 0)
    content.extend(bytes(max(0, end - len(content))))
    if not torn:
        content[change.offset : change.offset + len(change.content)] = change.content
        return
    chance = random.Random(torn)
    for start in range(0, len(change.content), SECTOR_BYTES):
        if chance.random() < 0.5:
            piece = change.content[start : start + SECTOR_BYTES]
            content[change.offset + start : change.offset + start + len(piece)] = piece
