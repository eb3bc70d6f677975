"""The review: least laxity first, a running car keeps its place, the minimum before more while that is little."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.model import MIN_MA
from edge.core.rank import KEEP_PERMILLE, PRIO_MS, Row, key_ms, nothing, review, useful_ma

HOUR_MS = 3_600_000
BIND = [(0,), (1,), (0, 1, 2), (0, 4)]
LINES = [1, 1, 3, 1]
WIDE = 10_000_000


def row(k: int, key: int, **more: object) -> Row:
    """A waiting car on phase A that can use 32 A."""
    fields = {
        "key": key, "k": k, "place": 0, "have": 0, "costs": 0, "most": 32_000, "aims": 32_000, "locked": False,
        "ready": True, "soon": False, **more,
    }  # fmt: skip
    return Row(**fields)


def gives(rows: list[Row], total: int, a: int = WIDE, feeder: int = WIDE) -> list[int]:
    """What each is given of so much room, mA, by index."""
    count = max(r.k for r in rows) + 1
    return review(list(rows), count, [a, WIDE, WIDE, total, feeder, WIDE, WIDE], BIND, LINES, 0).give


def test_least_laxity_comes_first_at_full_current() -> None:
    """Room for 40 A and four who want 32: the tightest has all, the next what is left, the others nothing."""
    assert gives([row(0, 300), row(1, 100), row(2, 200), row(3, 400)], 40_000) == [0, 32_000, 8000, 0]


def test_minimum_before_more_while_all_minimums_take_half() -> None:
    """Three minimums are 18 A: with 36 A of room everybody gets one first, with 35 A the order decides."""
    assert gives([row(0, 3), row(1, 1), row(2, 2)], 36_000) == [6000, 24_000, 6000]
    assert gives([row(0, 3), row(1, 1), row(2, 2)], 35_000) == [0, 32_000, 0]


def test_nothing_stands_between_zero_and_six() -> None:
    """5 A left over help nobody who has nothing."""
    assert gives([row(k, k) for k in range(4)], 37_000) == [32_000, 0, 0, 0]


def test_a_car_that_has_just_begun_keeps_the_minimum() -> None:
    """However urgent the others are."""
    assert gives([row(0, 9, have=6000, costs=6000, locked=True), row(1, 1)], 38_000) == [6000, 32_000]


def test_a_running_car_gives_way_to_a_start_and_not_to_a_raise() -> None:
    """Two run at 16 A in 32 A of room. A third that waits displaces the relaxed one; without it nobody is stopped."""
    running = [row(0, 9, have=16_000, costs=16_000), row(1, 5, have=16_000, costs=16_000)]
    assert gives([*running, row(2, 1)], 32_000) == [0, 0, 32_000]
    assert gives(running, 32_000)[0] >= MIN_MA


def test_a_less_urgent_start_elsewhere_stops_nobody() -> None:
    """Phase A has 32 A and two cars of 16 run there; on B a relaxed one begins: nobody on A pays for it."""
    rows = [row(0, 9, have=16_000, costs=16_000), row(1, 5, have=16_000, costs=16_000), row(2, 20, place=1)]
    given = gives(rows, WIDE, a=32_000)
    assert given[0] >= MIN_MA
    assert given[2] == 32_000


def test_what_a_running_car_is_known_to_draw_is_what_it_costs() -> None:
    """Set to 32 A and drawing 30, it leaves 6 A of 36: enough for a minimum."""
    rows = [row(0, 1, have=32_000, costs=30_000), row(1, 2)]
    assert gives(rows, 36_000) == [32_000, 6000]


def test_the_aim_comes_before_the_rest() -> None:
    """A tight car that has what is aimed for waits for the rest until others have theirs."""
    assert gives([row(0, 1, aims=0), row(1, 2), row(2, 3)], 32_000) == [0, 32_000, 0]
    assert gives([row(0, 1, aims=0), row(1, 2)], 70_000) == [32_000, 32_000]


def test_each_constraint_binds_its_own() -> None:
    """Phase A full: B goes on, three conductors need all phases. A feeder holds back who hangs on it."""
    rows = [row(0, 1), row(1, 2, place=1), row(2, 3, place=2, most=16_000, aims=16_000)]
    assert gives(rows, WIDE, a=5000) == [0, 32_000, 0]
    assert gives([row(0, 1, place=3), row(1, 2)], WIDE, feeder=10_000) == [10_000, 32_000]


def test_who_is_not_ready_keeps_a_place_in_the_order_and_gets_nothing() -> None:
    """A resting car is ranked, so that it is known; it is given nothing yet."""
    result = review([row(0, 1, ready=False), row(1, 2)], 3, [WIDE] * 7, BIND, LINES, 7)
    assert (result.order, result.served, result.ranked) == ([0, 1], [1], [True, True, False])
    assert (result.give, result.at_ms) == ([0, 32_000, 0], 7)


def test_no_sessions_give_an_empty_review() -> None:
    """An empty street, and no review at all."""
    assert review([], 2, [WIDE] * 4, [], [], 0).give == [0, 0]
    assert nothing().order == []


def test_key_of_a_running_car_counts_less_and_charge_now_least() -> None:
    """A running car keeps its place by a share of its own laxity, in the red too; priority counts in hours."""
    waits = key_ms(10 * HOUR_MS, False, True, False, 0)
    runs = key_ms(10 * HOUR_MS, True, True, False, 0)
    assert waits - runs == 10 * HOUR_MS * KEEP_PERMILLE // 1000
    assert key_ms(-HOUR_MS, True, True, False, 0) < -HOUR_MS
    assert key_ms(10 * HOUR_MS, True, False, False, 0) < runs
    assert key_ms(10 * HOUR_MS, False, True, False, 2) == waits - 2 * PRIO_MS
    assert key_ms(99 * HOUR_MS, False, True, True, -9) < key_ms(-99 * HOUR_MS, True, True, False, 9)


@pytest.mark.parametrize(
    ("need_wh", "period_ms", "ma"),
    [(9000, 1000, 32_000), (1, 1000, 32_000), (0, 1000, 0), (-5, 300_000, 0), (9000, 300_000, 32_000),
     (293, 300_000, 16_000), (300, 300_000, 17_000), (10, 300_000, 6000)],
)  # fmt: skip
def test_no_more_current_than_the_rest_of_the_need_can_use(need_wh: int, period_ms: int, ma: int) -> None:
    """In a period of minutes a session that ends in it gets whole amperes for what is left, never below 6."""
    assert useful_ma(need_wh, 32_000, 1, 220_000, period_ms) == ma


rows_strategy = st.lists(
    st.tuples(
        st.integers(-100, 100), st.integers(0, 3), st.sampled_from((0, 6000, 16_000)),
        st.sampled_from((0, 6000, 32_000)), st.booleans(), st.booleans(),
    ),
    max_size=12,
)  # fmt: skip


@given(rows=rows_strategy, room=st.lists(st.integers(-20_000, 200_000), min_size=7, max_size=7))
def test_no_review_gives_more_than_there_is(rows: list[tuple[int, int, int, int, bool, bool]], room: list[int]) -> None:
    """On no phase, feeder or in total; each gets 0 or 6 A and more, no more than it can use; order does not matter."""
    made = [
        row(
            k,
            key,
            place=place,
            have=have,
            costs=have,
            aims=aims,
            locked=bool(have) and locked,
            ready=bool(have) or ready,
        )
        for k, (key, place, have, aims, locked, ready) in enumerate(rows)
    ]
    result = review(list(made), len(made), room, BIND, LINES, 0)
    assert review(list(reversed(made)), len(made), room, BIND, LINES, 0) == result
    spent = [0] * 7
    for r in made:
        ma = result.give[r.k]
        assert ma == 0 or MIN_MA <= ma <= r.most
        spent[3] += ma * LINES[r.place]
        for i in BIND[r.place]:
            spent[i] += ma
    assert all(spent[i] <= max(room[i], 0) for i in range(7))
