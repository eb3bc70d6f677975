"""The emulated areas: communities A, B, C of the carrying-capacity study, and the cars that come home to them.

A is the study's old community with its 1250 kVA; B and C are slices of theirs, one transformer wide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

START_S = 16 * 3600
END_S = 33 * 3600
"""A night runs from 16:00 to 09:00; seconds since midnight of its first day."""

VALLEY_S = (23 * 3600, 32 * 3600)
VOLT = 220.0
"""Nominal phase voltage of the emulated busbar (220/380 V)."""
BASE_PF = 0.95
EV_PF = 0.99


@dataclass(frozen=True, slots=True)
class Community:
    """One transformer area: rating in kVA, evening peak and valley of the residents' load in kW, charging piles."""

    name: str
    rating_kva: int
    peak_kw: float
    valley_kw: float
    piles: int


COMMUNITIES = {
    "A": Community("A", 1250, 880.0, 352.0, 324),
    "B": Community("B", 800, 471.0, 188.0, 217),
    "C": Community("C", 1000, 359.0, 143.0, 288),
}

# Residents' load as a share of the way from valley (0) to peak (1), by hour; linear between.
_SHAPE_H = (16.0, 17.0, 18.0, 19.0, 20.0, 21.0, 22.0, 23.0, 31.0, 32.0, 33.0)
_SHAPE = (0.60, 0.66, 0.78, 0.92, 1.00, 1.00, 0.75, 0.40, 0.40, 0.55, 0.60)

# Other people's kettles: 2 kW appliances make a 1-s sigma of 1.4 % of a 1250 kVA rating at A's peak (17.5 kW of
# 880 kW), which is the noise of a Poisson crowd, so it grows with the root of the load. They stay on for minutes.
_NOISE_KW_AT = (17.5, 880.0)
_NOISE_TAU_S = 120.0


def base_curve_kw(community: Community, seconds: Floats) -> Floats:
    """Residents' active power without noise, kW, at seconds since midnight of the first day."""
    shape = np.interp(seconds / 3600.0, _SHAPE_H, _SHAPE)
    share = (shape - 0.40) / 0.60
    return np.asarray(community.valley_kw + share * (community.peak_kw - community.valley_kw), dtype=np.float64)


def base_phases_kw(community: Community, seconds: Floats, rng: np.random.Generator) -> Floats:
    """Residents' active power with seeded noise, kW, shape (seconds, 3): a third on each phase, noise of its own."""
    mean = base_curve_kw(community, seconds)[:, None] / 3.0
    keep = float(np.exp(-1.0 / _NOISE_TAU_S))
    shocks = rng.normal(0.0, np.sqrt(1.0 - keep * keep), size=(len(seconds), 3))
    noise = np.empty_like(shocks)
    level = rng.normal(0.0, 1.0, size=3)
    for k, shock in enumerate(shocks):
        level = keep * level + shock
        noise[k] = level
    sigma = _NOISE_KW_AT[0] * np.sqrt(mean / (_NOISE_KW_AT[1] / 3.0)) / np.sqrt(3.0)
    drawn: Floats = np.maximum(mean + sigma * np.clip(noise, -4.0, 4.0), 0.0)
    return drawn


APPLIANCE_KW, APPLIANCE_S = 2.0, 120.0
"""A kettle, and how long it stays on."""


def appliances_kw(mean_kw: Floats, rng: np.random.Generator) -> Floats:
    """Residents' active power second by second, kW, shape (seconds, 3), around a mean of the same shape.

    2 kW appliances come and go, as many as give the published 1-s sigma (1.4 % of 1250 kVA at A's peak).
    """
    sigma = _NOISE_KW_AT[0] * np.sqrt(mean_kw / (_NOISE_KW_AT[1] / 3.0)) / np.sqrt(3.0)
    usual = (sigma / APPLIANCE_KW) ** 2
    come = rng.poisson(usual / APPLIANCE_S)
    on = rng.poisson(usual[0])
    count = np.empty(mean_kw.shape)
    for k in range(len(mean_kw)):
        on = on + come[k] - rng.binomial(on, 1.0 / APPLIANCE_S)
        count[k] = on
    drawn: Floats = np.maximum(mean_kw + APPLIANCE_KW * (count - usual), 0.0)
    return drawn


@dataclass(frozen=True, slots=True)
class Cars:
    """One night's cars, one for each pile: arrays of the same length. Times in s since midnight, energy in Wh."""

    phase: Ints
    max_a: Ints
    arrive_s: Ints
    depart_s: Ints
    need_wh: Floats
    draw: Floats
    """What the car takes of the current it is allowed, about 0.95."""
    start_s: Floats
    """How long the car takes to begin after it is released, s."""
    react_s: Floats
    """How long it takes to follow a new allowance, s; under 5."""
    lines: Ints | None = None
    """Conductors it draws on, 1 or 3; one when None."""
    sleeper: NDArray[np.bool_] | None = None
    """Cars that do not answer their first offer."""
    deaf: NDArray[np.bool_] | None = None
    """Cars that ignore a lower pilot until it is taken away."""


def sample_cars(piles: int, rng: np.random.Generator) -> Cars:
    """Draw a night's cars: 60 % 7 kW and 40 % 3.5 kW, phases 40/33/27, home 16–20 h, away 7–9 h, 9 kWh each."""
    shares = np.array((0.40, 0.33, 0.27))
    return Cars(
        phase=_spread(piles, shares, rng),
        max_a=np.where(_spread(piles, np.array((0.60, 0.40)), rng) == 0, 32, 16),
        arrive_s=_between(rng, piles, 18.0, 1.0, (16.05, 20.0)),
        depart_s=_between(rng, piles, 32.0, 0.5, (31.0, 33.0)),
        need_wh=np.full(piles, 9000.0),
        draw=rng.uniform(0.93, 0.97, piles),
        start_s=rng.uniform(10.0, 40.0, piles),
        react_s=rng.uniform(1.0, 4.0, piles),
    )


def _spread(count: int, shares: Floats, rng: np.random.Generator) -> Ints:
    """``count`` labels in exactly these shares (to the nearest one), in random order."""
    edges = np.round(np.cumsum(shares) * count).astype(np.int64)
    labels = np.searchsorted(edges, np.arange(count), side="right")
    return np.asarray(rng.permutation(labels), dtype=np.int64)


def _between(rng: np.random.Generator, count: int, mean_h: float, sd_h: float, bounds_h: tuple[float, float]) -> Ints:
    """Whole seconds from a normal distribution, drawn again outside its bounds."""
    low_h, high_h = bounds_h
    hours = rng.normal(mean_h, sd_h, count)
    while (outside := (hours < low_h) | (hours > high_h)).any():
        hours[outside] = rng.normal(mean_h, sd_h, int(outside.sum()))
    return np.round(hours * 3600.0).astype(np.int64)
