"""The charger's half of the echo lease: which setpoints it obeys, and for how long.

A setpoint echoes the charger's own telemetry stamp (``boot``, ``tick_ms``) and its lease counts from that stamp, on
the charger's own clock. So a setpoint that was delayed, repeated or reordered on its way can never outlive its lease,
and no two clocks need to agree. Exhaustive search shows why: counted from receipt, a late setpoint spends a current
twice.

A charger that is left alone takes its fallback, in its turn where turns are set. A setpoint may bring a late fallback
that stands in for it after the lease: nothing until a stated moment, then 6 A until another, so that cars left alone in
the evening are charged in the valley. It is forgotten at a reboot.
"""

from collections import namedtuple

from edge.core.model import MIN_MA

ECHO_AGE_MS_MAX = 30000
"""A stamp older than this proves nothing about the present: a raise that echoes it is refused."""

LEASE_MS_MAX = 60000

LATE_S_MAX = 172800
"""No late fallback reaches further than two days: who hears nothing for so long has no controller."""

SLOT_MS = 900000
"""One turn of a rotating fallback: longer than a contactor's least time on, and than a car needs to start."""

Lease = namedtuple(
    "Lease",
    (
        "boot",  # random number of this run of the charger
        "epoch",  # newest controller seen
        "seq",  # its newest setpoint accepted
        "ma",
        "ends_ms",  # on the charger's own clock
    ),
)

Setpoint = namedtuple("Setpoint", ("epoch", "seq", "boot", "tick_ms", "ma", "lease_ms"))

Late = namedtuple(
    "Late",
    (
        "ma",  # 0 or MIN_MA
        "from_ms",  # nothing until then, on the charger's own clock
        "to_ms",  # from then on the static fallback
    ),
)
"""A late fallback; a charger that keeps none has None."""

ACCEPTED, OLD, STALE, BAD = range(4)


def start(boot: int, epoch: int = 0) -> Lease:
    """The lease of a charger that has just started: none.

    ``epoch`` is the newest it had seen before, which it must keep over a restart: one that forgets it obeys an older
    controller again, and the newer one cannot know.
    """
    return Lease(boot, epoch, 0, 0, 0)


def allowed_ma(lease: Lease, fallback_ma: int, now_ms: int) -> int:
    """What the car may draw now, in mA: the setpoint while its lease lasts, then the fallback."""
    return lease.ma if now_ms < lease.ends_ms else fallback_ma


def accept(lease: Lease, setpoint: Setpoint, fallback_ma: int, max_ma: int, now_ms: int) -> tuple[Lease, int]:
    """Judge one setpoint. Returns ``(lease, verdict)``; only ``ACCEPTED`` changes the lease.

    ``OLD``: an older controller or a repeated message. ``STALE``: it would raise, on an echo that is not recent or not
    ours; the charger answers with fresh telemetry and the controller asks again. ``BAD``: a value no charger may take.
    """
    ma = setpoint.ma
    if ma < 0 or 0 < ma < MIN_MA or ma > max_ma or not 0 <= setpoint.lease_ms <= LEASE_MS_MAX:
        return lease, BAD
    if setpoint.epoch < lease.epoch or (setpoint.epoch == lease.epoch and setpoint.seq <= lease.seq):
        return lease, OLD
    if _recent(lease, setpoint, now_ms):
        ends_ms = setpoint.tick_ms + setpoint.lease_ms
    elif ma <= allowed_ma(lease, fallback_ma, now_ms):
        # A lowering always passes, but what proves nothing about the present extends nothing.
        ends_ms = lease.ends_ms
    else:
        return lease, STALE
    return Lease(lease.boot, setpoint.epoch, setpoint.seq, ma, ends_ms), ACCEPTED


def _recent(lease: Lease, setpoint: Setpoint, now_ms: int) -> bool:
    """Does the echo prove that the controller knows this run of the charger as it was a moment ago?"""
    age_ms = now_ms - setpoint.tick_ms
    known: bool = setpoint.boot == lease.boot and 0 <= age_ms <= ECHO_AGE_MS_MAX and age_ms < setpoint.lease_ms
    return known


def late_of(lease: Lease, setpoint: Setpoint, ma: int, after_s: int, until_s: int, now_ms: int) -> Late | None:
    """The late fallback to keep from an accepted setpoint on, whatever was kept before.

    Its seconds count from the echo. None: it brings none, or one that no charger may take, or its echo is not recent.
    """
    if ma not in (0, MIN_MA) or not 0 <= after_s < until_s <= LATE_S_MAX or not _recent(lease, setpoint, now_ms):
        return None
    return Late(ma, setpoint.tick_ms + after_s * 1000, setpoint.tick_ms + until_s * 1000)


def alone_ma(late: Late | None, fallback_ma: int, slots: int, turn: int, now_ms: int) -> int:
    """What a charger takes by itself now, in mA: the ``fallback_ma`` of the functions above.

    With ``slots`` of 2 or more it takes that only in one of so many turns of 15 min, by its own clock and ``turn_of``
    its id: no two clocks need to agree, and clocks that start together are spread by their ids.
    """
    ma = fallback_ma
    if late is not None and now_ms < late.to_ms:
        ma = late.ma if now_ms >= late.from_ms else 0
    return ma if (now_ms // SLOT_MS + turn) % max(slots, 1) == 0 else 0


def turn_of(name: str) -> int:
    """A number from 0 to 65535, the same for an id at all times, and spread evenly over ids however alike they are.

    FNV-1a, and a multiplication (Knuth's) that stirs its upper half: the last letters of an id hardly reach that.
    """
    number = 2166136261
    for byte in name.encode():
        number = (number ^ byte) * 16777619 % 4294967296
    return (number ^ number >> 15) * 2654435761 % 4294967296 >> 16
