"""The machine under the controller: clocks that jump, sleep and stall. Only monotonic time decides."""

from __future__ import annotations

import functools
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from edge.clock import GAP_MS, SLEEP_MS, WALL_S_MIN, RealClock
from edge.core import watch
from edge.cycle import live
from edge.fleet import EPOCH_STEP
from edge.notify import Notifier
from hil_tests.unit.yard import EVENING_S, Yard, area

if TYPE_CHECKING:
    from collections.abc import Callable

CHARGING_S = 300
START_UP_S = 62
"""A lease of 60 s, a hundredth for the chargers' clocks, and one second."""
YEAR_S = 31_557_600


class Hours:
    """All clocks of a machine; whoever pumps passes the time away."""

    lost_steps = 0
    connected = True

    def __init__(self) -> None:
        self.now_ms, self.awake_ms, self.wall_s = 5_000_000, 1_000_000, EVENING_S
        self.clock = RealClock(1000, lambda: self.now_ms, lambda: self.awake_ms, lambda: self.wall_s)

    def work(self, ms: int) -> None:
        """The machine is awake."""
        self.now_ms += ms
        self.awake_ms += ms
        self.wall_s += ms / 1000

    def sleep(self, ms: int) -> None:
        """It is suspended."""
        self.now_ms += ms
        self.wall_s += ms / 1000

    def pump(self, until_ms: int) -> None:
        """Nothing comes."""
        self.work(max(until_ms - self.now_ms, 0))

    def drain(self, step: int, senders: list[str]) -> None:
        """No bench."""

    def mark(self, step: int) -> None:
        """No bench."""

    def flush(self, within_ms: int) -> None:
        """Nothing waits."""

    def gap(self) -> str:
        """What the next tick is told."""
        moment = self.clock.wait(self)
        assert moment is not None
        return moment.gap


# ------------------------------------------------------------------------------------------------ a gap (H10, H11)
def test_host_ticks_in_time_have_no_gap() -> None:
    """A tick a second, also when each takes most of it, and when the machine has run for years."""
    hours = Hours()
    for k in range(100):
        assert hours.gap() == ""
        hours.work(k * 9)


@pytest.mark.parametrize(("took_ms", "seen"), [(GAP_MS - 1, ""), (GAP_MS, ""), (GAP_MS + 1, "a cycle took 10 s")])
def test_host_starved_cycle_is_a_gap_above_ten_seconds(took_ms: int, seen: str) -> None:
    """H11: no processor for so long, or a call that did not come back: the next tick is told, the one after is not."""
    hours = Hours()
    assert hours.gap() == ""
    hours.work(took_ms)
    assert hours.gap() == seen
    assert hours.gap() == ""


@pytest.mark.parametrize(
    ("slept_ms", "seen"),
    [(SLEEP_MS, ""), (SLEEP_MS + 1, "the machine slept for 1 s"), (60_000, "the machine slept for 60 s")],
)
def test_host_suspend_is_a_gap_however_short(slept_ms: int, seen: str) -> None:
    """H10: one clock goes on while the machine sleeps and the other does not: the difference is sleep."""
    hours = Hours()
    assert hours.gap() == ""
    hours.sleep(slept_ms)
    assert hours.gap() == seen
    assert hours.gap() == ""


def gone_for(yard: Yard, seconds: int, why: str) -> Yard:
    """Nobody decides for so long; then one tick."""
    yard.now_ms += seconds * 1000
    yard.gap = why
    return yard.play(1)


def test_host_suspend_goes_back_through_the_start_up_rule() -> None:
    """H10: 60 s asleep: everybody is told to come down, then for a whole lease nothing is sent, then all is normal."""
    yard = Yard().play(CHARGING_S)
    epoch = yard.controller.epoch
    assert sum(ma > 0 for ma in yard.allowed_ma().values()) >= 2
    gone_for(yard, 60, "the machine slept for 60 s")
    woken = yard.second
    assert {setpoint.ma for second, setpoint in yard.sent if second == woken} <= {0}
    assert yard.controller.guard is not None
    assert yard.controller.guard.mode == watch.STARTING
    yard.play(START_UP_S - 2)
    assert [second for second, _ in yard.sent if second > woken] == []
    yard.play(CHARGING_S)
    again = [(second, s.epoch) for second, s in yard.sent if second > woken and s.ma]
    assert min(second for second, _ in again) >= woken + START_UP_S - 1
    assert {e for _, e in again} == {epoch + EPOCH_STEP}
    assert yard.controller.guard.mode == watch.NORMAL


@pytest.mark.parametrize("seconds", [11, 30])
def test_host_starved_cycle_brings_everybody_down_at_once(seconds: int) -> None:
    """H11: after a gap shorter than a lease the cars still charge: they are told to come down, not left to it."""
    yard = Yard().play(CHARGING_S)
    before = {name for name, ma in yard.allowed_ma().items() if ma}
    gone_for(yard, seconds, f"a cycle took {seconds} s")
    assert {s.charger for second, s in yard.sent if second == yard.second and s.ma == 0} >= before
    assert set(yard.allowed_ma().values()) == {0}


def test_host_gap_before_there_is_authority_sends_nothing() -> None:
    """H10: a gap in the start-up minute begins it anew."""
    yard = Yard().play(30)
    gone_for(yard, 60, "the machine slept for 60 s").play(START_UP_S - 2)
    assert yard.sent == []


def test_host_starved_cycle_is_seen_by_the_daemon_itself() -> None:
    """H11: a meter that takes 11 s to answer: the daemon's own loop, on a clock of the machine's kind, starts over."""
    hours = Hours()
    yard = Yard()
    read = yard.read
    modes: list[int] = []

    def slow(now_ms: int) -> object:
        yard._pass()
        yard.now_ms = hours.now_ms
        if yard.second == CHARGING_S:
            hours.work(11_000)
        if yard.second == CHARGING_S + 3:
            hours.clock.stopped = True
        if yard.controller.guard is not None:
            modes.append(yard.controller.guard.mode)
        return read(now_ms)

    yard.read = slow  # type: ignore[assignment, method-assign]
    assert live(yard.controller, hours.clock, hours, Notifier(), lambda _now_ms: None) == 0
    assert modes[CHARGING_S - 1] == watch.NORMAL
    assert modes[CHARGING_S:] == [watch.STARTING] * 3
    assert set(yard.allowed_ma().values()) == {0}


# ------------------------------------------------------------------------------------------- the wall clock (H7, H9)
WALLS: dict[str, Callable[[int], float | None]] = {
    "never_set": lambda _: None,
    "set_late": lambda second: EVENING_S + second if second > 200 else None,
    "an_hour_back": lambda second: EVENING_S + second - 3600 * (second > CHARGING_S),
    "an_hour_on": lambda second: EVENING_S + second + 3600 * (second > CHARGING_S),
    "ten_years_back": lambda second: EVENING_S + second - 10 * YEAR_S * (second > CHARGING_S),
    "ten_years_on": lambda second: EVENING_S + second + 10 * YEAR_S * (second > CHARGING_S),
    "there_and_back": lambda second: EVENING_S + second + 7200 * (second // 100 % 2),
    "standing_still": lambda _: EVENING_S,
    "twice_as_fast": lambda second: EVENING_S + 2 * second,
    "backwards": lambda second: EVENING_S - second,
    "noon": lambda second: EVENING_S + 14 * 3600 + second,
    "2036": lambda second: 2_085_978_496.0 + second,
    "2038": lambda second: float((1 << 31) - 300 + second),
    "leap_second": lambda second: EVENING_S + second - (second > CHARGING_S),
    "the_last_a_kernel_takes": lambda second: 8.27e9 + second,
}


@functools.cache
def undisturbed(base_a: float) -> list[tuple[int, str, int]]:
    """The setpoints under a clock that is right."""
    return Yard(base_a=base_a).play(900).trace()


@pytest.mark.parametrize("base_a", [20.0, 100.0], ids=["room", "congested"])
@pytest.mark.parametrize("wall", WALLS.values(), ids=WALLS.keys())
def test_host_clock_jump_changes_no_setpoint(wall: Callable[[int], float | None], base_a: float) -> None:
    """H7, H9, H20: where no window is involved, a quarter of an hour is the same under any wall clock."""
    plain = undisturbed(base_a)
    assert any(ma for _, _, ma in plain)
    assert Yard(base_a=base_a, wall=wall).play(900).trace() == plain


@pytest.mark.parametrize("begin_ms", [0, (1 << 31) - 300_000, (1 << 32) - 300_000, 1 << 45], ids=str)
def test_host_monotonic_clock_may_begin_anywhere(begin_ms: int) -> None:
    """H20: the machine has just started, or runs for a thousand years: the same setpoints."""
    assert Yard(now_ms=begin_ms).play(600).trace() == Yard(now_ms=1_000_000_000).play(600).trace()


@pytest.mark.parametrize(
    ("shown_s", "known"), [(0.0, False), (WALL_S_MIN - 1, False), (WALL_S_MIN, True), (EVENING_S, True)]
)
def test_host_boot_with_rtc_1970_is_a_time_unknown(shown_s: float, known: bool) -> None:
    """H7: a gateway whose clock has not been set since it started does not know the hour, and says so to the tick."""
    hours = Hours()
    hours.wall_s = shown_s
    moment = hours.clock.wait(hours)
    assert moment is not None
    assert moment.wall_s == (shown_s if known else None)


def test_host_boot_with_rtc_1970_keeps_the_strictest_window() -> None:
    """H7: while the hour is unknown the lowest limit of the day holds; known, the window's hour alone."""
    window = '[[area.windows]]\nfrom = "03:00"\nto = "04:00"\nlimit_pct = 50\n'
    config = area(more=window)
    for wall, limit in ((None, 500), (EVENING_S, 800)):
        yard = Yard(config, wall=lambda _, wall=wall: wall).play(1)  # type: ignore[misc]
        assert yard.controller._snapshot().limit_permille == limit


@pytest.mark.parametrize(("day", "minutes"), [("2026-03-28", 0), ("2026-10-24", 120), ("2026-11-01", 60)])
def test_host_dst_change_keeps_windows_by_the_clock_on_the_wall(day: str, minutes: int) -> None:
    """H8: a window from 02:00 to 03:00 is not there in the short night, holds twice in the long one, once else."""
    window = '[[area.windows]]\nfrom = "02:00"\nto = "03:00"\nlimit_pct = 50\n'
    config = replace(area(more=window), timezone="Europe/Berlin")
    evening_s = datetime.fromisoformat(f"{day} 22:00").replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    controller = Yard(config).play(1).controller
    held = 0
    for minute in range(12 * 60):
        controller.wall.wall_s = evening_s + 60 * minute
        held += controller._snapshot().limit_permille == 500
    assert held == minutes
