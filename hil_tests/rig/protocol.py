"""The lease protocol as a model: one charger, what is on its way from it and to it, and what controllers know of it.

The charger's half is the product's ``edge.core.lease``, the controllers' ledger its ``edge.core.ledger``; the rest is
as in ``edge.fleet``. The network loses, repeats, reorders and delays; chargers start anew. Time goes in ticks, and
within a tick anything may happen in any order. ``hil_tests.rig.search`` looks at every state there is.

States are made small without losing any: times count from the present, sequence numbers keep only their order, and what
can do nothing any more is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from edge.core import lease, ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

LEASE_MS = 60_000
FULL_MA = 32_000
NOW_MS = 10_000_000
SILENT_MS = 45_000
KEPT_MS = 60_000
"""Telemetry older than this is forgotten: what it says of the lease is over. So is a raise whose echo is too old: it
can only repeat what the charger has. Where the lease counts from receipt, it is dangerous at any age."""


class Pile(NamedTuple):
    """A charger, whose fallback is 0: its lease, with ``ends_ms`` counted from ``NOW_MS`` on its own clock."""

    boot: int = 1
    epoch: int = 0
    seq: int = 0
    ma: int = 0
    left_ms: int = 0


class Said(NamedTuple):
    """Telemetry on its way, or as a controller last heard it; ``age`` in ticks since it was stamped."""

    boot: int
    age: int
    epoch: int
    seq: int
    allowed_ma: int
    left_ms: int


class Told(NamedTuple):
    """A setpoint on its way. A lowering is told like a fence: without a lease, so that its echo does not matter."""

    boot: int
    age: int
    epoch: int
    seq: int
    ma: int


class Book(NamedTuple):
    """What a controller knows of one charger. ``epoch`` is the controller's; 0: not begun, -1: fallen silent."""

    epoch: int = 0
    said: Said | None = None
    heard: int = 0
    """Ticks since it was heard."""
    set_ma: int = 0
    seq: int = 0
    sent: tuple[tuple[int, int, int], ...] = ()
    """Raises that may take effect: epoch, sequence number, ms until their lease must have ended."""


class Row(NamedTuple):
    """One charger, what is on its way from it and to it, and what each controller knows of it."""

    pile: Pile
    up: frozenset[Said]
    down: frozenset[Told]
    books: tuple[Book, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """What is searched: how many take part, how much is on its way, and which rule is broken on purpose."""

    chargers: int = 1
    controllers: int = 1
    up: int = 1
    down: int = 1
    """So many messages of a charger, and to it, may be on their way at once: two can overtake each other."""
    reboots: int = 0
    """So many times each charger may start anew."""
    restarts: int = 0
    """So many times each controller may start anew; one that has fallen silent comes back only so."""
    clock_permille: int = 1000
    """How fast the chargers' clocks run."""
    tick_ms: int = 30_000
    trusting: bool = True
    """Is forgotten what a charger refuses, and who can say no more, as ``edge.core.lease`` promises? Not where that is
    broken on purpose."""
    running: bool = False
    """Does it begin with the first controller in command, of all chargers, one of which has the current?"""
    from_receipt: bool = False
    """Broken on purpose: the lease counts from when a setpoint arrives."""
    unfenced: bool = False
    """Broken on purpose: a controller believes and commands who has not echoed its epoch."""
    twins: bool = False
    """Broken on purpose: controllers have no numbers of their own, so two can begin with the same epoch."""
    forgets: bool = False
    """Broken on purpose: a charger that starts anew has forgotten the newest epoch it saw."""

    def ticks(self, ms: int) -> int:
        """So many ticks are at least so long."""
        return -(-ms // self.tick_ms)

    def charger_ms(self, ticks: int) -> int:
        """How long so many ticks are on a charger's clock."""
        return ticks * self.tick_ms * self.clock_permille // 1000


def lease_of(pile: Pile) -> lease.Lease:
    """The lease of the product."""
    return lease.Lease(pile.boot, pile.epoch, pile.seq, pile.ma, NOW_MS + pile.left_ms)


@cache
def possible_ma(book: Book, rules: Rules) -> int:
    """The most a charger may draw, by the product's ledger and what a controller knows."""
    said = book.said
    if not rules.unfenced and (said is None or said.epoch != book.epoch):
        return FULL_MA
    sent = tuple(ledger.Sent(epoch, seq, FULL_MA, NOW_MS + ends_ms) for epoch, seq, ends_ms in book.sent)
    if said is None:
        return ledger.possible_ma(sent, False, True, 0, 0, 0, 0, NOW_MS)
    silent = book.heard * rules.tick_ms >= SILENT_MS
    return ledger.possible_ma(sent, True, silent, said.allowed_ma, _until_ms(book, rules), 0, 0, NOW_MS)


def _until_ms(book: Book, rules: Rules) -> int:
    """Until when the lease can hold of which a charger last spoke."""
    if book.said is None or book.said.left_ms == 0:
        return 0
    return ledger.lease_end_ms(NOW_MS - book.heard * rules.tick_ms, book.said.left_ms)


def wrong(row: Row, rules: Rules) -> bool:
    """Does the charger allow more than a controller believes possible, and obeys no newer one?"""
    return any(book.epoch >= max(row.pile.epoch, 1) and possible_ma(book, rules) < row.pile.ma for book in row.books)


Event = tuple[str, Row, tuple[int, int]]
"""What may happen to a row: its name, the row after, who falls silent by it and who needs room for it (-1: nobody)."""
NOBODY = (-1, -1)


def events(row: Row, rules: Rules) -> Iterator[Event]:
    """Everything that may happen to a row but the passing of time."""
    pile = row.pile
    said = Said(pile.boot, 0, pile.epoch, pile.seq, pile.ma, pile.left_ms)
    for up in _with(row.up, said, rules.up):
        yield "speaks", row._replace(up=up), NOBODY
    for told in row.down:
        yield f"hears {told}", row._replace(pile=_obey(pile, told, rules)), NOBODY
    if pile.boot <= rules.reboots:
        yield "starts anew", row._replace(pile=Pile(pile.boot + 1, 0 if rules.forgets else pile.epoch)), NOBODY
    for c, book in enumerate(row.books):
        if book.epoch < 0:
            continue
        for said in row.up:
            foreign = book.epoch > 0 and (said.epoch, said.seq) > (book.epoch, book.seq)
            new = row._replace(books=put(row.books, c, _listen(book, said, rules)))
            yield f"is heard by C{c}: {said}", new, (c if foreign else -1, -1)
        if book.epoch:
            yield from _sends(row, c, rules)


def _obey(pile: Pile, told: Told, rules: Rules) -> Pile:
    lease_ms = LEASE_MS if told.ma else 0
    setpoint = lease.Setpoint(told.epoch, told.seq, told.boot, NOW_MS - rules.charger_ms(told.age), told.ma, lease_ms)
    if rules.from_receipt:
        setpoint = setpoint._replace(boot=pile.boot, tick_ms=NOW_MS)
    new, _ = lease.accept(lease_of(pile), setpoint, 0, FULL_MA, NOW_MS)
    return standing(pile._replace(epoch=new.epoch, seq=new.seq, ma=new.ma, left_ms=new.ends_ms - NOW_MS))


def standing(pile: Pile) -> Pile:
    """The same charger; a lease that is over, or one of no current, is none."""
    return pile if pile.ma and pile.left_ms > 0 else pile._replace(ma=0, left_ms=0)


def _listen(book: Book, said: Said, rules: Rules) -> Book:
    """As ``edge.fleet`` takes telemetry in: what is overtaken is dropped, a new run keeps the old one's lease."""
    known = book.said
    if known is not None and said.boot == known.boot and _stamp(said) <= _stamp(known):
        return book
    if not book.epoch and known is not None and said.epoch <= known.epoch:
        return book
    sent = book.sent
    if known is not None and said.boot != known.boot and known.left_ms > 0:
        ends_ms = ledger.lease_end_ms(-book.heard * rules.tick_ms, known.left_ms)
        sent = ((known.epoch, known.seq, ends_ms), *sent)
    sent = tuple(s for s in sent if s[2] > 0 and s[:2] > (said.epoch, said.seq))
    return book._replace(said=said, heard=0, sent=sent)


def _stamp(said: Said) -> tuple[int, int, int]:
    return -said.age, said.epoch, said.seq


def _sends(row: Row, c: int, rules: Rules) -> Iterator[Event]:
    """A fence for who has not echoed the epoch; a lowering, a renewal or a raise for who has."""
    book = row.books[c]
    said = book.said
    fenced = said is not None and (rules.unfenced or said.epoch == book.epoch)
    lower = Told(0, 0, book.epoch, book.seq + 1, 0)
    if lower._replace(seq=book.seq) not in row.down and not (fenced and possible_ma(book, rules) == 0):
        yield from _send(row, c, lower, -1, rules)
    if said is None or not fenced:
        return
    # More than may flow already is a raise, also when it was told before: its lease may be over.
    holds = book.set_ma == FULL_MA and possible_ma(book, rules) >= FULL_MA
    if said.age <= rules.ticks(lease.ECHO_AGE_MS_MAX) and (holds or book.heard * rules.tick_ms < SILENT_MS):
        told = Told(said.boot, said.age, book.epoch, book.seq + 1, FULL_MA)
        yield from _send(row, c, told, -1 if holds else c, rules)


def _send(row: Row, c: int, told: Told, raiser: int, rules: Rules) -> Iterator[Event]:
    """As ``edge.fleet`` remembers what it sends: a newer raise ends later than an older one and is disproved later."""
    book = row.books[c]
    sent = ((told.epoch, told.seq, ledger.lease_end_ms(0, LEASE_MS)),) if told.ma else book.sent
    books = put(row.books, c, book._replace(set_ma=told.ma, seq=told.seq, sent=sent))
    for down in _with(row.down, told, rules.down):
        yield f"is sent by C{c}: {told}", row._replace(books=books, down=down), (-1, raiser)


def older(row: Row, rules: Rules) -> Row:
    """The row after a tick."""
    kept = rules.ticks(KEPT_MS)
    kept_told = 2 * kept if rules.from_receipt else rules.ticks(lease.ECHO_AGE_MS_MAX)
    pile = row.pile
    return Row(
        standing(pile._replace(left_ms=pile.left_ms - rules.charger_ms(1))),
        frozenset(m._replace(age=m.age + 1) for m in row.up if m.age < kept),
        frozenset(m._replace(age=m.age + 1) if m.ma else m for m in row.down if not m.ma or m.age < kept_told),
        tuple(_older(book, rules) for book in row.books),
    )


def _older(book: Book, rules: Rules) -> Book:
    said = None if book.said is None else book.said._replace(age=min(book.said.age + 1, rules.ticks(KEPT_MS)))
    sent = tuple((epoch, seq, ends_ms - rules.tick_ms) for epoch, seq, ends_ms in book.sent if ends_ms > rules.tick_ms)
    return book._replace(said=said, heard=0 if said is None else book.heard + 1, sent=sent)


def small(row: Row, rules: Rules) -> Row:
    """The same row without what can do nothing any more, and with sequence numbers that keep only their order."""
    pile, up, down = row.pile, row.up, row.down
    newest = pile.epoch if rules.trusting else 0
    books = tuple([_lost(b, rules) if 0 < b.epoch < newest else _small_book(b, rules) for b in row.books])
    last = pile.boot > rules.reboots  # nothing brings the turn of an overtaken message again
    if rules.trusting:
        down = frozenset(m for m in down if (m.epoch, m.seq if last else pile.seq + 1) > (pile.epoch, pile.seq))
    if last and not rules.restarts:
        up = frozenset(m for m in up if any(_news(book, m, up, rules) for book in books if book.epoch >= 0))
    pairs = {pile[1:3], *[m[2:4] for m in up], *[m[2:4] for m in down]}
    for book in books:
        pairs.add((book.epoch, book.seq))
        pairs.update([s[:2] for s in book.sent])
        if book.said is not None:
            pairs.add(book.said[2:4])
    if all(seq < 2 or (epoch, seq - 1) in pairs for epoch, seq in pairs):
        return Row(pile, up, down, books)
    rank: dict[tuple[int, int], int] = {}
    newest = at = 0
    for epoch, seq in sorted(pairs):
        at = min(seq, at + 1 if epoch == newest else 1)
        rank[epoch, seq] = at
        newest = epoch
    return Row(
        pile._replace(seq=rank[pile[1:3]]),
        frozenset(m._replace(seq=rank[m[2:4]]) for m in up),
        frozenset(m._replace(seq=rank[m[2:4]]) for m in down),
        tuple(
            book._replace(
                said=None if book.said is None else book.said._replace(seq=rank[book.said[2:4]]),
                seq=rank[book.epoch, book.seq],
                sent=tuple((*s[:1], rank[s[:2]], s[2]) for s in book.sent),
            )
            for book in books
        ),
    )


@cache
def _small_book(book: Book, rules: Rules) -> Book:
    """The same book without what no decision rests on."""
    said = book.said
    if said is None or rules.unfenced:
        return book
    if not book.epoch:
        # Who has not begun remembers the newest epoch, and nothing else of it will count.
        return Book(0, Said(0, 0, said.epoch, 0, 0, 0)) if said.epoch else Book()
    if said.epoch != book.epoch and not book.sent:
        return Book(book.epoch, seq=book.seq)
    silent = rules.ticks(SILENT_MS)
    if book.heard >= silent and _until_ms(book, rules) <= NOW_MS:
        book = book._replace(heard=silent, said=said._replace(allowed_ma=0, left_ms=0))
    # A setpoint whose lease is over is history, and to be at 0 is told.
    return book if possible_ma(book, rules) else book._replace(set_ma=0)


def _lost(book: Book, rules: Rules) -> Book:
    """What a controller knows of a charger that obeys a newer one. It may believe it idle: that is more daring."""
    if rules.chargers == 1:
        return Book(-1)
    return Book(book.epoch, Said(0, 0, book.epoch, 0, 0, 0), rules.ticks(SILENT_MS), seq=book.seq)


def _news(book: Book, message: Said, up: frozenset[Said], rules: Rules) -> bool:
    """May telemetry on its way still tell a controller something?"""
    said = book.said
    if rules.unfenced:
        return True
    if said is None:
        return message.epoch >= max(book.epoch, 1)
    if not book.epoch:
        return message.epoch > said.epoch
    return any(m.boot != said.boot for m in up) or _stamp(message) > _stamp(said)


def _with(row: frozenset[T], message: T, most: int) -> Iterator[frozenset[T]]:
    """A message more on its way; where there are too many, any one of them is lost."""
    if len(row) < most:
        yield row | {message}
    elif message not in row:
        for lost in row:
            yield (row - {lost}) | {message}


def put(row: tuple[T, ...], k: int, value: T) -> tuple[T, ...]:
    """The same with another value at place ``k``."""
    return (*row[:k], value, *row[k + 1 :])
