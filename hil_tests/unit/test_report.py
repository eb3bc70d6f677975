"""The report, the picture and the table: true to the record, self-contained, inert against hostile names."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import matplotlib.image
import pytest

from tools.night import CarResult, NightEvent, NightRecord, Trace
from tools.picture import draw_night
from tools.report import render_report, write_report
from tools.table import render_plain

if TYPE_CHECKING:
    from pathlib import Path

MINUTES = range(960, 1980)
HOSTILE = "</script><script>alert(1)</script>"


def side(**changes: object) -> dict[str, Any]:
    """One night's numbers, all well unless changed."""
    return {
        "peak_loading_pct": 78.43,
        "peak_time": "23:41",
        "peak_phase_pct": 79.1,
        "minutes_over_limit": 0,
        "minutes_over_limit_night": 0,
        "minutes_over_phase": 0,
        "requests": 30,
        "requests_met": 30,
        "energy_requested_kwh": 270.0,
        "energy_delivered_kwh": 269.9,
        "valley_share_pct": 97.3,
        **changes,
    }


def trace(extra_pct: float) -> Trace:
    """A flat night with a block of charging after 23:00."""
    ev = [extra_pct if 1380 <= m < 1700 else 0.0 for m in MINUTES]
    return Trace(
        minute=list(MINUTES),
        loading_pct=[30.0 + x for x in ev],
        base_loading_pct=[30.0] * len(ev),
        worst_phase_pct=[31.0 + x for x in ev],
        base_kw=[350.0] * len(ev),
        ev_kw=[x * 12.0 for x in ev],
        charging=[int(x) for x in ev],
        plugged=[30] * len(ev),
    )


def record(name: str = "p001", **changes: object) -> NightRecord:
    """A night of 30 cars; ``changes`` go into the controlled side."""
    summary = {
        "community": "A",
        "rating_kva": 1250,
        "limit_pct": 80.0,
        "piles": 30,
        "seed": 7,
        "broker": "amqtt",
        "modbus_reads": 6120,
        "mqtt_setpoints": 12345,
        "mqtt_telemetry": 23456,
        "wall_s": 41.2,
        "controlled": side(**changes),
        "uncontrolled": side(peak_loading_pct=151.27, peak_time="19:10", minutes_over_limit=241),
    }
    cars = [
        CarResult(f"p{k:03d}", "ABC"[k % 3], 32, 1000.0 + k, 1900.0 + k, 9000, 9000, 1390.0, 1500.0, met=True)
        for k in range(29)
    ]
    cars.append(CarResult(name, "B", 16, 1100.0, 1950.0, 9000, 4000, None, None, met=False))
    events = [NightEvent(1380.0, "valley", f"{name} is told & <b>waits</b>", "谷时段")]
    return NightRecord(summary, trace(48.4), trace(60.0), events, cars)


def data_of(page: str) -> dict[str, Any]:
    """The page's own JSON block."""
    found = re.search(r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_report_is_self_contained() -> None:
    """Nothing in the page is loaded from anywhere: no address, no import, no url()."""
    page = render_report(record())
    assert not re.search(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//""", page)
    assert "@import" not in page
    assert "url(" not in page
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page


def test_report_carries_the_numbers() -> None:
    """The embedded data parses back to the record's own figures."""
    data = data_of(render_report(record()))
    assert data["summary"]["controlled"]["peak_loading_pct"] == 78.43
    assert data["trace"]["loading"][1380 - 960] == 78.4
    assert len(data["cars"]) == 30
    assert data["events"][0][-2:] == ["p001 is told & <b>waits</b>", "谷时段"]


def test_hostile_names_stay_inert() -> None:
    """A charger's name that closes a script and opens another stays a name."""
    page = render_report(record(name=HOSTILE))
    assert HOSTILE not in page
    assert "<script>alert" not in page
    assert any(car[0] == HOSTILE for car in data_of(page)["cars"])


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, "30 charged by departure"),
        ({"minutes_over_limit": 3, "peak_loading_pct": 83.2}, "above the 80 % limit for 3 min"),
        ({"minutes_over_phase": 4, "peak_phase_pct": 83.2}, "above 80 % of its rated current for 4 min"),
        ({"requests_met": 28}, "2"),
    ],
)
def test_headline_says_what_happened(changes: dict[str, Any], wanted: str) -> None:
    """The headline of a night that failed never reads like a success, and the badge agrees."""
    data = data_of(render_report(record(**changes)))
    assert wanted in data["text"]["en"]["headline"]
    assert data["verdict"]["passed"] is (not changes)
    assert data["text"]["zh"]["headline"] != data["text"]["en"]["headline"]


def test_every_string_has_both_languages() -> None:
    """Every English string has a Chinese one, and none is empty."""
    text = data_of(render_report(record()))["text"]
    assert text["en"].keys() == text["zh"].keys()
    assert all(text["en"].values())
    assert all(text["zh"].values())


def test_picture_is_a_picture(tmp_path: Path) -> None:
    """The PNG has the promised size and is not blank."""
    draw_night(record(), tmp_path / "night.png")
    image = matplotlib.image.imread(tmp_path / "night.png")
    assert image.shape[:2] == (1000, 1600)
    assert image.std() > 0.05


def test_report_is_written(tmp_path: Path) -> None:
    """The file on disk is the rendered page."""
    write_report(record(), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render_report(record())


@pytest.mark.parametrize(("changes", "word"), [({}, "PASSED"), ({"requests_met": 29}, "FAILED")])
def test_table_tells_numbers_and_verdict(changes: dict[str, Any], word: str) -> None:
    """The terminal's table has both nights' figures and a verdict that reads without colour."""
    text = render_plain(record(**changes).summary)
    for figure in ("78.4", "151.3", "241", "97.3", word):
        assert figure in text
    assert "\x1b" not in text


def test_page_stays_small_for_a_large_area() -> None:
    """900 cars fit into 600 kB."""
    night = record()
    many = replace(night, cars=[night.cars[k % 30] for k in range(900)])
    assert len(render_report(many).encode()) < 600_000
