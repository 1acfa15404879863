"""`python -m tests.bench speed`, `growth`, `store`, `gateways` and `healing`; `make bench` runs all."""

import argparse
import asyncio


def main() -> None:
    parser = argparse.ArgumentParser(description="Print liteio's figures, beside a peer's where there is one.")
    kinds = ("speed", "growth", "store", "gateways", "healing")
    parser.add_argument("what", choices=kinds, nargs="?", default="speed")
    parser.add_argument("--rounds", type=int, default=3, help="alternations of liteio and its peer")
    parser.add_argument("--size", type=int, default=2, help="scales the number of operations of `speed` and `gateways`")
    parser.add_argument(
        "--keys", type=int, default=1_000_000, help="how far `growth` goes, and among how many `healing` searches"
    )
    options = parser.parse_args()
    if options.what == "speed":
        from tests.bench.speed import compare

        asyncio.run(compare(options.rounds, options.size))
    elif options.what == "store":
        from tests.bench.store import measure_store

        measure_store()
    elif options.what == "gateways":
        from tests.bench.gateways import compare_gateways

        asyncio.run(compare_gateways(options.size))
    elif options.what == "healing":
        from tests.bench.healing import measure_healing

        asyncio.run(measure_healing(options.keys))
    else:
        from tests.bench.growth import grow

        asyncio.run(grow(options.keys))


if __name__ == "__main__":
    main()
