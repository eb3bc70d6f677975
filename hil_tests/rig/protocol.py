"""Every reachable state of the lease protocol, for a charger or two: is a current ever spent twice?

The charger's half is the product's ``edge.core.lease``, the controller's bookkeeping its ``edge.core.ledger``; between
them is a network that loses, repeats, reorders and delays, and chargers start anew. Time goes in ticks; within a tick
anything may happen in any order.

With one charger the question is whether the ledger is ever too small: whether a charger allows more than is believed
possible, and whether it allows anything after its current was given to others, which may be done once nothing is
possible. Until then it may be raised at any time, so the answer holds for any number of chargers: a raise needs room
beside what is possible for all. With two chargers and current for one the sum itself is looked at, under the most
daring controller that keeps its ledger.

States are made small without losing any: times count from the present, sequence numbers keep only their order, and a
message that can do nothing any more is forgotten.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from edge.core import lease, ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

LEASE_MS = 60_000
FULL_MA = 32_000
NOW_MS = 10_000_000
EPOCH = 1
SILENT_MS = 45_000
BOOT_MS = ledger.lease_end_ms(0, LEASE_MS)
"""A controller that starts waits so long before it begins."""
KEPT_MS = 60_000
"""A message older than this is forgotten: a setpoint with so old an echo can only lower, and what telemetry so old
says of the lease is over. Where the lease counts from receipt, a message is dangerous at any age."""


class Pile(NamedTuple):
    """A charger: its lease, with ``ends_ms`` counted from ``NOW_MS``."""

    boot: int
    seq: int
    ma: int
    left_ms: int


class Said(NamedTuple):
    """Telemetry on its way, or as the controller last heard it; ``age`` in ticks since it was stamped."""

    boot: int
    age: int
    seq: int
    allowed_ma: int
    left_ms: int


class Told(NamedTuple):
    """A setpoint on its way."""

    boot: int
    age: int
    seq: int
    ma: int


class Book(NamedTuple):
    """What the controller knows of one charger."""

    said: Said | None
    heard: int
    """Ticks since it was heard."""
    set_ma: int
    seq: int
    sent: tuple[tuple[int, int, int], ...]
    """Outstanding: sequence number, mA, ms until its lease must have ended."""


class World(NamedTuple):
    """Everything there is at one moment."""

    piles: tuple[Pile, ...]
    up: tuple[frozenset[Said], ...]
    down: tuple[frozenset[Told], ...]
    books: tuple[Book, ...]
    """What the controller knows of each charger."""
    given: bool
    """One charger only: its current was given to others, and is not asked back."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is searched: how many chargers, how much is on its way, and which rule is broken on purpose."""

    tick_ms: int = 30_000
    """How finely time is cut; within a tick anything may happen in any order."""
    chargers: int = 2
    up: int = 1
    down: int = 1
    """So many messages of a charger, and to it, may be on their way at once: two can overtake each other."""
    reboots: int = 1
    """So many times each charger may start anew."""
    from_receipt: bool = False
    """Broken on purpose: the lease counts from when a setpoint arrives."""


def start(rules: Rules) -> World:
    """Chargers that have just been switched on, and a controller that knows nothing of them."""
    piles = tuple(Pile(1, 0, 0, 0) for _ in range(rules.chargers))
    books = tuple(Book(None, 0, 0, 0, ()) for _ in range(rules.chargers))
    return World(piles, (frozenset(),) * rules.chargers, (frozenset(),) * rules.chargers, books, False)


def allowed_ma(pile: Pile) -> int:
    """What a charger lets its car draw now; its fallback is 0."""
    return lease.allowed_ma(_lease(pile), 0, NOW_MS)


def broken(world: World, rules: Rules) -> bool:
    """Is more allowed than there is, or than the ledger believes possible?"""
    allowed = [allowed_ma(pile) for pile in world.piles]
    if rules.chargers > 1 and sum(allowed) > FULL_MA:
        return True
    if world.given and max(allowed) > 0:
        return True
    return any(possible_ma(book, rules) < ma for book, ma in zip(world.books, allowed, strict=True))


def _lease(pile: Pile) -> lease.Lease:
    return lease.Lease(pile.boot, EPOCH if pile.seq else 0, pile.seq, pile.ma, NOW_MS + pile.left_ms)


def possible_ma(book: Book, rules: Rules) -> int:
    """The most a charger may draw, by the product's ledger and what the controller knows."""
    sent = tuple(ledger.Sent(EPOCH, s, ma, NOW_MS + ends) for s, ma, ends in book.sent)
    said = book.said
    if said is None:
        return ledger.possible_ma(sent, False, True, 0, 0, 0, 0, NOW_MS)
    heard_ms = NOW_MS - book.heard * rules.tick_ms
    until_ms = ledger.lease_end_ms(heard_ms, said.left_ms) if said.left_ms > 0 else 0
    silent = book.heard * rules.tick_ms >= SILENT_MS
    return ledger.possible_ma(sent, True, silent, said.allowed_ma, until_ms, 0, 0, NOW_MS)


# --------------------------------------------------------------------------------------------------------- what happens
def steps(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    """Everything that may happen next, with its name."""
    yield "tick", _tick(world, rules)
    for k in range(rules.chargers):
        yield from _charger_steps(world, k, rules)
        yield from _controller_steps(world, k, rules)
    if rules.chargers == 1 and not world.given and possible_ma(world.books[0], rules) == 0:
        yield "its current is given away", world._replace(given=True)


def _charger_steps(world: World, k: int, rules: Rules) -> Iterator[tuple[str, World]]:
    pile = world.piles[k]
    said = Said(pile.boot, 0, pile.seq, allowed_ma(pile), max(pile.left_ms, 0))
    for up in _with(world.up[k], said, rules.up):
        yield f"{k} speaks", world._replace(up=_put(world.up, k, up))
    for told in world.down[k]:
        new = _obey(pile, told, rules)
        if new != pile:
            yield f"{k} hears {told}", world._replace(piles=_put(world.piles, k, new))
    if pile.boot <= rules.reboots:
        yield f"{k} reboots", world._replace(piles=_put(world.piles, k, Pile(pile.boot + 1, 0, 0, 0)))


def _obey(pile: Pile, told: Told, rules: Rules) -> Pile:
    setpoint = lease.Setpoint(EPOCH, told.seq, told.boot, NOW_MS - told.age * rules.tick_ms, told.ma, LEASE_MS)
    if rules.from_receipt:
        setpoint = setpoint._replace(boot=pile.boot, tick_ms=NOW_MS)
    new, verdict = lease.accept(_lease(pile), setpoint, 0, FULL_MA, NOW_MS)
    if verdict != lease.ACCEPTED:
        return pile
    return Pile(new.boot, new.seq, new.ma, max(new.ends_ms - NOW_MS, 0))


def _controller_steps(world: World, k: int, rules: Rules) -> Iterator[tuple[str, World]]:
    book = world.books[k]
    for said in world.up[k]:
        new = _listen(book, said, rules)
        if new != book:
            yield f"controller hears {k}: {said}", world._replace(books=_put(world.books, k, new))
    if book.said is None:
        return
    if book.set_ma or book.said.allowed_ma:
        yield from _send(world, k, 0, rules)
    # More than may flow already is a raise, also when it was told before: its lease may be over.
    holds = book.set_ma == FULL_MA and possible_ma(book, rules) >= FULL_MA
    others = any(possible_ma(other, rules) for j, other in enumerate(world.books) if j != k)
    if world.given:
        return
    if holds or (not others and book.heard * rules.tick_ms < SILENT_MS):
        yield from _send(world, k, FULL_MA, rules)


def _listen(book: Book, said: Said, rules: Rules) -> Book:
    """As ``edge.fleet`` takes telemetry in: what is overtaken is dropped, a new run keeps the old one's lease."""
    known = book.said
    if known is not None and said.boot == known.boot and (-said.age, said.seq) <= (-known.age, known.seq):
        return book
    sent = book.sent
    if known is not None and said.boot != known.boot and known.left_ms > 0:
        ends_ms = ledger.lease_end_ms(-book.heard * rules.tick_ms, known.left_ms)
        sent = ((known.seq, known.allowed_ma, ends_ms), *sent)
    sent = tuple(s for s in sent if s[2] > 0 and s[0] > said.seq)
    return book._replace(said=said, heard=0, sent=sent)


def _send(world: World, k: int, ma: int, rules: Rules) -> Iterator[tuple[str, World]]:
    """As ``edge.fleet`` remembers what it sends."""
    book = world.books[k]
    said = book.said
    assert said is not None
    above = tuple(s for s in book.sent if s[1] > ma and s[2] > 0)
    entry = (book.seq + 1, ma, ledger.lease_end_ms(0, LEASE_MS))
    books = _put(world.books, k, book._replace(set_ma=ma, seq=book.seq + 1, sent=(*above, entry)))
    told = Told(said.boot, said.age, book.seq + 1, ma)
    for down in _with(world.down[k], told, rules.down):
        yield f"controller sends {k}: {told}", world._replace(books=books, down=_put(world.down, k, down))


def _tick(world: World, rules: Rules) -> World:
    """Time passes."""
    kept = (2 * KEPT_MS if rules.from_receipt else KEPT_MS) // rules.tick_ms
    return World(
        tuple(pile._replace(left_ms=max(pile.left_ms - rules.tick_ms, 0)) for pile in world.piles),
        tuple(frozenset(m._replace(age=m.age + 1) for m in row if m.age < kept) for row in world.up),
        tuple(frozenset(m._replace(age=m.age + 1) for m in row if m.age < kept) for row in world.down),
        tuple(_older(book, rules) for book in world.books),
        world.given,
    )


def _older(book: Book, rules: Rules) -> Book:
    said = None if book.said is None else book.said._replace(age=min(book.said.age + 1, KEPT_MS // rules.tick_ms + 1))
    sent = tuple((s, ma, ends_ms - rules.tick_ms) for s, ma, ends_ms in book.sent if ends_ms > rules.tick_ms)
    return book._replace(said=said, heard=min(book.heard + 1, -(-BOOT_MS // rules.tick_ms)), sent=sent)


def _with(row: frozenset[T], message: T, most: int) -> Iterator[frozenset[T]]:
    """A message more on its way; where there are too many, any one of them is lost."""
    if message in row:
        return
    if len(row) < most:
        yield row | {message}
    else:
        for lost in row:
            yield (row - {lost}) | {message}


def _put(row: tuple[T, ...], k: int, value: T) -> tuple[T, ...]:
    return (*row[:k], value, *row[k + 1 :])


# --------------------------------------------------------------------------------------------------------- the search
def small(world: World, rules: Rules) -> World:
    """The same world with sequence numbers that keep only their order, charger by charger."""
    rows = [
        _renumbered(*_alive(*row, rules)) for row in zip(world.piles, world.up, world.down, world.books, strict=True)
    ]
    if len(rows) > 1:  # chargers are alike
        rows.sort(key=lambda row: (row[0], sorted(row[1]), sorted(row[2]), row[3].said or (), row[3][1:]))
    piles, up, down, books = zip(*rows, strict=True)
    return World(piles, up, down, books, world.given)


def _alive(
    pile: Pile, up: frozenset[Said], down: frozenset[Told], book: Book, rules: Rules
) -> tuple[Pile, frozenset[Said], frozenset[Told], Book]:
    """Without the messages that were overtaken: in a charger's last run nothing brings their turn again."""
    if pile.boot > rules.reboots:
        if any(m.seq <= pile.seq for m in down):
            down = frozenset(m for m in down if m.seq > pile.seq)
        said = book.said
        if said is not None and up and all(m.boot == said.boot for m in up):
            up = frozenset(m for m in up if (-m.age, m.seq) > (-said.age, said.seq))
    return pile, up, down, book


def _renumbered(
    pile: Pile, up: frozenset[Said], down: frozenset[Told], book: Book
) -> tuple[Pile, frozenset[Said], frozenset[Told], Book]:
    said = book.said
    used = {0, pile.seq, book.seq, *(m.seq for m in up), *(m.seq for m in down), *(s[0] for s in book.sent)}
    if said is not None:
        used.add(said.seq)
    if max(used) < len(used):
        return pile, up, down, book  # without a gap already
    rank = {seq: at for at, seq in enumerate(sorted(used))}
    return (
        pile._replace(seq=rank[pile.seq]),
        frozenset(m._replace(seq=rank[m.seq]) for m in up),
        frozenset(m._replace(seq=rank[m.seq]) for m in down),
        Book(
            None if said is None else said._replace(seq=rank[said.seq]), book.heard, book.set_ma, rank[book.seq],
            tuple((rank[s], ma, ends_ms) for s, ma, ends_ms in book.sent),
        ),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has seen."""

    states: int
    complete: bool
    """Was every reachable state seen? Else the bound ended it."""
    trace: list[str] | None
    """How more than there is came to be allowed; None when nowhere."""


def search(rules: Rules, most: int = 10_000_000, progress: Callable[[int], None] | None = None) -> Found:
    """Look at every reachable state, nearest first; stop at the first that is broken, or after ``most``."""
    first = small(start(rules), rules)
    came: dict[World, tuple[World, str] | None] = {first: None}
    queue = deque([first])
    while queue:
        world = queue.popleft()
        for name, after in steps(world, rules):
            new = small(after, rules)
            if new in came:
                continue
            came[new] = (world, name)
            if broken(new, rules):
                return Found(len(came), False, _trace(came, new))
            queue.append(new)
            if progress is not None and len(came) % 100_000 == 0:
                progress(len(came))
            if len(came) >= most:
                return Found(len(came), False, None)
    return Found(len(came), True, None)


def _trace(came: dict[World, tuple[World, str] | None], world: World) -> list[str]:
    names = []
    at = came[world]
    while at is not None:
        names.append(at[1])
        at = came[at[0]]
    return names[::-1]
