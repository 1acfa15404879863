"""One wrong bit in what a drive answers: in a payload, a shard or a stored hash."""

from collections.abc import Sequence
from typing import TypeVar, cast

import msgspec

from liteio_contracts.storage import Entry, KeyAnswer, ShardFacts
from liteio_testkit.seeded_randomness import SeededRandomness

Answer = TypeVar("Answer")


def flip_bit(content: bytes, randomness: SeededRandomness) -> bytes:
    """The bytes with one bit wrong; empty bytes have none to flip."""
    if not content:
        return content
    spoiled = bytearray(content)
    at = randomness.below(len(content) * 8)
    spoiled[at // 8] ^= 1 << at % 8
    return bytes(spoiled)


def spoil(answer: Answer, randomness: SeededRandomness) -> Answer:
    """A copy of a drive's answer with one bit wrong, the answer itself when it carries nothing to flip."""
    return cast("Answer", _spoil(answer, randomness))


def _spoil(answer: object, randomness: SeededRandomness) -> object:
    if isinstance(answer, KeyAnswer):
        return _spoil_key(answer, randomness)
    if isinstance(answer, ShardFacts):
        return msgspec.structs.replace(answer, hashes=_spoil_one(answer.hashes, randomness))
    if isinstance(answer, tuple | list) and all(isinstance(item, bytes) for item in answer):
        return _spoil_one(answer, randomness)
    return answer


def _spoil_key(answer: KeyAnswer, randomness: SeededRandomness) -> KeyAnswer:
    with_payload = [at for at, entry in enumerate(answer.entries) if entry.payload]
    if not with_payload:
        return answer
    at = with_payload[randomness.below(len(with_payload))]
    entries = list(answer.entries)
    entries[at] = _spoil_entry(entries[at], randomness)
    return msgspec.structs.replace(answer, entries=tuple(entries))


def _spoil_entry(entry: Entry, randomness: SeededRandomness) -> Entry:
    if randomness.chance(0.2):
        return msgspec.structs.replace(entry, payload_hash=flip_bit(entry.payload_hash, randomness))
    return msgspec.structs.replace(entry, payload=flip_bit(entry.payload or b"", randomness))


def _spoil_one(pieces: Sequence[bytes], randomness: SeededRandomness) -> tuple[bytes, ...]:
    if not pieces:
        return ()
    at = randomness.below(len(pieces))
    return (*pieces[:at], flip_bit(pieces[at], randomness), *pieces[at + 1 :])
