"""The simulator's chargers: the emulated ones with the product's own lease, and what can be wrong with each.

What they say and are told crosses the air as the product's driver reads and writes it. Every fault is a value by
charger that is empty while it is honest. ``log`` keeps what each was told and how it took it, for a checker that does
not trust the lease.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge.core import lease as leases
from edge.ports import ChargerState
from hil_tests.rig.chargers import CHARGING, FINISHED, UNPLUGGED, WAITING, Chargers, read_setpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from hil_tests.rig.plant import Plant


@dataclass(slots=True)
class Taken:
    """A setpoint that a charger has judged: on its own clock, mA allowed before and after."""

    k: int
    now_ms: int
    boot: int
    asked: leases.Setpoint
    before: leases.Lease
    accepted: bool


@dataclass(slots=True)
class Wrongs:
    """What is wrong with one charger."""

    pilot_a: float | None = None
    """It allows this, whatever it was told."""
    stuck_a: float | None = None
    """Its contactor gives this, whatever it allows and says."""
    extra_a: float = 0.0
    """It allows so much more than it says."""
    lag_s: int = 0
    """A setpoint waits so long before it is looked at."""
    mute: bool = False
    """It says nothing."""
    twist: Callable[[ChargerState], ChargerState] | None = None
    """What it says is not what it is."""
    swing_s: int = 0
    """It switches itself off and on every so many seconds."""


@dataclass(slots=True)
class _Waiting:
    due_s: int
    k: int
    asked: leases.Setpoint
    late: tuple[int, int, int]


class Piles(Chargers):
    """All chargers of a small area, honest until told otherwise."""

    def __init__(self, plant: Plant, seed: int, fallback_ma: int = 0) -> None:
        super().__init__(plant, seed, fallback_ma)
        count = len(self.ids)
        self.wrong = [Wrongs() for _ in range(count)]
        self.rate = [1.0] * count
        """How fast each one's clock runs."""
        self.dark = False
        """No mains: no pilot, no word."""
        self.log: list[Taken] = []
        self.truth: dict[ChargerState, ChargerState] = {}
        """By untrue word: what would have been true."""
        self.spoke: list[tuple[int, int, int]] = [(-1, 0, 0)] * count
        """When each last spoke, and with what stamp of its own."""
        self._waiting: list[_Waiting] = []
        self._rng = np.random.default_rng((seed, 5))

    def before_second(self) -> None:
        """As honest chargers do, then what is wrong."""
        late, self._waiting = self._waiting, []
        for one in late:
            if one.due_s <= self.plant.second:
                self.judge(one.k, one.asked, one.late)
            else:
                self._waiting.append(one)
        super().before_second()
        pilot = self.plant.pilot_a
        for k, wrong in enumerate(self.wrong):
            if wrong.pilot_a is not None:
                pilot[k] = wrong.pilot_a
            elif wrong.stuck_a is not None:
                pilot[k] = wrong.stuck_a
            elif wrong.extra_a and pilot[k] > 0.0:
                pilot[k] += wrong.extra_a
            if wrong.swing_s and self.plant.second // wrong.swing_s % 2:
                pilot[k] = 0.0
        if self.dark:
            pilot[:] = 0.0

    def _tick_ms(self, k: int) -> int:
        return int(self.plant.second * 1000 * self.rate[k]) + self.offset_ms[k]

    def clock_ms(self, k: int) -> int:
        """What its own clock shows."""
        return self._tick_ms(k)

    def hear(self, charger: str, payload: bytes) -> None:
        """One setpoint from the wire."""
        k, read = self.index[charger], read_setpoint(payload)
        assert read is not None
        asked, late = read
        wrong = self.wrong[k]
        if wrong.pilot_a is not None or self.dark:
            return
        if wrong.lag_s:
            self._waiting.append(_Waiting(self.plant.second + wrong.lag_s, k, asked, late))
        else:
            self.judge(k, asked, late)

    def judge(self, k: int, asked: leases.Setpoint, late: tuple[int, int, int] = (0, 0, 0)) -> None:
        """As an honest charger judges, on its own clock, and written down."""
        before, accepted = self.leases[k], self.accepted
        super().judge(k, asked, late)
        took = self.accepted > accepted
        self.log.append(Taken(k, self._tick_ms(k), before.boot, asked, before, took))
        if took and self.rate[k] != 1.0:
            now_s = self.plant.second
            self._ends_s[k] = now_s + (self._ends_s[k] - now_s) / self.rate[k]

    def reboot(self, k: int) -> None:
        """It starts anew: a new run, a clock from nothing, its fallback."""
        boot = int(self._rng.integers(1, 1 << 31))
        self.offset_ms[k] = -int(self.plant.second * 1000 * self.rate[k])
        self.boot[k], self.leases[k], self.lates[k] = boot, leases.start(boot, self.leases[k].epoch), None
        self._allowed_ma[k], self._ends_s[k] = self.fallback_ma, np.inf
        self._beat_s[k] = np.inf
        self._dirty[k] = True
        self._waiting = [one for one in self._waiting if one.k != k]

    def speak(self, k: int) -> None:
        """It says its state next."""
        self._dirty[k] = True

    def states(self) -> list[ChargerState]:
        """What is said in this second."""
        out = []
        for k, plug in self.speaking():
            wrong = self.wrong[k]
            if wrong.mute or self.dark:
                continue
            true = self.state(k, plug)
            said = true if wrong.twist is None else wrong.twist(true)
            if said != true:
                self.truth[said] = true
            self.spoke[k] = (self.plant.second - self.plant.start_s, said.boot, said.tick_ms)
            out.append(said)
        return out

    def plug(self, k: int) -> int:
        """The state of its socket."""
        plant = self.plant
        if not plant.plugged[k]:
            return UNPLUGGED
        if plant.full[k]:
            return FINISHED
        return CHARGING if plant.current_a[k] > 0.0 else WAITING

    def state(self, k: int, plug: int) -> ChargerState:
        """One telemetry message."""
        boot, tick_ms, epoch, seq, a, b, c, w, wh, allowed_ma, lease_ms, max_ma = self.said(k, plug)
        wrong = self.wrong[k]
        if wrong.pilot_a is not None:
            allowed_ma = int(wrong.pilot_a * 1000)
        return ChargerState(
            self.ids[k], boot, tick_ms, epoch, seq, plug, (a, b, c), w, wh, allowed_ma, lease_ms, self.fallback_ma,
            max_ma, *self.kept(k),
        )  # fmt: skip
