"""Lets the tests of this folder import their helpers by name: `storage-node` is no package name that mypy would take."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
