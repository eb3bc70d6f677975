"""One night on real wires in lockstep: plant, meter server and chargers here, the controller a process of its own.

Each step: the plant advances, the meter shows it, the chargers speak and mark the end of what they said; then the
controller is granted its tick, speaks and marks its end; then the chargers obey. Nothing waits for real time.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, Self
from zoneinfo import ZoneInfo

import numpy as np

from drivers.link import Link
from edge.clock import monotonic_ms
from hil_tests.rig.area import AREA, write_area
from hil_tests.rig.chargers import Chargers
from hil_tests.rig.community import END_S, START_S, VOLT, Cars, Community, sample_cars
from hil_tests.rig.daemon import CONTROLLER
from hil_tests.rig.meter import MeterServer
from hil_tests.rig.plant import Plant
from hil_tests.rig.verdict import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CYCLE_S = 10
"""Simulated seconds between two ticks of the controller."""
CONNECT_MS = 4_000
GRANT_S = 60.0
DAY = datetime(2026, 1, 15, tzinfo=ZoneInfo("Asia/Shanghai"))
"""Midnight of the emulated night's first day."""


class Address(Protocol):
    """Where a broker listens."""

    host: str
    port: int


class BenchError(Exception):
    """The bench could not do its part; one line says what, where and what to do."""


@dataclass(frozen=True, slots=True)
class Night:
    """What to play: one community, its cars and residents drawn from ``seed``, from ``start_s`` to ``end_s``."""

    community: Community
    seed: int
    start_s: int = START_S
    end_s: int = END_S

    def cars(self) -> Cars:
        """This night's cars, the same for every controller."""
        return sample_cars(self.community.piles, np.random.default_rng((self.seed, 2)))

    def plant(self) -> Plant:
        """A fresh plant with this night's residents and cars."""
        return Plant.of_night(self.community, self.cars(), self.seed, self.start_s, self.end_s)

    def rated_a(self) -> float:
        """Rated current of one phase on the emulated busbar, A."""
        return self.community.rating_kva * 1000.0 / 3.0 / VOLT


def play_uncontrolled(night: Night) -> Recorder:
    """The same night with every car charging at full current from the moment it comes home."""
    plant = night.plant()
    recorder = Recorder(plant, night.rated_a())
    plant.pilot_a[:] = plant.cars.max_a
    while plant.second < night.end_s:
        recorder.note(plant.step())
    return recorder


class ControlledNight:
    """A night under a real controller. Use as a context manager, then ``play``."""

    def __init__(
        self,
        night: Night,
        broker: Address,
        folder: Path,
        meter_port: int = 0,
        *,
        cycle_s: int = CYCLE_S,
        options: tuple[str, ...] = (),
    ) -> None:
        """``cycle_s``: simulated seconds between two ticks; ``options``: more for the controller's command line."""
        self.night, self.broker, self.folder = night, broker, folder
        self.cycle_s, self.options = cycle_s, options
        self.plant = night.plant()
        self.recorder = Recorder(self.plant, night.rated_a())
        self.chargers = Chargers(self.plant, night.seed)
        self.meter = MeterServer(meter_port)
        up = f"taiqu/{AREA}/{{}}/up/sync"
        self.fleet = Link(
            broker.host, broker.port, "rig-fleet", (f"taiqu/{AREA}/+/dn/#",), marker=up.format("rig-fleet")
        )
        self.app = Link(broker.host, broker.port, "rig-app", (), marker=up.format("rig-app"))
        self.setpoints = self.telemetry = self.wishes = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._process: subprocess.Popen[bytes] | None = None
        self._log = (folder / "controller.log").open("wb")
        self._socket: socket.socket | None = None
        self._step = 0
        self._lost_there = 0
        self._asked = np.zeros(len(self.plant.cars.phase), dtype=bool)

    def __enter__(self) -> Self:
        self.meter.start()
        area = self.folder / "area.toml"
        write_area(
            area,
            self.night.community,
            self.chargers,
            self.meter.port,
            (self.broker.host, self.broker.port),
            period_s=float(self.cycle_s),
        )
        for link in (self.fleet, self.app):
            end_ms = monotonic_ms() + CONNECT_MS
            while not link.connected:
                if monotonic_ms() > end_ms:
                    raise BenchError(f"the bench cannot reach its broker: {link.trouble}")
                link.pump(monotonic_ms() + 20)
        host, port = self._listener.getsockname()
        self._process = subprocess.Popen(
            [
                *(*CONTROLLER, str(area), "--clock", f"{host}:{port}"),
                *("--journal", str(self.folder / "journal.jsonl"), *self.options),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        self._listener.settimeout(GRANT_S)
        try:
            self._socket, _ = self._listener.accept()
        except TimeoutError:
            raise BenchError(f"the controller did not start: {self._tail()}") from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(GRANT_S)
        self._replies = self._socket.makefile("r", encoding="ascii")
        if not self._replies.readline():
            raise BenchError(f"the controller ended at its start: {self._tail()}")
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._replies.close()
            self._socket.close()
        if self._process is not None:
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self.fleet.close()
        self.app.close()
        self.meter.stop()
        self._listener.close()
        self._log.close()

    def play(self, progress: Callable[[Plant, float], None] | None = None) -> Recorder:
        """Play the night to its end. ``progress`` is called once a step with the plant and the loading in %."""
        rating = float(self.night.community.rating_kva)
        while self.plant.second < self.night.end_s:
            for _ in range(self.cycle_s):
                self.chargers.before_second()
                bar = self.plant.step()
                self.recorder.note(bar)
            self.meter.show(bar, self.cycle_s)
            self._speak()
            self._grant()
            self._obey()
            if progress is not None:
                progress(self.plant, bar.s_kva / rating * 100.0)
        return self.recorder

    def _speak(self) -> None:
        """Telemetry of the chargers, wishes of those who have just come home, and both markers."""
        for name, payload in self.chargers.telemetry():
            self.telemetry += self.fleet.publish(f"taiqu/{AREA}/{name}/up/state", payload)
        cars = self.plant.cars
        for k in np.flatnonzero(self.plant.plugged & ~self._asked):
            depart_s = int(DAY.timestamp()) + int(cars.depart_s[k])
            wish = f'{{"v":1,"want_wh":{int(cars.need_wh[k])},"depart_s":{depart_s}}}'
            self.wishes += self.app.publish(f"taiqu/{AREA}/{self.chargers.ids[k]}/up/wish", wish)
            self._asked[k] = True
        self.fleet.mark(self._step)
        self.app.mark(self._step)

    def _grant(self) -> None:
        """Let the controller have its tick, and wait until it is done."""
        grant = {
            "step": self._step,
            "now_ms": self.plant.second * 1000,
            "wall_s": DAY.timestamp() + self.plant.second,
            "sync": [self.fleet.marker, self.app.marker],
        }
        try:
            assert self._socket is not None
            self._socket.sendall(json.dumps(grant).encode() + b"\n")
            reply = self._replies.readline()
        except (OSError, TimeoutError) as err:
            raise BenchError(f"the controller is gone ({err}): {self._tail()}") from None
        if not reply:
            raise BenchError(f"the controller ended in the night: {self._tail()}")
        self._lost_there = int(json.loads(reply)["lost"])

    def _obey(self) -> None:
        """Deliver the setpoints of this tick."""
        self.fleet.drain(self._step, [f"taiqu/{AREA}/all/dn/sync"])
        for topic, payload in self.fleet.take():
            parts = topic.split("/")
            if parts[4] == "set":
                self.setpoints += 1
                self.chargers.obey(parts[2], payload)
        self.app.pump(0)
        self._step += 1

    @property
    def pid(self) -> int:
        """The controller's process id."""
        assert self._process is not None
        return self._process.pid

    def lost_steps(self) -> int:
        """Steps in which a marker or an announced message did not arrive, here or there; 0 on a sound broker."""
        return self.fleet.lost_steps + self._lost_there

    def _tail(self) -> str:
        self._log.flush()
        text = (self.folder / "controller.log").read_text(encoding="utf-8", errors="replace").strip()
        return text.splitlines()[-1] if text else "it said nothing"


def counts(played: ControlledNight) -> dict[str, Any]:
    """What crossed the wires."""
    return {
        "modbus_reads": played.meter.reads,
        "mqtt_setpoints": played.setpoints,
        "mqtt_telemetry": played.telemetry,
        "mqtt_wishes": played.wishes,
    }
