import asyncio
from collections.abc import Sequence

import pytest

from liteio_base.ids import UploadId
from liteio_contracts.object_errors import ObjectMissing, PartFault, PartRejected, UploadMissing
from liteio_contracts.object_layer import (
    BodyFacts,
    CompleteUpload,
    CreateUpload,
    ListObjects,
    ListUploads,
    NamedPart,
    PartInfo,
    PutPart,
    ReadObject,
    UploadInfo,
    UploadName,
)
from liteio_testkit.store_bench import PlainBody, StoreBench


def summarise(upload: UploadInfo, parts: Sequence[PartInfo]) -> BodyFacts:
    return BodyFacts(f"whole-{len(parts)}")


class UploadBench(StoreBench):
    """An upload of one key, in short forms."""

    async def begin(self, key: str = "big") -> UploadName:
        info = await self.store.create_upload(CreateUpload("photos", key), deadline=self.deadline)
        return UploadName("photos", key, info.upload_id)

    async def part(self, name: UploadName, number: int, content: bytes) -> NamedPart:
        info = await self.store.put_part(PutPart(name, number), PlainBody(content), deadline=self.deadline)
        return NamedPart(number, info.etag)

    async def complete(self, name: UploadName, parts: list[NamedPart], part_bytes_min: int = 0) -> str:
        request = CompleteUpload(name, parts, summarise, part_bytes_min=part_bytes_min)
        return (await self.store.complete_upload(request, deadline=self.deadline)).etag


@pytest.fixture
async def bench() -> UploadBench:
    made = UploadBench.of()
    await made.make_bucket()
    return made  # type: ignore[return-value]  # `of` is a classmethod: it makes an UploadBench


CONTENTS = [b"1" * 1_500_000, b"2" * 700_000, b"3" * 5]


async def test_parts_become_one_object_in_the_order_named(bench: UploadBench) -> None:
    name = await bench.begin()
    parts = await asyncio.gather(*(bench.part(name, number + 1, content) for number, content in enumerate(CONTENTS)))
    assert await bench.complete(name, list(parts)) == "whole-3"
    assert await bench.get("big") == b"".join(CONTENTS)
    info = await bench.store.head(ReadObject("photos", "big"), deadline=bench.deadline)
    assert [(part.number, part.size_bytes) for part in info.parts] == [(1, 1_500_000), (2, 700_000), (3, 5)]


async def test_a_part_sent_again_replaces_the_first(bench: UploadBench) -> None:
    name = await bench.begin()
    old = await bench.part(name, 1, b"old")
    new = await bench.part(name, 1, b"new")
    with pytest.raises(PartRejected) as refused:
        await bench.complete(name, [old])
    assert refused.value.fault is PartFault.ETAG_DIFFERS
    await bench.complete(name, [new])
    assert await bench.get("big") == b"new"


async def test_complete_can_be_repeated_and_writes_once(bench: UploadBench) -> None:
    name = await bench.begin()
    parts = [await bench.part(name, 1, b"content")]
    first = await bench.complete(name, parts)
    await bench.settle()
    assert await bench.complete(name, parts) == first
    await bench.put("big", b"newer")
    assert await bench.complete(name, parts) == first
    assert await bench.get("big") == b"newer"


async def test_a_finished_upload_is_not_listed_and_takes_no_parts(bench: UploadBench) -> None:
    name = await bench.begin()
    part = await bench.part(name, 1, b"content")
    await bench.complete(name, [part])
    await bench.settle()
    with pytest.raises(UploadMissing):
        await bench.part(name, 2, b"late")
    with pytest.raises(UploadMissing):
        await bench.store.list_parts(name, 0, 10, deadline=bench.deadline)
    page = await bench.store.list_uploads(ListUploads("photos"), deadline=bench.deadline)
    assert not page.uploads
    objects = await bench.store.list_objects(ListObjects("photos"), deadline=bench.deadline)
    assert [info.key for info in objects.objects] == ["big"]


async def test_an_aborted_upload_leaves_no_bytes(bench: UploadBench) -> None:
    name = await bench.begin()
    await bench.part(name, 1, b"x" * 2_000_000)
    await bench.store.abort_upload(name, deadline=bench.deadline)
    await bench.settle()
    with pytest.raises(UploadMissing):
        await bench.store.abort_upload(name, deadline=bench.deadline)
    with pytest.raises(UploadMissing):
        await bench.part(name, 1, b"late")
    with pytest.raises(ObjectMissing):
        await bench.get("big")


async def test_parts_that_different_drives_missed_are_spread_before_complete(bench: UploadBench) -> None:
    name = await bench.begin()
    parts = []
    for number, content in enumerate(CONTENTS):
        bench.drives[number].set_offline(True)
        parts.append(await bench.part(name, number + 1, content))
        await bench.settle()
        bench.drives[number].set_offline(False)
    await bench.complete(name, parts)
    await bench.settle()
    for lost in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]:
        for slot in lost:
            bench.drives[slot].set_offline(True)
        assert await bench.get("big") == b"".join(CONTENTS)
        for slot in lost:
            bench.drives[slot].set_offline(False)


@pytest.mark.parametrize(
    ("numbers", "part_bytes_min", "fault"),
    [([2, 1], 0, PartFault.OUT_OF_ORDER), ([1, 3], 0, PartFault.MISSING), ([1, 2], 10, PartFault.TOO_SMALL)],
)
async def test_wrong_parts_are_refused_and_the_upload_stays(
    bench: UploadBench, numbers: list[int], part_bytes_min: int, fault: PartFault
) -> None:
    name = await bench.begin()
    sent = {number: await bench.part(name, number, b"small") for number in (1, 2)}
    named = [sent.get(number, NamedPart(number, "none")) for number in numbers]
    with pytest.raises(PartRejected) as refused:
        await bench.complete(name, named, part_bytes_min)
    assert refused.value.fault is fault
    await bench.complete(name, [sent[1], sent[2]])


async def test_uploads_are_listed_by_key_and_page_by_page(bench: UploadBench) -> None:
    keys = ["a", "a", "b/1", "b/2", "c\x00d", "c", "é"]
    begun = sorted(
        [(key, (await bench.begin(key)).upload_id) for key in keys], key=lambda each: (each[0].encode(), each[1])
    )
    seen: list[tuple[str, str]] = []
    after, after_id = "", ""
    while True:
        request = ListUploads("photos", after=after, after_upload_id=after_id, limit=2)
        page = await bench.store.list_uploads(request, deadline=bench.deadline)
        seen += [(upload.key, upload.upload_id) for upload in page.uploads]
        if not page.is_truncated:
            break
        after, after_id = page.next_after, page.next_upload_id
    assert seen == begun
    page = await bench.store.list_uploads(ListUploads("photos", delimiter="/"), deadline=bench.deadline)
    assert page.prefixes == ("b/",)
    assert len(page.uploads) == 5


async def test_an_unknown_upload_is_missing(bench: UploadBench) -> None:
    with pytest.raises(UploadMissing):
        await bench.store.upload(UploadName("photos", "big", UploadId("0" * 48)), deadline=bench.deadline)
