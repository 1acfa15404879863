"""What the clients of a seed do, in which order and how fast."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from tests.sim.bucket_actions import CreateIt
from tests.sim.bucket_client import FLEETING, PLACE, BucketClient
from tests.sim.recorder import Recorder
from tests.sim.upload_client import UploadClient
from tests.sim.world import Draw, World

from liteio_contracts.object_layer import BucketChange, CreateBucket
from liteio_formats.bodies import Versioning

# The first ones are fought over; then those that are new when they are put.
KEYS: Final = ("a", "b/1", "b/2", "c", "d", *(f"e/{letter}" for letter in "abcdefghijklmnop"))
NEW_COUNT: Final = 16
STAYING: Final = "staying"
CLIENTS: Final = 3
OPERATIONS: Final = (5, 14)  # of each client, at least and at most


class AnyClient(UploadClient, BucketClient):
    """All that a client may do, with how often."""

    def choices(self) -> list[tuple[int, Callable[[], Awaitable[None]]]]:
        is_versioned = self.modes[STAYING] is not Versioning.NEVER
        return [
            (22, self.put),
            (12, self.put_new),
            (8, self.put_if_absent),
            (6, self.put_if_match),
            (10, self.delete),
            (6 if is_versioned else 1, self.delete_version),
            (5, self.set_tags),
            (2, self.copy),
            (14, self.get),
            (8, self.head),
            (6 if is_versioned else 1, self.get_version),
            (8, self.list_keys),
            (2, self.list_prefixes),
            (5, self.list_versions),
            (9, self.upload),
            (3, self.create_bucket),
            (4, self.delete_bucket),
            (4, self.put_in),
            (2, self.remove_in),
            (3, self.get_in),
            (1, self.list_in),
            (1, self.list_buckets),
        ]

    async def run(self, count: int) -> None:
        for _ in range(count):
            await self.world.clock.sleep(self._pause_seconds())
            await self.do(self.draw.weighed(*self.choices()))

    def _pause_seconds(self) -> float:
        """Mostly at once, so that clients meet; now and then long enough for sweeps and late messages
        to come between."""
        return self.draw.weighed(
            (14, self.draw.uniform(0, 0.01)),
            (5, self.draw.uniform(0, 1.0)),
            (2, self.draw.uniform(0, 15.0)),
            (1, self.draw.uniform(0, 60.0)),
        )


class Workload:
    """The clients of a world, and what they were told."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.recorder = Recorder()
        self.draw = Draw(world.sim.seed).fork("workload")
        self.mode = self.draw.weighed((5, Versioning.NEVER), (4, Versioning.ENABLED), (3, Versioning.SUSPENDED))
        shared = (world, self.recorder)
        contents: dict[str, bytes] = {}
        copied: set[tuple[str, str, str]] = set()
        fresh = list(reversed(KEYS[-NEW_COUNT:]))
        modes = {STAYING: self.mode}
        self.clients = [
            AnyClient(f"c{number}", *shared, self.draw.fork(f"client {number}"), contents, modes, KEYS, copied, fresh)
            for number in range(CLIENTS)
        ]

    async def prepare(self) -> None:
        """Make the buckets, with versions from before versioning was suspended. Nothing goes wrong yet."""
        gateway, client = self.world.gateways[0], self.clients[0]
        client.is_patient = True
        store = gateway.store
        await gateway.ask(store.create_bucket(CreateBucket(STAYING, "owner"), deadline=gateway.deadline()))
        call = self.recorder.begin("setup", PLACE, None)
        await gateway.ask(store.create_bucket(CreateBucket(FLEETING, "owner"), deadline=gateway.deadline()))
        call.done(CreateIt())
        if self.mode is not Versioning.NEVER:
            await self._set_mode(Versioning.ENABLED)
        if self.mode is Versioning.SUSPENDED:
            client.modes[STAYING] = Versioning.ENABLED
            for _ in range(self.draw.below(4)):
                await client.put()
            await self._set_mode(Versioning.SUSPENDED)
            client.modes[STAYING] = Versioning.SUSPENDED
        client.is_patient = False
        await self.world.clock.sleep(2.0)  # Gateways remember configurations for a second.

    async def _set_mode(self, versioning: Versioning) -> None:
        gateway = self.world.gateways[0]
        change = BucketChange(versioning=versioning)
        await gateway.ask(gateway.store.change_bucket(STAYING, change, deadline=gateway.deadline()))

    async def run(self) -> None:
        """Raises what went wrong first, as it was."""
        low, high = OPERATIONS
        try:
            async with asyncio.TaskGroup() as group:
                for client in self.clients:
                    group.create_task(client.run(low + self.draw.below(high - low)))
        except BaseExceptionGroup as troubles:
            raise troubles.exceptions[0] from None
