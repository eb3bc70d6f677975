"""Between tick and planner: what is asked, where it is answered, and what a resident sees of it in the evening."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from concurrent.futures import wait
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from edge import config as cfg
from edge.clock import Moment
from edge.core.model import CHARGING, UNPLUGGED, WAIT_VALLEY, WAITING, Meter, Place
from edge.journal import Journal
from edge.loop import Controller
from edge.memory import DAY_ONE_ARRIVE_MIN, QUARTERS, Memory
from edge.planner import GO_MS, Proposal, Slot, Want
from edge.planning import SLOT_MS, SLOTS_MAX, USE, Beside, Inline, Question, answer, habits, slots_ahead
from edge.ports import ChargerState, Wish
from hil_tests.rig.closed import Air

if TYPE_CHECKING:
    from collections.abc import Iterator


MV = 220_000
HOUR_MS = 3_600_000
MINUTE_MS = 60_000
NOW_MS = 50_000_000
EVEN = (1000, 1000, 1000)
SHANGHAI, BERLIN = "Asia/Shanghai", "Europe/Berlin"
NIGHT = (23 * 60, 8 * 60)
FAR_MS = 1000 * HOUR_MS


def area(count: int = 3, **changes: Any) -> cfg.AreaConfig:  # noqa: ANN401 - fields of a configuration
    """An area below 100 kVA with chargers of 7 kW on A, B, C in turn."""
    rows = [cfg.ChargerConfig(f"p{k + 1}", 1 << k % 3, True, 32_000) for k in range(count)]
    config = cfg.AreaConfig(
        area_id="west", rating_va=100_000, rated_ma=151_515, secondary_v=380, limit_permille=800, margin_permille=15,
        timezone=SHANGHAI, windows=(), meter=cfg.MeterConfig("none", "", 0, 1, 1000, 1000),
        broker=cfg.BrokerConfig("", 0, None, None),
        charging=cfg.ChargingConfig(0, 60_000, 9000, 7 * 60, (NIGHT,), 8), chargers=tuple(rows), path=Path("west.toml"),
    )  # fmt: skip
    return replace(config, **changes)


def clock(text: str, timezone: str = SHANGHAI) -> float:
    """Unix seconds of a local time."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(timezone)).timestamp()


# --------------------------------------------------------------------------------------------------- slots to come
def ahead(
    config: cfg.AreaConfig,
    text: str,
    *,
    until_ms: int = FAR_MS,
    memory: Memory | None = None,
    skew: tuple[int, ...] = EVEN,
) -> tuple[Slot, ...]:
    """The slots from a local time on."""
    wall_s = clock(text, config.timezone)
    zone = ZoneInfo(config.timezone)
    return slots_ahead(config, memory or Memory(), zone, wall_s, NOW_MS, until_ms, skew, MV)


def wall_of(text: str, at_ms: int, timezone: str = SHANGHAI) -> datetime:
    """The local time of a moment on the controller's clock, when ``text`` is the local time of ``NOW_MS``."""
    return datetime.fromtimestamp(clock(text, timezone) + (at_ms - NOW_MS) / 1000.0, ZoneInfo(timezone))


@pytest.mark.parametrize("text", ["2026-01-15 18:07:23", "2026-01-15 18:00:00", "2026-01-15 23:59:59"])
def test_slots_are_contiguous_quarters_of_the_local_hour(text: str) -> None:
    """The first begins now and ends on a quarter of the hour; each other one begins where the last ended."""
    slots = ahead(area(), text)
    assert slots[0].start_ms == NOW_MS
    assert 0 < slots[0].end_ms - NOW_MS <= SLOT_MS
    ends = [wall_of(text, slot.end_ms) for slot in slots]
    assert all((end.minute % 15, end.second, end.microsecond) == (0, 0, 0) for end in ends)
    assert all(a.end_ms == b.start_ms for a, b in pairwise(slots))
    assert all(slot.end_ms - slot.start_ms == SLOT_MS for slot in slots[1:])


def test_slots_reach_to_the_last_departure_and_forty_hours_at_most() -> None:
    """The last slot holds the end; a stay of weeks is planned for forty hours; there is always the next cheap one."""
    until_ms = NOW_MS + 13 * HOUR_MS
    slots = ahead(area(), "2026-01-15 18:07:23", until_ms=until_ms)
    assert slots[-1].start_ms < until_ms <= slots[-1].end_ms
    assert len(ahead(area(), "2026-01-15 18:07:23")) == SLOTS_MAX
    # Who comes before the next plan must know when the valley begins.
    short = ahead(area(), "2026-01-15 18:07:23", until_ms=NOW_MS - HOUR_MS)
    assert [slot.price for slot in short] == [1.0] * (len(short) - 1) + [0.0]
    assert len(ahead(area(), "2026-01-15 23:07:23", until_ms=NOW_MS - HOUR_MS)) == 1


def test_the_limit_of_each_slot_is_its_own_hours() -> None:
    """A window of 50 % from 22:00 to 06:00: slots inside it have its room, also after midnight, all others 80 %."""
    text = "2026-01-15 18:07:23"
    config = area(windows=(cfg.LimitWindow(22 * 60, 6 * 60, 500),))
    seen = set()
    for slot in ahead(config, text):
        start = wall_of(text, slot.start_ms)
        inside = start.hour >= 22 or start.hour < 6
        line = (500 if inside else 800) - config.margin_permille
        phase_ma = int(config.rated_ma * line / 1000 * USE)
        total_ma = int(config.rating_va * line / 1000 * 1_000_000 / MV * USE)
        assert slot.room_ma == (phase_ma, phase_ma, phase_ma, total_ma), start
        seen.add((start.day, inside))
    assert seen >= {(15, False), (15, True), (16, True), (16, False), (17, True)}


def test_the_valley_costs_nothing_and_the_day_one() -> None:
    """23:00 to 08:00 is cheap on both sides of midnight, each other hour is dear."""
    text = "2026-01-15 18:07:23"
    for slot in ahead(area(), text):
        start = wall_of(text, slot.start_ms)
        assert slot.price == (0.0 if start.hour >= 23 or start.hour < 8 else 1.0), start


def test_without_a_valley_every_hour_is_cheap() -> None:
    """Nobody is asked to wait where no hour is cheaper than another."""
    config = area(charging=replace(area().charging, valley=()))
    assert {slot.price for slot in ahead(config, "2026-01-15 18:00:00")} == {0.0}


@pytest.mark.parametrize(
    ("evening", "hours"),
    [("2026-03-27 18:00:00", 9), ("2026-03-28 18:00:00", 8), ("2026-10-23 18:00:00", 9), ("2026-10-24 18:00:00", 10)],
)
def test_the_valley_moves_with_the_local_clock(evening: str, hours: int) -> None:
    """The night in which summer begins is an hour short, the one in which it ends an hour long; 08:00 is 08:00."""
    slots = ahead(area(timezone=BERLIN), evening, until_ms=NOW_MS + 20 * HOUR_MS)
    cheap = [slot for slot in slots if slot.price == 0.0]
    assert len(cheap) == hours * 4
    assert cheap[0].start_ms == NOW_MS + 5 * HOUR_MS
    assert cheap[-1].end_ms == NOW_MS + (5 + hours) * HOUR_MS
    assert (wall_of(evening, cheap[-1].end_ms, BERLIN).hour, wall_of(evening, cheap[0].start_ms, BERLIN).hour) == (
        8,
        23,
    )


def test_a_limit_window_moves_with_the_local_clock() -> None:
    """A window from 06:00 on begins an hour sooner in the night in which summer begins."""
    config = area(timezone=BERLIN, windows=(cfg.LimitWindow(6 * 60, 12 * 60, 500),))
    for evening, hours in (("2026-03-27 18:00:00", 12), ("2026-03-28 18:00:00", 11)):
        slots = ahead(config, evening)
        low = min(slot.room_ma[3] for slot in slots)
        assert next(s.start_ms for s in slots if s.room_ma[3] == low) == NOW_MS + hours * HOUR_MS


def test_room_falls_by_what_residents_are_expected_to_draw() -> None:
    """Each quarter has the room that its own learned load leaves, on each phase and in all."""
    text = "2026-01-15 18:00:00"
    config, memory = area(), Memory(profile_va=[100.0 * (quarter + 1) for quarter in range(QUARTERS)])
    for slot in ahead(config, text, memory=memory):
        start = wall_of(text, slot.start_ms)
        base_va = 100.0 * (start.hour * 4 + start.minute // 15 + 1)
        phase_ma = (config.rated_ma * 0.785 - base_va / 3.0 / 0.22) * USE
        total_ma = (config.rating_va * 0.785 - base_va) / 0.22 * USE
        assert slot.room_ma == pytest.approx((phase_ma, phase_ma, phase_ma, total_ma), abs=2.0), start


def test_more_residents_less_room() -> None:
    """A memory whose load rises leaves less room in every slot, and none above what the limit has."""
    rooms = []
    for base_va in (0.0, 20_000.0, 50_000.0, 90_000.0):
        memory = Memory(profile_va=[base_va] * QUARTERS)
        rooms.append([slot.room_ma for slot in ahead(area(), "2026-01-15 18:00:00", memory=memory)])
    for wide, narrow in pairwise(rooms):
        assert all(a > b for w, n in zip(wide, narrow, strict=True) for a, b in zip(w, n, strict=True))
    assert max(max(room) for room in rooms[-1]) < 0


def test_skew_puts_residents_on_their_phases() -> None:
    """Half as much again on A and half on C: A has so much less room and C more, the whole is the same."""
    memory = Memory(profile_va=[30_000.0] * QUARTERS)
    even = ahead(area(), "2026-01-15 18:00:00", memory=memory)[0].room_ma
    skew = ahead(area(), "2026-01-15 18:00:00", memory=memory, skew=(1500, 1000, 500))[0].room_ma
    third_ma = 10_000.0 / 0.22
    assert skew[0] == pytest.approx(even[0] - third_ma / 2 * USE, abs=2.0)
    assert skew[2] == pytest.approx(even[2] + third_ma / 2 * USE, abs=2.0)
    assert (skew[1], skew[3]) == (even[1], even[3])


def test_feeders_have_what_residents_behind_them_leave() -> None:
    """Room on a feeder is its limit less the margin less its share of residents, who come and go by the hour."""
    memory = Memory(profile_va=[60_000.0] * 48 + [30_000.0] * 48)
    config = replace(area(), feeders=(cfg.FeederConfig("f", 100_000), cfg.FeederConfig("g", 50_000)))
    slots = ahead(config, "2026-01-15 18:00:00", memory=memory, skew=(*EVEN, 500, 0, 100, 0, 0, 0))
    for slot, va in ((slots[0], 30_000), (slots[-1], 60_000)):
        third_ma = va / 3 / 0.22
        assert slot.room_ma[4:7] == pytest.approx(
            [(98_500 - third_ma * share) * USE for share in (0.5, 0.0, 0.1)], abs=2.0
        )
        assert slot.room_ma[7:] == pytest.approx([49_250 * USE] * 3, abs=2.0)


# ---------------------------------------------------------------------------------------------- habits of an evening
@pytest.mark.parametrize(("minute", "since_six_h"), [(17 * 60, -1.0), (19 * 60, 1.0), (60, 7.0), (719, 17.98333)])
def test_habits_stand_on_the_controllers_clock(minute: int, since_six_h: float) -> None:
    """Cars usually come at six: asked before, after, after midnight and just before noon, it is this evening's six."""
    memory = Memory()
    memory.arrivals[18 * 4] = 10.0
    usual = habits(area(), memory, float(minute), NOW_MS)
    six_ms = NOW_MS - round(since_six_h * 60) * MINUTE_MS
    assert (usual.cars, usual.need_wh) == (10.0, 9000.0)
    assert (usual.arrive_ms[0], usual.arrive_ms[-1]) == (six_ms, six_ms + SLOT_MS)
    assert usual.depart_ms == (six_ms + 13 * HOUR_MS,)


def test_after_noon_the_next_evening_is_meant() -> None:
    """Noon turns the page: the first arrivals of day one lie four hours ahead, as many as there are chargers."""
    usual = habits(area(5), Memory(), 720.0, NOW_MS)
    assert usual.cars == 5.0
    assert usual.arrive_ms == tuple(NOW_MS + at * MINUTE_MS for at in DAY_ONE_ARRIVE_MIN)


# -------------------------------------------------------------------------------------------- where it is answered
def question(name: str = "a") -> Question:
    """One car, two slots, the second one cheap."""
    room = (10**6, 10**6, 10**6, 10**6)
    slots = (Slot(0, HOUR_MS, 1.0, room), Slot(HOUR_MS, 9 * HOUR_MS, 0.0, room))
    return Question((Want(name, 0, 32_000, 9000.0, 9 * HOUR_MS),), slots, (Place(1, 1, True, -1),), MV, 1.0)


def test_inline_answers_at_once_and_once() -> None:
    """The answer is there when asking returns, and taken it is gone; it is never busy."""
    runner = Inline()
    assert runner.take() is None
    runner.ask(question())
    assert not runner.busy
    proposal = runner.take()
    assert proposal is not None
    assert proposal.start_ms == {"a": HOUR_MS}
    assert runner.take() is None
    runner.ask(question("a"))
    runner.ask(question("b"))
    proposal = runner.take()
    assert proposal is not None
    assert list(proposal.start_ms) == ["b"]
    runner.close()


@pytest.fixture
def beside() -> Iterator[Beside]:
    """A planner in a process of its own, which ends with the test."""
    runner = Beside()
    yield runner
    left = workers(runner)
    runner.close()
    for pid in left:
        _kill(pid)


def workers(runner: Beside) -> list[int]:
    """The processes that are or were the planner's."""
    return list(runner._pool._processes or {})


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def finish(runner: Beside) -> Proposal | None:
    """Wait until the question is answered, or its process is known to be dead; then take."""
    assert runner._future is not None
    done, _ = wait([runner._future], timeout=60)
    assert done
    assert not runner.busy
    return runner.take()


def test_beside_answers_from_a_process_of_its_own(beside: Beside) -> None:
    """What comes back is what the planner says in place, once, and it was another process that said it."""
    assert beside.take() is None
    assert not beside.busy
    beside.ask(question())
    assert finish(beside) == answer(question())
    assert workers(beside)
    assert os.getpid() not in workers(beside)
    assert beside.take() is None
    beside.ask(question("b"))
    assert finish(beside) == answer(question("b"))


def test_beside_is_busy_and_empty_handed_while_it_works(beside: Beside) -> None:
    """A process that makes no headway: busy, no answer, and asking for it costs nothing; set going, it answers."""
    beside.ask(question())
    finish(beside)
    (pid,) = workers(beside)
    os.kill(pid, signal.SIGSTOP)
    beside.ask(question("b"))
    assert beside.busy
    assert beside.take() is None
    assert beside.busy
    os.kill(pid, signal.SIGCONT)
    assert finish(beside) == answer(question("b"))


def test_beside_killed_at_work_has_no_answer_and_answers_the_next_question(beside: Beside) -> None:
    """Its process is killed over a question: that one has no answer, nothing is raised, and a new process goes on."""
    beside.ask(question())
    finish(beside)
    (pid,) = workers(beside)
    os.kill(pid, signal.SIGSTOP)
    beside.ask(question("b"))
    os.kill(pid, signal.SIGKILL)
    assert finish(beside) is None
    assert not beside.busy
    beside.ask(question("c"))
    assert finish(beside) == answer(question("c"))
    assert pid not in workers(beside)


def test_beside_killed_at_rest_is_back_with_the_second_question_at_the_latest(beside: Beside) -> None:
    """Its process is killed between questions: the next one may go down with it, the one after is answered."""
    beside.ask(question())
    finish(beside)
    (pid,) = workers(beside)
    os.kill(pid, signal.SIGKILL)
    answers = []
    for name in ("b", "c"):
        beside.ask(question(name))
        answers.append(finish(beside))
    assert answers[0] in (None, answer(question("b")))
    assert answers[1] == answer(question("c"))


def test_host_planner_hangs_and_is_replaced(beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    """H1: a planner that works on one question for too long is ended: no answer to that one, and one to the next."""
    beside.ask(question())
    finish(beside)
    (pid,) = workers(beside)
    os.kill(pid, signal.SIGSTOP)
    beside.ask(question("b"))
    assert beside.take() is None
    assert beside.busy
    monkeypatch.setattr("edge.planning.HUNG_MS", -1)
    assert beside.take() is None
    assert finish(beside) is None
    monkeypatch.undo()
    beside.ask(question("c"))
    assert finish(beside) == answer(question("c"))
    assert pid not in workers(beside)


def test_host_planner_hangs_and_the_controller_ends_all_the_same() -> None:
    """H1: a process that is asked to end is not kept alive, a zombie, by a planner that makes no headway."""
    script = (
        "import os, signal, sys\n"
        "from edge.planning import Beside, Question\n"
        "if __name__ == '__main__':\n"
        "    runner = Beside()\n"
        "    runner.ask(Question((), (), (), 220000, 1.0))\n"
        "    while runner.busy: pass\n"
        "    os.kill(next(iter(runner._pool._processes)), signal.SIGSTOP)\n"
        "    runner.ask(Question((), (), (), 220000, 1.0))\n"
        "    runner.close()\n"
        "    sys.exit(70)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=30, check=False).returncode == 70


@pytest.mark.parametrize("stuck", [False, True])
def test_beside_closes_at_once(*, stuck: bool) -> None:
    """Leaving waits for no answer, not even that of a process that makes no headway; closing twice is no error."""
    runner = Beside()
    runner.ask(question())
    finish(runner)
    (pid,) = workers(runner)
    if stuck:
        os.kill(pid, signal.SIGSTOP)
        runner.ask(question("b"))
    leaving = threading.Thread(target=runner.close, daemon=True)
    leaving.start()
    leaving.join(10)
    gone = not leaving.is_alive()
    _kill(pid)
    runner.close()
    assert gone


def test_beside_that_was_never_asked_closes() -> None:
    """A controller that stops in its first minute has no planner's process to wait for."""
    runner = Beside()
    runner.close()
    assert runner.take() is None


# --------------------------------------------------------------------------------------------- what a resident sees
@dataclass
class Pile:
    """One obedient charger: draws what it is allowed, speaks every ten seconds and on every change."""

    name: str
    phase: int
    plug: int = UNPLUGGED
    wh: float = 0.0
    allowed_ma: int = 0
    epoch: int = 0
    seq: int = 0
    said: tuple[int, int] = (-1, -1)

    def state(self, now_ms: int) -> ChargerState:
        """Its telemetry."""
        ma = self.allowed_ma if self.plug == CHARGING else 0
        mas = (ma, 0, 0)
        lease_ms = 50_000 if self.allowed_ma else 0
        return ChargerState(
            self.name, 7, now_ms, self.epoch, self.seq, self.plug, mas, ma * 220 // 1000, int(self.wh),
            self.allowed_ma, lease_ms, 0, 32_000,
        )  # fmt: skip


@dataclass
class Load:
    """The transformer's meter: residents' load is set, the cars' comes on top."""

    piles: list[Pile]
    base_va: float = 20_000.0

    def read(self, now_ms: int) -> Meter:
        """What stands on the busbar."""
        ma = [round(self.base_va / 3.0 / 0.22)] * 3
        for pile in self.piles:
            if pile.plug == CHARGING:
                ma[pile.phase] += pile.allowed_ma
        s_va = sum(ma) * 220 // 1000
        return Meter(now_ms, s_va, s_va * 95 // 100, s_va * 31 // 100, (ma[0], ma[1], ma[2]), (MV, MV, MV))

    def close(self) -> None:
        """Nothing to close."""


@dataclass
class Street:
    """A controller in memory with its chargers, second by second from a local time on."""

    text: str | None
    config: cfg.AreaConfig = field(default_factory=area)
    base_va: float = 20_000.0
    runner: Any = None
    memory: Memory = field(default_factory=Memory)
    now_ms: int = NOW_MS
    highest_permille: int = 0

    def __post_init__(self) -> None:
        self.piles = {c.id: Pile(c.id, c.phases // 2) for c in self.config.chargers}
        self.load = Load(list(self.piles.values()), self.base_va)
        self.air = Air()
        self.controller = Controller(self.config, self.load, self.air, Journal(None), self.runner, self.memory)
        self.wall_s = None if self.text is None else clock(self.text, self.config.timezone)

    def play(self, seconds: float) -> Street:
        """Let time pass."""
        for _ in range(round(seconds)):
            self._second()
        return self

    def until(self, text: str) -> Street:
        """Let time pass until a local time."""
        assert self.wall_s is not None
        return self.play(clock(text, self.config.timezone) - self.wall_s)

    def _second(self) -> None:
        self.now_ms += 1000
        self.wall_s = None if self.wall_s is None else self.wall_s + 1.0
        for pile in self.piles.values():
            if pile.plug in (WAITING, CHARGING):
                pile.plug = CHARGING if pile.allowed_ma else WAITING
                pile.wh += pile.allowed_ma * 0.22 / 3600.0
            if pile.said != (pile.plug, pile.allowed_ma) or self.now_ms % 10_000 == 0:
                pile.said = (pile.plug, pile.allowed_ma)
                self.air.up.append(pile.state(self.now_ms))
        self.highest_permille = max(self.highest_permille, self.load.read(self.now_ms).s_va * 1000 // 100_000)
        self.controller.tick(Moment(self.now_ms, self.wall_s))
        sent, self.air.down = self.air.down, []
        for setpoint in sent:
            pile = self.piles[setpoint.charger]
            pile.allowed_ma, pile.epoch, pile.seq = setpoint.ma, setpoint.epoch, setpoint.seq

    def come(self, name: str) -> Street:
        """A car is plugged in."""
        self.piles[name].plug, self.piles[name].wh = WAITING, 0.0
        return self

    def leave(self, name: str) -> Street:
        """A car drives off."""
        self.piles[name].plug, self.piles[name].allowed_ma = UNPLUGGED, 0
        return self

    def wish(self, name: str, depart: str = "2026-01-16 07:00", want_wh: int = 9000, **more: Any) -> Street:  # noqa: ANN401 - fields of a wish
        """A resident asks for something."""
        self.air.up.append(Wish(name, want_wh, round(clock(depart, self.config.timezone)), **more))
        return self

    def reason(self, name: str) -> int:
        """Why a charger has what it has."""
        reason: int = next(c.reason for c in self.controller.control.commands if c.id == name)
        return reason

    def starts(self, name: str, text: str) -> datetime | None:
        """When its car begins to charge, looked for until a local time."""
        end_s = clock(text, self.config.timezone)
        while self.wall_s is not None and self.wall_s < end_s:
            if self.piles[name].plug == CHARGING:
                return datetime.fromtimestamp(self.wall_s, ZoneInfo(self.config.timezone)).replace(tzinfo=None)
            self._second()
        return None


def at(text: str) -> datetime:
    """A local time."""
    return datetime.fromisoformat(text)


def evening(**more: Any) -> Street:  # noqa: ANN401 - fields of a street
    """A street that was started long enough before 22:30 to have its start-up, and the starts it spreads, behind it."""
    return Street("2026-01-15 22:15", **more).until("2026-01-15 22:30")


def test_an_evening_car_waits_for_the_valley_and_starts_in_it() -> None:
    """Home at 22:30, gone at 07:00: it waits and says why, and charges within ten minutes after 23:00."""
    street = evening().come("p1").play(5)
    assert street.reason("p1") == WAIT_VALLEY
    street.until("2026-01-15 22:59:50")
    assert street.reason("p1") == WAIT_VALLEY
    assert street.piles["p1"].wh == 0.0
    begun = street.starts("p1", "2026-01-15 23:30")
    assert begun is not None
    assert at("2026-01-15 23:00") <= begun <= at("2026-01-15 23:10:15")


def test_all_cars_of_a_street_start_in_the_first_ten_minutes_of_the_valley() -> None:
    """Three cars that have waited are on at 23:11, and not all in one second."""
    street = evening().come("p1").come("p2").come("p3").until("2026-01-15 22:59:50")
    assert [street.reason(name) for name in street.piles] == [WAIT_VALLEY] * 3
    street.until("2026-01-15 23:11")
    assert [pile.plug for pile in street.piles.values()] == [CHARGING] * 3
    assert len({round(pile.wh) for pile in street.piles.values()}) == 3


def test_charge_now_starts_at_once_and_within_the_limit() -> None:
    """立即充电 at 22:30 below a nearly full transformer: on within a minute, with what there is room for."""
    street = evening(base_va=70_000.0).come("p1").wish("p1", now=True)
    begun = street.starts("p1", "2026-01-15 22:40")
    assert begun is not None
    assert begun <= at("2026-01-15 22:31")
    street.play(120)
    assert 6000 <= street.piles["p1"].allowed_ma < 32_000
    assert street.highest_permille <= 800


def test_charge_now_gets_a_car_out_of_its_wait() -> None:
    """A car that waits for the valley and whose resident then is in a hurry is on within a minute."""
    street = evening().come("p1").play(300)
    assert street.reason("p1") == WAIT_VALLEY
    street.wish("p1", now=True).play(60)
    assert street.piles["p1"].plug == CHARGING


def test_the_ninth_charge_now_of_a_month_is_refused_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Eight sessions of a month are charged at once; the ninth and tenth wait for the valley, the log says it once."""
    street = evening()
    granted = []
    with caplog.at_level(logging.INFO, "taiqu"):
        for _ in range(10):
            street.come("p1").wish("p1", now=True).play(3)
            street.wish("p1", now=True).play(3)
            granted.append(street.controller.fleet.units["p1"].at_once)
            if len(granted) < 10:
                street.leave("p1").play(3)
        street.play(60)
    assert granted == [True] * 8 + [False] * 2
    assert street.reason("p1") == WAIT_VALLEY
    assert [r.getMessage() for r in caplog.records if "charge now" in r.getMessage()] == [
        "west: p1: charge now refused, 2026-01 is used up"
    ]


def test_charge_now_is_counted_by_charger_and_by_month() -> None:
    """One charger's eight are its own, and the first of the next month brings new ones, by the local calendar."""
    street = Street("2026-01-31 23:59:00").play(5)
    grant = street.controller._grant_now
    assert [grant("p1") for _ in range(9)] == [True] * 8 + [False]
    assert grant("p2")
    street.play(50)
    assert not grant("p1")
    street.play(10)
    assert grant("p1")


def test_now_zero_times_a_month_is_never() -> None:
    """Where the area allows none, the first wish is refused and the car waits as any other."""
    street = evening(config=area(charging=replace(area().charging, now_per_month=0)))
    street.come("p1").wish("p1", now=True).play(60)
    assert street.reason("p1") == WAIT_VALLEY


def test_a_wish_that_is_not_orderly_does_not_wait() -> None:
    """Normal mode: charged as soon as there is room, half an hour before the valley, and no charge-now is counted."""
    street = evening().come("p1").wish("p1", orderly=False).come("p2").wish("p2")
    begun = street.starts("p1", "2026-01-15 22:50")
    assert begun is not None
    assert begun <= at("2026-01-15 22:31:30")
    assert street.reason("p2") == WAIT_VALLEY
    assert not street.controller.granted


def test_who_leaves_before_the_valley_starts_at_once() -> None:
    """Gone at 23:00 with 3 kWh to get, or in an hour with more than fits: it does not wait."""
    street = Street("2026-01-15 21:00").until("2026-01-15 22:00")
    street.come("p1").wish("p1", "2026-01-15 22:58", 7500)
    begun = street.starts("p1", "2026-01-15 22:30")
    assert begun is not None
    assert begun <= at("2026-01-15 22:05")


def test_who_leaves_before_the_valley_starts_at_once_with_time_to_spare_too() -> None:
    """Home at 18:00, gone at 22:00: nothing is cheaper before that, so it starts and leaves with what it asked for."""
    street = Street("2026-01-15 17:45").until("2026-01-15 18:00")
    begun = street.come("p1").wish("p1", "2026-01-15 22:00").starts("p1", "2026-01-15 18:30")
    assert begun is not None
    assert begun <= at("2026-01-15 18:05")
    assert street.until("2026-01-15 22:00").piles["p1"].wh >= 8900.0


def test_without_wall_time_nobody_waits() -> None:
    """The clock was never set: a car is charged when it comes, for nobody knows when the valley is."""
    street = Street(None).play(900).come("p1").play(60)
    assert street.piles["p1"].plug == CHARGING
    assert street.controller.proposal.start_ms == {}


def test_without_a_valley_nobody_waits() -> None:
    """One price for all hours: a car is charged when it comes."""
    street = evening(config=area(charging=replace(area().charging, valley=()))).come("p1").play(60)
    assert street.piles["p1"].plug == CHARGING


class Late(Inline):
    """A planner that takes a few ticks, as one in a process of its own does."""

    def __init__(self, ticks: int) -> None:
        super().__init__()
        self.ticks, self.left = ticks, 0

    @property
    def busy(self) -> bool:  # type: ignore[override]
        """Is a question still being worked on?"""
        return self._proposal is not None and self.left > 0

    def ask(self, question: Question) -> None:
        """Answer after a while."""
        super().ask(question)
        self.left = self.ticks

    def take(self) -> Proposal | None:
        """The answer, when its time has come."""
        if self.left > 0:
            self.left -= 1
            return None
        return super().take()


@pytest.mark.parametrize("after_s", [1, 3, 150])
def test_a_car_waits_for_the_valley_while_its_first_plan_is_made(after_s: int) -> None:
    """The planner needs three seconds, and the last plan knew of no car: the newcomer does not begin in dear hours."""
    street = evening(runner=Late(3))
    planned_ms = street.controller.planned_ms
    while street.controller.planned_ms == planned_ms:
        street.play(1)
    street.play(after_s).come("p1").until("2026-01-15 22:59:50")
    assert street.piles["p1"].wh == 0.0


def test_after_the_last_usual_hour_a_car_still_waits_for_the_valley() -> None:
    """Nobody is expected any more: the one who comes between two plans waits like the others before."""
    street = evening()
    assert street.controller.proposal.start_ms == {}
    planned_ms = street.controller.planned_ms
    while street.controller.planned_ms == planned_ms:
        street.play(1)
    street.play(1).come("p1").until("2026-01-15 22:59:50")
    assert street.piles["p1"].wh == 0.0


# ------------------------------------------------------------------------------------------------ what it all learns
def test_arrivals_are_learned_at_their_hour() -> None:
    """A car that comes at 22:30 is one session of that quarter of an hour; one that stays is not counted again."""
    street = evening().come("p1").play(1200)
    assert street.memory.seen == 1
    assert street.memory.today[22 * 4 + 2] == 1


def test_cars_found_at_the_start_are_no_arrivals_of_this_hour() -> None:
    """A controller that starts at 03:00 among cars of the evening learns nothing of when they came."""
    street = Street("2026-01-16 03:00")
    for name in street.piles:
        street.come(name)
    street.play(120)
    assert street.memory.today[3 * 4] == 0


def test_residents_load_is_learned_without_the_cars() -> None:
    """A car charges through a quarter of an hour: what is learned of it is the residents' load alone."""
    street = evening(base_va=40_000.0).come("p1").wish("p1", now=True).until("2026-01-15 22:46")
    assert street.piles["p1"].wh > 1000.0
    assert street.memory.profile_va[22 * 4 + 2] == pytest.approx(40_000.0, rel=0.02)


# ---------------------------------------------------------------------------------------------- load without control
def said_of_load(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said of load outside control: its level and its first words."""
    texts = [(r.levelname, r.getMessage()) for r in caplog.records]
    return [f"{level} {text[6:30]}" for level, text in texts if "load" in text]


ABOVE, BELOW = "WARNING uncontrollable load: res", "INFO load outside control is "


def test_load_that_no_charger_can_cure_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """Residents alone above the limit: one warning; it ends a point below the limit and not before."""
    with caplog.at_level(logging.INFO, "taiqu"):
        street = Street("2026-01-15 18:00", base_va=50_000.0).play(120)
        assert said_of_load(caplog) == []
        street.load.base_va = 85_000.0
        street.play(900)
        assert said_of_load(caplog) == [ABOVE]
        street.load.base_va = 79_500.0
        street.play(1800)
        assert said_of_load(caplog) == [ABOVE]
        street.load.base_va = 78_000.0
        street.play(600)
        assert said_of_load(caplog) == [ABOVE, BELOW]


def test_a_kettle_is_no_alarm(caplog: pytest.LogCaptureFixture) -> None:
    """Twenty seconds above the limit are over before anybody could go and look."""
    with caplog.at_level(logging.INFO, "taiqu"):
        street = Street("2026-01-15 18:00", base_va=60_000.0).play(120)
        street.load.base_va = 90_000.0
        street.play(20)
        street.load.base_va = 60_000.0
        street.play(300)
    assert said_of_load(caplog) == []


def test_cars_are_not_load_without_control(caplog: pytest.LogCaptureFixture) -> None:
    """Three cars fill the transformer to its limit: that is control at work and no alarm."""
    with caplog.at_level(logging.INFO, "taiqu"):
        street = Street("2026-01-15 23:00", base_va=70_000.0).come("p1").come("p2").come("p3").play(1800)
        assert street.load.read(0).s_va > 76_000
    assert ABOVE not in said_of_load(caplog)


def test_load_without_control_is_said_without_wall_time_too(caplog: pytest.LogCaptureFixture) -> None:
    """A gateway whose clock was never set: residents above the limit are an alarm all the same."""
    with caplog.at_level(logging.INFO, "taiqu"):
        Street(None, base_va=85_000.0).play(900)
    assert said_of_load(caplog) == [ABOVE]


def test_an_alarm_of_load_ends_without_wall_time_too(caplog: pytest.LogCaptureFixture) -> None:
    """The clock is lost while residents are above the limit: when they fall below, it is said."""
    with caplog.at_level(logging.INFO, "taiqu"):
        street = Street("2026-01-15 18:00", base_va=85_000.0).play(120)
        street.wall_s = None
        street.load.base_va = 40_000.0
        street.play(900)
    assert said_of_load(caplog) == [ABOVE, BELOW]


# ------------------------------------------------------------------------------------------------- counting the wish
def test_charge_now_taken_back_and_asked_again_is_one_session() -> None:
    """Now, not now, now again with the same car: one of the eight is gone."""
    street = evening().come("p1").wish("p1", now=True).play(2).wish("p1").play(2).wish("p1", now=True).play(2)
    assert sum(street.controller.granted.values()) == 1


def test_a_wish_for_now_without_a_car_is_not_counted() -> None:
    """The socket is free: a wish that the broker repeats there, with no session to serve, uses nothing up."""
    street = evening()
    for _ in range(3):
        street.wish("p1", now=True).play(2)
        street.come("p1").play(2).leave("p1").play(2)
    street.wish("p1", now=True).play(2)
    assert sum(street.controller.granted.values()) == 3


def test_a_plan_of_the_last_car_is_not_the_next_ones() -> None:
    """An answer that comes when the car it was for has gone tells its successor nothing."""
    street = evening().come("p1").play(30)
    unit = street.controller.fleet.units["p1"]
    stale = replace(street.controller.proposal, aim_wh={"p1": 1000.0}, start_ms={"p1": GO_MS})
    street.leave("p1").play(2)
    street.controller.fleet.follow(stale)
    assert unit.missing_wh == 0


# ----------------------------------------------------------------------------------- one neighbour and all the others
def test_a_wish_that_cannot_be_met_sends_nobody_else_into_dear_hours() -> None:
    """One resident asks for 100 kWh until seven, more than its charger can give: its neighbours wait as ever."""
    street = evening().come("p1").wish("p1", want_wh=100_000).come("p2").come("p3").play(600)
    assert (street.reason("p2"), street.reason("p3")) == (WAIT_VALLEY, WAIT_VALLEY)


def test_a_wish_that_cannot_be_met_cuts_nobody_elses_aim() -> None:
    """One resident asks for 100 kWh, and there is room for all that its charger can give: others keep their aims."""
    street = evening().come("p1").wish("p1", want_wh=100_000).come("p2").come("p3").play(600)
    assert [street.controller.fleet.units[name].missing_wh for name in ("p2", "p3")] == [0, 0]


def test_a_car_that_stays_after_its_hour_sends_nobody_else_into_dear_hours() -> None:
    """It said 22:31, has not got everything and is still there: its neighbours wait as ever."""
    street = evening().come("p1").wish("p1", "2026-01-15 22:31").play(120).come("p2").play(300)
    assert street.reason("p2") == WAIT_VALLEY


def test_a_car_that_leaves_early_sends_nobody_else_into_dear_hours() -> None:
    """One car is gone at 22:55 and is charged before: another that comes between two plans waits for the valley."""
    street = evening().come("p1").wish("p1", "2026-01-15 22:55", 2000).play(30)
    planned_ms = street.controller.planned_ms
    while street.controller.planned_ms == planned_ms:
        street.play(1)
    street.play(1).come("p2").until("2026-01-15 22:54")
    assert street.piles["p2"].wh == 0.0


def test_who_leaves_before_the_valley_has_everything_beside_one_who_stays() -> None:
    """A neighbour that waits for the valley changes nothing: gone at 22:00, it leaves with what it asked for."""
    street = Street("2026-01-15 17:45").until("2026-01-15 18:00").come("p2")
    street.come("p1").wish("p1", "2026-01-15 22:00").until("2026-01-15 22:00")
    assert street.piles["p1"].wh >= 8900.0


def test_who_leaves_in_the_valley_begins_before_it_when_it_must() -> None:
    """Gone at 23:45 with 8 kWh to get: the valley alone cannot give it, so it begins in time."""
    street = evening().come("p2").come("p1").wish("p1", "2026-01-15 23:45", 8000).until("2026-01-15 23:45")
    assert street.piles["p1"].wh >= 7900.0
    assert street.piles["p2"].wh < 7900.0


# ---------------------------------------------------------------------------------------- the clock is put forward
@pytest.mark.parametrize(("text", "hours"), [("2026-03-27", 13), ("2026-03-28", 12), ("2026-10-24", 14)])
def test_the_default_departure_moves_with_the_local_clock(text: str, hours: int) -> None:
    """Seven in the morning is seven in the morning, also in the nights in which summer begins and ends."""
    street = Street(f"{text} 17:59:59", config=area(timezone=BERLIN)).come("p1").play(1)
    assert street.controller.fleet.units["p1"].depart_ms == NOW_MS + 1000 + hours * HOUR_MS


def test_the_month_of_charge_now_outlives_a_restart() -> None:
    """Eight are used up; the controller starts again with what it keeps: the ninth is refused."""
    street = evening()
    for _ in range(8):
        street.come("p1").wish("p1", now=True).play(2).leave("p1").play(2)
    kept = Memory.from_json(street.memory.as_json())
    again = Street("2026-01-15 22:40", memory=kept).play(120).come("p1").wish("p1", now=True).play(2)
    assert not again.controller.fleet.units["p1"].at_once


# ------------------------------------------------------------------------------------------ when usual cars leave
@pytest.mark.parametrize("depart_min", [0, 7 * 60, 11 * 60 + 59, 12 * 60 + 30, 18 * 60, 23 * 60 + 59])
def test_expected_cars_leave_after_they_have_come(depart_min: int) -> None:
    """Whatever the default departure: the departure of who is still to come lies after the last usual arrival."""
    config = area(charging=replace(area().charging, default_depart_min=depart_min))
    usual = habits(config, Memory(), 15.0 * 60, NOW_MS)
    assert usual.depart_ms[0] > usual.arrive_ms[-1]


def test_a_default_departure_in_the_evening_sends_nobody_into_dear_hours() -> None:
    """Cars usually leave at 18:00 here: one that comes at 19:30 waits for the valley, others expected or not."""
    config = area(charging=replace(area().charging, default_depart_min=18 * 60))
    street = Street("2026-01-15 19:15", config=config).until("2026-01-15 19:30").come("p1").play(300)
    assert street.reason("p1") == WAIT_VALLEY


def test_learned_departures_take_the_place_of_the_stated_one() -> None:
    """Wishes say half past six: those still expected leave then, and not at seven."""
    memory = Memory(depart_min=6.5 * 60)
    assert habits(area(), memory, 18.0 * 60, NOW_MS).depart_ms == (NOW_MS + 12 * HOUR_MS + HOUR_MS // 2,)


def test_a_wish_in_the_past_sends_nobody_else_into_dear_hours() -> None:
    """A wish of yesterday that the broker kept: its own car may go, its neighbour waits for the valley."""
    street = evening().come("p1").wish("p1", "2026-01-15 07:00").come("p2").play(300)
    assert street.reason("p2") == WAIT_VALLEY


def test_what_cannot_be_met_is_said_when_it_is_known_and_what_can_too() -> None:
    """100 kWh until seven is more than the charger can give; the neighbour's nine fit: both are said, once each."""
    street = evening().come("p1").wish("p1", want_wh=100_000).come("p2").play(60)
    promised = street.controller.promised
    assert promised["p1"][1] == "stay"
    assert 40_000 < promised["p1"][0] < 70_000
    assert promised["p2"] == (9000, "")
    street.controller.told.clear()
    assert street.play(600).controller.told == []


def test_a_planner_whose_controller_was_killed_does_not_stay() -> None:
    """SIGKILL takes the controller without a word; its planner's process, idle or not, is gone soon after."""
    script = (
        "import os, sys\n"
        "from edge.planning import Beside, Question\n"
        "if __name__ == '__main__':\n"
        "    runner = Beside()\n"
        "    runner.ask(Question((), (), (), 220000, 1.0))\n"
        "    while runner.busy: pass\n"
        "    print(next(iter(runner._pool._processes)), flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as controller:
        assert controller.stdout is not None
        planner = int(controller.stdout.readline())
        ends = os.pidfd_open(planner)
        controller.kill()
    try:
        assert select.select([ends], [], [], 20.0)[0], "the planner outlives its controller"
    finally:
        os.close(ends)


def test_a_wall_clock_that_is_set_later_dates_departures_anew() -> None:
    """A gateway without a clock has its time an hour late: who came meanwhile leaves when it said."""
    street = Street(None).play(120).come("p1").wish("p1", "2026-01-16 05:00").come("p2").play(60)
    units = street.controller.fleet.units
    street.wall_s = clock("2026-01-15 23:30")
    street.play(2)
    hours = [round((units[name].depart_ms - street.now_ms) / 3_600_000, 2) for name in ("p1", "p2")]
    assert hours == [5.5, 7.5]
    street.wall_s -= 3600.0
    street.play(2)
    hours = [round((units[name].depart_ms - street.now_ms) / 3_600_000, 2) for name in ("p1", "p2")]
    assert hours == [6.5, 8.5]


def test_a_wish_said_again_changes_nothing_and_asks_for_no_plan() -> None:
    """An app that repeats its wish, in case nobody listened, costs nothing and is learned from once."""
    street = evening().come("p1").wish("p1", "2026-01-16 06:00").play(60)
    learned, planned_ms = street.controller.memory.depart_min, street.controller.planned_ms
    for _ in range(30):
        street.wish("p1", "2026-01-16 06:00").play(1)
    assert street.controller.memory.depart_min == learned
    assert street.controller.planned_ms == planned_ms


def test_a_wish_may_say_only_what_it_is_about() -> None:
    """Charge me now needs neither energy nor hour: the area's defaults stand in."""
    street = evening().come("p1")
    street.air.up.append(Wish("p1", now=True))
    street.play(60)
    unit = street.controller.fleet.units["p1"]
    assert street.piles["p1"].plug == CHARGING
    assert round((unit.depart_ms - street.now_ms) / 3_600_000, 1) == 8.5
    assert [want.need_wh for want in street.controller.fleet.wants()] == [9000]


def test_the_journal_names_every_charger_whose_reason_changes(tmp_path: Path) -> None:
    """From the lines alone anybody's reason at any tick: all of them at first and each hour, then every change."""
    street = Street("2026-01-15 22:15")
    street.controller.journal = Journal(tmp_path / "j.jsonl")
    street.come("p1").until("2026-01-15 23:05")
    street.controller.journal.close()
    told: dict[str, str] = {}
    full = 0
    for line in (tmp_path / "j.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        full += len(entry["reasons"]) == len(street.piles)
        told.update(entry["reasons"])
        counted: dict[str, int] = {}
        for why in told.values():
            counted[why] = counted.get(why, 0) + 1
        assert counted == entry["why"]
    assert full >= 1
    assert told["p2"] == "no_car"


def test_a_promise_that_shrinks_is_said_again() -> None:
    """The reason stays, the energy does not: half a kWh less is told, a few Wh are not."""
    street = evening().come("p1").play(60)
    street.controller.told.clear()
    name = "p1"
    for wh, again in ((8500.0, True), (8300.0, False), (1500.0, True)):
        street.controller._promise(Proposal(expect_wh={name: wh}, aim_wh={name: 9000.0}))
        assert bool(street.controller.told) == again
        street.controller.told.clear()
