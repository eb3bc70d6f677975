"""Why a charger has the current it has: one row a code, in plain English and Chinese. ``{phase}`` is A, B or C."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.core import model, obey, trust

if TYPE_CHECKING:
    from collections.abc import Sequence

TEXTS: dict[int, tuple[str, str, str]] = {
    model.NO_CAR: ("no_car", "no car plugged in", "未插枪"),
    model.FULL: ("full", "charging at full current", "满流充电"),
    model.SHARED: ("shared", "charging at a reduced current: {where} is full", "限流充电：{where}已满"),
    model.RAMPING: ("ramping", "rising step by step", "逐步升流"),
    model.WAIT_VALLEY: ("wait_valley", "waiting for the price valley", "等待谷时段"),
    model.WAIT_ROOM: ("wait_room", "waiting: {where} is full", "等待：{where}已满"),
    model.REST: ("rest", "resting before the next start", "停充间隔中"),
    model.DONE: ("done", "charged", "已充满"),
    model.FAULT: ("fault", "the charger reports a fault", "充电桩故障"),
    model.SILENT: ("silent", "not heard from: counted at its worst", "失联：按最坏情况计"),
    model.BOOT: ("boot", "start-up: waiting for a fresh meter and one full lease", "启动中：等待电表与一个租约周期"),
    model.HOLD: ("hold", "meter of {where} late: nothing is raised", "{where}电表延迟：暂停升流"),
    model.SAFE: (
        "safe",
        "no reading of {where} that can be believed: at the fallback current",
        "{where}电表失联或读数不可信：退至安全电流",
    ),
    model.PROVING: (
        "proving",
        "meter of {where} is back and has to prove itself: at the fallback current",
        "{where}电表已恢复，观察中：保持安全电流",
    ),
    model.REPLACED: (
        "replaced",
        "meter of {where} is another device: at the fallback current until a person has confirmed it",
        "{where}电表已更换，待人工确认：保持安全电流",
    ),
    model.SHED: ("shed", "{where} is over its limit: cut", "{where}越限：压降"),
    model.OVERBOOKED: ("overbooked", "the guard refused a raise: {where} would be full", "保护拒绝升流：{where}将满"),
    model.STOPPING: ("stopping", "the controller is stopping", "控制器停止中"),
    model.WAIT_TURN: ("wait_turn", "waiting for its turn: others are more urgent", "轮充等待：其他车辆更紧急"),
    model.STAGGER: ("stagger", "starting soon: starts are spread over ten minutes", "即将启动：错峰启动中"),
    model.ASLEEP: ("asleep", "the car does not draw what it is offered: asleep, or full", "车辆未响应：休眠或已充满"),
    model.ISOLATED: (
        "isolated",
        "does not obey: told 0 A and counted at its worst",
        "不服从指令：已隔离，按最坏情况计",
    ),
    model.UNCONTROLLED: (
        "uncontrolled",
        "waiting: load outside control alone fills {where}",
        "等待：非受控负荷已占满{where}",
    ),
}
"""code → (key in the journal, English, Chinese)"""


DOUBTS: dict[int, tuple[str, str, str]] = {
    trust.FROZEN: (
        "frozen",
        "the meter of {where} says the same to the last digit again and again: does a gateway repeat old values?",
        "{where}电表数据冻结：网关是否重复旧值？",
    ),
    trust.RANGE: (
        "range",
        "the meter of {where} shows more than five times the rating: check unit, word order and CT ratio",
        "{where}电表读数超过额定五倍：检查单位、字序与互感器变比",
    ),
    trust.POWERS: (
        "powers",
        "the meter of {where} contradicts itself: S² is not P² + Q². Check model and word order",
        "{where}电表自相矛盾：S² 与 P²+Q² 不符，检查型号与字序",
    ),
    trust.SUMS: (
        "sums",
        "the meter of {where} contradicts itself: its phases do not add up to its total. Check wiring and CT ratio",
        "{where}电表三相之和与总值不符：检查接线与变比",
    ),
    trust.SIGN: (
        "sign",
        "{where} seems to feed power back: is a CT the wrong way round? If the site has PV, set exports = true",
        "{where}功率为负：互感器是否接反？若有光伏请设 exports = true",
    ),
    trust.PHASE_LOST: (
        "phase_lost",
        "the meter shows nothing on {where}: check its fuse, its voltage tap and its CT",
        "{where}无读数：检查熔断器、电压接线与互感器",
    ),
    trust.TOO_LITTLE: (
        "too_little",
        "the meter of {where} shows less than the chargers there draw: check CT ratio and wiring",
        "{where}电表读数小于充电桩用电：检查变比与接线",
    ),
    trust.COUNTER: (
        "counter",
        "the energy counter of the meter of {where} went back: was the meter reset or exchanged?",
        "{where}电能计数倒退：电表是否清零或更换？",
    ),
    trust.TIME: (
        "time",
        "a reading of the meter of {where} is older than the one before, or of the future: is a gateway in between?",
        "{where}电表读数时间倒退：中间是否有网关缓存？",
    ),
    trust.UNMOVED: (
        "unmoved",
        "the meter of {where} does not follow when cars are cut: does it hang on another cable, or its CT?",
        "{where}电表对压降无反应：是否接在其他线路上？",
    ),
    trust.IDENTITY: (
        "identity",
        "the meter of {where} is another device than before. If that is right, set its serial and start anew",
        "{where}电表已更换：确认无误后请更新配置中的表号并重新启动",
    ),
}
"""What is wrong with a meter: code → (key in the journal, English, Chinese)"""


OFFENCES: dict[int, tuple[str, str]] = {
    obey.DEAF: ("goes on allowing more than it was told: does it hear us?", "持续允许超过指令的电流：是否收到指令？"),
    obey.DRAWS: (
        "draws more than it was told: does its car ignore the pilot?",
        "取用超过指令的电流：车辆是否忽略导引信号？",
    ),
    obey.LIES: (
        "says it has gone down, and the meter does not see it: wrong phase, or a wrong reading",
        "自称已降流而电表未见：相别错误或读数不实",
    ),
}
"""What an isolated charger has done: code → (English, Chinese)"""


def doubt(code: int, phase: int = -1, *, chinese: bool = False, feeder: str = "") -> str:
    """One plain sentence on what is wrong with a meter; ``phase``: the one that shows it, -1 for the whole."""
    if phase >= 0:
        where = f"{'ABC'[phase]}相" if chinese else f"phase {'ABC'[phase]}"
        where = where if not feeder else f"馈线 {feeder} {where}" if chinese else f"{where} of feeder {feeder}"
    elif feeder:
        where = f"馈线 {feeder} " if chinese else f"feeder {feeder}"
    else:
        where = "配变" if chinese else "the transformer"
    return DOUBTS[code][2 if chinese else 1].format(where=where)


def key(code: int, phase: int = -1, feeders: Sequence[str] = ()) -> str:
    """The code's short name, as the journal writes it: with the phase it speaks of, where it speaks of one.

    ``feeders``: their names, so that a reason that speaks of one says which ("wait_room_feeder north").
    """
    name = TEXTS[code][0]
    if phase < 3:
        return name + ("" if phase < 0 else f"_{'abc'[phase]}")
    at = (phase - 4) // 3
    return f"{name}_feeder {feeders[at]}" if at < len(feeders) else f"{name}_feeder"


def sentence(code: int, phase: int = -1, *, chinese: bool = False, feeder: str = "") -> str:
    """One plain sentence. ``phase`` is 0, 1, 2, -1 for the transformer as a whole, 4 and above for a ``feeder``."""
    if chinese:
        line = f"馈线 {feeder} " if feeder else "馈线"
        return TEXTS[code][2].format(where="配变" if phase < 0 else f"{'ABC'[phase]}相" if phase < 3 else line)
    line = f"feeder {feeder}" if feeder else "the feeder"
    where = "the transformer" if phase < 0 else f"phase {'ABC'[phase]}" if phase < 3 else line
    return TEXTS[code][1].format(where=where)
