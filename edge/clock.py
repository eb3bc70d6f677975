"""Time, in one file: the machine's clock, and the bench's.

Monotonic time decides; wall time only chooses windows. Under the bench a tick happens when the bench grants it, and
both times come with the grant, so a night passes as fast as the wires carry it and the same seed gives the same night.
"""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

# Linux's boot-time clock goes on while the machine sleeps, so a suspended hour is seen as an hour.
_MONOTONIC = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def monotonic_ms() -> int:
    """Milliseconds of a clock that only goes forward, and goes on while the machine sleeps."""
    return time.clock_gettime_ns(_MONOTONIC) // 1_000_000


def awake_ms() -> int:
    """Milliseconds of a clock that only goes forward, and stands still while the machine sleeps."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000


class Pumped(Protocol):
    """A link that is served by the one thread of the controller."""

    lost_steps: int
    """Steps in which a marker or an announced message did not arrive."""

    @property
    def connected(self) -> bool:
        """Can messages come and go?"""
        ...

    def pump(self, until_ms: int) -> None:
        """Serve the wire until ``until_ms`` (real, monotonic)."""
        ...

    def drain(self, step: int, senders: list[str]) -> None:
        """Serve the wire until the end-of-step markers of ``step`` from all ``senders`` have arrived."""
        ...

    def mark(self, step: int) -> None:
        """Publish the own end-of-step marker."""
        ...

    def flush(self, within_ms: int) -> None:
        """Let what was published leave, and hear nothing more."""
        ...


@dataclass(frozen=True, slots=True)
class Moment:
    """When a tick happens: monotonic ms, and Unix seconds or None when the wall clock is not to be trusted."""

    now_ms: int
    wall_s: float | None
    gap: str = ""
    """Why nobody has decided for too long before this tick; empty when the tick before it was the last moment."""


class Clock(Protocol):
    """Says when the next tick is."""

    def wait(self, link: Pumped) -> Moment | None:
        """Serve the link until the next tick. None: the time is over, stop."""
        ...

    def done(self, link: Pumped) -> None:
        """The tick that ``wait`` opened is finished."""
        ...


HELLO_MS = 10_000
"""How long a bench's night waits for the broker before it begins without one."""
WALL_S_MIN = 1_735_689_600
"""2025-01-01: an earlier wall clock has not been set since the machine started."""
GAP_MS = 10_000
"""A cycle that took longer was no control: a meter is too old after as long."""
SLEEP_MS = 1000
"""So much more of the one clock than of the other is sleep and no drift."""


class RealClock:
    """A tick every ``period_ms`` of real time. A late tick is not made up for; a very late one says so in ``gap``.

    The clocks are arguments: two monotonic ones, of which ``awake`` stands still while the machine sleeps, and the wall
    clock in Unix seconds.
    """

    def __init__(
        self,
        period_ms: int,
        now: Callable[[], int] = monotonic_ms,
        awake: Callable[[], int] = awake_ms,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.period_ms = period_ms
        self._now, self._awake, self._wall = now, awake, wall
        self.next_ms = now()
        self._last: tuple[int, int] | None = None
        """What both monotonic clocks showed at the last tick."""
        self.stopped = False

    def wait(self, link: Pumped) -> Moment | None:
        """Serve the link until the next tick is due."""
        link.pump(0)  # a tick that took its whole second (a meter that hangs) must not starve the link
        while not self.stopped and self._now() < self.next_ms:
            link.pump(min(self.next_ms, self._now() + 200))
        if self.stopped:
            return None
        now_ms = self._now()
        self.next_ms = max(self.next_ms + self.period_ms, now_ms)
        wall_s = self._wall()
        return Moment(now_ms, wall_s if wall_s >= WALL_S_MIN else None, self._gap(now_ms))

    def _gap(self, now_ms: int) -> str:
        awake_now_ms = self._awake()
        last_ms, last_awake_ms = self._last or (now_ms, awake_now_ms)
        self._last = now_ms, awake_now_ms
        passed_ms = now_ms - last_ms
        slept_ms = passed_ms - (awake_now_ms - last_awake_ms)
        if slept_ms > SLEEP_MS:
            return f"the machine slept for {slept_ms / 1000:.0f} s"
        return f"a cycle took {passed_ms / 1000:.0f} s" if passed_ms > GAP_MS else ""

    def done(self, link: Pumped) -> None:
        """Nothing to report."""


class LockstepClock:
    """Ticks granted by a bench over a TCP socket, one JSON object a line.

    Bench to controller: ``{"step": k, "now_ms": …, "wall_s": …, "sync": ["…"]}``; controller to bench:
    ``{"step": k, "lost": n}`` with the steps in which something announced did not arrive, and step -1 at first, when it
    is connected and listens.
    ``sync`` names the bench's connections whose markers of step ``k`` must have arrived before the tick may look.
    """

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(None)
        self.lines = self.socket.makefile("r", encoding="ascii")
        self.step = -1
        self.stopped = False

    def wait(self, link: Pumped) -> Moment | None:
        """Wait for the grant, then for everything the bench has published before it."""
        if self.step < 0:
            end_ms = monotonic_ms() + HELLO_MS
            while not link.connected and monotonic_ms() < end_ms:
                link.pump(monotonic_ms() + 20)
            self.done(link)
        line = self.lines.readline()
        if not line or self.stopped:
            return None
        grant = json.loads(line)
        self.step = grant["step"]
        link.drain(self.step, grant["sync"])
        return Moment(grant["now_ms"], grant["wall_s"])

    def done(self, link: Pumped) -> None:
        """Mark the end of what was sent, then hand the step back."""
        link.mark(self.step)
        self.socket.sendall(b'{"step":%d,"lost":%d}\n' % (self.step, link.lost_steps))
