"""What every process that talks to storage nodes, or is one, is told: the cluster's secret and its certificates.

These are one for all machines, so their variables are LITEIO_CLUSTER_…, whichever process reads them.
"""

from pathlib import Path
from typing import Any, Final, Self

from pydantic import AliasChoices, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings

from liteio_drives.remote.node_client import NodeTLS

SECRET_VARIABLE: Final = "LITEIO_CLUSTER_SECRET"


def _shared(name: str) -> AliasChoices:
    """A field whose variable has the cluster's prefix and not the service's."""
    return AliasChoices(name, f"LITEIO_{name.upper()}")


class ClusterAccess(BaseSettings):
    """The part of a service's settings by which it proves that it belongs to the cluster."""

    cluster_secret: SecretStr | None = Field(default=None, repr=False, validation_alias=_shared("cluster_secret"))
    """The secret that all machines of the cluster share, at least 16 bytes; or give `cluster_secret_file`."""
    cluster_secret_file: Path | None = Field(default=None, validation_alias=_shared("cluster_secret_file"))
    """A file that holds the cluster secret; white space around it does not count."""
    cluster_cert_file: Path | None = Field(default=None, validation_alias=_shared("cluster_cert_file"))
    """This machine's certificate chain in PEM, by the cluster's authority: shown to nodes, and by a node."""
    cluster_key_file: Path | None = Field(default=None, validation_alias=_shared("cluster_key_file"))
    """The certificate's private key in PEM."""
    cluster_ca_file: Path | None = Field(default=None, validation_alias=_shared("cluster_ca_file"))
    """The cluster's authorities in PEM. With it, both sides must show a certificate by one of them (mutual TLS)."""
    cluster_server_name: str = Field(default="", validation_alias=_shared("cluster_server_name"))
    """The name that all nodes' certificates bear, where they do not bear the hosts' own."""

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if (self.cluster_cert_file is None) != (self.cluster_key_file is None):
            raise ValueError("cluster_cert_file and cluster_key_file go together")
        if self.cluster_cert_file is not None and self.cluster_ca_file is None:
            raise ValueError("cluster_cert_file needs cluster_ca_file: nodes and their clients check one another")
        if self.cluster_secret is not None and self.cluster_secret_file is not None:
            raise ValueError("give cluster_secret or cluster_secret_file, one of them")
        return self

    @property
    def has_secret(self) -> bool:
        return self.cluster_secret is not None or self.cluster_secret_file is not None

    def read_secret(self) -> bytes:
        """The secret itself. Raises OSError when its file can not be read."""
        if self.cluster_secret is not None:
            return self.cluster_secret.get_secret_value().encode()
        if self.cluster_secret_file is None:
            raise ValueError(f"there is no cluster secret: give {SECRET_VARIABLE}_FILE or {SECRET_VARIABLE}")
        return self.cluster_secret_file.read_bytes().strip()

    def read_tls(self) -> NodeTLS | None:
        """What a client of the nodes shows and checks; None without certificates. Raises OSError."""
        if self.cluster_ca_file is None:
            return None
        identity = None
        if self.cluster_cert_file is not None and self.cluster_key_file is not None:
            identity = self.cluster_key_file.read_bytes() + b"\n" + self.cluster_cert_file.read_bytes()
        return NodeTLS(self.cluster_ca_file.read_bytes(), identity, self.cluster_server_name)


def one_text(given: Any) -> str:
    """Patterns as they come from a flag, a variable or a list, as one text."""
    return ",".join(map(str, given)) if isinstance(given, (list, tuple)) else str(given)
