"""The same recorded scenario on CPython and on MicroPython: control, guard and lease print the same."""

from __future__ import annotations

import contextlib
import io
from ast import literal_eval
from typing import TYPE_CHECKING, Any

import pytest

from edge.core.model import (
    ASLEEP,
    FULL,
    MIN_MA,
    RAMPING,
    REST,
    SAFE,
    SHARED,
    SILENT,
    STAGGER,
    WAIT_ROOM,
    WAIT_VALLEY,
)
from hil_tests.upy import vectors
from hil_tests.upy.runner import run_script
from hil_tests.upy.scenario import SCENARIO

if TYPE_CHECKING:
    from collections.abc import Callable


def played_here() -> str:
    """What the scenario prints on this interpreter."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(SCENARIO, "scenario", "exec"), {})  # noqa: S102 - the same text runs on both
    return out.getvalue()


def test_scenario_reaches_what_matters() -> None:
    """The recording is worth comparing: HOLD, SAFE, the way back, stops, starts, nearly every reason of control."""
    ticks = [line.split(" ", 2) for line in played_here().splitlines()]
    told = [(mode, literal_eval(rest)) for _, mode, rest in ticks if mode in "12345" and rest.startswith("[")]
    assert {mode for mode, _ in told} == {"1", "2", "4", "5"}
    assert "verdict" in played_here()
    rows = [row for _, tick in told for row in tick]
    assert sum(ma == 0 for ma, *_ in rows) > 500
    assert sum(ma >= MIN_MA for ma, *_ in rows) > 500
    reasons = {reason for _, reason, _, _ in rows}
    assert reasons >= {FULL, SHARED, RAMPING, WAIT_VALLEY, WAIT_ROOM, REST, SILENT, SAFE, STAGGER, ASLEEP}


def test_core_decides_the_same_on_micropython(require: Callable[[str], None]) -> None:
    """Eight minutes of an area: every command, reason, verdict and state, letter by letter."""
    require("node")
    assert run_script(SCENARIO).splitlines() == played_here().splitlines()


def test_every_core_function_has_a_recorded_vector() -> None:
    """What is not recorded is not compared: a new function of the core is recorded too."""
    assert {name for name, _, _ in vectors.read()} == set(vectors.functions())


def test_core_functions_give_what_was_recorded() -> None:
    """On CPython: what each function was given once gives the same again, and leaves its arguments the same."""
    replayed: dict[str, Any] = {}
    exec(vectors.REPLAY, replayed)  # noqa: S102 - the same text runs on both
    rows = vectors.read()
    for (name, given, came), now in zip(rows, replayed["replay"]([row[:2] for row in rows]), strict=True):
        assert now == came, f"{name}{given}\nIf this change is meant: python -m hil_tests.upy.vectors"


def test_recording_again_gives_the_same_file() -> None:
    """The file is what its command makes, not what somebody wrote."""
    assert vectors.record() == vectors.read()


@pytest.mark.parametrize("module", vectors.MODULES)
def test_core_functions_give_what_was_recorded_on_micropython(module: str, require: Callable[[str], None]) -> None:
    """On MicroPython: byte for byte."""
    require("node")
    rows = [row for row in vectors.read() if row[0].startswith(module + ".")]
    script = f"{vectors.REPLAY}\nfor line in replay({[row[:2] for row in rows]!r}):\n    print(line)\n"
    assert run_script(script).splitlines() == [came for _, _, came in rows]
