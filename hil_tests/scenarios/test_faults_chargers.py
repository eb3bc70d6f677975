"""Every fault of chargers and cars of the catalogue alone, in one seeded night each.

That no invariant is broken (``alone.Alone`` asserts it) is the half of each: no limit, no ledger, no lease.
"""

from __future__ import annotations

import pytest

from edge.core import obey
from hil_tests.rig.campaign import outcome
from hil_tests.rig.faults import BY_ID, Strike
from hil_tests.rig.rules import PROMISES
from hil_tests.rig.small import draw
from hil_tests.rig.world import World
from hil_tests.scenarios import liar_night
from hil_tests.scenarios.alone import Alone


def test_charger_deaf_is_isolated_and_named() -> None:
    """It stays where it is while it is cut: five telegrams, and it counts at its worst; the limit holds."""
    night = Alone("charger_deaf", 5)
    assert night.named("deaf") == 122
    assert night.at_work
    assert night.one.over_s <= 15


def test_charger_late_is_held_by_the_ledger() -> None:
    """What it had counts until its telemetry shows the new: nothing is spent twice."""
    night = Alone("charger_late", 3)
    assert night.at_work
    assert night.one.checked["I7"] > 0


def test_charger_rounds_up_is_left_alone() -> None:
    """An ampere more than it says is no offence."""
    night = Alone("charger_rounds_up", 3)
    assert night.at_work
    assert not night.accused


def test_charger_lies_low_and_the_limit_holds() -> None:
    """It says a fifth of what it draws: the meter sees the rest as residents."""
    night = Alone("charger_lies_low", 3)
    assert night.at_work
    assert night.one.over_s <= 15


def test_charger_claims_it_obeys_and_the_limit_holds() -> None:
    """It says what it is told and draws on: others are cut, and nobody else is accused."""
    night = Alone("charger_claims", 7)
    assert night.at_work
    assert night.one.over_s <= 15
    assert night.accused <= {"lies"}


def test_charger_claims_and_is_named_and_isolated_after_three_cuts() -> None:
    """Residents' steps stop it every 400 s, and the meter sees 32 A go on: it is named, nobody else; limits hold."""
    night = liar_night.play(14, lies=True)
    assert night.checker.violations == []
    assert night.checker.longest_over_s <= 15
    assert [said for said in night.ear.heard if said[1] in ("lies", "draws", "deaf", "unmoved")] == [(1292, "lies")]
    controller = night.hosts[0].controller
    assert controller is not None
    assert obey.isolated(controller.obey) == [night.piles.ids[k] for k in night.disobeys] == ["p001"]


@pytest.mark.parametrize("seed", [14, 32])
def test_charger_claims_nothing_and_is_not_accused_under_the_same_steps(seed: int) -> None:
    """An honest one is cut as often, on another evening too: nobody is accused, nor is the meter."""
    night = liar_night.play(seed, lies=False)
    assert night.checker.violations == []
    assert {key for _, key in night.ear.heard} & {"lies", "draws", "deaf", "unmoved"} == set()


def test_charger_lies_high_and_the_limit_holds() -> None:
    """It says four times what it draws: the meter is still believed."""
    night = Alone("charger_lies_high", 2)
    assert night.at_work
    assert not night.doubts


def test_charger_reboots_to_its_fallback() -> None:
    """Every 67 s a new run: nothing above fallback without a lease of its own."""
    night = Alone("charger_reboots", 2)
    assert night.at_work
    assert not night.accused


def test_charger_mute_counts_at_its_worst() -> None:
    """It charges on by its lease and says nothing: the others go on."""
    night = Alone("charger_mute", 2)
    assert night.at_work
    assert night.one.over_s <= 15


def test_charger_dumb_is_seen_by_the_meter() -> None:
    """It charges on, whatever is said: the others make room."""
    night = Alone("charger_dumb", 7)
    assert night.at_work
    assert night.one.over_s <= 15


def test_charger_stranger_is_named_and_never_commanded() -> None:
    """Its current is as residents' to us."""
    night = Alone("charger_stranger", 2)
    assert "stranger" in {key for _, key in night.one.said}
    assert night.one.checked["N1"] > 0
    assert night.at_work


def test_charger_swings_and_the_limit_holds() -> None:
    """Off and on every 15 s: it is never settled, and lends nothing."""
    night = Alone("charger_swings", 2)
    assert night.at_work
    assert night.one.over_s <= 15


def test_charger_exports_and_the_limit_holds() -> None:
    """16 A fed back are told without their sign: the meter has the last word."""
    night = Alone("charger_exports", 2)
    assert night.at_work
    assert night.one.over_s <= 15


def test_charger_wrong_clock_raises_nothing() -> None:
    """Its stamps are 40 s behind: what echoes them is too old for it, and its lease ends."""
    night = Alone("charger_wrong_clock", 2)
    assert night.at_work
    assert night.one.checked["I11"] > 0


def test_charger_tick_ahead_is_believed_again() -> None:
    """One stamp seven weeks ahead: its honest words seem old, and are taken again within a quarter of an hour."""
    night = Alone("charger_tick_ahead", 6)
    assert night.at_work
    assert night.one.seconds < 2160


def test_charger_epoch_ahead_is_handled_alone() -> None:
    """One word with an epoch no controller will ever reach: nobody falls silent for it, and the charger is heard on."""
    night = Alone("charger_epoch_ahead", 2)
    assert night.at_work
    assert night.named("rival") is None


def test_charger_claims_fallback_and_is_told_the_planned_one() -> None:
    """It says 32 A, and the meter falls silent: it comes down like all others, as soon as promised."""
    claims, silent = BY_ID["charger_claims_fallback"], BY_ID["meter_silent"]
    strikes = (Strike(claims, 500, 900, {"amps": 32}, 1), Strike(silent, 700, 800, {}, 2))
    one = outcome(3, World(draw(3), strikes))
    assert not one.violations, "\n".join(one.story())
    assert one.measured["P1"] == 1
    assert (500, "fallback") in one.said


def test_charger_drift_is_in_the_ledger() -> None:
    """All clocks 2 % fast, all night: no lease outlives its entry."""
    night = Alone("charger_drift", 2)
    assert [mode for _, mode in night.one.modes] == ["start-up", "normal"]
    assert night.one.checked["I7"] > 0


def test_car_sleeps_and_is_no_offence() -> None:
    """It does not draw what it is offered."""
    night = Alone("car_sleeps", 2)
    assert night.at_work
    assert not night.accused


def test_car_leaves_and_the_others_rise_at_the_usual_pace() -> None:
    """Cars go at once: their room is not given away in one step."""
    night = Alone("car_leaves", 2)
    assert night.at_work
    assert night.one.checked["I6"] > 0


def test_car_refuses_until_its_pilot_is_gone() -> None:
    """It draws 30 A whatever the pilot says: others are cut, then its pilot goes."""
    night = Alone("car_refuses", 7)
    assert night.at_work
    assert night.one.over_s <= 30


def test_car_overshoots_and_the_limit_holds() -> None:
    """All cars draw some percent more than they are allowed."""
    night = Alone("car_overshoots", 2)
    assert night.at_work
    assert night.one.over_s <= PROMISES["P3"][1]
