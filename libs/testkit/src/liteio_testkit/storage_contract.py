"""The contract of StorageAPI as a suite: two classes, run unchanged over every implementation.

    class TestLocalDrive(StorageContract):
        @pytest.fixture
        def subject(self, tmp_path: Path) -> DriveUnderTest: ...

    class TestDoubtfulLocalDrive(DoubtfulDriveContract):  # the same for a drive that is not authoritative
        @pytest.fixture
        def subject(self, tmp_path: Path) -> DriveUnderTest: ...

The suite asks nothing but the Protocol, so what it can not see (a flushed sync, a torn page) has tests of its own
beside each implementation. The rules that it settles where the docstrings leave room are listed in the README.
"""

import pytest

from liteio_testkit.contract_bench import Bench, DriveUnderTest
from liteio_testkit.contract_commit import CommitContract
from liteio_testkit.contract_digests import DigestContract
from liteio_testkit.contract_doubtful import DoubtfulDriveContract
from liteio_testkit.contract_list import ListContract
from liteio_testkit.contract_read import ReadContract
from liteio_testkit.contract_settle import SettleContract
from liteio_testkit.contract_shards import ShardContract
from liteio_testkit.contract_topology import TopologyContract
from liteio_testkit.contract_upkeep import UpkeepContract

__all__ = ["Bench", "DoubtfulDriveContract", "DriveUnderTest", "StorageContract"]


class StorageContract(
    CommitContract,
    SettleContract,
    ReadContract,
    ListContract,
    ShardContract,
    UpkeepContract,
    DigestContract,
    TopologyContract,
):
    """Give a fixture `subject`: a fresh DriveUnderTest for each test."""

    @pytest.fixture
    def bench(self, subject: DriveUnderTest) -> Bench:
        return Bench(subject)
