"""`AnswerStream`: a node's answer as frames, each checked against its MAC before anyone sees it."""

from collections import deque
from typing import Self

import msgspec
from pyreqwest.exceptions import PyreqwestError
from pyreqwest.request import StreamRequest
from pyreqwest.response import Response

from liteio_drives.remote.frames import Frame, FrameDecoder, FrameError, FrameKind
from liteio_drives.remote.sealing import ExchangeKey, NotAuthentic
from liteio_drives.remote.wire_errors import WireError, from_wire

REASON_HEADER = "x-liteio-reason"


class NodeRefused(PyreqwestError):
    """The node answered with a status that no sound exchange has."""


class AnswerStream:
    """Frames in order. ERROR frames are raised as the StorageError they carry."""

    def __init__(self, request: StreamRequest, response: Response, key: ExchangeKey) -> None:
        self._request, self._response, self._key = request, response, key
        self._decoder = FrameDecoder()
        self._ready: deque[Frame] = deque()
        self._is_closed = False

    @classmethod
    async def open(cls, request: StreamRequest, key: ExchangeKey) -> Self:
        """Send the request and wait for the answer's head. Raises PyreqwestError, NotAuthentic."""
        response = await request.__aenter__()
        if response.status != 200:
            status, reason = response.status, response.get_header(REASON_HEADER)
            await request.__aexit__(None, None, None)
            if status == 401:
                raise NotAuthentic(reason or "refused")
            raise NodeRefused(f"status {status}")
        return cls(request, response, key)

    async def next(self) -> Frame | None:
        """The next frame, its payload without the MAC; None at the end. Raises StorageError, PyreqwestError,
        FrameError, NotAuthentic."""
        while not self._ready:
            chunk = await self._response.body_reader.read_chunk()
            if chunk is None:
                if not self._decoder.is_between_frames:
                    raise FrameError("the answer was cut")
                return None
            self._ready.extend(self._decoder.receive(memoryview(chunk)))
        frame = self._ready.popleft()
        if frame.kind is FrameKind.BLOCK:  # Its bytes are verified against the block's hash where they are decoded.
            return frame
        payload = self._key.open_answer(frame.kind, frame.payload)
        if frame.kind is FrameKind.ERROR:
            raise from_wire(msgspec.msgpack.decode(payload, type=WireError))
        return Frame(frame.kind, payload)

    async def close(self) -> None:
        """Give the stream back; what was not read is not sent any more."""
        if not self._is_closed:
            self._is_closed = True
            await self._request.__aexit__(None, None, None)
