"""Rows 33, 34, 36, 37, 38 and 41: the links between gateways and nodes are cut, lossy, late or half open."""

import asyncio
import threading
import time
from typing import Final
from xml.etree import ElementTree

from tests.cluster.history import load_while, require_order
from tests.cluster.shared_keys import SharedKeys
from tests.faults.cluster import BUCKET, Keeper, cluster_in, healed, must, refused_in_time
from tests.faults.registry import Lane, Trial, require, row
from tests.support.link_rules import CUT, FREE, Deed, Rule, Strike, Way
from tests.support.rig import Rig
from tests.support.s3_client import NoAnswer, S3Client

_NOTICED_SECONDS: Final = 5.0  # PING_EVERY_SECONDS + PING_PATIENCE_SECONDS
_SLACK_SECONDS: Final = 2.0


@row(
    33,
    "a gateway is cut off from a minority, and from a majority of the nodes",
    "nothing passes between one gateway and one, then three of four nodes; the other gateway hears all",
    unit="cuts of each kind",
    bounded=1,
    full=20,
    lane=Lane.CLUSTER,
)
def gateway_cut_off(trial: Trial) -> str:
    chance, refusals, winners = trial.chance, list[float](), 0
    with cluster_in(trial) as rig:
        keeper = Keeper(rig, trial.seed)
        keeper.some(10)
        for number in range(trial.count):
            nodes = chance.sample([node.name for node in rig.nodes], 3)
            rig.links.cut([rig.gateways[0].name], nodes[:1])
            must(keeper.put(f"minority/{number}", gateway=0), "a write of a gateway that hears three of four nodes")
            keeper.read_all(gateway=0)
            rig.links.cut([rig.gateways[0].name], nodes)
            time.sleep(_NOTICED_SECONDS + 1)
            refusals.append(refused_in_time(lambda: keeper.put("cut", size=900), "a write that reaches one node"))
            refusals.append(refused_in_time(lambda: keeper.read("k/0001"), "a read that reaches one node"))
            must(keeper.put(f"majority/{number}", gateway=1), "a write through the gateway that hears all")
            keeper.read_all(gateway=1)
            winners += _race(rig, f"race/{number}")
            rig.links.free()
            _wait_served(keeper, 0)
        seconds, _ = healed(rig)
    return (
        f"the cut off one refuses with 503 after {max(refusals):.1f} s at most, the other goes on; of {trial.count} "
        f"races of both {winners} were won, each by one; whole after {seconds:.1f} s"
    )


def _race(rig: Rig, key: str) -> int:
    """If-None-Match through both gateways at once. How many won: never more than one."""
    statuses = [0, 0]

    def send(gateway: int) -> None:
        try:
            body = f"of {gateway}".encode()
            statuses[gateway] = (
                rig.client(gateway, timeout_seconds=40).put(BUCKET, key, body, {"if-none-match": "*"}).status
            )
        except NoAnswer:
            pass  # its outcome is unknown

    threads = [threading.Thread(target=send, args=(gateway,)) for gateway in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = sum(200 <= status < 300 for status in statuses)
    require(won <= 1, f"{key}: two winners")
    return won


def _wait_served(keeper: Keeper, gateway: int, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while True:
        answer = keeper.put("served", gateway=gateway, size=900)
        if answer is not None and answer.is_success:
            return
        require(time.monotonic() < end, f"gateway {gateway} does not serve again after {seconds} s")
        time.sleep(0.2)


@row(
    34,
    "requests arrive, replies are lost",
    "what all nodes answer to one gateway is held, while a client writes to a versioned bucket through it, and tries "
    "again",
    unit="writes",
    bounded=4,
    full=200,
    lane=Lane.CLUSTER,
)
def replies_lost(trial: Trial) -> str:
    with cluster_in(trial) as rig:
        near, far = rig.client(0, timeout_seconds=40), rig.client(1, timeout_seconds=40)
        far.enable_versioning(BUCKET)
        near.get(BUCKET, "warm")  # it knows the bucket
        sent: dict[str, str] = {}
        answered = 0
        for number in range(trial.count):
            key = f"k{number % 2}"
            if number % 2 == 0:
                rules = {(rig.gateways[0].name, node.name): Rule(holds_replies=True) for node in rig.nodes}
                freeing = threading.Timer(3.0 if number % 4 else 7.0, rig.links.rule_all, [dict.fromkeys(rules, FREE)])
                rig.links.rule_all(rules)
                freeing.start()
            body = f"write {number} of {key}"
            sent[body] = key
            answered += _try(near, key, body.encode())
            freeing.join()
        time.sleep(1)
        found = [_content_of(far, key, version) for key, version in _versions(far)]
        require(set(found) <= set(sent), f"versions that nobody wrote: {set(found) - set(sent)}")
        require(len(found) == len(set(found)), f"a write made two versions: {sorted(found)}")
        require(len(found) >= answered, f"{answered} writes were acknowledged, {len(found)} versions are there")
        seconds, _ = healed(rig)
    return (
        f"{len(sent)} writes, {answered} acknowledged, {len(found)} versions, none twice; whole after {seconds:.1f} s"
    )


def _try(s3: S3Client, key: str, body: bytes) -> bool:
    try:
        return s3.put(BUCKET, key, body).is_success
    except NoAnswer:
        return False


def _versions(s3: S3Client) -> list[tuple[str, str]]:
    answer = s3.send("GET", f"/{BUCKET}", query="versions=")
    require(answer.is_success, answer)
    root = ElementTree.fromstring(answer.body)
    space = "{http://s3.amazonaws.com/doc/2006-03-01/}"
    found = root.iter(f"{space}Version")
    return [(one.findtext(f"{space}Key", ""), one.findtext(f"{space}VersionId", "")) for one in found]


def _content_of(s3: S3Client, key: str, version_id: str) -> str:
    answer = s3.get(BUCKET, key, version_id=version_id)
    require(answer.is_success, f"version {version_id} of {key}: {answer.status} {answer.code}")
    return answer.body.decode()


@row(
    36,
    "two gateways hear one half of the nodes each",
    "16 clients on six keys, while the nodes are split two and two, and one and three, again and again",
    unit="splits",
    bounded=2,
    full=60,
    lane=Lane.CLUSTER,
)
def halves(trial: Trial) -> str:
    with cluster_in(trial) as rig:
        keys = SharedKeys(rig, trial.seed, bucket=BUCKET)
        asyncio.run(load_while(keys, trial.count * 20.0, _split(rig, trial)))
        require_order(keys)
        seconds, _ = healed(rig)
    counts = keys.ledger.counts
    done = sum(count for name, count in counts.items() if name.endswith(("done", "refused")))
    unknown = sum(count for name, count in counts.items() if name.endswith("unknown"))
    return f"{done:,} operations, {unknown} of unknown outcome, every history has an order; whole after {seconds:.1f} s"


async def _split(rig: Rig, trial: Trial) -> None:
    chance = trial.chance
    await asyncio.sleep(2)
    for number in range(trial.count):
        nodes = chance.sample(rig.nodes, len(rig.nodes))
        at = 2 if number % 2 == 0 else 1
        parts = (nodes[:at], nodes[at:])
        rules = {
            (gateway.name, node.name): CUT for gateway, part in zip(rig.gateways, parts, strict=True) for node in part
        }
        await asyncio.to_thread(rig.links.rule_all, rules)
        await asyncio.sleep(4)
        await asyncio.to_thread(rig.links.free)
        await asyncio.sleep(3)


@row(
    37,
    "latency of 50 ms +- 50 on one link, and of 500 ms on all",
    "the proxy holds bytes back, each way; objects of up to 40 kB are written and read one after the other",
    unit="operations of each kind",
    bounded=2,
    full=200,
    lane=Lane.ALONE,
)
def late_links(trial: Trial) -> str:
    told = []
    with cluster_in(trial) as rig:
        keeper = Keeper(rig, trial.seed)
        keeper.some(5)
        gateway = rig.gateways[0].name
        one = {(gateway, rig.nodes[0].name): Rule(latency_seconds=0.05, jitter_seconds=0.05)}
        everywhere = {
            (source, node.name): Rule(latency_seconds=0.5) for source in rig.clients_of_nodes for node in rig.nodes
        }
        for name, rules, longest in (("one link 50 ms late", one, 2.0), ("all links 500 ms late", everywhere, 12.0)):
            rig.links.rule_all(rules)
            times = []
            for number in range(trial.count):
                began = time.monotonic()
                must(keeper.put(f"late/{number}", size=(900, 40_000)[number % 2]), f"a write, {name}")
                require(keeper.read(f"late/{number}").is_success, f"a read, {name}")
                times.append(time.monotonic() - began)
            require(max(times) < longest, f"{name}: a write and a read took {max(times):.1f} s")
            told.append(f"{name}: a write and a read take {sum(times) / len(times):.2f} s, {max(times):.2f} s at most")
            rig.links.free()
        healed(rig)
    return "; ".join(told)


@row(
    38,
    "a connection is reset at a byte of chance, in either direction",
    "RST behind the n-th byte of requests to a node, or of its replies, while 300 kB are written and read",
    unit="resets",
    bounded=30,
    full=2000,
    lane=Lane.CLUSTER,
)
def resets(trial: Trial) -> str:
    chance, failed, struck = trial.chance, 0, 0
    with cluster_in(trial) as rig:
        keeper = Keeper(rig, trial.seed)
        for number in range(trial.count):
            link = (rig.gateways[0].name, chance.choice(rig.nodes).name)
            way, after = chance.choice(list(Way)), chance.randrange(1, chance.choice((200, 5_000, 90_000)))
            rig.links.rule(*link, Rule(strikes=(Strike(way, after, Deed.RESET),)))
            before = rig.links.seen()[link].struck
            key = f"k{number % 5}"
            answer = keeper.put(key, size=300_000)
            failed += answer is None or not answer.is_success
            for _ in range(3):
                if keeper.read(key).status < 500:
                    break
            else:
                require(False, f"{key} is not answered with one link of four reset once")
            struck += rig.links.seen()[link].struck - before
            rig.links.free()
        require(struck > trial.count // 3, f"only {struck} resets struck")
        keeper.read_all(gateway=1)
        seconds, _ = healed(rig)
    return (
        f"{struck} of them struck; {failed} of {trial.count} writes were not acknowledged; every byte read was right; "
        f"whole after {seconds:.1f} s"
    )


@row(
    41,
    "half-open connections: taken, and never answered",
    "all that passes between a gateway and one node is held, on open connections and on new ones",
    unit="times",
    bounded=1,
    full=20,
    lane=Lane.CLUSTER,
)
def half_open(trial: Trial) -> str:
    longest, noticed = 0.0, list[float]()
    with cluster_in(trial) as rig:
        keeper = Keeper(rig, trial.seed)
        keeper.some(10)
        for number in range(trial.count):
            node = trial.chance.choice(rig.nodes)
            seen_before = rig.gateways[0].log().count(" is down")
            rig.links.cut([rig.gateways[0].name], [node.name])
            began = time.monotonic()
            while rig.gateways[0].log().count(" is down") == seen_before:
                at = time.monotonic()
                must(keeper.put(f"open/{number}", size=4_000), "a write with one node half open")
                require(keeper.read(f"open/{number}").is_success, "a read with one node half open")
                longest = max(longest, time.monotonic() - at)
                passed = time.monotonic() - began
                require(passed < _NOTICED_SECONDS + _SLACK_SECONDS, "the connection is not given up")
            noticed.append(time.monotonic() - began)
            must(keeper.put(f"open/{number}"), "a write once it is given up")
            rig.links.free()
            end = time.monotonic() + 15
            while rig.gateways[0].log().count(" is back") < number + 1:
                require(time.monotonic() < end, "the node is not found again")
                time.sleep(0.1)
        seconds, _ = healed(rig)
    return (
        f"given up after {max(noticed):.1f} s at most, a write and a read took {longest:.1f} s at most meanwhile; "
        f"whole after {seconds:.1f} s"
    )
