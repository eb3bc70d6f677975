"""How soon is a charger that lies found, and how often is an honest one accused? Cuts by the thousand, without a plant.

Only what ``edge.core.obey`` needs is there: a phase, chargers that say they have gone down, and a meter that sees them
and the residents of ``community.py``. By hand::

    python -m hil_tests.rig.liars --nights 1000
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from edge.core import obey
from edge.core.model import CHARGING, FULL, NEVER, Charger, Command, Meter, Place, Settings, Snapshot
from hil_tests.rig.community import BASE_PF, VOLT, Community, Floats, appliances_kw, base_phases_kw

RATINGS_KVA = (250, 400, 800, 1250)
LOAD = 0.7
"""Residents at their evening peak, of the rating."""
TRACE_S = 4 * 3600
APART_S = 60
PLACES = (Place(1, 1, True, -1),)


def rated_ma(kva: int) -> int:
    """Rated current of a phase, mA."""
    return int(kva * 1e6 / 3.0 / VOLT)


def steps_a(kva: int, seed: int, kettles: bool) -> Floats:
    """What residents change on a phase over 12 s, A: every 12 s of four hours at their peak, on three phases."""
    kw = kva * BASE_PF * LOAD
    rng, area = np.random.default_rng((seed, kva)), Community("liars", kva, kw, kw, 1)
    seconds = np.arange(TRACE_S, dtype=np.float64) + 20.5 * 3600
    drawn = appliances_kw(np.full((TRACE_S, 3), kw / 3.0), rng) if kettles else base_phases_kw(area, seconds, rng)
    amps = drawn * (1000.0 / VOLT / BASE_PF)
    return np.asarray((amps[12:] - amps[:-12]).ravel(), dtype=np.float64)


@dataclass(slots=True)
class Site:
    """A phase with chargers, all told ``full_a``; who lies says it goes down and draws on."""

    kva: int
    chargers: int = 12
    full_a: int = 32
    liar: bool = True
    kettles: bool = True
    worse: float = 1.0
    """Residents' steps are so many times those of the bench."""
    together: int = 4
    """The most chargers that are cut at once."""

    def night(self, seed: int, cuts: int) -> tuple[int, list[str], bool]:
        """(how many cuts of the liar until it was named, 0: never; who else was; was the meter no longer believed)."""
        rng = np.random.default_rng((seed, 3))
        noise = self.worse * rng.choice(steps_a(self.kva, seed, self.kettles), (cuts, 4))
        state, told, base_ma = obey.start(), 0, rated_ma(self.kva) // 2
        for k in range(cuts):
            for quiet in range(3):  # looks at residents between two cuts
                state = self._look(state, k * APART_S + 13 * quiet, [], base_ma, noise[k, quiet])
            cut = sorted(rng.choice(self.chargers, int(rng.integers(1, self.together + 1)), replace=False))
            told += 0 in cut
            state = self._look(state, k * APART_S + 40, cut, base_ma, noise[k, 3])
            named = obey.isolated(state)
            if named or obey.unmoved(state):
                found = self.liar and "p000" in named
                return told if found else 0, [name for name in named if not (found and name == "p000")], not named
        return 0, [], False

    def _look(self, state: obey.State, at_s: int, cut: list[int], base_ma: int, noise_a: float) -> obey.State:
        """Twelve seconds in which these are told 0 A, or nobody is."""
        settings = Settings(0, rated_ma(self.kva), 15, 1000, 60_000, 5, False)
        full, seen_ma = self.full_a * 950, 0
        before = tuple(_row(k, full) for k in range(self.chargers))
        commands = tuple(Command(row.id, 0 if k in cut else full, FULL, -1, True) for k, row in enumerate(before))
        state = obey.told(state, _shot(at_s * 1000, base_ma, before), commands, at_s * 1000)
        after = tuple(_row(k, 0 if k in cut else full) for k in range(self.chargers))
        seen_ma = full * sum(k != 0 or not self.liar for k in cut)
        meter_ma = base_ma - seen_ma + int(noise_a * 1000)
        return obey.seen(state, _shot(at_s * 1000 + 12_000, meter_ma, after), settings)


def _row(k: int, ma: int) -> Charger:
    return Charger(
        f"p{k:03d}", 0, 32_000, 0, CHARGING, ma, ma, ma, ma, False, False, 9000, 9000, 0, NEVER, False, 0
    )  # fmt: skip


def _shot(at_ms: int, meter_ma: int, rows: tuple[Charger, ...]) -> Snapshot:
    meter = Meter(at_ms, 0, 0, 0, (meter_ma,) * 3, (220_000,) * 3, None, -1, "")
    return Snapshot(meter, 800, PLACES, (), rows)


def main(args: list[str] | None = None) -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m hil_tests.rig.liars", description=__doc__)
    parser.add_argument("--nights", type=int, default=100)
    parser.add_argument("--cuts", type=int, default=1000, help="of one phase in a night")
    parser.add_argument("--seed", type=int, default=1)
    said = parser.parse_args(args)
    for kva in RATINGS_KVA:
        sigma_a = float(np.std(steps_a(kva, said.seed, kettles=True)))
        line = f"{kva:5d} kVA, residents {sigma_a:4.1f} A in 12 s: cuts of the liar until it is named, median (worst)"
        for full_a in (32, 16):
            site = Site(kva, full_a=full_a)
            found = [site.night(said.seed + k, said.cuts) for k in range(min(said.nights, 100))]
            times = sorted(row[0] or 1 << 20 for row in found)
            wrong = sum(bool(row[1]) or row[2] for row in found)
            line += f"; {full_a} A: {times[len(times) // 2]} ({times[-1]}), another blamed {wrong}"
        print(line, flush=True)
    for worse in (1.0, 1.5, 2.0, 3.0):
        for kva in RATINGS_KVA:
            site = Site(kva, full_a=16 if kva < 800 else 32, liar=False, worse=worse)
            found = [site.night(said.seed + k, said.cuts) for k in range(said.nights)]
            accused, doubted = sum(bool(row[1]) for row in found), sum(row[2] for row in found)
            print(f"{kva:5d} kVA, nobody lies, residents x {worse}: accused {accused}, meter {doubted}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
