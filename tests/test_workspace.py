"""The workspace hangs together: every member looks the same, says what it needs, and is pinned without addresses."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
MEMBERS: Final = sorted(
    path.parent for pattern in ("libs", "services") for path in ROOT.glob(f"{pattern}/*/pyproject.toml")
)
REQUIREMENTS: Final = ROOT / "requirements"
OPTIONAL_IMPORTS: Final = frozenset({"tomli"})

each_member = pytest.mark.parametrize("member", MEMBERS, ids=lambda path: path.name)


def manifest(member: Path) -> dict[str, Any]:
    return tomllib.loads((member / "pyproject.toml").read_text(encoding="utf-8"))


def normal(name: str) -> str:
    """A distribution's name as indexes compare them, without extras and versions."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", name.strip(), maxsplit=1)[0]).lower()


def dependencies(member: Path) -> set[str]:
    return {normal(name) for name in manifest(member)["project"].get("dependencies", [])}


def names_in(file: Path) -> set[str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return {normal(line) for line in lines if line.strip() and not line.startswith("#")}


def pinned(file: str = "lock.txt") -> dict[str, str]:
    """The lock's entries by name, each with its hashes."""
    entries = re.split(r"\n(?=[a-z0-9])", (REQUIREMENTS / file).read_text(encoding="utf-8"))
    return {normal(entry): entry for entry in entries if entry.strip()}


def pin_of(entry: str) -> tuple[str, frozenset[str]]:
    """Version with markers, and hashes, without the notes on who wants it."""
    return entry.split(" \\\n")[0], frozenset(re.findall(r"sha256:[0-9a-f]{64}", entry))


def test_there_are_members() -> None:
    assert {"base", "runtime", "gateway"} <= {member.name for member in MEMBERS}


@each_member
def test_a_member_has_its_file_set_and_name(member: Path) -> None:
    project = manifest(member)["project"]
    package = member / "src" / project["name"].replace("-", "_")
    assert project["name"] == f"liteio-{member.name}"
    assert project["license"] == "Apache-2.0"
    assert (package / "py.typed").is_file()
    assert (package / "__init__.py").is_file()
    assert (member / "README.md").is_file()
    assert any((member / "tests").glob("test_*.py"))


@each_member
def test_a_member_declares_exactly_what_it_imports(member: Path) -> None:
    own = normal(manifest(member)["project"]["name"])
    imported = {distribution for name in imports_of(member / "src") if (distribution := distribution_of(name)) != own}
    undeclared = imported - dependencies(member) - {""}
    assert not undeclared, f"add to {member.name}/pyproject.toml: {sorted(undeclared)}"
    idle = {name for name in dependencies(member) if name.startswith("liteio-")} - imported
    assert not idle, f"not imported, remove from {member.name}/pyproject.toml: {sorted(idle)}"


def test_every_service_ends_without_taking_the_interpreter_apart() -> None:
    """See liteio_runtime.leaving."""
    programs = list(ROOT.glob("services/*/src/*/__main__.py"))
    assert len(programs) >= 3
    assert [one for one in programs if "\nleave(main())\n" not in one.read_text(encoding="utf-8")] == []


def test_runtime_requirements_are_the_union_of_the_members_that_run() -> None:
    wanted = set().union(*(dependencies(member) for member in MEMBERS if member.name != "testkit"))
    assert names_in(REQUIREMENTS / "runtime.in") == {name for name in wanted if not name.startswith("liteio-")}


def test_the_lock_pins_all_that_is_named_with_hashes() -> None:
    entries = pinned()
    missing = (names_in(REQUIREMENTS / "runtime.in") | names_in(REQUIREMENTS / "dev.in")) - set(entries)
    assert not missing, f"run `make lock`: {sorted(missing)}"
    assert all(re.match(r"[a-z0-9._-]+==\S+", entry) and "--hash=sha256:" in entry for entry in entries.values())


@pytest.mark.parametrize("file", ["runtime.txt", "build.txt"])
def test_images_are_built_from_the_pins_of_the_lock(file: str) -> None:
    lock, image = pinned(), pinned(file)
    assert {name: pin_of(entry) for name, entry in image.items()} == {name: pin_of(lock[name]) for name in image}
    missing = (
        names_in(REQUIREMENTS / "runtime.in") - set(image) if file == "runtime.txt" else {"hatchling"} - set(image)
    )
    assert not missing, f"run `make lock`: {sorted(missing)}"


def test_the_testkit_needs_nothing_but_what_is_pinned() -> None:
    assert {name for name in dependencies(ROOT / "libs/testkit") if not name.startswith("liteio-")} <= set(pinned())


def test_the_lock_stays_above_versions_with_known_holes() -> None:
    """BadHost (CVE-2026-48710), quadratic Range (CVE-2025-62727), bad chunk ends (CVE-2025-43859), CRLF in HTTP/2
    headers (CVE-2025-57804). Forms have a parser of their own when they come: python-multipart's holes were many."""
    entries = pinned()
    assert "python-multipart" not in entries
    for name, floor in {"starlette": (1, 0, 1), "h11": (0, 16), "h2": (4, 3)}.items():
        if name in entries:
            found = re.match(r"[^=]+==([0-9.]+)", entries[name])
            assert found is not None
            assert tuple(map(int, found.group(1).split("."))) >= floor, name


@pytest.mark.parametrize("file", ["lock.txt", "runtime.txt", "build.txt"])
def test_the_lock_holds_no_address(file: str) -> None:
    text = (REQUIREMENTS / file).read_text(encoding="utf-8")
    assert not re.search(r"https?:|index-url|find-links| @ ", text)


def test_every_member_is_under_the_import_rules() -> None:
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    packages = {manifest(member)["project"]["name"].replace("-", "_") for member in MEMBERS}
    assert set(linter["root_packages"]) == packages
    layers = {name for line in linter["contracts"][0]["layers"] for name in re.split(r"[ |]+", line)}
    assert layers == packages - {"liteio_testkit"}


def imports_of(folder: Path) -> Iterator[str]:
    """Top names of all modules that the sources import, late imports included, the standard library's left out."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            else:
                continue
            for name in names:
                top = name.partition(".")[0]
                if top not in sys.stdlib_module_names and top not in OPTIONAL_IMPORTS:
                    yield top


def distribution_of(name: str) -> str:
    """The distribution that brings a top-level module; ours by their naming rule."""
    if name.startswith("liteio_"):
        return normal(name)
    found = {normal(one) for one in _distributions().get(name, [])}
    if not found:  # a lone extension module is not listed; such distributions are called like their module
        version(name)
        return normal(name)
    return min(found)


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())
