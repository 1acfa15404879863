"""The checkers must find what is wrong and pass what is possible."""

import itertools
import random
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liteio_testkit.history import NEVER, Action, Ledger, Operation, Outcome, check_register
from liteio_testkit.listing_history import ObservedListing, add_listing_as_reads, check_listing


def op(
    action: Action,
    started: int,
    ended: int,
    value: str | None = None,
    *,
    expected: str | None = None,
    outcome: Outcome = Outcome.DONE,
) -> Operation:
    return Operation(started, "k", action, value, expected, started, ended, outcome)


def put(value: str, started: int, ended: int = NEVER) -> Operation:
    """Acknowledged; of unknown outcome when it has no end."""
    outcome = Outcome.UNKNOWN if ended == NEVER else Outcome.DONE
    return op(Action.PUT, started, ended, value, outcome=outcome)


def delete(started: int, ended: int = NEVER) -> Operation:
    outcome = Outcome.UNKNOWN if ended == NEVER else Outcome.DONE
    return op(Action.DELETE, started, ended, outcome=outcome)


def read(value: str | None, started: int, ended: int) -> Operation:
    return op(Action.READ, started, ended, value)


def if_absent(value: str, started: int, ended: int, outcome: Outcome = Outcome.DONE) -> Operation:
    return op(Action.PUT_IF_ABSENT, started, ended, value, outcome=outcome)


def if_match(expected: str, value: str, started: int, ended: int, outcome: Outcome = Outcome.DONE) -> Operation:
    return op(Action.PUT_IF_MATCH, started, ended, value, expected=expected, outcome=outcome)


POSSIBLE = {
    "nothing happened": [],
    "a read of nothing": [read(None, 1, 2)],
    "put, then read": [put("a", 1, 2), read("a", 3, 4)],
    "a read during a put may see either": [put("a", 1, 10), read(None, 2, 3), read("a", 4, 5)],
    "rival puts, either wins": [put("a", 1, 5), put("b", 2, 4), read("a", 6, 7)],
    "rival puts, the other wins": [put("a", 1, 5), put("b", 2, 4), read("b", 6, 7)],
    "an unknown put may never happen": [put("a", 1, 2), put("b", 3), read("a", 4, 5), read("a", 6, 7)],
    "an unknown put may happen late": [put("a", 1, 2), put("b", 3), read("a", 4, 5), read("b", 6, 7)],
    "an unknown delete may happen late": [put("a", 1, 2), delete(3), read("a", 4, 5), read(None, 6, 7)],
    "delete, then nothing": [put("a", 1, 2), delete(3, 4), read(None, 5, 6)],
    "create once": [if_absent("a", 1, 4), if_absent("b", 2, 5, Outcome.REFUSED), read("a", 6, 7)],
    "create again behind a delete": [if_absent("a", 1, 2), delete(3, 4), if_absent("b", 5, 6), read("b", 7, 8)],
    "match what is there": [put("a", 1, 2), if_match("a", "b", 3, 4), read("b", 5, 6)],
    "match what is not there": [put("a", 1, 2), if_match("z", "b", 3, 4, Outcome.REFUSED), read("a", 5, 6)],
    "a refusal by a put that nobody saw": [put("a", 1), if_absent("b", 2, 3, Outcome.REFUSED)],
    "a failure says nothing": [op(Action.PUT, 1, 2, "a", outcome=Outcome.FAILED), read(None, 3, 4)],
    "a read of unknown outcome says nothing": [op(Action.READ, 1, NEVER, None, outcome=Outcome.UNKNOWN)],
}

IMPOSSIBLE = {
    "a lost write": [put("a", 1, 2), read(None, 3, 4)],
    "an older version": [put("a", 1, 2), put("b", 3, 4), read("a", 5, 6)],
    "a value never written": [put("a", 1, 2), read("z", 3, 4)],
    "a value of a failed put": [op(Action.PUT, 1, 2, "a", outcome=Outcome.FAILED), read("a", 3, 4)],
    "a read before the put began": [read("a", 1, 2), put("a", 3, 4)],
    "back and forth": [put("a", 1, 2), put("b", 3), read("b", 4, 5), read("a", 6, 7)],
    "a delete that resurrects": [put("a", 1, 2), delete(3, 4), read(None, 5, 6), read("a", 7, 8)],
    "a delete without effect": [put("a", 1, 2), delete(3, 4), read("a", 5, 6)],
    "two readers see rivals in opposite order": [
        put("a", 1, 20),
        put("b", 2, 20),
        read("a", 3, 4),
        read("b", 5, 6),
        read("a", 7, 8),
    ],
    "both create": [if_absent("a", 1, 5), if_absent("b", 2, 6)],
    "create over what is there": [put("a", 1, 2), if_absent("b", 3, 4)],
    "a refusal without a reason": [if_absent("a", 1, 2, Outcome.REFUSED)],
    "a refused create that happened": [
        put("a", 1, 2),
        if_absent("b", 3, 4, Outcome.REFUSED),
        read("b", 5, 6),
    ],
    "a match of what was replaced": [put("a", 1, 2), put("b", 3, 4), if_match("a", "c", 5, 6)],
    "both match": [put("a", 1, 2), if_match("a", "b", 3, 6), if_match("a", "c", 4, 7)],
    "a refused match of what is there": [put("a", 1, 2), if_match("a", "b", 3, 4, Outcome.REFUSED)],
    "an unknown put that began too late": [read("a", 1, 2), put("a", 3)],
}


@pytest.mark.parametrize("name", POSSIBLE)
def test_possible_histories_pass(name: str) -> None:
    for order in _orders(POSSIBLE[name]):
        assert check_register(order) is None


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_histories_are_found(name: str) -> None:
    for order in _orders(IMPOSSIBLE[name]):
        found = check_register(order)
        assert found is not None
        assert "not linearizable" in str(found)


def _orders(history: Sequence[Operation]) -> list[list[Operation]]:
    """The order in which a history is told does not matter."""
    return [list(history), list(reversed(history))]


def test_the_first_value_may_be_given() -> None:
    assert check_register([read("old", 1, 2)], initial="old") is None
    assert check_register([read(None, 1, 2)], initial="old") is not None


def brute_force(history: Sequence[Operation]) -> bool:
    """Every order of every subset that leaves out unknown ones only: hopeless beyond a handful, and plainly right."""
    sure = [operation for operation in history if operation.ended != NEVER and operation.outcome is not Outcome.FAILED]
    open_ended = [
        operation for operation in history if operation.ended == NEVER and operation.action is not Action.READ
    ]
    for count in range(len(open_ended) + 1):
        for some in itertools.combinations(open_ended, count):
            for order in itertools.permutations([*sure, *some]):
                if _is_register(order):
                    return True
    return False


def _is_register(order: Sequence[Operation]) -> bool:
    state: str | None = None
    for at, operation in enumerate(order):
        if any(later.ended < operation.started for later in order[at + 1 :]) or not operation.allows(state):
            return False
        state = operation.after(state)
    return True


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    made = []
    for number in range(draw(st.integers(1, 6))):
        started = draw(st.integers(0, 8))
        is_unknown = draw(st.booleans()) and draw(st.booleans())
        ended = NEVER if is_unknown else started + draw(st.integers(1, 5))
        action = draw(st.sampled_from(list(Action)))
        values = st.sampled_from(["v0", "v1", "v2", "v3", None])
        can_refuse = action in (Action.PUT_IF_ABSENT, Action.PUT_IF_MATCH) and not is_unknown
        outcome = Outcome.UNKNOWN if is_unknown else Outcome.DONE
        if can_refuse and draw(st.booleans()):
            outcome = Outcome.REFUSED
        value = draw(values) if action is Action.READ else f"v{number}"
        expected = draw(values.filter(bool)) if action is Action.PUT_IF_MATCH else None
        # Events have numbers of their own, so no two are equal.
        span = (started * 20 + number, ended if is_unknown else ended * 20 + number)
        made.append(Operation(number, "k", action, value, expected, *span, outcome))
    return made


@settings(max_examples=300, deadline=None, derandomize=True)
@given(histories())
def test_the_search_agrees_with_brute_force(history: list[Operation]) -> None:
    assert (check_register(history) is None) == brute_force(history)


def simulated_register(seed: int, count: int, clients: int) -> list[Operation]:
    """Clients at a true register: each takes effect at one moment, some never hear of it."""
    random_ = random.Random(seed)
    ledger, state = Ledger(), None
    busy: dict[int, tuple[Operation, bool]] = {}
    made: list[Operation] = []
    while len(made) < count:
        client = random_.randrange(clients)
        if client not in busy:
            action = random_.choice([Action.PUT, Action.READ, Action.READ, Action.DELETE, Action.PUT_IF_ABSENT])
            began = Operation(len(made), "k", action, f"v{len(made)}", None, ledger.tick(), NEVER, Outcome.UNKNOWN)
            made.append(began)
            busy[client] = (began, False)
            continue
        began, has_happened = busy[client]
        if not has_happened:
            value, outcome = began.value, Outcome.DONE
            if began.action is Action.READ:
                value = state
            elif began.action is Action.PUT_IF_ABSENT and state is not None:
                outcome = Outcome.REFUSED
            else:
                state = None if began.action is Action.DELETE else began.value
            told = Operation(began.number, "k", began.action, value, None, began.started, NEVER, outcome)
            busy[client] = (told, True)
            continue
        del busy[client]
        if random_.random() > 0.1:
            ended = Operation(
                began.number, "k", began.action, began.value, None, began.started, ledger.tick(), began.outcome
            )
            made[began.number] = ended
    return made


@pytest.mark.parametrize("seed", range(8))
def test_long_histories_of_a_true_register_pass_quickly(seed: int) -> None:
    history = simulated_register(seed, 200, clients=6)
    started = time.monotonic()
    assert check_register(history) is None
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("seed", range(8))
def test_one_stale_read_in_a_long_history_is_found(seed: int) -> None:
    history = simulated_register(seed, 100, clients=3)
    last = max(operation.ended for operation in history if operation.ended != NEVER)
    stale = next(operation.value for operation in history if operation.action is Action.PUT)
    history.append(put("newest", last + 1, last + 2))
    history.append(read("newest", last + 3, last + 4))
    assert check_register(history) is None
    history.append(read(stale, last + 5, last + 6))
    assert check_register(history) is not None


# -- the ledger


def test_a_ledger_keeps_what_clients_were_told() -> None:
    ledger = Ledger()
    first = ledger.begin("one", "k", Action.PUT, value="a")
    first.done()
    ledger.begin("two", "k", Action.PUT, value="b")
    seen = ledger.begin("one", "k", Action.READ)
    seen.done("a")
    ledger.begin("one", "k", Action.PUT_IF_ABSENT, value="c").refused()
    ledger.begin("one", "other", Action.PUT, value="d").failed()
    ledger.begin("one", "other", Action.READ).done(None)
    assert ledger.keys() == ["k", "other"]
    assert ledger.check() == []
    assert ledger.counts == {
        "put done": 1,
        "put failed": 1,
        "put unknown": 1,
        "put-if-absent refused": 1,
        "read done": 2,
    }
    ledger.begin("one", "k", Action.READ).done("z")
    (found,) = ledger.check()
    assert found.key == "k"
    assert "read z" in str(found)


# -- listings


def ledger_with_puts(*keys: str) -> Ledger:
    ledger = Ledger()
    for key in keys:
        ledger.begin("w", key, Action.PUT, value=f"{key}-1").done()
    return ledger


def listed(ledger: Ledger, *keys: str, prefix: str = "") -> ObservedListing:
    return ObservedListing(ledger.tick(), ledger.tick(), keys, prefix)


def reasons(ledger: Ledger, listing: ObservedListing) -> list[str]:
    return [str(found) for found in check_listing(ledger, listing)]


def test_a_true_listing_passes() -> None:
    ledger = ledger_with_puts("a", "b", "p/c")
    ledger.begin("w", "b", Action.DELETE).done()
    assert reasons(ledger, listed(ledger, "a", "p/c")) == []
    assert reasons(ledger, listed(ledger, "p/c", prefix="p/")) == []


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (("a",), "'b': not listed"),
        (("a", "b", "zz"), "'zz': listed in"),
        (("b", "a"), "'a': listed behind 'b'"),
        (("a", "b", "b"), "'b': listed twice"),
        (("a", "b", "gone"), "'gone': listed in"),
    ],
)
def test_a_false_listing_is_found(keys: tuple[str, ...], reason: str) -> None:
    ledger = ledger_with_puts("a", "b", "gone")
    ledger.begin("w", "gone", Action.DELETE).done()
    (found,) = reasons(ledger, listed(ledger, *keys))
    assert reason in found


def test_a_key_outside_the_prefix_is_found() -> None:
    ledger = ledger_with_puts("a", "p/c")
    assert "does not begin" in reasons(ledger, listed(ledger, "a", "p/c", prefix="p/"))[0]


@pytest.mark.parametrize("keys", [(), ("k",)])
def test_a_key_that_changes_meanwhile_may_be_listed_or_not(keys: tuple[str, ...]) -> None:
    ledger = ledger_with_puts("k")
    started = ledger.tick()
    ledger.begin("w", "k", Action.DELETE).done()
    assert reasons(ledger, ObservedListing(started, ledger.tick(), keys)) == []


@pytest.mark.parametrize("keys", [(), ("k",)])
@pytest.mark.parametrize("action", [Action.PUT, Action.DELETE])
def test_after_an_unknown_outcome_either_is_right(action: Action, keys: tuple[str, ...]) -> None:
    ledger = ledger_with_puts("k") if action is Action.DELETE else Ledger()
    ledger.begin("w", "k", action, value="v2")
    assert reasons(ledger, listed(ledger, *keys)) == []


def test_an_unknown_delete_from_before_the_put_may_still_come() -> None:
    ledger = Ledger()
    ledger.begin("w", "k", Action.DELETE)
    ledger.begin("w", "k", Action.PUT, value="a").done()
    assert reasons(ledger, listed(ledger)) == []


def test_a_listing_counts_as_reads_of_every_key() -> None:
    ledger = ledger_with_puts("a", "b")
    ledger.begin("w", "a", Action.PUT, value="a-2").done()
    add_listing_as_reads(ledger, "lister", listed(ledger, "a", "b"), {"a": "a-2", "b": "b-1"})
    assert ledger.check() == []
    add_listing_as_reads(ledger, "lister", listed(ledger, "a"), {"a": "a-1"})
    assert [found.key for found in ledger.check()] == ["a", "b"]
