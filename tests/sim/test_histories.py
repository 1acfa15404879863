"""The checkers find what is wrong with a history, and nothing wrong with a right one."""

import pytest
from tests.sim.bucket_actions import CreateIt, DeleteIt, PutIn, SeeIn, SeeIt
from tests.sim.key_actions import (
    Add,
    Condition,
    Refused,
    Remove,
    RemoveNull,
    SeeAll,
    SeeLatest,
    SeeVersion,
    SetTags,
    Version,
)
from tests.sim.orders import Action, Step, find_order
from tests.sim.recorder import Recorder

from liteio_formats.bodies import Versioning
from liteio_testkit.history import NEVER

UNVERSIONED, ENABLED, SUSPENDED = Versioning.NEVER, Versioning.ENABLED, Versioning.SUSPENDED


def put(ident: str, mode: Versioning = UNVERSIONED, condition: Condition | None = None, **more: bool) -> Add:
    return Add(Version(ident, is_null=mode is not ENABLED), mode, condition, **more)


def marker(ident: str) -> Add:
    return Add(Version(ident, is_marker=True), ENABLED)


def in_turn(*actions: Action, initial: object = ()) -> bool:
    """Whether the actions, each over before the next began, are possible."""
    steps = [Step(at, "c", action, 2 * at, 2 * at + 1) for at, action in enumerate(actions)]
    return find_order(steps, initial) is None


@pytest.mark.parametrize(
    ("actions", "is_possible"),
    [
        ([put("a"), SeeLatest("a")], True),
        ([put("a"), SeeLatest(None)], False),
        ([put("a"), put("b"), SeeLatest("a")], False),
        ([put("a"), RemoveNull(), SeeLatest(None)], True),
        ([put("a"), RemoveNull(), SeeLatest("a")], False),
        ([put("a"), put("b", condition=Condition(None))], False),
        ([put("a"), Refused(Condition(None)), put("b", condition=Condition("a")), SeeLatest("b")], True),
        ([put("a"), Refused(Condition("a"))], False),
        ([put("a"), SetTags("a", "t=1"), SeeLatest("a", "t=1")], True),
        ([put("a"), SetTags("a", "t=1"), SeeLatest("a", "")], False),
        ([put("a"), SetTags("a", "t=1"), put("b"), SeeLatest("b", "t=1")], False),
        ([put("a", ENABLED), put("b", ENABLED), SeeAll(("b", "a"))], True),
        ([put("a", ENABLED), put("b", ENABLED), SeeAll(("a", "b"))], False),
        ([put("a", ENABLED), put("b", ENABLED), Remove("b"), SeeLatest("a")], True),
        ([put("a", ENABLED), put("b", ENABLED), Remove("b"), SeeVersion("b", is_there=True)], False),
        ([put("a", ENABLED), marker("m"), SeeLatest(None), SeeVersion("a", is_there=True)], True),
        ([put("a", ENABLED), marker("m"), Remove("m"), SeeLatest("a")], True),
        ([put("a", ENABLED), marker("m"), SeeAll(("?", "a"))], True),
        ([put("a", ENABLED), put("b", SUSPENDED), put("c", SUSPENDED), SeeAll(("c", "a"))], True),
        ([put("a", ENABLED), put("b", SUSPENDED), put("c", SUSPENDED), SeeAll(("c", "b", "a"))], False),
    ],
)
def test_what_happens_in_turn(actions: list[Action], is_possible: bool) -> None:
    assert in_turn(*actions) is is_possible


def test_what_overlaps_may_come_in_either_order() -> None:
    rivals = [Step(0, "c0", put("a"), 0, 10), Step(1, "c1", put("b"), 1, 9)]
    for seen, is_possible in (("a", True), ("b", True), (None, False)):
        assert (find_order([*rivals, Step(2, "c2", SeeLatest(seen), 11, 12)], ()) is None) is is_possible


def test_what_is_unknown_may_come_late_or_never() -> None:
    unknown = Step(0, "c0", put("a", is_unknown=True), 0, NEVER)
    assert find_order([unknown, Step(1, "c1", SeeLatest(None), 5, 6)], ()) is None
    assert find_order([unknown, Step(1, "c1", SeeLatest(None), 5, 6), Step(2, "c1", SeeLatest("a"), 7, 8)], ()) is None
    back = [Step(1, "c1", SeeLatest("a"), 5, 6), Step(2, "c1", SeeLatest(None), 7, 8)]
    assert find_order([unknown, *back], ()) is not None


def test_an_unknown_version_may_come_to_light_below_a_newer_one() -> None:
    unknown = Step(0, "c0", put("a", ENABLED, is_unknown=True), 0, NEVER)
    newer = Step(1, "c1", put("b", ENABLED), 2, 3)
    looks = [Step(2, "c1", SeeVersion("a", is_there=False), 4, 5), Step(3, "c1", SeeAll(("b", "a")), 6, 7)]
    assert find_order([unknown, newer, *looks], ()) is None
    known = Step(0, "c0", put("a", ENABLED), 0, 1)
    assert find_order([known, newer, *looks], ()) is not None


def test_a_bucket_goes_only_when_it_is_empty() -> None:
    assert in_turn(CreateIt(), DeleteIt(), SeeIt(is_there=False), initial=None)
    assert not in_turn(CreateIt(), PutIn("k", "a"), DeleteIt(), initial=None)
    assert not in_turn(CreateIt(), PutIn("k", "a"), SeeIn("k", None), initial=None)
    assert not in_turn(CreateIt(), CreateIt(), initial=None)


def test_the_recorder_gives_back_what_was_told() -> None:
    recorder = Recorder()
    place = ("bucket", "key")
    recorder.begin("c0", place, put("lost", is_unknown=True))  # never answered
    recorder.begin("c0", place, put("no")).drop()
    call = recorder.begin("c0", place, None)
    call.done(SeeLatest(None))
    call.done(SeeLatest("twice"))
    histories = list(recorder.histories(place))
    assert [len(steps) for steps in histories] == [1, 1, 2]
    assert histories[0][0].action == SeeLatest(None)
