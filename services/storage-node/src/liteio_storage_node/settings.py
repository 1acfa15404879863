"""The storage node's settings: one frozen model, loaded once in `main.py` and handed on as plain values.

A flag goes before its variable, a variable before the default: `--port`, LITEIO_STORAGE_NODE_PORT. The cluster secret
is one for all machines, so its variables are LITEIO_CLUSTER_SECRET and LITEIO_CLUSTER_SECRET_FILE.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from liteio_cluster.access import SECRET_VARIABLE, ClusterAccess, one_text
from liteio_cluster.plan import PoolPlan
from liteio_placement.errors import PlacementError
from liteio_runtime.cluster_settings import own_names

DEFAULT_PORT: Final = 9100


class StorageNodeSettings(ClusterAccess):
    """Everything that a storage node is told from outside."""

    model_config = SettingsConfigDict(
        env_prefix="LITEIO_STORAGE_NODE_",
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        cli_kebab_case=True,
        cli_prog_name="liteio-storage-node",
        cli_hide_none_type=True,
    )

    host: str = "127.0.0.1"
    """The address to listen on. Never the S3 listener's: this port is for the cluster's own machines."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """The port to listen on; that of the node's own URL in `drives` when it is not given."""
    drives: Annotated[tuple[str, ...], NoDecode] = Field(min_length=1)
    """All drives of the pool on all its nodes, the same text on each: https://node{1...4}.lan:9100/mnt/disk{1...8};
    {1...8} counts, commas separate."""
    node_host: str = ""
    """Which of the nodes this one is, as `drives` names it; found out by the machine's name when it is not given."""
    parity: int | None = Field(default=None, ge=0)
    """Parity shards an object; the default depends on the width of a set."""
    joins: bool = False
    """The pool is to join a store that is there already: its empty drives wait for `liteio admin pool add`."""
    core: int | None = Field(default=None, ge=0)
    """The processor on which the loop, the network's thread and the index threads stay: they take turns, which costs
    less there. A drive that is taken in later has all its threads there. None lets the kernel move them."""
    drain_seconds: float = Field(default=30.0, gt=0)
    """How long requests in flight may take to finish after SIGTERM."""

    @field_validator("drives", mode="before")
    @classmethod
    def _one_by_one(cls, given: Any) -> tuple[str, ...]:
        return (one_text(given),)

    @model_validator(mode="after")
    def _can_serve(self) -> Self:
        if not self.has_secret:
            raise ValueError(
                f"a storage node does not start without a cluster secret: give --cluster-secret-file, "
                f"{SECRET_VARIABLE}_FILE or {SECRET_VARIABLE}, one of them"
            )
        try:
            self.plan()
            self.origin()
        except PlacementError as refusal:
            raise ValueError(f"drives: {refusal.problem} ({refusal.where}): {refusal.remedy}") from None
        return self

    def plan(self) -> PoolPlan:
        """The pool that this node is part of."""
        return PoolPlan.of_patterns(self.drives, self.parity)

    @property
    def listen_port(self) -> int:
        return self.port or urlsplit(self.origin()).port or DEFAULT_PORT

    def origin(self) -> str:
        """This node, as the plan names it."""
        return self.plan().origin_of_host(self.node_host, own_names)


def load_settings(flags: Sequence[str]) -> StorageNodeSettings:
    """From flags and the environment. Raises pydantic.ValidationError with all that is wrong; a flag that does not
    exist ends the process with code 2 as usual."""
    return StorageNodeSettings(_cli_parse_args=list(flags))  # type: ignore[call-arg]  # pydantic-settings' own
