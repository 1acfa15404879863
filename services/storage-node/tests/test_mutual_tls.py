"""Mutual TLS: who shows no certificate of the cluster's authority is turned away before a byte of HTTP."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from live_node import SECRET
from raw_h2 import PREFACE, SETTINGS, headers_frame

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_drives.remote.messages import HEALTH_PATH
from liteio_storage_node.app import build_app
from liteio_storage_node.asgi import Receive, Scope, Send
from liteio_storage_node.server import NodeServer, ServerTLS
from liteio_testkit.polling import until

YESTERDAY = datetime.now(UTC) - timedelta(days=1)


@dataclass(slots=True)
class TLSNode:
    port: int
    authority: trustme.CA
    requests: list[str]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[TLSNode]:
    authority = authority_of_the_cluster()
    served = authority.issue_cert("localhost")
    served.cert_chain_pems[0].write_to_path(tmp_path / "cert")
    served.private_key_pem.write_to_path(tmp_path / "key")
    authority.cert_pem.write_to_path(tmp_path / "ca")
    app, requests = build_app((), SECRET, SystemClock(), SystemRandomness()), list[str]()

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        requests.append(scope["path"])
        await app(scope, receive, send)

    server = NodeServer(noting, "127.0.0.1", 0, tls=ServerTLS(tmp_path / "cert", tmp_path / "key", tmp_path / "ca"))
    await server.start()
    yield TLSNode(server.port, authority, requests)
    await server.stop(2.0)


def authority_of_the_cluster() -> trustme.CA:
    """With a key of its own each time."""
    return trustme.CA(organization_name="the cluster", organization_unit_name="nodes")


def context_for(node: TLSNode, shown: trustme.LeafCert | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    node.authority.configure_trust(context)
    context.set_alpn_protocols(["h2"])
    if shown is not None:
        shown.configure_cert(context)
    return context


async def said_to(node: TLSNode, context: ssl.SSLContext | None) -> bytes:
    """All that the node says to somebody who asks for the life sign; b"" when it says nothing. Without a context the
    request goes in clear."""
    name = "localhost" if context is not None else None
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", node.port, ssl=context, server_hostname=name)
            try:
                # In TLS 1.3 the client's handshake is over before the node has looked at its certificate.
                writer.write(PREFACE + SETTINGS + headers_frame(1, HEALTH_PATH, method="GET", ends=True))
                await writer.drain()
                return await reader.read(65536)
            finally:
                writer.transport.abort()
    except (ssl.SSLError, ConnectionError):
        return b""


async def test_a_certificate_of_the_clusters_authority_is_let_in(node: TLSNode) -> None:
    """The control: what the others send would be answered."""
    assert await said_to(node, context_for(node, node.authority.issue_cert("gateway.example")))
    await until(lambda: bool(node.requests))
    assert node.requests == [HEALTH_PATH]


async def test_no_certificate_is_refused(node: TLSNode) -> None:
    await expect_nothing(node, context_for(node, None))


async def test_a_certificate_of_another_authority_is_refused(node: TLSNode) -> None:
    await expect_nothing(node, context_for(node, trustme.CA().issue_cert("gateway.example")))


async def test_a_certificate_of_an_authority_of_the_same_name_is_refused(node: TLSNode) -> None:
    await expect_nothing(node, context_for(node, authority_of_the_cluster().issue_cert("gateway.example")))


async def test_an_expired_certificate_is_refused(node: TLSNode) -> None:
    old = node.authority.issue_cert("gateway.example", not_before=YESTERDAY - timedelta(days=30), not_after=YESTERDAY)
    await expect_nothing(node, context_for(node, old))


async def test_a_certificate_that_is_not_valid_yet_is_refused(node: TLSNode) -> None:
    early = node.authority.issue_cert("gateway.example", not_before=YESTERDAY + timedelta(days=30))
    await expect_nothing(node, context_for(node, early))


async def test_an_old_version_of_tls_is_refused(node: TLSNode) -> None:
    context = context_for(node, node.authority.issue_cert("gateway.example"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    await expect_nothing(node, context)


async def test_a_request_in_clear_is_refused(node: TLSNode) -> None:
    said = await said_to(node, None)
    assert not said or said[0] == 21, "at most an alert of TLS"
    assert node.requests == []


async def expect_nothing(node: TLSNode, context: ssl.SSLContext) -> None:
    assert await said_to(node, context) == b""
    await asyncio.sleep(0.1)
    assert node.requests == []
