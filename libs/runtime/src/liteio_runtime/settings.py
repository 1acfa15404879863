"""What `liteio server` can be told, and by what means: default < configuration file < environment < flag.

Every field `name` is the flag `--name`, the variable `LITEIO_NAME` and the key `name` of the TOML file that `--config`
or LITEIO_CONFIG names. LITEIO_ACCESS_KEY_FILE and LITEIO_SECRET_KEY_FILE name files that hold the value, as
orchestrators mount them.
"""

import os
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from liteio_cluster.plan import PoolPlan
from liteio_erasure.code import CodeParams
from liteio_erasure.errors import CodeRefused
from liteio_placement.layout import SetLayout
from liteio_runtime.affinity import usual_worker_count
from liteio_runtime.cluster_settings import (
    expand_drives,
    expand_peers,
    is_of_cluster,
    layout_of,
    own_names,
    require_certificates,
    require_one_node,
    require_secret,
)
from liteio_runtime.problems import Mistake

ENV_PREFIX: Final = "LITEIO_"
DEFAULT_PORT: Final = 9000
DEFAULT_NODE_PORT: Final = 9100
NO_BUS: Final = "off"
STATE_FOLDER: Final = ".liteio.sys"


class LogFormat(StrEnum):
    """AUTO is PRETTY on a terminal and JSON elsewhere."""

    AUTO = "auto"
    JSON = "json"
    PRETTY = "pretty"


class ServerSettings(BaseSettings):
    """`liteio server`, on one machine or on each node of a cluster."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True
    )

    address: str = f":{DEFAULT_PORT}"
    """Where S3 is served, as host:port; without a host on all addresses, port 0 takes any free one."""
    peers: Annotated[tuple[str, ...], NoDecode] = ()
    """Every node of the cluster, as on all others: https://node{1...4}.lan:9100. With drives that are URLs: nodes of a
    store that this pool is to join."""
    node_host: str = ""
    """Which machine this is, as `peers` or `drives` name it; default: found out by its name. One that they name with
    several ports has a node at each, and all are started; with a port here only that one."""
    drives: Annotated[tuple[str, ...], NoDecode]
    """The folders of the drives, separated by commas; {1...8} counts: /mnt/disk{1...8}. In a cluster the same on every
    node, or the URLs of all drives, like https://node{1...4}.lan:9100/mnt/disk{1...8}."""
    cluster_address: str = ""
    """Where this node serves its drives to the others, as host:port; default: on all addresses, its own URL's port. A
    machine with several nodes goes by their URLs."""
    cluster_secret_file: Path | None = None
    """A file with the secret that all nodes share, at least 16 bytes. A cluster does not start without."""
    cluster_cert: Path | None = None
    """This node's certificate chain in PEM, by the cluster's authority (`liteio certs` makes them)."""
    cluster_key: Path | None = None
    """The certificate's private key in PEM."""
    cluster_ca: Path | None = None
    """The cluster's authority in PEM: nodes and gateways must show certificates by it."""
    cluster_server_name: str = ""
    """The name that all nodes' certificates bear, where they do not bear the hosts' own."""
    parity: Annotated[int | None, Field(ge=0)] = None
    """How many drives of a set may be lost without losing data; the default depends on the number of drives."""
    access_key: str = ""
    """The root user's name. Made on the first start when it is not given."""
    secret_key: SecretStr = SecretStr("")
    """The root user's secret, at least 8 characters. Made on the first start when it is not given."""
    domain: Annotated[tuple[str, ...], NoDecode] = ()
    """Domains whose first label names a bucket (https://bucket.domain/), separated by commas."""
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,63}$")] = "us-east-1"
    """The region that clients sign for."""
    cert: Path | None = None
    """TLS certificate chain in PEM; with `key` S3 is served over https only."""
    key: Path | None = None
    """The certificate's private key in PEM."""
    state: Path | None = None
    """The folder of what belongs to this machine: credentials, bus files; default: .liteio.sys of the first drive."""
    workers: Annotated[int | None, Field(ge=1, le=256)] = None
    """Gateway processes; default: one for each processor, in a cluster one less, which is the storage node's."""
    pin_workers: bool = True
    """Keep the busy threads of each gateway worker, and of the storage node, on one processor; off where other programs
    hold processors, too."""
    nats: str = ""
    """URL of a NATS server to use; default: one of our own is started; "off": none."""
    log_format: LogFormat = LogFormat.AUTO
    """json, pretty, or auto: pretty on a terminal, JSON elsewhere."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load_settings` gives: it reads the sources itself, to know where each value comes from."""
        return (init_settings,)

    # Relations are checked by the later field's validator: a model validator would not run when other fields are wrong.

    @field_validator("address")
    @classmethod
    def _is_address(cls, address: str) -> str:
        split_address(address)
        return address

    @field_validator("peers", mode="before")
    @classmethod
    def _expand_peers(cls, given: object) -> tuple[str, ...]:
        return expand_peers(given)

    @field_validator("drives", mode="before")
    @classmethod
    def _expand_drives(cls, given: object, info: ValidationInfo) -> tuple[str, ...]:
        return expand_drives(given, info.data.get("peers", ()), info.data.get("node_host", ""))

    @field_validator("cluster_address")
    @classmethod
    def _is_cluster_address(cls, address: str, info: ValidationInfo) -> str:
        if address:
            split_address(address)
            require_one_node(info.data.get("drives", ()), info.data.get("node_host", ""))
        return address

    @field_validator("cluster_secret_file")
    @classmethod
    def _has_cluster_secret(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if is_of_cluster(info.data.get("drives", ())):
            require_secret(path)
        return path

    @field_validator("cluster_ca")
    @classmethod
    def _has_cluster_certificates(cls, authority: Path | None, info: ValidationInfo) -> Path | None:
        given = {"cluster_cert", "cluster_key"} & {name for name in info.data if info.data[name] is not None}
        require_certificates(given, authority, info.data.get("drives", ()))
        return authority

    @field_validator("parity")
    @classmethod
    def _fits_the_drives(cls, parity: int | None, info: ValidationInfo) -> int | None:
        if parity is not None and "drives" in info.data:
            width = layout_of(info.data["drives"]).set_width
            try:
                CodeParams.for_set(width, parity)
            except CodeRefused:
                remedy = f"choose 0 to {width // 2} for sets of {width} drives"
                raise Mistake(f"{parity} is too much parity", remedy) from None
        return parity

    @field_validator("access_key")
    @classmethod
    def _is_name(cls, access_key: str) -> str:
        if access_key and (len(access_key) < 3 or any(sign in access_key for sign in "/,= \n")):
            raise Mistake("not an access key", "use 3 characters or more, none of them '/', ',', '=' or a space")
        return access_key

    @field_validator("secret_key")
    @classmethod
    def _is_secret(cls, secret_key: SecretStr, info: ValidationInfo) -> SecretStr:
        secret, access_key = secret_key.get_secret_value(), info.data.get("access_key")
        if secret and len(secret) < 8:
            raise Mistake("shorter than 8 characters", "use at least 8, better 32 random ones")
        if access_key is not None and bool(secret) != bool(access_key):
            missing = "access key" if secret else "secret key"
            raise Mistake(f"the {missing} is missing", "give both access key and secret key, or neither")
        return secret_key

    @field_validator("domain", mode="before")
    @classmethod
    def _split_domains(cls, given: object) -> tuple[str, ...]:
        names = [str(one) for one in given] if isinstance(given, (list, tuple)) else str(given).split(",")
        domains = tuple(name.strip().lower() for name in names if name.strip())
        for domain in domains:
            if any(sign in domain for sign in ":/ ") or domain.startswith("."):
                raise Mistake(f"{domain!r} is not a domain", "write plain names like s3.example.org, without port")
        return domains

    @field_validator("cert", "key", "cluster_cert", "cluster_key", "cluster_ca", "cluster_secret_file")
    @classmethod
    def _is_readable(cls, path: Path | None) -> Path | None:
        if path is not None and not os.access(path, os.R_OK):
            raise Mistake(f"{path} can not be read", f"check that it exists and that uid {os.getuid()} may read it")
        return path

    @field_validator("key")
    @classmethod
    def _goes_with_cert(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if "cert" in info.data and (key is None) != (info.data["cert"] is None):
            missing = "the private key" if key is None else "the certificate"
            raise Mistake(f"{missing} is missing", "give both cert and key, or neither")
        return key

    @field_validator("nats")
    @classmethod
    def _is_nats_url(cls, nats: str) -> str:
        if nats and nats != NO_BUS and urlsplit(nats).scheme not in ("nats", "tls"):
            raise Mistake(f"{nats!r} is not a NATS URL", 'write nats://host:4222 or tls://host:4222, or "off"')
        return nats

    @property
    def is_cluster(self) -> bool:
        """Whether the drives are of several nodes, or of one that serves them to others."""
        return is_of_cluster(self.drives)

    @cached_property
    def plan(self) -> PoolPlan:
        """Of a cluster: the pool that this node is part of."""
        return PoolPlan.of_patterns(self.drives, self.parity)

    @cached_property
    def own_origins(self) -> tuple[str, ...]:
        """The nodes of a cluster that are this machine's, as the plan names them. One storage node is one process, so
        that machines with many processors have several."""
        return self.plan.origins_of_host(self.node_host, own_names) if self.is_cluster else ()

    @cached_property
    def servers(self) -> tuple[tuple[str, ...], ...]:
        """Of a cluster: the nodes of each `liteio server`. They are those of a host, or each alone where this one was
        told to be only one of its host's nodes."""
        plan = self.plan
        return plan.hosts if self.own_origins in plan.hosts else tuple((origin,) for origin in plan.origins)

    @cached_property
    def own_drives(self) -> tuple[str, ...]:
        """The folders of this machine's drives."""
        if not self.is_cluster:
            return self.drives
        return tuple(path for origin in self.own_origins for path in self.plan.drives_of(origin).values())

    @cached_property
    def layout(self) -> SetLayout:
        return layout_of(self.drives)

    @cached_property
    def code(self) -> CodeParams:
        """The code of each set."""
        return CodeParams.for_set(self.layout.set_width, self.parity)

    @property
    def host(self) -> str:
        """ "" for all addresses."""
        return split_address(self.address)[0]

    @property
    def port(self) -> int:
        return split_address(self.address)[1]

    @property
    def state_dir(self) -> Path:
        return self.state if self.state is not None else Path(self.own_drives[0]) / STATE_FOLDER

    @property
    def worker_count(self) -> int:
        return self.workers or usual_worker_count(len(self.own_origins))


def split_address(address: str) -> tuple[str, int]:
    """Host ("" for all) and port of host:port, :port, [v6]:port. Raises Mistake."""
    host, colon, port = address.rpartition(":")
    is_bare_v6 = ":" in host and not (host.startswith("[") and host.endswith("]"))
    if not colon or is_bare_v6 or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise Mistake(f"{address!r} is not host:port", "write it like :9000, 127.0.0.1:9000 or [::1]:9000")
    return host.strip("[]"), int(port)
