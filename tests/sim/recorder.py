"""`Recorder`: what clients asked and were told, as histories that `orders` can judge."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.sim.key_actions import Add, SetTags, seen
from tests.sim.orders import Action, Step

from liteio_base.ids import VersionId
from liteio_testkit.history import NEVER

Place = tuple[str, str]
"""Bucket and key."""


class Violation(AssertionError):
    """The store broke its promise."""


@dataclass(slots=True)
class Call:
    """An operation under way. Without `done` or `drop` its outcome is unknown."""

    recorder: "Recorder"
    place: Place
    number: int
    is_open: bool = True

    def done(self, action: Action) -> None:
        """Acknowledged: this is what it did or saw."""
        if self.is_open:
            self.is_open = False
            self.recorder.finish(self.place, self.number, action)

    def drop(self) -> None:
        """It certainly did nothing and told nothing."""
        if self.is_open:
            self.is_open = False
            self.recorder.forget(self.place, self.number)

    def pause(self) -> None:
        """Its outcome is unknown for good."""
        self.is_open = False


@dataclass(slots=True)
class Recorder:
    """Histories by bucket and key, and what is known of versions by their ids."""

    steps: dict[Place, dict[int, Step]] = field(default_factory=dict)
    idents: dict[tuple[str, str, VersionId], str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    repeatable: set[tuple[str, str, str]] = field(default_factory=set)  # bucket, key, ident: may be there twice
    _events: int = 0
    _numbers: int = 0

    def tick(self) -> int:
        self._events += 1
        return self._events

    def begin(self, client: str, place: Place, if_unknown: Action | None) -> Call:
        """`if_unknown`: what it may do though nobody is told; None when it only looks."""
        self._numbers += 1
        if if_unknown is not None:
            step = Step(self._numbers, client, if_unknown, self.tick(), NEVER)
            self.steps.setdefault(place, {})[step.number] = step
        else:
            self._looking[self._numbers] = (client, self.tick())
        return Call(self, place, self._numbers)

    _looking: dict[int, tuple[str, int]] = field(default_factory=dict)

    def finish(self, place: Place, number: int, action: Action) -> None:
        known = self.steps.setdefault(place, {})
        if number in known:
            client, started = known[number].client, known[number].started
        else:
            client, started = self._looking.pop(number)
        known[number] = Step(number, client, action, started, self.tick())

    def forget(self, place: Place, number: int) -> None:
        self.steps.get(place, {}).pop(number, None)
        self._looking.pop(number, None)

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def histories(self, place: Place) -> Iterator[list[Step]]:
        """The steps of a key, with ever more of those whose outcome nobody knows: if an order is found with some of
        them left out, as if they had never happened, there is one. The last has them all.
        """
        steps = list(self.steps.get(place, {}).values())
        idents, tags = seen([step.action for step in steps])

        def is_seen(step: Step) -> bool:
            action = step.action
            if isinstance(action, Add):
                return action.version.ident in idents
            return isinstance(action, SetTags) and action.tags in tags

        def is_unseen_value(step: Step) -> bool:
            return isinstance(step.action, Add) and not step.action.version.is_marker and not is_seen(step)

        yield [step for step in steps if step.ended != NEVER or is_seen(step)]
        yield [step for step in steps if step.ended != NEVER or not is_unseen_value(step)]
        yield steps
