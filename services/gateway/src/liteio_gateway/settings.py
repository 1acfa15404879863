"""The gateway's settings: one frozen model, loaded once in `main.py` and handed on as plain values.

The supervisor passes them whole, as JSON in LITEIO_GATEWAY_CONFIG; a gateway started by hand takes LITEIO_GATEWAY_PORT
and the like. What the JSON says goes before single variables, these before the defaults.
"""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from liteio_cluster.settings import StoreSettings
from liteio_runtime.service_settings import read_config, read_files

ENV_PREFIX: Final = "LITEIO_GATEWAY_"
CONFIG_VARIABLE: Final = f"{ENV_PREFIX}CONFIG"


class LogFormat(StrEnum):
    """JSON lines for machines, plain lines for people."""

    JSON = "json"
    PLAIN = "plain"


class GatewaySettings(StoreSettings):
    """Everything that a gateway worker is told from outside."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        nested_model_default_partial_update=False,
    )

    host: str = "127.0.0.1"
    """The address to listen on, when no socket is inherited."""
    port: int = Field(default=9000, ge=0, le=65535)
    """The port to listen on, when no socket is inherited; 0 takes any free one."""
    listen_fd: int | None = Field(default=None, ge=0)
    """An inherited listening TCP socket, which workers may share."""
    tally_fd: int | None = Field(default=None, ge=0)
    """Inherited memory in which the workers that share `listen_fd` count their connections, to spread them evenly."""
    workers: int = Field(default=1, ge=1)
    """How many gateway workers this machine has."""
    domains: tuple[str, ...] = ()
    """Domains whose first label names a bucket (virtual-host style), without port. Path style always works."""
    region: str = "us-east-1"
    """The region that signatures must name and that buckets report."""
    access_key: str
    """The root user's access key; LITEIO_GATEWAY_ACCESS_KEY_FILE names a file that holds it."""
    secret_key: SecretStr | None = Field(default=None, repr=False)
    """The root user's secret key; or give `secret_key_file`."""
    secret_key_file: Path | None = None
    """A file that holds the secret key; white space around it does not count."""
    cert_file: Path | None = None
    """TLS certificate chain in PEM. With `key_file`: serve https."""
    key_file: Path | None = None
    """The certificate's private key in PEM."""
    log_format: LogFormat = LogFormat.JSON
    """How log lines are written to standard error."""
    nats_url: str = ""
    """The bus; empty runs without one: nothing on the data path needs it. With a password better from the file that
    LITEIO_GATEWAY_NATS_URL_FILE names."""
    nats_replicas: int = Field(default=1, ge=1, le=5)
    """Servers of the bus that keep a copy of each stream."""
    worker_index: int = Field(default=0, ge=0)
    """Which of the machine's gateway workers this is, from 0."""
    core: int | None = Field(default=None, ge=0)
    """The processor on which the loop and the index threads stay; None lets the kernel move them."""

    operation_seconds: float = Field(default=30.0, gt=0)
    """How long an operation may wait for drives and locks, the client's own time not counted."""
    header_seconds: float = Field(default=15.0, gt=0)
    """How long a connection may take to send the headers of a request."""
    body_idle_seconds: float = Field(default=30.0, gt=0)
    """How long a client may pause while it sends a body, or takes no byte of an answer."""
    keep_alive_seconds: float = Field(default=65.0, gt=0)
    """How long an idle connection is kept; longer than the 60 s of usual load balancers."""
    drain_seconds: float = Field(default=30.0, gt=0)
    """How long requests in flight may take to finish after SIGTERM."""
    connections_max: int = Field(default=2_000, ge=1)
    """Open connections a worker; further ones are answered 503 and closed."""

    @field_validator("domains")
    @classmethod
    def _plain_names(cls, domains: tuple[str, ...]) -> tuple[str, ...]:
        for domain in domains:
            if not domain or ":" in domain or "/" in domain or domain.startswith("."):
                raise ValueError(f"a domain is a plain name without port or path, not {domain!r}")
        return tuple(domain.lower() for domain in domains)

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        if (self.secret_key is None) == (self.secret_key_file is None):
            raise ValueError("give secret_key or secret_key_file, one of them")
        return self

    @property
    def has_tls(self) -> bool:
        return self.cert_file is not None

    def read_secret_key(self) -> str:
        """The secret key itself. Raises OSError when its file can not be read."""
        if self.secret_key is not None:
            return self.secret_key.get_secret_value()
        assert self.secret_key_file is not None
        return self.secret_key_file.read_text(encoding="utf-8").strip()


def load_settings(environment: Mapping[str, str]) -> GatewaySettings:
    """Settings from LITEIO_GATEWAY_CONFIG and single variables. Raises ValueError (pydantic's own included) with all
    that is wrong."""
    files = read_files(environment, ENV_PREFIX, ("access_key", "nats_url"))
    return GatewaySettings(**(files | read_config(environment, CONFIG_VARIABLE)))
