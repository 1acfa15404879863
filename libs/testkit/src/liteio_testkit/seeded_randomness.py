"""`SeededRandomness`: the Randomness seam from a seed, so that every id and every jitter replays."""

import random


class SeededRandomness:
    """Two with the same seed draw the same. `fork` gives an independent stream, so that one part drawing more does not
    shift what another part draws.
    """

    def __init__(self, seed: int | str) -> None:
        self._seed = seed
        self._random = random.Random(f"liteio:{seed}")

    def token_bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def chance(self, probability: float) -> bool:
        """True with this probability; draws once whatever the probability is, so that plans stay comparable."""
        return self._random.random() < probability

    def below(self, count: int) -> int:
        """A whole number from 0 to count - 1."""
        return self._random.randrange(count)

    def fork(self, label: str) -> "SeededRandomness":
        return SeededRandomness(f"{self._seed}/{label}")
