"""Which parts a CompleteMultipartUpload may name: present, in order, big enough, with the ETags the client knows."""

from collections.abc import Mapping

from liteio_contracts.object_errors import PartFault, PartRejected
from liteio_contracts.object_layer import CompleteUpload
from liteio_formats.record import Record


def chosen_parts(request: CompleteUpload, stored: Mapping[int, Record]) -> list[Record]:
    """The part records in the order named. Raises PartRejected for the first that can not be used."""
    chosen: list[Record] = []
    last_number = 0
    for named in request.parts:
        if named.number <= last_number:
            raise PartRejected(PartFault.OUT_OF_ORDER, named.number, etag=named.etag)
        last_number = named.number
        part = stored.get(named.number)
        if part is None:
            raise PartRejected(PartFault.MISSING, named.number, etag=named.etag)
        if named.etag != part.etag:
            raise PartRejected(PartFault.ETAG_DIFFERS, named.number, etag=named.etag)
        if named.checksum and (part.checksum is None or named.checksum != part.checksum.value):
            raise PartRejected(PartFault.CHECKSUM_DIFFERS, named.number, etag=named.etag)
        chosen.append(part)
    for named, part in zip(request.parts[:-1], chosen, strict=False):
        if part.size_bytes < request.part_bytes_min:
            raise PartRejected(PartFault.TOO_SMALL, named.number, etag=named.etag, size_bytes=part.size_bytes)
    return chosen
