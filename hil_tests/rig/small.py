"""Small areas for short nights: 3 to 12 chargers below 30 to 630 kVA, and 36 minutes around an edge, drawn from a seed.

The edges are those at which a night is decided: the evening that presses on the limit, the start of the price valley,
and the morning on which everybody leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge import config as cfg
from edge.ports import Wish
from hil_tests.rig.community import BASE_PF, VOLT, Cars, Community, Floats, appliances_kw, base_curve_kw

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIDNIGHT_S = 1_768_406_400
"""2026-01-15 00:00 in Shanghai, Unix seconds."""
NIGHT_S = 2160
WARM_S = 300
"""The start-up rule and the first raises; faults begin after it."""
QUIET_S = 900
"""What DESIGN gives for the way back to normal after the last fault."""
EDGES = {"evening": 19 * 3600 + 1200, "valley": 22 * 3600 + 2880, "leaving": 30 * 3600 + 2400}
"""Where a night begins, s since midnight of its first day; the valley starts 12 min in, the exodus 20."""
RATINGS_KVA, SMALL_KVA, SMALL_SHARE = (250, 400, 630), (30, 50, 63, 80, 100, 125, 160, 200), 0.25
"""What is drawn from, and how often from the small ones."""
KVA_EACH = 3.86
"""More chargers than are drawn get a transformer with so much for each, as 324 have 1250 kVA."""
ROOM = (0.4, 1.5)
"""What residents leave below the limit in the middle of the night, as a share of what all cars could draw."""
LOAD = (0.30, 0.76)
"""Residents' load then, of the rating, stays within this."""
LIMIT_PERMILLE = 800
NEVER_S = 1 << 30
COUNT_MAX = 12
FALLBACK_MA = 6000


@dataclass(frozen=True, slots=True)
class Small:
    """One drawn area with its cars, its residents and its configuration."""

    seed: int
    edge: str
    begin_s: int
    cars: Cars
    community: Community
    base_kw: Floats
    config: cfg.AreaConfig
    wishes: tuple[Wish, ...]
    """One a registered charger, said when its car comes."""
    feeder_residents: float
    """The share of residents behind the feeder."""

    @property
    def count(self) -> int:
        """How many chargers are registered; the plant has one more, the stranger, whose car comes only with a fault."""
        return len(self.config.chargers)

    @property
    def rated_a(self) -> float:
        """Rated current of a phase, A."""
        return self.config.rated_ma / 1000.0

    @property
    def behind(self) -> NDArray[np.bool_]:
        """Which of the plant's chargers stand behind the feeder."""
        return np.array([charger.feeder == 0 for charger in self.config.chargers] + [False])


def draw(seed: int, chargers: int | None = None, kva: int | None = None) -> Small:
    """The area and the evening of one seed; ``chargers`` and ``kva`` set their number and the rating instead."""
    rng = np.random.default_rng((seed, 11))
    edge = str(rng.choice(list(EDGES)))
    count = int(rng.integers(3, COUNT_MAX + 1)) if chargers is None else chargers
    usual = int(rng.choice(RATINGS_KVA)) if chargers is None else 0
    rating = kva or _rating(seed, count, usual)
    begin_s = EDGES[edge]
    cars, lines = _cars(rng, edge, begin_s, count)
    floor = rng.random() < 0.4
    community, base_kw = _residents(rng, begin_s, rating, _demand_kw(cars, count), floor)
    rated_ma = int(rating * 1e6 / 3.0 / VOLT)
    feeder_residents = float(rng.uniform(0.2, 0.5))
    feeders = _feeders(rng, rated_ma)
    unknown = int(rng.integers(count)) if rng.random() < 0.3 else -1
    rows = tuple(
        cfg.ChargerConfig(
            f"p{k + 1:03d}",
            7 if lines[k] == 3 or k == unknown else 1 << int(cars.phase[k]),
            k != unknown or bool(lines[k] == 3),
            int(cars.max_a[k]) * 1000,
            0 if feeders and rng.random() < 0.5 else -1,
        )
        for k in range(count)
    )
    fits = floor and not feeders and _fallback_fits(base_kw, cars, count, rated_ma)
    config = cfg.AreaConfig(
        area_id="bench", rating_va=rating * 1000, rated_ma=rated_ma, secondary_v=380, limit_permille=LIMIT_PERMILLE,
        margin_permille=15, timezone="Asia/Shanghai", windows=(),
        meter=_meter(1000 * int(rng.choice((1, 2, 5), p=(0.8, 0.1, 0.1)))), broker=cfg.BrokerConfig("", 0, None, None),
        charging=cfg.ChargingConfig(
            FALLBACK_MA if fits else 0, 60_000, 9000, 7 * 60, ((23 * 60, 8 * 60),), 8
        ),
        chargers=rows, path=Path("bench.toml"), feeders=feeders,
    )  # fmt: skip
    return Small(seed, edge, begin_s, cars, community, base_kw, config, _wishes(rng, cars, count), feeder_residents)


def _rating(seed: int, count: int, usual: int) -> int:
    """The ``usual`` rating (0: none), or a small one by random numbers of its own: most seeds keep their night."""
    rng = np.random.default_rng((seed, 12))
    small = rng.random() < SMALL_SHARE
    drawn = int(rng.choice(SMALL_KVA if small else RATINGS_KVA))
    return max(drawn if small or not usual else usual, round(count * KVA_EACH) if count > COUNT_MAX else 0)


def _cars(rng: np.random.Generator, edge: str, begin_s: int, count: int) -> tuple[Cars, NDArray[np.int64]]:
    """Cars for every charger and the stranger; most are there from the start, some come while the night is played."""
    piles = count + 1
    lines = np.where(rng.random(piles) < 0.25, 3, 1)
    come = begin_s + np.where(rng.random(piles) < 0.75, 0, rng.integers(1, NIGHT_S - QUIET_S, piles))
    leave = np.where(rng.random(piles) < 0.1, begin_s + rng.integers(WARM_S, NIGHT_S, piles), begin_s + 6 * 3600)
    if edge == "leaving":
        leave = np.where(rng.random(piles) < 0.7, begin_s + 1200 + rng.integers(-300, 600, piles), begin_s + 2 * 3600)
    come[-1] = leave[-1] = NEVER_S
    cars = Cars(
        phase=rng.integers(0, 3, piles),
        max_a=np.where((lines == 3) | (rng.random(piles) < 0.2), 16, 32),
        arrive_s=come,
        depart_s=leave,
        need_wh=rng.uniform(2000.0, 20000.0, piles),
        draw=rng.uniform(0.93, 0.97, piles),
        start_s=rng.uniform(10.0, 40.0, piles),
        react_s=rng.uniform(1.0, 4.0, piles),
        lines=lines,
        sleeper=np.zeros(piles, dtype=bool),
        deaf=np.zeros(piles, dtype=bool),
    )
    return cars, lines


def _demand_kw(cars: Cars, count: int) -> float:
    assert cars.lines is not None
    return float((cars.max_a[:count] * cars.lines[:count]).sum()) * VOLT / 1000.0


def _residents(
    rng: np.random.Generator, begin_s: int, rating: int, demand_kw: float, floor: bool
) -> tuple[Community, Floats]:
    """Residents' kW, second by second and phase by phase, with a lean of the phases, so that the limit is near.

    ``floor``: they leave room for everybody's fallback at all times.
    """
    share = LIMIT_PERMILLE / 1000.0 - demand_kw / rating * float(rng.uniform(*ROOM)) - 0.3 * floor
    middle_kw = rating * BASE_PF * float(np.clip(share, *LOAD))
    seconds = np.arange(begin_s, begin_s + NIGHT_S + 1, dtype=np.float64)
    unit = base_curve_kw(Community("unit", rating, 1.0, 0.4, 1), seconds)
    peak_kw = middle_kw / float(unit[NIGHT_S // 2])
    lean = 1.0 + rng.uniform(-0.08, 0.08, 3)
    mean = (unit * peak_kw / 3.0)[:, None] * (lean / lean.mean())
    return Community("small", rating, peak_kw, 0.4 * peak_kw, 1), appliances_kw(mean, rng)


def _feeders(rng: np.random.Generator, rated_ma: int) -> tuple[cfg.FeederConfig, ...]:
    """Sometimes a feeder, sometimes with a meter of its own."""
    if rng.random() >= 0.25:
        return ()
    return (cfg.FeederConfig("f", int(rated_ma * rng.uniform(0.4, 0.7)), _meter(1000) if rng.random() < 0.7 else None),)


def _meter(period_ms: int) -> cfg.MeterConfig:
    return cfg.MeterConfig("none", "", 0, 1, period_ms, 1000)


def _fallback_fits(base_kw: Floats, cars: Cars, count: int, rated_ma: int) -> bool:
    """May everybody draw 6 A beside residents at their highest, with a tenth in hand?"""
    highest_a = base_kw.max(axis=0) * 1000.0 / VOLT / BASE_PF * 1.1
    assert cars.lines is not None
    legs = np.where(cars.lines[:count] == 3, 1.0, np.eye(3)[cars.phase[:count]].T)
    drawn_a = legs.sum(axis=1) * FALLBACK_MA / 1000.0
    return bool((highest_a + drawn_a <= rated_ma / 1000.0 * LIMIT_PERMILLE / 1000.0).all())


def _wishes(rng: np.random.Generator, cars: Cars, count: int) -> tuple[Wish, ...]:
    """What residents ask for; half of them do not wait for the valley."""
    return tuple(
        Wish(
            f"p{k + 1:03d}",
            round(float(cars.need_wh[k])),
            MIDNIGHT_S + int(min(cars.depart_s[k], cars.arrive_s[k] + 10 * 3600)),
            bool(rng.random() < 0.5),
        )
        for k in range(count)
    )
