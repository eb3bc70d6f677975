"""Between tick and planner: what is asked, and where it is answered."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from concurrent.futures import wait
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from edge import config as cfg
from edge.core.model import Place
from edge.memory import DAY_ONE_ARRIVE_MIN, QUARTERS, Memory
from edge.planner import Proposal, Slot, Want
from edge.planning import SLOT_MS, SLOTS_MAX, USE, Beside, Inline, Question, answer, habits, skew_of, slots_ahead
from hil_tests.unit.given import FAR_MS, HOUR_MS, MV
from hil_tests.unit.street import BERLIN, NOW_MS, SHANGHAI, area, clock

if TYPE_CHECKING:
    from collections.abc import Iterator


MINUTE_MS = 60_000
EVEN = (1000, 1000, 1000)


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


def test_no_feeder_is_expected_to_carry_more_than_all_residents() -> None:
    """Solar power hides residents from the transformer's meter at noon; behind the feeder they are seen."""
    late_ma = (100.0, 100.0, 100.0, 6000.0, 2000.0, 1000.0)
    assert skew_of((100, 100, 100, 300, 9000, 0, 0), late_ma) == (1000, 1000, 1000, 2000, 666, 333)


def test_skew_is_as_it_is_until_something_is_known_of_late() -> None:
    """Other feeders than those that were learned: the present base counts, and who feeds back has nothing."""
    base = (300, 100, -50, 350, 200, 0, 0)
    assert skew_of(base, (1.0, 2.0, 3.0)) == skew_of(base, ()) == (2250, 750, 0, 1500, 0, 0)


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


@pytest.mark.parametrize("depart_min", [0, 7 * 60, 11 * 60 + 59, 12 * 60 + 30, 18 * 60, 23 * 60 + 59])
def test_expected_cars_leave_after_they_have_come(depart_min: int) -> None:
    """Whatever the default departure: the departure of who is still to come lies after the last usual arrival."""
    config = area(charging=replace(area().charging, default_depart_min=depart_min))
    usual = habits(config, Memory(), 15.0 * 60, NOW_MS)
    assert usual.depart_ms[0] > usual.arrive_ms[-1]


def test_learned_departures_take_the_place_of_the_stated_one() -> None:
    """Wishes say half past six: those still expected leave then, and not at seven."""
    memory = Memory(depart_min=6.5 * 60)
    assert habits(area(), memory, 18.0 * 60, NOW_MS).depart_ms == (NOW_MS + 12 * HOUR_MS + HOUR_MS // 2,)


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
