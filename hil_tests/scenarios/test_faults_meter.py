"""Every meter fault of the catalogue alone, in one seeded night each."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hil_tests.rig.small import draw
from hil_tests.rig.world import World
from hil_tests.scenarios.alone import Alone

if TYPE_CHECKING:
    from hil_tests.rig.dial import Shown


def test_meter_silent_holds_falls_back_and_is_named() -> None:
    """5 s without an answer: nothing is raised; 10 s: fallback; EV load at its safe level within 30 s."""
    night = Alone("meter_silent", 1)
    night.stops("meter")
    assert night.one.worst_s["P1"] <= 30


def test_meter_late_holds_once_it_has_missed_five_seconds() -> None:
    """Two replies in three come too late: they are none."""
    night = Alone("meter_late", 2)
    assert night.named("meter") == night.reached("hold") == 15
    assert night.back_s <= 35


def test_meter_lags_and_control_goes_on() -> None:
    """A value 3 s old under a new stamp is acted on, and ends no limit."""
    night = Alone("meter_lags", 1)
    assert night.at_work
    assert night.one.over_s <= 20


def test_meter_frozen_holds_after_15_s_falls_back_after_30_and_is_named() -> None:
    """The same block again and again."""
    Alone("meter_frozen", 1).stops("frozen", hold_s=16, safe_s=31)


def test_meter_cached_raises_only_on_what_is_new() -> None:
    """A block that stands 10 s is no fault: it is no news either."""
    night = Alone("meter_cached", 2)
    assert night.at_work
    assert not night.doubts


def test_meter_crc_loses_a_reading_and_nothing_else() -> None:
    """One reply in eight is broken: asked again a second later."""
    night = Alone("meter_crc", 2)
    assert night.at_work
    assert not night.doubts


def test_meter_crc_burst_is_as_a_silent_meter() -> None:
    """All replies broken for 18 s."""
    Alone("meter_crc_burst", 2).stops("meter")


def test_meter_exception_is_as_a_silent_meter() -> None:
    """An exception is no reading, and never 0."""
    Alone("meter_exception", 1).stops("meter")


def test_meter_nonsense_is_never_a_value() -> None:
    """An infinite current is no current."""
    Alone("meter_nonsense", 1).stops("meter")


def test_meter_zeros_while_cars_draw_are_not_believed() -> None:
    """No load on the display, cars that charge: named, hold, fallback."""
    Alone("meter_zeros", 2).stops("phase_lost", "too_little")


def test_meter_wrong_sign_is_not_believed_and_named() -> None:
    """Everything flows back at a site that has nothing to feed back."""
    Alone("meter_wrong_sign", 1).stops("sign")


def test_meter_ct_reversed_is_named() -> None:
    """One phase flows back."""
    Alone("meter_ct_reversed", 1).stops("sign")


def test_meter_phase_lost_is_named() -> None:
    """One phase shows nothing while the others carry load."""
    Alone("meter_phase_lost", 1).stops("phase_lost")


def test_meter_ratio_half_is_believed_until_it_shows_less_than_the_cars_draw() -> None:
    """Residents hide the missing half here: nothing in the readings gives it away, and control goes on."""
    night = Alone("meter_ratio_half", 3)
    assert night.at_work
    assert not night.doubts


def test_meter_ratio_double_gives_less() -> None:
    """Too much on the display: nobody is raised above what is there, and the truth is far below the limit."""
    night = Alone("meter_ratio_double", 2)
    assert night.at_work
    assert night.one.over_s == 0


def test_meter_spike_up_is_no_reading_and_named() -> None:
    """Ten times the load in one reading of thirteen: nobody falls back for it."""
    night = Alone("meter_spike_up", 1)
    assert night.at_work
    assert night.named("range") == 12


def test_meter_spike_down_raises_nobody() -> None:
    """A tenth of the load in one reading: less than the cars draw, so it is named and no reading."""
    night = Alone("meter_spike_down", 2)
    assert night.at_work
    assert night.named("too_little") == 27


def test_meter_energy_back_falls_back_for_half_a_minute() -> None:
    """The counter shows less than before: was the meter exchanged? It is named at once."""
    night = Alone("meter_energy_back", 1)
    assert night.named("counter") == night.reached("safe") == 0
    assert night.reached("normal") in range(30, 32)


def test_meter_scale_is_not_believed_while_cars_draw() -> None:
    """A thousandth of the load."""
    Alone("meter_scale", 1).stops("phase_lost", "too_little")


def test_meter_scale_up_cannot_be() -> None:
    """A thousand times the load."""
    Alone("meter_scale_up", 1).stops("meter", "range")


def test_meter_other_latches_until_a_person_has_looked() -> None:
    """Another serial number: fallback, for as long as it is there, and after it until somebody has started anew."""
    night = Alone("meter_other", 1)
    assert night.named("identity") == night.reached("latch") == 0
    assert night.raised(0) == []
    assert night.reached("dead") == night.end_s - night.start_s
    assert night.back_s <= 70


def test_meter_other_stays_latched_over_a_host_that_stood_still() -> None:
    """Twelve seconds in which nobody decided, and the old meter is back: it begins anew, and latched."""
    world, modes = World(draw(6), ()), []

    def other(shown: Shown, _second: int) -> Shown:
        return replace(shown, identity=99)

    while world.second < 700:
        if world.second == 400:
            world.dial.twists.append(other)
        if world.second == 415:
            world.dial.twists.remove(other)
        world.hosts[0].paused = 402 < world.second < 415
        world._second()
        if world.hosts[0].mode != (modes[-1] if modes else ""):
            modes.append(world.hosts[0].mode)
    assert modes[-2:] == ["start-up", "latch"]


def test_feeder_meter_silent_holds_its_own_and_the_others_go_on() -> None:
    """Named at 5 s; the transformer's control stays at work."""
    night = Alone("feeder_meter_silent", 6)
    assert night.named("feeder_meter") == 5
    assert night.at_work
