"""What the core's tests are given: words with defaults, and a small area that obeys."""

from __future__ import annotations

from typing import Any

from edge.core import control, guard
from edge.core.model import CHARGING, Charger, Command, Meter, Settings, Snapshot, va_of

RATED_VA = 1_000_000
RATED_MA = 1_500_000
MV = 220_000
SETTINGS = Settings(RATED_VA, RATED_MA, 15, 1000, 60_000, 5)
HOUR_MS = 3_600_000
FAR_MS = 1000 * HOUR_MS


def meter(at_ms: int = 0, s_va: int = 0, ma: tuple[int, int, int] | None = None, mv: int = MV) -> Meter:
    """A reading; the phase currents follow from the apparent power unless given."""
    each = s_va * 1_000_000 // (3 * MV)
    return Meter(at_ms, s_va, s_va * 95 // 100, s_va * 31 // 100, ma or (each, each, each), (mv, mv, mv))


def charger(name: str = "a", **changes: Any) -> Charger:  # noqa: ANN401 - a row of any fields
    """A running, obedient charger on phase A at 16 A, with a long way to go."""
    row = {
        "id": name, "phases": 1, "lines": 1, "known": True, "max_ma": 32_000, "fallback_ma": 0, "plug": CHARGING,
        "ma": 16_000, "allowed_ma": 16_000, "set_ma": 16_000, "possible_ma": 16_000, "silent": False,
        "need_wh": 9000, "depart_ms": FAR_MS,
    }  # fmt: skip
    return Charger(**{**row, **changes})


def still(name: str = "a", **changes: Any) -> Charger:  # noqa: ANN401 - a row of any fields
    """A plugged car that waits: nothing set, nothing drawn."""
    return charger(name, **{"plug": 1, "ma": 0, "allowed_ma": 0, "set_ma": 0, "possible_ma": 0, **changes})


def at(name: str, ma: int, **changes: Any) -> Charger:  # noqa: ANN401 - a row of any fields
    """A charger that was told ``ma``, allows it and draws it."""
    return charger(name, **{"ma": ma, "allowed_ma": ma, "set_ma": ma, "possible_ma": ma, **changes})


def snapshot(
    chargers: tuple[Charger, ...] = (),
    reading: Meter | None = None,
    limit: int = 800,
    valley_in_ms: int = -1,
    valley_ms: int = 0,
) -> Snapshot:
    """Everything a decision may look at."""
    return Snapshot(reading, limit, valley_in_ms, valley_ms, chargers)


class Area:
    """One area in ticks of a second: control and guard, a meter that sees it all, chargers that obey at once.

    Change ``base_va`` (residents, spread evenly) or a row of ``chargers`` between ticks; ``meter_ok`` mutes the meter.
    """

    def __init__(self, chargers: list[Charger], base_va: int = 300_000, settings: Settings = SETTINGS) -> None:
        self.chargers = {c.id: c for c in chargers}
        self.base_va, self.settings = base_va, settings
        self.now_ms = 0
        self.limit = 800
        self.valley_in_ms, self.valley_ms = -1, 0
        self.meter_ok = True
        self.reading: Meter | None = None
        self.control = control.start()
        self.guard: guard.State = guard.start(-100_000)
        self.commands: dict[str, Command] = {}
        self.wishes: dict[str, Command] = {}

    def true_meter(self) -> Meter:
        """What stands on the busbar now."""
        ma = [self.base_va * 1_000_000 // (3 * MV)] * 3
        s_va = self.base_va
        for c in self.chargers.values():
            s_va += va_of(c.ma, c.lines, MV)
            for p in (0, 1, 2):
                ma[p] += c.ma * (c.phases >> p & 1)
        return meter(self.now_ms, s_va, (ma[0], ma[1], ma[2]))

    def loading_permille(self) -> int:
        """Loading by S, in permille."""
        return int(self.true_meter().s_va) * 1000 // int(self.settings.rated_va)

    def tick(self, seconds: int = 1) -> None:
        """Advance second by second."""
        for _ in range(seconds):
            self.now_ms += 1000
            if self.meter_ok:
                self.reading = self.true_meter()
            view = tuple(self.chargers[k] for k in sorted(self.chargers))
            shot = Snapshot(self.reading, self.limit, self.valley_in_ms, self.valley_ms, view)
            self.control, wishes = control.step(self.control, shot, self.settings, self.now_ms)
            self.guard, commands = guard.vet(self.guard, shot, wishes, self.settings, self.now_ms)
            self.wishes = {c.id: c for c in wishes}
            self.commands = {c.id: c for c in commands}
            if self.guard.mode != guard.STARTING:
                self._obey()

    def _obey(self) -> None:
        for name, command in self.commands.items():
            c = self.chargers[name]
            draws = command.ma if c.plug in (1, CHARGING) else 0
            plug = CHARGING if draws else (1 if c.plug == CHARGING else c.plug)
            self.chargers[name] = change(
                c, set_ma=command.ma, allowed_ma=command.ma, possible_ma=draws, ma=draws, plug=plug
            )

    def settle(self, seconds: int = 120) -> None:
        """Play until things stand still."""
        self.tick(seconds)


def change(row: Charger, **changes: Any) -> Charger:  # noqa: ANN401 - any fields
    """The same charger with other values."""
    return Charger(**{**row._asdict(), **changes})
