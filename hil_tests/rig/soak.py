"""Soaks: does the daemon grow, and how much does it write? One in real time, one of a whole day in virtual time.

Cars come and go, residents' load wanders, and every ten minutes a fault comes and goes, because what leaks most often
leaks on the way back. Memory is sampled all the time; its slope is a straight line through what follows the warm-up.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge.clock import monotonic_ms
from hil_tests.rig.community import START_S, Community
from hil_tests.rig.daemon import Daemon, usage
from hil_tests.rig.live import LiveArea
from hil_tests.rig.night import ControlledNight, Night

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from drivers.broker import BrokerChild

    Progress = Callable[[str], None]

SMALL = Community("soak", rating_kva=250, peak_kw=135.0, valley_kw=70.0, piles=12)
DAY_S = 86_400
WARM_UP = 1 / 3
"""What the slope leaves out: caches fill, the planner's process starts, the first session of each charger is new."""
MEMORY_MB_A_DAY_MAX = 1.0
DISK_MB_A_DAY_MAX = 100.0
SAMPLE_S, LOAD_S, CARS_S, FAULT_S = 10, 60, 45, 600
SAY_S = 300
MUTE_S = 20
LOAD_PCT = 12.0
"""Residents wander by so much of the rating, up or down."""
DAY_SAMPLE_S = 120
MB = 1e6


class Sample(NamedTuple):
    """One look at the daemon: seconds since the start, and bytes."""

    at_s: float
    own: int
    resident: int
    written: int
    journal: int


@dataclass(frozen=True, slots=True)
class Soaked:
    """What a soak found. MB are 10^6 bytes."""

    hours: float
    memory_mb: float
    memory_mb_a_day: float
    disk_mb_a_day: float
    journal_mb_a_day: float
    faults: int
    sound: bool
    """It ran to the end and never stumbled."""

    @property
    def passed(self) -> bool:
        """Within what is promised?"""
        written = max(self.disk_mb_a_day, self.journal_mb_a_day)
        return self.sound and self.memory_mb_a_day < MEMORY_MB_A_DAY_MAX and written < DISK_MB_A_DAY_MAX


def slope_a_day(samples: Sequence[Sample]) -> float:
    """Least-squares slope of the daemon's own memory after the warm-up, bytes a day."""
    late = [sample for sample in samples if sample.at_s >= samples[-1].at_s * WARM_UP]
    at_s = np.array([sample.at_s for sample in late])
    own = np.array([sample.own for sample in late], dtype=np.float64)
    away_s = at_s - at_s.mean()
    return float((away_s * (own - own.mean())).sum() / (away_s * away_s).sum() * DAY_S)


def summary(samples: Sequence[Sample], faults: int, *, sound: bool) -> Soaked:
    """The figures of a soak."""
    first, last = samples[0], samples[-1]
    days = (last.at_s - first.at_s) / DAY_S
    # A journal begins anew when it is full: only what it grew by between two looks counts.
    grown = sum(max(after.journal - before.journal, 0) for before, after in pairwise(samples))
    return Soaked(
        days * 24.0,
        last.own / MB,
        slope_a_day(samples) / MB,
        (last.written - first.written) / MB / days,
        grown / MB / days,
        faults,
        sound,
    )


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Keep every look, so that a slope can be looked into."""
    rows = [",".join(Sample._fields), *(",".join(f"{value:.10g}" for value in sample) for sample in samples)]
    path.write_text("\n".join(rows) + "\n", encoding="ascii")


def _look(pid: int, journal: Path, at_s: float) -> Sample:
    now = usage(pid)
    return Sample(at_s, now.own, now.resident, now.written, journal.stat().st_size)


class RealSoak:
    """An area of twelve chargers and its daemon for some hours of real time. The main thread has to run it."""

    def __init__(self, broker: BrokerChild, folder: Path, seed: int = 1) -> None:
        self.broker, self.folder = broker, folder
        self.area = LiveArea(broker, folder, community=SMALL, seed=seed, plugged=SMALL.piles // 2)
        self._rng = np.random.default_rng((seed, 20))
        self._faults = 0
        self._unmute_s = np.inf

    def run(self, hours: float, say: Progress) -> Soaked:
        """Soak, and write soak.csv."""
        samples: list[Sample] = []
        with self.area:
            daemon = Daemon(self.area.config, keeps=True)
            try:
                daemon.await_words("broker connected", within_s=60)
                self._soak(daemon, hours * 3600.0, samples, say)
                sound = daemon.runs()
            finally:
                daemon.end()
        write_samples(self.folder / "soak.csv", samples)
        return summary(samples, self._faults, sound=sound)

    def _soak(self, daemon: Daemon, seconds: float, samples: list[Sample], say: Progress) -> None:
        begun_ms, second = monotonic_ms(), 0
        while second <= seconds:
            self._live(second)
            if second % SAMPLE_S == 0:
                samples.append(_look(daemon.process.pid, daemon.journal, (monotonic_ms() - begun_ms) / 1000))
            if second % SAY_S == 0:
                say(f"{second / 60:.0f} of {seconds / 60:.0f} min in real time, {samples[-1].own / MB:.2f} MB")
            second += 1
            time.sleep(max(begun_ms + second * 1000 - monotonic_ms(), 0) / 1000)

    def _live(self, second: int) -> None:
        """Everybody's life in this second."""
        area, rng = self.area, self._rng
        if second % LOAD_S == 0:
            area.base_step(float(rng.uniform(-LOAD_PCT, LOAD_PCT)))
        if second % CARS_S == 0:
            pile = int(rng.integers(SMALL.piles))
            if area.plant.plugged[pile]:
                area.leave([pile])
            else:
                area.plug_in([pile], need_wh=float(rng.uniform(500.0, 4000.0)))
        if second >= self._unmute_s:
            area.meter.mute, self._unmute_s = False, np.inf
        if second % FAULT_S == FAULT_S // 2:
            self._faults += 1
            if self._faults % 2:
                area.meter.mute, self._unmute_s = True, second + MUTE_S
            else:
                self.broker.restart()


def simulated_day(
    broker: BrokerChild, folder: Path, say: Progress, community: Community = SMALL, seed: int = 1
) -> Soaked:
    """Soak the daemon for 24 hours in virtual time with a tick a second, journal and memory file on."""
    samples: list[Sample] = []
    night = Night(community, seed, START_S, START_S + DAY_S)
    memory = folder / "memory.json"
    with ControlledNight(night, broker, folder, cycle_s=1, options=("--memory", str(memory))) as played:

        def progress(second: int) -> None:
            at_s = second - START_S
            if at_s % DAY_SAMPLE_S == 0:
                samples.append(_look(played.pid, folder / "journal.jsonl", at_s))
            if at_s % 3600 == 0:
                say(f"{at_s // 3600} of {DAY_S // 3600} h in virtual time, {samples[-1].own / MB:.2f} MB")

        played.play(lambda plant, _loading: progress(plant.second))
        sound = played.lost_steps() == 0
    write_samples(folder / "soak.csv", samples)
    return summary(samples, 0, sound=sound and memory.exists())
