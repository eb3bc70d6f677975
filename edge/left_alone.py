"""What chargers that are left alone may do, said in words and numbers: the sums of ``edge.site`` for people to retrace.

Every row is English, then Chinese on a line of its own. Loads are kVA and currents A, because limits are; kW stand only
where the configuration has them.
"""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from edge.core.ledger import at_once
from edge.core.model import MIN_MA
from edge.memory import QUARTER_MIN, QUARTERS
from edge.schema import clock, in_file_units
from edge.site import (
    EV_PF_PERMILLE,
    LEARNED,
    RESERVE_PCT,
    STATED,
    UNKNOWN,
    WORST_PHASE_PCT,
    alone,
    fitting_slots,
    late_hours,
    late_slots,
    unleased_ma,
    va,
)
from edge.words import amps

if TYPE_CHECKING:
    from edge.config import ChargingConfig
    from edge.site import Load, Site

# fmt: off
_ROWS = {
    "unknown": (
        "not computed, so only 0 A is safe: nobody has said what residents draw (base_p999_kva in {places})",
        "未计算，只有 0 A 安全：{places} 未给出居民最大负荷 base_p999_kva"),
    "stated": (
        "at most {kva} kVA on A, B, C: stated in [area], and a tenth",
        "A、B、C 相最大 {kva} kVA：[area] 给定值加一成"),
    "in all": (
        "at most {total} kVA: stated in [area], and a tenth; {one} kVA of it may be on one phase",
        "最大 {total} kVA：[area] 给定值加一成；其中单相最大 {one} kVA"),
    "learned": (
        "at most {kva} kVA on A, B, C: measured, the highest minute, and a tenth",
        "A、B、C 相最大 {kva} kVA：实测最高一分钟加一成"),
    "assumed": (
        "{places}: taken as {pct} % on the worst phase, whichever it is; write [a, b, c] if you know better",
        "{places}：最重相未知，各相均按总负荷的 {pct} % 计；已知各相时请写 [a, b, c]"),
    "write": (
        "for a fallback_a above 0 write it down: base_p999_kva = [{kva}]",
        "如需 fallback_a 大于 0，请写入 base_p999_kva = [{kva}]"),
    "sum": (
        "{at} {shape}, {name}: limit {limit} A - margin {margin} A - residents {residents} A = {free} A for chargers",
        "{at}{shape_zh}，{name_zh}：限值 {limit} A - 裕度 {margin} A - 居民 {residents} A = 余 {free} A"),
    "6 A for all": (
        "{load} A on {name}; on the three phases {kva} kVA = {share} % of rating",
        "全部 6 A：{name_zh} {load} A；三相合计 {kva} kVA，占额定容量 {share} %"),
    "none": (
        "0 A: not even 6 A in 8 turns fits",
        "0 A：分 8 组轮换 6 A 也放不下"),
    "all": (
        "6 A for all",
        "全部 6 A"),
    "turns": (
        "6 A in {slots} turns of 15 min: of {count} on a phase at most {most} draw together (4.5 sigma and 2 more)",
        "6 A 分 {slots} 组轮换，每组 15 分钟：每相 {count} 台中同时最多 {most} 台（4.5 σ 再加 2 台）"),
    "as set": (
        "{set_a} A, fallback_slots = {slots}: {load} A on {name}; on the three phases {kva} kVA = {share} % of rating",
        "{set_a} A，fallback_slots = {slots}：{name_zh} {load} A；三相合计 {kva} kVA，占额定容量 {share} %"),
    "by law": (
        "kept although it does not fit: at {at} up to {over} A above the limit on {name}, {over_kva} kVA in all",
        "法定最低电流，容量不足：{at} {name_zh}越限最多 {over} A，合计 {over_kva} kVA"),
    "late": (
        "on: chargers left alone take 6 A{turns} from {begin} to {end}: at most {load} A on {name}",
        "启用：失联充电桩 {begin}-{end} 自行以 6 A 充电{turns_zh}，{name_zh}最大 {load} A"),
    "late guess": (
        "off, the night is assumed: seven days of --memory or late_fallback = true give 6 A{turns}, {begin} to {end}",
        "未启用（夜间负荷为假定值）：--memory 满七天或 late_fallback = true 后 {begin}-{end} 以 6 A 充电{turns_zh}"),
    "late off": (
        "off: late_fallback = false",
        "停用：late_fallback = false"),
    "late empty": (
        "off: the valley is empty",
        "未启用：未设谷时段"),
    "late room": (
        "off: in no hour of the valley 6 A fits at all chargers{turns}",
        "未启用：谷时段容量不足{turns_zh}"),
    "late slots": (
        "off: it would fit with fallback_slots = {fewest}, here and in the chargers",
        "未启用：设 fallback_slots = {fewest}（充电桩同设）后可用"),
    "no lease": (
        "chargers without a lease could take {could} kW; {may} kW may stand on them, at any hour and for ever",
        "无租约充电桩最大 {could} kW；任何时刻最多允许 {may} kW，且长期有效"),
    "accepted": (
        "{accept} kW are more than fits: at {at} up to {over} A above the limit on {name}, {over_kva} kVA in all",
        "{accept} kW 超出容量：{at} {name_zh}越限最多 {over} A，合计 {over_kva} kVA"),
    "accepted unknown": (
        "{accept} kW may be above the limit: nobody has said what residents draw",
        "{accept} kW 可能越限：未给出居民最大负荷"),
}
_SHAPE = {STATED: ("by an assumed shape of the day", "（按假定日曲线）"), LEARNED: ("as measured", "（实测）")}
# fmt: on


def in_words(site: Site, charging: ChargingConfig) -> list[tuple[str, str]]:
    """The arithmetic as rows of topic and sentence; after a line break the same in Chinese."""
    if site.source == UNKNOWN:
        return [("fits alone", _both("unknown", places=" and ".join(site.missing))), *_unleased_rows(site, charging)]
    all_on = alone(site, MIN_MA)
    rows = [*_residents_rows(site), ("worst hour", _sum(site, all_on))]
    if any(site.counts):
        rows += _fallback_rows(site, charging, all_on)
    return rows + _unleased_rows(site, charging)


def _both(row: str, **facts: object) -> str:
    """A row in both languages."""
    return "\n".join(_ROWS[row]).format(**facts)


def _residents_rows(site: Site) -> list[tuple[str, str]]:
    """What residents draw at most, how that is known, and what is taken for granted."""
    highest = [va(site, max(row[p] for row in site.base_ma)) for p in range(3)]
    one, row = highest[0], "in all" if "[area]" in site.assumed else site.source
    facts = {"kva": " / ".join(map(_kva, highest)), "one": _kva(one), "total": _kva(one * 100 // WORST_PHASE_PCT)}
    rows = [("residents", _both(row, **facts))]
    if site.assumed:
        rows.append(("unbalance", _both("assumed", places=" and ".join(site.assumed), pct=WORST_PHASE_PCT)))
    if site.source == LEARNED and "[area]" in site.missing:
        rows.append(("to state", _both("write", kva=", ".join(_kva(one * 100 // RESERVE_PCT) for one in highest))))
    return rows


def _kva(load_va: int) -> str:
    return f"{load_va / 1000:.1f}"


def _sum(site: Site, left: Load) -> str:
    """What is free on the tightest wire, step by step."""
    shape, shape_zh = _SHAPE[site.source]
    parts = {"limit": left.limit_ma, "margin": left.margin_ma, "residents": left.residents_ma, "free": left.free_ma}
    steps = {name: f"{ma / 1000:.1f}" for name, ma in parts.items()}
    return _both("sum", shape=shape, shape_zh=shape_zh, **steps, **_facts(site, left))


def _facts(site: Site, left: Load) -> dict[str, object]:
    """What chargers take, where and when, and what of it is above the limit."""
    return {
        "at": clock(left.minute), "name": left.name,
        "name_zh": re.sub(r"phase (.)", r"\1 相", left.name).replace("feeder", "馈线").replace(", ", " "),
        "load": amps(left.load_ma), "kva": _kva(left.load_va),
        "share": in_file_units(left.load_va * 1000 // site.rating_va, 10),
        "over": -(-left.over_ma // 1000), "over_kva": -(-left.over_va // 1000),
    }  # fmt: skip


def _fallback_rows(site: Site, charging: ChargingConfig, all_on: Load) -> list[tuple[str, str]]:
    """What chargers with a lease need when they are left alone, what fits, and what was chosen."""
    slots, count = fitting_slots(site), max(site.counts[:3])
    fits = _both({0: "none", 1: "all"}.get(slots, "turns"), slots=slots, count=count, most=at_once(count, slots or 1))
    rows = [("6 A for all", _both("6 A for all", **_facts(site, all_on))), ("fits alone", fits)]
    if not charging.fallback_ma:
        return rows + _late_rows(site, charging)
    chosen = alone(site, charging.fallback_ma, charging.fallback_slots)
    facts = {"set_a": amps(charging.fallback_ma), "slots": charging.fallback_slots, **_facts(site, chosen)}
    rows.append(("as set", _both("as set", **facts)))
    by_law = charging.floor_by_law and not chosen.fits
    return [*rows, ("by law", _both("by law", **facts))] if by_law else rows


def _late_rows(site: Site, charging: ChargingConfig) -> list[tuple[str, str]]:
    """Whether chargers left alone charge in the valley, and by which figures."""
    slots = charging.fallback_slots
    turns = {"turns": "", "turns_zh": ""}
    if slots > 1:
        turns = {"turns": f" in {slots} turns", "turns_zh": f"，分 {slots} 组轮换"}
    span = late_hours(site, replace(charging, late_fallback=charging.late_fallback is not False))
    if span is None:
        return [("late", _both(_why_not_late(site, charging), fewest=late_slots(site, charging), **turns))]
    first, end = (minute // QUARTER_MIN for minute in span)
    hours = [q % QUARTERS for q in range(first, end if end > first else end + QUARTERS)]
    left = alone(site, MIN_MA, slots, hours, unleased_ma(site, charging))
    row = "late guess" if late_hours(site, charging) is None else "late"
    said = _both(row, begin=clock(span[0]), end=clock(span[1]), **turns, **_facts(site, left))
    return [("late", said), ("late hour", _sum(site, left))]


def _why_not_late(site: Site, charging: ChargingConfig) -> str:
    """Which sentence says why chargers left alone cannot charge in the valley."""
    if charging.late_fallback is False:
        return "late off"
    if not any(site.cheap):
        return "late empty"
    return "late slots" if late_slots(site, charging) else "late room"


def _unleased_rows(site: Site, charging: ChargingConfig) -> list[tuple[str, str]]:
    """What may stand on chargers without a lease, and what it costs where more is accepted than fits."""
    if not site.could_all_ma:
        return []
    stands_ma = unleased_ma(site, charging)
    may_ma = min(sum(stands_ma[:3]), site.could_all_ma)
    rows = [("no lease", _both("no lease", could=_kw(site, site.could_all_ma), may=_kw(site, may_ma)))]
    if stands_ma == unleased_ma(site, replace(charging, accept_unleased_w=0)):
        return rows
    accept = in_file_units(charging.accept_unleased_w, 1000)
    if site.source == UNKNOWN:
        return [*rows, ("accepted", _both("accepted unknown", accept=accept))]
    left = alone(site, charging.fallback_ma, charging.fallback_slots, stands_ma=stands_ma)
    return [*rows, ("accepted", _both("accepted", accept=accept, **_facts(site, left)))]


def _kw(site: Site, ma: int) -> str:
    """What chargers draw at so much current."""
    return f"{va(site, ma) * EV_PF_PERMILLE / 1_000_000:.1f}"


def as_json(site: Site, charging: ChargingConfig) -> dict[str, Any]:
    """The same for programs, in core units."""
    known = site.source != UNKNOWN
    return {
        "residents": site.source,
        "assumed": site.assumed,
        "fits_slots": fitting_slots(site) if known else None,
        "all_at_6a": asdict(alone(site, MIN_MA)) if known else None,
        "as_set": asdict(alone(site, charging.fallback_ma, charging.fallback_slots)) if known else None,
        "late_min": late_hours(site, charging),
        "unleased_ma": unleased_ma(site, charging),
    }
