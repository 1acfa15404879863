"""What is locked in the store: the tables of all nodes, asked and put together, for operators."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from liteio_base.deadline import Deadline
from liteio_contracts.lock_names import LockSubject, subject_of
from liteio_contracts.storage_errors import StorageError
from liteio_drives.remote.limits import LOCK_PAGE_MAX
from liteio_drives.remote.messages import NODE, HeldLock, Holder, LockPage
from liteio_drives.remote.node_connection import NodeConnection


@dataclass(frozen=True, slots=True)
class Holding:
    """One lease, as the nodes tell of it.

    subjects: what it locks, the first few of `subject_count`. nodes: those that hold it. has_quorum: enough of them do
    to keep others out; without it is left over, or about to be had or given back, and ends in `left_seconds`.
    held_seconds: since the first node granted it. left_seconds: until a quorum of the nodes (all, when there is none)
    would have forgotten it if nobody renewed it.
    """

    owner: bytes
    holder: Holder
    subjects: tuple[LockSubject, ...]
    subject_count: int
    nodes: tuple[str, ...]
    has_quorum: bool
    held_seconds: float
    left_seconds: float


@dataclass(frozen=True, slots=True)
class LockReport:
    """holdings: longest held first. silent: nodes that gave no answer, and why. opening: nodes that grant nothing yet,
    and for how many seconds. is_whole: False when a node holds more than was asked for."""

    holdings: tuple[Holding, ...]
    silent: Mapping[str, str]
    opening: Mapping[str, float]
    is_whole: bool


async def report_locks(
    groups: Sequence[Sequence[NodeConnection]],
    *,
    group_of: Callable[[bytes], int] = lambda name: 0,
    limit: int = LOCK_PAGE_MAX,
    deadline: Deadline,
) -> LockReport:
    """Ask every node once, at most `limit` (up to LOCK_PAGE_MAX) leases of each. `groups`: the nodes that decide about
    a name, by `group_of` it."""
    nodes = list({node.url: node for group in groups for node in group}.values())
    answers = await asyncio.gather(*(_page_of(node, min(limit, LOCK_PAGE_MAX), deadline) for node in nodes))
    pages = {node.url: answer for node, answer in zip(nodes, answers, strict=True) if isinstance(answer, LockPage)}
    by_owner: dict[bytes, dict[str, HeldLock]] = {}
    for url, page in pages.items():
        for held in page.held:
            by_owner.setdefault(held.owner, {})[url] = held
    holdings = [_holding(held, groups, group_of) for held in by_owner.values()]
    return LockReport(
        holdings=tuple(sorted(holdings, key=lambda holding: -holding.held_seconds)),
        silent={
            node.url: answer for node, answer in zip(nodes, answers, strict=True) if not isinstance(answer, LockPage)
        },
        opening={url: page.opens_seconds for url, page in pages.items() if page.opens_seconds > 0},
        is_whole=all(len(page.held) == page.total for page in pages.values()),
    )


async def _page_of(node: NodeConnection, limit: int, deadline: Deadline) -> LockPage | str:
    try:
        page: LockPage = await node.call(NODE, "lock.list", limit, deadline=deadline)
    except StorageError as trouble:
        return str(trouble)
    return page


def _holding(
    held: Mapping[str, HeldLock], groups: Sequence[Sequence[NodeConnection]], group_of: Callable[[bytes], int]
) -> Holding:
    """Of one owner, by the nodes that hold it."""
    one = next(iter(held.values()))
    quorum = len(groups[group_of(one.names[0])]) // 2 + 1
    left = sorted((each.left_seconds for each in held.values()), reverse=True)
    has_quorum = len(held) >= quorum
    return Holding(
        owner=one.owner,
        holder=one.holder,
        subjects=tuple(map(subject_of, one.names)),
        subject_count=one.name_count,
        nodes=tuple(held),
        has_quorum=has_quorum,
        held_seconds=max(each.held_seconds for each in held.values()),
        left_seconds=left[quorum - 1] if has_quorum else left[0],
    )
