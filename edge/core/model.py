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
) = range(16)

Meter = namedtuple(
    "Meter",
    (
        "at_ms",  # when the reading was asked for: its age counts from here
        "s_va",  # total apparent power
        "p_w",  # total active power, import positive
        "q_var",  # total reactive power
        "ma",  # phase currents (a, b, c)
        "mv",  # phase voltages (a, b, c)
    ),
)

Charger = namedtuple(
    "Charger",
    (
        "id",
        "phases",  # bit mask of the phases it may load; 7 when its phase is unknown
        "lines",  # conductors it draws on: 1 or 3
        "known",  # is the phase known? an unknown one counts on every phase and proves nothing on any
        "max_ma",
        "fallback_ma",
        "plug",
        "ma",  # measured current of its most loaded conductor
        "allowed_ma",  # what it says it allows its car now
        "set_ma",  # what it was last told
        "possible_ma",  # the most it might draw now (edge/core/ledger.py)
        "silent",  # its telemetry is overdue: nothing it said counts as present
        "need_wh",  # energy still asked for in this charge session
        "depart_ms",  # when it will leave
    ),
)

Snapshot = namedtuple(
    "Snapshot",
    (
        "meter",  # the latest Meter, or None when none ever came
        "limit_permille",  # the ceiling on loading in force now
        "valley_in_ms",  # until the price valley begins: 0 inside it, -1 when there is none
        "valley_ms",  # how long the valley (still) lasts
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
    ),
)

Command = namedtuple(
    "Command",
    (
        "id",
        "ma",  # the setpoint: 0 or MIN_MA..max_ma
        "reason",  # one of the codes above
        "phase",  # the phase the reason speaks of: 0, 1, 2, or -1 for the whole transformer
        "renew",  # may its lease be renewed?
    ),
)

PHASES = (0, 1, 2)


def va_of(ma: int, lines: int, mv: int) -> int:
    """Apparent power in VA of ``ma`` on ``lines`` conductors at ``mv`` millivolts."""
    return ma * lines * mv // 1000000


def mean_mv(meter: Meter) -> int:
    """Mean phase voltage in mV; the nominal 220 V where none is measured."""
    mv = sum(meter.mv) // 3
    return mv if mv > 0 else 220000


def proven_draw(chargers: tuple[Charger, ...], mv: int) -> tuple[int, int, int, int]:
    """What the chargers prove they draw: (mA on a, on b, on c, total VA). A silent one proves nothing."""
    a = b = c = va = 0
    for charger in chargers:
        ma = charger.ma
        if ma <= 0 or charger.silent:
            continue
        va += va_of(ma, charger.lines, mv)
        if charger.known:
            phases = charger.phases
            if phases & 1:
                a += ma
            if phases & 2:
                b += ma
            if phases & 4:
                c += ma
    return a, b, c, va


def base_load(meter: Meter, draw: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Residents' load: what the meter sees less what chargers prove they draw (mA a, b, c; VA).

    Never below nothing: a charger that claims more than the meter sees must not make room for the others.
    """
    return (
        max(meter.ma[0] - draw[0], 0),
        max(meter.ma[1] - draw[1], 0),
        max(meter.ma[2] - draw[2], 0),
        max(meter.s_va - draw[3], 0),
    )


DRAW_VA_MIN = 1000
"""About one car at its minimum: less proves nothing about the meter."""


def believable(meter: Meter, draw: tuple[int, int, int, int]) -> bool:
    """Does the meter see something wherever cars draw, on each phase and in all? An open CT is no empty street."""
    if draw[3] >= DRAW_VA_MIN and meter.s_va * 100 < draw[3]:
        return False
    return all(draw[p] < MIN_MA or meter.ma[p] * 100 >= draw[p] for p in PHASES)
