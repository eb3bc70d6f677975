"""Is a meter's reading to be believed? Each new one is held against itself, the one before, and what the cars prove.

A doubted reading is no reading: the last good one grows old, so that nothing is raised and the guard goes on to HOLD
and SAFE as if the meter were silent. Which doubt it was is named in an alarm (edge/reasons.py).
"""

from collections import namedtuple

from edge.core.model import MIN_MA, NEVER, PHASES, Meter, mean_mv

FINE, FROZEN, RANGE, POWERS, SUMS, SIGN, PHASE_LOST, TOO_LITTLE, COUNTER, TIME, UNMOVED, IDENTITY = range(12)

Trust = namedtuple(
    "Trust",
    (
        "good",  # the last believed reading that differed from the one before, or None
        "at_ms",  # the last reading looked at
        "doubt",  # what is wrong with it: FINE, or one of the above
        "phase",  # the phase that shows it, -1 for all
        "identity",  # what the device must say it is: as configured, else what it said first; "" when it has not said
    ),
)

NOWHERE = -2
RANGE_TIMES = 5
"""No transformer carries so many times its rating for longer than a fuse takes: it is a scale or a word order."""
FLOOR_PERMILLE = 10
"""Of the rating: below that a meter's class and the spread of its registers explain any difference."""
POWERS_MORE_PERCENT = 110
"""P² + Q² is at most S²; so much more is no rounding."""
POWERS_LESS_PERCENT = 70
"""Harmonics and unbalance make S larger than P and Q together, but not by so much."""
SUM_PERCENT = 10
"""Phases are read one after the other in one block: their sum may differ so much from the total, of S."""
CURRENTS_MORE_PERCENT = 115
"""S is at most the sum of the phases' U·I; some meters show U of the line, some S of the last period."""
SIGN_PERMILLE = 20
"""A phase that gives back more than this of its rating where nobody may export has its CT the wrong way round."""
LOST_PERMILLE, CARRIES_PERMILLE = 1, 100
"""A phase that shows nothing while both others carry a tenth of their rating: hundreds of homes are not all dark."""
LOST_MV, PRESENT_MV = 110000, 176000
DRAW_VA_MIN = 1000
"""About one car at its minimum: less proves nothing about the meter."""
TENTH = 10
"""A meter that shows less than a tenth of what cars prove, even one of them, sees another cable or counts in kW."""
LESS_PERCENT = 80
"""Of what all cars but the largest prove; one alone may lie, or be a telegram behind."""
ROLLOVER_PERMILLE = 990
"""A counter this close to a power of ten that starts again has rolled over."""


def start(identity: str = "") -> Trust:
    """Nothing seen yet; ``identity``: what the device must say it is, "" for whatever it says first."""
    return Trust(None, NEVER, FINE, -1, identity)


def look(
    trust: Trust, meter: Meter, rated_va: int, draw: list[int], biggest: list[int], exports: bool, now_ms: int
) -> Trust:
    """Judge a reading; one that was judged before changes nothing.

    ``draw`` and ``biggest``: what the cars prove on a, b, c and all conductors, and the largest single proof, mA.
    ``exports``: may the site feed back? Only then is a negative power believed, and less than the cars draw.
    """
    if meter is None or meter.at_ms == trust.at_ms:
        return trust
    if not trust.at_ms < meter.at_ms <= now_ms:
        return Trust(trust.good, trust.at_ms, TIME, -1, trust.identity)
    if trust.good is not None and meter[1:] == trust.good[1:]:
        return Trust(trust.good, meter.at_ms, FROZEN, -1, trust.identity)
    doubt, phase = _doubt(trust, meter, rated_va, draw, biggest, exports)
    if doubt != FINE:
        # A counter that went back is a restart: said once, then counted from there.
        good = meter if doubt == COUNTER else trust.good
        return Trust(good, meter.at_ms, doubt, phase, trust.identity)
    return Trust(meter, meter.at_ms, doubt, phase, trust.identity or meter.identity)


def unmoved(trust: Trust) -> Trust:
    """The same, of a meter that has not followed cuts (edge/core/obey.py): what it says may be of another cable."""
    return Trust(trust.good, trust.at_ms, UNMOVED, -1, trust.identity) if trust.doubt in (FINE, FROZEN) else trust


def _doubt(
    trust: Trust, meter: Meter, rated_va: int, draw: list[int], biggest: list[int], exports: bool
) -> tuple[int, int]:
    """(what is wrong with a reading, on which phase): the first that is found, the plainest first."""
    if trust.identity and meter.identity and meter.identity != trust.identity:
        return IDENTITY, -1
    rated_ma = rated_va * 1000000 // (3 * mean_mv(meter))
    if abs(meter.s_va) > RANGE_TIMES * rated_va or max(meter.ma) > RANGE_TIMES * rated_ma:
        return RANGE, -1
    floor_va = rated_va * FLOOR_PERMILLE // 1000
    for doubt, phase in (
        (PHASE_LOST, _lost(meter, rated_ma, draw, exports)),
        (SIGN, NOWHERE if exports else _negative(meter, rated_va)),
        (POWERS, -1 if _powers_differ(meter, floor_va, exports) else NOWHERE),
        (SUMS, -1 if _sums_differ(meter, floor_va) else NOWHERE),
        (TOO_LITTLE, _too_little(meter, draw, biggest, exports)),
        (COUNTER, -1 if _went_back(trust.good, meter) else NOWHERE),
    ):
        if phase != NOWHERE:
            return doubt, phase
    return FINE, -1


def _lost(meter: Meter, rated_ma: int, draw: list[int], exports: bool) -> int:
    """The phase that shows nothing while both others carry load or its own cars draw.

    Where the sun may cover what cars draw, next to nothing is a reading; only nothing at all is none.
    """
    for p in PHASES:
        others = [meter.ma[q] for q in PHASES if q != p]
        dark = abs(meter.ma[p]) * 1000 < rated_ma * LOST_PERMILLE
        if dark and min(others) * 1000 >= rated_ma * CARRIES_PERMILLE:
            return p
        if draw[p] >= MIN_MA and abs(meter.ma[p]) * TENTH < (1 if exports else draw[p]):
            return p
        if meter.mv[p] < LOST_MV and max(meter.mv) >= PRESENT_MV:
            return p
    return NOWHERE


def _negative(meter: Meter, rated_va: int) -> int:
    """The phase whose power flows back, -1 when more than one does, or the total."""
    if meter.p_w * 1000 < -rated_va * SIGN_PERMILLE:
        return -1
    back = [p for p in PHASES if meter.phase_w and meter.phase_w[p] * 3000 < -rated_va * SIGN_PERMILLE]
    return NOWHERE if not back else back[0] if len(back) == 1 else -1


def _powers_differ(meter: Meter, floor_va: int, exports: bool) -> bool:
    """Is S² not P² + Q²? Where phases may flow back, they cancel in P and Q, and only more than S is impossible."""
    s_va, both = abs(meter.s_va), meter.p_w * meter.p_w + meter.q_var * meter.q_var
    most = s_va * POWERS_MORE_PERCENT // 100 + floor_va
    least = s_va * POWERS_LESS_PERCENT // 100 - floor_va
    return both > most * most or (not exports and least > 0 and both < least * least)


def _sums_differ(meter: Meter, floor_va: int) -> bool:
    """Do the phases not add up to the total: powers, or currents against apparent power?"""
    s_va = abs(meter.s_va)
    if meter.phase_w is not None and abs(sum(meter.phase_w) - meter.p_w) > s_va * SUM_PERCENT // 100 + floor_va:
        return True
    flow_va = sum([abs(ma) for ma in meter.ma]) * mean_mv(meter) // 1000000
    more: bool = s_va > flow_va * CURRENTS_MORE_PERCENT // 100 + floor_va
    return more


def _too_little(meter: Meter, draw: list[int], biggest: list[int], exports: bool) -> int:
    """Where the meter sees less than the cars prove: a phase, or -1 for the total."""
    mv = mean_mv(meter)
    draw_va = draw[3] * mv // 1000000
    if draw_va >= DRAW_VA_MIN and abs(meter.s_va) * TENTH < (1 if exports else draw_va):
        return -1
    if exports:
        return NOWHERE
    if abs(meter.s_va) * 100 < (draw[3] - biggest[3]) * mv // 1000000 * LESS_PERCENT:
        return -1
    for p in PHASES:
        if abs(meter.ma[p]) * 100 < (draw[p] - biggest[p]) * LESS_PERCENT:
            return p
    return NOWHERE


def _went_back(good: Meter, meter: Meter) -> bool:
    """Does the energy counter show less than before, and has not rolled over?"""
    if good is None or meter.import_wh < 0 or meter.import_wh >= good.import_wh:
        return False
    top = 1000
    while top <= good.import_wh:
        top *= 10
    near = good.import_wh * 1000 >= top * ROLLOVER_PERMILLE
    begun = meter.import_wh * 1000 < top * (1000 - ROLLOVER_PERMILLE)
    rolled: bool = near and begun
    return not rolled
