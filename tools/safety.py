"""``taiqu bench safety``: seeded nights of the whole system with faults, and what must hold in every second of them."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.util import find_spec
from itertools import count, islice
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, NamedTuple

from edge.planning import leave_with_parent
from tools.errors import UserError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from hil_tests.rig.campaign import Outcome
    from hil_tests.rig.faults import Fault

EXTRAS = ("numpy", "rich")
NIGHTS, NIGHTS_EACH, NIGHTS_MAX = 50, 8, 100_000
CHARGERS_MAX = 3000
STORIES = 3
"""So many failing nights are told in full; the others with the command that replays them."""


KVA_MAX = 12_000
NOTES = """\
\\* not owed while it lasts: what the meter hides cannot be cut; `taiqu bench safety --fault list` says why.
In brackets the row of the safety catalogue: M meter, Q messages and broker, C chargers and cars, H host, G grid."""


class Job(NamedTuple):
    """One night to play."""

    seed: int
    fault: str | None
    chargers: int | None
    kva: int | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``taiqu bench safety``."""
    parser.description = "Seeded nights of the whole system with faults, and what must hold in every second of them."
    parser.epilog = (
        "Exit code 1: an invariant was broken, and the seed is printed; 2: bad input. Needs the extra: "
        "pip install '.[bench]'"
    )
    add = parser.add_argument
    add("--nights", type=int, metavar="N", help="how many (default 50)")
    add("--seed", type=int, default=1, metavar="S", help="of the first night (default 1); the others follow")
    add("--fault", metavar="ID", help="this fault alone in every night; list: name them all")
    add("--table", action="store_true", help="every fault alone in N nights (default 8), as a table in Markdown")
    add("--chargers", type=int, metavar="N", help="so many chargers instead of 3 to 12")
    add("--kva", type=int, metavar="N", help="this rating instead of one from 30 to 630 kVA")
    add("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="nights played side by side")
    add("--json", action="store_true", help="one JSON document on standard output")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Play the nights and print what was found. Returns 1 when an invariant was broken. Raises UserError."""
    missing = [name for name in EXTRAS if find_spec(name) is None]
    if missing:
        raise UserError(f"taiqu bench needs {', '.join(missing)}. Run: pip install '.[bench]' in a clone of taiqu")
    if args.fault == "list":
        _list_faults()
        return 0
    jobs = _jobs(args)
    began = time.monotonic()
    outcomes = list(_play(jobs, args.jobs))
    outcomes.sort(key=lambda outcome: outcome.seed)
    document = _document(outcomes, time.monotonic() - began)
    if args.json:
        json.dump(document, sys.stdout, indent=1, ensure_ascii=False)
        sys.stdout.write("\n")
    elif args.table:
        print(markdown(document))
        for one in [one for one in outcomes if one.violations]:
            replay = _replay(jobs[0]._replace(fault=one.strikes[0][0]), one.seed)
            sys.stderr.write("\n".join((replay, *one.story(), "")))
    else:
        _print(document, outcomes, jobs[0])
    return 1 if document["violations"] else 0


def _list_faults() -> None:
    """Print the catalogue."""
    from hil_tests.rig.faults import CATALOGUE  # noqa: PLC0415 - needs the extra

    for fault in CATALOGUE:
        print(f"{fault.id:<22}{fault.code:<5}{fault.en}  {fault.zh}")
        if fault.voids:
            print(f"{'':<27}not owed: {', '.join(sorted(fault.voids))}: {fault.because}")


def _jobs(args: argparse.Namespace) -> list[Job]:
    """Which nights to play. Raises UserError."""
    from hil_tests.rig.faults import BY_ID, CATALOGUE  # noqa: PLC0415 - needs the extra

    for name, value, low, high in (
        ("nights", args.nights, 1, NIGHTS_MAX),
        ("seed", args.seed, 0, 1 << 40),
        ("jobs", args.jobs, 1, 256),
        ("chargers", args.chargers, 1, CHARGERS_MAX),
        ("kva", args.kva, 1, KVA_MAX),
    ):
        if value is not None and not low <= value <= high:
            raise UserError(f"--{name} {value} is outside {low}..{high}. Choose a number in between.")
    if args.fault is not None and args.fault not in BY_ID:
        raise UserError(f"--fault {args.fault} is no fault. Choose one of those that --fault list names.")
    if args.table:
        faults = [fault for fault in CATALOGUE if args.fault in (None, fault.id)]
        first = Job(args.seed, None, args.chargers, args.kva)
        return [job for fault in faults for job in _each(fault, args.nights or NIGHTS_EACH, first)]
    return [Job(args.seed + k, args.fault, args.chargers, args.kva) for k in range(args.nights or NIGHTS)]


def _each(fault: Fault, nights: int, first: Job) -> list[Job]:
    """So many nights with this fault alone: the first seeds whose area can have it."""
    from hil_tests.rig.faults import possible  # noqa: PLC0415 - needs the extra
    from hil_tests.rig.small import draw  # noqa: PLC0415

    _, _, chargers, kva = first
    seeds = (k for k in count(first.seed) if not fault.needs or possible(fault, draw(k, chargers, kva)))
    return [Job(k, fault.id, chargers, kva) for k in islice(seeds, nights)]


def markdown(document: dict[str, Any]) -> str:
    """Every fault with what happens and the worst of its nights, and the totals in one line below."""
    rows = [
        " | ".join(
            (
                f"| `{r['fault']}` ({r['code']})",
                r["fails"],
                r["happens"],
                _whole(r["over_s"]) + ("\\*" if {"X1", "X2"} & set(r["voids"]) else ""),
                f"{_whole(r['back_s'])} |",
            )
        )
        for r in document["faults"]
    ]
    worst = f"(worst of {max(r['nights'] for r in document['faults'])} nights)"
    return "\n".join(
        (
            f"| fault | what fails | what happens | over a limit, s {worst} | normal again, s {worst} |",
            "|---|---|---|---|---|",
            *rows,
            "",
            NOTES,
            "",
            f"{_totals(document)}.",
        )
    )


def _totals(document: dict[str, Any]) -> str:
    return (
        f"{document['nights']:,} nights, {document['hours']:,.1f} hours, {document['setpoints']:,} setpoints, "
        f"{document['violations']} violations; {document['wall_s']:.0f} s, {document['machine']}"
    )


def _whole(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def play(job: Job) -> Outcome:
    """Play one night."""
    from hil_tests.rig.campaign import play_night  # noqa: PLC0415 - needs the extra

    return play_night(*job)


def _play(jobs: list[Job], side_by_side: int) -> Iterator[Outcome]:
    """Play all nights, with a line of progress on standard error."""
    broken = 0
    with ProcessPoolExecutor(min(side_by_side, len(jobs)), get_context("spawn"), leave_with_parent) as pool:
        futures = [pool.submit(play, job) for job in jobs]
        for done, future in enumerate(as_completed(futures), 1):
            outcome = future.result()
            broken += bool(outcome.violations)
            sys.stderr.write(f"\r{done}/{len(jobs)} nights, {broken} with a violation\033[K")
            sys.stderr.flush()
            yield outcome
    sys.stderr.write("\n")


def _document(outcomes: list[Outcome], wall_s: float) -> dict[str, Any]:
    """Everything in one document."""
    from hil_tests.rig.campaign import summed  # noqa: PLC0415 - needs the extra

    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return {"machine": machine, "wall_s": round(wall_s, 1), **summed(outcomes)}


def _replay(job: Job, seed: int) -> str:
    """The command that plays one night again."""
    parts = ["taiqu bench safety --nights 1", f"--seed {seed}"]
    parts += [f"--fault {job.fault}"] if job.fault else []
    parts += [f"--chargers {job.chargers}"] if job.chargers else []
    parts += [f"--kva {job.kva}"] if job.kva else []
    return " ".join(parts)


def _print(document: dict[str, Any], outcomes: list[Outcome], job: Job) -> None:
    from rich import box  # noqa: PLC0415 - needs the extra
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console = Console(width=None if sys.stdout.isatty() else 150)

    def table(title: str, headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
        out = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
        for k, heading in enumerate(headings):
            out.add_column(heading, justify="left" if k == 0 or heading in ("", "part") else "right")
        for row in rows:
            out.add_row(*row)
        console.print(out)

    number = "{:,}".format
    faults = [
        (r["fault"], r["part"], number(r["nights"]), *(_seconds(r[key]) for key in ("over_s", "named_s", "back_s")))
        for r in document["faults"]
    ]
    table("faults injected", ("fault", "part", "nights", "over a limit at most", "named after", "normal after"), faults)
    rules = [(r["id"], r["says"], number(r["checked"]), number(r["violations"])) for r in document["invariants"]]
    table("invariants", ("id", "", "checked", "violations"), rules)
    promises = [
        (r["promise"], _seconds(r["promised_s"]), _seconds(r["worst_s"]), number(r["measured"]))
        for r in document["promises"]
    ]
    table("promises, on areas with a meter of 1 s", ("promise", "promised", "worst", "measured"), promises)
    for outcome in [one for one in outcomes if one.violations][:STORIES]:
        console.print(f"seed {outcome.seed}: {_replay(job, outcome.seed)}", highlight=False)
        console.print("\n".join(outcome.story()), highlight=False, soft_wrap=True, markup=False)
    console.print(_totals(document), highlight=False)
    seeds = [str(one.seed) for one in outcomes if one.violations]
    if seeds:
        console.print(f"seeds with a violation: {' '.join(seeds)}", highlight=False, soft_wrap=True)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f} s"
