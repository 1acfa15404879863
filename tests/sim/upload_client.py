"""A client of multipart uploads: parts sent twice, Complete repeated, Complete against Abort."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.sim.client import Failed, Unknown
from tests.sim.key_actions import Add, Version
from tests.sim.object_client import ObjectClient
from tests.sim.recorder import Call, Violation

from liteio_contracts.object_errors import PartRejected, UploadMissing
from liteio_contracts.object_layer import (
    BodyFacts,
    CompleteUpload,
    CreateUpload,
    ListUploads,
    NamedPart,
    PartInfo,
    PutPart,
    UploadInfo,
    UploadName,
)
from liteio_formats.bodies import Versioning
from liteio_testkit.store_bench import PlainBody


@dataclass(slots=True)
class Trial:
    """One upload and what was told of it."""

    name: UploadName
    parts: dict[int, bytes] = field(default_factory=dict)  # acknowledged
    is_part_in_doubt: bool = False  # one was sent again, or its outcome is not known
    ident: str = ""
    call: Call | None = None  # from the first Complete on
    is_completed: bool = False
    completes_in_doubt: int = 0  # how many were answered 503, or not at all, or are under way
    may_be_aborted: bool = False
    is_aborted: bool = False

    @property
    def may_be_completed(self) -> bool:
        return self.call is not None


class UploadClient(ObjectClient):
    """As ObjectClient, with uploads."""

    async def upload(self) -> None:
        """One upload from its beginning to one of several ends."""
        trial = await self._begin()
        for number in range(1, 2 + self.draw.below(2)):
            await self._put_part(trial, number)
        if not trial.parts:
            return
        ends = (
            (4, self._complete_once),
            (4, self._complete_twice),
            (4, self._complete_and_abort),
            (2, self._abort),
            (2, self._complete_while_a_part_comes_again),
            (1, self._look),
        )
        await self.draw.weighed(*ends)(trial)
        if self.draw.chance(0.3):
            await self._pause()
            await self.do(lambda: self._complete(trial))
        await self._look(trial)

    async def _pause(self) -> None:
        await self.world.clock.sleep(self.draw.uniform(0.0, 20.0))

    async def _begin(self) -> Trial:
        bucket, key = self.bucket(), self.key()
        request = CreateUpload(bucket, key)
        info = await self.ask(f"begin upload {key}", lambda store, at: store.create_upload(request, deadline=at))
        return Trial(UploadName(bucket, key, info.upload_id))

    async def _put_part(self, trial: Trial, number: int) -> None:
        content = self.new_content()
        request = PutPart(trial.name, number)
        body = PlainBody(content)
        try:
            await self.ask(
                f"put part {number} {self._told(trial)}", lambda store, at: store.put_part(request, body, deadline=at)
            )
        except Unknown:
            trial.is_part_in_doubt = True
        except Failed:
            pass
        except UploadMissing as missing:
            self._must_have_ended(trial, missing)
        else:
            trial.parts[number] = content

    # -- ends

    async def _complete_once(self, trial: Trial) -> None:
        await self.do(lambda: self._complete(trial))

    async def _complete_twice(self, trial: Trial) -> None:
        await asyncio.gather(self.do(lambda: self._complete(trial)), self.do(lambda: self._complete(trial)))

    async def _complete_and_abort(self, trial: Trial) -> None:
        await asyncio.gather(self.do(lambda: self._complete(trial)), self._abort(trial))

    async def _complete_while_a_part_comes_again(self, trial: Trial) -> None:
        trial.is_part_in_doubt = True
        again = Trial(trial.name, may_be_aborted=True)  # What becomes of this part does not matter.
        await asyncio.gather(self.do(lambda: self._complete(trial)), self.do(lambda: self._put_part(again, 1)))

    async def _complete(self, trial: Trial) -> None:
        if trial.call is None:
            self._begin_completing(trial)
        bucket = trial.name.bucket
        named = [NamedPart(number, hashlib.md5(part).hexdigest()) for number, part in sorted(trial.parts.items())]
        was_in_doubt = trial.completes_in_doubt > 0
        trial.completes_in_doubt += 1
        request = CompleteUpload(trial.name, named, summarise, part_bytes_min=0)
        try:
            info = await self.ask(
                f"complete {self._told(trial)}", lambda store, at: store.complete_upload(request, deadline=at)
            )
        except Unknown:
            if was_in_doubt and not trial.is_completed:
                self._may_be_there_twice(trial)
            raise
        except UploadMissing as missing:
            # A Complete that was not acknowledged may be rolled back with its object but not with the upload's end: any
            # but this one, which has written nothing, begun before it or since. Of several not all are told this.
            trial.completes_in_doubt -= 1
            if not trial.may_be_aborted and (trial.is_completed or not trial.completes_in_doubt):
                raise Violation(f"Complete of {trial.name} was told {missing!r} though nobody aborted it") from missing
            return
        except PartRejected as rejected:
            if not trial.is_part_in_doubt:
                raise Violation(f"Complete of {trial.name} with acknowledged parts: {rejected!r}") from rejected
            return
        if info.etag != trial.ident or trial.is_aborted:
            raise Violation(f"Complete of {trial.name} ({trial}) was told {info.etag}")
        trial.is_completed = True
        trial.completes_in_doubt -= 1
        if self.modes[bucket] is Versioning.ENABLED:
            self._learn(info)
        if trial.call is not None:
            trial.call.done(Add(self._version(trial), self.modes[bucket]))

    def _may_be_there_twice(self, trial: Trial) -> None:
        """The known limit of two conditional creations of which neither was acknowledged: two Completes are such."""
        bucket, key = trial.name.bucket, trial.name.key
        if self.modes[bucket] is Versioning.ENABLED:
            self.recorder.repeatable.add((bucket, key, trial.ident))
            action = Add(self._version(trial), self.modes[bucket], is_unknown=True)
            self.recorder.begin(self.name, (bucket, key), action)

    def _begin_completing(self, trial: Trial) -> None:
        parts = [content for _, content in sorted(trial.parts.items())]
        trial.ident = multipart_etag([hashlib.md5(part).hexdigest() for part in parts])
        self.contents[trial.ident] = b"".join(parts)
        bucket, key = trial.name.bucket, trial.name.key
        action = Add(self._version(trial), self.modes[bucket], is_unknown=True)
        trial.call = self.recorder.begin(self.name, (bucket, key), action)

    def _version(self, trial: Trial) -> Version:
        return Version(trial.ident, "", is_null=self.modes[trial.name.bucket] is not Versioning.ENABLED)

    async def _abort(self, trial: Trial) -> None:
        trial.may_be_aborted = True
        try:
            await self.ask(f"abort {self._told(trial)}", lambda store, at: store.abort_upload(trial.name, deadline=at))
        except (Unknown, Failed):
            return
        except UploadMissing as missing:
            if not trial.may_be_completed:
                raise Violation(f"Abort of {trial.name}, the first, was told {missing!r}") from missing
            return
        if trial.is_completed:
            raise Violation(f"{trial.name} was completed and aborted")
        trial.is_aborted = True
        if trial.call is not None:
            trial.call.drop()

    async def _look(self, trial: Trial) -> None:
        """Whether the bucket's open uploads name it, where that is sure."""
        is_open = not trial.may_be_completed and not trial.may_be_aborted
        is_closed = trial.is_completed or trial.is_aborted
        request = ListUploads(trial.name.bucket)
        page = await self.ask("list uploads", lambda store, at: store.list_uploads(request, deadline=at))
        is_listed = trial.name.upload_id in {each.upload_id for each in page.uploads}
        if (is_open and not is_listed) or (is_closed and is_listed):
            raise Violation(f"{trial} is {'' if is_listed else 'not '}listed")

    def _must_have_ended(self, trial: Trial, missing: UploadMissing) -> None:
        if not trial.may_be_aborted and not trial.may_be_completed:
            raise Violation(f"a part of {trial.name} was told {missing!r}") from missing

    @staticmethod
    def _told(trial: Trial) -> str:
        return f"{trial.name.key} {trial.name.upload_id[-4:]} {trial.ident[:6]}"


def summarise(upload: UploadInfo, parts: Sequence[PartInfo]) -> BodyFacts:
    return BodyFacts(multipart_etag([part.etag for part in parts]))


def multipart_etag(etags: Sequence[str]) -> str:
    """As S3 makes it: over the parts' MD5 sums, with their number."""
    return f"{hashlib.md5(bytes.fromhex(''.join(etags))).hexdigest()}-{len(etags)}"
