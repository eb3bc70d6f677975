"""``taiqu``: one command, one verb for each thing people do."""

from __future__ import annotations

import argparse
import errno
import json
import logging
import os
import sys
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from drivers.meters import MODELS
from edge import __main__ as daemon
from edge import config as cfg
from edge import left_alone, words
from edge.memory import MemoryFile
from edge.site import fallback_problem, late_problem
from edge.state import State
from tools import bench, demo, why
from tools.errors import UserError

BAD_INPUT = 2
INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Run one command. Bad input is one line (or all configuration errors at once) and exit code 2."""
    args = _parser().parse_args(argv)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except (UserError, cfg.ConfigError) as err:
        sys.stderr.write(f"{err}\n")
        return BAD_INPUT
    except KeyboardInterrupt:
        sys.stderr.write("stopped by hand\n")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (a pager, head) has gone: that is no error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as err:
        if err.errno != errno.ENOSPC:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.stderr.write("no space left where the output goes. Make room, or choose another place.\n")
        return BAD_INPUT
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="taiqu", description="The transformer-area (台区) controller.")
    parser.add_argument("--version", action="version", version=f"taiqu {version('taiqu')}")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    verb = verbs.add_parser("demo", help="one night of an emulated community on real wires")
    demo.add_arguments(verb)
    verb.set_defaults(run=demo.run)

    verb = verbs.add_parser("run", help="control an area until told to stop (the daemon)")
    verb.add_argument("area", type=Path, help="the area's configuration, area.toml")
    verb.add_argument("--journal", type=Path, metavar="FILE", help="one JSON line a tick: inputs, decision, reasons")
    verb.add_argument("--memory", type=Path, metavar="FILE", help="keep what is learned of the area over a restart")
    verb.add_argument(
        "--state", type=Path, metavar="FOLDER",
        help="keep epoch, last good configuration and, without --memory, what is learned over a restart",
    )  # fmt: skip
    verb.add_argument("--clock", metavar="HOST:PORT", help="take the time from a bench instead of this machine")
    verb.set_defaults(run=_run)

    verb = verbs.add_parser("check", help="validate a configuration and print the area in words")
    verb.add_argument("area", type=Path, help="the area's configuration, area.toml")
    verb.add_argument("--live", action="store_true", help="also read the meter once and log in to the broker")
    verb.add_argument("--json", action="store_true", help="the area as JSON on standard output")
    verb.add_argument("--memory", type=Path, metavar="FILE", help="hold the fallback against what was learned, too")
    verb.add_argument(
        "--state", type=Path, metavar="FOLDER",
        help="hold the file against what was accepted last, as run does, and the fallback against what was learned",
    )  # fmt: skip
    verb.set_defaults(run=_check)

    verb = verbs.add_parser("why", help="why each charger has the current it has, from the journal")
    why.add_arguments(verb)
    verb.set_defaults(run=why.run)

    bench.add_arguments(verbs.add_parser("bench", help="measure: control, safety, promises, memory and disk"))

    verb = verbs.add_parser("example", help="print a commented example area.toml")
    verb.set_defaults(run=_example)
    return parser


def _run(args: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S")
    clock = _address("--clock", args.clock)
    state = None if args.state is None else State(args.state)
    try:
        config = daemon.load(args.area, state)
        return daemon.run(config, journal=args.journal, clock=clock, memory=args.memory, state=state)
    except OSError as err:
        reason = err.strerror or err
        if err.filename is None and clock is not None:
            raise UserError(f"--clock {args.clock}: {reason}. Start the bench first, and name its address.") from None
        raise UserError(f"{err.filename or args.area}: {reason}. Choose a path that can be written.") from None


def _address(option: str, text: str | None) -> tuple[str, int] | None:
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise UserError(f"{option} {text} is not HOST:PORT. Write for example 127.0.0.1:5555.")
    return host, int(port)


def _check(args: argparse.Namespace) -> int:
    try:
        config = daemon.load(args.area)
        memory = args.memory
        if args.state is not None:
            state = State(args.state)
            state.check(args.area, config, MODELS.keys())
            memory = memory or (state.memory if state.memory and state.memory.exists() else None)
    except cfg.ConfigError as err:
        if args.json:
            json.dump({"errors": err.problems}, sys.stdout, ensure_ascii=False, indent=2)
            sys.stdout.write("\n")
        raise
    site = cfg.site_of(config, MemoryFile(memory, config.area_id).peek())
    live = daemon.probe(config) if args.live else []
    trouble = [text for ok, text in live if not ok]
    problems = fallback_problem(site, config.charging), late_problem(site, config.charging)
    trouble += [f"{args.area.name}: [charging] {problem}" for problem in problems if problem]
    if args.json:
        document: dict[str, Any] = {"area": words.as_json(config), "advice": words.advise(config)}
        document["alone"] = left_alone.as_json(site, config.charging)
        if args.live:
            document["live"] = [{"ok": ok, "text": text} for ok, text in live]
        json.dump(document, sys.stdout, ensure_ascii=False, indent=2)
        sys.stdout.write("\n")
    else:
        rows = [*words.in_words(config), *left_alone.in_words(site, config.charging)]
        rows += [("advice", text) for text in words.advise(config)]
        rows += [("live", text) for ok, text in live if ok]
        width = max(len(topic) for topic, _ in rows)
        for topic, sentence in rows:
            print(f"{topic:<{width}}  {sentence}".replace("\n", "\n" + " " * (width + 2)))
    if trouble:
        raise UserError("\n".join(trouble))
    return 0


def _example(_args: argparse.Namespace) -> int:
    sys.stdout.write(resources.files("edge").joinpath("area.example.toml").read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
