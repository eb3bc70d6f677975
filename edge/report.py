"""What a tick leaves behind for people: the lines of the log that have changed, and a line of the journal."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge import config as cfg
from edge import reasons
from edge.core import trust, watch
from edge.core.model import ASLEEP, CHARGING

if TYPE_CHECKING:
    from edge.core.model import Command, Snapshot
    from edge.core.obey import Suspect
    from edge.fleet import Fleet
    from edge.localtime import WallClock
    from edge.ports import ChargerPort
    from edge.voice import Voice

MODES = ("start-up", "normal", "hold", "shed", "recover", "safe", "latch")
_MODES_SAID = (
    "start-up: waits for a fresh meter and one full lease",
    "normal",
    "hold: nothing is raised",
    "shed: {load:g} % of {what}, over the limit: chargers are cut",
    "recover: the meter is back and has to prove itself",
    "safe: its chargers go to their fallback",
    "latch: another meter than before; its chargers stay at their fallback until a person has looked",
)
HOUR_MS = 3_600_000
ALARM_GAP_PERMILLE = 10
"""An alarm of load ends this far below the limit, so that it does not flicker."""
NAMED = 5
"""So many chargers are named in a line."""


@dataclass(frozen=True, slots=True)
class Tick:
    """What one tick has seen, decided and sent."""

    now_ms: int
    snapshot: Snapshot
    commands: tuple[Command, ...]
    sent: int
    """So many setpoints have left."""
    guard: watch.State
    suspects: tuple[Suspect, ...]
    base_va: float | None
    """Residents' load of late; None while it is not known."""
    promised: list[tuple[str, int, str]]
    """What has been promised since the tick before: charger, Wh at departure, why not all."""


class Report:
    """Tells what ticks have changed. It looks at parts of the controller, and touches none of them."""

    def __init__(
        self,
        config: cfg.AreaConfig,
        voice: Voice,
        wall: WallClock,
        fleet: Fleet,
        chargers: ChargerPort,
        metered: tuple[int, ...],
    ) -> None:
        self.config, self.voice, self.wall = config, voice, wall
        self.fleet, self.chargers = fleet, chargers
        self.metered = {at: config.feeders[at].id for at in metered}
        """The feeders with a meter of their own."""
        self._feeder_ids = tuple(feeder.id for feeder in config.feeders)
        self._isolated: set[str] = set()
        self._reasons: list[str] = []
        self._reasons_hour = -1

    def say(self, tick: Tick) -> None:
        """Say in the log what has changed."""
        self._say_watch("", tick.guard, tick.now_ms)
        for at, feeder in self.metered.items():
            self._say_watch(feeder, tick.guard.feeders[at], tick.now_ms)
        self._say_link()
        self._say_hour(tick.snapshot)
        self._say_load(tick)
        self._say_dropped()
        self._say_asleep(tick.commands)
        self._say_isolated(tick.suspects)
        self._say_fallbacks()
        self._say_strangers()

    def _say_watch(self, feeder: str, seen: watch.State, now_ms: int) -> None:
        """What the guard thinks of a meter, the transformer's or that of a ``feeder``."""
        name = f"feeder {feeder}: " if feeder else ""
        level = logging.WARNING if seen.mode in (watch.SAFING, watch.LATCHED) else logging.INFO
        said = _MODES_SAID[seen.mode].format(load=seen.peak / 10, what="its limit" if feeder else "the rating")
        self.voice.say(f"mode {feeder}", name + said, level)
        if seen.mode in watch.AT_FALLBACK and watch.often(seen, now_ms):
            text = f"{name}{watch.OFTEN} times in safe within an hour, the way back takes 10 min now: look at the meter"
            self.voice.warn(f"often {feeder}", text)
        code = seen.trust.doubt
        topic = f"doubt {feeder}"
        if code == trust.FROZEN and seen.mode == watch.NORMAL:
            return  # the same values for some seconds are no news yet
        if code != trust.FINE:
            self.voice.warn(topic, reasons.doubt(code, seen.trust.phase, feeder=feeder))
        elif self.voice.said(topic):
            self.voice.say(topic, f"{name}what the meter says can be believed again")

    def _say_link(self) -> None:
        if self.chargers.trouble:
            self.voice.warn("broker", self.chargers.trouble)
        else:
            self.voice.say("broker", "broker connected")

    def _say_hour(self, snapshot: Snapshot) -> None:
        """The limit in force, and the price valley."""
        self.voice.say("limit", f"limit {snapshot.limit_permille / 10:g} % of rating")
        minute = self.wall.minute()
        if minute is not None and self.config.charging.valley:
            inside = cfg.in_valley(self.config, int(minute))
            self.voice.say("valley", "inside the price valley" if inside else "outside the price valley")

    def _say_load(self, tick: Tick) -> None:
        """Alarms that no charger can cure: load outside control above the limit, and overload by export."""
        meter, limit_permille = tick.snapshot.meter, tick.snapshot.limit_permille
        if meter is None or tick.base_va is None:
            return
        alone = tick.base_va * 1000.0 / self.config.rating_va
        if alone > limit_permille:
            self.voice.warn(
                "load", "uncontrollable load: residents and piles outside control alone are above the limit"
            )
        elif self.voice.said("load") and alone < limit_permille - ALARM_GAP_PERMILLE:
            self.voice.say("load", "load outside control is below the limit")
        back = -min(meter.s_va, 0) * 1000 // self.config.rating_va
        if back > limit_permille:
            self.voice.warn("export", "overload by export: cutting chargers would not help")
        elif self.voice.said("export") and back < limit_permille - ALARM_GAP_PERMILLE:
            self.voice.say("export", "export is below the limit")

    def _say_dropped(self) -> None:
        if self.chargers.dropped:
            about = 10 ** (len(str(self.chargers.dropped)) - 1)  # said at 1, 10, 100 …: a flood fills no log
            self.voice.warn("dropped", f"{about} or more messages dropped: unreadable, or too many")

    def _say_asleep(self, commands: tuple[Command, ...]) -> None:
        asleep = [command.id for command in commands if command.reason == ASLEEP]
        if asleep or self.voice.said("asleep"):
            names = ", ".join(asleep[:NAMED]) + (f" and {len(asleep) - NAMED} more" if len(asleep) > NAMED else "")
            self.voice.say("asleep", f"offered current and draw none: {names or 'none'}")

    def _say_isolated(self, suspects: tuple[Suspect, ...]) -> None:
        """Who is isolated, and why; who no longer is."""
        now = {suspect.id: suspect.code for suspect in suspects if suspect.isolated}
        for name, code in now.items():
            said = f"{name} {reasons.OFFENCES[code][0]} It is isolated: told 0 A, counted at its worst"
            self.voice.warn(f"obey {name}", said)
        for name in self._isolated - now.keys():
            self.voice.say(f"obey {name}", f"{name} obeys again")
        self._isolated = set(now)

    def _say_fallbacks(self) -> None:
        """Who would take more by itself than was planned with, or less than the law demands."""
        if odd := sorted(self.fleet.odd_fallbacks):
            first, fallback_a = odd[0], self.fleet.odd_fallbacks[odd[0]] / 1000
            more = f" and {len(odd) - 1} more" if odd[1:] else ""
            asked = self.config.charging.fallback_ma / 1000
            why = "was planned with" if fallback_a > asked else "is what the law demands"
            text = f"{first}{more} would take {fallback_a:g} A without us; fallback_a = {asked:g} {why}"
            self.voice.warn("fallback", text)
        elif self.voice.said("fallback"):
            self.voice.say("fallback", "every charger has the fallback that was planned with")

    def _say_strangers(self) -> None:
        if self.fleet.strangers:
            names = ", ".join(sorted(self.fleet.strangers)[:NAMED])
            self.voice.say("strangers", f"not registered, not commanded: {names}")

    def entry(self, tick: Tick) -> dict[str, Any]:
        """One journal line: inputs, decision, why. Only commands that differ from what was allowed are spelled out."""
        meter, chargers, commands = tick.snapshot.meter, tick.snapshot.chargers, tick.commands
        why = Counter(reasons.key(command.reason, command.phase) for command in commands)
        return {
            "now_ms": tick.now_ms,
            "wall_s": self.wall.wall_s,
            "utc_offset_s": self.wall.utc_offset_s(),  # so that the journal can be read in local time anywhere
            "mode": MODES[tick.guard.mode],
            **_doubt_entry(tick.guard),
            "age_ms": None if meter is None else tick.now_ms - meter.at_ms,
            "s_va": None if meter is None else meter.s_va,
            "ma": None if meter is None else meter.ma,
            "limit_permille": tick.snapshot.limit_permille,
            **({"feeders": self._feeder_entries(tick)} if self.metered else {}),
            "ev_ma": sum(c.ma for c in chargers),
            "charging": sum(c.plug == CHARGING for c in chargers),
            "why": dict(sorted(why.items())),
            "sent": tick.sent,
            "promised": tick.promised,
            "reasons": self._changed_reasons(commands, tick.now_ms),
            "set": [
                [command.id, command.ma, reasons.key(command.reason, command.phase)]
                for charger, command in zip(chargers, commands, strict=True)
                if command.ma != charger.allowed_ma and not charger.silent
            ],
        }

    def _feeder_entries(self, tick: Tick) -> dict[str, dict[str, Any]]:
        """What the journal keeps of feeders with a meter: what that says, how old it is, what the guard thinks."""
        out = {}
        for at, feeder in self.metered.items():
            meter, seen = tick.snapshot.feeders[at].meter, tick.guard.feeders[at]
            out[feeder] = {
                "mode": MODES[seen.mode],
                **_doubt_entry(seen),
                "age_ms": None if meter is None else tick.now_ms - meter.at_ms,
                "ma": None if meter is None else meter.ma,
            }
        return out

    def _changed_reasons(self, commands: tuple[Command, ...], now_ms: int) -> list[list[str]]:
        """[charger, reason] wherever the reason is another than a tick ago; once an hour all of them."""
        now = [reasons.key(command.reason, command.phase, self._feeder_ids) for command in commands]
        hour = now_ms // HOUR_MS
        before = self._reasons if hour == self._reasons_hour and len(now) == len(self._reasons) else [""] * len(now)
        self._reasons, self._reasons_hour = now, hour
        return [[command.id, new] for command, new, old in zip(commands, now, before, strict=True) if new != old]


def _doubt_entry(seen: watch.State) -> dict[str, str]:
    """What is wrong with a meter, for the journal: nothing, most of the time."""
    return {} if seen.trust.doubt == trust.FINE else {"doubt": reasons.DOUBTS[seen.trust.doubt][0]}
