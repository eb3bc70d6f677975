"""Meter trust: each way in which a meter lies is recognised, named, and never taken for room."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import reasons
from edge.core import trust, watch
from edge.core.model import FULL, NEVER, Charger, Command, Meter
from edge.core.watch import HOLDING, LATCHED, NORMAL, RECOVERING, SAFING
from hil_tests.unit.given import MV, RATED_VA, SETTINGS, at, meter, snapshot, still, vet

PV = SETTINGS._replace(exports=True)


def reading(second: int, s_va: int = 300_000, **changes: Any) -> Meter:  # noqa: ANN401 - fields of a Meter
    """An honest reading of a second, with powers by phase, a counter and a serial number; then some changes."""
    row = meter(second * 1000, s_va)
    third = row.p_w // 3
    row = row._replace(phase_w=(third, third, row.p_w - 2 * third), import_wh=5_000_000 + second * 80, identity="4711")
    return row._replace(**changes)


class Site:
    """One guard; two cars at 16 A on phase A, one that waits and is always wished 9 A."""

    def __init__(self, exports: bool = False) -> None:
        self.settings = PV if exports else SETTINGS
        self.rows: tuple[Charger, ...] = (at("a", 16_000), at("b", 16_000), still("c"))
        self.state = watch.start(-100_000)
        self.out: tuple[Command, ...] = ()

    def tick(self, second: int, shown: Meter | None) -> Site:
        """One second with this reading."""
        wishes = tuple(Command(c.id, c.set_ma or 9000, FULL, -1, True) for c in self.rows)
        shot = snapshot(self.rows, shown)
        self.state, self.out = vet(self.state, shot, wishes, self.settings, second * 1000)
        return self

    def honest(self, first: int, last: int) -> Site:
        """Honest readings, a second apart."""
        for second in range(first, last):
            self.tick(second, reading(second))
        return self

    @property
    def doubt(self) -> tuple[str, int]:
        """What is thought of the last reading: the key in the journal, and the phase."""
        code = self.state.trust.doubt
        return ("" if code == trust.FINE else reasons.DOUBTS[code][0], self.state.trust.phase)


LIES: list[tuple[str, dict[str, Any], str, int]] = [
    (
        "scale_x1000",
        {"s_va": 300_000_000, "p_w": 285_000_000, "q_var": 93_000_000, "ma": (454_545_000,) * 3},
        "range",
        -1,
    ),
    ("one_spike_10x", {"s_va": 6_000_000}, "range", -1),
    ("word_order_swapped", {"q_var": 2_000_000_000}, "powers", -1),
    ("powers_too_small", {"p_w": 100_000, "q_var": 0, "phase_w": (33_333, 33_333, 33_334)}, "powers", -1),
    ("sum_of_phases", {"phase_w": (150_000, 95_000, 95_000)}, "sums", -1),
    ("currents_too_small", {"ma": (90_000, 90_000, 90_000)}, "sums", -1),
    ("negative_total", {"p_w": -285_000, "phase_w": (-95_000,) * 3}, "sign", -1),
    ("one_ct_reversed", {"p_w": 95_000, "phase_w": (95_000, -95_000, 95_000)}, "sign", 1),
    ("two_phases_swapped", {"p_w": -30_000, "phase_w": (-60_000, -65_000, 95_000)}, "sign", -1),
    ("open_ct", {"ma": (454_545, 454_545, 0)}, "phase_lost", 2),
    ("voltage_lost", {"mv": (220_000, 3000, 220_000)}, "phase_lost", 1),
    (
        "zeros_while_cars_draw",
        {"s_va": 0, "p_w": 0, "q_var": 0, "ma": (0, 0, 0), "phase_w": (0, 0, 0)},
        "phase_lost",
        0,
    ),
    ("energy_counter_backwards", {"import_wh": 4_000_000}, "counter", -1),
]
"""What a lying meter shows: the fault, its fields, the doubt it raises, on which phase."""


@pytest.mark.parametrize(("fields", "key", "phase"), [row[1:] for row in LIES], ids=[row[0] for row in LIES])
def test_meter_lies_are_named_and_raise_nothing(fields: dict[str, Any], key: str, phase: int) -> None:
    """Each lie is recognised on the reading that tells it; nothing is raised on it, and it leads to SAFE in 11 s."""
    site = Site().honest(0, 100)
    assert (site.state.mode, site.out[2].ma, site.doubt) == (NORMAL, 9000, ("", -1))
    for second in range(100, 112):
        lie = reading(second)._replace(**fields)
        # A counter that has gone back goes on from there: only the step itself can be seen.
        site.tick(second, lie._replace(import_wh=lie.import_wh + second) if key == "counter" and second > 100 else lie)
        if second == 100 or key != "counter":
            assert site.doubt == (key, phase)
        assert site.out[2].ma == 0
    assert site.state.mode == (RECOVERING if key == "counter" else SAFING)
    assert [c.ma for c in site.out] == [0, 0, 0]


@pytest.mark.parametrize("row", [row for row in LIES if row[2] != "counter"], ids=lambda row: row[0])
def test_meter_that_lied_once_is_believed_again(row: tuple[str, dict[str, Any], str, int]) -> None:
    """One wrong reading among good ones costs its own second: no HOLD, no SAFE, and it lowers nobody."""
    site = Site().honest(0, 100).tick(100, reading(100)._replace(**row[1]))
    assert [c.ma for c in site.out] == [16_000, 16_000, 0]
    site.honest(101, 102)
    assert (site.state.mode, site.doubt) == (NORMAL, ("", -1))
    assert [c.ma for c in site.out] == [16_000, 16_000, 9000]


def test_meter_ratio_wrong_shows_less_than_the_cars_draw() -> None:
    """Six cars draw 96 A on phase A and it shows 60: the CT ratio is half of what it should be."""
    site = Site()
    site.rows = (*(at(f"p{k}", 16_000) for k in range(6)), still("w"))
    site.honest(0, 100)
    for second in range(100, 112):
        site.tick(second, reading(second, ma=(60_000, 600_000, 700_000)))
    assert (site.doubt, site.state.mode) == (("too_little", 0), SAFING)


def test_meter_is_not_doubted_because_one_charger_lies_high() -> None:
    """One charger that claims 32 A it does not draw makes room for nobody, and discredits no meter."""
    site = Site()
    site.rows = (at("liar", 32_000), at("a", 16_000), still("c"))
    for second in range(80):
        site.tick(second, reading(second, 60_000, ma=(17_000, 130_000, 130_000)))
    assert (site.doubt, site.state.mode) == (("", -1), NORMAL)


@pytest.mark.parametrize(("second", "mode"), [(15, NORMAL), (16, HOLDING), (30, HOLDING), (31, SAFING)])
def test_meter_frozen_holds_after_15_s_and_falls_back_after_30(second: int, mode: int) -> None:
    """The same block again, fresh by its time: HOLD after 15 s, SAFE after 30 s, counted from its last news."""
    site = Site().honest(0, 101)
    for k in range(1, second + 1):
        site.tick(100 + k, reading(100)._replace(at_ms=(100 + k) * 1000))
    assert site.state.mode == mode
    assert site.doubt == ("frozen", -1)
    site.honest(101 + second, 102 + second)
    assert site.doubt == ("", -1)


def test_meter_behind_a_gateway_that_caches_two_seconds_is_believed() -> None:
    """Every value twice: half of the readings are news, and that is enough."""
    site = Site()
    for second in range(200):
        site.tick(second, reading(second - second % 2)._replace(at_ms=second * 1000))
        assert site.state.mode == NORMAL or second < 6
    assert site.out[2].ma == 9000


def test_meter_energy_counter_that_rolls_over_is_no_fault() -> None:
    """9,999,999 kWh and then 0.2 kWh: the counter's end, not another meter."""
    site = Site().honest(0, 100)
    site.tick(100, reading(100, import_wh=9_999_999_000))
    site.tick(101, reading(101, import_wh=200))
    assert (site.doubt, site.state.mode) == (("", -1), NORMAL)
    site.tick(102, reading(102, import_wh=100))
    assert (site.doubt, site.state.mode) == (("counter", -1), SAFING)


def test_meter_identity_changed_latches_until_a_person_looks() -> None:
    """Another serial number: fallback for good; the right one coming back changes nothing; no reading clears it."""
    site = Site().honest(0, 100).tick(100, reading(100, identity="4712"))
    assert (site.doubt, site.state.mode, [c.ma for c in site.out]) == (("identity", -1), LATCHED, [0, 0, 0])
    for first in (101, 800, 86_400):
        site.honest(first, first + 60)
        assert (site.state.mode, [c.ma for c in site.out]) == (LATCHED, [0, 0, 0])


def test_meter_identity_that_comes_late_or_not_is_no_change() -> None:
    """A device that says who it is only sometimes is not another one."""
    site = Site()
    for second in range(100):
        site.tick(second, reading(second, identity="" if second % 7 else "4711"))
    assert site.state.mode == NORMAL


def test_meter_reading_of_another_time_is_none() -> None:
    """Older than the one before, or of the future: named, nothing raised, and the age of the last good one counts."""
    site = Site().honest(0, 100)
    for wrong in (reading(98), reading(200)):
        site.tick(100, wrong)
        assert (site.doubt, site.out[2].ma, site.state.sample_ms) == (("time", -1), 0, 99_000)


@pytest.mark.parametrize(
    "fields",
    [
        {"s_va": -300_000, "p_w": -285_000, "phase_w": (-95_000,) * 3, "ma": (-450_000,) * 3},
        {"s_va": 300_000, "p_w": 95_000, "q_var": 93_000, "phase_w": (95_000, -95_000, 95_000)},
        {"s_va": 20_000, "p_w": 15_000, "q_var": 12_000, "phase_w": None, "ma": (31_000, 31_000, 31_000)},
    ],
    ids=["all phases feed back", "one phase feeds back", "the sun covers half of what the cars draw"],
)
def test_site_that_may_export_is_believed(fields: dict[str, Any]) -> None:
    """Where PV is, a negative power and less than the cars draw are the weather, not a fault."""
    site = Site(exports=True)
    site.rows = (*(at(f"p{k}", 16_000) for k in range(3)), still("w"))
    for second in range(80):
        site.tick(second, reading(second)._replace(**fields))
    assert (site.doubt, site.state.mode) == (("", -1), NORMAL)


def test_feeder_meter_is_held_against_itself_like_the_other() -> None:
    """A reversed CT behind a feeder: its watch doubts it, the transformer's does not."""
    state = watch.start(-100_000)
    for second in range(100, 112):
        own = reading(second, 20_000, p_w=6_300, phase_w=(6300, -6300, 6300))
        shot = snapshot((), reading(second))._replace(feeders=(watch.Feeder(100_000, own, 1000),))
        state, shown = watch.look(state, shot, SETTINGS, second * 1000)
        assert shown.feeders[0].meter is None
    assert (state.trust.doubt, state.mode) == (trust.FINE, NORMAL)
    assert (state.feeders[0].trust.doubt, state.feeders[0].trust.phase) == (trust.SIGN, 1)
    assert reasons.doubt(trust.SIGN, 1, feeder="north").startswith("phase B of feeder north seems to feed power back")
    assert reasons.doubt(trust.SIGN, 1, feeder="north", chinese=True).startswith("馈线 north B相功率为负")


@pytest.mark.parametrize("code", sorted(reasons.DOUBTS))
def test_every_doubt_is_said_in_both_languages(code: int) -> None:
    """Of the transformer, of a phase, of a feeder; with the next action, in a language of its own."""
    for phase, feeder in ((-1, ""), (2, ""), (-1, "north"), (2, "north")):
        english, chinese = (reasons.doubt(code, phase, chinese=zh, feeder=feeder) for zh in (False, True))
        assert "{" not in english + chinese
        assert english.isascii() or code == trust.POWERS
        assert not chinese.isascii()
        assert feeder in english
        assert feeder in chinese


# ------------------------------------------------------------------------------------ to the last step of each limit
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
    ("s_va", "own_ma", "draw_ma", "biggest_ma", "exports", "doubt"),
    [
        (99, 9000, 5000, 5000, True, (trust.TOO_LITTLE, -1)),
        (-99, 9000, 5000, 5000, True, (trust.TOO_LITTLE, -1)),
        (99, 9000, 5000, 5000, False, (trust.TOO_LITTLE, -1)),
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
    """Less than a tenth of 1 kVA of cars, or four fifths of all but the largest, in total or on a phase; 200 V."""
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


phases = st.integers(0, 1_300_000)


@given(st.tuples(phases, phases, phases), st.tuples(*(st.integers(85, 100),) * 3), st.integers(195, 245))
@settings(max_examples=300, deadline=None)
def test_any_honest_load_is_believed(ma: tuple[int, int, int], pf: tuple[int, int, int], volts: int) -> None:
    """Whatever residents do, on however unequal phases: a meter that shows it is not doubted (but a dark phase is)."""
    mv = volts * 1000
    va = [x * mv // 1_000_000 for x in ma]
    watts = [s * k // 100 for s, k in zip(va, pf, strict=True)]
    var = [round((s * s - p * p) ** 0.5) for s, p in zip(va, watts, strict=True)]
    shown = Meter(1000, sum(va), sum(watts), sum(var), ma, (mv,) * 3, tuple(watts), 1, "")
    seen = trust.look(trust.start(), shown, RATED_VA, [0] * 4, [0] * 4, False, 1000)
    dark = min(ma) * 1000 < RATED_VA * 1_000_000 // (3 * mv) and sorted(ma)[1] >= 100 * MV // 330
    assert seen.doubt in ((trust.FINE, trust.PHASE_LOST) if dark else (trust.FINE,))


def test_no_reading_and_the_same_one_again_change_nothing() -> None:
    """Silence is not judged here, nor is a reading twice: their age is."""
    seen = trust.look(trust.start(), reading(1), RATED_VA, [0] * 4, [0] * 4, False, 1000)
    assert trust.look(seen, None, RATED_VA, [0] * 4, [0] * 4, False, 9000) == seen  # type: ignore[arg-type]
    assert trust.look(seen, reading(1, 900_000), RATED_VA, [0] * 4, [0] * 4, False, 9000) == seen
