"""The frame codec: whatever is encoded is decoded however it is cut, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_drives.remote.frames import HEADER_BYTES, Frame, FrameDecoder, FrameError, FrameKind, encode_frame
from liteio_drives.remote.limits import BLOCK_FRAME_BYTES_MAX, REPLY_BYTES_MAX

_frames = st.builds(
    Frame,
    st.sampled_from([kind for kind in FrameKind if kind is not FrameKind.ABORT]),
    st.binary(max_size=300),
) | st.just(Frame(FrameKind.ABORT, b""))


@given(st.lists(_frames, max_size=8), st.data())
def test_frames_survive_any_cutting(frames: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(encode_frame(frame.kind, frame.payload) for frame in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    decoder = FrameDecoder()
    found: list[Frame] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found.extend(decoder.receive(stream[start:end]))
    assert found == frames
    assert decoder.is_between_frames


@given(st.lists(_frames, min_size=1, max_size=4), st.data())
def test_a_cut_stream_is_seen_to_be_cut(frames: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(encode_frame(frame.kind, frame.payload) for frame in frames)
    last = HEADER_BYTES + len(frames[-1].payload)
    decoder = FrameDecoder()
    found = decoder.receive(stream[: len(stream) - data.draw(st.integers(1, last - 1))])
    assert found == frames[:-1]
    assert not decoder.is_between_frames


@given(st.lists(st.binary(max_size=64), max_size=8))
def test_random_bytes_are_frames_or_refused_and_never_kept_beyond_the_bound(chunks: list[bytes]) -> None:
    decoder = FrameDecoder()
    try:
        for chunk in chunks:
            for frame in decoder.receive(chunk):
                assert encode_frame(frame.kind, frame.payload)
    except FrameError:
        with pytest.raises(FrameError):
            decoder.receive(b"")


@pytest.mark.parametrize(
    ("kind", "length"),
    [(0, 0), (99, 0), (FrameKind.ABORT, 1), (FrameKind.BLOCK, BLOCK_FRAME_BYTES_MAX + 1), (FrameKind.REPLY, 2**32 - 1)],
)
def test_an_unknown_kind_or_a_length_beyond_its_bound_is_refused_by_its_header(kind: int, length: int) -> None:
    with pytest.raises(FrameError):
        FrameDecoder().receive(length.to_bytes(4, "big") + bytes((kind,)))


def test_no_frame_longer_than_its_kind_may_be_is_made() -> None:
    with pytest.raises(FrameError):
        encode_frame(FrameKind.REPLY, bytes(REPLY_BYTES_MAX + 1000))


def test_a_stream_that_begins_with_another_kind_than_is_due_is_refused_by_its_header() -> None:
    """So that who has proved nothing yet can not have a large frame kept."""
    large = encode_frame(FrameKind.HEAD, bytes(100_000))
    with pytest.raises(FrameError):
        FrameDecoder(first=FrameKind.OPEN).receive(large[:HEADER_BYTES])
    decoder = FrameDecoder(first=FrameKind.OPEN)
    assert len(decoder.receive(encode_frame(FrameKind.OPEN, b"head") + large)) == 2
