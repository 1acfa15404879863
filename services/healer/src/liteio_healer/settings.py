"""The healer's settings: one frozen model, loaded once in `main.py` and handed on as plain values.

The supervisor passes them whole, as JSON in LITEIO_HEALER_CONFIG; a healer started by hand takes LITEIO_HEALER_NATS_URL
and the like. What the JSON says goes before single variables, these before the defaults.
"""

from collections.abc import Mapping
from typing import Final

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from liteio_base.limits import MIB
from liteio_cluster.settings import StoreSettings
from liteio_runtime.service_settings import read_config, read_files

ENV_PREFIX: Final = "LITEIO_HEALER_"
CONFIG_VARIABLE: Final = f"{ENV_PREFIX}CONFIG"


class HealerSettings(StoreSettings):
    """Everything that a healer is told from outside."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="forbid", use_attribute_docstrings=True)

    nats_url: str = ""
    """The bus; empty runs without one: then nobody reports, and the scan finds what needs a repair. With a password
    better from the file that LITEIO_HEALER_NATS_URL_FILE names."""
    nats_replicas: int = Field(default=1, ge=1, le=5)
    """Servers of the bus that keep a copy of each stream."""
    region: str = "us-east-1"
    """The region that events name."""
    heal_workers: int = Field(default=16, ge=1, le=256)
    """Reported objects that are repaired at a time."""
    scan_hours: float = Field(default=6.0, gt=0)
    """How often what the drives hold is compared, in hours."""
    deep_scan_bytes_per_second: float = Field(default=8 * MIB, ge=0)
    """How much of each drive is read and hashed a second, to find what rotted; 0: nothing."""
    deep_scan_days: float = Field(default=30.0, gt=0)
    """How long after its beginning a deep scan is followed by the next, in days."""


def load_settings(environment: Mapping[str, str]) -> HealerSettings:
    """Settings from LITEIO_HEALER_CONFIG and single variables. Raises ValueError (pydantic's own included) with all
    that is wrong."""
    files = read_files(environment, ENV_PREFIX, ("nats_url",))
    return HealerSettings(**(files | read_config(environment, CONFIG_VARIABLE)))
