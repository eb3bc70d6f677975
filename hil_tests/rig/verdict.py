"""Verdicts, the same everywhere: loading is the plant's true S as 1-min means; a request is met within 0.11 kWh.

A minute over is one above the limit in which residents alone are not above it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hil_tests.rig.community import VALLEY_S, Floats

if TYPE_CHECKING:
    from hil_tests.rig.plant import Busbar, Plant

MET_WITHIN_WH = 110.0
NIGHT_MIN = (22 * 60, 32 * 60)


def phase_minutes(rows: list[Floats]) -> Floats:
    """1-min means of what three phases carried second by second, shape (minutes, 3)."""
    return _minutes(np.asarray(rows, dtype=np.float64).reshape(-1, 3))


def phase_minutes_over(flow_a: list[Floats], base_a: list[Floats], limit_a: float) -> int:
    """Minutes in which a phase's current is above its limit although residents alone are not above it there."""
    over = (phase_minutes(flow_a) > limit_a) & (phase_minutes(base_a) <= limit_a)
    return int(over.any(axis=1).sum())


def _minutes(seconds: Floats) -> Floats:
    """1-min means; the rest of a last, broken minute is left out."""
    whole = len(seconds) // 60
    means: Floats = seconds[: whole * 60].reshape(whole, 60, *seconds.shape[1:]).mean(axis=1)
    return means


@dataclass(slots=True)
class Recorder:
    """Collects one night second by second and judges it minute by minute."""

    plant: Plant
    rated_a: float
    s_kva: list[float] = field(default_factory=list)
    base_kva: list[float] = field(default_factory=list)
    worst_a: list[float] = field(default_factory=list)
    phases_a: list[Floats] = field(default_factory=list)
    base_phases_a: list[Floats] = field(default_factory=list)
    base_kw: list[float] = field(default_factory=list)
    ev_kw: list[float] = field(default_factory=list)
    charging: list[int] = field(default_factory=list)
    plugged: list[int] = field(default_factory=list)
    valley_wh: float = 0.0
    first_s: Floats = field(init=False)
    done_s: Floats = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.plant.cars.phase)
        self.first_s = np.full(count, np.nan)
        self.done_s = np.full(count, np.nan)

    def note(self, bar: Busbar) -> None:
        """Take one second in."""
        plant = self.plant
        self.s_kva.append(bar.s_kva)
        self.base_kva.append(bar.base_kva)
        self.worst_a.append(float(bar.i_a.max()))
        self.phases_a.append(bar.i_a)
        self.base_phases_a.append(bar.base_a)
        self.base_kw.append(bar.base_kw)
        self.ev_kw.append(bar.ev_kw)
        drawing = plant.current_a > 0.0
        self.charging.append(int(drawing.sum()))
        self.plugged.append(int(plant.plugged.sum()))
        if VALLEY_S[0] < plant.second <= VALLEY_S[1]:
            self.valley_wh += bar.ev_kw * 1000.0 / 3600.0
        self.first_s[drawing & np.isnan(self.first_s)] = plant.second
        self.done_s[plant.full & np.isnan(self.done_s)] = plant.second

    def minutes(self, values: list[float]) -> Floats:
        """1-min means of a per-second series; the rest of a last, broken minute is left out."""
        return _minutes(np.asarray(values, dtype=np.float64))

    def met(self) -> list[bool]:
        """Which requests were met."""
        plant = self.plant
        return [bool(x) for x in plant.delivered_wh >= plant.cars.need_wh - MET_WITHIN_WH]

    def verdict(self, limit_pct: float) -> dict[str, Any]:
        """The numbers of one night, rounded as they are published."""
        plant = self.plant
        rating = float(plant.community.rating_kva)
        loading = self.minutes(self.s_kva) / rating * 100.0
        base = self.minutes(self.base_kva) / rating * 100.0
        phase = self.minutes(self.worst_a) / self.rated_a * 100.0
        over = (loading > limit_pct) & (base <= limit_pct)
        minute = plant.start_s // 60 + np.arange(len(loading))
        night = (minute >= NIGHT_MIN[0]) & (minute < NIGHT_MIN[1])
        peak = int(loading.argmax())
        at = int(minute[peak]) % 1440
        asked, given = float(plant.cars.need_wh.sum()), float(plant.delivered_wh.sum())
        return {
            "peak_loading_pct": round(float(loading.max()), 2),
            "peak_time": f"{at // 60:02d}:{at % 60:02d}",
            "peak_phase_pct": round(float(phase.max()), 2),
            "minutes_over_limit": int(over.sum()),
            "minutes_over_limit_night": int((over & night).sum()),
            "minutes_over_phase": phase_minutes_over(
                self.phases_a, self.base_phases_a, self.rated_a * limit_pct / 100.0
            ),
            "requests": len(plant.cars.phase),
            "requests_met": sum(self.met()),
            "energy_requested_kwh": round(asked / 1000.0, 1),
            "energy_delivered_kwh": round(given / 1000.0, 1),
            "valley_share_pct": round(100.0 * self.valley_wh / given, 1) if given > 0.0 else 0.0,
        }
