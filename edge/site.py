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

    from edge.config import AreaConfig, ChargerConfig, ChargingConfig, FeederConfig
    from edge.memory import Memory

LATE_QUARTERS = 4
"""Less than an hour of the valley is not worth a start."""
EV_PF_PERMILLE = 990
SLOTS_MAX = 8
"""In more turns than this a car gets too little to be worth its starts."""
RESERVE_PCT = 110
"""Residents' highest load counts a tenth more: next winter is colder."""
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
    cheap: tuple[bool, ...]
    """Is a quarter of an hour in the price valley?"""


@dataclass(frozen=True, slots=True)
class Load:
    """What chargers without control add at the worst hour: in all, and on the phase that it presses most."""

    minute: int
    name: str
    """The tightest constraint: the worst phase, or that of a feeder."""
    residents_va: int
    free_va: int
    free_ma: int
    """What is free for chargers: on the three phases in all, and on the tightest constraint."""
    load_va: int
    load_ma: int
    over_va: int
    """What is above the limit itself, summed over the phases of the transformer or of the worst feeder."""

    @property
    def fits(self) -> bool:
        """Does the load stay below limit less margin on every constraint?"""
        return self.load_ma <= self.free_ma or self.load_ma == 0


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
    source, base = _residents(phase_mv, config.base_va, feeders, memory)
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


def _residents(
    phase_mv: int, base_va: int | None, feeders: Sequence[FeederConfig], memory: Memory | None
) -> tuple[str, Table]:
    """Residents' highest load, with its reserve: what was learned, else what is stated in the cautious day's shape."""
    if memory is not None and (learned := memory.highest(LEARNED_DAYS, 3 + 3 * len(feeders))) is not None:
        # Behind a feeder without a meter nobody is seen: its limit is what it has left for cars.
        seen = [1] * 3 + [int(f.meter is not None) for f in feeders for _ in "abc"]
        rows = [[ma * one * RESERVE_PCT // 100 for ma, one in zip(row, seen, strict=True)] for row in learned]
        return LEARNED, tuple(map(tuple, rows))
    stated = [base_va, *(f.base_va if f.meter is not None else 0 for f in feeders)]
    if any(va is None for va in stated):
        return UNKNOWN, ()
    thirds_ma = [(va or 0) * 1_000_000 / phase_mv / 3 * RESERVE_PCT / 100 for va in stated for _ in "abc"]
    shape = [max(day_one(q * QUARTER_MIN), day_one((q + 1) * QUARTER_MIN)) for q in range(QUARTERS)]
    return STATED, tuple(tuple(round(ma * share) for ma in thirds_ma) for share in shape)


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
    used = [k for k, count in enumerate(site.counts) if count or site.could_ma[k]]
    # The hour and the constraint that this presses most.
    _, q, tightest = min((site.line_ma[q][k] - site.base_ma[q][k] - adds[k], q, k) for q in quarters for k in used)
    base, limit, line = site.base_ma[q], site.limit_ma[q], site.line_ma[q]
    over = [base[k] + adds[k] - limit[k] for k in range(len(adds))]
    return Load(
        minute=q * QUARTER_MIN,
        name=site.names[tightest],
        residents_va=va(site, sum(base[:3])),
        free_va=va(site, sum(max(line[p] - base[p], 0) for p in range(3))),
        free_ma=line[tightest] - base[tightest],
        load_va=va(site, sum(adds[:3])),
        load_ma=adds[tightest],
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

    A fallback above 0 charges at all hours already.
    """
    if charging.late_fallback is False or charging.fallback_ma or site.source == UNKNOWN:
        return None
    return late_span(site, charging.fallback_slots, unleased_ma(site, charging))


def late_problem(site: Site, charging: ChargingConfig) -> str:
    """Why a late fallback that was asked for cannot be had, and what to do; empty when it can, or nobody asked."""
    if not charging.late_fallback or late_hours(site, charging) is not None:
        return ""
    if charging.fallback_ma:
        return "late_fallback = true goes with fallback_a = 0: another fallback charges at all hours. Leave it out."
    if site.source == UNKNOWN:
        return (
            "late_fallback = true cannot be checked: nobody has said what residents draw. Add base_p999_kva to [area] "
            "and to each feeder with a meter, or leave it out."
        )
    slots = late_slots(site, charging)
    advice = f"Set fallback_slots = {slots} here and in the chargers" if slots else "Leave it out"
    return f"late_fallback = true does not fit: no hour of the valley has room for 6 A at all chargers. {advice}."


def late_slots(site: Site, charging: ChargingConfig) -> int:
    """The fewest turns in which a late fallback fits for an hour of the valley at least; 0: none."""
    stands_ma = unleased_ma(site, charging)
    return next((slots for slots in range(1, SLOTS_MAX + 1) if late_span(site, slots, stands_ma) is not None), 0)


def fallback_problem(site: Site, charging: ChargingConfig) -> str:
    """Why the configured fallback cannot stand, and what to do; empty when it can."""
    fallback_ma, slots = charging.fallback_ma, charging.fallback_slots
    if fallback_ma == 0:
        return ""
    text = f"fallback_a = {in_file_units(fallback_ma, 1000)}"
    if slots > 1 and fallback_ma != MIN_MA:
        return f"fallback_slots = {slots} goes with {text}; a turn is for 6 A. Set fallback_a = 6, or leave it out."
    if site.source == UNKNOWN:
        return (
            f"{text} cannot be checked: nobody has said what residents draw. Add base_p999_kva to [area] and to each "
            "feeder with a meter, or set fallback_a = 0."
        )
    left = alone(site, fallback_ma, slots)
    if left.fits or charging.floor_by_law:
        return ""
    return (
        f"{text} does not fit: at {clock(left.minute)} residents leave {max(left.free_ma, 0) // 1000} A on "
        f"{left.name}, and chargers left alone take {left.load_ma // 1000} A there. {_instead(site)} "
        "Where the law demands a floor: fallback_floor_by_law = true."
    )


def _instead(site: Site) -> str:
    """The fallback that fits."""
    slots = fitting_slots(site)
    if slots == 0:
        return "Set fallback_a = 0."
    if slots == 1:
        return "Set fallback_a = 6."
    return f"Set fallback_a = 6 and fallback_slots = {slots} here and in the chargers, or fallback_a = 0."
