"""The ledger counts what may flow: never less than a charger can draw, whatever the network does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.config import ChargerConfig, ChargingConfig
from edge.core import lease, ledger
from edge.core.ledger import (
    FOREVER,
    Late,
    Sent,
    at_once,
    late_ma,
    late_window,
    lates,
    lease_end_ms,
    outstanding,
    possible_ma,
)
from edge.core.model import CHARGING, NEVER, Command
from edge.fleet import Fleet
from edge.late import Late as Window
from edge.ports import ChargerState, Setpoint

NOW = 1_000_000
RAISE = Sent(3, 11, 20_000, NOW + 1)


@pytest.mark.parametrize(("lease_ms", "end_ms"), [(60_000, 62_200), (20_010, 21_410), (0, 1000)])
def test_lease_end_covers_two_percent_of_drift_and_a_second(lease_ms: int, end_ms: int) -> None:
    """A lease counts as running until a clock 2 % slow, and a second more, must have ended it."""
    assert lease_end_ms(NOW, lease_ms) == NOW + end_ms


@pytest.mark.parametrize(
    ("epoch", "seq", "now_ms", "left"),
    [
        (3, 10, NOW, 1),
        (3, 11, NOW, 0),
        (3, 12, NOW, 0),
        (2, 99, NOW, 1),
        (4, 0, NOW, 0),
        (3, 10, NOW + 1, 0),
    ],
)
def test_outstanding_ends_by_proof_or_by_time(epoch: int, seq: int, now_ms: int, left: int) -> None:
    """A setpoint is on its way until telemetry echoes it or a newer one, or its lease must have ended."""
    assert len(outstanding((RAISE,), epoch, seq, now_ms)) == left


@pytest.mark.parametrize(
    ("why", "sent", "plugged", "silent", "allowed", "until_ms", "measured", "most"),
    [
        ("a free socket", (), False, False, 0, NOW + 1, 0, 0),
        ("a free socket, something on its way", (RAISE,), False, False, 0, NOW + 1, 0, 20_000),
        ("what was sent has ended", (Sent(3, 11, 20_000, NOW),), True, False, 0, NOW + 1, 0, 6000),
        ("finished, its lease alive: it may wake", (), False, False, 16_000, NOW + 1, 0, 16_000),
        ("finished, its lease over", (), False, False, 16_000, NOW, 0, 0),
        ("what it allows", (), True, False, 16_000, NOW + 1, 15_000, 16_000),
        ("what flows against its word", (), True, False, 0, NOW + 1, 15_000, 15_000),
        ("unplugged, and yet something flows", (), False, False, 0, NOW + 1, 15_000, 15_000),
        ("held at 0 by a lease that lives, as it said", (), True, False, 0, NOW + 1, 0, 6000),
        ("held at 0 by a lease that has ended", (), True, False, 0, NOW, 0, 6000),
        ("silent, lease alive", (), True, True, 16_000, NOW + 1, 16_000, 16_000),
        ("silent, lease over", (), True, True, 16_000, NOW, 16_000, 6000),
        ("silent and free: a car may have come", (), False, True, 0, NOW, 0, 6000),
        ("silent, a raise on its way", (RAISE,), False, True, 0, NOW, 0, 20_000),
    ],
)
def test_possible(
    why: str, sent: tuple[Sent, ...], plugged: bool, silent: bool, allowed: int, until_ms: int, measured: int, most: int
) -> None:
    """What counts, row by row."""
    assert possible_ma(sent, plugged, silent, allowed, until_ms, measured, 6000, NOW) == most, why


def test_silent_charger_without_a_fallback_counts_nothing_once_its_lease_is_over() -> None:
    """Its allowance ends with its lease, and alone it takes nothing."""
    assert possible_ma((), True, True, 16_000, NOW + 1, 16_000, 0, NOW) == 16_000
    assert possible_ma((), True, True, 16_000, NOW, 16_000, 0, NOW) == 0


@pytest.mark.parametrize("slots", [2, 3, 4, 7])
def test_at_once_is_the_least_number_that_holds_the_worst_turn(slots: int) -> None:
    """The mean, 4.5 standard deviations of the binomial and 2, rounded up once, by squares of whole numbers."""

    def holds(most: int, count: int) -> bool:
        above = slots * (most - 2) - count
        return above >= 0 and 4 * above * above >= 81 * count * (slots - 1)

    for count in range(400):
        most = at_once(count, slots)
        assert type(most) is int
        assert most == count or (most < count and holds(most, count))
        assert most == 0 or not holds(most - 1, count)
    assert [at_once(count, k) for count in (0, 1, 9) for k in (0, 1)] == [0, 0, 1, 1, 9, 9]


def test_late_window_is_as_wide_as_echo_and_drift_allow() -> None:
    """From a stamp 30 s old on a clock 2 % fast, to one of now on a clock 2 % slow, and a second more."""
    assert str(late_window(NOW, 1000, 10_000)) == str((NOW - 30_600 + 980_000, NOW + 10_200_000 + 1000))


A, B = Late(3, 10, 6000, NOW, NOW + 100), Late(3, 11, 6000, NOW + 50, NOW + 200)


@pytest.mark.parametrize(
    ("epoch", "seq", "said_ma", "left"),
    [
        (3, 9, 0, (A, B)),
        (3, 10, 6000, (A, B)),
        (3, 10, 0, (B,)),
        (3, 11, 6000, (B,)),
        (3, 11, 0, ()),
        (3, 12, 0, ()),
        (3, 9, 6000, (Late(3, 9, 6000, NEVER, FOREVER), A, B)),
        (3, 9, 1, (Late(3, 9, 1, NEVER, FOREVER), A, B)),
        (3, 12, 6000, (Late(3, 12, 6000, NEVER, FOREVER),)),
        (4, 1, 6000, (Late(4, 1, 6000, NEVER, FOREVER),)),
        (3, 11, 10_000, (Late(3, 11, 10_000, NEVER, FOREVER),)),
        (0, 0, 0, (A, B)),
    ],
)
def test_late_fallbacks_end_by_proof(epoch: int, seq: int, said_ma: int, left: tuple[Late, ...]) -> None:
    """Older ones are replaced, one that is not kept is gone, and one that nobody here has sent may come at any time."""
    assert lates((A, B), epoch, seq, said_ma) == left


@pytest.mark.parametrize(("at_ms", "most"), [(-1, 0), (0, 6000), (99, 6000), (199, 6000), (200, 0)])
def test_late_fallbacks_count_in_their_time(at_ms: int, most: int) -> None:
    """From the earliest moment of the first to the latest of the last."""
    assert late_ma((A, B), NOW + at_ms) == most


class Wire:
    """One charger and its controller, a network that keeps, repeats and reorders, and a charger's clock that drifts.

    ``epoch`` is the newest that the charger has seen; the controller's is 1.
    """

    def __init__(self, fallback_ma: int, clock_permille: int, epoch: int = 1) -> None:
        charging = ChargingConfig(fallback_ma, 60_000, 9000, 420, (), 8)
        self.fleet = Fleet([ChargerConfig("a", 1, True, 32_000)], charging, lambda _wish, now_ms: now_ms + 36_000_000)
        self.fleet.epoch = 1
        self.fallback_ma, self.clock_permille = fallback_ma, clock_permille
        self.now_ms = 0
        self.lease, self.late = lease.start(7, epoch), None
        self.up: list[ChargerState] = []
        self.down: list[Setpoint] = []

    def tick_ms(self) -> int:
        """The charger's own clock."""
        return self.now_ms * self.clock_permille // 1000

    def allowed_ma(self) -> int:
        """What the car may truly draw now."""
        at = self.tick_ms()
        return lease.allowed_ma(self.lease, lease.alone_ma(self.late, self.fallback_ma, 1, 0, at), at)

    def speak(self) -> None:
        """The charger tells how it is; the network has it."""
        at, has = self.tick_ms(), self.lease
        ma, left_ms, fallback_ma = self.allowed_ma(), max(has.ends_ms - at, 0), self.fallback_ma
        late_ma = self.late.ma if self.late is not None and at < self.late.to_ms else 0
        said = (has.epoch, has.seq, CHARGING, (ma, 0, 0), 0, 0, ma, left_ms, fallback_ma, 32_000, 1, late_ma)
        self.up.append(ChargerState("a", has.boot, at, *said))

    def tell(self, ma: int) -> None:
        """The controller wants ``ma``; what is due goes to the network."""
        if self.fleet.late is not None:
            self.fleet.late = replace(self.fleet.late, now_ms=self.now_ms)
        for setpoint in self.fleet.due([Command("a", ma, 0, -1, True)], self.now_ms):
            self.fleet.sent(setpoint, self.now_ms)
            self.down.append(setpoint)

    def obey(self, k: int) -> None:
        """The network delivers one of all the setpoints it ever had."""
        s = self.down[k % len(self.down)]
        asked = lease.Setpoint(s.epoch, s.seq, s.boot, s.tick_ms, s.ma, s.lease_ms)
        at = self.tick_ms()
        alone_ma = lease.alone_ma(self.late, self.fallback_ma, 1, 0, at)
        self.lease, verdict = lease.accept(self.lease, asked, alone_ma, 32_000, at)
        if verdict == lease.ACCEPTED:
            self.late = lease.late_of(self.lease, asked, s.late_ma, s.late_after_s, s.late_until_s, at)

    def reboot(self) -> None:
        """The charger starts anew, at once, as another run."""
        self.lease, self.late = lease.start(self.lease.boot + 1), None


EVENTS = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from([1, 100, 1000, 5000, 29_000, 31_000, 61_000])),
    st.tuples(st.just("speak"), st.just(0)),
    st.tuples(st.just("hear"), st.integers(0, 30)),
    st.tuples(st.just("hear last"), st.just(0)),
    st.tuples(st.just("tell"), st.sampled_from([0, 6000, 10_000, 32_000])),
    st.tuples(st.just("obey"), st.integers(0, 30)),
    st.tuples(st.just("obey last"), st.just(0)),
    st.tuples(st.just("reboot"), st.just(0)),
)


@given(st.lists(EVENTS, max_size=60), st.sampled_from([0, 6000]), st.sampled_from([985, 1000, 1015]), st.integers(0, 1))
@settings(max_examples=500, deadline=None)
def test_i19_no_order_of_messages_beats_the_ledger(
    events: list[tuple[str, int]], fallback_ma: int, clock_permille: int, epoch: int
) -> None:
    """Lost, doubled, late or out of order: the ledger never counts less than the charger allows its car."""
    wire = Wire(fallback_ma, clock_permille, epoch)
    for what, value in events:
        if what == "wait":
            wire.now_ms += value
        elif what == "speak":
            wire.speak()
        elif what == "tell":
            wire.tell(value)
        elif what == "reboot":
            wire.reboot()
        elif what.startswith("hear") and wire.up:
            wire.fleet.hear([wire.up[value % len(wire.up) if what == "hear" else -1]], wire.now_ms)
        elif what.startswith("obey") and wire.down:
            wire.obey(value if what == "obey" else -1)
        counted = wire.fleet.view(wire.now_ms)[0].possible_ma
        # A charger's own fallback begins on its own clock: telemetry of it may still be on the way.
        assert counted >= wire.allowed_ma(), (what, value)


LATE_EVENTS = st.one_of(
    st.tuples(st.just("round"), st.sampled_from([0, 0, 10_000])),
    st.tuples(st.just("lost on its way"), st.sampled_from([0, 10_000])),
    st.tuples(st.just("wait"), st.sampled_from([1000, 20_000, 280_000, 870_000, 910_000, 1_500_000])),
    st.tuples(st.just("late"), st.sampled_from([None, 0, 600_000])),
    st.tuples(st.just("obey"), st.integers(0, 30)),
    st.tuples(st.just("hear"), st.integers(0, 30)),
    st.tuples(st.just("reboot"), st.just(0)),
)


@given(st.lists(LATE_EVENTS, min_size=4, max_size=30), st.sampled_from([0, 10_000]), st.sampled_from([981, 1000, 1019]))
@settings(max_examples=1500, deadline=None)
def test_no_order_of_messages_brings_a_late_fallback_that_the_ledger_does_not_count(
    events: list[tuple[str, int | None]], offset_ms: int, clock_permille: int
) -> None:
    """Told, lost, late, put off, taken away, by this controller or one before it: 6 A never flow uncounted."""
    wire = Wire(0, clock_permille)
    wire.now_ms = offset_ms
    wire.fleet.late = Window(0, 0, 3_000_000)
    for what, value in events:
        if what == "wait":
            wire.now_ms += value or 0
        elif what == "late":
            at = wire.now_ms
            wire.fleet.late = None if value is None else Window(at, at + value, at + value + 3_000_000)
        elif what == "reboot":
            wire.reboot()
        elif what == "hear" and wire.up:
            wire.fleet.hear([wire.up[(value or 0) % len(wire.up)]], wire.now_ms)
        elif what == "obey" and wire.down:
            wire.obey(value or 0)
        elif what in ("round", "lost on its way"):
            wire.speak()
            wire.fleet.hear(wire.up[-1:], wire.now_ms)
            told = len(wire.down)
            wire.tell(value or 0)
            if what == "round" and len(wire.down) > told:
                wire.obey(-1)
        assert wire.fleet.view(wire.now_ms)[0].possible_ma >= wire.allowed_ma(), what


def test_late_fallbacks_are_bounded_and_none_is_forgotten() -> None:
    """A hundred of them on their way take eight places, and the earliest still counts at its moment."""
    wire = Wire(0, 1000)
    wire.fleet.late = Window(0, 0, 30_000_000)
    wire.speak()
    wire.fleet.hear(wire.up, 0)
    wire.tell(6000)
    (first,) = wire.fleet.units["a"].late
    for k in range(100):
        wire.now_ms += 100
        wire.tell(6000 * (k % 2))
    rows = wire.fleet.units["a"].late
    assert len(rows) == 8
    assert (rows[0].from_ms, rows[0].seq) == (first.from_ms, 94)
    assert {row.ma for row in rows} == {6000}


def test_ledger_is_bounded_and_never_forgets() -> None:
    """A hundred setpoints without an answer take nine places, and the greatest still counts until its lease is over."""
    wire = Wire(0, 1000)
    wire.speak()
    wire.fleet.hear(wire.up, 0)
    wire.tell(32_000)
    for k in range(100):
        wire.now_ms += 100
        wire.tell(31_000 - 250 * k)
    assert len(wire.fleet.units["a"].sent) <= 9
    assert wire.fleet.view(wire.now_ms)[0].possible_ma == 32_000


def test_ledger_forgets_what_has_ended() -> None:
    """However many setpoints follow it, a greater one is gone when its lease is."""
    wire = Wire(0, 1000)
    wire.speak()
    wire.fleet.hear(wire.up, 0)
    wire.tell(32_000)
    while wire.now_ms < ledger.lease_end_ms(0, 60_000):
        counts = {s.ma for s in wire.fleet.units["a"].sent}
        assert 32_000 in counts
        wire.now_ms += 1000
        wire.tell(6000 + 1000 * (wire.now_ms // 1000 % 3))
    assert max(s.ma for s in wire.fleet.units["a"].sent) == 8000


@pytest.mark.parametrize(
    ("count", "slots", "most"), [(0, 4, 0), (1, 1, 1), (40, 1, 40), (40, 0, 40), (1, 4, 1), (2, 8, 2), (24, 5, 16)]
)
def test_worst_moment_of_turns(count: int, slots: int, most: int) -> None:
    """Without turns all draw together; in turns never more than there are, and 24 in 5 turns are 16 at worst."""
    assert ledger.at_once(count, slots) == most
