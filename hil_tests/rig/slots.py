"""The five-minute setting: one night in 204 slots with perfect actuation and one limit, as the frontier was measured.

Everything is in watts: the limit is 0.8 x rating x 0.95, cars draw pilot x 220 V, and what a slot's pilots promise is
what flows in it. Known rules and the product's own ``step`` play the same night.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edge import planner
from edge.core import control, guard, watch
from edge.core.model import CHARGING, FINISHED, UNPLUGGED, WAITING, Charger, Meter, Place, Settings, Snapshot
from hil_tests.rig.cases import NIGHT_S, PRICE_CHEAP, PRICE_DEAR
from hil_tests.rig.community import VALLEY_S, Floats, Ints
from hil_tests.rig.optimum import max_energy_wh

if TYPE_CHECKING:
    from collections.abc import Callable

    from hil_tests.rig.cases import Night

SLOT_S = 300
SLOTS = (NIGHT_S[1] - NIGHT_S[0]) // SLOT_S
VOLT = 220
SLOT_WH_PER_A = VOLT * SLOT_S / 3600.0
MIN_A = 6
PF = 0.95
FULL_WITHIN_WH = 110.0
PLAN_SLOTS = 3
SUBSTEP_MS = 10_000
SUBSTEPS = 4
"""Within a slot the step is asked so often, 10 s apart: what one decision frees, the next gives away."""
FAR_MA = 10**9
_QUANTILES = 41


@dataclass(frozen=True, slots=True)
class Played:
    """One night as one rule played it."""

    got_wh: Floats
    need_wh: Floats
    optimum_wh: float
    cheapest: float
    cost: float
    switches: float
    """Every on and every off, per car."""
    over_w: float
    """The most that pilots ever promised above the limit."""
    slots_over: int
    steps_ms: list[float] = field(default_factory=list)

    @property
    def share(self) -> Floats:
        """What each car got of what it asked."""
        return self.got_wh / self.need_wh

    def figures(self) -> dict[str, float]:
        """The numbers of the table."""
        share = self.share
        return {
            "energy": float(self.got_wh.sum()) / self.optimum_wh,
            "worst_pct": float(share.min()) * 100.0,
            "full_pct": float((self.need_wh - self.got_wh <= FULL_WITHIN_WH).mean()) * 100.0,
            "cost": self.cost / self.cheapest,
            "switches": self.switches,
            "jain": float(share.sum() ** 2 / (len(share) * (share**2).sum())),
            "minutes_over": self.slots_over * SLOT_S / 60.0,
        }


class Rule(Protocol):
    """Gives each car its pilot in A for one slot."""

    def __call__(self, t: int, room_w: float, left_wh: Floats, pilot_a: Ints) -> Ints:
        """Pilots for slot ``t``; ``pilot_a`` are those of the slot before."""
        ...


class Table:
    """A night cut into slots."""

    def __init__(self, night: Night) -> None:
        self.night = night
        cars = night.cars
        start = NIGHT_S[0]
        self.first = np.ceil((cars.arrive_s - start) / SLOT_S).astype(np.int64)
        self.last = np.floor((cars.depart_s - start) / SLOT_S).astype(np.int64)
        self.said_last = np.floor((night.said_depart_s - start) / SLOT_S).astype(np.int64)
        middle: Floats = start + (np.arange(SLOTS, dtype=np.float64) + 0.5) * SLOT_S
        self.base_w = night.case.base_kw(middle) * 1000.0
        self.usual_w = night.case.base_kw(middle) * 1000.0 * night.case.forecast
        if night.case.cold != 1.0:
            self.usual_w[middle >= 22 * 3600] /= night.case.cold
        self.limit_w = 0.8 * night.case.community.rating_kva * 1000.0 * PF
        self.room_w = np.maximum(self.limit_w - self.base_w, 0.0)
        self.cheap = (middle >= VALLEY_S[0]) & (middle < VALLEY_S[1])

    def optimum(self) -> tuple[float, float]:
        """(the most energy, Wh; the least that much energy can cost)."""
        cars = self.night.cars
        slot_wh = np.asarray(cars.max_a * SLOT_WH_PER_A, dtype=np.float64)
        rooms = [(self.room_w * SLOT_S / 3600.0, -1)]
        args = (self.first, self.last, cars.need_wh, slot_wh, np.zeros_like(self.first), rooms)
        best = max_energy_wh(*args)
        cheap = max_energy_wh(*args, open_slots=self.cheap)
        return best, (cheap * PRICE_CHEAP + (best - cheap) * PRICE_DEAR) / 1000.0

    def play(self, rule: Rule, optimum: tuple[float, float]) -> Played:
        """Play the night under a rule."""
        cars = self.night.cars
        got = np.zeros(len(cars.phase))
        pilot = np.zeros(len(cars.phase), dtype=np.int64)
        switches, cost, over_w, slots_over = 0, 0.0, 0.0, 0
        for t in range(SLOTS):
            here = (self.first <= t) & (t < self.last)
            left = np.where(here, cars.need_wh - got, 0.0)
            left[left < 1e-6] = 0.0
            new = np.where(left > 0.0, rule(t, float(self.room_w[t]), left, pilot), 0)
            above_w = float(new.sum()) * VOLT - float(self.room_w[t])
            over_w, slots_over = max(over_w, above_w), slots_over + (above_w > 1.0 and bool(new.any()))
            switches += int(((new > 0) != (pilot > 0)).sum())
            wh = np.minimum(new * SLOT_WH_PER_A, left)
            got += wh
            cost += float(wh.sum()) / 1000.0 * (PRICE_CHEAP if self.cheap[t] else PRICE_DEAR)
            pilot = new
        steps = getattr(rule, "steps_ms", [])
        return Played(got, cars.need_wh, optimum[0], optimum[1], cost, switches / len(got), over_w, slots_over, steps)


def useful_a(left_wh: Floats, max_a: Ints) -> Ints:
    """The pilot a car can use for a slot: whole amperes, not below the minimum."""
    return np.minimum(np.maximum(np.ceil(left_wh / SLOT_WH_PER_A - 1e-9), MIN_A), max_a).astype(np.int64)


class Sorted:
    """A rule that serves cars in some order, each as much as it can use, while there is room."""

    def __init__(self, table: Table, key: Callable[[int, Floats], Floats]) -> None:
        self.table, self.key = table, key

    def __call__(self, t: int, room_w: float, left_wh: Floats, pilot_a: Ints) -> Ints:
        """First in the order, first served."""
        del pilot_a
        new = np.zeros(len(left_wh), dtype=np.int64)
        most = useful_a(left_wh, self.table.night.cars.max_a)
        room = int(room_w // VOLT)
        for k in np.argsort(self.key(t, left_wh), kind="stable"):
            give = min(room, int(most[k]))
            if left_wh[k] > 0.0 and give >= MIN_A:
                new[k] = give
                room -= give
        return new


def uncontrolled(table: Table) -> Rule:
    """Everybody at full current."""

    def rule(t: int, room_w: float, left_wh: Floats, pilot_a: Ints) -> Ints:
        del t, room_w, pilot_a
        return np.where(left_wh > 0.0, useful_a(left_wh, table.night.cars.max_a), 0)

    return rule


def equal_share(table: Table) -> Rule:
    """What there is in equal parts; when that is below 6 A, as many as the minimum serves, in turn."""

    def rule(t: int, room_w: float, left_wh: Floats, pilot_a: Ints) -> Ints:
        del pilot_a
        new = np.zeros(len(left_wh), dtype=np.int64)
        active = np.flatnonzero(left_wh > 0.0)
        room = int(room_w // VOLT)
        if len(active) == 0 or room < MIN_A:
            return new
        fit = min(len(active), room // MIN_A)
        turn = np.roll(active, -(t * fit) % len(active))[:fit] if fit < len(active) else active
        most = useful_a(left_wh, table.night.cars.max_a)
        level = MIN_A
        while level < 32 and int(np.minimum(most[turn], level + 1).sum()) <= room:
            level += 1
        new[turn] = np.minimum(most[turn], level)
        return new

    return rule


def rules(table: Table) -> dict[str, Callable[[], Rule]]:
    """The known rules by name, and ours."""
    cars = table.night.cars

    def laxity(t: int, left_wh: Floats) -> Floats:
        return (table.said_last - t) * SLOT_S - left_wh / (cars.max_a * VOLT) * 3600.0

    return {
        "taiqu": lambda: Ours(table),
        "uncontrolled": lambda: uncontrolled(table),
        "equal share": lambda: equal_share(table),
        "FCFS": lambda: Sorted(table, lambda _t, _left: table.first.astype(np.float64)),
        "EDF": lambda: Sorted(table, lambda _t, _left: table.said_last.astype(np.float64)),
        "LLF": lambda: Sorted(table, laxity),
    }


def usual_evening() -> tuple[Floats, Floats]:
    """What history knows: quantiles of arrival and departure in hours, from 20 000 cars of other nights."""
    rng = np.random.default_rng(0)
    arrive, depart = rng.normal(18.0, 1.0, 20_000), rng.normal(32.0, 0.5, 20_000)
    share = np.linspace(0.0, 1.0, _QUANTILES)
    return np.quantile(arrive[abs(arrive - 18.0) < 2.0], share), np.quantile(depart[abs(depart - 32.0) < 1.0], share)


class Ours:
    """The product's planner, step and guard in the five-minute setting."""

    def __init__(self, table: Table) -> None:
        self.table = table
        night = table.night
        limit_w = table.limit_w
        # One limit: phases never bind, and a watt is a volt-ampere.
        self.settings = Settings(round(limit_w / 0.8), FAR_MA, 0, SLOT_S * 1000, 60_000, 1, False)
        self.places = (Place(0, 1, True, -1),)
        self.control, self.guard = control.start(), watch.start(-(10**9))
        self.proposal = planner.Proposal()
        case = night.case
        usual_h, depart_h = usual_evening()
        self.habits = planner.Habits(
            case.cars if case.expected_cars is None else case.expected_cars,
            tuple(round((h * 3600 - NIGHT_S[0]) * 1000) for h in usual_h),
            tuple(round((h * 3600 - NIGHT_S[0]) * 1000) for h in depart_h),
            9000.0,
        )
        self.steps_ms: list[float] = []

    def __call__(self, t: int, room_w: float, left_wh: Floats, pilot_a: Ints) -> Ints:
        """Plan every quarter of an hour, step until nothing changes."""
        del room_w
        if t % PLAN_SLOTS == 0:
            self._plan(t, left_wh, pilot_a)
        pilot = np.where(left_wh > 0.0, pilot_a, 0)
        for sub in range(SUBSTEPS):
            now_ms = t * SLOT_S * 1000 + sub * SUBSTEP_MS
            shot = self._snapshot(t, now_ms, left_wh, pilot)
            began = time.perf_counter()
            self.guard, shown = watch.look(self.guard, shot, self.settings, now_ms)
            self.control, commands = control.step(self.control, shown, self.settings, now_ms)
            commands = guard.vet(self.guard, shown, commands, self.settings)
            self.steps_ms.append((time.perf_counter() - began) * 1000.0)
            pilot = np.array([command.ma // 1000 for command in commands], dtype=np.int64)
        return pilot

    def _snapshot(self, t: int, now_ms: int, left_wh: Floats, pilot: Ints) -> Snapshot:
        table, cars, plan = self.table, self.table.night.cars, self.proposal
        draw_w = int(pilot.sum()) * VOLT
        total = int(table.base_w[t]) + draw_w
        each_ma = max(draw_w, total // 3) // VOLT * 1000  # one busbar without phases: each carries all that is drawn
        meter = Meter(now_ms, total, total, 0, (each_ma,) * 3, (VOLT * 1000,) * 3, None, now_ms, "")
        here = (table.first <= t) & (t < table.last)
        rows = []
        for k, name in enumerate(table.night.ids):
            ma = int(pilot[k]) * 1000
            left = int(np.ceil(left_wh[k]))
            plug = UNPLUGGED if not here[k] else FINISHED if left <= 0 else CHARGING if ma else WAITING
            # The plan says how much of a request is not to be had; what is left shrinks from the other end.
            cut = max(int(cars.need_wh[k] - plan.aim_wh.get(name, cars.need_wh[k])), 0) if plan.aim_wh else 0
            rows.append(
                Charger(
                    name,
                    0,
                    int(cars.max_a[k]) * 1000,
                    0,
                    plug,
                    ma,
                    ma,
                    ma,
                    ma,
                    False,
                    False,
                    left,
                    max(left - cut, 0),
                    int(table.said_last[k]) * SLOT_S * 1000,
                    plan.start_ms.get(name, plan.newcomer_ms[0] if plan.newcomer_ms else planner.GO_MS),
                    False,
                    0,
                )
            )
        return Snapshot(meter, 800, self.places, (), tuple(rows))

    def _plan(self, t: int, left_wh: Floats, pilot_a: Ints) -> None:
        table, cars, now_ms = self.table, self.table.night.cars, t * SLOT_S * 1000
        wants = [
            planner.Want(
                table.night.ids[k], 0, int(cars.max_a[k]) * 1000, float(cars.need_wh[k]),
                int(max(table.said_last[k], t + 1)) * SLOT_S * 1000,
                running=bool(pilot_a[k] > 0), got_wh=float(cars.need_wh[k] - left_wh[k]),
            )
            for k in np.flatnonzero(left_wh > 0.0)
        ]  # fmt: skip
        seen = int((table.first <= t).sum())
        free = len(cars.phase) - seen
        if free:
            mean_ma = round(float(cars.max_a.mean())) * 1000
            wants += planner.expected(self.habits, seen, [(0, free, mean_ma)], now_ms)
        slots = []
        for a in range(t, SLOTS, PLAN_SLOTS):
            b = min(a + PLAN_SLOTS, SLOTS)
            # What is being measured now is nearer the truth than what was forecast for now.
            room_w = float(np.mean(table.limit_w - table.usual_w[a:b]))
            price = PRICE_CHEAP if table.cheap[a] else PRICE_DEAR
            total = int(max(room_w, 0.0) / VOLT * 1000)
            slots.append(planner.Slot(a * SLOT_S * 1000, b * SLOT_S * 1000, price, (FAR_MA, FAR_MA, FAR_MA, total)))
        self.proposal = planner.propose(wants, slots, self.places, VOLT * 1000, self.proposal.shares)
