"""What a resident may wish of an evening: charge now, so often a month, and not to wait."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from edge.core.model import CHARGING, WAIT_VALLEY
from edge.memory import Memory
from edge.ports import Wish
from hil_tests.unit.street import Street, area, at, evening

if TYPE_CHECKING:
    import pytest


# ------------------------------------------------------------------------------------ charge now, and other wishes
def test_charge_now_starts_at_once_and_within_the_limit() -> None:
    """立即充电 at 22:30 below a nearly full transformer: on within a minute, with what there is room for."""
    street = evening(base_va=70_000.0).come("p1").wish("p1", now=True)
    begun = street.starts("p1", "2026-01-15 22:40")
    assert begun is not None
    assert begun <= at("2026-01-15 22:31")
    street.play(120)
    assert 6000 <= street.piles["p1"].allowed_ma < 32_000
    assert street.highest_permille <= 800


def test_charge_now_gets_a_car_out_of_its_wait() -> None:
    """A car that waits for the valley and whose resident then is in a hurry is on within a minute."""
    street = evening().come("p1").play(300)
    assert street.reason("p1") == WAIT_VALLEY
    street.wish("p1", now=True).play(60)
    assert street.piles["p1"].plug == CHARGING


def test_the_ninth_charge_now_of_a_month_is_refused_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Eight sessions of a month are charged at once; the ninth and tenth wait for the valley, the log says it once."""
    street = evening()
    granted = []
    with caplog.at_level(logging.INFO, "taiqu"):
        for _ in range(10):
            street.come("p1").wish("p1", now=True).play(3)
            street.wish("p1", now=True).play(3)
            granted.append(street.controller.fleet.units["p1"].at_once)
            if len(granted) < 10:
                street.leave("p1").play(3)
        street.play(60)
    assert granted == [True] * 8 + [False] * 2
    assert street.reason("p1") == WAIT_VALLEY
    assert [r.getMessage() for r in caplog.records if "charge now" in r.getMessage()] == [
        "west: p1: charge now refused, 2026-01 is used up"
    ]


def test_charge_now_is_counted_by_charger_and_by_month() -> None:
    """One charger's eight are its own, and the first of the next month brings new ones, by the local calendar."""
    street = Street("2026-01-31 23:59:00").play(5)
    grant = street.controller._grant_now
    assert [grant("p1") for _ in range(9)] == [True] * 8 + [False]
    assert grant("p2")
    street.play(50)
    assert not grant("p1")
    street.play(10)
    assert grant("p1")


def test_now_zero_times_a_month_is_never() -> None:
    """Where the area allows none, the first wish is refused and the car waits as any other."""
    street = evening(config=area(charging=replace(area().charging, now_per_month=0)))
    street.come("p1").wish("p1", now=True).play(60)
    assert street.reason("p1") == WAIT_VALLEY


def test_a_wish_that_is_not_orderly_does_not_wait() -> None:
    """Normal mode: charged as soon as there is room, half an hour before the valley, and no charge-now is counted."""
    street = evening().come("p1").wish("p1", orderly=False).come("p2").wish("p2")
    begun = street.starts("p1", "2026-01-15 22:50")
    assert begun is not None
    assert begun <= at("2026-01-15 22:31:30")
    assert street.reason("p2") == WAIT_VALLEY
    assert not street.controller.granted


def test_the_month_of_charge_now_outlives_a_restart() -> None:
    """Eight are used up; the controller starts again with what it keeps: the ninth is refused."""
    street = evening()
    for _ in range(8):
        street.come("p1").wish("p1", now=True).play(2).leave("p1").play(2)
    kept = Memory.from_json(street.memory.as_json())
    again = Street("2026-01-15 22:40", memory=kept).play(120).come("p1").wish("p1", now=True).play(2)
    assert not again.controller.fleet.units["p1"].at_once


def test_a_wish_said_again_changes_nothing_and_asks_for_no_plan() -> None:
    """An app that repeats its wish, in case nobody listened, costs nothing and is learned from once."""
    street = evening().come("p1").wish("p1", "2026-01-16 06:00").play(60)
    learned, planned_ms = street.controller.memory.depart_min, street.controller.planned_ms
    for _ in range(30):
        street.wish("p1", "2026-01-16 06:00").play(1)
    assert street.controller.memory.depart_min == learned
    assert street.controller.planned_ms == planned_ms


def test_a_wish_may_say_only_what_it_is_about() -> None:
    """Charge me now needs neither energy nor hour: the area's defaults stand in."""
    street = evening().come("p1")
    street.air.up.append(Wish("p1", now=True))
    street.play(60)
    unit = street.controller.fleet.units["p1"]
    assert street.piles["p1"].plug == CHARGING
    assert round((unit.depart_ms - street.now_ms) / 3_600_000, 1) == 8.5
    assert [want.need_wh for want in street.controller.fleet.wants()] == [9000]


# ------------------------------------------------------------------------------------------------- counting the wish
def test_charge_now_taken_back_and_asked_again_is_one_session() -> None:
    """Now, not now, now again with the same car: one of the eight is gone."""
    street = evening().come("p1").wish("p1", now=True).play(2).wish("p1").play(2).wish("p1", now=True).play(2)
    assert sum(street.controller.granted.values()) == 1


def test_a_wish_for_now_without_a_car_is_not_counted() -> None:
    """The socket is free: a wish that the broker repeats there, with no session to serve, uses nothing up."""
    street = evening()
    for _ in range(3):
        street.wish("p1", now=True).play(2)
        street.come("p1").play(2).leave("p1").play(2)
    street.wish("p1", now=True).play(2)
    assert sum(street.controller.granted.values()) == 3
