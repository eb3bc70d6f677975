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
    Feeder,
    Meter,
    Settings,
    Snapshot,
    base_load,
    believable,
    binding,
    feeder_base,
    feeder_believable,
    fold,
    mean_mv,
    proven_draw,
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
        "feeders",  # the same of each feeder's meter; a feeder without one is watched by what its chargers say
    ),
)


def start(now_ms: int) -> State:
    """The state of a guard that has just started: no authority."""
    return State(STARTING, now_ms, NEVER, 0, NEVER, NEVER, NEVER, (), ())


def vet(
    state: State, snapshot: Snapshot, commands: tuple[Command, ...], settings: Settings, now_ms: int
) -> tuple[State, tuple[Command, ...]]:
    """Gate one tick's commands. Returns ``(state, commands)``; no command leaves higher than it came or than allowed.

    ``commands`` are control's, one a charger. What comes in another order is sorted, what is missing is held where it
    is without a renewal, what nobody knows is dropped.
    """
    commands = _in_order(snapshot, commands)
    before = state
    state = _watch(before, snapshot, settings, now_ms)
    if state.mode == STARTING:
        return state, _fall_back(snapshot, commands, BOOT)
    if state.mode == SAFING:
        # A feeder whose own meter shows too much is cut all the same, below the fallback if need be.
        return state, _shed(before, state, snapshot, _fall_back(snapshot, commands, SAFE), settings, True)
    commands = _admissible(snapshot, commands)
    meter = snapshot.meter
    blind = meter is None or meter.at_ms != state.sample_ms
    if blind or state.mode == HOLDING:
        commands = _no_raise(snapshot, commands, HOLD)
    else:
        commands = _within_line(snapshot, commands, settings)
    commands = _feeder_doubts(state, snapshot, commands)
    return state, _shed(before, state, snapshot, commands, settings, blind)


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


def _watch(state: State, snapshot: Snapshot, settings: Settings, now_ms: int) -> State:
    """Move to the next state, of the transformer and of each feeder: what their meters say, and how old that is."""
    draw = proven_draw(snapshot)
    meter, limit = snapshot.meter, _limit_permille(snapshot)
    sample = _is_sample(meter, state.sample_ms, now_ms) and believable(meter, draw)
    over = sample and _above(meter, settings, limit)
    hot = sample and _above(meter, settings, max(limit, HOT_PERMILLE))
    judged = _judge(state, meter, sample, over, hot, settings.period_ms, now_ms)
    watches = []
    for k, feeder in enumerate(snapshot.feeders):
        old = state.feeders[k] if k < len(state.feeders) else _unproven(now_ms)
        if feeder.period_ms:
            own = feeder.meter
            sees = _is_sample(own, old.sample_ms, now_ms) and feeder_believable(own, draw, k)
            over = sees and max(_feeder_flow(feeder, draw, k)) > feeder.limit_ma
            watches.append(_judge(old, own, sees, over, False, feeder.period_ms, now_ms))
        else:
            over = max(_feeder_flow(feeder, draw, k)) > feeder.limit_ma
            watches.append(_judge(old, meter, sample, over, False, settings.period_ms, now_ms))
    return State(
        judged.mode, judged.boot_ms, judged.sample_ms, judged.fresh, judged.safe_ms, judged.over_ms, judged.hot_ms,
        judged.entries, tuple(watches),
    )  # fmt: skip


def _feeder_flow(feeder: Feeder, draw: list[int], at: int) -> list[int]:
    """What flows on a feeder's phases, mA: as its meter shows, and no less than its chargers prove."""
    proven = draw[4 + 3 * at : 7 + 3 * at]
    return proven if feeder.meter is None else [max(feeder.meter.ma[p], proven[p]) for p in PHASES]


def _unproven(now_ms: int) -> State:
    """A feeder of which nothing is known yet: its chargers stay at their fallback until its meter has proved itself."""
    return State(SAFING, now_ms, NEVER, 0, now_ms, NEVER, NEVER, (), ())


def _judge(state: State, meter: Meter, sample: bool, over: bool, hot: bool, period_ms: int, now_ms: int) -> State:
    """One meter's next state: from its age, the time since the start, and what a new ``sample`` says."""
    fresh, sample_ms = state.fresh, state.sample_ms
    over_ms, hot_ms = state.over_ms, state.hot_ms
    if sample:
        sample_ms = meter.at_ms
        fresh += 1
        over_ms = _since(over_ms, over, sample_ms)
        hot_ms = _since(hot_ms, hot, sample_ms)
    age_ms = now_ms - sample_ms
    hold_after_ms = max(HOLD_MS, HOLD_PERIODS * period_ms)
    safe_after_ms = max(SAFE_MS, SAFE_PERIODS * period_ms)
    safe_ms, entries = state.safe_ms, state.entries
    if age_ms > hold_after_ms:
        fresh = 0
    if age_ms > safe_after_ms:
        safe_ms = now_ms
    mode = _mode(state, fresh, age_ms, hold_after_ms, safe_after_ms, now_ms)
    if mode == SAFING and state.mode != SAFING:
        entries += (now_ms,)
        entries = entries[-OFTEN:]
    return State(mode, state.boot_ms, sample_ms, fresh, safe_ms, over_ms, hot_ms, entries, state.feeders)


def _is_sample(meter: Meter, sample_ms: int, now_ms: int) -> bool:
    """Is this a new reading, and of the past? Anything else lets the last one grow old."""
    new: bool = meter is not None and sample_ms < meter.at_ms <= now_ms
    return new


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


def _lower(command: Command, ma: int, reason: int, renew: bool, where: int = -1) -> Command:
    """The command at no more than ``ma``; never a value between 0 and 6 A."""
    ma = min(command.ma, ma)
    return Command(command.id, ma if ma >= MIN_MA else 0, reason, where, renew)


def _fall_back(snapshot: Snapshot, commands: tuple[Command, ...], reason: int) -> tuple[Command, ...]:
    """Everybody to the lower of present and fallback, and not above control's wish; no lease is renewed."""
    return tuple([_fallen(snapshot.chargers[k], command, reason, -1) for k, command in enumerate(commands)])


def _fallen(charger: Charger, command: Command, reason: int, where: int) -> Command:
    present = max(charger.set_ma, charger.allowed_ma)
    return _lower(command, min(present, charger.fallback_ma), reason, False, where)


def _present(charger: Charger) -> int:
    """Above this a command is a raise: what was last sent, and no more than may still flow (a lease may have ended)."""
    present: int = min(charger.set_ma, charger.possible_ma)
    return present


def _admissible(snapshot: Snapshot, commands: tuple[Command, ...]) -> tuple[Command, ...]:
    """A charger that has gone silent gets neither a raise nor a renewal, and nobody what no charger may take."""
    bad = [
        k
        for k, (command, row) in enumerate(zip(commands, snapshot.chargers))  # noqa: B905 - MicroPython
        if row.silent or (command.ma and not MIN_MA <= command.ma <= row.max_ma)
    ]
    if not bad:
        return commands
    out = list(commands)
    for k in bad:
        command, charger = commands[k], snapshot.chargers[k]
        if charger.silent:
            out[k] = _lower(command, _present(charger), SILENT, False)
        else:
            out[k] = _lower(command, charger.max_ma, command.reason, command.renew)
    return tuple(out)


def _no_raise(snapshot: Snapshot, commands: tuple[Command, ...], reason: int, feeder: int = -1) -> tuple[Command, ...]:
    """Nothing above what is present; ``feeder``: only behind this one."""
    out = []
    for k, command in enumerate(commands):
        charger = snapshot.chargers[k]
        if (feeder < 0 or _feeder(snapshot, charger) == feeder) and command.ma > _present(charger):
            where = -1 if feeder < 0 else 4 + 3 * feeder
            command = _lower(command, _present(charger), reason, command.renew, where)  # noqa: PLW2901
        out.append(command)
    return tuple(out)


def _feeder(snapshot: Snapshot, charger: Charger) -> int:
    """The feeder a charger hangs on, -1 for none."""
    feeder: int = snapshot.places[charger.place].feeder
    return feeder


def _feeder_doubts(state: State, snapshot: Snapshot, commands: tuple[Command, ...]) -> tuple[Command, ...]:
    """Behind a feeder whose own meter is late nothing is raised, and where it is silent all stand at their fallback."""
    doubts = [
        watch.mode if snapshot.feeders[k].period_ms and watch.mode != NORMAL else NORMAL
        for k, watch in enumerate(state.feeders)
    ]
    if all(mode == NORMAL for mode in doubts):
        return commands
    out = list(commands)
    for k, charger in enumerate(snapshot.chargers):
        at = _feeder(snapshot, charger)
        mode = doubts[at] if 0 <= at < len(doubts) else NORMAL
        if mode == SAFING:
            command = _fallen(charger, out[k], SAFE, 4 + 3 * at)
            # The transformer's meter is there: who must stay below its fallback for its sake is told so on.
            renew = out[k].renew and command.ma < charger.fallback_ma
            out[k] = Command(command.id, command.ma, SAFE, 4 + 3 * at, renew)
        elif mode == HOLDING and out[k].ma > _present(charger):
            out[k] = _lower(out[k], _present(charger), HOLD, out[k].renew, 4 + 3 * at)
    return tuple(out)


def _within_line(snapshot: Snapshot, commands: tuple[Command, ...], settings: Settings) -> tuple[Command, ...]:
    """Drop raises, wherever what may flow after them would pass the limit itself. Settled chargers lend, up to 3 %."""
    raised = [
        k
        for k, (row, command) in enumerate(zip(snapshot.chargers, commands))  # noqa: B905 - MicroPython
        if command.ma > row.set_ma or command.ma > row.possible_ma
    ]
    if not raised:
        return commands
    count = len(snapshot.places)
    may, lent, more = [0] * count, [0] * count, [0] * count
    known = [place.known for place in snapshot.places]
    for row, command in zip(snapshot.chargers, commands):  # noqa: B905 - MicroPython
        most = row.possible_ma
        if command.ma > most:  # noqa: PLR1730 - max() is slower
            most = command.ma
        if most:
            place = row.place
            may[place] += most
            if not known[place]:
                more[place] += most if row.silent else max(most - max(row.ma, 0), 0)
            if row.settled and not row.silent and row.ma + SETTLED_EXTRA_MA < most:
                lent[place] += most - row.ma - SETTLED_EXTRA_MA
    shut = _shut(snapshot, settings, may, more, lent)
    out = list(commands)
    for k in raised:
        charger, command = snapshot.chargers[k], commands[k]
        if shut[charger.place]:
            out[k] = _lower(command, _present(charger), OVERBOOKED, command.renew)
    return tuple(out)


def _shut(snapshot: Snapshot, settings: Settings, may: list[int], more: list[int], lent: list[int]) -> list[bool]:
    """At which places do residents and what may flow, less what is lent, pass the limit? Sums in mA, by place.

    ``more`` is what may flow above what flows: that much counts on each phase where the phase is unknown.
    """
    meter, places, feeders = snapshot.meter, snapshot.places, len(snapshot.feeders)
    base = _base(meter, proven_draw(snapshot), snapshot)
    flows, lends = fold(places, may, feeders, unknown_ma=more), fold(places, lent, feeders)
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
    for k, feeder in enumerate(snapshot.feeders):
        # A feeder whose meter has said nothing yet has no room: its chargers are at their fallback anyway.
        seen = feeder.period_ms == 0 or feeder.meter is not None
        base += feeder_base(feeder.meter, draw, k) if feeder.meter is not None else [0 if seen else feeder.limit_ma] * 3
    return base


def _rated(snapshot: Snapshot, settings: Settings, mv: int) -> list[int]:
    """The rating of each constraint, mA."""
    rated = [settings.rated_ma, settings.rated_ma, settings.rated_ma, settings.rated_va * 1000000 // mv]
    for feeder in snapshot.feeders:
        rated += [feeder.limit_ma] * 3
    return rated


def _shed(
    before: State, state: State, snapshot: Snapshot, commands: tuple[Command, ...], settings: Settings, blind: bool
) -> tuple[Command, ...]:
    """Over the limit for 3 s, or over 90 % twice: cut one and a half times the excess; still hot after 10 s: all off.

    Each reading cuts once: what it shows is not seen to be cured before the next. ``blind``: the transformer's meter
    has nothing to say; feeders may have.
    """
    excess = [0] * (4 + 3 * len(snapshot.feeders))
    landing, cut = True, False
    if not blind and (_over_long(state) or _hot_long(state)):
        commands = _no_raise(snapshot, commands, SHED)
        if state.sample_ms != before.sample_ms:
            if _hot_long(state) and state.sample_ms - state.hot_ms > HOT_ZERO_MS:
                return tuple([_lower(c, 0, SHED, c.renew) for c in commands])
            _excess(snapshot, settings, excess)
            cut, landing = True, state.sample_ms - state.over_ms < LAND_MS
    for k, watch in enumerate(state.feeders):
        if _over_long(watch):
            commands = _no_raise(snapshot, commands, SHED, k)
            if k >= len(before.feeders) or watch.sample_ms != before.feeders[k].sample_ms:
                _feeder_excess(snapshot, k, excess)
                cut, landing = True, landing and watch.sample_ms - watch.over_ms < LAND_MS
    return _cut(snapshot, commands, excess, landing) if cut else commands


def _over_long(state: State) -> bool:
    since_ms: int = state.over_ms
    return since_ms != NEVER and int(state.sample_ms) - since_ms >= OVER_MS


def _hot_long(state: State) -> bool:
    since_ms: int = state.hot_ms
    return since_ms != NEVER and int(state.sample_ms) - since_ms >= HOT_GAP_MS


def _excess(snapshot: Snapshot, settings: Settings, excess: list[int]) -> None:
    """How much must go from the transformer, mA by constraint: 1.5 times what is too much."""
    meter, limit = snapshot.meter, _limit_permille(snapshot)
    for p in PHASES:
        excess[p] = (meter.ma[p] - settings.rated_ma * limit // 1000) * 3 // 2
    excess[3] = (meter.s_va - settings.rated_va * limit // 1000) * 3 // 2 * 1000000 // mean_mv(meter)


def _feeder_excess(snapshot: Snapshot, at: int, excess: list[int]) -> None:
    """How much must go from a feeder: by its own meter, or by what its chargers say they draw."""
    feeder = snapshot.feeders[at]
    flow = _feeder_flow(feeder, proven_draw(snapshot), at)
    for p in PHASES:
        excess[4 + 3 * at + p] = (flow[p] - feeder.limit_ma) * 3 // 2


def _cut(snapshot: Snapshot, commands: tuple[Command, ...], excess: list[int], landing: bool) -> tuple[Command, ...]:
    """End an excess (by constraint, mA): who draws most first, to 6 A, then to nothing.

    ``landing``: earlier cuts count, they are on their way.
    """
    bind = [binding(place, len(snapshot.feeders)) for place in snapshot.places]
    lines = [place.lines for place in snapshot.places]
    out, order = list(commands), []
    for k in range(len(commands)):
        charger, command = snapshot.chargers[k], commands[k]
        draws = 0 if charger.silent else charger.ma
        if draws > command.ma and command.ma < charger.fallback_ma:
            # It is at its fallback, which is too much here: told less, it stays there only as long as it is told.
            out[k] = Command(command.id, command.ma, command.reason, command.phase, True)
        if landing and draws > command.ma:
            _give(excess, bind[charger.place], lines[charger.place], draws - command.ma)
        order.append([-min(draws, command.ma), command.id, k])
    order.sort()
    for floor in (MIN_MA, 0):
        for row in order:
            have, k = -row[0], row[2]
            place = snapshot.chargers[k].place
            want, where = _wanted_ma(excess, bind[place], lines[place])
            if want <= 0 or have <= floor:
                continue
            keep = max((have - want) // 1000 * 1000, floor)
            renew = out[k].renew or keep < snapshot.chargers[k].fallback_ma
            out[k] = _lower(out[k], keep, SHED, renew, where)
            row[0] = -out[k].ma
            _give(excess, bind[place], lines[place], have - out[k].ma)
    return tuple(out)


def _give(excess: list[int], bind: tuple[int, ...], lines: int, ma: int) -> None:
    """Take what a charger gives back off the excess."""
    excess[3] -= ma * lines
    for i in bind:
        excess[i] -= ma


def _wanted_ma(excess: list[int], bind: tuple[int, ...], lines: int) -> tuple[int, int]:
    """(what this charger alone would have to give for the excess to end in mA, a feeder's constraint or -1)."""
    want, where = excess[3] // lines, -1
    for i in bind:
        if excess[i] > want:
            want, where = excess[i], i if i >= 4 else -1
    return want, where
