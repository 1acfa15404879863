"""Puts the repository's root on the import path, so that tests share helpers as `services.gateway.tests.…`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

import pytest  # the path comes first
from services.gateway.tests.raw_client import RawClient, make_client


@pytest.fixture
def client() -> RawClient:
    return make_client()
