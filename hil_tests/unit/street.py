"""A street in memory: a whole controller, its meter and its chargers, second by second from a local time on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from edge import config as cfg
from edge.clock import Moment
from edge.core.model import CHARGING, UNPLUGGED, WAITING, Meter
from edge.journal import Journal
from edge.loop import Controller
from edge.memory import Memory
from edge.ports import ChargerState, Wish
from hil_tests.rig.closed import Air
from hil_tests.unit.given import MV

NOW_MS = 50_000_000
SHANGHAI, BERLIN = "Asia/Shanghai", "Europe/Berlin"
NIGHT = (23 * 60, 8 * 60)


def area(count: int = 3, **changes: Any) -> cfg.AreaConfig:  # noqa: ANN401 - fields of a configuration
    """An area below 100 kVA with chargers of 7 kW on A, B, C in turn."""
    rows = [cfg.ChargerConfig(f"p{k + 1}", 1 << k % 3, True, 32_000) for k in range(count)]
    config = cfg.AreaConfig(
        area_id="west", rating_va=100_000, rated_ma=151_515, secondary_v=380, limit_permille=800, margin_permille=15,
        timezone=SHANGHAI, windows=(), meter=cfg.MeterConfig("none", "", 0, 1, 1000, 1000),
        broker=cfg.BrokerConfig("", 0, None, None),
        charging=cfg.ChargingConfig(0, 60_000, 9000, 7 * 60, (NIGHT,), 8), chargers=tuple(rows), path=Path("west.toml"),
    )  # fmt: skip
    return replace(config, **changes)


def clock(text: str, timezone: str = SHANGHAI) -> float:
    """Unix seconds of a local time."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(timezone)).timestamp()


@dataclass
class Pile:
    """One obedient charger: draws what it is allowed, speaks every ten seconds and on every change."""

    name: str
    phase: int
    plug: int = UNPLUGGED
    wh: float = 0.0
    allowed_ma: int = 0
    epoch: int = 0
    seq: int = 0
    said: tuple[int, int] = (-1, -1)
    deaf: bool = False
    """It takes no setpoint."""
    hidden_ma: int = 0
    """It draws so much more than it says."""
    fallback_ma: int = 0

    def state(self, now_ms: int) -> ChargerState:
        """Its telemetry."""
        ma = self.allowed_ma if self.plug == CHARGING else 0
        mas = (ma, 0, 0)
        lease_ms = 50_000 if self.allowed_ma else 0
        return ChargerState(
            self.name, 7, now_ms, self.epoch, self.seq, self.plug, mas, ma * 220 // 1000, int(self.wh),
            self.allowed_ma, lease_ms, self.fallback_ma, 32_000,
        )  # fmt: skip


@dataclass
class Load:
    """The transformer's meter: residents' load is set, the cars' comes on top."""

    piles: list[Pile]
    base_va: float = 20_000.0

    def read(self, now_ms: int) -> Meter:
        """What stands on the busbar."""
        ma = [round(self.base_va / 3.0 / 0.22)] * 3
        for pile in self.piles:
            if pile.plug == CHARGING:
                ma[pile.phase] += pile.allowed_ma
            ma[pile.phase] += pile.hidden_ma
        s_va = sum(ma) * 220 // 1000
        return Meter(
            now_ms, s_va, s_va * 95 // 100, s_va * 31 // 100, (ma[0], ma[1], ma[2]), (MV, MV, MV), None, now_ms, ""
        )

    def close(self) -> None:
        """Nothing to close."""


@dataclass
class Street:
    """A controller in memory with its chargers, second by second from a local time on."""

    text: str | None
    config: cfg.AreaConfig = field(default_factory=area)
    base_va: float = 20_000.0
    runner: Any = None
    memory: Memory = field(default_factory=Memory)
    now_ms: int = NOW_MS
    highest_permille: int = 0

    def __post_init__(self) -> None:
        self.piles = {c.id: Pile(c.id, c.phases // 2) for c in self.config.chargers}
        self.load = Load(list(self.piles.values()), self.base_va)
        self.air = Air()
        self.controller = Controller(self.config, self.load, self.air, Journal(None), self.runner, self.memory)
        self.wall_s = None if self.text is None else clock(self.text, self.config.timezone)

    def play(self, seconds: float) -> Street:
        """Let time pass."""
        for _ in range(round(seconds)):
            self._second()
        return self

    def until(self, text: str) -> Street:
        """Let time pass until a local time."""
        assert self.wall_s is not None
        return self.play(clock(text, self.config.timezone) - self.wall_s)

    def _second(self) -> None:
        self.now_ms += 1000
        self.wall_s = None if self.wall_s is None else self.wall_s + 1.0
        for pile in self.piles.values():
            if pile.plug in (WAITING, CHARGING):
                pile.plug = CHARGING if pile.allowed_ma else WAITING
                pile.wh += pile.allowed_ma * 0.22 / 3600.0
            if pile.said != (pile.plug, pile.allowed_ma) or self.now_ms % 10_000 == 0:
                pile.said = (pile.plug, pile.allowed_ma)
                self.air.up.append(pile.state(self.now_ms))
        self.highest_permille = max(self.highest_permille, self.load.read(self.now_ms).s_va * 1000 // 100_000)
        self.controller.tick(Moment(self.now_ms, self.wall_s))
        sent, self.air.down = self.air.down, []
        for setpoint in sent:
            pile = self.piles[setpoint.charger]
            if pile.deaf:
                continue
            pile.allowed_ma, pile.epoch, pile.seq = setpoint.ma, setpoint.epoch, setpoint.seq

    def come(self, name: str) -> Street:
        """A car is plugged in."""
        self.piles[name].plug, self.piles[name].wh = WAITING, 0.0
        return self

    def leave(self, name: str) -> Street:
        """A car drives off."""
        self.piles[name].plug, self.piles[name].allowed_ma = UNPLUGGED, 0
        return self

    def wish(self, name: str, depart: str = "2026-01-16 07:00", want_wh: int = 9000, **more: Any) -> Street:  # noqa: ANN401 - fields of a wish
        """A resident asks for something."""
        self.air.up.append(Wish(name, want_wh, round(clock(depart, self.config.timezone)), **more))
        return self

    def reason(self, name: str) -> int:
        """Why a charger has what it has."""
        reason: int = next(c.reason for c in self.controller.control.commands if c.id == name)
        return reason

    def starts(self, name: str, text: str) -> datetime | None:
        """When its car begins to charge, looked for until a local time."""
        end_s = clock(text, self.config.timezone)
        while self.wall_s is not None and self.wall_s < end_s:
            if self.piles[name].plug == CHARGING:
                return datetime.fromtimestamp(self.wall_s, ZoneInfo(self.config.timezone)).replace(tzinfo=None)
            self._second()
        return None


def at(text: str) -> datetime:
    """A local time."""
    return datetime.fromisoformat(text)


def evening(**more: Any) -> Street:  # noqa: ANN401 - fields of a street
    """A street that was started long enough before 22:30 to have its start-up, and the starts it spreads, behind it."""
    return Street("2026-01-15 22:15", **more).until("2026-01-15 22:30")
