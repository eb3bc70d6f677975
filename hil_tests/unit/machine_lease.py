"""Two machines that play the lease protocol at random: a charger alone, and a fleet on a bad network.

What must hold stands here in numbers of its own: 30 s for an echo, 60 s for a lease, 2 % and 1 s for a slow clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge.config import ChargerConfig, ChargingConfig
from edge.core import lease as leases
from edge.core.model import CHARGING, FINISHED, UNPLUGGED, WAITING, Command
from edge.fleet import Fleet
from edge.ports import ChargerState, Setpoint

if TYPE_CHECKING:
    from edge.core.model import Charger

ECHO_MS, LEASE_MS, LEASE_END_MS, RIVAL_MS = 30_000, 60_000, 62_200, 600_000
MIN_MA = 6_000
waits = st.sampled_from([0, 1, 1000, 1000, 5000, 14_000, 29_999, 30_001, 44_000, 46_000])
ends = st.sampled_from([58_800, 59_999, 60_000, 60_500, 61_199, 62_201])
"""Around the end of a lease: on its own clock, on a slow or a fast one, and as the ledger counts it."""
values = st.sampled_from([0, 6_000, 10_000, 16_000, 32_000])
bad_values = st.sampled_from([-1, 1, 5_999, 32_001, 63_000, 1 << 40])
any_message = st.integers(0, 1 << 16)
"""Which of the messages that were ever sent: any, however long ago and however often it has come."""


def asked(s: Setpoint) -> leases.Setpoint:
    """A setpoint of the wire as the charger's half reads it."""
    return leases.Setpoint(s.epoch, s.seq, s.boot, s.tick_ms, s.ma, s.lease_ms)


class ChargerMachine(RuleBasedStateMachine):
    """A charger alone: controllers of any epoch send it anything, and the network brings it in any order."""

    @initialize(fallback_ma=st.sampled_from([0, 6_000]), max_ma=st.sampled_from([16_000, 32_000]))
    def begin(self, fallback_ma: int, max_ma: int) -> None:
        """Switched on for the first time."""
        self.fallback_ma, self.max_ma = fallback_ma, max_ma
        self.boot, self.now_ms = 7, 1000
        self.lease = leases.start(self.boot)
        self.stamps = [(self.boot, self.now_ms)]
        self.sent: list[leases.Setpoint] = []
        self.proofs_ms: list[int] = []
        """Stamps of this run that were recent when a setpoint with them was accepted."""
        self.seen = (0, 0)
        self.seq = 0

    def out_ma(self) -> int:
        """What the car may draw now."""
        return leases.allowed_ma(self.lease, self.fallback_ma, self.now_ms)

    @rule(ms=waits | ends)
    def time_passes(self, ms: int) -> None:
        """On the charger's own clock."""
        self.now_ms += ms

    @rule()
    def speaks(self) -> None:
        """Telemetry gives a stamp that may be echoed at any time."""
        self.stamps.append((self.boot, self.now_ms))

    @rule()
    def reboots(self) -> None:
        """Another run, its clock from the beginning: it stands at its fallback, whatever was before."""
        self.boot, self.now_ms = self.boot + 1, 1000
        self.lease = leases.start(self.boot, self.lease.epoch)
        self.proofs_ms, self.seen = [], (self.seen[0], 0)
        assert self.out_ma() == self.fallback_ma, "I11: more than the fallback after a reboot"

    @rule(
        newer=st.sampled_from([0, 0, 0, 0, 1, -1]), stamp=st.integers(0, 3), ma=values, odd_ma=st.none() | bad_values,
        lease_ms=st.sampled_from([60_000] * 6 + [20_000, 0, 60_001, 1 << 40]), forged=st.sampled_from([0] * 5 + [1000]),
    )  # fmt: skip
    def is_told(self, newer: int, stamp: int, ma: int, odd_ma: int | None, lease_ms: int, forged: int) -> None:
        """A controller, perhaps an older or a newer one, sends on one of the last stamps, or on one of the future."""
        boot, tick_ms = self.stamps[-1 - stamp % len(self.stamps)]
        self.seq += 1
        value = ma if odd_ma is None or self.seq % 5 else odd_ma
        epoch = max(self.seen[0] + newer, 1)
        self.sent.append(leases.Setpoint(epoch, self.seq, boot, tick_ms + forged, value, lease_ms))
        self.comes(len(self.sent) - 1)

    @rule(ma=values)
    def all_goes_well(self, ma: int) -> None:
        """It speaks, and is told at once."""
        self.speaks()
        self.is_told(0, 0, ma, None, LEASE_MS, 0)

    @precondition(lambda self: self.sent)
    @rule(which=any_message)
    def comes_again(self, which: int) -> None:
        """The network brings one of all the setpoints there ever were."""
        self.comes(which % len(self.sent))

    @precondition(lambda self: self.sent)
    @rule(back=st.integers(0, 4), ma=values)
    def is_told_out_of_order(self, back: int, ma: int) -> None:
        """A setpoint that was sent before another arrives after it."""
        boot, tick_ms = self.stamps[-1]
        self.sent.append(leases.Setpoint(1, max(self.seq - back, 1), boot, tick_ms, ma, LEASE_MS))
        self.comes(len(self.sent) - 1)

    def comes(self, which: int) -> None:
        """I10 and I21: what is obeyed, and that a repetition changes nothing."""
        s, before_ma, before = self.sent[which], self.out_ma(), self.lease
        lives = self.now_ms < before.ends_ms
        self.lease, verdict = leases.accept(before, s, self.fallback_ma, self.max_ma, self.now_ms)
        after_ma, newer = self.out_ma(), (s.epoch, s.seq) > self.seen
        can_be = (s.ma == 0 or MIN_MA <= s.ma <= self.max_ma) and 0 <= s.lease_ms <= LEASE_MS
        recent = s.boot == self.boot and 0 <= self.now_ms - s.tick_ms <= ECHO_MS
        if verdict != leases.ACCEPTED:
            assert self.lease == before
            assert not (newer and can_be and s.ma <= before_ma), "a lowering was refused"
            return
        assert newer, "I10: obeyed an older or a repeated setpoint"
        assert can_be, "I10: obeyed what no charger may take"
        assert after_ma <= before_ma or recent, "I10: raised on an echo that is old, or not of this run"
        assert not lives or after_ma == s.ma, "obeyed, and yet something else"
        self.seen = (s.epoch, s.seq)
        if recent:
            self.proofs_ms.append(s.tick_ms)
        again, verdict = leases.accept(self.lease, s, self.fallback_ma, self.max_ma, self.now_ms)
        assert (again, verdict) == (self.lease, leases.OLD), "I21: the same setpoint again did something"

    @invariant()
    def more_than_the_fallback_only_on_a_lease(self) -> None:
        """I11 and I16: above the fallback only within 60 s of an own stamp; a value that may be."""
        ma = self.out_ma()
        assert ma in {0, self.fallback_ma} or MIN_MA <= ma <= self.max_ma, f"I16: {ma} mA"
        assert ma <= self.fallback_ma or self.now_ms < max(self.proofs_ms, default=0) + LEASE_MS, "I11: no lease"


# ----------------------------------------------------------------------------------------------------------- a fleet


class Pile:
    """A true charger with a car: its lease, its clock (permille of ours), and what it has said and was sent."""

    def __init__(self, name: str, fallback_ma: int, clock_permille: int) -> None:
        self.name, self.fallback_ma, self.clock_permille = name, fallback_ma, clock_permille
        self.boot, self.born_ms = 1, 0
        self.lease = leases.start(self.boot)
        self.plug = WAITING
        self.up: list[ChargerState] = []
        self.down: list[Setpoint] = []

    def tick_ms(self, now_ms: int) -> int:
        """Its own clock."""
        return (now_ms - self.born_ms) * self.clock_permille // 1000

    def allowed_ma(self, now_ms: int) -> int:
        """What it lets a car draw."""
        return leases.allowed_ma(self.lease, self.fallback_ma, self.tick_ms(now_ms))

    def speak(self, now_ms: int) -> None:
        """Tell how it is; the network has it."""
        at_ms, has = self.tick_ms(now_ms), self.lease
        ma, left_ms = self.allowed_ma(now_ms), max(has.ends_ms - at_ms, 0)
        draws = ma if self.plug == CHARGING else 0
        self.up.append(
            ChargerState(self.name, self.boot, at_ms, has.epoch, has.seq, self.plug, (draws, 0, 0), 0, 0, ma, left_ms,
                         self.fallback_ma, 32_000)
        )  # fmt: skip

    def obey(self, s: Setpoint, now_ms: int) -> None:
        """One setpoint arrives."""
        self.lease, _ = leases.accept(self.lease, asked(s), self.fallback_ma, 32_000, self.tick_ms(now_ms))

    def reboot(self, now_ms: int) -> None:
        """Begin anew, the clock too; the newest epoch is kept."""
        self.boot, self.born_ms = self.boot + 1, now_ms
        self.lease = leases.start(self.boot, self.lease.epoch)


class LedgerMachine(RuleBasedStateMachine):
    """Two chargers, current for one, and the most daring controller that keeps its ledger, on a bad network."""

    room_ma = 32_000

    @initialize(
        fallback_ma=st.sampled_from([0, 6_000]),
        clocks=st.tuples(*[st.sampled_from([980, 1000, 1020])] * 2),
        fenced=st.sampled_from([True, True, True, False]),
    )
    def begin(self, fallback_ma: int, clocks: tuple[int, int], fenced: bool) -> None:
        """Chargers and controller have just been switched on, and mostly both have echoed the first fence."""
        self.fallback_ma, self.now_ms = fallback_ma, 0
        self.piles = {name: Pile(name, fallback_ma, clock) for name, clock in zip("ab", clocks, strict=True)}
        self.start_controller()
        self.silent_until_ms = -1  # there was none before it
        if fenced:
            self.all_go_well(0)

    def start_controller(self) -> None:
        """A controller that knows nothing; it says nothing before one lease has passed."""
        charging = ChargingConfig(self.fallback_ma, LEASE_MS, 9000, 420, (), 8)
        rows = [ChargerConfig(name, 1, True, 32_000) for name in self.piles]
        self.fleet = Fleet(rows, charging, lambda _wish, now_ms: now_ms + 36_000_000)
        self.silent_until_ms, self.begun = self.now_ms + LEASE_END_MS, False
        self.aside: set[str] = set(self.piles)
        """Who was not known to have a car when somebody was raised last: what he takes by himself came on top."""
        self.last: dict[str, tuple[int, int]] = {}

    def view(self, name: str) -> Charger:
        """What the controller believes of one charger."""
        return next(c for c in self.fleet.view(self.now_ms) if c.id == name)

    # ------------------------------------------------------------------------------------------------ what happens
    names = st.sampled_from("ab")

    @rule(ms=waits)
    def time_passes(self, ms: int) -> None:
        """On our clock; the chargers' run at their own pace."""
        self.now_ms += ms

    @rule(ms=ends)
    def leases_end(self, ms: int) -> None:
        """So much time passes that a lease ends, or nearly."""
        self.now_ms += ms

    @rule(name=names)
    def speaks(self, name: str) -> None:
        """A charger says how it is; whether it is ever heard is another matter."""
        self.piles[name].speak(self.now_ms)

    @rule(name=names, back=st.integers(0, 2))
    def is_heard(self, name: str, back: int) -> None:
        """One of the last words of a charger arrives, perhaps once more, perhaps after a later one."""
        up = self.piles[name].up
        if up:
            self.hear(up[-1 - back % len(up)])

    @rule(name=names, which=any_message)
    def is_heard_late(self, name: str, which: int) -> None:
        """Any word it ever said arrives."""
        up = self.piles[name].up
        if up:
            self.hear(up[which % len(up)])

    @rule(name=names, ma=values)
    def is_told(self, name: str, ma: int) -> None:
        """The controller wants it to have so much; what it sends goes to the network."""
        self.tell(name, ma)

    @rule(name=names, back=st.integers(0, 2))
    def obeys(self, name: str, back: int) -> None:
        """One of the last setpoints arrives, perhaps once more, perhaps after a later one."""
        down = self.piles[name].down
        if down:
            self.piles[name].obey(down[-1 - back % len(down)], self.now_ms)

    @rule(name=names, which=any_message)
    def obeys_late(self, name: str, which: int) -> None:
        """Any setpoint that was ever sent arrives."""
        down = self.piles[name].down
        if down:
            self.piles[name].obey(down[which % len(down)], self.now_ms)

    @rule(name=names, ma=values)
    def all_goes_well(self, name: str, ma: int) -> None:
        """A round without any trouble: it speaks, is heard, is told, obeys, and says so."""
        self.round(name, ma)

    @rule(ma=values)
    def all_go_well(self, ma: int) -> None:
        """Both are fenced, and then told."""
        for _ in range(2):
            for name in self.piles:
                self.round(name, ma)

    def round(self, name: str, ma: int) -> None:
        """It speaks, is heard, is told, and obeys, and says so."""
        pile = self.piles[name]
        pile.speak(self.now_ms)
        self.hear(pile.up[-1])
        if self.tell(name, ma):
            pile.obey(pile.down[-1], self.now_ms)
        pile.speak(self.now_ms)

    @rule(name=names, plug=st.sampled_from([UNPLUGGED, WAITING, CHARGING, FINISHED]))
    def car_changes(self, name: str, plug: int) -> None:
        """A car comes, charges, is full, wakes, leaves; the charger says so, and may not be heard."""
        pile = self.piles[name]
        pile.plug = plug
        pile.speak(self.now_ms)

    @rule(name=names)
    def reboots(self, name: str) -> None:
        """A charger begins anew."""
        self.piles[name].reboot(self.now_ms)

    @rule()
    def controller_restarts(self) -> None:
        """All that was known is gone; what is on the network is not."""
        self.start_controller()

    # --------------------------------------------------------------------------------------------- the controller
    def hear(self, state: ChargerState) -> None:
        """Telemetry arrives; the same word at once again changes nothing."""
        self.fleet.hear([state], self.now_ms)
        seen = self.fleet.view(self.now_ms)
        self.fleet.hear([state], self.now_ms)
        assert self.fleet.view(self.now_ms) == seen, "I21: the same telemetry again did something"
        if self.fleet.rival:
            # Another controller's living lease: fall silent, and begin anew after that.
            self.fleet.rival, self.begun = False, False
            self.silent_until_ms = self.now_ms + RIVAL_MS + LEASE_END_MS

    def tell(self, name: str, ma: int) -> bool:
        """Tell a charger ``ma`` when the ledger leaves it, else what it has. Has anything been sent?"""
        if self.now_ms <= self.silent_until_ms:
            return False
        if not self.begun:
            self.fleet.begin_epoch(self.now_ms)
            self.begun = True
        me = self.view(name)
        others_ma = sum(c.possible_ma for c in self.fleet.view(self.now_ms) if c.id != name)
        present_ma = min(me.set_ma, me.possible_ma)
        if ma > present_ma and (me.silent or max(ma, me.possible_ma) + others_ma > self.room_ma):
            ma = present_ma
        elif ma > present_ma:
            self.aside = {c.id for c in self.fleet.view(self.now_ms) if c.plug in (UNPLUGGED, FINISHED)}
        due = self.fleet.due([Command(name, ma, 0, -1, True)], self.now_ms)
        for setpoint in due:
            self.check(setpoint)
            self.fleet.sent(setpoint, self.now_ms)
            self.piles[name].down.append(setpoint)
        return bool(due)

    def check(self, s: Setpoint) -> None:
        """I8, I9 and I16: number, echo, lease and value of every setpoint that leaves."""
        assert (s.epoch, s.seq) > self.last.get(s.charger, (0, 0)), "I9: numbers go up"
        self.last[s.charger] = (s.epoch, s.seq)
        if not s.lease_ms:
            assert s.ma <= self.fallback_ma, "I9: a fence only takes"
            return
        assert any((s.boot, s.tick_ms) == (u.boot, u.tick_ms) for u in self.piles[s.charger].up), "I8: no true echo"
        assert s.lease_ms <= LEASE_MS, "I8: lease"
        assert s.ma == 0 or MIN_MA <= s.ma <= 32_000, "I16"

    # ------------------------------------------------------------------------------------------------ what must hold
    @invariant()
    def the_ledger_is_never_below_the_truth(self) -> None:
        """I1, I19: what is believed possible covers what each may draw; together they stay within what there is.

        A car at its fallback that nobody had heard of is aside: it counts from its first telemetry on, and in what is
        given after that. So is the minute after a start in which the controller says nothing.
        """
        if self.now_ms < self.silent_until_ms:
            return
        total_ma = 0
        for c in self.fleet.view(self.now_ms):
            pile = self.piles[c.id]
            may_ma = 0 if pile.plug == UNPLUGGED else pile.allowed_ma(self.now_ms)
            by_itself = may_ma <= self.fallback_ma
            unheard = by_itself and c.plug in (UNPLUGGED, FINISHED)
            assert unheard or may_ma <= c.possible_ma, f"I1: {c.id} may draw {may_ma}, {c.possible_ma} believed"
            total_ma += 0 if unheard or (by_itself and c.id in self.aside) else may_ma
        assert total_ma <= self.room_ma, f"I1: {total_ma} mA where there are {self.room_ma}"
