"""The report of one night: a single HTML file that opens offline, in English and Chinese."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from tools.table import all_met, limit_held, loading_text, passed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tools.night import CarResult, NightEvent, NightRecord, Trace

VALLEY_MIN = (1380, 1920)
"""The default tariff's valley, 23:00 to 08:00, in minutes since midnight of the first day."""

Both = tuple[str, str]
"""One text in English and in Chinese."""

# Every word of the page, English and Chinese; those with braces are filled from the summary.
STRINGS: dict[str, Both] = {
    "title": ("Night report", "夜间充电报告"),
    "area": (
        "Community {community}, {rating} kVA transformer, {piles} chargers, limit {limit} %, seed {seed}",
        "小区 {community}，配变 {rating} kVA，充电桩 {piles} 台，负载率限值 {limit} %，随机种子 {seed}",
    ),
    "language": ("Language", "语言"),
    "pass": ("Passed", "合格"),
    "fail": ("Failed", "不合格"),
    "cars_none": ("No car asked for energy.", "当晚没有充电需求。"),
    "cars_met": (
        "{requests} cars, {met} charged by departure.",
        "{requests} 辆车，{met} 辆在用车时间前充好。",
    ),
    "cars_missed": (
        "{requests} cars, only {met} charged by departure, {missed} not.",
        "{requests} 辆车，仅 {met} 辆在用车时间前充好，{missed} 辆未充好。",
    ),
    "load_held": (
        "Loading peaked at {peak} %, within the {limit} % limit (uncontrolled: {ghost} %).",
        "负载率最高 {peak} %，未超限值 {limit} %（无序充电：{ghost} %）。",
    ),
    "load_residents": (
        "Loading peaked at {peak} %, above the {limit} % limit only while residents alone were above it "
        "(uncontrolled: {ghost} %).",
        "负载率最高 {peak} %，仅在居民负荷自身超过限值 {limit} % 时超限（无序充电：{ghost} %）。",
    ),
    "load_over": (
        "Loading was above the {limit} % limit for {over} min, peak {peak} % "
        "(uncontrolled: {ghost_over} min, {ghost} %).",
        "负载率超过限值 {limit} % 共 {over} 分钟，最高 {peak} %（无序充电：{ghost_over} 分钟，{ghost} %）。",
    ),
    "load_phase": (
        "A phase was above {limit} % of its rated current for {phase_over} min, peak {phase} %.",
        "有一相电流超过额定值的 {limit} % 共 {phase_over} 分钟，最高 {phase} %。",
    ),
    "controlled": ("Controlled", "有序充电"),
    "uncontrolled": ("Uncontrolled", "无序充电"),
    "tile_peak": ("Peak loading", "最大负载率"),
    "tile_peak_rest": ("% at {peak_time}", "%，{peak_time}"),
    "tile_over": ("Over the limit", "超限时间"),
    "tile_over_rest": ("min, {night} of them 22:00–08:00", "分钟，其中 22:00–08:00 {night} 分钟"),
    "tile_cars": ("Charged by departure", "用车前充好"),
    "tile_cars_rest": ("of {requests} cars", "辆，共 {requests} 辆"),
    "tile_energy": ("Energy delivered", "充电电量"),
    "tile_energy_rest": ("of {requested} kWh", "kWh，需求 {requested} kWh"),
    "tile_valley": ("In the price valley", "谷段电量占比"),
    "tile_valley_rest": ("% of the energy", "%"),
    "tile_phase": ("Peak of the worst phase", "最重相最大电流"),
    "tile_phase_rest": ("% of rated current", "% 额定电流"),
    "loading_title": ("Loading of the transformer", "配变负载率"),
    "loading_hint": (
        "Point at a chart, or focus it and use the arrow keys, to read one minute. Untick a line to hide it.",
        "将指针移到图上，或选中图后用方向键，可读取某一分钟的数值。取消勾选可隐藏曲线。",
    ),
    "loading_axis": ("% of rating", "额定容量 %"),
    "time": ("Time", "时刻"),
    "loading": ("Loading", "负载率"),
    "residents": ("Residents", "居民负荷"),
    "ev": ("EV charging", "充电负荷"),
    "worst_phase": ("Worst phase", "最重相"),
    "ghost": ("Uncontrolled night", "无序充电之夜"),
    "limit_line": ("limit {limit} %", "限值 {limit} %"),
    "valley": ("price valley 23:00–08:00", "电价谷段 23:00–08:00"),
    "valley_short": ("valley", "谷段"),
    "cars_title": ("Cars", "车辆"),
    "cars_axis": ("cars", "辆"),
    "charging": ("Charging now", "正在充电"),
    "plugged": ("Plugged in", "已插枪"),
    "finished": ("Finished so far", "累计充满"),
    "fleet_title": ("Every car, from arrival to departure", "每辆车：从到达到离开"),
    "fleet_axis": ("cars, in order of arrival", "车辆，按到达先后"),
    "fleet_hint": (
        "One line a car. Point at a line for its numbers, or focus the chart and use the arrow keys.",
        "每行一辆车。将指针移到某行，或选中图后用方向键，可查看该车的数值。",
    ),
    "span_stay": ("plugged in", "插枪"),
    "span_charge": ("from first charging to full", "从开始充电到充满"),
    "span_missed": ("not charged by departure (mark at departure)", "离开时未充好（离开处有标记）"),
    "car_charger": ("Charger", "充电桩"),
    "car_phase": ("Phase", "相"),
    "car_stay": ("Arrival–departure", "到达–离开"),
    "car_span": ("Charging", "充电"),
    "car_energy": ("Energy", "电量"),
    "car_verdict": ("Result", "结果"),
    "car_met": ("charged", "已充好"),
    "car_missed": ("not charged", "未充好"),
    "car_never": ("never", "未充电"),
    "events_title": ("What happened and why", "经过与原因"),
    "events_none": ("Nothing out of the ordinary was recorded.", "没有特别事件。"),
    "events_more": ("Show all {events} entries", "显示全部 {events} 条"),
    "how_title": ("How it was measured", "测量方法"),
    "how_modbus": ("Meter reads over Modbus", "Modbus 读表次数"),
    "how_setpoints": ("Setpoints sent over MQTT", "MQTT 下发设定值"),
    "how_telemetry": ("Telemetry received over MQTT", "MQTT 收到遥测"),
    "how_broker": ("MQTT broker", "MQTT 代理"),
    "how_wall": ("Wall time of the run", "运行耗时"),
    "how_wall_value": ("{wall} s", "{wall} 秒"),
    "how_seed": ("Seed", "随机种子"),
    "how_replay": ("Replay this night", "重放当晚"),
    "how_words": (
        "Loading is the emulated transformer's true apparent power over its rating, as one-minute means, not what the "
        "controller believes. A minute counts as over the limit when residents alone were below it. A car counts as "
        "charged when at most 0.11 kWh of its request is missing at departure. The uncontrolled night has the same "
        "residents and the same cars, without the controller.",
        "负载率为被仿真配变的真实视在功率与额定容量之比，取 1 分钟平均值，而非控制器的估计值。"
        "居民负荷自身未超限而总负载超限的分钟计为超限。"
        "离开时电量缺口不超过 0.11 kWh 计为充好。无序充电之夜的居民负荷与车辆相同，只是没有控制器。",
    ),
}

HEADLINE_PARTS = frozenset(
    {"cars_none", "cars_met", "cars_missed", "load_held", "load_residents", "load_over", "load_phase"}
)
EVENTS_AT_FIRST = 30
SLOT = re.compile(r"\[\[(t:)?(\w+)\]\]")


class Tile(NamedTuple):
    """One measure of the summary: its key in STRINGS, the figures, and whether it meets what is promised."""

    key: str
    controlled: str
    uncontrolled: str
    good: bool | None = None


def headline(summary: dict[str, Any]) -> Both:
    """The verdict in one sentence, English and Chinese. It says what failed whenever something did."""
    side, other, limit = summary["controlled"], summary["uncontrolled"], summary["limit_pct"]
    values = {
        "requests": f"{side['requests']:,}",
        "met": f"{side['requests_met']:,}",
        "missed": f"{side['requests'] - side['requests_met']:,}",
        "peak": loading_text(side["peak_loading_pct"], limit),
        "ghost": loading_text(other["peak_loading_pct"], limit),
        "limit": f"{limit:g}",
        "over": f"{side['minutes_over_limit']:,}",
        "ghost_over": f"{other['minutes_over_limit']:,}",
        "phase_over": f"{side['minutes_over_phase']:,}",
        "phase": loading_text(side["peak_phase_pct"], limit),
    }
    cars = "cars_missed" if not all_met(side) else "cars_met" if side["requests"] else "cars_none"
    above = side["peak_loading_pct"] > limit
    broken = "load_over" if side["minutes_over_limit"] else "load_phase"
    load = broken if not limit_held(side) else "load_residents" if above else "load_held"
    cars_en, cars_zh = _fill(cars, values)
    load_en, load_zh = _fill(load, values)
    return f"{cars_en} {load_en}", f"{cars_zh}{load_zh}"


def ev_pct(trace: Trace) -> list[float]:
    """What charging adds to the loading, in % of rating, minute by minute; never negative."""
    return [max(0.0, a - b) for a, b in zip(trace.loading_pct, trace.base_loading_pct, strict=True)]


def write_report(record: NightRecord, path: Path) -> None:
    """Write ``record`` as one self-contained HTML file to ``path``."""
    path.write_text(render_report(record), encoding="utf-8")


def render_report(record: NightRecord) -> str:
    """The page as text."""
    texts = _texts(record)
    script, style = _asset("report.js"), _asset("report.css")
    tiles = _tiles(record.summary)
    slots = {
        # Only these two inline blocks may run or style; nothing may be loaded. A second lock behind the escaping.
        "csp": f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; base-uri 'none'",
        "css": style,
        "js": script,
        "data": _inert_json(_page_data(record, texts)),
        "verdict_class": "good" if passed(record.summary["controlled"]) else "bad",
        "tiles": "\n".join(_tile_html(tile, texts) for tile in tiles),
        "numbers": "\n".join(_row_html(tile, texts) for tile in tiles),
        "replay": html.escape(
            "taiqu demo --community {community} --seed {seed} --piles {piles}".format_map(record.summary)
        ),
    }

    # One pass over the template: what a slot brings in is never searched for slots again.
    def fill(match: re.Match[str]) -> str:
        name = match[2]
        return _text_html(name, texts) if match[1] else slots[name]

    return SLOT.sub(fill, _asset("report.html"))


def _asset(name: str) -> str:
    return resources.files("tools").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _fill(key: str, values: dict[str, str]) -> Both:
    english, chinese = STRINGS[key]
    return english.format_map(values), chinese.format_map(values)


def _texts(record: NightRecord) -> dict[str, Both]:
    """Every string of this page with its numbers in place."""
    summary = record.summary
    values = {
        **{key: str(summary[key]) for key in ("community", "seed")},
        "rating": f"{summary['rating_kva']:g}",
        "piles": f"{summary['piles']:,}",
        "limit": f"{summary['limit_pct']:g}",
        "wall": f"{summary['wall_s']:,.1f}",
        "events": f"{len(record.events):,}",
    }
    texts = {key: _fill(key, values) for key in STRINGS if key not in HEADLINE_PARTS and not key.endswith("_rest")}
    texts["headline"] = headline(summary)
    texts["verdict"] = STRINGS["pass" if passed(summary["controlled"]) else "fail"]
    for side in ("controlled", "uncontrolled"):
        texts |= _side_texts(summary[side], side)
    for key, name in (("modbus", "modbus_reads"), ("setpoints", "mqtt_setpoints"), ("telemetry", "mqtt_telemetry")):
        texts[f"how_{key}_value"] = (f"{summary[name]:,}",) * 2
    texts["how_broker_value"] = (str(summary["broker"]),) * 2
    texts["how_seed_value"] = (values["seed"],) * 2
    return texts


def _side_texts(side: dict[str, Any], name: str) -> dict[str, Both]:
    """What stands behind the figures of the tiles, for one of the two nights."""
    values = {
        "peak_time": str(side["peak_time"]),
        "night": f"{side['minutes_over_limit_night']:,}",
        "requests": f"{side['requests']:,}",
        "requested": f"{side['energy_requested_kwh']:,.1f}",
    }
    return {f"{key}_{name}": _fill(key, values) for key in STRINGS if key.endswith("_rest")}


def _tiles(summary: dict[str, Any]) -> list[Tile]:
    side, other, limit = summary["controlled"], summary["uncontrolled"], summary["limit_pct"]

    def pair(key: str, form: str) -> Both:
        return format(side[key], form), format(other[key], form)

    def loading(key: str) -> Both:
        return loading_text(side[key], limit), loading_text(other[key], limit)

    return [
        Tile("tile_peak", *loading("peak_loading_pct"), good=limit_held(side)),
        Tile("tile_over", *pair("minutes_over_limit", ","), good=limit_held(side)),
        Tile("tile_cars", *pair("requests_met", ","), good=all_met(side)),
        Tile("tile_energy", *pair("energy_delivered_kwh", ",.1f")),
        Tile("tile_valley", *pair("valley_share_pct", ".1f")),
        Tile("tile_phase", *loading("peak_phase_pct")),
    ]


def _text_html(key: str, texts: dict[str, Both]) -> str:
    """The English text, marked so that the language switch finds it; without script it simply stays."""
    return f'<span data-t="{key}">{html.escape(texts[key][0])}</span>'


def _tile_html(tile: Tile, texts: dict[str, Both]) -> str:
    state = {True: " good", False: " bad", None: ""}[tile.good]
    lines = [
        f'<p class="{side}"><span class="who">{_text_html(side, texts)}</span> <b>{html.escape(figure)}</b> '
        f'<span class="rest">{_text_html(f"{tile.key}_rest_{side}", texts)}</span></p>'
        for side, figure in (("controlled", tile.controlled), ("uncontrolled", tile.uncontrolled))
    ]
    return f'<div class="tile{state}"><h3>{_text_html(tile.key, texts)}</h3>{"".join(lines)}</div>'


def _row_html(tile: Tile, texts: dict[str, Both]) -> str:
    """The same figures as a table row in both languages, for a browser without script."""

    def cell(figure: str, side: str) -> str:
        rest = texts[f"{tile.key}_rest_{side}"][0]
        return f"<td>{html.escape(f'{figure} {rest}')}</td>"

    name = html.escape(" · ".join(texts[tile.key]))
    return f"<tr><th>{name}</th>{cell(tile.controlled, 'controlled')}{cell(tile.uncontrolled, 'uncontrolled')}</tr>"


def _page_data(record: NightRecord, texts: dict[str, Both]) -> dict[str, Any]:
    return {
        "summary": record.summary,
        "verdict": {"passed": passed(record.summary["controlled"])},
        "valley": VALLEY_MIN,
        "events_at_first": EVENTS_AT_FIRST,
        "trace": _trace_data(record.controlled, record.uncontrolled),
        "cars": [_car_data(car) for car in sorted(record.cars, key=lambda car: (car.arrive_min, car.charger))],
        "events": [_event_data(event) for event in sorted(record.events, key=lambda event: event.minute)],
        "text": {"en": {key: both[0] for key, both in texts.items()}, "zh": {key: b[1] for key, b in texts.items()}},
    }


def _trace_data(trace: Trace, ghost: Trace) -> dict[str, Any]:
    """Both nights on the controlled night's minutes. One decimal more than shown, so that 79.96 stays below 80."""
    ghost_at = dict(zip(ghost.minute, _rounded(ghost.loading_pct, 2), strict=True))
    return {
        "minute": trace.minute,
        "loading": _rounded(trace.loading_pct, 2),
        "base": _rounded(trace.base_loading_pct, 2),
        "phase": _rounded(trace.worst_phase_pct, 2),
        "ev_kw": _rounded(trace.ev_kw, 1),
        "charging": trace.charging,
        "plugged": trace.plugged,
        "ghost": [ghost_at.get(minute) for minute in trace.minute],
    }


def _rounded(values: Iterable[float], digits: int) -> list[float]:
    return [round(value, digits) for value in values]


def _car_data(car: CarResult) -> list[Any]:
    """A row instead of an object: 900 cars would repeat ten names 900 times."""
    moments = (car.arrive_min, car.depart_min, car.first_charge_min, car.done_min)
    times = [None if moment is None else int(moment) for moment in moments]
    return [car.charger, car.phase, car.max_a, *times, car.requested_wh, car.delivered_wh, int(car.met)]


def _event_data(event: NightEvent) -> list[Any]:
    return [int(event.minute), event.kind, event.text_en, event.text_zh]


def _inert_json(data: dict[str, Any]) -> str:
    """JSON in which no HTML parser finds a tag, a comment or an entity, whatever the strings hold."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
