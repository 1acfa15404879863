"""`check`: beliefs that stay asserted in production."""


class BrokenBelief(AssertionError):
    """The program contradicts itself. Never a user's mistake; never caught to go on as if nothing happened."""


def check(holds: object, belief: str) -> None:
    """Stop here, with the belief's name, if `holds` is false."""
    if not holds:
        raise BrokenBelief(belief)
