"""Plays scripts on areas in real time, side by side, with a stopwatch on the plant and the chargers.

Each script has an area, a broker and a daemon of its own. They mostly wait, so that many play in the time of one.
"""

from __future__ import annotations

import queue
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from drivers.broker import BrokerChild
from edge.clock import monotonic_ms
from hil_tests.rig.daemon import Daemon
from hil_tests.rig.live import LiveArea, Second

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    Say = Callable[[str], None]

LIMIT_PCT = 80.0
BOOT_S = 100.0
"""Start-up waits 62 s for leases of an earlier controller; the rest is for a slow machine."""
FIRST_CARS = 8
LATE_CARS = range(FIRST_CARS, 16)
STEP_PCT, STEP_S = 20.0, 17
"""A step of the residents' load, and how long it is watched."""
POLL_S = 0.1
ERRAND_S = 60.0


class Errands:
    """Work for the main thread: a mosquitto ends with the thread that has started it."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[Callable[[], None], Future[None]]] = queue.SimpleQueue()

    def do(self, work: Callable[[], None]) -> None:
        """Have it done, and wait for it."""
        done: Future[None] = Future()
        self._queue.put((work, done))
        done.result(ERRAND_S)

    def serve(self, until: Iterable[Future[Any]]) -> None:
        """Do what comes until all of these are done. For the main thread."""
        waiting = list(until)
        while not all(future.done() for future in waiting):
            try:
                work, done = self._queue.get(timeout=POLL_S)
            except queue.Empty:
                continue
            work()
            done.set_result(None)


@dataclass(frozen=True, slots=True)
class Place:
    """One area, its broker and its controller, and what the stopwatch has shown there."""

    area: LiveArea
    broker: BrokerChild
    daemon: Daemon
    errands: Errands = field(default_factory=Errands)
    seconds: dict[str, float] = field(default_factory=dict)

    def restart_broker(self) -> int:
        """Bring the broker back. Returns when, real ms."""
        self.errands.do(self.broker.restart)
        return monotonic_ms()

    def await_cars(self, pct: float) -> None:
        """Wait until cars draw this share of the rating, %."""
        self.area.reaction_s(charges(pct), monotonic_ms(), BOOT_S + 60)

    def time(self, what: str, holds: Callable[[Second], bool], since_ms: int, within_s: float) -> None:
        """Note how long after ``since_ms`` this holds. Raises TimeoutError."""
        self.seconds[what] = self.area.reaction_s(holds, since_ms, within_s)


@dataclass(frozen=True, slots=True)
class Script:
    """What to play on an area of its own: ``options`` are ``LiveArea``'s."""

    name: str
    play: Callable[[Place], None]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Played:
    """What a script has shown: reaction times in s, the highest 1-min means in % of rating, and how it went."""

    seconds: dict[str, float]
    loading_pct: float
    phase_pct: float
    peak_pct: float
    """The highest second's loading."""
    sound: bool
    """The daemon ran to the end, unless the script killed it, and has shown no traceback."""
    trouble: str
    """What did not happen in its time; empty when everything did."""
    log: str

    @property
    def below_limit(self) -> bool:
        """Was no minute above the limit, in total or on a phase?"""
        return max(self.loading_pct, self.phase_pct) <= LIMIT_PCT


def at_fallback(second: Second) -> bool:
    """Every charger allows its fallback and no more, which is 0 A here."""
    return not any(second.allowed_ma)


def is_off(second: Second) -> bool:
    """And the cars have followed, which takes them up to 5 s: no EV load."""
    return at_fallback(second) and second.ev_pct == 0.0


def charges(pct: float) -> Callable[[Second], bool]:
    """Cars are allowed to draw, and do: at least this share of the rating."""
    return lambda second: any(second.allowed_ma) and second.ev_pct >= pct


def one_charges(piles: Sequence[int]) -> Callable[[Second], bool]:
    """One of these is charged; if they came home after a fault, control is back."""
    return lambda second: any(second.drawn_a[k] > 0.0 for k in piles)


def after(since_ms: int, seconds: float) -> Callable[[Second], bool]:
    """So much time has passed."""
    return lambda second: second.at_ms >= since_ms + seconds * 1000


def play_step(area: LiveArea) -> tuple[float, float]:
    """Let residents take 20 % of the rating more at once: (highest loading in %, last above the limit after, s)."""
    since_ms = area.base_step(STEP_PCT)
    area.reaction_s(after(since_ms, STEP_S), since_ms, STEP_S + 3)
    seconds = area.history(since_ms)
    over = [second.at_ms for second in seconds if second.loading_pct > LIMIT_PCT]
    return max(second.loading_pct for second in seconds), ((over[-1] if over else since_ms) - since_ms) / 1000


def play_all(scripts: Iterable[Script], folder: Path, say: Say, seed: int = 1) -> dict[str, Played]:
    """Play all scripts side by side, each to its end. Only in the main thread.

    ``seed`` draws residents, cars and what the proxies do to the bytes.
    """
    errands = Errands()
    with ExitStack() as stack:
        futures = {}
        for script in scripts:
            own = folder / script.name
            own.mkdir(exist_ok=True)
            broker = stack.enter_context(BrokerChild.start("mosquitto"))
            area = stack.enter_context(LiveArea(broker, own, **{"plugged": FIRST_CARS, "seed": seed} | script.options))
            daemon = Daemon(area.config)
            stack.callback(daemon.end)
            threads = stack.enter_context(ThreadPoolExecutor(1))
            place = Place(area, broker, daemon, errands)
            futures[script.name] = threads.submit(_play, script, place, say)
            # Should this end early (Ctrl-C), nobody waits for what cannot come.
            stack.callback(area.end)
        errands.serve(futures.values())
        return {name: future.result() for name, future in futures.items()}


def highest_minute(seconds: Sequence[float]) -> float:
    """The highest mean of 60 seconds in a row; of all of them where they are fewer."""
    window = min(len(seconds), 60)
    return float(np.convolve(seconds, np.full(window, 1.0 / window), "valid").max())


def _play(script: Script, place: Place, say: Say) -> Played:
    trouble = ""
    try:
        script.play(place)
    except TimeoutError as err:
        trouble = f"{script.name}: {err}"
    say(f"{script.name}: {trouble or 'done'}")
    history, words = place.area.history(), place.daemon.words()
    return Played(
        place.seconds,
        highest_minute([second.loading_pct for second in history]),
        highest_minute([second.phase_pct for second in history]),
        max(second.loading_pct for second in history),
        place.daemon.process.poll() in (None, -9) and "Traceback" not in words,
        trouble,
        words,
    )
