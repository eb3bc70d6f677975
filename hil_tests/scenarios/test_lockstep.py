"""Small nights in lockstep: the same seed gives the same night on any broker, and everybody keeps their manners."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from drivers.broker import BrokerChild, Kind, find_mosquitto
from edge import reasons
from hil_tests.rig.community import COMMUNITIES, Community
from hil_tests.rig.night import CYCLE_S, BenchError, ControlledNight, Night, counts

if TYPE_CHECKING:
    from collections.abc import Callable

    from hil_tests.rig.plant import Plant

HOUR = 3600
PILES = 18
SMALL = Community("small", rating_kva=400, peak_kw=290.0, valley_kw=150.0, piles=PILES)
START_S, END_S = 21 * HOUR + HOUR // 2, 25 * HOUR + HOUR // 2
STEPS = (END_S - START_S) // CYCLE_S
LEASE_S = 60
REASONS = {reasons.key(code, phase) for code in reasons.TEXTS for phase in (-1, 0, 1, 2)}


@dataclass(frozen=True, slots=True)
class Played:
    """What is left of a night."""

    verdict: dict[str, Any]
    counts: dict[str, Any]
    lost_steps: int
    allowed_ma: frozenset[int]
    journal: list[dict[str, Any]]


def night(seed: int) -> Night:
    """Four hours around the beginning of the valley; every car is at home."""
    return Night(SMALL, seed, START_S, END_S)


@functools.cache
def played(kind: Kind, seed: int, run: int = 1) -> Played:
    """Play one night to its end; ``run`` tells equal nights apart."""
    assert run
    seen: set[int] = set()
    with TemporaryDirectory() as folder, BrokerChild.start(kind) as broker:
        with ControlledNight(night(seed), broker, Path(folder)) as bench:
            recorder = bench.play(lambda _plant, _loading: seen.update(bench.chargers.allowed_ma()))
        lines = (Path(folder) / "journal.jsonl").read_text(encoding="utf-8").splitlines()
        return Played(
            recorder.verdict(80.0),
            counts(bench),
            bench.lost_steps(),
            frozenset(seen),
            [json.loads(line) for line in lines],
        )


def best() -> Kind:
    """Mosquitto where there is one."""
    return "mosquitto" if find_mosquitto() else "amqtt"


class Freeze(Exception):  # noqa: N818 - no error: the bench stops here on purpose
    """Nobody grants the controller its next tick."""


def at(second: int, act: Callable[[], None]) -> Callable[[Plant, float], None]:
    """Do something in the night, once its clock shows ``second``."""

    def progress(plant: Plant, _loading: float) -> None:
        if plant.second >= second:
            act()

    return progress


@pytest.mark.parametrize("kind", ["mosquitto", "amqtt"])
def test_the_same_seed_gives_the_same_night(kind: Kind, require: Callable[[str], None]) -> None:
    """Twice on the same broker: the same verdict and the same number of messages, and none is lost."""
    if kind == "mosquitto":
        require("mosquitto")
    first, second = played(kind, 1), played(kind, 1, run=2)
    assert first.verdict == second.verdict
    assert first.counts == second.counts
    assert first.lost_steps == second.lost_steps == 0


def test_the_broker_makes_no_difference(require: Callable[[str], None]) -> None:
    """The same seed gives the same verdict, messages and decisions on mosquitto and on amqtt."""
    require("mosquitto")
    one, other = played("mosquitto", 1), played("amqtt", 1)
    assert one.verdict == other.verdict
    assert one.counts == other.counts
    assert [line["set"] for line in one.journal] == [line["set"] for line in other.journal]


def test_another_seed_gives_another_night() -> None:
    """Seeds matter: other cars, other residents, another verdict."""
    first, second = played(best(), 1), played(best(), 2)
    assert first.verdict != second.verdict
    assert first.counts != second.counts
    for one in (first, second):
        assert one.verdict["energy_delivered_kwh"] > 50


def test_nothing_stands_between_off_and_6_a() -> None:
    """No charger ever allows a current below 6 A that is not 0, nor more than 32 A, in whole amperes."""
    allowed = played(best(), 1).allowed_ma
    assert {0, 32_000} <= allowed
    assert len(allowed) > 5
    assert all(ma == 0 or 6_000 <= ma <= 32_000 for ma in allowed)
    assert all(ma % 1000 == 0 for ma in allowed)


def test_messages_are_bounded() -> None:
    """A charger speaks by exception: in the mean less than thrice a minute; each setpoint has a telemetry before it."""
    seen = played(best(), 1).counts
    minutes = (END_S - START_S) / 60
    assert PILES * minutes / 5 < seen["mqtt_telemetry"] < PILES * minutes * 3
    assert PILES < seen["mqtt_setpoints"] < seen["mqtt_telemetry"]
    assert seen["mqtt_wishes"] == PILES
    assert seen["modbus_reads"] == STEPS


def test_the_journal_tells_every_tick() -> None:
    """One JSON line a tick, with inputs, decision and a reason for every charger."""
    done = played(best(), 1)
    lines = done.journal
    assert len(lines) == STEPS
    assert [line["now_ms"] for line in lines] == [(START_S + (k + 1) * CYCLE_S) * 1000 for k in range(STEPS)]
    assert sum(line["sent"] for line in lines) == done.counts["mqtt_setpoints"]
    # Residents' ripple takes single readings over the limit: those are shed.
    assert {line["mode"] for line in lines} - {"shed"} == {"start-up", "normal"}
    for line in lines:
        assert line["age_ms"] == 0
        assert line["s_va"] > 0
        assert len(line["ma"]) == 3
        assert line["limit_permille"] == 800
        assert sum(line["why"].values()) == PILES
        assert set(line["why"]) <= REASONS
        assert {row[2] for row in line["set"]} <= set(line["why"])
    assert any(line["set"] for line in lines)
    assert {"boot", "wait_valley", "full"} <= {key for line in lines for key in line["why"]}


def test_leases_end_when_nobody_commands(tmp_path: Path) -> None:
    """A controller that stands still: within the lease of 60 s every charger is at its fallback, and no car draws."""

    def freeze() -> None:
        if (bench.plant.current_a > 0.0).any():
            raise Freeze

    with BrokerChild.start(best()) as broker, ControlledNight(night(1), broker, tmp_path) as bench:
        with pytest.raises(Freeze):
            bench.play(at(23 * HOUR + 600, freeze))
        left = []
        for _ in range(LEASE_S + 6):
            bench.chargers.before_second()
            bench.plant.step()
            left.append((max(bench.chargers.allowed_ma()), float(bench.plant.current_a.sum())))
    assert left[0][0] >= 6_000
    assert left[0][1] > 0.0
    assert left[LEASE_S][0] == 0
    assert left[-1][1] == 0.0


def test_a_controller_that_dies_ends_the_night_with_one_line(tmp_path: Path) -> None:
    """A controller killed in the night is a bench error that says so in one line."""

    def kill() -> None:
        assert bench._process is not None
        bench._process.kill()
        bench._process.wait()

    with BrokerChild.start(best()) as broker, ControlledNight(night(1), broker, tmp_path) as bench:
        with pytest.raises(BenchError, match="the controller") as caught:
            bench.play(at(START_S + 600, kill))
        assert bench.plant.second == START_S + 600 + CYCLE_S
    assert len(str(caught.value).splitlines()) == 1


def test_cars_of_a_night_do_not_depend_on_who_plays() -> None:
    """Controlled and uncontrolled nights of a seed have the same cars and residents."""
    one, other = night(1).plant(), night(1).plant()
    assert (one.cars.phase == other.cars.phase).all()
    assert np.array_equal(one.base_kw, other.base_kw)
    assert not np.array_equal(one.base_kw, night(2).plant().base_kw)


def test_the_limit_is_pressed_and_held() -> None:
    """Community A whole, the first hour of the valley, demand twice the room: only metering and sums hold the line.

    A controller that ignores the meter or the phases is over within minutes here; a night with few cars would not tell.
    """
    first_hour = Night(COMMUNITIES["A"], 1, 22 * HOUR + HOUR * 5 // 6, 24 * HOUR)
    with TemporaryDirectory() as folder, BrokerChild.start(best()) as broker:
        with ControlledNight(first_hour, broker, Path(folder)) as bench:
            recorder = bench.play()
        lines = [json.loads(line) for line in (Path(folder) / "journal.jsonl").read_text(encoding="utf-8").splitlines()]
    verdict = recorder.verdict(80.0)
    assert verdict["minutes_over_limit"] == 0
    assert verdict["minutes_over_phase"] == 0
    assert bench.lost_steps() == 0
    assert 74.0 < verdict["peak_phase_pct"] <= 80.0
    assert max(line["why"].get("wait_room", 0) + line["why"].get("wait_room_a", 0) for line in lines) > 100
    guarded = sum(
        count for line in lines for key, count in line["why"].items() if key.startswith(("overbooked", "shed"))
    )
    assert guarded == 0, "the guard had to do control's work"
