"""The lease protocol, every reachable state of it: no network and no reboot makes a current be spent twice."""

from __future__ import annotations

import pytest

from hil_tests.rig.protocol import Rules, search

# ``up`` and ``down``: so many messages on their way at once each way. Only where there are two can one overtake.
ALONE = [Rules(chargers=1, reboots=1), Rules(chargers=1, down=2, reboots=0), Rules(chargers=1, up=2, reboots=0)]
LONGER = [
    Rules(chargers=1, up=2, down=2, reboots=0),
    Rules(chargers=1, down=2, reboots=1),
    Rules(chargers=1, reboots=1, tick_ms=20_000),
    Rules(chargers=1, reboots=2),
]


@pytest.mark.parametrize("rules", ALONE, ids=str)
def test_the_ledger_is_never_below_what_a_charger_allows(rules: Rules) -> None:
    """Loss, repetition, delay, a reboot or reordering: all states, for a charger that may be raised at any time."""
    found = search(rules)
    assert found.complete
    assert found.trace is None
    assert found.states > 40_000


def test_a_lease_counted_from_receipt_spends_a_current_twice() -> None:
    """The same search finds what is wrong with the simpler rule: a raise that was long on its way."""
    found = search(Rules(chargers=1, reboots=0, from_receipt=True))
    assert found.trace is not None
    assert found.trace[-1].startswith("0 hears Told")
    assert "tick" in found.trace


@pytest.mark.slow
@pytest.mark.parametrize("rules", LONGER, ids=str)
def test_reordering_both_ways_or_with_a_reboot_finer_time_and_more_reboots_change_nothing(rules: Rules) -> None:
    """190,000 to 310,000 states each, all there are."""
    found = search(rules)
    assert found.complete
    assert found.trace is None
    assert found.states > 190_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rules", "most"), [(Rules(chargers=1, up=2, reboots=1), 500_000), (Rules(chargers=2, reboots=0), 300_000)], ids=str
)
def test_the_nearest_states_of_what_is_too_much_to_finish(rules: Rules, most: int) -> None:
    """Telemetry overtaken across a reboot, and two chargers under the most daring controller: as far as stated."""
    found = search(rules, most=most)
    assert found.trace is None
    assert found.states == most
