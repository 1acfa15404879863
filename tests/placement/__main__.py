"""Prints the tables of docs/architecture.md, "Placement at a thousand drives". Takes about 20 s of one processor."""

from .fleet import FleetPool, Shape, balances, fresh, grow, node_loss, outage

_KEYS = 200_000
_DRAWS = 20_000
_SINGLE = (Shape(125, 8), Shape(128, 8))
_THREE = (Shape(64, 8), Shape(48, 10), Shape(1, 8))  # 1,000 drives in three pools


def main() -> None:
    print("| nodes x drives | sets | keys | keys a set: mean, max/mean (paper) | data shards a drive: the same |")
    print("|---|---|--:|---|---|")
    for shape in _SINGLE:
        _balance([FleetPool.of(shape)], {0: 1})
    pools = [FleetPool.of(shape) for shape in _THREE]
    _balance(pools, {number: pool.shape.nodes * pool.shape.drives for number, pool in enumerate(pools)})
    print()
    print("| added | weights | old keys that move | old keys with one place | new keys by pool (by weight) |")
    print("|---|---|--:|--:|---|")
    first, second = FleetPool.of(_SINGLE[0]), FleetPool.of(Shape(25, 8))
    for weights in ({0: 1, 1: 1}, {0: 1000, 1: 200}, {0: 300, 1: 200}, {0: 0, 1: 1}):
        _growth(first, second, weights)
    print()
    print(
        "| nodes x drives | sets | sets with a drive on a node | drives of a set on a node | nodes that may always go |"
    )
    print("|---|---|--:|--:|--:|")
    for shape in (*_SINGLE, Shape(8, 125), Shape(10, 100)):
        pool = FleetPool.of(shape)
        loss = node_loss(pool)
        print(f"| {shape} | {_sets(pool)} | {loss.sets_touched} | {loss.drives_a_set} | {loss.nodes_borne} |")
    print()
    print("| nodes x drives | nodes lost at once | a set has fewer than K drives: drawn | on paper |")
    print("|---|--:|--:|--:|")
    for shape in _SINGLE:
        pool = FleetPool.of(shape)
        for nodes in (pool.code.m + 1, pool.code.m + 3, 2 * pool.code.m + 4):
            result = outage(pool, nodes, _DRAWS, seed=1)
            print(f"| {shape} | {nodes} | {result.counted:.2%} | {result.paper:.2%} |")


def _sets(pool: FleetPool) -> str:
    return f"{len(pool.nodes_of_sets)} of {pool.code}"


def _balance(pools: list[FleetPool], weights: dict[int, int]) -> None:
    for pool, found in zip(pools, balances(fresh(pools, weights), pools, _KEYS), strict=True):
        sets, drives = found.by_set, found.by_drive
        print(
            f"| {pool.shape} | {_sets(pool)} | {found.keys:,}"
            f" | {sets.mean:,.0f}, {sets.ratio:.3f} ({sets.expected_ratio:.3f})"
            f" | {drives.mean:,.0f}, {drives.ratio:.3f} ({drives.expected_ratio:.3f}) |"
        )


def _growth(first: FleetPool, second: FleetPool, weights: dict[int, int]) -> None:
    grown = grow(fresh([first], {0: 1}), second.pool, weights, _KEYS // 4)
    total = sum(weights.values())
    shares = ", ".join(
        f"{grown.new_by_pool[pool] / (_KEYS // 4):.2%} ({weight / total:.2%})" for pool, weight in weights.items()
    )
    told = " : ".join(str(weight) for weight in weights.values())
    print(f"| {second.shape} | {told} | {grown.moved} | {grown.one_place / (_KEYS // 4):.1%} | {shares} |")


if __name__ == "__main__":
    main()
