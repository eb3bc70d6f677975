"""Chargers left alone, as the configuration has them: what fits, what is refused, and the words for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edge.config import site_of
from edge.left_alone import as_json as alone_as_json
from edge.left_alone import in_words as alone_in_words
from edge.memory import Memory
from hil_tests.unit.area_file import AREA, BROKER, FEEDER, METER, document, loaded, problems, stated, words

if TYPE_CHECKING:
    from pathlib import Path

OWN_METER = '[feeders.meter]\nmodel = "eastron_sdm630"\ntcp = "10.0.0.2:502"\n'
ROW = '[[chargers]]\nid = "{0}"\nphase = "{1}"\nmax_a = 32\n'


def left_alone(count: int, *lines: str, base_kva: int = 13, phase: str = "B") -> str:
    """A 30 kVA transformer (43.3 A a phase, 78.5 % are 33.9 A) with so many chargers."""
    head = stated(AREA.replace("1250", "30"), base_kva) + METER + BROKER + "[charging]\n" + "\n".join(lines) + "\n"
    return head + "".join(ROW.format(f"c{at}", phase) for at in range(count))


def test_fallback_fits_beside_residents_and_not_one_charger_more(tmp_path: Path) -> None:
    """12.9 kVA and a tenth are 20.5 A on each phase, leave 13.5 A of 33.9 A: two chargers at 6 A fit, three do not."""
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
    assert "Add base_p999_kva to [area], or set fallback_a = 0." in line
    assert loaded(tmp_path, stated(text))


def test_fallback_behind_a_feeder_with_a_meter_needs_its_residents_too(tmp_path: Path) -> None:
    """A feeder without a meter has its limit for cars alone; one with a meter shares it with residents unknown."""
    text = stated(document("charging", "fallback_a = 6")).replace("max_a = 32", 'max_a = 32\nfeeder = "north"')
    assert loaded(tmp_path, text + FEEDER)
    assert "Add base_p999_kva to [feeders.1], or set" in problems(tmp_path, text + FEEDER + OWN_METER)[0]
    both = document("charging", "fallback_a = 6") + FEEDER + OWN_METER
    assert "Add base_p999_kva to [area] and [feeders.1], or set" in problems(tmp_path, both)[0]
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
    """Where the law demands a floor it stands, and the kVA above the limit are said in both languages."""
    text = left_alone(9, "fallback_a = 6", "fallback_floor_by_law = true")
    config = loaded(tmp_path, text)
    said = dict(alone_in_words(site_of(config), config.charging))
    # 20.5 A and 54 A are 39.9 A above the limit of 34.6 A: at 231 V they are 9.2 kVA.
    english, chinese = said["by law"].split("\n")
    where = "at 19:45 up to 40 A above the limit on phase B, 10 kVA in all"
    assert english == f"kept although it does not fit: {where}"
    assert chinese == "法定最低电流，容量不足：19:45 B 相越限最多 40 A，合计 10 kVA"
    assert "cannot be checked" in problems(tmp_path, text.replace("base_p999_kva = [4.3, 4.3, 4.3]\n", ""))[0]


def test_a_fallback_is_checked_beside_a_meter_and_a_broker_that_are_wrong(tmp_path: Path) -> None:
    """All errors at once: a wrong address does not hide a fallback that does not fit, and the other way round."""
    text = left_alone(3, "fallback_a = 6").replace("10.0.0.5:502", "10.0.0.5").replace("127.0.0.1", "auto")
    lines = problems(tmp_path, text)
    places = ["[meter] tcp", "[broker] host", "[charging] fallback_a = 6 does not fit"]
    assert len(lines) == len(places)
    assert all(place in line for place, line in zip(places, lines, strict=True))
    (line,) = problems(tmp_path, left_alone(3, "fallback_a = 6").replace('phase = "B"', 'phase = "D"', 1))
    assert 'phase = "D"' in line  # what it would load is not known before its phase is


def late(folder: Path, *lines: str, count: int = 9, base_kva: int = 8, topic: str = "late") -> str:
    """What is said of the late fallback of a 30 kVA transformer: 8 kVA and a tenth leave 27.5 A at half of it."""
    config = loaded(folder, left_alone(count, *lines, base_kva=base_kva))
    return dict(alone_in_words(site_of(config), config.charging))[topic].split("\n")[0]


def test_late_fallback_is_by_arithmetic(tmp_path: Path) -> None:
    """Four chargers at 6 A fit all night beside 8 kVA, in its smallest hours beside 12 (9.5 of 33.9 A at half)."""
    on, wanted = "on: chargers left alone take 6 A from {}: at most 24 A on phase B", "late_fallback = true"
    assert late(tmp_path, wanted, count=4) == on.format("23:00 to 08:00")
    assert late(tmp_path, wanted, count=4, base_kva=12) == on.format("01:00 to 05:00")
    assert late(tmp_path, count=5, base_kva=16) == "off: in no hour of the valley 6 A fits at all chargers"
    assert late(tmp_path, "late_fallback = false", count=4) == "off: late_fallback = false"
    assert late(tmp_path, "valley = []", count=2) == "off: the valley is empty"


def test_late_fallback_shows_its_figures(tmp_path: Path) -> None:
    """4 kVA and a tenth on a phase are 19.1 A, 0.5 to 0.55 of them from 01:00 to 05:00: 24 A fit 33.9 - 9.9 A."""
    said = late(tmp_path, "late_fallback = true", count=4, base_kva=12, topic="late hour")
    begin = "01:00 by an assumed shape of the day, phase B: limit 34.6 A - margin 0.6 A - "
    assert said == begin + "residents 9.5 A = 24.5 A for chargers"


def test_late_fallback_by_a_guess_of_the_night_is_off_until_wanted_or_measured(tmp_path: Path) -> None:
    """The evening is stated, the night is a built-in shape: that alone starts nobody."""
    config = loaded(tmp_path, left_alone(4, base_kva=8))
    assert alone_as_json(site_of(config), config.charging)["late_min"] is None
    said = dict(alone_in_words(site_of(config), config.charging))["late"]
    how = "seven days of --memory or late_fallback = true give 6 A, 23:00 to 08:00"
    assert said.startswith(f"off, the night is assumed: {how}")
    learned = site_of(config, Memory(highest_ma=[[7, 9000, 9000, 9000]] * 96))
    assert alone_as_json(learned, config.charging)["late_min"] == (23 * 60, 8 * 60)
    rows = dict(alone_in_words(learned, config.charging))
    assert rows["late"].startswith("on: chargers left alone take 6 A from 23:00 to 08:00")
    assert rows["late hour"].startswith("00:00 as measured, phase B: limit 34.6 A - margin 0.6 A - residents 9.9 A")


def test_late_fallback_in_turns_is_offered_and_taken(tmp_path: Path) -> None:
    """24 chargers of a phase fit in turns only, the evening not at all: the check says in how many."""
    text = left_alone(24, base_kva=60).replace("rating_kva = 30", "rating_kva = 125")
    config = loaded(tmp_path, text)
    said = dict(alone_in_words(site_of(config), config.charging))
    assert said["fits alone"].startswith("0 A")
    assert said["late"].startswith("off: it would fit with fallback_slots = 6, here and in the chargers")
    config = loaded(tmp_path, text.replace("[charging]", "[charging]\nfallback_slots = 6\nlate_fallback = true"))
    said = dict(alone_in_words(site_of(config), config.charging))
    assert said["late"].startswith("on: chargers left alone take 6 A in 6 turns from 00:30 to 05:30: at most 90 A on")
    assert "，分 6 组轮换" in said["late"]
    assert alone_as_json(site_of(config), config.charging)["late_min"] == (30, 330)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (left_alone(2, "late_fallback = true", "fallback_a = 6"), "late_fallback = true goes with fallback_a = 0"),
        (document("charging", "late_fallback = true"), "cannot be checked: nobody has said what residents draw."),
        (
            left_alone(5, "late_fallback = true", "valley = []"),
            "has no hours: the valley is empty. Set valley, or leave",
        ),
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
    return [f"{topic}: {text.splitlines()[0]}" for topic, text in rows if topic in ("no lease", "accepted")]


def test_words_of_chargers_without_a_lease(tmp_path: Path) -> None:
    """What may stand on them at any hour is what the worst one leaves beside the fallback of the others."""
    said = "no lease: chargers without a lease could take 14.6 kW; {} kW may stand on them, at any hour and for ever"
    assert unleased(tmp_path) == [said.format("3.1")]
    assert unleased(tmp_path, "fallback_a = 6") == [said.format("1.7")]
    assert unleased(tmp_path, base_kva=25) == [said.format("0.0")]
    assert unleased(tmp_path, "accept_unleased_kw = 2") == [said.format("3.1")]
    more = "accepted: {} kW are more than fits: at 19:45 up to {} A above the limit on phase B, {} kVA in all"
    assert unleased(tmp_path, "accept_unleased_kw = 6.9") == [said.format("6.9"), more.format("6.9", 17, 4)]
    assert unleased(tmp_path, "accept_unleased_kw = 500") == [said.format("14.6"), more.format("500", 50, 12)]


def test_words_where_no_charger_has_a_lease(tmp_path: Path) -> None:
    """Nobody stops by himself, and no fallback of 6 A is anybody's."""
    text = left_alone(3).replace("max_a = 32", 'max_a = 32\nlease = "none"')
    config = loaded(tmp_path, text)
    assert words(config)["fallback"] == "3 charger(s) without a lease stay at what they were told last"
    topics = [topic for topic, _ in alone_in_words(site_of(config), config.charging)]
    assert topics == ["residents", "worst hour", "no lease"]
    config = loaded(tmp_path, left_alone(3).replace("max_a = 32", 'max_a = 32\nlease = "none"', 1))
    stops = "a charger that hears nothing for 60 s stops by itself; 1 charger(s) without a lease stay at what"
    assert words(config)["fallback"].startswith(stops)


def test_words_of_what_is_accepted_in_the_dark(tmp_path: Path) -> None:
    """Nobody has said what residents draw: nothing may stand on them but what is accepted, and that is said."""
    lines = ("charging", "accept_unleased_kw = 6.9")
    config = loaded(tmp_path, document(*lines).replace("max_a = 32", 'max_a = 32\nlease = "none"'))
    rows = dict(alone_in_words(site_of(config), config.charging))
    assert "could take 7.3 kW; 6.9 kW may stand on them" in rows["no lease"]
    assert "6.9 kW may be above the limit" in rows["accepted"]


def test_words_of_a_site_left_alone(tmp_path: Path) -> None:
    """The arithmetic in three rows: what is free at the worst hour, what all need, which fallback follows."""
    config = loaded(tmp_path, left_alone(2, "fallback_a = 6"))
    said = [f"{topic} | {text}" for topic, text in alone_in_words(site_of(config), config.charging)]
    worst = "worst hour | 19:45 by an assumed shape of the day, phase B: "
    as_set = "as set | 6 A, fallback_slots = 1: 12 A on phase B; on the three phases 2.8 kVA = 9.2 % of rating"
    assert "\n".join(said).splitlines() == [
        "residents | at most 4.7 / 4.7 / 4.7 kVA on A, B, C: stated in [area], and a tenth",
        "A、B、C 相最大 4.7 / 4.7 / 4.7 kVA：[area] 给定值加一成",
        f"{worst}limit 34.6 A - margin 0.6 A - residents 20.5 A = 13.5 A for chargers",
        "19:45（按假定日曲线），B 相：限值 34.6 A - 裕度 0.6 A - 居民 20.5 A = 余 13.5 A",
        "6 A for all | 12 A on phase B; on the three phases 2.8 kVA = 9.2 % of rating",
        "全部 6 A：B 相 12 A；三相合计 2.8 kVA，占额定容量 9.2 %",
        "fits alone | 6 A for all",
        "全部 6 A",
        as_set,
        "6 A，fallback_slots = 1：B 相 12 A；三相合计 2.8 kVA，占额定容量 9.2 %",
    ]


def test_words_of_residents_stated_in_one_number(tmp_path: Path) -> None:
    """600 kVA and a tenth, 40 % of it are 1143.2 A on a phase; what is assumed is named, and how to know better."""
    config = loaded(tmp_path, stated(document()).replace("[200.0, 200.0, 200.0]", "600"))
    said = {topic: text.split("\n")[0] for topic, text in alone_in_words(site_of(config), config.charging)}
    one = "at most 660.0 kVA: stated in [area], and a tenth; 264.0 kVA of it may be on one phase"
    assert said["residents"] == one
    assumed = "[area]: taken as 40 % on the worst phase, whichever it is; write [a, b, c] if you know better"
    assert said["unbalance"] == assumed
    assert said["worst hour"].endswith("limit 1443.4 A - margin 27.1 A - residents 1143.2 A = 273.2 A for chargers")


def test_residents_of_unknown_balance_do_not_pass_for_even(tmp_path: Path) -> None:
    """66 chargers at 6 A beside 200 kVA on 400 kVA fit only where residents are even, and the refusal says so."""
    rows = "".join(ROW.format(f"c{at}", "ABC"[at % 3]) for at in range(66))
    text = AREA.replace("1250", "400\nbase_p999_kva = {}") + METER + BROKER + "[charging]\nfallback_a = 6\n" + rows
    assert loaded(tmp_path, text.replace("{}", "[66.7, 66.7, 66.6]"))
    (line,) = problems(tmp_path, text.replace("{}", "200"))
    assert "residents leave 72 A on phase A, and chargers left alone take 132 A there." in line
    assert "Residents are taken as 40 % on the worst phase: base_p999_kva = [a, b, c] in [area] says it" in line
    assert "Residents are taken" not in problems(tmp_path, text.replace("{}", "[90, 60, 50]"))[0]


def test_words_tell_what_to_state_where_residents_were_learned(tmp_path: Path) -> None:
    """A fallback has to be stated, so that it does not hang on a file of the gateway: the figures are at hand."""
    config = loaded(tmp_path, document())
    site = site_of(config, Memory(highest_ma=[[7, 300_000, 200_000, 100_000]] * 96))
    said = dict(alone_in_words(site, config.charging))
    assert said["residents"].startswith("at most 76.2 / 50.8 / 25.4 kVA on A, B, C: measured")
    assert said["to state"].startswith("for a fallback_a above 0 write it down: base_p999_kva = [69.3, 46.2, 23.1]")


@pytest.mark.parametrize(
    ("count", "base_kva", "says"),
    [
        (9, 13, "0 A: not even 6 A in 8 turns fits\n0 A：分 8 组轮换 6 A 也放不下"),
        (24, 1, "6 A in 7 turns of 15 min: of 24 on a phase at most 14 draw together (4.5 sigma and 2 more)"),
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
    assert text.startswith(
        "not computed, so only 0 A is safe: nobody has said what residents draw (base_p999_kva in [area])"
    )
    assert alone_as_json(site_of(config), config.charging) == {
        "residents": "unknown", "assumed": (), "fits_slots": None, "all_at_6a": None, "as_set": None, "late_min": None,
        "unleased_ma": (0, 0, 0),
    }  # fmt: skip
