"""A client of the buckets that stay: put, read, delete, tags, versions, listings."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from tests.sim.client import Client, Failed, Unknown
from tests.sim.key_actions import Add, Condition, Refused, Remove, RemoveNull, SeeAll, SeeLatest, SeeVersion, Version
from tests.sim.key_actions import SetTags as Tagged
from tests.sim.recorder import Call, Violation

from liteio_base.deadline import Deadline
from liteio_base.ids import NULL_VERSION
from liteio_contracts.object_errors import (
    DeleteMarkerFound,
    NotLinkable,
    ObjectMissing,
    PreconditionFailed,
    VersionMissing,
)
from liteio_contracts.object_layer import (
    DeleteObject,
    DeleteResult,
    LinkObject,
    ListObjects,
    ListVersions,
    ObjectInfo,
    PutObject,
    ReadObject,
    SetTags,
    VersionPage,
    WriteCondition,
)
from liteio_formats.bodies import Versioning
from liteio_objects.layer import Store
from liteio_testkit.store_bench import PlainBody

PAGE_KEYS = 3
Page = tuple[str, str]  # behind which key a page began, and where it ended ("" for the end)


class ObjectClient(Client):
    """Each method is one thing that a client does, with what it was told written down."""

    # -- writing

    async def put(self) -> None:
        await self._put(self.bucket(), self.key(), None)

    async def put_new(self) -> None:
        """Keys that are likely new, one after another, so that gateways come to expect such; some put twice at once."""
        bucket = self.bucket()
        for _ in range(2 + self.draw.below(3)):
            key = self.fresh.pop() if self.fresh else self.keys[-1]
            count = 2 if self.draw.chance(0.5) else 1
            await asyncio.gather(*(self.do(partial(self._put, bucket, key, None)) for _ in range(count)))

    async def put_if_absent(self) -> None:
        await self._put(self.bucket(), self.key(), Condition(None))

    async def put_if_match(self) -> None:
        """Replace what was read a moment ago."""
        bucket, key = self.bucket(), self.key()
        found = await self.see_latest(bucket, key, is_whole=False)
        if found is not None:
            await self._put(bucket, key, Condition(found.etag))

    async def _put(self, bucket: str, key: str, condition: Condition | None) -> None:
        content = self.new_content()
        body = PlainBody(content)
        version = Version(body.facts().etag, "", is_null=self.modes[bucket] is not Versioning.ENABLED)
        request = PutObject(bucket, key, condition=as_write_condition(condition))
        await self._add(
            bucket,
            key,
            version,
            condition,
            f"put {key} {version.ident[:6]} {condition or ''}",
            lambda store, deadline: store.put(request, body, deadline=deadline),
        )

    async def copy(self) -> None:
        """Name the data of one key under another."""
        bucket, source, target = self.bucket(), self.key(), self.key()
        info = await self.see_latest(bucket, source, is_whole=False)
        if info is None or source == target:
            return
        mode = self.modes[bucket]
        request = LinkObject(ReadObject(bucket, source), info, PutObject(bucket, target))
        # The same content under another key: a name of its own there, or versions could not be told apart.
        if (bucket, target, info.etag) in self.copied:
            return
        self.copied.add((bucket, target, info.etag))
        version = Version(info.etag, "", is_null=mode is not Versioning.ENABLED)
        try:
            await self._add(
                bucket,
                target,
                version,
                None,
                f"copy {source} {target} {info.etag[:6]}",
                lambda store, deadline: store.link(request, deadline=deadline),
            )
        except NotLinkable:
            return

    async def _add(
        self,
        bucket: str,
        key: str,
        version: Version,
        condition: Condition | None,
        what: str,
        work: Callable[[Store, Deadline], Awaitable[ObjectInfo]],
    ) -> None:
        mode = self.modes[bucket]
        call = self.recorder.begin(self.name, (bucket, key), Add(version, mode, condition, is_unknown=True))
        try:
            info = await self.ask(what, work)
        except (PreconditionFailed, ObjectMissing) as refused:
            self._refused(call, condition, refused)
        except (Failed, NotLinkable):
            call.drop()
            raise
        else:
            if info.etag != version.ident:
                raise Violation(f"{what} was told the ETag {info.etag}")
            self._learn(info)
            call.done(Add(version, mode, condition))

    def _refused(self, call: Call, condition: Condition | None, refused: Exception) -> None:
        if isinstance(refused, ObjectMissing) and condition is None:
            call.drop()  # The source of a copy is gone.
            return
        if condition is None:
            raise Violation(f"a put without condition was told {refused!r}") from refused
        call.done(Refused(condition))

    async def delete(self) -> None:
        bucket, key = self.bucket(), self.key()
        mode = self.modes[bucket]
        self.numbers[0] += 1
        marker = Version(f"marker {self.name}.{self.numbers[0]}", "", mode is not Versioning.ENABLED, is_marker=True)
        is_versioned = mode is not Versioning.NEVER
        unknown = Add(marker, mode, is_unknown=True) if is_versioned else RemoveNull()
        call = self.recorder.begin(self.name, (bucket, key), unknown)
        request = DeleteObject(bucket, key)
        result = await self._delete(call, f"delete {key}", request)
        if result is None:
            return
        if result.is_delete_marker != is_versioned:
            raise Violation(f"delete of {key} in a bucket {mode!r} was told {result}")
        if result.is_delete_marker and result.version_id:
            self.recorder.idents[bucket, key, result.version_id] = marker.ident
        call.done(Add(marker, mode) if is_versioned else RemoveNull())

    async def delete_version(self) -> None:
        bucket, key = self.bucket(), self.key()
        known = sorted(each for each in self.recorder.idents if each[:2] == (bucket, key))
        version_id = NULL_VERSION
        action: Remove | RemoveNull = RemoveNull()
        if known and not (self.modes[bucket] is Versioning.SUSPENDED and self.draw.chance(0.5)):
            version_id = self.draw.one_of(known)[2]
            action = Remove(self.recorder.idents[bucket, key, version_id])
        call = self.recorder.begin(self.name, (bucket, key), action)
        request = DeleteObject(bucket, key, version_id)
        if await self._delete(call, f"delete {key} v{version_id[-4:]}", request) is not None:
            call.done(action)

    async def _delete(self, call: Call, what: str, request: DeleteObject) -> DeleteResult | None:
        try:
            return await self.ask(what, lambda store, deadline: store.delete(request, deadline=deadline))
        except Failed:
            call.drop()
            return None

    async def set_tags(self) -> None:
        bucket, key = self.bucket(), self.key()
        self.numbers[0] += 1
        tags = f"tag={self.name}.{self.numbers[0]}"
        call = self.recorder.begin(self.name, (bucket, key), Tagged(None, tags))
        request = SetTags(bucket, key, None, tags)
        try:
            info = await self.ask(f"tag {key} {tags}", lambda store, at: store.set_tags(request, deadline=at))
        except ObjectMissing:
            call.done(SeeLatest(None))
        except Failed:
            call.drop()
        else:
            self._learn(info)
            call.done(Tagged(info.etag, tags))

    # -- reading

    async def head(self) -> None:
        await self.see_latest(self.bucket(), self.key(), is_whole=False)

    async def get(self) -> None:
        await self.see_latest(self.bucket(), self.key(), is_whole=True)

    async def see_latest(self, bucket: str, key: str, *, is_whole: bool) -> ObjectInfo | None:
        call = self.recorder.begin(self.name, (bucket, key), None)
        try:
            info = await self._read(ReadObject(bucket, key), is_whole=is_whole)
        except ObjectMissing:
            call.done(SeeLatest(None))
            return None
        self._learn(info)
        call.done(SeeLatest(info.etag, info.tags))
        return info

    async def get_version(self) -> None:
        bucket, key = self.bucket(), self.key()
        known = sorted(each for each in self.recorder.idents if each[:2] == (bucket, key))
        if not known:
            return
        version_id = self.draw.one_of(known)[2]
        ident = self.recorder.idents[bucket, key, version_id]
        call = self.recorder.begin(self.name, (bucket, key), None)
        try:
            info = await self._read(ReadObject(bucket, key, version_id), is_whole=self.draw.chance(0.5))
        except VersionMissing:
            if (bucket, key, ident) in self.recorder.repeatable:  # Its other copy may be there.
                call.drop()
            else:
                call.done(SeeVersion(ident, is_there=False))
        except DeleteMarkerFound:
            call.done(SeeVersion(ident, is_there=True))
        else:
            if info.etag != ident:
                raise Violation(f"version {version_id} of {key} was {ident} and is {info.etag}")
            call.done(SeeVersion(ident, is_there=True, tags=info.tags))

    async def _read(self, request: ReadObject, *, is_whole: bool) -> ObjectInfo:
        if is_whole:
            return await self.fetch(request)
        what = f"head {request.key} {(request.version_id or '')[-4:]}"
        return await self.ask(what, lambda store, deadline: store.head(request, deadline=deadline))

    # -- listing

    async def list_keys(self) -> None:
        """Page by page, each from any gateway. Every page is a read of each key that it covers."""
        bucket, after = self.bucket(), ""
        listed: list[str] = []
        while True:
            request = ListObjects(bucket, after=after, limit=PAGE_KEYS)
            calls = {key: self.recorder.begin(self.name, (bucket, key), None) for key in self.keys if key > after}
            page = await self.ask(
                f"list {bucket} after {after}",
                lambda store, at, asked=request: store.list_objects(asked, deadline=at),  # type: ignore[misc]  # bound now
            )
            shown = {info.key: info for info in page.objects}
            end = page.next_after if page.is_truncated else ""
            if page.is_truncated and (not shown or end != max(shown)):
                raise Violation(f"a page of {sorted(shown)} goes on behind {end!r}")
            for key, call in calls.items():
                if end and key > end:
                    call.drop()
                    continue
                info = shown.get(key)
                call.done(SeeLatest(info.etag, info.tags) if info is not None else SeeLatest(None))
            listed += [info.key for info in page.objects]
            for info in page.objects:
                self._learn(info)
            if not page.is_truncated:
                break
            after = end
        if listed != sorted(set(listed)) or not set(listed) <= set(self.keys):
            raise Violation(f"listing of {bucket} gave {listed}")

    async def list_prefixes(self) -> None:
        """With a delimiter: a common prefix that is not shown holds nothing."""
        bucket = self.bucket()
        request = ListObjects(bucket, delimiter="/")
        calls = {key: self.recorder.begin(self.name, (bucket, key), None) for key in self.keys}
        page = await self.ask(f"list / {bucket}", lambda store, at: store.list_objects(request, deadline=at))
        shown = {info.key: info for info in page.objects}
        for key, call in calls.items():
            info, prefix = shown.get(key), key[: key.find("/") + 1]
            if info is not None:
                call.done(SeeLatest(info.etag, info.tags))
            elif prefix and prefix in page.prefixes:
                call.drop()
            else:
                call.done(SeeLatest(None))

    async def list_versions(self) -> None:
        """All pages together are one read of every version known."""
        bucket = self.bucket()
        calls = {each: self.recorder.begin(self.name, each[0], None) for each in self._known_versions(bucket)}
        shown = await self.all_versions(bucket)
        found = {(info.key, self._learn(info)): info for info in shown}
        for (place, ident), call in calls.items():
            info = found.get((place[1], ident))
            tags = info.tags if info is not None and not info.is_delete_marker else None
            call.done(SeeVersion(ident, info is not None, tags))

    async def see_all_versions(self, bucket: str) -> None:
        """With nothing under way: the very stack of every key."""
        calls = {key: self.recorder.begin(self.name, (bucket, key), None) for key in self.keys}
        shown = await self.all_versions(bucket)
        for key, call in calls.items():
            of_key = [info for info in shown if info.key == key]
            if [info.is_latest for info in of_key] != [at == 0 for at in range(len(of_key))]:
                raise Violation(f"{key}: which version is the latest? {of_key}")
            call.done(
                SeeAll(
                    tuple(self._learn(info) if info.version_id or not info.is_delete_marker else "?" for info in of_key)
                )
            )

    def _known_versions(self, bucket: str) -> list[tuple[tuple[str, str], str]]:
        """Versions that keep their ids; null versions come and go under one."""
        return sorted(
            {((each[0], each[1]), ident) for each, ident in self.recorder.idents.items() if each[0] == bucket}
        )

    async def all_versions(self, bucket: str, limit: int = PAGE_KEYS) -> list[ObjectInfo]:
        """Raises Violation when a version is listed twice or out of order."""
        after, after_version = "", None
        shown: list[ObjectInfo] = []
        while True:
            request = ListVersions(bucket, after=after, after_version_id=after_version, limit=limit)

            def work(store: Store, at: Deadline, asked: ListVersions = request) -> Awaitable[VersionPage]:
                return store.list_versions(asked, deadline=at)

            page = await self.ask(f"list versions {bucket} after {after} v{(after_version or '')[-4:]}", work)
            shown += page.versions
            if not page.is_truncated:
                break
            after, after_version = page.next_after, page.next_version_id
        names = [(info.key, info.version_id) for info in shown if info.version_id != NULL_VERSION]
        if len(set(names)) != len(names) or [info.key for info in shown] != sorted(info.key for info in shown):
            raise Violation(f"versions of {bucket} listed as {names}")
        etags = [(info.key, info.etag) for info in shown if not info.is_delete_marker and self._is_single(info)]
        if len(set(etags)) != len(etags):
            raise Violation(f"one put became two versions of {bucket}: {etags}")
        return shown

    def _is_single(self, info: ObjectInfo) -> bool:
        return (info.bucket, info.key, info.etag) not in self.recorder.repeatable

    def _learn(self, info: ObjectInfo) -> str:
        """Remember which content a version id names. Gives "?" for a delete marker that nobody was told of."""
        place = (info.bucket, info.key, info.version_id)
        if info.version_id == NULL_VERSION:
            return info.etag
        if info.is_delete_marker:
            return self.recorder.idents.get(place, "?")
        if self.recorder.idents.setdefault(place, info.etag) != info.etag:
            raise Violation(f"version {place} was {self.recorder.idents[place]} and is {info.etag}")
        return info.etag

    async def do(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except (Unknown, Failed):
            pass


def as_write_condition(condition: Condition | None) -> WriteCondition:
    if condition is None:
        return WriteCondition()
    return WriteCondition(if_absent=True) if condition.etag is None else WriteCondition(if_etag=condition.etag)
