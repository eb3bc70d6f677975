"""Meter trust: each way in which a meter lies is recognised, named, and never taken for room."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import reasons
from edge.core import trust, watch
from edge.core.model import FULL, Charger, Command, Meter
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
