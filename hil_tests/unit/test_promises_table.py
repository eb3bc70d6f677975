"""The table of promises: what counts as kept, and what else is told."""

from __future__ import annotations

import pytest

from hil_tests.rig.promises import PROMISES, rows, troubles
from hil_tests.rig.stopwatch import Played, highest_minute

ALL = {promise.name: promise.within_s for promise in PROMISES}


def played(seconds: dict[str, float], **more: object) -> dict[str, Played]:
    """A round of one area that has shown these times."""
    fields = {"loading_pct": 79.0, "phase_pct": 80.0, "peak_pct": 80.0, "sound": True, "trouble": "", "log": ""} | more
    return {"area": Played(seconds, **fields)}  # type: ignore[arg-type]


def test_a_promise_is_kept_up_to_its_limit() -> None:
    """Exactly at the limit it is kept, a tenth of a second later it is broken, and one bad round of three is enough."""
    late = ALL | {"meter silent": ALL["meter silent"] + 0.1}
    assert all(row["kept"] for row in rows([played(ALL)]))
    broken = [row for row in rows([played(ALL), played(late), played(ALL)]) if not row["kept"]]
    assert [(row["promise"], row["median_s"], row["worst_s"]) for row in broken] == [("meter silent", 30.0, 30.1)]


def test_what_never_happened_is_broken() -> None:
    """A round in which something did not happen at all breaks the promise, however good the others were."""
    without = {name: seconds for name, seconds in ALL.items() if name != "broker dead"}
    assert [row["promise"] for row in rows([played(ALL), played(without)]) if not row["kept"]] == ["broker dead"]
    (never,) = [row for row in rows([played(without)]) if not row["kept"]]
    assert never["median_s"] is None
    assert never["worst_s"] is None


def test_troubles_name_round_and_area() -> None:
    """What did not happen, a daemon that stumbled and a load above the limit are told; a sound round says nothing."""
    assert troubles([played(ALL)]) == []
    rounds = [played(ALL, trouble="area: not within 30 s"), played(ALL, sound=False), played(ALL, phase_pct=80.1)]
    assert troubles(rounds) == [
        "round 1: area: not within 30 s",
        "round 2: area: the daemon stumbled",
        "round 3: area: 79.0 % of rating, 80.1 % on a phase",
    ]


def test_the_residents_step_may_pass_the_limit() -> None:
    """In the area whose residents step up on purpose a load above the limit is no trouble."""
    (step,) = played(ALL, loading_pct=84.0).values()
    assert troubles([{"meter": step}]) == []


def test_the_highest_minute_is_a_mean_of_sixty_seconds_in_a_row() -> None:
    """Thirty seconds at 82 % between minutes at 78 % make a minute of 80 %; a shorter history is one mean."""
    assert highest_minute([78.0] * 60 + [82.0] * 30 + [78.0] * 60) == pytest.approx(80.0)
    assert highest_minute([78.0, 80.0]) == pytest.approx(79.0)
