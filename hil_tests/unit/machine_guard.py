"""A machine that plays the guard at random: meters that are late, frozen or lie, chargers that say anything, any wish.

Two meters are played, the transformer's and a feeder's. What each may lead to is kept by a ``Paper`` beside it, in
numbers of its own: it knows which readings are honest, for the machine made them. 1000 kVA, 1500 A a phase, limit 80 %,
1 s between readings; a feeder for 100 A.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from edge.core import guard, watch
from edge.core.model import CHARGING, FULL, NEVER, WAITING, Charger, Command, Feeder, Meter, Place, Settings, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

RATED_VA, RATED_MA, FEEDER_MA = 1_000_000, 1_500_000, 100_000
LIMIT_VA, LIMIT_MA, HOT_VA = 800_000, 1_200_000, 900_000
HOLD_MS, SAFE_MS, FROZEN_HOLD_MS, FROZEN_SAFE_MS = 5_000, 10_000, 15_000, 30_000
START_MS, START_READINGS = 62_200, 3
BACK_MS, BACK_READINGS, OFTEN, HOUR_MS, OFTEN_BACK_MS = 30_000, 10, 4, 3_600_000, 600_000
OVER_MS, LENT_MA = 3_000, 45_000
SETTINGS = Settings(RATED_VA, RATED_MA, 15, 1_000, 60_000, 5, False)
PLACES = (Place(1, 1, True, -1), Place(7, 3, True, -1), Place(7, 1, False, -1), Place(2, 1, True, 0))
"""Phase a, all three, unknown, and phase b behind the feeder."""
TRUE_PHASES = (1, 7, 4, 2)

GOOD, FROZEN, NONE, LIE, BACK, OTHER = range(6)
"""What a tick brings: an honest reading, the same block again, nothing, a lie, a counter that fell, another meter."""


class Paper:
    """What one meter may lead to: kept by hand, from what the machine knows of each reading it made."""

    def __init__(self, now_ms: int, *, transformer: bool) -> None:
        self.begun_ms, self.starting, self.transformer = now_ms, transformer, transformer
        self.safe = not transformer
        self.alive_ms = self.moved_ms = NEVER
        self.fresh, self.reason_ms = 0, now_ms if self.safe else NEVER
        self.entries: list[int] = []
        self.over_since_ms = NEVER
        self.lies = self.latched = False

    def note(self, kind: int, now_ms: int, over: bool) -> None:
        """One tick, with what it brought; ``over``: an honest reading that is above the limit."""
        if kind in (GOOD, FROZEN):
            self.alive_ms, self.lies = now_ms, False
        if kind == GOOD:
            self.moved_ms, self.fresh = now_ms, self.fresh + 1
            self.over_since_ms = NEVER if not over else now_ms if self.over_since_ms == NEVER else self.over_since_ms
        self.lies = self.lies or kind in (LIE, BACK, OTHER)
        self.latched = self.latched or kind == OTHER
        age_ms, frozen_ms = now_ms - self.alive_ms, self.alive_ms - self.moved_ms
        self.hold = age_ms > HOLD_MS or frozen_ms > FROZEN_HOLD_MS or kind == BACK
        blind = age_ms > SAFE_MS or frozen_ms > FROZEN_SAFE_MS or kind == BACK
        self.fresh = 0 if self.hold else self.fresh
        self._states(blind, now_ms)

    def _states(self, blind: bool, now_ms: int) -> None:
        """I12 and I17: when authority begins, is lost, and comes back."""
        if self.starting and now_ms - self.begun_ms > START_MS and self.fresh >= START_READINGS:
            self.starting = False
        if self.starting:
            return
        if blind:
            self.reason_ms = now_ms
            self.entries = self.entries if self.safe else [*self.entries, now_ms][-OFTEN:]
            self.safe = True
        often = len(self.entries) == OFTEN and now_ms - self.entries[0] < HOUR_MS
        dwelt = now_ms - self.reason_ms >= (OFTEN_BACK_MS if often else BACK_MS)
        if self.safe and self.fresh >= BACK_READINGS and dwelt:
            self.safe = False

    def fallback_only(self) -> bool:
        """Is nobody to be told more than his fallback?"""
        return self.starting or self.safe or self.latched

    def no_raise(self) -> bool:
        """Is nobody to be told more than he has? A lie of a feeder's meter is no more than silence: it grows old."""
        shedding = self.over_since_ms != NEVER and self.moved_ms - self.over_since_ms >= OVER_MS
        return self.fallback_only() or self.hold or (self.lies and self.transformer) or shedding


# --------------------------------------------------------------------------------------------------------- readings
def honest(now_ms: int, s_va: int, ma: tuple[int, int, int], wh: int) -> Meter:
    """A reading of that load; its counter moves with time."""
    total = max(sum(ma), 1)
    watts = tuple(s_va * 95 // 100 * own // total for own in ma)
    return Meter(now_ms, s_va, sum(watts), s_va * 31 // 100, ma, (220_000,) * 3, (watts[0], watts[1], watts[2]),
                 wh, "1")  # fmt: skip


def _scaled(meter: Meter, factor: float) -> Meter:
    scale = lambda row: tuple(int(value * factor) for value in row)  # noqa: E731
    return meter._replace(
        s_va=int(meter.s_va * factor), p_w=int(meter.p_w * factor), q_var=int(meter.q_var * factor),
        ma=scale(meter.ma), phase_w=scale(meter.phase_w),
    )  # fmt: skip


def _lost(meter: Meter, phase: int) -> Meter:
    """A phase that shows nothing any more, left out of the totals too."""
    keep = [k != phase for k in range(3)]
    assert meter.phase_w is not None
    gone_va = meter.s_va * meter.ma[phase] // max(sum(meter.ma), 1)
    return meter._replace(
        ma=tuple(ma * kept for ma, kept in zip(meter.ma, keep, strict=True)),
        phase_w=tuple(w * kept for w, kept in zip(meter.phase_w, keep, strict=True)),
        p_w=meter.p_w - meter.phase_w[phase], s_va=meter.s_va - gone_va,
    )  # fmt: skip


LIES: dict[str, Callable[[Meter], Meter]] = {
    "nothing, while cars draw": lambda m: _scaled(m, 0.0),
    "a tenth of what cars draw": lambda m: _scaled(m, 0.0005),
    "a hundred times": lambda m: _scaled(m, 100.0),
    "a thousandth of the power": lambda m: m._replace(s_va=m.s_va // 1000),
    "twice the active power": lambda m: m._replace(p_w=m.p_w * 2),
    "half of the apparent power": lambda m: m._replace(s_va=m.s_va // 2),
    "phases that do not add up": lambda m: m._replace(phase_w=tuple(w // 2 for w in m.phase_w)),
    "all CTs the wrong way round": lambda m: m._replace(p_w=-m.p_w, phase_w=tuple(-w for w in m.phase_w)),
    "one CT the wrong way round": lambda m: m._replace(
        p_w=m.p_w - 2 * m.phase_w[1], phase_w=(m.phase_w[0], -m.phase_w[1], m.phase_w[2])
    ),
    "one phase dark": lambda m: _lost(m, 1),
    "one voltage gone": lambda m: m._replace(mv=(220_000, 0, 220_000)),
    "a reading of the future": lambda m: m._replace(at_ms=m.at_ms + (1 << 40)),
    "a reading of the past": lambda m: m._replace(at_ms=m.at_ms - 2_000_000),
}


# ----------------------------------------------------------------------------------------------------------- chargers
def charger(k: int, **changes: Any) -> Charger:  # noqa: ANN401 - a row of any fields
    """A waiting car at the k-th place."""
    row = {
        "id": "abcd"[k], "place": k, "max_ma": 32_000, "fallback_ma": 6_000 if k == 1 else 0, "plug": WAITING, "ma": 0,
        "allowed_ma": 0, "set_ma": 0, "possible_ma": 0, "silent": False, "settled": False, "need_wh": 9000,
        "aim_wh": 9000, "depart_ms": 1 << 40, "start_ms": NEVER, "now": False, "prio": 0,
    }  # fmt: skip
    return Charger(**{**row, **changes})


amps = st.sampled_from([0, 6_000, 10_000, 16_000, 32_000])
wishes = st.sampled_from(["most", "most", "most", "present", "nothing", "odd", "missing", "mixed"])
loads = st.sampled_from([200, 300, 500, 700, 760, 790, 810, 850, 950])
"""Residents' load in permille of the rating."""
extra = st.sampled_from([0, 0, 120_000])
"""What residents draw on phase a above the other two, mA."""
behind = st.sampled_from([20, 60, 95, 110])
"""Residents' current behind the feeder on each phase, A."""


class GuardMachine(RuleBasedStateMachine):
    """Tick after tick: readings of every kind, chargers of every kind, wishes of every kind."""

    @initialize(load=loads, own=behind, seconds=st.sampled_from([0, 65, 65, 65]))
    def begin(self, load: int, own: int, seconds: int) -> None:
        """Just started, without authority; mostly it has it soon."""
        self.now_ms, self.ticks = 0, 0
        self.counters_wh = [1_000_000, 1_000_000]
        self.state = watch.start(0)
        self.load, self.own_ma, self.extra_ma = load, own * 1000, 0
        self.rows = [charger(k) for k in range(4)]
        self.papers = (Paper(0, transformer=True), Paper(0, transformer=False))
        self.readings: list[Meter | None] = [None, None]
        self.good: list[Meter | None] = [None, None]
        self.all_goes_well(seconds, "nothing")

    # ------------------------------------------------------------------------------------------------ what happens
    @rule(seconds=st.sampled_from([1, 3, 10, 35, 65]), wish=wishes)
    def all_goes_well(self, seconds: int, wish: str) -> None:
        """Honest readings of both meters, second by second."""
        for _ in range(seconds):
            self.tick(1000, GOOD, GOOD, wish)

    @rule(seconds=st.sampled_from([1, 4, 5, 6, 9, 10, 11, 31]), wish=wishes, both=st.booleans())
    def meter_is_silent(self, seconds: int, wish: str, both: bool) -> None:
        """Nothing from the transformer's meter, perhaps from the feeder's."""
        for _ in range(seconds):
            self.tick(1000, NONE, NONE if both else GOOD, wish)

    @rule(seconds=st.sampled_from([1, 5, 6, 11]), wish=wishes)
    def feeder_meter_is_silent(self, seconds: int, wish: str) -> None:
        """Nothing from the feeder's meter."""
        for _ in range(seconds):
            self.tick(1000, GOOD, NONE, wish)

    @rule(seconds=st.sampled_from([1, 14, 15, 16, 29, 31]), wish=wishes)
    def meter_is_frozen(self, seconds: int, wish: str) -> None:
        """The same block again and again."""
        for _ in range(seconds):
            self.tick(1000, FROZEN, GOOD, wish)

    @rule(
        seconds=st.sampled_from([1, 1, 4, 11]),
        how=st.sampled_from(sorted(LIES)),
        at=st.sampled_from([0, 0, 1]),
        wish=wishes,
    )
    def meter_lies(self, seconds: int, how: str, at: int, wish: str) -> None:
        """One of the meters says what cannot be, when nobody has anything and all may want it."""
        self.tick(1000, GOOD, GOOD, "nothing")
        for _ in range(seconds):
            self.tick(1000, LIE if at == 0 else GOOD, LIE if at == 1 else GOOD, wish, how)

    @rule(at=st.integers(0, 1), wish=wishes)
    def counter_falls(self, at: int, wish: str) -> None:
        """A meter's energy counter shows less than before."""
        if self.good[at] is not None:
            self.counters_wh[at] -= 500
            self.tick(1000, BACK if at == 0 else GOOD, BACK if at == 1 else GOOD, wish)

    @precondition(lambda self: self.ticks > 150 and not self.papers[0].latched)
    @rule(wish=wishes)
    def another_meter(self, wish: str) -> None:
        """Another device answers at the transformer's address."""
        self.tick(1000, OTHER, GOOD, wish)

    @precondition(lambda self: self.papers[0].latched)
    @rule()
    def a_person_looks(self) -> None:
        """And starts the controller anew: without authority, and with no memory of any meter."""
        self.state = watch.start(self.now_ms)
        self.papers = (Paper(self.now_ms, transformer=True), Paper(self.now_ms, transformer=False))

    @rule(ms=st.sampled_from([100, 1_000, 4_900, 5_001, 10_001, 61_000, 600_000]), kind=st.sampled_from([GOOD, NONE]))
    def a_tick_is_late(self, ms: int, kind: int) -> None:
        """So much time has passed since the last tick."""
        self.tick(ms, kind, kind, "most")

    @rule(load=loads, own=behind, more=extra)
    def residents_change(self, load: int, own: int, more: int) -> None:
        """More or less load that nobody controls, evenly spread or not."""
        self.load, self.own_ma, self.extra_ma = load, own * 1000, more

    @rule(k=st.integers(0, 3), ma=amps)
    def obeys(self, k: int, ma: int) -> None:
        """A charger says that it allows what it was told, and its car draws that or less."""
        row = self.rows[k]
        ma = min(ma, row.set_ma)
        self.rows[k] = row._replace(
            plug=CHARGING if ma else WAITING, ma=ma, allowed_ma=row.set_ma, silent=False, settled=False,
            possible_ma=max(row.set_ma, row.fallback_ma),
        )  # fmt: skip

    @rule(k=st.integers(0, 3))
    def settles(self, k: int) -> None:
        """For a minute nothing has changed."""
        self.rows[k] = self.rows[k]._replace(settled=True)

    @rule(k=st.integers(0, 3))
    def goes_silent(self, k: int) -> None:
        """A charger is not heard any more."""
        self.rows[k] = self.rows[k]._replace(silent=True)

    @rule(k=st.integers(0, 3), allowed=amps, told=amps, ma=amps, more=amps, fallback=st.sampled_from([0, 6_000]))
    def claims(self, k: int, allowed: int, told: int, ma: int, more: int, fallback: int) -> None:
        """A charger says anything; the ledger counts at least that."""
        possible_ma = max(allowed, ma, more, fallback)
        self.rows[k] = self.rows[k]._replace(
            plug=CHARGING if ma else WAITING, ma=ma, allowed_ma=allowed, set_ma=told, possible_ma=possible_ma,
            fallback_ma=fallback, silent=False, settled=False,
        )  # fmt: skip

    # ---------------------------------------------------------------------------------------------------- one tick
    def tick(self, ms: int, kind: int, feeder_kind: int, wish: str, how: str = "") -> None:
        """Time passes, readings come or do not, the guard looks and vets; what it lets through is held to account."""
        self.now_ms += ms
        self.ticks += 1
        self.counters_wh = [wh + 1 for wh in self.counters_wh]
        kinds = [self.read(0, kind, how, self.transformer()), self.read(1, feeder_kind, how, self.feeder())]
        shot = Snapshot(self.readings[0], 800, PLACES, (Feeder(FEEDER_MA, self.readings[1], 1_000),), tuple(self.rows))
        asked = self.asks(wish)
        before = self.state
        self.state, shown = watch.look(before, shot, SETTINGS, self.now_ms)
        out = guard.vet(self.state, shown, asked, SETTINGS)
        again, shown_again = watch.look(before, shot, SETTINGS, self.now_ms)
        assert (again, guard.vet(again, shown_again, asked, SETTINGS)) == (self.state, out), "I21: same in, same out"
        over = kinds[0] == GOOD and self.is_over(self.readings[0])
        self.papers[0].note(kinds[0], self.now_ms, over)
        own = self.readings[1]
        self.papers[1].note(kinds[1], self.now_ms, own is not None and max(own.ma) > FEEDER_MA)
        self.account(asked, out)
        self.same_again(shot, out)
        for k, command in enumerate(out):
            row = self.rows[k]
            self.rows[k] = row._replace(set_ma=command.ma, possible_ma=max(row.possible_ma, command.ma))

    def same_again(self, shot: Snapshot, out: tuple[Command, ...]) -> None:
        """I21: a tick in which nothing new was read counts as no reading, and raises nobody further."""
        after, shown = watch.look(self.state, shot, SETTINGS, self.now_ms)
        assert (after.fresh, after.trust, after.entries) == (self.state.fresh, self.state.trust, self.state.entries)
        told = guard.vet(after, shown, out, SETTINGS)
        assert all(c.ma <= o.ma for c, o in zip(told, out, strict=True)), "I21: raised by the same reading again"

    def drawn(self, *, feeder: bool = False, proven: bool = False) -> list[int]:
        """What the cars draw on each phase, mA; ``proven``: what is said, on known phases."""
        out = [0, 0, 0]
        for k, row in enumerate(self.rows):
            place = PLACES[row.place]
            if (feeder and place.feeder < 0) or (proven and (row.silent or not place.known)):
                continue
            for p in range(3):
                out[p] += row.ma * (TRUE_PHASES[k] >> p & 1)
        return out

    def transformer(self) -> Meter:
        """What an honest meter shows of residents and cars."""
        ma = [RATED_MA * self.load // 1000 + own + self.ticks % 7 for own in self.drawn()]
        ma[0] += self.extra_ma
        return honest(self.now_ms, sum(ma) * 220 // 1000, (ma[0], ma[1], ma[2]), self.counters_wh[0])

    def feeder(self) -> Meter:
        """The same of the feeder's."""
        ma = [self.own_ma + own + self.ticks % 7 for own in self.drawn(feeder=True)]
        return honest(self.now_ms, sum(ma) * 220 // 1000, (ma[0], ma[1], ma[2]), self.counters_wh[1])

    def read(self, at: int, kind: int, how: str, true: Meter) -> int:
        """What one meter brings this tick. Returns what that is: some lies need cars that draw to be seen as one."""
        good, draws = self.good[at], self.drawn(feeder=at == 1, proven=True)
        if kind == FROZEN and good is not None:
            self.readings[at] = good._replace(at_ms=self.now_ms)
        elif kind == LIE and (draws[1] >= 6_000 or "cars" not in how):
            self.readings[at] = LIES[how](true)
        elif kind == OTHER:
            self.readings[at] = true._replace(identity="2")
        elif kind in (GOOD, LIE, FROZEN, BACK):
            kind = BACK if kind == BACK else GOOD
            self.readings[at] = self.good[at] = true
        return kind

    def asks(self, wish: str) -> tuple[Command, ...]:
        """What control wants, or whatever has become of it."""
        most = {"nothing": 0, "odd": (1, 5_999, 63_000, -6_000)[self.ticks % 4]}.get(wish, 32_000)
        rows = [
            Command(row.id, row.set_ma if wish == "present" else most, FULL, -1, True)
            for row in self.rows
        ]  # fmt: skip
        if wish == "missing":
            del rows[self.ticks % 4]
        if wish == "mixed":
            rows = [*rows[::-1], Command("stranger", 32_000, FULL, -1, True)]
        return tuple(rows)

    @staticmethod
    def is_over(meter: Meter | None) -> bool:
        """Is an honest reading above the limit?"""
        return meter is not None and (meter.s_va > LIMIT_VA or max(meter.ma) > LIMIT_MA)

    # ------------------------------------------------------------------------------------------------ what must hold
    def account(self, asked: tuple[Command, ...], out: tuple[Command, ...]) -> None:
        """Every command against the papers: I4, I5, I12, I16, I17, I22; and the sum of all of them: I1."""
        given = {command.id: command.ma for command in asked}
        assert [c.id for c in out] == [row.id for row in self.rows]
        raised = False
        for row, command in zip(self.rows, out, strict=True):
            has_ma = min(row.set_ma, row.possible_ma)
            low_ma = min(max(row.set_ma, row.allowed_ma), row.fallback_ma)
            papers = self.papers if PLACES[row.place].feeder == 0 else self.papers[:1]
            assert command.ma == 0 or 6_000 <= command.ma <= 32_000, f"I16: {command}"
            assert command.ma <= max(given.get(row.id, has_ma), 0), f"more than was asked for: {command}"
            if any(paper.fallback_only() for paper in papers):
                assert command.ma <= low_ma, f"I12, I17: {command} above the fallback without authority"
            if any(paper.no_raise() for paper in papers):
                assert command.ma <= max(has_ma, low_ma), f"I4, I5, I22: {command} is a raise"
            assert not row.silent or command.ma <= max(has_ma, low_ma), f"a silent charger was raised: {command}"
            raised = raised or command.ma > max(has_ma, low_ma)
        if raised:
            self.sums(out)

    def sums(self, out: tuple[Command, ...]) -> None:
        """I1: after a raise, residents and all that may flow, less what settled chargers lend, is within the limit."""
        may = [max(row.possible_ma, c.ma) for row, c in zip(self.rows, out, strict=True)]
        lent = [max(row.possible_ma - row.ma - 1000, 0) * (row.settled and not row.silent) for row in self.rows]
        true = self.good[0]
        assert true is not None
        base_ma = [max(own - drawn, 0) for own, drawn in zip(true.ma, self.drawn(proven=True), strict=True)]
        raised = [c.ma > min(row.set_ma, row.possible_ma) for row, c in zip(self.rows, out, strict=True)]
        # What a car of unknown phase draws is in the base of its phase already.
        more = [
            most - row.ma * (k == 2 and not row.silent)
            for k, (most, row) in enumerate(zip(may, self.rows, strict=True))
        ]
        for p in range(3):
            on = [k for k, row in enumerate(self.rows) if PLACES[row.place].phases >> p & 1]
            if any(raised[k] for k in on):
                flows_ma = base_ma[p] + sum(more[k] for k in on) - min(sum(lent[k] for k in on), LENT_MA)
                assert flows_ma <= LIMIT_MA, f"I1: {flows_ma} mA may flow on phase {p}"
        all_ma = sum(true.ma) - sum(row.ma * PLACES[row.place].lines for row in self.rows if not row.silent)
        all_ma += sum((may[k] - lent[k]) * PLACES[row.place].lines for k, row in enumerate(self.rows))
        assert all_ma * 220 // 1000 <= LIMIT_VA + 1_000, f"I1: {all_ma} mA may flow in all"
