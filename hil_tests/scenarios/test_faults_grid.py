"""Every fault of the grid of the catalogue alone, in one seeded night each."""

from __future__ import annotations

from hil_tests.rig.rules import PROMISES
from hil_tests.scenarios.alone import Alone


def test_base_step_is_cut_on_the_reading_that_shows_it() -> None:
    """A fifth of the rating more at once: under the limit in time."""
    night = Alone("base_step", 1)
    assert night.at_work
    assert night.one.worst_s["P3"] <= PROMISES["P3"][1]


def test_residents_over_take_all_from_the_cars() -> None:
    """Residents alone over the limit: cars are not to blame for more than some seconds, and nobody is raised."""
    night = Alone("residents_over", 1)
    assert night.at_work
    assert night.one.over_s <= 15
    assert night.raised(5) == []


def test_unbalance_is_held_on_its_phase() -> None:
    """A quarter of the rating more on phase A: the limit of that phase cuts its cars."""
    night = Alone("unbalance", 1)
    assert night.at_work
    assert night.one.over_s <= 15


def test_outage_ends_as_a_start_begins() -> None:
    """No mains for two minutes: one lease without authority, then normal."""
    night = Alone("outage", 1)
    assert (night.reached("dead"), night.raised(0)) == (0, [])
    assert night.back_s <= 65


def test_reverse_flow_is_taken_for_a_ct_the_wrong_way_round() -> None:
    """At a site that was not said to export: named, hold, fallback."""
    Alone("reverse_flow", 1).stops("sign")
