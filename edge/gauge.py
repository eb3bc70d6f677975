"""A meter and its latest reading: asked no faster than it can answer, spoken of when that changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.ports import MeterError, MeterPort

if TYPE_CHECKING:
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

    def ask(self, now_ms: int) -> None:
        """Read it, when it is time: a slow meter would repeat old registers under a new age.

        One that has not answered is asked again in the next tick.
        """
        if self.reading and now_ms - self.reading.at_ms < self.period_ms - EARLY_MS:
            return
        try:
            self.reading = self.meter.read(now_ms)
        except MeterError as err:
            self.trouble = str(err)
        else:
            self.trouble = ""


def ask_all(gauges: list[Gauge], turn: int, now_ms: int) -> None:
    """Ask many meters within one tick: a silent one costs its whole time-out, so only one of these is asked a tick.

    ``turn`` counts the ticks: whose turn it is goes round.
    """
    silent = [gauge for gauge in gauges if gauge.trouble]
    for gauge in gauges:
        if not gauge.trouble or gauge is silent[turn % len(silent)]:
            gauge.ask(now_ms)
