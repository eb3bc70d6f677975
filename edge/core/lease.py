"""The charger's half of the echo lease: which setpoints it obeys, and for how long.

A setpoint echoes the charger's own telemetry stamp (``boot``, ``tick_ms``) and its lease counts from that stamp, on
the charger's own clock. So a setpoint that was delayed, repeated or reordered on its way can never outlive its lease,
and no two clocks need to agree. Exhaustive search shows why: counted from receipt, a late setpoint spends a current
twice.
"""

from collections import namedtuple

from edge.core.model import MIN_MA

ECHO_AGE_MS_MAX = 30000
"""A stamp older than this proves nothing about the present: a raise that echoes it is refused."""

LEASE_MS_MAX = 60000

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
    age_ms = now_ms - setpoint.tick_ms
    recent = setpoint.boot == lease.boot and 0 <= age_ms <= ECHO_AGE_MS_MAX and age_ms < setpoint.lease_ms
    if recent:
        ends_ms = setpoint.tick_ms + setpoint.lease_ms
    elif ma <= allowed_ma(lease, fallback_ma, now_ms):
        # A lowering always passes, but what proves nothing about the present extends nothing.
        ends_ms = lease.ends_ms
    else:
        return lease, STALE
    return Lease(lease.boot, setpoint.epoch, setpoint.seq, ma, ends_ms), ACCEPTED
