"""What `liteio server` says once it serves: a page for a person at a terminal, one JSON line for a machine."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from liteio_erasure.code import CodeParams
from liteio_runtime.state import RootCredentials


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """`urls`: where S3 answers, the best one to copy first. `drives_online`: those that are there and formatted."""

    urls: Sequence[str]
    drives: Sequence[str]
    drives_online: int
    set_count: int
    code: CodeParams
    region: str
    credentials: RootCredentials
    credentials_path: Path | None
    bus: str
    workers: int
    node_count: int = 1


def count_online(drives: Sequence[str]) -> int:
    """Drives whose folder is there and carries a format."""
    return sum(os.path.isfile(os.path.join(drive, ".liteio.sys", "format.json")) for drive in drives)


def render_json(facts: ServerFacts) -> str:
    """One line. Credentials are never in it, only where they are kept."""
    code = facts.code
    return json.dumps(
        {
            "event": "ready",
            "version": version("liteio-runtime"),
            "s3": list(facts.urls),
            "drives_online": facts.drives_online,
            "drives": len(facts.drives),
            "sets": facts.set_count,
            "code": str(code),
            "drives_that_may_fail_for_reading": code.m,
            "drives_that_may_fail_for_writing": code.width - code.write_quorum,
            "credentials_file": str(facts.credentials_path) if facts.credentials_path else None,
            "bus": facts.bus,
            "workers": facts.workers,
            "nodes": facts.node_count,
        }
    )


def render_page(facts: ServerFacts) -> str:
    url, credentials = facts.urls[0], facts.credentials
    secret = credentials.secret_key if credentials.is_new else "…"
    lines = [
        "",
        f"liteio {version('liteio-runtime')} serves",
        *(f"  S3           {one}" for one in facts.urls),
        f"  Region       {facts.region}",
        f"  Drives       {_drives(facts)}",
        f"  Losses       {what_may_be_lost(facts.code, facts.set_count)}",
        f"  Bus          {facts.bus}",
        "",
        *_credential_lines(facts),
        "Try it:",
        f"  export AWS_ACCESS_KEY_ID={credentials.access_key} AWS_SECRET_ACCESS_KEY={secret} AWS_REGION={facts.region}",
        f"  aws --endpoint-url {url} s3 mb s3://photos",
        f"  rclone lsd :s3,provider=Other,env_auth=true,region={facts.region},endpoint='{url}':",
        f"  mc alias set liteio {url} {credentials.access_key} {secret}",
        "",
    ]
    return "\n".join(lines)


def what_may_be_lost(code: CodeParams, set_count: int) -> str:
    """The promise of the store in plain words (PROTOCOL: W-K losses at once, M once a write is on all drives)."""
    where = "" if set_count == 1 else " of each set"
    writing = code.width - code.write_quorum
    if code.m == 0:
        return f"none: without parity the loss of any drive{where} loses data"
    at_once = code.write_quorum - code.k
    fresh = "none" if at_once == 0 else f"only {_count(at_once)}"
    page = f"reading goes on without any {_count(code.m)}{where}; "
    page += f"writing goes on without any {_count(writing)}" if writing else "writing needs every drive"
    if at_once < code.m:
        page += f"; what was written moments ago, and is not yet on every drive, survives the loss of {fresh}"
    return page


def _count(drives: int) -> str:
    return "1 drive" if drives == 1 else f"{drives} drives"


def _drives(facts: ServerFacts) -> str:
    sets = "" if facts.set_count == 1 else f", {facts.set_count} sets"
    nodes = "" if facts.node_count == 1 else f" on {facts.node_count} nodes"
    code = f"{facts.code.k} data + {facts.code.m} parity{sets}"
    text = f"{facts.drives_online} of {len(facts.drives)} online{nodes}, {code}"
    return text if facts.drives_online == len(facts.drives) else f"{text}  << some are missing, run: liteio doctor"


def _credential_lines(facts: ServerFacts) -> list[str]:
    if facts.credentials.is_new:
        return [
            "Root credentials, made just now and not shown again:",
            f"  Access key   {facts.credentials.access_key}",
            f"  Secret key   {facts.credentials.secret_key}",
            f"  Kept in      {facts.credentials_path}",
            "",
        ]
    if facts.credentials_path:
        return [f"Root credentials are kept in {facts.credentials_path}", ""]
    return []
