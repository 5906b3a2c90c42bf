"""What clients of a simulated node saw, over power cuts, kills and full disks, has no anomaly. See tests/checkers."""

from __future__ import annotations

import pytest

from tests.simulation.checked_clients import CheckedClients
from tests.simulation.simulate import Tally, World
from tests.simulation.test_node import LendsEarly, RepliesEarly

SEEDS = 50


class Unchecked(RepliesEarly):
    """With nothing that looks at the log itself."""

    def check_recovered(self, least: int) -> None:
        self.images = {self.batch: self.recovered}


def finished(world: World, kills_only: bool = False) -> dict[str, list[object]]:
    """The anomalies of a whole history."""
    for step in range(400):
        world.go()
        if kills_only and step % 50 == 49:
            world.ended(power=False)
    world.rest_and_end()
    world.clients.drain()
    world.rest()
    world.clients.look()
    found: dict[str, list[object]] = world.clients.anomalies()
    return found


@pytest.mark.parametrize("part", range(10))
def test_histories_with_all_faults(part: int) -> None:
    tally = Tally()
    for seed in range(part * SEEDS // 10, (part + 1) * SEEDS // 10):
        found = finished(World(seed, tally, kinds="qs", clients_class=CheckedClients))
        # That a delivery counts may be lost with the power, and is not written while the disk is full.
        found.pop("uncounted", None)
        assert found == {}, f"seed {seed}"
    assert tally.ends > SEEDS // 10


@pytest.mark.parametrize("part", range(4))
def test_histories_with_kills_alone(part: int) -> None:
    for seed in range(part * 5, part * 5 + 5):
        world = World(seed, kinds="qs", faults=False, clients_class=CheckedClients)
        assert finished(world, kills_only=True) == {}, f"seed {seed}"


def test_replies_that_leave_early_are_found() -> None:
    worlds = [
        World(seed, kinds="qs", life_class=Unchecked, clients_class=CheckedClients) for seed in range(20)
    ]
    assert any("lost" in finished(world) for world in worlds)


def test_deliveries_that_leave_early_are_found() -> None:
    worlds = [
        World(seed, kinds="qs", faults=False, life_class=LendsEarly, clients_class=CheckedClients)
        for seed in range(20)
    ]
    assert any("uncounted" in finished(world, kills_only=True) for world in worlds)
