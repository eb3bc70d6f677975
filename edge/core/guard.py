"""The guard: the last gate before anything is sent. It may lower, and drop a raise or a renewal; it never raises.

It trusts nothing of control's: its constants, its lateness clock and its sum are its own. It starts with no authority.
"""

from edge.core.model import (
    BOOT,
    HOLD,
    LEND_PERMILLE_MAX,
    MIN_MA,
    OVERBOOKED,
    PHASES,
    PROVING,
    REPLACED,
    SAFE,
    SETTLED_EXTRA_MA,
    SHED,
    SILENT,
    Charger,
    Command,
    Meter,
    Settings,
    Snapshot,
    base_load,
    binding,
    feeder_base,
    fold,
    mean_mv,
    proven_draw,
)
from edge.core.trust import FINE, FROZEN
from edge.core.watch import (
    AT_FALLBACK,
    HOLDING,
    LATCHED,
    NORMAL,
    RECOVERING,
    SAFING,
    SHEDDING,
    STARTING,
    State,
    feeder_flow,
    hot_long,
    limit_permille,
    over_long,
)

AT_FALLBACK_FOR = {SAFING: SAFE, RECOVERING: PROVING, LATCHED: REPLACED}
"""What a charger at its fallback is told as the reason, by the state of its meter."""
HOT_ZERO_MS = 10000
LAND_MS = 10000
"""What was taken back counts as gone for so long after the load last rose; what still flows then does not come back by
itself."""


def vet(state: State, shown: Snapshot, commands: tuple[Command, ...], settings: Settings) -> tuple[Command, ...]:
    """Gate one tick's commands. None leaves higher than it came, nor than its charger may be told now.

    ``state`` and ``shown`` are what ``watch.look`` made of this tick. ``commands`` are control's, one a charger. What
    comes in another order is sorted, what is missing is held where it is without a renewal, what nobody knows dropped.
    """
    sees = shown.meter is not None and state.trust.doubt in (FINE, FROZEN)
    authority = state.mode == NORMAL and sees
    commands = _in_order(shown, commands)
    if state.mode == STARTING:
        commands = _fall_back(shown, commands, BOOT)
    elif state.mode in AT_FALLBACK:
        # A feeder whose own meter shows too much is cut all the same, below the fallback if need be.
        commands = _shed(state, shown, _fall_back(shown, commands, AT_FALLBACK_FOR[state.mode]), settings)
    else:
        commands = _admissible(shown, commands)
        if authority:
            commands = _within_line(shown, commands, settings)
        else:
            commands = _no_raise(shown, commands, SHED if state.mode == SHEDDING else HOLD)
        commands = _shed(state, shown, _feeder_doubts(state, shown, commands), settings)
    return _last_line(shown, commands, authority)


def _last_line(shown: Snapshot, commands: tuple[Command, ...], authority: bool) -> tuple[Command, ...]:
    """Whatever was thought above: more than it has, and more than its fallback, is told to nobody without authority.

    A lowering always passes.
    """
    raised = [
        k
        for k, (c, row) in enumerate(zip(commands, shown.chargers))
        if c.ma > row.fallback_ma and (c.ma > row.set_ma or c.ma > row.possible_ma)
    ]
    stopped = [k for k in raised if not _passes(shown.chargers[k], commands[k], authority)]
    if not stopped:
        return commands
    out = list(commands)
    for k in stopped:
        out[k] = _lower(commands[k], _present(shown.chargers[k]), HOLD, False)
    return tuple(out)


def _passes(charger: Charger, command: Command, authority: bool) -> bool:
    """May a raise above the fallback leave? With authority, to who is heard, what a charger can take."""
    return authority and not charger.silent and MIN_MA <= command.ma <= charger.max_ma


def _in_order(snapshot: Snapshot, commands: tuple[Command, ...]) -> tuple[Command, ...]:
    """One command for each charger of the snapshot, in its order."""
    chargers = snapshot.chargers
    if [command.id for command in commands] == [charger.id for charger in chargers]:
        return commands
    given = {command.id: command for command in commands}
    return tuple(given[charger.id] if charger.id in given else _held(charger) for charger in chargers)


def _held(charger: Charger) -> Command:
    """What is said to a charger of which control says nothing."""
    return Command(charger.id, _present(charger), HOLD, -1, False)


def _lower(command: Command, ma: int, reason: int, renew: bool, where: int = -1) -> Command:
    """The command at no more than ``ma``; never a value between 0 and 6 A."""
    ma = min(command.ma, ma)
    return Command(command.id, ma if ma >= MIN_MA else 0, reason, where, renew)


def _renewed(command: Command) -> Command:
    return Command(command.id, command.ma, command.reason, command.phase, True)


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
        for k, (command, row) in enumerate(zip(commands, snapshot.chargers))
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
            out.append(_lower(command, _present(charger), reason, command.renew, where))
        else:
            out.append(command)
    return tuple(out)


def _feeder(snapshot: Snapshot, charger: Charger) -> int:
    """The feeder a charger hangs on, -1 for none."""
    feeder: int = snapshot.places[charger.place].feeder
    return feeder


def _feeder_doubts(state: State, snapshot: Snapshot, commands: tuple[Command, ...]) -> tuple[Command, ...]:
    """Behind a feeder whose own meter is late nothing is raised, and where it is silent all stand at their fallback."""
    modes = [watch.mode if snapshot.feeders[k].period_ms else NORMAL for k, watch in enumerate(state.feeders)]
    if all(mode in (NORMAL, SHEDDING) for mode in modes):
        return commands
    out = list(commands)
    for k, charger in enumerate(snapshot.chargers):
        at = _feeder(snapshot, charger)
        mode = modes[at] if 0 <= at < len(modes) else NORMAL
        if mode in AT_FALLBACK:
            wanted, out[k] = out[k], _fallen(charger, out[k], AT_FALLBACK_FOR[mode], 4 + 3 * at)
            if wanted.renew and out[k].ma < charger.fallback_ma:
                # The transformer's meter is there: who must stay below its fallback for its sake is told so on.
                out[k] = _renewed(out[k])
        elif mode == HOLDING and out[k].ma > _present(charger):
            out[k] = _lower(out[k], _present(charger), HOLD, out[k].renew, 4 + 3 * at)
    return tuple(out)


def _within_line(snapshot: Snapshot, commands: tuple[Command, ...], settings: Settings) -> tuple[Command, ...]:
    """Drop raises, wherever what may flow after them would pass the limit itself. Settled chargers lend, up to 3 %."""
    raised = [
        k
        for k, (row, command) in enumerate(zip(snapshot.chargers, commands))
        if command.ma > row.set_ma or command.ma > row.possible_ma
    ]
    if not raised:
        return commands
    count = len(snapshot.places)
    may, lent, more = [0] * count, [0] * count, [0] * count
    known = [place.known for place in snapshot.places]
    for row, command in zip(snapshot.chargers, commands):
        most = row.possible_ma
        if command.ma > most:  # noqa: PLR1730 - max() is slower
            most = command.ma
        if most:
            place = row.place
            may[place] += most
            if not known[place]:
                more[place] += most if row.silent else max(most - max(row.ma, 0), 0)
            # What it may draw already and leaves is lent; what it is raised to now is not left yet.
            if row.settled and not row.silent and row.ma + SETTLED_EXTRA_MA < row.possible_ma:
                lent[place] += row.possible_ma - row.ma - SETTLED_EXTRA_MA
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
    limit = limit_permille(snapshot)
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
        unseen_ma = feeder.limit_ma if feeder.period_ms else 0
        base += [unseen_ma] * 3 if feeder.meter is None else feeder_base(feeder.meter, draw, k)
    return base


def _rated(snapshot: Snapshot, settings: Settings, mv: int) -> list[int]:
    """The rating of each constraint, mA."""
    rated = [settings.rated_ma, settings.rated_ma, settings.rated_ma, settings.rated_va * 1000000 // mv]
    for feeder in snapshot.feeders:
        rated += [feeder.limit_ma] * 3
    return rated


def _shed(state: State, shown: Snapshot, commands: tuple[Command, ...], settings: Settings) -> tuple[Command, ...]:
    """Over the limit for 3 s, or over 90 % twice: cut one and a half times the excess; still hot after 10 s: all off.

    Each reading cuts once: what it shows is not seen to be cured before the next.
    """
    excess = [0] * (4 + 3 * len(shown.feeders))
    landing, cut = True, False
    if state.mode == SHEDDING and state.new:
        if hot_long(state) and state.seen_ms - state.hot_ms > HOT_ZERO_MS:
            return tuple([_lower(c, 0, SHED, c.renew) for c in commands])
        _excess(shown, settings, excess)
        cut, landing = True, state.seen_ms - state.peak_ms < LAND_MS
    for k, watch in enumerate(state.feeders):
        if over_long(watch):
            commands = _no_raise(shown, commands, SHED, k)
            if watch.new:
                _feeder_excess(shown, k, excess)
                cut, landing = True, landing and watch.seen_ms - watch.peak_ms < LAND_MS
    return _cut(shown, commands, excess, landing) if cut else commands


def _excess(snapshot: Snapshot, settings: Settings, excess: list[int]) -> None:
    """How much must go from the transformer, mA by constraint: 1.5 times what is too much."""
    meter, limit = snapshot.meter, limit_permille(snapshot)
    for p in PHASES:
        excess[p] = (meter.ma[p] - settings.rated_ma * limit // 1000) * 3 // 2
    excess[3] = (meter.s_va - settings.rated_va * limit // 1000) * 3 // 2 * 1000000 // mean_mv(meter)


def _feeder_excess(snapshot: Snapshot, at: int, excess: list[int]) -> None:
    """How much must go from a feeder: by its own meter, or by what its chargers say they draw."""
    feeder = snapshot.feeders[at]
    flow = feeder_flow(feeder, proven_draw(snapshot), at)
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
        if draws > command.ma and (command.ma < charger.fallback_ma or not command.ma):
            # It is at its fallback, or in its turn, which is too much here: told less, it stays there only as long as
            # it is told.
            out[k] = _renewed(command)
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
            renew = out[k].renew or keep < snapshot.chargers[k].fallback_ma or not keep
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
