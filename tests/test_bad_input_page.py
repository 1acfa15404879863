"""docs/operations/bad-input.md says which test shows what; each of those tests must be there."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "operations" / "bad-input.md"
FOLDERS: Final = {
    "gateway": ROOT / "services" / "gateway" / "tests",
    "s3": ROOT / "libs" / "s3" / "tests",
    "node": ROOT / "services" / "storage-node" / "tests",
    "clients": ROOT / "tests" / "clients",
    "tests": ROOT / "tests",
}


def test_every_test_on_the_page_exists() -> None:
    named = re.findall(r"`(\w+)/(\w+)::(\w+)`", PAGE.read_text(encoding="utf-8"))
    assert len(named) > 40
    for folder, module, name in named:
        source = (FOLDERS[folder] / f"{module}.py").read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {name}\(", source, re.MULTILINE), f"{folder}/{module}::{name}"
