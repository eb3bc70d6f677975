"""``taiqu demo``: one night of a community on real wires, controlled beside uncontrolled, in minutes."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tools.errors import UserError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hil_tests.rig.night import ControlledNight, Night
    from hil_tests.rig.plant import Plant
    from hil_tests.rig.verdict import Recorder
    from tools.night import CarResult, NightRecord, Trace

EXTRAS = ("numpy", "matplotlib", "rich")
FAILED = 1
"""Exit code of a night that broke the limit or left a car uncharged."""
PILES_MAX = 1000
"""The embedded broker and one Python process carry this many emulated chargers; larger areas belong on the bench."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the demo's options."""
    from pathlib import Path  # noqa: PLC0415 - keeps `taiqu --help` light

    parser.add_argument("--community", choices="ABC", default="A", help="which emulated area (default A)")
    parser.add_argument("--out", type=Path, default=Path("taiqu-demo"), metavar="DIR", help="where results go")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="residents and cars of this night (default 1)")
    parser.add_argument("--piles", type=int, metavar="N", help="another number of charging piles")
    parser.add_argument("--broker", metavar="HOST:PORT", help="use this broker instead of a child of our own")
    parser.add_argument("--meter-port", type=int, default=0, metavar="N", help="TCP port of the emulated meter")
    parser.add_argument(
        "--json", action="store_true", help="the summary on standard output, all else on standard error"
    )


def run(args: argparse.Namespace) -> int:
    """Play the night and write the results. Raises UserError."""
    missing = [name for name in EXTRAS if find_spec(name) is None]
    if missing:
        raise UserError(f"taiqu demo needs {', '.join(missing)}. Run: pip install '.[demo]' in a clone of taiqu")
    from hil_tests.rig.community import COMMUNITIES  # noqa: PLC0415 - needs the extra
    from hil_tests.rig.night import Night  # noqa: PLC0415

    community = COMMUNITIES[args.community]
    if args.piles is not None:
        if not 1 <= args.piles <= PILES_MAX:
            raise UserError(f"--piles {args.piles} is outside 1..{PILES_MAX}. Choose a number in between.")
        community = replace(community, piles=args.piles)
    if args.seed < 0:
        raise UserError(f"--seed {args.seed} is negative. Choose 0 or more.")
    if not 0 <= args.meter_port < 65536:
        raise UserError(f"--meter-port {args.meter_port} is no TCP port. Choose 1024 to 65535, or 0 for a free one.")
    prepare(args.out)
    from tools.table import passed  # noqa: PLC0415

    record = play(Night(community, args.seed), args.community, args.out, args.broker, args.meter_port)
    write(record, args.out)
    show(record.summary, args.out, as_json=args.json)
    if record.summary["lost_steps"]:
        raise UserError(
            f"{record.summary['lost_steps']} steps lost messages on their way: the night proves nothing. Play it again."
        )
    return 0 if passed(record.summary["controlled"]) else FAILED


def prepare(folder: Path) -> None:
    """Make sure results can be written before a night is played for them."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as err:
        raise UserError(f"--out {folder}: {err.strerror or err}. Choose a directory that can be written.") from None


@dataclass(frozen=True, slots=True)
class Where:
    """A broker somebody else runs."""

    host: str
    port: int
    kind: str


@contextmanager
def broker_of(text: str | None) -> Iterator[Any]:
    """The broker to use: the named one, else mosquitto as a child, else amqtt."""
    from drivers.broker import BrokerError, start_best  # noqa: PLC0415

    if text is None:
        try:
            child = start_best()
        except BrokerError as err:
            raise UserError(str(err)) from None
        with child:
            yield child
        return
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise UserError(f"--broker {text} is not HOST:PORT. Write for example 127.0.0.1:1883.")
    yield Where(host, int(port), text)


def play(night: Night, name: str, folder: Path, broker_text: str | None, meter_port: int) -> NightRecord:
    """Both nights: uncontrolled as a ghost, then the controlled one on real wires."""
    from hil_tests.rig.night import BenchError, ControlledNight, counts, play_uncontrolled  # noqa: PLC0415
    from tools.night import NightRecord  # noqa: PLC0415
    from tools.story import tell  # noqa: PLC0415

    began = time.monotonic()
    journal = folder / "journal.jsonl"
    for generation in (journal, journal.with_suffix(".jsonl.1")):
        generation.unlink(missing_ok=True)
    with progress(night) as tick:
        try:
            with broker_of(broker_text) as broker, ControlledNight(night, broker, folder, meter_port) as controlled:
                ghost = play_uncontrolled(night)
                recorder = controlled.play(tick)
                kind = broker.kind
        except BenchError as err:
            raise UserError(str(err)) from None
        except OSError as err:
            raise UserError(f"{err}. Choose another --meter-port, or free some space in {folder}.") from None
    limit_pct = 80.0
    summary: dict[str, Any] = {
        "community": name,
        "rating_kva": night.community.rating_kva,
        "limit_pct": limit_pct,
        "piles": night.community.piles,
        "seed": night.seed,
        "broker": kind,
        **counts(controlled),
        "lost_steps": controlled.lost_steps(),
        "wall_s": round(time.monotonic() - began, 1),
        "controlled": recorder.verdict(limit_pct),
        "uncontrolled": ghost.verdict(limit_pct),
    }
    with_control, without = trace_of(recorder), trace_of(ghost)
    cars = cars_of(recorder, controlled)
    return NightRecord(summary, with_control, without, tell(journal, with_control, without, cars), cars)


def trace_of(recorder: Recorder) -> Trace:
    """A recorded night on the one-minute grid of the report."""
    from tools.night import Trace  # noqa: PLC0415

    rating = float(recorder.plant.community.rating_kva)
    loading = recorder.minutes(recorder.s_kva) / rating * 100.0
    first = recorder.plant.start_s // 60
    return Trace(
        minute=[first + k for k in range(len(loading))],
        loading_pct=[float(x) for x in loading],
        base_loading_pct=[float(x) for x in recorder.minutes(recorder.base_kva) / rating * 100.0],
        worst_phase_pct=[float(x) for x in recorder.minutes(recorder.worst_a) / recorder.rated_a * 100.0],
        base_kw=[float(x) for x in recorder.minutes(recorder.base_kw)],
        ev_kw=[float(x) for x in recorder.minutes(recorder.ev_kw)],
        charging=recorder.charging[59::60],
        plugged=recorder.plugged[59::60],
    )


def cars_of(recorder: Recorder, played: ControlledNight) -> list[CarResult]:
    """What became of each request."""
    from tools.night import CarResult  # noqa: PLC0415

    plant, met = recorder.plant, recorder.met()
    cars = plant.cars

    def minute(second: float) -> float | None:
        return second / 60.0 if second == second else None  # noqa: PLR0124 - NaN: it never happened

    return [
        CarResult(
            name,
            "ABC"[int(cars.phase[k])],
            int(cars.max_a[k]),
            float(cars.arrive_s[k]) / 60.0,
            float(cars.depart_s[k]) / 60.0,
            int(cars.need_wh[k]),
            int(plant.delivered_wh[k]),
            minute(float(recorder.first_s[k])),
            minute(float(recorder.done_s[k])),
            met[k],
        )
        for k, name in enumerate(played.chargers.ids)
    ]


def write(record: NightRecord, folder: Path) -> None:
    """Leave ``summary.json``, ``night.png`` and ``report.html`` in ``folder``."""
    from tools.picture import draw_night  # noqa: PLC0415
    from tools.report import write_report  # noqa: PLC0415

    try:
        (folder / "summary.json").write_text(json.dumps(record.summary, indent=2) + "\n", encoding="utf-8")
        draw_night(record, folder / "night.png")
        write_report(record, folder / "report.html")
    except OSError as err:
        raise UserError(f"{folder}: {err.strerror or err}. Free some space or choose another --out.") from None


def show(summary: dict[str, Any], folder: Path, *, as_json: bool) -> None:
    """The table for people; with ``--json`` the summary for programs, alone on standard output."""
    from rich.console import Console  # noqa: PLC0415

    from tools.table import night_table  # noqa: PLC0415

    console = Console(stderr=as_json)
    console.print(night_table(summary))
    console.print(f"report  {folder / 'report.html'}\npicture {folder / 'night.png'}", highlight=False)
    if as_json:
        json.dump(summary, sys.stdout, indent=2)
        sys.stdout.write("\n")


@contextmanager
def progress(night: Night) -> Iterator[Callable[[Plant, float], None]]:
    """A progress bar on standard error; where that is no screen, a line each simulated hour."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    console = Console(stderr=True)
    if not console.is_terminal:
        hour = [night.start_s // 3600]

        def line(plant: Plant, loading_pct: float) -> None:
            if plant.second // 3600 > hour[0]:
                hour[0] = plant.second // 3600
                drawing = int((plant.current_a > 0.0).sum())
                console.print(f"{clock(plant.second)}  loading {loading_pct:5.1f} %  {drawing:4d} cars charging")

        yield line
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("loading {task.fields[loading]:5.1f} %  {task.fields[cars]:4d} cars charging"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(clock(night.start_s), total=night.end_s - night.start_s, loading=0.0, cars=0)

        def move(plant: Plant, loading_pct: float) -> None:
            if plant.second % 60 == 0:
                bar.update(
                    task,
                    completed=plant.second - night.start_s,
                    description=clock(plant.second),
                    loading=loading_pct,
                    cars=int((plant.current_a > 0.0).sum()),
                )

        yield move


def clock(second: int) -> str:
    """Seconds since midnight of the first day as a time of day."""
    return f"{second // 3600 % 24:02d}:{second // 60 % 60:02d}"
