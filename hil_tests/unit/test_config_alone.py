"""Chargers left alone, as the configuration has them: what fits, what is refused, and the words for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edge.config import site_of
from edge.words import alone_as_json, alone_in_words
from hil_tests.unit.area_file import AREA, BROKER, FEEDER, METER, document, loaded, problems, stated

if TYPE_CHECKING:
    from pathlib import Path

OWN_METER = '[feeders.meter]\nmodel = "eastron_sdm630"\ntcp = "10.0.0.2:502"\n'
ROW = '[[chargers]]\nid = "{0}"\nphase = "{1}"\nmax_a = 32\n'


def left_alone(count: int, *lines: str, base_kva: int = 13, phase: str = "B") -> str:
    """A 30 kVA transformer (43.3 A a phase, 78.5 % are 33.9 A) with so many chargers."""
    head = stated(AREA.replace("1250", "30"), base_kva) + METER + BROKER + "[charging]\n" + "\n".join(lines) + "\n"
    return head + "".join(ROW.format(f"c{at}", phase) for at in range(count))


def test_fallback_fits_beside_residents_and_not_one_charger_more(tmp_path: Path) -> None:
    """13 kVA and a tenth are 20.6 A on each phase and leave 13.3 A of 33.9 A: two chargers at 6 A fit, three do not."""
    assert loaded(tmp_path, left_alone(2, "fallback_a = 6")).charging.fallback_ma == 6000
    (line,) = problems(tmp_path, left_alone(3, "fallback_a = 6"))
    assert line == (
        "area.toml: [charging] fallback_a = 6 does not fit: at 19:45 residents leave 13 A on phase B, and chargers "
        "left alone take 18 A there. Set fallback_a = 0. Where the law demands a floor: fallback_floor_by_law = true."
    )


def test_fallback_needs_to_know_residents(tmp_path: Path) -> None:
    """Nobody has said what residents draw: a fallback above 0 cannot be checked, and is not taken."""
    text = document("charging", "fallback_a = 6")
    (line,) = problems(tmp_path, text)
    assert "[charging] fallback_a = 6 cannot be checked: nobody has said what residents draw." in line
    assert "Add base_p999_kva to [area] and to each feeder with a meter, or set fallback_a = 0." in line
    assert loaded(tmp_path, stated(text))


def test_fallback_behind_a_feeder_with_a_meter_needs_its_residents_too(tmp_path: Path) -> None:
    """A feeder without a meter has its limit for cars alone; one with a meter shares it with residents unknown."""
    text = stated(document("charging", "fallback_a = 6")).replace("max_a = 32", 'max_a = 32\nfeeder = "north"')
    assert loaded(tmp_path, text + FEEDER)
    assert "cannot be checked" in problems(tmp_path, text + FEEDER + OWN_METER)[0]
    assert loaded(tmp_path, text + FEEDER + "base_p999_kva = 200\n" + OWN_METER)
    (line,) = problems(tmp_path, text + FEEDER + "base_p999_kva = 300\n" + OWN_METER)
    assert "residents leave 0 A on feeder north, phase A, and chargers left alone take 6 A there." in line


@pytest.mark.parametrize(
    ("count", "base_kva", "fallback_a", "advice"),
    [
        (1, 13, 16, "Set fallback_a = 6. Where"),
        (3, 20, 6, "Set fallback_a = 0. Where"),
    ],
)
def test_a_fallback_that_does_not_fit_is_answered_with_one_that_does(
    tmp_path: Path, count: int, base_kva: int, fallback_a: int, advice: str
) -> None:
    """The next action is the fallback that fits."""
    (line,) = problems(tmp_path, left_alone(count, f"fallback_a = {fallback_a}", base_kva=base_kva))
    assert advice in line


def test_rotating_fallback_is_offered_and_taken(tmp_path: Path) -> None:
    """24 chargers at 6 A are 144 A; in 5 turns at most 16 of them draw together, 96 A, and that fits 98 A."""
    text = left_alone(24, "fallback_a = 6", base_kva=27).replace("rating_kva = 30", "rating_kva = 125")
    (line,) = problems(tmp_path, text)
    assert "residents leave 98 A on phase B, and chargers left alone take 144 A there." in line
    assert "Set fallback_a = 6 and fallback_slots = 5 here and in the chargers, or fallback_a = 0." in line
    turns = text.replace("fallback_a = 6", "fallback_a = 6\nfallback_slots = {}")
    assert loaded(tmp_path, turns.format(5)).charging.fallback_slots == 5
    assert "take 108 A there" in problems(tmp_path, turns.format(4))[0]


def test_turns_are_of_six_amperes(tmp_path: Path) -> None:
    """A turn of 10 A is none that a charger knows."""
    (line,) = problems(tmp_path, stated(document("charging", "fallback_a = 10", "fallback_slots = 2")))
    assert "[charging] fallback_slots = 2 goes with fallback_a = 10; a turn is for 6 A. Set fallback_a = 6" in line


def test_a_floor_by_law_is_kept_and_its_price_said(tmp_path: Path) -> None:
    """Where the law demands a floor it stands, and the kW above the limit are said in both languages."""
    text = left_alone(9, "fallback_a = 6", "fallback_floor_by_law = true")
    config = loaded(tmp_path, text)
    said = dict(alone_in_words(site_of(config), config.charging))
    # 20.6 A and 54 A are 40 A above the limit of 34.6 A: at 231 V and 0.99 they are 9.2 kW.
    english, chinese = said["by law"].split("  ")
    assert english == "kept although it does not fit: at 19:45 up to 10 kW above the limit"
    assert chinese == "法定最低电流，容量不足：19:45 越限最多 10 kW"
    assert "cannot be checked" in problems(tmp_path, text.replace("base_p999_kva = 13\n", ""))[0]


def test_a_fallback_is_checked_beside_a_meter_and_a_broker_that_are_wrong(tmp_path: Path) -> None:
    """All errors at once: a wrong address does not hide a fallback that does not fit, and the other way round."""
    text = left_alone(3, "fallback_a = 6").replace("10.0.0.5:502", "10.0.0.5").replace("127.0.0.1", "auto")
    lines = problems(tmp_path, text)
    places = ["[meter] tcp", "[broker] host", "[charging] fallback_a = 6 does not fit"]
    assert len(lines) == len(places)
    assert all(place in line for place, line in zip(places, lines, strict=True))
    (line,) = problems(tmp_path, left_alone(3, "fallback_a = 6").replace('phase = "B"', 'phase = "D"', 1))
    assert 'phase = "D"' in line  # what it would load is not known before its phase is


def late(folder: Path, *lines: str, count: int = 9, base_kva: int = 8, advice: str = "late") -> str:
    """What is said of the late fallback of a 30 kVA transformer: 8 kVA and a tenth leave 27.5 A at half of it."""
    config = loaded(folder, left_alone(count, *lines, base_kva=base_kva))
    return dict(alone_in_words(site_of(config), config.charging))[advice].split("  ")[0]


def test_late_fallback_is_by_arithmetic(tmp_path: Path) -> None:
    """Four chargers at 6 A fit all night beside 8 kVA, in its smallest hours beside 12 (9.5 of 33.9 A at half)."""
    assert late(tmp_path, count=4) == "on: chargers left alone take 6 A from 23:00 to 08:00"
    assert late(tmp_path, count=4, base_kva=12) == "on: chargers left alone take 6 A from 01:00 to 05:00"
    assert late(tmp_path, count=5, base_kva=16) == "off: in no hour of the valley 6 A fits at all chargers"
    assert late(tmp_path, "late_fallback = false", count=4) == "off: late_fallback = false"
    assert late(tmp_path, "valley = []", count=2) == "off: in no hour of the valley 6 A fits at all chargers"


def test_late_fallback_in_turns_is_offered_and_taken(tmp_path: Path) -> None:
    """24 chargers of a phase fit in turns only, the evening not at all: the check says in how many."""
    text = left_alone(24, base_kva=60).replace("rating_kva = 30", "rating_kva = 125")
    config = loaded(tmp_path, text)
    said = dict(alone_in_words(site_of(config), config.charging))
    assert said["fits alone"].startswith("0 A")
    assert said["late"].startswith("off: it would fit with fallback_slots = 6, here and in the chargers")
    config = loaded(tmp_path, text.replace("[charging]", "[charging]\nfallback_slots = 6\nlate_fallback = true"))
    said = dict(alone_in_words(site_of(config), config.charging))
    assert said["late"].startswith("on: chargers left alone take 6 A in 6 turns from 00:30 to 05:30")
    assert alone_as_json(site_of(config), config.charging)["late_min"] == (30, 330)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (left_alone(2, "late_fallback = true", "fallback_a = 6"), "late_fallback = true goes with fallback_a = 0"),
        (document("charging", "late_fallback = true"), "cannot be checked: nobody has said what residents draw."),
        (left_alone(5, "late_fallback = true", base_kva=20), "for 6 A at all chargers. Leave it out."),
        (
            left_alone(24, "late_fallback = true", base_kva=60).replace("rating_kva = 30", "rating_kva = 125"),
            "room for 6 A at all chargers. Set fallback_slots = 6 here and in the chargers.",
        ),
    ],
)
def test_late_fallback_that_was_asked_for_must_fit(tmp_path: Path, text: str, complaint: str) -> None:
    """Asked for and not to be had is an error with what to do."""
    (line,) = problems(tmp_path, text)
    assert line.startswith("area.toml: [charging] late_fallback = true")
    assert complaint in line


def unleased(folder: Path, *lines: str, base_kva: int = 13) -> list[str]:
    """What is said of one charger with and two without a lease on a phase with 13.3 A free in the worst hour."""
    text = left_alone(3, *lines, base_kva=base_kva).replace('id = "c0"', 'id = "c0"\nlease = "none"')
    config = loaded(folder, text.replace('id = "c1"', 'id = "c1"\nlease = "none"'))
    rows = alone_in_words(site_of(config), config.charging)
    return [f"{topic}: {text.split('  ')[0]}" for topic, text in rows if topic in ("no lease", "accepted")]


def test_words_of_chargers_without_a_lease(tmp_path: Path) -> None:
    """What may stand on them at any hour is what the worst one leaves beside the fallback of the others."""
    said = "no lease: chargers without a lease could take 15 kW; {} kW may stand on them, at any hour and for ever"
    assert unleased(tmp_path) == [said.format(3)]
    assert unleased(tmp_path, "fallback_a = 6") == [said.format(1)]
    assert unleased(tmp_path, base_kva=25) == [said.format(0)]
    assert unleased(tmp_path, "accept_unleased_kw = 2") == [said.format(3)]
    more = "accepted: accept_unleased_kw = 6.9 is more than fits: at 19:45 up to 4 kW above the limit"
    assert unleased(tmp_path, "accept_unleased_kw = 6.9") == [said.format(6), more]


def test_words_of_what_is_accepted_in_the_dark(tmp_path: Path) -> None:
    """Nobody has said what residents draw: nothing may stand on them but what is accepted, and that is said."""
    lines = ("charging", "accept_unleased_kw = 6.9")
    config = loaded(tmp_path, document(*lines).replace("max_a = 32", 'max_a = 32\nlease = "none"'))
    rows = dict(alone_in_words(site_of(config), config.charging))
    assert "could take 8 kW; 6 kW may stand on them" in rows["no lease"]
    assert "it may be above the limit" in rows["accepted"]


def test_words_of_a_site_left_alone(tmp_path: Path) -> None:
    """The arithmetic in three rows: what is free at the worst hour, what all need, which fallback follows."""
    config = loaded(tmp_path, left_alone(2, "fallback_a = 6"))
    said = [f"{topic} | {text}" for topic, text in alone_in_words(site_of(config), config.charging)]
    worst = "worst hour | 19:45: residents, 15 kVA (stated, a tenth in reserve), leave 9 kW free, 13 A on phase B"
    as_set = "as set | fallback_a = 6, fallback_slots = 1: at worst 3 kW = 9.2 % of rating, 12 A on phase B"
    assert said == [
        f"{worst}  19:45 居民 15 kVA（含一成裕量），余 9 kW，B相 余 13 A",
        "6 A for all | 3 kW = 9.2 % of rating, 12 A on phase B  全部 6 A：3 kW = 9.2 %，B相 12 A",
        "fits alone | 6 A for all  全部 6 A",
        f"{as_set}  最大 3 kW = 9.2 %，B相 12 A",
    ]


@pytest.mark.parametrize(
    ("count", "base_kva", "says"),
    [
        (9, 13, "0 A: not even 6 A in 8 turns fits  0 A：分 8 组轮换 6 A 也放不下"),
        (24, 1, "6 A in 7 turns of 15 min: of 24 chargers on a phase at most 14 together (99.9 %)"),
    ],
)
def test_words_of_what_fits(tmp_path: Path, count: int, base_kva: int, says: str) -> None:
    """0 A, and turns with how many draw together."""
    kva = 30 if base_kva == 13 else 80
    config = loaded(tmp_path, left_alone(count, base_kva=base_kva).replace("rating_kva = 30", f"rating_kva = {kva}"))
    assert dict(alone_in_words(site_of(config), config.charging))["fits alone"].startswith(says)


def test_words_of_a_site_of_which_nothing_is_known(tmp_path: Path) -> None:
    """Without residents' load nothing is computed, and 0 A is said to be the only safe fallback."""
    config = loaded(tmp_path, document())
    ((topic, text),) = alone_in_words(site_of(config), config.charging)
    assert topic == "fits alone"
    assert text.startswith("not computed: nobody has said what residents draw (base_p999_kva), so only 0 A is safe")
    assert alone_as_json(site_of(config), config.charging) == {
        "residents": "unknown", "fits_slots": None, "all_at_6a": None, "as_set": None, "late_min": None,
        "unleased_ma": (0, 0, 0),
    }  # fmt: skip
