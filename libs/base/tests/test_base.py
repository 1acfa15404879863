import os

import pytest

from liteio_base.byte_span import ByteSpan
from liteio_base.check import BrokenBelief, check
from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_base.ids import NULL_VERSION, HybridTime, created_of, is_version_id, new_version_id


def test_a_version_id_carries_its_creation_time() -> None:
    version_id = new_version_id(HybridTime(123_456_789), SystemRandomness())
    assert is_version_id(version_id)
    assert created_of(version_id) == 123_456_789


@pytest.mark.parametrize("text", [NULL_VERSION, "null", "f" * 32, "0" * 31, "G" * 32])
def test_other_texts_are_no_version_ids(text: str) -> None:
    assert not is_version_id(text)


def test_spans_meet_where_both_cover() -> None:
    assert ByteSpan(0, 10).meet(ByteSpan(5, 10)) == ByteSpan(5, 5)
    assert ByteSpan(0, 5).meet(ByteSpan(9, 5)).length == 0


def test_a_deadline_only_comes_sooner() -> None:
    deadline = Deadline.after(10, SystemClock())
    assert deadline.sooner(1).seconds_left() <= 1
    assert deadline.sooner(100) == deadline


def test_random_bytes_are_never_given_twice() -> None:
    randomness = SystemRandomness()
    given = [randomness.token_bytes(16) for _ in range(1000)]
    assert len(set(given)) == 1000
    assert {len(token) for token in given} == {16}
    assert len(randomness.token_bytes(10_000)) == 10_000
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writer, randomness.token_bytes(16))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 16) != randomness.token_bytes(16)
    os.close(reader)
    os.close(writer)


def test_a_broken_belief_stops_the_program() -> None:
    with pytest.raises(BrokenBelief, match="set width"):
        check(False, "set width")
