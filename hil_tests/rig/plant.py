"""The small plant: residents, cars and the transformer's busbar in one-second steps, one array operation for all cars.

Cars have manners: nothing below 6 A, a start delay, about 95 % of the allowance, a lag, a taper before they are full.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hil_tests.rig.community import BASE_PF, EV_PF, VOLT, Cars, Community, Floats, base_phases_kw

if TYPE_CHECKING:
    from numpy.typing import NDArray

TAPER_WH = 400.0
"""The last part of a charge, in which the current falls to the floor below."""
TAPER_FLOOR_A = 2.0
SLEW_A_PER_S = 8.0
MIN_A = 6.0
OVERSHOOT = 1.10
"""In its first seconds a car may draw so much more than it settles at."""
SLEEP_S = 30.0
"""A sleeping car wakes when an offer that lasted longer than this is taken away and made again."""
_BASE_TAN = float(np.tan(np.arccos(BASE_PF)))
_EV_TAN = float(np.tan(np.arccos(EV_PF)))


@dataclass(slots=True)
class Busbar:
    """What flows at the transformer's secondary side: per phase kW, kvar, A; total kVA; ``base_…``: residents."""

    p_kw: Floats
    q_kvar: Floats
    i_a: Floats
    s_kva: float
    base_kva: float
    base_kw: float
    ev_kw: float
    base_a: Floats


class Plant:
    """The physics of one area. ``pilot_a`` is what each charger allows its car; everything else follows."""

    def __init__(self, community: Community, cars: Cars, base_kw: Floats, start_s: int) -> None:
        self.community, self.cars, self.start_s = community, cars, start_s
        self.base_kw = base_kw
        """Residents' kW for each second from ``start_s``, shape (seconds, 3)."""
        self.extra_kw = 0.0
        """A step added to the residents' load on purpose, kW in all."""
        count = len(cars.phase)
        self.second = start_s
        self.pilot_a = np.zeros(count)
        self.current_a = np.zeros(count)
        self.delivered_wh = np.zeros(count)
        self.plugged = np.zeros(count, dtype=bool)
        self.full = np.zeros(count, dtype=bool)
        self._seen_a = np.zeros(count)
        self._seen_for_s = np.zeros(count)
        self._released_s = np.zeros(count)
        self._follow_a = np.zeros(count)
        self.lines = np.ones(count, dtype=np.int64) if cars.lines is None else cars.lines
        self._phases = np.where(self.lines == 3, 1.0, np.eye(3)[cars.phase].T)
        self._asleep = np.zeros(count, dtype=bool) if cars.sleeper is None else cars.sleeper.copy()
        """Sleepers do not react to their first offer; when it is taken away and made again they wake."""
        self._deaf = np.zeros(count, dtype=bool) if cars.deaf is None else cars.deaf
        self._peak_a = np.zeros(count)

    @classmethod
    def of_night(cls, community: Community, cars: Cars, seed: int, start_s: int, end_s: int) -> Plant:
        """A plant with its residents drawn from ``seed``."""
        seconds = np.arange(start_s, end_s + 1, dtype=np.float64)
        return cls(community, cars, base_phases_kw(community, seconds, np.random.default_rng((seed, 1))), start_s)

    def step(self) -> Busbar:
        """Advance one second and return the busbar at its end."""
        self.second += 1
        cars, now = self.cars, self.second
        here = (now >= cars.arrive_s) & (now < cars.depart_s)
        self.full &= here
        self.plugged = here
        self._drive()
        volt_amps = self.current_a * VOLT
        self.delivered_wh += volt_amps * self.lines * (EV_PF / 3600.0)
        self.full |= here & (self.delivered_wh >= cars.need_wh)
        return self._busbar(volt_amps)

    def _drive(self) -> None:
        """Let each car follow its pilot."""
        cars = self.cars
        allowed = np.where(
            self.plugged & ~self.full & (self.pilot_a >= MIN_A), np.minimum(self.pilot_a, cars.max_a), 0.0
        )
        changed = allowed != self._seen_a
        self._seen_for_s = np.where(changed, 0.0, self._seen_for_s + 1.0)
        self._seen_a = allowed
        self._follow_a = np.where(self._seen_for_s >= cars.react_s, allowed, np.minimum(self._follow_a, cars.max_a))
        self._follow_a = np.where(self.plugged & ~self.full, self._follow_a, 0.0)
        self._asleep &= ~((allowed == 0.0) & (self._released_s > SLEEP_S))
        self._released_s = np.where(allowed > 0.0, self._released_s + 1.0, 0.0)
        awake = ((self._released_s >= cars.start_s) & ~self._asleep) | (self.current_a > 0.0)
        left = np.maximum(cars.need_wh - self.delivered_wh, 0.0)
        taper = np.maximum(cars.max_a * left / TAPER_WH, TAPER_FLOOR_A)
        # A deaf car ignores a lower pilot while it is offered any current: it keeps the highest it has seen.
        self._peak_a = np.where(allowed > 0.0, np.maximum(self._peak_a, self._follow_a), 0.0)
        follow = np.where(self._deaf, self._peak_a, self._follow_a)
        # A car that has just begun overshoots for two seconds.
        boost = np.where((self._released_s >= cars.start_s) & (self._released_s < cars.start_s + 3.0), OVERSHOOT, 1.0)
        target = np.where(awake, np.minimum(np.minimum(follow * cars.draw * boost, cars.max_a), taper), 0.0)
        self.current_a += np.clip(target - self.current_a, -SLEW_A_PER_S * 2.0, SLEW_A_PER_S)
        self.current_a[~self.plugged | self.full] = 0.0

    def behind(self, cars: NDArray[np.bool_], residents: float, bar: Busbar) -> Busbar:
        """What of a busbar's present load these cars and this share of the residents are."""
        base = bar.base_a * (VOLT * BASE_PF * residents / 1000.0)
        return self._sum(base, np.where(cars, self.current_a, 0.0) * VOLT)

    def _busbar(self, volt_amps: Floats) -> Busbar:
        base = self.base_kw[min(self.second - self.start_s, len(self.base_kw) - 1)] + self.extra_kw / 3.0
        return self._sum(base, volt_amps)

    def _sum(self, base: Floats, volt_amps: Floats) -> Busbar:
        """Residents in kW by phase and cars in VA by car, as they flow together."""
        ev = self._phases @ volt_amps * (EV_PF / 1000.0)
        p = base + ev
        q = base * _BASE_TAN + ev * _EV_TAN
        s = np.sqrt(p * p + q * q)
        return Busbar(
            p_kw=p,
            q_kvar=q,
            i_a=s * (1000.0 / VOLT),
            s_kva=float(s.sum()),
            base_kva=float(base.sum()) / BASE_PF,
            base_kw=float(base.sum()),
            ev_kw=float(ev.sum()),
            base_a=base * (1000.0 / VOLT / BASE_PF),
        )
