import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from highwayhash import highwayhash_256
from hypothesis import given
from hypothesis import strategies as st

from liteio_base.ids import DataId
from liteio_erasure import bitrot, hash_block, hash_blocks, verify_block, wrong_blocks

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


def _package(keys: list[bytes], pieces: list[bytes]) -> list[bytes]:
    return [highwayhash_256(key, piece) for key, piece in zip(keys, pieces, strict=True)]


def _kernels() -> list[Callable[[list[bytes], list[bytes]], list[bytes]]]:
    """All that may compute the hash here: the package, and the kernel for AVX2 where there is one."""
    return [_package, *([bitrot.hash256_each] if bitrot.HASH_KERNEL == "avx2" else [])]


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="asks /proc/cpuinfo what the processor can")
def test_the_kernel_is_there_where_the_processor_has_avx2() -> None:
    has_avx2 = " avx2 " in Path("/proc/cpuinfo").read_text()
    assert (bitrot.HASH_KERNEL == "avx2") == has_avx2


@pytest.mark.parametrize("length", [*range(130), 2048, 2049, 64 * 1024 + 5, 1024 * 1024 - 1])
def test_the_kernels_agree_on_every_length(length: int) -> None:
    key, data = bytes(range(32)), bytes(number * 7 % 251 for number in range(length))
    for kernel in _kernels():
        assert kernel([key], [data]) == [highwayhash_256(key, data)]


@given(st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.binary(max_size=300)), max_size=11))
def test_the_kernels_agree_on_any_pieces_together(pairs: list[tuple[bytes, bytes]]) -> None:
    keys, pieces = [key for key, _ in pairs], [piece for _, piece in pairs]
    for kernel in _kernels():
        assert kernel(keys, pieces) == _package(keys, pieces)


@given(
    st.lists(st.tuples(st.binary(max_size=80), st.integers(0, 2**16 - 1), st.integers(0, 2**64 - 1)), max_size=9),
    st.data(),
)
def test_blocks_hashed_together_are_the_same_and_a_wrong_one_shows(
    blocks: list[tuple[bytes, int, int]], data: st.DataObject
) -> None:
    shards, places = [shard for shard, _, _ in blocks], [place for _, *place in blocks]
    hashes = hash_blocks(shards, DATA_ID, 3, [(index, block) for index, block in places])
    assert hashes == [hash_block(shard, DATA_ID, 3, *place) for shard, place in zip(shards, places, strict=True)]
    wrong = sorted(data.draw(st.sets(st.integers(0, len(blocks) - 1)))) if blocks else []
    stored = [bytes(32) if number in wrong else found for number, found in enumerate(hashes)]
    assert wrong_blocks(shards, stored, DATA_ID, 3, [(index, block) for index, block in places]) == wrong


def test_without_the_kernel_the_package_computes_the_same() -> None:
    program = (
        "import sys; sys.modules['liteio_erasure._highway'] = None; from liteio_erasure import bitrot; "
        f"print(bitrot.HASH_KERNEL, bitrot.hash_block({SHARD!r}, {DATA_ID!r}, 3, 5, 1000).hex())"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert told == ["highwayhash-cffi", hash_block(SHARD, DATA_ID, 3, 5, 1000).hex()]


@pytest.mark.skipif(bitrot.HASH_KERNEL != "avx2", reason="there is no kernel of its own here")
def test_the_kernel_refuses_what_is_no_key_and_no_data() -> None:
    with pytest.raises(ValueError, match="a key has 32 bytes, not 31"):
        bitrot.hash256_each([bytes(31)], [b""])
    with pytest.raises(ValueError, match="1 keys for 2 pieces"):
        bitrot.hash256_each([bytes(32)], [b"", b""])
    for wrong in (([bytes(32)], [bytearray(4)]), (["key"], [b""]), (bytes(32), b""), ([bytes(32)],)):
        with pytest.raises(TypeError, match=r"bytes|a list of keys and a list of pieces"):
            bitrot.hash256_each(*wrong)


@pytest.mark.parametrize("kernel", _kernels())
def test_it_is_highwayhash(kernel: Callable[[list[bytes], list[bytes]], list[bytes]]) -> None:
    """MinIO's published bitrot self-test: 32 rounds, each hashing the sums so far, under its own key."""
    key = bytes.fromhex("4be734fa8e238acd263e83e6bb968552040f935da39f441497e09d1322de36a0")
    message = digest = b""
    for _ in range(32):
        [digest] = kernel([key], [message])
        message += digest
    assert digest.hex() == "39c0407ed3f01b18d22c85db4aeff11e060ca5f43131b0126731ca197cd42313"


def test_hash_vectors_stay() -> None:
    vectors = json.loads((Path(__file__).parent / "vectors" / "block_hashes.json").read_text())
    for vector in vectors:
        shard = bytes.fromhex(vector["shard"])
        address = (DataId(vector["data_id"]), vector["part"], vector["shard_index"], vector["block"])
        assert hash_block(shard, *address).hex() == vector["hash"]
