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
    WAITING,
    Charger,
    Command,
    Settings,
    Snapshot,
    base_load,
    believable,
    mean_mv,
    proven_draw,
    va_of,
)

RAISE_PERMILLE_PER_10S = 20
"""All raises together climb by this share of the rating in 10 s; after a rest, once by twice as much."""

RAISE_INTERVAL_MS = 5000
"""A charger's own setpoint goes up at most this often (IEC 61851-1: the pilot changes at most every 5 s)."""

START_MA = 9000
"""A start needs room for 1.5 times the minimum: a car begun on the last ampere is stopped by the next kettle.

An urgent car takes the bare minimum.
"""

REST_MS = 300000
"""A stopped car rests this long: contactors wear, and cars do not like to be woken twice."""

RUN_MS = 900000
"""A started car runs at least this long before another may take its place (rotation, 15 min)."""

LATE_MS = 10000
"""A charger that for so long draws more than it was told disobeys: it counts as measured (a car follows within 5 s)."""

OBEY_MA = 1000
"""Drawing this much more than told is still obeying: chargers round, and their meters are class 1 to 2."""

GAP_MS, GAP_PERIODS = 5000, 3
"""Readings further apart than this do not agree with each other: the proof for a raise begins anew."""

CREDIT_VA_MIN = 5500
"""What even a small transformer may save up: the start of one three-phase car, 6 A at up to 300 V."""

SWAP_MS = 1800000
"""A waiting car replaces a running one only when its laxity is smaller by this."""

URGENT_MS = 3600000
"""Below this laxity a car no longer waits for the valley, nor for others to finish."""

VALLEY_BASE_PERMILLE = 500
"""Cautious day-one forecast: residents' valley load as a share of the highest load seen.

The peak-valley difference rate of the studied communities is 50 to 60 %, so their valley is 400 to 500.
"""

VALLEY_USE_PERMILLE = 850
"""How much of the room in the valley is counted on: cars leave early, taper, and draw 95 % of the allowance."""

NEED_MARGIN_WH = 50

Unit = namedtuple("Unit", ("since_ms", "on", "raised_ms", "late_ms"))
"""What control remembers of a charger: since when it is on or off, its last raise, since when it disobeys."""

State = namedtuple("State", ("units", "bases", "sample_ms", "peak_va", "credit_va", "credit_ms"))
"""``bases``: the last base loads, newest last; ``peak_va``: the highest one; ``credit_va``: raise still allowed."""


def start() -> State:
    """The state of a controller that has seen nothing."""
    return State({}, (), NEVER, 0, 0, NEVER)


def step(state: State, snapshot: Snapshot, settings: Settings, now_ms: int) -> tuple[State, tuple[Command, ...]]:
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


def _observe(state: State, snapshot: Snapshot, settings: Settings, now_ms: int) -> tuple[State, bool]:
    """Take the reading in, once: the base it shows, the raise credit it brings."""
    meter = snapshot.meter
    if meter is None or meter.at_ms <= state.sample_ms:
        return state, False
    draw = proven_draw(snapshot.chargers, mean_mv(meter))
    if not believable(meter, draw):
        return state, False
    base = base_load(meter, draw)
    together = meter.at_ms - state.sample_ms <= max(GAP_MS, GAP_PERIODS * settings.period_ms)
    bases = ((state.bases if together else ()) + (base,))[-settings.raise_samples :]
    rate_va = settings.rated_va * RAISE_PERMILLE_PER_10S // 1000
    elapsed_ms = min(max(now_ms - state.credit_ms, 0), 10000)
    # A small transformer needs time to earn the start of one car; a large one must not save up for a jump.
    cap_va = max(rate_va, CREDIT_VA_MIN)
    credit_va = min(state.credit_va + rate_va * elapsed_ms // 10000, cap_va)
    peak_va = max(state.peak_va, base[3])
    return State(state.units, bases, meter.at_ms, peak_va, credit_va, now_ms), True


def _worst(bases: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
    """The highest of the recent base loads on each phase and in total."""
    return tuple(max(base[k] for base in bases) for k in range(4))


def _room(settings: Settings, limit_permille: int, base: tuple[int, ...]) -> list[int]:
    """Headroom = limit - margin - base: mA on each phase, then VA in total; negative where residents are above."""
    line = limit_permille - settings.margin_permille
    line_ma = settings.rated_ma * line // 1000
    room = [line_ma - base[p] for p in PHASES]
    room.append(settings.rated_va * line // 1000 - base[3])
    return room


def laxity_ms(charger: Charger, mv: int, now_ms: int) -> int:
    """Time to departure less the time still needed at full power, in ms; negative once the request cannot be met."""
    power_va = va_of(charger.max_ma, charger.lines, mv)
    need_ms = max(charger.need_wh, 0) * 3600000 // power_va if power_va > 0 else 0
    laxity: int = charger.depart_ms - now_ms - need_ms
    return laxity


class _Plan:
    """The working sheet of one step: a target for each charger, changed in place until it is finished."""

    def __init__(self, state: State, snapshot: Snapshot, settings: Settings, now_ms: int) -> None:
        self.state = state
        self.snapshot = snapshot
        self.settings = settings
        self.now_ms = now_ms
        self.mv = mean_mv(snapshot.meter) if snapshot.meter is not None else 220000
        self.target: dict[str, int] = {}
        self.reason: dict[str, int] = {}
        self.phase: dict[str, int] = {}
        self.laxity: dict[str, int] = {}
        self.late: set[str] = set()  # who disobeys
        self.running: list[tuple[int, str, Charger]] = []  # (laxity, id, charger), the most relaxed first
        self.waiting: list[tuple[int, str, Charger]] = []  # the most urgent first
        for charger in snapshot.chargers:
            self._admit(charger)
        self.running.sort(key=_by_laxity)
        self.running.reverse()
        self.waiting.sort(key=_by_laxity)

    def _admit(self, charger: Charger) -> None:
        """Sort a charger into running, waiting or neither, and give it what it has."""
        name = charger.id
        self.phase[name] = -1
        unit = self.state.units.get(name)
        if unit is not None and unit.late_ms != NEVER and self.now_ms - unit.late_ms >= LATE_MS:
            self.late.add(name)
        if charger.silent or charger.plug not in (WAITING, CHARGING):
            self.target[name] = 0
            self.reason[name] = SILENT if charger.silent else _IDLE_REASON.get(charger.plug, FAULT)
            return
        laxity = laxity_ms(charger, self.mv, self.now_ms)
        self.laxity[name] = laxity
        if charger.need_wh <= NEED_MARGIN_WH and charger.plug != CHARGING:
            self.target[name] = 0
            self.reason[name] = DONE
        elif charger.max_ma < MIN_MA:
            self.target[name] = 0
            self.reason[name] = FAULT
        elif charger.set_ma >= MIN_MA and charger.possible_ma >= MIN_MA:
            self.target[name] = min(charger.set_ma, charger.max_ma)
            self.reason[name] = FULL if charger.set_ma >= charger.max_ma else SHARED
            self.running.append((laxity, name, charger))
        else:
            self.target[name] = 0
            self.reason[name] = WAIT_ROOM
            self.waiting.append((laxity, name, charger))

    def _book(self, room: list[int]) -> list[int]:
        """Take from the room what every charger may draw: its target, or more if more is still possible."""
        a = b = c = va = 0
        target = self.target
        for charger in self.snapshot.chargers:
            ma = max(target[charger.id], charger.possible_ma)
            if ma:
                phases = charger.phases
                if phases & 1:
                    a += ma
                if phases & 2:
                    b += ma
                if phases & 4:
                    c += ma
                va += va_of(ma, charger.lines, self.mv)
        return [room[0] - a, room[1] - b, room[2] - c, room[3] - va]

    def cut(self, room: list[int]) -> None:
        """Lower targets until they fit into ``room``: the most relaxed car first, to 6 A, then to nothing.

        What a charger may still draw from an earlier setpoint is no reason to cut others: it is on its way down.
        """
        free = self._landed(room)
        for floor in (MIN_MA, 0):
            for _, name, charger in self.running:
                if min(free) >= 0:
                    return
                have = self.target[name]
                if have <= floor or not _presses(free, charger.phases):
                    continue
                over_ma = (999 - _room_ma(free, charger, self.mv)) // 1000 * 1000
                keep = max(floor, have - over_ma)
                if keep < MIN_MA:
                    keep = 0
                self.phase[name] = _tightest(free, charger, self.mv)
                self.reason[name] = SHARED if keep else WAIT_ROOM
                self.target[name] = keep
                beyond = self._beyond(charger)
                self._spend(free, charger, max(keep, beyond) - max(have, beyond))

    def _landed(self, room: list[int]) -> list[int]:
        """What is left of the room once everything on its way has landed; negative where it is too much."""
        free = list(room)
        for charger in self.snapshot.chargers:
            ma = max(self.target[charger.id], self._beyond(charger))
            if ma:
                self._spend(free, charger, ma)
        return free

    def _beyond(self, charger: Charger) -> int:
        """What a charger keeps drawing whatever its target is, in mA."""
        beyond: int = 0
        if charger.silent:
            # What it draws is in the base, for it proves nothing; what it may draw on top of that comes here.
            beyond = max(charger.possible_ma - charger.ma, charger.fallback_ma)
        elif charger.id in self.late:
            beyond = charger.ma
        elif charger.set_ma < MIN_MA:
            beyond = min(charger.possible_ma, charger.fallback_ma)
        return beyond

    def _spend(self, room: list[int], charger: Charger, ma: int) -> None:
        """Take ``ma`` of a charger from a room (a negative ``ma`` gives back)."""
        for p in PHASES:
            if charger.phases >> p & 1:
                room[p] -= ma
        room[3] -= va_of(ma, charger.lines, self.mv)

    def share(self, room: list[int]) -> None:
        """Give what is free: more to running cars, then a start to waiting ones, the least laxity first."""
        free = self._book(room)
        credit = [self.state.credit_va]
        wanted = self._make_way(free, self._landed(room))
        for _, name, charger in reversed(self.running):
            have = self.target[name]
            if 0 < have < charger.max_ma and not wanted & charger.phases:
                self._raise(charger, have, free, credit)
        early = self._early()
        for laxity, name, charger in self.waiting:
            if not (early is None or name in early or laxity < URGENT_MS):
                self.reason[name] = WAIT_VALLEY
            elif self._rests(name):
                self.reason[name] = REST
            else:
                self._raise(charger, 0, free, credit)
        self.state = State(
            self.state.units,
            self.state.bases,
            self.state.sample_ms,
            self.state.peak_va,
            credit[0],
            self.state.credit_ms,
        )

    def _raise(self, charger: Charger, have: int, free: list[int], credit: list[int]) -> None:
        """Raise one charger as far as room, credit and its own pace allow; whole amperes, 0 or 6 A and above."""
        name = charger.id
        unit = self.state.units.get(name)
        room_ma = _room_ma(free, charger, self.mv)
        most = charger.max_ma // 1000 * 1000
        # What it may still draw from before is already booked: up to there a raise costs nothing more.
        booked = max(have, charger.possible_ma)
        unit_va = max(va_of(1000, charger.lines, self.mv), 1)
        step_ma = min(room_ma, credit[0] * 1000 // unit_va)
        goal = min(booked + step_ma, most) // 1000 * 1000
        if have:
            tight = room_ma < 1000
        else:
            tight = room_ma < 0 or booked + room_ma < (START_MA if self.laxity[name] >= URGENT_MS else MIN_MA)
        if tight or goal < MIN_MA or goal <= have:
            self.phase[name] = _tightest(free, charger, self.mv) if tight else -1
            if not tight:
                self.reason[name] = FULL if have >= most else RAMPING
            return
        if have and unit is not None and self.now_ms - unit.raised_ms < RAISE_INTERVAL_MS:
            return
        extra = max(goal - booked, 0)
        self._spend(free, charger, extra)
        credit[0] -= va_of(extra, charger.lines, self.mv)
        self.target[name] = goal
        self.reason[name] = FULL if goal >= most else RAMPING

    def _make_way(self, free: list[int], landed: list[int]) -> int:
        """Urgent cars that find no room take it from relaxed ones: minimum before more, then rotation.

        What is already on its way down (``landed``) is waited for, not taken again. Returns the mask of phases on which
        somebody urgent still waits, where nobody else is raised meanwhile.
        """
        wanted = 0
        for laxity, name, charger in self.waiting:
            if laxity >= URGENT_MS:
                break
            if self._rests(name) or _room_ma(free, charger, self.mv) >= MIN_MA:
                continue
            wanted |= charger.phases
            short_ma = MIN_MA - max(_room_ma(landed, charger, self.mv), 0)
            tightest = _tightest(landed, charger, self.mv)
            if short_ma <= 0 or self._take(short_ma, 7 if tightest < 0 else 1 << tightest, laxity):
                break  # one swap a step: what it frees is spent when it is proven free
        return wanted

    def _take(self, short_ma: int, phases: int, laxity: int) -> bool:
        """Lower relaxed running cars on the phases that bind by ``short_ma``; stop one when all are at 6 A."""
        for floor in (MIN_MA, 0):
            for other_laxity, name, other in self.running:
                have = self.target[name]
                if other_laxity < laxity + SWAP_MS or not other.phases & phases or have <= floor:
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

    def _rests(self, name: str) -> bool:
        unit = self.state.units.get(name)
        return unit is not None and not unit.on and 0 <= self.now_ms - unit.since_ms < REST_MS

    def _early(self) -> set[str] | None:
        """Which cars may charge before the valley: a set of ids, or None when all may.

        Those whose own need would not fit, and, the least laxity first, as many as exceed the room that the valley is
        expected to have on their phase.
        """
        wait_ms = self.snapshot.valley_in_ms
        if wait_ms <= 0:
            return None
        valley_ms = self.snapshot.valley_ms
        over_wh = self._beyond_valley_wh(valley_ms)
        early: set[str] = set()
        for _, name, charger in self.waiting:
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

    def _beyond_valley_wh(self, valley_ms: int) -> list[int]:
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

    def finish(self) -> tuple[State, tuple[Command, ...]]:
        """Write the commands down, and remember who was switched or raised."""
        units = {}
        commands = []
        for charger in self.snapshot.chargers:
            name = charger.id
            ma = self.target[name]
            unit = self.state.units.get(name)
            # On is who was told so: a start that the guard drops or the broker does not take is none.
            on = ma >= MIN_MA and charger.set_ma >= MIN_MA
            late = not charger.silent and charger.ma > charger.set_ma + OBEY_MA
            if unit is None:
                unit = Unit(self.now_ms if on else NEVER, on, NEVER, NEVER)
            since_ms = unit.since_ms if unit.on == on else self.now_ms
            raised_ms = self.now_ms if ma > charger.set_ma else unit.raised_ms
            late_ms = NEVER if not late else self.now_ms if unit.late_ms == NEVER else unit.late_ms
            units[name] = Unit(since_ms, on, raised_ms, late_ms)
            commands.append(Command(name, ma, self.reason[name], self.phase[name], True))
        state = self.state
        return (
            State(units, state.bases, state.sample_ms, state.peak_va, state.credit_va, state.credit_ms),
            tuple(commands),
        )


_IDLE_REASON = {UNPLUGGED: NO_CAR, FINISHED: DONE, FAULTED: FAULT}


def _by_laxity(row: tuple[int, str, Charger]) -> tuple[int, str]:
    """Sort key ending in the id: the same order on every interpreter."""
    return row[0], row[1]


def _phase_wh(charger: Charger) -> int:
    """Energy still asked for on each of its phases, in Wh."""
    wh: int = max(charger.need_wh, 0) // (3 if charger.lines == 3 else 1)
    return wh


def _presses(free: list[int], phases: int) -> bool:
    """Would lowering a charger on these phases help?"""
    if free[3] < 0:
        return True
    return any(free[p] < 0 for p in PHASES if phases >> p & 1)


def _room_ma(free: list[int], charger: Charger, mv: int) -> int:
    """What is free for this charger, in mA: its tightest phase, or the transformer as a whole; negative when over."""
    ma: int = free[3] * 1000000 // max(charger.lines * mv, 1)
    for p in PHASES:
        if charger.phases >> p & 1 and free[p] < ma:
            ma = free[p]
    return ma


def _tightest(free: list[int], charger: Charger, mv: int) -> int:
    """The phase that binds a charger, or -1 when it is the transformer as a whole."""
    ma: int = free[3] * 1000000 // max(charger.lines * mv, 1)
    tightest = -1
    for p in PHASES:
        if charger.phases >> p & 1 and free[p] < ma:
            ma, tightest = free[p], p
    return tightest
