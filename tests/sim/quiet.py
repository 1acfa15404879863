"""The quiet after the storm: maintenance until nothing is left to do, and the checks of what the drives hold then."""

from typing import Final

from tests.sim.recorder import Violation
from tests.sim.sim_drive import describe, short_key
from tests.sim.world import HOUR, World

from liteio_base.ids import SYSTEM_BUCKET
from liteio_contracts.object_errors import ObjectError
from liteio_contracts.storage import KeyName
from liteio_formats.record import Kind, Space
from liteio_testkit.drive_census import take_census

PASSES: Final = 3
DAY: Final = 24 * HOUR


async def settle_down(world: World) -> None:
    """Upkeep as one gateway does it, with clocks that are hours apart: after three hours every mark is old."""
    await world.clock.sleep(3 * HOUR)
    for _ in range(PASSES):
        await _pass(world)


async def _pass(world: World) -> None:
    upkeep = world.gateways[-1].upkeep
    for work in (upkeep.settle_left_over, upkeep.rebuild_drives, upkeep.scan, upkeep.collect_garbage):
        try:
            await world.gateways[-1].ask(work())
        except ObjectError as trouble:
            raise Violation(f"{work.__name__} with all drives up: {trouble!r}") from trouble


async def expire(world: World) -> None:
    """Long after: uploads are forgotten, tombstones and fences too, and garbage is collected."""
    await world.clock.sleep(8 * DAY)
    await world.gateways[-1].ask(world.gateways[-1].upkeep.expire_uploads())
    await settle_down(world)
    await world.clock.sleep(32 * DAY)
    await _pass(world)


async def check_census(world: World) -> None:
    """Every drive counts and holds the very same records, all settled, one a version, each with a
    shard that verifies."""
    lost = [drive.slot for drive in world.lost_drives()]
    if lost:
        raise Violation(f"drives {lost} are not whole again")
    for name in world.names():
        _check_alike(world, name)
        for row in world.drives[0].held(name).records:
            if row.record.kind is Kind.VALUE:
                census = await take_census(world.drives, name, row.version_id, deadline=world.deadline())
                if not census.is_whole:
                    raise Violation(f"not whole: {census}")


def _check_alike(world: World, name: KeyName) -> None:
    held = [drive.held(name).records for drive in world.drives]
    sets = [{(row.version_id, row.time, row.digest, row.is_settled) for row in rows} for rows in held]
    versions = [row.version_id for row in held[0]]
    is_settled = all(row.is_settled for rows in held for row in rows)
    if any(found != sets[0] for found in sets) or not is_settled or len(set(versions)) != len(versions):
        shown = (
            f"\n    d{slot}: " + " | ".join(describe(row.record) + ("" if row.is_settled else " *") for row in rows)
            for slot, rows in enumerate(held)
        )
        raise Violation(f"drives differ on {short_key(name)}:{''.join(shown)}")


def check_nothing_left(world: World) -> None:
    """After everything has expired only live rows are left, and shard files that they name."""
    for drive in world.drives:
        named = set()
        for name in drive.state.names():
            held = drive.held(name)
            if held.tombstones or held.fences:
                raise Violation(f"d{drive.slot} keeps tombstones or fences of {short_key(name)}")
            if name.space in (Space.UPLOAD, Space.PART):
                raise Violation(f"d{drive.slot} keeps {short_key(name)}")
            if name.bucket_id != SYSTEM_BUCKET and drive.state.bucket(name.bucket_id) is None:
                raise Violation(f"d{drive.slot} keeps {short_key(name)} of a bucket that is gone")
            named |= {part.data_id for row in held.rows for part in row.record.parts if not row.record.is_inline}
        orphans = [ref for ref in drive.shard_files if ref.data_id not in named]
        if orphans:
            raise Violation(f"d{drive.slot} keeps shard files that nothing names: {orphans}")
