"""The cases of the control bench: whole communities and congested nights, as the published frontier defines them.

One night 16:00–09:00: arrivals normal(18 h, 1 h) within 16–20, departures normal(32 h, 0.5 h) within 31–33, 80 % of
cars 32 A and 20 % 16 A; 9 kWh each, or mileage bins scaled to a mean of 9 kWh with a tail up to 24.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from hil_tests.rig.community import Cars, Community, Floats, base_curve_kw

NIGHT_S = (16 * 3600, 33 * 3600)
PRICE_CHEAP, PRICE_DEAR = 0.3, 0.6
WHOLE = {
    "A": Community("A", 1250, 880.0, 352.0, 324),
    "B": Community("B", 3200, 1883.0, 753.2, 867),
    "C": Community("C", 10200, 3659.0, 1463.6, 2938),
}
"""Whole communities; B and C as if one transformer carried them (their ratings are sums of several)."""

_BINS_KM = ((5.0, 30.0), (30.0, 60.0), (60.0, 90.0), (90.0, 120.0), (120.0, 160.0))
_BINS_SHARE = (0.498, 0.456, 0.031, 0.009, 0.006)


@dataclass(frozen=True, slots=True)
class Case:
    """One night to be played. What the planner believes may differ from what happens."""

    name: str
    community: Community
    cars: int
    energy: str = "9"
    """"9": 9 kWh each; "tail": the mileage distribution."""
    expected_cars: int | None = None
    """How many the planner's history says will come; as many as come when None."""
    late_min: float = 0.0
    """Arrivals are so much later than history."""
    leave_early: float = 0.0
    """This share of cars leaves two hours before it said."""
    depart_sd_min: float = 0.0
    """What cars say of their departure is wrong by this standard deviation."""
    forecast: float = 1.0
    """The planner's forecast of residents' load, relative to the truth."""
    cold: float = 1.0
    """Residents' load after 22:00 is this much of the usual."""
    base: float = 1.0
    """Residents' load at all hours is this much of the usual."""
    phase_shares: tuple[float, float, float] = (0.40, 0.33, 0.27)
    three_phase: float = 0.0
    """Share of three-phase cars (16 A)."""
    uncontrolled: float = 0.0
    """Share of piles outside control: they charge when they come, at full current."""
    sleepers: float = 0.0
    """Share of cars that do not answer their first offer."""
    refusers: float = 0.0
    """Share of cars that ignore a lower pilot until it is taken away."""
    feeder: float = 0.0
    """Half of the chargers stand behind one feeder of this share of the rated current; 0: no feeder."""
    feeder_residents: float = 0.0
    """So much of the residents' load hangs on it too; then it has a meter of its own."""

    def draw(self, seed: int) -> Night:
        """This case's cars and residents for one seed."""
        rng = np.random.default_rng((seed, 7))
        count = self.cars
        arrive = _normal(rng, count, 18.0, 1.0, 16.0, 20.0) + self.late_min / 60.0
        depart = _normal(rng, count, 32.0, 0.5, 31.0, 33.0)
        max_a = np.where(rng.permutation(count) < round(0.8 * count), 32, 16)
        need_wh = np.full(count, 9000.0) if self.energy == "9" else _tail_wh(rng, count)
        edges = np.round(np.cumsum(self.phase_shares) * count)
        phase = rng.permutation(np.searchsorted(edges, np.arange(count), side="right"))
        lines = np.where(rng.permutation(count) < round(self.three_phase * count), 3, 1)
        max_a = np.where(lines == 3, 16, max_a)
        believed = depart + rng.normal(0.0, 1.0, count) * self.depart_sd_min / 60.0
        early = rng.permutation(count) < round(self.leave_early * count)
        cars = Cars(
            phase=phase.astype(np.int64),
            max_a=max_a.astype(np.int64),
            arrive_s=np.round(arrive * 3600.0).astype(np.int64),
            depart_s=np.round(np.where(early, depart - 2.0, depart) * 3600.0).astype(np.int64),
            need_wh=need_wh,
            draw=rng.uniform(0.93, 0.97, count),
            start_s=rng.uniform(10.0, 40.0, count),
            react_s=rng.uniform(1.0, 4.0, count),
            lines=lines.astype(np.int64),
        )
        odd = np.random.default_rng((seed, 8)).permutation(count)
        sleepers, refusers = round(self.sleepers * count), round(self.refusers * count)
        cars = replace(cars, sleeper=odd < sleepers, deaf=(odd >= sleepers) & (odd < sleepers + refusers))
        return Night(
            self,
            seed,
            cars,
            lines.astype(np.int64),
            np.round(believed * 3600.0).astype(np.int64),
            rng.permutation(count) < round(self.uncontrolled * count),
            rng.permutation(count) < round(0.5 * count) if self.feeder else np.zeros(count, dtype=bool),
        )

    def base_kw(self, seconds: Floats) -> Floats:
        """Residents' active power without noise, kW."""
        usual = base_curve_kw(self.community, seconds) * self.base
        return np.where(seconds >= 22 * 3600, usual * self.cold, usual)


@dataclass(frozen=True, slots=True)
class Night:
    """One drawn night: what happens, and what cars said they would do."""

    case: Case
    seed: int
    cars: Cars
    lines: np.ndarray[tuple[int], np.dtype[np.int64]]
    said_depart_s: np.ndarray[tuple[int], np.dtype[np.int64]]
    outside: np.ndarray[tuple[int], np.dtype[np.bool_]]
    behind_feeder: np.ndarray[tuple[int], np.dtype[np.bool_]]
    ids: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ids.extend(f"p{k + 1:04d}" for k in range(len(self.cars.phase)))


def _normal(rng: np.random.Generator, count: int, mean: float, sd: float, low: float, high: float) -> Floats:
    values = rng.normal(mean, sd, count)
    while (out := (values < low) | (values > high)).any():
        values[out] = rng.normal(mean, sd, int(out.sum()))
    return values


def _tail_wh(rng: np.random.Generator, count: int) -> Floats:
    """Daily mileage by bins, 15 kWh/100 km, scaled to a mean of 9 kWh, at most 24."""
    share = np.array(_BINS_SHARE) / sum(_BINS_SHARE)
    bins = np.array(_BINS_KM)[rng.choice(len(_BINS_KM), count, p=share)]
    kwh = rng.uniform(bins[:, 0], bins[:, 1]) * 0.15
    return np.asarray(np.minimum(kwh * 9.0 / kwh.mean(), 24.0) * 1000.0)


_A = WHOLE["A"]
_B_SLICE = Community("B slice", 800, 471.0, 188.0, 390)

CASES = {
    case.name: case
    for case in (
        Case("A-324", _A, 324),
        Case("B-867", WHOLE["B"], 867),
        Case("C-2938", WHOLE["C"], 2938),
        Case("A-810", _A, 810),
        Case("A-810-tail", _A, 810, "tail"),
        Case("A-520", _A, 520),
        Case("A-600", _A, 600),
        Case("surprise-324-810", _A, 810, expected_cars=324),
        Case("late-30min", _A, 810, late_min=30.0),
        Case("leave-2h-early", _A, 810, leave_early=0.05),
        Case("departure-sd-30min", _A, 810, depart_sd_min=30.0),
        Case("B-slice-390", _B_SLICE, 390),
        Case("forecast-minus-20", _A, 600, forecast=0.8),
        Case("forecast-plus-20", _A, 600, forecast=1.2),
        Case("cold-evening", _A, 324, cold=1.3),
        Case("cold-evening-520", _A, 520, cold=1.3),
        Case("outside-40", _B_SLICE, 130, uncontrolled=0.4),
        Case("residents-81", _A, 324, base=1.15),
        Case("residents-91", _A, 324, base=1.30),
        Case("manners", _A, 600, sleepers=0.05, refusers=0.05),
        Case("phases-70-20-10", _A, 324, phase_shares=(0.7, 0.2, 0.1), three_phase=0.2),
        Case("feeder-60", _A, 324, feeder=0.6),
        Case("feeder-15", _A, 324, feeder=0.15),
        Case("feeder-40-metered", _A, 324, feeder=0.4, feeder_residents=0.5),
    )
}

SLOTS = (
    "A-324", "B-867", "C-2938", "A-520", "A-600", "A-810", "A-810-tail", "surprise-324-810", "late-30min",
    "leave-2h-early", "departure-sd-30min", "B-slice-390", "forecast-minus-20", "forecast-plus-20", "cold-evening",
    "cold-evening-520",
)  # fmt: skip
"""Cases of the five-minute setting."""

CLOSED = (
    "A-324", "B-867", "C-2938", "A-520", "A-600", "A-810", "A-810-tail", "B-slice-390", "forecast-minus-20",
    "forecast-plus-20", "cold-evening", "outside-40", "residents-81", "residents-91", "manners", "phases-70-20-10",
    "feeder-60", "feeder-15", "feeder-40-metered",
)  # fmt: skip
"""Cases of the closed loop."""


def with_rating(case: Case, rating_kva: float) -> Case:
    """The same case below another transformer."""
    return replace(case, community=replace(case.community, rating_kva=round(rating_kva)))
