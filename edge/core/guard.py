"""The guard: the last gate before anything is sent. It may lower, and drop a raise or a renewal; it never raises.

It trusts nothing of control's: its constants, its lateness clock and its sum are its own. It starts with no authority.
"""

from collections import namedtuple

from edge.core.model import (
    BOOT,
    HOLD,
    MIN_MA,
    NEVER,
    OVERBOOKED,
    PHASES,
    SAFE,
    SHED,
    SILENT,
    Command,
    base_load,
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
RECOVER_SAMPLES = 10
RECOVER_MS = 30000

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
    ),
)


def start(now_ms):
    """The state of a guard that has just started: no authority."""
    return State(STARTING, now_ms, NEVER, 0, NEVER, NEVER, NEVER)


def vet(state, snapshot, commands, settings, now_ms):
    """Gate one tick's commands. Returns ``(state, commands)``; no command leaves higher than it came or than allowed.

    ``commands`` are control's, one a charger and in the order of ``snapshot.chargers``.
    """
    state = _judge(state, snapshot, settings, now_ms)
    if state.mode == STARTING:
        return state, _fall_back(snapshot, commands, BOOT)
    if state.mode == SAFING:
        return state, _fall_back(snapshot, commands, SAFE)
    commands = _only_heard(snapshot, commands)
    if state.mode == HOLDING:
        return state, _no_raise(snapshot, commands, HOLD)
    commands = _within_line(snapshot, commands, settings)
    return state, _shed(state, snapshot, commands, settings, now_ms)


def _judge(state, snapshot, settings, now_ms):
    """Move to the next state: from the age of the meter, the time since the start, and what the reading says."""
    meter = snapshot.meter
    fresh, sample_ms = state.fresh, state.sample_ms
    over_ms, hot_ms = state.over_ms, state.hot_ms
    if meter is not None and meter.at_ms > sample_ms and meter.at_ms <= now_ms:
        sample_ms = meter.at_ms
        fresh += 1
        permille = _loading_permille(meter, settings)
        over_ms = _since(over_ms, permille > min(snapshot.limit_permille, LIMIT_PERMILLE_MAX), sample_ms)
        hot_ms = _since(hot_ms, permille > HOT_PERMILLE, sample_ms)
    age_ms = now_ms - sample_ms
    hold_after_ms = max(HOLD_MS, HOLD_PERIODS * settings.period_ms)
    safe_after_ms = max(SAFE_MS, SAFE_PERIODS * settings.period_ms)
    safe_ms = state.safe_ms
    if age_ms > hold_after_ms:
        fresh = 0
    if age_ms > safe_after_ms:
        safe_ms = now_ms
    mode = _mode(state, fresh, age_ms, hold_after_ms, safe_after_ms, now_ms)
    return State(mode, state.boot_ms, sample_ms, fresh, safe_ms, over_ms, hot_ms)


def _mode(state, fresh, age_ms, hold_after_ms, safe_after_ms, now_ms):
    if state.mode == STARTING:
        waited = now_ms - state.boot_ms > LEASE_MS_MAX
        return NORMAL if waited and fresh >= 3 else STARTING
    if age_ms > safe_after_ms:
        return SAFING
    if state.mode == SAFING:
        recovered = fresh >= RECOVER_SAMPLES and now_ms - state.safe_ms >= RECOVER_MS
        return NORMAL if recovered else SAFING
    return HOLDING if age_ms > hold_after_ms else NORMAL


def _since(since_ms, holds, now_ms):
    """When a condition began: kept while it holds, NEVER when it does not."""
    if not holds:
        return NEVER
    return now_ms if since_ms == NEVER else since_ms


def _loading_permille(meter, settings):
    """The higher of S over S_rated and the worst phase's I over I_rated, in permille."""
    s = meter.s_va * 1000 // settings.rated_va
    i = max(meter.ma) * 1000 // settings.rated_ma
    return i if i > s else s


def _lower(command, ma, reason, renew):
    """The command at no more than ``ma``; never a value between 0 and 6 A."""
    ma = min(command.ma, ma)
    return Command(command.id, ma if ma >= MIN_MA else 0, reason, -1, renew)


def _fall_back(snapshot, commands, reason):
    """Everybody to the lower of present and fallback; no lease is renewed."""
    out = []
    for charger, command in zip(snapshot.chargers, commands):
        present = max(charger.set_ma, charger.allowed_ma)
        low = min(present, charger.fallback_ma)
        # Control's own wish does not count here: a charger at its fallback needs nothing from us to stay there.
        out.append(Command(command.id, low if low >= MIN_MA else 0, reason, -1, False))
    return tuple(out)


def _present(charger):
    """Above this a command is a raise: what was last sent, and no more than may still flow (a lease may have ended)."""
    return min(charger.set_ma, charger.possible_ma)


def _only_heard(snapshot, commands):
    """A charger that has gone silent gets neither a raise nor a renewal."""
    out = []
    for charger, command in zip(snapshot.chargers, commands):
        out.append(_lower(command, _present(charger), SILENT, False) if charger.silent else command)
    return out


def _no_raise(snapshot, commands, reason):
    """Nothing above what is present."""
    out = []
    for charger, command in zip(snapshot.chargers, commands):
        present = _present(charger)
        out.append(_lower(command, present, reason, command.renew) if command.ma > present else command)
    return tuple(out)


def _within_line(snapshot, commands, settings):
    """Drop raises, on every phase where what may flow after them would pass the limit itself."""
    meter = snapshot.meter
    mv = mean_mv(meter)
    base = base_load(meter, proven_draw(snapshot.chargers, mv))
    may = [max(base[p], 0) for p in PHASES]
    may_va = max(base[3], 0)
    for charger, command in zip(snapshot.chargers, commands):
        ma = max(command.ma, charger.possible_ma)
        if ma:
            may_va += va_of(ma, charger.lines, mv)
            for p in PHASES:
                if charger.phases >> p & 1:
                    may[p] += ma
    limit = min(snapshot.limit_permille, LIMIT_PERMILLE_MAX)
    full = 7 if may_va > settings.rated_va * limit // 1000 else 0
    for p in PHASES:
        if may[p] > settings.rated_ma * limit // 1000:
            full |= 1 << p
    if not full:
        return commands
    out = []
    for charger, command in zip(snapshot.chargers, commands):
        present = _present(charger)
        blocked = command.ma > present and charger.phases & full
        out.append(_lower(command, present, OVERBOOKED, command.renew) if blocked else command)
    return out


def _shed(state, snapshot, commands, settings, now_ms):
    """Over the limit for 3 s, or over 90 % twice: cut one and a half times the excess; still hot after 10 s: all off."""
    over = state.over_ms != NEVER and state.sample_ms - state.over_ms >= OVER_MS
    hot = state.hot_ms != NEVER and state.sample_ms - state.hot_ms >= HOT_GAP_MS
    if not over and not hot:
        return tuple(commands)
    if hot and now_ms - state.hot_ms > HOT_ZERO_MS:
        return tuple(_lower(c, 0, SHED, False) for c in commands)
    meter = snapshot.meter
    mv = mean_mv(meter)
    limit = min(snapshot.limit_permille, LIMIT_PERMILLE_MAX)
    cut_ma = [max(meter.ma[p] - settings.rated_ma * limit // 1000, 0) * 3 // 2 for p in PHASES]
    cut_va = max(meter.s_va - settings.rated_va * limit // 1000, 0) * 3 // 2
    # What control has already taken back in this tick counts.
    order = []
    for k in range(len(commands)):
        charger, command = snapshot.chargers[k], commands[k]
        draws_ma = 0 if charger.silent else charger.ma
        given_ma = max(draws_ma - command.ma, 0)
        cut_va -= va_of(given_ma, charger.lines, mv)
        for p in PHASES:
            if charger.phases >> p & 1:
                cut_ma[p] -= given_ma
        order.append((-min(draws_ma, command.ma), command.id, k))
    order.sort()
    out = list(commands)
    for draw, _, k in order:
        charger, command = snapshot.chargers[k], out[k]
        presses = cut_va > 0 or any(cut_ma[p] > 0 for p in PHASES if charger.phases >> p & 1)
        if draw and presses:
            floor = MIN_MA if -draw > MIN_MA else 0
            given_ma = -draw - floor
            out[k] = _lower(command, floor, SHED, command.renew)
            cut_va -= va_of(given_ma, charger.lines, mv)
            for p in PHASES:
                if charger.phases >> p & 1:
                    cut_ma[p] -= given_ma
        elif command.ma > _present(charger):
            out[k] = _lower(command, _present(charger), SHED, command.renew)
    return tuple(out)
