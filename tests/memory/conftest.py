"""Loads a real server and watches its memory. LITEIO_PROOF=1 uses objects of 1 GiB."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
