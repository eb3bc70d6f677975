"""Fuzzing on demand: ``python -m hil_tests.fuzz telemetry --runs 4000000``.

Coverage-guided by atheris (extra ``fuzz``), from the seeds of each target, mutated as bytes and as what they mean.
Prints runs, runs a second and crashes; the exit code is 1 when anything was found. Nothing is written outside
``--folder``, which keeps the corpus for the next time and an input that breaks a promise; without it nothing is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

PIECES = {"telemetry": "messages", "meter": "blocks", "config": "files"}
"""The targets, and what a run is made of: some messages or blocks in a row, or one file."""
SLOW_S = 20
"""An input that takes so long hangs."""
_STAT = re.compile(r"stat::(\w+):\s+(\d+)")
_PULSE = re.compile(r"#(\d+)\s+pulse .*exec/s: (\d+)")


def main(argv: list[str] | None = None) -> int:
    """Fuzz some targets, or play one input again. Returns the exit code."""
    args = _parser().parse_args(argv)
    if args.replay is not None and not args.replay.is_file():
        print(f"--replay {args.replay}: no such file", file=sys.stderr)
        return 2
    if args.replay is not None:
        for name in args.targets:
            _target(name).play(args.replay.read_bytes())
            print(f"{name}: {args.replay} breaks nothing")
        return 0
    if find_spec("atheris") is None:
        print("atheris is missing: pip install '.[fuzz]' (Linux or macOS, Python 3.11 to 3.13)", file=sys.stderr)
        return 2
    with contextlib.ExitStack() as stack:
        folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="taiqu-fuzz-")))
        crashes = [_fuzz(name, args.runs, args.seed, folder) for name in args.targets]
    return int(any(crashes))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hil_tests.fuzz", description="Fuzz the decoders.")
    parser.add_argument("targets", nargs="+", choices=PIECES, metavar="TARGET", help=", ".join(PIECES))
    parser.add_argument("--runs", type=int, default=1_000_000, help="inputs for each target (default 1000000)")
    parser.add_argument("--seed", type=int, default=1, help="of libFuzzer's random numbers (default 1)")
    parser.add_argument("--folder", type=Path, help="keep corpus and findings here")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="play this input once, without atheris")
    return parser


def _target(name: str) -> ModuleType:
    return importlib.import_module(f"hil_tests.fuzz.{name}")


def _fuzz(name: str, runs: int, seed: int, folder: Path) -> int:
    """Fuzz one target; say how it went. Returns 1 when it crashed."""
    target = _target(name)
    corpus = folder / name
    corpus.mkdir(parents=True, exist_ok=True)
    for k, data in enumerate(target.SEEDS):
        (corpus / f"seed-{k}").write_bytes(data)
    words = folder / f"{name}.dict"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.WORDS), encoding="ascii")
    command = [
        *(sys.executable, "-m", "hil_tests.fuzz.child", name, str(runs)),
        *(f"-runs={runs}", f"-seed={seed}", f"-max_len={target.LONGEST}", f"-timeout={SLOW_S}", f"-dict={words}"),
        *(f"-artifact_prefix={folder}/{name}-", "-print_final_stats=1", str(corpus)),
    ]
    quiet = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace", env=quiet) as child:
        assert child.stderr is not None
        stats = _listen(name, child.stderr)
    crashed = int(child.returncode != 0)
    done, rate = int(stats.get("number_of_executed_units", 0)), int(stats.get("average_exec_per_sec", 0))
    pieces, taken = int(stats.get("pieces", 0)), int(stats.get("taken", 0))
    print(
        f"{name}: {done:,} runs, {rate:,} a second, {crashed} crashes (seed {seed}); "
        f"{pieces:,} {PIECES[name]}, {taken:,} of them taken for real",
        flush=True,
    )
    if crashed:
        print("".join(stats["last"]), end="")
        _show(folder, name)
    return crashed


def _escaped(word: bytes) -> str:
    return "".join(chr(byte) if 32 < byte < 127 and byte not in b'"\\' else f"\\x{byte:02X}" for byte in word)


def _listen(name: str, lines: Iterable[str]) -> dict[str, Any]:
    """Read what libFuzzer says: the final figures, and the last lines for when it finds something."""
    stats: dict[str, Any] = {"last": []}
    for line in lines:
        if match := _STAT.match(line):
            stats[match[1]] = int(match[2])
        elif match := _PULSE.match(line):
            print(f"{name}: {int(match[1]):,} runs, {int(match[2]):,} a second", file=sys.stderr, flush=True)
        elif not line.startswith(("#", "INFO:", "\t")):
            stats["last"] = [*stats["last"][-40:], line]
    return stats


def _show(folder: Path, name: str) -> None:
    """Say what was found, also where the folder will not last."""
    for path in sorted(folder.glob(f"{name}-*-*")):
        print(f"{path}: {path.read_bytes()!r}")


if __name__ == "__main__":
    sys.exit(main())
