"""The numbers of one night for the terminal: the controlled night beside the uncontrolled one."""

from __future__ import annotations

from io import StringIO
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

PLAIN_WIDTH = 100
# Words and no symbols: they read without colour, on a serial console and in a log file alike.
MARK_STYLES = {"ok": "green", "residents": "yellow", "OVER": "bold red", "MISSED": "bold red", "": ""}


class Row(NamedTuple):
    """One measure: its name, its unit, and (text, mark) for the controlled and the uncontrolled night."""

    name: str
    unit: str
    controlled: tuple[str, str]
    uncontrolled: tuple[str, str]


def loading_text(value_pct: float, limit_pct: float) -> str:
    """``value_pct`` with one decimal, or as many as it takes to stay on its own side of the limit.

    79.96 must not be printed as 80.0 beside "within 80 %", nor 80.04 as 80.0 beside "over".
    """
    side = (value_pct > limit_pct) - (value_pct < limit_pct)
    for digits in range(1, 6):
        text = f"{value_pct:.{digits}f}"
        if (float(text) > limit_pct) - (float(text) < limit_pct) == side:
            return text
    return repr(value_pct)


def limit_held(side: dict[str, Any]) -> bool:
    """No minute above the limit in which residents alone were below it, in total or on a phase."""
    return bool(side["minutes_over_limit"] == 0 and side["minutes_over_phase"] == 0)


def all_met(side: dict[str, Any]) -> bool:
    """Every request was met by its departure."""
    return bool(side["requests_met"] == side["requests"])


def passed(side: dict[str, Any]) -> bool:
    """The whole verdict: the limit held, and every car charged."""
    return limit_held(side) and all_met(side)


def night_table(summary: dict[str, Any]) -> Table:
    """The comparison table; ``summary`` is the content of summary.json."""
    table = Table(title=_title(summary), caption=_caption(summary), box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("unit", style="dim")
    for name in ("controlled", "uncontrolled"):
        table.add_column(name, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
    for row in _rows(summary):
        text, mark = row.controlled
        other_text, other_mark = row.uncontrolled
        table.add_row(row.name, row.unit, text, _styled(mark), other_text, _styled(other_mark))
    return table


def render_plain(summary: dict[str, Any]) -> str:
    """``night_table`` as text, 100 columns wide, without colour codes."""
    out = StringIO()
    # Everything is pinned, so that COLUMNS, FORCE_COLOR and the like cannot change a log file.
    console = Console(file=out, width=PLAIN_WIDTH, color_system=None, force_terminal=False, legacy_windows=False)
    console.print(night_table(summary))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _title(summary: dict[str, Any]) -> str:
    return (
        f"Community {summary['community']}, {summary['rating_kva']:g} kVA, {summary['piles']} chargers, "
        f"limit {summary['limit_pct']:g} %, seed {summary['seed']}"
    )


def _caption(summary: dict[str, Any]) -> str:
    side = summary["controlled"]
    if passed(side):
        return "PASSED: the limit held and every car was charged by its departure"
    reasons = []
    if not limit_held(side):
        reasons.append(f"{side['minutes_over_limit']} min over the limit")
    if not all_met(side):
        reasons.append(f"{side['requests'] - side['requests_met']} of {side['requests']} cars not charged by departure")
    return "FAILED: " + ", ".join(reasons)


def _styled(mark: str) -> str:
    style = MARK_STYLES[mark]
    return f"[{style}]{mark}[/]" if style else mark


def _rows(summary: dict[str, Any]) -> list[Row]:
    def both(name: str, unit: str, cell: str) -> Row:
        cells = [_cell(cell, summary[side], summary["limit_pct"]) for side in ("controlled", "uncontrolled")]
        return Row(name, unit, cells[0], cells[1])

    return [
        both("Peak loading", "%", "peak_loading_pct"),
        both("  reached at", "hh:mm", "peak_time"),
        both("Over the limit", "min", "minutes_over_limit"),
        both("  of these 22:00-08:00", "min", "minutes_over_limit_night"),
        both("Peak of the worst phase", "%", "peak_phase_pct"),
        both("  over its limit", "min", "minutes_over_phase"),
        both("Cars that asked", "cars", "requests"),
        both("  charged by departure", "cars", "requests_met"),
        both("Energy asked for", "kWh", "energy_requested_kwh"),
        both("  delivered", "kWh", "energy_delivered_kwh"),
        both("  of it in the price valley", "%", "valley_share_pct"),
    ]


def _cell(key: str, side: dict[str, Any], limit_pct: float) -> tuple[str, str]:
    value = side[key]
    if key == "peak_loading_pct":
        return loading_text(value, limit_pct), _peak_mark(side, limit_pct)
    if key == "peak_phase_pct":
        return loading_text(value, limit_pct), ""
    if key in ("minutes_over_limit", "minutes_over_limit_night", "minutes_over_phase"):
        return f"{value:,}", "ok" if value == 0 else "OVER"
    if key == "requests_met":
        return f"{value:,}", "ok" if all_met(side) else "MISSED"
    if key == "requests":
        return f"{value:,}", ""
    return (value if isinstance(value, str) else f"{value:,.1f}"), ""


def _peak_mark(side: dict[str, Any], limit_pct: float) -> str:
    if not limit_held(side):
        return "OVER"
    # Above the limit without a minute over: then residents alone were above it.
    return "residents" if side["peak_loading_pct"] > limit_pct else "ok"
