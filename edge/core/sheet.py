"""The working sheet of one step: every charger sorted, every sum taken, in one pass.

A gateway has thousands of chargers and a few milliseconds, so there is one loop over all of them; sums are kept by
place and only then by constraint. Constraints are numbered: the three phases of the transformer, the transformer as a
whole (mA on all conductors together, at the mean voltage), then three phases for each feeder.
"""

from collections import namedtuple

from edge.core.model import (
    ASLEEP,
    CHARGING,
    DONE,
    FAULT,
    FAULTED,
    FINISHED,
    FULL,
    LEND_PERMILLE_MAX,
    MIN_MA,
    NEVER,
    NO_CAR,
    RAMPING,
    REST,
    SETTLED_EXTRA_MA,
    SHARED,
    SILENT,
    STAGGER,
    UNCONTROLLED,
    UNPLUGGED,
    WAIT_ROOM,
    WAIT_TURN,
    WAIT_VALLEY,
    WAITING,
    Charger,
    Settings,
    Snapshot,
    binding,
    fold,
    mean_mv,
)

LATE_MS = 10000
"""A charger that for so long draws more than it was told disobeys: it counts as measured (a car follows within 5 s)."""

OBEY_MA = 1000
"""Drawing this much more than told is still obeying: chargers round, and their meters are class 1 to 2."""

WAKE_MS = 120000
"""A car that is offered current and draws none for so long is asleep: it is stopped and started again."""

WAKE_TRIES, WAKE_AGAIN_MS = 3, 1800000
"""After so many attempts to wake a car it is tried only so often."""

REST_MS = 240000
"""A stopped car rests this long: contactors wear, and cars do not like to be woken twice."""

HURRY = 16
"""Nobody waits for its start longer than this part of the time it has left."""

STAGGER_MS = 600000
"""Starts that one moment sets free together (the valley, a limit that rises, an outage that ends) spread over this."""

TRIM_MA, TRIM_MS = 3000, 600000
"""A settled car that leaves so much of its setpoint unused is told what it draws, and not offered more for so long."""

NEED_MARGIN_WH = 50

Unit = namedtuple(
    "Unit",
    ("id", "told_ma", "on", "since_ms", "raised_ms", "late_ms", "idle_ms", "tries", "delay_ms", "cap_ma", "cap_ms"),
)
"""What control remembers of a charger: what it was told, since when it is on or off, its last raise, since when it
disobeys, since when it is offered current in vain, how often it was woken, its own delay among starts set free
together, what its car was seen to use at most, and when."""

NEW = Unit("", 0, False, NEVER, NEVER, NEVER, NEVER, 0, 0, 0, NEVER)

Book = namedtuple(
    "Book",
    (
        "session",  # by charger: is there one that control can serve?
        "has",  # what it had when the sums were taken, mA
        "until_ms",  # how long that holds if the charger says nothing new
        "target",  # the step's end: what it was told, mA, why, and the constraint that speaks of
        "reason",
        "phase",
        "parts",  # what it adds to the sums, and of which place
        "sums",  # by place
        "again",  # indices of the chargers to look at again whatever they say
    ),
)
"""The last step's sheet, so that the next one looks only at what has changed."""

_FOREVER_MS = 1 << 60
SLICE = 64
_NO_PART = (0, 0, 0, 0, 0, 0, 0, 0, 0)

_IDLE_REASON = {UNPLUGGED: NO_CAR, FINISHED: DONE, FAULTED: FAULT}

_RUNNING_REASONS = (FULL, SHARED, RAMPING)
READY_REASONS = (WAIT_ROOM, WAIT_TURN, UNCONTROLLED)
"""Why a car waits that might begin at once, were there room."""


def nothing() -> Book:
    """No sheet yet."""
    return Book([], [], [], [], [], [], [], [], [])


class Sheet:
    """A target and a reason for each charger, changed in place until the step is finished; all sums beside them."""

    def __init__(self, snapshot: Snapshot, settings: Settings, now_ms: int) -> None:
        self.snapshot, self.settings, self.now_ms = snapshot, settings, now_ms
        self.mv = mean_mv(snapshot.meter) if snapshot.meter is not None else 220000
        self.bind = [binding(place, len(snapshot.feeders)) for place in snapshot.places]
        self.lines = [place.lines for place in snapshot.places]
        self.again: list[int] = []

    def admit(
        self, units: tuple[Unit, ...], before: tuple[Charger, ...], ranked: list[bool], release: list[int], book: Book
    ) -> None:
        """Sort every charger into running, waiting or neither, and give it what it has.

        ``units``, the chargers ``before`` and the ``book`` are of the step before, ``ranked`` says whom the last review
        has seen, ``release``, by place, when something last set many starts free together.
        """
        chargers, now_ms = self.snapshot.chargers, self.now_ms
        many = len(chargers)
        changed, self.known = self._remember(units, before)
        if self.known and len(book.has) == many:
            # What was found out about a charger holds until it says something new, is told something, or time is up.
            self.session, self.until_ms = list(book.session), list(book.until_ms)
            self.target, self.reason, self.phase = list(book.target), list(book.reason), list(book.phase)
            anew = set(changed + book.again + differing(book.target, book.has))
            if many and min(book.until_ms) <= now_ms:
                anew.update([k for k, until_ms in enumerate(book.until_ms) if until_ms <= now_ms])
            self.anew = list(range(many)) if now_ms in release else sorted(anew)
        else:
            self.known = False
            self.session, self.until_ms = [False] * many, [0] * many
            self.target, self.reason, self.phase = [0] * many, [NO_CAR] * many, [-1] * many
            self.anew = list(range(many))
        for k in self.anew:
            self._sort_in(k, chargers[k], release[chargers[k].place])
        if len(ranked) != many:
            ranked = [False] * many
        unseen = [k for k in differing(self.session, ranked) if self.session[k]]
        self.unseen = len(unseen) > 0
        self.hurry = True in [chargers[k].now for k in unseen]

    def _sort_in(self, k: int, row: Charger, release_ms: int) -> None:
        """Find out anew what a charger has, and how long that holds; what the last step told it is still there."""
        was_ma, was_reason, was_phase = self.target[k], self.reason[k], self.phase[k]
        self.target[k], self.phase[k], self.until_ms[k] = 0, -1, _FOREVER_MS
        self.session[k] = not row.silent and row.max_ma >= MIN_MA and (row.plug == CHARGING or _waits(row))
        if not self.session[k]:
            self.reason[k] = _idle(row)
        elif row.set_ma >= MIN_MA and row.possible_ma >= MIN_MA:
            self._keep(k, row)
            if was_ma == self.target[k] >= MIN_MA and was_reason in _RUNNING_REASONS:
                # Between reviews and fresh readings a charger keeps the reason it had.
                self.reason[k], self.phase[k] = was_reason, was_phase
        elif row.start_ms > self.now_ms and not row.now:
            self.reason[k], self.until_ms[k] = WAIT_VALLEY, row.start_ms
        else:
            self._wait(k, row, release_ms)
            if self.reason[k] == WAIT_ROOM and not row.now and was_reason in READY_REASONS:
                self.reason[k], self.phase[k] = was_reason, was_phase

    def _remember(self, units: tuple[Unit, ...], before: tuple[Charger, ...]) -> tuple[list[int], bool]:
        """Bring what is remembered up to date. Returns (indices of the chargers that have said something new, known).

        Known: these are the chargers of the step before, in the same order.
        """
        chargers = self.snapshot.chargers
        changed = list(range(len(chargers)))
        known = len(units) == len(before) == len(chargers)
        if known:
            changed = differing(chargers, before)
            known = all(units[k].id == chargers[k].id for k in changed)
        if known:
            self.units = list(units)
        else:
            by_id = {unit.id: unit for unit in units}
            self.units = [by_id.get(row.id, NEW) for row in chargers]
            changed = list(range(len(chargers)))
        for k in changed:
            row, unit = chargers[k], self.units[k]
            told, ma = row.set_ma, row.ma
            idle = told >= MIN_MA and row.plug == WAITING and not row.silent
            if (
                told != unit.told_ma
                or (ma > told + OBEY_MA and not row.silent) != (unit.late_ms != NEVER)
                or idle != (unit.idle_ms != NEVER)
                or not unit.id
            ):
                self.units[k] = _follow(unit, row, idle, self.now_ms)
        return changed, known

    def _keep(self, k: int, row: Charger) -> None:
        """A running car keeps what it has; what it does not use goes to others, and its lease with it."""
        unit, most = self.units[k], row.max_ma
        if unit.idle_ms != NEVER and self.now_ms - unit.idle_ms >= WAKE_MS:
            self.reason[k] = ASLEEP
            return
        if row.need_wh <= 0 and row.start_ms > self.now_ms:
            self.reason[k], self.until_ms[k] = DONE, row.start_ms  # it has what it asked for; more is for the valley
            return
        has = min(row.set_ma, most)
        self.reason[k] = SHARED if has < most else FULL
        if unit.idle_ms != NEVER:
            self.until_ms[k] = unit.idle_ms + WAKE_MS
        if row.settled and has - row.ma >= TRIM_MA and has > MIN_MA:
            has = max((row.ma + SETTLED_EXTRA_MA + 999) // 1000 * 1000, MIN_MA)
            self.units[k] = _capped(unit, has, self.now_ms)
            self.until_ms[k] = self.now_ms
        self.target[k] = has

    def _wait(self, k: int, row: Charger, release_ms: int) -> None:
        """Why a car that might be charged is not: it sleeps, it rests, its turn has not come, there is no room."""
        unit, now_ms = self.units[k], self.now_ms
        begin_ms = max(row.start_ms, release_ms)
        # Its own delay, or its part of the time it has left when it begins, if that is shorter.
        late_ms = min(begin_ms + unit.delay_ms, (row.depart_ms + HURRY * (begin_ms - 1)) // (HURRY + 1) + 1)
        for reason, until_ms in (
            (ASLEEP, unit.since_ms + WAKE_AGAIN_MS if unit.tries >= WAKE_TRIES else NEVER),
            (WAIT_ROOM, _FOREVER_MS if row.now else NEVER),
            (REST, unit.since_ms + REST_MS if unit.since_ms <= now_ms else NEVER),
            (STAGGER, late_ms),
            (WAIT_ROOM, _FOREVER_MS),
        ):
            if now_ms < until_ms:
                self.reason[k], self.until_ms[k] = reason, until_ms
                return

    def add_up(self, book: Book) -> Book:
        """Who draws and who may draw what, by constraint in mA; the book of the last step in, this one's out.

        ``draw``: proven. ``landed``: expected once all have obeyed. ``booked``: expected, with what is still possible
        from before. ``bound``: the most there may be. ``lent``: what settled chargers leave of that.
        """
        chargers, target = self.snapshot.chargers, self.target
        places, feeders = self.snapshot.places, len(self.snapshot.feeders)
        if self.known and len(book.sums) == len(places):
            parts, sums = list(book.parts), [list(row) for row in book.sums]
            anew = self.anew
        else:
            parts, sums = [_NO_PART] * len(target), [[0] * len(_NO_PART) for _ in places]
            anew = list(range(len(target)))
        for k in anew:
            row = chargers[k]
            part, old = self._part(k, row, target[k]), parts[k]
            if part != old:
                _add(sums[old[0]], old, -1)
                _add(sums[part[0]], part, 1)
                parts[k] = part
            if self.units[k].late_ms != NEVER:
                self.again.append(k)  # from disobeying for a while something follows
        _, draw, landed, booked, bound, lent, more_landed, more_booked, more_bound = [
            [row[i] for row in sums] for i in range(len(_NO_PART))
        ]
        self.draw = fold(places, draw, feeders, proven=True)
        self.landed = fold(places, landed, feeders, unknown_ma=more_landed)
        self.booked = fold(places, booked, feeders, unknown_ma=more_booked)
        self.bound = fold(places, bound, feeders, unknown_ma=more_bound)
        self.lent = fold(places, lent, feeders)
        return Book(self.session, list(target), self.until_ms, target, self.reason, self.phase, parts, sums, self.again)

    def _part(self, k: int, row: Charger, has: int) -> tuple[int, ...]:
        """What one charger adds to the sums of its place: place, then draw, landed, booked, bound, lent, in mA.

        The last three are landed, booked and bound once more, as they count on each phase while its own is unknown.
        """
        ma, possible, place = row.ma, row.possible_ma, row.place
        if row.silent:
            # What it draws is in the base, for it proves nothing; what it may draw on top of that comes here.
            more = max(possible - ma, row.fallback_ma)
            return place, 0, more, possible, possible, 0, more, possible, possible
        draw = max(ma, 0)
        if not possible and not has:
            return place, draw, 0, 0, 0, 0, 0, 0, 0
        full = max(has, possible)
        booked, lent = full, 0
        if row.settled:
            booked = ma
            has = min(has, ma)
            lent = max(full - ma - SETTLED_EXTRA_MA, 0)
        if row.set_ma < MIN_MA or ma > row.set_ma + OBEY_MA:
            has = max(has, self._beyond(k, row))
        if self.snapshot.places[place].known:
            return place, draw, has, booked, full, lent, 0, 0, 0
        return place, draw, has, booked, full, lent, max(has - draw, 0), max(booked - draw, 0), max(full - draw, 0)

    def _beyond(self, k: int, row: Charger) -> int:
        """What a charger draws, or goes on drawing, whatever its target is: one that disobeys, one at its fallback."""
        late_ms = self.units[k].late_ms
        if late_ms != NEVER and self.now_ms - late_ms >= LATE_MS:
            ma: int = row.ma
            return ma
        return min(row.possible_ma, row.fallback_ma) if row.set_ma < MIN_MA else 0

    def rated(self) -> list[int]:
        """The rating of each constraint, mA."""
        rated_ma = self.settings.rated_ma
        rated = [rated_ma, rated_ma, rated_ma, self.settings.rated_va * 1000000 // self.mv]
        for feeder in self.snapshot.feeders:
            rated += [feeder.limit_ma] * 3
        return rated

    def line(self, margin_permille: int) -> list[int]:
        """What each constraint may carry, mA: the limit less a margin of rating; a feeder's own limit less the same."""
        limit = self.snapshot.limit_permille
        rated = self.rated()
        return [rated[i] * ((limit if i < 4 else 1000) - margin_permille) // 1000 for i in range(len(rated))]

    def free(self, usual: list[int], highest: list[int], margin_permille: int) -> list[int]:
        """What may be given, by constraint in mA, above these base loads.

        Above the usual one to the limit less the margin by what cars are expected to draw, and above the highest one to
        the limit itself by what they might draw.
        """
        line, limit, rated = self.line(margin_permille), self.line(0), self.rated()
        free = []
        for i in range(len(line)):
            lent = min(self.lent[i], rated[i] * LEND_PERMILLE_MAX // 1000)
            free.append(min(line[i] - usual[i] - self.booked[i], limit[i] - highest[i] - self.bound[i] + lent))
        return free

    def most(self, k: int) -> int:
        """The most that helps this charger's car, whole amperes: its plate, or what its car was lately seen to use."""
        unit = self.units[k]
        most: int = self.snapshot.chargers[k].max_ma
        if self.now_ms - unit.cap_ms < TRIM_MS and unit.cap_ma < most:
            most = unit.cap_ma
        return most // 1000 * 1000

    def draws(self, k: int) -> int:
        """What this charger is expected to draw of its target, mA."""
        charger = self.snapshot.chargers[k]
        have = self.target[k]
        ma: int = charger.ma if charger.settled and charger.ma < have else have
        return ma

    def spend(self, free: list[int], k: int, ma: int) -> None:
        """Take ``ma`` of a charger from a room (a negative one gives back)."""
        place = self.snapshot.chargers[k].place
        free[3] -= ma * self.lines[place]
        for i in self.bind[place]:
            free[i] -= ma

    def room(self, place: int, free: list[int]) -> tuple[int, int]:
        """What is free for a charger here, mA on each conductor, and the constraint that binds (3: the total)."""
        spare, where = free[3] // self.lines[place], 3
        for i in self.bind[place]:
            if free[i] < spare:
                spare, where = free[i], i
        return spare, where

    def say(self, k: int, reason: int, where: int = 3) -> None:
        """Why this charger has what it has, and which constraint that speaks of."""
        self.reason[k] = reason
        self.phase[k] = -1 if where == 3 else where

    def laxity_ms(self, charger: Charger) -> int:
        """Time to departure less the time still needed at full power, in ms; negative once it cannot be met."""
        need_ms = self.needs_ms(charger, min(charger.aim_wh, charger.need_wh))
        laxity: int = charger.depart_ms - self.now_ms - need_ms
        return laxity

    def needs_ms(self, charger: Charger, wh: int) -> int:
        """How long so much energy takes at full power, in ms."""
        power_va = charger.max_ma * self.lines[charger.place] * self.mv // 1000000
        return max(wh, 0) * 3600000 // power_va if power_va > 0 else 0


def _add(sums: list[int], part: tuple[int, ...], sign: int) -> None:
    """Add a part to the sums of its place, or take it away."""
    for i in range(1, len(sums)):
        sums[i] += sign * part[i]


def differing(
    now: list[int] | list[bool] | tuple[Charger, ...], before: list[int] | list[bool] | tuple[Charger, ...]
) -> list[int]:
    """Where two lists of the same length differ. Mostly they do not, and slices are compared fast."""
    out = []
    for at in range(0, len(now), SLICE):
        if now[at : at + SLICE] != before[at : at + SLICE]:
            out += [k for k in range(at, min(at + SLICE, len(now))) if now[k] != before[k]]
    return out


def _waits(row: Charger) -> bool:
    """Is there a car that waits for energy?"""
    waits: bool = row.plug == WAITING and row.need_wh > NEED_MARGIN_WH
    return waits


def _idle(row: Charger) -> int:
    """Why a charger has no session that control could serve."""
    if row.silent:
        return SILENT
    if row.plug == WAITING:
        return DONE if row.need_wh <= NEED_MARGIN_WH else FAULT
    return _IDLE_REASON.get(row.plug, FAULT)


def _follow(unit: Unit, row: Charger, idle: bool, now_ms: int) -> Unit:
    """Remember what has changed at a charger. On is who was told so: a start that was never sent is none."""
    told = row.set_ma
    on = told >= MIN_MA
    new = not unit.id
    since_ms = unit.since_ms if unit.on == on else now_ms
    raised_ms = now_ms if told > unit.told_ma and not new else unit.raised_ms
    late = row.ma > told + OBEY_MA and not row.silent
    late_ms = NEVER if not late else now_ms if unit.late_ms == NEVER else unit.late_ms
    idle_ms = NEVER if not idle else now_ms if unit.idle_ms == NEVER else unit.idle_ms
    tries = 0 if row.plug != WAITING else unit.tries
    delay_ms = unit.delay_ms
    if new:
        spread = 0
        for letter in row.id:
            spread = (spread * 33 + ord(letter)) % 65536
        # Ids that follow one another are set apart by the golden section.
        delay_ms = spread * 40503 % 65536 * STAGGER_MS // 65536
    if unit.on and not on and unit.idle_ms != NEVER and now_ms - unit.idle_ms >= WAKE_MS:
        tries += 1
    return Unit(
        row.id,
        told,
        on,
        since_ms,
        raised_ms,
        late_ms,
        idle_ms,
        tries,
        delay_ms,
        unit.cap_ma,
        unit.cap_ms if on else NEVER,
    )


def _capped(unit: Unit, cap_ma: int, now_ms: int) -> Unit:
    """Remember that its car uses no more than this."""
    return Unit(
        unit.id, unit.told_ma, unit.on, unit.since_ms, unit.raised_ms, unit.late_ms, unit.idle_ms, unit.tries,
        unit.delay_ms, cap_ma, now_ms,
    )  # fmt: skip
