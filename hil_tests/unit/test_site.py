"""What a site bears when nobody watches it: the sums behind the fallback, against simulation and by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import config as cfg
from edge.core.ledger import at_once
from edge.core.model import MIN_MA
from edge.memory import DAY_ONE, QUARTERS, Memory
from edge.site import LEARNED, LEARNED_DAYS, STATED, UNKNOWN, WORST_PHASE_PCT, alone, fitting_slots

KVA = 1000
METER = cfg.MeterConfig("none", "", 0, 1, 1000, 1000)


def area(*chargers: cfg.ChargerConfig, base_kva: int | None = 100, **changes: object) -> cfg.AreaConfig:
    """250 kVA at 400 V: 360.8 A a phase, 78.5 % are 283.3 A; 100 kVA of residents and a tenth are 158.8 A of them."""
    plain = cfg.AreaConfig(
        area_id="a", rating_va=250 * KVA, rated_ma=360_843, secondary_v=400, limit_permille=800, margin_permille=15,
        timezone="Asia/Shanghai", windows=(), meter=METER, broker=cfg.BrokerConfig("", 0, None, None),
        charging=cfg.ChargingConfig(0, 60_000, 9000, 420, ((1380, 480),), 8), chargers=chargers,
        path=Path("a.toml"), base_va=None if base_kva is None else (base_kva * KVA // 3,) * 3,
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


def row(name: str, phases: int = 1, *, known: bool = True, feeder: int = -1) -> cfg.ChargerConfig:
    """One charger of 32 A."""
    return cfg.ChargerConfig(name, phases, known, 32_000, feeder)


def rows(count: int, phases: int = 1, feeder: int = -1) -> list[cfg.ChargerConfig]:
    """So many of them, alike."""
    return [row(f"p{phases}-{k}", phases, feeder=feeder) for k in range(count)]


# ------------------------------------------------------------------------------------------------------------- in turns
def binomial_p999(count: int, slots: int) -> int:
    """How many of ``count`` draw at one moment, 99.9 %, when each draws one part of ``slots``."""
    below, share = 0.0, 1.0 / slots
    for k in range(count + 1):
        ways = math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
        below += math.exp(ways + k * math.log(share) + (count - k) * math.log(1.0 - share))
        if below >= 0.999:
            return k
    return count


@pytest.mark.parametrize(("count", "slots", "kw"), [(900, 2, 685), (900, 4, 366), (900, 8, 198), (3000, 8, 595)])
def test_published_figures_of_one_moment(count: int, slots: int, kw: int) -> None:
    """The figures the project rests on (6 A at 230 V) are those of a single moment; the worst moment is above them."""
    one_moment = binomial_p999(count, slots)
    assert one_moment * 6 * 0.23 == pytest.approx(kw, abs=1.5)
    assert 1.03 < at_once(count, slots) / one_moment < 1.12


@pytest.mark.parametrize("slots", [2, 3, 4, 5, 8])
@pytest.mark.parametrize(("count", "areas"), [(8, 4000), (30, 4000), (324, 4000), (900, 2000)])
def test_turns_hold_at_the_worst_moment_of_an_outage(count: int, areas: int, slots: int) -> None:
    """Clocks that differ at random: in 99.9 % of areas no moment of a whole round has more chargers drawing."""
    rng = np.random.default_rng(20260115)
    most = at_once(count, slots)
    begins = np.sort(rng.random((areas, count)) * slots, axis=1)
    worst = np.empty(areas, dtype=np.int64)
    for k, one in enumerate(begins):
        twice = np.concatenate([one, one + slots])
        worst[k] = (np.searchsorted(twice, one + 1.0) - np.arange(count)).max()
    assert (worst > most).mean() <= 0.001
    assert most <= worst.max() + 3 + 0.02 * count


@given(st.integers(0, 4000), st.integers(1, 8))
def test_turns_never_count_more_than_there_are_nor_less_than_a_share(count: int, slots: int) -> None:
    """One turn is everybody; more turns are never more; one charger more is never less."""
    most = at_once(count, slots)
    assert -(-count // slots) <= most <= count
    assert (most == count) if slots == 1 else (most <= at_once(count, slots - 1))
    assert most <= at_once(count + 1, slots) <= most + 1 or slots == 1
    exact = count / slots + 4.5 * math.sqrt(count * (slots - 1)) / slots + 2
    assert slots == 1 or min(count, exact) <= most + 1e-9 <= min(count, exact + 1.5) + 1e-9


# ------------------------------------------------------------------------------------------------------- what is free
def test_what_is_free_is_limit_less_margin_less_residents_and_a_tenth() -> None:
    """283.3 A less 158.8 A leave 124.5 A on each phase; 20 chargers at 6 A take 120 A, and one more does not fit."""
    site = cfg.site_of(area(*rows(20)))
    assert site.source == STATED
    left = alone(site, MIN_MA)
    assert (left.minute, left.name, left.free_ma, left.load_ma) == (19 * 60 + 45, "phase A", 124_492, 120_000)
    assert (left.limit_ma, left.margin_ma, left.residents_ma) == (288_674, 5412, 158_770)
    assert left.load_va == pytest.approx(120 * 400 / math.sqrt(3), rel=1e-3)
    assert (left.over_va, left.fits, fitting_slots(site)) == (0, True, 1)
    more = alone(cfg.site_of(area(*rows(21))), MIN_MA)
    assert (more.fits, more.over_va) == (False, 0)  # inside the margin: below the limit all the same


def test_over_the_limit_counts_each_phase_by_itself() -> None:
    """40 chargers on phase A are 240 A, 110.1 A above its limit: room on the other phases does not help."""
    left = alone(cfg.site_of(area(*rows(40))), MIN_MA)
    assert left.over_va == pytest.approx((158.77 + 240 - 288.67) * 400 / math.sqrt(3), rel=2e-3)


@pytest.mark.parametrize(
    ("chargers", "loads"),
    [
        (rows(3, 1), (18_000, 0, 0)),
        (rows(3, 2), (0, 18_000, 0)),
        (rows(2, 7), (12_000, 12_000, 12_000)),
        ([*rows(2, 1), row("u", 7, known=False)], (18_000, 6000, 6000)),
    ],
)
def test_a_charger_counts_on_the_phases_it_may_load(chargers: list[cfg.ChargerConfig], loads: tuple[int, ...]) -> None:
    """One phase, three phases, and an unknown phase on every one of them."""
    site = cfg.site_of(area(*chargers))
    assert tuple(count * MIN_MA for count in site.counts) == loads
    assert alone(site, MIN_MA).load_ma == max(loads)


def test_the_tightest_wire_decides_and_is_named() -> None:
    """A feeder for 50 A bears eight chargers of nine, whatever the transformer has left."""
    narrow = cfg.FeederConfig("north", 50_000)
    fits = cfg.site_of(area(*rows(8, 2, 0), feeders=(narrow,)))
    assert (alone(fits, MIN_MA).name, alone(fits, MIN_MA).free_ma) == ("feeder north, phase B", 49_250)
    assert alone(fits, MIN_MA).fits
    left = alone(cfg.site_of(area(*rows(9, 2, 0), feeders=(narrow,))), MIN_MA)
    assert not left.fits
    assert left.over_va == pytest.approx(4 * 400 / math.sqrt(3), rel=1e-3)


def test_residents_behind_a_feeder_count_where_its_meter_sees_them() -> None:
    """Without a meter the limit is what is left for cars; with one it is shared with the residents as stated."""
    blind = cfg.FeederConfig("north", 100_000)
    seen = cfg.FeederConfig("north", 100_000, METER, (10 * KVA,) * 3)
    chargers = rows(9, 1, 0)
    assert alone(cfg.site_of(area(*chargers, feeders=(blind,))), MIN_MA).free_ma == 98_500
    # 30 kVA and a tenth are 47.6 A on each phase.
    assert alone(cfg.site_of(area(*chargers, feeders=(seen,))), MIN_MA).free_ma == 98_500 - 47_631
    assert cfg.site_of(area(*chargers, feeders=(replace(seen, base_va=None),))).source == UNKNOWN


def test_residents_of_whom_one_number_is_known_may_be_unbalanced() -> None:
    """100 kVA and a tenth: 40 % of them may be on the phase of the chargers, 190.5 A; by phase it is what was said."""
    chargers = rows(15)
    site = cfg.site_of(area(*chargers, base_va=100 * KVA))
    assert alone(site, MIN_MA).residents_ma == pytest.approx(44_000 / 400 * math.sqrt(3) * 1000, abs=1)
    assert (site.assumed, fitting_slots(site)) == (("[area]",), 1)
    assert not alone(cfg.site_of(area(*rows(16), base_va=100 * KVA)), MIN_MA).fits
    by_phase = cfg.site_of(area(*chargers, base_va=(45 * KVA, 30 * KVA, 25 * KVA)))
    assert (by_phase.assumed, alone(by_phase, MIN_MA).fits) == ((), False)
    assert by_phase.base_ma[80] == (214_341, 142_894, 119_079)
    assert (
        alone(cfg.site_of(area(*rows(15, 4), base_va=(45 * KVA, 30 * KVA, 25 * KVA))), MIN_MA).residents_ma == 119_079
    )


def test_the_share_of_the_worst_phase_is_what_an_unbalance_of_25_percent_makes_of_it() -> None:
    """(Imax - Imin) / Imax = 25 % with both others at the minimum: 100 of 250."""
    assert WORST_PHASE_PCT == 100 * 100 / (100 + 75 + 75)


def test_residents_over_the_line_where_nobody_charges_hide_nobody() -> None:
    """Phase C is over by itself, by more than phase A with its chargers: those do not fit all the same."""
    site = cfg.site_of(area(*rows(9), base_va=(53 * KVA, 10 * KVA, 90 * KVA)))
    left = alone(site, MIN_MA)
    assert (left.name, left.fits) == ("phase A", False)
    feeder = cfg.FeederConfig("n", 100_000, METER, 60 * KVA)
    unleased = replace(row("u", 2, feeder=0), leased=False)
    left = alone(cfg.site_of(area(*rows(21), unleased, feeders=(feeder,))), MIN_MA)
    assert (left.name, left.fits) == ("phase A", False)


def test_the_lowest_limit_of_each_hour_counts() -> None:
    """A window of 50 % at 3 in the morning can be tighter than the evening: 180.4 A - 5.4 A - 79.4 A."""
    at_three = cfg.LimitWindow(190, 195, 500)
    site = cfg.site_of(area(*rows(3), windows=(at_three,)))
    left = alone(site, MIN_MA)
    assert (left.minute, left.free_ma) == (180, 95_624)
    assert alone(site, MIN_MA, quarters=(20 * 4,)).free_ma == 124_492


def test_the_stated_load_has_the_cautious_shape_of_a_day() -> None:
    """The evening peak is what was stated; at 3 in the morning it is half of it, as on day one."""
    site = cfg.site_of(area(row("a")))
    for hour, share in enumerate(DAY_ONE):
        assert site.base_ma[4 * hour][0] >= share * 158_769 - 1
    assert max(ma for ma, *_ in site.base_ma) == 158_770
    assert site.base_ma[3 * 4][0] == pytest.approx(0.5 * 158_771, abs=2)


@pytest.mark.parametrize(
    ("chargers", "slots"), [(20, 1), (21, 3), (22, 3), (24, 4), (25, 4), (40, 6), (50, 8), (60, 0)]
)
def test_the_fewest_turns_that_fit(chargers: int, slots: int) -> None:
    """124.5 A bear 20 chargers together; more of them only in turns, and no more than eight turns are made."""
    site = cfg.site_of(area(*rows(chargers)))
    assert fitting_slots(site) == slots
    for fewer in range(1, slots):
        assert at_once(chargers, fewer) > 20
    assert slots == 0 or at_once(chargers, slots) <= 20


def test_no_room_is_no_turn() -> None:
    """Residents alone fill the line: nothing fits, in however many turns."""
    site = cfg.site_of(area(row("a"), base_kva=180))
    left = alone(site, MIN_MA)
    assert left.free_ma < 0
    assert (left.fits, fitting_slots(site)) == (False, 0)


# --------------------------------------------------------------------------------------------------------- learned
def learned(days: int, ma: tuple[int, ...], high_minute: int = 1210, high_ma: int = 0) -> Memory:
    """A memory of so many days of residents at these currents, with one higher minute a day."""
    memory = Memory()
    for _ in range(days):
        for minute in range(1440):
            extra = high_ma if minute == high_minute else 0
            memory.note_base(minute, 1.0, 60_000, tuple(one + extra for one in ma))
    memory.note_base(0, 1.0, 60_000, ma)
    return memory


def test_what_was_learned_goes_before_what_was_stated() -> None:
    """After seven days the highest minute on each phase counts, with its tenth, in its own quarter of an hour."""
    memory = learned(LEARNED_DAYS, (50_000, 90_000, 60_000), high_ma=10_000)
    site = cfg.site_of(area(row("a"), row("b", 2)), memory)
    assert site.source == LEARNED
    assert site.base_ma[80] == (66_000, 110_000, 77_000)
    assert site.base_ma[79] == (55_000, 99_000, 66_000)
    left = alone(site, MIN_MA)
    assert (left.minute, left.name, left.free_ma) == (1200, "phase B", 283_262 - 110_000)


@pytest.mark.parametrize("base_kva", [None, 100])
def test_six_days_are_not_enough(base_kva: int | None) -> None:
    """Before that what was stated counts, and without it nothing is known."""
    memory = learned(LEARNED_DAYS - 1, (50_000, 90_000, 60_000))
    assert cfg.site_of(area(row("a"), base_kva=base_kva), memory).source == (UNKNOWN if base_kva is None else STATED)


def test_learned_residents_behind_feeders() -> None:
    """What its own meter showed counts behind a feeder; where there is no meter nothing is seen there."""
    feeders = (cfg.FeederConfig("n", 100_000, METER), cfg.FeederConfig("s", 100_000))
    memory = learned(LEARNED_DAYS, (50_000, 50_000, 50_000, 20_000, 20_000, 20_000, 7000, 7000, 7000))
    site = cfg.site_of(area(row("a", feeder=0), row("b", feeder=1), feeders=feeders), memory)
    assert site.base_ma[0] == (55_000,) * 3 + (22_000,) * 3 + (0,) * 3
    assert cfg.site_of(area(row("a")), memory).source == STATED  # learned of an area that was wired otherwise


def test_every_quarter_of_an_hour_has_its_row() -> None:
    """96 rows of limits, lines and residents, three currents each and three more for a feeder."""
    site = cfg.site_of(area(row("a"), feeders=(cfg.FeederConfig("n", 100_000),)))
    for table in (site.limit_ma, site.line_ma, site.base_ma):
        assert {len(table), *(len(one) for one in table)} == {QUARTERS, 6}
