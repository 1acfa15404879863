"""Bugs planted on purpose: each must be caught, or the simulation proves nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.sim.sim_drive import SimDrive


@contextmanager
def planted(name: str) -> Iterator[type[SimDrive]]:
    """The class of drives to use; the object layer is changed while the context lasts."""
    yield SimDrive
