"""Row 60: HTTP/2 turned against a storage node, and what HTTP/1.1 allows of it against the S3 port.

The attacks are those of the services' own tests, which bound what each may cost: here they are run and told of.
"""

import re
import subprocess
import sys
from typing import Final

from tests.faults.registry import Lane, Trial, require, row
from tests.support.paths import REPOSITORY

# The ones that the row is about come first, so that they are those of a bounded run.
_NODE: Final = (
    "many_streams", "rapid_reset", "zero_window", "continuation_flood", "ping_flood", "many_bodies", "many_uploads",
    "made_you_reset", "empty_continuations", "large_headers", "header_bomb", "settings_flood", "empty_data",
    "priorities", "small_window_updates", "noise", "silence",
)  # fmt: skip
_S3: Final = (
    "pipelined_requests", "trailers_without_end", "headers_without_end", "empty_lines", "small_headers_without_end",
    "path_without_end", "chunks_of_one_byte", "chunk_extension_without_end",
)  # fmt: skip
_NODE_TEST: Final = (
    "services/storage-node/tests/test_h2_abuse.py::test_abuse_harms_neither_the_node_nor_its_other_clients"
)
_S3_TEST: Final = "services/gateway/tests/test_abuse.py::test_a_flood_is_bounded_and_others_are_served"
_NODE_SAID: Final = re.compile(
    r"([\d,]+) bytes sent, ([\d.]+) s of processor time.* (-?\d+) MiB more, .* (\d+) ms$", re.M
)
_S3_SAID: Final = re.compile(r"the slowest (\d+) ms, (-?\d+) MiB more$", re.M)


@row(
    60,
    "HTTP/2 abuse of the storage port, and what HTTP/1.1 allows of it on the S3 port",
    "a node process and a gateway, each flooded over several connections for a second: streams beyond the bound, rapid "
    "reset, no window, endless CONTINUATION, pings and more (S3: pipelined requests, endless headers, trailers and "
    "chunks), by strangers who have overheard a session's id, while a client in good health works on",
    unit="kinds of abuse a port",
    bounded=5,
    full=len(_NODE),
    seconds=240.0,
    lane=Lane.ALONE,
)
def abused_ports(trial: Trial) -> str:
    node = _NODE_SAID.findall(_run([f"{_NODE_TEST}[{kind}]" for kind in _NODE[: trial.count]]))
    floods = _S3_SAID.findall(_run([f"{_S3_TEST}[{kind}]" for kind in _S3[: trial.count]]))
    require(len(node) == len(_NODE[: trial.count]), f"{len(node)} attacks on the node were told of")
    require(len(floods) == len(_S3[: trial.count]), f"{len(floods)} floods of the S3 port were told of")
    sent = sum(int(each[0].replace(",", "")) for each in node)
    return (
        f"node: {len(node)} kinds, {sent / 1e6:.0f} MB sent, at most {max(float(each[1]) for each in node):.2f} s of "
        f"processor time and {max(int(each[2]) for each in node)} MiB each, others waited at most "
        f"{max(int(each[3]) for each in node)} ms; S3 port: {len(floods)} kinds, at most "
        f"{max(int(each[1]) for each in floods)} MiB each, others waited at most "
        f"{max(int(each[0]) for each in floods)} ms"
    )


def _run(tests: list[str]) -> str:
    """What pytest printed. Raises FaultFound when a test failed."""
    command = [sys.executable, "-m", "pytest", "-q", "-rP", "-p", "no:cacheprovider", *tests]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    require(ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-1000:])
    return ran.stdout
