"""The `liteio` command. Each command imports what it needs when it runs, so that `--help` and the start are quick."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

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

Config = Annotated[Path | None, typer.Option(help="TOML file with the same names as the flags (LITEIO_CONFIG).")]
Drives = Annotated[
    str | None, typer.Option(help="Drive folders, separated by commas; {1...8} counts: '/mnt/disk{1...8}'.")
]
State = Annotated[
    Path | None, typer.Option(help="Folder for credentials and bus files. Default: .liteio.sys of the first drive.")
]
Nats = Annotated[str | None, typer.Option(help='NATS URL. Default: a server of our own; "off": none.')]


@app.command()
def server(
    address: Annotated[str | None, typer.Option(help="Where S3 is served. Default: :9000")] = None,
    drives: Drives = None,
    parity: Annotated[str | None, typer.Option(help="Drives of a set that may be lost. Default: by set width.")] = None,
    access_key: Annotated[str | None, typer.Option(help="Root access key. Default: made on the first start.")] = None,
    secret_key: Annotated[
        str | None, typer.Option(help="Root secret key; better give LITEIO_SECRET_KEY_FILE: flags show in `ps`.")
    ] = None,
    domain: Annotated[str | None, typer.Option(help="Domains for bucket.domain addresses, by commas.")] = None,
    region: Annotated[str | None, typer.Option(help="Region that clients sign for. Default: us-east-1")] = None,
    cert: Annotated[str | None, typer.Option(help="TLS certificate chain, PEM. With --key: serve https.")] = None,
    key: Annotated[str | None, typer.Option(help="The certificate's private key, PEM.")] = None,
    state: State = None,
    workers: Annotated[str | None, typer.Option(help="Gateway processes. Default: one a processor.")] = None,
    nats: Nats = None,
    log_format: Annotated[str | None, typer.Option(help="auto, json or pretty.")] = None,
    config: Config = None,
) -> None:
    """Serve S3 from the drives of this machine.

    Every flag is also a variable (LITEIO_PARITY for --parity) and a name in the file that --config names; a flag goes
    before a variable, a variable before the file.
    """
    # The variables of this function are the flags. All are text here: the settings check them together.
    flags = {name: value for name, value in locals().items() if value is not None and name != "config"}
    from liteio_runtime.server import run_server

    raise SystemExit(run_server(_settings(flags, config)))


@app.command()
def version() -> None:
    """Print liteio's version, and those of what it stands on."""
    from liteio_runtime.versions import render_versions

    print(render_versions())


def main() -> None:
    """The console script: a user's mistake becomes a report and exit code 2, never a traceback."""
    from liteio_runtime.problems import StartRefused

    try:
        app()
    except StartRefused as refused:
        print(refused.report, file=sys.stderr)
        raise SystemExit(2) from None


def _settings(flags: dict[str, Any], config: Path | None) -> Any:
    from liteio_runtime.settings_loading import load_settings

    return load_settings(flags, config=config)


if __name__ == "__main__":
    main()
