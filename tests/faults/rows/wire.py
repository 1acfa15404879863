"""Row 40: wrong bytes on the wire between gateways and nodes."""

import random
import time
from pathlib import Path
from typing import Final

from tests.faults.machine import INLINE, ONE_BLOCK, content_of
from tests.faults.registry import Lane, Trial, require, row
from tests.support.link_rules import Deed, Rule, Strike, Way
from tests.support.rig import Rig, running_rig
from tests.support.s3_client import Answer, NoAnswer, S3Client

BUCKET = "faults"
_FOUND_AGAIN_SECONDS: Final = 10.0


@row(
    40,
    "wrong bytes on the wire",
    "a cluster of four nodes with a drive each; the proxy between the gateway and the nodes turns single bits of "
    "requests and of replies, on one link or on two, while objects are put, read and listed",
    unit="operations",
    bounded=40,
    full=2000,
    seconds=180,
    lane=Lane.CLUSTER,
)
def wrong_bytes(trial: Trial) -> str:
    chance = trial.chance
    counts = {"acknowledged": 0, "not known": 0, "read right": 0, "refused": 0}
    with running_rig(
        _in(trial.disk), drives_per_node=1, gateway_count=1, healer_count=0, has_bus=False, parity=2
    ) as rig:
        s3 = rig.client(0, timeout_seconds=30)
        s3.create_bucket(BUCKET)
        possible: dict[str, list[bytes | None]] = {}
        for number in range(trial.count):
            _spoil(rig, chance)
            key = f"k{chance.randrange(12):02}"
            if key not in possible or chance.random() < 0.4:
                body = content_of((trial.seed, number), chance.choice((100, INLINE, ONE_BLOCK)))
                _put(s3, key, body, possible, counts)
            else:
                _get(s3, key, possible, counts)
        struck = sum(link.struck for link in rig.links.seen().values())
        rig.links.free()
        require(struck > 0, "no bit was turned")
        held = {key: _get_in_the_end(s3, key) for key in possible}
        for key, answer in held.items():
            value = answer.body if answer.status == 200 else None
            require(answer.status in (200, 404) and value in possible[key], f"{key} in the end: {answer.status}")
        listed = set(s3.list_keys(BUCKET))
        # What nobody was told of may still come to be, so that a key that was absent is listed a moment later.
        there = {key for key, answer in held.items() if answer.is_success}
        may_come = {key for key, values in possible.items() if len(values) > 1}
        require(there <= listed <= there | may_come, f"the listing differs: {there ^ listed}")
        s3.close()
    shown = ", ".join(f"{many} {what}" for what, many in counts.items())
    return f"{struck} bits turned; {shown}; no wrong byte read, nothing acknowledged lost"


def _get_in_the_end(s3: S3Client, key: str) -> Answer:
    """Nodes whose connection broke are looked for every two seconds, so an answer may be refused until then."""
    until = time.monotonic() + _FOUND_AGAIN_SECONDS
    answer = s3.get(BUCKET, key)
    while answer.status == 503 and time.monotonic() < until:
        time.sleep(0.2)
        answer = s3.get(BUCKET, key)
    return answer


def _in(folder: Path) -> Path:
    place = folder / "cluster"
    place.mkdir()
    return place


def _spoil(rig: Rig, chance: random.Random) -> None:
    """A new rule for one link or two: some bytes from here on have a wrong bit."""
    gateway = rig.gateways[0].name
    rules = {(gateway, node.name): Rule() for node in rig.nodes}
    for node in chance.sample(rig.nodes, chance.choice((1, 2))):
        strikes = tuple(
            Strike(chance.choice((Way.REQUESTS, Way.REPLIES)), chance.randrange(4000), Deed.FLIP) for _ in range(2)
        )
        rules[gateway, node.name] = Rule(strikes=strikes)
    rig.links.rule_all(rules)


def _put(s3: S3Client, key: str, body: bytes, possible: dict[str, list[bytes | None]], counts: dict[str, int]) -> None:
    try:
        answer = s3.put(BUCKET, key, body)
    except NoAnswer:
        answer = Answer(503, {}, b"")
    require(answer.is_success or answer.status >= 500, f"{key}: PUT is answered {answer.status} {answer.body[:200]!r}")
    if answer.is_success:
        possible[key] = [body]
        counts["acknowledged"] += 1
    else:
        possible.setdefault(key, [None]).append(body)
        counts["not known"] += 1


def _get(s3: S3Client, key: str, possible: dict[str, list[bytes | None]], counts: dict[str, int]) -> None:
    try:
        answer = s3.get(BUCKET, key)
    except NoAnswer:
        counts["refused"] += 1
        return
    if answer.status in (200, 404):
        value = answer.body if answer.status == 200 else None
        require(value in possible[key], f"{key}: wrong bytes, or gone: {answer.status}")
        possible[key] = possible[key][possible[key].index(value) :]
        counts["read right"] += 1
    else:
        require(answer.status >= 500, f"{key}: GET is answered {answer.status}")
        counts["refused"] += 1
