"""Nobody speaks to the chargers any more: the night goes on by what the site bears, in the closed loop of the bench."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edge import config as cfg
from edge.core.ledger import at_once
from edge.journal import Journal
from edge.memory import QUARTERS, Memory
from edge.site import alone, late_hours
from hil_tests.rig.cases import Case
from hil_tests.rig.closed import ClosedLoop, Timed
from hil_tests.rig.community import BASE_PF, VOLT, Community

if TYPE_CHECKING:
    from collections.abc import Callable

STREET = Case("street", Community("street", 250, 176.0, 70.4, 40), 40)
"""Residents fill this transformer to 74 % in the evening; at night 40 cars at 6 A fit, and in the evening none."""
EVENING_S, DIES_S, MORNING_S = int(21.5 * 3600), 22 * 3600, 31 * 3600


class Dead:
    """A controller that was killed."""

    def tick(self, _moment: object) -> None:
        """Nothing."""


def learned(case: Case) -> Memory:
    """A memory of ten days: the highest minute of each quarter of an hour is 3.5 sigma above the residents' mean."""
    memory = Memory()
    for quarter in range(QUARTERS):
        seconds = np.arange(quarter, quarter + 1.01, 1.0 / 15.0) * 900.0
        kw = float(case.base_kw(np.where(seconds < 12 * 3600, seconds + 86_400, seconds)).max()) / 3.0
        noise_kw = 17.5 * np.sqrt(kw * 3.0 / 880.0) / np.sqrt(3.0)
        memory.highest_ma[quarter] = [10, *[round((kw + 3.5 * noise_kw) / BASE_PF / VOLT * 1e6)] * 3]
    return memory


def night(case: Case, begin_s: int = EVENING_S, **charging: Any) -> ClosedLoop:  # noqa: ANN401 - any of its fields
    """A night of seed 1 under a controller that knows its residents, with a fallback of its own."""
    loop = ClosedLoop(case.draw(1), begin_s=begin_s)
    loop.config = replace(loop.config, charging=replace(loop.config.charging, **charging))
    loop.chargers.fallback_ma, loop.chargers.slots = (
        loop.config.charging.fallback_ma,
        loop.config.charging.fallback_slots,
    )
    loop.controller = Timed(loop.config, loop.meter, loop.air, Journal(None), memory=learned(case))
    return loop


def site(loop: ClosedLoop) -> Any:  # noqa: ANN401 - a Site
    """What the area bears alone."""
    return cfg.site_of(loop.config, learned(loop.night.case))


def left_alone(loop: ClosedLoop, watch: Callable[[int], None] | None = None) -> ClosedLoop:
    """The controller is killed at 22:00; the night goes on until 7."""
    loop.play(DIES_S)
    loop.controller = Dead()  # type: ignore[assignment]
    return loop.play(MORNING_S, progress=watch)


def held(loop: ClosedLoop) -> bool:
    """Was no minute over the limit, in total or on a phase?"""
    verdict = loop.recorder.verdict(80.0)
    return bool(verdict["minutes_over_limit"] == 0 and verdict["minutes_over_phase"] == 0)


def test_controller_dies_at_22_and_late_fallback_charges_in_the_valley() -> None:
    """With a fallback of 0: nobody charges before the valley, everybody is charged in it, and the limit holds."""
    loop = left_alone(night(STREET))
    first, _ = late_hours(site(loop), loop.config.charging) or (0, 0)
    assert 23 * 60 <= first <= 24 * 60
    assert not alone(site(loop), 6000).fits
    charging = np.asarray(loop.recorder.charging)
    assert charging[: first * 60 - EVENING_S].max() == 0
    assert charging[first * 60 - EVENING_S + 900 :].max() == 40
    share = loop.plant.delivered_wh / loop.night.cars.need_wh
    assert share.min() > 0.95
    assert held(loop)


def test_controller_dies_at_22_and_without_late_fallback_nobody_is_charged() -> None:
    """The same night with late_fallback = false: no car has a watt-hour in the morning."""
    loop = left_alone(night(STREET, late_fallback=False))
    assert loop.plant.delivered_wh.sum() == 0.0
    assert loop.setpoints == len(loop.chargers.ids)  # a fence each, when it began


def test_controller_dies_and_rotating_fallback_stays_below_its_worst_moment() -> None:
    """6 A in 4 turns from 22:00 on: on no phase more draw than is counted, everybody draws, and the limit holds."""
    case = replace(STREET, community=replace(STREET.community, rating_kva=460), cars=100)
    loop = night(case, fallback_ma=6000, fallback_slots=4)
    assert [alone(site(loop), 6000, slots).fits for slots in (1, 3, 4)] == [False, False, True]
    together: list[list[int]] = []
    phase = loop.night.cars.phase

    def watch(second: int) -> None:
        on = np.asarray(loop.chargers.allowed_ma()) > 0
        if second > DIES_S + 120:
            together.append(np.bincount(phase[on], minlength=3).tolist())

    left_alone(loop, watch)
    while_controlled = np.asarray(loop.recorder.charging)[300 : DIES_S - EVENING_S]
    assert while_controlled.max() == 0  # they wait for the valley, and no turn begins under a lease of 0 A
    most = np.max(together, axis=0)
    assert all(0 < most[p] <= at_once(int((phase == p).sum()), 4) for p in range(3))
    assert max(sum(row) for row in together) < 50
    hours = loop.plant.delivered_wh / (6.0 * VOLT * 0.95)
    assert 9.0 / 4.0 * 0.75 < hours.min() < hours.max() < 9.0 / 4.0 * 1.3
    assert held(loop)


def test_controller_that_lives_is_not_in_the_way_of_its_own_late_fallback() -> None:
    """Two hours into the valley: nobody has begun by himself, nothing was refused for it, and the cars are charged."""
    loop = night(STREET, begin_s=22 * 3600 + 1800)
    alone_ma: list[int] = []

    def watch(_second: int) -> None:
        leases = zip(loop.chargers.leases, loop.chargers.allowed_ma(), strict=True)
        alone_ma.append(sum(ma for lease, ma in leases if lease.ends_ms == 0))

    loop.play(25 * 3600, progress=watch)
    assert max(alone_ma) == 0
    assert all(loop.chargers.kept(k)[1] == 6000 for k in range(40))
    assert loop.plant.delivered_wh.sum() > 0.8 * 2 * 40 * 1000
    assert held(loop)
