"""The invariants and promises as data, their numbers, and what one controller was given.

Each invariant has an id (DESIGN §6 and the safety catalogue) and a sentence; ``invariants.Checker`` judges under it.
The numbers are the checker's own: it imports none of the product's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hil_tests.rig.small import LIMIT_PERMILLE, QUIET_S

if TYPE_CHECKING:
    from edge import config as cfg
    from hil_tests.rig.community import Floats
    from hil_tests.rig.plant import Busbar

INVARIANTS = {
    "I1": "A raise leaves only where all that may flow after it, with residents, stays within the line",
    "I2": "Without a reading for 10 s (5 periods) everybody is at the fallback, and nothing above it is sent",
    "I3": "No reading, or one that is none, never lowers the residents' load that control reckons with",
    "I4": "Nothing is raised on a reading older than hold",
    "I5": "Nothing is raised before 5 fresh readings in a row (3 of a slow meter)",
    "I6": "All raises together climb by 2 % of the rating in 10 s; saved up is what 10 s bring, or 25 A, no more",
    "I7": "What was taken back is spent only when confirmed or run out: the ledger is never below what is allowed",
    "I8": "Every setpoint is well-formed and echoes a stamp its charger was heard with",
    "I9": "Sequence numbers rise within an epoch; a new epoch is above every one that its controller has heard",
    "I10": "A charger takes only what is newer, and raises only on its own fresh stamp",
    "I11": "A charger is above its fallback only under a lease that counts from its own stamp",
    "I12": "Nothing above fallback is sent before one lease has passed since the start",
    "I13": "The wall clock moves no guard",
    "I14": "Plan, prices and wishes never lift the limit above the configured one",
    "I15": "No input makes the tick fail",
    "I16": "Nothing between 0 and 6 A is sent",
    "I17": "SAFE is left only after 10 fresh readings and 30 s",
    "I20": "15 minutes after the last fault control is normal, honest chargers are heard, cars charge where they can",
    "I22": "Nobody is raised while the transformer is over its limit",
    "N1": "Nothing is sent to who is not registered",
    "N2": "Of two controllers the older falls silent: nothing above fallback from it after 60 s",
    "N3": "A fault that shows is named in the log, within what the catalogue says",
    "X1": "Over a limit with cars that could be lowered: for no longer than promised",
    "X2": "No minute over a limit (250 kVA and more) in which residents and cars beyond control are not over it alone",
}
MEASURED = "measured by "
ELSEWHERE = {
    # Invariants of the safety catalogue (§5.3) that the checker cannot see, and what holds them instead.
    "I18": MEASURED + "taiqu bench control --case C-2938 (the time of a decision)",
    "I19": "test_no_state_spends_a_current_twice",
    "I21": "test_q5_duplicate_is_idempotent",
}
PROMISES = {
    "P1": ("meter silent -> EV load at its safe level", 30.0),
    "P2": ("controller, broker or network dead -> chargers at fallback", 75.0),
    "P3": ("residents +20 % -> under the limit", 15.0),
    "P4": ("all faults over -> normal control", float(QUIET_S)),
}
LIMIT = LIMIT_PERMILLE / 1000.0
LEASE_END_MS = 62_200
"""The latest end of a lease after it was sent, by a clock 2 % slow."""
SAVED_MA = 25_000.0
"""What even the smallest transformer may save up for one start (I6), on all conductors."""
LEND, ERROR = 0.03, 0.01
"""What settled chargers may lend, and what a class 0.5 meter, its noise and whole amperes make, of the rating."""
EXCESS = 1.006
"""The plant counts as over where no class 0.5 meter reads it as under."""
X2_KVA_MIN = 250
"""Below, X2 is not owed: a 2 kW kettle is 13 % of a phase at 50 kVA, 6 % at 100, 3 % at 200. In the 8 s until cars
have made way for it, it adds 1.7, 0.8, 0.4 points to its minute; the margin has 1.5: one, two, four are too many."""
GRACE_S = 15
CALM_S = 240
IDLE_S = 420
"""Control lets a swing of the residents pass for five minutes before it begins a charge below it."""
LAST_TICKS = 20
TRANSFORMER = ("phase A", "phase B", "phase C", "total")


class Violation(NamedTuple):
    """One broken invariant, the first time in its night."""

    invariant: str
    second: int
    text: str


class Watch:
    """What one controller was given since it started: the checker's own view of it."""

    def __init__(self, name: str, second: int, config: cfg.AreaConfig) -> None:
        self.name, self.started_s = name, second
        period_ms = config.meter.period_ms
        self.hold_ms, self.safe_ms = max(5000, 3 * period_ms), max(10000, 5 * period_ms)
        self.samples = 5 if period_ms < 5000 else 3
        self.boot_ms: int | None = None
        self.read_ms = -(1 << 60)
        self.bases: tuple[int, ...] = ()
        """Residents' load as its control had it in the second before."""
        self.fresh = 0
        self.proved = False
        """Has it ever had three fresh readings in a row?"""
        self.base_a: Floats = np.zeros(3)
        self.stale_ms = -(1 << 60)
        self.feeder_ms = -(1 << 60)
        self.mode = ""
        self.climbed: tuple[int, float] = (0, 0.0)
        """When this controller raised last, ms, and what that had used of what may be raised at once, mA. Each has its
        own: who takes over brings everybody down first."""
        self.pairs: dict[str, tuple[int, int]] = {}
        self.epoch = 0

    def read(self, now_ms: int, bar: Busbar) -> None:
        """The transformer's meter has answered."""
        self.fresh = self.fresh + 1 if now_ms - self.read_ms <= self.hold_ms else 1
        self.proved |= self.fresh >= 3
        self.read_ms, self.base_a = now_ms, bar.base_a

    def read_feeder(self, now_ms: int, _bar: Busbar) -> None:
        """A feeder's meter has answered."""
        self.feeder_ms = now_ms
