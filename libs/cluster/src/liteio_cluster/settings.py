"""What every process with a store is told: where its drives are."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings


class StoreSettings(BaseSettings):
    """The part of a service's settings that opens its store."""

    drives: tuple[str, ...] = ()
    """The folders of all drives, in slot order."""
    parity: int | None = Field(default=None, ge=0)
    """Parity shards an object; None takes the default of the set's width."""
    set_drives: int | None = Field(default=None, ge=1)
    """Drives a set; None lets the number of drives decide."""
    state_dir: Path | None = None
    """Where this machine keeps what belongs to no drive (lock file, sockets)."""
