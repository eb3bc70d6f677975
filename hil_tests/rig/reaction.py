"""Stopwatches for the promises: they start with a fault and stop when the plant is where the promise says."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hil_tests.rig.rules import PROMISES, TRANSFORMER

if TYPE_CHECKING:
    from hil_tests.rig.faults import Strike
    from hil_tests.rig.invariants import Checker

DRIFT = "charger_drift"
"""The promises count it in."""


@dataclass(slots=True)
class Clocked:
    """A stopwatch that runs: a strike of ``promise`` at ``since_s``, for these chargers."""

    promise: str
    strike: Strike
    since_s: int
    chargers: set[int]


class Stopwatches:
    """All that run in one night."""

    def __init__(self, checker: Checker) -> None:
        self.checker = checker
        self.clocks: list[Clocked] = []
        self.worst_s: dict[str, float] = {}
        """By promise: the longest reaction measured."""
        self.measured: Counter[str] = Counter()
        self.watched_ms = max(10_000, 5 * checker.world.area.config.meter.period_ms)
        """After so long without a reading the guard is SAFE."""

    def left_alone(self, strike: Strike, chargers: set[int]) -> None:
        """Nobody speaks to these chargers from now on."""
        if strike.fault.promise == "P2":
            self.clocks.append(Clocked("P2", strike, self.checker.world.second, set(chargers)))

    def second(self) -> None:
        """One more second on all of them."""
        world, now_s = self.checker.world, self.checker.world.second
        for strike in world.strikes:
            if strike.start_s == now_s and strike.fault.promise in ("P1", "P3"):
                self.clocks.append(Clocked(strike.fault.promise, strike, now_s, set(range(world.area.count))))
        for clock in list(self.clocks):
            self._one(clock, now_s)

    def _one(self, clock: Clocked, now_s: int) -> None:
        """One more second on a stopwatch: has the plant got there, is it too late, or did the fault end before?"""
        # A slower meter is promised slower, and measured elsewhere.
        slow_s = max(self.watched_ms // 1000 - 10, 0) if clock.promise == "P1" else 0
        most_s = PROMISES[clock.promise][1] + slow_s
        there = self._there(clock)
        lasted_s = now_s - clock.since_s
        if there is None or (not there and clock.strike.end_s <= now_s):
            self.clocks.remove(clock)
        elif there:
            self.clocks.remove(clock)
            if not slow_s:
                self.measure(clock.promise, lasted_s)
        elif lasted_s > most_s:
            self.clocks.remove(clock)
            self.checker.expect(clock.promise, False, f"{clock.strike.fault.id}: not after {lasted_s} s")

    def measure(self, promise: str, seconds: float) -> None:
        """One more figure of a promise."""
        self.measured[promise] += 1
        self.checker.checked[promise] += 1
        self.worst_s[promise] = max(self.worst_s.get(promise, 0.0), seconds)

    def _there(self, clock: Clocked) -> bool | None:
        """Is the plant where the promise says? None: another fault is in the way."""
        world = self.checker.world
        others = [
            s for s in world.strikes if s is not clock.strike and self.checker.near(s) and s.fault.id != "charger_drift"
        ]
        if clock.promise == "P3":
            return None if others else self.checker.over_since.keys().isdisjoint(TRANSFORMER)
        if clock.promise == "P1" and any(s.fault.part in ("network", "host", "grid") for s in others):
            return None
        honest = [k for k in clock.chargers if self.checker.beyond_until[k] < world.second or k in world.unreachable]
        honest = [k for k in honest if k not in world.disobeys]
        floor_a = self.checker.fallback_ma / 1000.0 * 1.1 + 0.5
        return bool(all(world.plant.current_a[k] <= floor_a for k in honest))
