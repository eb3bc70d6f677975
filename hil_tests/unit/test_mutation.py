"""The list of survivors is about the code that is there; what became of them only a mutation run can tell."""

from __future__ import annotations

import ast
import tomllib

import pytest

from hil_tests import mutation

ROWS = tomllib.loads(mutation.SURVIVORS.read_text("utf-8"))["survivor"]


def lines(module: str, name: str) -> set[str]:
    """The lines of a function of the core as the list writes them."""
    source = (mutation.ROOT / f"edge/core/{module}.py").read_text("utf-8")
    (node,) = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == name]
    return {mutation.plain(line) for line in source.splitlines()[node.lineno - 1 : node.end_lineno]}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["of"])
def test_explained_survivor_is_a_change_of_a_line_that_is_there(row: dict[str, str]) -> None:
    """Who changes a line changes its explanation too, or drops it."""
    module, _, name = row["of"].partition(".")
    if name.isupper():
        assert mutation.constants(module)[name] == int(row["was"])
    else:
        assert row["was"] in lines(module, name)
    assert row["now"] != row["was"]
    assert row["why"].endswith(".")


def test_every_number_of_the_guard_s_clock_is_tried() -> None:
    """Also those that are named two at a time; not the modes, which are only told apart."""
    tried = mutation.constants("watch")
    assert {"HOLD_MS": 5000, "HOLD_PERIODS": 3, "LEASE_MS_MAX": 62_200, "OVER_MS": 3000}.items() <= tried.items()
    assert "SAFING" not in tried
