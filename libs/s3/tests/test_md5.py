"""MD5 by every kernel that there is here: RFC 1321, hashlib, and streams that go on together."""

import hashlib
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_s3 import md5
from liteio_s3.checksums import Checksum


class Kernel(NamedTuple):
    name: str
    new: Callable[[], Checksum]
    update_all: Callable[[md5.MD5Updates], None]


def _kernels() -> list[Kernel]:
    """The fallback, and what is compiled: on a processor with AVX-512VL both of its ways."""
    found = [Kernel("hashlib", md5._hashlib_md5, md5._one_by_one)]
    if md5.MD5_KERNEL != "hashlib":
        from liteio_s3 import _md5

        found.append(Kernel("avx2", _md5.MD5, _md5.update_all_avx2))
        if md5.MD5_KERNEL == "avx512vl":
            found.append(Kernel("avx512vl", _md5.MD5, _md5.update_all_avx512vl))
    return found


KERNELS: Final = _kernels()
each_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
compiled_only = pytest.mark.skipif(md5.MD5_KERNEL == "hashlib", reason="there is no kernel of its own here")

RFC_1321: Final = {
    "": "d41d8cd98f00b204e9800998ecf8427e",
    "a": "0cc175b9c0f1b6a831c399e269772661",
    "abc": "900150983cd24fb0d6963f7d28e17f72",
    "message digest": "f96b697d7cb7938d525a2f31aaf161d0",
    "abcdefghijklmnopqrstuvwxyz": "c3fcd3d76192e4007dfb496cca67e13b",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789": "d174ab98d277d9f5a5611c2c9f419d9f",
    "1234567890" * 8: "57edf4a22be3c955ac49da2e2107b67a",
}


def data_of(length: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(length)


@each_kernel
def test_it_is_md5(kernel: Kernel) -> None:
    for text, digest in RFC_1321.items():
        running = kernel.new()
        running.update(text.encode())
        assert running.digest().hex() == digest


@each_kernel
@pytest.mark.parametrize("length", [*range(260), 2047, 2048, 4096, 64 * 1024 + 5])
def test_streams_of_every_length_go_together(kernel: Kernel, length: int) -> None:
    """Alone, in lanes that are all filled, and in more than there are."""
    for count in (1, 2, 3, 8, 11):
        streams = [(kernel.new(), data_of(length + 64 * seed, seed)) for seed in range(count)]
        kernel.update_all(streams)
        for running, data in streams:
            assert running.digest() == hashlib.md5(data).digest()


@given(
    rounds=st.lists(
        st.dictionaries(st.integers(0, 11), st.binary(max_size=300) | st.integers(0, 2000).map(data_of)), max_size=8
    )
)
def test_streams_go_together_in_any_pieces_and_company(rounds: list[dict[int, bytes]]) -> None:
    """A round gives some of twelve streams their next bytes."""
    for kernel in KERNELS:
        streams = [(kernel.new(), hashlib.md5()) for _ in range(12)]
        for updates in rounds:
            kernel.update_all([(streams[number][0], data) for number, data in updates.items()])
            for number, data in updates.items():
                streams[number][1].update(data)
                assert streams[number][0].digest() == streams[number][1].digest()


@given(pieces=st.lists(st.binary(max_size=200)))
def test_a_stream_alone_goes_in_any_pieces(pieces: list[bytes]) -> None:
    for kernel in KERNELS:
        running = kernel.new()
        for piece in pieces:
            running.update(memoryview(piece))
        assert running.digest() == hashlib.md5(b"".join(pieces)).digest()


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="asks /proc/cpuinfo what the processor can")
def test_the_kernel_is_the_best_that_the_processor_has() -> None:
    flags = set(Path("/proc/cpuinfo").read_text().split())
    assert next((name for name in ("avx512vl", "avx2") if name in flags), "hashlib") == md5.MD5_KERNEL
    assert (8 if "avx2" in flags else 1) == md5.MD5_LANES


def test_without_the_kernel_hashlib_computes_the_same() -> None:
    program = (
        "import sys; sys.modules['liteio_s3._md5'] = None; from liteio_s3 import md5; "
        "one, other = md5.new_md5(), md5.new_md5(); md5.update_all([(one, b'abc'), (other, b'a')]); "
        "print(md5.MD5_KERNEL, md5.MD5_LANES, one.digest().hex(), other.digest().hex())"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert told == ["hashlib", "1", RFC_1321["abc"], RFC_1321["a"]]


@compiled_only
def test_what_is_no_update_is_refused_and_nothing_hashed() -> None:
    one, other = md5.new_md5(), md5.new_md5()
    with pytest.raises(ValueError, match="one after the other"):
        md5.update_all([(one, b"a"), (other, b"b"), (one, b"c")])
    for wrong in ([(one, b"a"), (other, "b")], [(one, b"a"), other], [(one, b"a"), (hashlib.md5(), b"b")], 5):
        with pytest.raises(TypeError):
            md5.update_all(wrong)  # type: ignore[arg-type]  # that is what is refused
    with pytest.raises(TypeError):
        one.update("a")  # type: ignore[arg-type]
    md5.update_all([(one, b"a"), (other, b"b")])
    assert [sum_.digest() for sum_ in (one, other)] == [hashlib.md5(data).digest() for data in (b"a", b"b")]


@compiled_only
def test_more_than_four_gigabits_are_counted() -> None:
    piece = bytes(1 << 28)
    ours, theirs = md5.new_md5(), hashlib.md5()
    for _ in range(2):
        ours.update(piece)
        theirs.update(piece)
    assert ours.digest() == theirs.digest()
