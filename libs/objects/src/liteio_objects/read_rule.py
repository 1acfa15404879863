"""The read rule: what the drives' answers say about one version id of a key. Pure; docs/protocols/commit.md R1-R5.

A *register* is one version id of one key: a chain of records by time (a null version that is overwritten, tags that
change, a tombstone at last). Each register is decided on its own; the latest version of a key is the newest created
among the registers that are decided to hold something.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from liteio_base.ids import Generation, HybridTime, VersionId
from liteio_contracts.storage import Entry, KeyAnswer
from liteio_erasure.code import CodeParams
from liteio_formats.record import Kind, Record, Space, decode_record


@dataclass(frozen=True, slots=True)
class View:
    """What one drive said of one register: its entries newest first, and the times it has fenced."""

    generation: Generation
    is_authoritative: bool
    entries: tuple[Entry, ...]
    fenced_times: frozenset[HybridTime]
    is_unchecked: bool = False

    def held(self, candidate: Entry) -> Entry | None:
        for entry in self.entries:
            if entry.time == candidate.time and entry.digest == candidate.digest:
                return entry
        return None


def view_of(answer: KeyAnswer, version_id: VersionId) -> View:
    """The part of a drive's answer that concerns one register."""
    entries = [entry for entry in answer.entries if entry.version_id == version_id]
    entries.sort(key=lambda entry: (entry.time, entry.digest), reverse=True)
    fenced = frozenset(fence.time for fence in answer.fences if fence.version_id == version_id)
    return View(answer.generation, answer.is_authoritative, tuple(entries), fenced, answer.is_unchecked)


class Standing(Enum):
    """Where one record stands among the drives."""

    COMMITTED = auto()  # W drives hold it
    FORWARD = auto()  # it can and must be rolled forward
    RETRY = auto()  # seen settled, yet too few hold it: trimming was under way, read again
    DEAD = auto()  # enough drives have promised never to take it
    SKIPPED = auto()  # it was certainly never acknowledged
    UNKNOWN = auto()  # too few answers to tell


@dataclass(frozen=True, slots=True)
class Weighed:
    """One record as weighed over all drives of the set."""

    entry: Entry
    record: Record
    standing: Standing
    holders: frozenset[int]
    is_settled: bool  # on any holder

    @property
    def is_proven(self) -> bool:
        """Whether W drives hold it, or did: it stays, and is for every drive."""
        return self.standing is Standing.COMMITTED or self.is_settled


class Verdict(Enum):
    """What a reader does about a register."""

    HOLDS = auto()  # `weighed` is its value, a tombstone included
    EMPTY = auto()  # surely nothing
    RECOMMIT = auto()  # `weighed` must reach W drives first
    UNKNOWN = auto()  # 503


@dataclass(frozen=True, slots=True)
class Decision:
    verdict: Verdict
    weighed: Weighed | None = None

    @property
    def live(self) -> Weighed | None:
        """The record that is there for a client: not a tombstone."""
        if self.weighed is not None and self.weighed.entry.kind is not Kind.TOMBSTONE:
            return self.weighed
        return None


Views = Mapping[int, View]
"""The answers of the drives that gave one, by slot."""


def candidates(views: Views) -> list[Entry]:
    """The distinct records of a register that any drive holds, newest first."""
    found: dict[tuple[HybridTime, bytes], Entry] = {}
    for view in views.values():
        for entry in view.entries:
            found.setdefault((entry.time, entry.digest), entry)
    return [found[identity] for identity in sorted(found, reverse=True)]


def weigh(entry: Entry, views: Views, code: CodeParams) -> Weighed:
    """R1-R4 for one record. A drive that gave no answer, or may not vouch (R3), counts as one that may hold it."""
    record = decode_record(entry.encoded)
    holders, unknown, fenced, is_settled = [], code.width - len(views), 0, False
    for slot, view in views.items():
        held = view.held(entry)
        if held is not None:
            holders.append(slot)
            is_settled = is_settled or held.is_settled
        elif not vouches(view, record, slot):
            unknown += 1
        elif entry.time in view.fenced_times:
            fenced += 1
    standing = _standing(len(holders), unknown, fenced, is_settled, _holders_needed(record, code), code)
    return Weighed(entry, record, standing, frozenset(holders), is_settled)


def _standing(
    holders: int, unknown: int, fenced: int, is_settled: bool, holders_needed: int, code: CodeParams
) -> Standing:
    if holders >= code.write_quorum:  # R2: the commit point
        return Standing.COMMITTED
    if is_settled:  # R4: a version seen settled is never skipped
        return Standing.FORWARD if holders >= holders_needed else Standing.RETRY
    if fenced >= code.read_quorum:  # R1: N-W+1 vouching drives do not hold it and never will
        return Standing.DEAD
    if holders >= code.k:
        return Standing.FORWARD
    if holders + unknown < code.write_quorum:
        return Standing.SKIPPED
    return Standing.FORWARD if holders >= holders_needed else Standing.UNKNOWN


def vouches(view: View, record: Record, slot: int) -> bool:
    """R3: whether "not held" from this drive is an answer about this record."""
    if view.is_authoritative:
        return True
    return slot < len(record.generations) and record.generations[slot] in (view.generation, "")


def named_generation(record: Record, slot: int) -> Generation:
    """The generation that the record names for this drive, "" for none. R5: where it names none it is brought only when
    it is proven: such a drive vouches for not holding it (R3), also when it was given it and emptied since."""
    return record.generations[slot] if slot < len(record.generations) else Generation("")


def _holders_needed(record: Record, code: CodeParams) -> int:
    """How many drives can bring a record back: K where it has shards, one where the record is all there is.

    The end of an upload is committed together with its object, and must not come back where that can not.
    """
    is_upload = record.space is Space.UPLOAD and record.kind is Kind.VALUE
    return code.k if record.parts or is_upload else 1


def decide(views: Views, code: CodeParams) -> Decision:
    """R2-R5: the newest record of the register that is not skipped, and what to do about it."""
    for entry in candidates(views):
        weighed = weigh(entry, views, code)
        if weighed.standing in (Standing.DEAD, Standing.SKIPPED):
            continue
        return Decision(_verdict(weighed, views, code), weighed)
    if is_witnessed(views.values(), code):
        return Decision(Verdict.EMPTY)
    return Decision(Verdict.UNKNOWN)


def _verdict(weighed: Weighed, views: Views, code: CodeParams) -> Verdict:
    if weighed.standing is Standing.COMMITTED:
        return Verdict.HOLDS
    if weighed.standing is Standing.FORWARD:
        # R5: held by K or more and settled somewhere: it is served at once. K holders meet every write quorum. Fewer,
        # of a record that needs no shards, may all have missed a newer one, and so may unchecked holders have lost it:
        # then witnesses are needed.
        checked = sum(not views[slot].is_unchecked for slot in weighed.holders)
        if weighed.is_settled and (checked >= code.k or is_witnessed(views.values(), code)):
            return Verdict.HOLDS
        if len(views) >= code.write_quorum:
            return Verdict.RECOMMIT
    return Verdict.UNKNOWN


class Witness(Protocol):
    """An answer, as far as its drive matters."""

    @property
    def is_authoritative(self) -> bool: ...
    @property
    def is_unchecked(self) -> bool: ...


def count_authoritative(answers: Iterable[Witness]) -> int:
    return sum(1 for answer in answers if answer.is_authoritative)


def is_witnessed(answers: Iterable[Witness], code: CodeParams) -> bool:
    """Whether one of these drives would show whatever was acknowledged: N-W+1 of them are whole and checked, or M+1 are
    whole. Of drives that come back from a restart up to M may have lost what they had answered for."""
    authoritative = checked = 0
    for answer in answers:
        if answer.is_authoritative:
            authoritative += 1
            checked += not answer.is_unchecked
    return checked >= code.read_quorum or authoritative > code.m
