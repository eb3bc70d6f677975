"""The wires of the simulator: a broker, links that come and go, and messages that are lost, repeated, late or old.

Each controller has a port of its own; like the product's link it keeps the newest message of each topic, and a message
that cannot leave now does not leave later.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from drivers.chargers import taiqu
from edge.ports import ChargerState
from hil_tests.rig.chargers import state_text

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from edge.ports import Message, Setpoint

AREA = "bench"
STATE = tuple(one.name for one in fields(ChargerState))[1:]
"""What a charger says, in the order of ``state_text``."""
NOTICED_S = 20
"""After so long a half-open connection is noticed: a question after 10 s, given up after as long again."""


@dataclass(slots=True)
class Weather:
    """What happens to messages: shares lost and repeated, and how late they may come, s."""

    loss: float = 0.0
    twice: float = 0.0
    late: float = 0.0
    late_s: int = 0
    whom: frozenset[str] | None = None
    """Only to and from these chargers; None: all."""


@dataclass(slots=True)
class Air:
    """Everything between chargers and controllers. ``deliver(charger, payload)`` is what a charger hears."""

    rng: random.Random
    deliver: Callable[[str, bytes], None]
    now_s: int = 0
    broker: bool = True
    cut: set[str] = field(default_factory=set)
    """Chargers without a connection to the broker."""
    weather: list[Weather] = field(default_factory=list)
    ports: list[Port] = field(default_factory=list)
    told: list[tuple[int, Setpoint]] = field(default_factory=list)
    """Everything that was ever handed over, with when: what a replay can repeat."""
    _way: list[tuple[int, int, Port | None, Message | Setpoint]] = field(default_factory=list)
    _count: int = 0

    def up(self, message: Message) -> None:
        """A charger, or an app, speaks."""
        if isinstance(message, ChargerState):
            self.say(message.charger, "state", state_text(*(getattr(message, name) for name in STATE)))
        else:
            text = f'"want_wh":{message.want_wh},"depart_s":{message.depart_s},"mode":{int(message.orderly)}'
            self.say(message.charger, "wish", f'{{"v":1,{text}}}')

    def say(self, charger: str, kind: str, text: str) -> None:
        """This text on the wire: the product's driver reads it, or counts it as dropped."""
        if not self.broker or charger in self.cut:
            return
        try:
            message = taiqu.decode(AREA, f"taiqu/{AREA}/{charger}/up/{kind}", text.encode())
        except taiqu.DialectError:
            for port in self.ports:
                port.dropped += 1
            return
        assert message is not None
        for port in self.ports:
            self._send(port, message)

    def down(self, setpoint: Setpoint) -> None:
        """A setpoint on its way to its charger."""
        self._send(None, setpoint)

    def _send(self, port: Port | None, message: Message | Setpoint) -> None:
        for late_s in self._fates(message.charger):
            self._count += 1
            heapq.heappush(self._way, (self.now_s + late_s, self._count, port, message))

    def _fates(self, charger: str) -> list[int]:
        """How late each copy comes; empty when the message is lost."""
        fates, rng = [0], self.rng
        for one in self.weather:
            if one.whom is not None and charger not in one.whom:
                continue
            if one.loss and rng.random() < one.loss:
                return []
            if one.late and rng.random() < one.late:
                fates = [late_s + rng.randint(1, one.late_s) for late_s in fates]
            if one.twice and rng.random() < one.twice:
                fates.append(fates[0] + rng.randint(0, 30))
        return fates

    def bring(self, *, up: bool) -> None:
        """Deliver what is due, upwards to the controllers or downwards to the chargers."""
        kept = []
        while self._way and self._way[0][0] <= self.now_s:
            due = heapq.heappop(self._way)
            port, message = due[2], due[3]
            if (port is not None) != up:
                kept.append(due)
            elif port is not None:
                port.hear(message)  # type: ignore[arg-type]
            elif self.broker and message.charger not in self.cut:
                self.deliver(message.charger, taiqu.encode(message).encode())  # type: ignore[arg-type]
        for due in kept:
            heapq.heappush(self._way, due)


@dataclass(slots=True)
class Port:
    """A controller's connection."""

    air: Air
    linked: bool = True
    half_open_s: int | None = None
    """Since when the connection carries nothing although both ends think that it stands."""
    dropped: int = 0
    sent: list[Setpoint] = field(default_factory=list)
    """What has left in this tick."""
    stamps: dict[str, set[tuple[int, int]]] = field(default_factory=dict)
    """Every stamp (boot, tick) that a charger has been heard with."""
    heard: dict[str, tuple[int, ChargerState]] = field(default_factory=dict)
    """The newest word of each charger, and when it was taken."""
    inbox: dict[tuple[str, str], Message] = field(default_factory=dict)

    @property
    def connected(self) -> bool:
        """Does the broker answer, as far as this end knows?"""
        if self.half_open_s is not None and self.air.now_s - self.half_open_s < NOTICED_S:
            return True
        return self.air.broker and self.linked and self.half_open_s is None

    @property
    def trouble(self) -> str:
        """Why it is not connected."""
        return "" if self.connected else "broker: connection lost"

    def hear(self, message: Message) -> None:
        """A message has come, if it can."""
        if self.air.broker and self.linked and self.half_open_s is None:
            self.inbox[message.charger, type(message).__name__] = message

    def take(self) -> list[Message]:
        """Everything heard since the last call, by topic."""
        heard = [message for _, message in sorted(self.inbox.items(), key=lambda item: item[0])]
        self.inbox.clear()
        for message in heard:
            if isinstance(message, ChargerState):
                self.stamps.setdefault(message.charger, set()).add((message.boot, message.tick_ms))
                last = self.heard.get(message.charger)
                if last is None or last[1].boot != message.boot or last[1].tick_ms <= message.tick_ms:
                    self.heard[message.charger] = (self.air.now_s, message)
        return heard

    def send(self, setpoint: Setpoint) -> bool:
        """Now or not at all."""
        if not self.connected:
            return False
        self.sent.append(setpoint)
        if self.half_open_s is None:
            self.air.told.append((self.air.now_s, setpoint))
            self.air.down(setpoint)
        return True

    def close(self) -> None:
        """Nothing to close."""
