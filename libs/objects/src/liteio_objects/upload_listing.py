"""ListMultipartUploads: open uploads by object key, then by when they began.

The drives list upload keys, in which the object key is escaped and the upload's id follows: a delimiter could match
inside the id, so common prefixes are found here, with one jump past each.
"""

from dataclasses import dataclass, field

from liteio_base.deadline import Deadline
from liteio_base.ids import UploadId
from liteio_contracts.object_layer import BucketInfo, ListUploads, UploadInfo, UploadPage
from liteio_contracts.storage import ListQuery
from liteio_formats.bodies import UploadState, decode_upload_body
from liteio_formats.keys import split_upload_key, upload_key, upload_prefix
from liteio_formats.record import Record, Space
from liteio_objects.engine import Engine
from liteio_objects.info import upload_info
from liteio_objects.listing import list_latest

_PAGE = 1000
_AFTER_EVERY_ID = b"\x00\x00\xff"  # sorts behind the terminator and every upload id of a key
_AFTER_EVERY_KEY = b"\xff\xff"  # no UTF-8 begins with FF: behind every key with the prefix


@dataclass(slots=True)
class _Page:
    limit: int
    uploads: list[UploadInfo] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        return len(self.uploads) + len(self.prefixes) >= self.limit


async def list_open_uploads(
    engine: Engine, info: BucketInfo, request: ListUploads, *, deadline: Deadline
) -> UploadPage:
    """One page of open uploads; completed ones, kept for repeated Completes, are passed by."""
    page = _Page(request.limit)
    if request.limit == 0:
        return UploadPage((), (), is_truncated=False)
    after = _start(request)
    while True:
        query = ListQuery(
            space=Space.UPLOAD,
            bucket_id=info.bucket_id,
            prefix=upload_prefix(request.prefix.encode()),
            after=after,
            limit=_PAGE,
        )
        found = await list_latest(engine.store_map.sets, engine.resolver, query, deadline=deadline)
        jumped = False
        for key, record in found.records.items():
            if page.is_full:
                return _truncated(page)
            prefix = _take(page, info, request, key, record)
            if prefix is not None:
                after = upload_prefix(prefix.encode()) + _AFTER_EVERY_KEY
                jumped = True
                break
        if jumped:
            continue
        if not found.is_truncated:
            return UploadPage(tuple(page.uploads), tuple(page.prefixes), is_truncated=False)
        after = found.last_key


def _start(request: ListUploads) -> bytes:
    if not request.after:
        return b""
    if is_common_prefix(request.after, request.prefix, request.delimiter):
        return upload_prefix(request.after.encode()) + _AFTER_EVERY_KEY
    if request.after_upload_id:
        return upload_key(request.after.encode(), UploadId(request.after_upload_id))
    return upload_prefix(request.after.encode()) + _AFTER_EVERY_ID


def _take(page: _Page, info: BucketInfo, request: ListUploads, key: bytes, record: Record) -> str | None:
    """Add one upload, or the common prefix that it stands for: that is returned, to be jumped over."""
    body = decode_upload_body(record.body)
    if body.state is not UploadState.OPEN:
        return None
    object_key = split_upload_key(key)[0].decode()
    if request.delimiter:
        place = object_key.find(request.delimiter, len(request.prefix))
        if place >= 0:
            prefix = object_key[: place + len(request.delimiter)]
            page.prefixes.append(prefix)
            return prefix
    page.uploads.append(upload_info(info.name, object_key, record, body))
    return None


def _truncated(page: _Page) -> UploadPage:
    last_upload = page.uploads[-1] if page.uploads else None
    last_prefix = page.prefixes[-1] if page.prefixes else ""
    if last_upload is not None and last_upload.key > last_prefix:
        return UploadPage(tuple(page.uploads), tuple(page.prefixes), True, last_upload.key, last_upload.upload_id)
    return UploadPage(tuple(page.uploads), tuple(page.prefixes), True, last_prefix)


def is_common_prefix(after: str, prefix: str, delimiter: str) -> bool:
    """Whether a marker is a common prefix that an earlier page gave: all below it was told by it."""
    if not delimiter or not after.startswith(prefix):
        return False
    at = after.find(delimiter, len(prefix))
    return at >= 0 and at == len(after) - len(delimiter)
