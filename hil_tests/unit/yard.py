"""A small area in one process for tests of the daemon's life: the real controller, chargers that run the real lease.

``Yard`` is the bench's clock and the link at once, so that ``edge.cycle.live`` can run on it: each ``wait`` lets one
second pass. The chargers have no fallback but 0 A, and their cars draw what they may.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge import config as cfg
from edge.clock import Moment
from edge.core import lease
from edge.core.model import CHARGING, WAITING, Meter
from edge.journal import Journal
from edge.loop import Controller
from edge.ports import ChargerState

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.clock import Pumped
    from edge.ports import Message, Setpoint

MV = 220_000
CAR_MA = 32_000
EVENING_S = 1_768_485_600.0
"""2026-01-15 22:00 in Shanghai, Unix seconds."""
BOOT_S = 70
"""By then the start-up minute is over and the first setpoints are out."""

TEXT = """
[area]
id = "yard"
rating_kva = 100
secondary_v = 380
[meter]
model = "eastron_sdm630"
tcp = "127.0.0.1:1"
[broker]
host = "127.0.0.1"
port = 1
[charging]
valley = []
"""


def area(chargers: int = 6, more: str = "") -> cfg.AreaConfig:
    """An area whose chargers could load it to about 85 % by themselves (6 of them), two on each phase."""
    rows = "".join(
        f'[[chargers]]\nid = "p{k}"\nphase = "{"ABC"[k % 3]}"\nmax_a = {CAR_MA // 1000}\n' for k in range(chargers)
    )
    return cfg.from_text(TEXT + more + rows, Path("area.toml"), ["eastron_sdm630"])


@dataclass
class Pile:
    """One charger with a car, on the product's own half of the lease."""

    name: str
    phase: int
    boot: int
    lease: lease.Lease
    said: tuple[int, ...] = ()
    wh: float = 0.0

    def allowed_ma(self, now_ms: int) -> int:
        """What its car may draw, and does."""
        return lease.allowed_ma(self.lease, 0, now_ms)

    def obey(self, setpoint: Setpoint, now_ms: int) -> None:
        """As a charger does."""
        s = setpoint
        told = lease.Setpoint(s.epoch, s.seq, s.boot, s.tick_ms, s.ma, s.lease_ms)
        self.lease, _ = lease.accept(self.lease, told, 0, CAR_MA, now_ms)

    def state(self, now_ms: int) -> ChargerState:
        """Its telemetry."""
        ma = self.allowed_ma(now_ms)
        left_ms = max(self.lease.ends_ms - now_ms, 0)
        return ChargerState(
            self.name, self.boot, now_ms, self.lease.epoch, self.lease.seq, CHARGING if ma else WAITING, (ma, 0, 0),
            ma * 220 // 1000, int(self.wh), ma, left_ms, 0, CAR_MA,
        )  # fmt: skip


@dataclass
class Yard:
    """The area: ``play`` lets seconds pass, ``hook`` is called before each tick with the second."""

    config: cfg.AreaConfig = field(default_factory=area)
    base_a: float = 30.0
    now_ms: int = 1_000_000
    wall: Callable[[int], float | None] = lambda second: EVENING_S + second
    """The wall clock by second."""
    journal: Journal = field(default_factory=lambda: Journal(None))
    stored_epoch: int = 0
    hook: Callable[[int], None] = lambda _second: None
    seconds: int = 1 << 30
    """Told to stop after so many."""
    up: list[Message] = field(default_factory=list)
    sent: list[tuple[int, Setpoint]] = field(default_factory=list)
    """Every setpoint that left, with its second."""
    connected: bool = True
    trouble: str = ""
    dropped: int = 0
    lost_steps: int = 0
    gap: str = ""
    second: int = 0
    stopped: bool = False

    def __post_init__(self) -> None:
        self.piles = {
            c.id: Pile(c.id, c.phases // 2, 7 + k, lease.start(7 + k)) for k, c in enumerate(self.config.chargers)
        }
        self.controller = Controller(
            self.config, self, self, self.journal, stored_epoch=self.stored_epoch  # the yard is meter and link
        )  # fmt: skip

    def play(self, seconds: int) -> Yard:
        """Let seconds pass without the daemon's own loop."""
        for _ in range(seconds):
            moment = self._pass()
            self.controller.tick(moment)
        return self

    def _pass(self) -> Moment:
        self.second += 1
        self.now_ms += 1000
        for pile in self.piles.values():
            ma = pile.allowed_ma(self.now_ms)
            pile.wh += ma * 0.22 / 3600.0
            said = (ma, pile.lease.seq)
            if said != pile.said or self.second % 10 == 0:
                pile.said = said
                self.up.append(pile.state(self.now_ms))
        self.hook(self.second)
        gap, self.gap = self.gap, ""
        return Moment(self.now_ms, self.wall(self.second), gap)

    def allowed_ma(self) -> dict[str, int]:
        """What each car may draw now."""
        return {name: pile.allowed_ma(self.now_ms) for name, pile in self.piles.items()}

    def trace(self) -> list[tuple[int, str, int]]:
        """(second, charger, mA) of every setpoint."""
        return [(second, setpoint.charger, setpoint.ma) for second, setpoint in self.sent]

    # ------------------------------------------------------------------------------------------- what a meter is asked
    def read(self, now_ms: int) -> Meter:
        """What stands on the busbar."""
        ma = [round(self.base_a * 1000)] * 3
        for pile in self.piles.values():
            ma[pile.phase] += pile.allowed_ma(self.now_ms)
        s_va = sum(ma) * 220 // 1000
        p_w, q_var = s_va * 97 // 100, s_va * 24 // 100
        return Meter(now_ms, s_va, p_w, q_var, (ma[0], ma[1], ma[2]), (MV, MV, MV), None, self.second, "")

    # -------------------------------------------------------------------------------------------- what a link is asked
    def take(self) -> list[Message]:
        """What the chargers have said."""
        heard, self.up = self.up, []
        return heard

    def send(self, setpoint: Setpoint) -> bool:
        """It arrives at once."""
        if not self.connected:
            return False
        self.sent.append((self.second, setpoint))
        self.piles[setpoint.charger].obey(setpoint, self.now_ms)
        return True

    def pump(self, until_ms: int) -> None:
        """Nothing to serve."""

    def drain(self, step: int, senders: list[str]) -> None:
        """Nothing to wait for."""

    def mark(self, step: int) -> None:
        """Nobody counts."""

    def flush(self, within_ms: int) -> None:
        """Everything has left."""

    def close(self) -> None:
        """Nothing to close."""

    # ------------------------------------------------------------------------------------------- what a clock is asked
    def wait(self, link: Pumped) -> Moment | None:
        """One second later; None when told to stop."""
        link.pump(0)
        return None if self.stopped or self.second >= self.seconds else self._pass()

    def done(self, link: Pumped) -> None:
        """The tick is over."""
        assert link is self


def raises(error: Exception) -> Callable[..., Any]:
    """Something that fails whenever it is called."""

    def fail(*_: object, **__: object) -> Any:  # noqa: ANN401 - never returns
        raise error

    return fail
