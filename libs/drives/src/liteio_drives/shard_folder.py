"""Where a drive's shard files are, what is staged, and which of them may go. docs/formats/shard-footer.md."""

import logging
import os
import threading
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from liteio_base.check import check
from liteio_contracts.storage import KeyName, ShardRef
from liteio_contracts.storage_errors import ShardCorrupt, ShardMissing
from liteio_drives.claims import Claims
from liteio_drives.files import FileSystem, read_all
from liteio_drives.index_data import FileName
from liteio_drives.index_files import ExpectedFile
from liteio_drives.record_view import NamedFile, data_id_bytes
from liteio_formats.footer import (
    ALIGNMENT_BYTES,
    TRAILER_BYTES,
    FooterError,
    ShardFooter,
    decode_footer,
    trailer_says,
)

_log = logging.getLogger(__name__)

DATA_FOLDER: Final = "data"
REPAIR_SUFFIX: Final = ".new"  # written beside a file that is to be replaced, then renamed over it
_STAGED_MAX: Final = 20_000


class StagedFile(NamedTuple):
    """What is remembered of a file that this process closed: enough to check it without reading its footer again."""

    file_bytes: int
    shard_index: int
    k: int
    m: int
    part_size_bytes: int


class ShardFolder:
    """Paths and checks. Its methods touch the disk and run on the drive's threads."""

    def __init__(self, drive_path: str, files: FileSystem, claims: Claims) -> None:
        self.root: Final = os.path.join(drive_path, DATA_FOLDER)
        self.files: Final = files
        self.claims: Final = claims
        self._staged: dict[FileName, StagedFile] = {}
        self._guard = threading.Lock()

    def path_of(self, name: FileName) -> str:
        return self.path_to(file_name(name))

    def path_to(self, file_name: str) -> str:
        return os.path.join(self.root, file_name[:2], file_name)

    def folder(self, number: int) -> str:
        return os.path.join(self.root, f"{number:02x}")

    def exists(self, path: str) -> bool:
        """As far as the disk tells."""
        try:
            self.files.stat(path)
        except FileNotFoundError:
            return False
        except OSError:
            pass
        return True

    # Staging.

    def remember(self, footer: ShardFooter) -> None:
        name = FileName(data_id_bytes(footer.data_id), footer.part_number)
        with self._guard:
            while len(self._staged) >= _STAGED_MAX:
                del self._staged[next(iter(self._staged))]
            self._staged[name] = _staged_of(footer)

    def named(self, files: Iterable[NamedFile]) -> None:
        """When the transaction whose rows name them is durable."""
        self.claims.settle([file_name(FileName(file.data_id, file.part)) for file in files])

    def require(self, file: NamedFile) -> None:
        """Inside the commit's transaction: is the file that a row names here, whole, and the shard that it implies?
        Raises ShardMissing.
        """
        name = FileName(file.data_id, file.part)
        path = self.path_of(name)
        facts = {"data_id": file.data_id.hex(), "part_number": file.part}
        try:
            size = self.files.stat(path).size_bytes
        except FileNotFoundError:
            raise ShardMissing("a row names a shard that is not staged here", **facts) from None
        staged = self._staged.get(name)
        if staged is None or staged.file_bytes != size:
            staged = self._inspect(path, facts)
        wanted = (file.shard_index, file.k, file.m, file.part_size_bytes)
        if staged.file_bytes != size or staged[1:] != wanted:
            raise ShardMissing("the staged shard is not the one that the row implies", **facts)

    def missing(self, files: Iterable[ExpectedFile]) -> tuple[KeyName, ...]:
        """The keys of those files that are not there, or not as long as they should be; each once, in order."""
        found: dict[KeyName, None] = {}
        for file in files:
            try:
                is_there = self.files.stat(self.path_of(file.name)).size_bytes == file.file_bytes
            except FileNotFoundError:
                is_there = False
            if not is_there:
                found[file.key_name] = None
        return tuple(found)

    def _inspect(self, path: str, facts: dict[str, object]) -> StagedFile:
        descriptor = self.files.open(path, os.O_RDONLY)
        try:
            return _staged_of(read_footer(self.files, descriptor))
        except FooterError as problem:
            raise ShardMissing(f"the staged shard is not whole: {problem}", **facts) from problem
        finally:
            self.files.close(descriptor)

    # Removing.

    def remove(self, names: Sequence[FileName]) -> int:
        """Under the committer's lock. Returns how many files went; what can not be removed stays claimed."""
        count = 0
        stuck = set()
        for name in names:
            self._staged.pop(name, None)
            path = self.path_of(name)
            if self.remove_path(path):
                count += 1
            elif self.exists(path):
                stuck.add(name)
        self.claims.settle([file_name(name) for name in names if name not in stuck])
        return count

    def remove_path(self, path: str) -> bool:
        try:
            self.files.unlink(path)
        except FileNotFoundError:
            return False
        except OSError as problem:
            _log.warning("could not remove %s: %s", path, problem)
            return False
        return True

    def old_files(self, folder: str, before_ns: int) -> list[str]:
        """Paths of files that nobody has written to since `before_ns` and no writer here claims."""
        found = []
        for file_name in self.files.names(folder):
            path = os.path.join(folder, file_name)
            if self.claims.is_mine(file_name):
                continue
            try:
                facts = self.files.stat(path)
            except FileNotFoundError:
                continue
            if not facts.is_folder and facts.modified_ns < before_ns:
                found.append(path)
        return found


def file_name(name: FileName) -> str:
    return f"{name.data_id.hex()}.{name.part}"


def name_in(path: str) -> FileName | None:
    """The name that a path spells; None for a file of another kind, such as a repair that was never finished."""
    digits, _, part = os.path.basename(path).partition(".")
    try:
        return FileName(data_id_bytes(digits), int(part)) if part.isdecimal() else None
    except ValueError:
        return None


def file_name_of(ref: ShardRef) -> FileName:
    """Raises BrokenBelief for a ref that can not be a file's."""
    try:
        name = FileName(data_id_bytes(ref.data_id), ref.part_number)
    except ValueError:
        name = None
    check(name is not None and ref.part_number >= 0, "a shard's data id is 32 hex digits")
    assert name is not None  # for the type checker; check() has spoken
    return name


def read_footer(files: FileSystem, descriptor: int) -> ShardFooter:
    """The footer of an open file. Raises FooterError when the file is not whole."""
    size = files.stat_open(descriptor).size_bytes
    tail_bytes = min(size, ALIGNMENT_BYTES)
    tail = read_all(files, descriptor, tail_bytes, size - tail_bytes)
    if size < TRAILER_BYTES or len(tail) != tail_bytes:
        raise FooterError("the file is too short to end in a footer")
    length = trailer_says(tail)
    if length > size:
        raise FooterError("the footer is longer than the file")
    encoded = tail[-length:] if length <= tail_bytes else read_all(files, descriptor, length, size - length)
    footer = decode_footer(encoded)
    if footer.file_bytes != size:
        raise FooterError("the file is not as long as its footer says")
    return footer


def require_identity(footer: ShardFooter, ref: ShardRef) -> None:
    """Raises ShardCorrupt when the footer is another shard's."""
    if (footer.data_id, footer.part_number, footer.shard_index) != (ref.data_id, ref.part_number, ref.shard_index):
        raise ShardCorrupt("the footer is another shard's", ref=repr(ref))


def _staged_of(footer: ShardFooter) -> StagedFile:
    return StagedFile(footer.file_bytes, footer.shard_index, footer.k, footer.m, footer.part_size_bytes)
