"""Compiles what members have in C beside the modules that use it. Where that does not work they do the same, slower."""

import platform
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface[Any]):
    """The member's `src/*/_*.c`, each a module, for x86-64 and a compiler in the manner of gcc."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if platform.machine() not in ("x86_64", "AMD64"):
            return
        for source in sorted(Path(self.root).glob("src/*/_*.c")):
            module = source.with_suffix(sysconfig.get_config_var("EXT_SUFFIX"))
            if _is_compiled(source, module):
                build_data["pure_python"] = False
                build_data["infer_tag"] = True
                build_data["artifacts"].append(str(module.relative_to(self.root)))


def _is_compiled(source: Path, module: Path) -> bool:
    command = [
        *shlex.split(sysconfig.get_config_var("CC") or "cc"),
        *("-O3", "-fPIC", "-shared", "-I", sysconfig.get_path("include")),
        *("-o", str(module), str(source)),
    ]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as problem:
        module.unlink(missing_ok=True)
        told = getattr(problem, "stderr", "") or problem
        print(f"built without {source.name}, whose hash is then slower: {told}", file=sys.stderr)
        return False
    return True
