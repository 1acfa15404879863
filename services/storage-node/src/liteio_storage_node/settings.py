"""The storage node's settings: one frozen model, loaded once in `main.py` and handed on as plain values.

A flag goes before its variable, a variable before the default: `--port`, LITEIO_STORAGE_NODE_PORT. The cluster secret
is one for all machines, so its variables are LITEIO_CLUSTER_SECRET and LITEIO_CLUSTER_SECRET_FILE.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from pydantic import AliasChoices, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

SECRET_VARIABLE: Final = "LITEIO_CLUSTER_SECRET"


class StorageNodeSettings(BaseSettings):
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
    port: int = Field(default=9100, ge=0, le=65535)
    """The port to listen on; 0 takes any free one."""
    drives: tuple[str, ...] = Field(min_length=1)
    """The folders of this machine's drives."""
    cluster_secret: SecretStr | None = Field(
        default=None, repr=False, validation_alias=AliasChoices("cluster_secret", SECRET_VARIABLE)
    )
    """The secret that all machines of the cluster share, at least 16 bytes; or give `cluster_secret_file`."""
    cluster_secret_file: Path | None = Field(
        default=None, validation_alias=AliasChoices("cluster_secret_file", f"{SECRET_VARIABLE}_FILE")
    )
    """A file that holds the cluster secret; white space around it does not count."""
    cert_file: Path | None = None
    """TLS certificate chain in PEM. With `key_file`: serve TLS."""
    key_file: Path | None = None
    """The certificate's private key in PEM."""
    client_ca_file: Path | None = None
    """Authorities in PEM. With it, clients must show a certificate by one of them (mutual TLS)."""
    core: int | None = Field(default=None, ge=0)
    """The processor on which the loop, the network's thread and the index threads stay: they take turns, which costs
    less there. A drive that is taken in later has all its threads there. None lets the kernel move them."""
    drain_seconds: float = Field(default=30.0, gt=0)
    """How long requests in flight may take to finish after SIGTERM."""

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        if self.client_ca_file is not None and self.cert_file is None:
            raise ValueError("client_ca_file needs cert_file and key_file")
        if (self.cluster_secret is None) == (self.cluster_secret_file is None):
            raise ValueError(
                f"a storage node does not start without a cluster secret: give --cluster-secret-file, "
                f"{SECRET_VARIABLE}_FILE or {SECRET_VARIABLE}, one of them"
            )
        if len(set(self.drives)) != len(self.drives):
            raise ValueError("a drive is named twice")
        return self

    def read_secret(self) -> bytes:
        """The secret itself. Raises OSError when its file can not be read."""
        if self.cluster_secret is not None:
            return self.cluster_secret.get_secret_value().encode()
        assert self.cluster_secret_file is not None
        return self.cluster_secret_file.read_bytes().strip()


def load_settings(flags: Sequence[str]) -> StorageNodeSettings:
    """From flags and the environment. Raises pydantic.ValidationError with all that is wrong; a flag that does not
    exist ends the process with code 2 as usual."""
    return StorageNodeSettings(_cli_parse_args=list(flags))  # type: ignore[call-arg]  # pydantic-settings' own
