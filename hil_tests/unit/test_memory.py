"""What an area learns of itself: cautious at first, corrected by every day, kept over a restart, never in the way."""

from __future__ import annotations

import errno
import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.config import ConfigError
from edge.memory import (
    DAY_MIN,
    DAY_ONE_ARRIVE_MIN,
    NEW_DAY,
    NEW_WISH,
    QUARTER_MIN,
    QUARTERS,
    RATIO_BOUNDS,
    SAVE_MS,
    Memory,
    MemoryFile,
    day_one,
)

MINUTE_MS = 60_000
EVENING = 20 * 60
TEN = 10 * 60
SIX_PM = 18 * 60
NINE_PM = 21 * 60


def shown(base_va: float, minute: float = EVENING) -> Memory:
    """A memory that has had one reading."""
    memory = Memory()
    memory.note_base(minute, base_va, MINUTE_MS)
    return memory


def day(memory: Memory, base_va: float) -> Memory:
    """A whole day from midnight on, one reading a minute, closed by the first of the next."""
    for minute in range(DAY_MIN):
        memory.note_base(minute, base_va, MINUTE_MS)
    memory.note_base(0, base_va, MINUTE_MS)
    return memory


def night(memory: Memory, *minutes: int) -> Memory:
    """A night with sessions that begin at these minutes, and the noon after it."""
    for minute in minutes:
        memory.note_arrivals(minute, 1)
    memory.note_base(TEN, 1000.0, MINUTE_MS)
    memory.note_base(13 * 60, 1000.0, MINUTE_MS)
    return memory


# ------------------------------------------------------------------------------------------------- residents' load
def test_day_one_expects_a_valley_of_at_least_half_the_peak() -> None:
    """Nothing has been learned: no hour is expected to fall below half of the highest one."""
    memory = shown(300_000.0)
    expected = [memory.base_va(EVENING, ahead) for ahead in range(DAY_MIN)]
    assert min(expected) >= 0.5 * max(expected)
    assert max(expected) == pytest.approx(300_000.0, rel=0.01)


@pytest.mark.parametrize("minute", [0, 3 * 60, TEN, SIX_PM, EVENING])
def test_day_one_scales_with_what_the_meter_shows(minute: int) -> None:
    """At any hour the present is expected as it is shown, and twice the load means twice the load at every hour."""
    one, two = shown(100_000.0, minute), shown(200_000.0, minute)
    assert one.base_va(minute, 0) == pytest.approx(100_000.0)
    for ahead in range(0, DAY_MIN, 7):
        assert two.base_va(minute, ahead) == pytest.approx(2.0 * one.base_va(minute, ahead))


def test_day_one_keeps_the_highest_peak_it_was_shown() -> None:
    """A heavy morning followed by a quiet noon: the evening is still expected as the heavy morning made it."""
    memory = shown(65_000.0, 8 * 60)
    for minute in range(8 * 60 + 15, 12 * 60):
        memory.note_base(minute, 20_000.0, MINUTE_MS)
    assert memory.base_va(12 * 60 - 1, EVENING - 12 * 60 + 1) == pytest.approx(100_000.0)


def test_the_shape_of_day_one_is_linear_between_hours_and_closed_over_midnight() -> None:
    """Half way between two hours lies the mean of both, at midnight too."""
    assert day_one(19.5 * 60) == pytest.approx((day_one(19 * 60) + day_one(20 * 60)) / 2)
    assert day_one(23.5 * 60) == pytest.approx((day_one(23 * 60) + day_one(0)) / 2)


def test_a_learned_quarter_replaces_day_one() -> None:
    """The mean of a quarter's readings stands from its end on, and only for this quarter."""
    memory = Memory()
    for minute in range(QUARTER_MIN):
        memory.note_base(TEN + minute, 90_000.0 if minute % 2 else 110_000.0, MINUTE_MS)
    assert memory.profile_va == [None] * QUARTERS
    memory.note_base(TEN + QUARTER_MIN, 100_000.0, MINUTE_MS)
    learned = memory.profile_va[TEN // QUARTER_MIN]
    assert learned == pytest.approx((8 * 110_000.0 + 7 * 90_000.0) / 15, rel=0.02)
    assert memory.profile_va.count(None) == QUARTERS - 1
    assert memory.base_va(TEN + QUARTER_MIN, DAY_MIN - QUARTER_MIN) == learned


def test_a_new_day_counts_thirty_percent() -> None:
    """100 kVA learned and a day of 200 kVA: every quarter moves by three tenths of the difference."""
    memory = day(Memory(), 100_000.0)
    assert memory.profile_va == pytest.approx([100_000.0] * QUARTERS)
    day(memory, 200_000.0)
    # The first quarter holds one more reading: the one that closed the day before.
    assert memory.profile_va[1:] == pytest.approx([100_000.0 + NEW_DAY * 100_000.0] * (QUARTERS - 1))
    assert pytest.approx(0.3) == NEW_DAY


@pytest.mark.parametrize(
    ("today_va", "expected_va"),
    [(120_000.0, 120_000.0), (80_000.0, 80_000.0), (500_000.0, 160_000.0), (10_000.0, 70_000.0)],
)
def test_todays_ratio_is_taken_along_and_bounded(today_va: float, expected_va: float) -> None:
    """What is a fifth above what was learned is expected so at every hour; what is absurd counts as 0.7 or 1.6."""
    memory = Memory(profile_va=[100_000.0] * QUARTERS)
    memory.note_base(SIX_PM, today_va, MINUTE_MS)
    assert {round(memory.base_va(SIX_PM, ahead)) for ahead in range(DAY_MIN)} == {round(expected_va)}
    assert RATIO_BOUNDS == (0.7, 1.6)


def test_a_kettle_is_no_weather() -> None:
    """How today differs, and how residents spread over phases, are means over half an hour, from the first reading."""
    memory = Memory(profile_va=[100_000.0] * QUARTERS)
    for k in range(60):
        memory.note_base(SIX_PM, 90_000.0 if k % 2 else 130_000.0, 1000, (300 - 2 * (k % 2), 0, 100))
    assert memory.base_va(SIX_PM, 60) == pytest.approx(110_000.0)
    assert memory.recent_ma == pytest.approx((299.0, 0.0, 100.0))
    for _ in range(1800):
        memory.note_base(SIX_PM, 110_000.0, 1000, (299, 0, 100))
    memory.note_base(SIX_PM, 110_000.0 + 1800.0, 1000, (299 + 1800, 0, 100))
    assert memory.base_va(SIX_PM, 60) == pytest.approx(110_001.0)
    assert memory.recent_ma[0] == pytest.approx(300.0)


def test_what_was_learned_is_linear_between_quarters() -> None:
    """No step where one quarter of an hour ends: in the middle of it its mean, at its edge the mean of both."""
    memory = Memory(profile_va=[100_000.0 + 8000.0 * (q % 2) for q in range(QUARTERS)])
    at = [memory.base_va(0.0, ahead) for ahead in (7.5, 15.0, 22.5, 26.25, DAY_MIN - 7.5, 0.0)]
    assert at == pytest.approx([100_000.0, 104_000.0, 108_000.0, 106_000.0, 108_000.0, 104_000.0])


def test_a_kettle_moves_the_recent_load_by_its_share_of_five_minutes() -> None:
    """One reading of a second among five minutes counts a three-hundredth; a minute counts a fifth."""
    second, minute = shown(100_000.0), shown(100_000.0)
    second.note_base(EVENING, 400_000.0, 1000)
    minute.note_base(EVENING, 400_000.0, MINUTE_MS)
    assert second.recent_va == pytest.approx(101_000.0)
    assert minute.recent_va == pytest.approx(160_000.0)


# -------------------------------------------------------------------------------------------------------- arrivals
def test_day_one_expects_every_charger() -> None:
    """Without a night seen all chargers are expected to get a car, at stated hours."""
    assert Memory().usual_arrivals(324) == (324.0, DAY_ONE_ARRIVE_MIN)


def test_after_a_night_its_cars_are_expected() -> None:
    """Five cars came: five are expected, however many chargers there are."""
    memory = night(Memory(), *[SIX_PM] * 5)
    assert memory.nights == 1
    assert memory.usual_arrivals(324)[0] == pytest.approx(5.0)


def test_more_nights_make_a_mean() -> None:
    """Ten cars, then twenty: thirteen are expected, a new night counts three tenths; equal nights change nothing."""
    memory = night(night(Memory(), *[SIX_PM] * 10), *[SIX_PM] * 20)
    assert memory.usual_arrivals(324)[0] == pytest.approx(13.0)
    same = Memory()
    for _ in range(5):
        night(same, *[SIX_PM] * 7)
    assert same.usual_arrivals(324)[0] == pytest.approx(7.0)
    assert same.nights == 5


def test_a_day_without_cars_before_the_first_night_teaches_nothing() -> None:
    """No car has ever come: it is still day one after noon."""
    memory = night(Memory())
    assert memory.nights == 0
    assert memory.usual_arrivals(10) == (10.0, DAY_ONE_ARRIVE_MIN)


def test_the_night_closes_at_noon_and_not_at_midnight() -> None:
    """Sessions of an evening and of the small hours are one night, counted until noon and taken in there."""
    memory = Memory()
    memory.note_base(NINE_PM, 1000.0, MINUTE_MS)
    memory.note_arrivals(NINE_PM, 1)
    memory.note_base(0, 1000.0, MINUTE_MS)
    memory.note_arrivals(30, 1)
    memory.note_base(12 * 60 - 1, 1000.0, MINUTE_MS)
    assert (memory.nights, memory.seen) == (0, 2)
    memory.note_base(12 * 60, 1000.0, MINUTE_MS)
    assert (memory.nights, memory.seen, sum(memory.today)) == (1, 0, 0)
    assert memory.usual_arrivals(9)[0] == pytest.approx(2.0)
    memory.note_base(NINE_PM, 1000.0, MINUTE_MS)
    memory.note_base(0, 1000.0, MINUTE_MS)
    assert memory.nights == 1


def test_quantiles_lie_where_the_cars_came() -> None:
    """Half came at six and half at nine: no quantile lies between, and each half has its own."""
    memory = night(Memory(), *[SIX_PM] * 8, *[NINE_PM] * 8)
    cars, quantiles = memory.usual_arrivals(99)
    assert cars == pytest.approx(16.0)
    assert quantiles[0] == 6 * 60
    assert quantiles[-1] == 9 * 60 + QUARTER_MIN
    assert all(6 * 60 <= at <= 6 * 60 + QUARTER_MIN or 9 * 60 <= at <= 9 * 60 + QUARTER_MIN for at in quantiles)
    assert quantiles[len(quantiles) // 2] == 6 * 60 + QUARTER_MIN


def test_after_midnight_is_late_and_not_early() -> None:
    """A car of half past midnight comes twelve and a half hours after noon, after one of ten in the evening."""
    _, quantiles = night(Memory(), 22 * 60, 30).usual_arrivals(9)
    assert (quantiles[0], quantiles[-1]) == (10 * 60, 12 * 60 + 30 + QUARTER_MIN)


@settings(max_examples=200, deadline=None)
@given(minutes=st.lists(st.integers(0, DAY_MIN - 1), min_size=1, max_size=40))
def test_quantiles_are_in_order_and_inside_the_evening(minutes: list[int]) -> None:
    """Whenever cars came: quantiles never fall, the first and the last enclose exactly the quarters that had a car."""
    cars, quantiles = night(Memory(), *minutes).usual_arrivals(99)
    after_noon = sorted((m // QUARTER_MIN * QUARTER_MIN - 720) % DAY_MIN for m in minutes)
    assert cars == pytest.approx(len(minutes))
    assert list(quantiles) == sorted(quantiles)
    assert quantiles[0] == after_noon[0]
    assert quantiles[-1] == after_noon[-1] + QUARTER_MIN
    assert all(any(start <= at <= start + QUARTER_MIN for start in after_noon) for at in quantiles)


# ----------------------------------------------------------------------------------------------------- highest load
def quarter_of(memory: Memory, minutes: list[tuple[int, ...]]) -> list[int]:
    """What is kept of an evening's quarter of an hour with these minutes, two readings each; the next one closes it."""
    for at, ma in enumerate(minutes):
        memory.note_base(EVENING + at, 1.0, MINUTE_MS, ma)
        memory.note_base(EVENING + at + 0.5, 1.0, MINUTE_MS, ma)
    memory.note_base(EVENING + QUARTER_MIN, 1.0, MINUTE_MS, minutes[-1])
    return memory.highest_ma[EVENING // QUARTER_MIN]


def test_the_highest_minute_is_kept_wire_by_wire() -> None:
    """Of each phase its own highest minute, with the day counted; a phase that exports counts as nothing."""
    assert quarter_of(Memory(), [(5000, 100, -50), (7000, 50, -60), (6000, 90, -70)]) == [1, 7000, 100, 0]


def test_a_kettle_counts_as_its_minute() -> None:
    """One reading of two at 9 A more makes a minute of 4.5 A more."""
    memory = Memory()
    memory.note_base(EVENING, 1.0, MINUTE_MS, (5000,))
    memory.note_base(EVENING + 0.5, 1.0, MINUTE_MS, (14_000,))
    assert quarter_of(memory, [(5000,), (5000,)])[1] == pytest.approx(7250, abs=1)


def test_the_highest_minute_rises_at_once_and_falls_slowly() -> None:
    """A higher day counts whole; a lower one takes a fiftieth of the difference: half in five weeks."""
    memory = Memory()
    assert quarter_of(memory, [(5000,)]) == [1, 5000]
    assert quarter_of(memory, [(9000,)]) == [2, 9000]
    assert quarter_of(memory, [(4000,)]) == [3, 8900]
    for _ in range(34):
        quarter_of(memory, [(4000,)])
    assert memory.highest_ma[EVENING // QUARTER_MIN][1] == pytest.approx(6500, abs=50)


def test_an_area_that_is_wired_anew_learns_its_highest_anew() -> None:
    """With a feeder more the days begin at one."""
    memory = Memory()
    quarter_of(memory, [(9000,)])
    assert quarter_of(memory, [(4000, 3000)]) == [1, 4000, 3000]


def test_highest_is_known_when_every_quarter_was_seen_often_enough() -> None:
    """One quarter of an hour that was seen on too few days keeps all of it unknown."""
    memory = Memory(highest_ma=[[2, 10, 20] for _ in range(QUARTERS)])
    assert memory.highest(2, 2) == [[10, 20]] * QUARTERS
    assert (memory.highest(3, 2), memory.highest(2, 1)) == (None, None)
    memory.highest_ma[50] = [1, 10, 20]
    assert memory.highest(2, 2) is None
    assert Memory().highest(0, 0) is None


# ------------------------------------------------------------------------------------------------------ departures
def test_the_first_wish_says_when_cars_leave_and_each_more_moves_it_a_little() -> None:
    """Nothing is known until a wish says it; then each new one counts a fiftieth."""
    memory = Memory()
    assert memory.depart_min is None
    memory.note_departure(7 * 60)
    assert memory.depart_min == 7 * 60
    memory.note_departure(8 * 60)
    assert memory.depart_min == pytest.approx(7 * 60 + 60 * NEW_WISH)
    for _ in range(500):
        memory.note_departure(6 * 60)
    assert memory.depart_min == pytest.approx(6 * 60, abs=0.1)


@pytest.mark.parametrize(("first", "then", "moved"), [(1430, 10, 20), (10, 1430, -20), (60, 1400, -100)])
def test_departures_around_midnight_meet_at_midnight(first: int, then: int, moved: int) -> None:
    """Ten to twelve and ten past twelve are twenty minutes apart, and a day's minutes stay a day's."""
    memory = Memory()
    memory.note_departure(first)
    memory.note_departure(then)
    assert memory.depart_min == pytest.approx((first + moved * NEW_WISH) % DAY_MIN)
    for _ in range(500):
        memory.note_departure(then)
        assert memory.depart_min is not None
        assert 0.0 <= memory.depart_min < DAY_MIN
    assert memory.depart_min == pytest.approx(then, abs=0.1)


def test_departures_are_carried_over_a_restart_and_may_be_missing() -> None:
    """What was learned is kept to the minute; a file of before they were learned is read as well."""
    memory = Memory(depart_min=431.4)
    assert Memory.from_json(memory.as_json()).depart_min == 431
    assert Memory.from_json({k: v for k, v in GOOD.items() if k != "depart_min"}).depart_min is None


# ---------------------------------------------------------------------------------------------------- over a restart
def test_json_carries_what_was_learned() -> None:
    """What is written and read again expects the same load and the same cars."""
    memory = night(day(Memory(), 123_456.0), SIX_PM, NINE_PM, NINE_PM)
    quarter_of(memory, [(5000, 6000, 7000)])
    back = Memory.from_json(json.loads(json.dumps(memory.as_json())))
    assert back.as_json() == memory.as_json()
    assert back.highest_ma[EVENING // QUARTER_MIN] == [1, 5000, 6000, 7000]
    assert Memory.from_json({k: v for k, v in GOOD.items() if k != "highest_ma"}) == Memory()
    assert back.usual_arrivals(9) == memory.usual_arrivals(9)
    assert back.profile_va == pytest.approx(memory.profile_va, abs=1.0)
    assert back.nights == 1
    assert back.peak_va == pytest.approx(memory.peak_va, abs=1.0)


def test_json_of_an_empty_memory_is_an_empty_memory() -> None:
    """Nothing learned, nothing invented."""
    assert Memory.from_json(json.loads(json.dumps(Memory().as_json()))) == Memory()


GOOD = Memory().as_json()
NUMBERS = [1.0] * QUARTERS

WRONG: list[tuple[str, Any]] = [
    ("nothing", {}),
    ("null", None),
    ("a list", []),
    ("a word", "memory"),
    ("a number", 7),
    ("no nights", {k: v for k, v in GOOD.items() if k != "nights"}),
    ("short profile", {**GOOD, "profile_va": NUMBERS[1:]}),
    ("long arrivals", {**GOOD, "arrivals": [*NUMBERS, 1.0]}),
    ("profile is a number", {**GOOD, "profile_va": 5}),
    ("profile holds words", {**GOOD, "profile_va": ["x"] * QUARTERS}),
    ("profile holds lists", {**GOOD, "profile_va": [[1]] * QUARTERS}),
    ("arrivals hold null", {**GOOD, "arrivals": [None] * QUARTERS}),
    ("negative profile", {**GOOD, "profile_va": [-1.0, *NUMBERS[1:]]}),
    ("negative arrivals", {**GOOD, "arrivals": [-0.1, *NUMBERS[1:]]}),
    ("negative peak", {**GOOD, "peak_va": -1}),
    ("peak is null", {**GOOD, "peak_va": None}),
    ("peak is not a number", {**GOOD, "peak_va": float("nan")}),
    ("peak is infinite", {**GOOD, "peak_va": float("inf")}),
    ("profile not a number", {**GOOD, "profile_va": [float("nan")] * QUARTERS}),
    ("too few highest", {**GOOD, "highest_ma": [[]]}),
    ("highest is null", {**GOOD, "highest_ma": None}),
    ("highest holds numbers", {**GOOD, "highest_ma": NUMBERS}),
    ("highest holds words", {**GOOD, "highest_ma": [["x"]] * QUARTERS}),
    ("negative highest", {**GOOD, "highest_ma": [[1, -1]] * QUARTERS}),
    ("nights is a word", {**GOOD, "nights": "many"}),
    ("nights is not a number", {**GOOD, "nights": float("nan")}),
]
SLIPS: list[tuple[str, Any]] = [
    ("negative nights", {**GOOD, "nights": -3}),
    ("infinite nights", {**GOOD, "nights": float("inf")}),
    ("a peak of 400 digits", {**GOOD, "peak_va": 10**400}),
    ("digits in a word", {**GOOD, "profile_va": "1" * QUARTERS}),
    ("numbers as words", {**GOOD, "arrivals": ["1"] * QUARTERS}),
    ("switches", {**GOOD, "arrivals": [True] * QUARTERS}),
    ("negative departure", {**GOOD, "depart_min": -5}),
    ("departure is a word", {**GOOD, "depart_min": "07:00"}),
]


@pytest.mark.parametrize("data", [data for _, data in WRONG], ids=[name for name, _ in WRONG])
def test_from_json_refuses_what_as_json_never_writes(data: Any) -> None:  # noqa: ANN401 - whatever a file holds
    """Wrong shapes, negative values and what is no number are a ValueError that says what was expected."""
    with pytest.raises(ValueError, match="not a memory of an area"):
        Memory.from_json(data)


@pytest.mark.parametrize("data", [data for _, data in SLIPS], ids=[name for name, _ in SLIPS])
def test_from_json_refuses_odd_numbers(data: Any) -> None:  # noqa: ANN401 - whatever a file holds
    """Negative or endless nights, numbers too long for a float and numbers in quotes are a ValueError too."""
    with pytest.raises(ValueError, match="not a memory of an area"):
        Memory.from_json(data)


# ---------------------------------------------------------------------------------------------------------- the file
def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said as a warning."""
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


@pytest.mark.parametrize("named", [True, False])
def test_no_file_is_an_empty_memory_and_no_trouble(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, named: bool
) -> None:
    """The first start, and a controller that was given no file: nothing learned, nothing said, nothing written."""
    store = MemoryFile(tmp_path / "memory.json" if named else None)
    assert store.load() == Memory()
    MemoryFile(None).save(Memory())
    assert caplog.records == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe\x00", b"\x00" * 512, b"[]", b"null", b'{"nights": 1}', b"[" * 50]
)
def test_a_corrupt_file_is_said_and_learning_begins_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    """Half a file, noise, or other JSON: one warning that names the file and where it is now, and an empty memory."""
    path = tmp_path / "memory.json"
    path.write_bytes(content)
    assert MemoryFile(path).load() == Memory()
    (said,) = warnings(caplog)
    assert str(path) in said
    assert "memory.json.bad" in said


@pytest.mark.parametrize("content", [json.dumps({**GOOD, "nights": float("inf")}).encode(), b"[" * 200_000])
def test_no_content_of_the_file_keeps_the_controller_from_starting(tmp_path: Path, content: bytes) -> None:
    """An endless number or brackets without end: an empty memory, as for any other corrupt file."""
    path = tmp_path / "memory.json"
    path.write_bytes(content)
    assert MemoryFile(path).load() == Memory()


@pytest.mark.parametrize("where", ["", "gone/memory.json"])
def test_where_nothing_can_be_kept_is_said_at_the_start(tmp_path: Path, where: str) -> None:
    """A folder of that name, a folder that is not there: refused at once and not after a night."""
    with pytest.raises(OSError, match="directory"):
        MemoryFile(tmp_path / where).load()


def test_a_corrupt_file_is_put_aside_and_not_overwritten(tmp_path: Path) -> None:
    """What a technician may still save by hand, the next save does not destroy."""
    path = tmp_path / "memory.json"
    path.write_text('{"granted": {"p1": 7}', encoding="utf-8")
    store = MemoryFile(path)
    store.save(store.load())
    assert (tmp_path / "memory.json.bad").read_text(encoding="utf-8") == '{"granted": {"p1": 7}'
    assert MemoryFile(path).load() == Memory()


def test_another_areas_memory_is_refused(tmp_path: Path) -> None:
    """Its evenings are not these; a memory from before areas were written down is taken."""
    path = tmp_path / "memory.json"
    MemoryFile(path, "west").save(Memory())
    assert MemoryFile(path, "west").load() == Memory()
    with pytest.raises(ConfigError, match="is what area west has learned, not east"):
        MemoryFile(path, "east").load()
    path.write_text(json.dumps(Memory().as_json()), encoding="utf-8")
    assert MemoryFile(path, "east").load() == Memory()


def test_peeking_changes_nothing_and_says_what_is_wrong(tmp_path: Path) -> None:
    """What is only looked at is neither made nor put aside: a file that is not there or cannot be read is an error."""
    path = tmp_path / "memory.json"
    assert MemoryFile(None).peek() == Memory()
    with pytest.raises(ConfigError, match="No such file"):
        MemoryFile(path).peek()
    path.write_text("[", encoding="utf-8")
    with pytest.raises(ConfigError, match="Name the file that taiqu run --memory keeps"):
        MemoryFile(path).peek()
    assert [p.name for p in tmp_path.iterdir()] == ["memory.json"]
    MemoryFile(path, "west").save(Memory(nights=3))
    assert MemoryFile(path, "west").peek().nights == 3
    with pytest.raises(ConfigError, match="is what area west has learned, not east"):
        MemoryFile(path, "east").peek()


def test_saved_and_loaded_again(tmp_path: Path) -> None:
    """What was saved is loaded, the generation before stays, and nothing else beside them."""
    path = tmp_path / "memory.json"
    store = MemoryFile(path)
    store.save(Memory())
    memory = night(day(Memory(), 50_000.0), SIX_PM)
    store.save(memory)
    assert MemoryFile(path).load().as_json() == memory.as_json()
    path.with_name("memory.json.2").write_text("torn", encoding="utf-8")
    assert MemoryFile(path).load() == Memory()
    assert {p.name for p in tmp_path.iterdir()} == {"memory.json", "memory.json.2.bad"}


@pytest.mark.parametrize("indent", [None, 1])
def test_a_memory_of_before_there_were_generations_is_taken(tmp_path: Path, indent: int | None) -> None:
    """One plain JSON object, as earlier versions wrote it or a person laid it out: in force until there is a newer."""
    path, old = tmp_path / "memory.json", day(Memory(), 50_000.0)
    path.write_text(json.dumps({"area": "taiqu", **old.as_json()}, indent=indent), encoding="utf-8")
    store = MemoryFile(path, "taiqu")
    assert store.load().as_json() == old.as_json()
    for base_va in (70_000.0, 90_000.0):
        store.save(day(Memory(), base_va))
        assert MemoryFile(path, "taiqu").load().as_json() == day(Memory(), base_va).as_json()


def fill_disk(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """From now on half of what is written gets there."""
    real = os.write

    def half(handle: int, data: bytes) -> int:
        real(handle, bytes(data[: len(data) // 2]))
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", half)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_disk_full_leaves_the_old_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    """H4: one warning, no exception, the old file is whole and nothing is left beside it."""
    path = tmp_path / "memory.json"
    old = day(Memory(), 50_000.0)
    store = MemoryFile(path)
    store.save(old)
    fill_disk(monkeypatch, number)
    store.save(day(Memory(), 90_000.0))
    store.save(day(Memory(), 95_000.0))
    assert warnings(caplog) == [f"memory {path}: {os.strerror(number)}. It is not kept; control goes on"]
    assert MemoryFile(path).load().as_json() == old.as_json()
    assert [p.name for p in tmp_path.iterdir()] == ["memory.json"]


def test_disk_full_at_the_hour_is_made_good_within_a_minute(tmp_path: Path) -> None:
    """H4: what could not be saved in its hour is saved when there is room again, not an hour later."""
    path = tmp_path / "memory.json"
    store, memory = MemoryFile(path), day(Memory(), 50_000.0)
    with pytest.MonkeyPatch.context() as full:
        fill_disk(full, errno.ENOSPC)
        for now_ms in range(0, SAVE_MS + 10_000, 1000):
            store.keep(memory, now_ms)
    assert not path.exists()
    for now_ms in range(SAVE_MS + 10_000, SAVE_MS + 61_000, 1000):
        store.keep(memory, now_ms)
    assert MemoryFile(path).load().as_json() == memory.as_json()


def test_disk_read_only_at_the_start_is_said_and_no_reason_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """H5: a gateway whose disk was mounted read-only after a crash: what was kept is known, nothing more is kept."""
    path = tmp_path / "memory.json"
    old = day(Memory(), 50_000.0)
    MemoryFile(path).save(old)
    real = Path.open

    def read_only(self: Path, mode: str = "r", *args: Any, **more: Any) -> Any:  # noqa: ANN401 - as Path.open
        if mode[0] != "r":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))
        return real(self, mode, *args, **more)

    monkeypatch.setattr(Path, "open", read_only)
    assert MemoryFile(path).load().as_json() == old.as_json()
    assert warnings(caplog) == [f"memory {path}: Read-only file system. It is not kept; control goes on"]


def test_a_folder_that_is_gone_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No folder to write to: one warning, no exception."""
    MemoryFile(tmp_path / "gone" / "memory.json").save(Memory())
    assert len(warnings(caplog)) == 1


def test_kept_once_an_hour_and_not_before(tmp_path: Path) -> None:
    """Asked every second, it is saved an hour after the first time, then an hour after that."""
    path = tmp_path / "memory.json"
    store, memory = MemoryFile(path), Memory()
    saved = []
    for now_ms in range(5_000, 5_000 + 2 * SAVE_MS + 10_000, 1000):
        store.keep(memory, now_ms)
        for file in tmp_path.iterdir():
            saved.append(now_ms)
            file.unlink()
    assert saved == [5_000 + SAVE_MS, 5_000 + 2 * SAVE_MS]


def test_meter_that_says_who_it_is_is_remembered_at_once(tmp_path: Path) -> None:
    """A crash within the first hour must not hide that the meter is another one after it."""
    path = tmp_path / "memory.json"
    store = MemoryFile(path)
    memory = store.load()
    store.keep(memory, 1000)
    assert not path.exists()
    memory.meters[""] = "20260115"
    store.keep(memory, 2000)
    assert MemoryFile(path).load().meters == {"": "20260115"}
    path.unlink()
    store.keep(memory, 3000)
    assert not path.exists()
