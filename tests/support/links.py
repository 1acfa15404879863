"""`Links`: the links of a cluster, from the side of a test. See tests.support.link_rules for what can be done."""

import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import IO, Final, Self

import msgspec
from tests.support.link_rules import CUT, FREE, Door, LinkRule, LinkSeen, Order, Rule, Seen
from tests.support.paths import REPOSITORY


class Links:
    """Use as a context. May be told from several threads."""

    def __init__(self, doors: Iterable[Door]) -> None:
        self._doors: Final = list(doors)
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = threading.Lock()
        self._processes: dict[str, int] = {}
        self._rules: dict[tuple[str, str], Rule] = {}

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.support.link_proxy", msgspec.json.encode(self._doors).decode()]
        self._process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.seen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        process, orders, answers = self._running()
        process.kill()
        process.wait()
        orders.close()
        answers.close()

    @property
    def pid(self) -> int:
        return self._running()[0].pid

    def know(self, name: str, pid: int) -> None:
        """A process of the cluster was started."""
        with self._turn:
            self._processes[name] = pid
            self._tell(Order(processes=self._processes))

    def rule(self, source: str, target: str, rule: Rule) -> None:
        """One link; the others stay as they are."""
        self.rule_all({(source, target): rule})

    def rule_all(self, rules: Mapping[tuple[str, str], Rule]) -> None:
        """These links, all at one moment; the others stay as they are."""
        with self._turn:
            self._rules |= rules
            self._rules = {name: rule for name, rule in self._rules.items() if rule != FREE}
            kept = tuple(LinkRule(*name, rule) for name, rule in self._rules.items())
            self._tell(Order(rules=kept))

    def cut(self, sources: Iterable[str], targets: Iterable[str]) -> None:
        """A partition between them."""
        found = list(targets)
        self.rule_all({(source, target): CUT for source in sources for target in found})

    def free(self) -> None:
        """No rule any more."""
        with self._turn:
            self._rules = {}
            self._tell(Order(rules=()))

    def reset(self, source: str, target: str) -> None:
        """Break the link's connections now."""
        with self._turn:
            self._tell(Order(reset=((source, target),)))

    def seen(self) -> Mapping[tuple[str, str], LinkSeen]:
        with self._turn:
            return {(one.source, one.target): one for one in self._tell(Order()).links}

    def _tell(self, order: Order) -> Seen:
        _, orders, answers = self._running()
        orders.write(msgspec.json.encode(order) + b"\n")
        orders.flush()
        return msgspec.json.decode(answers.readline(), type=Seen)

    def _running(self) -> tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]:
        process = self._process
        assert process is not None, "it is entered first"
        assert process.stdin is not None
        assert process.stdout is not None
        return process, process.stdin, process.stdout
