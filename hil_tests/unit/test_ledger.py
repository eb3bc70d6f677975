"""The ledger counts what may flow: never less than a charger can draw, whatever the network does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.config import ChargerConfig, ChargingConfig
from edge.core import lease, ledger
from edge.core.ledger import Sent, lease_end_ms, outstanding, possible_ma
from edge.core.model import CHARGING, Command
from edge.fleet import Fleet
from edge.ports import ChargerState, Setpoint

NOW = 1_000_000
RAISE = Sent(3, 11, 20_000, NOW + 1)


@pytest.mark.parametrize(("lease_ms", "end_ms"), [(60_000, 62_200), (20_000, 21_400), (0, 1000)])
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
        self.lease = lease.start(7, epoch)
        self.up: list[ChargerState] = []
        self.down: list[Setpoint] = []

    def tick_ms(self) -> int:
        """The charger's own clock."""
        return self.now_ms * self.clock_permille // 1000

    def allowed_ma(self) -> int:
        """What the car may truly draw now."""
        return lease.allowed_ma(self.lease, self.fallback_ma, self.tick_ms())

    def speak(self) -> None:
        """The charger tells how it is; the network has it."""
        at, has = self.tick_ms(), self.lease
        ma, left_ms, fallback_ma = self.allowed_ma(), max(has.ends_ms - at, 0), self.fallback_ma
        said = (has.epoch, has.seq, CHARGING, (ma, 0, 0), 0, 0, ma, left_ms, fallback_ma, 32_000)
        self.up.append(ChargerState("a", 7, at, *said))

    def tell(self, ma: int) -> None:
        """The controller wants ``ma``; what is due goes to the network."""
        for setpoint in self.fleet.due([Command("a", ma, 0, -1, True)], self.now_ms):
            self.fleet.sent(setpoint, self.now_ms)
            self.down.append(setpoint)

    def obey(self, k: int) -> None:
        """The network delivers one of all the setpoints it ever had."""
        s = self.down[k % len(self.down)]
        asked = lease.Setpoint(s.epoch, s.seq, s.boot, s.tick_ms, s.ma, s.lease_ms)
        self.lease, _ = lease.accept(self.lease, asked, self.fallback_ma, 32_000, self.tick_ms())


EVENTS = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from([1, 100, 1000, 5000, 29_000, 31_000, 61_000])),
    st.tuples(st.just("speak"), st.just(0)),
    st.tuples(st.just("hear"), st.integers(0, 30)),
    st.tuples(st.just("hear last"), st.just(0)),
    st.tuples(st.just("tell"), st.sampled_from([0, 6000, 10_000, 32_000])),
    st.tuples(st.just("obey"), st.integers(0, 30)),
    st.tuples(st.just("obey last"), st.just(0)),
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
        elif what.startswith("hear") and wire.up:
            wire.fleet.hear([wire.up[value % len(wire.up) if what == "hear" else -1]], wire.now_ms)
        elif what.startswith("obey") and wire.down:
            wire.obey(value if what == "obey" else -1)
        counted = wire.fleet.view(wire.now_ms)[0].possible_ma
        # A charger's own fallback begins on its own clock: telemetry of it may still be on the way.
        assert counted >= wire.allowed_ma(), (what, value)


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
