"""What the whole controller does and says when a charger or a meter cannot be trusted, and what it writes down."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from edge.core import watch
from edge.core.model import ISOLATED, SILENT
from edge.journal import Journal
from edge.loop import Controller
from hil_tests.unit.street import Street, area, evening

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def charging() -> Street:
    """Three cars that charge at 32 A past midnight, in the valley, with room to spare."""
    street = evening()
    for name in ("p1", "p2", "p3"):
        street.come(name).wish(name, want_wh=60_000)
    street.until("2026-01-16 00:30")
    assert [pile.allowed_ma for pile in street.piles.values()] == [32_000] * 3
    return street


def said(caplog: pytest.LogCaptureFixture, text: str) -> int:
    """How often a line that holds this text was logged."""
    return sum(text in record.getMessage() for record in caplog.records)


def test_charger_deaf_is_isolated_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    """Residents come home, one of three chargers takes no setpoint: named in 90 s, the others pay for it."""
    street = charging()
    street.piles["p1"].deaf = True
    with caplog.at_level("INFO", logger="taiqu"):
        street.base_va = street.load.base_va = 66_000
        street.play(90)
        assert said(caplog, "p1 goes on allowing more than it was told") == 1
        commands = {c.id: c for c in street.controller.control.commands}
        assert commands["p1"].ma == 0
        assert street.controller.decide(street.controller._snapshot())[0].reason == ISOLATED
        assert street.load.read(0).s_va < 80_000
        street.base_va = street.load.base_va = 20_000
        street.play(120)
        assert street.piles["p2"].allowed_ma + street.piles["p3"].allowed_ma >= 32_000
        assert street.piles["p1"].allowed_ma == 32_000
        street.piles["p1"].deaf = False
        street.play(700)
        assert said(caplog, "p1 obeys again") == 1
    assert street.piles["p1"].allowed_ma == 32_000


def test_host_killed_and_started_again_accuses_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Chargers still do what the run before has told them: before there is authority that is no offence."""
    street = charging()
    with caplog.at_level("INFO", logger="taiqu"):
        street.controller = Controller(street.config, street.load, street.air, Journal(None))
        street.play(120)
    assert street.controller.guard is not None
    assert street.controller.guard.mode == watch.NORMAL
    assert said(caplog, "than it was told") == 0


def test_charger_that_lies_low_is_isolated_by_the_transformers_meter(caplog: pytest.LogCaptureFixture) -> None:
    """It says 0 A and draws on: each time it is cut the meter sees nothing go; three times, and it is named."""
    street = charging().leave("p2").leave("p3")
    pile = street.piles["p1"]
    with caplog.at_level("INFO", logger="taiqu"):
        for _ in range(3):
            assert said(caplog, "p1 says it has gone down, and the meter does not see it") == 0
            # It gets what it asked for, and is told 0 A.
            street.wish("p1", want_wh=round(pile.wh) + 2000).play(30)
            while pile.allowed_ma == 0:
                street.play(1)
            while pile.allowed_ma:
                street.play(1)
            pile.hidden_ma = 32_000
            street.play(20)
            pile.hidden_ma = 0
        assert said(caplog, "p1 says it has gone down, and the meter does not see it") == 1
    assert street.reason("p1") == SILENT
    assert street.controller.decide(street.controller._snapshot())[0].reason == ISOLATED


def test_charger_fallback_that_is_more_than_planned_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """The site was planned with 0 A; a charger that would take 16 A by itself is named, until it is put right."""
    street = evening()
    with caplog.at_level("INFO", logger="taiqu"):
        street.piles["p2"].fallback_ma = 16_000
        street.come("p2").play(30)
        assert said(caplog, "p2 would take 16 A without us; fallback_a = 0 was planned with") == 1
        street.piles["p2"].fallback_ma = 0
        street.play(30)
    assert said(caplog, "every charger has the fallback that was planned with") == 1


def test_charger_fallback_below_a_floor_by_law_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """Where the law demands 6 A a charger left at 0 A is named; without such a law less than planned is harmless."""
    for by_law in (False, True):
        config = area()
        config = replace(config, charging=replace(config.charging, fallback_ma=6000, floor_by_law=by_law))
        street = Street("2026-01-15 22:15", config=config)
        for name, fallback_ma in (("p1", 6000), ("p2", 0), ("p3", 6000)):
            street.piles[name].fallback_ma = fallback_ma
        with caplog.at_level("INFO", logger="taiqu"):
            street.come("p2").play(30)
        assert said(caplog, "p2 would take 0 A without us; fallback_a = 6 is what the law demands") == by_law


class Reversed:
    """The street's meter, with the CT of phase B the wrong way round for a while."""

    def __init__(self, street: Street) -> None:
        self.load, self.wrong = street.load, False

    def read(self, now_ms: int) -> watch.Meter:
        """What the meter shows."""
        shown = self.load.read(now_ms)
        third = shown.p_w // 3
        sign = -1 if self.wrong else 1
        return shown._replace(p_w=third * (2 + sign), phase_w=(third, sign * third, third))

    def close(self) -> None:
        """Nothing to close."""


def test_meter_doubted_is_said_once_written_down_and_said_to_be_well_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One line when it begins with what to look at, one when it ends; every journal line in between names it."""
    street = charging()
    meter = Reversed(street)
    street.controller.gauge.meter = meter
    street.controller.journal = Journal(tmp_path / "night.jsonl")
    with caplog.at_level("INFO", logger="taiqu"):
        street.play(20)
        meter.wrong = True
        street.play(30)
        meter.wrong = False
        street.play(60)
    street.controller.journal.close()
    assert said(caplog, "phase B seems to feed power back: is a CT the wrong way round?") == 1
    assert said(caplog, "what the meter says can be believed again") == 1
    assert [r.levelname for r in caplog.records if "safe: its chargers" in r.getMessage()] == ["WARNING"]
    lines = [json.loads(line) for line in (tmp_path / "night.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line.get("doubt") for line in lines] == [None] * 20 + ["sign"] * 30 + [None] * 60
    modes = [line["mode"] for line in lines]
    assert modes[:20] == ["normal"] * 20
    assert [modes.count(mode) for mode in ("hold", "safe", "recover")] == [5, 20, 29]
    assert modes[-1] == "normal"


def test_safe_for_the_fourth_time_in_an_hour_is_an_alarm(caplog: pytest.LogCaptureFixture) -> None:
    """Three times it comes back after 30 s; the fourth time it takes ten minutes, and that is said."""
    street = charging()
    meter = Reversed(street)
    street.controller.gauge.meter = meter
    with caplog.at_level("INFO", logger="taiqu"):
        for k in range(4):
            assert said(caplog, "4 times in safe within an hour") == 0
            meter.wrong = True
            street.play(15)
            meter.wrong = False
            street.play(300)
            assert street.controller.guard is not None
            assert (street.controller.guard.mode == watch.NORMAL) == (k < 3)
        assert said(caplog, "4 times in safe within an hour") == 1
        street.play(330)
        assert street.controller.guard.mode == watch.NORMAL
