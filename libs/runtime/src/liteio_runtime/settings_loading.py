"""Load the settings from flags, environment and file, and report everything that is wrong with them at once."""

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource, TomlConfigSettingsSource

from liteio_runtime.problems import Mistake, Problem, StartRefused
from liteio_runtime.settings import ENV_PREFIX, ServerSettings

CONFIG_VARIABLE: Final = "LITEIO_CONFIG"
_SECRET_FIELDS: Final = ("access_key", "secret_key")
# As the services of a cluster call them: in a container of one, `liteio admin` finds what the service was told.
_SERVICES_NAMES: Final = {
    "LITEIO_CLUSTER_CERT_FILE": "cluster_cert",
    "LITEIO_CLUSTER_KEY_FILE": "cluster_key",
    "LITEIO_CLUSTER_CA_FILE": "cluster_ca",
}
# Read by other processes of ours, each of which checks its own.
_OTHERS_VARIABLES: Final = ("LITEIO_GATEWAY_", "LITEIO_HEALER_", "LITEIO_STORAGE_NODE_")
# Kubernetes sets these in every container next to a Service that is called liteio.
_KUBERNETES: Final = re.compile(r"LITEIO_(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_(TCP|UDP)(_.+)?)?)")


def load_settings(flags: Mapping[str, Any], *, config: Path | None = None) -> ServerSettings:
    """`flags` holds what was given on the command line, by field name. Raises StartRefused."""
    problems: list[Problem] = _unknown_variables(os.environ)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    path = config or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    sources: list[tuple[Callable[[str], str], Callable[[], Mapping[str, Any]]]] = [
        (lambda name: f"{name} in {path}", lambda: _from_file(path)),
        (lambda name: f"{_variable(name)}_FILE", lambda: _from_secret_files(os.environ)),
        (lambda name: f"{_variable(name)}_FILE", lambda: _from_services_names(os.environ)),
        (_variable, lambda: EnvSettingsSource(ServerSettings, env_ignore_empty=True)()),
        (_flag, lambda: flags),
    ]
    for origin_of, read in sources:
        try:
            found = read()
        except StartRefused as refused:
            problems += refused.problems
            continue
        values.update(found)
        origins.update({name: origin_of(name) for name in found})
    try:
        settings = ServerSettings(**values)
    except ValidationError as errors:
        raise StartRefused([*problems, *_problems_of(errors, origins)]) from None
    if problems:
        raise StartRefused(problems)
    return settings


def _from_file(path: Path | None) -> Mapping[str, Any]:
    if path is None:
        return {}
    try:
        path.open("rb").close()  # the source takes a file that is not there for an empty one
        found = TomlConfigSettingsSource(ServerSettings, toml_file=path)()
    except OSError as problem:
        raise StartRefused([Problem(problem.strerror or str(problem), str(path), "check path and rights")]) from None
    except tomllib.TOMLDecodeError as problem:
        raise StartRefused([Problem(f"not TOML: {problem}", str(path), "write lines like: parity = 2")]) from None
    return found


def _from_secret_files(environment: Mapping[str, str]) -> Mapping[str, Any]:
    found, problems = {}, []
    for name in _SECRET_FIELDS:
        variable = f"{_variable(name)}_FILE"
        if not (given := environment.get(variable)):
            continue
        try:
            found[name] = Path(given).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as problem:
            problems.append(Problem(f"{given}: {problem}", variable, "name a readable file that holds only the value"))
    if problems:
        raise StartRefused(problems)
    return found


def _from_services_names(environment: Mapping[str, str]) -> Mapping[str, Any]:
    return {field: environment[name] for name, field in _SERVICES_NAMES.items() if environment.get(name)}


def _unknown_variables(environment: Mapping[str, str]) -> list[Problem]:
    known = [_variable(name) for name in ServerSettings.model_fields]
    known += [*(f"{_variable(name)}_FILE" for name in _SECRET_FIELDS), *_SERVICES_NAMES, CONFIG_VARIABLE]
    return [
        Problem("unknown variable", name, _did_you_mean(name, known))
        for name in sorted(environment)
        if name.startswith(ENV_PREFIX)
        and name not in known
        and not name.startswith(_OTHERS_VARIABLES)
        and not _KUBERNETES.fullmatch(name)
    ]


def _did_you_mean(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else "remove it, or see `liteio server --help` for what there is"


def _problems_of(errors: ValidationError, origins: Mapping[str, str]) -> list[Problem]:
    problems = []
    for error in errors.errors():
        name = str(error["loc"][0])
        field = ServerSettings.model_fields.get(name)
        where = origins.get(name, f"{_flag(name)} or {_variable(name)}")
        mistake = error.get("ctx", {}).get("error")
        if isinstance(mistake, Mistake):
            problems.append(Problem(mistake.what, where, mistake.remedy))
        elif field is None:
            problems.append(Problem("unknown setting", where, _did_you_mean(name, list(ServerSettings.model_fields))))
        elif error["type"] == "missing":
            problems.append(Problem("not given", where, field.description or ""))
        else:
            problems.append(Problem(f"{error['msg']}, not {error['input']!r}", where, field.description or ""))
    return problems


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _variable(name: str) -> str:
    return ENV_PREFIX + name.upper()
