"""The page tells what was run, and hides neither failures nor shows what is the machine's own business."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import pytest  # the path comes first
from tests.proof.machine import machine_facts
from tests.proof.page import Outcome, render, text_of, texts_of, told
from tests.proof.sections import Section, all_sections

SECTION = Section("Memory", "It stays small.", ("-m", "pytest", "tests/memory"), "peak", {"LITEIO_PROOF": "1"})


def test_a_failed_section_is_called_failed_with_the_end_of_what_it_said() -> None:
    text = text_of(Outcome(SECTION, 1, 3.0, "peak 5\nboring\nboom"), "2026-01-01", "abc", ())
    assert "**FAILED (exit code 1)** in 3 s, on 2026-01-01 (UTC), commit abc" in text
    assert "boom" in text
    assert "`LITEIO_PROOF=1 .venv/bin/python -m pytest tests/memory`" in text


def test_a_page_keeps_the_sections_that_were_not_run_again() -> None:
    texts = {"A": text_of(Outcome(SECTION, 0, 3.0, "peak 5"), "now", "abc", ()), "B": "\nb\n"}
    page = render([("Kernel", "Linux")], texts)
    assert texts_of(page) == texts
    assert render([("Kernel", "Linux")], texts_of(page)) == page


def test_a_section_that_passed_shows_its_result_only() -> None:
    assert told(Outcome(SECTION, 0, 3.0, "dots\npeak 5 in /home/x\nmore"), ["/home/x"]) == ["peak 5 in …"]


@pytest.mark.parametrize("section", all_sections(7), ids=lambda section: section.title)
def test_what_a_section_runs_is_there(section: Section) -> None:
    root = Path(__file__).parents[2]
    what = section.arguments[2] if section.arguments[1] == "pytest" else section.arguments[1].replace(".", "/")
    assert (root / what).exists() or (root / f"{what}.py").is_file()


def test_the_facts_of_this_machine_can_be_had() -> None:
    facts = dict(machine_facts())
    assert all(facts.values())
    assert "cores" in facts["Processor"]
