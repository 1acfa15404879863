import json
from pathlib import Path

import pytest
from highwayhash import highwayhash_256

from liteio_base.ids import DataId
from liteio_erasure import bitrot, hash_block, verify_block

DATA_ID = DataId("00112233445566778899aabbccddeeff")
SHARD = bytes(range(256))


def test_a_block_verifies_at_its_address_only() -> None:
    stored = hash_block(SHARD, DATA_ID, 3, 5, 1000)
    assert len(stored) == 32
    assert verify_block(SHARD, stored, DATA_ID, 3, 5, 1000)
    assert not verify_block(SHARD, stored, DataId("00112233445566778899aabbccddeefe"), 3, 5, 1000)
    assert not verify_block(SHARD, stored, DATA_ID, 4, 5, 1000)
    assert not verify_block(SHARD, stored, DATA_ID, 3, 6, 1000)
    assert not verify_block(SHARD, stored, DATA_ID, 3, 5, 1001)


@pytest.mark.parametrize("bit", [0, 7, 1000, 2047])
def test_one_flipped_bit_shows(bit: int) -> None:
    stored = hash_block(SHARD, DATA_ID, 1, 0, 0)
    flipped = bytearray(SHARD)
    flipped[bit // 8] ^= 1 << bit % 8
    assert not verify_block(bytes(flipped), stored, DATA_ID, 1, 0, 0)


def test_a_shorter_longer_or_zeroed_block_shows() -> None:
    stored = hash_block(SHARD, DATA_ID, 1, 0, 0)
    for wrong in (SHARD[:-1], SHARD + b"\0", bytes(256), b""):
        assert not verify_block(wrong, stored, DATA_ID, 1, 0, 0)


def test_the_key_is_the_documented_one() -> None:
    key = bytes.fromhex("00112233445566778899aabbccddeeff 03000000 0500 0100 e803000000000000")
    assert hash_block(SHARD, DATA_ID, 3, 5, 1000) == highwayhash_256(key, SHARD)


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 2048, 64 * 1024, 64 * 1024 + 1, 1024 * 1024])
def test_few_bytes_and_many_have_the_same_hash(length: int) -> None:
    shard = bytes(number % 251 for number in range(length))
    key = bytes.fromhex("00112233445566778899aabbccddeeff 01000000 0000 0100 0000000000000000")
    assert hash_block(shard, DATA_ID, 1, 0, 0) == highwayhash_256(key, shard)


def test_few_bytes_are_hashed_with_the_interpreters_lock_kept() -> None:
    assert bitrot._hash_few is not highwayhash_256


def test_the_package_computes_highwayhash() -> None:
    """MinIO's published bitrot self-test: 32 rounds, each hashing the sums so far, under its own key."""
    key = bytes.fromhex("4be734fa8e238acd263e83e6bb968552040f935da39f441497e09d1322de36a0")
    message = digest = b""
    for _ in range(32):
        digest = highwayhash_256(key, message)
        message += digest
    assert digest.hex() == "39c0407ed3f01b18d22c85db4aeff11e060ca5f43131b0126731ca197cd42313"


def test_hash_vectors_stay() -> None:
    vectors = json.loads((Path(__file__).parent / "vectors" / "block_hashes.json").read_text())
    for vector in vectors:
        shard = bytes.fromhex(vector["shard"])
        address = (DataId(vector["data_id"]), vector["part"], vector["shard_index"], vector["block"])
        assert hash_block(shard, *address).hex() == vector["hash"]
