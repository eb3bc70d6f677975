"""One registered charger: what it said last, what it was told, and the most that may flow in it.

Silence is not idleness: a charger that has not been heard counts at the most it might draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.core import ledger
from edge.core.model import CHARGING, FAULTED, FINISHED, MIN_MA, NEVER, UNPLUGGED, WAITING, Charger
from edge.planner import GO_MS

if TYPE_CHECKING:
    from edge.config import ChargerConfig, ChargingConfig
    from edge.ports import ChargerState, Setpoint, Wish

# Twice the heartbeat of the native dialect (20, 120, 300 s) and a little: after that a charger counts as silent.
SILENT_MS = {CHARGING: 45_000, WAITING: 270_000, FINISHED: 270_000, UNPLUGGED: 650_000}
SILENT_MS_MIN = 45_000
SETTLE_MS = 60_000
"""A charger is settled when for so long what it draws has not risen and what it was told has not changed, or not below
what it draws. A car that nears its end is settled while its current falls."""
SETTLE_MA = 500
PROOF_MS = 5_000
"""A car follows its pilot within 5 s."""
LEAK_PERMILLE = 100
"""A word that came as quick as any says how far a charger's clock is from ours; that is trusted less by so much of the
time since, for clocks drift, and one that was set is known again after some minutes."""
OUTSTANDING_MAX = 8


@dataclass(slots=True)
class Unit:
    """What is known of one charger, and what is still on its way to it."""

    config: ChargerConfig
    state: ChargerState | None = None
    heard_ms: int = NEVER
    """When its last word came."""
    said_ms: int = NEVER
    """When it was said, as far as its clock tells: a word may be late."""
    offset_ms: int = 0
    """How far its clock was behind ours when a word came quickest, and when that was."""
    offset_at_ms: int = NEVER
    wish: Wish | None = None
    depart_ms: int = NEVER
    set_ma: int = 0
    seq: int = 0
    epoch: int = 0
    """Its own epoch when it alone is ahead of the fleet: an odd charger is handled alone."""
    told_ms: int = NEVER
    """When it was told something else than before."""
    fence_ms: int = NEVER
    """When it was last told a fence of this epoch."""
    lowered: tuple[int, int, int, int] | None = None
    """While it has not answered a setpoint below what it had: epoch and seq of the last, the lowest mA, since when."""
    echo: tuple[int, int] = (-1, -1)
    """The telemetry stamp (boot, tick) that the last setpoint echoed."""
    sent: tuple[ledger.Sent, ...] = ()
    late: tuple[ledger.Late, ...] = ()
    """The late fallbacks that it keeps or may be given by what is on its way."""
    late_until_ms: int = NEVER
    """When the last one it was told ends."""
    turn_ma: int = 0
    """What it may take in its turn, beyond what the image counts: all turns together are counted once."""
    place: int = 0
    steady_ms: int = NEVER
    """Since when what it draws has not risen and what it was told has not mattered."""
    steady_ma: int = 0
    """The least it has drawn since then."""
    start_ms: int = GO_MS
    """The plan lets its car wait until then."""
    missing_wh: int = 0
    """What the plan expects not to be had of its request."""
    at_once: bool = False
    """Its resident asked to be charged at once, and may."""
    granted: bool = False
    """That was counted for this session."""
    begun_ms: int = NEVER
    """When its session began; NEVER without one."""
    image: Charger | None = None
    """What the last tick saw, while nothing has changed."""
    image_until_ms: int = NEVER

    @property
    def silent_ms(self) -> int:
        """From when on it counts as silent, unless it is heard before."""
        if self.state is None:
            return NEVER
        return self.said_ms + SILENT_MS.get(self.state.plug, SILENT_MS_MIN) + 1

    def fallback_ma(self, planned_ma: int) -> int:
        """What it may take by itself with our leave: as it says, but no more than the area was planned with."""
        return min(self.state.fallback_ma, planned_ma) if self.state is not None else planned_ma

    def want_wh(self, default_wh: int) -> int:
        """What this session asked for, or what is assumed of who asked for nothing."""
        asked = None if self.wish is None else self.wish.want_wh
        return default_wh if asked is None else asked

    def said_newer(self, state: ChargerState, now_ms: int) -> bool:
        """Has it said something newer than this already, in the same run?

        One clock that was wrong once must not silence it for ever. When nothing has come for long, and all that was
        told is over, a charger without a lease is believed at any time of its clock: more than its fallback it has not.
        """
        known = self.state
        if known is None or state.boot != known.boot or _age(state) >= _age(known):
            return False
        ends_ms = max([ledger.lease_end_ms(self.heard_ms, known.lease_ms), *(s.ends_ms for s in self.sent)])
        begins_anew = state.lease_ms == 0 and now_ms >= max(self.silent_ms, ends_ms)
        if begins_anew:
            self.offset_at_ms = NEVER
        return not begins_anew

    def hear(self, state: ChargerState, now_ms: int) -> None:
        """Take its telemetry in: what it disproves may flow no longer."""
        known = self.state
        if known is not None and state.boot != known.boot and known.lease_ms > 0:
            # A reboot, or a late word of an earlier run: what the other run allowed may flow until its lease ends.
            ends_ms = ledger.lease_end_ms(self.heard_ms, known.lease_ms)
            self.sent = (ledger.Sent(known.epoch, known.seq, known.allowed_ma, ends_ms), *self.sent)
        if known is None or (state.boot, state.tick_ms) != (known.boot, known.tick_ms):
            # The same stamp again is an echo of the past, not a sign of life.
            self.heard_ms, self.said_ms = now_ms, self._said_ms(state, now_ms)
        self._mind_steady(state, now_ms)
        if self.lowered is not None and (state.epoch, state.seq) >= self.lowered[:2]:
            self.lowered = None
        self.state, self.image = state, None
        # A word of another run than the last setpoint went to disproves nothing: a controller that has started anew
        # and heard nobody may use numbers that this charger has seen before.
        past = (state.epoch, state.seq) if state.boot == self.echo[0] else (-1, -1)
        self.sent = ledger.outstanding(self.sent, *past, now_ms)
        self.late = ledger.lates(self.late, *past, state.late_ma)

    def _said_ms(self, state: ChargerState, now_ms: int) -> int:
        """When a word that comes now was said: as much earlier as it is later than the quickest of this run."""
        offset_ms = now_ms - state.tick_ms
        if self.state is None or state.boot != self.state.boot or self.offset_at_ms == NEVER:
            quickest_ms = offset_ms
        else:
            leak_ms = (now_ms - self.offset_at_ms) * LEAK_PERMILLE // 1000
            quickest_ms = min(offset_ms, self.offset_ms + leak_ms)
        self.offset_ms, self.offset_at_ms = quickest_ms, now_ms
        return now_ms - (offset_ms - quickest_ms)

    def _mind_steady(self, state: ChargerState, now_ms: int) -> None:
        """Does what it says now end the time in which nothing has changed?"""
        known, ma = self.state, max(state.ma)
        lowered_to_what_it_draws = known is not None and ma <= state.allowed_ma < known.allowed_ma
        if (
            known is None
            or (known.allowed_ma != state.allowed_ma and not lowered_to_what_it_draws)
            or known.plug != state.plug
            or ma > self.steady_ma + SETTLE_MA
        ):
            self.steady_ms, self.steady_ma = now_ms, ma
        self.steady_ma = min(self.steady_ma, ma)

    def remember(self, setpoint: Setpoint, now_ms: int) -> None:
        """Remember a setpoint that has left: it may flow from now on. A fence adds nothing to what may flow."""
        self._mind_lowered(setpoint, now_ms)
        if not setpoint.lease_ms:
            self.told_ms = self.fence_ms = now_ms
            self.set_ma, self.seq, self.image = setpoint.ma, setpoint.seq, None
            return
        drawn_ma = max(self.state.ma) if self.state is not None else 0
        if setpoint.ma != self.set_ma and not drawn_ma <= setpoint.ma < self.set_ma:
            self.steady_ms = now_ms
        if setpoint.ma != self.set_ma:
            self.told_ms = now_ms
        self.set_ma, self.seq, self.image = setpoint.ma, setpoint.seq, None
        self.echo = (setpoint.boot, setpoint.tick_ms)
        ends_ms = ledger.lease_end_ms(now_ms, setpoint.lease_ms) if self.config.leased else ledger.FOREVER
        self.sent = _with(self.sent, ledger.Sent(setpoint.epoch, setpoint.seq, setpoint.ma, ends_ms), now_ms)
        if setpoint.late_until_s:
            window = ledger.late_window(now_ms, setpoint.late_after_s, setpoint.late_until_s)
            self.late = _bounded((*self.late, ledger.Late(setpoint.epoch, setpoint.seq, setpoint.late_ma, *window)))
            self.late_until_ms = self.said_ms + setpoint.late_until_s * 1000

    def _mind_lowered(self, setpoint: Setpoint, now_ms: int) -> None:
        """While a lowering is unanswered the lowest counts, since the first; only the answer to the last ends that."""
        before = self.lowered
        if before is not None:
            self.lowered = (setpoint.epoch, setpoint.seq, min(setpoint.ma, before[2]), before[3])
        elif self.state is not None and setpoint.ma < self.state.allowed_ma:
            self.lowered = (setpoint.epoch, setpoint.seq, setpoint.ma, now_ms)

    def look(self, now_ms: int, doubt_ms: int, charging: ChargingConfig, *, late_begun: bool) -> Charger:
        """Its image now, and ``turn_ma`` beside it.

        Another controller may raise it until ``doubt_ms`` if it says nothing, and before it is fenced if it speaks;
        NEVER: none can. ``late_begun``: a late fallback of an earlier controller may flow.
        """
        state = self.state
        if state is None:
            return self._look_unheard(now_ms, doubt_ms, charging, late_begun=late_begun)
        config, silent_ms = self.config, self.silent_ms
        silent = now_ms >= silent_ms
        plugged = state.plug not in (UNPLUGGED, FINISHED, FAULTED)
        # Whatever it claims, it cannot be more than its nameplate; what flows beyond that is in the base.
        plate_ma = config.max_ma
        ma, allowed_ma = min(max(state.ma), plate_ma), min(state.allowed_ma, plate_ma)
        takes_ma, fallback_ma = min(state.fallback_ma, plate_ma), min(self.fallback_ma(charging.fallback_ma), plate_ma)
        until_ms = ledger.lease_end_ms(self.heard_ms, state.lease_ms) if state.lease_ms > 0 else NEVER
        until_ms = until_ms if config.leased else ledger.FOREVER
        alone_ma = max(takes_ma, min(ledger.late_ma(self.late, now_ms), plate_ma))
        fallback_ma, alone_ma, self.turn_ma = _turn(charging.fallback_slots, state.slots, fallback_ma, alone_ma)
        if not (plugged or silent):
            self.turn_ma = 0
        possible = ledger.possible_ma(self.sent, plugged, silent, allowed_ma, until_ms, ma, alone_ma, now_ms)
        fades = self._fades(state, ma, allowed_ma, takes_ma)
        proven_ma = min([ma, *(left_ma for left_ma, at_ms in fades if now_ms >= at_ms)])
        doubted = doubt_ms != NEVER and (not silent or now_ms < doubt_ms)
        if doubted:
            possible = plate_ma
        # A setpoint whose lease is over is history: back to it leads a ramp, not a jump.
        over = now_ms >= until_ms
        set_ma = min(self.set_ma, possible) if over else self.set_ma
        steady = not doubted and now_ms - self.steady_ms >= SETTLE_MS
        settled = steady and possible <= max(allowed_ma, set_ma, fallback_ma)
        need_wh = self.want_wh(charging.default_want_wh) - state.wh
        self.image = Charger(
            config.id, self.place, min(plate_ma, state.max_ma), fallback_ma, state.plug, proven_ma, allowed_ma, set_ma,
            possible, silent, settled, need_wh, need_wh - self.missing_wh, self.depart_ms, self.start_ms, self.at_once,
            self.wish.prio if self.wish is not None else 0,
        )  # fmt: skip
        # It stays true until something is heard or told, or until one of these moments.
        moments = [silent_ms, until_ms, doubt_ms, self.steady_ms + SETTLE_MS]
        moments += [at_ms for _, at_ms in fades]
        moments += [sent.ends_ms for sent in self.sent]
        moments += [at for row in self.late for at in (row.from_ms, row.to_ms)]
        self.image_until_ms = min((at for at in moments if at > now_ms), default=ledger.FOREVER)
        return self.image

    def _fades(self, state: ChargerState, ma: int, allowed_ma: int, takes_ma: int) -> list[tuple[int, int]]:
        """When its last word proves less of the present than the draw it told of: (mA, from when on).

        What is above what it allows is falling; what is above its fallback ends with the lease it told of; and when it
        was told less and has not answered, that may have landed.
        """
        fades = []
        if ma > allowed_ma:
            fades.append((allowed_ma, self.said_ms + PROOF_MS))
        if ma > takes_ma and state.lease_ms > 0 and self.config.leased:
            left_ms = state.lease_ms * (1000 - ledger.DRIFT_PERMILLE) // 1000
            fades.append((takes_ma, self.said_ms + left_ms))
        if self.lowered is not None:
            fades.append((self.lowered[2], self.lowered[3] + PROOF_MS))
        return fades

    def _look_unheard(self, now_ms: int, doubt_ms: int, charging: ChargingConfig, *, late_begun: bool) -> Charger:
        """Its image while it has said nothing yet: never kept, for all is assumed."""
        config, fallback_ma = self.config, charging.fallback_ma
        # It may keep a late fallback of an earlier controller.
        alone_ma = max(fallback_ma, MIN_MA) if late_begun else fallback_ma
        slots = charging.fallback_slots
        fallback_ma, alone_ma, self.turn_ma = _turn(slots, slots, fallback_ma, alone_ma)
        # What was told to one without a lease, by whomever, stands.
        alone_ma = alone_ma if config.leased else config.max_ma
        most = ledger.possible_ma(self.sent, False, True, 0, NEVER, 0, alone_ma, now_ms)
        return Charger(
            config.id, self.place, config.max_ma, fallback_ma, UNPLUGGED, 0, 0, self.set_ma,
            config.max_ma if now_ms < doubt_ms else most, True, False, 0, 0, NEVER, NEVER, False, 0,
        )  # fmt: skip

    def as_said(self, row: Charger, planned_ma: int) -> Charger:
        """Its image with the current its last word gave, however old that is, and all it may rightly take by itself.

        In its turn, or on its late fallback, it obeys too. ``planned_ma``: the fallback of the area.
        """
        if self.state is None:
            return row
        ma = min(max(self.state.ma), self.config.max_ma)
        alone_ma = min(max(self.fallback_ma(planned_ma), min(self.state.late_ma, MIN_MA)), self.config.max_ma)
        if ma == row.ma and alone_ma <= row.fallback_ma:
            return row
        return row._replace(ma=ma, fallback_ma=max(alone_ma, row.fallback_ma))


def _turn(planned: int, slots: int, fallback_ma: int, alone_ma: int) -> tuple[int, int, int]:
    """(fallback to be told, what it takes alone at any time, what it takes alone in its turn), mA.

    To tell a charger its fallback would be to end its turns: it is told 0, and left to itself. ``planned``: in how many
    turns the area is to be; ``slots``: in how many the charger is.
    """
    return (0, 0, alone_ma) if 1 < planned <= slots else (fallback_ma, alone_ma, 0)


def _with(sent: tuple[ledger.Sent, ...], entry: ledger.Sent, now_ms: int) -> tuple[ledger.Sent, ...]:
    """What may still flow, and one more. Bounded, and never forgetful.

    An older one that is not above this one adds nothing: it ends earlier and is disproved earlier.
    """
    above = [s for s in sent if s.ma > entry.ma and s.ends_ms > now_ms]
    if len(above) >= OUTSTANDING_MAX:
        first, second = above[:2]  # the older is folded into the newer
        above[:2] = [ledger.Sent(second.epoch, second.seq, first.ma, second.ends_ms)]
    return (*above, entry)


def _bounded(rows: tuple[ledger.Late, ...]) -> tuple[ledger.Late, ...]:
    """Not too many late fallbacks, and none forgotten: the two oldest become one that spans both."""
    if len(rows) <= OUTSTANDING_MAX:
        return rows
    a, b = rows[:2]
    both = ledger.Late(b.epoch, b.seq, max(a.ma, b.ma), min(a.from_ms, b.from_ms), max(a.to_ms, b.to_ms))
    return (both, *rows[2:])


def _age(state: ChargerState) -> tuple[int, int, int]:
    """What orders the words of one run of a charger: its clock, and within a millisecond what it had accepted."""
    return state.tick_ms, state.epoch, state.seq
