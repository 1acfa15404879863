"""`python -m tests.bench peers`, `growth`, `store`, `gateways`, `healing`, `kernels` and `profile`; `make bench` and
`make bench-peers` run all but the last."""

import argparse
import asyncio
import datetime
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.support.paths import REPOSITORY

PAGE = REPOSITORY / "docs" / "benchmarks.md"


def main() -> None:
    parser = argparse.ArgumentParser(description="Print liteio's figures, beside its peers' where there are some.")
    kinds = ("peers", "growth", "store", "gateways", "healing", "kernels", "profile")
    parser.add_argument("what", choices=kinds, nargs="?", default="peers")
    parser.add_argument("--size", type=int, default=2, help="scales the number of operations of `gateways`")
    parser.add_argument(
        "--keys", type=int, default=1_000_000, help="how far `growth` goes, and among how many `healing` searches"
    )
    peers = parser.add_argument_group("peers, and --only and --seconds of profile")
    peers.add_argument("--quick", action="store_true", help="one short round over small buckets, within five minutes")
    peers.add_argument("--rounds", type=int, help="alternations of the servers (5, or 1 when quick)")
    peers.add_argument("--seconds", type=float, help="of each line's load (5, or 2 when quick)")
    peers.add_argument("--minutes", type=float, help="no round is begun that would end later (60, or 5 when quick)")
    peers.add_argument("--only", default="", help="lines with one of these words in their names, for example PUT,LIST")
    peers.add_argument("--peers", default="", help="servers, for example liteio,minio (default: all that are there)")
    peers.add_argument("--folder", help="where the servers' folders are made, each on the same disk (default: TMPDIR)")
    peers.add_argument(
        "--page", type=Path, help="where the page goes (docs/benchmarks.md when all is measured in full)"
    )
    options = parser.parse_args()
    if options.what == "peers":
        compare_peers(options, parser)
    elif options.what == "store":
        from tests.bench.store import measure_store

        measure_store()
    elif options.what == "gateways":
        from tests.bench.gateways import compare_gateways

        asyncio.run(compare_gateways(options.size))
    elif options.what == "profile":
        from tests.bench.profile import main as profile

        profile(options.only, options.seconds or 6.0)
    elif options.what == "healing":
        from tests.bench.healing import measure_healing

        asyncio.run(measure_healing(options.keys))
    elif options.what == "kernels":
        from tests.bench.kernels import measure_kernels

        measure_kernels()
    else:
        from tests.bench.growth import grow

        asyncio.run(grow(options.keys))


def compare_peers(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Print the page, and write it where it belongs."""
    from tests.bench.lines import FULL, QUICK, select_lines
    from tests.bench.page import render
    from tests.bench.peers import compare, select_servers
    from tests.proof.machine import commit_name, machine_facts

    scale = QUICK if options.quick else FULL
    given = {name: getattr(options, name) for name in ("rounds", "seconds", "minutes") if getattr(options, name)}
    try:
        lines, servers = select_lines(options.only), select_servers(options.peers)
    except ValueError as unknown:
        parser.error(str(unknown))
    tempfile.tempdir = options.folder or tempfile.gettempdir()
    commit, date = commit_name(), datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M")
    found = asyncio.run(compare(servers, lines, replace(scale, **given)))
    facts = [*machine_facts(), ("Date (UTC), commit", f"{date}, {commit}"), ("Rounds", str(found.rounds_done))]
    chosen = ("rounds", "seconds", "minutes", "only", "peers")  # folder and page name places of this machine
    words = [f"--{name} {getattr(options, name)}" for name in chosen if getattr(options, name)]
    command = " ".join(["python -m tests.bench peers", *["--quick"] * options.quick, *words])
    page = render(found, facts, command)
    print(f"\n{page}")
    is_whole = not (options.quick or options.only or options.peers)
    if path := options.page or (PAGE if is_whole else None):
        path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
