"""``taiqu bench control``: the control law beside the known rules and beside what a clairvoyant could deliver."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.util import find_spec
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, NamedTuple

from edge.planning import leave_with_parent
from tools import wires
from tools.errors import UserError

if TYPE_CHECKING:
    import argparse

EXTRAS = ("numpy", "scipy", "rich")
RULES = ("taiqu", "uncontrolled", "equal share", "FCFS", "EDF", "LLF")
SEEDS_SLOTS, SEEDS_CLOSED, SEEDS_LARGE = 10, 3, 1
LARGE = ("B-867", "C-2938")
SMALLEST_FOR = 0.9985
"""The energy that the smallest transformer must deliver."""
SIZE_CASES = ("A-810", "A-810-tail")
SIZE_SEEDS = 3
MARGIN_SEEDS = 3

# key, heading, digits, factor
COLUMNS = (
    ("energy", "energy/opt", 4),
    ("energy_margin", "at margin", 4),
    ("worst_pct", "worst %", 1),
    ("full_pct", "full %", 1),
    ("cost", "cost", 3),
    ("switches", "on/offs", 2),
    ("jain", "Jain", 4),
    ("minutes_over", "min over", 0),
    ("feeder_peak_pct", "feeder %", 1),
    ("feeder_above_95_min", "min>95%", 0),
    ("p50_ms", "p50 ms", 2),
    ("p99_ms", "p99 ms", 2),
)

WORST = ("minutes_", "longest_", "margin_", "feeder_peak_", "feeder_residents_")
"""Of these the highest of all nights is told, not the median: a minute over in one night of ten is a minute over."""


class Job(NamedTuple):
    """One night to play."""

    setting: str
    case: str
    rule: str
    seed: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``taiqu bench`` can measure."""
    kinds = parser.add_subparsers(required=True, metavar="WHAT")
    _add_control(kinds.add_parser("control", help="the control law against known rules and the optimum"))
    wires.add_promises(kinds.add_parser("promises", help="reaction times to faults, on real wires in real time"))
    wires.add_soak(kinds.add_parser("soak", help="memory and disk of the daemon, a virtual day and hours in real time"))


def _add_control(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``taiqu bench control``."""
    parser.set_defaults(run=run)
    parser.add_argument(
        "--case", action="append", metavar="NAME", help="only this case; may be repeated; list: name them all"
    )
    parser.add_argument(
        "--setting",
        choices=("slots", "closed", "size", "margin"),
        help="only this setting: 5-min slots as published, the closed loop at 1 s, the smallest transformer, or "
        "the margin that meters need",
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="nights a case (default 10; closed loop 3, B and C 1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="nights played side by side")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")


def run(args: argparse.Namespace) -> int:
    """Play the nights and print one table. Raises UserError."""
    missing = [name for name in EXTRAS if find_spec(name) is None]
    if missing:
        raise UserError(f"taiqu bench needs {', '.join(missing)}. Run: pip install '.[bench]' in a clone of taiqu")
    if args.case == ["list"]:
        _list_cases()
        return 0
    jobs = _jobs(args)
    began = time.monotonic()
    done = _play(jobs, args.jobs)
    rows = _rows(done)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    if args.json:
        json.dump(
            {"machine": machine, "wall_s": round(time.monotonic() - began, 1), "rows": rows}, sys.stdout, indent=1
        )
        sys.stdout.write("\n")
    else:
        _print(rows, machine)
    return 0


def _list_cases() -> None:
    """Print every case with the settings it can be played in."""
    from hil_tests.rig.cases import CASES, CLOSED, SLOTS  # noqa: PLC0415 - needs the extra

    for name in CASES:
        settings = [setting for setting, names in (("slots", SLOTS), ("closed", CLOSED)) if name in names]
        print(f"{name:<20}{', '.join(settings)}")


def _jobs(args: argparse.Namespace) -> list[Job]:
    """Which nights to play."""
    from hil_tests.rig.cases import CASES, CLOSED, SLOTS  # noqa: PLC0415 - needs the extra
    from hil_tests.rig.closed import MARGIN_CASE, METERS  # noqa: PLC0415

    names = args.case or list(CASES)
    unknown = [name for name in names if name not in CASES]
    if unknown:
        raise UserError(f"--case {unknown[0]} is no case. Choose from: {', '.join(CASES)}.")
    if args.seeds is not None and not 1 <= args.seeds <= 1000:
        raise UserError(f"--seeds {args.seeds} is outside 1..1000. Choose a number in between.")
    if not 1 <= args.jobs <= 256:
        raise UserError(f"--jobs {args.jobs} is outside 1..256. Choose a number in between.")
    jobs = []
    for name in names:
        if name in SLOTS and args.setting in (None, "slots"):
            seeds = args.seeds or SEEDS_SLOTS
            jobs += [Job("slots", name, rule, seed) for rule in RULES for seed in range(1, seeds + 1)]
        if name in SIZE_CASES and args.setting in (None, "size"):
            seeds = args.seeds or SIZE_SEEDS
            jobs += [Job("size", name, "taiqu", seed) for seed in range(1, seeds + 1)]
        if name in CLOSED and args.setting in (None, "closed"):
            seeds = args.seeds or (SEEDS_LARGE if name in LARGE else SEEDS_CLOSED)
            jobs += [Job("closed", name, rule, seed) for rule in RULES[:2] for seed in range(1, seeds + 1)]
        if name == MARGIN_CASE and args.setting in (None, "margin"):
            seeds = args.seeds or MARGIN_SEEDS
            jobs += [Job("margin", kind, "taiqu", seed) for kind in METERS for seed in range(1, seeds + 1)]
    if not jobs:
        raise UserError(f"--case {' '.join(names)} has no setting {args.setting}. Leave --setting away.")
    return jobs


def _play(jobs: list[Job], side_by_side: int) -> dict[Job, dict[str, float]]:
    """Play all nights, with a line of progress on standard error."""
    done: dict[Job, dict[str, float]] = {}
    # The long ones first, so that no core waits at the end.
    order = sorted(jobs, key=lambda job: (job.setting != "closed", job.case not in LARGE, job.rule != "taiqu"))
    with ProcessPoolExecutor(min(side_by_side, len(jobs)), get_context("spawn"), leave_with_parent) as pool:
        futures = {pool.submit(play, job): job for job in order}
        for future in as_completed(futures):
            job = futures[future]
            done[job] = future.result()
            sys.stderr.write(f"\r{len(done)}/{len(jobs)} nights  {job.setting} {job.case} {job.rule} {job.seed}\033[K")
            sys.stderr.flush()
    sys.stderr.write("\n")
    return {job: done[job] for job in jobs}


def play(job: Job) -> dict[str, float]:
    """Play one night; its figures."""
    from hil_tests.rig.cases import CASES  # noqa: PLC0415 - needs the extra

    if job.setting == "margin":
        return _margin(job)
    case = CASES[job.case]
    if job.setting == "closed":
        return _closed(job)
    from hil_tests.rig.slots import Table, rules  # noqa: PLC0415

    if job.setting == "size":
        return _size(job)
    table = Table(case.draw(job.seed))
    played = table.play(rules(table)[job.rule](), table.optimum())
    figures = played.figures()
    if played.steps_ms:
        figures |= _times(played.steps_ms)
    return figures


def _closed(job: Job) -> dict[str, float]:
    from hil_tests.rig.cases import CASES  # noqa: PLC0415
    from hil_tests.rig.closed import ClosedLoop, uncontrolled  # noqa: PLC0415

    night = CASES[job.case].draw(job.seed)
    began = time.monotonic()
    loop = ClosedLoop(night).play() if job.rule == "taiqu" else uncontrolled(night)
    speed = 17.0 * 3600.0 / (time.monotonic() - began)
    best, cheapest = loop.optimum(800)
    lower, _ = loop.optimum(800 - loop.config.margin_permille)
    got = loop.delivered_wh()
    figures = loop.figures()
    figures |= {"energy": got / best, "energy_margin": got / lower, "cost": loop.cost / cheapest, "speed": speed}
    figures["full_pct"] = figures.pop("met_pct")
    return figures


def _margin(job: Job) -> dict[str, float]:
    """How much margin the loop needs below its limit with one kind of meter."""
    from hil_tests.rig.cases import CASES  # noqa: PLC0415
    from hil_tests.rig.closed import MARGIN_CASE, MARGIN_S, METERS, ClosedLoop  # noqa: PLC0415

    loop = ClosedLoop(CASES[MARGIN_CASE].draw(job.seed), meter=METERS[job.case], begin_s=MARGIN_S[0])
    return {"margin_pts": loop.play(MARGIN_S[1]).overshoot_pts()}


def _size(job: Job) -> dict[str, float]:
    """The smallest transformer that delivers nearly everything, ours over the clairvoyant's."""
    from hil_tests.rig.cases import CASES, with_rating  # noqa: PLC0415
    from hil_tests.rig.slots import Ours, Table  # noqa: PLC0415

    case = CASES[job.case]

    def smallest(enough: Any) -> float:  # noqa: ANN401 - a function of a table
        low, high = 0.9, 1.2
        while high - low > 0.002:
            middle = (low + high) / 2.0
            if enough(Table(with_rating(case, case.community.rating_kva * middle).draw(job.seed))):
                high = middle
            else:
                low = middle
        return high

    def ours(table: Table) -> bool:
        played = table.play(Ours(table), (1.0, 1.0))
        return bool(played.got_wh.sum() >= SMALLEST_FOR * played.need_wh.sum())

    def clairvoyant(table: Table) -> bool:
        return bool(table.optimum()[0] >= SMALLEST_FOR * table.night.cars.need_wh.sum())

    best = smallest(clairvoyant)
    return {"size": smallest(ours) / best, "size_optimum": best}


def _times(steps_ms: list[float]) -> dict[str, float]:
    steps = sorted(steps_ms)
    return {"p50_ms": steps[len(steps) // 2], "p99_ms": steps[len(steps) * 99 // 100]}


def _rows(done: dict[Job, dict[str, float]]) -> list[dict[str, Any]]:
    """One row for each setting, case and rule: medians over the seeds, and the worst where the worst counts."""
    groups: dict[tuple[str, str, str], list[dict[str, float]]] = {}
    for job, figures in done.items():
        groups.setdefault((job.setting, job.case, job.rule), []).append(figures)
    rows = []
    for (setting, case, rule), nights in groups.items():
        keys = sorted({key for night in nights for key in night})
        row: dict[str, Any] = {"setting": setting, "case": case, "rule": rule, "seeds": len(nights)}
        for key in keys:
            values = [night[key] for night in nights if key in night]
            value = max(values) if key.startswith(WORST) else statistics.median(values)
            row[key] = round(value, 5)
        rows.append(row)
    return rows


def _print(rows: list[dict[str, Any]], machine: str) -> None:
    from rich import box  # noqa: PLC0415 - needs the extra
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table as RichTable  # noqa: PLC0415

    console = Console(width=None if sys.stdout.isatty() else 150)
    titles = {
        "slots": "5-minute setting, one limit, perfect actuation",
        "closed": "closed loop at 1 s: meter, lags, appliances, phases",
        "size": "smallest transformer for 99.85 % of the energy, as a multiple of the clairvoyant's",
        "margin": "highest 1-min mean above limit - margin, points of rating: the margin that this meter needs",
    }
    for setting, title in titles.items():
        chosen = [row for row in rows if row["setting"] == setting]
        if not chosen:
            continue
        columns: tuple[tuple[str, str, int], ...]
        if setting == "size":
            columns = (("size", "ours/optimum", 4),)
        elif setting == "margin":
            columns = (("margin_pts", "points", 2),)
        else:
            columns = tuple(c for c in COLUMNS if any(c[0] in row for row in chosen))
        table = RichTable(title=title, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for name in ("case", "rule", "nights"):
            table.add_column(name, no_wrap=True)
        for _, heading, _ in columns:
            table.add_column(heading, justify="right", no_wrap=True)
        for row in chosen:
            cells = [f"{row[key]:.{digits}f}" if key in row else "" for key, _, digits in columns]
            table.add_row(row["case"], row["rule"], str(row["seeds"]), *cells)
        console.print(table)
    console.print(f"medians over the nights, the worst for minutes over and feeder %; {machine}")
