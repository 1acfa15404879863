"""`WatchedDrive`: counts what is asked of a drive about objects, and can be told to fail."""

from liteio_base.deadline import Deadline
from liteio_contracts.storage import Commit, KeyAnswer, KeyQuery
from liteio_formats.record import Space
from liteio_testkit.faulty_drive import FaultyDrive


class WatchedDrive(FaultyDrive):
    """`unread`: of the commits, those that were sent on a guess. `refused`: those that it did not take."""

    reads = commits = unread = refused = 0

    def count_anew(self) -> None:
        self.reads = self.commits = self.unread = self.refused = 0

    async def read_key(self, query: KeyQuery, *, deadline: Deadline) -> KeyAnswer:
        self.reads += query.name.space is Space.OBJECT
        return await super().read_key(query, deadline=deadline)

    async def commit(self, commit: Commit, *, deadline: Deadline) -> None:
        self.commits += 1
        self.unread += commit.is_unread
        self.refused += 1
        await super().commit(commit, deadline=deadline)
        self.refused -= 1
