"""Would a test fail if a line of guard or lease were another? Two kinds of mutants, killed by the units' own tests.

mutmut changes one operator, number or argument inside a function; here each constant of a module is made one more and
one less. What survives has to be explained in ``mutation_survivors.toml``, or a test is missing. By hand, not in CI::

    pip install -e '.[mutation]'
    python -m hil_tests.mutation                  # all modules, about half an hour on two cores; then the score
    python -m hil_tests.mutation guard watch      # only these again
    python -m hil_tests.mutation --score          # of the last run; 1 when under 95 %, or a survivor is unexplained
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
MUTANTS = ROOT / "mutants"
CONSTANTS = MUTANTS / "constants.json"
SURVIVORS = Path(__file__).with_name("mutation_survivors.toml")
MODULES = ("guard", "watch", "trust", "obey", "lease", "ledger")
SCORE_MIN_PERCENT = 95
KILLED = ("killed", "timeout")


class Mutant(NamedTuple):
    """One change: in which function or constant (``guard.vet``), what stood there, what stands there now."""

    of: str
    was: str
    now: str


# ---------------------------------------------------------------------------------------------------- in functions
def run_functions(modules: list[str]) -> None:
    """Let mutmut (its settings: pyproject.toml) try every mutant of these modules, whatever was known of them."""
    (MUTANTS / "mutmut-stats.json").unlink(missing_ok=True)
    names = [f"edge.core.{module}.*" for module in modules]
    subprocess.run([sys.executable, "-m", "mutmut", "run", "--max-children", "2", *names], check=True)


def in_functions(module: str) -> list[tuple[str, Mutant]]:
    """(what became of it, the mutant) of each that mutmut has made in a module; of the dead only their number."""
    from mutmut.mutation.data import SourceFileMutationData  # noqa: PLC0415 - mutmut is an extra
    from mutmut.mutation.diff_apply import get_diff_for_mutant  # noqa: PLC0415
    from mutmut.stats import status_by_exit_code  # noqa: PLC0415

    path = Path(f"edge/core/{module}.py")
    data = SourceFileMutationData(path=path)
    data.load()
    rows = []
    for name, code in data.exit_code_by_key.items():
        status = status_by_exit_code[code]
        diff = "" if status in KILLED else get_diff_for_mutant(name, path=path)
        rows.append((status, Mutant(f"{module}.{_function(name)}", _side(diff, "-"), _side(diff, "+"))))
    return rows


def _function(name: str) -> str:
    """``edge.core.guard.x__shed__mutmut_12`` -> ``_shed``."""
    return name.rpartition(".")[2].removeprefix("x_").rpartition("__mutmut_")[0]


def _side(diff: str, sign: str) -> str:
    """The lines of a diff with this sign as one."""
    lines = [line for line in diff.splitlines() if line.startswith(sign) and not line.startswith(sign * 3)]
    return " ".join(plain(line[1:]) for line in lines)


def plain(line: str) -> str:
    """A line of code without its comment and with single spaces."""
    return " ".join(line.partition("  # ")[0].split())


# ---------------------------------------------------------------------------------------------------- constants
def constants(module: str) -> dict[str, int]:
    """The whole numbers a module names at its top level, codes that are only told apart (``range``) left out."""
    loaded = vars(importlib.import_module(f"edge.core.{module}"))
    found = {}
    for node in ast.parse((ROOT / f"edge/core/{module}.py").read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and not isinstance(node.value, ast.Call):
            names = [name.id for name in ast.walk(node.targets[0]) if isinstance(name, ast.Name)]
            found.update({name: loaded[name] for name in names if type(loaded[name]) is int})
    return found


def run_constants(modules: list[str]) -> None:
    """Try every constant at one more and one less, each in a process of its own."""
    mutants = [
        Mutant(f"{module}.{name}", str(value), str(value + step))
        for module in modules
        for name, value in constants(module).items()
        for step in (-1, 1)
    ]
    known = json.loads(CONSTANTS.read_text("utf-8")) if CONSTANTS.exists() else []
    known = [row for row in known if row[1][0].partition(".")[0] not in modules]
    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=1) as pool:
        for mutant, status in zip(mutants, pool.imap(_try, mutants, chunksize=1), strict=True):
            print(status, *mutant)
            known.append([status, mutant])
    CONSTANTS.write_text(json.dumps(known), "utf-8")


def in_constants(module: str) -> list[tuple[str, Mutant]]:
    """(what became of it, the mutant) of each constant of a module that was tried."""
    known = json.loads(CONSTANTS.read_text("utf-8"))
    return [(status, Mutant(*mutant)) for status, mutant in known if mutant[0].startswith(f"{module}.")]


def _try(mutant: Mutant) -> str:
    """Change a constant wherever the core knows it, before any test is imported, and run the tests."""
    name = mutant.of.partition(".")[2]
    for key, module in list(sys.modules.items()):
        if key.startswith("edge.core.") and vars(module).get(name) == int(mutant.was):
            setattr(module, name, int(mutant.now))
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mutmut"]
    args = [*settings["pytest_add_cli_args"], *settings["pytest_add_cli_args_test_selection"]]
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        code = pytest.main(["-x", "-q", *args])
    return {0: "survived", 1: "killed"}.get(int(code), f"pytest said {code}")


# ---------------------------------------------------------------------------------------------------- the score
def score() -> int:
    """Print killed of all by module, then what is wrong: a survivor nobody explains, an explanation of nothing."""
    survived, wrong = set(), []
    for module in MODULES:
        rows = in_functions(module) + in_constants(module)
        if not rows:
            wrong.append(f"{module}: not run yet")
            continue
        counts = Counter("killed" if status in KILLED else status for status, _ in rows)
        percent = 100 * counts["killed"] / len(rows)
        print(f"{module:8} {percent:5.1f} %  of {len(rows)} mutants:", ", ".join(f"{n} {s}" for s, n in counts.items()))
        survived |= {mutant for status, mutant in rows if status == "survived"}
        if percent < SCORE_MIN_PERCENT or set(counts) - {"killed", "survived"}:
            wrong.append(f"{module}: run it again, or write tests; {SCORE_MIN_PERCENT} % are to be killed")
    reasons = {
        Mutant(row["of"], row["was"], row["now"]) for row in tomllib.loads(SURVIVORS.read_text("utf-8"))["survivor"]
    }
    wrong += [f"survives, not explained: {_said(m)}" for m in sorted(survived - reasons)]
    wrong += [f"explained, no survivor: {_said(m)}" for m in sorted(reasons - survived)]
    print("\n".join(wrong) if wrong else f"all {len(survived)} survivors are explained in {SURVIVORS.name}")
    return 1 if wrong else 0


def _said(mutant: Mutant) -> str:
    return f"{mutant.of}\n  - {mutant.was}\n  + {mutant.now}"


def main(argv: list[str] | None = None) -> int:
    """Run what is asked for, then print the score. 2: it cannot be done, and one line says why."""
    asked = _asked(argv)
    os.chdir(ROOT)
    if find_spec("mutmut") is None:
        print("mutmut is missing: pip install -e '.[mutation]'", file=sys.stderr)
        return 2
    if asked.score and not CONSTANTS.exists():
        print("nothing has been run yet: python -m hil_tests.mutation", file=sys.stderr)
        return 2
    if not asked.score:
        os.nice(15)
        if not asked.modules:
            shutil.rmtree(MUTANTS, ignore_errors=True)
        try:
            run_functions(asked.modules or list(MODULES))
        except subprocess.CalledProcessError as err:
            print(f"mutmut has ended with code {err.returncode}; what it said stands above", file=sys.stderr)
            return 2
        run_constants(asked.modules or list(MODULES))
    return score()


def _asked(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m hil_tests.mutation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"only these of {', '.join(MODULES)}; else all")
    parser.add_argument("--score", action="store_true", help="of the last run")
    asked = parser.parse_args(argv)
    if unknown := set(asked.modules) - set(MODULES):
        parser.error(f"{', '.join(sorted(unknown))}: not one of {', '.join(MODULES)}")
    return asked


if __name__ == "__main__":
    sys.exit(main())
