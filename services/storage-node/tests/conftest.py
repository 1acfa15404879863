"""Lets the tests of this folder import their helpers by name: `storage-node` is no package name for mypy."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
