"""What every process with a store is told: where its drives are."""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import NoDecode

from liteio_cluster.access import SECRET_VARIABLE, ClusterAccess, one_text
from liteio_placement.endpoint_patterns import expand_origins
from liteio_placement.errors import PatternRefused


class StoreSettings(ClusterAccess):
    """The part of a service's settings that opens its store: folders of this machine, or storage nodes."""

    drives: tuple[str, ...] = ()
    """The folders of all drives of this machine, in slot order; or give `peers`."""
    parity: int | None = Field(default=None, ge=0)
    """Parity shards an object; None takes the default of the set's width. Of a store of this machine only."""
    set_drives: int | None = Field(default=None, ge=1)
    """Drives a set; None lets the number of drives decide. Of a store of this machine only."""
    state_dir: Path | None = None
    """Where this machine keeps what belongs to no drive (lock file, sockets)."""
    peers: Annotated[tuple[str, ...], NoDecode] = ()
    """Storage nodes, as URLs separated by commas; {1...4} counts: https://node{1...4}.lan:9100. Any of them tells of
    all others."""

    @field_validator("peers", mode="before")
    @classmethod
    def _expand_peers(cls, given: Any) -> tuple[str, ...]:
        if not given:
            return ()
        try:
            return tuple(expand_origins(one_text(given)))
        except PatternRefused as refusal:
            raise ValueError(f"{refusal.problem} ({refusal.where}): {refusal.remedy}") from None

    @model_validator(mode="after")
    def _is_one_store(self) -> Self:
        if self.peers and self.drives:
            raise ValueError("give drives of this machine or peers, not both")
        if self.peers and not self.has_secret:
            raise ValueError(f"peers are talked to with the cluster's secret: give {SECRET_VARIABLE}_FILE")
        return self
