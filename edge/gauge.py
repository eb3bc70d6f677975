"""A meter and its latest reading: asked no faster than it can answer, spoken of when that changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.core.watch import HOLD_MS, HOLD_PERIODS
from edge.ports import MeterError, MeterPort

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.core.model import Meter

EARLY_MS = 200
"""A tick may come this much before the meter's period is over and still count as the next one."""


class Gauge:
    """One meter of the area: the transformer's, or a feeder's."""

    def __init__(self, meter: MeterPort, period_ms: int) -> None:
        self.meter, self.period_ms = meter, period_ms
        self.reading: Meter | None = None
        self.trouble = ""
        """Why the last question had no answer; empty when it had."""
        self.asked_ms = -(1 << 60)

    def ask(self, now_ms: int) -> None:
        """Read it, when it is time: a slow meter would repeat old registers under a new age.

        One that has not answered is asked again in the next tick.
        """
        if self.reading and now_ms - self.reading.at_ms < self.period_ms - EARLY_MS:
            return
        self.asked_ms = now_ms
        try:
            self.reading = self.meter.read(now_ms)
        except MeterError as err:
            self.trouble = str(err)
        else:
            self.trouble = ""

    def silent(self, now_ms: int) -> bool:
        """Has it said nothing for as long as lets the guard hold? One lost reply is no news."""
        if self.reading is None:
            return self.trouble != ""
        late: bool = now_ms - self.reading.at_ms > max(HOLD_MS, HOLD_PERIODS * self.period_ms)
        return late


def ask_all(gauges: Sequence[Gauge], now_ms: int) -> None:
    """Ask many meters within one tick: those that answered last time, then one of the others.

    A meter that does not answer costs its whole time-out, so after the first that fails nothing more is asked.
    """
    for gauge in gauges:
        if not gauge.trouble:
            gauge.ask(now_ms)
            if gauge.trouble:
                return
    if waiting := [gauge for gauge in gauges if gauge.trouble]:
        min(waiting, key=lambda gauge: gauge.asked_ms).ask(now_ms)
