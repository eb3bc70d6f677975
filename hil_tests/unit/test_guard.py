"""The guard: starts with no authority, only lowers, knows the age of its own reading, and ends an overload.

The limit of 80 % stands here a third time, as written-out numbers of a 1000 kVA transformer with 1500 A a phase.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core import guard, trust, watch
from edge.core.model import (
    BOOT,
    FULL,
    HOLD,
    MIN_MA,
    NEVER,
    OVERBOOKED,
    SAFE,
    SHED,
    SILENT,
    Charger,
    Command,
    Feeder,
    Meter,
    Place,
    Settings,
    Snapshot,
)
from edge.core.watch import HOLDING, NORMAL, RECOVERING, SAFING, SHEDDING, STARTING
from hil_tests.unit.given import (
    MV,
    RATED_MA,
    RATED_VA,
    SETTINGS,
    Area,
    at,
    change,
    charger,
    feeder,
    meter,
    normal,
    roomy,
    snapshot,
    still,
    vet,
    wish,
)

LIMIT_VA, LIMIT_MA = 800_000, 1_200_000
HOT_VA = 900_000


def vetted(
    chargers: tuple[Charger, ...],
    wishes: tuple[int, ...],
    reading: Meter,
    state: watch.State | None = None,
    **more: Any,  # noqa: ANN401 - fields of a snapshot
) -> list[Command]:
    """One tick in NORMAL."""
    commands = tuple(wish(c, ma) for c, ma in zip(chargers, wishes, strict=True))
    shot = snapshot(chargers, reading, **more)
    return list(vet(state or normal(), shot, commands, SETTINGS, 100_000)[1])


class Clock:
    """Feeds one guard: readings of ``s_va`` at given times, ticks in between; keeps the last commands."""

    def __init__(self, chargers: tuple[Charger, ...], wishes: tuple[int, ...], row: Settings = SETTINGS) -> None:
        self.chargers, self.row = chargers, row
        self.commands = tuple(wish(c, ma) for c, ma in zip(chargers, wishes, strict=True))
        self.state = watch.start(0)
        self.reading: Meter | None = None
        self.out: tuple[Command, ...] = ()

    def read(self, at_ms: int, s_va: int = 300_000) -> Clock:
        """A tick with a fresh reading."""
        self.reading = meter(at_ms, s_va, roomy(s_va))
        return self.tick(at_ms)

    def tick(self, now_ms: int) -> Clock:
        """A tick with whatever reading there is."""
        shot = snapshot(self.chargers, self.reading)
        self.state, self.out = vet(self.state, shot, self.commands, self.row, now_ms)
        return self

    def run(self, from_s: int, to_s: int, s_va: int = 300_000) -> Clock:
        """A fresh reading each second."""
        for k in range(from_s, to_s):
            self.read(k * 1000, s_va)
        return self


# -------------------------------------------------------------------------------------------------------- authority
@pytest.mark.parametrize(("at_ms", "mode"), [(62_199, STARTING), (62_200, STARTING), (62_201, NORMAL)])
def test_authority_after_one_full_lease(at_ms: int, mode: int) -> None:
    """However good the meter: before a lease with its drift and grace has passed there is no authority."""
    clock = Clock((at("a", 16_000, fallback_ma=6000),), (16_000,)).run(0, 62)
    clock.read(at_ms)
    assert clock.state.mode == mode
    assert (clock.out[0].ma, clock.out[0].reason) == ((6000, BOOT) if mode == STARTING else (16_000, FULL))


@pytest.mark.parametrize(("samples", "mode"), [(0, STARTING), (2, STARTING), (3, NORMAL)])
def test_authority_after_three_fresh_readings(samples: int, mode: int) -> None:
    """However long the wait: without three fresh readings there is no authority."""
    clock = Clock((still(),), (0,)).tick(200_000)
    for k in range(samples):
        clock.read(200_000 + k * 1000)
    assert clock.tick(203_000).state.mode == mode


def test_h2_restarted_controller_sends_nothing_above_fallback() -> None:
    """For a whole lease after a restart every command is at most the lower of present and fallback."""
    rows = (at("a", 16_000, fallback_ma=6000), still("b", fallback_ma=6000), at("c", 16_000))
    clock = Clock(rows, (32_000, 32_000, 32_000))
    for k in range(62):
        clock.read(k * 1000)
        assert [c.ma for c in clock.out] == [6000, 0, 0]
        assert not any(c.renew for c in clock.out)


# ------------------------------------------------------------------------------------------------- age of the meter
@pytest.mark.parametrize(
    ("period_ms", "hold_ms", "safe_ms"),
    [(1000, 5000, 10_000), (2000, 6000, 10_000), (10_000, 30_000, 50_000)],
)
@pytest.mark.parametrize("step_ms", [-1, 0, 1])
def test_m1_meter_silent_holds_then_falls_back(period_ms: int, hold_ms: int, safe_ms: int, step_ms: int) -> None:
    """HOLD after max(5 s, 3 periods), SAFE after max(10 s, 5 periods), to the millisecond, from the request."""
    row = Settings(*SETTINGS[:3], period_ms, *SETTINGS[4:])
    rows = (at("a", 16_000, fallback_ma=6000), still("b"))
    clock = Clock(rows, (16_000, 9000), row).run(0, 100)
    start_ms = clock.state.sample_ms
    assert [c.ma for c in clock.out] == [16_000, 9000]

    clock.tick(start_ms + hold_ms + step_ms)
    assert clock.state.mode == (HOLDING if step_ms > 0 else NORMAL)
    assert [c.ma for c in clock.out] == ([16_000, 0] if step_ms > 0 else [16_000, 9000])

    clock.tick(start_ms + safe_ms + step_ms)
    assert clock.state.mode == (SAFING if step_ms > 0 else HOLDING)
    assert [c.ma for c in clock.out] == ([6000, 0] if step_ms > 0 else [16_000, 0])
    assert [c.reason for c in clock.out] == ([SAFE, SAFE] if step_ms > 0 else [FULL, HOLD])
    assert all(c.renew == (step_ms <= 0) for c in clock.out)


def test_m3_lost_samples_leave_it_normal() -> None:
    """One reading in ten lost, even four in a row: nothing changes."""
    clock = Clock((at("a", 16_000),), (16_000,)).run(0, 100)
    for k in range(100, 200):
        clock.read(k * 1000) if k % 10 and k not in range(151, 155) else clock.tick(k * 1000)
        assert clock.state.mode == NORMAL


def test_m13_age_counts_from_the_request() -> None:
    """A reply that took 6 s is 6 s old when it comes: nothing is raised on it."""
    clock = Clock((still(),), (9000,)).run(0, 100)
    clock.reading = meter(100_000)
    clock.tick(105_001)
    assert clock.state.mode == HOLDING


def test_m14_age_never_goes_backwards() -> None:
    """An older reading after a newer one, or one from the future, is none."""
    clock = Clock((still(),), (9000,)).run(0, 100)
    for at_ms in (98_000, 200_000):
        clock.reading = meter(at_ms)
        clock.tick(99_000)
        assert clock.state.sample_ms == 99_000
        assert clock.out[0].ma == 0


def test_no_reading_at_all_raises_nothing() -> None:
    """A snapshot without a meter, in NORMAL: no exception, no raise, lowering passes."""
    rows = (at("a", 16_000), still("b"))
    commands = (wish(rows[0], 6000), wish(rows[1], 9000))
    state, out = vet(normal(), snapshot(rows), commands, SETTINGS, 100_000)
    assert (state.mode, [c.ma for c in out]) == (NORMAL, [6000, 0])


def test_m18_zeros_while_cars_draw_age_the_last_reading() -> None:
    """Zero on a phase on which cars draw is no sample: HOLD, then SAFE, as if the meter were silent."""
    clock = Clock((at("a", 16_000, fallback_ma=6000), still("b")), (16_000, 9000)).run(0, 100)
    modes = []
    for k in range(100, 115):
        clock.reading = meter(k * 1000, 200_000, (0, 300_000, 300_000))
        modes.append(clock.tick(k * 1000).state.mode)
        assert clock.out[1].ma == 0
    assert modes == [NORMAL] * 5 + [HOLDING] * 5 + [SAFING] * 5


@pytest.mark.parametrize(("seconds", "mode"), [(29, RECOVERING), (30, RECOVERING), (31, NORMAL)])
def test_way_back_from_safe(seconds: int, mode: int) -> None:
    """Back to NORMAL 30 s after the last reason for SAFE, with fresh readings all the while."""
    clock = Clock((still(),), (0,)).run(0, 100)
    clock.tick(109_001)
    clock.run(110, 109 + seconds)
    assert clock.tick(109_000 + seconds * 1000).state.mode == mode


def test_way_back_from_safe_needs_ten_readings() -> None:
    """Time alone does not lead back: nine readings are not enough."""
    row = Settings(*SETTINGS[:3], 10_000, *SETTINGS[4:])
    clock = Clock((still(),), (0,), row).run(0, 100)
    clock.tick(200_000)
    modes = [clock.read(200_000 + k * 10_000).state.mode for k in range(1, 11)]
    assert modes == [RECOVERING] * 9 + [NORMAL]


def test_safe_too_often_takes_ten_minutes() -> None:
    """The fourth time in an hour the way back takes 10 min instead of 30 s; three times do not."""
    clock = Clock((still(),), (0,)).run(0, 100)
    back = []
    for now_s in (1000, 2000, 3000, 3500):
        clock.run(now_s - 20, now_s)
        clock.tick(now_s * 1000 + 20_000)
        assert clock.state.mode == SAFING
        k = now_s + 21
        while clock.read(k * 1000).state.mode == RECOVERING:
            k += 1
        back.append(k - now_s - 20)
    assert back[:3] == [30, 30, 30]
    assert back[3] == 600


# ------------------------------------------------------------------------------------------- the meter of a feeder
class Feeding:
    """An area of two cars at 16 A, one of them behind a feeder with a meter; each tick both meters or one are read."""

    def __init__(self, limit_ma: int = 100_000, wishes: tuple[int, int] = (20_000, 20_000)) -> None:
        self.state = watch.start(0)
        self.rows = (at("a", 16_000, fallback_ma=6000, feeder=0), at("b", 16_000, fallback_ma=6000))
        self.wishes = tuple(wish(row, ma) for row, ma in zip(self.rows, wishes, strict=True))
        self.limit_ma = limit_ma
        self.behind: Meter | None = None
        self.out: list[Command] = []

    def tick(self, second: int, residents_ma: int | None = 10_000) -> Feeding:
        """One second; None: the feeder's meter does not answer."""
        if residents_ma is not None:
            seen = snapshot(self.rows, meter(second * 1000), feeders=(feeder(0, (residents_ma, 0, 0)),))
            self.behind = seen.feeders[0].meter
        feeders = (Feeder(self.limit_ma, self.behind, 1000),)
        shot = snapshot(self.rows, meter(second * 1000, 300_000), feeders=feeders)
        self.state, out = vet(self.state, shot, self.wishes, SETTINGS, second * 1000)
        self.out = list(out)
        return self

    def run(self, first: int, last: int, residents_ma: int | None = 10_000) -> Feeding:
        """Ticks in a row."""
        for second in range(first, last + 1):
            self.tick(second, residents_ma)
        return self


def test_feeder_meter_silent_stops_only_its_own() -> None:
    """HOLD after 5 s, fallback after 10 s, back after 30 s of readings: behind the feeder; elsewhere all goes on."""
    area = Feeding().run(0, 100)
    assert [c.ma for c in area.out] == [20_000, 20_000]
    area.run(101, 105, None)
    assert [c.ma for c in area.out] == [20_000, 20_000]
    area.tick(106, None)
    assert [(c.ma, c.reason, c.phase, c.renew) for c in area.out] == [
        (16_000, HOLD, 4, True),
        (20_000, FULL, -1, True),
    ]
    area.run(107, 111, None)
    assert [(c.ma, c.reason, c.phase, c.renew) for c in area.out] == [(6000, SAFE, 4, False), (20_000, FULL, -1, True)]
    area.run(112, 140)
    assert [c.ma for c in area.out] == [6000, 20_000]
    assert [c.ma for c in area.tick(141).out] == [20_000, 20_000]


def test_feeder_whose_meter_never_spoke_stays_at_fallback() -> None:
    """A meter that is configured and says nothing is no empty cable."""
    area = Feeding().run(0, 200, None)
    assert [c.ma for c in area.out] == [6000, 20_000]


def test_feeder_meter_that_shows_nothing_while_cars_draw_is_not_believed() -> None:
    """16 A are drawn behind it and it shows 0: its last good reading grows old."""
    area = Feeding().run(0, 100).run(101, 111, -16_000)
    assert [c.reason for c in area.out] == [SAFE, FULL]


def test_overloaded_feeder_is_cut_by_its_own_meter() -> None:
    """90 A of residents and 16 A of a car on a cable for 100 A: after 3 s 1.5 times the excess goes, the rest stays."""
    area = Feeding(wishes=(16_000, 16_000)).run(0, 100).run(101, 103, 90_000)
    assert [c.ma for c in area.out] == [16_000, 16_000]
    area.tick(104, 90_000)
    assert [(c.ma, c.reason, c.phase) for c in area.out] == [(7000, SHED, 4), (16_000, FULL, -1)]
    area.rows = (at("a", 7000, feeder=0), area.rows[1])
    assert [c.ma for c in area.run(105, 106, 90_000).out] == [7000, 16_000]


def test_silent_feeder_meter_does_not_hide_its_cars_from_an_overloaded_transformer() -> None:
    """Control wants 0 A below a fallback of 6 A: the charger is told so on, for when its lease ends it would take 6."""
    area = Feeding(wishes=(0, 20_000)).run(0, 100).run(101, 111, None)
    assert [(c.ma, c.renew) for c in area.out] == [(0, True), (20_000, True)]


def test_overloaded_feeder_is_cut_although_the_transformers_meter_is_silent() -> None:
    """SAFE is the fallback current; where a feeder's own meter shows that even this is too much, less is told."""
    rows = tuple(at(f"p{k}", 6000, fallback_ma=6000, feeder=0) for k in range(4))
    wishes = tuple(wish(c, 6000) for c in rows)
    state, out = normal(), ()
    for k in range(20):
        seen = snapshot(rows, meter(100_000 + k * 1000), feeders=(feeder(30_000, (18_000, 0, 0)),))
        shot = seen._replace(meter=None)
        state, out = vet(state, shot, wishes, SETTINGS, 100_000 + k * 1000)
    assert state.mode == SAFING
    # 42 A on a cable for 30: 18 A must go, three cars of four.
    assert sorted((c.ma, c.reason == SHED, c.renew) for c in out) == [(0, True, True)] * 3 + [(6000, False, False)]


@pytest.mark.parametrize("fallback_ma", [6000, 0])
def test_a_car_at_a_fallback_that_is_too_much_is_told_less(fallback_ma: int) -> None:
    """Over the limit, control says 0 and the charger, its lease over, takes 6 A by itself: 0 is said until it obeys.

    With a fallback of 0 it has its turn.
    """
    row = at("a", 0, ma=6000, allowed_ma=6000, possible_ma=6000, fallback_ma=fallback_ma)
    command = Command("a", 0, SAFE, -1, False)
    state = normal()._replace(over_ms=90_000)
    _, (out,) = vet(state, snapshot((row,), meter(100_000, LIMIT_VA + 1000)), (command,), SETTINGS, 100_000)
    assert (out.ma, out.renew) == (0, True)


def test_what_chargers_prove_counts_where_the_feeder_meter_shows_less() -> None:
    """48 A are drawn on a cable for 40, and its meter, its CT wrong, shows 20: that is over the limit all the same."""
    rows = tuple(at(f"p{k}", 16_000, feeder=0) for k in range(3))
    state, out = normal(), ()
    for k in range(4):
        now = 100_000 + k * 1000
        own = meter(now, 4400, (20_000, 0, 0))
        shot = snapshot(rows, meter(now, 300_000), feeders=(Feeder(40_000, own, 1000),))
        state, out = vet(state, shot, tuple(wish(c, 16_000) for c in rows), SETTINGS, now)
    assert sum(c.ma for c in out) == 36_000


@pytest.mark.parametrize("blind", [False, True])
def test_overloaded_feeder_without_a_meter_is_cut_by_what_its_chargers_say(blind: bool) -> None:
    """Three cars of 16 A on a cable for 40 A: after 3 s 12 A go, and nobody behind it is raised; with a meter only."""
    rows = (*(at(f"p{k}", 16_000, feeder=0) for k in range(3)), at("q", 16_000))
    wishes = tuple(wish(c, 20_000) for c in rows)
    state, out = normal(), ()
    for k in range(4):
        reading = None if blind else meter(100_000 + k * 1000, 300_000)
        shot = snapshot(rows, reading, feeders=(feeder(40_000),))
        state, out = vet(state, shot, wishes, SETTINGS, 100_000 + k * 1000)
    if blind:
        assert [c.ma for c in out] == [16_000] * 4
    else:
        assert [c.ma for c in out] == [6000, 14_000, 16_000, 20_000]
        assert [c.phase for c in out[:2]] == [4, 4]


# -------------------------------------------------------------------------------------------- what may flow at most
@pytest.mark.parametrize(("spare_ma", "ma"), [(-1, 0), (0, 9000), (1, 9000)])
def test_guard_line_is_the_limit_on_each_phase(spare_ma: int, ma: int) -> None:
    """A raise passes while base and all that may flow stay at 80 % of the phase, to the milliampere."""
    for p in range(3):
        ma3 = [100_000] * 3
        ma3[p] = LIMIT_MA - 9000 - spare_ma
        row = still(phases=1 << p)
        out = vetted((row,), (9000,), meter(100_000, 300_000, (ma3[0], ma3[1], ma3[2])))
        assert (out[0].ma, out[0].reason) == (ma, FULL if ma else OVERBOOKED)


@pytest.mark.parametrize(("spare_va", "ma"), [(-1, 0), (0, 9000), (1, 9000)])
def test_guard_line_is_the_limit_in_total(spare_va: int, ma: int) -> None:
    """The same for the transformer as a whole, to the volt-ampere."""
    base_va = LIMIT_VA - 9 * 220 - spare_va
    reading = meter(100_000, base_va, roomy(base_va))
    assert vetted((still(),), (9000,), reading)[0].ma == ma


def test_full_phase_blocks_only_its_own() -> None:
    """A raise on another phase passes; a lowering always does."""
    rows = (still("a"), still("b", phases=2), at("c", 16_000))
    out = vetted(rows, (9000, 9000, 6000), meter(100_000, 300_000, (LIMIT_MA, 100_000, 100_000)))
    assert [c.ma for c in out] == [0, 9000, 6000]


@pytest.mark.parametrize("p", range(3))
@pytest.mark.parametrize(("spare_ma", "ma"), [(-1, 0), (0, 9000), (1, 9000)])
def test_guard_line_of_a_feeder(p: int, spare_ma: int, ma: int) -> None:
    """A raise passes while all that may flow on its feeder stays within the feeder's limit, to the milliampere."""
    rows = (still("a", feeder=1, phases=1 << p), at("b", 6000, feeder=1, phases=7, lines=3), at("c", 32_000, feeder=0))
    others = [0, 0, 0]
    others[p] = 2000
    feeders = (feeder(16_000), feeder(17_000 + spare_ma, (others[0], others[1], others[2])))
    out = vetted(rows, (9000, 6000, 32_000), meter(100_000, 300_000), feeders=feeders)
    assert [c.ma for c in out] == [ma, 6000, 32_000]
    assert out[0].reason == (FULL if ma else OVERBOOKED)


def test_full_feeder_blocks_only_its_own() -> None:
    """Behind a full feeder nothing is raised; elsewhere, and on its other phases, it is; a lowering always passes."""
    rows = (
        still("a", feeder=0), still("b"), still("c", feeder=1), still("d", feeder=0, phases=2),
        at("e", 16_000, feeder=0),
    )  # fmt: skip
    feeders = (feeder(20_000, (20_000, 0, 0)), feeder(20_000))
    out = vetted(rows, (9000, 9000, 9000, 9000, 6000), meter(100_000, 300_000), feeders=feeders)
    assert [c.ma for c in out] == [0, 9000, 9000, 9000, 6000]


def test_settled_charger_lends_what_it_leaves() -> None:
    """What a settled charger leaves of what it may draw, less 1 A, is there for others; else nothing is."""
    reading = meter(100_000, 300_000, (LIMIT_MA - 16_000, 100_000, 100_000))
    for settled, silent, ma, want in ((True, False, 15_000, 15_000), (True, False, 15_001, 0), (False, False, 9000, 0)):
        rows = (at("a", 32_000, ma=16_000, settled=settled, silent=silent), still("b"))
        assert vetted(rows, (32_000, ma), reading)[1].ma == want
    loud = (at("a", 32_000, ma=0, possible_ma=32_000, settled=True, silent=True), still("b"))
    assert vetted(loud, (32_000, 9000), reading)[1].ma == 0


@pytest.mark.parametrize(("spare_ma", "ma"), [(-1, 0), (0, 16_000), (1, 16_000)])
def test_settled_charger_lends_nothing_of_its_own_raise(spare_ma: int, ma: int) -> None:
    """Two cars that have waited for a minute are raised to 16 A each: that takes 32 A of room, to the milliampere."""
    rows = (still("a", settled=True), still("b", settled=True))
    reading = meter(100_000, 300_000, (LIMIT_MA - 32_000 - spare_ma, 100_000, 100_000))
    assert [c.ma for c in vetted(rows, (16_000, 16_000), reading)] == [ma, ma]


@pytest.mark.parametrize(("spare_ma", "ma"), [(-1, 0), (0, 9000), (1, 9000)])
def test_lending_is_capped_at_three_percent(spare_ma: int, ma: int) -> None:
    """Ten settled chargers leave 150 A; the guard counts on 45 A of it, to the milliampere."""
    rows = (*(at(f"a{k}", 32_000, ma=16_000, settled=True) for k in range(10)), still("b"))
    base_ma = LIMIT_MA - 320_000 - 9000 + 45_000 - spare_ma
    out = vetted(rows, (*[32_000] * 10, 9000), meter(100_000, 300_000, (base_ma + 160_000, 100_000, 100_000)))
    assert out[-1].ma == ma


def test_feeder_lends_of_its_own_limit() -> None:
    """On a feeder, too, 3 % of its own limit may be lent: 3 A of 100 A."""
    rows = (at("a", 32_000, ma=6000, settled=True, feeder=0), still("b", feeder=0))
    for others_ma, ma in ((62_000, 9000), (62_001, 0)):
        out = vetted(rows, (32_000, 9000), meter(100_000, 300_000), feeders=(feeder(100_000, (others_ma, 0, 0)),))
        assert out[1].ma == ma


def test_possible_current_counts_not_the_wish() -> None:
    """What a charger may still draw from an earlier setpoint is spent until it is disproved."""
    rows = (charger("a", ma=0, allowed_ma=0, set_ma=6000, possible_ma=32_000), still("b"))
    reading = meter(100_000, 300_000, (LIMIT_MA - 32_000 - 8999, 100_000, 100_000))
    assert [c.ma for c in vetted(rows, (6000, 9000), reading)] == [6000, 0]


def test_c12_silent_charger_is_neither_raised_nor_renewed() -> None:
    """Who is not heard gets no more than it has, and no renewal."""
    row = at("a", 10_000, silent=True)
    out = vetted((row,), (16_000,), meter(100_000, 300_000))
    assert (out[0].ma, out[0].reason, out[0].renew) == (10_000, SILENT, False)


def test_lease_that_ended_is_no_present_current() -> None:
    """What was set long ago and flows no more is a raise when it is wanted again."""
    row = charger(ma=6000, allowed_ma=6000, set_ma=32_000, possible_ma=6000, fallback_ma=6000)
    assert vetted((row,), (32_000,), meter(100_000, LIMIT_VA))[0].ma == 6000


# ------------------------------------------------------------------------------------------------------- shedding
def shed(over_va: int, after_ms: int, rows: tuple[Charger, ...], wishes: tuple[int, ...]) -> list[Command]:
    """Two readings ``after_ms`` apart, ``over_va`` above the limit."""
    clock = Clock(rows, wishes)
    clock.state = normal()
    clock.read(100_000, LIMIT_VA + over_va)
    return list(clock.read(100_000 + after_ms, LIMIT_VA + over_va).out)


@pytest.mark.parametrize(("after_ms", "cut"), [(2999, False), (3000, True), (3001, True)])
def test_shed_after_three_seconds_over(after_ms: int, cut: bool) -> None:
    """Over the limit for 3 s of readings: cut; a moment less: not yet."""
    out = shed(10_000, after_ms, (at("a", 32_000),), (32_000,))
    assert (out[0].ma < 32_000) == cut


@pytest.mark.parametrize(("over_va", "cut"), [(-1, False), (0, False), (1, True)])
def test_shed_line_to_the_volt_ampere(over_va: int, cut: bool) -> None:
    """On the limit nothing is shed, one VA above it is."""
    clock = Clock((at("a", 32_000),), (32_000,))
    clock.state = normal()
    for at_ms in (100_000, 104_000):
        clock.reading = meter(at_ms, LIMIT_VA + over_va, roomy(LIMIT_VA + over_va))
        clock.tick(at_ms)
    assert (clock.out[0].ma < 32_000) == cut


@pytest.mark.parametrize(("over_ma", "cut"), [(-1, False), (0, False), (1, True)])
@pytest.mark.parametrize("p", range(3))
def test_g4_shed_line_on_one_phase_to_the_milliampere(p: int, over_ma: int, cut: bool) -> None:
    """Any one phase above 80 % of its current is an overload, with the total at 70 %; only its own cars are cut."""
    rows = tuple(at(name, 32_000, phases=1 << k) for k, name in enumerate("abc"))
    ma3 = [900_000] * 3
    ma3[p] = LIMIT_MA + over_ma
    clock = Clock(rows, (32_000,) * 3)
    clock.state = normal()
    for at_ms in (100_000, 104_000):
        clock.reading = meter(at_ms, 700_000, (ma3[0], ma3[1], ma3[2]))
        clock.tick(at_ms)
    assert [c.ma < 32_000 for c in clock.out] == [cut and k == p for k in range(3)]


def test_shed_cuts_one_and_a_half_times_the_excess_the_largest_first() -> None:
    """8 kVA too much is 12 kVA cut: 55 A on one conductor, from who draws most, whole amperes down."""
    rows = (at("a", 16_000), at("b", 32_000, phases=2), at("c", 30_000, phases=4), at("d", 6000))
    out = shed(8000, 4000, rows, (16_000, 32_000, 30_000, 6000))
    assert [c.ma for c in out] == [11_000, 6000, 6000, 6000]
    assert [c.reason for c in out] == [SHED, SHED, SHED, FULL]


def test_shed_cuts_to_zero_only_when_six_is_not_enough() -> None:
    """Everybody at 6 A first, then off."""
    rows = (at("a", 10_000), at("b", 8000, phases=2))
    assert [c.ma for c in shed(600, 4000, rows, (10_000, 8000))] == [6000, 7000]
    assert [c.ma for c in shed(1400, 4000, rows, (10_000, 8000))] == [0, 6000]
    assert [c.ma for c in shed(14_000, 4000, rows, (10_000, 8000))] == [0, 0]


def test_shed_counts_what_control_takes_back_in_the_same_tick() -> None:
    """What control has lowered enough by itself is not cut twice."""
    rows = (at("a", 32_000), at("b", 32_000, phases=2))
    assert [c.ma for c in shed(2000, 4000, rows, (16_000, 32_000))] == [16_000, 32_000]


def test_c1_shed_does_not_wait_for_a_charger_that_disobeys() -> None:
    """What was taken back 10 s ago and still flows is not coming back: the others give instead."""
    rows = (charger("a", set_ma=0, allowed_ma=0, ma=32_000, possible_ma=32_000), at("b", 32_000, phases=2))
    clock = Clock(rows, (0, 32_000))
    clock.state = normal()
    told = [clock.read(100_000 + k * 1000, LIMIT_VA + 3000).out[1].ma for k in range(12)]
    assert told == [32_000] * 10 + [11_000] * 2


def test_c7_liar_does_not_stop_the_shedding() -> None:
    """A charger that claims to draw more than all others together blocks the cut for 10 s at most."""
    rows = (charger("a", set_ma=0, allowed_ma=0, ma=63_000, possible_ma=63_000), at("b", 32_000, phases=2))
    clock = Clock(rows, (0, 32_000))
    clock.state = normal()
    clock.run(100, 111, LIMIT_VA + 5000)
    assert clock.out[1].ma < 32_000


def test_each_reading_cuts_once() -> None:
    """A slow meter is not acted on again each second: what it shows cannot be cured before its next reading."""
    clock = Clock((at("a", 32_000),), (32_000,), Settings(*SETTINGS[:3], 10_000, *SETTINGS[4:]))
    clock.state = normal()
    clock.read(100_000, LIMIT_VA + 2000)
    assert clock.read(110_000, LIMIT_VA + 2000).out[0].ma == 18_000
    clock.chargers, clock.commands = (at("a", 18_000),), (wish(clock.chargers[0], 18_000),)
    for k in range(111, 120):
        assert clock.tick(k * 1000).out[0].ma == 18_000
    assert clock.read(120_000, LIMIT_VA + 2000).out[0].ma == 0


def test_nobody_is_raised_while_others_are_shed() -> None:
    """I22: shedding raises nobody, on any phase, not even one that draws against its word."""
    rows = (at("a", 32_000), still("b", phases=2), charger("c", set_ma=0, allowed_ma=0, ma=7000, possible_ma=7000))
    clock = Clock(rows, (32_000, 9000, 9000))
    clock.state = normal()
    for at_ms in (100_000, 104_000):
        clock.reading = meter(at_ms, LIMIT_VA - 100_000, (LIMIT_MA + 1000, 300_000, 300_000))
        clock.tick(at_ms)
    assert [c.ma for c in clock.out[1:]] == [0, 0]


@pytest.mark.parametrize(("after_ms", "cut"), [(999, False), (1000, True), (1001, True)])
def test_over_ninety_two_readings_a_second_apart_cut(after_ms: int, cut: bool) -> None:
    """Above 90 % nothing waits for 3 s: the second reading cuts, if it is one second later."""
    out = shed(100_001, after_ms, (at("a", 32_000),), (32_000,))
    assert (out[0].ma < 32_000) == cut


@pytest.mark.parametrize(("step_va", "cut"), [(-1, False), (0, False), (1, True)])
def test_ninety_percent_to_the_volt_ampere(step_va: int, cut: bool) -> None:
    """On 90 % it is an overload like any other."""
    clock = Clock((at("a", 32_000),), (32_000,))
    clock.state = normal()
    for at_ms in (100_000, 101_000):
        clock.reading = meter(at_ms, HOT_VA + step_va, roomy(HOT_VA + step_va))
        clock.tick(at_ms)
    assert (clock.out[0].ma < 32_000) == cut


def test_m21_one_reading_over_ninety_cuts_nothing() -> None:
    """A single spike sheds nobody, whatever its height."""
    clock = Clock((at("a", 32_000),), (32_000,))
    clock.state = normal()
    clock.read(100_000, 5_000_000)
    for k in range(101, 105):
        assert clock.read(k * 1000).out[0].ma == 32_000


@pytest.mark.parametrize(("after_ms", "zero"), [(9999, False), (10_000, False), (10_001, True)])
def test_all_to_zero_only_after_ten_seconds_over_ninety(after_ms: int, zero: bool) -> None:
    """Still above 90 % after 10 s: everybody off, also who could do nothing about it."""
    rows = (at("a", 6000), at("b", 32_000), *(at(f"c{k:03d}", 32_000) for k in range(30)))
    wishes = tuple(c.set_ma for c in rows)
    clock = Clock(rows, wishes)
    clock.state = normal()
    clock.reading = meter(100_000, HOT_VA + 1, (LIMIT_MA, LIMIT_MA + 1, LIMIT_MA))
    clock.tick(100_000)
    clock.reading = meter(100_000 + after_ms, HOT_VA + 1, (LIMIT_MA, LIMIT_MA + 1, LIMIT_MA))
    clock.tick(100_000 + after_ms)
    assert ({c.ma for c in clock.out} == {0}) == zero


@pytest.mark.parametrize(("ma", "given_ma"), [(-1, 0), (0, 0), (1, 0), (5999, 0), (6000, 6000), (16_000, 16_000)])
def test_c4_no_value_that_no_charger_may_take(ma: int, given_ma: int) -> None:
    """Nothing between 0 and 6 A, and nothing above the charger's own maximum, whatever control wants."""
    reading = meter(100_000, 300_000)
    assert vetted((at("a", 16_000, max_ma=16_000),), (ma,), reading)[0].ma == given_ma
    assert vetted((at("a", 32_000, max_ma=16_000),), (17_000,), reading)[0].ma == 16_000


def test_limit_above_ninety_is_not_called_hot() -> None:
    """Where the schedule allows 95 %, 92 % is no overload."""
    row = at("a", 32_000)
    state = normal()
    for k in range(20):
        now_ms = 100_000 + k * 1000
        shot = snapshot((row,), meter(now_ms, 920_000), limit=950)
        state, out = vet(state, shot, (wish(row, 32_000),), SETTINGS, now_ms)
    assert out[0].ma == 32_000


def test_limit_above_the_rating_is_the_rating() -> None:
    """The guard knows no limit above 100 %, whatever it is told."""
    row = at("a", 32_000)
    state = normal()
    for k in range(5):
        now_ms = 100_000 + k * 1000
        shot = snapshot((row,), meter(now_ms, RATED_VA + 1), limit=5000)
        state, out = vet(state, shot, (wish(row, 32_000),), SETTINGS, now_ms)
    assert out[0].ma < 32_000


def test_g1_overload_ends_within_fifteen_seconds_without_control() -> None:
    """Control frozen at what it last wanted, residents +20 %: the guard alone brings loading below 80 % in 15 s."""
    cars = [at(f"p{k:03d}", 16_000, phases=1 << k % 3) for k in range(90)]
    area = Area(cars, base_va=480_000)
    area.guard = normal(1000)
    area.base_va += 96_000
    for k in range(15):
        area.now_ms += 1000
        rows = tuple(area.chargers[name] for name in sorted(area.chargers))
        shot = snapshot(rows, area.true_meter())
        wishes = tuple(wish(c, c.set_ma) for c in rows)
        area.guard, out = vet(area.guard, shot, wishes, SETTINGS, area.now_ms)
        if k > 0:
            area.chargers.update({c.id: at(c.id, o.ma, place=c.place) for c, o in zip(rows, out, strict=True)})
    assert area.loading_permille() <= 800
    assert area.loading_permille() >= 700


# ------------------------------------------------------------------------------------------- for any input at all
BIG = 1 << 54
wild = st.integers(-BIG, BIG)
three = st.tuples(wild, wild, wild)
wild_meters = st.builds(
    Meter, wild, wild, wild, wild, three, three, st.none() | three, wild, st.sampled_from(["", "1", "2"])
)
levels = st.sampled_from([0, 6000, 6001, 10_000, 16_000, 32_000])


@st.composite
def fleets(draw: st.DrawFn, feeders: int = 0) -> tuple[tuple[Charger, ...], tuple[Command, ...]]:
    """Chargers and any wishes of control for them, good or bad."""
    rows, wishes = [], []
    for k in range(draw(st.integers(0, 5))):
        ma, allowed, set_ma = draw(levels), draw(levels), draw(levels)
        fallback, silent = draw(st.sampled_from([0, 6000])), draw(st.booleans())
        possible = max(draw(levels), ma, allowed, fallback if silent else 0)
        row = charger(
            f"p{k}", place=draw(st.integers(0, 5 * (1 + feeders) - 1)), ma=ma, allowed_ma=allowed, set_ma=set_ma,
            possible_ma=possible, silent=silent, fallback_ma=fallback, settled=draw(st.booleans()),
        )  # fmt: skip
        rows.append(row)
        wishes.append(wish(row, draw(levels)))
    return tuple(rows), tuple(wishes)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Snapshot, tuple[Command, ...], int]]:
    """Ticks from far before authority to any later state."""
    now_ms, reading, out = draw(st.sampled_from([0, 61_000, 62_000])), None, []
    limits = [draw(st.sampled_from([6000, 40_000, 100_000])) for _ in range(draw(st.integers(0, 2)))]
    for _ in range(draw(st.integers(1, 16))):
        now_ms += draw(st.sampled_from([1000, 1000, 1000, 3000, 6000, 11_000, 31_000]))
        if draw(st.integers(0, 5)):
            each = st.sampled_from([0, 100_000, 1_100_000, LIMIT_MA, 1_300_000, 1_400_000])
            ma = (draw(each), draw(each), draw(each))
            reading = meter(now_ms, draw(st.sampled_from([0, 300_000, 780_000, LIMIT_VA, 810_000, 950_000])), ma)
        rows, wishes = draw(fleets(len(limits)))
        feeders = tuple(feeder(ma, draw(st.sampled_from([(), (0, 0, 0), (30_000, 0, 0)]))) for ma in limits)
        shot = snapshot(rows, reading, draw(st.sampled_from([0, 600, 800, 1000])), feeders)
        out.append((shot, wishes, now_ms))
    return out


@given(histories())
@settings(max_examples=500, deadline=None)
def test_any_history_only_lowers(history: list[tuple[Snapshot, tuple[Command, ...], int]]) -> None:
    """Never above control; a lowering always passes; no authority, no more than min(present, fallback); 0 or 6 A."""
    state = watch.start(0)._replace(feeders=normal(0).feeders)
    for shot, wishes, now_ms in history:
        again = vet(state, shot, wishes, SETTINGS, now_ms)
        state, out = vet(state, shot, wishes, SETTINGS, now_ms)
        assert again == (state, out)
        assert [c.id for c in out] == [c.id for c in wishes]
        for c, wanted, got in zip(shot.chargers, wishes, out, strict=True):
            assert got.ma == 0 or MIN_MA <= got.ma <= wanted.ma
            present = min(c.set_ma, c.possible_ma)
            if state.mode in (STARTING, *watch.AT_FALLBACK):
                assert got.ma <= min(max(c.set_ma, c.allowed_ma), c.fallback_ma)
                assert not got.renew or got.ma < c.fallback_ma or got.ma == 0
            elif state.mode in (HOLDING, SHEDDING) or c.silent:
                assert got.ma <= present
            on = shot.places[c.place].feeder
            if on >= 0 and shot.feeders[on].period_ms and state.mode != STARTING:
                if state.feeders[on].mode in watch.AT_FALLBACK:
                    assert got.ma <= min(max(c.set_ma, c.allowed_ma), c.fallback_ma)
                    assert not got.renew or got.ma < c.fallback_ma or got.ma == 0
                elif state.feeders[on].mode == HOLDING and state.mode not in watch.AT_FALLBACK:
                    # Where the whole area stands at its fallback, no lease keeps anybody below it.
                    assert got.ma <= present
            if state.mode == NORMAL and got.ma > present:
                # Only a raise is judged by the sum; it is written out here once more.
                assert fits(shot, out, c)


def above(c: Charger, may_ma: int, place: Place) -> int:
    """What counts on a phase: all it may draw, or where its phase is unknown what it may draw more than now."""
    return may_ma if place.known or c.silent else max(may_ma - max(c.ma, 0), 0)


def fits(shot: Snapshot, commands: tuple[Command, ...], raised: Charger) -> bool:
    """Do base and all that may flow, less 3 % lent by settled chargers, stay within whatever binds the raised one?"""
    assert shot.meter is not None
    rows = [(c, max(o.ma, c.possible_ma), shot.places[c.place]) for c, o in zip(shot.chargers, commands, strict=True)]
    heard = [(c, place) for c, _, place in rows if not c.silent]
    lends = [(max(c.possible_ma - c.ma - 1000, 0), place) for c, _, place in rows if c.settled and not c.silent]
    limit = min(shot.limit_permille, 1000)
    at = shot.places[raised.place]
    total = max(shot.meter.s_va - sum(c.ma * place.lines for c, place in heard) * MV // 1_000_000, 0)
    total_ma = total * 1_000_000 // MV + sum(may * place.lines for _, may, place in rows)
    rated_ma = RATED_VA * 1_000_000 // MV
    total_ma -= min(sum(ma * place.lines for ma, place in lends), rated_ma * 30 // 1000)
    good = total_ma <= rated_ma * limit // 1000
    for p in range(3):
        if not at.phases >> p & 1:
            continue
        proven = sum(c.ma for c, place in heard if place.known and place.phases >> p & 1)
        may_ma = max(shot.meter.ma[p] - proven, 0)
        may_ma += sum(above(c, may, place) for c, may, place in rows if place.phases >> p & 1)
        lent = sum(ma for ma, place in lends if place.phases >> p & 1)
        good = good and may_ma - min(lent, RATED_MA * 30 // 1000) <= RATED_MA * limit // 1000
        if at.feeder >= 0:
            row = shot.feeders[at.feeder]
            on = [(c, may) for c, may, place in rows if place.feeder == at.feeder and place.phases >> p & 1]
            lent = sum(max(c.possible_ma - c.ma - 1000, 0) for c, _ in on if c.settled and not c.silent)
            proven = sum(c.ma for c, may in on if not c.silent and shot.places[c.place].known)
            others = 0 if row.meter is None else max(row.meter.ma[p] - proven, 0)
            flows = others + sum(above(c, may, shot.places[c.place]) for c, may in on)
            flows -= min(lent, row.limit_ma * 30 // 1000)
            good = good and flows <= row.limit_ma
    return good


@given(
    st.none() | wild_meters,
    wild,
    st.lists(st.tuples(wild, wild, wild, wild, wild, wild, st.booleans()), max_size=4),
    st.tuples(*(
        st.builds(Place, st.integers(0, 7), st.sampled_from([1, 3]), st.booleans(), st.sampled_from([-1, 0, 1]))
        for _ in range(2)
    )),
    st.tuples(*(st.builds(Feeder, wild, st.none() | wild_meters, wild) for _ in range(2))),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_bad_input_never_raises_an_exception(
    reading: Meter | None,
    limit: int,
    numbers: list[tuple[int, int, int, int, int, int, bool]],
    wired: tuple[Place, ...],
    feeders: tuple[Feeder, ...],
) -> None:
    """Numbers that cannot be, a meter that is none, no chargers: commands all the same, never above the wish."""
    rows = tuple(
        charger(
            f"p{k}", place=k % 2, ma=a, allowed_ma=b, set_ma=c, possible_ma=d, fallback_ma=e, silent=s,
            settled=a % 2 == 0, need_wh=b, aim_wh=c, depart_ms=d, start_ms=e, now=not s, prio=a,
        )
        for k, (a, b, c, d, e, _, s) in enumerate(numbers)
    )  # fmt: skip
    wishes = tuple(wish(c, row[5]) for c, row in zip(rows, numbers, strict=True))
    for first in (watch.start(0), normal()):
        state = first
        for k in range(6):
            now_ms = 100_000 + k * 1000
            fresh = None if reading is None else Meter(now_ms if k % 2 else reading.at_ms, *reading[1:])
            shot = Snapshot(fresh, limit, wired, feeders, rows)
            state, out = vet(state, shot, wishes, SETTINGS, now_ms)
            assert all(o.ma == 0 or MIN_MA <= o.ma <= w.ma for o, w in zip(out, wishes, strict=True))


@pytest.mark.parametrize("mode", [STARTING, NORMAL, HOLDING, SAFING])
def test_lowering_passes_in_every_state(mode: int) -> None:
    """Whatever state the guard is in, zero is sent as zero."""
    row = at("a", 32_000, fallback_ma=6000)
    state = watch.State(mode, 0, 99_000, 20, 99_000, NEVER, NEVER, 0, NEVER, (), NEVER, False, trust.start(), ())
    now_ms = {HOLDING: 105_000}.get(mode, 100_000)
    reading = None if mode == HOLDING else meter(100_000, 300_000)
    got, out = vet(state, snapshot((change(row, set_ma=32_000),), reading), (wish(row, 0),), SETTINGS, now_ms)
    assert out[0].ma == 0
    assert got.mode == {STARTING: NORMAL, SAFING: RECOVERING}.get(mode, mode)


# -------------------------------------------------------------------------------------------------- the last line
@pytest.mark.parametrize(
    ("row", "told_ma", "authority", "got_ma"),
    [
        (at("a", 16_000), 16_000, False, 16_000),
        (at("a", 16_000), 16_001, False, 16_000),
        (at("a", 16_000), 16_001, True, 16_001),
        (at("a", 16_000), 32_000, True, 32_000),
        (at("a", 16_000), 32_001, True, 16_000),
        (at("a", 16_000, silent=True), 20_000, True, 16_000),
        (at("a", 0, fallback_ma=6000), 6000, False, 6000),
        (at("a", 0, fallback_ma=6000), 6001, False, 0),
        (at("a", 0), 5999, True, 0),
        (at("a", 16_000, possible_ma=8000), 9000, False, 8000),
    ],
)
def test_last_line_whatever_was_thought_above(row: Charger, told_ma: int, authority: bool, got_ma: int) -> None:
    """More than it has and more than its fallback: with authority only, to who is heard, what a charger can take."""
    (out,) = guard._last_line(snapshot((row,)), (wish(row, told_ma),), authority)
    assert out.ma == got_ma
    assert out.renew == (got_ma == told_ma)


def test_control_sees_no_feeder_meter_that_is_doubted() -> None:
    """Late, silent or on its way back: hidden; normal or being cut: shown; without a meter there is nothing to hide."""
    shot = snapshot((), meter(1000), feeders=(feeder(50_000, (1000, 0, 0)), feeder(50_000)))
    for mode, hidden in ((NORMAL, False), (SHEDDING, False), (HOLDING, True), (SAFING, True), (RECOVERING, True)):
        one = normal()._replace(mode=mode)
        seen = watch.for_control(normal()._replace(feeders=(one, one)), shot)
        assert (seen.feeders[0].meter is None) == hidden
        assert seen._replace(feeders=shot.feeders) == shot


def test_meter_that_does_not_follow_cuts_leads_to_safe() -> None:
    """What edge/core/obey.py found out counts like silence: HOLD, SAFE, and the way back when it is given a chance."""
    state, modes = normal(), []
    for k in range(12):
        now_ms = 100_000 + k * 1000
        state, _ = watch.look(state, snapshot((), meter(now_ms)), SETTINGS, now_ms, unmoved=True)
        modes.append(state.mode)
    assert modes == [NORMAL] * 5 + [HOLDING] * 5 + [SAFING] * 2
    assert state.trust.doubt == trust.UNMOVED
    state, _ = watch.look(state, snapshot((), meter(112_000)), SETTINGS, 112_000)
    assert (state.mode, state.trust.doubt) == (RECOVERING, trust.FINE)
    lost = meter(113_000, 0, (0, 100_000, 100_000))
    state, _ = watch.look(state, snapshot((at("a", 16_000),), lost), SETTINGS, 113_000, unmoved=True)
    assert state.trust.doubt == trust.PHASE_LOST


def test_commands_in_another_order_missing_or_of_strangers() -> None:
    """Sorted, held where it is without a renewal, dropped: one command for each charger in any case."""
    rows = (at("a", 16_000), at("b", 10_000), at("c", 6000))
    commands = (wish(rows[2], 6000), Command("stranger", 32_000, FULL, -1, True), wish(rows[0], 8000))
    _, out = vet(normal(), snapshot(rows, meter(100_000, 300_000)), commands, SETTINGS, 100_000)
    assert [(c.id, c.ma, c.renew) for c in out] == [("a", 8000, True), ("b", 10_000, False), ("c", 6000, True)]


def test_free_socket_is_nothing_in_the_sum() -> None:
    """A charger that can draw nothing and is told nothing changes nothing for one that is raised."""
    rows = (at("a", 9000), still("b"))
    assert [c.ma for c in vetted(rows, (12_000, 0), meter(100_000, 300_000))] == [12_000, 0]


def test_feeder_over_its_limit_is_cut_once_a_reading() -> None:
    """Between two readings of its own meter the cut is not repeated, and nothing behind it is raised."""
    area = Feeding(wishes=(16_000, 16_000)).run(0, 100).run(101, 104, 90_000)
    assert area.out[0].ma == 7000
    area.rows, area.wishes = (at("a", 9000, feeder=0), area.rows[1]), (wish(area.rows[0], 10_000), area.wishes[1])
    assert area.tick(105, None).out[0].ma == 9000
