"""The fault catalogue as data: what can break, for how long, and what is owed meanwhile.

``code`` is the row of the safety catalogue. ``within_s`` is how long the plant may be over a limit with cars that could
be lowered; 15 s is what DESIGN promises, and where the fault takes away what lowers them (meter, wire, controller) it
is the time after which the chargers are safe without it. ``voids`` are invariants that no controller could keep under
this fault, with the physics in ``because``; everything else is owed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from hil_tests.rig.small import NIGHT_S, QUIET_S, WARM_S

if TYPE_CHECKING:
    import random

    from hil_tests.rig.small import Small

LAST_S = NIGHT_S - QUIET_S
"""All faults have ended by then."""
BLIND_S, LEASE_S = 30, 75
"""What DESIGN promises when the meter is silent, and when controller, broker or network are dead."""
WHOLE_NIGHT = (0, 0)
Value = float | int | str


class Span(NamedTuple):
    """A parameter drawn from a range; whole numbers stay whole."""

    low: float
    high: float

    def draw(self, rng: random.Random) -> Value:
        """One value."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return rng.randint(self.low, self.high)
        return rng.uniform(self.low, self.high)


class Among(NamedTuple):
    """A parameter drawn from a few values."""

    values: tuple[Value, ...]

    def draw(self, rng: random.Random) -> Value:
        """One value."""
        return rng.choice(self.values)


@dataclass(frozen=True, slots=True, eq=False)
class Fault:
    """One row of the catalogue."""

    id: str
    code: str
    part: str
    en: str
    zh: str
    seconds: tuple[int, int]
    params: dict[str, Span | Among] = field(default_factory=dict)
    within_s: int = 15
    promise: str = ""
    """The stopwatch that this fault starts."""
    voids: frozenset[str] = frozenset()
    because: str = ""
    needs: str = ""
    """What the area must have: "feeder meter"."""
    answer: str = ""
    """What the product does, in one sentence."""
    named: tuple[str, ...] = ()
    """The keys (``ear.PIECES``) under which the log names it; empty where nothing is to be named."""
    named_within_s: int = 0
    """How long it may show before it is named; 0 where it may stay hidden: named when found, never owed."""
    shows: str = ""
    """When it shows: always, while cars "draw", or while somebody takes more than it was "told"."""


@dataclass(frozen=True, slots=True, eq=False)
class Strike:
    """A fault that happens in one night: from ``start_s`` to ``end_s`` after its beginning."""

    fault: Fault
    start_s: int
    end_s: int
    params: dict[str, Value]
    seed: int

    def said(self) -> str:
        """One line."""
        params = ", ".join(f"{k} {v:.2f}" if isinstance(v, float) else f"{k} {v}" for k, v in self.params.items())
        return f"{self.start_s:4d}-{self.end_s:4d} s  {self.fault.id}" + (f" ({params})" if params else "")


_PHASE = Among((0, 1, 2))
_SHARE = Span(0.1, 1.0)
_LIES = frozenset(("I1", "I22", "X1", "X2"))
_BLURRED = frozenset(("I1", "I22"))
_TRUTH = "what a reading hides cannot be weighed before it is recognised; X1 says how soon"

CATALOGUE = (
    # ------------------------------------------------------------------------------------------------------- meter
    Fault("meter_silent", "M1", "meter", "The meter answers nothing.", "电表无应答", (20, 300), within_s=BLIND_S,
          promise="P1",
          answer="Nothing is raised after 5 s, fallback after 10 s; named.", named=("meter",),
          named_within_s=10),
    Fault("meter_late", "M13", "meter", "Replies take 0.9-3 s, longer than its time-out.", "应答迟到0.9-3秒",
          (20, 300), {"share": Span(0.2, 1.0)}, within_s=BLIND_S,
          answer="A late reply is none: as silent once it has missed 5 s; named then.", named=("meter",)),
    Fault("meter_lags", "M14", "meter", "Each reply is the one before: old values under a new stamp.",
          "应答错位，数值滞后", (30, 300), {"lag_s": Span(1, 3)}, voids=_BLURRED, because=_TRUTH, within_s=20,
          answer="Acted on 1-3 s late; not told from a slow load."),
    Fault("meter_frozen", "M2", "meter", "It answers, always with the same registers.", "寄存器冻结", (40, 300),
          voids=_BLURRED, because=_TRUTH, within_s=50,
          answer="Nothing is raised after 15 s, fallback after 30 s; named.", named=("frozen",),
          named_within_s=20),
    Fault("meter_cached", "M20", "meter", "A gateway repeats a block for some seconds.", "网关缓存旧数据", (40, 300),
          {"every_s": Span(2, 12)}, voids=_BLURRED, because=_TRUTH, within_s=50,
          answer="A block said again is no news: raises wait for five that differ."),
    Fault("meter_crc", "M3", "meter", "One reply in ten is broken.", "偶发CRC错误", (60, 600),
          {"share": Span(0.05, 0.15)},
          answer="What is lost is asked again a second later; control goes on."),
    Fault("meter_crc_burst", "M4", "meter", "All replies are broken for a while.", "CRC错误突发", (5, 30),
          within_s=BLIND_S,
          answer="As silent: nothing is raised after 5 s, fallback after 10 s; named.", named=("meter",),
          named_within_s=10),
    Fault("meter_exception", "M5", "meter", "It answers with an exception.", "返回异常码", (10, 120),
          within_s=BLIND_S,
          answer="As silent: nothing is raised after 5 s, fallback after 10 s; named.", named=("meter",),
          named_within_s=10),
    Fault("meter_nonsense", "M7", "meter", "Values that are none: NaN, infinite, beyond range.", "数值无效",
          (10, 120), {"kind": Among(("nan", "inf", "huge", "volts"))}, within_s=BLIND_S,
          answer="Never taken for a value: as silent; named.", named=("meter",), named_within_s=10),
    Fault("meter_zeros", "M18", "meter", "All currents and powers read zero.", "电流功率全为零", (10, 200),
          voids=_BLURRED, because=_TRUTH, within_s=BLIND_S,
          answer="Not believed while cars draw: hold after 5 s, fallback after 10 s; named.",
          named=("phase_lost", "too_little"), named_within_s=20, shows="draw"),
    Fault("meter_wrong_sign", "M8", "meter", "Total and phases have the wrong sign.", "功率方向接反", (30, 300),
          answer="Not believed unless the site may export: hold, fallback after 10 s; named.",
          named=("sign",), named_within_s=10),
    Fault("meter_ct_reversed", "M9", "meter", "One CT is the wrong way round.", "一相互感器接反", (30, 300),
          {"phase": _PHASE, "vector": Among((0, 1))},
          answer="Not believed: hold after 5 s, fallback after 10 s; named with its phase.",
          named=("sign",), named_within_s=10),
    Fault("meter_phase_lost", "M9", "meter", "One phase reads nothing.", "一相断线", (30, 300), {"phase": _PHASE},
          voids=_BLURRED, because=_TRUTH, within_s=BLIND_S,
          answer="Not believed: hold after 5 s, fallback after 10 s; named with its phase.",
          named=("phase_lost",), named_within_s=10),
    Fault("meter_ratio_half", "M10", "meter", "CT ratio half of the truth.", "变比偏小一半", (60, 300), voids=_LIES,
          because="half of a load looks like a smaller load; only a step that nobody drew gives it away",
          answer="Named once it shows less than the cars draw; until then it is believed.",
          named=("too_little",)),
    Fault("meter_ratio_double", "M10", "meter", "CT ratio twice the truth.", "变比偏大一倍", (60, 300),
          answer="Believed: cars get less than there is room for."),
    Fault("meter_spike_up", "M21", "meter", "Now and then one reading of ten times the load.", "偶发上尖峰",
          (30, 300), {"every_s": Span(7, 40)},
          answer="Above five times the rating it is no reading, and named; below, it may cut and not raise.",
          named=("range",)),
    Fault("meter_spike_down", "M21", "meter", "Now and then one reading of a tenth of the load.", "偶发下尖峰",
          (30, 300), {"every_s": Span(7, 40)},
          answer="One reading raises nobody; less than the cars draw is not believed, and named.",
          named=("too_little",)),
    Fault("meter_energy_back", "M12", "meter", "The energy counter goes back.", "电能表码倒走", (10, 60),
          answer="Fallback at once for 30 s, then counted on from there; named.", named=("counter",),
          named_within_s=5),
    Fault("meter_scale", "M19", "meter", "A thousandth of the load: kW under the name of W.", "量纲错千倍", (30, 300),
          voids=_BLURRED, because=_TRUTH, within_s=BLIND_S,
          answer="Not believed while cars draw: hold after 5 s, fallback after 10 s; named.",
          named=("phase_lost", "too_little"), named_within_s=20, shows="draw"),
    Fault("meter_scale_up", "M19", "meter", "A thousand times the load.", "量纲错千倍（偏大）", (30, 300),
          within_s=BLIND_S,
          answer="Cannot be: hold after 5 s, fallback after 10 s; named.", named=("meter", "range"),
          named_within_s=10),
    Fault("meter_other", "M15", "meter", "Another device answers, with a third of the load.", "应答来自另一设备",
          (30, 300), voids=_LIES, because="its identity is all that gives it away, read every 10 min",
          answer="Latch: everybody at the fallback until a person has looked; named.", named=("identity",),
          named_within_s=10),
    Fault("feeder_meter_silent", "M1", "meter", "The feeder's own meter answers nothing.", "分支电表无应答",
          (20, 300), within_s=BLIND_S, needs="feeder meter",
          answer="Its own chargers hold after 5 s and fall back after 10 s, the others go on; named.",
          named=("feeder_meter",), named_within_s=10),
    # ----------------------------------------------------------------------------------------------------- network
    Fault("net_loss", "Q1", "network", "Messages are lost.", "报文丢失", (60, 600), {"share": Span(0.05, 0.5)},
          within_s=LEASE_S,
          answer="Lowerings are said again until confirmed; who hears nothing falls back when its lease ends."),
    Fault("net_twice", "Q5", "network", "Messages come twice.", "报文重复", (60, 600), {"share": Span(0.2, 1.0)},
          answer="What is not newer is ignored."),
    Fault("net_reorder", "Q6", "network", "Messages overtake each other.", "报文乱序", (60, 600),
          {"share": Span(0.2, 0.8), "late_s": Span(1, 20)}, within_s=LEASE_S,
          answer="What was overtaken is ignored."),
    Fault("net_delay", "Q7", "network", "Messages come up to five minutes late.", "报文迟到可达5分钟", (60, 400),
          {"share": Span(0.1, 0.6), "late_s": Span(30, 300)}, within_s=LEASE_S,
          answer="A setpoint on a stamp older than 30 s raises nobody."),
    Fault("net_part", "Q2", "network", "Some chargers have no connection.", "部分桩断网", (30, 400),
          {"share": _SHARE}, within_s=LEASE_S, promise="P2",
          answer="They fall back when their leases end and count at their worst; the others go on."),
    Fault("net_all", "Q2", "network", "No charger has a connection.", "全部桩断网", (30, 400), within_s=LEASE_S,
          promise="P2",
          answer="All fall back when their leases end."),
    Fault("broker_restart", "Q1", "network", "The broker restarts; clients come back within 30 s.", "MQTT 代理重启",
          (2, 15), {"jitter_s": Span(1, 30)}, within_s=LEASE_S,
          answer="Leases run on, nothing is queued; named.", named=("broker",), named_within_s=5),
    Fault("broker_dead", "Q2", "network", "The broker is dead.", "MQTT 代理停机", (60, 600), {"jitter_s": Span(1, 30)},
          within_s=LEASE_S, promise="P2",
          answer="All fall back when their leases end, nothing is queued; named.", named=("broker",),
          named_within_s=5),
    Fault("half_open", "Q3", "network", "The controller's connection carries nothing and does not say so.",
          "半开连接", (30, 200), within_s=LEASE_S, promise="P2",
          answer="Given up after 20 s, and named; leases end meanwhile.", named=("broker",),
          named_within_s=25),
    Fault("replay", "Q4", "network", "Old setpoints are said again: retained, or replayed.", "旧设定值重放",
          (60, 400), {"every_s": Span(1, 10)}, within_s=LEASE_S,
          answer="Chargers take nothing that is not newer than what they have."),
    Fault("flood", "Q14", "network", "A charger and a stranger say far too much.", "报文泛滥", (30, 120),
          answer="Only the newest word of each charger is kept; control goes on."),
    Fault("malformed", "Q9", "network", "A charger sends numbers without sense.", "无意义报文", (30, 300),
          {"share": Span(0.2, 1.0)}, within_s=LEASE_S,
          answer="Dropped, counted and named; a foreign epoch in it means 10 min of silence.",
          named=("dropped",), named_within_s=5),
    # ---------------------------------------------------------------------------------------------------- chargers
    Fault("charger_deaf", "C1", "charger", "A charger stays where it is, whatever it is told.", "桩不响应",
          (60, 500),
          answer="Counts at its worst, and told 0 A, after five telegrams above what it was told; named.",
          named=("deaf", "draws"), named_within_s=130, shows="told"),
    Fault("charger_late", "C2", "charger", "A charger looks at what it is told 10-60 s later.", "桩执行迟缓",
          (60, 500), {"lag_s": Span(10, 60)},
          answer="Counts at what it had until telemetry shows the new; above 15 s it is isolated as deaf and named.",
          named=("deaf", "draws")),
    Fault("charger_rounds_up", "C3", "charger", "A charger allows 1 A more than it says.", "桩取整偏大1安",
          (60, 500),
          answer="Left alone: the meter sees that ampere, and the others get less."),
    Fault("charger_lies_low", "C6", "charger", "A charger says less than it draws.", "桩少报电流", (60, 500),
          {"factor": Span(0.0, 0.6)},
          answer="What it hides counts as residents, whatever it does: the total rules."),
    Fault("charger_claims", "C6", "charger", "A charger says it obeys and charges on as before.", "桩谎称已降流",
          (60, 500),
          answer="The meter sees it: others are cut; isolated and named once its unseen cuts outweigh chance: "
                 "three at the least.",
          named=("lies",)),
    Fault("charger_lies_high", "C7", "charger", "A charger says more than it draws.", "桩多报电流", (60, 500),
          {"factor": Span(1.5, 4.0)}, voids=frozenset(("I1",)),
          because="what it claims looks like a car that may go: the claim is believed up to its nameplate",
          answer="Believed up to its nameplate; over the limit everybody is cut."),
    Fault("charger_reboots", "C8", "charger", "A charger restarts in mid-charge.", "桩充电中重启", (1, 200),
          {"every_s": Span(20, 90)},
          answer="Starts at its fallback; what its last run allowed counts until that lease ends."),
    Fault("charger_mute", "C12", "charger", "A charger says nothing and charges on by its lease.", "桩静默但在充电",
          (60, 500),
          answer="Counts at its worst after 45 s; falls back when its lease ends."),
    Fault("charger_dumb", "C12", "charger", "A charger says nothing, hears nothing and charges on.", "桩失联继续充电",
          (60, 500),
          answer="Counts at its worst after 45 s; the meter sees it as residents."),
    Fault("charger_stranger", "C9", "charger", "An unregistered charger joins and charges.", "未登记的桩接入",
          (60, 500),
          answer="Never commanded; the meter sees it as residents; named.", named=("stranger",),
          named_within_s=10),
    Fault("charger_swings", "C15", "charger", "A charger switches itself off and on.", "桩反复通断", (60, 400),
          {"every_s": Span(8, 40)},
          answer="Counts at what it was told until it has been steady for 60 s."),
    Fault("charger_exports", "C11", "charger", "A car feeds back, its charger says so with a negative power.",
          "车辆反送电", (60, 400), {"amps": Span(6, 16)}, voids=frozenset(("I1",)),
          because="the current it says has no sign: it looks like a draw that is there to be given back",
          answer="Its current counts as a draw up to its nameplate; the meter has the last word."),
    Fault("charger_wrong_clock", "C14", "charger", "The clock in a charger's telemetry is wrong.", "桩时钟错误",
          (60, 400), {"by_s": Among((-3600, -40, 40, 3600))}, within_s=LEASE_S,
          answer="Its own stamp comes back to it: what it cannot place raises nothing, its lease ends."),
    Fault("charger_tick_ahead", "C14", "charger", "One word of a charger has a stamp far ahead of its clock.",
          "一条报文时标远超前", (5, 60), {"by_ms": Among((600_000, 1 << 32, 1 << 52))}, within_s=LEASE_S,
          answer="Its other words seem older: silent to us until all it was told is over, then believed again."),
    Fault("charger_epoch_ahead", "C14", "charger", "One word of a charger echoes an epoch far beyond all others.",
          "一条报文纪元远超前", (5, 60), {"epoch": Among((1 << 31, 1 << 45, (1 << 53) - 1))}, within_s=LEASE_S,
          answer="No message where no epoch may be; else the charger alone is told a higher one."),
    Fault("charger_claims_fallback", "C16", "charger", "A charger says it takes more by itself than was planned.",
          "桩自报失联电流偏大", (60, 500), {"amps": Among((10, 16, 32))},
          answer="Told the planned fallback and never what it claims; named.",
          named=("fallback",), named_within_s=10),
    Fault("charger_drift", "C14", "charger", "All chargers' clocks are 2 % slow or fast.", "桩时钟漂移2%",
          WHOLE_NIGHT, {"rate": Among((0.98, 1.02))},
          answer="A lease counts 2 % and 1 s longer here than there."),
    # -------------------------------------------------------------------------------------------------------- cars
    Fault("car_sleeps", "C5", "car", "A car that was paused does not resume by itself.", "车辆暂停后不恢复",
          (30, 300),
          answer="Counts as it draws; listed as asleep."),
    Fault("car_leaves", "C5", "car", "Cars leave at once.", "车辆突然离开", (1, 60), {"share": _SHARE},
          answer="Counts 0 from its charger's next word; the others rise at the usual pace."),
    Fault("car_refuses", "C1", "car", "A car ignores a lower pilot until it is taken away.", "车辆不跟随降流",
          (60, 500), within_s=30,
          answer="Cut on until its pilot is gone; isolated and named after three telegrams above what it was told.",
          named=("draws",), named_within_s=80, shows="told"),
    Fault("car_overshoots", "C17", "car", "Cars draw up to a fifth more than they are allowed.", "车辆超流",
          (60, 500), {"factor": Span(1.05, 1.2)},
          answer="An eighth more is left alone, beyond that isolated and named; the meter sees both.",
          named=("draws",)),
    # -------------------------------------------------------------------------------------------------------- host
    Fault("host_killed", "H2", "host", "The controller is killed and started again.", "控制器被杀后重启", (1, 300),
          within_s=LEASE_S, promise="P2",
          answer="Chargers fall back when their leases end; a restart begins without authority."),
    Fault("host_pause", "H11", "host", "The controller stands still for a few seconds.", "控制器停顿3秒", (3, 4),
          within_s=20,
          answer="Leases run on; the next tick goes on from there."),
    Fault("host_suspended", "H10", "host", "The machine sleeps for a minute.", "主机挂起1分钟", (40, 90),
          within_s=LEASE_S, promise="P2",
          answer="Leases end meanwhile; then everybody comes down, and it begins as after a start; named.",
          named=("gap",)),
    Fault("tick_raises", "H19", "host", "An exception in the tick: the process ends and is started again.",
          "周期内异常", (1, 1), within_s=LEASE_S,
          answer="The process ends, leases run on; a restart begins without authority."),
    Fault("wall_jump", "H9", "host", "The wall clock jumps.", "系统时钟跳变", (60, 400),
          {"by_s": Among((-3600, 3600, 315_360_000, -315_360_000))},
          answer="Nothing but windows and departures follows it."),
    Fault("wall_unknown", "H7", "host", "The wall clock is not known.", "系统时钟未知", (60, 400),
          answer="The strictest window holds, and nobody waits for the valley."),
    Fault("wall_dst", "H8", "host", "The night in which the clock changes.", "夏令时切换之夜", WHOLE_NIGHT,
          {"change": Among(("spring", "autumn"))},
          answer="Windows follow the clock on the wall."),
    Fault("second_controller", "H14", "host", "A second controller is started on the same area.", "第二控制器上线",
          (120, 500), within_s=LEASE_S,
          answer="The older falls silent for 10 min when it hears the newer epoch; named.",
          named=("rival",)),
    # -------------------------------------------------------------------------------------------------------- grid
    Fault("base_step", "G1", "grid", "Residents' load steps up by a fifth of the rating.", "居民负荷突增20%",
          (60, 500), {"share": Span(0.1, 0.2)}, promise="P3",
          answer="Cut on the reading that shows it."),
    Fault("residents_over", "G2", "grid", "Residents alone are over the limit.", "居民负荷自身越限", (60, 500),
          answer="Cars go to 0 A; named once their mean of five minutes is over.", named=("load",)),
    Fault("unbalance", "G4", "grid", "One phase carries a third of its rating more.", "三相不平衡", (60, 500),
          {"phase": _PHASE, "share": Span(0.2, 0.35)},
          answer="The limit of that phase cuts its cars."),
    Fault("outage", "G5", "grid", "No mains for a while, then a load half as high again.", "停电后冷负荷恢复",
          (30, 200), within_s=LEASE_S,
          answer="Begins as after a start; starts are spread."),
    Fault("reverse_flow", "G6", "grid", "Solar power flows back through the transformer.", "光伏倒送", (60, 400),
          answer="Unless the site may export it is a CT the wrong way round: fallback; named.",
          named=("sign",)),
)  # fmt: skip

BY_ID = {fault.id: fault for fault in CATALOGUE}


def plan(rng: random.Random, area: Small, only: str | None = None) -> tuple[Strike, ...]:
    """One to four strikes for a night. ``only`` names a fault that must be among them."""
    rows = [f for f in CATALOGUE if possible(f, area)]
    count = rng.choice((1, 1, 2, 2, 3, 4)) if only is None else 1
    drawn = rng.sample(rows, count) if only is None else [BY_ID[only]]
    return tuple(sorted((strike(fault, rng) for fault in drawn), key=lambda s: (s.start_s, s.fault.id)))


def possible(fault: Fault, area: Small) -> bool:
    """Has this area what the fault needs?"""
    feeders = area.config.feeders
    return fault.needs != "feeder meter" or any(feeder.meter is not None for feeder in feeders)


def strike(fault: Fault, rng: random.Random) -> Strike:
    """One occurrence: when, how long, with what parameters."""
    if fault.seconds == WHOLE_NIGHT:
        start_s, end_s = 0, NIGHT_S
    else:
        lasts_s = rng.randint(*fault.seconds)
        start_s = rng.randint(WARM_S, max(LAST_S - lasts_s, WARM_S))
        end_s = min(start_s + lasts_s, LAST_S)
    params = {name: how.draw(rng) for name, how in sorted(fault.params.items())}
    return Strike(fault, start_s, end_s, params, rng.getrandbits(32))
