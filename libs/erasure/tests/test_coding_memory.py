"""Coding must not hand its memory back to the kernel after every block: that made it 6 to 15 times slower."""

import subprocess
import sys

import pytest

_COUNT_FAULTS = """
import resource
from liteio_erasure import CodeParams, codec_for
codec, block = codec_for(CodeParams(4, 2)), bytes(1 << 20)
for _ in range(5):
    codec.encode(block)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    codec.encode(block)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is meant")
def test_a_block_is_coded_in_memory_that_is_already_mapped() -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _COUNT_FAULTS], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(ran.stdout) < 50  # pages a block; about 600 without the kept memory
