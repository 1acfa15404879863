"""Which files of a drive are whose, while no row names them. docs/formats/claims.md.

A process writes a file's name into its claims before it makes the file, and holds a lock on them for as long as it has
the drive open. The kernel frees the lock when the process ends, however it ends: whoever then gets it may remove what
is written there. No clock says whether a writer lives.
"""

import logging
import os
import re
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple

from liteio_base.check import check
from liteio_base.clock import Clock, Randomness
from liteio_drives.claims_file import ClaimsFile, names_in
from liteio_drives.files import FileSystem
from liteio_drives.limits import CLAIMS_BYTES

_log = logging.getLogger(__name__)

CLAIMS_FOLDER: Final = "claims"
_FILE: Final = re.compile(r"[0-9a-f]{16}")
_TRIES: Final = 100  # to find a name for the claims that nobody has
_LOOK_SECONDS: Final = 1.0  # how often it is asked whether the claims are still where others look for them


class DeadClaims(NamedTuple):
    """What a process left behind that is gone. `descriptor` holds the lock, so that nobody else clears up after it."""

    path: str
    descriptor: int
    names: Sequence[str]


class Claims:
    """This process's, of one drive, and its view of the others'. For the drive's threads: most methods touch the disk.

    A name is that of a file without its folder. It is open while the file is being made, then closed until a row names
    it. What could not be struck out on the disk stays there: a claim on a file that a row names, or that is gone, means
    nothing.
    """

    def __init__(self, folder: str, lock_path: str, *, files: FileSystem, clock: Clock, randomness: Randomness) -> None:
        """`lock_path` is the drive's index.lock, which is held by those who remove files."""
        self._folder = folder
        self._lock_path = lock_path
        self._files = files
        self._clock = clock
        self._randomness = randomness
        self._open: Counter[str] = Counter()
        self._closed: dict[str, float] = {}  # since when, on the monotonic clock
        self._taken: set[str] = set()  # paths of the dead's claims that are being cleared here
        self._guard = threading.Lock()  # of the names; the file has one of its own, because disks may hang
        self._file: ClaimsFile | None = None
        self._file_guard = threading.Lock()
        self._bytes_max = CLAIMS_BYTES
        self._look_at = 0.0

    # The life of a name.

    def begin(self, name: str) -> None:
        """Before a file is made that must not exist yet. Raises OSError, and then claims nothing."""
        with self._guard:
            self._open[name] += 1
        try:
            self._write(f"{name}\n")
        except BaseException:
            self._end(name)
            raise

    def begin_beside(self, name: str) -> None:
        """As `begin`, for the name of a file that exists and is to be replaced. Who removes files holds the drive's
        lock from its look at the claims to the last unlink, so behind the lock the new file is safe from everybody.
        """
        lock = self._files.open(self._lock_path, os.O_RDWR | os.O_CREAT)
        try:
            self._files.lock(lock)
            self.begin(name)
        finally:
            self._files.close(lock)

    def close(self, name: str) -> None:
        """The file is whole, or was given up: a row names it soon, or it is overdue."""
        with self._guard:
            self._closed[name] = self._clock.monotonic()
        self._end(name)

    def withdraw(self, name: str) -> None:
        """The file is gone again, or was never this process's."""
        self._end(name)
        self._strike([name])

    def settle(self, names: Sequence[str]) -> None:
        """Rows name these files now, or they are gone."""
        with self._guard:
            for name in names:
                self._closed.pop(name, None)
        self._strike(names)

    def note(self, names: Sequence[str]) -> None:
        """Before rows forget these files, which are to be removed then: another has to do it if this process is killed
        in between. Raises OSError when that can not be written down; they are claimed here all the same.
        """
        with self._guard:
            self._closed.update(dict.fromkeys(names, self._clock.monotonic()))
        self._write("".join(f"{name}\n" for name in names))

    def _end(self, name: str) -> None:
        with self._guard:
            check(self._open[name] > 0, "a claim that ends was begun")
            self._open[name] -= 1
            if not self._open[name]:
                del self._open[name]

    # Questions.

    def is_open(self, name: str) -> bool:
        with self._guard:
            return name in self._open

    def is_mine(self, name: str) -> bool:
        with self._guard:
            return name in self._open or name in self._closed

    def is_empty(self) -> bool:
        """Cheap, on any thread."""
        return not self._open and not self._closed

    def overdue(self, age_seconds: float) -> list[str]:
        """Closed that long ago and still not named, as far as this process knows."""
        until = self._clock.monotonic() - age_seconds
        with self._guard:
            return [name for name, since in self._closed.items() if since < until and name not in self._open]

    def of_others(self) -> set[str]:
        """What the other living processes claim. Raises OSError."""
        found: set[str] = set()
        for path, descriptor in self._foreign():
            try:
                if path not in self._taken and not self._files.try_lock(descriptor, is_shared=False):
                    found.update(names_in(self._files, descriptor))
            finally:
                self._files.close(descriptor)
        return found

    # The dead.

    def take_dead(self) -> list[DeadClaims]:
        """The claims of processes that are gone, to be given to `let_go` in the end. Raises OSError."""
        dead: list[DeadClaims] = []
        try:
            for path, descriptor in self._foreign():
                if not self._files.try_lock(descriptor, is_shared=False):
                    self._files.close(descriptor)
                    continue
                dead.append(DeadClaims(path, descriptor, ()))
                self._taken.add(path)
            return [one._replace(names=names_in(self._files, one.descriptor)) for one in dead]
        except BaseException:
            self.let_go(dead)
            raise

    def bury(self, dead: DeadClaims) -> None:
        """Nothing is left of what they say."""
        try:
            self._files.unlink(dead.path)
        except OSError as problem:
            _log.warning("could not remove %s: %s", dead.path, problem)

    def let_go(self, dead: Collection[DeadClaims]) -> None:
        for one in dead:
            self._taken.discard(one.path)
            self._files.close(one.descriptor)

    def _foreign(self) -> Iterator[tuple[str, int]]:
        """Paths and open descriptors, which are the caller's to close, of all claims but this process's."""
        try:
            names = self._files.names(self._folder)
        except FileNotFoundError:
            return
        mine = self._file
        for name in names:
            path = os.path.join(self._folder, name)
            if not _FILE.fullmatch(name) or (mine is not None and path == mine.path):
                continue
            try:
                yield path, self._files.open(path, os.O_RDWR)
            except FileNotFoundError:
                continue

    # The file.

    def end(self) -> None:
        """When the drive's threads have ended. What is still claimed is free for all."""
        with self._file_guard:
            file, self._file = self._file, None
            if file is not None:
                self._drop_file(file, keeps=not self.is_empty())

    def _strike(self, names: Sequence[str]) -> None:
        """Unless they are claimed here for another reason, which is looked at last: such a claim is written later."""
        with self._file_guard:
            text = "".join(f"-{name}\n" for name in names if not self.is_mine(name))
            if self._file is None or not text:
                return
            try:
                self._file.append(text)
            except OSError as problem:
                _log.warning("could not withdraw from the claims in %s: %s", self._folder, problem)

    def _write(self, text: str) -> None:
        with self._file_guard:
            file = self._ready_file()
            file.append(text)
            if file.size_bytes > self._bytes_max:
                try:
                    self._renew_file()
                except OSError as problem:
                    _log.warning("the claims in %s can not be written anew, and grow: %s", self._folder, problem)
                    self._bytes_max += CLAIMS_BYTES

    def _ready_file(self) -> ClaimsFile:
        now = self._clock.monotonic()
        if self._file is not None and now < self._look_at:
            return self._file
        self._look_at = now + _LOOK_SECONDS
        if self._file is None or not self._file.is_in_place():  # the drive was emptied under a running process
            return self._renew_file()
        return self._file

    def _renew_file(self) -> ClaimsFile:
        """Go on in a new file with nothing but what is claimed now. Until the old one is gone, both are locked."""
        file = self._make_file()
        try:
            with self._guard:
                text = "".join(f"{name}\n" for name in {**self._open, **self._closed})
            file.append(text)
        except BaseException:
            self._drop_file(file)
            raise
        old, self._file = self._file, file
        self._bytes_max = max(CLAIMS_BYTES, 2 * file.size_bytes)
        if old is not None:
            self._drop_file(old)
        return file

    def _make_file(self) -> ClaimsFile:
        for _ in range(_TRIES):
            path = os.path.join(self._folder, self._randomness.token_bytes(8).hex())
            try:
                descriptor = self._files.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            except FileExistsError:
                continue
            except FileNotFoundError:
                self._files.make_folder(self._folder)
                continue
            file = ClaimsFile(self._files, path, descriptor)
            # Between making and locking it somebody may take it for a dead process's, and remove it.
            if self._files.try_lock(descriptor, is_shared=False) and file.is_in_place():
                return file
            self._drop_file(file)
        raise FileExistsError(f"no free name for claims in {self._folder}")

    def _drop_file(self, file: ClaimsFile, *, keeps: bool = False) -> None:
        try:
            if not keeps and file.is_in_place():
                self._files.unlink(file.path)
        except OSError as problem:
            _log.warning("could not remove %s: %s", file.path, problem)
        finally:
            self._files.close(file.descriptor)
