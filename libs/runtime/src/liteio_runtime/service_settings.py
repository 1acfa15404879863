"""How a service takes its settings from whoever started it: whole, as JSON in one variable, and how it says what is
wrong with them."""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError


def read_config(environment: Mapping[str, str], variable: str) -> dict[str, Any]:
    """The fields that `variable` holds; none when it is not set. Raises ValueError when it holds no JSON object."""
    try:
        config = json.loads(environment.get(variable, "{}"))
    except json.JSONDecodeError as problem:
        raise ValueError(f"{variable} is not JSON: {problem}") from None
    if not isinstance(config, dict):
        raise ValueError(f"{variable} must hold one JSON object")
    return config


def read_files(environment: Mapping[str, str], prefix: str, names: Iterable[str]) -> dict[str, str]:
    """The fields of `names` whose `<prefix><NAME>_FILE` names a file that holds the value, as orchestrators mount
    secrets; white space around it does not count. Raises ValueError."""
    found = {}
    for name in names:
        plain = f"{prefix}{name.upper()}"
        if not (path := environment.get(f"{plain}_FILE")):
            continue
        if environment.get(plain):
            raise ValueError(f"give {plain} or {plain}_FILE, one of them")
        try:
            found[name] = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as problem:
            raise ValueError(f"{plain}_FILE: {problem}") from None
    return found


def report_settings_problem(service: str, problem: ValueError) -> None:
    """Say on standard error what is wrong with the settings, all of it."""
    if not isinstance(problem, ValidationError):
        print(f"liteio {service}: {problem}", file=sys.stderr)
        return
    # Input values are left out: one of them is a secret.
    for each in problem.errors(include_input=False, include_url=False):
        print(f"liteio {service}: {'.'.join(map(str, each['loc']))}: {each['msg']}", file=sys.stderr)
