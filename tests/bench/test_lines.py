"""What a line asks for was put there before."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import pytest  # the path comes first
from tests.bench.lines import FULL, LINES, PROCESSES, QUICK, Line, Scale, fills_of, loads_of, puts_before, select_lines

READS = [line for line in LINES if line.operation in ("GET", "HEAD", "MIXED")]


@pytest.mark.parametrize("scale", [FULL, QUICK], ids=["full", "quick"])
@pytest.mark.parametrize("line", READS, ids=lambda line: line.name)
def test_what_is_read_was_filled_in_with_that_size(line: Line, scale: Scale) -> None:
    filled = {
        (load.bucket, load.prefix): load
        for loads in fills_of([line], scale, 1).values()
        for load in loads
        if load.prefix
    }
    for load in loads_of(line, scale, 1, 1, []):
        put = filled[load.bucket, load.prefix]
        assert (put.count, put.size_bytes) == (load.keys, load.size_bytes)
        assert load.keys > 0


def test_delete_asks_for_the_keys_that_the_rounds_put_made_and_no_others() -> None:
    [put] = [line for line in LINES if line.name == "PUT 4 KiB"]
    delete, many = select_lines("delete")
    puts, deletes = loads_of(put, FULL, 1, 3, []), loads_of(delete, FULL, 1, 3, [7, 9])
    assert [load.prefix for load in deletes] == [load.prefix for load in puts]
    assert [load.count for load in deletes] == [7, 9]
    assert {load.keys for load in [*puts, *deletes]} == {0}
    assert loads_of(put, FULL, 1, 4, [])[0].prefix != puts[0].prefix
    puts, requests = puts_before(many, FULL, 1, 3), loads_of(many, FULL, 1, 3, [750, 900])
    assert [load.prefix for load in requests] == [load.prefix for load in puts] != [load.prefix for load in deletes]
    assert [load.count for load in requests] == [7, 9]
    assert {(load.operation, load.keys) for load in puts} == {("PUT", 0)}


def test_all_clients_of_a_line_are_twenty_in_the_full_run() -> None:
    for line in LINES:
        loads = loads_of(line, FULL, 1, 1, [1] * PROCESSES)
        assert sum(load.clients for load in loads) == 20
        assert {load.seconds for load in loads} == {FULL.seconds}


def test_a_bucket_is_made_for_each_that_is_used() -> None:
    loads = [load for loads in fills_of(LINES, FULL, 1).values() for load in loads]
    made = {load.bucket for load in loads if load.operation == "BUCKET"}
    assert made == {load.bucket for load in loads}
    assert {load.bucket for line in LINES for load in loads_of(line, FULL, 1, 1, [1] * PROCESSES)} == made


def test_lines_are_chosen_by_words_of_their_names() -> None:
    assert {line.name for line in select_lines("list, 64 MiB")} == {
        "LIST 1,000 keys a page",
        "multipart PUT 64 MiB",
        "GET 64 MiB",
    }
    assert select_lines("") == list(LINES)
    with pytest.raises(ValueError, match="no line is called 'nonsense'"):
        select_lines("GET,nonsense")
