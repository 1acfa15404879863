"""Expiry of uploads: those that ended are forgotten, and those that nobody ends are aborted, long enough after."""

import logging
from typing import Final

from liteio_base.deadline import Deadline
from liteio_base.ids import SYSTEM_BUCKET, BucketId
from liteio_contracts.object_errors import ObjectError
from liteio_contracts.storage import KeyName, ListQuery
from liteio_contracts.storage_errors import StorageError
from liteio_formats.bodies import UploadState, decode_bucket_body, decode_upload_body
from liteio_formats.record import Record, Space
from liteio_objects.engine import Engine
from liteio_objects.listing import list_latest

_log = logging.getLogger(__name__)

_PAGE: Final = 1000
_NS: Final = 1_000_000_000
_CALL_SECONDS: Final = 30.0


class UploadExpiry:
    """`open_seconds`: an upload that nobody completed or aborted is aborted after so long. `completed_seconds`: how
    long a repeated Complete finds what the first one did."""

    def __init__(self, engine: Engine, open_seconds: float, completed_seconds: float) -> None:
        self._engine, self._open_seconds, self._completed_seconds = engine, open_seconds, completed_seconds

    async def expire(self) -> int:
        """Remove what is old enough. Returns how many uploads."""
        removed = 0
        for bucket_id in await self._bucket_ids():
            try:
                removed += await self._expire_uploads_of(bucket_id)
            except (ObjectError, StorageError) as trouble:
                _log.warning("uploads of bucket %s are not expired: %s; will try again", bucket_id, trouble)
        return removed

    async def _bucket_ids(self) -> list[BucketId]:
        found: list[BucketId] = []
        after = b""
        while True:
            query = ListQuery(space=Space.BUCKET, bucket_id=SYSTEM_BUCKET, after=after, limit=_PAGE)
            page = await list_latest(
                self._engine.store_map.sets[:1], self._engine.resolver, query, deadline=self._deadline()
            )
            found += [decode_bucket_body(record.body).bucket_id for record in page.records.values()]
            if not page.is_truncated:
                return found
            after = page.last_key

    async def _expire_uploads_of(self, bucket_id: BucketId) -> int:
        removed, after = 0, b""
        while True:
            query = ListQuery(space=Space.UPLOAD, bucket_id=bucket_id, after=after, limit=_PAGE)
            page = await list_latest(
                self._engine.store_map.sets, self._engine.resolver, query, deadline=self._deadline()
            )
            for key, record in page.records.items():
                if self._is_expired(record):
                    await self._remove_upload(bucket_id, key, record)
                    removed += 1
            if not page.is_truncated:
                return removed
            after = page.last_key

    def _is_expired(self, record: Record) -> bool:
        is_open = decode_upload_body(record.body).state is UploadState.OPEN
        kept_seconds = self._open_seconds if is_open else self._completed_seconds
        since_ns = record.modified_ns if is_open else record.time
        return self._engine.clock.now_ns() - since_ns > kept_seconds * _NS

    async def _remove_upload(self, bucket_id: BucketId, key: bytes, record: Record) -> None:
        name = KeyName(Space.UPLOAD, bucket_id, key)
        for drive_set in self._engine.store_map.sets_of(name):
            found = await self._engine.reader.latest(drive_set, name, deadline=self._deadline())
            if found.record is not None:
                await self._engine.remove_record(drive_set, record, deadline=self._deadline())
                return

    def _deadline(self) -> Deadline:
        return Deadline.after(_CALL_SECONDS, self._engine.clock)
