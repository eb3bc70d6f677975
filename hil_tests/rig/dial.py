"""The simulator's meter, as it stands behind the driver: what it shows, what faults make of that, what is refused.

A *twist* changes what is shown, or raises MeterError where the driver would. The last step follows the driver's rules:
what is no number or cannot be is an error and never a zero, and a site that does not export has no sign.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.core.model import Meter
from edge.ports import MeterError
from hil_tests.rig.community import VOLT

if TYPE_CHECKING:
    from collections.abc import Callable

    from hil_tests.rig.plant import Busbar

CLASS = 0.005
NOISE = 0.001
STEP_A = 0.01
AMPS_MAX = 20_000.0
IDENTITY = 26_117_004


@dataclass(slots=True)
class Shown:
    """What stands on the display, by phase; ``s_va`` is the total."""

    i_a: list[float]
    p_w: list[float]
    q_var: list[float]
    volt: list[float]
    s_va: float
    import_wh: float
    identity: int

    def times(self, factor: float, phases: tuple[int, ...] = (0, 1, 2)) -> Shown:
        """The same with the currents and powers of some phases multiplied."""
        f = [factor if p in phases else 1.0 for p in range(3)]
        i_a = [i * abs(x) for i, x in zip(self.i_a, f, strict=True)]
        s_va = sum(i * u for i, u in zip(i_a, self.volt, strict=True))
        p_w, q_var = ([v * x for v, x in zip(row, f, strict=True)] for row in (self.p_w, self.q_var))
        return Shown(i_a, p_w, q_var, self.volt, s_va, self.import_wh, self.identity)


class Dial:
    """One meter with a gain of its own within class 0.5, a little noise and 10 mA steps."""

    def __init__(self, name: str, seed: int, *, exports: bool = False) -> None:
        self.name, self.exports = name, exports
        self._rng = np.random.default_rng((seed, 9))
        self.gain = 1.0 + float(self._rng.uniform(-CLASS, CLASS))
        self.twists: list[Callable[[Shown, int], Shown]] = []
        self.bar: Busbar | None = None
        self.import_wh = 1_000_000.0

    def show(self, bar: Busbar) -> None:
        """Another second has passed."""
        self.bar = bar
        self.import_wh += max(float(bar.p_kw.sum()), 0.0) / 3.6

    def shown(self, now_ms: int) -> Shown:
        """What an honest meter shows, as faults have left it. Raises MeterError when it does not answer."""
        bar = self.bar
        assert bar is not None
        noise = self.gain + self._rng.normal(0.0, NOISE, 3)
        i_a = [math.floor(float(x) / STEP_A) * STEP_A for x in bar.i_a * noise]
        p_w = [float(x) * 1000.0 * self.gain for x in bar.p_kw]
        q_var = [float(x) * 1000.0 * self.gain for x in bar.q_kvar]
        shown = Shown(i_a, p_w, q_var, [VOLT] * 3, sum(i_a) * VOLT, self.import_wh, IDENTITY)
        for twist in self.twists:
            shown = twist(shown, now_ms)
        return shown

    def read(self, now_ms: int) -> Meter:
        """One reading, as the driver gives it. Raises MeterError."""
        v = self.shown(now_ms)
        numbers = [*v.i_a, *v.p_w, *v.q_var, *v.volt, v.s_va, v.import_wh]
        if not all(math.isfinite(x) for x in numbers):
            raise MeterError(f"{self.name}: no value")
        if not any(150.0 < u < 300.0 for u in v.volt) or max(v.i_a) > AMPS_MAX:
            raise MeterError(f"{self.name}: cannot be")
        p_w = sum(v.p_w)
        sign = [-1.0 if self.exports and p < 0.0 else 1.0 for p in (*v.p_w, p_w)]
        fields: dict[str, Any] = {
            "at_ms": now_ms,
            "s_va": round(abs(v.s_va) * sign[3]),
            "p_w": round(p_w),
            "q_var": round(sum(v.q_var)),
            "ma": tuple(round(abs(i) * 1000.0 * s) for i, s in zip(v.i_a, sign[:3], strict=True)),
            "mv": tuple(round(u * 1000.0) for u in v.volt),
            "phase_w": tuple(round(p) for p in v.p_w),
            "import_wh": round(v.import_wh),
            "identity": v.identity,
        }
        # The emulated meter shows more than a reading carries.
        return Meter(**{name: fields[name] for name in Meter._fields})

    def close(self) -> None:
        """Nothing to close."""
