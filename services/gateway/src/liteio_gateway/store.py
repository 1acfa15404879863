"""The object layer of a gateway process: local drives, and the store over them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from liteio_base.clock import Clock, Randomness
from liteio_contracts.object_layer import ObjectLayer
from liteio_gateway.settings import GatewaySettings


@asynccontextmanager
async def open_store(settings: GatewaySettings, clock: Clock, randomness: Randomness) -> AsyncIterator[ObjectLayer]:
    raise NotImplementedError
    yield
