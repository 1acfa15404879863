"""GET /health/live: the process takes requests. No detail: this is the one route that asks for no proof."""

from liteio_storage_node.asgi import Receive, Scope, Send, answer


async def answer_live(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, 200)
