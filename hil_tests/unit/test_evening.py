"""What a resident sees of an evening: who waits for the valley, who begins before it, and that no neighbour pays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge.core.model import CHARGING, WAIT_VALLEY
from edge.planner import GO_MS, Proposal
from edge.planning import Inline, Question
from hil_tests.unit.given import HOUR_MS
from hil_tests.unit.street import BERLIN, NOW_MS, Street, area, at, clock, evening


# --------------------------------------------------------------------------------------------- what a resident sees
def test_an_evening_car_waits_for_the_valley_and_starts_in_it() -> None:
    """Home at 22:30, gone at 07:00: it waits and says why, and charges within ten minutes after 23:00."""
    street = evening().come("p1").play(5)
    assert street.reason("p1") == WAIT_VALLEY
    street.until("2026-01-15 22:59:50")
    assert street.reason("p1") == WAIT_VALLEY
    assert street.piles["p1"].wh == 0.0
    begun = street.starts("p1", "2026-01-15 23:30")
    assert begun is not None
    assert at("2026-01-15 23:00") <= begun <= at("2026-01-15 23:10:15")


def test_all_cars_of_a_street_start_in_the_first_ten_minutes_of_the_valley() -> None:
    """Three cars that have waited are on at 23:11, and not all in one second."""
    street = evening().come("p1").come("p2").come("p3").until("2026-01-15 22:59:50")
    assert [street.reason(name) for name in street.piles] == [WAIT_VALLEY] * 3
    street.until("2026-01-15 23:11")
    assert [pile.plug for pile in street.piles.values()] == [CHARGING] * 3
    assert len({round(pile.wh) for pile in street.piles.values()}) == 3


def test_who_leaves_before_the_valley_starts_at_once() -> None:
    """Gone at 23:00 with 3 kWh to get, or in an hour with more than fits: it does not wait."""
    street = Street("2026-01-15 21:00").until("2026-01-15 22:00")
    street.come("p1").wish("p1", "2026-01-15 22:58", 7500)
    begun = street.starts("p1", "2026-01-15 22:30")
    assert begun is not None
    assert begun <= at("2026-01-15 22:05")


def test_who_leaves_before_the_valley_starts_at_once_with_time_to_spare_too() -> None:
    """Home at 18:00, gone at 22:00: nothing is cheaper before that, so it starts and leaves with what it asked for."""
    street = Street("2026-01-15 17:45").until("2026-01-15 18:00")
    begun = street.come("p1").wish("p1", "2026-01-15 22:00").starts("p1", "2026-01-15 18:30")
    assert begun is not None
    assert begun <= at("2026-01-15 18:05")
    assert street.until("2026-01-15 22:00").piles["p1"].wh >= 8900.0


def test_without_wall_time_nobody_waits() -> None:
    """The clock was never set: a car is charged when it comes, for nobody knows when the valley is."""
    street = Street(None).play(900).come("p1").play(60)
    assert street.piles["p1"].plug == CHARGING
    assert street.controller.proposal.start_ms == {}


def test_without_a_valley_nobody_waits() -> None:
    """One price for all hours: a car is charged when it comes."""
    street = evening(config=area(charging=replace(area().charging, valley=()))).come("p1").play(60)
    assert street.piles["p1"].plug == CHARGING


class Late(Inline):
    """A planner that takes a few ticks, as one in a process of its own does."""

    def __init__(self, ticks: int) -> None:
        super().__init__()
        self.ticks, self.left = ticks, 0

    @property
    def busy(self) -> bool:  # type: ignore[override]
        """Is a question still being worked on?"""
        return self._proposal is not None and self.left > 0

    def ask(self, question: Question) -> None:
        """Answer after a while."""
        super().ask(question)
        self.left = self.ticks

    def take(self) -> Proposal | None:
        """The answer, when its time has come."""
        if self.left > 0:
            self.left -= 1
            return None
        return super().take()


@pytest.mark.parametrize("after_s", [1, 3, 150])
def test_a_car_waits_for_the_valley_while_its_first_plan_is_made(after_s: int) -> None:
    """The planner needs three seconds, and the last plan knew of no car: the newcomer does not begin in dear hours."""
    street = evening(runner=Late(3))
    planned_ms = street.controller.planned_ms
    while street.controller.planned_ms == planned_ms:
        street.play(1)
    street.play(after_s).come("p1").until("2026-01-15 22:59:50")
    assert street.piles["p1"].wh == 0.0


def test_after_the_last_usual_hour_a_car_still_waits_for_the_valley() -> None:
    """Nobody is expected any more: the one who comes between two plans waits like the others before."""
    street = evening()
    assert street.controller.proposal.start_ms == {}
    planned_ms = street.controller.planned_ms
    while street.controller.planned_ms == planned_ms:
        street.play(1)
    street.play(1).come("p1").until("2026-01-15 22:59:50")
    assert street.piles["p1"].wh == 0.0


# ----------------------------------------------------------------------------------- one neighbour and all the others
def test_a_plan_of_the_last_car_is_not_the_next_ones() -> None:
    """An answer that comes when the car it was for has gone tells its successor nothing."""
    street = evening().come("p1").play(30)
    unit = street.controller.fleet.units["p1"]
    stale = replace(street.controller.proposal, aim_wh={"p1": 1000.0}, start_ms={"p1": GO_MS})
    street.leave("p1").play(2)
    street.controller.fleet.follow(stale)
    assert unit.missing_wh == 0


def test_a_wish_that_cannot_be_met_sends_nobody_else_into_dear_hours() -> None:
    """One resident asks for 100 kWh until seven, more than its charger can give: its neighbours wait as ever."""
    street = evening().come("p1").wish("p1", want_wh=100_000).come("p2").come("p3").play(600)
    assert (street.reason("p2"), street.reason("p3")) == (WAIT_VALLEY, WAIT_VALLEY)


def test_a_wish_that_cannot_be_met_cuts_nobody_elses_aim() -> None:
    """One resident asks for 100 kWh, and there is room for all that its charger can give: others keep their aims."""
    street = evening().come("p1").wish("p1", want_wh=100_000).come("p2").come("p3").play(600)
    assert [street.controller.fleet.units[name].missing_wh for name in ("p2", "p3")] == [0, 0]


def test_a_car_that_stays_after_its_hour_sends_nobody_else_into_dear_hours() -> None:
    """It said 22:31, has not got everything and is still there: its neighbours wait as ever."""
    street = evening().come("p1").wish("p1", "2026-01-15 22:31").play(120).come("p2").play(300)
    assert street.reason("p2") == WAIT_VALLEY


def test_a_car_that_leaves_early_sends_nobody_else_into_dear_hours() -> None:
    """One car is gone at 22:55 and is charged before: another that comes between two plans waits for the valley."""
    street = evening().come("p1").wish("p1", "2026-01-15 22:55", 2000).play(30)
    planned_ms = street.controller.planned_ms
    while street.controller.planned_ms == planned_ms:
        street.play(1)
    street.play(1).come("p2").until("2026-01-15 22:54")
    assert street.piles["p2"].wh == 0.0


def test_who_leaves_before_the_valley_has_everything_beside_one_who_stays() -> None:
    """A neighbour that waits for the valley changes nothing: gone at 22:00, it leaves with what it asked for."""
    street = Street("2026-01-15 17:45").until("2026-01-15 18:00").come("p2")
    street.come("p1").wish("p1", "2026-01-15 22:00").until("2026-01-15 22:00")
    assert street.piles["p1"].wh >= 8900.0


def test_who_leaves_in_the_valley_begins_before_it_when_it_must() -> None:
    """Gone at 23:45 with 8 kWh to get: the valley alone cannot give it, so it begins in time."""
    street = evening().come("p2").come("p1").wish("p1", "2026-01-15 23:45", 8000).until("2026-01-15 23:45")
    assert street.piles["p1"].wh >= 7900.0
    assert street.piles["p2"].wh < 7900.0


def test_a_default_departure_in_the_evening_sends_nobody_into_dear_hours() -> None:
    """Cars usually leave at 18:00 here: one that comes at 19:30 waits for the valley, others expected or not."""
    config = area(charging=replace(area().charging, default_depart_min=18 * 60))
    street = Street("2026-01-15 19:15", config=config).until("2026-01-15 19:30").come("p1").play(300)
    assert street.reason("p1") == WAIT_VALLEY


def test_a_wish_in_the_past_sends_nobody_else_into_dear_hours() -> None:
    """A wish of yesterday that the broker kept: its own car may go, its neighbour waits for the valley."""
    street = evening().come("p1").wish("p1", "2026-01-15 07:00").come("p2").play(300)
    assert street.reason("p2") == WAIT_VALLEY


# ---------------------------------------------------------------------------------------- the clock is put forward
@pytest.mark.parametrize(("text", "hours"), [("2026-03-27", 13), ("2026-03-28", 12), ("2026-10-24", 14)])
def test_the_default_departure_moves_with_the_local_clock(text: str, hours: int) -> None:
    """Seven in the morning is seven in the morning, also in the nights in which summer begins and ends."""
    street = Street(f"{text} 17:59:59", config=area(timezone=BERLIN)).come("p1").play(1)
    assert street.controller.fleet.units["p1"].depart_ms == NOW_MS + 1000 + hours * HOUR_MS


def test_a_wall_clock_that_is_set_later_dates_departures_anew() -> None:
    """A gateway without a clock has its time an hour late: who came meanwhile leaves when it said."""
    street = Street(None).play(120).come("p1").wish("p1", "2026-01-16 05:00").come("p2").play(60)
    units = street.controller.fleet.units
    street.wall_s = clock("2026-01-15 23:30")
    street.play(2)
    hours = [round((units[name].depart_ms - street.now_ms) / 3_600_000, 2) for name in ("p1", "p2")]
    assert hours == [5.5, 7.5]
    street.wall_s -= 3600.0
    street.play(2)
    hours = [round((units[name].depart_ms - street.now_ms) / 3_600_000, 2) for name in ("p1", "p2")]
    assert hours == [6.5, 8.5]
