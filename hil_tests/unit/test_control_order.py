"""Who charges: least laxity first, minimum before more, and patience before anybody makes way."""

from __future__ import annotations

import pytest

from edge.core import control
from edge.core.model import (
    CHARGING,
    FULL,
    MIN_MA,
    REST,
    SHARED,
    UNPLUGGED,
    WAIT_ROOM,
    WAIT_TURN,
    WAITING,
    Charger,
    Settings,
)
from hil_tests.unit.given import (
    FAR_MS,
    HOUR_MS,
    LINE_MA,
    LINE_VA,
    MV,
    NEED_MS,
    RATED_MA,
    RATED_VA,
    SETTINGS,
    Area,
    agreed,
    at,
    awake,
    change,
    meter,
    snapshot,
    steps,
    still,
)


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


@pytest.mark.parametrize(("seconds", "starts"), [(239, False), (240, False), (241, True)])
def test_stopped_car_rests_four_minutes(seconds: int, starts: bool) -> None:
    """A car that was stopped is not woken before 240 s are over since it was told."""
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
    state = awake(-1000)
    got = []
    for k in range(1, 20):
        # Every second tick has no reading of its own: nothing is raised there.
        shot = snapshot((still("a"),), meter(k // 2 * 2000, 100_000))
        state, (command,) = control.step(state, shot, SETTINGS, k * 1000)
        got.append(command.ma)
    assert sum(ma > 0 for ma in got) >= 4


SLOW_MS = 9000 * HOUR_MS // (6 * 220)
"""What they take at 6 A."""


def swap(
    minutes: int, laxity_gap_ms: int = 10 * HOUR_MS, tight: bool = False, urgent: Charger | None = None
) -> tuple[Area, list[int]]:
    """Two relaxed cars at 6 A fill phase A; ``minutes`` later an urgent one comes home. Also: how many relaxed ran.

    ``tight``: the plan cannot give everything to a car here, one that waits for the valley.
    """
    base_va = (LINE_MA - 12_500) * 3 * MV // 1_000_000
    cars = [at("a", 6000, max_ma=6000), at("b", 6000, max_ma=6000), still("z", phases=2, max_ma=6000)]
    if tight:
        cars[2] = still("z", max_ma=6000, aim_wh=8000, start_ms=60 * HOUR_MS)
    area = Area(cars, base_va=base_va)
    area.tick(60 * minutes)
    depart_ms = area.now_ms + SLOW_MS + HOUR_MS - 60_000
    for name, more_ms in (("a", 0), ("b", 60_000)):
        area.chargers[name] = change(area.chargers[name], depart_ms=depart_ms + laxity_gap_ms + more_ms)
    area.chargers["u"] = change(urgent or still("u", max_ma=6000), depart_ms=depart_ms)
    ran = []
    for _ in range(40):
        area.tick()
        ran.append(sum(area.commands[k].ma > 0 for k in "ab"))
    return area, ran


def runs(area: Area) -> list[bool]:
    """Who of the two relaxed cars and the urgent one has current."""
    return [area.commands[k].ma > 0 for k in "abu"]


def test_urgent_car_takes_the_place_of_one_relaxed_car() -> None:
    """Rotation: the most relaxed car stops for the urgent one, and only that one."""
    area, ran = swap(16)
    assert runs(area) == [True, False, True]
    assert min(ran) == 1


def test_urgent_car_takes_as_much_as_it_can_use() -> None:
    """A car that can use what two relaxed ones have gets it all: full current in order wastes less."""
    area, _ = swap(16, 60 * HOUR_MS, urgent=still("u"))
    assert runs(area) == [False, False, True]
    assert area.commands["u"].ma == 12_000


def test_car_that_has_just_begun_is_not_swapped_out() -> None:
    """A running car keeps its place for 15 min."""
    area, _ = swap(14)
    assert runs(area) == [True, True, False]
    assert (area.commands["u"].reason, area.commands["u"].phase) == (WAIT_ROOM, 0)


@pytest.mark.parametrize(
    ("tight", "gap_min", "swapped"), [(False, 210, False), (False, 250, True), (True, 15, False), (True, 35, True)]
)
def test_no_swap_for_a_small_difference(tight: bool, gap_min: int, swapped: bool) -> None:
    """A running car keeps its place until another is tighter by 80 % of its laxity, 28 % where room is short."""
    area, _ = swap(16, gap_min * 60_000, tight)
    assert runs(area) == [True, not swapped, swapped]


def test_car_that_makes_way_says_so() -> None:
    """A car stopped for another waits for its turn; then it rests."""
    relaxed, urgent = at("a", 6000, max_ma=6000), still("u", max_ma=6000, depart_ms=SLOW_MS)
    state = awake(0, relaxed, urgent)
    seen = []
    for k in range(1, 7):
        shot = snapshot((relaxed, urgent), meter(k * 1000, 300_000, (LINE_MA, 0, 0)))
        state, out = control.step(state, shot, SETTINGS, k * 1000)
        relaxed = at("a", out[0].ma, max_ma=6000, plug=CHARGING if out[0].ma else WAITING)
        seen.append((out[0].ma, out[0].reason))
    assert seen[3:] == [(6000, FULL), (0, WAIT_TURN), (0, REST)]


def test_order_is_made_anew_every_five_minutes() -> None:
    """A car whose need grows urgent between two reviews waits for the next one, 300 s after the last."""
    relaxed, patient = at("a", 6000, max_ma=6000), still("u", max_ma=6000)
    state = awake(0, relaxed, patient)
    stopped_ms = 0
    for k in range(1, 320):
        urgent = change(patient, depart_ms=SLOW_MS) if k > 10 else patient
        shot = snapshot((relaxed, urgent), meter(k * 1000, 300_000, (LINE_MA, 0, 0)))
        state, out = control.step(state, shot, SETTINGS, k * 1000)
        if not out[0].ma and not stopped_ms:
            stopped_ms = k * 1000
    assert stopped_ms == 305_000


@pytest.mark.parametrize(("at_once", "starts_ms"), [(False, 65_000), (True, 11_000)])
def test_newcomer_gets_its_place_within_a_minute(at_once: bool, starts_ms: int) -> None:
    """A car that has come is ranked 60 s after the last review; one that is to be charged now, at once."""
    relaxed, urgent = at("a", 6000, max_ma=6000), still("u", max_ma=6000, depart_ms=SLOW_MS, now=at_once)
    state = awake(0, relaxed)
    stopped_ms = 0
    for k in range(1, 80):
        rows = (relaxed, urgent) if k > 10 else (relaxed,)
        state, out = control.step(state, snapshot(rows, meter(k * 1000, 300_000, (LINE_MA, 0, 0))), SETTINGS, k * 1000)
        if not out[0].ma and not stopped_ms:
            stopped_ms = k * 1000
    assert stopped_ms == starts_ms


def test_minimum_before_more() -> None:
    """An urgent car gets its 6 A from what a relaxed one has above 6 A; nobody is stopped."""
    relaxed = at("a", 16_000)
    urgent = still("u", depart_ms=NEED_MS + HOUR_MS - 60_000)
    area = Area([relaxed, urgent], base_va=(LINE_MA - 16_500) * 3 * MV // 1_000_000)
    area.tick(30)
    assert area.commands["a"].ma >= MIN_MA
    assert area.commands["u"].ma >= MIN_MA


def test_minimum_comes_from_several_when_one_has_not_enough() -> None:
    """Two relaxed cars that have just begun give what each has above 6 A, the most relaxed first; neither stops."""
    relaxed = (at("a", 9000, depart_ms=FAR_MS), at("b", 10_000, depart_ms=FAR_MS - HOUR_MS))
    urgent = still("u", depart_ms=SLOW_MS + HOUR_MS - 60_000, max_ma=6000)
    out = agreed((*relaxed, urgent), 300_000, ma=(LINE_MA, 100_000, 100_000))
    assert [c.ma for c in out] == [6000, 7000, 0]
    assert out[0].reason == SHARED


def test_swap_waits_for_what_is_already_coming_down() -> None:
    """While the stopped car still shows current, no second one is stopped for the same need before the next review."""
    relaxed = [at(name, 6000, max_ma=6000) for name in "abc"]
    state = awake(0, *relaxed, still("u"))
    stopped = []
    for k in range(1, 310):
        urgent = still("u", max_ma=6000, depart_ms=k * 1000 + SLOW_MS + HOUR_MS // 2)
        shot = snapshot((*relaxed, urgent), meter(k * 1000, 1000, (LINE_MA, 0, 0)))
        state, out = control.step(state, shot, SETTINGS, k * 1000)
        # Told, and drawing all the same.
        relaxed = [change(c, set_ma=o.ma) for c, o in zip(relaxed, out, strict=False)]
        stopped.append(sum(c.set_ma == 0 for c in relaxed))
    assert stopped[3] == 0
    assert set(stopped[4:304]) == {1}
    assert stopped[304] == 2


def test_swap_takes_from_the_phase_that_binds() -> None:
    """A three-phase car short of room on phase B takes it from a car on B, however relaxed those on A are."""
    relaxed = (
        at("a", 6000, max_ma=6000, depart_ms=FAR_MS),
        at("b", 6000, max_ma=6000, phases=2, depart_ms=FAR_MS - HOUR_MS),
    )
    urgent = still("u", phases=7, lines=3, depart_ms=HOUR_MS)
    state = awake(0, *relaxed, urgent)
    for k in range(1, 6):
        shot = snapshot((*relaxed, urgent), meter(k * 1000, 400_000, (LINE_MA - 20_000, LINE_MA, 400_000)))
        state, out = control.step(state, shot, SETTINGS, k * 1000)
    assert [c.ma for c in out] == [6000, 0, 0]


def test_swap_takes_from_any_phase_when_the_total_binds() -> None:
    """A full transformer with free phases: a relaxed car on another phase makes way."""
    relaxed, urgent = at("b", 6000, phases=2), still("u", depart_ms=NEED_MS + HOUR_MS // 2)
    state = awake(0, relaxed, urgent)
    for k in range(1, 6):
        shot = snapshot((relaxed, urgent), meter(k * 1000, LINE_VA, (300_000, 300_000, 300_000)))
        state, out = control.step(state, shot, SETTINGS, k * 1000)
    assert [c.ma for c in out] == [0, 0]


@pytest.mark.parametrize(("now", "laxity_ms"), [(False, 360_000), (True, 360_000), (False, -HOUR_MS)])
def test_an_urgent_three_phase_car_gets_its_place_among_single_phase_ones(now: bool, laxity_ms: int) -> None:
    """Nine cars fill all phases; each of its three is kept free for the urgent one until it has its own."""
    line_va, room_a = RATED_VA * 785 // 1000, 60
    settings_ = Settings(RATED_VA, RATED_MA, 15, 1000, 60_000, 5, False)
    full = [still(f"p{k}", depart_ms=30 * HOUR_MS, phases=1 << k % 3, need_wh=90_000) for k in range(1, 10)]
    rows = [still("p0", need_wh=40_000, phases=7, lines=3, plug=UNPLUGGED), *full]
    area = Area(rows, line_va - room_a * 660, settings_)
    area.tick(900)
    needs_ms = 40_000 * HOUR_MS // 21_120
    area.chargers["p0"] = change(
        area.chargers["p0"], plug=WAITING, now=now, depart_ms=area.now_ms + needs_ms + laxity_ms
    )
    area.tick(300)
    assert area.commands["p0"].ma >= 28_000


def test_a_start_that_waits_for_credit_is_not_overtaken_by_raises() -> None:
    """Below 30 kVA a three-phase start takes half a minute of credit, which less urgent cars leave alone."""
    others = [still(f"p{k}", depart_ms=12 * HOUR_MS, phases=1 << k % 3, need_wh=60_000) for k in range(1, 4)]
    urgent = still("p0", depart_ms=2 * HOUR_MS, need_wh=40_000, phases=7, lines=3)
    area = Area([urgent, *others], 6800, Settings(30_000, 45_000, 15, 1000, 60_000, 5, False))
    area.tick(90)
    assert area.commands["p0"].ma >= MIN_MA
