"""The topology record: the pools of a store, where their drives are, and the epochs by which names are placed.

Every drive keeps the newest one that it was given. docs/formats/topology.md.
"""

from typing import Final

import msgspec

from liteio_base.ids import DeploymentId
from liteio_formats.checked_json import FormatError, decode_checked, encode_checked

TOPOLOGY_NAME: Final = "liteio-topology"
TOPOLOGY_VERSION: Final = 1


class PoolRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One pool. `endpoints`: the drives, slot by slot and set by set, as URLs (https://node1.lan:9100/mnt/disk1)."""

    set_width: int
    parity: int
    endpoints: tuple[str, ...]

    @property
    def set_count(self) -> int:
        return len(self.endpoints) // self.set_width


class EpochRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Numbered weights: (pool, weight) pairs."""

    number: int
    weights: tuple[tuple[int, int], ...]


class TopologyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`number` grows with every change. Pools are only ever appended, epochs are listed oldest first."""

    number: int
    deployment_id: DeploymentId
    pools: tuple[PoolRecord, ...]
    epochs: tuple[EpochRecord, ...]

    @classmethod
    def of_one_pool(cls, deployment_id: DeploymentId, pool: PoolRecord) -> "TopologyRecord":
        """That of a store that was just formatted."""
        epoch = EpochRecord(number=1, weights=((0, 1),))
        return cls(number=1, deployment_id=deployment_id, pools=(pool,), epochs=(epoch,))


def encode_topology(topology: TopologyRecord) -> bytes:
    """Indented JSON with a line end."""
    return encode_checked(TOPOLOGY_NAME, TOPOLOGY_VERSION, "topology", topology)


def decode_topology(encoded: bytes) -> TopologyRecord:
    """Check and decode. Raises FormatError."""
    topology = decode_checked(encoded, TOPOLOGY_NAME, TOPOLOGY_VERSION, "topology", TopologyRecord)
    _check_shape(topology)
    return topology


def _check_shape(topology: TopologyRecord) -> None:
    """What the sizes say of one another; liteio_placement checks what they mean."""
    if topology.number < 1 or not topology.pools or not topology.epochs:
        raise FormatError("it has no number, no pool or no epoch")
    for pool in topology.pools:
        if pool.set_width < 1 or not pool.endpoints or len(pool.endpoints) % pool.set_width:
            raise FormatError(f"{len(pool.endpoints)} drives are no sets of {pool.set_width}")
        if not 0 <= pool.parity <= pool.set_width // 2:
            raise FormatError(f"parity {pool.parity} does not fit sets of {pool.set_width}")
