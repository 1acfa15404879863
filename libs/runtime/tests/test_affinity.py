"""Busy threads of a process share a processor, in turn; those that work without the interpreter's lock do not."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import textwrap

import pytest

from liteio_runtime.affinity import core_of_worker, hold_on_core, usual_worker_count

# In a process of its own: the tests themselves stay where they are.
PROGRAM = textwrap.dedent("""
    import _thread, asyncio, json, os, threading
    from liteio_runtime.affinity import hold_on_core

    def thread(name):
        done = threading.Event()
        made = threading.Thread(target=done.wait, name=name, daemon=True)
        made.start()
        return made

    async def main():
        threads = {name: thread(name) for name in ("liteio-commit-0-0", "liteio-read-0-0", "liteio-data-0-0")}
        core = max(os.sched_getaffinity(0))
        told, held = _thread.allocate_lock(), _thread.allocate_lock()
        told.acquire(), held.acquire()
        library = []
        def of_a_library():  # Python does not list it, as it does not list what a C library begins.
            library.append(threading.get_native_id())
            told.release()
            held.acquire()
        _thread.start_new_thread(of_a_library, ())
        told.acquire()
        tasks = os.listdir
        os.listdir = lambda path: [*tasks(path), "4194304"]  # one that has ended before it was looked at
        hold_on_core(core)
        os.listdir = tasks
        found = {name: sorted(os.sched_getaffinity(each.native_id)) for name, each in threads.items()}
        found["library"] = sorted(os.sched_getaffinity(library[0]))
        found["loop"] = sorted(os.sched_getaffinity(0))
        found["pool"] = await asyncio.to_thread(lambda: sorted(os.sched_getaffinity(0)))
        policies = {os.sched_getscheduler(int(each)) for each in os.listdir("/proc/self/task")}
        print(json.dumps([core, found, sorted(policies)]))

    asyncio.run(main())
""")


def test_loop_and_index_threads_share_a_core_and_the_others_are_free() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    core, found, policies = json.loads(done.stdout)
    everywhere = sorted(os.sched_getaffinity(0))
    assert found == {
        "liteio-commit-0-0": [core],
        "liteio-read-0-0": [core],
        "liteio-data-0-0": everywhere,
        "library": [core],
        "loop": [core],
        "pool": everywhere,
    }
    assert policies == [os.SCHED_BATCH]  # none pushes out the thread that woke it


def test_workers_take_the_cores_in_turn() -> None:
    cores = sorted(os.sched_getaffinity(0))
    assert [core_of_worker(index) for index in range(2 * len(cores))] == 2 * cores


@pytest.mark.parametrize(("cores", "alone", "beside_node"), [({3}, 1, 1), ({0, 1}, 2, 1), ({0, 2, 4, 6}, 4, 3)])
def test_a_storage_node_gets_a_processor_of_its_own_where_there_are_several(
    monkeypatch: pytest.MonkeyPatch, cores: set[int], alone: int, beside_node: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores)
    assert usual_worker_count(0) == alone
    assert usual_worker_count(1) == beside_node
    is_shared = core_of_worker(beside_node) in map(core_of_worker, range(beside_node))
    assert is_shared == (len(cores) == 1)


async def test_a_core_that_can_not_be_had_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    before = os.sched_getaffinity(0)
    with caplog.at_level(logging.WARNING):
        hold_on_core(1_000_000)
    assert "could not stay on processor 1000000" in caplog.text
    assert os.sched_getaffinity(0) == before
    assert await asyncio.to_thread(lambda: os.sched_getaffinity(0)) == before
