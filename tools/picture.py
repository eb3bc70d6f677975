"""The picture of one night: loading over time above, cars charging below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from tools.report import VALLEY_MIN, ev_pct, headline

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from tools.night import NightRecord, Trace

SIZE_PX = (1600, 1000)
DPI = 100
# Apart in lightness as well as in hue, so that they stay apart for every eye and on a grey printer.
INK, MUTED, GRID, BAND = "#1b232b", "#5b6670", "#dfe3e7", "#eef3f8"
RESIDENTS, EV, LIMIT, GHOST, PHASE = "#c3cad1", "#3a7ebf", "#c2410c", "#4b5560", "#0b2f55"


def draw_night(record: NightRecord, path: Path) -> None:
    """Write the picture of ``record`` as a PNG of 1600 x 1000 pixels to ``path``."""
    # A Figure of its own instead of pyplot: no window system, no state shared with the caller.
    figure = Figure(figsize=(SIZE_PX[0] / DPI, SIZE_PX[1] / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        2, 1, height_ratios=(2.5, 1), left=0.055, right=0.97, top=0.845, bottom=0.055, hspace=0.26
    )
    upper = figure.add_subplot(grid[0])
    lower = figure.add_subplot(grid[1], sharex=upper)
    _titles(figure, record)
    _loading(upper, record)
    _cars(lower, record.controlled)
    for axes in (upper, lower):
        _time_axis(axes, record.controlled)
    _name_valley(upper)
    figure.savefig(path, format="png", dpi=DPI)


def _titles(figure: Figure, record: NightRecord) -> None:
    summary = record.summary
    figure.text(0.055, 0.945, headline(summary)[0], fontsize=15.5, fontweight="bold", color=INK, va="center")
    under = (
        f"Community {summary['community']}, {summary['rating_kva']:g} kVA transformer, {summary['piles']} chargers, "
        f"seed {summary['seed']}. Loading as one-minute means of apparent power in % of the rating."
    )
    figure.text(0.055, 0.907, under, fontsize=13, color=MUTED, va="center")


def _loading(axes: Axes, record: NightRecord) -> None:
    trace, ghost = record.controlled, record.uncontrolled
    limit = record.summary["limit_pct"]
    top = [base + ev for base, ev in zip(trace.base_loading_pct, ev_pct(trace), strict=True)]
    axes.fill_between(trace.minute, trace.base_loading_pct, color=RESIDENTS, linewidth=0, label="residents")
    axes.fill_between(trace.minute, trace.base_loading_pct, top, color=EV, linewidth=0, label="EV charging")
    axes.plot(trace.minute, trace.worst_phase_pct, color=PHASE, linewidth=0.9, label="worst phase (of rated current)")
    axes.plot(ghost.minute, ghost.loading_pct, color=GHOST, linewidth=1.7, dashes=(4, 2.5), label="uncontrolled night")
    axes.axhline(limit, color=LIMIT, linewidth=2)
    axes.annotate(
        f"limit {limit:g} %",
        xy=(1, limit),
        xycoords=axes.get_yaxis_transform(),
        xytext=(-6, 6),
        textcoords="offset points",
        ha="right",
        color=LIMIT,
        fontsize=14,
        fontweight="bold",
    )
    highest = max([limit, *trace.loading_pct, *trace.worst_phase_pct, *ghost.loading_pct])
    axes.set_ylim(0, highest * 1.06)
    axes.yaxis.set_major_locator(MultipleLocator(20 if highest < 200 else 50))
    _dress(axes, "Loading, %")


def _cars(axes: Axes, trace: Trace) -> None:
    axes.fill_between(trace.minute, trace.charging, color=EV, linewidth=0, step="mid", label="charging")
    axes.plot(trace.minute, trace.plugged, color=INK, linewidth=1.5, drawstyle="steps-mid", label="plugged in")
    axes.set_ylim(0, max([1, *trace.plugged, *trace.charging]) * 1.12)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    _dress(axes, "Cars")


def _dress(axes: Axes, label: str) -> None:
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.tick_params(labelsize=13, colors=MUTED, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.set_title(label, loc="left", fontsize=14, fontweight="bold", color=INK, pad=12)
    # Above the panel, where no curve of any night can run through it.
    axes.legend(
        loc="lower right", bbox_to_anchor=(1, 1.005), ncols=4, frameon=False, fontsize=13, labelcolor=INK, borderpad=0.2
    )


def _time_axis(axes: Axes, trace: Trace) -> None:
    axes.set_xlim(trace.minute[0], trace.minute[-1] + 1)
    axes.xaxis.set_major_locator(MultipleLocator(60))
    axes.xaxis.set_major_formatter(FuncFormatter(_clock))
    axes.axvspan(*VALLEY_MIN, color=BAND, linewidth=0, zorder=0)


def _name_valley(axes: Axes) -> None:
    axes.annotate(
        "price valley 23:00–08:00",
        xy=(VALLEY_MIN[0], 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(8, -8),
        textcoords="offset points",
        va="top",
        color=MUTED,
        fontsize=12,
    )


def _clock(minute: float, _position: int | None = None) -> str:
    whole = int(minute)
    return f"{whole // 60 % 24:02d}:{whole % 60:02d}"
