"""Chargers without a lease: what they are told stands until they are told otherwise, so little is told to them.

Together they stay within what the site bears at the worst hour of the day: should the controller die now, their
currents stand through that hour too. The guard watches the present hour, for these as for every charger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.core.model import MIN_MA, OVERBOOKED, Command, binding

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from edge.core.model import Charger, Place


def within(
    commands: tuple[Command, ...],
    chargers: Sequence[Charger],
    places: Sequence[Place],
    unleased: Collection[str],
    budget_ma: Sequence[int],
) -> tuple[Command, ...]:
    """The commands with those for ``unleased`` chargers cut to what is left of the budget, by constraint in mA.

    Who has something keeps it before another gets more, and what may still stand on one is not given to another. Only
    ever lower; never a value between 0 and 6 A.
    """
    budget = [*budget_ma[:3], 1 << 60, *budget_ma[3:]]  # numbered as ``fold`` does: the fourth is the total
    told, stands = Room(budget), Room(budget)
    mine = [k for k, command in enumerate(commands) if command.id in unleased]
    bind = {k: binding(places[chargers[k].place], len(budget_ma) // 3 - 1) for k in mine}
    out, has = list(commands), {}
    for k in mine:
        stands.take(bind[k], chargers[k].possible_ma)
        has[k] = _allowed(min(commands[k].ma, chargers[k].possible_ma, told.left(bind[k])))
        told.take(bind[k], has[k])
    for k in mine:
        more = min(commands[k].ma - has[k], told.left(bind[k]), stands.left(bind[k]))
        ma = _allowed(has[k] + max(more, 0))
        told.take(bind[k], ma - has[k])
        stands.take(bind[k], ma - has[k])
        if ma < commands[k].ma:
            out[k] = Command(commands[k].id, ma, OVERBOOKED, -1, commands[k].renew)
    return tuple(out)


class Room:
    """What is left on each wire, mA."""

    def __init__(self, budget_ma: Sequence[int]) -> None:
        self._left_ma = list(budget_ma)

    def left(self, wires: Sequence[int]) -> int:
        """What one charger may have more on all of these."""
        return min(self._left_ma[i] for i in wires)

    def take(self, wires: Sequence[int], ma: int) -> None:
        """So much is taken on each of these."""
        for i in wires:
            self._left_ma[i] -= ma


def _allowed(ma: int) -> int:
    return ma if ma >= MIN_MA else 0
