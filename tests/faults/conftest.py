"""Lets the modules of the fault matrix be imported as `tests.faults.…`, in the tests as by `python -m tests.faults`."""

import sys
from pathlib import Path

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)
