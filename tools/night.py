"""What one played night leaves behind: the contract between the rig's runner and the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Trace:
    """One night on a one-minute grid; all lists have the same length, one entry a minute.

    Loadings are 1-min means of the plant's true values in % of rating: ``loading_pct`` is S / S_rated,
    ``base_loading_pct`` the same for residents alone, ``worst_phase_pct`` the highest phase current over the rated one.
    """

    minute: list[int] = field(default_factory=list)
    """Minutes since midnight of the first day: 960 is 16:00, 1440 midnight, 1980 is 09:00 of the second day."""
    loading_pct: list[float] = field(default_factory=list)
    base_loading_pct: list[float] = field(default_factory=list)
    worst_phase_pct: list[float] = field(default_factory=list)
    base_kw: list[float] = field(default_factory=list)
    ev_kw: list[float] = field(default_factory=list)
    charging: list[int] = field(default_factory=list)
    plugged: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CarResult:
    """One request and what became of it. Times are minutes since midnight of the first day, energies Wh."""

    charger: str
    phase: str
    max_a: int
    arrive_min: float
    depart_min: float
    requested_wh: int
    delivered_wh: int
    first_charge_min: float | None
    done_min: float | None
    met: bool


@dataclass(frozen=True, slots=True)
class NightEvent:
    """One line of "what happened and why", in both languages."""

    minute: float
    kind: str
    text_en: str
    text_zh: str


@dataclass(frozen=True, slots=True)
class NightRecord:
    """Everything the report shows. ``summary`` is the content of ``summary.json`` (see ``tools.demo``)."""

    summary: dict[str, Any]
    controlled: Trace
    uncontrolled: Trace
    events: list[NightEvent]
    cars: list[CarResult]
