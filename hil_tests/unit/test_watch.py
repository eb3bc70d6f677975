"""The guard's clock to the millisecond: what it starts with, what it keeps, what it hides, when it changes."""

from __future__ import annotations

import pytest

from edge.core import trust, watch
from edge.core.model import NEVER, Feeder, Meter
from edge.core.watch import HOLDING, LATCHED, NORMAL, RECOVERING, SAFING, SHEDDING, STARTING, State
from hil_tests.unit.given import MV, SETTINGS, at, meter, normal, snapshot


def test_start_knows_nothing_and_allows_nothing() -> None:
    """Field by field: no authority, no reading, no overload; whose meter is named must be that one."""
    nobody, own = (trust.Trust(None, NEVER, trust.FINE, -1, name) for name in ("", "9"))
    feeders = tuple(
        State(SAFING, 7, NEVER, 0, 7, NEVER, NEVER, 0, NEVER, (), NEVER, False, seen, ()) for seen in (nobody, own)
    )
    assert watch.start(7) == State(STARTING, 7, NEVER, 0, NEVER, NEVER, NEVER, 0, NEVER, (), NEVER, False, nobody, ())
    assert watch.start(7, "9", ("", "9")) == watch.start(7)._replace(trust=own, feeders=feeders)
    seen, _ = watch.look(watch.start(7), snapshot((), None, feeders=(Feeder(1, None, 1000),)), SETTINGS, 7)
    assert seen.feeders == feeders[:1]


@pytest.mark.parametrize(("at_feeder", "own_ma"), [(0, [4, 5, 6]), (1, [7, 8, 9])])
def test_feeder_flow_is_what_its_meter_shows_and_no_less_than_its_cars_prove(at_feeder: int, own_ma: list[int]) -> None:
    """By phase; without a meter what the cars prove is all that is known."""
    assert watch.feeder_flow(Feeder(1, None, 0), list(range(13)), at_feeder) == own_ma
    shown = meter(0, 0, (own_ma[0] + 1, 0, own_ma[2] + 1))
    assert watch.feeder_flow(Feeder(1, shown, 1000), list(range(13)), at_feeder) == [
        own_ma[0] + 1,
        own_ma[1],
        own_ma[2] + 1,
    ]


def test_control_is_shown_all_but_the_doubted_feeder() -> None:
    """Of two feeders with meters the late one's is hidden; limits and periods, and the other one, stay."""
    feeders = (Feeder(5000, meter(1000), 1000), Feeder(6000, meter(1000), 2000))
    shot = snapshot((), meter(1000), feeders=feeders)
    for late in (0, 1):
        watches = [normal(), normal()]
        watches[late] = normal()._replace(mode=HOLDING)
        hidden = list(feeders)
        hidden[late] = feeders[late]._replace(meter=None)
        seen = watch.for_control(normal()._replace(feeders=tuple(watches)), shot)
        assert seen == shot._replace(feeders=tuple(hidden))


@pytest.mark.parametrize(("s_va", "doubt"), [(330_000, trust.SUMS), (330_001, trust.RANGE)])
def test_feeder_meter_is_judged_by_the_feeder_s_own_rating(s_va: int, doubt: int) -> None:
    """100,001 mA are 66,000 VA at 220 V: five times that is believed of no cable."""
    shown = Meter(1000, s_va, s_va, 0, (100_000,) * 3, (MV,) * 3, None, -1, "")
    shot = snapshot((), None, feeders=(Feeder(100_001, shown, 1000),))
    state, _ = watch.look(normal(), shot, SETTINGS, 1000)
    assert state.feeders[0].trust.doubt == doubt


def test_feeder_may_feed_back_where_the_site_may() -> None:
    """Its meter shows the sun of its roofs: with leave to export that is a reading, without it a reversed CT."""
    shown = Meter(100_000, -20_000, -20_000, 0, (-30_303,) * 3, (MV,) * 3, None, -1, "")
    shot = snapshot((), None, feeders=(Feeder(100_000, shown, 1000),))
    for exports, doubt in ((True, trust.FINE), (False, trust.SIGN)):
        state, _ = watch.look(normal(), shot, SETTINGS._replace(exports=exports), 100_000)
        assert state.feeders[0].trust.doubt == doubt


@pytest.mark.parametrize(
    ("s_va", "ma", "limit", "over", "hot"),
    [
        (800_000, 1_200_000, 800, False, False),
        (800_001, 1_200_000, 800, True, False),
        (800_000, 1_200_001, 800, True, False),
        (900_000, 1_350_000, 800, True, False),
        (900_001, 1_350_000, 800, True, True),
        (900_000, 1_350_001, 800, True, True),
        (950_001, 1_400_000, 950, True, True),
        (950_000, 1_400_000, 950, False, False),
        (1_000_001, 1_400_000, 1001, True, True),
        (1_000_000, 1_500_000, 1001, False, False),
    ],
)
def test_over_and_hot_begin_one_step_above_their_line(s_va: int, ma: int, limit: int, over: bool, hot: bool) -> None:
    """S or a phase above the limit in force, never above the rating, and above 90 % or the limit, if that is more."""
    shot = snapshot((), meter(100_000, s_va, (ma, ma - 1000, ma - 1000)), limit)
    state, _ = watch.look(normal(), shot, SETTINGS, 100_000)
    assert (state.over_ms, state.hot_ms) == (100_000 if over else NEVER, 100_000 if hot else NEVER)


READ = meter(99_000)
WORN = State(
    NORMAL, 1, 99_000, 20, 5, NEVER, NEVER, 0, NEVER, (3,), 99_000, True,
    trust.Trust(READ, 99_000, trust.FINE, -1, ""), (),
)  # fmt: skip
"""A second after a reading; each field says something."""


def look(state: State, now_ms: int, reading: Meter | None, period_ms: int = 1000) -> State:
    """The state after one tick without feeders; what is shown is the last good reading, or nothing."""
    after, shown = watch.look(state, snapshot((), reading), SETTINGS._replace(period_ms=period_ms), now_ms)
    assert shown == snapshot((), after.trust.good if reading is not None else None)
    return after


def test_reading_moves_what_it_shows_and_nothing_else() -> None:
    """Age, count of fresh readings, since when it is over or hot: by the time it was asked for; all else stays."""
    over = meter(100_000, 910_000)
    after = look(WORN, 100_400, over)
    believed = trust.Trust(over, 100_000, trust.FINE, -1, "")
    assert after == WORN._replace(
        sample_ms=100_000,
        fresh=21,
        over_ms=100_000,
        hot_ms=100_000,
        peak=920,
        peak_ms=100_000,
        seen_ms=100_000,
        trust=believed,
    )
    again = look(after, 100_900, over)
    assert again == after._replace(new=False)
    later = look(again, 101_000, over._replace(at_ms=101_000, s_va=910_001))
    assert (later.mode, later.over_ms, later.hot_ms, later.fresh, later.new) == (SHEDDING, 100_000, 100_000, 22, True)
    below = look(later, 102_000, meter(102_000, 700_000))
    assert below == WORN._replace(sample_ms=102_000, fresh=23, seen_ms=102_000, trust=below.trust)


def test_load_that_rises_by_a_hundredth_while_over_is_news() -> None:
    """From then on what is taken back has its time to land; ripple, and what goes down, is none."""
    state, seen = WORN, []
    for k, ma in enumerate((801, 810, 811, 805, 821, 799, 802)):
        state = look(state, 100_000 + k * 1000, meter(100_000 + k * 1000, ma * 990, (ma * 1500,) * 3))
        seen.append((state.peak, state.peak_ms))
    first, second, third = (801, 100_000), (811, 102_000), (821, 104_000)
    assert seen == [first, first, second, second, third, (0, NEVER), (802, 106_000)]


def test_load_of_a_feeder_is_in_permille_of_its_limit() -> None:
    """Rounded up: a milliampere above is over, and however much it is, nothing is hot."""
    for ma, peak in ((5000, 0), (5001, 1001), (20_000, 4000)):
        shown = meter(100_000, 3 * ma * 220 // 1000, (ma,) * 3)
        shot = snapshot((), meter(100_000), feeders=(Feeder(5000, shown, 1000),))
        ready = normal()._replace(feeders=(normal(),))
        state, _ = watch.look(ready, shot, SETTINGS, 100_000)
        assert (state.feeders[0].peak, state.feeders[0].hot_ms) == (peak, NEVER)


def test_what_came_after_a_gap_is_the_first_of_a_row() -> None:
    """Readings 5 s apart are in a row, 5.001 s are not, although at no tick in between was one that old."""
    for later_ms, fresh in ((5000, 21), (5001, 1)):
        assert look(WORN, 99_000 + later_ms, meter(99_000 + later_ms)).fresh == fresh
        assert look(WORN, 99_000 + later_ms, meter(99_000 + later_ms)).mode == NORMAL


@pytest.mark.parametrize(("period_ms", "hold_ms", "safe_ms"), [(1000, 5000, 10_000), (3000, 9000, 15_000)])
def test_silence_moves_what_it_means_and_nothing_else(period_ms: int, hold_ms: int, safe_ms: int) -> None:
    """HOLD begins the count of fresh readings anew; SAFE notes when, for the way back and for how often."""
    held = WORN._replace(new=False, mode=HOLDING, fresh=0)
    assert look(WORN, 99_000 + hold_ms, None, period_ms) == WORN._replace(new=False)
    assert look(WORN, 99_001 + hold_ms, None, period_ms) == held
    assert look(WORN, 99_000 + safe_ms, None, period_ms) == held
    now_ms = 99_001 + safe_ms
    safe = held._replace(mode=SAFING, safe_ms=now_ms, entries=(3, now_ms))
    assert look(WORN, now_ms, None, period_ms) == safe
    assert look(safe, now_ms + 1, None, period_ms) == safe._replace(safe_ms=now_ms + 1)
    full = look(WORN._replace(entries=(1, 2, 3, 4)), now_ms, None, period_ms)
    assert full.entries == (2, 3, 4, now_ms)


@pytest.mark.parametrize(("period_ms", "hold_ms", "safe_ms"), [(1000, 15_000, 30_000), (10_000, 30_000, 50_000)])
def test_frozen_block_is_no_news(period_ms: int, hold_ms: int, safe_ms: int) -> None:
    """It keeps the meter young, and ages by itself: HOLD after 15 s or 3 periods, SAFE after 30 s or 5, to the ms."""
    for later_ms, mode in ((hold_ms, NORMAL), (hold_ms + 1, HOLDING), (safe_ms, HOLDING), (safe_ms + 1, SAFING)):
        at_ms = 99_000 + later_ms
        after = look(WORN, at_ms, READ._replace(at_ms=at_ms), period_ms)
        assert (after.mode, after.sample_ms, after.new) == (mode, at_ms, False)
        assert after.fresh == (20 if mode == NORMAL else 0)


def test_doubted_reading_does_not_make_it_younger() -> None:
    """The last good reading grows old; a counter that went back is SAFE at once, another device LATCHED for good."""
    lost = meter(100_000)._replace(mv=(MV, 9, MV))
    after = look(WORN, 100_000, lost)
    assert after == WORN._replace(new=False, trust=WORN.trust._replace(at_ms=100_000, doubt=trust.PHASE_LOST, phase=1))
    back = look(WORN, 100_000, meter(100_000)._replace(import_wh=98_000))
    assert (back.mode, back.safe_ms, back.entries, back.fresh) == (SAFING, 100_000, (3, 100_000), 0)
    named = WORN._replace(trust=WORN.trust._replace(identity="1"))
    latched = look(named, 100_000, meter(100_000)._replace(identity="2"))
    assert (latched.mode, latched.entries) == (LATCHED, (3,))
    assert look(latched, 101_000, meter(101_000)._replace(identity="1")).mode == LATCHED


@pytest.mark.parametrize(
    ("entries", "now_ms", "often"),
    [((1, 2, 3, 4), 3_600_000, True), ((1, 2, 3, 4), 3_600_001, False), ((1, 2, 3), 5, False), ((), 5, False)],
)
def test_safe_four_times_within_an_hour_is_often(entries: tuple[int, ...], now_ms: int, often: bool) -> None:
    """Three times are not, nor is the fourth when an hour has passed since the first."""
    assert watch.often(WORN._replace(entries=entries), now_ms) == often


@pytest.mark.parametrize(
    ("entries", "fresh", "since_ms", "mode"),
    [
        ((), 8, 30_000, RECOVERING),
        ((), 9, 29_999, RECOVERING),
        ((), 9, 30_000, NORMAL),
        ((1, 2, 3, 4), 9, 599_999, RECOVERING),
        ((1, 2, 3, 4), 9, 600_000, NORMAL),
    ],
)
def test_way_back_to_the_millisecond(entries: tuple[int, ...], fresh: int, since_ms: int, mode: int) -> None:
    """Ten fresh readings, this one among them, and 30 s since the last reason for SAFE; ten minutes if often."""
    now_ms = 1_000_000
    good = trust.Trust(meter(now_ms - 1000), now_ms - 1000, trust.FINE, -1, "")
    state = WORN._replace(
        mode=SAFING, entries=entries, fresh=fresh, safe_ms=now_ms - since_ms, sample_ms=now_ms - 1000, trust=good
    )
    assert look(state, now_ms, meter(now_ms)).mode == mode


def test_over_for_three_seconds_and_hot_for_one() -> None:
    """By the times of the readings, to the millisecond; what is not over is not over for long."""
    for state, over, hot in (
        (WORN._replace(over_ms=96_001, hot_ms=98_001), False, False),
        (WORN._replace(over_ms=96_000, hot_ms=98_000), True, True),
        (WORN, False, False),
    ):
        assert (watch.over_long(state), watch.hot_long(state)) == (over, hot)


# ------------------------------------------------------------------------------------------------------- feeders
OLD = WORN.trust.good
LOST = meter(100_000, 11_440, (50_000, 1000, 1000))._replace(mv=(MV, 9, MV))


def behind(now_ms: int, state: State, own: Meter | None, reading: Meter | None, limit_ma: int) -> State:
    """The watch of feeder 1, whose meter is a slow one, after a tick; three cars of 16 A draw behind it."""
    rows = tuple(at(f"p{k}", 16_000, feeder=1) for k in range(3))
    feeders = (Feeder(90_000, None, 0), Feeder(limit_ma, own, 2000))
    before = normal()._replace(feeders=(normal(), state))
    after, shown = watch.look(before, snapshot(rows, reading, feeders=feeders), SETTINGS, now_ms)
    assert shown.feeders == (feeders[0], feeders[1]._replace(meter=after.feeders[1].trust.good))
    assert after.feeders[1].hot_ms == NEVER
    return after.feeders[1]


@pytest.mark.parametrize(
    ("mode", "own", "limit_ma", "new", "over"),
    [
        (NORMAL, meter(100_000, 11_440, (50_000, 1000, 1000)), 49_999, True, True),
        (NORMAL, meter(100_000, 11_440, (50_000, 1000, 1000)), 50_000, True, False),
        (NORMAL, meter(100_000, 9240, (40_000, 1000, 1000)), 47_999, True, True),
        (NORMAL, OLD, 30_000, False, False),
        (SAFING, OLD, 30_000, True, True),
        (SAFING, OLD, 48_000, True, False),
        (NORMAL, LOST, 47_999, True, True),
        (NORMAL, LOST, 48_000, True, False),
    ],
    ids=["over", "on it", "less than its cars", "waits", "silent", "silent, on it", "doubted", "doubted, on it"],
)
def test_load_of_a_feeder_is_its_meter_s_or_its_cars(
    mode: int, own: Meter, limit_ma: int, new: bool, over: bool
) -> None:
    """Its own meter has the word as long as it is believed; else what its cars prove at each of the transformer's."""
    state = WORN._replace(mode=mode, safe_ms=99_000)
    after = behind(100_000, state, own, meter(100_000, 300_000), limit_ma)
    assert (after.new, after.seen_ms) == ((True, 100_000) if new else (False, 99_000))
    assert after.over_ms == (100_000 if over else NEVER)
    if own is not OLD:
        return
    blind = behind(100_000, state, own, None, limit_ma)
    assert (blind.new, blind.seen_ms, blind.over_ms) == (False, 99_000, NEVER)


@pytest.mark.parametrize(
    ("now_ms", "mode"), [(105_000, NORMAL), (105_001, HOLDING), (109_000, HOLDING), (109_001, SAFING)]
)
def test_feeder_meter_ages_by_its_own_period(now_ms: int, mode: int) -> None:
    """2 s: HOLD after 6 s, SAFE after 10, whatever the transformer's meter does."""
    assert behind(now_ms, WORN, OLD, meter(now_ms, 300_000), 90_000).mode == mode


@pytest.mark.parametrize(("limit_ma", "over"), [(15_999, True), (16_000, False)])
@pytest.mark.parametrize(("p", "k"), [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)])
def test_feeder_without_a_meter_is_watched_at_the_transformer_s_readings(
    p: int, k: int, limit_ma: int, over: bool
) -> None:
    """By what its own cars prove, on each phase; it ages as the transformer's meter does."""
    others = (at("b", 32_000, feeder=1 - k, phases=7, lines=3), at("c", 32_000))
    rows = (at("a", 16_000, feeder=k, phases=1 << p), *others)
    feeders = [Feeder(90_000, None, 0), Feeder(90_000, None, 0)]
    feeders[k] = Feeder(limit_ma, None, 0)
    shot = snapshot(rows, meter(100_000, 300_000), feeders=tuple(feeders))
    seen, _ = watch.look(normal(), shot, SETTINGS, 100_000)
    after = seen.feeders[k]
    assert (after.mode, after.new, after.over_ms) == (NORMAL, True, 100_000 if over else NEVER)
    for now_ms, mode in ((105_000, NORMAL), (105_001, HOLDING)):
        assert watch.look(seen, shot, SETTINGS, now_ms)[0].feeders[k].mode == mode


@pytest.mark.parametrize(("s_va", "doubt"), [(2815, trust.TOO_LITTLE), (2816, trust.FINE)])
@pytest.mark.parametrize("k", [0, 1])
def test_feeder_meter_is_held_against_its_own_cars(k: int, s_va: int, doubt: int) -> None:
    """48 A of cars, all but the largest on each phase 16: 3520 VA, four fifths of that are 2816; others count not."""
    others = tuple(at(f"o{p}", 20_000, feeder=1 - k, phases=1 << p) for p in range(3))
    own = (at("a", 16_000, feeder=k), at("b", 16_000, feeder=k), at("c", 16_000, feeder=k, phases=2))
    shown = Meter(100_000, s_va, s_va, 0, (40_000, 40_000, 40_000), (MV,) * 3, None, -1, "")
    feeders = [Feeder(90_000, None, 1000)] * 3
    feeders[k] = Feeder(90_000, shown, 1000)
    state, _ = watch.look(normal(), snapshot((*own, *others), None, feeders=tuple(feeders)), SETTINGS, 100_000)
    assert state.feeders[k].trust.doubt == doubt
