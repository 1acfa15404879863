"""What is proven: a command each, and which lines of what it prints are its result."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_PYTEST: Final = r"^\d+ (passed|failed|error|skipped)"
_FULL: Final = {"LITEIO_PROOF": "1"}
_SPEED_SERVERS: Final = "liteio,liteio-one-node,seaweedfs"


@dataclass(frozen=True, slots=True)
class Section:
    """`told`: a regular expression; the lines in which it is found are shown, all lines when it is "". Words of the
    command that begin with `-m` run under the interpreter of the set-up."""

    title: str
    claim: str
    arguments: tuple[str, ...]
    told: str
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """As one would type it in the repository."""
        variables = "".join(f"{name}={value} " for name, value in self.environment.items())
        return f"{variables}.venv/bin/python {' '.join(self.arguments)}"


def all_sections(sim_seeds: int) -> tuple[Section, ...]:
    return (
        Section(
            "Simulation",
            "The store's own code on a simulated clock, network and drives, with faults bounded by parity: every "
            "history of reads and writes has an order that explains it, and nothing acknowledged is lost.",
            ("-m", "tests.sim.run", "--seed", "1", "--count", str(sim_seeds), "--jobs", str(os.cpu_count() or 1)),
            r"^\d+ seeds in|^--- seed|^\{",
        ),
        Section(
            "Crashes, power cuts, lost drives",
            "Real processes killed under load, real file systems cut off right after acknowledgements, drives removed, "
            "emptied and damaged: what was acknowledged is there, whole, and nothing is left behind.",
            ("-m", "pytest", "tests/chaos", "-rPsx"),
            rf"{_PYTEST}|LITEIO_SEED=|acknowledged|^(FAILED|ERROR|SKIPPED)",
            _FULL,
        ),
        Section(
            "Containers",
            "compose.yaml as its users run it, built from Debian packages and wheels alone: objects through three "
            "gateways, a storage node killed and one of its drives wiped, and in the end every shard of every object.",
            ("-m", "pytest", "tests/cluster/test_compose.py", "-rPsx"),
            rf"{_PYTEST}|^first write|^healed|values$|^(FAILED|ERROR|SKIPPED)",
        ),
        Section(
            "Faults",
            "Every row of the fault matrix in full; what was seen is in operations/faults.md, row by row.",
            ("-m", "tests.faults", "--full"),
            r"^row \d+,|^\d+ rows",
        ),
        Section(
            "Histories",
            "Sixteen clients on few keys through two gateways, while nodes and gateways are killed, paused and parted "
            "and their clocks step by an hour: every key's history is that of a register, listings are whole, nothing "
            "that was acknowledged is lost, and a minute later all drives hold everything.",
            ("-m", "tests.cluster.history", "--seconds", "60", "--runs", "10"),
            r"^seed \d+|^\d+ runs",
        ),
        Section(
            "Takeover",
            "What clients notice of a node that is killed or hangs, of a drive that is slow, and of a gateway that "
            "dies with a lock, in multiples of the healthy median.",
            ("-m", "tests.cluster.takeover"),
            "",
        ),
        Section(
            "Soak",
            "Half an hour of rotating faults under load: descriptors, threads, memory and queues are then as before.",
            ("-m", "tests.cluster.soak", "--seconds", "1800"),
            r"^at first|^round|^\d+ rounds",
        ),
        Section(
            "Clients",
            "Stock S3 clients over http and https, every byte compared; the table is in s3-compatibility.md.",
            ("-m", "pytest", "tests/clients", "-rsx"),
            rf"{_PYTEST}|^clients: |^(FAILED|ERROR|SKIPPED)",
            _FULL,
        ),
        Section(
            "Memory",
            "One gateway worker takes eight clients with objects of 1 GiB at once, slow readers included, and stays "
            "under 200 MiB.",
            ("-m", "pytest", "tests/memory", "-rPsx"),
            rf"{_PYTEST}|peak PSS|^(FAILED|ERROR|SKIPPED)",
            _FULL,
        ),
        Section(
            "Speed",
            "Through S3 with 4 drives, 2+2, everything synced, coded and hashed, in alternation with SeaweedFS, one "
            "node with one copy, which syncs and codes nothing.",
            ("-m", "tests.bench", "peers", "--quick", "--rounds", "3", "--minutes", "20", "--peers", _SPEED_SERVERS),
            r"^\| (load|PUT|GET|STAT|mixed|DELETE|LIST|versioned|multipart|peak)",
        ),
        Section(
            "Gateways",
            "One, two and three gateways over the same four nodes, all on this machine.",
            ("-m", "tests.bench", "gateways"),
            "",
        ),
        Section(
            "Growth",
            "What operations cost in a bucket of a million keys, beside the same in a small one.",
            ("-m", "tests.bench", "growth"),
            "",
        ),
        Section(
            "Healing",
            "A wiped drive rebuilt and reported objects repaired, each counted raw before it is done; what clients pay "
            "meanwhile; and how long it takes to find a thousand lost shards among a million objects.",
            ("-m", "tests.bench", "healing"),
            "",
        ),
    )
