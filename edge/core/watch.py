"""The guard's own clock: what state each meter's readings put it in, and since when.

STARTING (no authority yet) -> NORMAL <-> HOLDING (nothing is raised) -> SAFING (everybody to the fallback) ->
RECOVERING (the meter is back and has to prove itself) -> NORMAL. SHEDDING: over the limit, which is being ended.
LATCHED: the meter is another one than before; a person has to look.
"""

from collections import namedtuple

from edge.core import trust
from edge.core.model import NEVER, PHASES, Feeder, Meter, Settings, Snapshot, proven
from edge.core.trust import COUNTER, FINE, FROZEN, IDENTITY, Trust

LIMIT_PERMILLE_MAX = 1000
HOLD_MS, HOLD_PERIODS = 5000, 3
SAFE_MS, SAFE_PERIODS = 10000, 5
FROZEN_HOLD_MS, FROZEN_SAFE_MS = 15000, 30000
"""A real meter's last digits move: the same block again is no news, and after so long no meter."""
LEASE_MS_MAX = 61000 + 1200
"""One full lease with its drift and grace: before that, setpoints of an earlier controller may still hold."""
START_SAMPLES = 3
NOMINAL_V = 220
OVER_MS = 3000
HOT_PERMILLE = 900
HOT_GAP_MS = 1000
RISE_PERMILLE = 10
"""So much more load is news, and not its ripple."""
FEEDER_LIMITS = 1000, 1 << 40
"""A feeder is over its limit in permille of it; there is no more than that."""
RECOVER_SAMPLES = 10
RECOVER_MS = 30000
OFTEN = 4
OFTEN_MS = 3600000
OFTEN_RECOVER_MS = 600000
"""More than three times in SAFE within an hour: something is wrong that passes for well; the way back takes longer."""

STARTING, NORMAL, HOLDING, SHEDDING, RECOVERING, SAFING, LATCHED = range(7)

AT_FALLBACK = (RECOVERING, SAFING, LATCHED)
"""In these everybody stands at the lower of present and fallback."""

State = namedtuple(
    "State",
    (
        "mode",
        "boot_ms",  # when this controller started
        "sample_ms",  # the last reading that was no nonsense, by the time it was asked for
        "fresh",  # believed readings in a row, each different from the one before
        "safe_ms",  # when there was last reason to be in SAFE
        "over_ms",  # since when the transformer is over the limit, or NEVER
        "hot_ms",  # since when it is over 90 %, or NEVER
        "peak",  # the load since it is over the limit, in permille of what may flow, as it was when it last rose by 1 %
        "peak_ms",  # and when that was
        "entries",  # when it last went to SAFE, newest last
        "seen_ms",  # what was last seen of the load, by the time it was asked for
        "new",  # was it seen in this tick?
        "trust",  # what is thought of the meter (edge/core/trust.py)
        "feeders",  # the same of each feeder's meter; a feeder without one is watched by what its chargers say
    ),
)


def start(now_ms: int, identity: str = "", feeders: tuple[str, ...] = ()) -> State:
    """The state of a guard that has just started: no authority.

    ``identity`` is the serial number the transformer's meter must have, ``feeders`` those of the feeders' own.
    """
    watches = tuple([unproven(now_ms, own) for own in feeders])
    seen = trust.start(identity)
    return State(STARTING, now_ms, NEVER, 0, NEVER, NEVER, NEVER, 0, NEVER, (), NEVER, False, seen, watches)


def unproven(now_ms: int, identity: str = "") -> State:
    """A feeder of which nothing is known yet: its chargers stay at their fallback until its meter has proved itself."""
    seen = trust.start(identity)
    return State(SAFING, now_ms, NEVER, 0, now_ms, NEVER, NEVER, 0, NEVER, (), NEVER, False, seen, ())


def look(
    state: State, snapshot: Snapshot, settings: Settings, now_ms: int, unmoved: bool = False
) -> tuple[State, Snapshot]:
    """Move to the next state, of the transformer and of each feeder: what their meters say, and how old that is.

    ``unmoved``: the transformer's meter has not followed several cuts. Returns ``(state, shown)``; in ``shown`` stands,
    for each meter, the last reading that is to be believed.
    """
    draw, biggest = proven(snapshot)
    meter, limit = snapshot.meter, limit_permille(snapshot)
    seen = trust.look(state.trust, meter, settings.rated_va, draw, biggest, settings.exports, now_ms)
    seen = trust.unmoved(seen) if unmoved else seen
    good, new = seen.good, _is_news(state, seen)
    news_ms = seen.at_ms if new else NEVER
    load, limits = _load(good, settings) if new else 0, (limit, max(limit, HOT_PERMILLE))
    watches, feeders = [], []
    for k, feeder in enumerate(snapshot.feeders):
        old = state.feeders[k] if k < len(state.feeders) else unproven(now_ms)
        flows, most = draw[4 + 3 * k : 7 + 3 * k], biggest[4 + 3 * k : 7 + 3 * k]
        own = _behind(old, feeder, flows, most, settings, now_ms) if feeder.period_ms else seen
        shown = Feeder(feeder.limit_ma, own.good if feeder.period_ms else None, feeder.period_ms)
        at_ms, period_ms = news_ms, feeder.period_ms or settings.period_ms
        if feeder.period_ms and _is_news(old, own):
            at_ms, flows = own.at_ms, feeder_flow(shown, draw, k)
        elif feeder.period_ms and own.doubt == FINE and old.mode not in AT_FALLBACK:
            at_ms = NEVER  # its own meter has the word, as long as it is believed and not silent
        flow = _permille(max(flows), feeder.limit_ma)
        watches.append(_judge(old, own, at_ms, flow, FEEDER_LIMITS, period_ms, (), now_ms))
        feeders.append(shown)
    shot = Snapshot(
        good if meter is not None else None, snapshot.limit_permille, snapshot.places, tuple(feeders), snapshot.chargers
    )
    return _judge(state, seen, news_ms, load, limits, settings.period_ms, tuple(watches), now_ms), shot


def _is_news(state: State, seen: Trust) -> bool:
    """Has this tick brought a reading that is believed, and differs from the one before?"""
    news: bool = seen.doubt == FINE and seen.at_ms > state.trust.at_ms
    return news


def _behind(old: State, feeder: Feeder, draw: list[int], biggest: list[int], settings: Settings, now_ms: int) -> Trust:
    """What is thought of a feeder's own meter; its three phases have no sum of their own in the core's lists."""
    rated_va = 3 * feeder.limit_ma * NOMINAL_V // 1000
    draw, biggest = draw + [sum(draw)], biggest + [sum(biggest)]
    return trust.look(old.trust, feeder.meter, rated_va, draw, biggest, settings.exports, now_ms)


def for_control(state: State, shown: Snapshot) -> Snapshot:
    """What control may look at: of a feeder whose meter is late or doubted, nothing. What is dropped is not asked."""
    doubted = [doubts(watch) for watch in state.feeders]
    if True not in doubted:
        return shown
    feeders = [Feeder(f.limit_ma, None, f.period_ms) if doubted[k] else f for k, f in enumerate(shown.feeders)]
    return Snapshot(shown.meter, shown.limit_permille, shown.places, tuple(feeders), shown.chargers)


def doubts(state: State) -> bool:
    """Is nothing to be raised on what this meter says?"""
    mode: int = state.mode
    return mode not in (NORMAL, SHEDDING)


def limit_permille(snapshot: Snapshot) -> int:
    """The ceiling in force, never above the rating."""
    limit: int = min(snapshot.limit_permille, LIMIT_PERMILLE_MAX)
    return limit


def feeder_flow(feeder: Feeder, draw: list[int], at: int) -> list[int]:
    """What flows on a feeder's phases, mA: as its meter shows, and no less than its chargers prove."""
    own = draw[4 + 3 * at : 7 + 3 * at]
    return own if feeder.meter is None else [max(feeder.meter.ma[p], own[p]) for p in PHASES]


def often(state: State, now_ms: int) -> bool:
    """Was it in SAFE more than three times within the last hour?"""
    many: bool = len(state.entries) == OFTEN and now_ms - state.entries[0] < OFTEN_MS
    return many


def over_long(state: State) -> bool:
    """Has it been over the limit for 3 s?"""
    return _lasts(state.over_ms, state.seen_ms, OVER_MS)


def hot_long(state: State) -> bool:
    """Have two readings, a second or more apart, been over 90 %?"""
    return _lasts(state.hot_ms, state.seen_ms, HOT_GAP_MS)


def _lasts(since_ms: int, seen_ms: int, ms: int) -> bool:
    """Has a condition held from one reading to another so much later?"""
    return since_ms != NEVER and seen_ms - since_ms >= ms


def _judge(
    state: State,
    seen: Trust,
    at_ms: int,
    load: int,
    limits: tuple[int, int],
    period_ms: int,
    feeders: tuple[State, ...],
    now_ms: int,
) -> State:
    """One meter's next state: from its age, the time since the start, and what was seen of the load at ``at_ms``.

    ``load`` in permille, rounded up; ``limits``: above the first it is over, above the second it is hot.
    """
    fresh, seen_ms, over_ms, hot_ms = state.fresh, state.seen_ms, state.over_ms, state.hot_ms
    peak, peak_ms, safe_ms, entries = state.peak, state.peak_ms, state.safe_ms, state.entries
    hold_ms, safe_after_ms = max(HOLD_MS, HOLD_PERIODS * period_ms), max(SAFE_MS, SAFE_PERIODS * period_ms)
    sample_ms = max(state.sample_ms, seen.at_ms) if seen.doubt in (FINE, FROZEN) else state.sample_ms
    new = at_ms != NEVER
    if _is_news(state, seen):
        # What came in a row has no gap in which nothing was to be raised.
        fresh = fresh + 1 if sample_ms - state.sample_ms <= hold_ms else 1
    if new:
        over = load > limits[0]
        if not over:
            peak, peak_ms = 0, NEVER
        elif load >= peak + RISE_PERMILLE:
            peak, peak_ms = load, at_ms
        seen_ms, over_ms, hot_ms = at_ms, _since(over_ms, over, at_ms), _since(hot_ms, load > limits[1], at_ms)
    age_ms = now_ms - sample_ms
    frozen_ms = sample_ms - seen.good.at_ms if seen.doubt == FROZEN else 0
    hold = age_ms > hold_ms or frozen_ms > max(FROZEN_HOLD_MS, HOLD_PERIODS * period_ms)
    safe = age_ms > safe_after_ms or frozen_ms > max(FROZEN_SAFE_MS, SAFE_PERIODS * period_ms)
    safe = safe or seen.doubt == COUNTER
    if hold or safe:
        fresh = 0
    if safe:
        safe_ms = now_ms
    mode = LATCHED if state.mode == LATCHED or seen.doubt == IDENTITY else _mode(state, fresh, hold, safe, now_ms)
    if mode == SAFING and state.mode not in AT_FALLBACK:
        entries = (entries + (now_ms,))[-OFTEN:]
    if mode in (NORMAL, HOLDING) and (_lasts(over_ms, seen_ms, OVER_MS) or _lasts(hot_ms, seen_ms, HOT_GAP_MS)):
        mode = SHEDDING
    return State(
        mode, state.boot_ms, sample_ms, fresh, safe_ms, over_ms, hot_ms, peak, peak_ms, entries, seen_ms, new, seen,
        feeders,
    )  # fmt: skip


def _mode(state: State, fresh: int, hold: bool, safe: bool, now_ms: int) -> int:
    if state.mode == STARTING:
        waited = now_ms - state.boot_ms > LEASE_MS_MAX
        return NORMAL if waited and fresh >= START_SAMPLES else STARTING
    if safe:
        return SAFING
    if state.mode in AT_FALLBACK:
        dwelt = now_ms - state.safe_ms >= (OFTEN_RECOVER_MS if often(state, now_ms) else RECOVER_MS)
        return NORMAL if fresh >= RECOVER_SAMPLES and dwelt else RECOVERING
    return HOLDING if hold else NORMAL


def _since(since_ms: int, holds: bool, now_ms: int) -> int:
    """When a condition began: kept while it holds, NEVER when it does not."""
    if not holds:
        return NEVER
    return now_ms if since_ms == NEVER else since_ms


def _load(meter: Meter, settings: Settings) -> int:
    """The load in permille of the rating, rounded up: S, or the worst phase. Export is no reason to cut cars."""
    return max(_permille(meter.s_va, settings.rated_va), _permille(max(meter.ma), settings.rated_ma))


def _permille(part: int, whole: int) -> int:
    """Rounded up, so that it is above a limit in whole permille exactly when the part is."""
    return -(-part * 1000 // max(whole, 1))
