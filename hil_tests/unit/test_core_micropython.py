"""The same recorded scenario on CPython and on MicroPython: control, guard and lease print the same."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

from hil_tests.upy.runner import run_script

if TYPE_CHECKING:
    from collections.abc import Callable

# Subset of both. Pseudo-random by its own arithmetic; integers only; chargers obey through their leases.
SCENARIO = """
from edge.core import control, guard, lease, ledger
from edge.core.model import Charger, Command, Meter, Settings, Snapshot, va_of

seed = 20260115

def random(n):
    global seed
    seed = (seed * 1103515245 + 12345) % 2147483648
    return seed // 65536 % n

SETTINGS = Settings(250000, 380000, 15, 1000, 60000, 5)
COUNT = 9
names = ["p%02d" % k for k in range(COUNT)]
wiring = [(1, 1, True), (2, 1, True), (4, 1, True), (7, 3, True), (7, 1, False), (1, 1, True), (2, 1, True),
          (4, 1, True), (1, 1, True)]
leases = [lease.start(k + 1) for k in range(COUNT)]
told = [0] * COUNT
seqs = [0] * COUNT
sent = [()] * COUNT
drawn = [0] * COUNT
need = [9000 - 700 * k for k in range(COUNT)]
state, gate = control.start(), guard.start(-70000)
base = 120000
reading = None

for tick in range(1, 181):
    now = tick * 1000
    base += random(4001) - 2000
    if tick == 70:
        base += 60000
    if tick == 100:
        base -= 60000
    if tick < 120 or tick > 132:
        ma = [base * 1000 // 660 + random(1000) for p in range(3)]
        s = base
        for k in range(COUNT):
            s += va_of(drawn[k], wiring[k][1], 220000)
            for p in range(3):
                if (wiring[k][0] if wiring[k][2] else 1) >> p & 1:
                    ma[p] += drawn[k]
        reading = Meter(now, s, s * 95 // 100, s * 31 // 100, (ma[0], ma[1], ma[2]), (220000, 221000, 219000))
    rows = []
    for k in range(COUNT):
        phases, lines, known = wiring[k]
        allowed = lease.allowed_ma(leases[k], 0, now)
        silent = 40 < tick < 60 and k == 2
        most = ledger.possible_ma(sent[k], True, silent, allowed, leases[k].ends_ms, drawn[k], 0, now)
        rows.append(Charger(names[k], phases, lines, known, 32000 if k % 2 else 16000, 0, 2 if drawn[k] else 1,
                            drawn[k], allowed, told[k], most, silent, need[k], (30 + 5 * k) * 60000))
    shot = Snapshot(reading, 800 if tick < 150 else 700, 0 if tick > 20 else 20000 - now, 32400000, tuple(rows))
    state, wishes = control.step(state, shot, SETTINGS, now)
    gate, commands = guard.vet(gate, shot, wishes, SETTINGS, now)
    print(tick, gate.mode, [(c.ma, c.reason, c.phase, c.renew) for c in commands])
    for k in range(COUNT):
        ma = commands[k].ma
        if ma != told[k] or (ma and tick % 15 == k):
            seqs[k] += 1
            told[k] = ma
            sent[k] = sent[k][-6:] + (ledger.Sent(1, seqs[k], ma, ledger.lease_end_ms(now, 60000)),)
            if random(10):
                echo = now - 1000 * random(40)
                asked = lease.Setpoint(1, seqs[k], k + 1, echo, ma, 60000)
                leases[k], verdict = lease.accept(leases[k], asked, 0, 32000, now)
                if verdict != lease.ACCEPTED:
                    print(tick, names[k], "verdict", verdict)
        sent[k] = ledger.outstanding(sent[k], leases[k].epoch, leases[k].seq, now)
        drawn[k] = lease.allowed_ma(leases[k], 0, now) * 95 // 100
print(state.bases, state.credit_va, state.peak_va, sorted(state.units))
print(gate)
print(leases)
"""


def played_here() -> str:
    """What the scenario prints on this interpreter."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(SCENARIO, "scenario", "exec"), {})  # noqa: S102 - the same text runs on both
    return out.getvalue()


def test_scenario_reaches_what_matters() -> None:
    """The recording is worth comparing: cars run and are cut, the meter falls silent, a setpoint is refused."""
    text = played_here()
    modes = {line.split()[1] for line in text.splitlines()[:180] if line.split()[1].isdigit()}
    assert {"1", "2", "3"} <= modes
    assert "verdict" in text
    assert text.count("(0, ") > 100
    assert text.count("000, ") > 100


def test_core_decides_the_same_on_micropython(require: Callable[[str], None]) -> None:
    """Three minutes of an area: every command, reason, verdict and state, letter by letter."""
    require("node")
    assert run_script(SCENARIO).splitlines() == played_here().splitlines()
