"""The control law behind feeders: a feeder binds its own chargers and nobody else."""

from __future__ import annotations

import pytest

from edge.core import control
from edge.core.model import MIN_MA, SHARED, STAGGER, UNCONTROLLED, WAIT_ROOM
from hil_tests.unit.given import CUT_MA, FAR_MS, SETTINGS, agreed, at, awake, feeder, meter, snapshot, steps, still


@pytest.mark.parametrize(("limit_ma", "ma"), [(6091, 0), (6092, 6000), (20_000, 19_000), (100_000, 32_000)])
def test_feeder_binds_its_own(limit_ma: int, ma: int) -> None:
    """A car behind a feeder gets what the feeder bears less the margin; its neighbour at the busbar gets all."""
    cars = (still("a", feeder=0), still("b"))
    out = agreed(cars, 100_000, feeders=(feeder(limit_ma),))
    assert [c.ma for c in out] == [ma, 32_000]
    if not ma:
        assert (out[0].reason, out[0].phase) == (WAIT_ROOM, 4)


def test_feeder_binds_by_phase() -> None:
    """One phase of a feeder is full: cars on its other phases, and on the next feeder, have room."""
    cars = (still("a", feeder=0), still("b", feeder=0, phases=2), still("c", feeder=1))
    out = agreed(cars, 100_000, feeders=(feeder(50_000, (45_000, 0, 0)), feeder(50_000)))
    assert [c.ma for c in out] == [0, 32_000, 32_000]
    assert (out[0].reason, out[0].phase) == (WAIT_ROOM, 4)


def test_feeder_over_its_limit_cuts_its_own() -> None:
    """What is too much on a feeder is taken from its cars on that phase on the first reading, and from nobody else."""
    cars = (
        at("a", 16_000, feeder=0, depart_ms=FAR_MS), at("b", 16_000, feeder=0, phases=2), at("c", 16_000),
        at("d", 16_000, feeder=1), at("e", 16_000, feeder=0, phases=7, lines=3),
    )  # fmt: skip
    feeders = (feeder(40_000, (8000, 0, 0)), feeder(40_000))
    out = steps([snapshot(cars, meter(1000, 300_000), feeders=feeders)])[0]
    assert [c.ma for c in out] == [15_000, 16_000, 16_000, 16_000, 16_000]
    assert (out[0].reason, out[0].phase) == (SHARED, 4)


def test_residents_behind_a_feeder_are_known_from_its_meter() -> None:
    """What its meter sees less what its own cars prove: two cars at 16 A are theirs, 20 A of residents are not."""
    cars = (at("a", 16_000, max_ma=16_000, feeder=0), at("b", 16_000, max_ma=16_000, feeder=0), still("c", feeder=0))
    for residents_ma, ma in ((20_000, 12_000), (26_000, 6000), (27_000, 0)):
        out = agreed(cars, 100_000, feeders=(feeder(65_000, (residents_ma, 0, 0)),))
        assert out[2].ma == ma


def test_feeder_whose_meter_is_late_gives_nothing() -> None:
    """Its last reading is 6 s old: nothing behind it is raised, and the credit goes to others."""
    cars = (still("a", feeder=0), still("b"))
    shots = []
    for k in range(1, 30):
        now = snapshot(cars, meter(k * 1000, 100_000), feeders=(feeder(100_000, (20_000, 0, 0)),))
        shots.append(now._replace(feeders=shots[0].feeders if shots else now.feeders))
    last = steps(shots)[-1]
    assert (last[0].ma, last[0].phase) == (0, 4)
    assert last[1].ma >= MIN_MA


@pytest.mark.parametrize("known", [False, True])
def test_a_car_of_unknown_phase_is_not_counted_twice(known: bool) -> None:
    """It draws 30 A on an otherwise empty cable for 40: its draw is in the base already, and it keeps what it has."""
    car = at("a", 32_000, ma=30_000, settled=True, feeder=0, known=known, phases=1 if known else 7)
    out = steps(
        [snapshot((car,), meter((k + 1) * 1000, 100_000), feeders=(feeder(40_000, (0, 0, 0)),)) for k in range(9)]
    )
    assert {c.ma for (c,) in out} == {32_000}


def test_who_is_sure_to_help_is_cut_beside_a_car_of_unknown_phase() -> None:
    """2 A too much on phase A: the unknown car, the more relaxed, may be on another, so its neighbour gives as much."""
    cars = (at("a", 16_000, known=False, phases=7, depart_ms=FAR_MS), at("b", 16_000))
    shots = [snapshot(cars, meter(1000, 600_000, (CUT_MA + 1500, 100_000, 100_000)))]
    assert [c.ma for c in steps(shots)[-1]] == [14_000, 14_000]


def test_one_reading_of_a_slow_feeder_meter_raises_nothing() -> None:
    """The transformer's meter speaks every second, the feeder's every ten: its one low reading is not five."""
    cars = (still("a", feeder=0),)
    shots = []
    for k in range(1, 41):
        residents_ma = 90_000 if k < 31 else 0
        now = snapshot(cars, meter(k * 1000, 100_000), feeders=(feeder(100_000, (residents_ma, 0, 0), 10_000),))
        shots.append(now if k % 10 == 1 else now._replace(feeders=shots[-1].feeders))
    assert {c.ma for (c,) in steps(shots)} == {0}


def test_starts_behind_a_feeder_are_spread_after_its_meter_was_away() -> None:
    """Its meter comes back after two minutes: its cars wait their own delay, the others start at once."""
    cars = (still("a", feeder=0), still("b"))
    state, out = awake(feeders=1), ()
    for k in range(1, 200):
        shot = snapshot(cars, meter(k * 1000, 100_000), feeders=(feeder(100_000, (10_000, 0, 0)),))
        if 20 < k < 180 or k < 3:
            shot = shot._replace(feeders=(feeder(100_000, (), 1000)._replace(period_ms=1000),))
        state, out = control.step(state, shot, SETTINGS, k * 1000)
    assert out[0].reason == STAGGER
    assert out[1].ma >= MIN_MA
    assert state.feeders[0].release_ms == 180_000


def test_residents_of_a_feeder_alone_are_named() -> None:
    """Residents behind a feeder above its line by themselves: its cars stop and say that nothing of theirs is in it."""
    cars = (at("a", 16_000, feeder=0), at("b", 16_000))
    out = steps([snapshot(cars, meter(1000, 300_000), feeders=(feeder(40_000, (39_560, 0, 0)),))])[0]
    assert [(c.ma, c.reason) for c in out] == [(0, UNCONTROLLED), (16_000, SHARED)]


def test_other_feeders_than_before_are_no_exception() -> None:
    """A configuration read anew between two readings: what was seen of the old feeders is forgotten."""
    row, now = at("a", 16_000), meter(1000, 300_000)
    state, _ = control.step(control.start(), snapshot((row,), now), SETTINGS, 1000)
    state, out = control.step(state, snapshot((row,), now, feeders=(feeder(9000),)), SETTINGS, 2000)
    assert out[0].ma == 16_000
