"""The closed loop without wires: the real ``Controller`` against plant and chargers in one process, second by second.

Everything between meter and setpoint is the product's: fleet, ledger, lease, planner, step, guard. The wires are lists;
a setpoint arrives a second after it was sent. A night of 324 cars takes a minute of one core, alike for the same seed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge import config as cfg
from edge.clock import Moment
from edge.core import lease
from edge.core.model import Meter
from edge.journal import Journal
from edge.loop import Controller
from edge.memory import QUARTERS, Memory
from edge.ports import ChargerState, Wish
from hil_tests.rig.cases import NIGHT_S, PRICE_CHEAP, PRICE_DEAR
from hil_tests.rig.chargers import Chargers
from hil_tests.rig.community import BASE_PF, EV_PF, VALLEY_S, VOLT, Floats, appliances_kw
from hil_tests.rig.optimum import max_energy_wh
from hil_tests.rig.plant import Plant
from hil_tests.rig.verdict import MET_WITHIN_WH, Recorder, phase_minutes, phase_minutes_over

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.core.model import Command, Snapshot
    from edge.ports import Message, Setpoint
    from hil_tests.rig.cases import Night
    from hil_tests.rig.plant import Busbar

MIDNIGHT_S = 1_768_406_400
"""2026-01-15 00:00 in Shanghai, Unix seconds."""
METER_CLASS = 0.005
METER_NOISE = 0.001
METER_STEP_MA = 10
OPTIMUM_SLOT_S = 300
OPTIMUM_SLOTS = (NIGHT_S[1] - NIGHT_S[0]) // OPTIMUM_SLOT_S
OPTIMUM_WH_PER_A = VOLT * EV_PF * OPTIMUM_SLOT_S / 3600.0
"""What one ampere on one phase brings a car in such a slot."""


@dataclass(frozen=True, slots=True)
class MeterKind:
    """How well and how often a meter shows the transformer; ``error`` is that of its gain, and it reads low."""

    error: float
    period_s: int = 1


METERS = {
    "exact, 1 s": MeterKind(0.0),
    "class 0.2, 1 s": MeterKind(0.002),
    "class 0.5, 1 s": MeterKind(0.005),
    "class 1, 1 s": MeterKind(0.01),
    "class 2, 1 s": MeterKind(0.02),
    "class 0.5, 2 s": MeterKind(0.005, 2),
    "class 0.5, 5 s": MeterKind(0.005, 5),
    "class 0.5, 10 s": MeterKind(0.005, 10),
}
"""Meters by accuracy class (IEC 62053: the error at full load in %) and reading period."""
MARGIN_CASE = "A-810"
MARGIN_S = (22 * 3600 + 1800, 24 * 3600 + 1800)
"""Two hours in which more cars wait than there is room for: the loop is held at its line all the time."""


class Meterman:
    """The transformer's meter: a gain of its own (class 0.5 by chance, or a given one), a little noise, 10 mA steps."""

    def __init__(self, seed: int, kind: MeterKind | None = None) -> None:
        self._rng = np.random.default_rng((seed, 9))
        by_chance = float(self._rng.uniform(-METER_CLASS, METER_CLASS))
        self.gain = 1.0 + by_chance if kind is None else 1.0 - kind.error
        self.bar: Busbar | None = None

    def read(self, now_ms: int) -> Meter:
        """What stands on the busbar, as the meter shows it."""
        assert self.bar is not None
        noise = self.gain + self._rng.normal(0.0, METER_NOISE, 3)
        amps = self.bar.i_a * noise
        a, b, c = (int(x * 1000.0) // METER_STEP_MA * METER_STEP_MA for x in amps)
        p_w = int(self.bar.p_kw.sum() * 1000.0 * self.gain)
        q_var = int(self.bar.q_kvar.sum() * 1000.0 * self.gain)
        mv = int(VOLT * 1000)
        phase_w = tuple(int(p * 1000.0 * self.gain) for p in self.bar.p_kw)
        return Meter(now_ms, (a + b + c) * mv // 1_000_000, p_w, q_var, (a, b, c), (mv, mv, mv), phase_w, -1, "")

    def close(self) -> None:
        """Nothing to close."""


@dataclass(slots=True)
class Air:
    """The wire that is none: messages up, setpoints down."""

    up: list[Message] = field(default_factory=list)
    down: list[Setpoint] = field(default_factory=list)
    connected: bool = True
    trouble: str = ""
    dropped: int = 0

    def take(self) -> list[Message]:
        """Everything said since the last call."""
        heard, self.up = self.up, []
        return heard

    def send(self, setpoint: Setpoint) -> bool:
        """On its way."""
        self.down.append(setpoint)
        return True

    def close(self) -> None:
        """Nothing to close."""


class Timed(Controller):
    """The controller with a stopwatch at its decision: processor time, so that a busy machine is not counted."""

    def __init__(self, *parts: Any, **more: Any) -> None:  # noqa: ANN401 - the controller's own
        super().__init__(*parts, **more)
        self.decide_ms: list[float] = []

    def decide(self, snapshot: Snapshot) -> tuple[Command, ...]:
        """Step and guard, timed."""
        began = time.thread_time()
        commands = super().decide(snapshot)
        self.decide_ms.append((time.thread_time() - began) * 1000.0)
        return commands


class ClosedLoop:
    """One night of a case in the closed loop."""

    def __init__(
        self,
        night: Night,
        margin_permille: int = 15,
        feeder_a: float | None = None,
        meter: MeterKind | None = None,
        begin_s: int = NIGHT_S[0],
    ) -> None:
        self.night = night
        community = night.case.community
        seconds = np.arange(begin_s, NIGHT_S[1] + 1, dtype=np.float64)
        mean = np.repeat(night.case.base_kw(seconds)[:, None] / 3.0, 3, axis=1)
        self.base_kw = appliances_kw(mean, np.random.default_rng((night.seed, 1)))
        self.plant = Plant(community, night.cars, self.base_kw, begin_s)
        self.rated_a = community.rating_kva * 1000.0 / 3.0 / VOLT
        self.recorder = Recorder(self.plant, self.rated_a)
        self.chargers = Chargers(self.plant, night.seed)
        self.meter, self.air = Meterman(night.seed, meter), Air()
        self.feeder_limit_a = self.rated_a * night.case.feeder if feeder_a is None else feeder_a
        self.config = self._config(margin_permille, 1 if meter is None else meter.period_s)
        self.feeder_meter = Meterman(night.seed + 1000, meter)
        self.controller = Timed(
            self.config, self.meter, self.air, Journal(None), memory=self._memory(),
            feeder_meters=(self.feeder_meter,) if night.case.feeder_residents else (),
        )  # fmt: skip
        self.switches = np.zeros(len(night.cars.phase), dtype=np.int64)
        self.setpoints = 0
        self.cost = 0.0
        self.outside_a: list[Floats] = []
        """What piles outside control draw on each phase, second by second: to the controller that is base load."""
        self.feeder_a: list[Floats] = []
        """What flows on the feeder's phases, second by second; and what of that is residents'."""
        self.feeder_base_a: list[Floats] = []

    def _config(self, margin_permille: int, period_s: int) -> cfg.AreaConfig:
        night = self.night
        community, cars = night.case.community, night.cars
        feeder_ma = int(self.feeder_limit_a * 1000)
        rows = [
            cfg.ChargerConfig(
                name,
                7 if night.lines[k] == 3 else 1 << int(cars.phase[k]),
                True,
                int(cars.max_a[k]) * 1000,
                0 if night.behind_feeder[k] else -1,
            )
            for k, name in enumerate(self.chargers_ids())
            if not night.outside[k]
        ]
        meter = cfg.MeterConfig("none", "", 0, 1, 1000 * period_s, 1000)
        feeder = cfg.FeederConfig("f", feeder_ma, meter if night.case.feeder_residents else None)
        return cfg.AreaConfig(
            area_id="bench", rating_va=community.rating_kva * 1000, rated_ma=int(self.rated_a * 1000), secondary_v=380,
            limit_permille=800, margin_permille=margin_permille, timezone="Asia/Shanghai", windows=(),
            meter=meter, broker=cfg.BrokerConfig("", 0, None, None),
            charging=cfg.ChargingConfig(0, 60_000, 9000, 7 * 60, ((23 * 60, 8 * 60),), 8), chargers=tuple(rows),
            path=Path("bench.toml"), feeders=(feeder,) if feeder_ma else (),
        )  # fmt: skip

    def chargers_ids(self) -> list[str]:
        """The ids on the wire."""
        return self.chargers.ids

    def _memory(self) -> Memory:
        """What the controller has learned in nights like this one, as wrong as the case wants it."""
        case, memory = self.night.case, Memory()
        for quarter in range(QUARTERS):
            second = quarter * 900.0 + 450.0
            second = second if second >= 12 * 3600 else second + 86400.0
            usual = case.base_kw(np.array([second]))[0] / (case.cold if second >= 22 * 3600 else 1.0)
            memory.profile_va[quarter] = float(usual) * case.forecast * 1000.0 / BASE_PF
        cars = case.cars if case.expected_cars is None else case.expected_cars
        arrive = np.random.default_rng(0).normal(18.0, 1.0, 20_000)
        share, _ = np.histogram(arrive, bins=np.arange(QUARTERS + 1) * 0.25)
        memory.arrivals = [float(x) * cars / 20_000 for x in share]
        memory.nights = 10
        return memory

    def play(self, until_s: int = NIGHT_S[1], progress: Callable[[int], None] | None = None) -> ClosedLoop:
        """Play the night."""
        plant, chargers, night = self.plant, self.chargers, self.night
        asked = np.zeros(len(night.cars.phase), dtype=bool)
        on = np.zeros(len(night.cars.phase), dtype=bool)
        outside_a = np.where(night.outside, night.cars.max_a, 0).astype(np.float64)
        while plant.second < until_s:
            chargers.before_second()
            plant.pilot_a[night.outside] = outside_a[night.outside]
            bar = plant.step()
            self.meter.bar = bar
            self.note(bar)
            now_on = (plant.pilot_a >= 6.0) & plant.plugged & ~plant.full
            self.switches += now_on != on
            on = now_on
            for k in np.flatnonzero(plant.plugged & ~asked).tolist():
                depart_s = MIDNIGHT_S + int(night.said_depart_s[k])
                self.air.up.append(Wish(chargers.ids[k], round(float(night.cars.need_wh[k])), depart_s))
                asked[k] = True
            for k, plug in chargers.speaking():
                boot, tick_ms, epoch, seq, a, b, c, w, wh, allowed_ma, lease_ms, max_ma = chargers.said(k, plug)
                self.air.up.append(
                    ChargerState(
                        chargers.ids[k],
                        boot,
                        tick_ms,
                        epoch,
                        seq,
                        plug,
                        (a, b, c),
                        w,
                        wh,
                        allowed_ma,
                        lease_ms,
                        chargers.fallback_ma,
                        max_ma,
                        *chargers.kept(k),
                    )
                )
            self.controller.tick(Moment(plant.second * 1000, float(MIDNIGHT_S + plant.second)))
            sent, self.air.down = self.air.down, []
            self.setpoints += len(sent)
            for s in sent:
                k = chargers.index[s.charger]
                setpoint = lease.Setpoint(s.epoch, s.seq, s.boot, s.tick_ms, s.ma, s.lease_ms)
                chargers.judge(k, setpoint, (s.late_ma, s.late_after_s, s.late_until_s))
            if progress is not None and plant.second % 60 == 0:
                progress(plant.second)
        return self

    def note(self, bar: Busbar) -> None:
        """Take one second in: what flows and what it costs, what of it is outside control, what is on the feeder."""
        self.recorder.note(bar)
        cheap = VALLEY_S[0] < self.plant.second <= VALLEY_S[1]
        self.cost += (bar.ev_kw - self._outside_kw()) / 3600.0 * (PRICE_CHEAP if cheap else PRICE_DEAR)
        if self.night.outside.any():
            self._count_outside()
        if self.night.case.feeder:
            self._note_feeder(bar)

    def _outside_kw(self) -> float:
        return float(self.plant.current_a[self.night.outside].sum()) * VOLT * EV_PF / 1000.0

    def _count_outside(self) -> None:
        drawn = np.where(self.night.outside, self.plant.current_a, 0.0)
        phases = np.bincount(self.night.cars.phase, weights=drawn, minlength=3).astype(np.float64)
        self.outside_a.append(phases)
        recorder = self.recorder
        recorder.base_kva[-1] += float(phases.sum()) * VOLT / 1000.0
        recorder.base_phases_a[-1] = recorder.base_phases_a[-1] + phases

    def _note_feeder(self, bar: Busbar) -> None:
        """What flows on the feeder now; its meter shows that."""
        flow = self.plant.behind(self.night.behind_feeder, self.night.case.feeder_residents, bar)
        self.feeder_meter.bar = flow
        self.feeder_a.append(flow.i_a)
        self.feeder_base_a.append(flow.base_a)

    def optimum(self, line_permille: int) -> tuple[float, float]:
        """(the most energy a clairvoyant could deliver under this line, Wh; the least it can cost)."""
        night, cars = self.night, self.night.cars
        first = np.ceil((cars.arrive_s - NIGHT_S[0]) / OPTIMUM_SLOT_S).astype(np.int64)
        last = np.floor((cars.depart_s - NIGHT_S[0]) / OPTIMUM_SLOT_S).astype(np.int64)
        middle = NIGHT_S[0] + (np.arange(OPTIMUM_SLOTS) + 0.5) * OPTIMUM_SLOT_S
        cheap = (middle >= VALLEY_S[0]) & (middle < VALLEY_S[1])
        # A three-phase car is three sessions of a third: what they can get is no less than what it could.
        inside = np.flatnonzero(~night.outside)
        row = np.repeat(inside, night.lines[inside])
        leg = np.concatenate([np.arange(n) for n in night.lines[inside]])
        phase = np.where(night.lines[row] == 3, leg, cars.phase[row])
        slot_wh: Floats = cars.max_a[row] * cars.draw[row] * OPTIMUM_WH_PER_A
        at = 1 + phase + 3 * night.behind_feeder[row]
        need_wh = cars.need_wh[row] / night.lines[row]
        args = (first[row], last[row], need_wh, slot_wh, at, self._rooms(line_permille))
        best = max_energy_wh(*args)
        least = max_energy_wh(*args, open_slots=cheap)
        return best, (least * PRICE_CHEAP + (best - least) * PRICE_DEAR) / 1000.0

    def _rooms(self, line_permille: int) -> list[tuple[Floats, int]]:
        """What residents leave: of the transformer (room 0), its phases (1 to 3), the feeder's phases (4 to 6)."""

        def mean_a(seconds: Floats) -> Floats:
            means: Floats = seconds.reshape(OPTIMUM_SLOTS, OPTIMUM_SLOT_S, 3).mean(axis=1)
            return means

        base_a = mean_a(self.base_kw[1 : OPTIMUM_SLOTS * OPTIMUM_SLOT_S + 1]) * (1000.0 / VOLT / BASE_PF)
        if self.outside_a:
            base_a += mean_a(np.asarray(self.outside_a))
        line_a = self.rated_a * line_permille / 1000.0
        left_a = [(3.0 * line_a - base_a.sum(axis=1), -1)] + [(line_a - base_a[:, p], 0) for p in range(3)]
        if self.night.case.feeder:
            bears_a = self.feeder_limit_a * (200 + line_permille) / 1000.0  # as far below its limit as the line is
            behind_a = base_a * self.night.case.feeder_residents
            left_a += [(bears_a - behind_a[:, p], 1 + p) for p in range(3)]
        return [(np.maximum(a, 0.0) * OPTIMUM_WH_PER_A, above) for a, above in left_a]

    def delivered_wh(self) -> float:
        """What the controlled cars got, Wh."""
        return float(self.plant.delivered_wh[~self.night.outside].sum())

    def overshoot_pts(self) -> float:
        """How far the highest 1-min mean, in total or on a phase, lay above limit − margin, in points of rating."""
        recorder = self.recorder
        total = recorder.minutes(recorder.s_kva).max() / self.night.case.community.rating_kva
        phases = phase_minutes(recorder.phases_a).max() / self.rated_a
        line = (self.config.limit_permille - self.config.margin_permille) / 1000.0
        return float(max(total, phases) - line) * 100.0

    def figures(self) -> dict[str, float]:
        """The numbers of the table."""
        recorder, plant, night = self.recorder, self.plant, self.night
        rating = float(night.case.community.rating_kva)
        controlled = ~night.outside
        share = plant.delivered_wh[controlled] / night.cars.need_wh[controlled]
        verdict = recorder.verdict(80.0)
        above = np.asarray(recorder.s_kva) / rating * 100.0 > 85.0
        alone = np.asarray(recorder.base_kva) / rating * 100.0 > 80.0
        ticks = sorted(self.controller.decide_ms)
        return {
            "energy_pct": float(plant.delivered_wh[controlled].sum() / night.cars.need_wh[controlled].sum()) * 100.0,
            "worst_pct": float(share.min()) * 100.0,
            "met_pct": float((night.cars.need_wh - plant.delivered_wh <= MET_WITHIN_WH)[controlled].mean()) * 100.0,
            "switches": float(self.switches[controlled].mean()),
            "jain": float(share.sum() ** 2 / (len(share) * (share**2).sum())),
            "minutes_over": verdict["minutes_over_limit"],
            "minutes_over_phase": verdict["minutes_over_phase"],
            "longest_above_85_s": _longest(above & ~alone),
            "minutes_over_feeder": phase_minutes_over(self.feeder_a, self.feeder_base_a, self.feeder_limit_a),
            "peak_pct": verdict["peak_loading_pct"],
            **self._feeder_figures(),
            **({"p50_ms": ticks[len(ticks) // 2], "p99_ms": ticks[len(ticks) * 99 // 100]} if ticks else {}),
        }

    def _feeder_figures(self) -> dict[str, float]:
        """The feeder's fullest phase in % of its limit, residents alone too; minutes above 95 % that cars cause."""
        if not self.feeder_a:
            return {}
        limit_a = self.feeder_limit_a
        return {
            "feeder_peak_pct": float(phase_minutes(self.feeder_a).max()) / limit_a * 100.0,
            "feeder_residents_peak_pct": float(phase_minutes(self.feeder_base_a).max()) / limit_a * 100.0,
            "feeder_above_95_min": phase_minutes_over(self.feeder_a, self.feeder_base_a, limit_a * 0.95),
        }


def uncontrolled(night: Night) -> ClosedLoop:
    """The same night with every car at full current from the moment it comes home."""
    loop = ClosedLoop(night)
    plant = loop.plant
    plant.pilot_a[:] = night.cars.max_a
    while plant.second < NIGHT_S[1]:
        loop.note(plant.step())
    loop.switches[:] = 2
    return loop


def _longest(flags: np.ndarray[Any, np.dtype[np.bool_]]) -> int:
    """The longest run of true values."""
    best = here = 0
    for flag in flags:
        here = here + 1 if flag else 0
        best = max(best, here)
    return best
