"""The promises in real time, on real wires: the controller is a process of its own, as a gateway runs it.

Three areas play at the same time, because each start takes a full lease. What is asserted is read from the area's own
history, so nobody's waiting changes what is measured. Cars that were stopped rest for five minutes before they are
woken again; after a fault it is therefore cars that come home meanwhile which show that control is back.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from drivers.broker import HOST, BrokerChild, Kind, find_mosquitto
from edge.clock import monotonic_ms
from hil_tests.rig.daemon import BARE, CONTROLLER, Daemon
from hil_tests.rig.live import LiveArea, Second
from hil_tests.rig.stopwatch import (
    BOOT_S,
    FIRST_CARS,
    LATE_CARS,
    LIMIT_PCT,
    Place,
    after,
    at_fallback,
    charges,
    is_off,
    one_charges,
    play_step,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    Record = Callable[[str, object], None]

pytestmark = pytest.mark.realtime

SHORT_LEASE_S = 15


@dataclass(frozen=True, slots=True)
class Stop:
    """How a controller ended."""

    code: int
    took_s: float
    told_ma: dict[str, int]
    """The last setpoint of each charger after the signal."""
    charging_before: list[str]
    fallback_s: float
    off_s: float


@dataclass(frozen=True, slots=True)
class Stage:
    """What plays, and what the threads beside the main one find out."""

    broker_place: Place
    start: Future[tuple[float, list[Second]]]
    step: Future[tuple[float, float]]
    stop: Future[Stop]
    meter: Future[tuple[float, float]]
    waited: str
    """What the controller said that had neither meter nor broker."""


def kind() -> Kind:
    """Mosquitto where there is one."""
    return "mosquitto" if find_mosquitto() else "amqtt"


def free_port() -> int:
    """Return a port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Three areas: a whole life from nothing to SIGTERM, a broker that dies, a meter that falls silent."""
    with ExitStack() as stack:

        def folder(name: str) -> Path:
            return tmp_path_factory.mktemp(name)

        def run(area: LiveArea, command: tuple[str, ...] = CONTROLLER) -> Daemon:
            daemon = Daemon(area.config, command=command)
            stack.callback(daemon.end)
            return daemon

        def beside() -> ThreadPoolExecutor:
            return stack.enter_context(ThreadPoolExecutor(1))

        absent = BrokerChild(kind(), free_port())
        life = LiveArea(absent, folder("life"), plugged=FIRST_CARS, meter_port=free_port(), meter_on=False)
        life_place = Place(stack.enter_context(life), absent, run(life, BARE))
        brokers = [stack.enter_context(BrokerChild.start(kind())) for _ in range(2)]
        areas = [
            LiveArea(brokers[0], folder("broker"), plugged=FIRST_CARS, lease_s=SHORT_LEASE_S),
            LiveArea(brokers[1], folder("meter"), plugged=FIRST_CARS),
        ]
        broker_place, meter_place = (
            Place(stack.enter_context(area), broker, run(area)) for area, broker in zip(areas, brokers, strict=True)
        )

        life_place.daemon.await_words("nobody listens there", "no connection", "start-up", within_s=20)
        waited = life_place.daemon.words()
        stack.enter_context(absent)
        absent.restart()
        life.meter.start()

        one_by_one = beside()
        yield Stage(
            broker_place,
            one_by_one.submit(play_start, life_place),
            one_by_one.submit(play_step, life),
            one_by_one.submit(play_stop, life_place),
            beside().submit(play_silent_meter, meter_place),
            waited,
        )


def play_start(place: Place) -> tuple[float, list[Second]]:
    """Wait until cars take 6.5 % of the rating; since when they charge, and every second so far."""
    area = place.area
    begun_ms = area.history()[0].at_ms
    first_s = area.reaction_s(charges(0.5), begun_ms, BOOT_S)
    area.reaction_s(charges(6.5), begun_ms, BOOT_S + 60)
    return first_s, area.history()


def play_stop(place: Place) -> Stop:
    """SIGTERM while cars charge."""
    area = place.area
    area.base_step(0.0)
    area.reaction_s(charges(1.0), monotonic_ms(), 60)
    before = [n for n, ma in zip(area.chargers.ids, area.history()[-1].allowed_ma, strict=True) if ma]
    since_ms = monotonic_ms()
    place.daemon.process.send_signal(signal.SIGTERM)
    code = place.daemon.process.wait(10)
    took_s = (monotonic_ms() - since_ms) / 1000
    fallback_s, off_s = area.reaction_s(at_fallback, since_ms, 10), area.reaction_s(is_off, since_ms, 10)
    told = {told.charger: int(json.loads(told.payload)["ma"]) for told in area.told(since_ms)}
    return Stop(code, took_s, told, before, fallback_s, off_s)


def play_silent_meter(place: Place) -> tuple[float, float]:
    """Mute the meter while cars charge, then let it speak; (all off after, charging again after), s."""
    area = place.area
    area.reaction_s(charges(1.0), area.history()[0].at_ms, BOOT_S)
    area.meter.mute = True
    off_s = area.reaction_s(is_off, monotonic_ms(), 60)
    area.plug_in(LATE_CARS)
    area.meter.mute = False
    return off_s, area.reaction_s(one_charges(LATE_CARS), monotonic_ms(), 120)


def note(record_property: Record, what: str, seconds: float) -> None:
    """Keep a measured reaction time where it can be quoted."""
    record_property(what, round(seconds, 1))
    sys.stdout.write(f"{what}: {seconds:.1f} s\n")


def test_broker_dead_is_survived(stage: Stage, record_property: Record) -> None:
    """Broker killed: chargers fall back when their leases end; broker back: the same controller charges again."""
    place = stage.broker_place
    area, process = place.area, place.daemon.process
    area.reaction_s(charges(1.0), area.history()[0].at_ms, BOOT_S)
    place.broker.kill()
    dead_ms = monotonic_ms()
    fallback_s = area.reaction_s(at_fallback, dead_ms, SHORT_LEASE_S + 10)
    area.reaction_s(after(dead_ms, 10), dead_ms, 12)
    place.daemon.await_words("nobody listens there", within_s=10)
    place.broker.restart()
    area.plug_in(LATE_CARS)
    again_s = area.reaction_s(charges(1.0), monotonic_ms(), 60)
    note(record_property, f"broker dead -> all chargers at fallback (lease {SHORT_LEASE_S} s)", fallback_s)
    note(record_property, "broker back -> charging again", again_s)
    assert fallback_s <= SHORT_LEASE_S + 2
    assert process.poll() is None
    assert "Traceback" not in place.daemon.words()


def test_controller_killed_leaves_the_chargers_to_their_leases(stage: Stage, record_property: Record) -> None:
    """SIGKILL of the controller: every charger is at its fallback when its lease ends, with nobody telling it."""
    area = stage.broker_place.area
    area.reaction_s(charges(0.5), monotonic_ms(), BOOT_S)
    stage.broker_place.daemon.process.kill()
    stage.broker_place.daemon.process.wait()
    dead_ms = monotonic_ms()
    fallback_s = area.reaction_s(at_fallback, dead_ms, SHORT_LEASE_S + 10)
    note(record_property, f"controller killed -> all chargers at fallback (lease {SHORT_LEASE_S} s)", fallback_s)
    assert fallback_s <= SHORT_LEASE_S + 2
    assert area.told(dead_ms + 200) == []


def test_meter_and_broker_absent_at_the_start_are_waited_for(stage: Stage) -> None:
    """Started before meter and broker exist, the controller names each, once, and begins when they come."""
    assert stage.waited.count("nobody listens there (connection refused). Is the broker running?") == 1
    assert stage.waited.count("no connection. Check address, cable and that Modbus TCP is enabled") == 1
    stage.start.result()


def test_cars_charge_after_the_start_and_the_limit_holds(stage: Stage, record_property: Record) -> None:
    """Nothing is sent for the length of a lease, then cars are charged, and no second is above the limit."""
    first_s, seconds = stage.start.result()
    note(record_property, "start of the area -> first car charges", first_s)
    assert first_s > 60
    assert max(second.ev_pct for second in seconds) >= 6.5
    assert max(second.loading_pct for second in seconds) <= LIMIT_PCT
    assert max(second.phase_pct for second in seconds) <= LIMIT_PCT


def test_base_step_is_back_under_the_limit(stage: Stage, record_property: Record) -> None:
    """Residents take 20 % of the rating more at once: loading passes the limit and is back under it within 15 s."""
    peak_pct, back_s = stage.step.result()
    note(record_property, f"+20 % base step (to {peak_pct:.1f} %) -> back under the limit", back_s)
    assert peak_pct > LIMIT_PCT
    assert 0 < back_s <= 15


def test_controller_stopped_lowers_everybody_before_it_ends(stage: Stage, record_property: Record) -> None:
    """SIGTERM: exit code 0 within 3 s, and each charging charger was told to stop, not left to its lease of 60 s."""
    stop = stage.stop.result()
    note(record_property, "SIGTERM -> the controller has ended", stop.took_s)
    note(record_property, "SIGTERM -> all chargers at fallback (lease 60 s)", stop.fallback_s)
    note(record_property, "SIGTERM -> no EV load", stop.off_s)
    assert stop.code == 0
    assert stop.took_s <= 3
    assert stop.fallback_s <= 3
    assert stop.off_s <= 10
    assert stop.charging_before
    assert stop.told_ma == dict.fromkeys(stop.charging_before, 0)


def test_meter_silent_stops_the_cars(stage: Stage, record_property: Record) -> None:
    """Meter silent: no EV load within 30 s; meter back: charging again."""
    off_s, again_s = stage.meter.result()
    note(record_property, "meter silent -> no EV load", off_s)
    note(record_property, "meter back -> charging again", again_s)
    assert off_s <= 30
    assert again_s <= 90
