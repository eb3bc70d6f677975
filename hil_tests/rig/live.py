"""A small area in real time: the same plant, chargers and meter server as the nights, a plant second every second.

One thread advances the plant on a schedule that does not drift, lets setpoints in between the seconds, shows the busbar
on the meter and speaks for the chargers. It outlives its broker. Faults and loads are set from outside; what happened
stands in a history, so that a reaction is measured and not waited for.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from drivers.link import Link
from edge.clock import monotonic_ms
from hil_tests.rig.area import AREA, write_area
from hil_tests.rig.chargers import Chargers
from hil_tests.rig.community import BASE_PF, VOLT, Cars, Community, Floats, sample_cars
from hil_tests.rig.crowd import Crowd
from hil_tests.rig.meter import MeterServer
from hil_tests.rig.plant import Plant
from hil_tests.rig.proxy import HOST, FaultProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from hil_tests.rig.night import Address

SMALL = Community("small", rating_kva=250, peak_kw=135.0, valley_kw=135.0, piles=16)
"""Residents alone load this transformer to 57 %: there is room for some of the cars, never for all."""
NOISE_PCT = 0.3
"""Sigma of the residents' noise, % of rating on each phase; flat otherwise."""
NOISE_S = 3600
NEED_WH = 60_000.0
STAY_S = 600
FAR_S = 1 << 40
"""Never, in plant seconds."""
EXCHANGE_MS = 100
KEPT = 7200
POLL_S = 0.02
WISH_S = 5.0
"""Wishes are said again so often: one that was said before the controller listened is lost."""


@dataclass(frozen=True, slots=True)
class Second:
    """One second of the area as it truly was. ``at_ms`` is real, monotonic; loads in % of rating, true S."""

    at_ms: int
    loading_pct: float
    base_pct: float
    phase_pct: float
    ev_pct: float
    online: int
    """Chargers that have a connection to the broker."""
    allowed_ma: tuple[int, ...]
    drawn_a: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """One setpoint as it came off the wire."""

    at_ms: int
    charger: str
    payload: bytes


class LiveArea:
    """An emulated area in real time, as a context manager. ``config`` is the controller's configuration file.

    The first ``plugged`` cars stand there from the start, uncharged; the others come with ``plug_in``. The broker may
    be absent, and so may the meter when ``meter_on`` is False: ``meter.start()`` brings it.
    """

    def __init__(
        self,
        broker: Address,
        folder: Path,
        *,
        community: Community = SMALL,
        seed: int = 1,
        plugged: int | None = None,
        lease_s: int = 60,
        meter_port: int = 0,
        meter_on: bool = True,
        spoilt: bool = False,
        crowd: bool = False,
    ) -> None:
        """``spoilt``: the controller's wires lead through fault proxies; ``crowd``: each charger has a connection."""
        self.community, self.broker, self.lease_s, self.meter_on = community, broker, lease_s, meter_on
        self.seed, self.spoilt = seed, spoilt
        self.config = folder / "area.toml"
        cars = waiting_cars(community.piles, seed, community.piles if plugged is None else plugged)
        self.plant = Plant(community, cars, flat_base_kw(community, seed), 0)
        self.chargers = Chargers(self.plant, seed)
        self.meter = MeterServer(meter_port)
        self.meter_wire: FaultProxy
        self.broker_wire: FaultProxy
        self._link: Link | Crowd
        if crowd:
            self._link = Crowd(broker.host, broker.port, AREA, self.chargers.ids, seed)
        else:
            self._link = Link(broker.host, broker.port, "rig-live", (f"taiqu/{AREA}/+/dn/#",))
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._seconds: deque[Second] = deque(maxlen=KEPT)
        self._told: deque[Told] = deque(maxlen=KEPT)
        self._wishes: dict[int, str] = {}
        self._wish_s = 0.0
        self._online = False
        self._over = threading.Event()
        self._crash: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="live-area", daemon=True)

    def __enter__(self) -> Self:
        if self.meter_on:
            self.meter.start()
        if not self.meter.port:
            raise ValueError("a meter that starts later needs its meter_port now")
        meter_port, where = self.meter.port, (self.broker.host, self.broker.port)
        if self.spoilt:
            self.meter_wire = self._stack.enter_context(FaultProxy(HOST, self.meter.port, self.seed))
            self.broker_wire = self._stack.enter_context(FaultProxy(*where, self.seed))
            meter_port, where = self.meter_wire.port, (HOST, self.broker_wire.port)
        write_area(
            self.config, self.community, self.chargers, meter_port, where,
            period_s=1.0, valley="[]", lease_s=self.lease_s,
        )  # fmt: skip
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._thread.join()
        self._link.close()
        self._stack.close()
        self.meter.stop()

    # ------------------------------------------------------------------------------------------------ what one may do
    def base_step(self, percent_of_rating: float) -> int:
        """Set the residents' extra load, % of rating (S); 0 takes it back. Returns when, real ms."""
        with self._lock:
            self.plant.extra_kw = percent_of_rating / 100.0 * self.community.rating_kva * BASE_PF
            return monotonic_ms()

    def plug_in(self, piles: Iterable[int], need_wh: float = NEED_WH) -> int:
        """Let cars come home to these piles now, and ask for so much. Returns when, real ms."""
        at, plant = list(piles), self.plant
        with self._lock:
            plant.cars.arrive_s[at], plant.cars.depart_s[at] = plant.second, FAR_S
            plant.cars.need_wh[at], plant.delivered_wh[at] = need_wh, 0.0
            return monotonic_ms()

    def leave(self, piles: Iterable[int]) -> int:
        """Let these cars drive away now. Returns when, real ms."""
        with self._lock:
            self.plant.cars.depart_s[list(piles)] = self.plant.second
            return monotonic_ms()

    # ----------------------------------------------------------------------------------------------- what one may ask
    def history(self, since_ms: int = 0) -> list[Second]:
        """Every second since ``since_ms``."""
        with self._lock:
            return [second for second in self._seconds if second.at_ms >= since_ms]

    def told(self, since_ms: int = 0) -> list[Told]:
        """Every setpoint that arrived since ``since_ms``."""
        with self._lock:
            return [told for told in self._told if told.at_ms >= since_ms]

    def reaction_s(self, holds: Callable[[Second], bool], since_ms: int, within_s: float) -> float:
        """How long after ``since_ms`` a second first fulfilled ``holds``, waited for while it has not yet, in s.

        Raises TimeoutError when none did within ``within_s``, with the last second seen.
        """
        end_ms = since_ms + round(within_s * 1000)
        while True:
            seconds = self.history(since_ms)
            for second in seconds:
                if second.at_ms <= end_ms and holds(second):
                    return (second.at_ms - since_ms) / 1000
            self.mind()
            if monotonic_ms() > end_ms:
                raise TimeoutError(f"not within {within_s:g} s; last: {seconds[-1] if seconds else 'nothing'}")
            time.sleep(POLL_S)

    def mind(self) -> None:
        """Raise RuntimeError when the area has ended: nobody needs to wait for it any longer."""
        if self._over.is_set():
            raise RuntimeError("the emulated area has ended") from self._crash

    def end(self) -> None:
        """Let its second be the last."""
        self._over.set()

    # ------------------------------------------------------------------------------------------------------ its thread
    def _run(self) -> None:
        next_ms = monotonic_ms()
        try:
            while not self._over.is_set():
                # A bench that was held up makes up for it: the chargers' clocks are the plant's, and must not lag.
                while monotonic_ms() >= next_ms:
                    self._second()
                    next_ms += 1000
                self._exchange(next_ms)
        except BaseException as err:
            self._crash = err
            self.end()
            raise

    def _second(self) -> None:
        rating = float(self.community.rating_kva)
        with self._lock:
            self.chargers.within_ms = 0
            self.chargers.before_second()
            bar = self.plant.step()
            self._seconds.append(
                Second(
                    monotonic_ms(),
                    bar.s_kva / rating * 100.0,
                    bar.base_kva / rating * 100.0,
                    float(bar.i_a.max()) * VOLT * 3.0 / rating / 10.0,
                    bar.ev_kw / rating * 100.0,
                    self._online_now(),
                    self.chargers.allowed_ma(),
                    tuple(self.plant.current_a.tolist()),
                )
            )
        self.meter.show(bar, 1.0)

    def _online_now(self) -> int:
        if isinstance(self._link, Crowd):
            return self._link.online
        return len(self.chargers.ids) if self._link.connected else 0

    def _exchange(self, next_ms: int) -> None:
        """Let setpoints in for a while, and answer them: an acknowledgement does not wait for the next second."""
        self._link.pump(min(next_ms, monotonic_ms() + EXCHANGE_MS))
        now_ms = monotonic_ms()
        with self._lock:
            self.chargers.within_ms = min(max(now_ms - next_ms + 1000, 0), 999)
            for topic, payload in self._link.take():
                self._hear(topic.split("/"), payload, now_ms)
            self._speak()

    def _hear(self, parts: list[str], payload: bytes, now_ms: int) -> None:
        if len(parts) == 5 and parts[4] == "set":
            self._told.append(Told(now_ms, parts[2], payload))
            self.chargers.obey(parts[2], payload)

    def _back(self) -> list[int]:
        """Chargers that have a connection, or have it again, since the last look."""
        if isinstance(self._link, Crowd):
            return [self.chargers.index[name] for name in self._link.back()]
        was, self._online = self._online, self._link.connected
        return list(range(len(self.chargers.ids))) if self._online and not was else []

    def _speak(self) -> None:
        """Telemetry and wishes; all of it again once the broker is back."""
        if back := self._back():
            self.chargers.speak_up(back)
            self._wish_s = 0.0
        if not self._link.connected:
            return
        for name, payload in self.chargers.telemetry():
            self._link.publish(f"taiqu/{AREA}/{name}/up/state", payload)
        again = time.monotonic() >= self._wish_s
        if again:
            self._wish_s = time.monotonic() + WISH_S
        for gone in self._wishes.keys() - np.flatnonzero(self.plant.plugged).tolist():
            del self._wishes[gone]
        for k in np.flatnonzero(self.plant.plugged).tolist():
            if again or k not in self._wishes:
                wish = f'{{"v":1,"want_wh":{int(self.plant.cars.need_wh[k])},"depart_s":{int(time.time()) + STAY_S}}}'
                wish = self._wishes.setdefault(k, wish)
                self._link.publish(f"taiqu/{AREA}/{self.chargers.ids[k]}/up/wish", wish)


def waiting_cars(piles: int, seed: int, plugged: int) -> Cars:
    """Cars that begin 2 s after their release and stay for ever; the first ``plugged`` are there, the others away."""
    cars = sample_cars(piles, np.random.default_rng((seed, 2)))
    return replace(
        cars,
        arrive_s=np.where(np.arange(piles) < plugged, -1, FAR_S),
        depart_s=np.full(piles, FAR_S),
        need_wh=np.full(piles, NEED_WH),
        start_s=np.full(piles, 2.0),
    )


def flat_base_kw(community: Community, seed: int) -> Floats:
    """An hour of residents at their peak, kW, shape (seconds, 3), with a little seeded noise; then it stays."""
    rng = np.random.default_rng((seed, 1))
    sigma = community.rating_kva * BASE_PF / 3.0 * NOISE_PCT / 100.0
    return community.peak_kw / 3.0 + sigma * np.clip(rng.normal(size=(NOISE_S, 3)), -3.0, 3.0)
