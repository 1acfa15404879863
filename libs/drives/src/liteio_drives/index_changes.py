"""What a drive's transactions do: commit, confirm, fence, roll back. docs/protocols/commit.md gives the rules (R1-R9).

Usage counters count every held row that no tombstone hides, settled or not; a key is a live object when its newest such
row is a VALUE. So a delete shows at once, and a replaced row counts until the confirm that removes it.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from liteio_base.ids import BucketId, Generation
from liteio_contracts.storage import CasScope, Commit, FenceAnswer, FenceRequest, KeyName, VersionRef
from liteio_contracts.storage_errors import (
    BucketHoldsObjects,
    Fenced,
    GenerationChanged,
    NotAuthoritative,
    NothingHeld,
    RequirementMissing,
    StaleBucket,
    StaleTopology,
    Superseded,
)
from liteio_drives.index_buckets import BucketTable, Delta, bucket_body_of
from liteio_drives.index_data import DataTable
from liteio_drives.index_live import LiveIndex
from liteio_drives.index_purges import PurgeTable
from liteio_drives.index_rows import (
    IN_LIVE_INDEX,
    OUT_OF_LIVE_INDEX,
    OUTLOOK_ROWS,
    Held,
    KeyAt,
    RowTable,
    Survey,
    Tombstones,
)
from liteio_drives.index_schema import Standing
from liteio_drives.index_sql import Bulk, Sql
from liteio_drives.limits import NOTES_MAX
from liteio_drives.record_view import (
    CommitView,
    NamedFile,
    Register,
    RowView,
    created_in,
    decode_held,
    files_of,
    is_readable,
    version_bytes,
)
from liteio_formats.bodies import BucketState, UploadState, decode_upload_body
from liteio_formats.keys import part_prefix, split_upload_key
from liteio_formats.record import Kind, Space

_IS_SETTLED: Final = (
    "AND NOT EXISTS (SELECT 1 FROM unsettled u WHERE u.space = t.space AND u.bucket = t.bucket AND u.key = t.key"
    " AND u.version = t.version AND u.time = t.time)"
)
_ADD_EVENT: Final = Bulk("INSERT INTO outbox(queued_ns, payload) VALUES", "(?,?)")
Counted = Sequence[Held | RowView]


class Meta(NamedTuple):
    """The drive's own identity and state, as the index keeps them."""

    drive_id: str
    generation: Generation
    is_authoritative: bool
    topology_number: int = 0
    is_unchecked: bool = False


class _Facts(NamedTuple):
    """What is held of a row's key and of its register before the row is added."""

    at: KeyAt
    survey: Survey
    newest: list[Held]  # of the key, as in its Outlook
    register: list[Held]
    tombstones: Tombstones  # of the register

    @property
    def holds_anything(self) -> bool:
        """Of the register: rows, tombstones or fences."""
        return bool(self.register or self.tombstones or self.survey.has_fences)

    @property
    def head_time(self) -> int:
        return max(self.newest[0].created if self.newest else 0, self.survey.tombstone_time)

    @property
    def register_time(self) -> int:
        row_time = self.register[0].time if self.register else 0
        return max(row_time, _newest(self.tombstones))

    @property
    def is_only_version(self) -> bool:
        """Whether the key surely has no rows but the register's."""
        return len(self.newest) < OUTLOOK_ROWS and len(self.register) == len(self.newest)

    @property
    def visible(self) -> list[Held]:
        """The register's rows that no tombstone hides."""
        return _visible(self.register, _newest(self.tombstones))

    def of_time(self, row: RowView) -> Held | None:
        """The row of that time: the very record, unless it is damaged, or two writers chose one time."""
        return next((held for held in self.register if held.time == row.time), None)


class _Note(NamedTuple):
    """What a commit left for its confirm: nothing but to clear its mark, or besides one row that its tombstone hid."""

    time: int
    at: KeyAt
    hidden: Held | None


class Changes:
    """Every method runs inside a write transaction and may raise half way: the caller's savepoint undoes it."""

    def __init__(self, sql: Sql, require_file: Callable[[NamedFile], None]) -> None:
        """`require_file` raises ShardMissing when a file is not staged here with the length that its row implies."""
        self._sql = sql
        self._execute = sql.execute
        self.rows = RowTable(sql)
        self.buckets = BucketTable(sql)
        self.data = DataTable(sql)
        self.purges = PurgeTable(sql, self.data, self._note_chores)
        self.live_index = LiveIndex(sql, self._note_chores)
        self.has_chores = False  # at the transaction's beginning, or by now
        self._require_file = require_file
        self._notes: dict[Register, _Note] = {}

    def begin(self, payload_number: int, *, has_chores: bool) -> None:
        """A transaction begins. `payload_number`: as RowTable.begin has it."""
        self.rows.begin(payload_number)
        self.has_chores = has_chores

    def commit(self, view: CommitView, meta: Meta, now_ns: int) -> None:
        """One row is checked wholly before it is written; several need a savepoint around them."""
        commit = view.commit
        if commit.generation is not None and commit.generation != meta.generation:
            raise GenerationChanged("the drive was emptied since the writer read it", generation=meta.generation)
        if commit.is_unread and not meta.is_authoritative:
            raise NotAuthoritative("the drive is not whole, and the writer did not read it")
        if commit.topology_number is not None and commit.topology_number < meta.topology_number:
            raise StaleTopology("the drive keeps a newer topology", number=meta.topology_number)
        is_new = False
        for row in view.rows:
            facts = self._facts(row)
            at = facts.at
            if self._is_repeated(at, row, facts):
                continue
            self._check_bucket(commit, row, facts.survey)
            if not is_new:
                self._check_requirement(commit.requires)
                is_new = True
            self._check_row(at, row, facts, lifts_fences=commit.lifts_fences)
            if commit.is_unread and row.kind is Kind.TOMBSTONE and not facts.visible:
                raise NothingHeld("there is nothing to remove")
            if at.bucket == 0:
                at = at._replace(bucket=self.buckets.find_or_add(row.register.bucket_id))
            self._add(at, row, facts, now_ns)
        if is_new:
            for event in commit.events:
                self._sql.later(_ADD_EVENT, (now_ns, event))

    def confirm(self, ref: VersionRef, now_ns: int) -> None:
        version = version_bytes(ref.version_id)
        if version is None:
            return
        register = Register(ref.name.bucket_id, ref.name.space, ref.name.key, version)
        note = self._notes.get(register)
        if note is not None and note.time <= ref.time:
            del self._notes[register]
            if note.time == ref.time and self._follow(note, register):
                return
        survey, newest, tombstones = self.rows.outlook(register)
        at = KeyAt(ref.name.space, survey.number, ref.name.key)
        rows = self.rows.of_version(at, version, newest)
        is_row = any(row.time == ref.time for row in rows)
        if not is_row and all(time != ref.time for time, _ in tombstones):
            return
        for held_time in {*(row.time for row in rows), *(time for time, _ in tombstones)}:
            if held_time <= ref.time:
                self.rows.clear_mark(at, version, held_time)
        if survey.has_fences:
            self.rows.lift_fences_below(at, version, base_below=ref.time)
        if at.space == Space.UPLOAD:
            self._purge_parts(at, ref, is_tombstone=not is_row)
        ended = self.buckets.incarnations_named(at.bucket, at.key, until=ref.time) if at.space == Space.BUCKET else ()
        self._trim(at, version, rows, tombstones, ref.time, now_ns)
        if ended:
            # What a tombstone that is not settled hides may yet come back: only the one that settles ends a bucket.
            kept = self.buckets.incarnations_named if is_row else self.buckets.incarnations_shown
            for bucket_id in ended - kept(at.bucket, at.key):
                self._drop_bucket(bucket_id)

    def look_ahead(self, registers: Sequence[Register]) -> None:
        """Look at once at what the transaction's jobs will ask about, one by one (RowTable.look_ahead)."""
        notes = {register: self._notes[register] for register in registers if register in self._notes}
        removals = [(register, note.time, note.at, note.hidden) for register, note in notes.items() if note.hidden]
        self.rows.look_at_removals(removals)
        self.rows.look_ahead([register for register in registers if register not in notes])

    def forget_notes(self) -> None:
        """The transaction in which some of them were made did not come about."""
        self._notes.clear()

    def fence(self, request: FenceRequest, meta: Meta, now_ns: int) -> FenceAnswer:
        ref = request.ref
        version = version_bytes(ref.version_id)
        if version is None:
            return FenceAnswer(False, False)
        register = Register(ref.name.bucket_id, ref.name.space, ref.name.key, version)
        self._notes.pop(register, None)
        survey, newest, tombstones = self.rows.outlook(register)
        at = KeyAt(ref.name.space, survey.number, ref.name.key)
        rows = self.rows.of_version(at, version, newest)
        if any(row.time == ref.time for row in rows) or any(time == ref.time for time, _ in tombstones):
            return FenceAnswer(True, False)
        if not meta.is_authoritative and request.named_generation not in (meta.generation, ""):
            return FenceAnswer(False, False)
        if not at.bucket:
            at = at._replace(bucket=self.buckets.find_or_add(ref.name.bucket_id))
        self.rows.add_fence(at, version, ref.time, request.base, now_ns)
        return FenceAnswer(False, True)

    def roll_back(self, ref: VersionRef, now_ns: int) -> None:
        version = version_bytes(ref.version_id)
        if version is None:
            return
        register = Register(ref.name.bucket_id, ref.name.space, ref.name.key, version)
        survey, newest, tombstones = self.rows.outlook(register)
        at = KeyAt(ref.name.space, survey.number, ref.name.key)
        if not self.rows.is_marked(at, version, ref.time):
            return
        mentioned = self.buckets.incarnations_named(at.bucket, at.key) if at.space == Space.BUCKET else ()
        rows = self.rows.of_version(at, version, newest)
        before = _visible(rows, _newest(tombstones))
        self.rows.clear_mark(at, version, ref.time)
        row = next((row for row in rows if row.time == ref.time), None)
        if row:
            rows.remove(row)
            self._remove(at, row, now_ns)
        else:
            self.rows.remove_tombstone(at, version, ref.time)
        objects = self._mend_head(at, was_live=row is not None and bool(row.live))
        self._count(at, before, _visible(rows, self.rows.hidden_until(at, version)), objects)
        if mentioned:
            self._forget_standing(at, mentioned)

    def do_chores(self, rows_max: int, now_ns: int) -> bool:
        """Work that some transaction wrote down for later ones, about `rows_max` rows of it. Returns whether there is
        more."""
        return self.purges.run(rows_max, now_ns) or self.live_index.fill(rows_max)

    def forget_events(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._execute("DELETE FROM outbox WHERE number = ?", (number,))

    def expire(self, before_ns: int, limit: int) -> int:
        """Remove settled tombstones and fences that were added before; a tombstone that is not settled stays. Returns
        the most that one table gave: fewer than `limit` means that none is left.
        """
        removed = 0
        for table, keeps in (("tombstones", _IS_SETTLED), ("fences", "")):
            rows = self._execute(
                f"SELECT space, bucket, key, version, time FROM {table} t WHERE since_ns < ? {keeps}"
                " ORDER BY since_ns LIMIT ?",
                (before_ns, limit),
            ).fetchall()
            for row in rows:
                self._execute(
                    f"DELETE FROM {table} WHERE space = ? AND bucket = ? AND key = ? AND version = ? AND time = ?", row
                )
            removed = max(removed, len(rows))
        return removed

    # Checks.

    def _facts(self, row: RowView) -> _Facts:
        survey, newest, tombstones = self.rows.outlook(row.register)
        at = KeyAt(row.space, survey.number, row.register.key)
        return _Facts(at, survey, newest, self.rows.of_version(at, row.version, newest), tombstones)

    def _is_repeated(self, at: KeyAt, row: RowView, facts: _Facts) -> bool:
        """Whether the very record is held. What comes with it replaces what is stored, a payload always, the record's
        bytes when they can not be read any more: it is a repair.
        """
        if row.kind is Kind.TOMBSTONE:
            is_held = bool(facts.tombstones) and any(time == row.time for time, _ in facts.tombstones)
            return is_held and self._is_same(
                row, self.rows.tombstone_bytes(at, row), lambda: self.rows.replace_tombstone(at, row)
            )
        held = facts.of_time(row)
        if held is None or not self._is_same(
            row, self._encoded(at, held), lambda: self.rows.replace_record(at, held, row.encoded)
        ):
            return False
        if row.payload is not None:
            self.rows.replace_payload(at, held, row.payload, row.payload_hash)
        return True

    def _is_same(self, row: RowView, stored: bytes, mend: Callable[[], None]) -> bool:
        """Whether these bytes, stored under the row's version and time, are the row's, or were before they rotted."""
        if stored == row.encoded:
            return True
        if is_readable(stored):
            return False
        mend()
        return True

    def _check_bucket(self, commit: Commit, row: RowView, survey: Survey) -> None:
        if row.space is Space.BUCKET:
            if row.kind is Kind.VALUE and commit.generation is not None:
                body = bucket_body_of(row.record)
                if body.state is BucketState.CLOSING and self.buckets.holds_objects(body.bucket_id):
                    raise BucketHoldsObjects("the bucket holds objects on this drive", bucket_id=body.bucket_id)
            return
        # The system bucket has no record of its own: it is always open.
        if commit.bucket_number is None or not row.register.bucket_id:
            return
        if survey.standing != Standing.OPEN or survey.config > commit.bucket_number:
            raise StaleBucket("the bucket's configuration here is newer, closing, or not known", number=survey.config)

    def _check_requirement(self, name: KeyName | None) -> None:
        if name is None:
            return
        number = self.buckets.number_of(name.bucket_id)
        at = KeyAt(name.space, number or 0, name.key)
        live = self.rows.live_row(at)
        if live is None or (name.space is Space.UPLOAD and not self._is_open_upload(at, live)):
            raise RequirementMissing("what the commit depends on is not here", key=name.key)

    def _check_row(self, at: KeyAt, row: RowView, facts: _Facts, *, lifts_fences: bool) -> None:
        is_fenced = facts.survey.has_fences and self.rows.has_fence(at, row.version, row.time)
        if is_fenced and not lifts_fences:
            raise Fenced("the drive has promised to refuse this version", time=row.time)
        register_time = facts.register_time
        newest = max(register_time, facts.head_time) if row.scope is CasScope.KEY else register_time
        # Two records of one version can not share a time, nor may a later one be added below: a register is read by it.
        if newest > row.base or register_time >= row.time:
            raise Superseded("the drive holds something newer", newest=newest)
        for file in row.files:
            self._require_file(file)
        if is_fenced:
            self.rows.lift_fence(at, row.version, row.time)

    # Writing.

    def _add(self, at: KeyAt, row: RowView, facts: _Facts, now_ns: int) -> None:
        is_tombstone = row.kind is Kind.TOMBSTONE
        self.rows.mark(at, row.version, row.time, is_tombstone=is_tombstone, now_ns=now_ns)
        if is_tombstone:
            self.rows.add_tombstone(at, row, now_ns)
            if facts.register:
                objects = -self._hide_only_version(at, facts) if facts.is_only_version else self._mend_head(at)
                self._count(at, facts.visible, [], objects)
                self._note_removal(at, row, facts)
        else:
            self._add_value(at, row, facts)
        if at.space == Space.BUCKET:
            self.buckets.settle_standing(at.bucket, at.key)

    def _hide_only_version(self, at: KeyAt, facts: _Facts) -> int:
        """As `_mend_head` after a tombstone that hides all that the key has. Returns how many live rows there were."""
        live = [held for held in facts.newest if held.live]
        for held in live:
            self.rows.set_live(at, held, is_live=False)
        return len(live)

    def _add_value(self, at: KeyAt, row: RowView, facts: _Facts) -> None:
        top = facts.newest[0] if facts.newest else None
        head = self.rows.visible_head(at) if facts.survey.tombstone_time else top
        is_head = head is None or (row.created, row.version, row.time) > head.order
        is_live = is_head and row.kind is Kind.VALUE
        was_live = head is not None and bool(head.live)
        if head is not None and is_head and was_live:
            self.rows.set_live(at, head, is_live=False)
        if top and row.version and not top.version and not top.stray:
            self.rows.make_null_rows_stray(at)
        has_live_index = facts.survey.has_live_index or at.space != Space.OBJECT
        if not has_live_index and (row.version or row.kind is not Kind.VALUE):
            self.live_index.begin(at)
            has_live_index = True
        live = (IN_LIVE_INDEX if has_live_index else OUT_OF_LIVE_INDEX) if is_live else 0
        self.rows.add_row(at, row, live=live, is_stray=_is_stray(row, top))
        for file in row.files:
            self.data.add_name(file)
        self._count(at, [], [row], (is_live - was_live) if is_head else 0)
        # Nothing older can be added below it later, and if the row goes, its mark goes with it.
        if at.space == Space.OBJECT and not facts.holds_anything:
            self._note(at, row, None)

    def _note_removal(self, at: KeyAt, row: RowView, facts: _Facts) -> None:
        """If what a tombstone hides is one row without files, its confirm need not search for it, and only looks
        whether both are still there. Nothing older can come to the register meanwhile, and what is newer the confirm
        leaves alone."""
        is_simple = len(facts.register) == 1 and not facts.tombstones and not facts.survey.has_fences
        if is_simple and at.space == Space.OBJECT and not facts.register[0].names_files:
            self._note(at, row, facts.register[0])

    def _note(self, at: KeyAt, row: RowView, hidden: Held | None) -> None:
        """Remember what the row's confirm has to do. A fence that another process sets meanwhile stays until it
        expires."""
        if len(self._notes) >= NOTES_MAX:
            self._notes.clear()
        self._notes[row.register] = _Note(row.time, at, hidden)

    def _follow(self, note: _Note, register: Register) -> bool:
        """Do what the note says. Returns False when that is not known to be so any more."""
        if note.hidden is not None:
            if not self.rows.is_still_so(register):
                return False
            self.rows.clear_mark(note.at, register.version, note.hidden.time)
            self.rows.remove_row(note.at, note.hidden)
        self.rows.clear_mark(note.at, register.version, note.time)
        return True

    def _trim(
        self, at: KeyAt, version: bytes, rows: list[Held], tombstones: Tombstones, before: int, now_ns: int
    ) -> None:
        """Remove what a register holds from before a time. Rows that no tombstone hid leave the usage."""
        gone = [row for row in rows if row.time < before]
        if gone:
            for row in gone:
                self._remove(at, row, now_ns)
            objects = self._mend_head(at, was_live=True) if any(row.live for row in gone) else 0
            self._count(at, _visible(gone, _newest(tombstones)), [], objects)
        if tombstones and tombstones[-1][0] < before:
            self.rows.remove_tombstones(at, version, before=before)

    def _remove(self, at: KeyAt, row: Held, now_ns: int) -> None:
        if row.names_files:
            for file in self._files_of(at, row):
                self.data.drop_name(file, now_ns)
        self.rows.remove_row(at, row)

    def _files_of(self, at: KeyAt, row: Held) -> Sequence[NamedFile]:
        """None when the record can not be read any more: its files stay, which is better than that the row does, in
        the way of what replaces it."""
        encoded = self._encoded(at, row)
        return files_of(decode_held(encoded), row.shard_index) if is_readable(encoded) else ()

    def _mend_head(self, at: KeyAt, *, was_live: bool = False) -> int:
        """Put the live mark where it belongs. Returns the change of the number of live objects.

        `was_live`: whether the row that carried the mark was just removed.
        """
        marked = self.rows.live_row(at)
        head = self.rows.visible_head(at)
        if marked and (head is None or head.order != marked.order):
            self.rows.set_live(at, marked, is_live=False)
        is_live = head is not None and head.kind == Kind.VALUE
        if head and is_live and (marked is None or marked.order != head.order):
            self.rows.set_live(at, head, is_live=True)
        return is_live - (marked is not None or was_live)

    def _count(self, at: KeyAt, gone: Counted, come: Counted, objects: int) -> None:
        if at.space != Space.OBJECT or not (gone or come or objects):
            return
        versions, size = 0, 0
        for row in come:
            if row.kind == Kind.VALUE:
                versions, size = versions + 1, size + row.size_bytes
        for row in gone:
            if row.kind == Kind.VALUE:
                versions, size = versions - 1, size - row.size_bytes
        self.buckets.add(at.bucket, Delta(objects, versions, len(come) - len(gone) - versions, size))

    # Helpers.

    def _note_chores(self) -> None:
        self.has_chores = True

    def _encoded(self, at: KeyAt, row: Held) -> bytes:
        found: bytes = self._execute(
            "SELECT encoded FROM records WHERE space = ? AND bucket = ? AND key = ?"
            " AND created = ? AND version = ? AND time = ?",
            (*at, row.created, row.version, row.time),
        ).get
        return found

    def _is_open_upload(self, at: KeyAt, row: Held) -> bool:
        body = decode_held(self._encoded(at, row)).body
        return not body or decode_upload_body(body).state is UploadState.OPEN

    def _purge_parts(self, at: KeyAt, ref: VersionRef, *, is_tombstone: bool) -> None:
        if not is_tombstone:
            live = self.rows.live_row(at)
            if live is None or live.time != ref.time or self._is_open_upload(at, live):
                return
        try:
            _, upload_id = split_upload_key(at.key)
        except ValueError:
            return  # no part can name an upload whose key is not one
        self.purges.add_prefix(Space.PART, at.bucket, part_prefix(upload_id))

    def _drop_bucket(self, bucket_id: BucketId) -> None:
        number = self.buckets.number_of(bucket_id)
        if number is not None:
            self.purges.add_bucket(number)

    def _forget_standing(self, at: KeyAt, mentioned: set[BucketId]) -> None:
        """After a bucket's record was rolled back: derive what is left; what it alone named is not known any more."""
        self.buckets.settle_standing(at.bucket, at.key)
        for bucket_id in mentioned - self.buckets.incarnations_named(at.bucket, at.key):
            self.buckets.set_standing(bucket_id, 0, Standing.UNKNOWN)


def _newest(tombstones: Tombstones) -> int:
    """Their newest time, 0 when there are none."""
    return tombstones[0][0] if tombstones else 0


def _visible(rows: list[Held], hidden_until: int) -> list[Held]:
    return [row for row in rows if row.time > hidden_until]


def _is_stray(row: RowView, top: Held | None) -> bool:
    if row.version:
        return created_in(row.version) != row.created
    return top is not None and bool(top.version or top.stray)
