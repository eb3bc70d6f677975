"""Meter trust to the last step of each limit: on it a reading is believed, one step beyond it is named."""

from __future__ import annotations

from typing import Any

import pytest

from edge.core import trust
from edge.core.model import NEVER, Meter
from hil_tests.unit.given import MV, RATED_VA


def bare(**changes: Any) -> Meter:  # noqa: ANN401 - fields of a Meter
    """A meter that says little and contradicts nothing: no load, 220 V, no powers by phase, no counter, no name."""
    return Meter(1000, 0, 0, 0, (0, 0, 0), (MV, MV, MV), None, -1, "")._replace(**changes)


def load(s_va: int, ma: int = 2_000_000, **changes: Any) -> Meter:  # noqa: ANN401 - fields of a Meter
    """All of it active power, on phases that carry more than enough."""
    return bare(s_va=s_va, p_w=s_va, ma=(ma, ma, ma), **changes)


def judged(
    shown: Meter,
    draw: tuple[int, ...] = (0, 0, 0, 0),
    biggest: tuple[int, ...] = (0, 0, 0, 0),
    exports: bool = False,
    rated_va: int = 1_000_099,
) -> tuple[int, int]:
    """What is thought of the first reading of a meter, and on which phase, at a rating that no number divides."""
    seen = trust.look(trust.start(), shown, rated_va, list(draw), list(biggest), exports, 1000)
    return seen.doubt, seen.phase


FINE = (trust.FINE, -1)


@pytest.mark.parametrize(
    ("fields", "doubt"),
    [
        ({"s_va": 5_000_495}, False),
        ({"s_va": 5_000_496}, True),
        ({"s_va": -5_000_496}, True),
        ({"ma": (0, 0, 7_576_505)}, False),
        ({"ma": (0, 0, 7_576_506)}, True),
        ({"ma": (0, 0, 7_500_000), "mv": (222_227, 222_227, 222_227)}, False),
        ({"ma": (0, 0, 7_500_756), "mv": (222_227, 222_227, 222_227)}, True),
    ],
)
def test_meter_range_is_five_times_the_rating(fields: dict[str, Any], doubt: bool) -> None:
    """1,000,099 VA are 1,515,301 mA a phase at 220 V, 1,500,115 at 222.227 V; five times that is still believed."""
    assert (judged(bare(**fields)) == (trust.RANGE, -1)) == doubt


@pytest.mark.parametrize("p", range(3))
@pytest.mark.parametrize(
    ("own_ma", "others_ma", "own_mv", "others_mv", "draw_ma", "lost"),
    [
        (1499, 150_000, MV, MV, 0, True),
        (-1499, 150_000, MV, MV, 0, True),
        (1500, 150_000, MV, MV, 0, False),
        (1499, 149_999, MV, MV, 0, False),
        (599, 0, MV, MV, 6000, True),
        (-599, 0, MV, MV, 6000, True),
        (600, 0, MV, MV, 6000, False),
        (0, 0, MV, MV, 5999, False),
        (0, 0, 109_999, 176_000, 0, True),
        (0, 0, 110_000, 176_000, 0, False),
        (0, 0, 109_999, 175_999, 0, False),
    ],
)
def test_meter_phase_lost_by_its_current_or_its_voltage(
    p: int, own_ma: int, others_ma: int, own_mv: int, others_mv: int, draw_ma: int, lost: bool
) -> None:
    """Dark below 1.5 A while the others carry 150, below a tenth of its cars, below 110 V where another has 176."""
    ma, mv, draw = [others_ma] * 3, [others_mv] * 3, [0] * 4
    ma[p], mv[p], draw[p] = own_ma, own_mv, draw_ma
    shown = bare(ma=tuple(ma), mv=tuple(mv))
    assert judged(shown, tuple(draw), tuple(draw), rated_va=990_000) == ((trust.PHASE_LOST, p) if lost else FINE)


@pytest.mark.parametrize(
    ("p_w", "phase_w", "exports", "doubt"),
    [
        (-30_000, None, False, FINE),
        (-30_001, None, False, (trust.SIGN, -1)),
        (-30_001, None, True, FINE),
        (0, (10_000, 0, -10_000), False, FINE),
        (1, (10_002, 0, -10_001), False, (trust.SIGN, 2)),
        (1, (0, -10_001, 10_002), False, (trust.SIGN, 1)),
        (1, (-10_001, 0, 10_002), False, (trust.SIGN, 0)),
        (1, (-10_001, 20_003, -10_001), False, (trust.SIGN, -1)),
    ],
)
def test_meter_sign_wrong_from_two_percent_on(
    p_w: int, phase_w: tuple[int, ...] | None, exports: bool, doubt: tuple[int, int]
) -> None:
    """Of 1500 kVA 30 kW back, or 10 on a phase, may be an offset; a watt more is a CT the wrong way round."""
    shown = load(40_000, phase_w=phase_w)._replace(p_w=p_w, q_var=40_000)
    assert judged(shown, exports=exports, rated_va=1_500_000) == doubt


@pytest.mark.parametrize(
    ("s_va", "p_w", "q_var", "exports", "doubt"),
    [
        (100_009, 120_009, 0, False, False),
        (100_009, 120_009, 1, False, True),
        (100_009, 0, 120_010, True, True),
        (-100_009, -120_009, 1, True, True),
        (-100_009, -120_009, 0, True, False),
        (100_003, 60_002, 0, False, False),
        (100_003, 60_001, 0, False, True),
        (100_003, 60_001, 346, False, True),
        (100_003, 60_001, 347, False, False),
        (100_003, 60_001, 0, True, False),
        (14_287, 0, 0, False, False),
        (14_288, 0, 0, False, True),
    ],
)
def test_meter_powers_that_do_not_belong_together(s_va: int, p_w: int, q_var: int, exports: bool, doubt: bool) -> None:
    """P and Q make at most 110 % of S and at least 70 %, give or take 10 kVA; less only where nobody exports."""
    shown = bare(s_va=s_va, p_w=p_w, q_var=q_var, ma=(300_000,) * 3)
    assert judged(shown, exports=exports) == ((trust.POWERS, -1) if doubt else FINE)


@pytest.mark.parametrize(
    ("fields", "doubt"),
    [
        ({"phase_w": (80_000, 40_000, 9)}, False),
        ({"phase_w": (80_000, 40_000, 10)}, True),
        ({"phase_w": (40_000, 40_000, 9)}, False),
        ({"phase_w": (40_000, 40_000, 8)}, True),
        ({"s_va": 85_906, "p_w": 85_906, "ma": (100_031, -100_000, 100_000)}, False),
        ({"s_va": 85_907, "p_w": 85_907, "ma": (100_031, -100_000, 100_000)}, True),
        ({"s_va": 85_912, "p_w": 85_912, "ma": (100_050, -100_000, 100_000)}, False),
        ({"s_va": -85_907, "p_w": 85_907, "ma": (100_031, -100_000, 100_000)}, True),
    ],
)
def test_meter_sums_that_do_not_add_up(fields: dict[str, Any], doubt: bool) -> None:
    """Phases add up to P within a tenth of S, and their U times I to no less than S by 15 %, give or take 10 kVA."""
    assert judged(load(100_009)._replace(**fields)) == ((trust.SUMS, -1) if doubt else FINE)


@pytest.mark.parametrize(
    ("own_ma", "draw_ma", "lost"), [(0, 6000, True), (1, 60_000, False), (-1, 60_000, False), (0, 5999, False)]
)
def test_meter_phase_on_which_the_sun_covers_the_cars_is_not_lost(own_ma: int, draw_ma: int, lost: bool) -> None:
    """Where a site may export, a phase with cars is lost when it shows nothing at all."""
    shown = bare(ma=(20_000, own_ma, 20_000))
    found = judged(shown, (0, draw_ma, 0, draw_ma), (0, draw_ma, 0, draw_ma), exports=True)
    assert (found == (trust.PHASE_LOST, 1)) == lost


@pytest.mark.parametrize(
    ("s_va", "own_ma", "draw_ma", "biggest_ma", "exports", "doubt"),
    [
        (0, 9000, 5000, 5000, True, (trust.TOO_LITTLE, -1)),
        (1, 9000, 50_000, 5000, True, FINE),
        (-1, 9000, 50_000, 5000, True, FINE),
        (99, 9000, 5000, 5000, False, (trust.TOO_LITTLE, -1)),
        (-99, 9000, 5000, 5000, False, (trust.TOO_LITTLE, -1)),
        (0, 9000, 4999, 4999, True, FINE),
        (100, 9000, 5004, 5004, True, FINE),
        (16_003, 90_000, 101_020, 1000, False, (trust.TOO_LITTLE, -1)),
        (-16_003, 90_000, 101_020, 1000, False, (trust.TOO_LITTLE, -1)),
        (16_003, 90_000, 101_020, 1000, True, FINE),
        (16_004, 90_000, 101_020, 1000, False, FINE),
        (16_001, 90_000, 101_007, 1000, False, FINE),
        (30_000, 79_999, 101_000, 1000, False, (trust.TOO_LITTLE, 1)),
        (30_000, -79_999, 101_000, 1000, False, (trust.TOO_LITTLE, 1)),
        (30_000, 80_000, 101_000, 1000, False, FINE),
    ],
)
def test_meter_shows_too_little_of_what_cars_draw(
    s_va: int, own_ma: int, draw_ma: int, biggest_ma: int, exports: bool, doubt: tuple[int, int]
) -> None:
    """Less than a tenth of 1 kVA of cars, or four fifths of all but the largest, in total or on a phase; 200 V.

    Where the sun may cover the cars, nothing at all.
    """
    shown = bare(s_va=s_va, p_w=abs(s_va), ma=(9000, own_ma, 9000), mv=(200_000,) * 3)
    assert judged(shown, (0, draw_ma, 0, draw_ma), (0, biggest_ma, 0, biggest_ma), exports) == doubt


@pytest.mark.parametrize(
    ("before_wh", "now_wh", "doubt"),
    [
        (5000, 5000, False),
        (5000, 4999, True),
        (5000, -1, False),
        (9900, 99, False),
        (9900, 100, True),
        (9899, 99, True),
        (995, 9, False),
        (995, 10, True),
        (10_000, 5, True),
        (99_500, 999, False),
        (999_000, 9999, False),
        (0, -1, False),
        (1, 0, True),
    ],
)
def test_meter_energy_counter_backwards_or_rolled_over(before_wh: int, now_wh: int, doubt: bool) -> None:
    """Within 1 % of a power of ten from 1 kWh on, and not further than 1 % of it into the next: rolled over."""
    before = trust.look(trust.start(), bare(import_wh=before_wh), RATED_VA, [0] * 4, [0] * 4, False, 1000)
    again = bare(at_ms=2000, s_va=1, import_wh=now_wh)
    seen = trust.look(before, again, RATED_VA, [0] * 4, [0] * 4, False, 2000)
    assert seen == trust.Trust(again, 2000, trust.COUNTER if doubt else trust.FINE, -1, "")


KNOWN = trust.Trust(bare(at_ms=5000, s_va=7, identity="4711"), 6000, trust.FINE, -1, "4711")


@pytest.mark.parametrize(
    ("fields", "now_ms", "expected"),
    [
        ({"at_ms": 7000}, 6999, KNOWN._replace(doubt=trust.TIME)),
        ({"at_ms": 7000}, 7000, KNOWN._replace(at_ms=7000, doubt=trust.FROZEN)),
        ({"at_ms": 6001}, 7000, KNOWN._replace(at_ms=6001, doubt=trust.FROZEN)),
        ({"at_ms": 6000, "s_va": 8}, 7000, KNOWN),
        ({"at_ms": 5999}, 7000, KNOWN._replace(doubt=trust.TIME)),
        ({"at_ms": 7000, "identity": "4712"}, 7000, KNOWN._replace(at_ms=7000, doubt=trust.IDENTITY)),
        ({"at_ms": 7000, "mv": (MV, 9, MV)}, 7000, KNOWN._replace(at_ms=7000, doubt=trust.PHASE_LOST, phase=1)),
    ],
)
def test_doubted_reading_leaves_the_last_good_one(fields: dict[str, Any], now_ms: int, expected: trust.Trust) -> None:
    """Its time, its doubt and its phase are noted; what was good stays good, who the device is stays known."""
    shown = KNOWN.good._replace(**fields)
    assert trust.look(KNOWN, shown, RATED_VA, [0] * 4, [0] * 4, False, now_ms) == expected


def test_news_in_one_register_is_news() -> None:
    """Any register that moved tells that the block is not frozen; the first name that is said is kept."""
    for fields in ({"s_va": 8}, {"identity": ""}, {"import_wh": 0}):
        shown = KNOWN.good._replace(at_ms=7000, **fields)
        assert trust.look(KNOWN, shown, RATED_VA, [0] * 4, [0] * 4, False, 7000) == KNOWN._replace(
            good=shown, at_ms=7000
        )
    nameless = trust.look(trust.start(), bare(identity="4712"), RATED_VA, [0] * 4, [0] * 4, False, 1000)
    assert nameless.identity == "4712"


def test_meter_that_does_not_follow_is_named_unless_something_plainer_is() -> None:
    """What was good, its time and its name stay; a frozen block may be another cable's; any other doubt is kept."""
    assert trust.start("9") == (None, NEVER, trust.FINE, -1, "9")
    for doubt in (trust.FINE, trust.FROZEN):
        assert trust.unmoved(KNOWN._replace(doubt=doubt)) == KNOWN._replace(doubt=trust.UNMOVED)
    sums = KNOWN._replace(doubt=trust.SUMS)
    assert trust.unmoved(sums) == sums
