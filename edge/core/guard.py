"""The guard: the last gate before anything is sent. It may lower, and drop a raise or a renewal; it never raises.

It trusts nothing of control's: its constants, its lateness clock and its sum are its own. It starts with no authority.
"""

from collections import namedtuple

from edge.core.model import (
    BOOT,
    HOLD,
    LEND_PERMILLE_MAX,
    MIN_MA,
    NEVER,
    OVERBOOKED,
    PHASES,
    SAFE,
    SETTLED_EXTRA_MA,
    SHED,
    SILENT,
    Charger,
    Command,
    Meter,
    Place,
    Settings,
    Snapshot,
    base_load,
    believable,
    binding,
    fold,
    mean_mv,
    proven_draw,
    va_of,
)

LIMIT_PERMILLE_MAX = 1000
HOLD_MS, HOLD_PERIODS = 5000, 3
SAFE_MS, SAFE_PERIODS = 10000, 5
LEASE_MS_MAX = 61000 + 1200
"""One full lease with its drift and grace: before that, setpoints of an earlier controller may still hold."""
OVER_MS = 3000
HOT_PERMILLE = 900
HOT_GAP_MS = 1000
HOT_ZERO_MS = 10000
LAND_MS = 10000
"""What was taken back counts as gone for so long; what still flows then is not coming back by itself."""
RECOVER_SAMPLES = 10
RECOVER_MS = 30000
OFTEN = 4
OFTEN_MS = 3600000
OFTEN_RECOVER_MS = 600000
"""More than three times in SAFE within an hour: something is wrong that passes for well; the way back takes longer."""

# The states, in the order of how much the guard lets through.
STARTING, NORMAL, HOLDING, SAFING = range(4)

State = namedtuple(
    "State",
    (
        "mode",
        "boot_ms",  # when this controller started
        "sample_ms",  # the last reading, by the time it was asked for
        "fresh",  # fresh readings in a row
        "safe_ms",  # when the guard last had reason to be in SAFE
        "over_ms",  # since when the transformer is over the limit, or NEVER
        "hot_ms",  # since when it is over 90 %, or NEVER
        "entries",  # when it last went to SAFE, newest last
    ),
)


def start(now_ms: int) -> State:
    """The state of a guard that has just started: no authority."""
    return State(STARTING, now_ms, NEVER, 0, NEVER, NEVER, NEVER, ())


def vet(
    state: State, snapshot: Snapshot, commands: tuple[Command, ...], settings: Settings, now_ms: int
) -> tuple[State, tuple[Command, ...]]:
    """Gate one tick's commands. Returns ``(state, commands)``; no command leaves higher than it came or than allowed.

    ``commands`` are control's, one a charger. What comes in another order is sorted, what is missing is held where it
    is without a renewal, what nobody knows is dropped.
    """
    commands = _in_order(snapshot, commands)
    before_ms = state.sample_ms
    state = _judge(state, snapshot, settings, now_ms)
    if state.mode == STARTING:
        return state, _fall_back(snapshot, commands, BOOT)
    if state.mode == SAFING:
        return state, _fall_back(snapshot, commands, SAFE)
    commands = _admissible(snapshot, commands)
    meter = snapshot.meter
    if state.mode == HOLDING or meter is None or meter.at_ms != state.sample_ms:
        return state, _no_raise(snapshot, commands, HOLD)
    commands = _within_line(snapshot, commands, settings)
    return state, _shed(state, snapshot, commands, settings, state.sample_ms != before_ms)


def _in_order(snapshot: Snapshot, commands: tuple[Command, ...]) -> tuple[Command, ...]:
    """One command for each charger of the snapshot, in its order."""
    chargers = snapshot.chargers
    if [command.id for command in commands] == [charger.id for charger in chargers]:
        return commands
    given = {command.id: command for command in commands}
    return tuple(
        given[charger.id] if charger.id in given else _lower(_held(charger), charger.max_ma, HOLD, False)
        for charger in chargers
    )


def _held(charger: Charger) -> Command:
    return Command(charger.id, _present(charger), HOLD, -1, False)


def _judge(state: State, snapshot: Snapshot, settings: Settings, now_ms: int) -> State:
    """Move to the next state: from the age of the meter, the time since the start, and what the reading says."""
    meter = snapshot.meter
    fresh, sample_ms = state.fresh, state.sample_ms
    over_ms, hot_ms = state.over_ms, state.hot_ms
    if _is_sample(meter, snapshot, sample_ms, now_ms):
        sample_ms = meter.at_ms
        fresh += 1
        limit = _limit_permille(snapshot)
        over_ms = _since(over_ms, _above(meter, settings, limit), sample_ms)
        hot_ms = _since(hot_ms, _above(meter, settings, max(limit, HOT_PERMILLE)), sample_ms)
    age_ms = now_ms - sample_ms
    hold_after_ms = max(HOLD_MS, HOLD_PERIODS * settings.period_ms)
    safe_after_ms = max(SAFE_MS, SAFE_PERIODS * settings.period_ms)
    safe_ms, entries = state.safe_ms, state.entries
    if age_ms > hold_after_ms:
        fresh = 0
    if age_ms > safe_after_ms:
        safe_ms = now_ms
    mode = _mode(state, fresh, age_ms, hold_after_ms, safe_after_ms, now_ms)
    if mode == SAFING and state.mode != SAFING:
        entries += (now_ms,)
        entries = entries[-OFTEN:]
    return State(mode, state.boot_ms, sample_ms, fresh, safe_ms, over_ms, hot_ms, entries)


def _is_sample(meter: Meter, snapshot: Snapshot, sample_ms: int, now_ms: int) -> bool:
    """Is this a new reading, of the past, and one that can be? Anything else lets the last one grow old."""
    if meter is None or not sample_ms < meter.at_ms <= now_ms:
        return False
    return believable(meter, proven_draw(snapshot))


def _mode(state: State, fresh: int, age_ms: int, hold_after_ms: int, safe_after_ms: int, now_ms: int) -> int:
    if state.mode == STARTING:
        waited = now_ms - state.boot_ms > LEASE_MS_MAX
        return NORMAL if waited and fresh >= 3 else STARTING
    if age_ms > safe_after_ms:
        return SAFING
    if state.mode == SAFING:
        often = len(state.entries) == OFTEN and now_ms - state.entries[0] < OFTEN_MS
        recovered = fresh >= RECOVER_SAMPLES and now_ms - state.safe_ms >= (OFTEN_RECOVER_MS if often else RECOVER_MS)
        return NORMAL if recovered else SAFING
    return HOLDING if age_ms > hold_after_ms else NORMAL


def _since(since_ms: int, holds: bool, now_ms: int) -> int:
    """When a condition began: kept while it holds, NEVER when it does not."""
    if not holds:
        return NEVER
    return now_ms if since_ms == NEVER else since_ms


def _limit_permille(snapshot: Snapshot) -> int:
    limit: int = min(snapshot.limit_permille, LIMIT_PERMILLE_MAX)
    return limit


def _above(meter: Meter, settings: Settings, permille: int) -> bool:
    """Is S, or the worst phase's current, above this share of its rating? Export is no reason to cut cars."""
    total: bool = meter.s_va * 1000 > settings.rated_va * permille
    return total or max(meter.ma) * 1000 > int(settings.rated_ma) * permille


def _lower(command: Command, ma: int, reason: int, renew: bool) -> Command:
    """The command at no more than ``ma``; never a value between 0 and 6 A."""
    ma = min(command.ma, ma)
    return Command(command.id, ma if ma >= MIN_MA else 0, reason, -1, renew)


def _fall_back(snapshot: Snapshot, commands: tuple[Command, ...], reason: int) -> tuple[Command, ...]:
    """Everybody to the lower of present and fallback, and not above control's wish; no lease is renewed."""
    out = []
    for k, command in enumerate(commands):
        charger = snapshot.chargers[k]
        present = max(charger.set_ma, charger.allowed_ma)
        out.append(_lower(command, min(present, charger.fallback_ma), reason, False))
    return tuple(out)


def _present(charger: Charger) -> int:
    """Above this a command is a raise: what was last sent, and no more than may still flow (a lease may have ended)."""
    present: int = min(charger.set_ma, charger.possible_ma)
    return present


def _admissible(snapshot: Snapshot, commands: tuple[Command, ...]) -> tuple[Command, ...]:
    """A charger that has gone silent gets neither a raise nor a renewal, and nobody what no charger may take."""
    out = None
    for k, (command, charger) in enumerate(zip(commands, snapshot.chargers)):  # noqa: B905 - MicroPython
        ma = command.ma
        if charger.silent:
            better = _lower(command, _present(charger), SILENT, False)
        elif ma and not MIN_MA <= ma <= charger.max_ma:
            better = _lower(command, charger.max_ma, command.reason, command.renew)
        else:
            continue
        if out is None:
            out = list(commands)
        out[k] = better
    return commands if out is None else tuple(out)


def _no_raise(snapshot: Snapshot, commands: tuple[Command, ...], reason: int) -> tuple[Command, ...]:
    """Nothing above what is present."""
    out = []
    for k, command in enumerate(commands):
        charger = snapshot.chargers[k]
        present = _present(charger)
        out.append(_lower(command, present, reason, command.renew) if command.ma > present else command)
    return tuple(out)


def _within_line(snapshot: Snapshot, commands: tuple[Command, ...], settings: Settings) -> tuple[Command, ...]:
    """Drop raises, wherever what may flow after them would pass the limit itself. Settled chargers lend, up to 3 %."""
    count = len(snapshot.places)
    may, lent = [0] * count, [0] * count
    raised = []
    for k, (row, command) in enumerate(zip(snapshot.chargers, commands)):  # noqa: B905 - MicroPython
        ma, most = command.ma, row.possible_ma
        if ma > most:
            most = ma
            raised.append(k)
        elif ma > row.set_ma:
            raised.append(k)
        if most:
            place = row.place
            may[place] += most
            if row.settled and not row.silent and row.ma + SETTLED_EXTRA_MA < most:
                lent[place] += most - row.ma - SETTLED_EXTRA_MA
    if not raised:
        return commands
    shut = _shut(snapshot, settings, may, lent)
    out = list(commands)
    for k in raised:
        charger, command = snapshot.chargers[k], commands[k]
        if shut[charger.place]:
            out[k] = _lower(command, _present(charger), OVERBOOKED, command.renew)
    return tuple(out)


def _shut(snapshot: Snapshot, settings: Settings, may: list[int], lent: list[int]) -> list[bool]:
    """At which places do residents and what may flow, less what is lent, pass the limit? Sums in mA, by place."""
    meter, places, feeders = snapshot.meter, snapshot.places, len(snapshot.feeders)
    base = _base(meter, proven_draw(snapshot), snapshot)
    flows, lends = fold(places, may, feeders), fold(places, lent, feeders)
    rated = _rated(snapshot, settings, mean_mv(meter))
    limit = _limit_permille(snapshot)
    full = [
        base[i] + flows[i] - min(lends[i], rated[i] * LEND_PERMILLE_MAX // 1000)
        > rated[i] * (limit if i < 4 else 1000) // 1000
        for i in range(len(rated))
    ]
    return [full[3] or any(full[i] for i in binding(place, feeders)) for place in places]


def _base(meter: Meter, draw: list[int], snapshot: Snapshot) -> list[int]:
    """Residents' load by constraint, mA."""
    a, b, c, base_va = base_load(meter, draw)
    base = [a, b, c, base_va * 1000000 // mean_mv(meter)]
    for feeder in snapshot.feeders:
        base += feeder.ma
    return base


def _rated(snapshot: Snapshot, settings: Settings, mv: int) -> list[int]:
    """The rating of each constraint, mA."""
    rated = [settings.rated_ma, settings.rated_ma, settings.rated_ma, settings.rated_va * 1000000 // mv]
    for feeder in snapshot.feeders:
        rated += [feeder.limit_ma] * 3
    return rated


def _shed(
    state: State, snapshot: Snapshot, commands: tuple[Command, ...], settings: Settings, fresh: bool
) -> tuple[Command, ...]:
    """Over the limit for 3 s, or over 90 % twice: cut one and a half times the excess; still hot after 10 s: all off.

    Each reading cuts once: what it shows is not seen to be cured before the next.
    """
    over = state.over_ms != NEVER and state.sample_ms - state.over_ms >= OVER_MS
    hot = state.hot_ms != NEVER and state.sample_ms - state.hot_ms >= HOT_GAP_MS
    if not over and not hot:
        return commands
    commands = _no_raise(snapshot, commands, SHED)
    if not fresh:
        return commands
    if hot and state.sample_ms - state.hot_ms > HOT_ZERO_MS:
        return tuple(_lower(c, 0, SHED, c.renew) for c in commands)
    return _cut(snapshot, commands, settings, state.sample_ms - state.over_ms < LAND_MS)


def _cut(snapshot: Snapshot, commands: tuple[Command, ...], settings: Settings, landing: bool) -> tuple[Command, ...]:
    """Cut 1.5 times the excess: who draws most first, to 6 A, then to nothing. ``landing``: earlier cuts count."""
    meter = snapshot.meter
    mv = mean_mv(meter)
    limit = _limit_permille(snapshot)
    excess = [(meter.ma[p] - settings.rated_ma * limit // 1000) * 3 // 2 for p in PHASES]
    excess.append((meter.s_va - settings.rated_va * limit // 1000) * 3 // 2)
    order = []
    for k in range(len(commands)):
        charger, command = snapshot.chargers[k], commands[k]
        draws = 0 if charger.silent else charger.ma
        if landing and draws > command.ma:
            _give(excess, snapshot.places[charger.place], draws - command.ma, mv)
        order.append([-min(draws, command.ma), command.id, k])
    order.sort()
    out = list(commands)
    for floor in (MIN_MA, 0):
        for row in order:
            have, k = -row[0], row[2]
            charger = snapshot.chargers[k]
            want = _wanted_ma(excess, snapshot.places[charger.place], mv)
            if want <= 0 or have <= floor:
                continue
            keep = max((have - want) // 1000 * 1000, floor)
            out[k] = _lower(out[k], keep, SHED, out[k].renew)
            row[0] = -out[k].ma
            _give(excess, snapshot.places[charger.place], have - out[k].ma, mv)
    return tuple(out)


def _give(excess: list[int], place: Place, ma: int, mv: int) -> None:
    """Take what a charger gives back off the excess: mA on three phases, then VA."""
    for p in PHASES:
        if place.phases >> p & 1:
            excess[p] -= ma
    excess[3] -= va_of(ma, place.lines, mv)


def _wanted_ma(excess: list[int], place: Place, mv: int) -> int:
    """What this charger alone would have to give for the excess to end, in mA."""
    want: int = excess[3] * 1000000 // (place.lines * mv)
    for p in PHASES:
        if place.phases >> p & 1 and excess[p] > want:
            want = excess[p]
    return want
