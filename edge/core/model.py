"""The words the core speaks: readings, chargers, commands, settings. Integers only: mA, VA, Wh, ms, permille.

A phase is one of the indices 0, 1, 2 (A, B, C); a set of phases is a bit mask (A = 1, B = 2, C = 4).
A time is ``now_ms`` on one monotonic clock; ``NEVER`` stands for "has not happened".
"""

from collections import namedtuple

NEVER = -(1 << 60)
"""A moment before all others: its age is always too old."""

MIN_MA = 6000
"""The least current an electric car can charge at (IEC 61851-1, GB/T 18487.1); below it there is only off."""

# What a charger says of its socket (native dialect, field ``plug``).
UNPLUGGED, WAITING, CHARGING, FINISHED, FAULTED = range(5)

# Why a charger has the current it has. The sentences stand in edge/reasons.py, one row a code.
(
    NO_CAR,
    FULL,
    SHARED,
    RAMPING,
    WAIT_VALLEY,
    WAIT_ROOM,
    REST,
    DONE,
    FAULT,
    SILENT,
    BOOT,
    HOLD,
    SAFE,
    SHED,
    OVERBOOKED,
    STOPPING,
    WAIT_TURN,
    STAGGER,
    ASLEEP,
    UNCONTROLLED,
    ISOLATED,
    PROVING,
    REPLACED,
) = range(23)

Meter = namedtuple(
    "Meter",
    (
        "at_ms",  # when the reading was asked for: its age counts from here
        "s_va",  # total apparent power; negative while the site exports, where it may
        "p_w",  # total active power, import positive
        "q_var",  # total reactive power
        "ma",  # phase currents (a, b, c); negative on a phase that exports, where it may
        "mv",  # phase voltages (a, b, c)
        "phase_w",  # active power of each phase, import positive, as the meter signs it; None when it does not say
        "import_wh",  # energy counter, -1 when it has none
        "identity",  # what the device says it is (a serial number), "" when it does not say
    ),
)

Place = namedtuple(
    "Place",
    (
        "phases",  # bit mask of the phases a charger here may load; 7 when its phase is unknown
        "lines",  # conductors it draws on: 1 or 3
        "known",  # is the phase known? an unknown one counts on every phase and proves nothing on any
        "feeder",  # index into Snapshot.feeders, -1 for none
    ),
)
"""How a charger is wired. Chargers at one place are alike to transformer and feeder, so sums are kept by place."""

Feeder = namedtuple(
    "Feeder",
    (
        "limit_ma",  # the most each of its phases may carry
        "meter",  # the latest Meter of its own, or None when none ever came, or it has none
        "period_ms",  # how often that can answer; 0: it has none, and residents behind it are not seen
    ),
)

Charger = namedtuple(
    "Charger",
    (
        "id",
        "place",  # index into Snapshot.places
        "max_ma",
        "fallback_ma",
        "plug",
        "ma",  # measured current of its most loaded conductor
        "allowed_ma",  # what it says it allows its car now
        "set_ma",  # what it was last told
        "possible_ma",  # the most it might draw now (edge/core/ledger.py)
        "silent",  # its telemetry is overdue: nothing it said counts as present
        "settled",  # for 60 s nothing has changed: what it was told, what it draws
        "need_wh",  # energy still asked for in this charge session
        "aim_wh",  # what the plan aims for of it: less than all when not everything can be had
        "depart_ms",  # when it will leave
        "start_ms",  # the plan lets it wait until then
        "now",  # the resident asked to be charged at once
        "prio",  # -9..9: each step is worth an hour of laxity
    ),
)

Snapshot = namedtuple(
    "Snapshot",
    (
        "meter",  # the latest Meter, or None when none ever came
        "limit_permille",  # the ceiling on loading in force now
        "places",  # tuple of Place
        "feeders",  # tuple of Feeder
        "chargers",  # tuple of Charger, sorted by id
    ),
)

Settings = namedtuple(
    "Settings",
    (
        "rated_va",
        "rated_ma",  # rated current of one phase
        "margin_permille",
        "period_ms",  # how often the meter can answer
        "lease_ms",
        "raise_samples",  # fresh samples that must agree before anything is raised
        "exports",  # may the site feed back (PV)? Elsewhere a negative power is a CT the wrong way round
    ),
)

Command = namedtuple(
    "Command",
    (
        "id",
        "ma",  # the setpoint: 0 or MIN_MA..max_ma
        "reason",  # one of the codes above
        "phase",  # what the reason speaks of: phase 0, 1, 2, -1 the whole transformer, 4 and above a feeder
        "renew",  # may its lease be renewed?
    ),
)

PHASES = (0, 1, 2)

SETTLED_EXTRA_MA = 1000
"""A settled charger counts as what it draws and this much more."""

LEND_PERMILLE_MAX = 30
"""All that settled chargers lend to others, of the rating: the reaction to a rising total covers as much."""


def mean_mv(meter: Meter) -> int:
    """Mean phase voltage in mV; the nominal 220 V where none is measured."""
    mv = sum(meter.mv) // 3
    return mv if mv > 0 else 220000


def fold(
    places: tuple[Place, ...],
    sums_ma: list[int],
    feeders: int,
    *,
    proven: bool = False,
    unknown_ma: list[int] | None = None,
) -> list[int]:
    """Sums by place -> sums by constraint: mA on a, b, c, on all conductors together, then three for each feeder.

    ``proven``: what is drawn on an unknown phase proves nothing on any. ``unknown_ma``: what counts instead on the
    phases of places whose phase is unknown; only more than a charger draws, for that is in the base already.
    """
    out = [0] * (4 + 3 * feeders)
    for k, ma in enumerate(sums_ma):
        if ma:
            phases, lines, known, feeder = places[k]
            out[3] += ma * lines
            if not known and unknown_ma is not None:
                ma = unknown_ma[k]  # noqa: PLW2901 - on each phase
            if known or not proven:
                for p in PHASES:
                    if phases >> p & 1:
                        out[p] += ma
                        if 0 <= feeder < feeders:
                            out[4 + 3 * feeder + p] += ma
    return out


def binding(place: Place, feeders: int) -> tuple[int, ...]:
    """Which constraints (as ``fold`` numbers them) bind a charger here, the total aside. An absent feeder does not."""
    phases = tuple(p for p in PHASES if place.phases >> p & 1)
    if not 0 <= place.feeder < feeders:
        return phases
    return phases + tuple(4 + 3 * place.feeder + p for p in phases)


def proven_draw(snapshot: Snapshot) -> list[int]:
    """What the chargers prove they draw, by constraint in mA. A silent one proves nothing."""
    return proven(snapshot)[0]


def proven(snapshot: Snapshot) -> tuple[list[int], list[int]]:
    """(what the chargers prove they draw, the largest single proof in it), by constraint in mA."""
    places, feeders = snapshot.places, len(snapshot.feeders)
    sums, most = [0] * len(places), [0] * len(places)
    for charger in snapshot.chargers:
        ma = charger.ma
        if ma > 0 and not charger.silent:
            place = charger.place
            sums[place] += ma
            if ma > most[place]:  # noqa: PLR1730 - max() is slower
                most[place] = ma
    biggest = [0] * (4 + 3 * feeders)
    for k, ma in enumerate(most):
        if ma:
            biggest[3] = max(biggest[3], ma * places[k].lines)
            for i in binding(places[k], feeders) if places[k].known else ():
                biggest[i] = max(biggest[i], ma)
    return fold(places, sums, feeders, proven=True), biggest


def base_load(meter: Meter, draw: list[int]) -> tuple[int, int, int, int]:
    """Residents' load: what the meter sees less what chargers prove they draw (mA a, b, c; VA). Export is negative.

    Where the meter sees import, never below nothing: a charger that claims more than that makes no room for others.
    What flows back makes room for as much active power and no more: reactive power stays and takes its part.
    """
    a, b, c = [_less(_taken_ma(meter, p), draw[p], meter.ma[p] < 0) for p in PHASES]
    s_va = abs(meter.q_var) - abs(meter.p_w) if meter.s_va < 0 else meter.s_va
    return a, b, c, _less(s_va, draw[3] * mean_mv(meter) // 1000000, meter.s_va < 0)


def feeder_base(meter: Meter, draw: list[int], feeder: int) -> list[int]:
    """Residents' current behind a feeder, mA on a, b, c: what its own meter sees less what its chargers prove."""
    return [_less(_taken_ma(meter, p), draw[4 + 3 * feeder + p], meter.ma[p] < 0) for p in PHASES]


def _less(seen: int, draw: int, back: bool) -> int:
    return seen - draw if back else max(seen - draw, 0)


def _taken_ma(meter: Meter, phase: int) -> int:
    """What a phase's current takes of its limit, mA; below 0 what active power that flows back leaves above that.

    Cars take active power: the reactive part r of a current i stays, and r less the active part is never too little,
    for sqrt(limit^2 - r^2) is at least limit - r.
    """
    ma = int(meter.ma[phase])
    if ma >= 0:
        return ma
    if meter.phase_w is None or not meter.mv[phase]:
        return 0
    active_ma = min(abs(int(meter.phase_w[phase])) * 1000000 // int(meter.mv[phase]), -ma)
    return root(ma * ma - active_ma * active_ma) - active_ma


def root(square: int) -> int:
    """The square root of a number that is not negative, rounded up (Newton's way, in whole numbers)."""
    guess = square
    better = (guess + 1) // 2
    while better < guess:
        guess = better
        better = (guess + square // guess) // 2
    return guess if guess * guess == square else guess + 1
