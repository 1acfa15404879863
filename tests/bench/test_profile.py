from tests.bench.profile import Profile, counts_of, packages_of, parts_of, render

PERF_SAYS = """# started on Mon Nov 30 19:25:14 2026

52000,,raw_syscalls:sys_enter,6000000000,100.00,,
3200,,context-switches,6000000000,100.00,1.2,K/sec
<not supported>,,syscalls:sys_enter_futex,0,100.00,,
"""


def test_counts_are_read_from_what_perf_says() -> None:
    assert counts_of(PERF_SAYS) == {"system calls": 52_000, "switches": 3_200}


def test_shares_are_summed_up_by_part() -> None:
    found = parts_of(
        {
            "python3.11": 50.0,
            "[kernel.kallsyms]": 20.0,
            "__init__.cpython-311-x86_64-linux-gnu.so": 15.0,
            "libc.so.6": 8.0,
            "_md5.cpython-311-x86_64-linux-gnu.so": 5.0,
            "[unknown]": 2.0,
        }
    )
    assert {part: share for part, share in found.items() if share} == {
        "kernel": 20.0,
        "interpreter": 50.0,
        "SQLite, apsw": 15.0,
        "libc: malloc, memcpy": 8.0,
        "MD5, SHA-256": 5.0,
        "other": 2.0,
    }


def test_samples_belong_to_the_package_of_the_innermost_frame() -> None:
    stacks = [
        "main (liteio_gateway/main.py:36);JobThreads._run (liteio_drives/drive_threads.py:247) 3",
        "main (liteio_gateway/main.py:36) 1",
    ]
    assert packages_of(stacks) == {"liteio_drives": 75.0, "liteio_gateway": 25.0}
    assert packages_of([]) == {}


def test_rows_that_no_line_has_much_of_are_left_out() -> None:
    counts, parts = {"futex": 0.01, "pread64": 11.2}, {"kernel": 26.0, "other": 0.3}
    page = render([Profile("PUT", 0.5, counts, parts, [(3.0, "memcpy")], {})])
    assert "| pread64 | 11 |" in page
    assert "| kernel | 26 |" in page
    assert "PUT: memcpy 3.0 %" in page
    assert "futex" not in page
    assert "other" not in page
