"""Connections of a shared socket are spread evenly, whoever wakes first, and none is left waiting."""

import asyncio
import os
import socket
from collections.abc import Iterator

import pytest

from liteio_gateway.accepting import ConnectionTally, SharedListener
from liteio_testkit.polling import until


@pytest.fixture
def tally_fd() -> Iterator[int]:
    fd = os.memfd_create("test")
    os.write(fd, b"\xff" * 8)
    yield fd
    os.close(fd)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.setblocking(False)
        yield made


class Worker:
    """One worker's listener, which keeps what it accepts."""

    def __init__(self, listening: socket.socket, tally_fd: int, index: int) -> None:
        self.kept: list[socket.socket] = []
        self.tally = ConnectionTally(tally_fd, index, 2)
        self.listener = SharedListener(listening, self.tally, self._take, lambda: len(self.kept))

    async def _take(self, accepted: socket.socket) -> None:
        self.kept.append(accepted)

    def end(self) -> None:
        self.listener.close()
        for each in self.kept:
            each.close()


def test_a_worker_is_above_another_only_while_that_one_lives(tally_fd: int) -> None:
    first = ConnectionTally(tally_fd, 0, 2)
    first.note(5)
    assert not first.is_above_another(5), "there is no other"
    second = ConnectionTally(tally_fd, 1, 2)
    second.note(3)
    first.note(4)
    assert first.is_above_another(4)
    assert not first.is_above_another(3)
    second.close()
    assert not first.is_above_another(4)
    first.close()


async def test_the_worker_with_fewer_connections_takes_the_next(listening: socket.socket, tally_fd: int) -> None:
    first = Worker(listening, tally_fd, 0)
    clients = [socket.create_connection(listening.getsockname()) for _ in range(6)]
    await until(lambda: len(first.kept) == 6)
    twin = listening.dup()  # both share one loop here, whose selector knows a descriptor only once
    second = Worker(twin, tally_fd, 1)
    clients += [socket.create_connection(listening.getsockname()) for _ in range(6)]
    await until(lambda: len(first.kept) + len(second.kept) == 12)
    assert (len(first.kept), len(second.kept)) == (6, 6)
    for worker in (first, second):
        worker.end()
    for client in clients:
        client.close()
    twin.close()


async def test_a_worker_that_others_do_not_help_takes_all(listening: socket.socket, tally_fd: int) -> None:
    stuck = ConnectionTally(tally_fd, 1, 2)  # lives, has no connection, and takes none
    worker = Worker(listening, tally_fd, 0)
    clients = [socket.create_connection(listening.getsockname()) for _ in range(5)]
    await until(lambda: len(worker.kept) == 5)
    worker.end()
    stuck.close()
    for client in clients:
        client.close()


async def test_nothing_is_accepted_after_the_end(listening: socket.socket, tally_fd: int) -> None:
    worker = Worker(listening, tally_fd, 0)
    worker.end()
    await worker.listener.wait_closed()
    with socket.create_connection(listening.getsockname()):
        await asyncio.sleep(0.01)
    assert not worker.kept


async def test_a_worker_without_descriptors_rests_and_goes_on(
    listening: socket.socket, tally_fd: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("liteio_gateway.accepting.OUT_OF_DESCRIPTORS_SECONDS", 0.01)

    class Exhausted(socket.socket):
        left = 2

        def accept(self) -> tuple[socket.socket, object]:
            self.left -= 1
            if self.left >= 0:
                raise OSError(24, "Too many open files")
            return super().accept()

    exhausted = Exhausted(fileno=listening.dup().detach())
    exhausted.setblocking(False)
    worker = Worker(exhausted, tally_fd, 0)
    with socket.create_connection(listening.getsockname()):
        await until(lambda: len(worker.kept) == 1)
    assert "no connection can be accepted" in caplog.text
    worker.end()
    exhausted.close()
