"""Begins, steps and ends the faults of one night."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hil_tests.rig import acts_site, acts_wire

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from hil_tests.rig.faults import Strike
    from hil_tests.rig.world import World

ACTS: dict[str, Callable[[World, Strike], Generator[None]]] = {**acts_wire.ACTS, **acts_site.ACTS}


class Nemesis:
    """Begins, steps and ends the strikes of one night."""

    def __init__(self, world: World, strikes: tuple[Strike, ...]) -> None:
        self.world = world
        self.strikes = strikes
        self.active: dict[Strike, Generator[None]] = {}
        self._waiting = list(strikes)

    def second(self, now_s: int) -> None:
        """What breaks, goes on and ends now, ``now_s`` seconds after the night began."""
        for strike in [one for one in self.active if one.end_s <= now_s]:
            self.active.pop(strike).close()
        for acting in self.active.values():
            next(acting)
        for strike in [one for one in self._waiting if one.start_s <= now_s]:
            self._waiting.remove(strike)
            self.active[strike] = ACTS[strike.fault.id](self.world, strike)
            next(self.active[strike])
