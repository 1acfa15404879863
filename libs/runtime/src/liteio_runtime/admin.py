"""`liteio admin`: what a running store is and how it is, as tables for people and as JSON for programs."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_cluster.opening import OpenStore
from liteio_contracts.object_errors import ObjectError
from liteio_contracts.storage import DriveState
from liteio_erasure.code import CodeParams
from liteio_runtime.banner import what_may_be_lost
from liteio_runtime.drive_views import DriveView, unusable, view_drives, views_of
from liteio_runtime.settings import ServerSettings
from liteio_runtime.store_access import open_for_command
from liteio_runtime.tables import render_size, render_table

_USAGE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class StoreView:
    """A store at a moment. `buckets`: name, objects, bytes; None when too few drives tell."""

    deployment_id: str
    code: CodeParams
    set_count: int
    drives: Sequence[DriveView]
    buckets: Sequence[tuple[str, int, int]] | None


async def show_info(settings: ServerSettings, *, as_json: bool) -> str:
    """Raises StartRefused."""
    async with open_for_command(settings) as opened:
        view = await _view(opened)
    return json.dumps(_as_plain(view)) if as_json else _render(view)


async def show_drives(settings: ServerSettings, *, as_json: bool) -> str:
    """Raises StartRefused."""
    views = await view_drives(settings)
    if as_json:
        return json.dumps([_drive_as_plain(view) for view in views])
    return render_table(("set", "slot", "drive", "state", "used", "size", "unsettled", "reason"), map(_row, views))


async def _view(opened: OpenStore) -> StoreView:
    sets = opened.store.engine.store_map.sets
    drives, buckets = await asyncio.gather(views_of(opened), _usage(opened))
    return StoreView(opened.deployment_id, sets[0].code, len(sets), drives, buckets)


async def _usage(opened: OpenStore) -> list[tuple[str, int, int]] | None:
    deadline = Deadline.after(_USAGE_SECONDS, SystemClock())
    try:
        buckets = await opened.store.list_buckets(deadline=deadline)
        usages = [await opened.store.usage(bucket.name, deadline=deadline) for bucket in buckets]
    except ObjectError:
        return None
    return [(bucket.name, usage.objects, usage.size_bytes) for bucket, usage in zip(buckets, usages, strict=True)]


def _render(view: StoreView) -> str:
    code, drives = view.code, view.drives
    online = sum(drive.is_online for drive in drives)
    raw = sum(drive.status.total_bytes for drive in drives if drive.status)
    free = sum(drive.status.free_bytes for drive in drives if drive.status)
    share = code.k / code.width
    sets = "1 set" if view.set_count == 1 else f"{view.set_count} sets"
    lines = [
        f"liteio {version('liteio-runtime')}, deployment {view.deployment_id}",
        f"  Drives     {online} of {len(drives)} online; {sets}, {code.k} data + {code.m} parity",
        f"  Losses     {what_may_be_lost(code, view.set_count)}",
        f"  Space      {render_size(free * share)} free of {render_size(raw * share)} for objects",
        f"  Objects    {_objects(view.buckets)}",
    ]
    states = Counter(_state(drive) for drive in drives)
    lines.append(f"  States     {', '.join(f'{count} {state}' for state, count in sorted(states.items()))}")
    lines += [f"    {drive.name}: {_state(drive)}: {drive.reason}" for drive in unusable(drives)]
    return "\n".join(lines)


def _objects(buckets: Sequence[tuple[str, int, int]] | None) -> str:
    if buckets is None:
        return "can not be told: too few drives answer"
    objects, size = sum(each[1] for each in buckets), sum(each[2] for each in buckets)
    return f"{objects:,} in {len(buckets)} buckets, {render_size(size)}"


def _row(view: DriveView) -> tuple[str, ...]:
    status = view.status
    used = render_size(status.total_bytes - status.free_bytes) if status else ""
    size, unsettled = (render_size(status.total_bytes), str(status.unsettled)) if status else ("", "")
    return str(view.set_index), str(view.slot), view.name, _state(view), used, size, unsettled, view.reason


def _state(view: DriveView) -> str:
    """As an operator calls it: one that answers and is not whole is being rebuilt."""
    return "rebuilding" if view.state is DriveState.ONLINE and not view.is_whole else str(view.state)


def _as_plain(view: StoreView) -> dict[str, Any]:
    code = view.code
    buckets = None
    if view.buckets is not None:
        buckets = [{"name": name, "objects": objects, "bytes": size} for name, objects, size in view.buckets]
    return {
        "version": version("liteio-runtime"),
        "deployment_id": view.deployment_id,
        "sets": view.set_count,
        "code": str(code),
        "drives_that_may_fail_for_reading": code.m,
        "drives_that_may_fail_for_writing": code.width - code.write_quorum,
        "buckets": buckets,
        "drives": [_drive_as_plain(drive) for drive in view.drives],
    }


def _drive_as_plain(view: DriveView) -> dict[str, Any]:
    status = view.status
    facts: dict[str, Any] = {
        "name": view.name,
        "set": view.set_index,
        "slot": view.slot,
        "state": str(view.state),
        "is_whole": view.is_whole,
        "reason": view.reason,
    }
    if status is not None:
        facts |= {
            "drive_id": status.drive_id,
            "generation": status.generation,
            "total_bytes": status.total_bytes,
            "free_bytes": status.free_bytes,
            "unsettled": status.unsettled,
            "outbox": status.outbox,
        }
    return facts
