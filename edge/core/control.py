"""The control law: ``step(state, snapshot, settings, now_ms)`` gives the new state and one command for each charger.

Residents come first: what the meter sees less what the chargers prove they draw is theirs. Every five minutes, and when
a car comes, a *review* ranks the sessions (edge/core/rank.py) and says who is to have how much of what is left below
the limit. Between reviews the tick follows it: a cut acts on the reading that shows the need, the most relaxed car
first; a raise waits until several fresh readings agree and climbs slowly, the most urgent car first. Nothing stands
between 0 and 6 A. The step reads no clock, sends nothing and keeps no state of its own.
"""

from collections import namedtuple

from edge.core import rank
from edge.core.model import (
    FULL,
    MIN_MA,
    NEVER,
    RAMPING,
    SHARED,
    UNCONTROLLED,
    WAIT_ROOM,
    WAIT_TURN,
    Charger,
    Command,
    Settings,
    Snapshot,
    base_load,
    feeder_base,
    fold,
)
from edge.core.sheet import READY_REASONS, Sheet, differing, nothing

RAISE_PERMILLE_PER_10S = 20
"""All raises together climb by this share of the rating in 10 s."""

RAISE_INTERVAL_MS = 5000
"""A charger's own setpoint goes up at most this often (IEC 61851-1: the pilot changes at most every 5 s)."""

START_MA = 9000
"""A start needs room for 1.5 times the minimum: a car begun on the last ampere is stopped by the next kettle.

An urgent car takes the bare minimum.
"""

URGENT_MS = 3600000
"""Urgent is whose laxity, as the last review saw it, is less."""

REVIEW_MS = 300000
"""How often the order is made anew. Made anew every minute it costs half an on/off more a car and brings nothing."""

NEW_MS = 60000
"""How soon after a review a car that has just come gets its place."""

CUT_PERMILLE = 4
"""Of the margin so much is left to residents' ripple: what is given ends at the line, what is cut begins above this.

Without it the ripple of single seconds holds the mean a percent of all charging below the line.
"""

GAP_MS, GAP_PERIODS = 5000, 3
"""Readings further apart than this do not agree with each other: the proof for a raise begins anew."""

SAMPLES, SAMPLES_SLOW, SLOW_MS = 5, 3, 5000
"""So many readings must agree before anything is raised; of a meter that is read no faster than this, fewer."""

OUTAGE_MS = 60000
"""After so long without a reading, starts are staggered."""

CALM_MS = 300000
"""The memory of the highest base load, which a start must respect, fades over this."""

CREDIT_MA_MIN = 25000
"""What even a small transformer may save up, on all conductors: the start of one three-phase car, 6 A, and some."""

State = namedtuple(
    "State",
    (
        "units",  # tuple of Unit, in the order of the chargers
        "commands",  # the last commands
        "chargers",  # the chargers as the last step saw them
        "bases",  # the last base loads, by constraint in mA, newest last
        "calm",  # the highest of them, fading
        "sample_ms",  # the last reading
        "credit_ma",  # raise still allowed, mA on all conductors together
        "credit_ms",
        "limit_permille",
        "release_ms",  # when something last set many starts free together
        "review",  # the last ranking (edge/core/rank.py)
        "book",  # the last sheet (edge/core/sheet.py)
        "feeders",  # what was seen of each feeder (Seen)
    ),
)

Seen = namedtuple(
    "Seen",
    (
        "sample_ms",  # the last reading of its own meter
        "bases",  # residents behind it, mA (a, b, c), newest last
        "release_ms",  # when its meter last came, or came back after an outage
    ),
)

UNSEEN = Seen(NEVER, (), NEVER)


_NOTHING = Command("", 0, 0, -1, True)


def start() -> State:
    """The state of a controller that has seen nothing."""
    return State((), (), (), (), (), NEVER, 0, NEVER, 0, NEVER, rank.nothing(), nothing(), ())


def step(state: State, snapshot: Snapshot, settings: Settings, now_ms: int) -> tuple[State, tuple[Command, ...]]:
    """One decision. Returns ``(state, commands)``, one command a charger, in the order of ``snapshot.chargers``.

    ``now_ms`` never goes back. Without a meter reading, or with the same reading as before, nothing is raised. Bad
    input (no chargers, a departure in the past, a negative need) yields a defined command, never an exception.
    """
    law = _Law(state, snapshot, settings, now_ms)
    fresh = law.observe()
    if law.bases and not law.cut() and fresh and len(law.bases) >= settings.raise_samples:
        law.share()
    return law.finish()


class _Law:
    """One step over one sheet."""

    def __init__(self, state: State, snapshot: Snapshot, settings: Settings, now_ms: int) -> None:
        self.state, self.snapshot, self.settings, self.now_ms = state, snapshot, settings, now_ms
        self.sheet = Sheet(snapshot, settings, now_ms)
        self.release_ms = self._release_ms()
        self.feeders = list(state.feeders)
        if len(self.feeders) != len(snapshot.feeders):
            self.feeders = [UNSEEN] * len(snapshot.feeders)
        self._release_feeders()
        release = releases(self.release_ms, self.feeders, snapshot)
        self.sheet.admit(state.units, state.chargers, state.review.ranked, release, state.book)
        self.book = self.sheet.add_up(state.book)
        self.bases, self.calm, self.sample_ms = state.bases, state.calm, state.sample_ms
        if self.bases and len(self.bases[-1]) != len(self.sheet.rated()):
            self.bases = ()  # other feeders than before: what was seen of them does not fit
        self.credit_ma, self.credit_ms = state.credit_ma, state.credit_ms
        self.review = state.review
        self.kept_ma = 0
        self.over: list[bool] = []
        self.kept_free: list[int] = []

    def _release_ms(self) -> int:
        """When something last set many starts free together: a limit that rose, a meter that came back, or came."""
        state, meter = self.state, self.snapshot.meter
        if self.snapshot.limit_permille > state.limit_permille > 0:
            return self.now_ms
        if meter is not None and meter.at_ms - state.sample_ms > _outage_ms(self.settings.period_ms):
            return self.now_ms
        since_ms: int = state.release_ms
        return since_ms

    def observe(self) -> bool:
        """Take the reading in, once: the base it shows, the raise credit it brings. Is it a new one?"""
        sheet, meter, period_ms = self.sheet, self.snapshot.meter, self.settings.period_ms
        if meter is None or meter.at_ms <= self.sample_ms:
            return False
        a, b, c, base_va = base_load(meter, sheet.draw)
        base = [a, b, c, base_va * 1000000 // sheet.mv]
        for k in range(len(self.feeders)):
            base += self._feeder_base(k)
        gap_ms = meter.at_ms - self.sample_ms
        alike = len(self.calm) == len(base)
        together = alike and gap_ms <= _gap_ms(period_ms)
        self.bases = ((self.bases if together else ()) + (tuple(base),))[-self.settings.raise_samples :]
        self.calm = _fade(self.calm, base, min(gap_ms, CALM_MS)) if alike else tuple(base)
        self.sample_ms = meter.at_ms
        self._earn()
        return True

    def _release_feeders(self) -> None:
        """A feeder whose meter comes, or comes back, sets the starts behind it free together."""
        for k, feeder in enumerate(self.snapshot.feeders):
            seen, meter = self.feeders[k], feeder.meter
            if meter is not None and meter.at_ms - seen.sample_ms > _outage_ms(feeder.period_ms):
                self.feeders[k] = Seen(seen.sample_ms, seen.bases, self.now_ms)

    def _feeder_base(self, k: int) -> list[int]:
        """Residents behind a feeder, as its own meter shows them; the last ones until it says something new."""
        feeder, seen = self.snapshot.feeders[k], self.feeders[k]
        meter, bases = feeder.meter, seen.bases
        if meter is not None and meter.at_ms > seen.sample_ms:
            together = meter.at_ms - seen.sample_ms <= _gap_ms(feeder.period_ms)
            base = tuple(feeder_base(meter, self.sheet.draw, k))
            bases = ((bases if together else ()) + (base,))[-samples(feeder.period_ms) :]
            self.feeders[k] = Seen(meter.at_ms, bases, seen.release_ms)
        return list(bases[-1]) if bases else [0, 0, 0]

    def _feeders_usual(self, usual: list[int], highest: list[int]) -> None:
        """The median, and the highest, of each feeder's own readings: a slow meter's one proves no more said again."""
        for k, seen in enumerate(self.feeders):
            for p in range(3 if seen.bases else 0):
                column = sorted([row[p] for row in seen.bases])
                usual[4 + 3 * k + p], highest[4 + 3 * k + p] = column[len(column) // 2], column[-1]

    def _blind(self, free: list[int]) -> None:
        """Nothing is free behind a feeder whose meter is late, or has not said enough yet."""
        for k, feeder in enumerate(self.snapshot.feeders):
            seen = self.feeders[k]
            late = self.now_ms - seen.sample_ms > _gap_ms(feeder.period_ms)
            proven = len(seen.bases) >= samples(feeder.period_ms) and not late
            if feeder.period_ms and (feeder.meter is None or not proven):
                for i in range(4 + 3 * k, 7 + 3 * k):
                    free[i] = min(free[i], 0)

    def _earn(self) -> None:
        """Credit grows with time. A small transformer needs time to earn one start; a large one saves up no jump."""
        rate_ma = self.sheet.rated()[3] * RAISE_PERMILLE_PER_10S // 1000
        span_ms = max(10000, self.settings.period_ms)
        elapsed_ms = min(max(self.now_ms - self.credit_ms, 0), span_ms)
        cap_ma = max(rate_ma * span_ms // 10000, CREDIT_MA_MIN)
        self.credit_ma = min(self.credit_ma + rate_ma * elapsed_ms // 10000, cap_ma)
        self.credit_ms = self.now_ms

    # ------------------------------------------------------------------------------------------------ down, at once
    def cut(self) -> bool:
        """Lower targets until they fit: the most relaxed car first, to 6 A, then to nothing. Was anybody lowered?

        What a charger may still draw from an earlier setpoint is no reason to cut others: it is on its way down.
        """
        sheet = self.sheet
        margin_permille = self.settings.margin_permille
        line, base = sheet.line(max(margin_permille - CUT_PERMILLE, 0)), self.bases[-1]
        self.over = [base[i] >= line[i] for i in range(len(line))]
        free = [line[i] - base[i] - sheet.landed[i] for i in range(len(line))]
        if min(free) >= 0:
            return False
        order = self._relaxed_first()
        before = list(sheet.target)
        for floor in (MIN_MA, 0):
            for k in order:
                if sheet.target[k] > floor and min(free) < 0:
                    self._lower(k, floor, free)
        return sheet.target != before

    def _relaxed_first(self) -> list[int]:
        """The running cars, the most relaxed first; those that no review has seen yet before all others."""
        target, ranked = self.sheet.target, self.review.ranked
        new = [k for k in range(len(target)) if target[k] and not (k < len(ranked) and ranked[k])]
        return new + [k for k in reversed(self.review.order) if k < len(target) and target[k]]

    def _lower(self, k: int, floor: int, free: list[int]) -> None:
        """Lower one car as far as its constraints need, not below ``floor``; whole amperes."""
        sheet = self.sheet
        place = self.snapshot.chargers[k].place
        spare, where = sheet.room(place, free)
        if spare >= 0:
            return
        draws = sheet.draws(k)
        keep = min(max((draws + spare) // 1000 * 1000, floor), sheet.target[k]) if floor else 0
        sheet.target[k] = keep
        sheet.say(k, SHARED if keep else UNCONTROLLED if self._alone(place) else WAIT_ROOM, where)
        less = draws - min(draws, keep)
        if self.snapshot.places[place].known:
            sheet.spend(free, k, -less)
        else:
            free[3] += less  # on which phase it helps, if there, nobody knows: who is sure to help is cut beside it

    def _alone(self, place: int) -> bool:
        """Are residents alone, and piles outside control, above the line that binds the chargers here?"""
        return self.over[3] or any(self.over[i] for i in self.sheet.bind[place])

    # --------------------------------------------------------------------------------------- up, slowly and in order
    def share(self) -> None:
        """Give what is free, the most urgent first: more to who runs, a start to who waits."""
        sheet = self.sheet
        # The median for what is expected, so that no single reading raises; the highest for what there may be.
        usual, base = [], []
        for i in range(len(self.bases[0])):
            column = sorted([row[i] for row in self.bases])
            usual.append(column[len(column) // 2])
            base.append(column[-1])
        self._feeders_usual(usual, base)
        free = sheet.free(usual, base, self.settings.margin_permille)
        self._blind(free)
        since_ms = self.now_ms - self.review.at_ms
        if since_ms >= REVIEW_MS or (sheet.unseen and since_ms >= NEW_MS) or sheet.hurry:
            self._review(free)
            self._yield(free)
        swing = [max(self.calm[i] - usual[i], 0) for i in range(len(usual))]
        short = self._serve(self.review.served, free, swing, self.review.give, [])
        if free[3] >= MIN_MA or True in self.over:
            self._serve(self.review.order, free, swing, [], short)
        elif free[3] >= 1000:
            self._serve(self.review.served, free, swing, [], short)

    def _calm(self, room: list[tuple[int, int]], free: list[int], swing: list[int]) -> list[tuple[int, int]]:
        """The room by place less what a start must leave free for residents' swings.

        That is as much as running cars could not give back without a stop.
        """
        if max(swing) <= 0:
            return room
        if not self.kept_free:
            sheet, chargers = self.sheet, self.snapshot.chargers
            above = [0] * len(sheet.bind)
            for k in self.review.order:
                if k < len(chargers) and sheet.target[k] > MIN_MA:
                    above[chargers[k].place] += sheet.target[k] - MIN_MA
            loose = fold(self.snapshot.places, above, len(self.snapshot.feeders))
            self.kept_free = [max(swing[i] - loose[i], 0) for i in range(len(swing))]
        left = [free[i] - self.kept_free[i] for i in range(len(free))]
        return [self.sheet.room(place, left) for place in range(len(self.sheet.bind))]

    def _serve(
        self, order: list[int], free: list[int], swing: list[int], upto: list[int], short: list[int]
    ) -> list[int]:
        """Walk an order once: everybody up to what the review gives, or, without ``upto``, as far as there is room.

        What there is room for is kept by place and looked up, so that who waits costs little. Returns the constraints
        that keep somebody short of what the review gives; who is bound by one of them (``short``) gets no more yet.
        """
        sheet, chargers = self.sheet, self.snapshot.chargers
        target, reason, phase = sheet.target, sheet.reason, sheet.phase
        alone = [self._alone(place) for place in range(len(sheet.bind))]
        room = [sheet.room(place, free) for place in range(len(sheet.bind))]
        held = [3 in short or any(i in short for i in bind) for bind in sheet.bind]
        calm: list[tuple[int, int]] = []
        lacking: list[int] = []
        many = len(target)
        # Most have what they may have, or wait for another hour: a comprehension passes over them fast.
        if upto:
            order = [k for k in order if k < many and upto[k] > target[k]]
        else:
            order = [k for k in order if k < many and target[k] < chargers[k].max_ma]
        for k in order:
            have = target[k]
            if not have and reason[k] not in READY_REASONS:
                continue
            charger = chargers[k]
            if have >= charger.max_ma or held[charger.place]:
                continue
            spare, where = room[charger.place]
            if have:
                given = self._raise(k, charger, spare, where, upto)
            elif charger.possible_ma + spare < MIN_MA:
                reason[k], phase[k] = UNCONTROLLED if alone[charger.place] else WAIT_ROOM, -1 if where == 3 else where
                given = 0
            else:
                if not calm:
                    calm = self._calm(room, free, swing)
                given = self._begin(k, charger, room[charger.place], calm[charger.place], upto)
            if given:
                sheet.spend(free, k, given)
                calm = []
                room = [sheet.room(place, free) for place in range(len(sheet.bind))]
            if upto and target[k] < upto[k] and reason[k] != FULL:
                self._lacks(charger.place, upto[k] - target[k], free, lacking)
        return lacking

    def _lacks(self, place: int, ma: int, free: list[int], lacking: list[int]) -> None:
        """Note every constraint that cannot carry so much more here, and the tightest one in any case.

        Each of a three-phase car's phases: were only one kept free for it, others would fill the rest meanwhile.
        """
        lines = self.sheet.lines[place]
        tightest = self.sheet.room(place, free)[1]
        for i in self.sheet.bind[place] + (3,):
            if i not in lacking and (i == tightest or free[i] < ma * (lines if i == 3 else 1)):
                lacking.append(i)

    def _review(self, free: list[int]) -> None:
        """Rank all sessions and share among them what is free and what they have."""
        sheet = self.sheet
        rows = []
        room = list(free)
        tight = [False] * len(sheet.bind)
        for k, charger in enumerate(self.snapshot.chargers):
            if sheet.session[k] and charger.aim_wh < charger.need_wh:
                tight[charger.place] = True
        for k, charger in enumerate(self.snapshot.chargers):
            if not sheet.session[k]:
                continue
            have = sheet.target[k]
            costs = sheet.draws(k)
            if have:
                sheet.spend(room, k, -costs)
            use = aims = self._most(k, charger.need_wh)
            if charger.aim_wh < charger.need_wh and charger.depart_ms - self.now_ms <= rank.LAST_MS:
                aims = self._most(k, charger.aim_wh)
            on_ms = self.now_ms - sheet.units[k].since_ms
            # Who has what is aimed for goes on only while it is nearly done: the rest is what others still lack.
            goes_on = charger.aim_wh > 0 or (have > 0 and sheet.needs_ms(charger, charger.need_wh) < rank.RUN_MS)
            laxity_ms = sheet.laxity_ms(charger)
            key = rank.key_ms(laxity_ms, have > 0 and goes_on, tight[charger.place], charger.now, charger.prio)
            rows.append(
                rank.Row(
                    key if goes_on else key + rank.AIMED_MS,
                    k,
                    charger.place,
                    have,
                    costs,
                    use,
                    aims,
                    have > 0 and 0 <= on_ms < rank.RUN_MS,
                    have > 0 or sheet.reason[k] in READY_REASONS,
                    laxity_ms < URGENT_MS,
                )
            )
        count = len(self.snapshot.chargers)
        self.review = rank.review(rows, count, room, sheet.bind, sheet.lines, self.now_ms)

    def _most(self, k: int, wh: int) -> int:
        """The most a session can use for so much energy until the next reading, whole amperes."""
        lines = self.sheet.lines[self.snapshot.chargers[k].place]
        return rank.useful_ma(wh, self.sheet.most(k), lines, self.sheet.mv, self.settings.period_ms)

    def _yield(self, free: list[int]) -> None:
        """Make way: who has more than the review gives lowers it, as far as others are short of what it gives them."""
        sheet, give = self.sheet, self.review.give
        left = [max(ma, 0) for ma in free]
        for k in self.review.order:
            if give[k] > sheet.target[k]:
                sheet.spend(left, k, give[k] - sheet.target[k])
        for k in reversed(self.review.order):
            less = sheet.target[k] - give[k]
            if less > 0 and sheet.room(self.snapshot.chargers[k].place, left)[0] < 0:
                sheet.target[k] = give[k]
                sheet.say(k, SHARED if give[k] else WAIT_TURN)
                sheet.spend(left, k, -less)

    def _raise(self, k: int, charger: Charger, spare: int, where: int, upto: list[int]) -> int:
        """More for a running car, as far as room, credit and its own pace allow. Returns what it takes, mA."""
        sheet = self.sheet
        have, most = sheet.target[k], self._most(k, charger.need_wh)
        if have >= most:
            sheet.say(k, FULL)
            return 0
        booked = self._booked(charger, have)
        if booked + spare < have + 1000:
            sheet.say(k, SHARED, where)
            return 0
        sheet.say(k, RAMPING)
        if self.now_ms - sheet.units[k].raised_ms < RAISE_INTERVAL_MS:
            return 0
        return self._grant(k, booked, spare, upto[k] if upto else most, most)

    def _begin(self, k: int, charger: Charger, room: tuple[int, int], calm: tuple[int, int], upto: list[int]) -> int:
        """Start a waiting car where there is room for more than the minimum, or for the minimum when it is urgent.

        ``room``: what is free here; ``calm``: less for residents' swings, for which only an urgent car does not wait.
        """
        sheet = self.sheet
        booked = self._booked(charger, 0)
        needed = MIN_MA
        spare, where = room
        if not charger.now and not self.review.soon[k]:
            needed = MIN_MA if self.review.give[k] else START_MA
            spare, where = calm
        if spare < 0 or booked + spare < needed:
            sheet.say(k, UNCONTROLLED if self._alone(charger.place) else WAIT_ROOM, where)
            return 0
        sheet.say(k, RAMPING)
        most = self._most(k, charger.need_wh)
        given = self._grant(k, booked, spare, upto[k] if upto else most, most)
        if not sheet.target[k]:
            sheet.again.append(k)  # its start waits for credit, and who comes after it must leave it that
            self.kept_ma = max(self.kept_ma, MIN_MA * sheet.lines[charger.place])
        return given

    def _booked(self, charger: Charger, have: int) -> int:
        """Up to there a raise takes no room: what may still flow of what it was told is booked already.

        What it says it draws above that is past, or a mere claim: the meter may have seen it gone.
        """
        ma, told = charger.ma, _told(charger)
        booked: int = ma if charger.settled else told if ma > told else max(have, charger.possible_ma)
        return booked

    def _grant(self, k: int, booked: int, spare: int, upto: int, most: int) -> int:
        """Raise a target by what room allows above ``booked``, and credit above what it was told.

        Returns what it takes of the room, mA.
        """
        sheet, charger = self.sheet, self.snapshot.chargers[k]
        lines = sheet.lines[charger.place]
        credit_ma = max(self.credit_ma - self.kept_ma, 0)
        told = min(booked, _told(charger))
        goal = min(booked + spare, told + credit_ma // lines, upto, most) // 1000 * 1000
        if goal < MIN_MA or goal <= sheet.target[k]:
            return 0
        extra: int = max(goal - booked, 0)
        sheet.target[k] = goal
        sheet.say(k, FULL if goal >= most else RAMPING)
        self.credit_ma -= max(goal - told, 0) * lines
        return extra

    # ------------------------------------------------------------------------------------------------------- the end
    def finish(self) -> tuple[State, tuple[Command, ...]]:
        """Write the commands down. One that has not changed stays the same object."""
        sheet, old, chargers = self.sheet, self.state.book, self.snapshot.chargers
        target, reason, phase = sheet.target, sheet.reason, sheet.phase
        if sheet.known:
            commands = list(self.state.commands)
            moved = differing(target, old.target) + differing(reason, old.reason) + differing(phase, old.phase)
        else:
            commands = [_NOTHING] * len(chargers)
            moved = list(range(len(chargers)))
        for k in moved:
            commands[k] = Command(chargers[k].id, target[k], reason[k], phase[k], True)
        done = tuple(commands)
        state = State(
            tuple(sheet.units),
            done,
            chargers,
            self.bases,
            self.calm,
            self.sample_ms,
            self.credit_ma,
            self.credit_ms,
            self.snapshot.limit_permille,
            self.release_ms,
            self.review,
            self.book,
            tuple(self.feeders),
        )
        return state, done


def releases(release_ms: int, feeders: list[Seen] | tuple[Seen, ...], snapshot: Snapshot) -> list[int]:
    """By place: when something last set many starts free together, for all or behind the feeder there."""
    return [
        max(release_ms, feeders[place.feeder].release_ms) if 0 <= place.feeder < len(feeders) else release_ms
        for place in snapshot.places
    ]


def _told(charger: Charger) -> int:
    """What a charger has by what it was told last, or takes by itself, whatever it says that it draws, mA."""
    told: int = min(charger.possible_ma, max(charger.set_ma, charger.fallback_ma))
    return told


def samples(period_ms: int) -> int:
    """How many readings of a meter that is read so often must agree before anything is raised on them."""
    return SAMPLES if period_ms < SLOW_MS else SAMPLES_SLOW


def _gap_ms(period_ms: int) -> int:
    """Readings further apart do not agree with each other."""
    return max(GAP_MS, GAP_PERIODS * period_ms)


def _outage_ms(period_ms: int) -> int:
    """A meter that was away for longer sets starts free together when it is back."""
    return max(OUTAGE_MS, GAP_PERIODS * period_ms)


def _fade(calm: tuple[int, ...], base: list[int], gap_ms: int) -> tuple[int, ...]:
    """The highest base load of late: rises at once, falls slowly towards the present one."""
    return tuple([max(base[i], calm[i] - (calm[i] - base[i]) * gap_ms // CALM_MS) for i in range(len(base))])
