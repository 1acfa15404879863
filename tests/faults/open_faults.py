"""What the rows do not show because it does not hold yet, or is not there."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class OpenFault:
    row: int
    text: str


OPEN: Final = (
    OpenFault(
        8,
        "power cuts in changes of users and policies are not tried: the store has none yet.",
    ),
    OpenFault(
        9,
        "failed syncs are told by the drive's state and the log; there is no metric yet that counts them.",
    ),
)
