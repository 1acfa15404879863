"""What this healer does, put together for whoever asks, and told to whoever listens."""

import os
import socket
from collections.abc import Iterator
from importlib.metadata import version
from typing import Final

from liteio_base.clock import Clock
from liteio_base.ids import DeploymentId
from liteio_bus.connection import BusUnavailable
from liteio_bus.consuming import HealConsumer
from liteio_bus.dead_letters import DeadLetters
from liteio_contracts.messages import HealerStatus, RebuildStatus, ScanStatus, UnhealedKey
from liteio_contracts.object_layer import HealResult
from liteio_contracts.storage import KeyName
from liteio_objects.deep_scanning import DeepScan
from liteio_objects.duties import Duties
from liteio_objects.healing import Healer
from liteio_objects.rebuilding import RebuildProgress
from liteio_objects.scanning import Scan

RELEASE: Final = version("liteio-healer")
UNHEALED_MAX: Final = 50  # keys in one message
_RATE_SECONDS: Final = 5.0  # over which rates are taken, at least


class Reporter:
    """Knows how the healer of this process is."""

    def __init__(
        self,
        healer: Healer,
        duties: Duties,
        deployment_id: DeploymentId,
        clock: Clock,
        consumer: HealConsumer | None = None,
        letters: DeadLetters | None = None,
    ) -> None:
        self._healer, self._duties, self._clock = healer, duties, clock
        self._consumer, self._letters = consumer, letters
        self._deployment_id = deployment_id
        self.host = socket.gethostname()
        self._measured = (clock.monotonic(), healer.objects_healed, healer.bytes_healed)
        self._rates = (0.0, 0.0)

    @property
    def gist(self) -> object:
        """What is told at once when it changes: whether it yields, its duties, what is being rebuilt and scanned."""
        scans = [(index, scan.began_ns, scan.is_done) for index, scan in sorted(self._healer.scans.items())]
        return self._healer.pacer.is_yielding, sorted(self._duties.held), sorted(self._healer.rebuilds), scans

    async def status(self) -> HealerStatus:
        """Asks the bus how much waits there; what it does not tell is None."""
        healer, pacer, consumer = self._healer, self._healer.pacer, self._consumer
        self._measure()
        return HealerStatus(
            host=self.host,
            pid=os.getpid(),
            release=RELEASE,
            deployment_id=self._deployment_id,
            time_ns=self._clock.now_ns(),
            is_yielding=pacer.is_yielding,
            share=pacer.share,
            client_calls=pacer.calls_a_second,
            duties=tuple(sorted(self._duties.held)),
            repairing=consumer.in_hand if consumer is not None else 0,
            queue_length=await self._queue_length(),
            dead_letters=await self._dead_letters(),
            left_for_scan=consumer.left_for_scan if consumer is not None else 0,
            objects_healed=healer.objects_healed,
            bytes_healed=healer.bytes_healed,
            rate_objects=self._rates[0],
            rate_bytes=self._rates[1],
            rebuilds=tuple(rebuild_status(one) for _, one in sorted(healer.rebuilds.items())),
            scans=(
                *(scan_status(index, one) for index, one in sorted(healer.scans.items())),
                *(deep_scan_status(index, one) for index, one in sorted(healer.deep_scans.items())),
            ),
            unhealed=tuple(self._unhealed()),
        )

    def _measure(self) -> None:
        healer, now = self._healer, self._clock.monotonic()
        then, objects, healed_bytes = self._measured
        if now - then >= _RATE_SECONDS:
            self._rates = (
                (healer.objects_healed - objects) / (now - then),
                (healer.bytes_healed - healed_bytes) / (now - then),
            )
            self._measured = (now, healer.objects_healed, healer.bytes_healed)

    async def _queue_length(self) -> int | None:
        try:
            return await self._consumer.queue_length() if self._consumer is not None else None
        except BusUnavailable:
            return None

    async def _dead_letters(self) -> int | None:
        try:
            return await self._letters.count() if self._letters is not None else None
        except BusUnavailable:
            return None

    def _unhealed(self) -> Iterator[UnhealedKey]:
        found: list[tuple[int, KeyName, HealResult]] = []
        for set_index, scan in sorted(self._healer.scans.items()):
            found += [(set_index, name, result) for name, result in scan.unhealed]
        for set_index, deep in sorted(self._healer.deep_scans.items()):
            found += [(set_index, name, result) for name, result in deep.unhealed]
        for set_index, name, result in found[:UNHEALED_MAX]:
            yield UnhealedKey.for_key(
                set_index, name, waits_for_drives=result.waits_for_drives, problems=result.problems
            )


def rebuild_status(progress: RebuildProgress) -> RebuildStatus:
    return RebuildStatus(
        set_index=progress.set_index,
        slot=progress.slot,
        drive_id=progress.drive_id,
        versions_done=progress.versions_done,
        versions_total=progress.versions_total,
        bytes_done=progress.bytes_done,
        bytes_total=progress.bytes_total,
        rate_versions=progress.rate_versions,
        rate_bytes=progress.rate_bytes,
        eta_seconds=progress.eta_seconds,
        is_resumed=progress.is_resumed,
    )


def scan_status(set_index: int, scan: Scan) -> ScanStatus:
    return ScanStatus(
        set_index=set_index,
        began_ns=scan.began_ns,
        seconds=scan.seconds,
        is_done=scan.is_done,
        rows=scan.compared.rows,
        keys_differing=scan.compared.keys_differing,
        files=scan.files,
        files_missing=scan.files_missing,
        healed=scan.healed,
        unhealed=scan.unhealed_count,
    )


def deep_scan_status(set_index: int, scan: DeepScan) -> ScanStatus:
    return ScanStatus(
        set_index=set_index,
        is_deep=True,
        began_ns=scan.began_ns,
        seconds=scan.seconds,
        is_done=scan.is_done,
        rows=scan.keys,
        rows_total=scan.keys_total,
        bytes_read=scan.bytes_read,
        healed=scan.healed,
        unhealed=scan.unhealed_count,
    )
