"""The tick: latch the inputs, decide, guard, send, write it down. ``Controller.tick`` is the whole of it."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from edge import config as cfg
from edge import reasons
from edge.core import control, guard
from edge.core.model import CHARGING, NEVER, STOPPING, Command, Settings, Snapshot
from edge.fleet import Fleet
from edge.ports import ChargerPort, MeterError, MeterPort, Wish

if TYPE_CHECKING:
    from edge.clock import Moment
    from edge.core.model import Meter
    from edge.journal import Journal

log = logging.getLogger("taiqu")

MODES = ("start-up", "normal", "hold", "safe")
RIVAL_MS = 600_000
MAX_STAY_MS = 86_400_000
EARLY_MS = 200
"""A tick may come this much before the meter's period is over and still count as the next one."""


class Controller:
    """One transformer area: owns the state between ticks, and nothing else."""

    def __init__(self, config: cfg.AreaConfig, meter: MeterPort, chargers: ChargerPort, journal: Journal) -> None:
        self.config, self.meter, self.chargers, self.journal = config, meter, chargers, journal
        self.zone = ZoneInfo(config.timezone)
        self.fleet = Fleet(config.chargers, config.charging, self._depart_ms)
        period_ms = config.meter.period_ms
        self.settings = Settings(
            config.rating_va,
            config.rated_ma,
            config.margin_permille,
            period_ms,
            config.charging.lease_ms,
            5 if period_ms < 5000 else 3,
        )
        self.control = control.start()
        self.guard: guard.State | None = None
        self.reading: Meter | None = None
        self.wall_s: float | None = None
        self.now_ms = 0
        self.quiet_until_ms = NEVER
        self._said: dict[str, str] = {}

    def tick(self, moment: Moment) -> None:
        """One cycle. Inputs are read here, once; every setpoint of the tick leaves here."""
        self.now_ms, self.wall_s = moment.now_ms, moment.wall_s
        if self.guard is None:
            self.guard = guard.start(self.now_ms)
        self.fleet.hear(self.chargers.take(), self.now_ms)
        self._read_meter()
        snapshot = self._snapshot()
        self.control, commands = control.step(self.control, snapshot, self.settings, self.now_ms)
        before = self.guard.mode
        self.guard, commands = guard.vet(self.guard, snapshot, commands, self.settings, self.now_ms)
        if before == guard.STARTING and self.guard.mode != guard.STARTING:
            self.fleet.begin_epoch()
        self._mind_rival()
        sent = 0 if self.guard.mode == guard.STARTING else self._send(commands)
        self._report(snapshot, commands, sent)

    def stop(self) -> None:
        """On purpose: everybody to the lower of present and fallback, no lease renewed."""
        if self.guard is None or self.guard.mode == guard.STARTING:
            return
        commands = [
            Command(c.id, min(max(c.set_ma, c.allowed_ma), c.fallback_ma), STOPPING, -1, False)
            for c in self.fleet.view(self.now_ms)
        ]
        sent = self._send(tuple(commands))
        log.info("stopping: %d chargers lowered to their fallback", sent)

    def _read_meter(self) -> None:
        """Ask the meter, no faster than it can answer: a slow one would repeat old registers under a new age.

        One that has not answered is asked again in the next tick.
        """
        if self.reading and self.now_ms - self.reading.at_ms < self.config.meter.period_ms - EARLY_MS:
            return
        try:
            self.reading = self.meter.read(self.now_ms)
        except MeterError as err:
            self._say("meter", str(err), logging.WARNING)
        else:
            self._say("meter", "meter answers")

    def _snapshot(self) -> Snapshot:
        """Everything the decision may look at, frozen."""
        minute = self._minute()
        if minute is None:
            # The hour is unknown: the most restrictive window holds, and no car waits for a valley.
            limit = min([self.config.limit_permille, *(w.limit_permille for w in self.config.windows)])
            valley_in_ms, valley_ms = -1, 0
        else:
            limit = cfg.limit_permille_at(self.config, int(minute))
            valley_in_ms, valley_ms = _valley(self.config.charging.valley, minute)
        return Snapshot(self.reading, limit, valley_in_ms, valley_ms, self.fleet.view(self.now_ms))

    def _minute(self) -> float | None:
        """Minutes of the local day, or None when the wall clock is not to be trusted."""
        if self.wall_s is None:
            return None
        local = datetime.fromtimestamp(self.wall_s, self.zone)
        return local.hour * 60 + local.minute + local.second / 60

    def _depart_ms(self, wish: Wish | None, now_ms: int) -> int:
        """When a car will leave, on our clock: as it wished, else at the next default departure."""
        if self.wall_s is None:
            return now_ms + MAX_STAY_MS // 2
        if wish is not None:
            stay_ms = round((wish.depart_s - self.wall_s) * 1000)
            return now_ms + min(max(stay_ms, 0), 7 * MAX_STAY_MS)
        minute = self._minute() or 0.0
        ahead = (self.config.charging.default_depart_min - minute) % 1440
        return now_ms + round(ahead * 60_000)

    def _mind_rival(self) -> None:
        """A living lease of a newer epoch: another controller commands here. Fall silent, start again later."""
        if self.fleet.rival:
            self.fleet.rival = False
            self.quiet_until_ms = self.now_ms + RIVAL_MS
            log.warning("another controller commands this area (epoch %d): silent for 10 min", self.fleet.newest_epoch)
        if self.now_ms < self.quiet_until_ms:
            self.guard = guard.start(self.now_ms)

    def _send(self, commands: tuple[Command, ...]) -> int:
        """What is due leaves now, lowerings first; what the broker does not take is not sent later."""
        sent = 0
        for setpoint in self.fleet.due(commands):
            if self.chargers.send(setpoint):
                self.fleet.sent(setpoint, self.now_ms)
                sent += 1
        return sent

    def _report(self, snapshot: Snapshot, commands: tuple[Command, ...], sent: int) -> None:
        assert self.guard is not None  # noqa: S101 - set at the top of the tick
        self._say("mode", MODES[self.guard.mode])
        self._say(
            "broker", self.chargers.trouble or "broker connected", logging.WARNING if self.chargers.trouble else 20
        )
        self._say("limit", f"limit {snapshot.limit_permille / 10:g} % of rating")
        if snapshot.valley_in_ms >= 0:
            self._say("valley", "inside the price valley" if snapshot.valley_in_ms == 0 else "outside the price valley")
        if self.chargers.dropped:
            about = 10 ** (len(str(self.chargers.dropped)) - 1)  # said at 1, 10, 100 …: a flood fills no log
            self._say("dropped", f"{about} or more messages dropped: unreadable, or too many", logging.WARNING)
        if self.fleet.strangers:
            self._say("strangers", f"not registered, not commanded: {', '.join(sorted(self.fleet.strangers)[:5])}")
        if self.journal.path is not None:
            self.journal.write(self._entry(snapshot, commands, sent))

    def _entry(self, snapshot: Snapshot, commands: tuple[Command, ...], sent: int) -> dict[str, Any]:
        """One journal line: inputs, decision, why. Only commands that differ from what was allowed are spelled out."""
        meter = snapshot.meter
        mode = MODES[self.guard.mode] if self.guard else ""
        why = Counter((command.reason, command.phase) for command in commands)
        return {
            "now_ms": self.now_ms,
            "wall_s": self.wall_s,
            "mode": mode,
            "age_ms": None if meter is None else self.now_ms - meter.at_ms,
            "s_va": None if meter is None else meter.s_va,
            "ma": None if meter is None else meter.ma,
            "limit_permille": snapshot.limit_permille,
            "ev_ma": sum(c.ma for c in snapshot.chargers),
            "charging": sum(c.plug == CHARGING for c in snapshot.chargers),
            "why": {reasons.key(code, phase): why[code, phase] for code, phase in sorted(why)},
            "sent": sent,
            "set": [
                [command.id, command.ma, reasons.key(command.reason, command.phase)]
                for charger, command in zip(snapshot.chargers, commands, strict=True)
                if command.ma != charger.allowed_ma and not charger.silent
            ],
        }

    def _say(self, topic: str, text: str, level: int = logging.INFO) -> None:
        """One readable line on every change of state, none while it stays."""
        if self._said.get(topic) != text:
            self._said[topic] = text
            log.log(level, "%s: %s", self.config.area_id, text)


def _valley(windows: tuple[tuple[int, int], ...], minute: float) -> tuple[int, int]:
    """(ms until the valley begins, ms it lasts or still lasts); (0, …) inside it, (-1, 0) when there is none."""
    best: tuple[int, int] | None = None
    for start, end in windows:
        length = (end - start - 1) % 1440 + 1
        since = (minute - start) % 1440
        if since < length:
            return 0, round((length - since) * 60_000)
        ahead = round((1440 - since) * 60_000)
        if best is None or ahead < best[0]:
            best = (ahead, length * 60_000)
    return best or (-1, 0)
