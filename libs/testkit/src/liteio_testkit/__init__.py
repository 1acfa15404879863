"""Test doubles and contract suites: imported by tests only."""

import pytest

# The contract suites are tests that live in a library: without this their failures would show no values.
pytest.register_assert_rewrite(
    "liteio_testkit.contract_commit",
    "liteio_testkit.contract_settle",
    "liteio_testkit.contract_read",
    "liteio_testkit.contract_list",
    "liteio_testkit.contract_shards",
    "liteio_testkit.contract_upkeep",
    "liteio_testkit.contract_doubtful",
)
