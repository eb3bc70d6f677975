"""The rules of the house, held by plain pytest: imports run one way, one file knows the time, no blanket ignores."""

from __future__ import annotations

import ast
import io
import re
import shutil
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("edge", "drivers", "hil_tests", "tools")
CLOCK = Path("edge/clock.py")
CLOCK_NAMES = {
    *("monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"),
    *("clock_gettime", "clock_gettime_ns", "CLOCK_BOOTTIME", "CLOCK_MONOTONIC"),
}
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on a tree with the contracts of its own pyproject.toml."""
    command = [sys.executable, "-c", LINT, "--no-cache"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def files(*folders: str) -> list[Path]:
    """Every Python file below some folders, relative to the root."""
    return sorted(path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*.py"))


def reads_the_clock(source: str) -> list[int]:
    """Lines on which a source file reaches for a monotonic clock of the ``time`` module."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in CLOCK_NAMES and ast.unparse(node.value) == "time":
            lines.append(node.lineno)
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            lines += [node.lineno for name in node.names if name.name in CLOCK_NAMES]
    return lines


def blanket_ignores(source: str) -> list[int]:
    """Lines whose comment silences the type checker without saying which complaint."""
    comments = (t for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type == tokenize.COMMENT)
    return [token.start[0] for token in comments if re.search(r"type:\s*ignore(?!\[[\w-]+)", token.string)]


def test_imports_run_one_way() -> None:
    """The contracts in pyproject.toml hold for the tree as it stands."""
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("path", "offence"),
    [
        ("edge/offender.py", "import drivers.broker"),
        ("edge/core/offender.py", "import edge.clock"),
        ("edge/core/offender.py", "import json"),
        ("drivers/offender.py", "import hil_tests.rig"),
        ("drivers/offender.py", "import tools"),
        ("hil_tests/rig/offender.py", "import tools"),
        ("hil_tests/rig/offender.py", "import drivers.meters"),
        ("hil_tests/golden/offender.py", "import drivers.broker"),
    ],
)
def test_contracts_catch(tmp_path: Path, path: str, offence: str) -> None:
    """An import against the direction breaks a contract."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / path).write_text(f"{offence}\n", encoding="utf-8")
    done = lint_imports(tmp_path)
    assert done.returncode == 1
    assert "BROKEN" in done.stdout
    assert path.removesuffix(".py").replace("/", ".") in done.stdout


@pytest.mark.parametrize("path", files("edge", "drivers"), ids=str)
def test_one_file_knows_the_time(path: Path) -> None:
    """Only edge/clock.py reads a monotonic clock: everything else is told the time, so the bench can tell it too."""
    lines = reads_the_clock((ROOT / path).read_text(encoding="utf-8"))
    assert bool(lines) == (path == CLOCK), f"{path}: {lines}"


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("import time\ntime.monotonic()", [2]),
        ("import time\ntime.clock_gettime_ns(1)", [2]),
        ("from time import monotonic_ns", [1]),
        ("import time\ntime.sleep(1)", []),
        ("from edge.clock import monotonic_ms\nmonotonic_ms()", []),
    ],
)
def test_clock_gate(source: str, lines: list[int]) -> None:
    """The gate sees each way to a monotonic clock, and nothing else."""
    assert reads_the_clock(source) == lines


@pytest.mark.parametrize("path", files(*FOLDERS), ids=str)
def test_ignores_name_their_complaint(path: Path) -> None:
    """No file silences the type checker without a code."""
    assert blanket_ignores((ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("x = 1  # type: ignore", [1]),
        ("x = 1  # type:ignore # why", [1]),
        ("x = 1  # type: ignore[]", [1]),
        ("x = 1  # type: ignore[misc]", []),
        ("x = '# type: ignore'", []),
    ],
)
def test_ignore_gate(source: str, lines: list[int]) -> None:
    """The gate reads comments, not strings, and wants a code."""
    assert blanket_ignores(source) == lines
