"""The small area that fuzzed words and readings come to: 1000 kVA, 1500 A a phase, limit 80 %, a daring controller.

Daring means that it looks at nothing: it wishes chargers their full current in every tick. What keeps it within bounds
is the guard alone, and whatever the guard was made to believe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.core import guard, watch
from edge.core.model import FULL, Charger, Command, Meter, Place, Settings, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

RATED_VA, RATED_MA, LIMIT_PERMILLE = 1_000_000, 1_500_000, 800
LIMIT_VA, LIMIT_MA = 800_000, 1_200_000
"""80 % of the two above: written out, not computed."""
BEGUN_MS = 100_000
"""The guard, started at 0, has its authority: a lease has passed, with a reading in each of the last seconds."""


def settings(*, exports: bool = False) -> Settings:
    """The area's settings; margin, lease and samples are control's, who is not here."""
    return Settings(RATED_VA, RATED_MA, 15, 1000, 60_000, 5, exports)


def warm(reading: Callable[[int], Meter], row: Settings) -> watch.State:
    """A guard that has its authority at ``BEGUN_MS``, on what ``reading`` gives for a time in ms."""
    state = watch.start(0)
    for now_ms in range(BEGUN_MS - 5000, BEGUN_MS, 1000):
        state, _ = watch.look(state, Snapshot(reading(now_ms), LIMIT_PERMILLE, (), (), ()), row, now_ms)
    assert state.mode == watch.NORMAL
    return state


def decide(
    state: watch.State,
    reading: Meter | None,
    places: tuple[Place, ...],
    rows: tuple[Charger, ...],
    row: Settings,
    now_ms: int,
    only: int = -1,
) -> tuple[watch.State, tuple[Command, ...]]:
    """One tick of the guard below the daring controller, which wishes more to all, or to ``only`` one of them."""
    state, shown = watch.look(state, Snapshot(reading, LIMIT_PERMILLE, places, (), rows), row, now_ms)
    wishes = [32_000 if only in (-1, k) else c.set_ma for k, c in enumerate(rows)]
    commands = tuple(Command(c.id, ma, FULL, -1, True) for c, ma in zip(rows, wishes, strict=True))
    return state, guard.vet(state, shown, commands, row)
