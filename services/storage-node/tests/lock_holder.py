"""`python lock_holder.py PORT NAME`: hold a lock of the node at the port until killed; says so in a line."""

import asyncio
import sys

from live_node import connection_to

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_drives.remote.remote_locks import RemoteLocks


async def main(port: int, name: bytes) -> None:
    clock = SystemClock()
    async with (
        connection_to(port) as node,
        RemoteLocks([node], clock, SystemRandomness()) as locks,
        locks.lock([name], deadline=Deadline.after(30, clock)),
    ):
        print("held", flush=True)
        await asyncio.sleep(3600)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2].encode()))
