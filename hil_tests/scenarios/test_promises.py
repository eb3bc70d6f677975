"""Every promise once with the leases of the street (60 s), as ``taiqu bench promises`` measures them: four minutes.

Run it with ``pytest -m slow -n 0 -s -k test_promises``; the same faults with short leases play in every run.
"""

from __future__ import annotations

from typing import Any

import pytest

from hil_tests.conftest import require_part
from hil_tests.rig import promises

pytestmark = [pytest.mark.realtime, pytest.mark.slow]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[object, dict[str, Any]], list[str]]:
    """One round: its rows by promise, and what went wrong besides."""
    require_part("mosquitto")
    played = promises.measure(1, tmp_path_factory.mktemp("promises"), print)
    return {row["promise"]: row for row in promises.rows(played)}, promises.troubles(played)


@pytest.mark.parametrize("promise", promises.PROMISES, ids=lambda promise: promise.name)
def test_promise_is_kept(measured: tuple[dict[object, dict[str, Any]], list[str]], promise: promises.Promise) -> None:
    """The stopwatch shows no more than was promised."""
    row = measured[0][promise.name]
    print(f"{promise.text}: {row['worst_s']} s of {promise.within_s:g} s")
    assert row["kept"]


def test_nothing_else_went_wrong(measured: tuple[dict[object, dict[str, Any]], list[str]]) -> None:
    """No daemon has stumbled, nothing was above the limit that a step of the residents had not put there."""
    assert measured[1] == []
