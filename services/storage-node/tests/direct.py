"""A node's app without a server: requests are handed to it as a server would, body piece by piece."""

from collections.abc import Sequence
from typing import Any

from live_node import SECRET

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_contracts.storage import StorageAPI
from liteio_storage_node.app import build_app


class DirectNode:
    def __init__(self, drives: Sequence[StorageAPI]) -> None:
        self._app = build_app(drives, SECRET, SystemClock(), SystemRandomness())

    async def ask(self, path: str, seal: str | None, chunks: Sequence[bytes]) -> tuple[int, bytes]:
        """Status and body of a POST. Raises what the app lets through: a server would answer 500."""
        pieces = [*chunks, b""]
        answer: list[Any] = []

        async def receive() -> dict[str, Any]:
            if not pieces:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

        async def send(message: Any) -> None:
            answer.append(message)

        headers = [] if seal is None else [(b"authorization", seal.encode("latin-1"))]
        scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
        await self._app(scope, receive, send)
        assert not answer[-1].get("more_body"), "an answer ends"
        return answer[0]["status"], b"".join(message["body"] for message in answer[1:])
