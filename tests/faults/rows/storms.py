"""Rows 45 and 47: many clients at once, and listings of what changes."""

import asyncio
import hashlib
from typing import Final
from xml.etree import ElementTree

from tests.cluster.history import load_while, require_order
from tests.cluster.shared_keys import SharedKeys
from tests.faults.cluster import BUCKET, cluster_in, healed
from tests.faults.registry import Lane, Trial, require, row
from tests.support.async_s3 import AsyncS3
from tests.support.rig import Rig

from liteio_testkit.history import Action, Ledger
from liteio_testkit.listing_history import ObservedListing, check_listing

_NAMESPACE: Final = "{http://s3.amazonaws.com/doc/2006-03-01/}"
_STABLE: Final = 25
_CHANGING: Final = 40


@row(
    45,
    "16 writers and readers of one key",
    "16 clients through two gateways write, on conditions too, read, remove and list one key, in a bucket without "
    "versions and in one with them",
    unit="seconds in each",
    bounded=3,
    full=60,
    lane=Lane.CLUSTER,
)
def one_key(trial: Trial) -> str:
    told = []
    with cluster_in(trial) as rig:
        for bucket in (BUCKET, f"{BUCKET}-versions"):
            rig.client(0).create_bucket(bucket)
            if bucket != BUCKET:
                rig.client(1).enable_versioning(bucket)
            keys = SharedKeys(rig, trial.seed, bucket=bucket, keys_at_once=1, key_operations_max=50)
            asyncio.run(load_while(keys, trial.count * 5.0, asyncio.sleep(trial.count)))
            # With so many rivals what a client has just read is hardly ever still there: If-Match is refused.
            require_order(keys, ("put done", "delete done", "read done", "put-if-absent done", "put-if-match refused"))
            counts = keys.ledger.counts
            done = sum(count for name, count in counts.items() if name.endswith(("done", "refused")))
            unknown = sum(count for name, count in counts.items() if name.endswith("unknown"))
            told.append(f"{bucket}: {done:,} operations, {unknown} of unknown outcome")
        seconds, _ = healed(rig)
    return f"{'; '.join(told)}; every history has an order; whole after {seconds:.1f} s"


# -- listings


@row(
    47,
    "LIST while keys come and go, pages of three",
    "six clients put and remove 40 keys between 25 that stay, through two gateways, while two others list all",
    unit="seconds",
    bounded=5,
    full=120,
    lane=Lane.CLUSTER,
)
def listing_in_a_storm(trial: Trial) -> str:
    with cluster_in(trial) as rig:
        ledger, listings = Ledger(), list[ObservedListing]()
        asyncio.run(_list_in_a_storm(rig, trial, ledger, listings))
        require(len(listings) > 2, "nearly nothing was listed")
        for listing in listings:
            violations = check_listing(ledger, listing)
            require(not violations, "\n".join(map(str, violations[:3])))
        violations = ledger.check()
        require(not violations, "\n".join(map(str, violations[:1])))
        seconds, _ = healed(rig)
    changes = sum(count for name, count in ledger.counts.items() if name.endswith("done"))
    return f"{len(listings)} listings amid {changes:,} changes, each sorted and whole; whole after {seconds:.1f} s"


async def _list_in_a_storm(rig: Rig, trial: Trial, ledger: Ledger, listings: list[ObservedListing]) -> None:
    stable = [f"stays/{number:03}" for number in range(_STABLE)]
    first = rig.async_client(0)
    for key in stable:
        await _change(first, ledger, "first", key, key.encode())
    await first.close()
    async with asyncio.timeout(trial.count + 60), asyncio.TaskGroup() as group:
        end = asyncio.get_running_loop().time() + trial.count
        for number in range(6):
            group.create_task(_come_and_go(rig, trial, ledger, number, end))
        for gateway in (0, 1):
            group.create_task(_list_again(rig, ledger, gateway, listings, end))


async def _come_and_go(rig: Rig, trial: Trial, ledger: Ledger, number: int, end: float) -> None:
    """Keys of its own, so that a listing's check knows what surely was there."""
    chance = type(trial.chance)(f"{trial.seed}/{number}")
    s3 = rig.async_client(number % 2)
    made = 0
    while asyncio.get_running_loop().time() < end:
        made += 1
        key = f"stays/{chance.randrange(_STABLE):03}/{number}-{chance.randrange(_CHANGING // 6)}"
        is_put = chance.random() < 0.6
        await _change(s3, ledger, f"client {number}", key, f"{key} {made}".encode() if is_put else None)
    await s3.close()


async def _change(s3: AsyncS3, ledger: Ledger, client: str, key: str, body: bytes | None) -> None:
    action = Action.DELETE if body is None else Action.PUT
    call = ledger.begin(client, key, action, value=None if body is None else hashlib.md5(body).hexdigest())
    answer = await (s3.delete(BUCKET, key) if body is None else s3.put(BUCKET, key, body))
    require(answer.is_success, f"{action} {key}: {answer.status} {answer.code}")
    call.done()


async def _list_again(rig: Rig, ledger: Ledger, gateway: int, listings: list[ObservedListing], end: float) -> None:
    s3 = rig.async_client(gateway)
    while asyncio.get_running_loop().time() < end:
        started, keys, token = ledger.tick(), list[str](), ""
        while True:
            answer = await s3.list_page(BUCKET, limit=3, token=token)
            require(answer.is_success, f"a page: {answer.status} {answer.code}")
            root = ElementTree.fromstring(answer.body)
            keys += [one.findtext(f"{_NAMESPACE}Key", "") for one in root.iter(f"{_NAMESPACE}Contents")]
            if root.findtext(f"{_NAMESPACE}IsTruncated") != "true":
                break
            token = root.findtext(f"{_NAMESPACE}NextContinuationToken", "")
        listings.append(ObservedListing(started, ledger.tick(), tuple(keys)))
    await s3.close()
