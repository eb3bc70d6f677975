"""The list of survivors is about the code that is there; what became of them only a mutation run can tell."""

from __future__ import annotations

import ast
import tomllib
from typing import TYPE_CHECKING

import pytest

from hil_tests import mutation

if TYPE_CHECKING:
    from pathlib import Path

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


@pytest.mark.parametrize(
    ("asked", "extra", "said"),
    [
        (["--score"], False, "mutmut is missing: pip install -e '.[mutation]'\n"),
        (["guard"], False, "mutmut is missing: pip install -e '.[mutation]'\n"),
        (["--score"], True, "nothing has been run yet: python -m hil_tests.mutation\n"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    asked: list[str],
    extra: bool,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without the extra, or before anything was run: what to do, and exit code 2."""
    monkeypatch.setattr(mutation, "find_spec", lambda _name: extra or None)
    monkeypatch.setattr(mutation, "ROOT", tmp_path)
    monkeypatch.setattr(mutation, "CONSTANTS", tmp_path / "constants.json")
    monkeypatch.chdir(tmp_path)
    assert mutation.main(asked) == 2
    assert capsys.readouterr().err == said


def test_a_module_that_is_none_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """The usage names the command and its modules, and nothing that nobody could type."""
    with pytest.raises(SystemExit, match="2"):
        mutation.main(["gaurd"])
    err = capsys.readouterr().err
    assert "python -m hil_tests.mutation" in err
    assert "gaurd: not one of guard, watch" in err
    assert "[]" not in err
