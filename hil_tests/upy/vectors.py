"""Recorded vectors of every function of ``edge.core``: what it was given, what it gave back.

``python -m hil_tests.upy.vectors`` plays the scenario, listens to every call and writes
``hil_tests/golden/core_vectors.txt``: three lines a vector (function, arguments, result and arguments afterwards), each
a Python literal but for the names of the core's own tuples. The tests replay the file on CPython and on MicroPython; a
function whose behaviour was changed on purpose is recorded anew, and the difference is there to be read.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil_tests.upy.scenario import SCENARIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

MODULES = ("model", "ledger", "lease", "rank", "sheet", "control", "trust", "watch", "guard", "obey")
FILE = Path(__file__).resolve().parents[1] / "golden" / "core_vectors.txt"
KEPT = 4
"""So many calls of a function are kept: the first ones whose results differ."""
LONGEST = 6_000
"""A vector with more characters than this is left out: a board has little memory."""

# What an ordinary quarter of an hour does not call.
EXTRAS = """
from edge.core import guard, ledger, lease, model, obey, rank, sheet, control, trust, watch
from edge.core.model import *

def vet(state, shot, wishes, settings, now):
    state, shown = watch.look(state, shot, settings, now)
    return guard.vet(state, shown, wishes, settings)

def seen(mode, over_ms, hot_ms, feeders, sample_ms=8000):
    had = NEVER, over_ms, hot_ms, 0, over_ms
    return watch.State(mode, -100000, sample_ms, 9, *had, (), NEVER, False, trust.start(), feeders)

VOLTS = (220000, 220000, 220000)
back = Meter(9000, -50000, -45000, 21000, (-70000, 20000, -60000), VOLTS, (-14000, 4000, -13000), 8, "")
for sun in (back, back._replace(phase_w=None)):
    model.base_load(sun, [3000, 0, 0, 3000])
place = Place(1, 1, True, -1)
both = (place, Place(7, 3, True, 0))
settings = Settings(250000, 380000, 15, 1000, 60000, 5, False)
for s_va, ma in ((260000, (300000, 420000, 390000)), (230000, (345000, 340000, 350000))):
    meter = Meter(9000, s_va, s_va, 0, ma, VOLTS, None, 8, "")
    rows = tuple(Charger("p%d" % k, k % 2, 32000, 0, CHARGING, 30000 - k * 7000, 32000, 32000, 32000, False, True,
                         9000, 9000, 3600000, NEVER, False, 0) for k in range(4))
    shot = Snapshot(meter, 800, both, (Feeder(100000, meter, 1000), Feeder(20000, None, 0)), rows)
    wishes = tuple(Command(row.id, 32000, FULL, -1, True) for row in rows)
    for over_ms, hot_ms in ((5000, NEVER), (5000, 7000), (-20000, -20000)):
        state = seen(watch.NORMAL, over_ms, hot_ms, ())
        vet(state, shot, wishes, settings, 9000)
    fine = seen(watch.NORMAL, NEVER, NEVER, ())
    loaded = seen(watch.NORMAL, 5000, NEVER, ())
    vet(fine, shot, wishes[:3], settings, 9000)
    watched = seen(watch.NORMAL, NEVER, NEVER, (loaded, loaded))
    vet(watched, shot, wishes, settings, 9000)
    feeder_base(meter, [0, 0, 0, 0, 5000, 6000, 7000], 0)
    watch.for_control(seen(watch.NORMAL, NEVER, NEVER, (seen(watch.SAFING, NEVER, NEVER, ()), fine)),
                      Snapshot(meter, 800, both, shot.feeders, ()))
    state = control.start()
    for tick in range(1, 9):
        calm = Meter(tick * 1000, 90000, 90000, 0, (90000 + tick * 3000, 100000, 110000), VOLTS, None, 8, "")
        cars = tuple(Charger("p%d" % k, k, 32000, 0, WAITING, 0, 0, 0, 0, False, True, 9000, 9000 - 5000 * k,
                             36000000, NEVER, k == 1, 0) for k in range(2))
        quiet = Snapshot(calm, 800, both, (Feeder(100000, None, 0),), cars)
        state, _ = control.step(state, quiet, settings, tick * 1000)
    run = rank.Row(5, 0, 0, 16000, 16000, 32000, 32000, False, True, False)
    rank.review([run, rank.Row(3, 1, 0, 10000, 10000, 32000, 32000, False, True, False),
                 rank.Row(4, 2, 0, 8000, 8000, 32000, 32000, False, True, True)], 3, [20000] * 7, [(0,)], [1], 0)
    low = tuple(Charger("p%d" % k, k % 2, 32000, 6000, CHARGING, 6000, 6000, 6000, 6000, k == 2, k == 1, 9000, 9000,
                        3600000, NEVER, False, 0) for k in range(4))
    for s_va in (100000, 195000):
        now = Meter(9000, s_va, s_va, 0, (150000, 140000, 130000), VOLTS, None, 8, "")
        shut = Snapshot(now, 800, both, (Feeder(100000, None, 0),), low)
        vet(fine, shut, wishes, settings, 9000)
    obeys = obey.start()
    for heard in range(20000, 26000, 1000):
        obeys = obey.look(obeys, [(row, heard, 0) for row in rows[2:] + low[:1]], heard)
    obey.isolated(obeys), obey.unmoved(obeys), trust.unmoved(trust.start())
    for k in range(8):
        less = tuple(Command(row.id, 0, FULL, -1, True) for row in low[:k % 4])
        obeys = obey.told(obey.away(obeys) if k == 4 else obeys, Snapshot(meter, 800, both, (), low), less, 20000 * k)
        gone = tuple(Charger(*row[:5], 0, *row[6:]) if j < k % 4 else row for j, row in enumerate(low))
        later = Meter(20000 * k + 12000, s_va, s_va, 0, (ma[0] - 6000 * (k // 3), ma[1], ma[2]), VOLTS, None, 8, "")
        obeys = obey.seen(obeys, Snapshot(later, 800, both, (), gone), settings)
    guard._renewed(less[0])
    vet(watch.start(0), shut, wishes, settings, 9000)
    vet(seen(watch.HOLDING, NEVER, NEVER, (), 1000), shot, wishes, settings, 9000)
for count, slots in ((324, 1), (324, 4), (1, 8), (3000, 8)):
    ledger.at_once(count, slots)
asked = lease.Setpoint(3, 11, 7, 90000, 9000, 60000)
for ma, after_s, until_s, boot in ((6000, 3600, 36000, 7), (0, 0, 60, 7), (6000, 60, 60, 7), (6000, 60, 90, 8)):
    late = lease.late_of(lease.start(boot), asked, ma, after_s, until_s, 100000)
    for now, slots in ((100000, 1), (4000000, 1), (4000000, 3), (40000000, 2)):
        lease.alone_ma(late, 6000, slots, lease.turn_of("p001"), now)
rows = (ledger.Late(3, 10, 6000, 1000, 9000),
        ledger.Late(3, 11, 6000, *ledger.late_window(5000, 100, 2000)))
for epoch, seq, said in ((3, 9, 0), (3, 10, 6000), (3, 11, 0), (4, 1, 6000)):
    ledger.late_ma(ledger.lates(rows, epoch, seq, said), 80000 if said else 8000)
"""


def functions() -> dict[str, Callable[..., Any]]:
    """Every function of the core by name ("module.function")."""
    found = {}
    for name in MODULES:
        module = importlib.import_module(f"edge.core.{name}")
        for key, value in vars(module).items():
            if inspect.isfunction(value) and value.__module__ == module.__name__:
                found[f"{name}.{key}"] = value
    return found


@contextlib.contextmanager
def listening(heard: Callable[[str, str, str], None]) -> Iterator[None]:
    """While this holds, ``heard(name, given, came)`` learns of every call of a core function."""
    modules: list[ModuleType] = [importlib.import_module(f"edge.core.{name}") for name in MODULES]
    wrapped = {function: _wrap(name, function, heard) for name, function in functions().items()}
    undo = []
    for module in modules:
        for key, value in list(vars(module).items()):
            if inspect.isfunction(value) and value in wrapped:
                undo.append((module, key, value))
                setattr(module, key, wrapped[value])
    try:
        yield
    finally:
        for module, key, value in undo:
            setattr(module, key, value)


def _wrap(name: str, function: Callable[..., Any], heard: Callable[[str, str, str], None]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **named: Any) -> Any:  # noqa: ANN401 - any core function
        given = repr((args, named))
        result = function(*args, **named)
        heard(name, given, repr((result, args)))
        return result

    return call


def record() -> list[tuple[str, str, str]]:
    """Play the scenario and the extras; the vectors to keep."""
    kept: dict[str, dict[str, tuple[str, str, str]]] = {name: {} for name in functions()}

    def heard(name: str, given: str, came: str) -> None:
        row = kept[name]
        if len(row) < KEPT and came not in row and len(given) + len(came) <= LONGEST:
            row[came] = (name, given, came)

    with listening(heard), contextlib.redirect_stdout(io.StringIO()):
        for script in (EXTRAS, SCENARIO):
            exec(compile(script, "scenario", "exec"), {})  # noqa: S102 - our own text
    return [vector for name in kept for vector in kept[name].values()]


def read() -> list[tuple[str, str, str]]:
    """The recorded vectors."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return [(lines[k], lines[k + 1], lines[k + 2]) for k in range(0, len(lines), 3)]


REPLAY = """
def replay(vectors):
    from edge.core import control, guard, lease, ledger, model, obey, rank, sheet, trust, watch
    modules = {"model": model, "ledger": ledger, "lease": lease, "rank": rank, "sheet": sheet, "control": control,
               "trust": trust, "watch": watch, "guard": guard, "obey": obey}
    out = []
    for name, given in vectors:
        module, function = name.split(".")
        names = {}
        for key in list(modules) + [module]:
            for word in dir(modules[key]):
                names[word] = getattr(modules[key], word)
        args, named = eval(given, names)
        result = getattr(modules[module], function)(*args, **named)
        out.append(repr((result, args)))
    return out
"""
"""For both interpreters: call each function with what it was given; what comes back, and the arguments afterwards."""


if __name__ == "__main__":
    FILE.write_text("".join(f"{line}\n" for vector in record() for line in vector), encoding="utf-8")
