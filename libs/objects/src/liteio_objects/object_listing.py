"""The Listing role: ListObjects and ListObjectVersions over the drives' live pages."""

from liteio_base.deadline import Deadline
from liteio_base.ids import HybridTime, VersionId, created_of, is_version_id
from liteio_contracts.object_layer import BucketInfo, ListObjects, ListVersions, ObjectPage, VersionPage
from liteio_contracts.storage import KeyName, ListMode, ListQuery
from liteio_formats.record import Space
from liteio_objects.buckets import BucketStore
from liteio_objects.engine import Engine
from liteio_objects.info import latest_infos, object_info
from liteio_objects.listing import list_latest, list_versions
from liteio_objects.upload_listing import is_common_prefix

# No UTF-8 text begins with FF: it sorts behind every key that begins with what stands before it.
_AFTER_EVERY_KEY = b"\xff"


class ObjectListing:
    """Lists objects and versions. The bucket's configuration is read anew for every page."""

    def __init__(self, engine: Engine, buckets: BucketStore) -> None:
        self._engine, self._buckets = engine, buckets

    async def list_objects(self, request: ListObjects, *, deadline: Deadline) -> ObjectPage:
        info = await self._buckets.bucket(request.bucket, deadline=deadline)
        query = ListQuery(
            space=Space.OBJECT,
            bucket_id=info.bucket_id,
            prefix=request.prefix.encode(),
            after=_after(request.after, request.prefix, request.delimiter),
            delimiter=request.delimiter.encode(),
            limit=request.limit,
        )
        page = await list_latest(self._engine.store_map.sets, self._engine.resolver, query, deadline=deadline)
        return ObjectPage(
            objects=latest_infos(info, page.records.values()),
            prefixes=tuple(prefix.decode() for prefix in page.prefixes),
            is_truncated=page.is_truncated,
            next_after=page.last_key.decode() if page.is_truncated else "",
        )

    async def list_versions(self, request: ListVersions, *, deadline: Deadline) -> VersionPage:
        info = await self._buckets.bucket(request.bucket, deadline=deadline)
        after_version_id = request.after_version_id
        created = None
        if after_version_id is not None:
            created = await self._created(info, request.after, after_version_id, deadline=deadline)
        query = ListQuery(
            space=Space.OBJECT,
            bucket_id=info.bucket_id,
            mode=ListMode.VERSIONS,
            prefix=request.prefix.encode(),
            after=_after(request.after, request.prefix, request.delimiter),
            # A marker version that is gone tells no place within its key: the key is given again, not lost.
            is_after_inclusive=after_version_id is not None and created is None,
            after_created=created,
            after_version_id=after_version_id if after_version_id is not None else VersionId(""),
            delimiter=request.delimiter.encode(),
            limit=request.limit,
        )
        page = await list_versions(self._engine.store_map.sets, self._engine.resolver, query, deadline=deadline)
        return VersionPage(
            versions=tuple(object_info(info, row.record, is_latest=row.is_latest) for row in page.items),
            prefixes=tuple(prefix.decode() for prefix in page.prefixes),
            is_truncated=page.is_truncated,
            next_after=page.last_key.decode() if page.is_truncated else "",
            next_version_id=page.last_row.record.version_id if page.is_truncated and page.last_row else None,
        )

    async def _created(
        self, info: BucketInfo, key: str, version_id: VersionId, *, deadline: Deadline
    ) -> HybridTime | None:
        if is_version_id(version_id):
            return created_of(version_id)
        name = KeyName(Space.OBJECT, info.bucket_id, key.encode())
        found = await self._engine.resolver.resolve_versions(name, (version_id,), deadline=deadline)
        return found[0].created if found else None


def _after(after: str, prefix: str, delimiter: str) -> bytes:
    """Where a page begins. A common prefix as the marker has told of every key below it."""
    if is_common_prefix(after, prefix, delimiter):
        return after.encode() + _AFTER_EVERY_KEY
    return after.encode()
