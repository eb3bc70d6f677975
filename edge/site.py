"""What a site bears when nobody watches it: pure arithmetic over its wiring and its residents at their highest.

A charger that is left alone takes its fallback, at any hour. So what counts is the hour with the least room between
limit less margin and residents' load: a load that 99.9 % of all minutes stay below, and a tenth more. Constraints are
numbered as elsewhere: three phases of the transformer, then three for each feeder. What holds on every phase holds for
the transformer as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.core.ledger import at_once
from edge.core.model import MIN_MA
from edge.memory import QUARTER_MIN, QUARTERS, day_one
from edge.schema import clock, in_file_units

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edge.config import AreaConfig, ChargerConfig, ChargingConfig, Residents
    from edge.memory import Memory

LATE_QUARTERS = 4
"""Less than an hour of the valley is not worth a start."""
EV_PF_PERMILLE = 990
SLOTS_MAX = 8
"""In more turns than this a car gets too little to be worth its starts."""
RESERVE_PCT = 110
"""Residents' highest load counts a tenth more: next winter is colder."""
WORST_PHASE_PCT = 40
"""Residents that were stated in one number count so much of it on each phase, as any may be the worst: the most that an
unbalance of 25 %, (Imax - Imin) / Imax, makes of one phase, 100 : 75 : 75. No transformer is allowed more."""
LEARNED_DAYS = 7
"""Residents' highest load is believed to be learned when every quarter of an hour was seen on so many days."""
LEARNED, STATED, UNKNOWN = "learned", "stated", "unknown"

Table = tuple[tuple[int, ...], ...]
"""mA by quarter of an hour of the local day, then by constraint."""


@dataclass(frozen=True, slots=True)
class Site:
    """One area as its fallback sees it."""

    phase_mv: int
    rating_va: int
    names: tuple[str, ...]
    """The constraints, for people."""
    counts: tuple[int, ...]
    """Chargers that fall back by themselves and may load a constraint."""
    could_ma: tuple[int, ...]
    """What chargers without a lease could take of a constraint."""
    could_all_ma: int
    """What they could take on all conductors together; an unknown phase is one."""
    limit_ma: Table
    line_ma: Table
    """The limit less the margin."""
    base_ma: Table
    """Residents, with their reserve; empty while nobody has said or learned what they draw."""
    source: str
    """LEARNED, STATED or UNKNOWN."""
    missing: tuple[str, ...]
    """The tables of the configuration where residents are not stated, though a meter sees them."""
    assumed: tuple[str, ...]
    """Those where they are stated in one number, so that WORST_PHASE_PCT is assumed; none once they are learned."""
    cheap: tuple[bool, ...]
    """Is a quarter of an hour in the price valley?"""


@dataclass(frozen=True, slots=True)
class Load:
    """What chargers without control add at the worst hour: in all, and on the wire that it presses most."""

    minute: int
    name: str
    """The tightest constraint: the worst phase, or that of a feeder."""
    limit_ma: int
    margin_ma: int
    residents_ma: int
    free_ma: int
    """What limit less margin and residents leaves for chargers there; below 0 where residents alone take more."""
    load_ma: int
    load_va: int
    """What the chargers take there, and on the three phases in all."""
    over_va: int
    """What is above the limit itself, summed over the phases of the transformer or of the worst feeder."""

    @property
    def fits(self) -> bool:
        """Does the load stay below limit less margin on every constraint?"""
        return self.load_ma <= self.free_ma or self.load_ma == 0

    @property
    def over_ma(self) -> int:
        """What is above the limit itself on the tightest constraint."""
        return max(self.residents_ma + self.load_ma - self.limit_ma, 0)


def survey(
    config: AreaConfig, limits_permille: Sequence[int], cheap: Iterable[bool], memory: Memory | None = None
) -> Site:
    """Look at an area with the limit, permille of rating, and the price of each quarter of an hour."""
    feeders = config.feeders
    rated = [config.rated_ma] * 3 + [feeder.limit_ma for feeder in feeders for _ in "abc"]
    shares = [[limit] * 3 + [1000] * 3 * len(feeders) for limit in limits_permille]
    less = [ma * config.margin_permille // 1000 for ma in rated]
    limit_ma = [[ma * share // 1000 for ma, share in zip(rated, row, strict=True)] for row in shares]
    phase_mv = round(config.secondary_v * 1000 / 3**0.5)
    stated = {"[area]": config.base_va}
    stated |= {f"[feeders.{at}]": f.base_va for at, f in enumerate(feeders, 1) if f.meter is not None}
    source, base = _residents(config, phase_mv, memory)
    return Site(
        phase_mv=phase_mv,
        rating_va=config.rating_va,
        names=tuple(f"phase {p}" for p in "ABC") + tuple(f"feeder {f.id}, phase {p}" for f in feeders for p in "ABC"),
        counts=_sums([(row, 1) for row in config.chargers if row.leased], len(feeders)),
        could_ma=_sums([(row, row.max_ma) for row in config.chargers if not row.leased], len(feeders)),
        could_all_ma=sum(row.max_ma * _lines(row) for row in config.chargers if not row.leased),
        limit_ma=tuple(map(tuple, limit_ma)),
        line_ma=tuple(tuple(ma - margin for ma, margin in zip(row, less, strict=True)) for row in limit_ma),
        base_ma=base,
        source=source,
        missing=tuple(name for name, va in stated.items() if va is None),
        assumed=tuple(name for name, va in stated.items() if isinstance(va, int) and source == STATED),
        cheap=tuple(cheap),
    )


def _lines(charger: ChargerConfig) -> int:
    """How many conductors a charger draws on."""
    return 3 if charger.phase_known and charger.phases == 7 else 1


def _sums(rows: Iterable[tuple[ChargerConfig, int]], feeders: int) -> tuple[int, ...]:
    """Sums over the chargers that may load each constraint; an unknown phase may be any."""
    out = [0] * (3 + 3 * feeders)
    for charger, value in rows:
        for p in range(3):
            if charger.phases >> p & 1:
                out[p] += value
                if charger.feeder >= 0:
                    out[3 + 3 * charger.feeder + p] += value
    return tuple(out)


def _residents(config: AreaConfig, phase_mv: int, memory: Memory | None) -> tuple[str, Table]:
    """Residents' highest load, with its reserve: what was learned, else what is stated in the cautious day's shape."""
    feeders = config.feeders
    if memory is not None and (learned := memory.highest(LEARNED_DAYS, 3 + 3 * len(feeders))) is not None:
        # Behind a feeder without a meter nobody is seen: its limit is what it has left for cars.
        seen = [1] * 3 + [int(f.meter is not None) for f in feeders for _ in "abc"]
        rows = [[ma * one * RESERVE_PCT // 100 for ma, one in zip(row, seen, strict=True)] for row in learned]
        return LEARNED, tuple(map(tuple, rows))
    stated = [config.base_va, *(f.base_va if f.meter is not None else 0 for f in feeders)]
    if any(base is None for base in stated):
        return UNKNOWN, ()
    high_ma = [va * 1_000_000 / phase_mv * RESERVE_PCT / 100 for base in stated for va in _by_phase(base or 0)]
    shape = [max(day_one(q * QUARTER_MIN), day_one((q + 1) * QUARTER_MIN)) for q in range(QUARTERS)]
    return STATED, tuple(tuple(round(ma * share) for ma in high_ma) for share in shape)


def _by_phase(stated: Residents) -> tuple[float, float, float]:
    """Residents by phase, VA: as stated, else each phase as if it were the worst."""
    if isinstance(stated, tuple):
        return stated
    worst = stated * WORST_PHASE_PCT / 100
    return worst, worst, worst


def alone(
    site: Site,
    fallback_ma: int,
    slots: int = 1,
    quarters: Iterable[int] = range(QUARTERS),
    stands_ma: Sequence[int] = (),
) -> Load:
    """What the fallback loads the site with at the worst of these hours. Residents must be known.

    ``stands_ma``: what stands on chargers without a lease meanwhile, by constraint.
    """
    adds = [at_once(count, slots) * fallback_ma for count in site.counts]
    adds = [ma + stands for ma, stands in zip(adds, stands_ma or [0] * len(adds), strict=True)]
    there = [count or could for count, could in zip(site.counts, site.could_ma, strict=True)]
    # Where nothing is added residents may be over the line, and that must not hide who is added elsewhere.
    used = [k for k, ma in enumerate(adds if any(adds) else there) if ma]
    # The hour and the constraint that this presses most.
    _, q, tightest = min((site.line_ma[q][k] - site.base_ma[q][k] - adds[k], q, k) for q in quarters for k in used)
    base, limit, line = site.base_ma[q], site.limit_ma[q], site.line_ma[q]
    over = [base[k] + adds[k] - limit[k] for k in range(len(adds))]
    return Load(
        minute=q * QUARTER_MIN,
        name=site.names[tightest],
        limit_ma=limit[tightest],
        margin_ma=limit[tightest] - line[tightest],
        residents_ma=base[tightest],
        free_ma=line[tightest] - base[tightest],
        load_ma=adds[tightest],
        load_va=va(site, sum(adds[:3])),
        over_va=va(site, max(sum(max(ma, 0) for ma in over[at : at + 3]) for at in range(0, len(over), 3))),
    )


def va(site: Site, ma: int) -> int:
    """Currents on single conductors, summed up in mA, as VA."""
    return ma * site.phase_mv // 1_000_000


def fitting_slots(site: Site, quarters: Iterable[int] = range(QUARTERS)) -> int:
    """In how many turns 6 A fit at the worst of these hours: 1 all together, 2 to 8 in turns, 0 not at all."""
    hours = tuple(quarters)
    fit = (slots for slots in range(1, SLOTS_MAX + 1) if alone(site, MIN_MA, slots, hours).fits)
    return next(fit, 0)


def unleased_ma(site: Site, charging: ChargingConfig) -> tuple[int, ...]:
    """What may stand on chargers without a lease, by constraint in mA: should nobody speak to them, it stands for ever.

    What the worst hour of the day leaves beside the fallback of the others, or, if that is more, what is accepted: that
    is spread over the wires as the chargers are.
    """
    hours = list(zip(site.line_ma, site.base_ma))  # noqa: B905 - none while residents are unknown
    accepted_ma = charging.accept_unleased_w * 1_000_000 // EV_PF_PERMILLE * 1000 // site.phase_mv
    all_ma = max(site.could_all_ma, 1)
    may = []
    for k, (count, could_ma) in enumerate(zip(site.counts, site.could_ma, strict=True)):
        fallback_ma = at_once(count, charging.fallback_slots) * charging.fallback_ma
        left_ma = min((line[k] - base[k] for line, base in hours), default=0) - fallback_ma
        may.append(min(could_ma, max(left_ma, accepted_ma * could_ma // all_ma, 0)))
    return tuple(may)


def late_span(site: Site, slots: int, stands_ma: Sequence[int] = ()) -> tuple[int, int] | None:
    """The longest part of the valley, (first, end) in minutes of the local day, in which all may take 6 A alone.

    Equal minutes are all day. The quarters of an hour before and after must fit too: a charger counts the hours on a
    clock of its own. ``stands_ma``: as above.
    """
    fits = [alone(site, MIN_MA, slots, (q,), stands_ma).fits for q in range(QUARTERS)]
    good = [site.cheap[q] and fits[q - 1] and fits[q] and fits[(q + 1) % QUARTERS] for q in range(QUARTERS)]
    if all(good):
        return 0, 0
    best, first, run = 0, 0, 0
    for q in range(2 * QUARTERS):
        run = run + 1 if good[q % QUARTERS] else 0
        if run > best:
            best, first = run, q + 1 - run
    if best < LATE_QUARTERS:
        return None
    return first % QUARTERS * QUARTER_MIN, (first + best) % QUARTERS * QUARTER_MIN


def late_hours(site: Site, charging: ChargingConfig) -> tuple[int, int] | None:
    """When chargers left alone may charge in the valley, (first, end) in minutes of the local day; None: never.

    A fallback above 0 charges at all hours already. Where residents are stated only the shape of their night is a
    guess, so that somebody has to want it.
    """
    if charging.late_fallback is False or charging.fallback_ma or site.source == UNKNOWN:
        return None
    if site.source == STATED and not charging.late_fallback:
        return None
    return late_span(site, charging.fallback_slots, unleased_ma(site, charging))


def late_problem(site: Site, charging: ChargingConfig) -> str:
    """Why a late fallback that was asked for cannot be had, and what to do; empty when it can, or nobody asked."""
    if not charging.late_fallback or late_hours(site, charging) is not None:
        return ""
    if charging.fallback_ma:
        return "late_fallback = true goes with fallback_a = 0: another fallback charges at all hours. Leave it out."
    if not any(site.cheap):
        return "late_fallback = true has no hours: the valley is empty. Set valley, or leave late_fallback out."
    if site.source == UNKNOWN:
        return f"late_fallback = true cannot be checked: {_unsaid(site)}, or leave it out."
    slots = late_slots(site, charging)
    advice = f"Set fallback_slots = {slots} here and in the chargers" if slots else "Leave it out"
    return (
        "late_fallback = true does not fit: no hour of the valley has room for 6 A at all chargers. "
        f"{advice}.{_assumption(site)}"
    )


def late_slots(site: Site, charging: ChargingConfig) -> int:
    """The fewest turns in which a late fallback fits for an hour of the valley at least; 0: none."""
    stands_ma = unleased_ma(site, charging)
    return next((slots for slots in range(1, SLOTS_MAX + 1) if late_span(site, slots, stands_ma) is not None), 0)


def fallback_problem(site: Site, charging: ChargingConfig) -> str:
    """Why the configured fallback cannot stand, and what to do; empty when it can."""
    fallback_ma, slots = charging.fallback_ma, charging.fallback_slots
    if fallback_ma == 0:
        if charging.floor_by_law:
            return (
                "fallback_floor_by_law = true goes with fallback_a = 0, which is no floor. "
                "Set fallback_a to what the law demands, 6 or more, or leave fallback_floor_by_law out."
            )
        return ""
    text = f"fallback_a = {in_file_units(fallback_ma, 1000)}"
    if slots > 1 and fallback_ma != MIN_MA:
        return f"fallback_slots = {slots} goes with {text}; a turn is for 6 A. Set fallback_a = 6, or leave it out."
    if site.source == UNKNOWN:
        return f"{text} cannot be checked: {_unsaid(site)}, or set fallback_a = 0."
    left = alone(site, fallback_ma, slots)
    if left.fits or charging.floor_by_law:
        return ""
    return (
        f"{text} does not fit: at {clock(left.minute)} residents leave {max(left.free_ma, 0) // 1000} A on "
        f"{left.name}, and chargers left alone take {left.load_ma // 1000} A there. {_instead(site)} "
        f"Where the law demands a floor: fallback_floor_by_law = true.{_assumption(site)}"
    )


def _unsaid(site: Site) -> str:
    """Whose residents nobody has stated, and where to do so."""
    return f"nobody has said what residents draw. Add base_p999_kva to {' and '.join(site.missing)}"


def _assumption(site: Site) -> str:
    """What is taken for granted of residents, and how to know better."""
    if not site.assumed:
        return ""
    return (
        f" Residents are taken as {WORST_PHASE_PCT} % on the worst phase: "
        f"base_p999_kva = [a, b, c] in {' and '.join(site.assumed)} says it by phase."
    )


def _instead(site: Site) -> str:
    """The fallback that fits."""
    slots = fitting_slots(site)
    if slots == 0:
        return "Set fallback_a = 0."
    if slots == 1:
        return "Set fallback_a = 6."
    return f"Set fallback_a = 6 and fallback_slots = {slots} here and in the chargers, or fallback_a = 0."
