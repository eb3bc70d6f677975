"""Every fault of broker and network of the catalogue alone, in one seeded night each."""

from __future__ import annotations

from hil_tests.rig.rules import PROMISES
from hil_tests.scenarios.alone import Alone

LEASE_S = PROMISES["P2"][1]


def test_net_loss_breaks_no_limit_and_accuses_nobody() -> None:
    """Two messages in five are lost: what counts is said again, and an honest charger stays trusted."""
    night = Alone("net_loss", 3)
    assert night.at_work
    assert not night.accused


def test_net_twice_changes_nothing() -> None:
    """What is not newer is ignored, here and there."""
    night = Alone("net_twice", 3)
    assert night.at_work
    assert not night.accused


def test_net_reorder_ignores_what_was_overtaken() -> None:
    """Three messages in five come up to 12 s late."""
    night = Alone("net_reorder", 3)
    assert night.at_work
    assert night.one.checked["I10"] > 0


def test_net_delay_raises_nobody_on_an_old_stamp() -> None:
    """A setpoint may be four minutes old when it arrives: no charger takes it for a raise."""
    night = Alone("net_delay", 2)
    assert night.at_work
    assert night.one.checked["I11"] > 0


def test_net_part_leaves_them_to_their_leases() -> None:
    """Some hear nothing: at their fallback in time; the others go on."""
    night = Alone("net_part", 1)
    assert night.at_work
    assert night.one.worst_s["P2"] <= LEASE_S


def test_net_all_leaves_everybody_to_the_lease() -> None:
    """Nobody hears anything: all are at their fallback in time."""
    night = Alone("net_all", 1)
    assert night.one.worst_s["P2"] <= LEASE_S
    assert night.back_s == 0


def test_broker_restart_is_named_and_leases_run_on() -> None:
    """13 s without a broker."""
    night = Alone("broker_restart", 2)
    assert night.named("broker") == 0
    assert night.at_work


def test_broker_dead_is_named_and_nothing_is_queued() -> None:
    """Minutes without a broker: chargers at their fallback in time; nothing old arrives after it."""
    night = Alone("broker_dead", 1)
    assert night.named("broker") == 0
    assert night.raised(0) == []
    assert night.one.worst_s["P2"] <= LEASE_S


def test_half_open_is_given_up_after_20_s_and_named() -> None:
    """The connection carries nothing and does not say so."""
    night = Alone("half_open", 2)
    assert night.named("broker") == 20
    assert night.raised(20) == []
    assert night.one.worst_s["P2"] <= LEASE_S


def test_replay_is_refused_by_every_charger() -> None:
    """Every 2 s an old setpoint is said again: nobody takes one that is not newer."""
    night = Alone("replay", 2)
    assert night.at_work
    assert night.one.checked["I10"] > 0


def test_flood_stops_no_tick() -> None:
    """Twenty messages a second of one charger and of thousands of strangers."""
    night = Alone("flood", 2)
    assert night.at_work
    assert night.one.checked["N1"] > 0


def test_malformed_is_dropped_counted_and_named() -> None:
    """Numbers without sense from one charger: no tick fails, control goes on."""
    night = Alone("malformed", 2)
    assert night.named("dropped") == 0
    assert night.at_work
