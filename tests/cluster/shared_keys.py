"""Many clients on few keys, through several gateways, all that they were told in one ledger.

A key is left for a new one when its history is long enough to be searched for an order, or has many unknown outcomes;
what it holds then stays, and every listing and the last reading must still show it.
"""

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.etree import ElementTree

from tests.support.async_s3 import AsyncS3
from tests.support.ledger import LedgerBroken
from tests.support.rig import Rig
from tests.support.s3_client import Answer, NoAnswer, NotSent

from liteio_testkit.history import NEVER, Action, Call, Ledger, Operation, Outcome, Violation, check_register
from liteio_testkit.listing_history import ObservedListing, is_surely_absent, is_surely_there

BUCKET: Final = "history"
_KEY_UNKNOWN_MAX: Final = 6
_TIMEOUT_SECONDS: Final = 12.0
_PAUSE_SECONDS: Final = 0.1  # after trouble
_SIZES: Final = (40, 900, 4_000, 40_000, 400_000)
_SIZE_WEIGHTS: Final = (30, 30, 25, 10, 5)
_STEPS: Final = ("put", "read", "delete", "delete several", "absent", "match", "list")
_STEP_WEIGHTS: Final = (26, 40, 6, 3, 8, 12, 6)
_NAMESPACE: Final = "{http://s3.amazonaws.com/doc/2006-03-01/}"
_SKEWED: Final = "RequestTimeTooSkewed"  # the gateway's clock was stepped behind the signature


@dataclass
class _Key:
    name: str
    operations: int = 0
    unknown: int = 0


@dataclass
class Trouble:
    """An operation that did not succeed."""

    at: float  # by the loop's clock
    what: str


@dataclass
class SharedKeys:
    """The clients and their ledger. `run` works until `stop`; `check` judges what was seen."""

    rig: Rig
    seed: int
    client_count: int = 16
    keys_at_once: int = 6
    key_operations_max: int = 150  # the fewer keys, the more happens at once, and the longer is the search for an order
    bucket: str = BUCKET
    ledger: Ledger = field(default_factory=Ledger)
    listings: list[ObservedListing] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._chance = random.Random(f"{self.seed}/keys")
        self._keys: list[_Key] = []
        self._made = 0
        self._is_over = False
        while len(self._keys) < self.keys_at_once:
            self._keys.append(self._new_key())

    @property
    def names(self) -> list[str]:
        """Of all keys that were ever written."""
        return [f"key-{number:05}" for number in range(self._made)]

    def stop(self) -> None:
        self._is_over = True

    async def run(self) -> None:
        """Raises LedgerBroken when an answer can not be right, whatever the order."""
        async with asyncio.TaskGroup() as group:
            for number in range(self.client_count):
                group.create_task(self._work(number))

    async def read_all(self) -> None:
        """Every key through every gateway, and a listing through each; all must be answered."""
        for gateway in range(self.rig.cluster.gateway_count):
            s3 = self.rig.async_client(gateway)
            for name in self.names:
                await self._read(s3, f"last-{gateway}", _Key(name))
            await self._list(s3, 1000)
            await s3.close()

    def check(self) -> list[Violation]:
        """What contradicts itself. Empty when every key's history is that of a register and every listing is right."""
        histories: dict[str, list[Operation]] = {key: self.ledger.history(key) for key in self.names}
        found = [self._check_key(history) for history in histories.values() if history]
        writes = {key: [one for one in history if one.may_write] for key, history in histories.items()}
        for listing in self.listings:
            found += _check_listing(listing, writes)
        return [violation for violation in found if violation is not None]

    def _check_key(self, history: list[Operation]) -> Violation | None:
        violation = check_register(history)
        if violation is None:
            return None
        whole = tuple(sorted(history, key=lambda operation: operation.started))
        return Violation(violation.key, f"{violation}\n  its whole history:", whole)

    # -- the clients

    async def _work(self, number: int) -> None:
        chance = random.Random(f"{self.seed}/{number}")
        gateway = number % self.rig.cluster.gateway_count
        s3 = self.rig.async_client(gateway, timeout_seconds=_TIMEOUT_SECONDS)
        name = f"client-{number}@{gateway}"
        try:
            while not self._is_over:
                if not await self._step(s3, name, chance):
                    await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            await s3.close()

    async def _step(self, s3: AsyncS3, name: str, chance: random.Random) -> bool:
        """One operation. Whether it was answered."""
        key = self._some_key()
        match chance.choices(_STEPS, _STEP_WEIGHTS)[0]:
            case "put":
                return await self._write(s3, name, key, Action.PUT, self._body(chance))
            case "read":
                return await self._read(s3, name, key)
            case "delete":
                return await self._write(s3, name, key, Action.DELETE, b"")
            case "delete several":
                return await self._delete_several(s3, name, [self._some_key() for _ in range(4)])
            case "absent":
                return await self._write(s3, name, key, Action.PUT_IF_ABSENT, self._body(chance))
            case "match":
                return await self._replace(s3, name, key, self._body(chance))
            case _:
                return await self._list(s3, chance.choice((3, 7, 1000)))

    def _body(self, chance: random.Random) -> bytes:
        return chance.randbytes(chance.choices(_SIZES, _SIZE_WEIGHTS)[0])

    async def _replace(self, s3: AsyncS3, name: str, key: _Key, body: bytes) -> bool:
        """If-Match with what a read just saw."""
        seen = await self._see(s3, name, key)
        if seen is None or not seen.is_success:
            return seen is not None
        return await self._write(s3, name, key, Action.PUT_IF_MATCH, body, expected=_etag_of(seen))

    async def _write(
        self, s3: AsyncS3, name: str, key: _Key, action: Action, body: bytes, expected: str | None = None
    ) -> bool:
        key.operations += 1
        value = None if action is Action.DELETE else hashlib.md5(body).hexdigest()
        call = self.ledger.begin(name, key.name, action, value=value, expected=expected)
        headers = {}
        if action is Action.PUT_IF_ABSENT:
            headers["if-none-match"] = "*"
        elif action is Action.PUT_IF_MATCH:
            headers["if-match"] = f'"{expected}"'
        try:
            if action is Action.DELETE:
                answer = await s3.delete(self.bucket, key.name)
            else:
                answer = await s3.put(self.bucket, key.name, body, headers)
        except NotSent:
            call.failed()
            return self._note_trouble(f"{action}: no connection")
        except NoAnswer as problem:
            key.unknown += 1
            return self._note_trouble(f"{action}: {problem}")
        return self._judge_write(key, call, action, answer)

    def _judge_write(self, key: _Key, call: Call, action: Action, answer: Answer) -> bool:
        self.answers[f"{action} {answer.status}"] += 1
        if answer.is_success:
            call.done()
            return True
        is_conditional = action in (Action.PUT_IF_ABSENT, Action.PUT_IF_MATCH)
        if answer.status == 412 or (action is Action.PUT_IF_MATCH and answer.status == 404):
            if not is_conditional:
                raise LedgerBroken(f"{key.name}: a plain write met a condition: {answer.status}")
            call.refused()
            return True
        if answer.code == _SKEWED:
            call.failed()
            return True
        if answer.status < 500 and not (is_conditional and answer.status == 409):
            raise LedgerBroken(f"{key.name}: {action} was answered {answer.status} {answer.body[:300]!r}")
        key.unknown += 1
        return self._note_trouble(f"{action}: {answer.status} {answer.code}")

    async def _delete_several(self, s3: AsyncS3, name: str, some: list[_Key]) -> bool:
        """In one request, each with an outcome of its own."""
        keys = {key.name: key for key in some}
        calls = {each: self.ledger.begin(name, each, Action.DELETE) for each in keys}
        for key in keys.values():
            key.operations += 1
        try:
            answer = await s3.delete_all(self.bucket, list(keys))
        except NotSent:
            for call in calls.values():
                call.failed()
            return self._note_trouble("delete several: no connection")
        except NoAnswer as problem:
            for key in keys.values():
                key.unknown += 1
            return self._note_trouble(f"delete several: {problem}")
        if not answer.is_success:
            judged = [self._judge_write(keys[each], calls[each], Action.DELETE, answer) for each in keys]
            return all(judged)
        self.answers[f"delete several {answer.status}"] += 1
        root = ElementTree.fromstring(answer.body)
        done = {each.findtext(f"{_NAMESPACE}Key", "") for each in root.iter(f"{_NAMESPACE}Deleted")}
        failed = {
            each.findtext(f"{_NAMESPACE}Key", ""): each.findtext(f"{_NAMESPACE}Code", "")
            for each in root.iter(f"{_NAMESPACE}Error")
        }
        if done | failed.keys() != keys.keys() or done & failed.keys():
            raise LedgerBroken(f"of {list(keys)} an answer tells {answer.body[:600]!r}")
        for each in done:
            calls[each].done()
        for each, code in failed.items():
            keys[each].unknown += 1
            self._note_trouble(f"delete several: {code}")
        return not failed

    async def _read(self, s3: AsyncS3, name: str, key: _Key) -> bool:
        return await self._see(s3, name, key) is not None

    async def _see(self, s3: AsyncS3, name: str, key: _Key) -> Answer | None:
        """None when it was not answered, or nothing could be learnt."""
        key.operations += 1
        call = self.ledger.begin(name, key.name, Action.READ)
        try:
            answer = await s3.get(self.bucket, key.name)
        except NoAnswer as problem:
            self._note_trouble(f"read: {problem}")
            return None
        self.answers[f"read {answer.status}"] += 1
        if answer.is_success:
            if hashlib.md5(answer.body).hexdigest() != _etag_of(answer):
                raise LedgerBroken(f"{key.name}: {len(answer.body)} bytes that are not those of its ETag")
            call.done(_etag_of(answer))
        elif answer.status == 404:
            call.done(None)
        elif answer.status < 500 and answer.code != _SKEWED:
            raise LedgerBroken(f"{key.name}: GET was answered {answer.status} {answer.body[:300]!r}")
        elif answer.status >= 500:
            self._note_trouble(f"read: {answer.status} {answer.code}")
            return None
        return answer

    async def _list(self, s3: AsyncS3, limit: int) -> bool:
        """The whole bucket, page by page."""
        started, keys, values = self.ledger.tick(), list[str](), dict[str, str]()
        token = ""
        while True:
            try:
                answer = await s3.list_page(self.bucket, limit=limit, token=token)
            except NoAnswer as problem:
                return self._note_trouble(f"list: {problem}")
            self.answers[f"list {answer.status}"] += 1
            if answer.code == _SKEWED:
                return True
            if not answer.is_success:
                if answer.status < 500:
                    raise LedgerBroken(f"a listing was answered {answer.status} {answer.body[:300]!r}")
                return self._note_trouble(f"list: {answer.status} {answer.code}")
            root = ElementTree.fromstring(answer.body)
            for content in root.iter(f"{_NAMESPACE}Contents"):
                keys.append(content.findtext(f"{_NAMESPACE}Key", ""))
                values[keys[-1]] = content.findtext(f"{_NAMESPACE}ETag", "").strip('"')
            if root.findtext(f"{_NAMESPACE}IsTruncated") != "true":
                break
            token = root.findtext(f"{_NAMESPACE}NextContinuationToken", "")
        self._note_listing(ObservedListing(started, self.ledger.tick(), tuple(keys)), values)
        return True

    def _note_listing(self, listing: ObservedListing, values: Mapping[str, str]) -> None:
        """Also as a read of each key that is worked on."""
        self.listings.append(listing)
        for key in self._keys:
            key.operations += 1
            span = (listing.started, listing.ended)
            seen = values.get(key.name)
            self.ledger.add(Operation(0, key.name, Action.READ, seen, None, *span, Outcome.DONE, "listing"))

    # -- keys

    def _some_key(self) -> _Key:
        at = self._chance.randrange(len(self._keys))
        key = self._keys[at]
        if key.operations >= self.key_operations_max or key.unknown >= _KEY_UNKNOWN_MAX:
            key = self._keys[at] = self._new_key()
        return key

    def _new_key(self) -> _Key:
        self._made += 1
        return _Key(f"key-{self._made - 1:05}")

    def _note_trouble(self, what: str) -> bool:
        self.answers[what if len(what) < 60 else what[:60]] += 1
        self.troubles.append(Trouble(asyncio.get_running_loop().time(), what))
        return False


def _check_listing(listing: ObservedListing, writes: Mapping[str, list[Operation]]) -> list[Violation | None]:
    """Sorted, every key that was there throughout, none that surely was not."""
    found: list[Violation | None] = []
    if list(listing.keys) != sorted(set(listing.keys)):
        found.append(Violation("", f"a listing is not sorted, or repeats a key: {listing.keys}"))
    listed = set(listing.keys)
    for key, history in writes.items():
        if key not in listed and is_surely_there(history, listing):
            found.append(Violation(key, f"not listed in {_span(listing)} though surely there", tuple(history)))
        if key in listed and is_surely_absent(history, listing):
            found.append(Violation(key, f"listed in {_span(listing)} though surely absent", tuple(history)))
    found += [Violation(key, "listed, and never written") for key in listed - writes.keys()]
    return found


def _span(listing: ObservedListing) -> str:
    return f"[{listing.started}..{'?' if listing.ended == NEVER else listing.ended}]"


def _etag_of(answer: Answer) -> str:
    return answer.headers["etag"].strip('"')
