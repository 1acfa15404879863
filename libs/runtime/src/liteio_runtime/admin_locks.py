"""`liteio admin locks`: who holds which lock, as the nodes' tables tell it."""

import json
from functools import partial
from typing import Any, Final

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_cluster.opening import OpenStore, lock_groups
from liteio_cluster.plan import PoolPlan
from liteio_cluster.spread_locks import group_of
from liteio_contracts.lock_names import LockKind, LockSubject
from liteio_contracts.object_errors import ObjectError
from liteio_drives.remote.lock_report import Holding, LockReport, report_locks
from liteio_runtime.problems import Problem, StartRefused
from liteio_runtime.settings import ServerSettings
from liteio_runtime.store_access import open_for_command
from liteio_runtime.tables import render_table

_SECONDS: Final = 10.0
_SUBJECTS_SHOWN: Final = 3


async def show_locks(settings: ServerSettings, *, as_json: bool) -> str:
    """Raises StartRefused: locks of one machine are the kernel's and have no table."""
    async with open_for_command(settings) as opened:
        record = opened.store.engine.store_map.record
        if opened.nodes is None or record is None:
            remedy = "its locks are file locks, which the kernel frees when their holder dies: /proc/locks"
            raise StartRefused([Problem("a store of this machine's folders keeps no table of locks", "locks", remedy)])
        groups = lock_groups(PoolPlan.of_record(record.pools[0], 0), opened.nodes)
        report = await report_locks(
            groups,
            group_of=partial(group_of, group_count=len(groups)),
            deadline=Deadline.after(_SECONDS, SystemClock()),
        )
        names = await _bucket_names(opened)
    return json.dumps(_as_plain(report, names)) if as_json else _render(report, names)


async def _bucket_names(opened: OpenStore) -> dict[str, str]:
    """By bucket id; none when they can not be read now."""
    try:
        buckets = await opened.store.list_buckets(deadline=Deadline.after(_SECONDS, SystemClock()))
    except ObjectError:
        return {}
    return {bucket.bucket_id: bucket.name for bucket in buckets}


def _render(report: LockReport, names: dict[str, str]) -> str:
    lines = [f"{url} does not answer: {why}" for url, why in sorted(report.silent.items())]
    lines += [
        f"{url} was started just now and grants nothing for {seconds:.0f} s"
        for url, seconds in sorted(report.opening.items())
    ]
    if not report.holdings:
        return "\n".join([*lines, "no lock is held"])
    rows = [_row(holding, names) for holding in report.holdings]
    table = render_table(("on", "holder", "held", "ends in", "nodes", "state"), rows)
    more = [] if report.is_whole else ["there are more: the nodes tell of so many"]
    return "\n".join([*lines, table, *more])


def _row(holding: Holding, names: dict[str, str]) -> tuple[str, ...]:
    shown = [_subject(subject, names) for subject in holding.subjects[:_SUBJECTS_SHOWN]]
    if holding.subject_count > len(shown):
        shown.append(f"and {holding.subject_count - len(shown)} more")
    holder = f"{holding.holder.program} on {holding.holder.host}, process {holding.holder.pid}"
    state = "held" if holding.has_quorum else "left over"
    times = f"{holding.held_seconds:.1f} s", f"{holding.left_seconds:.1f} s"
    return ", ".join(shown), holder, *times, str(len(holding.nodes)), state


def _subject(subject: LockSubject, names: dict[str, str]) -> str:
    """As S3 names it."""
    key = subject.key.decode(errors="backslashreplace")
    if subject.kind is LockKind.BUCKET:
        return f"bucket {subject.bucket}"
    if subject.kind is LockKind.OBJECT:
        return f"{names.get(subject.bucket, subject.bucket)}/{key}"
    return f"{subject.kind} {key}"


def _as_plain(report: LockReport, names: dict[str, str]) -> dict[str, Any]:
    holdings = [
        {
            "on": [_subject(subject, names) for subject in holding.subjects],
            "count": holding.subject_count,
            "holder": {"program": holding.holder.program, "host": holding.holder.host, "pid": holding.holder.pid},
            "held_seconds": round(holding.held_seconds, 3),
            "left_seconds": round(holding.left_seconds, 3),
            "nodes": list(holding.nodes),
            "has_quorum": holding.has_quorum,
        }
        for holding in report.holdings
    ]
    return {
        "locks": holdings,
        "silent": dict(report.silent),
        "opening": dict(report.opening),
        "is_whole": report.is_whole,
    }
