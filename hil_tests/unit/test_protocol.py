"""The lease protocol, every reachable state of it: no network and no reboot makes a current be spent twice."""

from __future__ import annotations

import pytest

from hil_tests.rig.protocol import Rules, search


@pytest.mark.parametrize("reboots", [0, 1])
def test_the_ledger_is_never_below_what_a_charger_allows(reboots: int) -> None:
    """Loss, repetition, reordering, delay, reboots: all states, for a charger that may be raised at any time."""
    found = search(Rules(chargers=1, in_flight=1, reboots=reboots))
    assert found.complete
    assert found.trace is None
    assert found.states > 20_000


def test_a_lease_counted_from_receipt_spends_a_current_twice() -> None:
    """The same search finds what is wrong with the simpler rule: a raise that was long on its way."""
    found = search(Rules(chargers=1, in_flight=1, reboots=0, from_receipt=True))
    assert found.trace is not None
    assert found.trace[-1].startswith("0 hears Told")
    assert "tick" in found.trace


@pytest.mark.slow
@pytest.mark.parametrize(
    "rules",
    [Rules(chargers=1, in_flight=1, reboots=1, tick_ms=20_000), Rules(chargers=1, in_flight=1, reboots=2)],
)
def test_finer_time_and_more_reboots_change_nothing(rules: Rules) -> None:
    """Some hundred thousand states each."""
    found = search(rules)
    assert found.complete
    assert found.trace is None


@pytest.mark.slow
def test_two_chargers_and_current_for_one() -> None:
    """The first 300,000 states under the most daring controller: never are both at full current."""
    found = search(Rules(chargers=2, in_flight=1, reboots=0), most=300_000)
    assert found.trace is None
    assert found.states == 300_000
