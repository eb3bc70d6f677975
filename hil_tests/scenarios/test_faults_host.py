"""Every fault of the host of the catalogue alone, in one seeded night each."""

from __future__ import annotations

from hil_tests.rig.rules import PROMISES
from hil_tests.scenarios.alone import Alone

START_S = 65
"""One lease, and the readings that prove the meter."""


def test_host_killed_leaves_chargers_to_their_leases() -> None:
    """At their fallback in time; the restart has no authority for a lease, and accuses nobody."""
    night = Alone("host_killed", 1)
    assert night.one.worst_s["P2"] <= PROMISES["P2"][1]
    assert night.reached("dead") == 0
    assert night.back_s <= START_S
    assert not night.accused


def test_host_pause_of_3_s_is_nothing() -> None:
    """The next tick goes on from there."""
    night = Alone("host_pause", 1)
    assert night.at_work
    assert "gap" not in night.keys


def test_host_suspended_begins_as_after_a_start() -> None:
    """A minute asleep: leases end, and the gap is named when it wakes."""
    night = Alone("host_suspended", 1)
    assert night.named("gap") == night.reached("start-up") == night.end_s - night.start_s
    assert night.one.worst_s["P2"] <= PROMISES["P2"][1]
    assert night.back_s <= START_S


def test_tick_raises_and_the_restart_accuses_nobody() -> None:
    """The process ends; leases that the run before has given are nobody's offence."""
    night = Alone("tick_raises", 1)
    assert (night.reached("dead"), night.reached("start-up")) == (0, 2)
    assert night.back_s <= START_S
    assert not night.accused


def test_wall_jump_moves_no_guard() -> None:
    """Ten years back: control stays at work."""
    night = Alone("wall_jump", 1)
    assert night.at_work
    assert night.one.checked["I13"] > 0


def test_wall_unknown_is_no_reason_not_to_control() -> None:
    """Without local time the strictest window holds."""
    assert Alone("wall_unknown", 2).at_work


def test_wall_dst_is_a_night_like_others() -> None:
    """The clock goes forward in Berlin: normal after the start-up, to the end."""
    night = Alone("wall_dst", 1)
    assert [mode for _, mode in night.one.modes] == ["start-up", "normal"]


def test_second_controller_silences_the_first_and_accuses_nobody() -> None:
    """When the second has its authority, the first is named and silent; never both."""
    night = Alone("second_controller", 2)
    said_s = night.named("rival")
    assert said_s is not None
    assert said_s <= START_S
    assert night.reached("start-up") == said_s
    assert night.one.checked["N2"] > 0
    assert not night.accused
