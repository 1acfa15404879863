"""The one translation that the gateway owns: no object error is without its row."""

import pytest

from liteio_contracts.object_errors import (
    BucketExists,
    BucketMissing,
    BucketNotEmpty,
    DeleteMarkerFound,
    ObjectError,
    ObjectMissing,
    PartFault,
    PartRejected,
    PreconditionFailed,
    QuorumLost,
    ReadQuorumLost,
    UploadMissing,
    VersionMissing,
)
from liteio_gateway.errors import _TABLE, failure_of


def subclasses(kind: type[ObjectError]) -> set[type[ObjectError]]:
    below = kind.__subclasses__()
    return set(below).union(*(subclasses(each) for each in below))


def test_every_object_error_has_a_row() -> None:
    own = {kind for kind in subclasses(ObjectError) if kind.__module__ == ObjectError.__module__}
    assert own == set(_TABLE)


def test_an_error_derived_elsewhere_is_told_as_what_it_is_derived_from() -> None:
    class Derived(ReadQuorumLost):
        pass

    assert failure_of(Derived(needed=2, got=1)).error is failure_of(ReadQuorumLost(needed=2, got=1)).error


def example(kind: type[ObjectError]) -> ObjectError:
    if issubclass(kind, QuorumLost):
        return kind(needed=3, got=2)
    if issubclass(kind, BucketMissing | BucketNotEmpty | ObjectMissing | UploadMissing | PreconditionFailed):
        return kind("name")
    if kind is BucketExists:
        return BucketExists("name", "owner")
    if kind is VersionMissing:
        return VersionMissing("key", "")
    if kind is DeleteMarkerFound:
        return DeleteMarkerFound("key", "", 1)
    if kind is PartRejected:
        return PartRejected(PartFault.MISSING, 1)
    return kind("happened")


@pytest.mark.parametrize("kind", sorted(subclasses(ObjectError), key=repr))
def test_every_row_renders(kind: type[ObjectError]) -> None:
    failure = failure_of(example(kind))
    assert 400 <= failure.status < 600
    assert failure.code != "InternalError"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (PartFault.MISSING, "InvalidPart"),
        (PartFault.ETAG_DIFFERS, "InvalidPart"),
        (PartFault.CHECKSUM_DIFFERS, "InvalidPart"),
        (PartFault.OUT_OF_ORDER, "InvalidPartOrder"),
        (PartFault.TOO_SMALL, "EntityTooSmall"),
    ],
)
def test_every_fault_of_a_part_has_its_code(fault: PartFault, code: str) -> None:
    assert failure_of(PartRejected(fault, 3)).code == code
