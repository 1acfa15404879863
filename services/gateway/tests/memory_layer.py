"""`MemoryLayer`: a whole ObjectLayer in dictionaries, for the gateway's own tests and profiles.

Buckets, versions, multipart uploads and listings behave as the contract says; nothing is durable, nothing is shared
between processes and every answer comes at once. `calls` names each method as it is called, so that a test can prove
that a denied request never reached the store; `failures` makes the next call of a method raise.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

from msgspec.structs import replace as changed

from liteio_base.byte_span import ByteSpan
from liteio_base.clock import Clock, SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_base.ids import NULL_VERSION, HybridTime, UploadId, VersionId, new_bucket_id, new_upload_id, new_version_id
from liteio_contracts.object_errors import (
    BucketExists,
    BucketMissing,
    BucketNotEmpty,
    DeleteMarkerFound,
    NotLinkable,
    ObjectMissing,
    PartFault,
    PartRejected,
    PreconditionFailed,
    UploadMissing,
    VersionMissing,
)
from liteio_contracts.object_layer import (
    Body,
    BucketChange,
    BucketInfo,
    CompleteUpload,
    CreateBucket,
    CreateUpload,
    DeleteObject,
    DeleteResult,
    LinkObject,
    ListObjects,
    ListUploads,
    ListVersions,
    ObjectInfo,
    ObjectPage,
    PartInfo,
    PartPage,
    PutObject,
    PutPart,
    ReadObject,
    SetTags,
    UploadInfo,
    UploadName,
    UploadPage,
    UsageInfo,
    VersionPage,
    WriteCondition,
)
from liteio_formats.bodies import Versioning

_CHUNK_BYTES: Final = 1024 * 1024


@dataclass(slots=True)
class _Version:
    info: ObjectInfo
    content: bytes


@dataclass(slots=True)
class _Upload:
    info: UploadInfo
    parts: dict[int, tuple[PartInfo, bytes]] = field(default_factory=dict)


@dataclass(slots=True)
class _Bucket:
    info: BucketInfo
    keys: dict[str, list[_Version]] = field(default_factory=dict)  # newest first
    uploads: dict[UploadId, _Upload] = field(default_factory=dict)
    completed: dict[UploadId, ObjectInfo] = field(default_factory=dict)


class MemoryReader:
    """An ObjectReader over bytes. `breaks_after` makes it fail midway, as a lost quorum would."""

    def __init__(self, version: _Version, breaks_after: int | None, failure: Exception | None) -> None:
        self._version, self._breaks_after, self._failure = version, breaks_after, failure
        self.is_closed = False

    @property
    def info(self) -> ObjectInfo:
        return self._version.info

    async def read(self, span: ByteSpan) -> AsyncIterator[bytes]:
        content = self._version.content
        for start in range(span.start, span.end, _CHUNK_BYTES):
            end = min(start + _CHUNK_BYTES, span.end)
            if self._breaks_after is not None and self._failure is not None and end > self._breaks_after:
                if start < self._breaks_after:
                    yield content[start : self._breaks_after]
                raise self._failure
            yield content[start:end]

    async def close(self) -> None:
        self.is_closed = True


class MemoryLayer:
    def __init__(self, clock: Clock | None = None, *, can_link: bool = True, part_bytes_min: int | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self.randomness = SystemRandomness()
        self.can_link, self.part_bytes_min = can_link, part_bytes_min
        self.calls: Counter[str] = Counter()
        self.failures: dict[str, Exception] = {}
        self.read_breaks_after: int | None = None
        self.read_failure: Exception | None = None
        self.readers: list[MemoryReader] = []
        self.last_put: PutObject | None = None
        self.is_ready = True
        self._buckets: dict[str, _Bucket] = {}
        self._last_time = 0

    # --- helpers ------------------------------------------------------------------------------------------------------

    def _enter(self, method: str) -> None:
        self.calls[method] += 1
        failure = self.failures.pop(method, None)
        if failure is not None:
            raise failure

    def _now(self) -> HybridTime:
        self._last_time = max(self.clock.now_ns(), self._last_time + 1)
        return HybridTime(self._last_time)

    def _bucket(self, name: str) -> _Bucket:
        bucket = self._buckets.get(name)
        if bucket is None:
            raise BucketMissing(name)
        return bucket

    def _find(self, bucket: _Bucket, key: str, version_id: VersionId | None) -> _Version:
        versions = bucket.keys.get(key, [])
        if version_id is None:
            if not versions:
                raise ObjectMissing(key)
            newest = versions[0].info
            if newest.is_delete_marker:
                raise ObjectMissing(key, is_delete_marker=True, version_id=newest.version_id)
            return versions[0]
        for version in versions:
            if version.info.version_id == version_id:
                if version.info.is_delete_marker:
                    raise DeleteMarkerFound(key, version_id, version.info.modified_ns)
                return version
        raise VersionMissing(key, version_id)

    def _check(self, bucket: _Bucket, key: str, condition: WriteCondition, version_id: VersionId | None = None) -> None:
        versions = bucket.keys.get(key, [])
        if version_id is not None:
            versions = [version for version in versions if version.info.version_id == version_id]
        latest = versions[0].info if versions and not versions[0].info.is_delete_marker else None
        if condition.if_absent and latest is not None:
            raise PreconditionFailed("If-None-Match")
        if condition.if_etag is not None:
            if latest is None:
                raise ObjectMissing(key)
            if condition.if_etag not in ("*", latest.etag):
                raise PreconditionFailed("If-Match")

    def _store(self, bucket: _Bucket, info: ObjectInfo, content: bytes) -> ObjectInfo:
        """Give the version its id and put it in front; a null version replaces the one before."""
        versioning = bucket.info.versioning
        is_enabled = versioning is Versioning.ENABLED
        version_id = new_version_id(self._now(), self.randomness) if is_enabled else NULL_VERSION
        info = changed(
            info,
            version_id=version_id,
            modified_ns=self._now(),
            is_latest=True,
            is_versioned=versioning is not Versioning.NEVER,
        )
        versions = bucket.keys.setdefault(info.key, [])
        versions[:] = [version for version in versions if version.info.version_id != version_id]
        versions.insert(0, _Version(info, content))
        self._mark_latest(versions)
        return info

    @staticmethod
    def _mark_latest(versions: list[_Version]) -> None:
        for index, version in enumerate(versions):
            if version.info.is_latest != (index == 0):
                version.info = changed(version.info, is_latest=index == 0)

    # --- buckets ------------------------------------------------------------------------------------------------------

    async def create_bucket(self, request: CreateBucket, *, deadline: Deadline) -> BucketInfo:
        self._enter("create_bucket")
        if request.name in self._buckets:
            raise BucketExists(request.name, self._buckets[request.name].info.owner)
        now = self._now()
        info = BucketInfo(
            name=request.name,
            bucket_id=new_bucket_id(now, self.randomness),
            number=1,
            created_ns=now,
            region=request.region,
            owner=request.owner,
            versioning=Versioning.NEVER,
            tags="",
            has_events=False,
        )
        self._buckets[request.name] = _Bucket(info)
        return info

    async def bucket(self, name: str, *, deadline: Deadline) -> BucketInfo:
        self._enter("bucket")
        return self._bucket(name).info

    async def change_bucket(self, name: str, change: BucketChange, *, deadline: Deadline) -> BucketInfo:
        self._enter("change_bucket")
        bucket = self._bucket(name)
        info = bucket.info
        bucket.info = replace(
            info,
            number=info.number + 1,
            versioning=info.versioning if change.versioning is None else change.versioning,
            tags=info.tags if change.tags is None else change.tags,
            has_events=info.has_events if change.has_events is None else change.has_events,
        )
        if change.versioning is not None:
            for version in [version for versions in bucket.keys.values() for version in versions]:
                version.info = changed(version.info, is_versioned=True)
        return bucket.info

    async def delete_bucket(self, name: str, *, deadline: Deadline) -> None:
        self._enter("delete_bucket")
        bucket = self._bucket(name)
        if any(bucket.keys.values()):
            raise BucketNotEmpty(name)
        del self._buckets[name]

    async def list_buckets(self, *, deadline: Deadline) -> Sequence[BucketInfo]:
        self._enter("list_buckets")
        return [self._buckets[name].info for name in sorted(self._buckets)]

    async def usage(self, name: str, *, deadline: Deadline) -> UsageInfo:
        self._enter("usage")
        versions = [version.info for versions in self._bucket(name).keys.values() for version in versions]
        return UsageInfo(
            objects=sum(info.is_latest and not info.is_delete_marker for info in versions),
            versions=len(versions),
            delete_markers=sum(info.is_delete_marker for info in versions),
            size_bytes=sum(info.size_bytes for info in versions),
            is_exact=True,
        )

    # --- objects ------------------------------------------------------------------------------------------------------

    async def head(self, request: ReadObject, *, deadline: Deadline) -> ObjectInfo:
        self._enter("head")
        return self._find(self._bucket(request.bucket), request.key, request.version_id).info

    async def open(self, request: ReadObject, *, deadline: Deadline) -> MemoryReader:
        self._enter("open")
        version = self._find(self._bucket(request.bucket), request.key, request.version_id)
        reader = MemoryReader(replace(version), self.read_breaks_after, self.read_failure)
        self.readers.append(reader)
        del self.readers[:-8]
        return reader

    async def put(self, request: PutObject, body: Body, *, deadline: Deadline) -> ObjectInfo:
        self._enter("put")
        bucket = self._bucket(request.bucket)
        self._check(bucket, request.key, request.condition)
        content = b"".join([chunk async for chunk in body])
        self._check(bucket, request.key, request.condition)
        facts = body.facts()
        self.last_put = request
        return self._store(bucket, self._new_info(request, len(content), facts.etag, facts.checksum), content)

    @staticmethod
    def _new_info(request: PutObject, size: int, etag: str, checksum: object = None) -> ObjectInfo:
        return ObjectInfo(
            bucket=request.bucket,
            key=request.key,
            version_id=NULL_VERSION,
            is_latest=True,
            is_delete_marker=False,
            modified_ns=0,
            size_bytes=size,
            etag=etag,
            metadata=dict(request.metadata),
            tags=request.tags,
            checksum=checksum,  # type: ignore[arg-type]  # the caller hands on what BodyFacts or ObjectInfo holds
        )

    async def link(self, request: LinkObject, *, deadline: Deadline) -> ObjectInfo:
        self._enter("link")
        if not self.can_link:
            raise NotLinkable("told not to")
        source = self._find(self._bucket(request.source.bucket), request.source.key, request.source_info.version_id)
        if source.info.etag != request.source_info.etag:
            raise NotLinkable("the source has changed")
        bucket = self._bucket(request.target.bucket)
        self._check(bucket, request.target.key, request.target.condition)
        info = self._new_info(request.target, source.info.size_bytes, source.info.etag, source.info.checksum)
        return self._store(bucket, changed(info, parts=source.info.parts), source.content)

    async def delete(self, request: DeleteObject, *, deadline: Deadline) -> DeleteResult:
        self._enter("delete")
        bucket = self._bucket(request.bucket)
        self._check(bucket, request.key, request.condition, request.version_id)
        versions = bucket.keys.get(request.key, [])
        if request.version_id is not None:
            return self._delete_version(bucket, request.key, request.version_id)
        if bucket.info.versioning is Versioning.NEVER:
            bucket.keys.pop(request.key, None)
            return DeleteResult(is_delete_marker=False, version_id=None)
        marker = changed(
            self._new_info(PutObject(request.bucket, request.key), 0, ""),
            is_delete_marker=True,
        )
        del versions
        info = self._store(bucket, marker, b"")
        return DeleteResult(is_delete_marker=True, version_id=info.version_id)

    async def delete_all(
        self, requests: Sequence[DeleteObject], *, deadline: Deadline
    ) -> Sequence[DeleteResult | Exception]:
        outcomes: list[DeleteResult | Exception] = []
        for request in requests:
            try:
                outcomes.append(await self.delete(request, deadline=deadline))
            except Exception as trouble:
                outcomes.append(trouble)
        return outcomes

    def _delete_version(self, bucket: _Bucket, key: str, version_id: VersionId) -> DeleteResult:
        versions = bucket.keys.get(key, [])
        was_marker = any(each.info.is_delete_marker for each in versions if each.info.version_id == version_id)
        versions[:] = [version for version in versions if version.info.version_id != version_id]
        self._mark_latest(versions)
        if not versions:
            bucket.keys.pop(key, None)
        is_plain = bucket.info.versioning is Versioning.NEVER
        return DeleteResult(is_delete_marker=was_marker, version_id=None if is_plain else version_id)

    async def set_tags(self, request: SetTags, *, deadline: Deadline) -> ObjectInfo:
        self._enter("set_tags")
        version = self._find(self._bucket(request.bucket), request.key, request.version_id)
        version.info = changed(version.info, tags=request.tags)
        return version.info

    # --- multipart ----------------------------------------------------------------------------------------------------

    def _upload(self, name: UploadName) -> _Upload:
        upload = self._bucket(name.bucket).uploads.get(name.upload_id)
        if upload is None or upload.info.key != name.key:
            raise UploadMissing(name.upload_id)
        return upload

    async def create_upload(self, request: CreateUpload, *, deadline: Deadline) -> UploadInfo:
        self._enter("create_upload")
        bucket = self._bucket(request.bucket)
        now = self._now()
        info = UploadInfo(
            bucket=request.bucket,
            key=request.key,
            upload_id=new_upload_id(now, self.randomness),
            initiated_ns=now,
            owner=request.owner,
            metadata=dict(request.metadata),
            tags=request.tags,
            checksum_algorithm=request.checksum_algorithm,
            checksum_kind=request.checksum_kind,
        )
        bucket.uploads[info.upload_id] = _Upload(info)
        return info

    async def upload(self, name: UploadName, *, deadline: Deadline) -> UploadInfo:
        self._enter("upload")
        return self._upload(name).info

    async def put_part(self, request: PutPart, body: Body, *, deadline: Deadline) -> PartInfo:
        self._enter("put_part")
        upload = self._upload(request.upload)
        content = b"".join([chunk async for chunk in body])
        facts = body.facts()
        checksum = facts.checksum.value if facts.checksum is not None else ""
        part = PartInfo(request.number, len(content), facts.etag, checksum, self._now())
        upload.parts[request.number] = (part, content)
        return part

    async def complete_upload(self, request: CompleteUpload, *, deadline: Deadline) -> ObjectInfo:
        self._enter("complete_upload")
        bucket = self._bucket(request.upload.bucket)
        done = bucket.completed.get(request.upload.upload_id)
        if done is not None:
            return done
        upload = self._upload(request.upload)
        chosen = self._chosen_parts(upload, request)
        infos = [part for part, _ in chosen]
        facts = request.summarise(upload.info, infos)
        self._check(bucket, request.upload.key, request.condition)
        content = b"".join(content for _, content in chosen)
        target = PutObject(request.upload.bucket, request.upload.key, upload.info.metadata, upload.info.tags)
        info = changed(self._new_info(target, len(content), facts.etag, facts.checksum), parts=tuple(infos))
        del bucket.uploads[request.upload.upload_id]
        bucket.completed[request.upload.upload_id] = self._store(bucket, info, content)
        return bucket.completed[request.upload.upload_id]

    def _chosen_parts(self, upload: _Upload, request: CompleteUpload) -> list[tuple[PartInfo, bytes]]:
        numbers = [named.number for named in request.parts]
        for before, after in pairwise(numbers):
            if after <= before:
                raise PartRejected(PartFault.OUT_OF_ORDER, after)
        chosen = []
        size_min = request.part_bytes_min if self.part_bytes_min is None else self.part_bytes_min
        for named in request.parts:
            held = upload.parts.get(named.number)
            if held is None:
                raise PartRejected(PartFault.MISSING, named.number, etag=named.etag)
            if held[0].etag != named.etag:
                raise PartRejected(PartFault.ETAG_DIFFERS, named.number, etag=named.etag)
            if named.checksum and held[0].checksum != named.checksum:
                raise PartRejected(PartFault.CHECKSUM_DIFFERS, named.number, etag=named.etag)
            if named.number != numbers[-1] and held[0].size_bytes < size_min:
                size = held[0].size_bytes
                raise PartRejected(PartFault.TOO_SMALL, named.number, etag=named.etag, size_bytes=size)
            chosen.append(held)
        return chosen

    async def abort_upload(self, name: UploadName, *, deadline: Deadline) -> None:
        self._enter("abort_upload")
        self._upload(name)
        del self._bucket(name.bucket).uploads[name.upload_id]

    async def list_parts(self, name: UploadName, after_number: int, limit: int, *, deadline: Deadline) -> PartPage:
        self._enter("list_parts")
        upload = self._upload(name)
        numbers = sorted(number for number in upload.parts if number > after_number)
        chosen = numbers[:limit]
        is_truncated = len(numbers) > limit
        return PartPage(
            upload=upload.info,
            parts=[upload.parts[number][0] for number in chosen],
            is_truncated=is_truncated,
            next_number=chosen[-1] if is_truncated and chosen else 0,
        )

    async def list_uploads(self, request: ListUploads, *, deadline: Deadline) -> UploadPage:
        self._enter("list_uploads")
        bucket = self._bucket(request.bucket)
        entries = [
            ((upload.info.key, upload.info.upload_id), upload.info)
            for upload in bucket.uploads.values()
            if upload.info.key.startswith(request.prefix)
        ]
        entries.sort(key=lambda entry: entry[0])

        def is_behind(name: tuple[str, str]) -> bool:
            if not request.after:
                return True
            if request.after_upload_id and name[0] == request.after:
                return name[1] > request.after_upload_id
            return name[0] > request.after

        rolled = _roll_up([entry for entry in entries if is_behind(entry[0])], request)
        chosen, is_truncated = rolled[: request.limit], len(rolled) > request.limit and request.limit > 0
        last = chosen[-1] if is_truncated else None
        return UploadPage(
            uploads=[entry for entry in chosen if isinstance(entry, UploadInfo)],
            prefixes=[entry for entry in chosen if isinstance(entry, str)],
            is_truncated=is_truncated,
            next_after="" if last is None else last if isinstance(last, str) else last.key,
            next_upload_id=last.upload_id if isinstance(last, UploadInfo) else "",
        )

    # --- listing ------------------------------------------------------------------------------------------------------

    async def list_objects(self, request: ListObjects, *, deadline: Deadline) -> ObjectPage:
        self._enter("list_objects")
        bucket = self._bucket(request.bucket)
        entries = [
            ((key, ""), versions[0].info)
            for key, versions in sorted(bucket.keys.items())
            if key.startswith(request.prefix)
            and not (request.after and key <= request.after)
            and versions
            and not versions[0].info.is_delete_marker
        ]
        rolled = _roll_up(entries, request)
        chosen, is_truncated = rolled[: request.limit], len(rolled) > request.limit and request.limit > 0
        last = chosen[-1] if is_truncated else None
        return ObjectPage(
            objects=[entry for entry in chosen if isinstance(entry, ObjectInfo)],
            prefixes=[entry for entry in chosen if isinstance(entry, str)],
            is_truncated=is_truncated,
            next_after="" if last is None else last if isinstance(last, str) else last.key,
        )

    async def list_versions(self, request: ListVersions, *, deadline: Deadline) -> VersionPage:
        self._enter("list_versions")
        bucket = self._bucket(request.bucket)
        entries: list[tuple[tuple[str, str], ObjectInfo]] = []
        for key, versions in sorted(bucket.keys.items()):
            if not key.startswith(request.prefix) or (request.after and key < request.after):
                continue
            infos = [version.info for version in versions]
            if key == request.after:
                if request.after_version_id is None:
                    continue
                ids = [info.version_id for info in infos]
                infos = infos[ids.index(request.after_version_id) + 1 :] if request.after_version_id in ids else infos
            entries.extend(((key, ""), info) for info in infos)
        rolled = _roll_up(entries, request)
        chosen, is_truncated = rolled[: request.limit], len(rolled) > request.limit and request.limit > 0
        last = chosen[-1] if is_truncated else None
        return VersionPage(
            versions=[entry for entry in chosen if isinstance(entry, ObjectInfo)],
            prefixes=[entry for entry in chosen if isinstance(entry, str)],
            is_truncated=is_truncated,
            next_after="" if last is None else last if isinstance(last, str) else last.key,
            next_version_id=last.version_id if isinstance(last, ObjectInfo) else None,
        )

    async def drives_ready(self, *, deadline: Deadline) -> bool:
        self._enter("drives_ready")
        return self.is_ready


def _roll_up(
    entries: Sequence[tuple[tuple[str, str], ObjectInfo]] | Sequence[tuple[tuple[str, str], UploadInfo]],
    request: ListObjects | ListVersions | ListUploads,
) -> list[ObjectInfo | UploadInfo | str]:
    """Entries in order, those below a common prefix replaced by that prefix; what `after` already covered left out."""
    rolled: list[ObjectInfo | UploadInfo | str] = []
    start = len(request.prefix)
    for (key, _), info in entries:
        if request.delimiter:
            at = key.find(request.delimiter, start)
            if at >= 0:
                common = key[: at + len(request.delimiter)]
                if common != request.after and (not rolled or rolled[-1] != common):
                    rolled.append(common)
                continue
        rolled.append(info)
    return rolled
