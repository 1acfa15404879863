"""The `liteio` command. Each command imports what it needs when it runs, so that `--help` and the start are quick."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from liteio_runtime.store_flags import (
    ClusterCA,
    ClusterCert,
    ClusterKey,
    ClusterName,
    ClusterSecret,
    Config,
    Drives,
    NodeHost,
    Peers,
    State,
    takes_store,
)

app = typer.Typer(
    name="liteio",
    help="liteio: an S3-compatible, erasure-coded object store.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
events_app = typer.Typer(help="Bucket events on the bus.", no_args_is_help=True)
app.add_typer(events_app, name="events")
admin_app = typer.Typer(help="Look at a running store.", no_args_is_help=True)
app.add_typer(admin_app, name="admin")
heal_app = typer.Typer(help="What is repaired.", no_args_is_help=True)
admin_app.add_typer(heal_app, name="heal")
pool_app = typer.Typer(help="The pools of a store over several machines.", no_args_is_help=True)
admin_app.add_typer(pool_app, name="pool")

Address = Annotated[str | None, typer.Option(help="Where S3 is served. Default: :9000")]
Cert = Annotated[str | None, typer.Option(help="TLS certificate chain, PEM. With --key: serve https.")]
Key = Annotated[str | None, typer.Option(help="The certificate's private key, PEM.")]
AsJSON = Annotated[bool, typer.Option("--json", help="For programs.")]
Nats = Annotated[str | None, typer.Option(help='NATS URL. Default: a server of our own; "off": none.')]


@app.command()
def server(
    address: Address = None,
    drives: Drives = None,
    parity: Annotated[str | None, typer.Option(help="Drives of a set that may be lost. Default: by set width.")] = None,
    access_key: Annotated[str | None, typer.Option(help="Root access key. Default: made on the first start.")] = None,
    secret_key: Annotated[
        str | None, typer.Option(help="Root secret key; better give LITEIO_SECRET_KEY_FILE: flags show in `ps`.")
    ] = None,
    domain: Annotated[str | None, typer.Option(help="Domains for bucket.domain addresses, by commas.")] = None,
    region: Annotated[str | None, typer.Option(help="Region that clients sign for. Default: us-east-1")] = None,
    cert: Cert = None,
    key: Key = None,
    state: State = None,
    workers: Annotated[
        str | None, typer.Option(help="Gateway processes. Default: one a processor; in a cluster one less.")
    ] = None,
    pin_workers: Annotated[str | None, typer.Option(help="Keep each on one processor, on or off. Default: on.")] = None,
    nats: Nats = None,
    cluster_address: Annotated[
        str | None, typer.Option(help="Where this node serves its drives to the others. Default: its URL's port.")
    ] = None,
    node_host: NodeHost = None,
    peers: Peers = None,
    cluster_secret_file: ClusterSecret = None,
    cluster_cert: ClusterCert = None,
    cluster_key: ClusterKey = None,
    cluster_ca: ClusterCA = None,
    cluster_server_name: ClusterName = None,
    log_format: Annotated[str | None, typer.Option(help="auto, json or pretty.")] = None,
    config: Config = None,
) -> None:
    """Serve S3 from the drives of this machine, or as a node of a cluster: the same command on every node.

    Every flag is also a variable (LITEIO_PARITY for --parity) and a name in the file that --config names; a flag goes
    before a variable, a variable before the file.
    """
    # The variables of this function are the flags. All are text here: the settings check them together.
    flags = _given({name: value for name, value in locals().items() if name != "config"})
    from liteio_runtime.server import run_server

    raise SystemExit(run_server(_settings(flags, config)))


@app.command()
@takes_store
def doctor(
    address: Address = None,
    cert: Cert = None,
    key: Key = None,
    nats: Nats = None,
    **store: Any,
) -> None:
    """Look at all that the store stands on: clock, limits, drives, ports, certificates, nodes, bus.

    Takes the server's flags, variables and file. Ends with 1 when something is bad.
    """
    flags = {"address": address, "cert": cert, "key": key, "nats": nats} | store
    from liteio_runtime.doctor import examine, render
    from liteio_runtime.findings import Level

    findings = examine(_store_settings(flags))
    print(render(findings))
    raise SystemExit(any(finding.level is Level.BAD for finding in findings))


@app.command()
def inspect(
    drive: Annotated[Path, typer.Argument(help="The drive's folder.")],
    name: Annotated[str, typer.Argument(metavar="BUCKET/KEY", help="An object's bucket and key.")],
) -> None:
    """Print every record of a key as this drive holds it. Safe beside a running server."""
    bucket, slash, key = name.partition("/")
    from liteio_runtime.problems import Problem, StartRefused

    if not (bucket and slash and key):
        raise StartRefused([Problem(f"{name!r} is not BUCKET/KEY", "inspect", "write it like photos/2024/cat.jpg")])
    import asyncio

    from liteio_runtime.inspection import inspect_key, render

    print(render(asyncio.run(inspect_key(str(drive), bucket, key))))


@app.command()
def certs(
    nodes: Annotated[
        str, typer.Option(help="Names or addresses of the machines, by commas; 'node{1...4}.lan' counts.")
    ],
    folder: Annotated[
        Path, typer.Option(help="Where they are kept. Run it again to add machines and to renew.")
    ] = Path("certs"),
    days: Annotated[
        int, typer.Option(help="How long a machine's certificate is good. Renewed in its last third.")
    ] = 825,
    server_name: Annotated[
        str, typer.Option(help="Further names, by commas, that every certificate is good for.")
    ] = "",
) -> None:
    """Make the cluster's authority, and a certificate for each machine, for mutual TLS between them."""
    import datetime

    from liteio_runtime.cluster_certs import make_cluster_certs

    now = datetime.datetime.now(datetime.UTC)
    reports = make_cluster_certs(folder, nodes, server_name=server_name, days=days, now=now)
    print(*reports, sep="\n")
    print(f"\nGive each machine {folder}/ca.pem and its own .pem and .key, and none of them {folder}/ca.key.")


BucketName = Annotated[str, typer.Argument(help="The bucket's name.")]


@events_app.command("on")
@takes_store
def events_on(bucket: BucketName, **store: Any) -> None:
    """Publish what happens to the bucket's objects from now on."""
    _switch(bucket, True, store)


@events_app.command("off")
@takes_store
def events_off(bucket: BucketName, **store: Any) -> None:
    """Publish nothing more about the bucket."""
    _switch(bucket, False, store)


@events_app.command("tail")
def events_tail(
    bucket: Annotated[str, typer.Argument(help="A bucket's name; all buckets when left out.")] = "",
    drives: Drives = None,
    state: State = None,
    nats: Nats = None,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the messages as they are.")] = False,
) -> None:
    """Print events as they happen."""
    import asyncio

    from liteio_runtime.bucket_events import tail_events

    settings = _settings(_given({"drives": drives, "state": state, "nats": nats}), config)
    try:
        asyncio.run(tail_events(settings, bucket, as_json=as_json))
    except KeyboardInterrupt:
        raise SystemExit(0) from None


@admin_app.command("info")
@takes_store
def admin_info(as_json: AsJSON = False, **store: Any) -> None:
    """What the store is, what it holds, what may be lost, and what is wrong."""
    import asyncio

    from liteio_runtime.admin import show_info

    print(asyncio.run(show_info(_store_settings(store), as_json=as_json)))


@admin_app.command("drives")
@takes_store
def admin_drives(as_json: AsJSON = False, **store: Any) -> None:
    """Every drive: its place, its state and the reason."""
    import asyncio

    from liteio_runtime.admin import show_drives

    print(asyncio.run(show_drives(_store_settings(store), as_json=as_json)))


@admin_app.command("locks")
@takes_store
def admin_locks(as_json: AsJSON = False, **store: Any) -> None:
    """Who holds which lock now, and what was left over."""
    import asyncio

    from liteio_runtime.admin_locks import show_locks

    print(asyncio.run(show_locks(_store_settings(store), as_json=as_json)))


@heal_app.command("status")
@takes_store
def heal_status(nats: Nats = None, as_json: AsJSON = False, **store: Any) -> None:
    """What the healers do: queue, rebuilds with their progress, scans, and what can not be made whole."""
    import asyncio

    from liteio_runtime.admin_heal import show_heal_status

    print(asyncio.run(show_heal_status(_store_settings({"nats": nats} | store), as_json=as_json)))


@pool_app.command("list")
@takes_store
def pool_list(as_json: AsJSON = False, **store: Any) -> None:
    """The pools, and the share of new keys that each takes."""
    import asyncio

    from liteio_runtime.admin_pools import show_pools

    print(asyncio.run(show_pools(_store_settings(store), as_json=as_json)))


@pool_app.command("add")
@takes_store
def pool_add(
    new_drives: Annotated[
        str, typer.Argument(help="All drives of the pool: 'https://node{5...8}.lan:9100/mnt/d{1...8}'.")
    ],
    parity: Annotated[int | None, typer.Option(help="Drives of a set that may be lost. Default: by set width.")] = None,
    **store: Any,
) -> None:
    """Add a pool of nodes that run and wait for it. What is stored stays where it is, and is found."""
    import asyncio

    from liteio_runtime.admin_pools import add_pool

    print(asyncio.run(add_pool(_store_settings(store), new_drives, parity)))


@pool_app.command("weigh")
@takes_store
def pool_weigh(
    weights: Annotated[
        list[str] | None, typer.Argument(metavar="[POOL=WEIGHT]...", help="None: by free space.")
    ] = None,
    **store: Any,
) -> None:
    """Spread new keys by these weights from now on; a pool of weight 0 takes none."""
    import asyncio

    from liteio_runtime.admin_pools import parse_weights, weigh_pools

    print(asyncio.run(weigh_pools(_store_settings(store), parse_weights(weights or ()))))


@pool_app.command("retire")
@takes_store
def pool_retire(**store: Any) -> None:
    """Give up the epochs that no key needs any more. Reads the name of every key."""
    import asyncio

    from liteio_runtime.admin_pools import retire_epochs

    print(asyncio.run(retire_epochs(_store_settings(store))))


@app.command()
def version() -> None:
    """Print liteio's version, and those of what it stands on."""
    from liteio_runtime.versions import render_versions

    print(render_versions())


def main() -> None:
    """The console script: a user's mistake becomes a report and exit code 2, never a traceback."""
    from liteio_runtime.leaving import leave
    from liteio_runtime.problems import StartRefused

    try:
        app()
    except StartRefused as refused:
        print(refused.report, file=sys.stderr)
        leave(2)
    except SystemExit as ended:
        leave(int(ended.code or 0))


def _switch(bucket: str, is_on: bool, store: dict[str, Any]) -> None:
    import asyncio

    from liteio_runtime.bucket_events import switch_events

    print(asyncio.run(switch_events(_store_settings(store), bucket, is_on=is_on)))


def _store_settings(store: dict[str, Any]) -> Any:
    """Of a command that takes_store. It says itself what is wrong: what the libraries log is for servers."""
    import logging

    logging.getLogger().addHandler(logging.NullHandler())
    config = store.pop("config")
    return _settings(_given(store), config)


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value is not None}


def _settings(flags: dict[str, Any], config: Path | None) -> Any:
    from liteio_runtime.settings_loading import load_settings

    return load_settings(flags, config=config)


if __name__ == "__main__":
    main()
