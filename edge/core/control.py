"""The control law: ``step(state, snapshot, settings, now_ms)`` gives the new state and one command for each charger.

Residents come first: what the meter sees less what the chargers prove they draw is theirs. Of what is left below the
limit, running cars keep what they have, the car with the least laxity is served first, and nothing stands between 0 and
6 A. A cut acts on the reading that shows the need; a raise waits until several fresh readings agree and climbs slowly.
The step reads no clock, sends nothing and keeps no state of its own.
"""

from collections import namedtuple

from edge.core.model import (
    CHARGING,
    DONE,
    FAULT,
    FAULTED,
    FINISHED,
    FULL,
    MIN_MA,
    NEVER,
    NO_CAR,
    PHASES,
    RAMPING,
    REST,
    SHARED,
    SILENT,
    UNPLUGGED,
    WAIT_ROOM,
    WAIT_VALLEY,
    Command,
    base_load,
    mean_mv,
    proven_draw,
    va_of,
)

RAISE_PERMILLE_PER_10S = 20
"""All raises together climb at most this share of the rating in 10 s (facts: 2 % per 10 s)."""

RAISE_INTERVAL_MS = 5000
"""A charger's own setpoint goes up at most this often (IEC 61851-1: the pilot changes at most every 5 s)."""

START_MA = 9000
"""A start needs room for 1.5 times the minimum: a car begun on the last ampere is stopped by the next kettle."""

REST_MS = 300000
"""A stopped car rests this long: contactors wear, and cars do not like to be woken twice."""

RUN_MS = 900000
"""A started car runs at least this long before another may take its place (rotation, 15 min)."""

SWAP_MS = 1800000
"""A waiting car replaces a running one only when its laxity is smaller by this."""

URGENT_MS = 3600000
"""Below this laxity a car no longer waits for the valley, nor for others to finish."""

VALLEY_BASE_PERMILLE = 500
"""Cautious day-one forecast: residents' valley load as a share of the highest load seen.

The peak-valley difference rate of the studied communities is 50 to 60 %, so their valley is 400 to 500.
"""

VALLEY_USE_PERMILLE = 850
"""How much of the room in the valley is counted on: cars leave before its end, taper, and draw 95 % of the allowance."""

NEED_MARGIN_WH = 50

Unit = namedtuple("Unit", ("since_ms", "on", "raised_ms"))
"""What control remembers of a charger: since when it is on or off, and its last raise."""

State = namedtuple("State", ("units", "bases", "sample_ms", "peak_va", "credit_va", "credit_ms"))
"""``bases``: the last base loads, newest last; ``peak_va``: the highest base seen; ``credit_va``: raise still allowed."""

Room = namedtuple("Room", ("ma", "va"))
"""Headroom: mA for each phase (a list) and VA in total (a list of one): they shrink as they are given away."""


def start():
    """The state of a controller that has seen nothing."""
    return State({}, (), NEVER, 0, 0, NEVER)


def step(state, snapshot, settings, now_ms):
    """One decision. Returns ``(state, commands)``, one command a charger, in the order of ``snapshot.chargers``.

    Without a meter reading, or with the same reading as before, nothing is raised. Bad input (no chargers, a departure
    in the past, a negative need) yields a defined command, never an exception.
    """
    state, fresh = _observe(state, snapshot, settings, now_ms)
    plan = _Plan(state, snapshot, settings, now_ms)
    if state.bases:
        plan.cut(_room(settings, snapshot.limit_permille, state.bases[-1]))
        if fresh and len(state.bases) >= settings.raise_samples:
            plan.share(_room(settings, snapshot.limit_permille, _worst(state.bases)))
    return plan.finish()


def _observe(state, snapshot, settings, now_ms):
    """Take the reading in, once: the base it shows, the raise credit it brings."""
    meter = snapshot.meter
    if meter is None or meter.at_ms <= state.sample_ms:
        return state, False
    base = base_load(meter, proven_draw(snapshot.chargers, mean_mv(meter)))
    bases = (state.bases + (base,))[-settings.raise_samples :]
    rate_va = settings.rated_va * RAISE_PERMILLE_PER_10S // 1000
    elapsed_ms = min(max(now_ms - state.credit_ms, 0), 10000)
    # A small transformer needs time to earn the start of one car; a large one must not save up for a jump.
    cap_va = max(rate_va, 4500)
    credit_va = min(state.credit_va + rate_va * elapsed_ms // 10000, cap_va)
    peak_va = max(state.peak_va, base[3])
    return State(state.units, bases, meter.at_ms, peak_va, credit_va, now_ms), True


def _worst(bases):
    """The highest of the recent base loads on each phase and in total."""
    return tuple(max(base[k] for base in bases) for k in range(4))


def _room(settings, limit_permille, base):
    """Headroom = limit - margin - base, per phase and in total; negative when residents alone are above it."""
    line = limit_permille - settings.margin_permille
    line_ma = settings.rated_ma * line // 1000
    return Room([line_ma - base[p] for p in PHASES], [settings.rated_va * line // 1000 - base[3]])


def laxity_ms(charger, mv, now_ms):
    """Time to departure less the time still needed at full power, in ms; negative once the request cannot be met."""
    power_va = va_of(charger.max_ma, charger.lines, mv)
    need_ms = max(charger.need_wh, 0) * 3600000 // power_va if power_va > 0 else 0
    return charger.depart_ms - now_ms - need_ms


class _Plan:
    """The working sheet of one step: a target for each charger, changed in place until it is finished."""

    def __init__(self, state, snapshot, settings, now_ms):
        self.state = state
        self.snapshot = snapshot
        self.settings = settings
        self.now_ms = now_ms
        self.mv = mean_mv(snapshot.meter) if snapshot.meter is not None else 220000
        self.target = {}
        self.reason = {}
        self.phase = {}
        self.laxity = {}
        self.running = []  # (laxity, id, charger), the most relaxed first
        self.waiting = []  # the most urgent first
        for charger in snapshot.chargers:
            self._admit(charger)
        self.running.sort(key=_by_laxity)
        self.running.reverse()
        self.waiting.sort(key=_by_laxity)

    def _admit(self, charger):
        """Sort a charger into running, waiting or neither, and give it what it has."""
        name = charger.id
        self.phase[name] = -1
        if charger.silent or charger.plug not in (1, CHARGING):
            self.target[name] = 0
            self.reason[name] = SILENT if charger.silent else _IDLE_REASON.get(charger.plug, FAULT)
            return
        laxity = laxity_ms(charger, self.mv, self.now_ms)
        self.laxity[name] = laxity
        if charger.need_wh <= NEED_MARGIN_WH and charger.plug != CHARGING:
            self.target[name] = 0
            self.reason[name] = DONE
        elif charger.set_ma >= MIN_MA and charger.possible_ma >= MIN_MA:
            self.target[name] = min(charger.set_ma, charger.max_ma)
            self.reason[name] = FULL if charger.set_ma >= charger.max_ma else SHARED
            self.running.append((laxity, name, charger))
        else:
            self.target[name] = 0
            self.reason[name] = WAIT_ROOM
            self.waiting.append((laxity, name, charger))

    def _book(self, room):
        """Take from the room what every charger may draw: its target, or more if more is still possible."""
        a = b = c = va = 0
        target = self.target
        for charger in self.snapshot.chargers:
            ma = target[charger.id]
            if charger.possible_ma > ma:
                ma = charger.possible_ma
            if ma:
                phases = charger.phases
                if phases & 1:
                    a += ma
                if phases & 2:
                    b += ma
                if phases & 4:
                    c += ma
                va += va_of(ma, charger.lines, self.mv)
        return Room([room.ma[0] - a, room.ma[1] - b, room.ma[2] - c], [room.va[0] - va])

    def cut(self, room):
        """Lower targets until they fit into ``room``: the most relaxed car first, to 6 A, then to nothing.

        What a charger may still draw from an earlier setpoint is no reason to cut others: it is already on its way down.
        """
        need = Room([-room.ma[p] for p in PHASES], [-room.va[0]])
        for charger in self.snapshot.chargers:
            beyond = charger.possible_ma if charger.silent else min(charger.possible_ma, charger.fallback_ma)
            self._spend(need, charger, -max(self.target[charger.id], beyond))
        if _fits(need):
            return
        for floor in (MIN_MA, 0):
            for _, name, charger in self.running:
                have = self.target[name]
                if have > floor and _presses(need, charger.phases):
                    keep = max(floor, have - _excess_ma(need, charger, self.mv))
                    if keep < MIN_MA:
                        keep = 0
                    self._spend(need, charger, have - keep)
                    self.target[name] = keep
                    self.reason[name] = SHARED if keep else WAIT_ROOM
                    self.phase[name] = _tightest(need, charger.phases)
                if _fits(need):
                    return

    def _spend(self, room, charger, ma):
        """Take ``ma`` of a charger from a room (a negative ``ma`` gives back)."""
        for p in PHASES:
            if charger.phases >> p & 1:
                room.ma[p] -= ma
        room.va[0] -= va_of(ma, charger.lines, self.mv)

    def share(self, room):
        """Give what is free: more to running cars, then a start to waiting ones, the least laxity first."""
        free = self._book(room)
        credit = [self.state.credit_va]
        wanted = self._make_way(free)
        for _, name, charger in reversed(self.running):
            have = self.target[name]
            if 0 < have < charger.max_ma and not wanted & charger.phases:
                self._raise(charger, have, charger.max_ma, free, credit)
        early = self._early()
        for laxity, name, charger in self.waiting:
            if not (early is None or name in early or laxity < URGENT_MS):
                self.reason[name] = WAIT_VALLEY
            elif self._rests(name):
                self.reason[name] = REST
            else:
                self._raise(charger, 0, charger.max_ma, free, credit)
        self.state = State(
            self.state.units,
            self.state.bases,
            self.state.sample_ms,
            self.state.peak_va,
            credit[0],
            self.state.credit_ms,
        )

    def _raise(self, charger, have, most, free, credit):
        """Raise one charger as far as room, credit and its own pace allow; whole amperes, 0 or 6 A and above."""
        name = charger.id
        unit = self.state.units.get(name)
        room_ma = _room_ma(free, charger, self.mv)
        # What it may still draw from before is already booked: up to there a raise costs nothing more.
        booked = max(have, charger.possible_ma)
        unit_va = max(va_of(1000, charger.lines, self.mv), 1)
        step_ma = min(room_ma, credit[0] * 1000 // unit_va)
        goal = min(booked + step_ma, most) // 1000 * 1000
        least_ma = START_MA if have == 0 and self.laxity[name] >= 0 else 1000
        if room_ma < least_ma or goal < MIN_MA or goal <= have:
            tight = room_ma < least_ma
            self.phase[name] = _tightest(free, charger.phases) if tight else -1
            if not tight:
                self.reason[name] = RAMPING
            return
        if have and unit is not None and self.now_ms - unit.raised_ms < RAISE_INTERVAL_MS:
            return
        extra = max(goal - booked, 0)
        self._spend(free, charger, extra)
        credit[0] -= va_of(extra, charger.lines, self.mv)
        self.target[name] = goal
        self.reason[name] = FULL if goal >= charger.max_ma else RAMPING

    def _make_way(self, free):
        """Urgent cars that find no room take it from relaxed ones: minimum before more, then rotation.

        Returns the mask of phases on which somebody urgent still waits, where nobody else is raised meanwhile.
        """
        wanted = 0
        for laxity, name, charger in self.waiting:
            if laxity >= URGENT_MS:
                break
            if self._rests(name) or _room_ma(free, charger, self.mv) >= MIN_MA:
                continue
            wanted |= charger.phases
            short_ma = MIN_MA - max(_room_ma(free, charger, self.mv), 0)
            if self._take(short_ma, charger, laxity):
                break  # one swap a step: what it frees is spent when it is proven free
        return wanted

    def _take(self, short_ma, charger, laxity):
        """Lower relaxed running cars on the same phases by ``short_ma``; stop one when all are at 6 A."""
        for floor in (MIN_MA, 0):
            for other_laxity, name, other in self.running:
                have = self.target[name]
                if other_laxity < laxity + SWAP_MS or not other.phases & charger.phases or have <= floor:
                    continue
                unit = self.state.units.get(name)
                if floor == 0 and unit is not None and self.now_ms - unit.since_ms < RUN_MS:
                    continue
                cut_ma = min(have - floor, short_ma) if floor else have
                self.target[name] = have - cut_ma
                self.reason[name] = SHARED if floor else WAIT_ROOM
                short_ma -= cut_ma
                if short_ma <= 0:
                    return True
        return False

    def _rests(self, name):
        unit = self.state.units.get(name)
        return unit is not None and not unit.on and 0 <= self.now_ms - unit.since_ms < REST_MS

    def _early(self):
        """Which cars may charge before the valley: a set of ids, or None when all may.

        Those whose own need would not fit, and, the least laxity first, as many as exceed the room that the valley is
        expected to have on their phase.
        """
        wait_ms = self.snapshot.valley_in_ms
        if wait_ms <= 0:
            return None
        valley_ms = self.snapshot.valley_ms
        over_wh = self._beyond_valley_wh(valley_ms)
        early = set()
        for laxity, name, charger in self.waiting:
            need_wh = charger.need_wh
            usable_ms = min(charger.depart_ms - self.now_ms - wait_ms, valley_ms)
            power_va = max(va_of(charger.max_ma, charger.lines, self.mv), 1)
            # Alone in the valley it would need this long; half of the valley is the most it may count on.
            alone = need_wh * 3600000 // power_va * 2 > usable_ms
            over = [p for p in PHASES if charger.phases >> p & 1 and over_wh[p] > 0]
            if alone or over:
                early.add(name)
            for p in over:
                over_wh[p] -= _phase_wh(charger)
        return early

    def _beyond_valley_wh(self, valley_ms):
        """Energy asked for beyond what the valley is expected to have room for, on each phase, in Wh."""
        line_va = self.settings.rated_va * (self.snapshot.limit_permille - self.settings.margin_permille) // 1000
        base_va = self.state.peak_va * VALLEY_BASE_PERMILLE // 1000
        room_va = max(line_va - base_va, 0) // 3
        room_wh = room_va * (valley_ms // 1000) // 3600 * VALLEY_USE_PERMILLE // 1000
        over_wh = [-room_wh, -room_wh, -room_wh]
        for _, _, charger in self.waiting + self.running:
            for p in PHASES:
                if charger.phases >> p & 1:
                    over_wh[p] += _phase_wh(charger)
        return over_wh

    def finish(self):
        """Write the commands down, and remember who was switched or raised."""
        units = {}
        commands = []
        for charger in self.snapshot.chargers:
            name = charger.id
            ma = self.target[name]
            unit = self.state.units.get(name)
            on = ma >= MIN_MA
            if unit is None:
                unit = Unit(self.now_ms if on else NEVER, on, NEVER)
            elif unit.on != on:
                unit = Unit(self.now_ms, on, unit.raised_ms)
            if ma > charger.set_ma:
                unit = Unit(unit.since_ms, unit.on, self.now_ms)
            units[name] = unit
            commands.append(Command(name, ma, self.reason[name], self.phase[name], True))
        state = self.state
        return (
            State(units, state.bases, state.sample_ms, state.peak_va, state.credit_va, state.credit_ms),
            tuple(commands),
        )


_IDLE_REASON = {UNPLUGGED: NO_CAR, FINISHED: DONE, FAULTED: FAULT}


def _by_laxity(row):
    """Sort key ending in the id: the same order on every interpreter."""
    return row[0], row[1]


def _phase_wh(charger):
    """Energy still asked for on each of its phases, in Wh."""
    return max(charger.need_wh, 0) // (3 if charger.lines == 3 else 1)


def _fits(need):
    """Is nothing over? ``need`` holds the excess of each line, positive when over."""
    return need.ma[0] <= 0 and need.ma[1] <= 0 and need.ma[2] <= 0 and need.va[0] <= 0


def _presses(need, phases):
    """Would lowering a charger on these phases help?"""
    if need.va[0] > 0:
        return True
    return any(need.ma[p] > 0 for p in PHASES if phases >> p & 1)


def _excess_ma(need, charger, mv):
    """How much this charger would have to give for the need to be met by it alone, in mA, whole amperes up."""
    ma = max(need.va[0], 0) * 1000000 // max(charger.lines * mv, 1)
    for p in PHASES:
        if charger.phases >> p & 1 and need.ma[p] > ma:
            ma = need.ma[p]
    return (ma + 999) // 1000 * 1000


def _room_ma(free, charger, mv):
    """What is free for this charger, in mA: its tightest phase, or the transformer as a whole."""
    ma = free.va[0] * 1000000 // max(charger.lines * mv, 1)
    for p in PHASES:
        if charger.phases >> p & 1 and free.ma[p] < ma:
            ma = free.ma[p]
    return ma


def _tightest(free, phases):
    """The phase that binds a charger, or -1 when it is the transformer as a whole."""
    low = [p for p in PHASES if phases >> p & 1]
    worst = min(low, key=lambda p: free.ma[p]) if low else -1
    return worst if len(low) < 3 else -1
