"""Where the tests find what they run, and how much of it is wanted."""

import os
import sys
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[2]
CLIENTS: Final = REPOSITORY / ".clients"
BIN: Final = Path(sys.executable).parent
IS_PROOF: Final = os.environ.get("LITEIO_PROOF", "") not in ("", "0")
"""LITEIO_PROOF=1: the full numbers, instead of the part that every change runs."""
