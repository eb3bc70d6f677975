"""Between the tick and the planner: makes the planner's question of what is known, and hands its answer to the fleet.

The question is plain data and the answer too, so the planner may run in a process of its own: the tick never waits for
it. A bench that grants virtual time asks it in place, so that a night is the same every time.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING, Protocol

from edge import config as cfg
from edge import planner
from edge.clock import monotonic_ms
from edge.localtime import local_minute

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.process import BaseProcess
    from zoneinfo import ZoneInfo

    from edge.core.model import Place
    from edge.memory import Memory

log = logging.getLogger("taiqu")

ORPHAN_S = 1.0
PLAN_MS = 300_000
NEW_MS = 10_000
"""A plan is asked for this often, and so soon after a car has come or a wish was heard."""
SLOT_MS = 900_000
SLOTS_MAX = 160
"""Forty hours ahead: the longest stay that is planned to its end."""
USE = 0.94
"""The share of the forecast room that is planned with: cars taper, draw 95 % of what they may, and leave early."""
MINUTE_MS = 60_000
HUNG_MS = 300_000
"""A plan takes seconds; a planner that has worked on one for so long hangs."""


@dataclass(frozen=True, slots=True)
class Question:
    """What the planner is asked."""

    wants: tuple[planner.Want, ...]
    slots: tuple[planner.Slot, ...]
    places: tuple[Place, ...]
    mv: int
    shares: tuple[float, ...]


def answer(question: Question) -> planner.Proposal:
    """Ask the planner."""
    q = question
    return planner.propose(q.wants, q.slots, q.places, q.mv, q.shares)


class Runner(Protocol):
    """Where the planner runs."""

    def ask(self, question: Question) -> None:
        """Begin to work on a question; one at a time."""
        ...

    def take(self) -> planner.Proposal | None:
        """The answer, once, when it is there."""
        ...

    @property
    def busy(self) -> bool:
        """Is a question still being worked on?"""
        ...

    def close(self) -> None:
        """No more questions."""
        ...


class Inline:
    """In place: for virtual time."""

    busy = False

    def __init__(self) -> None:
        self._proposal: planner.Proposal | None = None

    def ask(self, question: Question) -> None:
        """Answer at once."""
        self._proposal = answer(question)

    def take(self) -> planner.Proposal | None:
        """The last answer."""
        proposal, self._proposal = self._proposal, None
        return proposal

    def close(self) -> None:
        """Nothing to close."""


class Beside:
    """In a process of its own, of lower importance. When it dies there is no plan, and control goes on without."""

    def __init__(self) -> None:
        self._pool = _pool()
        self._future: Future[planner.Proposal] | None = None
        self._asked_ms = 0

    @property
    def busy(self) -> bool:
        """Is a question still being worked on?"""
        return self._future is not None and not self._future.done()

    def ask(self, question: Question) -> None:
        """Hand the question over. A pool that broke is replaced."""
        self._asked_ms = monotonic_ms()
        try:
            self._future = self._pool.submit(answer, question)
        except RuntimeError:  # BrokenProcessPool is one
            self._pool = _pool()
            self._future = self._pool.submit(answer, question)

    def take(self) -> planner.Proposal | None:
        """The answer, once, when it is there; none when the process died, or was ended because it hangs."""
        if self._future is None:
            return None
        if not self._future.done():
            if monotonic_ms() - self._asked_ms > HUNG_MS:
                self._kill(self._workers())
            return None
        future, self._future = self._future, None
        if (trouble := future.exception()) is not None:
            log.warning("planner: no plan (%r). Control goes on without a new one", trouble)
            return None
        return future.result()

    def close(self) -> None:
        """Leave at once; what is not answered is not needed. A worker that hangs would keep us from ending."""
        workers = self._workers()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._kill(workers)

    def _workers(self) -> list[BaseProcess]:
        return list((self._pool._processes or {}).values())  # noqa: SLF001 - the pool has no name for it

    @staticmethod
    def _kill(workers: list[BaseProcess]) -> None:
        for worker in workers:
            worker.kill()


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, get_context("spawn"), initializer=_be_nice)


def _be_nice() -> None:
    """The planner gives way to the tick, leaves Ctrl-C to it, and does not outlive it."""
    os.nice(10)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    leave_with_parent()


def leave_with_parent() -> None:
    """End this process when its parent has gone: a worker of a pool that was killed would wait for work for ever."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(ORPHAN_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def slots_ahead(
    config: cfg.AreaConfig,
    memory: Memory,
    zone: ZoneInfo,
    wall_s: float,
    now_ms: int,
    until_ms: int,
    skew: tuple[int, ...],
    mv: int,
) -> tuple[planner.Slot, ...]:
    """Quarters of an hour from now on with price and room.

    ``skew``: each phase's share of residents' load in permille of an even third, then the shares of each feeder's
    phases. Local time is asked anew for each slot, so that a change of the clock is in the plan.
    """
    minute = local_minute(zone, wall_s)
    slots = []
    start_ms = now_ms
    end_ms = now_ms + SLOT_MS - round(minute * MINUTE_MS) % SLOT_MS
    for _ in range(SLOTS_MAX):
        middle_ms = (start_ms + end_ms) // 2
        ahead_min = (middle_ms - now_ms) / MINUTE_MS
        local = local_minute(zone, wall_s + ahead_min * 60.0)
        local_min = int(local)
        line = cfg.limit_permille_at(config, local_min) - config.margin_permille
        base_va = memory.base_va(minute, local - minute if local >= minute else local - minute + 1440)
        even_ma = base_va / 3.0 * 1000.0 / (mv / 1000.0)
        room = [int((config.rated_ma * line / 1000 - even_ma * share / 1000) * USE) for share in skew[:3]]
        room.append(int((config.rating_va * line / 1000 - base_va) * 1000.0 / (mv / 1000.0) * USE))
        for k, feeder in enumerate(config.feeders):
            bears_ma = feeder.limit_ma * (1000 - config.margin_permille) / 1000
            room += [int((bears_ma - even_ma * share / 1000) * USE) for share in skew[3 + 3 * k : 6 + 3 * k]]
        price = 0.0 if not config.charging.valley or cfg.in_valley(config, local_min) else 1.0
        slots.append(planner.Slot(start_ms, end_ms, price, tuple(room)))
        # To the last departure, and into the next valley: who comes before the next plan must know when it begins.
        if end_ms >= until_ms and any(slot.price == 0.0 for slot in slots):
            break
        start_ms, end_ms = end_ms, end_ms + SLOT_MS
    return tuple(slots)


def skew_of(base: Sequence[int], recent_ma: Sequence[float]) -> tuple[int, ...]:
    """Residents' load by phase, then by feeder and phase, in permille of an even third: as of late, or as it is.

    ``base``: as it is, mA, with the sum of the phases as the fourth; ``recent_ma``: as of late, without that sum.
    """
    ma = recent_ma
    if len(ma) != len(base) - 1:
        ma = tuple(float(max(now, 0)) for now in (*base[:3], *base[4:]))
    even = max(sum(ma[:3]) / 3.0, 1.0)
    shares = [one * 1000.0 / even for one in ma]
    for at in range(3, len(shares), 3):
        # No feeder carries more than all residents together, however much of them solar power hides at noon.
        behind = max(sum(shares[at : at + 3]) / 3000.0, 1.0)
        shares[at : at + 3] = [share / behind for share in shares[at : at + 3]]
    return tuple(int(share) for share in shares)


def habits(config: cfg.AreaConfig, memory: Memory, minute: float, now_ms: int) -> planner.Habits:
    """This night's habits on the controller's clock."""
    cars, arrive_min = memory.usual_arrivals(len(config.chargers))
    since_noon_min = (minute - 720.0) % 1440.0
    noon_ms = now_ms - round(since_noon_min * MINUTE_MS)
    leaves_min = config.charging.default_depart_min if memory.depart_min is None else round(memory.depart_min)
    depart_min = (leaves_min - 720) % 1440
    if depart_min <= arrive_min[-1]:
        depart_min += 1440
    return planner.Habits(
        cars,
        tuple(noon_ms + at * MINUTE_MS for at in arrive_min),
        (noon_ms + depart_min * MINUTE_MS,),
        float(config.charging.default_want_wh),
    )
