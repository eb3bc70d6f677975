"""The late fallback: what chargers are told to do by themselves in the valley, should nobody speak to them any more.

While the controller lives it puts the moment off again and again, at least a quarter of an hour ahead: a restart, or a
few lost messages, set nothing free, and what is not due yet takes no room in the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.core.lease import turn_of
from edge.core.model import MIN_MA

if TYPE_CHECKING:
    from edge.ports import ChargerState

WAIT_MS = 900_000
"""Nothing is heard for so long before a charger begins by itself."""
NEAR_MS = 600_000
"""A moment this near is put off."""
FRESH_MS = 15_000
"""Only who was heard so recently is told for this alone: a charger takes it on a recent echo only."""
SPREAD_MS = 600_000
"""Starts that one moment sets free spread over so long."""
SET_MS = 60_000
"""An end that has moved further than this is told anew: the wall clock was set, or the valley is another."""
EARLY_MS = 900_000
"""A charger that was never heard counts this long before the others may begin: its clock may be fast."""


@dataclass(frozen=True, slots=True)
class Late:
    """The part of the valley in which all may take 6 A alone, now or next, on our clock at ``now_ms``."""

    now_ms: int
    from_ms: int
    until_ms: int

    @property
    def begun(self) -> bool:
        """May somebody who was told by an earlier controller have begun?"""
        return self.now_ms >= self.from_ms - EARLY_MS

    def told(self, name: str, heard_ms: int) -> tuple[int, int, int]:
        """What a setpoint carries for this charger: mA, seconds from its last telemetry; three times 0 for none."""
        spread_ms = turn_of(name) * SPREAD_MS >> 16
        after_ms = max(self.from_ms, self.now_ms + WAIT_MS) + spread_ms - heard_ms
        until_ms = self.until_ms - heard_ms
        return (MIN_MA, -(-after_ms // 1000), until_ms // 1000) if after_ms + 1000 < until_ms else (0, 0, 0)


def is_due(late: Late | None, told: tuple[int, int, int], until_ms: int, from_ms: int, state: ChargerState) -> bool:
    """Must a charger that was just heard be told, for the sake of its late fallback alone?

    It keeps none and should; or it keeps one that nobody wants, that comes near, or that ends at another time than now
    is wanted. ``until_ms``, ``from_ms``: when what it keeps ends and, at the earliest, begins.
    """
    if state.late_ma == 0:
        return told[2] > 0
    return late is None or from_ms - late.now_ms < NEAR_MS or abs(until_ms - late.until_ms) > SET_MS
