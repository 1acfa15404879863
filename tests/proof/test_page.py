"""The page tells what was run, and hides neither failures nor shows what is the machine's own business."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import pytest  # the path comes first
from tests.proof.machine import machine_facts
from tests.proof.page import Outcome, render, told
from tests.proof.sections import Section, all_sections

SECTION = Section("Memory", "It stays small.", ("-m", "pytest", "tests/memory"), "peak", {"LITEIO_PROOF": "1"})


def test_a_failed_section_is_called_failed_with_the_end_of_what_it_said() -> None:
    page = render("2026-01-01", [("Kernel", "Linux")], [Outcome(SECTION, 1, 3.0, "peak 5\nboring\nboom")], ())
    assert "| Memory | FAILED (exit code 1) | 3 s |" in page
    assert "boom" in page
    assert "`LITEIO_PROOF=1 .venv/bin/python -m pytest tests/memory`" in page


def test_a_section_that_passed_shows_its_result_only() -> None:
    assert told(Outcome(SECTION, 0, 3.0, "dots\npeak 5 in /home/x\nmore"), ["/home/x"]) == ["peak 5 in …"]


@pytest.mark.parametrize("section", all_sections(7), ids=lambda section: section.title)
def test_what_a_section_runs_is_there(section: Section) -> None:
    root = Path(__file__).parents[2]
    what = section.arguments[2] if section.arguments[1] == "pytest" else section.arguments[1].replace(".", "/")
    assert (root / what).is_dir() or (root / f"{what}.py").is_file()


def test_the_facts_of_this_machine_can_be_had() -> None:
    facts = dict(machine_facts())
    assert all(facts.values())
    assert "cores" in facts["Processor"]
