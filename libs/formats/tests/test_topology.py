"""The topology record: comes back as it was, and damage is noticed."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_base.ids import DeploymentId
from liteio_formats.checked_json import FormatError
from liteio_formats.topology import (
    EpochRecord,
    PoolRecord,
    TopologyRecord,
    decode_topology,
    encode_topology,
)

POOL = PoolRecord(set_width=2, parity=1, endpoints=tuple(f"https://n{node}:9100/d" for node in range(4)))
FIRST = TopologyRecord.of_one_pool(DeploymentId("d" * 32), POOL)


@given(
    number=st.integers(1, 2**31),
    widths=st.lists(st.integers(1, 16), min_size=1, max_size=3),
    weights=st.lists(st.integers(0, 9), min_size=1, max_size=3),
)
def test_a_topology_comes_back_as_it_was(number: int, widths: list[int], weights: list[int]) -> None:
    pools = tuple(
        PoolRecord(set_width=width, parity=width // 2, endpoints=tuple(f"http://n{at}/d" for at in range(2 * width)))
        for width in widths
    )
    epochs = (EpochRecord(number=1, weights=tuple(enumerate(weights))),)
    topology = TopologyRecord(number=number, deployment_id=FIRST.deployment_id, pools=pools, epochs=epochs)
    assert decode_topology(encode_topology(topology)) == topology


@given(st.data())
def test_a_changed_digit_is_noticed(data: st.DataObject) -> None:
    text = encode_topology(FIRST).decode()
    place = data.draw(st.sampled_from([at for at, sign in enumerate(text) if sign.isdigit() or sign in "de"]))
    changed = text[:place] + ("7" if text[place] != "7" else "8") + text[place + 1 :]
    with pytest.raises(FormatError):
        decode_topology(changed.encode())


@given(st.binary(max_size=100))
def test_garbage_is_no_topology(garbage: bytes) -> None:
    with pytest.raises(FormatError):
        decode_topology(garbage)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"number": 0}, "no number"),
        ({"pools": ()}, "no number, no pool"),
        ({"pools": (msgspec.structs.replace(POOL, set_width=3),)}, "4 drives are no sets of 3"),
        ({"pools": (msgspec.structs.replace(POOL, parity=2),)}, "parity 2"),
    ],
)
def test_shapes_that_can_not_be_are_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(FormatError, match=said):
        decode_topology(encode_topology(msgspec.structs.replace(FIRST, **changes)))


def test_it_can_be_read_without_liteio() -> None:
    read = json.loads(encode_topology(FIRST))
    assert read["format"] == "liteio-topology"
    assert read["topology"]["pools"][0]["endpoints"][3] == "https://n3:9100/d"
