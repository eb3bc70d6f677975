"""Many nights of the simulator: what is kept of each, and all of them added up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from hil_tests.rig.faults import CATALOGUE, WHOLE_NIGHT
from hil_tests.rig.rules import INVARIANTS, PROMISES, Violation
from hil_tests.rig.world import World, night


@dataclass(frozen=True, slots=True)
class Outcome:
    """One night."""

    seed: int
    area: str
    strikes: tuple[tuple[str, str], ...]
    """Each fault's id, and when and how it happened."""
    violations: tuple[Violation, ...]
    checked: Counter[str]
    worst_s: dict[str, float]
    measured: Counter[str]
    ticks: tuple[str, ...]
    """The last before the first violation."""
    seconds: int
    setpoints: int
    over_s: int
    spans: tuple[tuple[int, int], ...]
    """From when to when each fault lasted."""
    modes: tuple[tuple[int, str], ...]
    """The first controller's mode at the start, and each time it changed."""
    said: tuple[tuple[int, str], ...]
    """Which keys its log has named, and when."""
    raised_s: tuple[int, ...]
    """When somebody was raised."""
    named_s: int | None
    """How long it took until the fault that must be named was: the longest of the night."""

    def story(self) -> list[str]:
        """What happened, for a person: area, faults, violations, and how it came to the first one."""
        lines = [f"  {self.area}"]
        lines += [f"  fault {said}" for _, said in self.strikes]
        lines += [f"  {v.second} s  {v.invariant}: {INVARIANTS[v.invariant]}. {v.text}" for v in self.violations]
        return lines + [f"    {tick}" for tick in self.ticks]


def play_night(seed: int, only: str | None = None, chargers: int | None = None, kva: int | None = None) -> Outcome:
    """Play the night of one seed."""
    return outcome(seed, night(seed, only, chargers, kva))


def outcome(seed: int, world: World) -> Outcome:
    """Play a world to its end."""
    found = world.play()
    area = world.area
    what = (
        f"{area.edge}, {area.count} chargers below {area.community.rating_kva} kVA, meter every "
        f"{area.config.meter.period_ms // 1000} s, fallback {area.config.charging.fallback_ma // 1000} A"
    )
    return Outcome(
        seed,
        what,
        tuple((strike.fault.id, strike.said()) for strike in world.strikes),
        tuple(found.violations),
        found.checked,
        found.stopwatches.worst_s,
        found.stopwatches.measured,
        tuple(found.story),
        world.second,
        len(world.air.told),
        found.longest_over_s,
        tuple((strike.start_s, strike.end_s) for strike in world.strikes),
        tuple(found.modes),
        tuple(world.ear.heard),
        tuple(found.raises_s),
        found.naming.named_s,
    )


def summed(outcomes: list[Outcome]) -> dict[str, Any]:
    """All nights added up."""
    checked: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    measured: Counter[str] = Counter()
    for one in outcomes:
        checked += one.checked
        measured += one.measured
        broken.update(violation.invariant for violation in one.violations)
    return {
        "nights": len(outcomes),
        "hours": round(sum(one.seconds for one in outcomes) / 3600.0, 1),
        "setpoints": sum(one.setpoints for one in outcomes),
        "violations": sum(broken.values()),
        "seeds": [one.seed for one in outcomes if one.violations],
        "faults": _by_fault(outcomes),
        "invariants": [
            {"id": name, "says": says, "checked": checked[name], "violations": broken[name]}
            for name, says in INVARIANTS.items()
        ],
        "promises": [
            {
                "id": name,
                "promise": says,
                "promised_s": promised_s,
                "worst_s": max((one.worst_s[name] for one in outcomes if name in one.worst_s), default=None),
                "measured": measured[name],
            }
            for name, (says, promised_s) in PROMISES.items()
        ],
    }


def _by_fault(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """How often each was injected; its worst reactions are from nights in which nothing else broke."""
    rows = []
    for fault in CATALOGUE:
        nights = [one for one in outcomes if any(name == fault.id for name, _ in one.strikes)]
        alone = [one for one in nights if len(one.strikes) == 1]
        ends = [one.worst_s.get("P4", 0.0) for one in alone if fault.seconds != WHOLE_NIGHT]
        if nights:
            rows.append(
                {
                    "fault": fault.id,
                    "code": fault.code,
                    "part": fault.part,
                    "fails": fault.en,
                    "happens": fault.answer,
                    "voids": sorted(fault.voids),
                    "nights": len(nights),
                    "over_s": max((one.over_s for one in alone), default=None),
                    "back_s": max(ends, default=None),
                    "named_s": max((one.named_s for one in alone if one.named_s is not None), default=None),
                }
            )
    return rows
