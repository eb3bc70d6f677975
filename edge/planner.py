"""The slow part: a forecast, and from it when each session may start, what it can count on, and what to aim for.

``propose`` is a pure function over slots of a quarter of an hour. It runs outside the tick and only proposes: a start
time and an aim for each session. Limits are not its business beyond the room that is forecast; control and guard keep
them.

Energy is placed by filling slots backward in time: seen from the end, a car becomes available at its departure and must
be done by its arrival, or by now if it is here, so the one whose arrival and remaining time lie furthest ahead is the
tightest; for cars that are already there that is optimal but for the grain of a slot, as least laxity is. Cheap slots
are filled first. What does not fit there must be charged in dear ones, as late before the valley as the room allows;
only then does anybody start before the valley.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from edge.core.model import binding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from edge.core.model import Place

GIFT_WH = 50.0
"""When not everything can be had, everybody's aim is the same share of what they asked and this much more: a small
request is not worth cutting."""

SHARE_STEPS = 7
SHARE_WITHIN = 0.004
"""The search for a common share ends after so many halvings, or when it is known so well."""

SHARE_MORE = 0.02
"""Places behind one phase or feeder that cannot have so much more, while all others stay where they are, are short."""

SHARE_SAFETY = 0.995
ALONE = 0.8
"""A car waits for the valley only if so much of its time there, at full current, would do."""
SHORT_WH = 50.0
MET_WITHIN_WH = 110.0
"""A request counts as met within 6 A for 5 min."""
GO_MS = -(1 << 60)
"""The start of who need not wait."""


@dataclass(frozen=True, slots=True)
class Want:
    """A session, or a group of those that are expected. Times in ms on the controller's clock."""

    name: str
    place: int
    max_ma: int
    need_wh: float
    """What it asked for in all."""
    depart_ms: int
    got_wh: float = 0.0
    running: bool = False
    at_once: bool = False
    arrive_ms: int = -(1 << 60)
    count: float = 1.0
    """How many cars this stands for."""
    known: bool = True
    """Is it here, or only expected?"""


@dataclass(frozen=True, slots=True)
class Slot:
    """A stretch of time with its price and the room that is forecast, mA by constraint (``edge.core.model.fold``)."""

    start_ms: int
    end_ms: int
    price: float
    room_ma: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Proposal:
    """What the planner proposes, by charger: when it may start, the energy that will be there, the energy aimed at."""

    start_ms: dict[str, int] = field(default_factory=dict)
    expect_wh: dict[str, float] = field(default_factory=dict)
    aim_wh: dict[str, float] = field(default_factory=dict)
    shares: tuple[float, ...] = ()
    """The share of the requests at each place that can be had; as alike over all places as their phases allow."""
    alone: frozenset[str] = frozenset()
    """Whose charger could not give all it asked for even below an empty transformer."""
    newcomer_ms: tuple[int, ...] = ()
    """By place: the start of a car that comes before the next proposal."""

    def promise(self, want: Want) -> tuple[int, str]:
        """(Wh that will be there at its departure, why not all: "" when all, "stay", "room").

        "stay": its charger can give no more before it leaves; "room": the transformer cannot.
        """
        wh = self.expect_wh.get(want.name, want.got_wh)
        if want.need_wh - wh <= MET_WITHIN_WH:
            return round(min(wh, want.need_wh)), ""
        return round(wh), "stay" if want.name in self.alone else "room"


class _Fill:
    """Slots being filled with wants, backward in time."""

    def __init__(self, wants: Sequence[Want], slots: Sequence[Slot], places: Sequence[Place], mv: int) -> None:
        self.wants, self.slots = wants, slots
        volt = mv / 1000.0
        feeders = (len(slots[0].room_ma) - 4) // 3 if slots else 0
        self.bind = [binding(place, feeders) for place in places]
        self.places = [w.place for w in wants]
        self.lines = [places[w.place].lines for w in wants]
        self.rate_w = [w.max_ma / 1000.0 * volt * self.lines[k] * w.count for k, w in enumerate(wants)]
        self.hours = [(s.end_ms - s.start_ms) / 3_600_000 for s in slots]
        self.free_wh = [
            [max(ma, 0) / 1000.0 * volt * h for ma in s.room_ma] for s, h in zip(slots, self.hours, strict=True)
        ]
        first_ms = slots[0].start_ms if slots else 0
        self.arrive_h = [max(w.arrive_ms - first_ms, 0) / 3_600_000 for w in wants]
        by_name = sorted(range(len(wants)), key=lambda k: wants[k].name)
        self.by_name = [0] * len(wants)
        for at, k in enumerate(by_name):
            self.by_name[k] = at
        self.by_departure = sorted(range(len(wants)), key=lambda k: -wants[k].depart_ms)

    def possible_wh(self, k: int, wh: float) -> float:
        """What is still missing of a want's energy, as far as its own charger could give it before it leaves.

        What no charger could give is nobody's shortage: it must not send others into dear hours, nor cut their aims.
        """
        want = self.wants[k]
        stay_ms = want.depart_ms - max(want.arrive_ms, self.slots[0].start_ms)
        most_wh: float = self.rate_w[k] * max(stay_ms, 0) / 3_600_000
        return min(max(wh - want.got_wh, 0.0) * want.count, most_wh)

    def place(
        self, rem_wh: list[float], chosen: Iterable[int], free_wh: list[list[float]]
    ) -> dict[int, dict[int, float]]:
        """Place what remains into the chosen slots, latest first; returns who got what in which slot.

        Lowers ``rem_wh`` and ``free_wh``.
        """
        wants, slots, rate_w, places = self.wants, self.slots, self.rate_w, self.places
        placed: dict[int, dict[int, float]] = {}
        live: list[int] = []
        upto = 0
        chosen = sorted(chosen)
        share_h = self._hours_before(chosen, free_wh)
        behind_wh = [0.0] * len(self.free_wh[0])
        for k, wh in enumerate(rem_wh):
            _add(behind_wh, self, k, wh)
        for at in range(len(chosen) - 1, -1, -1):
            t = chosen[at]
            slot, free = slots[t], free_wh[t]
            while upto < len(wants) and wants[self.by_departure[upto]].depart_ms > slot.start_ms:
                k = self.by_departure[upto]
                upto += 1
                if rem_wh[k] > 0.0 and rate_w[k] > 0.0:
                    live.append(k)
            live = [k for k in live if rem_wh[k] > 1e-6]
            if free[3] <= 0.0:
                continue
            # A car needs as long as its own charger takes, or as long as its phase or feeder takes for all cars there.
            needs_h = [wh * h for wh, h in zip(behind_wh, share_h[at], strict=True)]
            place_h = [max([needs_h[i] for i in bind], default=0.0) for bind in self.bind]
            order = [
                (-self.arrive_h[k] - max(rem_wh[k] / rate_w[k], place_h[places[k]]), -rem_wh[k] / rate_w[k],
                 self.by_name[k], k)
                for k in live
            ]  # fmt: skip
            live = [row[3] for row in sorted(order)]
            placed[t] = self._fill_slot(live, slot, rem_wh, free, behind_wh)
        return placed

    def _fill_slot(
        self, order: list[int], slot: Slot, rem_wh: list[float], free: list[float], behind_wh: list[float]
    ) -> dict[int, float]:
        """Give what one slot holds, in this order; returns who got what."""
        got: dict[int, float] = {}
        shut: set[int] = set()
        for k in order:
            place = self.places[k]
            if place in shut:
                continue
            wh = self._fit(k, slot, rem_wh[k], free, behind_wh)
            if wh > 0.0:
                got[k] = wh
                rem_wh[k] -= wh
            elif min([free[i] for i in (3, *self.bind[place])]) <= 0.0:
                shut.add(place)
                if len(shut) == len(self.bind):
                    break
        return got

    def _hours_before(self, chosen: Sequence[int], free_wh: list[list[float]]) -> list[list[float]]:
        """For each chosen slot and constraint: how many hours of the room in it and before a Wh takes, on average."""
        hours, sums = 0.0, [0.0] * len(self.free_wh[0])
        rows = []
        for t in chosen:
            hours += self.hours[t]
            sums = [a + b for a, b in zip(sums, free_wh[t], strict=True)]
            rows.append([hours / max(wh, 1.0) for wh in sums])
        return rows

    def _fit(self, k: int, slot: Slot, rem_wh: float, free: list[float], behind: list[float]) -> float:
        """What one want can have of one slot, taken from its room and from what its constraints have to carry."""
        want, lines = self.wants[k], self.lines[k]
        inside_ms = min(want.depart_ms, slot.end_ms) - max(want.arrive_ms, slot.start_ms)
        wh: float = min(rem_wh, self.rate_w[k] * inside_ms / 3_600_000, free[3])
        bind = self.bind[want.place]
        for i in bind:
            wh = min(wh, free[i] * lines)
        if wh > 0.0:
            free[3] -= wh
            behind[3] -= wh
            for i in bind:
                free[i] -= wh / lines
                behind[i] -= wh / lines
        return wh

    def short_wh(self, rem_wh: list[float]) -> float:
        """What of these energies no placing over all slots can hold, Wh."""
        rem = list(rem_wh)
        self.place(rem, range(len(self.slots)), [list(row) for row in self.free_wh])
        return sum(rem)


def propose(
    wants: Sequence[Want], slots: Sequence[Slot], places: Sequence[Place], mv: int, shares: Sequence[float] = ()
) -> Proposal:
    """When may each session start, what will it have got by its departure, what should be aimed at?

    Args:
        wants: sessions (weight 1) and expected ones.
        slots: from now to the last departure, in order of time; the first holds the present.
        places: as in the snapshot.
        mv: mean phase voltage.
        shares: the last proposal's shares, where the search begins.
    """
    if not slots:
        return Proposal()
    fill = _Fill(wants, slots, places, mv)
    need = [fill.possible_wh(k, w.need_wh) for k, w in enumerate(wants)]
    rem, free = list(need), [list(row) for row in fill.free_wh]
    prices = sorted({slot.price for slot in slots})
    early: dict[int, float] = {}
    cheap_ms = _first_cheap_ms(slots, prices[0])
    for price in prices:
        here = [t for t, slot in enumerate(slots) if slot.price == price]
        before = [t for t in here if slots[t].start_ms < cheap_ms]
        for stage in (before, [t for t in here if t not in set(before)]) if price > prices[0] else (here,):
            placed = fill.place(rem, stage, free)
            for k, wh in placed.get(0, {}).items():
                early[k] = early.get(k, 0.0) + wh
    short = sum(rem)
    shares = _shares(fill, shares, rem) if short > SHORT_WH else [1.0] * len(places)
    alone = frozenset(w.name for k, w in enumerate(wants) if w.known and w.need_wh - w.got_wh - need[k] > MET_WITHIN_WH)
    start_ms = _starts(wants, slots, fill, early, shares, prices[0])
    dear = slots[0].price > prices[0]
    newcomer_ms = tuple([cheap_ms if dear and share >= 1.0 else GO_MS for share in shares])
    aim = [_aim_wh(w, shares[w.place]) for w in wants]
    if short > SHORT_WH:
        need = [fill.possible_wh(k, wh) for k, wh in enumerate(aim)]
        rem = list(need)
        fill.place(rem, range(len(slots)), [list(row) for row in fill.free_wh])
    expect = {w.name: w.got_wh + need[k] - rem[k] for k, w in enumerate(wants) if w.known}
    aims = {w.name: aim[k] for k, w in enumerate(wants) if w.known}
    return Proposal(start_ms, expect, aims, tuple(shares), alone, newcomer_ms)


def _first_cheap_ms(slots: Sequence[Slot], cheap: float) -> int:
    """When the next cheapest stretch begins."""
    return next(slot.start_ms for slot in slots if slot.price == cheap)


def _aim_wh(want: Want, share: float) -> float:
    """What to aim for when only this share of a request can be had, Wh."""
    return min(want.need_wh, want.need_wh * share + GIFT_WH) if share < 1.0 else want.need_wh


def _shares(fill: _Fill, last: Sequence[float], rem_wh: Sequence[float]) -> list[float]:
    """The share of its requests that each place can have: the smallest as large as can be, then the next, and so on.

    All places rise together until one can have no more, for its phase or its feeder is full; the others go on. Where
    everything fits, but not with the cheap hours filled first (``rem_wh`` is left then), those left over are tight.
    """
    shares, low = [1.0] * len(fill.bind), 0.0
    last = last if len(last) == len(shares) else shares
    rising = sorted({want.place for want in fill.wants})

    def fits(places: Sequence[int], share: float) -> bool:
        trial = [share if place in places else shares[place] for place in range(len(shares))]
        return (
            fill.short_wh([fill.possible_wh(k, _aim_wh(w, trial[w.place])) for k, w in enumerate(fill.wants)])
            <= SHORT_WH
        )

    if fits(rising, 1.0):
        left_wh = [0.0] * len(shares)
        for want, wh in zip(fill.wants, rem_wh, strict=True):
            left_wh[want.place] += wh
        return [SHARE_SAFETY if wh > SHORT_WH / len(shares) else 1.0 for wh in left_wh]
    while rising:
        low = _highest(partial(fits, tuple(rising)), low, min([last[place] for place in rising]))
        for place in rising:
            shares[place] = low
        stuck = _stuck(fill, rising, fits, low)
        rising = [place for place in rising if stuck and place not in stuck]
        if fits(rising, 1.0):
            for place in rising:
                shares[place] = 1.0
            break
    return [share * SHARE_SAFETY if share < 1.0 else 1.0 for share in shares]


def _stuck(fill: _Fill, rising: Sequence[int], fits: Callable[[Sequence[int], float], bool], low: float) -> set[int]:
    """Which of the rising places cannot have more, asked phase by phase and feeder by feeder; none: it is the total.

    The search for ``low`` leaves some energy over: the question is asked with more than that. A place that asks for
    less than what is left over may have it all.
    """
    need_wh = [0.0] * len(fill.bind)
    for k, want in enumerate(fill.wants):
        need_wh[want.place] += fill.possible_wh(k, want.need_wh)
    left_wh = 2.0 * (SHARE_WITHIN * sum(need_wh) + SHORT_WH)
    stuck: set[int] = set()
    for i in range(len(fill.free_wh[0])):
        behind = [place for place in rising if i in fill.bind[place]]
        wh = sum(need_wh[place] for place in behind)
        if wh > 0.0 and not fits(behind, min(low + max(SHARE_MORE, left_wh / wh), 1.0)):
            stuck.update(behind)
    return stuck


def _highest(fits: Callable[[float], bool], low: float, guess: float) -> float:
    """The largest share that fits, by bisection between ``low``, which does, and 1, which does not."""
    high = 1.0
    for near in (guess - SHARE_MORE, guess + SHARE_MORE):
        if low < near < high:
            if fits(near):
                low = near
            else:
                high = near
    for _ in range(SHARE_STEPS):
        if high - low < SHARE_WITHIN:
            break
        middle = (low + high) / 2.0
        if fits(middle):
            low = middle
        else:
            high = middle
    return low


def _starts(
    wants: Sequence[Want],
    slots: Sequence[Slot],
    fill: _Fill,
    early: dict[int, float],
    shares: Sequence[float],
    cheap: float,
) -> dict[str, int]:
    """Who waits until when. In a dear slot only as many start as its share of the energy needs, the tightest first.

    Where not everything can be had nobody waits.
    """
    known = [k for k, w in enumerate(wants) if w.known]
    if slots[0].price <= cheap:
        return {wants[k].name: GO_MS for k in known}
    valley_ms = _first_cheap_ms(slots, cheap)
    needed_wh = [0.0] * len(fill.free_wh[0])
    for k, wh in early.items():
        _add(needed_wh, fill, k, wh)
    hours = fill.hours[0]
    for k in known:
        if wants[k].running:
            _add(needed_wh, fill, k, -min(fill.rate_w[k] * hours, wants[k].need_wh - wants[k].got_wh))

    cheap_h = [_hours_within(slots, cheap, want.depart_ms) for want in wants]

    def alone(k: int) -> bool:
        """Could it not be charged in cheap slots even if it were the only car?"""
        return bool(fill.rate_w[k] * cheap_h[k] * ALONE < wants[k].need_wh - wants[k].got_wh)

    def tightness(k: int) -> tuple[bool, float, str]:
        want = wants[k]
        return (
            k not in early,
            want.depart_ms - (want.need_wh - want.got_wh) / max(fill.rate_w[k], 1.0) * 3_600_000,
            want.name,
        )

    starts = {}
    for k in sorted(known, key=tightness):
        want = wants[k]
        helps = needed_wh[3] > 1.0 or any(needed_wh[i] > 1.0 for i in fill.bind[want.place])
        if want.running or want.at_once or shares[want.place] < 1.0 or alone(k) or (helps and k in early):
            starts[want.name] = GO_MS
            if not want.running:
                _add(needed_wh, fill, k, -min(fill.rate_w[k] * hours, want.need_wh - want.got_wh))
        else:
            starts[want.name] = valley_ms
    return starts


def _hours_within(slots: Sequence[Slot], price: float, until_ms: int) -> float:
    """Hours at this price before a departure."""
    spans = [min(slot.end_ms, until_ms) - slot.start_ms for slot in slots if slot.price == price]
    return sum(max(span, 0) for span in spans) / 3_600_000


def _add(sums_wh: list[float], fill: _Fill, k: int, wh: float) -> None:
    """Count a session's energy on every constraint that binds it."""
    sums_wh[3] += wh
    for i in fill.bind[fill.wants[k].place]:
        sums_wh[i] += wh / fill.lines[k]


@dataclass(frozen=True, slots=True)
class Habits:
    """What is known of the evenings here: how many cars come, when, for how much, until when."""

    cars: float
    """How many come in a night."""
    arrive_ms: tuple[int, ...]
    """Equally spaced quantiles of their arrival, first to last, on the controller's clock for this night."""
    depart_ms: tuple[int, ...]
    """Quantiles of their departure."""
    need_wh: float

    def share_by(self, now_ms: int) -> float:
        """How much of a night's cars has usually come by now, 0 to 1; linear between quantiles."""
        at = bisect_right(self.arrive_ms, now_ms)
        last = len(self.arrive_ms) - 1
        if at == 0:
            return 0.0
        if at > last:
            return 1.0
        low, high = self.arrive_ms[at - 1], self.arrive_ms[at]
        return (at - 1 + (now_ms - low) / max(high - low, 1)) / last

    def when(self, share: float) -> int:
        """By when this share of a night's cars has usually come."""
        last = len(self.arrive_ms) - 1
        at = min(int(share * last), last - 1)
        low, high = self.arrive_ms[at], self.arrive_ms[at + 1]
        return low + round((share * last - at) * (high - low))


LATE_MS = 5_400_000
"""So long after the last usual arrival nobody is waited for any more."""
TRUST = 5.0
"""So many cars must have come or stayed away before the night counts as different from history."""
HEDGE = 1.0
"""Early in the evening so many more than usual are reckoned with: room before the valley does not come back."""
GROUPS = 4


def expected(habits: Habits, seen: int, free: Sequence[tuple[int, int, int]], now_ms: int) -> list[Want]:
    """Sessions that are still to be expected.

    Args:
        habits: what history says of a night.
        seen: sessions that have come since the evening began.
        free: chargers without a car: (place, how many, mean max_ma).
        now_ms: present time.

    More cars than history has by this hour mean more cars to come, in proportion; fewer mean later ones, not fewer.
    """
    spots = sum(count for _, count, _ in free)
    if len(habits.arrive_ms) < 2 or now_ms >= habits.arrive_ms[-1] + LATE_MS or not spots:
        return []
    passed = habits.share_by(now_ms)
    in_all = habits.cars * max((seen + TRUST) / (habits.cars * passed + TRUST), 1.0) * (1.0 + HEDGE * (1.0 - passed))
    more = min(max(in_all - seen, 0.0), float(spots))
    groups = []
    for place, count, max_ma in free:
        for j in range(GROUPS):
            at = max(habits.when(passed + (1.0 - passed) * (j + 0.5) / GROUPS), now_ms + 900_000)
            depart_ms = habits.depart_ms[(2 * j + 1) * len(habits.depart_ms) // (2 * GROUPS)]
            part = more * count / spots / GROUPS
            groups.append(
                Want(f"~{place}-{j}", place, max_ma, habits.need_wh, depart_ms, arrive_ms=at, count=part, known=False)
            )
    return groups
