"""Errors on the wire come back as the very class with their fields."""

import msgspec
import pytest

from liteio_base.ids import DataId
from liteio_contracts import storage_errors
from liteio_contracts.storage import ShardRef
from liteio_contracts.storage_errors import ShardCorrupt, StorageError, Superseded
from liteio_drives.remote.wire_errors import WireError, from_wire, to_wire

KINDS = [kind for kind in vars(storage_errors).values() if isinstance(kind, type) and issubclass(kind, StorageError)]


def travel(error: StorageError) -> StorageError:
    return from_wire(msgspec.msgpack.decode(msgspec.msgpack.encode(to_wire(error)), type=WireError))


@pytest.mark.parametrize("kind", KINDS)
def test_every_class_comes_back_as_itself(kind: type[StorageError]) -> None:
    found = travel(kind("a word", newest=7, key=b"\xff"))
    assert type(found) is kind
    assert (found.message, found.fields) == ("a word", {"newest": 7, "key": b"\xff"})


def test_a_shard_ref_comes_back_as_one() -> None:
    ref = ShardRef(DataId("d"), 1, 2)
    assert travel(ShardCorrupt(ref=ref)).fields["ref"] == ref


def test_fields_that_can_not_travel_become_text() -> None:
    found = travel(Superseded(newest=2**70, what=object(), long=b"x" * 10_000))
    assert isinstance(found.fields["newest"], str)
    assert "object" in found.fields["what"]
    assert len(found.fields["long"]) <= 1000


def test_a_code_of_a_newer_node_is_a_storage_error_and_hostile_fields_do_no_harm() -> None:
    found = from_wire(WireError("drive.haunted", "boo", {"self": 1, "message": "x", "a b": 2}))
    assert type(found) is StorageError
    assert found.fields == {"a b": 2}
