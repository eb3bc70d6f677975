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
          promise="P1"),
    Fault("meter_late", "M13", "meter", "Replies take 0.9-3 s, longer than its time-out.", "应答迟到0.9-3秒",
          (20, 300), {"share": Span(0.2, 1.0)}, within_s=BLIND_S),
    Fault("meter_lags", "M14", "meter", "Each reply is the one before: old values under a new stamp.",
          "应答错位，数值滞后", (30, 300), {"lag_s": Span(1, 3)}, voids=_BLURRED, because=_TRUTH, within_s=20),
    Fault("meter_frozen", "M2", "meter", "It answers, always with the same registers.", "寄存器冻结", (40, 300),
          voids=_BLURRED, because=_TRUTH, within_s=50),
    Fault("meter_cached", "M20", "meter", "A gateway repeats a block for some seconds.", "网关缓存旧数据", (40, 300),
          {"every_s": Span(2, 12)}, voids=_BLURRED, because=_TRUTH, within_s=50),
    Fault("meter_crc", "M3", "meter", "One reply in ten is broken.", "偶发CRC错误", (60, 600),
          {"share": Span(0.05, 0.15)}),
    Fault("meter_crc_burst", "M4", "meter", "All replies are broken for a while.", "CRC错误突发", (5, 30),
          within_s=BLIND_S),
    Fault("meter_exception", "M5", "meter", "It answers with an exception.", "返回异常码", (10, 120),
          within_s=BLIND_S),
    Fault("meter_nonsense", "M7", "meter", "Values that are none: NaN, infinite, beyond range.", "数值无效",
          (10, 120), {"kind": Among(("nan", "inf", "huge", "volts"))}, within_s=BLIND_S),
    Fault("meter_zeros", "M18", "meter", "All currents and powers read zero.", "电流功率全为零", (10, 200),
          voids=_BLURRED, because=_TRUTH, within_s=BLIND_S),
    Fault("meter_wrong_sign", "M8", "meter", "Total and phases have the wrong sign.", "功率方向接反", (30, 300)),
    Fault("meter_ct_reversed", "M9", "meter", "One CT is the wrong way round.", "一相互感器接反", (30, 300),
          {"phase": _PHASE, "vector": Among((0, 1))}),
    Fault("meter_phase_lost", "M9", "meter", "One phase reads nothing.", "一相断线", (30, 300), {"phase": _PHASE},
          voids=_BLURRED, because=_TRUTH, within_s=BLIND_S),
    Fault("meter_ratio_half", "M10", "meter", "CT ratio half of the truth.", "变比偏小一半", (60, 300), voids=_LIES,
          because="half of a load looks like a smaller load; only a step that nobody drew gives it away"),
    Fault("meter_ratio_double", "M10", "meter", "CT ratio twice the truth.", "变比偏大一倍", (60, 300)),
    Fault("meter_spike_up", "M21", "meter", "Now and then one reading of ten times the load.", "偶发上尖峰",
          (30, 300), {"every_s": Span(7, 40)}),
    Fault("meter_spike_down", "M21", "meter", "Now and then one reading of a tenth of the load.", "偶发下尖峰",
          (30, 300), {"every_s": Span(7, 40)}),
    Fault("meter_energy_back", "M12", "meter", "The energy counter goes back.", "电能表码倒走", (10, 60)),
    Fault("meter_scale", "M19", "meter", "A thousandth of the load: kW under the name of W.", "量纲错千倍", (30, 300),
          voids=_BLURRED, because=_TRUTH, within_s=BLIND_S),
    Fault("meter_scale_up", "M19", "meter", "A thousand times the load.", "量纲错千倍（偏大）", (30, 300),
          within_s=BLIND_S),
    Fault("meter_other", "M15", "meter", "Another device answers, with a third of the load.", "应答来自另一设备",
          (30, 300), voids=_LIES, because="its identity is all that gives it away, read every 10 min"),
    Fault("feeder_meter_silent", "M1", "meter", "The feeder's own meter answers nothing.", "分支电表无应答",
          (20, 300), within_s=BLIND_S, needs="feeder meter"),
    # ----------------------------------------------------------------------------------------------------- network
    Fault("net_loss", "Q1", "network", "Messages are lost.", "报文丢失", (60, 600), {"share": Span(0.05, 0.5)},
          within_s=LEASE_S),
    Fault("net_twice", "Q5", "network", "Messages come twice.", "报文重复", (60, 600), {"share": Span(0.2, 1.0)}),
    Fault("net_reorder", "Q6", "network", "Messages overtake each other.", "报文乱序", (60, 600),
          {"share": Span(0.2, 0.8), "late_s": Span(1, 20)}, within_s=LEASE_S),
    Fault("net_delay", "Q7", "network", "Messages come up to five minutes late.", "报文迟到可达5分钟", (60, 400),
          {"share": Span(0.1, 0.6), "late_s": Span(30, 300)}, within_s=LEASE_S),
    Fault("net_part", "Q2", "network", "Some chargers have no connection.", "部分桩断网", (30, 400),
          {"share": _SHARE}, within_s=LEASE_S, promise="P2"),
    Fault("net_all", "Q2", "network", "No charger has a connection.", "全部桩断网", (30, 400), within_s=LEASE_S,
          promise="P2"),
    Fault("broker_restart", "Q1", "network", "The broker restarts; clients come back within 30 s.", "服务器重启",
          (2, 15), {"jitter_s": Span(1, 30)}, within_s=LEASE_S),
    Fault("broker_dead", "Q2", "network", "The broker is dead.", "服务器停机", (60, 600), {"jitter_s": Span(1, 30)},
          within_s=LEASE_S, promise="P2"),
    Fault("half_open", "Q3", "network", "The controller's connection carries nothing and does not say so.",
          "半开连接", (30, 200), within_s=LEASE_S, promise="P2"),
    Fault("replay", "Q4", "network", "Old setpoints are said again: retained, or replayed.", "旧设定值重放",
          (60, 400), {"every_s": Span(1, 10)}, within_s=LEASE_S),
    Fault("flood", "Q14", "network", "A charger and a stranger say far too much.", "报文泛滥", (30, 120)),
    Fault("malformed", "Q9", "network", "A charger sends numbers without sense.", "无意义报文", (30, 300),
          {"share": Span(0.2, 1.0)}, within_s=LEASE_S),
    # ---------------------------------------------------------------------------------------------------- chargers
    Fault("charger_deaf", "C1", "charger", "A charger stays where it is, whatever it is told.", "桩不响应",
          (60, 500)),
    Fault("charger_late", "C2", "charger", "A charger looks at what it is told 10-60 s later.", "桩执行迟缓",
          (60, 500), {"lag_s": Span(10, 60)}),
    Fault("charger_rounds_up", "C3", "charger", "A charger allows 1 A more than it says.", "桩取整偏大1安",
          (60, 500)),
    Fault("charger_lies_low", "C6", "charger", "A charger says less than it draws.", "桩少报电流", (60, 500),
          {"factor": Span(0.0, 0.6)}),
    Fault("charger_lies_high", "C7", "charger", "A charger says more than it draws.", "桩多报电流", (60, 500),
          {"factor": Span(1.5, 4.0)}, voids=frozenset(("I1",)),
          because="what it claims looks like a car that may go: the claim is believed up to its nameplate"),
    Fault("charger_reboots", "C8", "charger", "A charger restarts in mid-charge.", "桩充电中重启", (1, 200),
          {"every_s": Span(20, 90)}),
    Fault("charger_mute", "C12", "charger", "A charger says nothing and charges on by its lease.", "桩静默但在充电",
          (60, 500)),
    Fault("charger_dumb", "C12", "charger", "A charger says nothing, hears nothing and charges on.", "桩失联继续充电",
          (60, 500)),
    Fault("charger_stranger", "C9", "charger", "An unregistered charger joins and charges.", "未登记的桩接入",
          (60, 500)),
    Fault("charger_swings", "C15", "charger", "A charger switches itself off and on.", "桩反复通断", (60, 400),
          {"every_s": Span(8, 40)}),
    Fault("charger_exports", "C11", "charger", "A car feeds back, its charger says so with a negative power.",
          "车辆反送电", (60, 400), {"amps": Span(6, 16)}, voids=frozenset(("I1",)),
          because="the current it says has no sign: it looks like a draw that is there to be given back"),
    Fault("charger_wrong_clock", "C14", "charger", "The clock in a charger's telemetry is wrong.", "桩时钟错误",
          (60, 400), {"by_s": Among((-3600, -40, 40, 3600))}, within_s=LEASE_S),
    Fault("charger_drift", "C14", "charger", "All chargers' clocks are 2 % slow or fast.", "桩时钟漂移2%",
          WHOLE_NIGHT, {"rate": Among((0.98, 1.02))}),
    # -------------------------------------------------------------------------------------------------------- cars
    Fault("car_sleeps", "C5", "car", "A car that was paused does not resume by itself.", "车辆暂停后不恢复",
          (30, 300)),
    Fault("car_leaves", "C5", "car", "Cars leave at once.", "车辆突然离开", (1, 60), {"share": _SHARE}),
    Fault("car_refuses", "C1", "car", "A car ignores a lower pilot until it is taken away.", "车辆不跟随降流",
          (60, 500), within_s=30),
    Fault("car_overshoots", "C17", "car", "Cars draw up to a fifth more than they are allowed.", "车辆超流",
          (60, 500), {"factor": Span(1.05, 1.2)}),
    # -------------------------------------------------------------------------------------------------------- host
    Fault("host_killed", "H2", "host", "The controller is killed and started again.", "控制器被杀后重启", (1, 300),
          within_s=LEASE_S, promise="P2"),
    Fault("host_pause", "H11", "host", "The controller stands still for a few seconds.", "控制器停顿3秒", (3, 4),
          within_s=20),
    Fault("host_suspended", "H10", "host", "The machine sleeps for a minute.", "主机挂起1分钟", (40, 90),
          within_s=LEASE_S, promise="P2"),
    Fault("tick_raises", "H19", "host", "An exception in the tick: the process ends and is started again.",
          "周期内异常", (1, 1), within_s=LEASE_S),
    Fault("wall_jump", "H9", "host", "The wall clock jumps.", "墙钟跳变", (60, 400),
          {"by_s": Among((-3600, 3600, 315_360_000, -315_360_000))}),
    Fault("wall_unknown", "H7", "host", "The wall clock is not known.", "墙钟未知", (60, 400)),
    Fault("wall_dst", "H8", "host", "The night in which the clock changes.", "夏令时切换之夜", WHOLE_NIGHT,
          {"change": Among(("spring", "autumn"))}),
    Fault("second_controller", "H14", "host", "A second controller is started on the same area.", "第二控制器上线",
          (120, 500), within_s=LEASE_S),
    # -------------------------------------------------------------------------------------------------------- grid
    Fault("base_step", "G1", "grid", "Residents' load steps up by a fifth of the rating.", "居民负荷突增20%",
          (60, 500), {"share": Span(0.1, 0.2)}, promise="P3"),
    Fault("residents_over", "G2", "grid", "Residents alone are over the limit.", "居民负荷自身越限", (60, 500)),
    Fault("unbalance", "G4", "grid", "One phase carries a third of its rating more.", "三相不平衡", (60, 500),
          {"phase": _PHASE, "share": Span(0.2, 0.35)}),
    Fault("outage", "G5", "grid", "No mains for a while, then a load half as high again.", "停电后冷负荷恢复",
          (30, 200), within_s=LEASE_S),
    Fault("reverse_flow", "G6", "grid", "Solar power flows back through the transformer.", "光伏倒送", (60, 400)),
)  # fmt: skip

BY_ID = {fault.id: fault for fault in CATALOGUE}


def plan(rng: random.Random, area: Small, only: str | None = None) -> tuple[Strike, ...]:
    """One to four strikes for a night. ``only`` names a fault that must be among them."""
    rows = [f for f in CATALOGUE if _possible(f, area)]
    count = rng.choice((1, 1, 2, 2, 3, 4)) if only is None else 1
    drawn = rng.sample(rows, count) if only is None else [BY_ID[only]]
    return tuple(sorted((strike(fault, rng) for fault in drawn), key=lambda s: (s.start_s, s.fault.id)))


def _possible(fault: Fault, area: Small) -> bool:
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
