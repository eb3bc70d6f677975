"""Soaks: the arithmetic of their figures, and a small one of each kind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from drivers.broker import BrokerChild
from hil_tests.rig import soak
from hil_tests.rig.daemon import usage
from hil_tests.rig.soak import DAY_S, MB, RealSoak, Sample, Soaked, simulated_day, slope_a_day, summary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOUR_S = 3600


def samples(own: Callable[[int], float], hours: int = 6) -> list[Sample]:
    """Six hours of a daemon whose memory goes like this, with a look every five minutes."""
    return [Sample(at_s, int(own(at_s)), 0, at_s * 100, at_s * 50) for at_s in range(0, hours * HOUR_S + 1, 300)]


def test_the_slope_is_that_of_a_straight_line() -> None:
    """Growth of 3 MB a day is 3 MB a day."""
    assert slope_a_day(samples(lambda at_s: 20e6 + at_s * 3e6 / DAY_S)) == pytest.approx(3e6, rel=1e-3)


def test_the_warm_up_does_not_count() -> None:
    """What is taken in the first third and then kept is no growth."""
    assert slope_a_day(samples(lambda at_s: 20e6 + min(at_s, 2 * HOUR_S) * 500.0)) == pytest.approx(0.0, abs=1.0)


def test_figures_are_by_the_day_and_outlive_a_new_journal() -> None:
    """Writes are extrapolated to a day; a journal that begins anew loses what was written between two looks only."""
    looks = samples(lambda _: 20e6)
    anew = [
        look._replace(journal=look.journal - looks[36].journal) if k >= 36 else look for k, look in enumerate(looks)
    ]
    found = summary(anew, 3, sound=True)
    assert found.hours == 6.0
    assert found.disk_mb_a_day == pytest.approx(100 * DAY_S / MB)
    assert found.journal_mb_a_day == pytest.approx(50 * DAY_S / MB, rel=0.02)
    assert found.faults == 3


@pytest.mark.parametrize(
    ("field", "bad"),
    [("memory_mb_a_day", 1.0), ("disk_mb_a_day", 100.0), ("journal_mb_a_day", 100.0), ("sound", False)],
)
def test_a_soak_fails_at_its_limits(field: str, bad: object) -> None:
    """Just below every limit it has passed; at any one of them it has not."""
    good = {"memory_mb_a_day": 0.99, "disk_mb_a_day": 99.9, "journal_mb_a_day": 99.9, "sound": True}

    def passed(**more: object) -> bool:
        return Soaked(hours=1.0, memory_mb=50.0, faults=1, **good | more).passed  # type: ignore[arg-type]

    assert passed()
    assert not passed(**{field: bad})


def test_usage_counts_children() -> None:
    """A child that holds 30 MB is counted with its parent."""
    before = usage(os.getpid()).own
    hold = (
        "import sys; kept = bytearray(b'x') * 30_000_000; sys.stdout.write('.'); sys.stdout.flush(); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.read(1)
        grown = usage(os.getpid()).own - before
        child.communicate()
    assert grown > 30_000_000


def test_a_virtual_soak_ticks_every_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require: Callable[[str], None]
) -> None:
    """Ten virtual minutes: a journal line a second, a memory file, samples on disk, and figures that come from them."""
    require("mosquitto")
    monkeypatch.setattr(soak, "DAY_S", 600)
    with BrokerChild.start("mosquitto") as broker:
        found = simulated_day(broker, tmp_path, lambda _: None)
    lines = (tmp_path / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["now_ms"] % 1000 for line in lines] == [0] * 600
    assert len((tmp_path / "soak.csv").read_text(encoding="ascii").splitlines()) == 6
    assert found.sound
    assert found.memory_mb > 5


@pytest.mark.realtime
def test_a_real_soak_survives_its_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require: Callable[[str], None]
) -> None:
    """A quarter of a minute with a silent meter and a broker restart in it: the daemon is sound and was sampled."""
    require("mosquitto")
    monkeypatch.setattr(soak, "FAULT_S", 6)
    monkeypatch.setattr(soak, "MUTE_S", 2)
    monkeypatch.setattr(soak, "CARS_S", 4)
    monkeypatch.setattr(soak, "SAMPLE_S", 2)
    with BrokerChild.start("mosquitto") as broker:
        found = RealSoak(broker, tmp_path).run(15 / 3600, lambda _: None)
    assert found.sound
    assert found.faults == 3
    assert len((tmp_path / "soak.csv").read_text(encoding="ascii").splitlines()) == 9


@pytest.mark.slow
def test_a_virtual_day_stays_within_its_limits(tmp_path: Path, require: Callable[[str], None]) -> None:
    """24 hours in some minutes: memory grows less than 1 MB a day, less than 100 MB are written."""
    require("mosquitto")
    with BrokerChild.start("mosquitto") as broker:
        found = simulated_day(broker, tmp_path, print)
    print(found)
    assert found.passed
