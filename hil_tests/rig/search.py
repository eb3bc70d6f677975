"""Every reachable state of the lease protocol, for few chargers and one or two controllers: is a current spent twice?

A controller is the most daring one that keeps its ledger: it raises whenever what is possible leaves room. Controllers
start anew, and then know nothing; epochs are those of ``edge.fleet``.

With several chargers there is current for one, and the sum of what they allow is looked at. With one charger the
question is whether a ledger is ever too small: whether the charger allows more than a controller believes possible that
is the newest it knows, or allows anything after that one gave its current to others, which it may do once nothing is
possible. Until then it may be raised at any time, so this answer holds for any number of chargers: a raise needs room
beside what is possible for all, the newest controller that ever raised has counted all, and newer ones have lowered.

Rows, a charger each, are numbered, and what may happen to one is found out once.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from edge import fleet
from edge.core import ledger
from hil_tests.rig.protocol import (
    FULL_MA,
    LEASE_MS,
    Book,
    Pile,
    Row,
    Rules,
    Said,
    events,
    older,
    possible_ma,
    put,
    small,
    standing,
    wrong,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BOOT_MS = ledger.lease_end_ms(0, LEASE_MS)
"""A controller that starts waits so long before it begins."""


class Head(NamedTuple):
    """A controller, its books aside."""

    waited: int
    """Ticks since it started."""
    starts: int = 0
    given: bool = False
    """One charger only: its current was given to others, and is not asked back."""


class World(NamedTuple):
    """Everything there is at one moment; rows by number."""

    heads: tuple[Head, ...]
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has seen. ``complete``: every reachable state; else the bound ended it."""

    states: int
    complete: bool
    depth: int
    """All states at most so many events away from the start were seen."""
    trace: list[str] | None
    """How more than there is came to be allowed; None when nowhere. Chargers are numbered anew at each event."""


@dataclass(slots=True)
class Search:
    """One search: rows by number, and what was found out about them."""

    rules: Rules
    rows: list[Row] = field(default_factory=list)
    numbers: dict[Row, int] = field(default_factory=dict)
    after: dict[int, list[tuple[str, int, int, int]]] = field(default_factory=dict)
    """By row: what may happen to it."""
    later: dict[int, int] = field(default_factory=dict)
    """By row: the row after a tick."""
    possible: list[tuple[int, ...]] = field(default_factory=list)
    """By row: what each controller believes possible."""
    lost: list[list[int]] = field(default_factory=list)
    """By row: the controllers whose charger obeys a newer one."""

    def run(self, most: int = 10_000_000) -> Found:
        """Look at every reachable state, nearest first; stop at the first that is broken, or after ``most``."""
        first = self.start()
        came: dict[World, tuple[World, str] | None] = {first: None}
        queue, depth, last = deque([first]), 0, first
        while queue:
            world = queue.popleft()
            for name, new in self.steps(world):
                if new in came:
                    continue
                came[new] = (world, name)
                if self.broken(new):
                    return Found(len(came), False, depth, _trace(came, new))
                queue.append(new)
                if len(came) >= most:
                    return Found(len(came), False, depth, None)
            if world is last and queue:
                depth, last = depth + 1, queue[-1]
        return Found(len(came), True, depth, None)

    def start(self) -> World:
        """Chargers that have just been switched on, and controllers that have waited long enough and know nothing."""
        rules, nothing = self.rules, (Book(),) * self.rules.controllers
        rows = [Row(Pile(), frozenset(), frozenset(), nothing)] * rules.chargers
        if rules.running:
            epoch = fleet.next_epoch(0, 1)
            for k, ma in enumerate([FULL_MA, *[0] * (rules.chargers - 1)]):
                pile = standing(Pile(1, epoch, 2, ma, LEASE_MS))
                book = Book(epoch, Said(1, 0, *pile[1:]), 0, ma, 2)
                rows[k] = Row(pile, frozenset(), frozenset(), (book, *nothing[1:]))
        return World((Head(rules.ticks(BOOT_MS)),) * rules.controllers, _alike(map(self.number, rows)))

    def broken(self, world: World) -> bool:
        """Is more allowed than there is, or than is believed possible, or than was given away?"""
        rows = [self.rows[at] for at in world.rows]
        if len(rows) > 1:
            return sum(row.pile.ma for row in rows) > FULL_MA
        given = [book.epoch for book, head in zip(rows[0].books, world.heads, strict=True) if head.given]
        return wrong(rows[0], self.rules) or (rows[0].pile.ma > 0 and max(given, default=0) >= rows[0].pile.epoch)

    def number(self, row: Row) -> int:
        """The number of a row, one for all that are alike."""
        row = small(row, self.rules)
        at = self.numbers.setdefault(row, len(self.rows))
        if at == len(self.rows):
            self.rows.append(row)
            self.possible.append(tuple(possible_ma(book, self.rules) for book in row.books))
            newest = row.pile.epoch if self.rules.trusting else 0
            self.lost.append([c for c, book in enumerate(row.books) if 0 < book.epoch < newest])
        return at

    def steps(self, world: World) -> Iterator[tuple[str, World]]:
        """Everything that may happen next, with its name."""
        heads, rows = world
        waits = self.rules.ticks(BOOT_MS)
        older_heads = tuple(head._replace(waited=min(head.waited + 1, waits)) for head in heads)
        yield "tick", World(older_heads, _alike(map(self._later, rows)))
        for k, at in enumerate(rows):
            if at in rows[:k]:
                continue
            others = rows[:k] + rows[k + 1 :]
            for name, new, mute, needs in self._after(at):
                if needs >= 0 and (heads[needs].given or any(self.possible[other][needs] for other in others)):
                    continue
                # Who has lost all chargers to a newer one can do no more than hear of it.
                lost = [c for c in self.lost[new] if all(c in self.lost[other] for other in others)]
                after = World(heads, _alike((new, *others)))
                for c in [mute] if mute >= 0 else lost[:1]:
                    after = self._with_books(after, c, Book(-1))
                yield f"{k} {name}", after
        for c, head in enumerate(heads):
            yield from self._controller_steps(world, c, head)

    def _controller_steps(self, world: World, c: int, head: Head) -> Iterator[tuple[str, World]]:
        heads, rows = world
        books = [self.rows[at].books[c] for at in rows]
        if books[0].epoch == 0 and head.waited >= self.rules.ticks(BOOT_MS):
            newest = max(0 if book.said is None else book.said.epoch for book in books)
            number = 0 if self.rules.twins else 1 + c + head.starts * len(heads)
            epoch = fleet.next_epoch(newest, number)
            begun = [
                self.number(self.rows[at]._replace(books=put(self.rows[at].books, c, book._replace(epoch=epoch))))
                for at, book in zip(rows, books, strict=True)
            ]
            yield f"C{c} begins", World(heads, _alike(begun))
        if head.starts < self.rules.restarts:
            anew = self._with_books(world, c, Book())
            yield f"C{c} starts anew", anew._replace(heads=put(heads, c, Head(0, head.starts + 1)))
        if len(rows) == 1 and books[0].epoch > 0 and not head.given and not self.possible[rows[0]][c]:
            yield f"C{c} gives its current away", World(put(heads, c, head._replace(given=True)), rows)

    def _with_books(self, world: World, c: int, book: Book) -> World:
        """Controller c forgets all it knows."""
        new = [self.number(self.rows[at]._replace(books=put(self.rows[at].books, c, book))) for at in world.rows]
        head = Head(self.rules.ticks(BOOT_MS), world.heads[c].starts)
        return World(put(world.heads, c, head), _alike(new))

    def _after(self, at: int) -> list[tuple[str, int, int, int]]:
        found = self.after.get(at)
        if found is None:
            ways = [(name, self.number(row), *who) for name, row, who in events(self.rows[at], self.rules)]
            found = self.after[at] = [way for way in ways if way[1] != at or way[2] >= 0]
        return found

    def _later(self, at: int) -> int:
        found = self.later.get(at)
        if found is None:
            found = self.later[at] = self.number(older(self.rows[at], self.rules))
        return found


def _alike(rows: Iterable[int]) -> tuple[int, ...]:
    """Chargers are alike: their order does not matter."""
    return tuple(sorted(rows))


def _trace(came: dict[World, tuple[World, str] | None], world: World) -> list[str]:
    names = []
    at = came[world]
    while at is not None:
        names.append(at[1])
        at = came[at[0]]
    return names[::-1]


def search(rules: Rules, most: int = 10_000_000) -> Found:
    """Look at every reachable state, or the nearest ``most``."""
    return Search(rules).run(most)
