"""What a controller learns of its evenings, and what it says of them: alarms of load, promises, reasons."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from edge.journal import Journal
from edge.planner import Proposal
from hil_tests.unit.street import Street, evening

if TYPE_CHECKING:
    from pathlib import Path


# ------------------------------------------------------------------------------------------------ what it all learns
def test_arrivals_are_learned_at_their_hour() -> None:
    """A car that comes at 22:30 is one session of that quarter of an hour; one that stays is not counted again."""
    street = evening().come("p1").play(1200)
    assert street.memory.seen == 1
    assert street.memory.today[22 * 4 + 2] == 1


def test_cars_found_at_the_start_are_no_arrivals_of_this_hour() -> None:
    """A controller that starts at 03:00 among cars of the evening learns nothing of when they came."""
    street = Street("2026-01-16 03:00")
    for name in street.piles:
        street.come(name)
    street.play(120)
    assert street.memory.today[3 * 4] == 0


def test_residents_load_is_learned_without_the_cars() -> None:
    """A car charges through a quarter of an hour: what is learned of it is the residents' load alone."""
    street = evening(base_va=40_000.0).come("p1").wish("p1", now=True).until("2026-01-15 22:46")
    assert street.piles["p1"].wh > 1000.0
    assert street.memory.profile_va[22 * 4 + 2] == pytest.approx(40_000.0, rel=0.02)


# ---------------------------------------------------------------------------------------------- load without control
def said_of_load(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said of load outside control: its level and its first words."""
    texts = [(r.levelname, r.getMessage()) for r in caplog.records]
    return [f"{level} {text[6:30]}" for level, text in texts if "load" in text]


ABOVE, BELOW = "WARNING uncontrollable load: res", "INFO load outside control is "


def test_load_that_no_charger_can_cure_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """Residents alone above the limit: one warning; it ends a point below the limit and not before."""
    with caplog.at_level(logging.INFO, "taiqu"):
        street = Street("2026-01-15 18:00", base_va=50_000.0).play(120)
        assert said_of_load(caplog) == []
        street.load.base_va = 85_000.0
        street.play(900)
        assert said_of_load(caplog) == [ABOVE]
        street.load.base_va = 79_500.0
        street.play(1800)
        assert said_of_load(caplog) == [ABOVE]
        street.load.base_va = 78_000.0
        street.play(600)
        assert said_of_load(caplog) == [ABOVE, BELOW]


def test_a_kettle_is_no_alarm(caplog: pytest.LogCaptureFixture) -> None:
    """Twenty seconds above the limit are over before anybody could go and look."""
    with caplog.at_level(logging.INFO, "taiqu"):
        street = Street("2026-01-15 18:00", base_va=60_000.0).play(120)
        street.load.base_va = 90_000.0
        street.play(20)
        street.load.base_va = 60_000.0
        street.play(300)
    assert said_of_load(caplog) == []


def test_cars_are_not_load_without_control(caplog: pytest.LogCaptureFixture) -> None:
    """Three cars fill the transformer to its limit: that is control at work and no alarm."""
    with caplog.at_level(logging.INFO, "taiqu"):
        street = Street("2026-01-15 23:00", base_va=70_000.0).come("p1").come("p2").come("p3").play(1800)
        assert street.load.read(0).s_va > 76_000
    assert ABOVE not in said_of_load(caplog)


def test_load_without_control_is_said_without_wall_time_too(caplog: pytest.LogCaptureFixture) -> None:
    """A gateway whose clock was never set: residents above the limit are an alarm all the same."""
    with caplog.at_level(logging.INFO, "taiqu"):
        Street(None, base_va=85_000.0).play(900)
    assert said_of_load(caplog) == [ABOVE]


def test_an_alarm_of_load_ends_without_wall_time_too(caplog: pytest.LogCaptureFixture) -> None:
    """The clock is lost while residents are above the limit: when they fall below, it is said."""
    with caplog.at_level(logging.INFO, "taiqu"):
        street = Street("2026-01-15 18:00", base_va=85_000.0).play(120)
        street.wall_s = None
        street.load.base_va = 40_000.0
        street.play(900)
    assert said_of_load(caplog) == [ABOVE, BELOW]


# -------------------------------------------------------------------------------------------- promises and reasons
def test_what_cannot_be_met_is_said_when_it_is_known_and_what_can_too() -> None:
    """100 kWh until seven is more than the charger can give; the neighbour's nine fit: both are said, once each."""
    street = evening().come("p1").wish("p1", want_wh=100_000).come("p2").play(60)
    promised = street.controller.promised
    assert promised["p1"][1] == "stay"
    assert 40_000 < promised["p1"][0] < 70_000
    assert promised["p2"] == (9000, "")
    street.controller.told.clear()
    assert street.play(600).controller.told == []


def test_the_journal_names_every_charger_whose_reason_changes(tmp_path: Path) -> None:
    """From the lines alone anybody's reason at any tick: all of them at first and each hour, then every change."""
    street = Street("2026-01-15 22:15")
    street.controller.journal = Journal(tmp_path / "j.jsonl")
    street.come("p1").until("2026-01-15 23:05")
    street.controller.journal.close()
    told: dict[str, str] = {}
    full = 0
    for line in (tmp_path / "j.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        full += len(entry["reasons"]) == len(street.piles)
        told.update(entry["reasons"])
        counted: dict[str, int] = {}
        for why in told.values():
            counted[why] = counted.get(why, 0) + 1
        assert counted == entry["why"]
    assert full >= 1
    assert told["p2"] == "no_car"


def test_a_promise_that_shrinks_is_said_again() -> None:
    """The reason stays, the energy does not: half a kWh less is told, a few Wh are not."""
    street = evening().come("p1").play(60)
    street.controller.told.clear()
    name = "p1"
    for wh, again in ((8500.0, True), (8300.0, False), (1500.0, True)):
        street.controller._promise(Proposal(expect_wh={name: wh}, aim_wh={name: 9000.0}))
        assert bool(street.controller.told) == again
        street.controller.told.clear()
