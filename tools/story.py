"""What happened in a night, and why: read from the controller's journal and from the plant, told in two languages."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from edge import reasons
from edge.core import model
from tools.night import NightEvent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tools.night import CarResult, Trace

MODES = {
    "normal": (
        "the controller takes command: the meter is fresh and one full lease has passed",
        "控制器接管：电表数据新鲜，且已等满一个租约周期",
    ),
    "hold": ("the meter is late: nothing is raised", "电表延迟：暂停升流"),
    "shed": ("over the limit: chargers are cut", "越限：压降充电功率"),
    "recover": ("the meter is back and has to prove itself", "电表恢复：需先验证"),
    "latch": ("another meter than before: chargers stay at their fallback", "电表已更换：保持安全电流，等待人工确认"),
    "safe": (
        "no reading that can be believed: every charger goes to its fallback current",
        "电表失联或读数不可信：全部充电桩退至安全电流",
    ),
    "start-up": ("start-up: no authority yet", "启动中：尚无控制权"),
}
MISSED_SHOWN = 20

FEEDER = 4
"""Any constraint from here on is a feeder's: reasons speak of it as one."""


def tell(journal: Path, controlled: Trace, uncontrolled: Trace, cars: list[CarResult]) -> list[NightEvent]:
    """The night's story in order of time."""
    ticks = list(_ticks(journal))
    events = [
        *_mode_events(ticks),
        *_reason_events(ticks),
        *_load_events(controlled, uncontrolled),
        *_car_events(cars),
    ]
    return sorted(events, key=lambda event: event.minute)


def _ticks(journal: Path) -> Iterator[dict[str, Any]]:
    """Every journal line, the generation before first."""
    for path in (journal.with_suffix(journal.suffix + ".1"), journal):
        if path.exists():
            with path.open(encoding="utf-8") as lines:
                yield from (json.loads(line) for line in lines if line.strip())


def _minute(tick: dict[str, Any]) -> float:
    return float(tick["now_ms"]) / 60_000.0


def _mode_events(ticks: list[dict[str, Any]]) -> Iterator[NightEvent]:
    for before, tick in pairwise(ticks):
        if tick["mode"] != before["mode"]:
            yield NightEvent(_minute(tick), "mode", *MODES[tick["mode"]])


def _reason_events(ticks: list[dict[str, Any]]) -> Iterator[NightEvent]:
    """The first time each reason to hold a car back appears, with how many it concerned at its height."""
    for code, phase, kind in (
        (model.WAIT_VALLEY, -1, "wait"),
        (model.STAGGER, -1, "wait"),
        *((model.WAIT_ROOM, phase, "wait") for phase in (-1, 0, 1, 2, FEEDER)),
        (model.WAIT_TURN, -1, "wait"),
        *((model.UNCONTROLLED, phase, "wait") for phase in (-1, 0, 1, 2, FEEDER)),
        (model.ASLEEP, -1, "wait"),
        (model.OVERBOOKED, -1, "guard"),
        (model.SHED, -1, "guard"),
        (model.SILENT, -1, "silent"),
    ):
        key = reasons.key(code, phase)
        # Before the first telemetry everybody is silent: that is the start, not an event.
        seen = [t for t in ticks if t["why"].get(key) and (code != model.SILENT or t["mode"] == "normal")]
        if not seen:
            continue
        top = max(seen, key=lambda t: int(t["why"][key]))
        most, at = top["why"][key], _clock(_minute(top))
        english = reasons.sentence(code, phase)
        chinese = reasons.sentence(code, phase, chinese=True)
        yield NightEvent(
            _minute(seen[0]),
            kind,
            f"for the first time a charger is told: {english}. At most {most} at once, at {at}",
            f"首次出现：{chinese}。同时最多 {most} 台（{at}）",
        )
    yield from _valley_events(ticks)


def _valley_events(ticks: list[dict[str, Any]]) -> Iterator[NightEvent]:
    """The moment the valley opens: nobody waits for it any more."""
    key = reasons.key(model.WAIT_VALLEY)
    for before, tick in pairwise(ticks):
        waiting = before["why"].get(key, 0)
        if waiting and not tick["why"].get(key):
            yield NightEvent(
                _minute(tick),
                "valley",
                f"the price valley begins: {waiting} waiting cars are admitted one by one, the least laxity first",
                f"谷时段开始：{waiting} 辆等待车辆按裕度由小到大逐一投入",
            )


def _load_events(controlled: Trace, uncontrolled: Trace) -> Iterator[NightEvent]:
    """The three peaks: residents alone, the controlled night, the uncontrolled one."""
    if not controlled.minute:
        return
    at, pct = _peak(controlled, controlled.base_loading_pct)
    cars = controlled.charging[controlled.minute.index(at)]
    yield NightEvent(
        at,
        "residents",
        f"residents alone load the transformer to {pct:.1f} %: {cars} cars are charging",
        f"居民负荷达到峰值 {pct:.1f} %：此时 {cars} 辆车在充电",
    )
    at, pct = _peak(controlled, controlled.loading_pct)
    yield NightEvent(
        at,
        "peak",
        f"highest loading of the controlled night: {pct:.1f} %",
        f"有序充电之夜的最高负载率：{pct:.1f} %",
    )
    at, pct = _peak(uncontrolled, uncontrolled.loading_pct)
    yield NightEvent(
        at,
        "ghost",
        f"uncontrolled, the same cars load the transformer to {pct:.1f} % at this minute",
        f"若无序充电，此刻负载率为 {pct:.1f} %",
    )


def _peak(trace: Trace, values: list[float]) -> tuple[int, float]:
    """The first minute with the highest value, and the value."""
    k = max(range(len(values)), key=values.__getitem__)
    return trace.minute[k], values[k]


def _car_events(cars: list[CarResult]) -> Iterator[NightEvent]:
    done = sorted(car.done_min for car in cars if car.done_min is not None)
    for share, english, chinese in ((0.5, "half of all cars are charged", "半数车辆已充满"), (1.0, "", "")):
        if done and (share < 1.0 or len(done) == len(cars)):
            at = done[max(int(share * len(cars)) - 1, 0)] if len(done) >= share * len(cars) else None
            if at is not None:
                yield NightEvent(
                    at, "cars", english or f"the last of {len(cars)} cars is charged",
                    chinese or f"{len(cars)} 辆车全部充满",
                )  # fmt: skip
    missed = [car for car in cars if not car.met]
    for car in missed[:MISSED_SHOWN]:
        given, asked = car.delivered_wh / 1000.0, car.requested_wh / 1000.0
        yield NightEvent(
            car.depart_min,
            "missed",
            f"{car.charger} leaves with {given:.1f} of {asked:.1f} kWh",
            f"{car.charger} 离开时只充了 {given:.1f} / {asked:.1f} kWh",
        )


def _clock(minute: float) -> str:
    return f"{int(minute) // 60 % 24:02d}:{int(minute) % 60:02d}"
