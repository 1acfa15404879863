"""Compiles what is in C beside the modules that use it. Where that does not work the packages do the same, slower."""

import platform
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PACKAGE = Path("src/liteio_erasure")


class CustomBuildHook(BuildHookInterface[Any]):
    """`_highway`, for x86-64 and a compiler in the manner of gcc."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if platform.machine() not in ("x86_64", "AMD64"):
            return
        package = Path(self.root) / _PACKAGE
        module = package / f"_highway{sysconfig.get_config_var('EXT_SUFFIX')}"
        command = [
            *shlex.split(sysconfig.get_config_var("CC") or "cc"),
            *("-O3", "-fPIC", "-shared", "-I", sysconfig.get_path("include")),
            *("-o", str(module), str(package / "_highway.c")),
        ]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as problem:
            module.unlink(missing_ok=True)
            told = getattr(problem, "stderr", "") or problem
            print(f"liteio-erasure is built without its kernel for AVX2, hashes are slower: {told}", file=sys.stderr)
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["artifacts"].append(str(_PACKAGE / module.name))
