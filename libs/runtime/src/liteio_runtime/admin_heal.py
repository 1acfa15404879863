"""`liteio admin heal status`: what the healers do, asked on the bus, and what the drives say when there is none."""

import asyncio
import datetime
import json
from dataclasses import asdict
from typing import Any, Final

from liteio_bus.connection import Bus, BusUnavailable
from liteio_bus.healer_status import StoreHealing, ask_healers
from liteio_contracts.messages import HealerStatus, RebuildStatus, ScanStatus
from liteio_runtime.bus_access import bus_url
from liteio_runtime.drive_views import DriveView, unusable, view_drives
from liteio_runtime.problems import StartRefused
from liteio_runtime.settings import ServerSettings
from liteio_runtime.tables import render_size

_CONNECT_SECONDS: Final = 5.0
_SHOWN_MAX: Final = 20


async def show_heal_status(settings: ServerSettings, *, as_json: bool) -> str:
    """Raises StartRefused for what is no store."""
    views = await view_drives(settings)
    healing, trouble = await _ask(settings)
    if as_json:
        told = None if healing is None else _as_plain(healing)
        return json.dumps({"healing": told, "trouble": trouble, "drives_to_look_at": len(unusable(views))})
    lines = [f"healers can not be asked: {trouble}"] if healing is None else _render(healing)
    return "\n".join([*lines, *_drive_lines(views)])


async def _ask(settings: ServerSettings) -> tuple[StoreHealing | None, str]:
    """What the healers say, or why they can not be asked."""
    try:
        url = bus_url(settings)
    except StartRefused as refused:
        return None, str(refused)
    async with Bus(url, name="liteio admin heal status") as bus:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await bus.wait_until_connected()
            return await ask_healers(bus), ""
        except TimeoutError:
            return None, "the bus does not answer"
        except BusUnavailable as trouble:
            return None, str(trouble)


def _render(healing: StoreHealing) -> list[str]:
    if not healing.healers:
        return ["no healer answers: start one, or see its log"]
    waiting = "?" if healing.queue_length is None else f"{healing.queue_length:,}"
    given_up = "?" if healing.dead_letters is None else f"{healing.dead_letters:,}"
    lines = [
        f"{len(healing.healers)} healers{', yielding to clients' if healing.is_yielding else ''}",
        f"  Queue      {waiting} reported objects wait, {given_up} were given up",
        f"  Rate       {healing.rate_objects:.1f} objects and {render_size(healing.rate_bytes)} a second",
    ]
    lines += [f"  Rebuild    {_rebuild(one)}" for one in healing.rebuilds]
    lines += [f"  Scan       {_scan(one)}" for one in healing.scans]
    lines += [
        f"  Not whole  set {one.set_index}, bucket {one.bucket_id}, {one.key_quoted}: {'; '.join(one.problems)}"
        for one in healing.unhealed[:_SHOWN_MAX]
    ]
    if len(healing.unhealed) > _SHOWN_MAX:
        lines.append(f"             and {len(healing.unhealed) - _SHOWN_MAX} more")
    return lines + [f"  Healer     {_healer(one)}" for one in healing.healers]


def _rebuild(one: RebuildStatus) -> str:
    eta = "" if one.eta_seconds is None else f", {_duration(one.eta_seconds)} left"
    share = 100 * one.versions_done / one.versions_total if one.versions_total else 0.0
    done = f"{share:.0f} % ({one.versions_done:,} of {one.versions_total:,} versions)"
    rate = f"{one.rate_versions:.0f} versions and {render_size(one.rate_bytes)} a second"
    return f"set {one.set_index}, slot {one.slot}: {done}, {rate}{eta}"


def _scan(one: ScanStatus) -> str:
    kind = "every shard of" if one.is_deep else "comparing"
    began = datetime.datetime.fromtimestamp(one.began_ns / 1e9, datetime.UTC)
    state = f"took {_duration(one.seconds)}" if one.is_done else f"for {_duration(one.seconds)}"
    found = f"{one.keys_differing:,} keys differed, {one.files_missing:,} files missing, {one.healed:,} healed"
    return f"{kind} set {one.set_index}, {began:%Y-%m-%d %H:%M} UTC, {state}: {found}, {one.unhealed:,} not whole"


def _healer(one: HealerStatus) -> str:
    pace = f"yielding ({100 * one.share:.0f} % of the time)" if one.is_yielding else "at full pace"
    return f"{one.host}, process {one.pid}: {pace}; {', '.join(one.duties) or 'no loop of its own'}"


def _drive_lines(views: list[DriveView]) -> list[str]:
    unsettled = sum(view.status.unsettled for view in views if view.status)
    waiting = unusable(views)
    lines = [f"drives: {len(views) - len(waiting)} of {len(views)} whole and online, {unsettled:,} records unsettled"]
    return lines + [f"  {view.name}: {view.state}: {view.reason}" for view in waiting]


def _duration(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))


def _as_plain(healing: StoreHealing) -> dict[str, Any]:
    return {name: _plain(value) for name, value in asdict(healing).items()} | {"is_yielding": healing.is_yielding}


def _plain(value: Any) -> Any:
    """Models as dictionaries: `asdict` leaves them as they are."""
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value
