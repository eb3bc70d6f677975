"""The whole system in one process, in virtual time: plant, meters, wires, chargers, and the product's own controller.

Nothing of the product is replaced: controllers are ``edge.loop.Controller`` with fleet, planner, step and guard, the
chargers' lease is ``edge.core.lease``. One seed gives one night, to the last message.
"""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edge.clock import Moment
from edge.journal import Journal
from edge.loop import Controller
from edge.report import MODES
from hil_tests.rig import faults
from hil_tests.rig.air import Air, Port
from hil_tests.rig.dial import Dial
from hil_tests.rig.ear import Ear, listening
from hil_tests.rig.invariants import Checker
from hil_tests.rig.nemesis import Nemesis
from hil_tests.rig.piles import Piles, Wrongs
from hil_tests.rig.plant import Plant
from hil_tests.rig.rules import Watch
from hil_tests.rig.small import MIDNIGHT_S, NIGHT_S, Small, draw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge.core.model import Meter
    from edge.ports import ChargerPort, MeterPort
    from hil_tests.rig.faults import Strike
    from hil_tests.rig.plant import Busbar

RESTART_S = 2
"""How soon a process that has ended is started again."""
GAP_S = 10
"""After so long without a tick the product's clock says so."""
EDGE_S = 1320
"""No night ends before its edge has passed; after that, when everything has been normal for long enough."""
WISH_S = 300
"""How often an app repeats what was asked for, so that a controller that was away hears it."""


class Tap:
    """A dial as one controller reads it: what it got and when is written down."""

    def __init__(self, dial: Dial, read: Callable[[int, Busbar], None]) -> None:
        self.dial, self.note = dial, read

    def read(self, now_ms: int) -> Meter:
        """One reading. Raises MeterError."""
        reading = self.dial.read(now_ms)
        assert self.dial.bar is not None
        self.note(now_ms, self.dial.bar)
        return reading

    def close(self) -> None:
        """Nothing to close."""


class Host:
    """A machine with one controller on it."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.port: Port
        self.controller: Controller | None = None
        self.watch: Watch
        self.ticked_s: int
        self.paused = False
        self.break_tick = False
        self.gone = False
        """Switched off for good."""
        self.start()

    def start(self) -> None:
        """Start the process, or start it again."""
        world = self.world
        if self.controller is not None or self.gone:
            return
        self.port = Port(world.air)
        world.air.ports.append(self.port)
        self.ticked_s = world.second
        self.watch = Watch(self.name, world.second, world.config)
        taps: list[MeterPort | None] = [Tap(world.dial, self.watch.read)]
        if world.area.config.feeders:
            own = world.feeder_dial
            taps.append(None if own is None else Tap(own, self.watch.read_feeder))
        chargers: ChargerPort = self.port
        assert taps[0] is not None
        number = len(world.hosts) + 1
        self.controller = Controller(
            world.config, taps[0], chargers, Journal(None), feeder_meters=tuple(taps[1:]), tie_break=lambda: number
        )

    def kill(self) -> None:
        """End the process without a word."""
        if self.controller is not None:
            self.controller = None
            self.world.air.ports.remove(self.port)

    @property
    def mode(self) -> str:
        """What its guard says; empty without a process."""
        if self.controller is None or self.controller.guard is None:
            return ""
        return MODES[self.controller.guard.mode]

    def tick(self) -> None:
        """One tick of the process, if it runs. An exception ends it, as it ends the real one."""
        if self.controller is None or self.paused:
            return
        world = self.world
        if self.break_tick:
            self.break_tick = False
            self.kill()
            world.later(RESTART_S, self.start)
            return
        gone_s, self.ticked_s = world.second - self.ticked_s, world.second
        gap = f"the machine slept for {gone_s} s" if gone_s > GAP_S else ""
        wall_s = world.wall_at(world.plant.second) if world.wall_known else None
        moment = Moment(world.plant.second * 1000, wall_s, gap)
        try:
            self.controller.tick(moment)
        except Exception as err:  # noqa: BLE001 - whatever it is, it is a finding
            world.checker.raised_by_tick(self, err)
            self.kill()
            world.later(RESTART_S, self.start)


class World:
    """One night with its strikes."""

    def __init__(self, area: Small, strikes: tuple[Strike, ...]) -> None:
        self.area, self.config, self.strikes = area, area.config, strikes
        self.plant = Plant(area.community, area.cars, area.base_kw.copy(), area.begin_s)
        self.second = 0
        """Seconds since the night began."""
        self.piles = Piles(self.plant, area.seed, area.config.charging.fallback_ma)
        self.dial = Dial("meter", area.seed)
        feeders = area.config.feeders
        self.feeder_dial = Dial("feeder meter", area.seed + 1000) if feeders and feeders[0].meter is not None else None
        self.feeder_bar: Busbar | None = None
        self.air = Air(random.Random(area.seed), self.piles.hear)
        self.wall_off_s = 0.0
        self.wall_known = True
        self.unreachable: set[int] = set()
        """Chargers without a connection."""
        self.disobeys: set[int] = set()
        """Chargers or cars that cannot be lowered: they do not do as they are told, or nobody can know what they do."""
        self._later: list[tuple[int, Callable[[], None]]] = []
        self.ear = Ear(lambda: self.second)
        self.hosts: list[Host] = []
        self.checker = Checker(self)
        self.nemesis = Nemesis(self, strikes)
        self.nemesis.second(0)  # what holds for the whole night stands before anything is started
        self.host("first")

    def host(self, name: str) -> Host:
        """Another machine."""
        host = Host(self, name)
        self.hosts.append(host)
        return host

    def wall_at(self, second: int) -> float:
        """Unix time, as the machines have it."""
        return float(MIDNIGHT_S + second + self.wall_off_s)

    def later(self, seconds: int, what: Callable[[], None]) -> None:
        """Do this so many seconds from now."""
        self._later.append((self.second + seconds, what))

    def pick(self, rng: random.Random) -> int:
        """A registered charger for a fault, one that charges if there is one."""
        count = self.area.count
        drawing = [k for k in range(count) if self.plant.current_a[k] > 0.0]
        plugged = [k for k in range(count) if self.plant.plugged[k]]
        return rng.choice(drawing or plugged or list(range(count)))

    @contextmanager
    def wrong(self, k: int, *, obeys: bool = False) -> Iterator[Wrongs]:
        """What is wrong with a charger, right again at the end; ``obeys``: it can still be lowered."""
        wrongs = self.piles.wrong[k] = Wrongs()
        if not obeys:
            self.disobeys.add(k)
        try:
            yield wrongs
        finally:
            self.piles.wrong[k] = Wrongs()
            self.disobeys.discard(k)
            self.piles.speak(k)

    def left_alone(self, strike: Strike, chargers: set[int]) -> None:
        """From now on nobody speaks to these chargers: the stopwatch of the lease starts."""
        self.checker.stopwatches.left_alone(strike, chargers)

    def play(self) -> Checker:
        """Play the night and return what was found."""
        with listening(self.ear):
            while self.second < NIGHT_S and not (self.second >= EDGE_S and self.checker.calm()):
                self._second()
        self.checker.end()
        return self.checker

    def _second(self) -> None:
        self.second += 1
        due = [what for at, what in self._later if at <= self.second]
        self._later = [(at, what) for at, what in self._later if at > self.second]
        for what in due:
            what()
        self.air.now_s = self.second
        self.nemesis.second(self.second)
        self.piles.before_second()
        bar = self.plant.step()
        self.dial.show(bar)
        if self.config.feeders:
            self.feeder_bar = self.plant.behind(self.area.behind, self.area.feeder_residents, bar)
            if self.feeder_dial is not None:
                self.feeder_dial.show(self.feeder_bar)
        self._speak()
        self.air.bring(up=True)
        self.checker.before(bar)
        for host in list(self.hosts):
            host.tick()
        self.checker.judge_sent()
        self.air.bring(up=False)
        self.checker.after(bar)

    def _speak(self) -> None:
        """What chargers and apps say now."""
        for state in self.piles.states():
            self.air.up(state)
        for k, wish in enumerate(self.area.wishes):
            since_s = self.plant.second - int(self.plant.cars.arrive_s[k])
            if self.plant.plugged[k] and max(since_s, 0) % WISH_S == k % WISH_S:
                self.air.up(wish)


def night(seed: int, only: str | None = None, chargers: int | None = None, kva: int | None = None) -> World:
    """The night of one seed: area and strikes. ``only`` names the fault it shall have."""
    area = draw(seed, chargers, kva)
    rng = random.Random(f"{seed} {only}")
    return World(area, faults.plan(rng, area, only))
