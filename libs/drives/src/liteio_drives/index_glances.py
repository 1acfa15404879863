"""The usual question about a key, what its newest row is, for many keys in one statement.

It needs no transaction around it, and one statement costs a fraction of many (index_sql.Bulk). What is not usual is not
answered here: KeyReads.read_key answers everything.
"""

from collections.abc import Sequence
from typing import Any, Final

from liteio_base.ids import Generation, HybridTime
from liteio_contracts.storage import KeyAnswer, KeyQuery
from liteio_drives.index_payloads import whole_payload
from liteio_drives.index_reads import entry_of
from liteio_drives.index_sql import Bulk, Sql, packed

# Of each key the newest row, or nulls when there is none; rows made at the same time come together. Nothing of a bucket
# that the drive does not know.
_META: Final = ("generation", "authoritative", "topology_number")
_COLUMNS: Final = ("place", *_META, "tombstone_time", "has_marks", "created", "time", "kind")
_BLOBS: Final = ("version", "encoded", "payload_hash", "head", "rest")
_GLANCE: Final = Bulk(
    "WITH a(place, space, bucket_id, key, wants_payload) AS (VALUES",
    "(?,?,?,?,?)",
    f") SELECT {packed(_COLUMNS, _BLOBS)} FROM (SELECT a.place, m.generation, m.authoritative, m.topology_number,"
    " ifnull((SELECT t.time FROM tombstones t INDEXED BY tombstones_by_time"
    " WHERE t.space = a.space AND t.bucket = b.number AND t.key = a.key ORDER BY t.time DESC LIMIT 1), 0)"
    " AS tombstone_time,"
    " EXISTS (SELECT 1 FROM unsettled u WHERE u.space = a.space AND u.bucket = b.number AND u.key = a.key)"
    " AS has_marks,"
    " r.created, r.time, r.kind, r.version, r.encoded, r.payload_hash,"
    " CASE WHEN a.wants_payload THEN r.payload_head END AS head, p.payload AS rest"
    " FROM meta m CROSS JOIN a CROSS JOIN buckets b ON b.bucket_id = a.bucket_id LEFT JOIN records r"
    " ON r.space = a.space AND r.bucket = b.number AND r.key = a.key AND r.created ="
    " (SELECT s.created FROM records s WHERE s.space = a.space AND s.bucket = b.number AND s.key = a.key"
    " ORDER BY s.created DESC, s.version DESC, s.time DESC LIMIT 1)"
    " LEFT JOIN payloads p ON p.id = r.payload AND a.wants_payload)",
)


class KeyGlances:
    """Reads outside of any transaction."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def glance(self, queries: Sequence[KeyQuery], *, is_trusted: bool, is_unchecked: bool) -> list[KeyAnswer | None]:
        """For each query the same answer that `read_key` gives, None where it takes more than a glance: a key in doubt,
        a bucket that is not known, whole registers, rows further down.

        `is_trusted`: False when the drive is not authoritative whatever its index says. `is_unchecked`: of the drive.
        """
        asked = [
            (place, *query.name, query.wants_payload)
            for place, query in enumerate(queries)
            if query.version_ids is None
        ]
        answers: list[KeyAnswer | None] = [None] * len(queries)
        newest: dict[int, tuple[Any, ...]] = {}
        for row in self._sql.select(_GLANCE, asked):
            place, generation, authoritative, number, tombstone_time, has_marks, created, time, kind = row[:9]
            version, encoded, payload_hash, head, rest = row[9:]
            order = (created, version, time)
            if has_marks or (place in newest and order < newest[place]):
                continue
            newest[place] = order
            meta = Generation(generation), bool(authoritative) and is_trusted
            if created is None:
                answers[place] = KeyAnswer(*meta, HybridTime(tombstone_time), (), (), number, is_unchecked)
            elif created < queries[place].below:
                head_time = HybridTime(max(created, tombstone_time))
                payload = whole_payload(head, rest)
                entry = entry_of((created, version, time, kind, encoded, payload_hash), True, payload)
                answers[place] = KeyAnswer(*meta, head_time, (entry,), (), number, is_unchecked)
        return answers
