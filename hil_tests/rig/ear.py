"""What a person is told of a night: the log of its controllers, and the key under which each line names something."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edge.core import obey
from edge.reasons import DOUBTS, OFFENCES
from hil_tests.rig.faults import possible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hil_tests.rig.faults import Fault, Strike
    from hil_tests.rig.invariants import Checker

PIECES = {
    **{key: max(text.split("{where}"), key=len) for key, text, _ in DOUBTS.values()},
    "deaf": OFFENCES[obey.DEAF][0],
    "draws": OFFENCES[obey.DRAWS][0],
    "lies": OFFENCES[obey.LIES][0],
    "meter": "bench: meter: ",
    "feeder_meter": "bench: feeder f meter: ",
    "broker": "bench: broker: ",
    "fallback": "A without us; fallback_a",
    "stranger": "not registered, not commanded",
    "dropped": "messages dropped: unreadable, or too many",
    "gap": "begins as after a start",
    "rival": "another controller commands this area",
    "load": "uncontrollable load",
    "export": "overload by export",
}
"""By key: the words of the line that names it."""
DRAW_A = 12.0
"""So much cars must draw in all for a meter to be held against them."""
FOLLOW_S, MORE_A = 15, 2.0
"""So long a charger may take to follow, and so much more it may draw by rounding, an eighth apart."""
ONCE = frozenset(("stranger",))
"""Said when it is first heard of, and not again."""


class Ear(logging.Handler):
    """Keeps which keys were said, and in which second."""

    def __init__(self, second: Callable[[], int]) -> None:
        super().__init__()
        self.second = second
        self.heard: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take one line in."""
        text = record.getMessage()
        self.heard += [(self.second(), key) for key, piece in PIECES.items() if piece in text]

    def first(self, keys: tuple[str, ...], since_s: int) -> int | None:
        """When one of them was said first since then; None: never."""
        return next((at for at, key in self.heard if key in keys and (at >= since_s or key in ONCE)), None)


@contextmanager
def listening(ear: Ear) -> Iterator[None]:
    """All the product says goes to this ear, and nowhere else."""
    log = logging.getLogger("taiqu")
    before = log.handlers, log.level, log.propagate
    log.handlers, log.propagate = [ear], False
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.handlers, _, log.propagate = before
        log.setLevel(before[1])


class Naming:
    """Is every fault that shows named, and how soon?

    It is owed where no other fault is in the way and it shows, as the catalogue says when it does, for as long as the
    catalogue gives.
    """

    def __init__(self, checker: Checker) -> None:
        self.checker = checker
        self.named_s: int | None = None
        """The longest that it took in this night."""
        self._shows_s: dict[Strike, int] = {}
        """For how many seconds in a row it has shown."""
        self._done: set[Strike] = set()

    def second(self) -> None:
        """One more second of all faults that have a name."""
        now_s = self.checker.world.second
        for strike in self.checker.world.strikes:
            if strike.fault.named and strike not in self._done and strike.start_s <= now_s:
                self._one(strike, now_s)

    def _one(self, strike: Strike, now_s: int) -> None:
        fault, world = strike.fault, self.checker.world
        said_s = world.ear.first(fault.named, strike.start_s)
        if said_s is not None:
            self._done.add(strike)
            self.named_s = max(said_s - strike.start_s, self.named_s or 0)
            self.checker.checked["N3"] += 1
            return
        slow_s = 3 * (world.config.meter.period_ms // 1000 - 1)
        shows_s = self._shows_s[strike] = self._shows_s.get(strike, 0) + 1 if self._shows(strike, now_s) else 0
        if fault.named_within_s and shows_s > fault.named_within_s + slow_s:
            self._done.add(strike)
            self.checker.expect("N3", False, f"{fault.id}: not named after {shows_s} s")

    def _shows(self, strike: Strike, now_s: int) -> bool:
        """Does it show in this second?"""
        world, fault = self.checker.world, strike.fault
        if now_s >= strike.end_s or not possible(fault, world.area):
            return False
        if any(self._in_the_way(one, fault) for one in world.strikes if one is not strike):
            return False
        if fault.shows == "draw":
            return float(world.plant.current_a[: world.area.count].sum()) >= DRAW_A
        judged = any(host.mode not in ("", "start-up") for host in world.hosts)
        return fault.shows != "told" or (judged and any(self._takes_more(k, now_s) for k in world.disobeys))

    def _in_the_way(self, one: Strike, fault: Fault) -> bool:
        """Is another fault there, or was there one of the same name? What comes and goes is said once a minute."""
        again = one.start_s <= self.checker.world.second and not set(one.fault.named).isdisjoint(fault.named)
        return again or self.checker.near(one)

    def _takes_more(self, k: int, now_s: int) -> bool:
        """Does this charger draw more than it was told, and has had the time to follow?"""
        since_s, told_ma = self.checker.told[k]
        most_a = max(told_ma, self.checker.fallback_ma) / 1000.0
        drawn_a = float(self.checker.world.plant.current_a[k])
        return now_s - since_s >= FOLLOW_S and drawn_a > most_a * 9 / 8 + MORE_A
