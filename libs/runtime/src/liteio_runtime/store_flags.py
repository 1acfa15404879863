"""The flags that say where a store is, for every command that works with one."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

Config = Annotated[Path | None, typer.Option(help="TOML file with the same names as the flags (LITEIO_CONFIG).")]
Drives = Annotated[
    str | None, typer.Option(help="Drive folders, separated by commas; {1...8} counts: '/mnt/disk{1...8}'.")
]
State = Annotated[
    Path | None, typer.Option(help="Folder for credentials and bus files. Default: .liteio.sys of the first drive.")
]
Peers = Annotated[str | None, typer.Option(help="All nodes of a cluster: 'https://node{1...4}.lan:9100'.")]
NodeHost = Annotated[str | None, typer.Option(help="Which machine, or node, this is. Default: by its name.")]
ClusterSecret = Annotated[str | None, typer.Option(help="File with the secret that all nodes share.")]
ClusterCert = Annotated[str | None, typer.Option(help="This node's certificate by the cluster's authority, PEM.")]
ClusterKey = Annotated[str | None, typer.Option(help="The certificate's private key, PEM.")]
ClusterCA = Annotated[str | None, typer.Option("--cluster-ca", help="The cluster's authority, PEM.")]
ClusterName = Annotated[str | None, typer.Option(help="Name in all nodes' certificates, if not the hosts' own.")]


def takes_store(command: Callable[..., None]) -> Callable[..., None]:
    """The command gets the flags that say where the store is, in place of its `**store`."""
    given: dict[str, Any] = {
        "drives": Drives,
        "peers": Peers,
        "node_host": NodeHost,
        "cluster_secret_file": ClusterSecret,
        "cluster_cert": ClusterCert,
        "cluster_key": ClusterKey,
        "cluster_ca": ClusterCA,
        "cluster_server_name": ClusterName,
        "state": State,
        "config": Config,
    }
    kind = inspect.Parameter.KEYWORD_ONLY
    flags = [inspect.Parameter(name, kind, default=None, annotation=given[name]) for name in given]
    signature = inspect.signature(command)
    own = [parameter for parameter in signature.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
    taking: Any = command
    taking.__signature__ = signature.replace(parameters=[*own, *flags])
    taking.__annotations__ = {**command.__annotations__, **given}
    return command
