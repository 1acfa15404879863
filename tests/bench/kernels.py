"""What is computed for every byte, by each kernel that there is: `python -m tests.bench kernels` prints GB a second.

Of one core and of processor time, so that it can be read where the machine is busy. Blocks of 1 MiB.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Final

from liteio_base.ids import DataId
from liteio_erasure.bitrot import HASH_KERNEL, hash_blocks
from liteio_erasure.code import CodeParams
from liteio_erasure.codec import codec_for
from liteio_s3.checksums import Checksum
from liteio_s3.md5 import MD5_KERNEL, MD5_LANES, new_md5, update_all

_BLOCK_BYTES: Final = 1 << 20
_CODE: Final = CodeParams(2, 2)
_DATA_ID: Final = DataId("0" * 32)
_SECONDS: Final = 0.5


def measure_kernels() -> None:
    for name, step, size_bytes in _kernels():
        end, began, count = time.perf_counter() + _SECONDS, time.process_time(), 0
        while time.perf_counter() < end:
            step()
            count += 1
        seconds = max(time.process_time() - began, 1e-9)
        print(f"{name:<48} {count * size_bytes / seconds / 1e9:6.2f} GB/s", flush=True)


def _kernels() -> Iterator[tuple[str, Callable[[], object], int]]:
    """Each with the bytes of a step."""
    blocks = [os.urandom(_BLOCK_BYTES) for _ in range(8)]
    shard = blocks[0][: _CODE.shard_bytes(_BLOCK_BYTES)]
    codec = codec_for(_CODE)
    yield "MD5, hashlib", lambda: hashlib.md5(blocks[0]).digest(), _BLOCK_BYTES
    yield f"MD5, {MD5_KERNEL}, alone", lambda: new_md5().update(blocks[0]), _BLOCK_BYTES
    for count in (1, 2, 3, 4, 8):
        updates = [(new_md5(), block) for block in blocks[:count]]

        def together(updates: list[tuple[Checksum, bytes]] = updates) -> None:
            update_all(updates)

        yield f"MD5, {MD5_KERNEL}, {count} of {MD5_LANES} lanes", together, count * _BLOCK_BYTES
    for count in (1, 2, 3, 4):
        shards, places = [shard] * count, [(index, 0) for index in range(count)]

        def hashed(shards: list[bytes] = shards, places: list[tuple[int, int]] = places) -> None:
            hash_blocks(shards, _DATA_ID, 1, places)

        yield f"HighwayHash-256, {HASH_KERNEL}, {count} shards of 512 KiB", hashed, count * len(shard)
    yield "erasure coding 2+2", lambda: codec.encode(blocks[0]), _BLOCK_BYTES
