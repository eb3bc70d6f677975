"""Did it obey? A check of its own, apart from control: does telemetry, and does the meter, follow what was told?

A charger that goes on allowing more than it was told is deaf; one that draws more than that disobeys; one whose cuts
the transformer's meter does not see lies, or hangs on another phase. Such a charger is isolated: it is told 0 A and
counts at its worst until it has obeyed for a while. When the meter sees the cuts of several chargers as little as that,
it is the meter that is not to be believed.
"""

from collections import namedtuple

from edge.core.model import NEVER, PHASES, Charger, Command, Snapshot, proven_draw

FOLLOW_MS = 15000
"""A car follows its pilot within 5 s, a charger may take 10 s (a brand's own rhythm): after that it has not obeyed."""
DRAWS_MORE_MA, DRAWS_MORE_PART = 1500, 8
"""Chargers round, and their meters are class 1 to 2: so much, or an eighth, more than told is still obeying."""
TIMES, DEAF_TIMES = 3, 5
"""So many telegrams in a row must show it. One may have crossed with a setpoint; and who seems deaf may only have lost
it: each telegram is answered with it again, so of 40 % lost messages five in a row are one in a hundred."""
LASTS_MS = 10000
"""And for so long: a car that comes down in small steps is told of at every one of them."""
RELEASE_MS = 300000
"""Who has obeyed for so long after that is trusted again."""
CUT_MA_MIN, CUT_PERMILLE = 10000, 30
"""A cut is large enough to be looked for at the meter from this on, or from this share of a phase's rating."""
CUT_LAND_MS = 12000
CLAIMED_PERCENT, SEEN_PERCENT = 60, 30
"""Of a cut the chargers must claim so much for it to be judged, and the meter must see so much of what they claim."""
MOVES_AGAIN_MS = 600000
"""After so long a meter that did not follow is given one more chance."""

OBEYS, DEAF, DRAWS, LIES = range(4)

Suspect = namedtuple(
    "Suspect",
    (
        "id",
        "code",  # what it does: DEAF, DRAWS, LIES
        "count",  # how often in a row
        "heard_ms",  # the telegram that showed it last
        "isolated",
        "since_ms",  # the telegram that showed it first
    ),
)

Cut = namedtuple(
    "Cut",
    (
        "at_ms",  # when it was told
        "phase",
        "names",  # the chargers that were told less there, sorted
        "gives",  # what each of them is to give back on that phase
        "ma",  # and all together
        "least_ma",  # less than this cannot be told from residents
        "meter_ma",  # what flowed on it, by the meter
        "draw_ma",  # and by the chargers
        "all_ma",  # what all chargers drew, on all conductors together
    ),
)

State = namedtuple(
    "State",
    (
        "suspects",  # sorted by id
        "cut",  # the cut that is being watched, or None
        "misses",  # so many cuts of several chargers in a row were not seen by the meter
        "last",  # the names of the cut that was missed last
        "since_ms",  # when that was
    ),
)


def start() -> State:
    """Nobody is suspected."""
    return State((), None, 0, (), NEVER)


def unmoved(state: State) -> bool:
    """Has the meter not followed several cuts? Then it measures something else."""
    misses: int = state.misses
    return misses >= TIMES


def isolated(state: State) -> list[str]:
    """The ids of the chargers that are isolated, sorted."""
    return [suspect.id for suspect in state.suspects if suspect.isolated]


def look(state: State, evidence: list[tuple[Charger, int, int]], now_ms: int) -> State:
    """Judge some chargers, each with when it was heard and when it was told something else last (ms, our clock)."""
    known = {suspect.id: suspect for suspect in state.suspects}
    for charger, heard_ms, told_ms in evidence:
        code = _offence(charger, heard_ms, told_ms)
        new = _next(known.get(charger.id), charger.id, code, heard_ms, now_ms)
        if new is not None:
            known[charger.id] = new
        elif charger.id in known:
            del known[charger.id]
    suspects = tuple([known[name] for name in sorted(known)])
    misses, since_ms = state.misses, state.since_ms
    if misses >= TIMES and now_ms - since_ms >= MOVES_AGAIN_MS:
        misses = TIMES - 1
    return State(suspects, state.cut, misses, state.last, since_ms)


def _offence(charger: Charger, heard_ms: int, told_ms: int) -> int:
    """What a charger's last telegram shows; -1: nothing yet, it has not been heard since it should have followed."""
    if charger.silent or heard_ms - told_ms < FOLLOW_MS:
        return -1
    most_ma = max(charger.set_ma, charger.fallback_ma)
    if charger.allowed_ma > most_ma:
        return DEAF
    return DRAWS if charger.ma > most_ma + max(DRAWS_MORE_MA, most_ma // DRAWS_MORE_PART) else OBEYS


def _next(old: Suspect | None, name: str, code: int, heard_ms: int, now_ms: int) -> Suspect | None:
    """What becomes of a suspicion (None: there is none) with one more telegram."""
    if code < 0:
        return old
    if code == OBEYS:
        if old is None or not (old.isolated or old.code == LIES):
            return None
        # Whether it lies only a cut can tell: a suspicion stays until one was seen.
        return old if not old.isolated or now_ms - old.heard_ms < RELEASE_MS else None
    if old is not None and old.heard_ms == heard_ms:
        return old
    if old is None or old.code == LIES:
        return Suspect(name, code, 1, heard_ms, old is not None and old.isolated, heard_ms)
    count, many = old.count + 1, DEAF_TIMES if code == DEAF else TIMES
    isolated = old.isolated or (count >= many and heard_ms - old.since_ms >= LASTS_MS)
    return Suspect(name, code, count, heard_ms, isolated, old.since_ms)


# ------------------------------------------------------------------------------------------------ at the meter
def told(state: State, shown: Snapshot, commands: tuple[Command, ...], rated_ma: int, now_ms: int) -> State:
    """Note the largest cut among ``commands`` as they leave, when none is being watched and it is large enough."""
    meter = shown.meter
    if state.cut is not None or meter is None:
        return state
    less = [k for k, (command, row) in enumerate(zip(commands, shown.chargers)) if command.ma < row.set_ma]
    if not less:
        return state
    best, draw = None, proven_draw(shown)
    least_ma = max(CUT_MA_MIN, rated_ma * CUT_PERMILLE // 1000)
    for p in PHASES:
        gives = [(shown.chargers[k].id, _gives(shown, k, commands[k], p)) for k in less]
        gives = [row for row in gives if row[1] > 0]
        ma = sum([row[1] for row in gives])
        if ma >= least_ma and (best is None or ma > best.ma):
            names, each = tuple([row[0] for row in gives]), tuple([row[1] for row in gives])
            best = Cut(now_ms, p, names, each, ma, least_ma, meter.ma[p], draw[p], draw[3])
    return State(state.suspects, best, state.misses, state.last, state.since_ms)


def _gives(shown: Snapshot, k: int, command: Command, phase: int) -> int:
    """What a charger gives back on a phase when it obeys, mA."""
    row = shown.chargers[k]
    place = shown.places[row.place]
    if row.silent or not place.known or not place.phases >> phase & 1:
        return 0
    return max(int(row.ma) - int(command.ma), 0)


def seen(state: State, shown: Snapshot) -> State:
    """Judge the cut that is being watched, on the first good reading after it must have landed."""
    cut, meter = state.cut, shown.meter
    if cut is None or meter is None or meter.at_ms < cut.at_ms + CUT_LAND_MS:
        return state
    draw = proven_draw(shown)
    claimed = cut.draw_ma - draw[cut.phase]
    if min(claimed, cut.all_ma - draw[3]) * 100 < cut.ma * CLAIMED_PERCENT:
        # Others were given more meanwhile, or the telegrams are late: nothing can be said.
        return State(state.suspects, None, state.misses, state.last, state.since_ms)
    sees = cut.meter_ma - meter.ma[cut.phase]
    follows, alone = sees * 100 >= claimed * SEEN_PERCENT, len(cut.names) == 1
    suspects = _lies(state.suspects, cut, claimed, claimed - sees) if follows or alone else state.suspects
    if follows:
        return State(suspects, None, 0, (), state.since_ms)
    # The same single charger again says nothing of the meter.
    again = cut.names == state.last and alone
    return State(suspects, None, state.misses + (not again), cut.names, meter.at_ms)


def _lies(suspects: tuple[Suspect, ...], cut: Cut, claimed_ma: int, missing_ma: int) -> tuple[Suspect, ...]:
    """Who of a cut may have lied: whose share the meter misses. Whose share is there no longer is suspected.

    Some that were cut together come under the same suspicion; only who stands out is isolated.
    """
    known = {suspect.id: suspect for suspect in suspects}
    hit = []
    for name, gives_ma in zip(cut.names, cut.gives):
        old, own_ma = known.get(name), min(gives_ma, claimed_ma)
        if gives_ma < cut.least_ma or (old is not None and old.code != LIES):
            continue
        if missing_ma * 100 > own_ma * (100 - SEEN_PERCENT):
            hit.append(name)
            count, isolated, since_ms = (
                (0, False, cut.at_ms) if old is None else (old.count, old.isolated, old.since_ms)
            )
            known[name] = Suspect(name, LIES, count + 1, cut.at_ms, isolated, since_ms)
        elif old is not None and missing_ma * 100 <= own_ma * SEEN_PERCENT:
            del known[name]
    most = max([known[name].count for name in hit], default=0)
    first = [name for name in hit if known[name].count == most]
    if most >= TIMES and len(first) == 1:
        was = known[first[0]]
        known[first[0]] = Suspect(was.id, LIES, most, was.heard_ms, True, was.since_ms)
    return tuple([known[name] for name in sorted(known)])
