"""What chargers and cars do to the control law: late, deaf, silent, asleep, or content with less than they are told."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from edge.core import control, watch
from edge.core.model import ASLEEP, CHARGING, DONE, FAULT, FAULTED, FINISHED, NO_CAR, SILENT, UNPLUGGED, WAITING
from hil_tests.unit.given import (
    CUT_MA,
    LINE_MA,
    MV,
    SETTINGS,
    Area,
    agreed,
    at,
    awake,
    change,
    charger,
    meter,
    snapshot,
    steps,
    still,
)


# --------------------------------------------------------------------------- chargers that are late, deaf or gone
def test_c2_late_charger_is_no_reason_to_cut_others() -> None:
    """A charger that still draws what it was told to give back is on its way: nobody else pays for it yet."""
    chargers = (charger("a", set_ma=6000, ma=16_000, allowed_ma=16_000), at("b", 16_000))
    reading = meter(1000, 100_000, (CUT_MA + 10_000, 0, 0))
    assert [c.ma for c in steps([snapshot(chargers, reading)])[0]] == [6000, 16_000]


@pytest.mark.parametrize(("late_s", "cut"), [(9, False), (10, True), (11, True)])
def test_c1_disobeying_charger_counts_as_measured_after_ten_seconds(late_s: int, cut: bool) -> None:
    """Who draws more than told for 10 s is not coming down: the others make room."""
    chargers = (charger("a", set_ma=6000, ma=16_000, allowed_ma=6000), at("b", 16_000))
    shots = [snapshot(chargers, meter((k + 1) * 1000, 100_000, (CUT_MA + 10_000, 0, 0))) for k in range(late_s + 1)]
    assert (steps(shots)[-1][1].ma < 16_000) == cut


@pytest.mark.parametrize(("beyond_ma", "cut"), [(999, False), (1000, False), (1001, True)])
def test_c3_rounding_by_one_ampere_is_obedience(beyond_ma: int, cut: bool) -> None:
    """Up to 1 A more than told is a charger's rounding, above it is disobedience."""
    chargers = (charger("a", set_ma=6000, ma=6000 + beyond_ma, allowed_ma=6000), at("b", 16_000))
    shots = [snapshot(chargers, meter((k + 1) * 1000, 100_000, (CUT_MA + beyond_ma, 0, 0))) for k in range(12)]
    assert (steps(shots)[-1][1].ma < 16_000) == cut


def test_charger_going_silent_costs_the_others_nothing() -> None:
    """What a silent car draws is in the base already: it is not counted a second time against the others."""
    before = (at("a", 32_000, possible_ma=32_000), at("b", 16_000))
    after = (at("a", 32_000, possible_ma=32_000, silent=True), at("b", 16_000))
    reading = (LINE_MA, 0, 0)
    out = steps([snapshot(before, meter(1000, 100_000, reading)), snapshot(after, meter(2000, 100_000, reading))])
    assert [c.ma for c in out[1]] == [0, 16_000]


@pytest.mark.parametrize("worst_ma", [6000, 32_000])
@pytest.mark.parametrize(("left_ma", "ma"), [(5999, 0), (6000, 6000)])
def test_silent_charger_is_counted_at_its_worst_before_a_raise(worst_ma: int, left_ma: int, ma: int) -> None:
    """Nothing is raised into room that a silent charger might take: neither its lease nor its fallback."""
    row = still("a", silent=True, possible_ma=worst_ma, fallback_ma=min(worst_ma, 6000))
    assert agreed((row, still("b")), 100_000, ma=(LINE_MA - worst_ma - left_ma, 0, 0))[1].ma == ma


def test_silent_charger_gets_nothing_and_says_so() -> None:
    """A charger that is not heard is neither started nor raised."""
    command = agreed((at("a", 6000, silent=True),), 100_000)[0]
    assert (command.ma, command.reason) == (0, SILENT)


def test_c7_charger_that_lies_high_makes_no_room_for_others() -> None:
    """A claim beyond what the meter sees does not hide the residents: the base is nothing at the least."""
    liar = charger("a", ma=50_000_000, set_ma=0, allowed_ma=0, possible_ma=50_000_000)
    cars = tuple(at(f"b{k:02d}", 32_000) for k in range(40))
    assert sum(c.ma for c in steps([snapshot((liar, *cars), meter(1000, 900_000))])[0]) <= CUT_MA


@pytest.mark.parametrize("zero", [(0, 0, 0), (0, 500_000, 500_000), (500_000, 0, 500_000)])
def test_m18_zeros_while_cars_draw_are_no_reading(zero: tuple[int, int, int]) -> None:
    """A phase that reads zero while cars prove they draw on it is an open CT: nothing is raised on its word."""
    cars = (at("a", 16_000), at("b", 16_000, phases=2), still("c"), still("d", phases=2))
    seen, shown = watch.start(0), []
    for k in range(20):
        seen, shot = watch.look(seen, snapshot(cars, meter((k + 1) * 1000, 300_000, zero)), SETTINGS, (k + 1) * 1000)
        shown.append(watch.for_control(seen, shot))
    out = steps(shown)
    assert [c.ma for c in out[-1]] == [16_000, 16_000, 0, 0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"plug": UNPLUGGED}, NO_CAR),
        ({"plug": FINISHED}, DONE),
        ({"plug": FAULTED}, FAULT),
        ({"plug": 9}, FAULT),
        ({"plug": WAITING, "need_wh": 50}, DONE),
        ({"plug": WAITING, "max_ma": 5999}, FAULT),
        ({"plug": CHARGING, "silent": True}, SILENT),
    ],
)
def test_who_gets_nothing_even_if_it_has_a_setpoint(changes: dict[str, Any], reason: int) -> None:
    """Finished, unplugged, faulted, unable or unheard: the setpoint it still has is taken back."""
    command = agreed((at("a", 16_000, **changes),), 100_000)[0]
    assert (command.ma, command.reason) == (0, reason)


def test_lease_that_ended_comes_back_by_ramp() -> None:
    """After an outage a car at its fallback climbs from there; it does not jump to what it once had."""
    area = Area([at("a", 6000, fallback_ma=6000)], base_va=700_000)
    climbed = []
    for _ in range(40):
        area.tick()
        climbed.append(area.commands["a"].ma)
    assert max(b - a for a, b in itertools.pairwise([6000, *climbed])) <= 20_000_000_000 // MV
    assert climbed[0] == 6000
    assert climbed[-1] == 32_000


# ------------------------------------------------------------------------------------ what cars leave, and who sleeps
@pytest.mark.parametrize(("ma", "told"), [(16_000, 17_000), (16_001, 18_000), (29_000, 30_000), (29_001, 32_000)])
def test_settled_car_is_told_what_it_draws(ma: int, told: int) -> None:
    """A settled car that leaves 3 A or more unused is told what it draws and 1 A more, whole amperes up."""
    row = at("a", 32_000, ma=ma, settled=True)
    assert agreed((row,), 300_000)[0].ma == told
    assert agreed((change(row, settled=False),), 300_000)[0].ma == 32_000


def test_settled_car_keeps_the_minimum() -> None:
    """However little it draws, it is not told less than 6 A, and at 6 A nothing is taken."""
    assert agreed((at("a", 16_000, ma=700, settled=True),), 300_000)[0].ma == 6000
    assert agreed((at("a", 6000, ma=700, settled=True),), 300_000, samples=4)[0].ma == 6000


@pytest.mark.parametrize(("seconds", "ma"), [(599, 17_000), (600, 32_000)])
def test_trimmed_car_is_not_offered_more_for_ten_minutes(seconds: int, ma: int) -> None:
    """What a car does not use is not offered again before 600 s are over; then it is."""
    state = awake()
    for k in range(1, seconds + 2):
        row = at("a", 32_000 if k == 1 else 17_000, ma=16_000, settled=True)
        state, (command,) = control.step(state, snapshot((row,), meter(k * 1000, 300_000)), SETTINGS, k * 1000)
    assert command.ma == ma


@pytest.mark.parametrize(("settled", "ma"), [(False, 0), (True, 16_000)])
def test_settled_car_lends_what_it_leaves(settled: bool, ma: int) -> None:
    """A settled car counts as what it draws, so another may have the rest; an unsettled one counts in full."""
    cars = (at("a", 32_000, ma=16_000, settled=settled), still("b"))
    assert agreed(cars, 300_000, ma=(LINE_MA - 16_000, 0, 0))[1].ma == ma


@pytest.mark.parametrize(("room_ma", "ma"), [(98_499, 0), (98_500, 6000)])
def test_all_together_lend_three_percent_of_rating(room_ma: int, ma: int) -> None:
    """Ten settled cars leave 150 A; the limit itself counts on 45 A of it."""
    cars = tuple(at(f"a{k}", 32_000, ma=16_000, settled=True) for k in range(10))
    out = agreed((*cars, still("b")), 300_000, ma=(LINE_MA - room_ma, 0, 0))
    assert out[-1].ma == ma


@pytest.mark.parametrize(("seconds", "asleep"), [(119, False), (120, True)])
def test_sleeper_is_stopped_after_two_minutes(seconds: int, asleep: bool) -> None:
    """A car that is offered current and draws none for 120 s is stopped, and its place says why."""
    row = at("a", 6000, max_ma=6000, ma=0, plug=WAITING)
    out = agreed((row,), 300_000, samples=seconds + 1)[0]
    assert (out.ma == 0) == asleep
    assert (out.reason == ASLEEP) == asleep


def test_sleeper_is_woken_three_times_then_every_half_hour() -> None:
    """Stopped, rested, offered again; after three times in vain only every 30 min."""
    area = Area([still("a")], base_va=100_000)
    area.takes["a"] = 0
    offers_s, was = [], 0
    for k in range(1, 5400):
        area.tick()
        ma = area.wishes["a"].ma
        if ma and not was:
            offers_s.append(k)
        was = ma
    gaps = [b - a for a, b in itertools.pairwise(offers_s)]
    assert gaps[:2] == pytest.approx([362, 362], abs=3)
    assert gaps[2:] == pytest.approx([1922] * len(gaps[2:]), abs=3)
    assert len(gaps) == 4


def test_car_that_wakes_is_forgiven() -> None:
    """A car that begins to draw after two attempts has three again."""
    area = Area([still("a")], base_va=100_000)
    area.takes["a"] = 0
    area.tick(600)
    assert area.control.units[0].tries > 0
    area.takes["a"] = 16_000
    area.tick(400)
    assert area.chargers["a"].ma == 16_000
    assert area.control.units[0].tries == 0
