"""Rows 45, 47 and 51: many clients at once, listings of what changes, and a bus that is away."""

import asyncio
import hashlib
import shutil
import time
from typing import Final
from xml.etree import ElementTree

from tests.cluster.history import load_while, require_order, wait_whole
from tests.cluster.shared_keys import SharedKeys
from tests.faults.cluster import BUCKET, Keeper, cluster_in, healed, must
from tests.faults.registry import Trial, require, row
from tests.support.async_s3 import AsyncS3
from tests.support.rig import Rig

from liteio_testkit.history import Action, Ledger
from liteio_testkit.listing_history import ObservedListing, check_listing

_NAMESPACE: Final = "{http://s3.amazonaws.com/doc/2006-03-01/}"
_STABLE: Final = 25
_CHANGING: Final = 40
_PUT_SECONDS_MAX: Final = 3.0


@row(
    45,
    "16 writers and readers of one key",
    "16 clients through two gateways write, on conditions too, read, remove and list one key, in a bucket without "
    "versions and in one with them",
    unit="seconds in each",
    bounded=3,
    full=60,
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


# -- the bus


@row(
    51,
    "the bus is killed, and comes back without its files",
    "kill -9 of the NATS server, then a node is killed under writes and started again; the server's files are removed "
    "before it is started again, and a node is killed once more",
    unit="times",
    bounded=1,
    full=20,
)
def bus_away(trial: Trial) -> str:
    longest, healing = 0.0, list[float]()
    with cluster_in(trial) as rig:
        assert rig.nats is not None
        keeper = Keeper(rig, trial.seed)
        keeper.some(10)
        for number in range(trial.count):
            rig.nats.stop()
            longest = max(longest, _write_without_a_node(rig, keeper, f"away/{number}"))
            healing.append(wait_whole(rig))
            shutil.rmtree(trial.folder / "nats", ignore_errors=True)
            asyncio.run(rig.nats.start())
            longest = max(longest, _write_without_a_node(rig, keeper, f"wiped/{number}"))
            healing.append(wait_whole(rig))
        keeper.read_all(gateway=1)
        healed(rig)
    return (
        f"writes took {longest:.2f} s at most; what a node missed was found by the scan, and whole "
        f"{', '.join(f'{seconds:.1f}' for seconds in healing)} s after it was back"
    )


def _write_without_a_node(rig: Rig, keeper: Keeper, prefix: str) -> float:
    """Writes that a node misses, which is back at the end. How long the longest took."""
    node, longest = rig.nodes[2], 0.0
    node.kill()
    for number in range(12):
        began = time.monotonic()
        must(keeper.put(f"{prefix}/{number}", gateway=number % 2), "a write without the bus and one node")
        longest = max(longest, time.monotonic() - began)
    require(longest < _PUT_SECONDS_MAX, f"a write took {longest:.1f} s")
    node.start()
    return longest
