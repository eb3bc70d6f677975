"""The control law and the plan: its starts, spread where many come at once, its aims, and who asked for what."""

from __future__ import annotations

import pytest

from edge.core import control
from edge.core.model import FULL, NEVER, REST, STAGGER, WAIT_ROOM, WAIT_VALLEY, Charger
from hil_tests.unit.given import (
    FAR_MS,
    HOUR_MS,
    LINE_MA,
    NEED_MS,
    SETTINGS,
    Area,
    agreed,
    at,
    awake,
    change,
    meter,
    snapshot,
    still,
)

DELAY_MS = 569_155
"""The delay of charger "a" among starts set free together: 97 golden sections of ten minutes, less the whole ones."""


@pytest.mark.parametrize(
    ("since_ms", "reason"),
    [(-1, WAIT_VALLEY), (0, STAGGER), (DELAY_MS - 1, STAGGER), (DELAY_MS, FULL), (600_000, FULL)],
)
def test_car_waits_for_its_start_and_then_its_turn(since_ms: int, reason: int) -> None:
    """A car waits until the moment the plan says, to the millisecond, then for its own delay among all that begin."""
    start_ms = 1_000_000
    now_ms = start_ms + since_ms
    state = awake(now_ms - 5000)
    for k in range(5):
        shot = snapshot((still("a", start_ms=start_ms),), meter(now_ms - 4000 + 1000 * k, 100_000))
        state, (command,) = control.step(state, shot, SETTINGS, now_ms - 4000 + 1000 * k)
    assert command.reason == reason
    assert (command.ma > 0) == (reason == FULL)


@pytest.mark.parametrize(("left_ms", "starts"), [(160_000, True), (161_000, False), (FAR_MS, False)])
def test_little_time_left_little_delay(left_ms: int, starts: bool) -> None:
    """Nobody is delayed by more than a sixteenth of the time it has left."""
    now_ms = 1_000_000
    row = still("a", start_ms=now_ms - 10_000, depart_ms=now_ms + left_ms)
    state = awake(now_ms - 5000)
    for at_ms in range(now_ms - 4000, now_ms + 1000, 1000):
        state, (command,) = control.step(state, snapshot((row,), meter(at_ms, 100_000)), SETTINGS, at_ms)
    assert (command.ma > 0) == starts
    assert (command.reason == STAGGER) == (not starts)


def starts_of(area: Area, seconds: int) -> list[int]:
    """How many cars run after each second."""
    out = []
    for _ in range(seconds):
        area.tick()
        out.append(sum(c.ma > 0 for c in area.wishes.values()))
    return out


def crowd(start_ms: int = NEVER) -> list[Charger]:
    """Ninety cars that take 6 A each: without a delay all of them begin within a minute."""
    return [still(f"p{k * 617 % 1000:03d}", phases=1 << k % 3, max_ma=6000, start_ms=start_ms) for k in range(90)]


def waiting_for_turn(area: Area) -> int:
    """How many cars are delayed among those set free together."""
    return sum(c.reason == STAGGER for c in area.wishes.values())


def test_starts_of_the_valley_are_spread_over_ten_minutes() -> None:
    """Cars whose start is the same moment begin one after the other, the last within ten minutes and a little."""
    area = Area(crowd(20_000), base_va=100_000)
    ran = starts_of(area, 640)
    assert ran[18] == 0
    assert ran[-1] == 90
    assert max(b - a for a, b in zip(ran, ran[60:], strict=False)) <= 25


@pytest.mark.parametrize(("gap_s", "spread"), [(60, False), (61, True)])
def test_starts_after_an_outage_are_spread(gap_s: int, spread: bool) -> None:
    """A meter that was away for more than a minute sets all starts free together, so they are spread."""
    area = Area(crowd(), base_va=790_000)
    area.tick(10)
    area.meter_ok = False
    area.tick(gap_s - 1)
    area.base_va, area.meter_ok = 100_000, True
    area.tick()
    assert (waiting_for_turn(area) > 60) == spread
    area.tick(600)
    assert waiting_for_turn(area) == 0


@pytest.mark.parametrize(("limit", "spread"), [(800, False), (900, False), (799, True)])
def test_starts_after_a_rise_of_the_limit_are_spread(limit: int, spread: bool) -> None:
    """The end of a tight window sets all starts free together, so they are spread; its beginning does not."""
    area = Area(crowd(), base_va=100_000)
    area.limit = limit
    area.tick(3)
    area.limit = 800
    area.tick()
    assert (waiting_for_turn(area) > 60) == spread


def test_first_reading_of_all_spreads_starts() -> None:
    """A controller that begins sees all cars at once and does not begin them together."""
    area = Area(crowd(), base_va=100_000)
    area.control = control.start()
    area.tick()
    assert waiting_for_turn(area) > 60
    assert starts_of(area, 60)[-1] < 25


def test_charge_now_waits_for_nothing() -> None:
    """Who is to be charged at once ignores the plan's start, its rest, and the order in which others begin."""
    late, spread = still("a", start_ms=FAR_MS), still("a", start_ms=0)
    for row, why in ((late, WAIT_VALLEY), (spread, STAGGER)):
        assert agreed((row,), 100_000)[0].reason == why
        assert agreed((change(row, now=True),), 100_000)[0].ma == 32_000
    for now in (False, True):
        state = awake()
        for k in range(1, 10):
            row = at("a", 16_000, now=now) if k < 3 else still("a", now=now)
            state, (command,) = control.step(state, snapshot((row,), meter(k * 1000, 100_000)), SETTINGS, k * 1000)
        assert (command.ma > 0) == now
        assert (command.reason == REST) == (not now)


def test_charge_now_comes_before_all_others() -> None:
    """A relaxed car that is to be charged at once gets the only place before an urgent one."""
    cars = (still("a", depart_ms=NEED_MS), still("b", now=True))
    assert [c.ma for c in agreed(cars, 300_000, ma=(LINE_MA - 6000, 0, 0))] == [0, 6000]


def test_charge_now_outranks_no_limit() -> None:
    """Within the limit: without room there is no current either, and nobody who has just begun is stopped for it."""
    cars = (at("a", 6000, max_ma=6000), still("b", now=True))
    out = agreed(cars, 300_000, ma=(LINE_MA, 0, 0))
    assert [c.ma for c in out] == [6000, 0]
    assert (out[1].reason, out[1].phase) == (WAIT_ROOM, 0)


@pytest.mark.parametrize(("prio", "first"), [(-1, "b"), (0, "b"), (1, "a"), (9, "a")])
def test_a_step_of_priority_is_an_hour(prio: int, first: str) -> None:
    """A car with half an hour more time comes before the other when it has a step of priority."""
    cars = (still("a", depart_ms=5 * HOUR_MS + HOUR_MS // 2, prio=prio), still("b", depart_ms=5 * HOUR_MS))
    out = agreed(cars, 300_000, ma=(LINE_MA - 6000, 0, 0))
    assert [c.id for c in out if c.ma] == [first]


@pytest.mark.parametrize(("aim_wh", "first"), [(9000, "a"), (8999, "a"), (4000, "b"), (-5, "b"), (20_000, "a")])
def test_laxity_counts_what_the_plan_aims_for(aim_wh: int, first: str) -> None:
    """A car of which the plan expects less needs less time, so another may come first; never more than it asked."""
    cars = (
        still("a", depart_ms=5 * HOUR_MS, aim_wh=aim_wh),
        still("b", depart_ms=5 * HOUR_MS + 1800_000),
    )
    out = agreed(cars, 300_000, ma=(LINE_MA - 6000, 0, 0))
    assert [c.id for c in out if c.ma] == [first]


@pytest.mark.parametrize("left_ms", [HOUR_MS, 2 * HOUR_MS])
def test_who_has_what_is_aimed_for_waits_for_the_others(left_ms: int) -> None:
    """However soon it leaves: what is more than its share of a short night is for those who have not got theirs."""
    cars = (still("a", depart_ms=5000 + left_ms, aim_wh=0), still("b", depart_ms=9 * HOUR_MS))
    out = agreed(cars, 300_000, ma=(LINE_MA - 6000, 0, 0))
    assert [c.id for c in out if c.ma] == ["b"]


@pytest.mark.parametrize(("need_wh", "first"), [(1759, "a"), (1761, "b")])
def test_who_has_what_is_aimed_for_goes_on_when_it_is_nearly_done(need_wh: int, first: str) -> None:
    """A quarter of an hour at full current, 1.76 kWh at 32 A, is cheaper to finish than to begin again."""
    cars = (at("a", 32_000, need_wh=need_wh, aim_wh=0, depart_ms=2 * HOUR_MS), still("b", depart_ms=9 * HOUR_MS))
    state = awake(0, *cars)
    for k in range(1, 7):
        state, _ = control.step(state, snapshot(cars, meter(k * 1000, 300_000, (LINE_MA, 0, 0))), SETTINGS, k * 1000)
    assert next(cars[k].id for k in state.review.order) == first


def test_nobody_above_the_minimum_while_minimums_are_little() -> None:
    """With room for twice the minimum of all, everybody gets 6 A before anybody gets more."""
    cars = tuple(still(name, depart_ms=9 * HOUR_MS) for name in "abc")
    gentle = agreed(cars, 300_000, ma=(LINE_MA - 36_000, 0, 0))
    assert [c.ma for c in gentle] == [24_000, 6000, 6000]
    short = agreed(cars, 300_000, ma=(LINE_MA - 35_000, 0, 0))
    assert [c.ma for c in short] == [32_000, 0, 0]
