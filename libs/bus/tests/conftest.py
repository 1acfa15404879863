"""A real nats-server, and a bus that is connected to it."""

from liteio_testkit.nats_fixtures import bus, nats_server

__all__ = ["bus", "nats_server"]
