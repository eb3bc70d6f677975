"""The control law in rows of time: residents first, lowering at once, raising on proof, least laxity served first."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core import control
from edge.core.model import (
    CHARGING,
    DONE,
    FAULT,
    FAULTED,
    FINISHED,
    FULL,
    MIN_MA,
    NO_CAR,
    RAMPING,
    REST,
    SHARED,
    SILENT,
    UNPLUGGED,
    WAIT_ROOM,
    WAIT_VALLEY,
    WAITING,
    Charger,
    Command,
    Meter,
    Settings,
    Snapshot,
)
from hil_tests.unit.given import (
    FAR_MS,
    HOUR_MS,
    MV,
    RATED_MA,
    RATED_VA,
    SETTINGS,
    Area,
    at,
    change,
    charger,
    meter,
    snapshot,
    still,
)

LINE_VA, LINE_MA = 785_000, 1_177_500
"""80 % of 1000 kVA and of 1500 A less the margin of 1.5 points: written out, not computed."""


def steps(shots: list[Snapshot], row: Settings = SETTINGS) -> list[tuple[Command, ...]]:
    """Play one snapshot a second from an empty state; the commands of each."""
    state, out = control.start(), []
    for k, shot in enumerate(shots):
        state, commands = control.step(state, shot, row, (k + 1) * 1000)
        out.append(commands)
    return out


def agreed(chargers: tuple[Charger, ...], s_va: int, samples: int = 5, **more: Any) -> tuple[Command, ...]:  # noqa: ANN401 - fields of a snapshot
    """The commands after ``samples`` equal readings one second apart."""
    return steps([snapshot(chargers, meter((k + 1) * 1000, s_va), **more) for k in range(samples)])[-1]


# -------------------------------------------------------------------------------------------------------- raising
@pytest.mark.parametrize(("samples", "raised"), [(1, False), (4, False), (5, True), (6, True)])
def test_raise_waits_for_five_fresh_samples(samples: int, raised: bool) -> None:
    """Four readings that agree are not enough, the fifth is."""
    assert (agreed((still(),), 100_000, samples)[0].ma > 0) == raised


def test_same_reading_again_proves_nothing() -> None:
    """A meter that is not asked anew brings no proof, however many ticks pass."""
    out = steps([snapshot((still(),), meter(1000, 100_000))] * 20)
    assert {c.ma for (c,) in out} == {0}


def test_raise_only_on_the_tick_of_a_fresh_sample() -> None:
    """Proof of the past does not serve a tick that has no reading of its own."""
    shots = [snapshot((still(),), meter(min(k, 4) * 1000, 100_000)) for k in range(1, 10)]
    assert {c.ma for (c,) in steps(shots)} == {0}


@pytest.mark.parametrize(("gap_ms", "raised"), [(4999, True), (5000, True), (5001, False)])
def test_readings_across_a_gap_do_not_agree(gap_ms: int, raised: bool) -> None:
    """After more than 5 s without a reading the proof begins anew."""
    state = control.start()
    for at_ms in (1000, 2000, 3000, 4000, 4000 + gap_ms):
        state, (command,) = control.step(state, snapshot((still(),), meter(at_ms, 100_000)), SETTINGS, at_ms)
    assert (command.ma > 0) == raised


@pytest.mark.parametrize("spike_va", [0, 100_000])
@pytest.mark.parametrize("place", range(5))
def test_m21_one_low_sample_never_raises(spike_va: int, place: int) -> None:
    """One reading far too low among full ones gives nobody anything."""
    loads = [LINE_VA] * 5
    loads[place] = spike_va
    out = steps([snapshot((still(),), meter((k + 1) * 1000, va)) for k, va in enumerate(loads)])
    assert {c.ma for (c,) in out} == {0}


@pytest.mark.parametrize("place", range(5))
def test_m21_one_high_sample_lowers_at_once(place: int) -> None:
    """One reading far too high cuts on the tick that sees it, and nothing goes up while it is remembered."""
    loads = [600_000] * 5
    loads[place] = 2_000_000
    out = steps([snapshot((at("a", 16_000),), meter((k + 1) * 1000, va)) for k, va in enumerate(loads)])
    assert out[place][0].ma == 0
    assert all(c.ma <= 16_000 for (c,) in out)


@pytest.mark.parametrize(("room_a", "starts"), [(8, False), (9, True), (10, True)])
def test_start_needs_room_for_nine_amperes(room_a: int, starts: bool) -> None:
    """A car is not begun on the last ampere: 1.5 times the minimum must be free on its phase."""
    ma = LINE_MA - room_a * 1000
    out = steps([snapshot((still(),), meter((k + 1) * 1000, 300_000, (ma, 0, 0))) for k in range(5)])[-1][0]
    assert (out.ma > 0) == starts
    if not starts:
        assert (out.reason, out.phase) == (WAIT_ROOM, 0)


@pytest.mark.parametrize(("room_a", "starts"), [(5, False), (6, True), (7, True)])
def test_overdue_car_starts_on_the_minimum(room_a: int, starts: bool) -> None:
    """A car that cannot be ready any more takes the bare 6 A."""
    ma = LINE_MA - room_a * 1000
    late = still(depart_ms=HOUR_MS)
    out = steps([snapshot((late,), meter((k + 1) * 1000, 300_000, (ma, 0, 0))) for k in range(5)])[-1][0]
    assert (out.ma > 0) == starts
    if not starts:
        assert (out.reason, out.phase) == (WAIT_ROOM, 0)


def test_car_at_its_fallback_starts_from_there() -> None:
    """What a car already draws at its fallback counts towards its start: it is not stopped to be started."""
    ma = LINE_MA - 4000
    row = charger(set_ma=0, allowed_ma=6000, possible_ma=6000, ma=6000, fallback_ma=6000)
    out = steps([snapshot((row,), meter((k + 1) * 1000, 300_000, (ma, 6000, 6000))) for k in range(5)])[-1][0]
    assert out.ma == 10_000


def test_raises_climb_two_percent_in_ten_seconds() -> None:
    """All raises together: 2 % of the rating in 10 s, at first at most 4 %, however many cars wait."""
    area = Area([still(f"p{k:03d}", phases=1 << k % 3) for k in range(300)], base_va=200_000)
    loadings = []
    for _ in range(200):
        area.tick()
        loadings.append(area.loading_permille())
    assert max(b - a for a, b in zip(loadings, loadings[10:], strict=False)) <= 40
    assert max(b - a for a, b in zip(loadings[20:], loadings[30:], strict=False)) <= 22
    assert loadings[-1] > 550


def test_small_transformer_earns_the_start_of_a_three_phase_car() -> None:
    """30 kVA at 253 V: 2 % would never start anybody, so credit is saved up for one start."""
    row = Settings(30_000, 43_000, 15, 1000, 60_000, 5)
    cars = (still(phases=7, lines=3),)
    out = steps([snapshot(cars, meter((k + 1) * 1000, 3000, mv=253_000)) for k in range(120)], row)
    assert max(c.ma for (c,) in out) >= MIN_MA


@pytest.mark.parametrize(("wait_s", "raised"), [(4, False), (5, True), (6, True)])
def test_own_setpoint_rises_at_most_every_five_seconds(wait_s: int, raised: bool) -> None:
    """After a raise the next one waits for 5 s; the pilot changes no faster."""
    state = control.start()
    for k in range(1, 6):
        state, (command,) = control.step(
            state, snapshot((at("a", 6000),), meter(k * 1000, 600_000)), SETTINGS, k * 1000
        )
    assert command.ma > 6000
    told = []
    for k in range(6, 6 + wait_s):
        shot = snapshot((at("a", 10_000),), meter(k * 1000, 600_000))
        state, (command,) = control.step(state, shot, SETTINGS, k * 1000)
        told.append(command.ma > 10_000)
    assert any(told) == raised


def test_full_current_is_said_to_be_full() -> None:
    """A charger whose maximum is not a whole ampere ends at the whole ampere below and says it is full."""
    area = Area([still(max_ma=16_500)], base_va=100_000)
    area.settle(60)
    assert (area.commands["a"].ma, area.commands["a"].reason) == (16_000, FULL)


# -------------------------------------------------------------------------------------------------------- lowering
@pytest.mark.parametrize(("over_va", "ma"), [(-1, 16_000), (0, 16_000), (1, 15_000), (220, 15_000), (221, 14_000)])
def test_limit_line_to_the_volt_ampere(over_va: int, ma: int) -> None:
    """On the line nothing is cut; one VA above it a whole ampere goes, on the first reading."""
    reading = meter(1000, LINE_VA + over_va, (100_000, 100_000, 100_000))
    assert steps([snapshot((at("a", 16_000),), reading)])[0][0].ma == ma


@pytest.mark.parametrize(("over_ma", "ma", "phase"), [(-1, 16_000, -1), (0, 16_000, -1), (1, 15_000, 1)])
def test_phase_line_to_the_milliampere(over_ma: int, ma: int, phase: int) -> None:
    """The same on one phase, and the reason names that phase."""
    line_ma = 1_177_500
    reading = meter(1000, 600_000, (0, line_ma + over_ma, 0))
    command = steps([snapshot((at("b", 16_000, phases=2),), reading)])[0][0]
    assert (command.ma, command.phase) == (ma, phase)


def test_g1_base_step_is_answered_on_the_same_tick() -> None:
    """Residents take 20 % more: the tick that sees it cuts as much, and loading is below the limit at once."""
    area = Area([still(f"p{k:03d}", phases=1 << k % 3) for k in range(120)], base_va=500_000)
    area.settle(400)
    assert 750 <= area.loading_permille() <= 785
    area.base_va += 200_000
    area.tick()
    assert area.loading_permille() <= 785


def test_g2_residents_alone_over_limit() -> None:
    """Residents above the limit by themselves: every car stops, stays stopped, and nothing swings."""
    area = Area([still(f"p{k}") for k in range(5)], base_va=300_000)
    area.settle(60)
    area.base_va = 850_000
    area.tick()
    for _ in range(60):
        area.tick()
        assert {c.ma for c in area.commands.values()} == {0}


def test_g4_one_phase_at_95_percent() -> None:
    """One phase at 95 % with the total at 70 %: only cars on that phase are cut."""
    reading = meter(1000, 700_000, (RATED_MA * 95 // 100, 900_000, 900_000))
    chargers = (at("a", 16_000), at("b", 16_000, phases=2), at("c", 16_000, phases=4))
    assert [c.ma for c in steps([snapshot(chargers, reading)])[0]] == [0, 16_000, 16_000]


def test_cut_takes_the_relaxed_first_to_six_then_to_nothing() -> None:
    """The car with the most time gives first, down to 6 A; nobody stops while another is above 6 A."""
    chargers = (at("a", 16_000, depart_ms=5 * HOUR_MS), at("b", 16_000, depart_ms=50 * HOUR_MS))
    over = [3000, 10_000, 12_000, 20_000, 21_000, 27_000]
    got = []
    for over_ma in over:
        shot = snapshot(chargers, meter(1000, 100_000, (LINE_MA + over_ma, 0, 0)))
        got.append(tuple(c.ma for c in steps([shot])[0]))
    assert got == [(16_000, 13_000), (16_000, 6000), (14_000, 6000), (6000, 6000), (6000, 0), (0, 0)]


def test_cut_charges_a_phase_and_not_its_neighbours() -> None:
    """A three-phase car gives on every phase at once, and is charged for each."""
    row = at("a", 16_000, phases=7, lines=3)
    shot = snapshot((row,), meter(1000, 300_000, (LINE_MA + 2000, 400_000, 400_000)))
    assert steps([shot])[0][0].ma == 14_000


# --------------------------------------------------------------------------- chargers that are late, deaf or gone
def test_c2_late_charger_is_no_reason_to_cut_others() -> None:
    """A charger that still draws what it was told to give back is on its way: nobody else pays for it yet."""
    chargers = (charger("a", set_ma=6000, ma=16_000, allowed_ma=16_000), at("b", 16_000))
    reading = meter(1000, 100_000, (LINE_MA + 10_000, 0, 0))
    assert [c.ma for c in steps([snapshot(chargers, reading)])[0]] == [6000, 16_000]


@pytest.mark.parametrize(("late_s", "cut"), [(9, False), (10, True), (11, True)])
def test_c1_disobeying_charger_counts_as_measured_after_ten_seconds(late_s: int, cut: bool) -> None:
    """Who draws more than told for 10 s is not coming down: the others make room."""
    chargers = (charger("a", set_ma=6000, ma=16_000, allowed_ma=6000), at("b", 16_000))
    shots = [snapshot(chargers, meter((k + 1) * 1000, 100_000, (LINE_MA + 10_000, 0, 0))) for k in range(late_s + 1)]
    assert (steps(shots)[-1][1].ma < 16_000) == cut


@pytest.mark.parametrize(("beyond_ma", "cut"), [(999, False), (1000, False), (1001, True)])
def test_c3_rounding_by_one_ampere_is_obedience(beyond_ma: int, cut: bool) -> None:
    """Up to 1 A more than told is a charger's rounding, above it is disobedience."""
    chargers = (charger("a", set_ma=6000, ma=6000 + beyond_ma, allowed_ma=6000), at("b", 16_000))
    line_ma = LINE_MA
    shots = [snapshot(chargers, meter((k + 1) * 1000, 100_000, (line_ma + beyond_ma, 0, 0))) for k in range(12)]
    assert (steps(shots)[-1][1].ma < 16_000) == cut


def test_charger_going_silent_costs_the_others_nothing() -> None:
    """What a silent car draws is in the base already: it is not counted a second time against the others."""
    before = (at("a", 32_000, possible_ma=32_000), at("b", 16_000))
    after = (at("a", 32_000, possible_ma=32_000, silent=True), at("b", 16_000))
    reading = (LINE_MA, 0, 0)
    out = steps([snapshot(before, meter(1000, 100_000, reading)), snapshot(after, meter(2000, 100_000, reading))])
    assert [c.ma for c in out[1]] == [0, 16_000]


def test_silent_charger_is_counted_at_its_worst_before_a_raise() -> None:
    """Nothing is raised into room that a silent charger might take: neither its lease nor its fallback."""
    line_ma = LINE_MA
    for worst_ma in (6000, 32_000):
        row = still("a", silent=True, possible_ma=worst_ma, fallback_ma=min(worst_ma, 6000))
        reading = (line_ma - worst_ma - 8000, 0, 0)
        shots = [snapshot((row, still("b")), meter((k + 1) * 1000, 100_000, reading)) for k in range(6)]
        assert steps(shots)[-1][1].ma == 0


def test_silent_charger_gets_nothing_and_says_so() -> None:
    """A charger that is not heard is neither started nor raised."""
    command = agreed((at("a", 6000, silent=True),), 100_000)[0]
    assert (command.ma, command.reason) == (0, SILENT)


def test_c7_charger_that_lies_high_makes_no_room_for_others() -> None:
    """A claim beyond what the meter sees does not hide the residents: the base is nothing at the least."""
    liar = charger("a", ma=50_000_000, set_ma=0, allowed_ma=0, possible_ma=50_000_000)
    cars = tuple(at(f"b{k:02d}", 32_000) for k in range(40))
    assert sum(c.ma for c in steps([snapshot((liar, *cars), meter(1000, 900_000))])[0]) <= LINE_MA


@pytest.mark.parametrize("zero", [(0, 0, 0), (0, 500_000, 500_000), (500_000, 0, 500_000)])
def test_m18_zeros_while_cars_draw_are_no_reading(zero: tuple[int, int, int]) -> None:
    """A phase that reads zero while cars prove they draw on it is an open CT: nothing is raised on its word."""
    cars = (at("a", 16_000), at("b", 16_000, phases=2), still("c"), still("d", phases=2))
    out = steps([snapshot(cars, meter((k + 1) * 1000, 300_000, zero)) for k in range(20)])
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


# -------------------------------------------------------------------------------------------- order and patience
def test_least_laxity_starts_first() -> None:
    """With room for one start, the car that can wait least gets it."""
    ma = LINE_MA - 10_000
    cars = (still("a", depart_ms=9 * HOUR_MS), still("b", depart_ms=5 * HOUR_MS), still("c", depart_ms=7 * HOUR_MS))
    out = steps([snapshot(cars, meter((k + 1) * 1000, 300_000, (ma, 0, 0))) for k in range(5)])[-1]
    assert [c.ma > 0 for c in out] == [False, True, False]


def test_equal_laxity_goes_by_id() -> None:
    """A tie is broken by the id, the same on every interpreter."""
    ma = LINE_MA - 10_000
    out = steps([snapshot((still("a"), still("b")), meter((k + 1) * 1000, 300_000, (ma, 0, 0))) for k in range(5)])[-1]
    assert [c.ma > 0 for c in out] == [True, False]


@pytest.mark.parametrize(("seconds", "starts"), [(298, False), (299, False), (300, True)])
def test_stopped_car_rests_five_minutes(seconds: int, starts: bool) -> None:
    """A car that was stopped is not woken before 300 s are over."""
    area = Area([still("a")], base_va=100_000)
    area.settle(30)
    area.base_va = 900_000
    area.tick()
    assert area.wishes["a"].ma == 0
    area.base_va = 100_000
    area.tick(seconds)
    assert (area.wishes["a"].ma > 0) == starts
    if not starts:
        assert area.wishes["a"].reason == REST


def test_start_that_was_never_sent_costs_no_rest() -> None:
    """A broker that does not take the start, or a guard that drops it, does not send the car to rest."""
    state = control.start()
    got = []
    for k in range(1, 20):
        # Every second tick has no reading of its own: nothing is raised there.
        shot = snapshot((still("a"),), meter(k // 2 * 2000, 100_000))
        state, (command,) = control.step(state, shot, SETTINGS, k * 1000)
        got.append(command.ma)
    assert sum(ma > 0 for ma in got) >= 4


NEED_MS = 9000 * HOUR_MS // (32 * 220)
"""What 9 kWh take at 32 A."""


def swap(minutes: int, laxity_gap_ms: int = 4 * HOUR_MS) -> tuple[Area, list[int]]:
    """Two relaxed cars at 6 A fill phase A; ``minutes`` later an urgent one comes home. Also: how many relaxed ran."""
    base_va = (LINE_MA - 12_500) * 3 * MV // 1_000_000
    area = Area([at("a", 6000), at("b", 6000)], base_va=base_va)
    area.tick(60 * minutes)
    depart_ms = area.now_ms + NEED_MS + HOUR_MS - 60_000
    for name, more_ms in (("a", 0), ("b", 60_000)):
        area.chargers[name] = change(area.chargers[name], depart_ms=depart_ms + laxity_gap_ms + more_ms)
    area.chargers["u"] = still("u", depart_ms=depart_ms)
    ran = []
    for _ in range(40):
        area.tick()
        ran.append(sum(area.commands[k].ma > 0 for k in "ab"))
    return area, ran


def test_urgent_car_takes_the_place_of_one_relaxed_car() -> None:
    """Rotation: the most relaxed car stops for the urgent one, and only that one."""
    area, ran = swap(16)
    assert [area.commands[k].ma > 0 for k in "abu"] == [True, False, True]
    assert min(ran) == 1


def test_car_that_has_just_begun_is_not_swapped_out() -> None:
    """A running car keeps its place for 15 min."""
    area, _ = swap(14)
    assert [area.commands[k].ma > 0 for k in "abu"] == [True, True, False]


def test_no_swap_for_a_small_difference() -> None:
    """Cars that are almost as urgent keep their place: less than half an hour is no reason for churn."""
    area, _ = swap(16, laxity_gap_ms=1_700_000)
    assert [area.commands[k].ma > 0 for k in "abu"] == [True, True, False]


def test_minimum_before_more() -> None:
    """An urgent car gets its 6 A from what a relaxed one has above 6 A; nobody is stopped."""
    relaxed = at("a", 16_000)
    urgent = still("u", depart_ms=NEED_MS + HOUR_MS - 60_000)
    area = Area([relaxed, urgent], base_va=(LINE_MA - 16_500) * 3 * MV // 1_000_000)
    area.tick(30)
    assert area.commands["a"].ma >= MIN_MA
    assert area.commands["u"].ma >= MIN_MA


def test_minimum_comes_from_several_when_one_has_not_enough() -> None:
    """Two relaxed cars give what each has above 6 A, the most relaxed first; neither is stopped."""
    relaxed = (at("a", 9000, depart_ms=FAR_MS), at("b", 10_000, depart_ms=FAR_MS - HOUR_MS))
    urgent = still("u", depart_ms=NEED_MS + HOUR_MS - 60_000)
    row = (LINE_MA, 100_000, 100_000)
    out = steps([snapshot((*relaxed, urgent), meter((k + 1) * 1000, 300_000, row)) for k in range(5)])[-1]
    assert [c.ma for c in out] == [6000, 7000, 0]


def test_swap_waits_for_what_is_already_coming_down() -> None:
    """While the stopped car still shows current, no second one is stopped for the same need."""
    relaxed = [at(name, 6000) for name in "abc"]
    state = control.start()
    stopped = []
    for k in range(1, 26):
        now_ms = k * 1000 + (1_000_000 if k > 1 else 0)
        urgent = still("u", depart_ms=now_ms + NEED_MS + HOUR_MS // 2)
        shot = snapshot((*relaxed, urgent), meter(now_ms, 1000, (LINE_MA, 0, 0)))
        state, out = control.step(state, shot, SETTINGS, now_ms)
        # Told, and drawing all the same.
        relaxed = [change(c, set_ma=o.ma) for c, o in zip(relaxed, out, strict=False)]
        stopped.append(sum(c.set_ma == 0 for c in relaxed))
    assert stopped[6] == stopped[14] == 1
    assert stopped[-1] == 2


def test_swap_takes_from_the_phase_that_binds() -> None:
    """A three-phase car short of room on phase B takes it from a car on B, however relaxed those on A are."""
    relaxed = (at("a", 6000, depart_ms=FAR_MS), at("b", 6000, phases=2, depart_ms=FAR_MS - HOUR_MS))
    state = control.start()
    for now_ms in (0, *range(1_000_000, 1_005_000, 1000)):
        urgent = still("u", phases=7, lines=3, depart_ms=now_ms + HOUR_MS)
        shot = snapshot((*relaxed, urgent), meter(now_ms, 400_000, (LINE_MA - 20_000, LINE_MA, 400_000)))
        state, out = control.step(state, shot, SETTINGS, now_ms)
    assert [c.ma for c in out] == [6000, 0, 0]


def test_swap_takes_from_any_phase_when_the_total_binds() -> None:
    """A full transformer with free phases: a relaxed car on another phase makes way."""
    relaxed = at("b", 6000, phases=2)
    state = control.start()
    for now_ms in (0, *range(1_000_000, 1_005_000, 1000)):
        urgent = still("u", depart_ms=now_ms + NEED_MS + HOUR_MS // 2)
        shot = snapshot((relaxed, urgent), meter(now_ms, LINE_VA, (300_000, 300_000, 300_000)))
        state, out = control.step(state, shot, SETTINGS, now_ms)
    assert [c.ma for c in out] == [0, 0]


def test_three_phase_car_needs_a_third_of_its_energy_on_each_phase() -> None:
    """The valley holds three times as many three-phase wishes as single-phase ones on one phase."""
    early = []
    for phases, lines in ((1, 1), (7, 3)):
        cars = tuple(
            still(f"p{k:03d}", phases=phases, lines=lines, depart_ms=20 * HOUR_MS, need_wh=20_000) for k in range(100)
        )
        out = agreed(cars, 600_000, valley_in_ms=HOUR_MS, valley_ms=9 * HOUR_MS)
        early.append(sum(c.reason != WAIT_VALLEY for c in out))
    assert early[0] > 30
    assert early[1] == 0


@pytest.mark.parametrize(
    ("valley_in_ms", "depart_ms", "need_wh", "starts"),
    [
        (0, 9 * HOUR_MS, 9000, True),
        (-1, 9 * HOUR_MS, 9000, True),
        (1, 9 * HOUR_MS, 9000, False),
        (HOUR_MS, 9 * HOUR_MS, 9000, False),
        # Alone in the valley it would need 1:17; less than twice that is left of it before it leaves.
        (4 * HOUR_MS, 6 * HOUR_MS, 9000, True),
        (4 * HOUR_MS, 3 * HOUR_MS, 9000, True),
        # Less than an hour of laxity: it no longer waits.
        (HOUR_MS, 2 * HOUR_MS, 9000, True),
    ],
)
def test_who_waits_for_the_valley(valley_in_ms: int, depart_ms: int, need_wh: int, starts: bool) -> None:
    """A relaxed car waits until the valley begins, to the millisecond; a pressed one does not."""
    row = still(depart_ms=depart_ms, need_wh=need_wh)
    command = agreed((row,), 300_000, valley_in_ms=valley_in_ms, valley_ms=9 * HOUR_MS)[0]
    assert (command.ma > 0) == starts
    assert (command.reason == WAIT_VALLEY) == (not starts)


def test_more_cars_than_the_valley_holds_begin_early() -> None:
    """What exceeds the room of the valley on a phase starts before it, the least laxity first."""
    cars = tuple(still(f"p{k:03d}", depart_ms=20 * HOUR_MS + k, need_wh=20_000) for k in range(100))
    out = agreed(cars, 600_000, valley_in_ms=HOUR_MS, valley_ms=9 * HOUR_MS)
    waits = [c.reason == WAIT_VALLEY for c in out]
    assert not waits[0]
    assert waits[-1]
    assert waits == sorted(waits)


def test_unknown_phase_counts_on_every_phase() -> None:
    """One full phase is enough to keep a car waiting whose phase nobody knows."""
    row = still(phases=7, lines=1, known=False)
    line_ma = LINE_MA
    for p in range(3):
        ma = [300_000] * 3
        ma[p] = line_ma - 8000
        shots = [snapshot((row,), meter((k + 1) * 1000, 300_000, (ma[0], ma[1], ma[2]))) for k in range(5)]
        command = steps(shots)[-1][0]
        assert (command.ma, command.phase) == (0, p)


def test_reason_names_the_transformer_when_the_total_binds() -> None:
    """Free phases and a full transformer: the reason says so."""
    shots = [snapshot((still(),), meter((k + 1) * 1000, LINE_VA - 100, (1000, 1000, 1000))) for k in range(5)]
    command = steps(shots)[-1][0]
    assert (command.ma, command.reason, command.phase) == (0, WAIT_ROOM, -1)


def test_reasons_of_a_climb() -> None:
    """A climbing car says so, and a full one says it is full."""
    area = Area([still(f"p{k}") for k in range(10)], base_va=300_000)
    seen = []
    for _ in range(60):
        area.tick()
        if area.wishes["p9"].reason not in seen[-1:]:
            seen.append(area.wishes["p9"].reason)
    assert (seen[0], seen[1], seen[-1]) == (WAIT_ROOM, RAMPING, FULL)


def test_reason_of_a_shared_phase() -> None:
    """A running car that is held back by its phase says so, and which."""
    shots = [snapshot((at("a", 10_000),), meter((k + 1) * 1000, 300_000, (LINE_MA - 500, 0, 0))) for k in range(6)]
    command = steps(shots)[-1][0]
    assert (command.ma, command.reason, command.phase) == (10_000, SHARED, 0)


# ------------------------------------------------------------------------------------------- for any input at all
BIG = 1 << 54
wild = st.integers(-BIG, BIG)
currents = st.sampled_from([0, 5999, 6000, 6001, 10_000, 16_000, 32_000, 63_000])


@st.composite
def chargers(draw: st.DrawFn, most: int = 6) -> tuple[Charger, ...]:
    """Chargers as the fleet makes them: what they draw and allow is possible, nothing is above the nameplate."""
    rows = []
    for k in range(draw(st.integers(0, most))):
        max_ma = draw(st.sampled_from([0, 5999, 6000, 16_000, 16_500, 32_000, 63_000]))
        allowed, set_ma, ma = (min(draw(currents), max_ma) for _ in range(3))
        phases, lines, known = draw(
            st.sampled_from([(1, 1, True), (2, 1, True), (4, 1, True), (7, 3, True), (7, 1, False)])
        )
        fallback = min(draw(st.sampled_from([0, 0, 6000])), max_ma)
        silent = draw(st.booleans())
        more = draw(currents) if draw(st.booleans()) else 0
        possible = max(fallback, allowed, more) if silent else max(ma, allowed, more)
        rows.append(
            Charger(
                f"p{k}", phases, lines, known, max_ma, fallback, draw(st.integers(0, 5)), ma, allowed, set_ma,
                possible, silent, draw(st.integers(-5000, 60_000)), draw(st.integers(-HOUR_MS, 30 * HOUR_MS)),
            )
        )  # fmt: skip
    return tuple(rows)


@st.composite
def readings(draw: st.DrawFn, at_ms: int) -> Meter:
    """A reading between an empty street and one and a half times the rating."""
    ma = tuple(draw(st.integers(0, RATED_MA * 3 // 2)) for _ in range(3))
    return meter(at_ms, draw(st.integers(0, RATED_VA * 3 // 2)), (ma[0], ma[1], ma[2]))


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Snapshot, int]]:
    """Up to ten ticks, some without a fresh reading."""
    now_ms, reading, out = 0, None, []
    fleet = draw(chargers())
    for _ in range(draw(st.integers(1, 10))):
        now_ms += draw(st.sampled_from([200, 1000, 1000, 1000, 7000]))
        if draw(st.integers(0, 4)):
            reading = draw(readings(now_ms))
        if not draw(st.integers(0, 3)):
            fleet = draw(chargers())
        valley = draw(st.sampled_from([(-1, 0), (0, HOUR_MS), (1, HOUR_MS), (HOUR_MS, 9 * HOUR_MS)]))
        out.append((Snapshot(reading, draw(st.sampled_from([0, 500, 800, 1000])), *valley, fleet), now_ms))
    return out


def play(history: list[tuple[Snapshot, int]]) -> list[tuple[control.State, tuple[Command, ...]]]:
    """State and commands after each tick."""
    state, out = control.start(), []
    for shot, now_ms in history:
        state, commands = control.step(state, shot, SETTINGS, now_ms)
        out.append((state, commands))
    return out


def believed(shot: Snapshot) -> bool:
    """Does the reading show something on every phase on which known, heard cars prove 6 A or more?"""
    for p in range(3):
        proven = sum(c.ma for c in shot.chargers if c.known and not c.silent and c.phases >> p & 1)
        if proven >= MIN_MA and shot.meter.ma[p] * 100 < proven:
            return False
    return True


def over_line(shot: Snapshot, commands: tuple[Command, ...], line_permille: int, phases: int) -> bool:
    """Would base plus all that may flow pass the line in total or on these phases? Written out, not borrowed."""
    mv = MV
    may, may_va = list(shot.meter.ma), shot.meter.s_va
    proven, proven_va = [0, 0, 0], 0
    for c in shot.chargers:
        if not c.silent:
            proven_va += c.ma * c.lines * mv // 1_000_000
            for p in range(3):
                proven[p] += c.ma * (c.phases >> p & 1) * c.known
    may = [max(may[p] - proven[p], 0) for p in range(3)]
    may_va = max(may_va - proven_va, 0)
    for c, command in zip(shot.chargers, commands, strict=True):
        flows = max(command.ma, c.possible_ma)
        may_va += flows * c.lines * mv // 1_000_000
        for p in range(3):
            may[p] += flows * (c.phases >> p & 1)
    most = max(may[p] for p in range(3) if phases >> p & 1)
    return may_va * 1000 > RATED_VA * line_permille or most * 1000 > RATED_MA * line_permille


@given(histories())
@settings(max_examples=400, deadline=None)
def test_any_history_keeps_the_promises(history: list[tuple[Snapshot, int]]) -> None:
    """0 or 6 A to max; no raise without a fresh reading and five of them; nothing raised into what may already flow."""
    sample_ms, fresh = -BIG, 0
    for (shot, now_ms), (_, commands) in zip(history, play(history), strict=True):
        new = shot.meter is not None and shot.meter.at_ms > sample_ms and believed(shot)
        if new:
            fresh = fresh + 1 if now_ms - sample_ms <= 5000 else 1
            sample_ms = now_ms
        assert [c.id for c in commands] == [c.id for c in shot.chargers]
        for c, command in zip(shot.chargers, commands, strict=True):
            assert command.ma == 0 or MIN_MA <= command.ma <= c.max_ma
            if command.ma > c.set_ma:
                assert new
                assert fresh >= 5
                assert not over_line(shot, commands, shot.limit_permille - 15, c.phases)


@given(histories(), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_same_input_same_output_in_any_order(history: list[tuple[Snapshot, int]], random: Any) -> None:  # noqa: ANN401 - hypothesis gives a random.Random
    """Deterministic, and blind to the order of the chargers: only their ids decide."""
    told = [{c.id: c for c in commands} for _, commands in play(history)]
    assert told == [{c.id: c for c in commands} for _, commands in play(history)]
    mixed = []
    for shot, now_ms in history:
        rows = list(shot.chargers)
        random.shuffle(rows)
        mixed.append((Snapshot(*shot[:-1], tuple(rows)), now_ms))
    assert told == [{c.id: c for c in commands} for _, commands in play(mixed)]


@given(
    st.lists(
        st.builds(
            Charger, id=st.sampled_from("abcdef"), phases=st.integers(0, 7), lines=st.sampled_from([1, 3]),
            known=st.booleans(), max_ma=wild, fallback_ma=wild, plug=wild, ma=wild, allowed_ma=wild, set_ma=wild,
            possible_ma=wild, silent=st.booleans(), need_wh=wild, depart_ms=wild,
        ),
        max_size=5, unique_by=lambda c: c.id,
    ),
    st.none() | st.builds(Meter, wild, wild, wild, wild, st.tuples(wild, wild, wild), st.tuples(wild, wild, wild)),
    wild, wild, wild,
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_bad_input_never_raises_an_exception(
    rows: list[Charger], reading: Meter | None, limit: int, valley_in_ms: int, valley_ms: int
) -> None:
    """Numbers that cannot be give defined commands, five ticks long."""
    state = control.start()
    for k in range(1, 6):
        fresh = None if reading is None else Meter(reading.at_ms + k, *reading[1:])
        shot = Snapshot(fresh, limit, valley_in_ms, valley_ms, tuple(rows))
        state, commands = control.step(state, shot, SETTINGS, k * 1000)
        assert len(commands) == len(rows)
        assert all(c.ma == 0 or c.ma >= MIN_MA for c in commands)


def test_nothing_at_all_gives_nothing() -> None:
    """No chargers and no meter: no commands, no exception."""
    assert control.step(control.start(), snapshot(), SETTINGS, 0)[1] == ()
