"""Did it obey? A check of its own, apart from control: does telemetry, and does the meter, follow what was told?

A charger that goes on allowing more than it was told is deaf; one that draws more than that disobeys; one whose cuts
the transformer's meter does not see lies, or hangs on another phase. Such a charger is isolated: it is told 0 A and
counts at its worst until it has obeyed for a while. When the meter sees the cuts of several chargers as little as that,
it is the meter that is not to be believed.
"""

from collections import namedtuple

from edge.core.model import NEVER, PHASES, Charger, Command, Settings, Snapshot

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
CUT_MA_MIN = 6000
"""A cut is looked for at the meter from this on, all its chargers on one phase together."""
CUT_LAND_MS, LATE_PERIODS = 12000, 3
"""By then it has landed; a reading that comes so many periods later still says too much of residents."""
RESIDENTS_MA = 250
"""Residents switch kettles at random: over 12 s their change on a phase, squared, is 0.25 A times its rated current
(10 A at 250 kVA, 22 A at 1250). Where they are worse this is learned."""
LEARN, LEARN_TIMES = 32, 9
"""Of so many looks in which nobody was cut; one counts for no more than so many times what was known (3 deviations)."""
ROUNDED, UNSURE = 32, 16
"""Of what is claimed so small a part need not be seen (cos phi, the chargers' meters), and another may be wrong."""
DOUBTED, NAMED, ONCE = 1200, 1700, 600
"""What speaks against one, in hundredths of a natural logarithm of odds. From e^12 to 1 on it explains what is missing
better than another does; from e^17 to 1 on it is named; and one cut says e^6 to 1 at most, so three are the least."""
METER = ""
"""The meter's own row among the chargers: it too may be what all that is missing speaks against."""
CHANCE_MS, METER_CHANCE_MS = 1800000, 600000
"""After so long a charger that lied, or a meter that did not follow, is given one more chance: a clear cut ends it."""

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
        "names",  # who was told less there; nobody: a look at what residents do by themselves
        "meter_ma",  # what flowed, by the meter
        "chargers",  # all as they were
    ),
)

State = namedtuple(
    "State",
    (
        "suspects",  # sorted by id
        "cut",  # the cut that is being watched, or None
        "scores",  # (id, how much speaks for its having lied), sorted; with the METER
        "residents",  # the square of what residents change meanwhile, mA², by phase, as learned
        "unmoved_ms",  # since when the meter is not believed, or NEVER
    ),
)


def start() -> State:
    """Nobody is suspected."""
    return State((), None, (), (0, 0, 0), NEVER)


def unmoved(state: State) -> bool:
    """Has the meter not followed several cuts? Then it measures something else."""
    since_ms: int = state.unmoved_ms
    return since_ms != NEVER


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
    over = now_ms - state.unmoved_ms >= METER_CHANCE_MS
    return State(suspects, state.cut, state.scores, state.residents, NEVER if over else state.unmoved_ms)


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
        if old is None or not old.isolated:
            return None
        # Whether it lies only a cut can tell: it waits longer, and what spoke against it is not forgotten.
        return old if now_ms - old.heard_ms < (CHANCE_MS if old.code == LIES else RELEASE_MS) else None
    if old is not None and old.heard_ms == heard_ms:
        return old
    if old is None or old.code == LIES:
        return Suspect(name, code, 1, heard_ms, old is not None and old.isolated, heard_ms)
    count, many = old.count + 1, DEAF_TIMES if code == DEAF else TIMES
    isolated = old.isolated or (count >= many and heard_ms - old.since_ms >= LASTS_MS)
    return Suspect(name, code, count, heard_ms, isolated, old.since_ms)


# ------------------------------------------------------------------------------------------------ at the meter
def told(state: State, shown: Snapshot, commands: tuple[Command, ...], now_ms: int) -> State:
    """Note the largest cut among ``commands`` as they leave, when none is being watched and it is large enough."""
    cut, meter, chargers = state.cut, shown.meter, shown.chargers
    if meter is None or (cut is not None and cut.names):
        return state
    less = [k for k, (command, row) in enumerate(zip(commands, chargers)) if command.ma < row.set_ma]
    most_ma = CUT_MA_MIN - 1
    for p in PHASES if less else ():
        gives = [(chargers[k].id, _flows(shown, chargers[k], p) - int(commands[k].ma)) for k in less]
        gives = [row for row in gives if row[1] > 0]
        ma = sum([row[1] for row in gives])
        if ma > most_ma:
            most_ma, cut = ma, Cut(now_ms, p, tuple([row[0] for row in gives]), meter.ma, chargers)
    if cut is None:
        cut = Cut(now_ms, 0, (), meter.ma, chargers)
    return State(state.suspects, cut, state.scores, state.residents, state.unmoved_ms)


def _flows(shown: Snapshot, row: Charger, phase: int) -> int:
    """What a charger says it draws on a phase, mA; nothing where it is not heard or its phase is not known."""
    place = shown.places[row.place]
    return int(row.ma) if not row.silent and place.known and place.phases >> phase & 1 else 0


def away(state: State) -> State:
    """Forget the cut that is being watched: the meter is late or doubted, and what is told now is no work."""
    return State(state.suspects, None, state.scores, state.residents, state.unmoved_ms)


def seen(state: State, shown: Snapshot, settings: Settings) -> State:
    """Judge the cut that is being watched, on the first good reading after it must have landed."""
    cut, meter = state.cut, shown.meter
    if cut is None or meter is None or meter.at_ms < cut.at_ms + CUT_LAND_MS:
        return state
    state = away(state)
    if meter.at_ms > cut.at_ms + CUT_LAND_MS + LATE_PERIODS * settings.period_ms:
        return state
    squares = [max(square, settings.rated_ma * RESIDENTS_MA) for square in state.residents]
    if not cut.names:
        learned = tuple([_learned(squares[p], _claims(cut, shown, p)[2]) for p in PHASES])
        return State(state.suspects, None, state.scores, learned, state.unmoved_ms)
    gave, claimed_ma, missing_ma = _claims(cut, shown, cut.phase)
    square = squares[cut.phase] + (claimed_ma // UNSURE) ** 2
    return _name(state, _weigh(state.scores, gave, claimed_ma, missing_ma, square), meter.at_ms)


def _learned(square: int, ma: int) -> int:
    """What is known of residents' changes after one more."""
    return square + (min(ma * ma, LEARN_TIMES * square) - square) // LEARN


def _weigh(
    before: tuple[tuple[str, int], ...], gave: list[tuple[str, int]], claimed_ma: int, missing_ma: int, square: int
) -> tuple[tuple[str, int], ...]:
    """What speaks against each after one more cut: how much better its share explains what is missing than chance does.

    Or than another does that was cut with it, once enough speaks against that one. The meter comes last.
    """
    scores = dict(before)
    more = [(name, _odd(missing_ma, square) - _odd(missing_ma - ma, square)) for name, ma in gave]
    doubts = [scores.get(name, 0) + gain - DOUBTED for name, gain in more]
    best, second = sorted(doubts + [0, 0], reverse=True)[:2]
    for (name, gain), doubt in zip(more, doubts):
        scores[name] = max(scores.get(name, 0) + gain - (second if doubt == best else best), 0)
    gain = _odd(missing_ma, square) - _odd(missing_ma - claimed_ma, square)
    scores[METER] = max(scores.get(METER, 0) + gain - best, 0)
    return tuple(sorted(scores.items()))


def _claims(cut: Cut, shown: Snapshot, phase: int) -> tuple[list[tuple[str, int]], int, int]:
    """On a phase, mA: what each that was cut says it gave back, what all chargers say, what the meter misses of that.

    One whose phase is not known may have taken there what it took.
    """
    gave, claimed_ma = [], 0
    for was, row in zip(cut.chargers, shown.chargers):
        less = int(was.ma) - int(row.ma)
        if not less or was.silent or row.silent:
            continue
        place = shown.places[row.place]
        if not place.known:
            claimed_ma += min(less, 0)
        elif place.phases >> phase & 1:
            claimed_ma += less
            if less > 0 and row.id in cut.names:
                gave.append((row.id, less))
    went_ma = cut.meter_ma[phase] - shown.meter.ma[phase]
    return gave, claimed_ma, claimed_ma - abs(claimed_ma) // ROUNDED - went_ma


def _odd(ma: int, square: int) -> int:
    """How odd so much from residents is: the negative logarithm of its odds; beyond some, anything may happen."""
    odd: int = min(ma * ma * 50 // square, ONCE)
    return odd


def _name(state: State, weighed: tuple[tuple[str, int], ...], at_ms: int) -> State:
    """Isolate who has lied, or no longer believe the meter. What is left against them is what a chance is given with.

    Where one has lied the others begin anew: what spoke against them may have been its.
    """
    scores = dict(weighed)
    lies = [name for name in scores if name != METER and scores[name] >= NAMED]
    suspects, unmoved_ms = state.suspects, state.unmoved_ms
    if lies:
        kept = isolated(state)
        scores = dict([(name, scores[name]) for name in scores if name in kept] + [(name, DOUBTED) for name in lies])
        rows = [suspect for suspect in suspects if suspect.id not in lies]
        suspects = tuple(sorted(rows + [Suspect(name, LIES, TIMES, at_ms, True, at_ms) for name in lies]))
    elif scores[METER] >= NAMED:
        scores[METER], unmoved_ms = DOUBTED, at_ms
    left = tuple(sorted([row for row in scores.items() if row[1] > 0]))
    return State(suspects, None, left, state.residents, unmoved_ms)
