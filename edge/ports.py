"""The doors of the controller: what it hears, what it says, and what must stand behind each door."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from edge.core.model import Meter


EPOCH_END = 1 << 48
"""Epochs end below: 65,536 times 65,536 restarts. What is greater is no epoch, and no charger is ever told one."""


@dataclass(frozen=True, slots=True)
class ChargerState:
    """One telemetry message of a charger (``up/state``). Currents in mA, times on the charger's own clock."""

    charger: str
    boot: int
    tick_ms: int
    epoch: int
    seq: int
    plug: int
    ma: tuple[int, int, int]
    w: int
    wh: int
    """Energy of the present charge session, Wh."""
    allowed_ma: int
    lease_ms: int
    """What is left of the lease, ms; 0 when the charger stands at its fallback."""
    fallback_ma: int
    max_ma: int
    slots: int = 1
    """It takes what it takes by itself in one of so many turns; 1: at all times."""
    late_ma: int = 0
    """The late fallback that it keeps, before or during its time; 0: none."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a resident asks for (``up/wish``): energy in Wh and departure in Unix seconds. It outranks no limit."""

    charger: str
    want_wh: int | None = None
    """None: the area's default."""
    depart_s: int | None = None
    """None: the area's default hour."""
    orderly: bool = True
    """False: normal mode, charged as soon as there is room, without waiting for the valley."""
    now: bool = False
    """Charge now (立即充电): before all others, within the limit, as often a month as the area allows."""
    prio: int = 0
    """-9..9; each step is worth an hour."""


@dataclass(frozen=True, slots=True)
class Setpoint:
    """What a charger is told (``dn/set``): a current in mA with a lease that counts from the echoed stamp."""

    charger: str
    epoch: int
    seq: int
    boot: int
    tick_ms: int
    ma: int
    lease_ms: int
    late_ma: int = 0
    """A late fallback: after the lease nothing, from ``late_after_s`` on this current, from ``late_until_s`` on the
    static fallback, s from the echoed stamp. 0 and 0: none, and none is kept."""
    late_after_s: int = 0
    late_until_s: int = 0


Message = ChargerState | Wish


class MeterError(Exception):
    """The meter gave no usable reading; the text says what, where and what to do next."""


class MeterPort(Protocol):
    """Reads the transformer's meter."""

    def read(self, now_ms: int) -> Meter:
        """Give one reading, asked for at ``now_ms``. Raises MeterError; blocks at most its own time-out."""
        ...

    def close(self) -> None:
        """Let the wire go."""
        ...


class ChargerPort(Protocol):
    """Hears chargers and speaks to them."""

    @property
    def connected(self) -> bool:
        """Does the broker answer and are the topics subscribed?"""
        ...

    @property
    def trouble(self) -> str:
        """Why it is not connected, in one line; empty when it is."""
        ...

    @property
    def dropped(self) -> int:
        """How many messages could not be read or found no place, since the start."""
        ...

    def take(self) -> list[Message]:
        """Everything heard since the last call, in an order that does not depend on the broker."""
        ...

    def send(self, setpoint: Setpoint) -> bool:
        """Send now or not at all: False when it could not be handed to the broker."""
        ...

    def close(self) -> None:
        """Say goodbye."""
        ...
