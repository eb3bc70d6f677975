"""The demo as its user runs it: a process of its own, real wires, results on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SAME_BUT = ("wall_s", "broker")
NIGHTS = [(community, seed) for community in "ABC" for seed in range(1, 6)]


def demo(folder: Path, *argv: str, broker: str) -> dict[str, Any]:
    """Play ``taiqu demo --json`` on ``broker`` and give its summary."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tools.cli", "demo", "--json", "--out", str(folder), *argv],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={**os.environ, "TAIQU_BROKER": broker},
    )
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    assert summary["broker"] == broker
    assert summary == json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return summary


def holds(summary: dict[str, Any]) -> None:
    """The promise: nothing over the limit, everybody charged."""
    controlled = summary["controlled"]
    assert controlled["minutes_over_limit"] == 0
    assert controlled["minutes_over_phase"] == 0
    assert controlled["requests_met"] == controlled["requests"]
    assert controlled["energy_delivered_kwh"] >= 0.995 * controlled["energy_requested_kwh"]
    assert summary["lost_steps"] == 0


def test_whole_night_is_the_same_on_either_broker(tmp_path: Path, require: Callable[[str], None]) -> None:
    """A night of 16 piles: the promise holds, and amqtt and mosquitto give the same summary."""
    small = ("--piles", "16", "--seed", "3")
    embedded = demo(tmp_path / "amqtt", *small, broker="amqtt")
    holds(embedded)
    assert embedded["modbus_reads"] == 17 * 360
    for name in ("night.png", "report.html", "area.toml", "journal.jsonl"):
        assert (tmp_path / "amqtt" / name).stat().st_size > 1000
    require("mosquitto")
    installed = demo(tmp_path / "mosquitto", *small, broker="mosquitto")
    assert {**installed, **dict.fromkeys(SAME_BUT)} == {**embedded, **dict.fromkeys(SAME_BUT)}


@pytest.mark.nights
@pytest.mark.parametrize(("community", "seed"), NIGHTS)
def test_every_community_and_seed(tmp_path: Path, require: Callable[[str], None], community: str, seed: int) -> None:
    """Each community's whole night with each seed keeps the promise; uncontrolled, A is far above its rating."""
    require("mosquitto")
    summary = demo(tmp_path, "--community", community, "--seed", str(seed), broker="mosquitto")
    ours, ghost = summary["controlled"], summary["uncontrolled"]
    print(
        f"\n{community} seed {seed}: peak {ours['peak_loading_pct']} % (uncontrolled {ghost['peak_loading_pct']} %), "
        f"{ours['minutes_over_limit']} min over (uncontrolled {ghost['minutes_over_limit']}), "
        f"{ours['requests_met']} of {ours['requests']} met, {ours['energy_delivered_kwh']} of "
        f"{ours['energy_requested_kwh']} kWh, valley {ours['valley_share_pct']} %, {summary['wall_s']} s"
    )
    holds(summary)
    if community == "A":
        assert summary["uncontrolled"]["peak_loading_pct"] > 110.0
