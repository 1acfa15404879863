"""The root credentials of every server that is measured."""

from typing import Final

ACCESS_KEY: Final = "bench-root-user"
SECRET_KEY: Final = "a-secret-of-the-benchmark-only"
