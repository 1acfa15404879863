"""A client of a bucket that comes and goes."""

from tests.sim.bucket_actions import CreateIt, DeleteIt, PutIn, RemoveIn, SeeIn, SeeIt
from tests.sim.client import Client, Failed

from liteio_contracts.object_errors import BucketExists, BucketMissing, BucketNotEmpty, ObjectMissing
from liteio_contracts.object_layer import CreateBucket, DeleteObject, ListObjects, PutObject, ReadObject
from liteio_testkit.store_bench import PlainBody

FLEETING = "fleeting"
FLEETING_KEYS = ("p", "q")
PLACE = (FLEETING, "")


class BucketClient(Client):
    """All that is done to the bucket `fleeting`, one history."""

    async def create_bucket(self) -> None:
        call = self.recorder.begin(self.name, PLACE, CreateIt())
        request = CreateBucket(FLEETING, "owner")
        try:
            await self.ask("create bucket", lambda store, at: store.create_bucket(request, deadline=at))
        except BucketExists:
            call.done(SeeIt(is_there=True))
        except Failed:
            call.drop()
        else:
            call.done(CreateIt())

    async def delete_bucket(self) -> None:
        call = self.recorder.begin(self.name, PLACE, DeleteIt())
        try:
            await self.ask("delete bucket", lambda store, at: store.delete_bucket(FLEETING, deadline=at))
        except BucketMissing:
            call.done(SeeIt(is_there=False))
        except (BucketNotEmpty, Failed):
            call.drop()  # What an unknown put has left may stand in the way.
        else:
            call.done(DeleteIt())

    async def put_in(self) -> None:
        key = self.draw.one_of(FLEETING_KEYS)
        body = PlainBody(self.new_content())
        ident = body.facts().etag
        call = self.recorder.begin(self.name, PLACE, PutIn(key, ident))
        request = PutObject(FLEETING, key)
        try:
            await self.ask(f"put in {key} {ident[:6]}", lambda store, at: store.put(request, body, deadline=at))
        except BucketMissing:
            call.done(SeeIt(is_there=False))
        except Failed:
            call.drop()
        else:
            call.done(PutIn(key, ident))

    async def remove_in(self) -> None:
        key = self.draw.one_of(FLEETING_KEYS)
        call = self.recorder.begin(self.name, PLACE, RemoveIn(key))
        request = DeleteObject(FLEETING, key)
        try:
            await self.ask(f"remove in {key}", lambda store, at: store.delete(request, deadline=at))
        except BucketMissing:
            call.done(SeeIt(is_there=False))
        except Failed:
            call.drop()
        else:
            call.done(RemoveIn(key))

    async def get_in(self, key: str | None = None) -> None:
        key = key if key is not None else self.draw.one_of(FLEETING_KEYS)
        call = self.recorder.begin(self.name, PLACE, None)
        try:
            info = await self.fetch(ReadObject(FLEETING, key))
        except ObjectMissing:
            call.done(SeeIn(key, None))
        except BucketMissing:
            call.done(SeeIt(is_there=False))
        else:
            call.done(SeeIn(key, info.etag))

    async def list_in(self) -> None:
        calls = {key: self.recorder.begin(self.name, PLACE, None) for key in FLEETING_KEYS}
        request = ListObjects(FLEETING)
        try:
            page = await self.ask("list in", lambda store, at: store.list_objects(request, deadline=at))
        except BucketMissing:
            for call in calls.values():
                call.done(SeeIt(is_there=False))
            return
        shown = {info.key: info.etag for info in page.objects}
        for key, call in calls.items():
            call.done(SeeIn(key, shown.get(key)))

    async def list_buckets(self) -> None:
        call = self.recorder.begin(self.name, PLACE, None)
        found = await self.ask("list buckets", lambda store, at: store.list_buckets(deadline=at))
        call.done(SeeIt(is_there=FLEETING in {info.name for info in found}))
