"""``taiqu bench promises`` and ``taiqu bench soak``: the daemon on real wires, in real time, with a stopwatch."""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.demo import prepare
from tools.errors import UserError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from drivers.broker import BrokerChild

EXTRAS = ("numpy", "rich")
BROKEN = 1
"""Exit code when a promise was not kept."""
ROUNDS_MAX, HOURS_MAX = 1000, 1000


def add_promises(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``taiqu bench promises``."""
    parser.add_argument(
        "--rounds", type=int, default=1, metavar="N", help="how often, about 4 minutes each (default 1)"
    )
    _add_common(parser)
    parser.set_defaults(run=promises)


def add_soak(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``taiqu bench soak``."""
    parser.add_argument(
        "--hours", type=float, default=1.0, metavar="N", help="hours in real time after the virtual day (default 1)"
    )
    _add_common(parser)
    parser.set_defaults(run=soak)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep configurations, logs and samples there")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")


def promises(args: argparse.Namespace) -> int:
    """Measure every promise and print one table. Raises UserError."""
    _mind_parts()
    if not 1 <= args.rounds <= ROUNDS_MAX:
        raise UserError(f"--rounds {args.rounds} is outside 1..{ROUNDS_MAX}. Choose a number in between.")
    from hil_tests.rig import promises as bench  # noqa: PLC0415 - needs the extra

    began = time.monotonic()
    with _folder(args.out) as folder:
        played = bench.measure(args.rounds, folder, _say)
    rows, troubles = bench.rows(played), bench.troubles(played)
    if args.json:
        _print_json({"rounds": args.rounds, "rows": rows, "troubles": troubles}, began)
    else:
        _print_promises(rows, troubles, args.rounds)
    return BROKEN if troubles or not all(row["kept"] for row in rows) else 0


def soak(args: argparse.Namespace) -> int:
    """Soak the daemon for a virtual day, then in real time. Raises UserError."""
    _mind_parts()
    if not 0 <= args.hours <= HOURS_MAX:
        raise UserError(f"--hours {args.hours:g} is outside 0..{HOURS_MAX}. Choose a number in between.")
    from hil_tests.rig import soak as bench  # noqa: PLC0415 - needs the extra

    began = time.monotonic()
    with _folder(args.out) as folder, _mosquitto() as broker:
        soaks = {"virtual day": bench.simulated_day(broker, _own(folder, "virtual-day"), _say)}
        if args.hours:
            soaks["real time"] = bench.RealSoak(broker, _own(folder, "real-time")).run(args.hours, _say)
    rows = [{"soak": name, **asdict(soaked), "passed": soaked.passed} for name, soaked in soaks.items()]
    if args.json:
        _print_json({"rows": rows}, began)
    else:
        _print_soaks(rows, bench.MEMORY_MB_A_DAY_MAX, bench.DISK_MB_A_DAY_MAX)
    return 0 if all(soaked.passed for soaked in soaks.values()) else BROKEN


def _mind_parts() -> None:
    """Raise UserError when something is missing that pip or apt brings."""
    from drivers.broker import BrokerError, find_mosquitto  # noqa: PLC0415 - keeps `taiqu --help` light

    missing = [name for name in EXTRAS if find_spec(name) is None]
    if missing:
        raise UserError(f"this bench needs {', '.join(missing)}. Run: pip install '.[bench]' in a clone of taiqu")
    try:
        found = find_mosquitto()
    except BrokerError as err:
        raise UserError(str(err)) from None
    if found is None:
        raise UserError("this bench needs a real broker. Run: apt install mosquitto")


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    """The folder that was asked for, else one that is gone afterwards. Raises UserError."""
    if out is None:
        with tempfile.TemporaryDirectory(prefix="taiqu-bench-") as folder:
            yield Path(folder)
        return
    prepare(out)
    yield out


def _own(folder: Path, name: str) -> Path:
    own = folder / name
    own.mkdir(exist_ok=True)
    return own


@contextmanager
def _mosquitto() -> Iterator[BrokerChild]:
    from drivers.broker import BrokerChild  # noqa: PLC0415

    with BrokerChild.start("mosquitto") as broker:
        yield broker


def _say(text: str) -> None:
    """A line of progress on standard error."""
    sys.stderr.write(f"{text}\n")


def _machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def _print_json(document: dict[str, Any], began: float) -> None:
    wall_s = round(time.monotonic() - began, 1)
    json.dump({"machine": _machine(), "wall_s": wall_s, **document}, sys.stdout, indent=1)
    sys.stdout.write("\n")


def _print_promises(rows: list[dict[str, Any]], troubles: list[str], rounds: int) -> None:
    cells = [
        (
            row["text"],
            f"{row['within_s']:.0f}",
            *("never" if row[key] is None else f"{row[key]:.1f}" for key in ("median_s", "worst_s")),
            "ok" if row["kept"] else "BROKEN",
        )
        for row in rows
    ]
    _print_table(f"promises in seconds, {rounds} round(s)", ("promise", "within", "median", "worst", ""), cells)
    for trouble in troubles:
        print(trouble)


def _print_soaks(rows: list[dict[str, Any]], memory_max: float, disk_max: float) -> None:
    columns = (("hours", 1), ("memory_mb", 1), ("memory_mb_a_day", 2), ("disk_mb_a_day", 1), ("journal_mb_a_day", 1))
    cells = [
        (
            row["soak"],
            *(f"{row[key]:.{digits}f}" for key, digits in columns),
            str(row["faults"]),
            "ok" if row["passed"] else "BROKEN",
        )
        for row in rows
    ]
    headings = ("soak", "hours", "memory MB", "grows MB/day", "writes MB/day", "journal MB/day", "faults", "")
    _print_table(f"limits: grows {memory_max:g}, writes {disk_max:g} MB/day", headings, cells)


def _print_table(title: str, headings: tuple[str, ...], cells: list[tuple[str, ...]]) -> None:
    from rich import box  # noqa: PLC0415 - needs the extra
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for at, heading in enumerate(headings):
        table.add_column(heading, justify="right" if 0 < at < len(headings) - 1 else "left", no_wrap=True)
    for row in cells:
        table.add_row(*row)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    console.print(_machine())
