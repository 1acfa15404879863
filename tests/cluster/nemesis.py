"""`Nemesis`: what happens to a cluster while clients work: one trouble after the other, each undone again, and clocks
that step all the while. Which, when and how long comes from a seed."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from tests.support.cluster import Member
from tests.support.link_rules import CUT, FREE, Deed, Rule, Strike, Way
from tests.support.rig import Rig

_HOUR: Final = 3600.0
_LASTING_SECONDS: Final = (0.5, 6.0)
_RESTING_SECONDS: Final = (0.3, 2.0)
_STEP_EVERY_SECONDS: Final = (1.0, 4.0)
_STRIKE_BYTES: Final = 20_000


class Nemesis:
    """`run` until cancelled; what it was doing is left as it is then: `Rig.be_well` undoes it."""

    def __init__(self, rig: Rig, seed: object) -> None:
        self._rig = rig
        self._chance = random.Random(f"{seed}/nemesis")
        self.counts: Counter[str] = Counter()
        self._works: Mapping[str, Callable[[], Awaitable[None]]] = {
            "node killed": self._kill_node,
            "node paused": self._pause_node,
            "node cut off": self._cut_node_off,
            "gateway cut off a minority": self._cut_minority,
            "gateway cut off a majority": self._cut_majority,
            "nodes split between gateways": self._split,
            "replies lost": self._lose_replies,
            "links late": self._be_late,
            "links struck": self._strike,
            "gateway killed": self._kill_gateway,
            "gateway paused": self._pause_gateway,
            "healer killed": self._kill_healer,
        }

    async def run(self, *, names: Sequence[str] = ()) -> None:
        """Only the troubles `names`, if any are given. Clocks step in any case."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._trouble(list(names) or list(self._works)))
            group.create_task(self._step_clocks())

    async def _trouble(self, names: list[str]) -> None:
        while True:
            await asyncio.sleep(self._chance.uniform(*_RESTING_SECONDS))
            name = self._chance.choice(names)
            self.counts[name] += 1
            await self._works[name]()

    async def _step_clocks(self) -> None:
        """Of one member at a time: an hour ahead, an hour behind, some seconds off, right again."""
        chance = random.Random(self._chance.random())
        while True:
            await asyncio.sleep(chance.uniform(*_STEP_EVERY_SECONDS))
            dials = chance.choice(list(self._rig.dials.values()))
            dials.clock_seconds = chance.choice((_HOUR, -_HOUR, chance.uniform(-10, 10), 0.0))
            self.counts["clock stepped"] += 1

    # -- troubles

    async def _kill_node(self) -> None:
        await self._kill(self._chance.choice(self._rig.nodes))

    async def _kill_gateway(self) -> None:
        await self._kill(self._chance.choice(self._rig.gateways))

    async def _kill_healer(self) -> None:
        if self._rig.cluster.healers:
            await self._kill(self._chance.choice(self._rig.cluster.healers))

    async def _pause_node(self) -> None:
        await self._pause(self._chance.choice(self._rig.nodes))

    async def _pause_gateway(self) -> None:
        await self._pause(self._chance.choice(self._rig.gateways))

    async def _cut_node_off(self) -> None:
        self._rig.cut_off(self._chance.randrange(len(self._rig.nodes)))
        await self._last()
        self._rig.links.free()

    async def _cut_minority(self) -> None:
        await self._cut_some(1)

    async def _cut_majority(self) -> None:
        await self._cut_some(len(self._rig.nodes) // 2 + 1)

    async def _cut_some(self, count: int) -> None:
        gateway = self._chance.choice(self._rig.gateways)
        nodes = self._chance.sample(self._rig.nodes, count)
        await self._ruled({(gateway.name, node.name): CUT for node in nodes})

    async def _split(self) -> None:
        """One gateway hears one half of the nodes, the others the other half."""
        nodes = self._chance.sample(self._rig.nodes, len(self._rig.nodes))
        halves = (nodes[: len(nodes) // 2], nodes[len(nodes) // 2 :])
        gateways = self._chance.sample(self._rig.gateways, len(self._rig.gateways))
        await self._ruled(
            {(gateway.name, node.name): CUT for at, gateway in enumerate(gateways) for node in halves[at % 2]}
        )

    async def _lose_replies(self) -> None:
        gateway = self._chance.choice(self._rig.gateways)
        nodes = self._chance.sample(self._rig.nodes, self._chance.choice((1, 2, len(self._rig.nodes))))
        await self._ruled({(gateway.name, node.name): Rule(holds_replies=True) for node in nodes})

    async def _be_late(self) -> None:
        rule = Rule(latency_seconds=self._chance.choice((0.02, 0.1, 0.5)), jitter_seconds=0.02)
        nodes = self._chance.sample(self._rig.nodes, self._chance.choice((1, len(self._rig.nodes))))
        await self._ruled({(source, node.name): rule for source in self._rig.clients_of_nodes for node in nodes})

    async def _strike(self) -> None:
        """Resets and garbled bytes, somewhere in what passes next."""
        chance = self._chance
        await self._ruled(
            {
                (gateway.name, node.name): Rule(
                    strikes=tuple(
                        Strike(chance.choice(list(Way)), chance.randrange(_STRIKE_BYTES), chance.choice(list(Deed)))
                        for _ in range(3)
                    )
                )
                for gateway in self._rig.gateways
                for node in chance.sample(self._rig.nodes, 2)
            }
        )

    # -- how

    async def _kill(self, member: Member) -> None:
        member.kill()
        await self._last()
        member.start()

    async def _pause(self, member: Member) -> None:
        if not member.is_running:
            return
        member.signal(signal.SIGSTOP)
        await self._last()
        member.signal(signal.SIGCONT)

    async def _ruled(self, rules: Mapping[tuple[str, str], Rule]) -> None:
        self._rig.links.rule_all(rules)
        await self._last()
        self._rig.links.rule_all(dict.fromkeys(rules, FREE))

    async def _last(self) -> None:
        await asyncio.sleep(self._chance.uniform(*_LASTING_SECONDS))
