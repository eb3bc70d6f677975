"""What an area has learned of itself: residents' load by quarter of an hour, and how its evenings go.

Until a quarter of an hour has been seen, a stated cautious profile stands in: the shape of the studied communities with
a valley of half the peak where theirs is 40 %, scaled by what the meter shows. Nothing here decides anything: the
planner reads it, and control does not need it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edge.schema import ConfigError
from edge.scribe import at_once
from edge.vault import Kept, Vault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

QUARTERS = 96
DAY_MIN = 1440
QUARTER_MIN = 15
NOON_MIN = 720
NUMBER_MAX = 1e9

# Residents' load as a share of their evening peak, by hour of the day: cautious on day one.
DAY_ONE = (
    0.55, 0.50, 0.50, 0.50, 0.50, 0.50, 0.55, 0.60, 0.65, 0.65, 0.65, 0.70,
    0.70, 0.65, 0.65, 0.65, 0.65, 0.70, 0.80, 0.92, 1.00, 1.00, 0.85, 0.65,
)  # fmt: skip
# When cars come home on day one, in minutes after noon: equally spaced quantiles, first to last.
DAY_ONE_ARRIVE_MIN = (240, 285, 312, 337, 360, 383, 408, 435, 480)

RECENT_MS = 300_000
"""What is recent in residents' load: the kettles of five minutes even out."""
TODAY_MS = 1_800_000
"""How today differs from other days is a mean over this: a kettle is no weather."""
NEW_DAY = 0.3
"""What a new day counts against all days before."""
NEW_WISH = 0.02
"""What a new wish counts against all wishes before."""
HIGHEST_FALLS = 0.02
"""What a day with less takes off the highest minute: in five weeks half, so that it follows the seasons."""
DAYS_MAX = 1000
RATIO_BOUNDS = (0.7, 1.6)
"""How far today's load may depart from what was learned before the difference counts as a fault of the meter."""


@dataclass(slots=True)
class Memory:
    """Learned values; ``as_json`` and ``from_json`` carry them over a restart."""

    profile_va: list[float | None] = field(default_factory=lambda: [None] * QUARTERS)
    arrivals: list[float] = field(default_factory=lambda: [0.0] * QUARTERS)
    """Sessions that began in each quarter of an hour, mean of the nights seen."""
    nights: int = 0
    depart_min: float | None = None
    """When cars usually leave, minutes of the local day: what their wishes say, the recent ones more."""
    peak_va: float = 0.0
    """The highest evening peak that the cautious shape makes of what was seen."""
    seen: int = 0
    """Sessions since noon."""
    today: list[int] = field(default_factory=lambda: [0] * QUARTERS)
    month: str = ""
    granted: dict[str, int] = field(default_factory=dict)
    """How often each charger was charged at once in this month."""
    highest_ma: list[list[int]] = field(default_factory=lambda: [[] for _ in range(QUARTERS)])
    """By quarter of an hour: days seen, then residents' highest minute on each phase, and on each feeder's, mA."""
    _high_ma: list[float] = field(default_factory=list)
    """The same for the present quarter of an hour, and the sums of its present minute."""
    _minute: int = -1
    _minute_ma: list[float] = field(default_factory=list)
    _minute_count: int = 0
    meters: dict[str, str] = field(default_factory=dict)
    """The serial number of each meter that has said it, by feeder; "" is the transformer's."""
    _ratios: int = 0
    _readings: int = 0
    _quarter: int = -1
    _sum: float = 0.0
    _count: int = 0
    recent_va: float = 0.0
    recent_ma: tuple[float, ...] = ()
    """Of late residents' load by phase, and by feeder and phase, mA."""
    ratio: float = 0.0
    """Today's load relative to what was learned before, as of late; 0: not known yet."""

    def note_base(self, minute: float | None, base_va: float, period_ms: int, base_ma: Sequence[int] = ()) -> None:
        """Take one reading of residents' load in, at a minute of the local day; ``period_ms`` apart from the last.

        Without local time only what is recent is known. ``base_ma``: by phase, then by feeder and phase.
        """
        slow = max(TODAY_MS / period_ms, 1.0)
        if minute is not None and (learned := self._learned_va(minute)):
            self._ratios += 1
            self.ratio += (base_va / learned - self.ratio) / min(self._ratios, slow)
        if len(self.recent_ma) != len(base_ma):
            self.recent_ma, self._readings = (0.0,) * len(base_ma), 0
        self._readings += 1
        few = min(self._readings, slow)
        self.recent_ma = tuple(was + (max(ma, 0) - was) / few for was, ma in zip(self.recent_ma, base_ma, strict=True))
        if minute is not None:
            quarter = int(minute) // QUARTER_MIN
            self._note_minute(int(minute), base_ma)
            if quarter != self._quarter:
                self._close_quarter(quarter)
            self._sum += base_va
            self._count += 1
        keep = max(RECENT_MS / period_ms, 1.0)
        self.recent_va = base_va if self.recent_va == 0.0 else self.recent_va + (base_va - self.recent_va) / keep

    def _note_minute(self, minute: int, base_ma: Sequence[int]) -> None:
        if minute != self._minute or len(base_ma) != len(self._minute_ma):
            if self._minute_count:
                means = [total / self._minute_count for total in self._minute_ma]
                before = self._high_ma if len(self._high_ma) == len(means) else means
                self._high_ma = [max(pair) for pair in zip(before, means, strict=True)]
            self._minute, self._minute_ma, self._minute_count = minute, [0.0] * len(base_ma), 0
        self._minute_ma = [total + max(ma, 0) for total, ma in zip(self._minute_ma, base_ma, strict=True)]
        self._minute_count += 1

    def _keep_highest(self, quarter: int) -> None:
        """Take the highest minute of a quarter of an hour that has ended into what was learned."""
        was, now = self.highest_ma[quarter], [round(ma) for ma in self._high_ma]
        if len(was) != len(now) + 1:
            was = [0] * (len(now) + 1)
        days, *before = was
        self.highest_ma[quarter] = [min(days + 1, DAYS_MAX)] + [
            max(ma, round(old + (ma - old) * HIGHEST_FALLS)) for ma, old in zip(now, before, strict=True)
        ]
        self._high_ma = []

    def highest(self, days: int, wires: int) -> list[list[int]] | None:
        """Residents' highest minute by quarter of an hour on each of so many wires, mA: phases, then feeders' phases.

        None while not every quarter of an hour was seen on so many days.
        """
        if any(len(row) != wires + 1 or row[0] < days for row in self.highest_ma):
            return None
        return [row[1:] for row in self.highest_ma]

    def _close_quarter(self, quarter: int) -> None:
        old = self._quarter
        if old >= 0 and self._high_ma:
            self._keep_highest(old)
        if old >= 0 and self._count:
            mean = self._sum / self._count
            was = self.profile_va[old]
            self.profile_va[old] = mean if was is None else was + (mean - was) * NEW_DAY
            self.peak_va = max(self.peak_va, mean / day_one(old * QUARTER_MIN))
        if old >= 0 and (old * QUARTER_MIN < NOON_MIN) != (quarter * QUARTER_MIN < NOON_MIN) and old < quarter:
            self._close_night()
        self._quarter, self._sum, self._count = quarter, 0.0, 0

    def _close_night(self) -> None:
        if self.seen or self.nights:
            keep = 1.0 - NEW_DAY if self.nights else 0.0
            self.arrivals = [keep * a + (1.0 - keep) * t for a, t in zip(self.arrivals, self.today, strict=True)]
            self.nights += 1
        self.seen, self.today = 0, [0] * QUARTERS

    def note_arrivals(self, minute: float, count: int) -> None:
        """So many sessions have begun."""
        self.seen += count
        self.today[int(minute) // QUARTER_MIN] += count

    def grant(self, charger: str, month: str, most: int) -> bool:
        """May this charger be charged at once again this month? A yes is counted."""
        if month != self.month:
            self.month, self.granted = month, {}
        count = self.granted.get(charger, 0)
        if count >= most:
            return False
        self.granted[charger] = count + 1
        return True

    def note_departure(self, minute: float) -> None:
        """A wish has said when its car will leave."""
        if self.depart_min is None:
            self.depart_min = minute
        else:
            # The shorter way round the clock.
            apart = (minute - self.depart_min + NOON_MIN) % DAY_MIN - NOON_MIN
            self.depart_min = (self.depart_min + apart * NEW_WISH) % DAY_MIN

    def base_va(self, minute: float, ahead_min: float) -> float:
        """Residents' load to be expected ``ahead_min`` minutes after ``minute`` of the local day, VA.

        Today's difference from what was learned is taken along.
        """
        then = (minute + ahead_min) % DAY_MIN
        learned = self._learned_va(then)
        if learned is None:
            return day_one(int(then)) * max(self.peak_va, self.recent_va / day_one(minute))
        if self.ratio <= 0.0:
            return learned
        low, high = RATIO_BOUNDS
        return learned * min(max(self.ratio, low), high)

    def _learned_va(self, minute: float) -> float | None:
        """What was learned for a minute of the local day: linear between the middles of its quarters of an hour."""
        middle = minute / QUARTER_MIN - 0.5
        at = int(middle // 1)
        here = self.profile_va[int(minute) // QUARTER_MIN % QUARTERS]
        a, b = self.profile_va[at % QUARTERS], self.profile_va[(at + 1) % QUARTERS]
        if here is None or a is None or b is None:
            return here
        return a + (b - a) * (middle - at)

    def usual_arrivals(self, chargers: int) -> tuple[float, tuple[int, ...]]:
        """(cars a night, quantiles of their arrival in minutes after noon); on day one every charger is expected."""
        total = sum(self.arrivals)
        if total < 1.0:
            return float(chargers), DAY_ONE_ARRIVE_MIN
        order = [(q - NOON_MIN // QUARTER_MIN) % QUARTERS for q in range(QUARTERS)]
        by_time = sorted((order[q], self.arrivals[q]) for q in range(QUARTERS))
        quantiles: list[int] = []
        passed, steps = 0.0, 16
        for slot, cars in by_time:
            while len(quantiles) <= steps and passed + cars >= total * len(quantiles) / steps and cars > 0.0:
                inside = (total * len(quantiles) / steps - passed) / cars
                quantiles.append(round((slot + inside) * QUARTER_MIN))
            passed += cars
        while len(quantiles) <= steps:
            quantiles.append(quantiles[-1] if quantiles else DAY_MIN // 4)
        return total, tuple(quantiles)

    def as_json(self) -> dict[str, Any]:
        """What is worth keeping."""
        return {
            "profile_va": [None if v is None else round(v) for v in self.profile_va],
            "arrivals": [round(a, 2) for a in self.arrivals],
            "nights": self.nights,
            "peak_va": round(self.peak_va),
            "depart_min": None if self.depart_min is None else round(self.depart_min),
            "month": self.month,
            "granted": self.granted,
            "highest_ma": self.highest_ma,
            "meters": self.meters,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Memory:
        """What was kept. Raises ValueError when it is not what ``as_json`` writes."""
        try:
            profile = [None if v is None else _number(v) for v in data["profile_va"]]
            arrivals = [_number(a) for a in data["arrivals"]]
            nights, peak_va = _number(data["nights"]), _number(data["peak_va"])
            leaves = data.get("depart_min")
            depart_min = None if leaves is None else _number(leaves) % DAY_MIN
            month = str(data.get("month", ""))[:7]
            meters = {str(name): str(serial) for name, serial in data.get("meters", {}).items()}
            granted = {str(name): int(_number(count)) for name, count in data.get("granted", {}).items()}
            highest = [[int(_number(ma)) for ma in row] for row in data.get("highest_ma", [[]] * QUARTERS)]
        except (AttributeError, KeyError, TypeError, ValueError) as err:
            raise ValueError(f"not a memory of an area: {err!r}") from None
        if {len(profile), len(arrivals), len(highest)} != {QUARTERS}:
            raise ValueError("not a memory of an area: 96 quarters of an hour are expected")
        memory = cls(profile, arrivals, int(nights), depart_min, peak_va, month=month, granted=granted, meters=meters)
        memory.highest_ma = highest
        return memory


def _number(value: object) -> float:
    """A number as ``as_json`` writes them. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < NUMBER_MAX:
        raise ValueError(f"{str(value)[:20]} is no number from 0 to {NUMBER_MAX:.0e}")
    return float(value)


def day_one(minute: float) -> float:
    """The cautious shape at a minute of the local day, linear between hours."""
    hour, inside = divmod(minute / 60.0, 1.0)
    a, b = DAY_ONE[int(hour) % 24], DAY_ONE[(int(hour) + 1) % 24]
    return a + (b - a) * inside


SAVE_MS = 3_600_000


class MemoryFile:
    """Keeps a memory in a file, once an hour, at the end, and when a meter says who it is for the first time.

    What cannot be read or written is said, and not needed.

    ``do`` has it written: a ``Scribe``'s, so that nobody waits for the disk.
    """

    def __init__(
        self, path: Path | None, area: str = "", do: Callable[[Callable[[], object]], object] = at_once
    ) -> None:
        self.path, self.area, self._do = path, area, do
        self._kept = None if path is None else Kept(Vault(path, "memory", plain=True))
        self._saved_ms: int | None = None
        self._meters: dict[str, str] | None = None

    def load(self) -> Memory:
        """What was kept; an empty memory where there is none. What cannot be read is put aside, never overwritten.

        Raises ConfigError when it is another area's, OSError when nothing could be kept there.
        """
        if self._kept is None:
            return Memory()
        self._kept.vault.try_out()
        memory = self._kept.vault.load(self._read) or Memory()
        self._meters = dict(memory.meters)
        return memory

    def peek(self) -> Memory:
        """What is kept, the file left as it is. Raises ConfigError when it is another area's or cannot be read."""
        if self._kept is None:
            return Memory()
        try:
            return self._kept.vault.peek(self._read)
        except (OSError, ValueError, RecursionError) as err:
            what = getattr(err, "strerror", None) or err
            raise ConfigError([f"--memory {self.path}: {what}. Name the file that taiqu run --memory keeps."]) from None

    def _read(self, data: dict[str, Any]) -> Memory:
        memory = Memory.from_json(data)
        if self.area and (other := str(data.get("area", self.area))) != self.area:
            raise ConfigError(
                [f"--memory {self.path} is what area {other[:40]} has learned, not {self.area}. Choose another file."]
            )
        return memory

    def keep(self, memory: Memory, now_ms: int) -> None:
        """Save it when an hour has passed, or a meter was met; what failed is tried again before."""
        if self._saved_ms is None:
            self._saved_ms = now_ms
        met = self._meters is not None and memory.meters != self._meters
        if met or self._meters is None:
            self._meters = dict(memory.meters)
        if met or now_ms - self._saved_ms >= SAVE_MS:
            self._saved_ms = now_ms
            self._take(memory)
        if self._kept is not None:
            self._kept.step(now_ms, self._do)

    def save(self, memory: Memory) -> None:
        """Save it now."""
        if self._kept is not None:
            self._take(memory)
            self._kept.step(0, self._do)

    def _take(self, memory: Memory) -> None:
        if self._kept is not None:
            self._kept.set({"area": self.area, **memory.as_json()})
