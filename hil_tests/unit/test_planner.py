"""The planner proposes what a clairvoyant would: wait where it can, begin early where it must, share what is short."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.model import Place
from edge.planner import GIFT_WH, GO_MS, HEDGE, LATE_MS, Habits, Slot, Want, _Fill, expected, propose
from hil_tests.rig.optimum import max_energy_wh

HOUR_MS = 3_600_000
QUARTER_MS = 900_000
MV = 220_000
PLACES = (Place(1, 1, True, -1), Place(2, 1, True, -1), Place(7, 3, True, -1), Place(1, 1, True, 0))
WIDE = 10**9


def night(room_a: float, dear_h: float = 5.0, cheap_h: float = 9.0, dear_room_a: float | None = None) -> list[Slot]:
    """Quarters of an hour from now: dear ones, then the valley; the same room in all unless told."""
    slots = []
    for k in range(round((dear_h + cheap_h) * 4)):
        dear = k < dear_h * 4
        ma = round(1000 * (room_a if not dear or dear_room_a is None else dear_room_a))
        room = (WIDE, WIDE, WIDE, ma, WIDE, WIDE, WIDE)
        slots.append(Slot(k * QUARTER_MS, (k + 1) * QUARTER_MS, 1.0 if dear else 0.0, room))
    return slots


def car(name: str, need_wh: float = 9000.0, depart_h: float = 14.0, **more: object) -> Want:
    """A 7 kW car on phase A."""
    row = {"place": 0, "max_ma": 32_000, **more}
    return Want(name, need_wh=need_wh, depart_ms=round(depart_h * HOUR_MS), **row)  # type: ignore[arg-type]


def test_everybody_waits_when_the_valley_has_room() -> None:
    """Ten cars, room for them all after 23:00: each starts there and gets everything."""
    plan = propose([car(f"c{k}") for k in range(10)], night(100.0), PLACES, MV)
    assert set(plan.start_ms.values()) == {5 * HOUR_MS}
    assert set(plan.expect_wh.values()) == {9000.0}
    assert plan.aim_wh == plan.expect_wh
    assert (set(plan.shares), set(plan.newcomer_ms)) == ({1.0}, {5 * HOUR_MS})


def test_inside_the_valley_nobody_waits() -> None:
    """The first slot is cheap: go, and who comes next goes too."""
    plan = propose([car("a")], night(100.0, dear_h=0.0), PLACES, MV)
    assert (plan.start_ms, set(plan.newcomer_ms)) == ({"a": GO_MS}, {GO_MS})


def test_who_leaves_before_the_valley_goes_now() -> None:
    """A car that is gone by then is not asked to wait; its neighbour is."""
    plan = propose([car("a", depart_h=2.0), car("b")], night(100.0), PLACES, MV)
    assert plan.start_ms == {"a": GO_MS, "b": 5 * HOUR_MS}


def test_early_energy_is_taken_as_late_as_there_is_room_for_it() -> None:
    """The valley lacks 7 kWh; the hours before it have 36: now nobody starts, in the last hours somebody must."""
    cars = [car(f"c{k}") for k in range(8)]
    wide = propose(cars, night(33.0), PLACES, MV)
    assert set(wide.start_ms.values()) == {5 * HOUR_MS}
    tight = propose(cars, night(33.0, dear_h=1.0), PLACES, MV)
    assert GO_MS in tight.start_ms.values()
    assert set(wide.shares) == set(tight.shares) == {1.0}


def test_only_as_many_begin_early_as_are_needed() -> None:
    """20 kWh are lacking in the valley and one hour is left: a few start, the others wait."""
    cars = [car(f"c{k:02d}", 9000.0) for k in range(20)]
    plan = propose(cars, night(82.0, dear_h=1.0), PLACES, MV)
    early = [name for name, start in plan.start_ms.items() if start == GO_MS]
    assert 1 <= len(early) <= 6
    assert set(plan.shares) == {1.0}


def test_running_and_charge_now_are_never_sent_back() -> None:
    """Who runs goes on, and who asked to be charged at once goes, whatever the hour costs."""
    cars = [car("a", running=True), car("b", at_once=True), car("c")]
    assert propose(cars, night(100.0), PLACES, MV).start_ms == {"a": GO_MS, "b": GO_MS, "c": 5 * HOUR_MS}


def test_what_is_short_is_shared_and_small_requests_are_spared() -> None:
    """Half of it can be had: all go at once, everybody's aim is the same part, and a request of 60 Wh is not cut."""
    cars = [car(f"c{k}") for k in range(10)] + [car("tiny", 60.0)]
    plan = propose(cars, night(10.0, dear_h=5.0), PLACES, MV)
    supply_wh = 14 * 10 * 220
    assert set(plan.start_ms.values()) == {GO_MS}
    aims = {plan.aim_wh[f"c{k}"] for k in range(10)}
    assert len(aims) == 1
    assert sum(plan.aim_wh.values()) == pytest.approx(supply_wh, rel=0.03)
    assert aims.pop() == pytest.approx(9000.0 * plan.shares[0] + GIFT_WH)
    assert plan.aim_wh["tiny"] > 60.0 * plan.shares[0]


def test_a_full_phase_cuts_nobody_elses_aim() -> None:
    """Phase A holds half of what its cars ask, B all, and the cars of B wait for the valley as if A were not there."""
    cars = [car(f"a{k}") for k in range(10)] + [car(f"b{k}", place=1) for k in range(10)]
    slots = [Slot(k * QUARTER_MS, (k + 1) * QUARTER_MS, float(k < 20), (16_000, 64_000, 0, 90_000, 0, 0, 0))
             for k in range(56)]  # fmt: skip
    plan = propose(cars, slots, PLACES, MV)
    assert plan.shares[0] == pytest.approx(14 * 16 * 220 / 90_000, abs=0.02)
    assert plan.shares[1] == 1.0
    assert {plan.aim_wh[f"b{k}"] for k in range(10)} == {9000.0}
    assert [{plan.start_ms[f"{p}{k}"] for k in range(10)} for p in "ab"] == [{GO_MS}, {5 * HOUR_MS}]
    assert plan.newcomer_ms[:2] == (GO_MS, 5 * HOUR_MS)
    assert sum(plan.expect_wh[f"b{k}"] for k in range(10)) == pytest.approx(90_000, rel=1e-6)


def test_a_full_transformer_is_shared_alike_and_a_full_phase_before_it() -> None:
    """A can hold a fifth, B and C together are short of the total: A has its fifth, B and C the same share."""
    cars = [car(f"{p}{k}", place=i) for i, p in enumerate("ab") for k in range(10)]
    slots = [Slot(k * QUARTER_MS, (k + 1) * QUARTER_MS, 0.0, (6_000, 64_000, 0, 30_000, 0, 0, 0)) for k in range(56)]
    shares = propose(cars, slots, PLACES, MV).shares
    assert shares[0] == pytest.approx(14 * 6 * 220 / 90_000, abs=0.02)
    assert shares[1] == pytest.approx(14 * 24 * 220 / 90_000, abs=0.02)


def test_a_shortage_of_the_cheap_hours_order_sends_only_those_early_who_cause_it() -> None:
    """Everything fits, but not with the cheap hour filled first: the cars of A are tight, and C waits for its own."""
    wants = [
        Want("a0", 0, 32_000, 32 * 220.0, 3 * HOUR_MS),
        Want("a1", 0, 32_000, 32 * 220.0, 2 * HOUR_MS),
        Want("c0", 1, 32_000, 20 * 220.0, 3 * HOUR_MS),
    ]
    places = [Place(1, 1, True, -1), Place(4, 1, True, -1)]
    # a0 could be charged in the dear hour after the cheap one, a1 in the cheap one, and nobody before it.
    rooms = ((1.0, 12_000), (0.0, 32_000), (1.0, 20_000))
    slots = [
        Slot(h * HOUR_MS + k * QUARTER_MS, h * HOUR_MS + (k + 1) * QUARTER_MS, price, (ma, 0, 100_000, 200_000))
        for h, (price, ma) in enumerate(rooms)
        for k in range(4)
    ]
    plan = propose(wants, slots, places, MV)
    assert plan.shares[1] == 1.0
    assert plan.start_ms["c0"] == plan.newcomer_ms[1] == HOUR_MS


def test_who_comes_later_is_not_served_first_and_found_wanting() -> None:
    """One car is here for two hours, another is expected for the second of them; each needs an hour of the room."""
    here = car("a", 7040.0, depart_h=2.0)
    later = car("~b", 7040.0, depart_h=2.0, arrive_ms=HOUR_MS, known=False)
    slots = [Slot(k * QUARTER_MS, (k + 1) * QUARTER_MS, 0.0, (WIDE, WIDE, WIDE, 32_000, 0, 0, 0)) for k in range(8)]
    assert set(propose([here, later], slots, PLACES, MV).shares) == {1.0}


@pytest.mark.parametrize("feeders", [1, 3, 8])
def test_feeders_that_bind_nobody_change_no_share(feeders: int) -> None:
    """Phase A holds six tenths; however many idle feeders its cars hang on, A is short and B has all."""
    places = [Place(1 << p, 1, True, f) for f in range(feeders) for p in (0, 1)]
    wants = [
        Want(f"c{k}-{j}", k, 32_000, 9400.0, 8 * HOUR_MS)
        for k, place in enumerate(places)
        for j in range((96 if place.phases == 1 else 24) // feeders)
    ]
    room = (round(96 * 9400 * 0.6 / 8 / 0.22), 900_000, 0, 2_000_000, *(900_000,) * (3 * feeders))
    slots = [Slot(k * QUARTER_MS, (k + 1) * QUARTER_MS, 0.0, room) for k in range(32)]
    shares = propose(wants, slots, places, MV).shares
    assert shares[::2] == pytest.approx([0.6] * feeders, abs=0.02)
    assert set(shares[1::2]) == {1.0}


def test_a_few_cars_do_not_ride_on_what_a_search_leaves_over() -> None:
    """The total is short; the few cars on phase B aim for the same share as the hundred on A."""
    cars = [car(f"a{k:03d}") for k in range(100)] + [car(f"b{k}", place=1) for k in range(6)]
    room = (WIDE, WIDE, WIDE, round(106 * 9000 * 0.6 / 14 / 0.22), 0, 0, 0)
    slots = [Slot(k * QUARTER_MS, (k + 1) * QUARTER_MS, 0.0, room) for k in range(56)]
    shares = propose(cars, slots, PLACES, MV).shares
    assert shares[0] == shares[1] == pytest.approx(0.6, abs=0.02)


def test_a_phase_a_feeder_and_three_conductors_count() -> None:
    """Room on phase A alone, none behind the feeder: the car there gets nothing; a three-phase one uses all three."""
    room = (64_000, 32_000, 32_000, WIDE, 0, 0, 0)
    slots = [Slot(k * QUARTER_MS, (k + 1) * QUARTER_MS, 0.0, room) for k in range(4)]
    wants = [
        car("behind", place=3),
        car("three", 50_000.0, max_ma=16_000, place=2),
        car("a", 50_000.0),
        car("b", 50_000.0, place=1),
    ]
    got = propose(wants, slots, PLACES, MV).expect_wh
    assert got["behind"] == 0.0
    assert propose(wants[1:2], slots, PLACES, MV).expect_wh["three"] == pytest.approx(3 * 16 * 220, rel=0.03)
    assert got["a"] <= 32 * 220 + 1


def test_a_promise_says_what_will_be_there_and_why_not_all() -> None:
    """Met; short of time at its own charger; short of room: the energy and the reason, in Wh."""
    calm = propose([car("a"), car("b", 60_000.0, depart_h=1.0)], night(100.0, dear_h=0.0), PLACES, MV)
    assert calm.promise(car("a")) == (9000, "")
    assert calm.promise(car("b", 60_000.0, depart_h=1.0)) == (pytest.approx(7040, abs=5), "stay")
    cars = [car(f"c{k}") for k in range(10)]
    tight = propose(cars, night(10.0), PLACES, MV)
    wh, why = tight.promise(cars[0])
    assert why == "room"
    assert 2000 < wh < 4000


def test_nothing_to_plan_gives_an_empty_proposal() -> None:
    """No cars, no slots, a car that is satisfied, one that has left: defined results, no exception."""
    assert propose([], night(10.0), PLACES, MV).start_ms == {}
    assert propose([car("a")], [], PLACES, MV).start_ms == {}
    plan = propose([car("full", got_wh=9500.0), car("gone", depart_h=-1.0), car("odd", -5.0)], night(10.0), PLACES, MV)
    assert plan.expect_wh["full"] == 9500.0
    assert plan.expect_wh["odd"] == 0.0


cars_strategy = st.lists(
    st.tuples(st.integers(1, 20_000), st.integers(1, 24), st.sampled_from((8_000, 16_000, 32_000))), max_size=8
)


@settings(max_examples=150, deadline=None)
@given(cars=cars_strategy, rooms=st.lists(st.integers(0, 60), min_size=1, max_size=24))
def test_filling_backward_is_within_one_slot_of_the_flow(cars: list[tuple[int, int, int]], rooms: list[int]) -> None:
    """For cars that are here, below one limit: never more than the clairvoyant's energy, and less by at most one slot.

    Within a slot cars are served one after the other, not level, and that slot may be the one that was needed.
    """
    slots = [Slot(k * QUARTER_MS, (k + 1) * QUARTER_MS, 0.0, (WIDE, WIDE, WIDE, a * 1000)) for k, a in enumerate(rooms)]
    wants = [
        Want(f"c{k}", 0, ma, float(wh), min(last, len(rooms)) * QUARTER_MS) for k, (wh, last, ma) in enumerate(cars)
    ]
    places = (Place(0, 1, True, -1),)
    got = sum(c[0] for c in cars) - _Fill(wants, slots, places, MV).short_wh([w.need_wh for w in wants])
    last = np.array([min(c[1], len(rooms)) for c in cars], dtype=np.int64)
    best = max_energy_wh(
        np.zeros(len(cars), dtype=np.int64),
        last,
        np.array([c[0] for c in cars], dtype=np.float64),
        np.array([c[2] * 0.22 / 4 for c in cars], dtype=np.float64),
        np.zeros(len(cars), dtype=np.int64),
        [(np.array(rooms, dtype=np.float64) * 55.0, -1)],
    )
    # The flow rounds each capacity to a whole watt-hour.
    rounding = len(cars) * len(rooms) + len(rooms) + 1
    assert best - max((c[2] * 0.22 / 4 for c in cars), default=0.0) - rounding <= got <= best + rounding
    plan = propose(wants, slots, places, MV)
    assert sum(plan.expect_wh.values()) <= got + 1.0
    assert all(plan.expect_wh.get(w.name, 0.0) <= w.need_wh for w in wants)


# ----------------------------------------------------------------------------------------------- who is still to come
EVENING = Habits(100.0, tuple(k * HOUR_MS for k in range(5)), (14 * HOUR_MS,), 9000.0)


def coming(seen: int, now_h: float, spots: int = 1000) -> float:
    """How many cars are still expected."""
    free = [(0, spots // 2, 32_000), (1, spots - spots // 2, 16_000)]
    return sum(want.count for want in expected(EVENING, seen, free, round(now_h * HOUR_MS)))


def test_before_the_evening_history_and_a_hedge_are_expected() -> None:
    """Nobody has come and nobody should have: the usual number and the hedge on top."""
    assert coming(0, 0.0) == pytest.approx(100.0 * (1.0 + HEDGE))


def test_more_than_usual_mean_more_to_come() -> None:
    """Twice as many as history has by half of the evening: nearly twice as many in all, and half of the hedge."""
    in_all = coming(100, 2.0) + 100.0
    assert 180.0 < in_all / (1.0 + HEDGE / 2.0) < 200.0
    assert coming(100, 2.0) > coming(50, 2.0) > 50.0


def test_fewer_than_usual_come_later_not_never() -> None:
    """Half of the evening passed and nobody came: all are still expected, until well after the usual last one."""
    assert coming(0, 2.0) >= 100.0
    assert coming(60, 4.1) == pytest.approx(40.0, rel=0.1)
    assert coming(60, 4.0 + LATE_MS / HOUR_MS) == 0.0


def test_no_more_are_expected_than_chargers_are_free() -> None:
    """Three free chargers take three cars; none takes none."""
    assert coming(10, 1.0, spots=3) == pytest.approx(3.0)
    assert expected(EVENING, 10, [], HOUR_MS) == []


def test_expected_cars_are_spread_over_places_and_time_and_never_in_the_past() -> None:
    """Each place gets its part, arrivals lie ahead, and none of them is a session that could be commanded."""
    wants = expected(EVENING, 50, [(0, 30, 32_000), (1, 10, 16_000)], 2 * HOUR_MS)
    by_place = {place: sum(w.count for w in wants if w.place == place) for place in (0, 1)}
    assert by_place[0] == pytest.approx(3 * by_place[1])
    assert all(w.arrive_ms > 2 * HOUR_MS and not w.known for w in wants)
    plan = propose(wants, night(100.0), PLACES, MV)
    assert plan.start_ms == {}
