"""``taiqu bench promises`` and ``taiqu bench soak``: what they print, how they end, what they refuse."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from hil_tests.rig import promises, soak
from hil_tests.rig.promises import PROMISES
from hil_tests.rig.soak import Soaked
from hil_tests.rig.stopwatch import Played
from tools.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IN_TIME = {promise.name: promise.within_s - 1.0 for promise in PROMISES}
GOOD = Soaked(24.0, 23.2, 0.05, 21.3, 21.1, 0, sound=True)


@pytest.fixture(autouse=True)
def _mosquitto(require: Callable[[str], None]) -> None:
    require("mosquitto")


def measured(monkeypatch: pytest.MonkeyPatch, **more: float) -> None:
    """Let a round have shown these times, without playing it."""
    played = Played(IN_TIME | more, 79.0, 79.0, 79.0, sound=True, trouble="", log="")
    monkeypatch.setattr(promises, "measure", lambda rounds, _folder, _say: [{"area": played}] * rounds)


def test_kept_promises_end_well(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every promise stands in the table with its limit and what was measured; exit code 0."""
    measured(monkeypatch)
    assert main(["bench", "promises"]) == 0
    text = capsys.readouterr().out
    assert all(promise.text in text for promise in PROMISES)
    assert "BROKEN" not in text


def test_a_broken_promise_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One promise broken: it says so in its row, and the exit code is 1."""
    measured(monkeypatch, **{"meter silent": 31.0})
    assert main(["bench", "promises"]) == 1
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "BROKEN" in line]
    assert row.split()[:3] == ["meter", "silent:", "no"]
    assert "31.0" in row


def test_promises_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One document with the machine, the rounds and a row for each promise."""
    measured(monkeypatch)
    assert main(["bench", "promises", "--rounds", "3", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["rounds"] == 3
    assert document["machine"]
    assert [(row["promise"], row["median_s"], row["kept"]) for row in document["rows"]] == [
        (promise.name, promise.within_s - 1.0, True) for promise in PROMISES
    ]


def test_a_soak_plays_both_kinds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A virtual day and the hours asked for in real time, each in a folder of its own; exit code 1 when one fails."""
    asked: list[tuple[str, float]] = []

    def run(self: soak.RealSoak, hours: float, _say: object) -> Soaked:
        asked.append((self.folder.name, hours))
        return Soaked(hours, 52.0, 1.5, 21.0, 20.0, 6, sound=True)

    monkeypatch.setattr(soak, "simulated_day", lambda _broker, folder, _say: asked.append((folder.name, 24.0)) or GOOD)
    monkeypatch.setattr(soak.RealSoak, "run", run)
    assert main(["bench", "soak", "--hours", "2", "--out", str(tmp_path), "--json"]) == 1
    assert asked == [("virtual-day", 24.0), ("real-time", 2.0)]
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["soak"], row["passed"]) for row in rows] == [("virtual day", True), ("real time", False)]


def test_a_soak_without_hours_is_the_virtual_day_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--hours 0: one row, its figures in the table."""
    monkeypatch.setattr(soak, "simulated_day", lambda _broker, _folder, _say: GOOD)
    assert main(["bench", "soak", "--hours", "0"]) == 0
    text = capsys.readouterr().out
    assert "real time" not in text
    (row,) = [line for line in text.splitlines() if "virtual day" in line]
    assert row.split() == ["virtual", "day", "24.0", "23.2", "0.05", "21.3", "21.1", "0", "ok"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["promises", "--rounds", "0"], "--rounds 0 is outside 1..1000"),
        (["promises", "--rounds", "1001"], "--rounds 1001 is outside 1..1000"),
        (["soak", "--hours", "-0.1"], "--hours -0.1 is outside 0..1000"),
        (["soak", "--hours", "nan"], "--hours nan is outside 0..1000"),
    ],
)
def test_bad_numbers_are_one_line(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is outside its range is named with the range; exit code 2."""
    assert main(["bench", *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("what", ["promises", "soak"])
def test_without_mosquitto_it_says_how_to_get_it(
    what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real wires need the real broker: no figure comes from another one."""
    monkeypatch.setenv("TAIQU_BROKER", "amqtt")
    assert main(["bench", what]) == 2
    assert "apt install mosquitto" in capsys.readouterr().err
