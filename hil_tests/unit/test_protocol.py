"""The lease protocol, state by state: no network, no restart and no second controller spends a current twice."""

from __future__ import annotations

from dataclasses import fields

import pytest

from edge.core import ledger
from hil_tests.rig.protocol import Rules
from hil_tests.rig.search import search

# ``up`` and ``down``: so many messages on their way at once each way. Only where there are two can one overtake.
ALL = [
    Rules(up=2, down=2),
    Rules(reboots=1),
    Rules(down=2, clock_permille=980),
    Rules(chargers=2),
    Rules(controllers=2),
]
MINUTE_MS = 60_000
ALL_SLOW = [
    Rules(reboots=2),
    Rules(reboots=1, tick_ms=20_000),
    Rules(reboots=1, restarts=1, down=2),
    Rules(controllers=2, clock_permille=980),
    Rules(controllers=2, clock_permille=1020),
    Rules(controllers=2, down=2),
    Rules(controllers=2, reboots=1),
    Rules(controllers=2, restarts=1, tick_ms=MINUTE_MS),
    Rules(controllers=2, trusting=False, tick_ms=MINUTE_MS),
    Rules(chargers=2, controllers=2, tick_ms=MINUTE_MS),
]
FAR = [
    (Rules(chargers=2, controllers=2, running=True), 100_000),
    (Rules(chargers=3, controllers=2, running=True), 100_000),
]
FAR_SLOW = [
    (Rules(up=2, down=2, reboots=1), 300_000),
    (Rules(controllers=2, up=2), 300_000),
    (Rules(chargers=2, controllers=2, running=True, reboots=1, restarts=1), 1_000_000),
    (Rules(chargers=2, controllers=2, running=True, down=2, clock_permille=980), 1_000_000),
    (Rules(chargers=3, controllers=2, running=True), 1_000_000),
    (Rules(chargers=3), 1_000_000),
]
BROKEN = {
    "a lease from receipt": Rules(from_receipt=True),
    "no fence": Rules(chargers=2, controllers=2, running=True, unfenced=True, trusting=False),
    "one epoch for two": Rules(controllers=2, twins=True),
    "an epoch forgotten": Rules(controllers=2, reboots=1, forgets=True, trusting=False),
}


def name(value: object) -> str:
    """What is searched, as far as it differs from the simplest."""
    if not isinstance(value, Rules):
        return str(value)
    plain = Rules()
    rows = [(field.name, getattr(value, field.name)) for field in fields(Rules)]
    return " ".join(f"{key}={said}" for key, said in rows if said != getattr(plain, key)) or "plain"


def complete(rules: Rules) -> None:
    """Every reachable state is seen, and none is bad."""
    found = search(rules)
    print(f"{name(rules)}: all {found.states} states, {found.depth} events deep")
    assert found.trace is None
    assert found.complete


def bounded(rules: Rules, most: int) -> None:
    """The nearest states are seen, and none is bad."""
    found = search(rules, most)
    print(f"{name(rules)}: {found.states} states, all of the first {found.depth} events")
    assert found.trace is None
    assert found.states == most


@pytest.mark.parametrize("rules", ALL, ids=name)
def test_no_state_spends_a_current_twice(rules: Rules) -> None:
    """Loss, repetition, delay; and reordering, a reboot, a slow clock, a second charger, a second controller."""
    complete(rules)


@pytest.mark.parametrize(("rules", "most"), FAR, ids=name)
def test_two_controllers_never_give_the_sum_of_both(rules: Rules, most: int) -> None:
    """One commands two chargers or three and lets one draw; another begins: the nearest states."""
    bounded(rules, most)


@pytest.mark.slow
@pytest.mark.parametrize("rules", ALL_SLOW, ids=name)
def test_no_state_of_more_of_it_at_once_spends_a_current_twice(rules: Rules) -> None:
    """Up to 1.2 million states, all there are; the last one has two chargers and two controllers."""
    complete(rules)


@pytest.mark.slow
@pytest.mark.parametrize(("rules", "most"), FAR_SLOW, ids=name)
def test_the_nearest_states_of_what_is_too_much_to_finish(rules: Rules, most: int) -> None:
    """A million states where there are too many."""
    bounded(rules, most)


@pytest.mark.parametrize("what", BROKEN)
def test_each_rule_is_needed(what: str) -> None:
    """The same search finds what is wrong when a rule is left out: a charger that takes current it may not have."""
    found = search(BROKEN[what], 100_000)
    assert found.trace is not None
    print(what, *found.trace, sep="\n  ")
    assert any(" hears Told" in event for event in found.trace)


def test_a_ledger_that_trusts_the_clocks_of_chargers_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A charger's clock is 2 % slow: without the ledger's allowance its lease outlives what is believed."""
    monkeypatch.setattr(ledger, "DRIFT_PERMILLE", 0)
    monkeypatch.setattr(ledger, "GRACE_MS", 0)
    assert search(Rules(clock_permille=980), 100_000).trace is not None
