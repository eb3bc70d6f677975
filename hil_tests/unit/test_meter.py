"""The meter on its wire: driver and emulated meter agree, and silence is silence, never an old answer."""

from __future__ import annotations

import dataclasses
import json
import logging
import socket
import struct
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import pytest

from drivers.meters import MODELS
from drivers.modbus_meter import ModbusMeter
from edge import config as cfg
from edge.clock import Moment
from edge.core import watch
from edge.core.model import WAIT_ROOM, Command, Meter
from edge.fleet import next_epoch
from edge.gauge import Gauge, ask_all
from edge.journal import Journal
from edge.loop import Controller
from edge.memory import Memory
from edge.ports import MeterError
from hil_tests.rig.meter import MeterServer
from hil_tests.rig.plant import Busbar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge.ports import Message, Setpoint

SILENT = "no reply within"
ABSENT = "no connection"


def busbar(scale: float = 1.0) -> Busbar:
    """Three unequal phases: 10, 20 and 30 kW times ``scale``, a third as much reactive."""
    p = np.array((10.0, 20.0, 30.0)) * scale
    q = p / 3.0
    s = np.hypot(p, q)
    return Busbar(p, q, s * 1000.0 / 220.0, float(s.sum()), 0.0, 0.0, 0.0, s)


def driver_to(port: int) -> ModbusMeter:
    """The driver of the emulated model."""
    return ModbusMeter(MODELS["eastron_sdm630"], "127.0.0.1", port, 1)


def said(driver: ModbusMeter, now_ms: int) -> str:
    """Why this read failed; "" when it did not."""
    try:
        driver.read(now_ms)
    except MeterError as err:
        return str(err)
    return ""


@pytest.fixture
def server() -> Iterator[MeterServer]:
    """An emulated meter that shows a busbar."""
    meter = MeterServer()
    meter.start()
    meter.show(busbar(), 1.0)
    yield meter
    meter.stop()


def test_what_is_shown_is_what_is_read(server: MeterServer) -> None:
    """Power, apparent power and phase currents arrive in core units, stamped with the moment they were asked for."""
    driver = driver_to(server.port)
    reading = driver.read(1234)
    driver.close()
    bar = busbar()
    assert reading.at_ms == 1234
    assert reading.p_w == 60_000
    assert reading.q_var == pytest.approx(20_000, abs=1)
    assert reading.s_va == pytest.approx(bar.s_kva * 1000, abs=2)
    assert list(reading.ma) == pytest.approx((bar.i_a * 1000).round().tolist(), abs=2)
    assert list(reading.mv) == [220_000] * 3


def test_powers_counter_and_serial_number_are_read_too(server: MeterServer) -> None:
    """What edge/core/trust.py holds a reading against: signed power by phase, the energy counter, who it is."""
    driver = driver_to(server.port)
    reading = driver.read(0)
    assert reading.phase_w == (10_000, 20_000, 30_000)
    assert reading.import_wh == pytest.approx(1_000_000, abs=100)
    assert reading.identity == "20260115"
    driver.close()


def test_meter_exchanged_is_noticed_within_ten_minutes(server: MeterServer) -> None:
    """The serial number is read on connecting and every ten minutes; one lost answer keeps what is known."""
    driver = driver_to(server.port)
    assert driver.read(0).identity == "20260115"
    server.serial = 7
    assert driver.read(599_000).identity == "20260115"
    assert driver.read(600_000).identity == "7"
    driver.close()


@pytest.mark.parametrize(("serial", "mode"), [("20260115", watch.NORMAL), ("4711", watch.LATCHED), ("", watch.NORMAL)])
def test_meter_identity_is_held_against_the_configuration(tmp_path: Path, serial: str, mode: int) -> None:
    """Another device than the one that was commissioned: latched, and said in one line."""
    config = small(tmp_path, 1)
    config = dataclasses.replace(config, meter=dataclasses.replace(config.meter, serial=serial))
    controller = Controller(config, CountingMeter("20260115"), NoChargers(), Journal(None))
    for second in range(70):
        controller.tick(Moment(second * 1000, None))
    assert controller.guard is not None
    assert controller.guard.mode == mode


def test_meter_exchanged_while_nothing_ran_is_noticed(tmp_path: Path) -> None:
    """Who the meter is was learned; another one after a restart latches, until its serial is configured."""
    config, memory = small(tmp_path, 1), Memory()
    for serial, configured, mode in (
        ("1", "", watch.NORMAL), ("1", "", watch.NORMAL), ("2", "", watch.LATCHED), ("2", "2", watch.NORMAL),
        ("2", "", watch.NORMAL), ("", "", watch.NORMAL),
    ):  # fmt: skip
        told = dataclasses.replace(config, meter=dataclasses.replace(config.meter, serial=configured))
        memory = Memory.from_json(json.loads(json.dumps(memory.as_json())))
        controller = Controller(told, CountingMeter(serial), NoChargers(), Journal(None), memory=memory)
        for second in range(70):
            controller.tick(Moment(second * 1000, None))
        assert controller.guard is not None
        assert controller.guard.mode == mode


@pytest.mark.parametrize(
    ("volts", "can_be"),
    [
        ((220.0, 220.0, 220.0), True),
        ((220.0, 0.0, -0.0), True),
        ((151.0, 0.0, 0.0), True),
        ((150.0, 0.0, 0.0), False),
        ((220.0, 220.0, 1000.0), True),
        ((220.0, 220.0, 1000.5), False),
        ((220.0, 220.0, -0.5), False),
        ((160.0, -79.0, -80.0), False),
    ],
)
def test_m6_voltages_that_cannot_be_are_no_reading(volts: tuple[float, float, float], can_be: bool) -> None:
    """A phase may be dark; none is negative: that would make cars weigh next to nothing in volt-amperes."""
    values = dict.fromkeys(("i_l1", "i_l2", "i_l3", "p_w", "q_var", "s_va"), 0.0)
    values |= {f"v_l{k}": u for k, u in enumerate(volts, 1)}
    with nullcontext() if can_be else pytest.raises(MeterError, match=r"voltages .* cannot be"):
        assert driver_to(502)._meter(values, 0).s_va == 0


def test_a_muted_meter_says_nothing_and_ends_cleanly(server: MeterServer, caplog: pytest.LogCaptureFixture) -> None:
    """Muted: no reply, not even later; speaking again: the present values; stopping while muted: no noise."""
    driver = driver_to(server.port)
    assert said(driver, 0) == ""
    server.mute = True
    assert SILENT in said(driver, 1000)
    server.mute = False
    server.show(busbar(2.0), 1.0)
    assert driver.read(2000).p_w == 120_000
    server.mute = True
    assert SILENT in said(driver, 3000)
    with caplog.at_level(logging.DEBUG, "asyncio"):
        server.stop()
    driver.close()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_meter_that_went_and_came_is_read_again(server: MeterServer) -> None:
    """Stopped and started on the same port: one steady line while it is away, readings when it is back."""
    driver = driver_to(server.port)
    port = server.port
    assert said(driver, 0) == ""
    server.stop()
    lines = [said(driver, now_ms) for now_ms in range(1000, 9000, 500)]
    assert all(lines)
    assert {ABSENT in line for line in lines[1:]} == {True}
    assert len(set(lines[1:])) == 1
    server.start()
    assert server.port == port
    assert said(driver, 20_000) == ""
    driver.close()


def test_an_answer_that_comes_too_late_is_not_taken_for_a_new_one() -> None:
    """A reply to the request before may not answer the next one: it would be old and look fresh."""
    old, new = MeterServer(), MeterServer()
    old.show(busbar(), 1.0)
    new.show(busbar(2.0), 1.0)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        wire, _ = listener.accept()
        with wire:
            serial = wire.recv(12, socket.MSG_WAITALL)
            wire.sendall(serial[:4] + struct.pack(">HBBB", 3, 1, 0x83, 2))  # it has no such register
            first, second = (wire.recv(12, socket.MSG_WAITALL) for _ in range(2))
            wire.sendall(_reply(first, old) + _reply(second, new))
            wire.recv(1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    driver = driver_to(listener.getsockname()[1])
    assert SILENT in said(driver, 0)
    try:
        assert driver.read(1000).p_w == 120_000
    except MeterError as err:
        pytest.fail(f"the answer to the request itself was there: {err}")
    finally:
        driver.close()
        thread.join(5)
        listener.close()


def _reply(request: bytes, shown: MeterServer) -> bytes:
    tid, _, _, unit, function, address, count = struct.unpack(">HHHBBHH", request)
    words = shown._words[address : address + count]
    body = struct.pack(f">BBB{count}H", unit, function, 2 * count, *words)
    return struct.pack(">HHH", tid, 0, len(body)) + body


class CountingMeter:
    """A port that counts how often it is asked."""

    def __init__(self, serial: str = "") -> None:
        self.serial = serial
        self.asked_ms: list[int] = []

    def read(self, now_ms: int) -> Meter:
        """A quiet transformer."""
        self.asked_ms.append(now_ms)
        each = (1000, 1000, 1000)
        return Meter(now_ms, 660, 660, 0, each, (220_000, 220_000, 220_000), None, now_ms, self.serial)

    def close(self) -> None:
        """Nothing to let go."""


class NoChargers:
    """Nobody there."""

    connected = True
    trouble = ""
    dropped = 0

    def take(self) -> list[Message]:
        """Silence."""
        return []

    def send(self, _setpoint: Setpoint) -> bool:
        """Into the void."""
        return True

    def close(self) -> None:
        """Nothing to let go."""


def small(folder: Path, period_s: float, more: str = "") -> cfg.AreaConfig:
    """An area of one charger whose meter answers every ``period_s`` seconds."""
    path = folder / "area.toml"
    path.write_text(
        '[area]\nid = "a"\nrating_kva = 250\n'
        f'[meter]\nmodel = "eastron_sdm630"\ntcp = "127.0.0.1:502"\nperiod_s = {period_s}\n'
        '[broker]\nhost = "127.0.0.1"\n[[chargers]]\nid = "p1"\nphase = "A"\nmax_a = 32\n' + more,
        encoding="utf-8",
    )
    return cfg.load(path)


@pytest.mark.parametrize(("period_s", "every_ms"), [(0.5, 1000), (1, 1000), (2, 2000), (10, 10_000)])
def test_a_meter_is_asked_no_faster_than_it_answers(tmp_path: Path, period_s: float, every_ms: int) -> None:
    """A tick a second, late by up to 0.1 s: a slow meter is asked once in its period, a fast one each tick."""
    meter = CountingMeter()
    controller = Controller(small(tmp_path, period_s), meter, NoChargers(), Journal(None))
    for second in range(41):
        controller.tick(Moment(second * 1000 + (100 if second % 3 == 0 else 0), None))
    gaps = np.diff(meter.asked_ms)
    assert len(gaps) == 40_000 // every_ms
    assert np.abs(gaps - every_ms).max() <= 100


class Silent(CountingMeter):
    """A port that does not answer while ``silent``."""

    silent = True

    def read(self, now_ms: int) -> Meter:
        """An error, or a quiet feeder."""
        reading = super().read(now_ms)
        if self.silent:
            raise MeterError("no reply")
        return reading


def test_silent_feeder_meters_take_turns() -> None:
    """Each would cost its time-out: of three silent ones one is asked a tick; one that answers is asked each tick."""
    meters = [Silent(), Silent(), CountingMeter(), Silent()]
    gauges = [Gauge(meter, 1000) for meter in meters]
    for second in range(33):
        ask_all(gauges, second * 1000)
    # In the first tick each silent one fails before the next is asked; then one of them a tick.
    assert [len(meter.asked_ms) for meter in meters] == [11, 11, 31, 11]
    meters[1].silent = False
    for second in range(33, 43):
        ask_all(gauges, second * 1000)
    assert [bool(gauge.trouble) for gauge in gauges] == [True, False, False, True]
    assert gauges[1].reading is not None
    assert len(meters[1].asked_ms) > 18


FEEDER = """[[feeders]]
id = "north"
limit_a = 100
[feeders.meter]
model = "eastron_sdm630"
tcp = "127.0.0.1:503"
"""


def test_feeder_meter_is_read_named_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its readings reach guard and journal; when it falls silent the log names the feeder, and the guard its state."""
    own, book = Silent(), tmp_path / "journal.jsonl"
    own.silent = False
    config = small(tmp_path, 1, FEEDER)
    journal = Journal(book)
    controller = Controller(config, CountingMeter(), NoChargers(), journal, feeder_meters=(own,))
    with caplog.at_level("INFO", logger="taiqu"):
        for second in range(100):
            controller.tick(Moment(second * 1000, None))
        own.silent = True
        for second in range(100, 112):
            controller.tick(Moment(second * 1000, None))
    journal.close()
    lines = [json.loads(line) for line in book.read_text(encoding="utf-8").splitlines()]
    assert lines[99]["feeders"] == {"north": {"mode": "normal", "age_ms": 0, "ma": [1000, 1000, 1000]}}
    assert [line["feeders"]["north"]["mode"] for line in lines[104:112]] == ["normal"] + ["hold"] * 5 + ["safe"] * 2
    told = [record.getMessage() for record in caplog.records]
    assert "a: feeder north meter answers" in told
    assert "a: feeder north meter: no reply" in told
    assert "a: feeder north: safe: its chargers go to their fallback" in told


def test_feeder_whose_meter_is_configured_but_not_there_is_not_taken_for_one_without(tmp_path: Path) -> None:
    """Were no meter handed to the controller, the guard would still know that one is missing."""
    controller = Controller(small(tmp_path, 1, FEEDER), CountingMeter(), NoChargers(), Journal(None))
    for second in range(100):
        controller.tick(Moment(second * 1000, None))
    assert controller.guard is not None
    assert controller.guard.feeders[0].mode == watch.SAFING


def test_feeder_states_survive_a_rival(tmp_path: Path) -> None:
    """Another controller was heard: this one falls silent, reports on, and forgets nothing about its feeders."""
    controller = Controller(
        small(tmp_path, 1, FEEDER),
        CountingMeter(),
        NoChargers(),
        Journal(tmp_path / "j"),
        feeder_meters=(CountingMeter(),),
    )
    for second in range(100):
        controller.fleet.rival = second == 90
        controller.tick(Moment(second * 1000, None))
    assert controller.guard is not None
    assert (controller.guard.mode, controller.guard.feeders[0].mode) == (watch.STARTING, watch.NORMAL)


def test_h14_who_meets_a_newer_controller_is_silent_for_ten_minutes_after_its_last_word(tmp_path: Path) -> None:
    """Then the start-up minute again, and an epoch of its own that is newer than before."""
    controller = Controller(small(tmp_path, 1), CountingMeter(), NoChargers(), Journal(None), tie_break=lambda: 7)
    for second in range(1300):
        controller.fleet.rival, controller.fleet.newest_epoch = second in (100, 600), next_epoch(1 << 16, 1)
        controller.tick(Moment(second * 1000, None))
        assert controller.guard is not None
        assert (controller.guard.mode == watch.STARTING) == (second < 63 or 100 <= second < 1262)
    assert controller.fleet.epoch == next_epoch(1 << 16, 7)


def test_h14_who_meets_a_twin_begins_anew_whatever_that_does(tmp_path: Path) -> None:
    """Two controllers with one epoch cannot be told apart: one start-up minute, and a newer epoch that fences."""
    controller = Controller(small(tmp_path, 1), CountingMeter(), NoChargers(), Journal(None), tie_break=lambda: 7)
    for second in range(200):
        controller.fleet.rival, controller.fleet.newest_epoch = 100 <= second < 160, next_epoch(0, 7)
        controller.tick(Moment(second * 1000, None))
        assert controller.guard is not None
        assert (controller.guard.mode == watch.STARTING) == (second < 63 or 100 <= second < 163)
    assert controller.fleet.epoch == next_epoch(1 << 16, 7)


def test_control_is_not_asked_what_the_guard_would_drop(tmp_path: Path) -> None:
    """While the guard does not trust a feeder's meter, control sees none there, and gives its room to others."""
    own = Silent()
    own.silent = False
    controller = Controller(
        small(tmp_path, 1, FEEDER), CountingMeter(), NoChargers(), Journal(None), feeder_meters=(own,)
    )
    seen = []
    for second in range(160):
        own.silent = second % 13 != 0 and second >= 100
        controller.tick(Moment(second * 1000, None))
        shot = controller._snapshot()
        assert controller.guard is not None
        seen.append(watch.for_control(controller.guard, shot).feeders[0].meter is not None)
        assert shot.feeders[0].meter is not None
    assert seen[40:104] == [True] * 64
    assert seen[115:] == [False] * 45


def test_a_meter_that_comes_and_goes_fills_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One reading in eight seconds: six changes are said, then one a minute; a lost reply is no news."""
    own = Silent()
    config = small(tmp_path, 1, FEEDER)
    controller = Controller(config, CountingMeter(), NoChargers(), Journal(None), feeder_meters=(own,))
    with caplog.at_level("INFO", logger="taiqu"):
        for second in range(1800):
            own.silent = second % 8 != 0
            controller.tick(Moment(second * 1000, None))
        assert 6 < len([one for one in caplog.records if "north meter" in one.getMessage()]) < 60
        caplog.clear()
        for second in range(1800, 3600):
            own.silent = second % 2 == 0
            controller.tick(Moment(second * 1000, None))
        assert len([r for r in caplog.records if "north meter" in r.getMessage()]) <= 2


def test_the_journal_names_the_feeder_and_says_a_reason_once(tmp_path: Path) -> None:
    """Phases of a feeder that take turns at being the fuller one are one reason."""
    report = Controller(small(tmp_path, 1, FEEDER), CountingMeter(), NoChargers(), Journal(None)).report
    said = [report._changed_reasons((Command("p1", 0, WAIT_ROOM, phase, True),), 0) for phase in (4, 5, 6, 4, -1, 4)]
    north = [["p1", "wait_room_feeder north"]]
    assert said == [north, [], [], [], [["p1", "wait_room"]], north]


@pytest.mark.parametrize(("period_s", "samples"), [(1, 5), (4.5, 5), (5, 3), (10, 3)])
def test_a_raise_needs_five_readings_or_three_of_a_slow_meter(tmp_path: Path, period_s: float, samples: int) -> None:
    """How many fresh readings must agree before anything is raised."""
    assert (
        Controller(small(tmp_path, period_s), CountingMeter(), NoChargers(), Journal(None)).settings.raise_samples
        == samples
    )
