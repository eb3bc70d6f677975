"""Charger, ledger and guard played at random, with what must always hold; and each machine finds what is broken.

The machines stand in machine_lease.py and machine_guard.py, their invariants in numbers of their own. A rule of the
product is added to a machine as one more ``@rule``, an invariant as one more ``@invariant`` or one more assertion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from edge.core import guard, ledger, trust, watch
from edge.core import lease as leases
from edge.core.lease import Lease, Setpoint
from hil_tests.unit.machine_guard import GuardMachine
from hil_tests.unit.machine_lease import ChargerMachine, LedgerMachine

if TYPE_CHECKING:
    from hypothesis.stateful import RuleBasedStateMachine

quick = settings(
    derandomize=True, database=None, deadline=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck)
)
hunt = settings(quick, max_examples=800, stateful_step_count=30, phases=[Phase.generate])
"""Far more than any of the broken rules below has needed; the first find ends it."""

MACHINES = ((ChargerMachine, 150, 40), (LedgerMachine, 200, 50), (GuardMachine, 70, 30))
"""So many plays of so many steps, a few seconds each; twenty times as many when they are asked for."""


@pytest.mark.parametrize(("machine", "plays", "steps"), MACHINES)
def test_what_must_hold_holds(machine: type[RuleBasedStateMachine], plays: int, steps: int) -> None:
    """I1, I4, I5, I8 to I12, I16, I17, I19, I21, I22: in every play."""
    run_state_machine_as_test(machine, settings=settings(quick, max_examples=plays, stateful_step_count=steps))


@pytest.mark.slow
@pytest.mark.parametrize(("machine", "plays", "steps"), MACHINES)
def test_what_must_hold_holds_for_long(machine: type[RuleBasedStateMachine], plays: int, steps: int) -> None:
    """Twenty times as many plays, half as long again."""
    more = settings(quick, max_examples=20 * plays, stateful_step_count=steps * 3 // 2)
    run_state_machine_as_test(machine, settings=more)


# ---------------------------------------------------------------------------------------------- broken on purpose
accept, allowed_ma, possible_ma = leases.accept, leases.allowed_ma, ledger.possible_ma


def from_receipt(lease: Lease, s: Setpoint, fallback_ma: int, max_ma: int, now_ms: int) -> tuple[Lease, int]:
    """The lease counts from when the setpoint arrives."""
    told = Setpoint(**{**s._asdict(), "boot": lease.boot, "tick_ms": now_ms})
    return accept(lease, told, fallback_ma, max_ma, now_ms)


def any_number(lease: Lease, s: Setpoint, fallback_ma: int, max_ma: int, now_ms: int) -> tuple[Lease, int]:
    """Older and repeated setpoints are obeyed like new ones."""
    return accept(Lease(**{**lease._asdict(), "epoch": 0, "seq": 0}), s, fallback_ma, max_ma, now_ms)


def for_ever(lease: Lease, fallback_ma: int, _now_ms: int) -> int:
    """A lease never ends."""
    return int(lease.ma) if lease.ends_ms else fallback_ma


def nothing_on_its_way(_sent: object, *rest: Any) -> int:  # noqa: ANN401 - the ledger's own arguments
    """What was sent does not count before telemetry shows it."""
    return possible_ma((), *rest)


BROKEN = [
    (ChargerMachine, [(leases, "accept", from_receipt)], "I10"),
    (ChargerMachine, [(leases, "accept", any_number)], "I21"),
    (ChargerMachine, [(leases, "allowed_ma", for_ever)], "I11"),
    (LedgerMachine, [(leases, "accept", from_receipt)], "I1"),
    (LedgerMachine, [(ledger, "possible_ma", nothing_on_its_way)], "I1"),
    (LedgerMachine, [(ledger, "outstanding", lambda *_: ())], "I1"),
    (LedgerMachine, [(ledger, "DRIFT_PERMILLE", 0), (ledger, "GRACE_MS", 0)], "I1"),
    (GuardMachine, [(watch, "LEASE_MS_MAX", 0)], "I12"),
    (GuardMachine, [(watch, "HOLD_MS", 9_000)], "I4|I12"),
    (GuardMachine, [(watch, "FROZEN_HOLD_MS", 60_000)], "I4|I12"),
    (GuardMachine, [(watch, "SAFE_MS", 20_000)], "I4|I12"),
    (GuardMachine, [(watch, "RECOVER_SAMPLES", 1)], "I12"),
    (GuardMachine, [(trust, "_negative", lambda *_: trust.NOWHERE)], "I4|I12"),
    (GuardMachine, [(guard, "_within_line", lambda _, commands, __: commands)], "I1"),
    (GuardMachine, [(guard, "_admissible", lambda _, commands: commands)], "I16"),
]


@pytest.mark.parametrize(
    ("machine", "changes", "breaks"),
    BROKEN,
    ids=[f"{machine.__name__}-{'-'.join(name for _, name, _ in changes)}" for machine, changes, _ in BROKEN],
)
def test_a_machine_finds_what_is_broken(
    monkeypatch: pytest.MonkeyPatch,
    machine: type[RuleBasedStateMachine],
    changes: list[tuple[Any, str, Any]],
    breaks: str,
) -> None:
    """One rule taken away: a play is found in which something that must hold does not."""
    for where, name, broken in changes:
        monkeypatch.setattr(where, name, broken)
    with pytest.raises(AssertionError, match=rf"^({breaks})[:,]"):
        run_state_machine_as_test(machine, settings=hunt)
