"""What is known of every charger, latched once a tick, and what must be sent to it.

Silence is not idleness: a charger that has not been heard counts at the most it might draw. A renewal answers
telemetry, so that the lease counts from the charger's own fresh stamp.

Epochs fence two controllers. Who begins is the newest and tells every charger so with a *fence*: a setpoint without a
lease, which can only lower, but whose epoch the charger keeps. Until a charger has echoed our epoch another controller
may raise it: it is told nothing but fences, and counts at its nameplate. So the newest controller never counts too
little, whatever an older one does that has not heard of it yet, and raises only what fits beside that.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge.core import ledger
from edge.core.model import CHARGING, FAULTED, FINISHED, MIN_MA, NEVER, UNPLUGGED, WAITING, Charger, Command, Place
from edge.late import FRESH_MS, Late, is_due
from edge.planner import GO_MS, Proposal, Want
from edge.ports import ChargerState, Message, Setpoint, Wish
from edge.turns import in_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edge.config import ChargerConfig, ChargingConfig

# Twice the heartbeat of the native dialect (20, 120, 300 s) and a little: after that a charger counts as silent.
SILENT_MS = {CHARGING: 45_000, WAITING: 270_000, FINISHED: 270_000, UNPLUGGED: 650_000}
SILENT_MS_MIN = 45_000
SETTLE_MS = 60_000
"""A charger is settled when for so long what it draws has not risen and what it was told has not changed, or not below
what it draws. A car that nears its end is settled while its current falls."""
SETTLE_MA = 500
PROOF_MS = 5_000
"""A car follows its pilot within 5 s."""
EPOCH_STEP = 1 << 16
"""An epoch is a counter times this, plus a number of this run: two controllers never begin with the same."""
EPOCH_JUMP_MAX = 1000
"""A foreign epoch whose counter is further ahead counts only when two chargers echo it."""
RIVAL_MS = 600_000
"""So long after another controller's last word this one stays silent; and so long a charger that says nothing counts
at what another controller might make of it."""
FENCES_MAX = 50
"""So many fences leave in a tick: each is answered, and the answers of 3000 chargers at once would be a flood."""
FENCE_MS, FENCE_SILENT_MS = 10_000, 60_000
"""A fence that was not answered is sent again after so long; to who has not been heard lately, after so long."""
OUTSTANDING_MAX = 8
EXAMINED = 200
"""So many chargers a tick are examined whether they obey."""


@dataclass(slots=True)
class Unit:
    """One registered charger: what it said last, what it was told, what is still on its way."""

    config: ChargerConfig
    state: ChargerState | None = None
    heard_ms: int = NEVER
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


@dataclass(slots=True)
class Fleet:
    """The chargers of one area. ``depart_of(wish, now_ms)`` turns a wish, or none, into a departure on our clock."""

    chargers: Iterable[ChargerConfig]
    charging: ChargingConfig
    depart_of: Callable[[Wish | None, int], int]
    grant_now: Callable[[str], bool] = lambda _charger: True
    """May this charger be charged at once this month still? Asked once a session; a yes is counted."""
    stored_epoch: int = 0
    """The newest epoch of an earlier run of this controller, as far as its disk remembers."""
    tie_break: Callable[[], int] = lambda: 0
    """A number below EPOCH_STEP for each beginning, which no other controller draws."""
    epoch: int = 0
    begun_ms: int = NEVER
    newest_epoch: int = 0
    """The newest epoch of another controller."""
    rival: bool = False
    """What another, newer controller has told a charger was seen: it commands this area."""
    strangers: set[str] = field(default_factory=set)
    odd_fallbacks: dict[str, int] = field(default_factory=dict)
    """Chargers that would take more by themselves than the area was planned with, and how much, mA."""
    units: dict[str, Unit] = field(default_factory=dict)
    places: tuple[Place, ...] = ()
    arrivals: int = 0
    """Sessions that were seen to begin since somebody last asked."""
    news: bool = False
    """A session or a wish that no plan has seen."""
    late: Late | None = None
    """What chargers are to do by themselves in the valley; None: nothing."""
    newcomer_ms: tuple[int, ...] = ()
    """By place: the start of a car that no plan has seen yet; without an entry it goes at once."""

    def __post_init__(self) -> None:
        self.units = {c.id: Unit(c) for c in sorted(self.chargers, key=lambda c: c.id)}
        places = {name: place_of(unit.config) for name, unit in self.units.items()}
        self.places = tuple(sorted(set(places.values())))
        for name, unit in self.units.items():
            unit.place = self.places.index(places[name])

    def hear(self, messages: list[Message], now_ms: int) -> None:
        """Take in what the link has brought. A charger that is not registered is listed, never commanded."""
        for message in messages:
            unit = self.units.get(message.charger)
            if unit is None:
                if len(self.strangers) < 1000:
                    self.strangers.add(message.charger)
            elif isinstance(message, Wish):
                if message == unit.wish:
                    continue  # said again, so that a controller that was away hears it
                if unit.wish is None or message.want_wh != unit.wish.want_wh:
                    unit.missing_wh = 0  # what the plan could not give of another request says nothing of this one
                unit.wish, unit.image = message, None
                unit.depart_ms = self.depart_of(message, now_ms)
                self.news = True
                self._judge_now(unit)
            else:
                self._hear_state(unit, message, now_ms)

    def _hear_state(self, unit: Unit, state: ChargerState, now_ms: int) -> None:
        known = unit.state
        if known is not None and state.boot == known.boot and _age(state) < _age(known):
            return  # overtaken by a newer one
        self._mind_fallback(unit.config.id, state.fallback_ma)
        if state.plug == UNPLUGGED:
            if known is not None and known.plug != UNPLUGGED:
                unit.wish, unit.depart_ms, unit.at_once, unit.granted = None, NEVER, False, False
            unit.begun_ms = NEVER
        elif unit.begun_ms == NEVER:
            if unit.depart_ms == NEVER:
                unit.depart_ms = self.depart_of(unit.wish, now_ms)
            unit.begun_ms, unit.missing_wh = now_ms, 0
            unit.start_ms = self.newcomer_ms[unit.place] if self.newcomer_ms else GO_MS
            # A car found there at the start came at another hour.
            self.arrivals += known is not None
            self.news = True
            self._judge_now(unit)
        if known is not None and state.boot != known.boot and known.lease_ms > 0:
            # A reboot, or a late word of an earlier run: what the other run allowed may flow until its lease ends.
            ends_ms = ledger.lease_end_ms(unit.heard_ms, known.lease_ms)
            unit.sent = (ledger.Sent(known.epoch, known.seq, known.allowed_ma, ends_ms), *unit.sent)
        if known is None or (state.boot, state.tick_ms) != (known.boot, known.tick_ms):
            unit.heard_ms = now_ms  # the same stamp again is an echo of the past, not a sign of life
        ma = max(state.ma)
        lowered_to_what_it_draws = known is not None and ma <= state.allowed_ma < known.allowed_ma
        if (
            known is None
            or (known.allowed_ma != state.allowed_ma and not lowered_to_what_it_draws)
            or known.plug != state.plug
            or ma > unit.steady_ma + SETTLE_MA
        ):
            unit.steady_ms, unit.steady_ma = now_ms, ma
        unit.steady_ma = min(unit.steady_ma, ma)
        unit.state, unit.image = state, None
        # A word of another run than the last setpoint went to disproves nothing: a controller that has started anew
        # and heard nobody may use numbers that this charger has seen before.
        past = (state.epoch, state.seq) if state.boot == unit.echo[0] else (-1, -1)
        unit.sent = ledger.outstanding(unit.sent, *past, now_ms)
        unit.late = ledger.lates(unit.late, *past, state.late_ma)
        self._mind_foreign(unit, state, known)

    def _mind_fallback(self, name: str, fallback_ma: int) -> None:
        """Less than planned is harmless; more breaks the arithmetic the area's safety rests on, and is named."""
        if fallback_ma > self.charging.fallback_ma:
            self.odd_fallbacks[name] = fallback_ma
        elif self.odd_fallbacks:
            self.odd_fallbacks.pop(name, None)

    def _judge_now(self, unit: Unit) -> None:
        """Charge now counts once a session, and only when there is one."""
        asked = unit.wish is not None and unit.wish.now and unit.begun_ms != NEVER
        if asked and not unit.granted:
            unit.granted = self.grant_now(unit.config.id)
        unit.at_once = asked and unit.granted

    def _mind_foreign(self, unit: Unit, state: ChargerState, known: ChargerState | None) -> None:
        """Who has sent what we have not? Another controller, or one that is gone, or the charger is odd.

        A controller with our very epoch is one too, if a charger echoes of it what we have not sent.
        """
        if not self.epoch or (state.epoch, state.seq) <= (self.epoch_of(unit), unit.seq):
            return
        if not near(state.epoch, self.epoch) and self._echoes(state.epoch) < 2:
            unit.epoch = next_epoch(state.epoch, self.epoch % EPOCH_STEP)
            unit.fence_ms = NEVER
        elif state.lease_ms > 0 or known is None or (known.epoch, known.seq) != (state.epoch, state.seq):
            # A lease that lives, or a word that is new to us. The same word again says nothing of now.
            self.rival, self.newest_epoch = True, state.epoch

    def _echoes(self, epoch: int) -> int:
        """How many chargers say that this is the newest epoch they have seen, or said so before we outdid it there."""
        outdone = next_epoch(epoch, self.epoch % EPOCH_STEP)
        return sum(
            unit.state is not None and (unit.state.epoch == epoch or unit.epoch == outdone)
            for unit in self.units.values()
        )

    def epoch_of(self, unit: Unit) -> int:
        """The epoch a charger is commanded with."""
        return max(self.epoch, unit.epoch)

    def _fenced(self, unit: Unit) -> bool:
        """Has it echoed our epoch? It keeps that over a restart, so no older controller can raise it ever again."""
        return unit.state is not None and unit.state.epoch == self.epoch_of(unit)

    def _doubt_until_ms(self, unit: Unit) -> int:
        """Until when another controller may raise it, for all we know, if it says nothing; NEVER when none can.

        There is no proof but the echo. Yet a dead charger must not block its nameplate for ever: a controller that
        hears only what we do not, and nothing of the chargers that echo us, is believed in for ten minutes. After
        that what it gives is seen by the meter alone.
        """
        return NEVER if not self.epoch or self._fenced(unit) else max(self.begun_ms, unit.heard_ms) + RIVAL_MS

    def date_anew(self, now_ms: int) -> None:
        """The wall clock has moved: every departure is found anew."""
        for unit in self.units.values():
            if unit.depart_ms != NEVER:
                unit.depart_ms, unit.image, self.news = self.depart_of(unit.wish, now_ms), None, True

    def begin_epoch(self, now_ms: int) -> None:
        """Become the newest controller of the area. Called when the start-up rule is fulfilled.

        What chargers may draw is not ours yet: all that was told is history, and every charger must be fenced.
        """
        echoed = Counter(unit.state.epoch for unit in self.units.values() if unit.state is not None)
        newest = max(self.epoch, self.stored_epoch)
        counted = [epoch for epoch, count in echoed.items() if near(epoch, newest) or count > 1]
        self.epoch = next_epoch(max([newest, *counted]), self.tie_break())
        self.begun_ms, self.rival = now_ms, False
        for unit in self.units.values():
            unit.set_ma, unit.epoch, unit.fence_ms, unit.image = 0, 0, NEVER, None
            if unit.state is not None and unit.state.epoch >= self.epoch:
                unit.epoch = next_epoch(unit.state.epoch, self.epoch % EPOCH_STEP)

    def view(self, now_ms: int) -> tuple[Charger, ...]:
        """The latched image of every charger, sorted by id."""
        images = tuple(
            unit.image if unit.image is not None and now_ms < unit.image_until_ms else self._view(name, unit, now_ms)
            for name, unit in self.units.items()
        )
        if self.charging.fallback_slots < 2:
            return images
        turns_ma = [unit.turn_ma for unit in self.units.values()]
        return in_turns(images, turns_ma, self.places, self.charging.fallback_slots)

    def _view(self, name: str, unit: Unit, now_ms: int) -> Charger:
        config, state = unit.config, unit.state
        doubt_ms = self._doubt_until_ms(unit)
        if state is None:
            fallback_ma = self.charging.fallback_ma
            # It may keep a late fallback of an earlier controller.
            alone_ma = max(fallback_ma, MIN_MA) if self.late is not None and self.late.begun else fallback_ma
            fallback_ma, alone_ma, unit.turn_ma = self._turn(self.charging.fallback_slots, fallback_ma, alone_ma)
            # What was told to one without a lease, by whomever, stands.
            alone_ma = alone_ma if config.leased else config.max_ma
            most = ledger.possible_ma(unit.sent, False, True, 0, NEVER, 0, alone_ma, now_ms)
            return Charger(
                name, unit.place, config.max_ma, fallback_ma, UNPLUGGED, 0, 0, unit.set_ma,
                config.max_ma if now_ms < doubt_ms else most, True, False, 0, 0, NEVER, NEVER, False, 0,
            )  # fmt: skip
        silent_ms = unit.heard_ms + SILENT_MS.get(state.plug, SILENT_MS_MIN) + 1
        silent = now_ms >= silent_ms
        plugged = state.plug not in (UNPLUGGED, FINISHED, FAULTED)
        # Whatever it claims, it cannot be more than its nameplate; what flows beyond that is in the base.
        plate_ma = config.max_ma
        ma, allowed_ma = min(max(state.ma), plate_ma), min(state.allowed_ma, plate_ma)
        fallback_ma = min(state.fallback_ma, plate_ma)
        until_ms = ledger.lease_end_ms(unit.heard_ms, state.lease_ms) if state.lease_ms > 0 else NEVER
        until_ms = until_ms if config.leased else ledger.FOREVER
        alone_ma = max(fallback_ma, min(ledger.late_ma(unit.late, now_ms), plate_ma))
        fallback_ma, alone_ma, unit.turn_ma = self._turn(state.slots, fallback_ma, alone_ma)
        if not (plugged or silent):
            unit.turn_ma = 0
        possible = ledger.possible_ma(unit.sent, plugged, silent, allowed_ma, until_ms, ma, alone_ma, now_ms)
        # A draw above what it allows is falling: when no word has come since, it proves nothing of the present.
        proof_ms = unit.heard_ms + PROOF_MS if ma > allowed_ma else 1 << 60
        proven_ma = allowed_ma if now_ms >= proof_ms else ma
        doubted = doubt_ms != NEVER and (not silent or now_ms < doubt_ms)
        if doubted:
            possible = plate_ma
        # A setpoint whose lease is over is history: back to it leads a ramp, not a jump.
        over = now_ms >= until_ms
        set_ma = min(unit.set_ma, possible) if over else unit.set_ma
        steady = not doubted and now_ms - unit.steady_ms >= SETTLE_MS
        settled = steady and possible <= max(allowed_ma, set_ma, fallback_ma)
        want_wh = self._want_wh(unit)
        need_wh = want_wh - state.wh
        image = Charger(
            name, unit.place, min(plate_ma, state.max_ma), fallback_ma, state.plug, proven_ma, allowed_ma, set_ma,
            possible, silent, settled, need_wh, need_wh - unit.missing_wh, unit.depart_ms, unit.start_ms, unit.at_once,
            unit.wish.prio if unit.wish is not None else 0,
        )  # fmt: skip
        # It stays true until something is heard or told, or until one of these moments.
        moments = [silent_ms, until_ms, doubt_ms, proof_ms, unit.steady_ms + SETTLE_MS]
        moments += [sent.ends_ms for sent in unit.sent]
        moments += [at for row in unit.late for at in (row.from_ms, row.to_ms)]
        unit.image, unit.image_until_ms = image, min((at for at in moments if at > now_ms), default=1 << 60)
        return image

    def _turn(self, slots: int, fallback_ma: int, alone_ma: int) -> tuple[int, int, int]:
        """(fallback to be told, what it takes alone at any time, what it takes alone in its turn), mA.

        To tell a charger its fallback would be to end its turns: it is told 0, and left to itself.
        """
        if 1 < self.charging.fallback_slots <= slots:
            return 0, 0, alone_ma
        return fallback_ma, alone_ma, 0

    def _want_wh(self, unit: Unit) -> int:
        """What this session asked for, or what is assumed of who asked for nothing."""
        asked = None if unit.wish is None else unit.wish.want_wh
        return self.charging.default_want_wh if asked is None else asked

    def evidence(self, view: tuple[Charger, ...], turn: int) -> list[tuple[Charger, int, int]]:
        """What edge/core/obey.py judges: some chargers each tick, in turn, with when they were heard and told."""
        stride = 1 + len(view) // EXAMINED
        units = list(self.units.values())
        return [
            (_as_said(view[k], units[k]), units[k].heard_ms, units[k].told_ms)
            for k in range(turn % stride, len(view), stride)
            if self._fenced(units[k])
        ]

    def wants(self) -> list[Want]:
        """What the planner must know of every session."""
        out = []
        for name, unit in self.units.items():
            state = unit.state
            if state is None or state.plug not in (WAITING, CHARGING):
                continue
            want_wh = self._want_wh(unit)
            max_ma = min(unit.config.max_ma, state.max_ma)
            if max_ma > 0:
                running = unit.set_ma > 0 and want_wh > state.wh
                out.append(
                    Want(
                        name,
                        unit.place,
                        max_ma,
                        want_wh,
                        unit.depart_ms,
                        state.wh,
                        running,
                        unit.at_once or (unit.wish is not None and not unit.wish.orderly),
                    )
                )
        return out

    def free_places(self) -> list[tuple[int, int, int]]:
        """Chargers without a car, by place: (place, how many, mean of what they can give in mA)."""
        sums: dict[int, list[int]] = {}
        for unit in self.units.values():
            if unit.state is None or unit.state.plug == UNPLUGGED:
                row = sums.setdefault(unit.place, [0, 0])
                row[0] += 1
                row[1] += unit.config.max_ma
        return [(place, count, total // count) for place, (count, total) in sorted(sums.items())]

    def follow(self, proposal: Proposal, asked_ms: int = 1 << 60) -> None:
        """Take over a plan that was asked for at ``asked_ms``: who waits until when, and what is aimed for.

        It says nothing of a session that has ended, or begun since.
        """
        self.newcomer_ms = proposal.newcomer_ms
        for name, start_ms in proposal.start_ms.items():
            unit = self.units[name]
            if unit.begun_ms == NEVER or unit.begun_ms > asked_ms:
                continue
            want_wh = self._want_wh(unit)
            missing_wh = max(round(want_wh - proposal.aim_wh[name]), 0)
            if (unit.start_ms, unit.missing_wh) != (start_ms, missing_wh):
                unit.start_ms, unit.missing_wh, unit.image = start_ms, missing_wh, None

    def due(self, commands: Iterable[Command], now_ms: int) -> list[Setpoint]:
        """The setpoints this tick must send, lowerings first: changes, renewals that answer telemetry, and repeats.

        Who has not echoed our epoch gets a fence, some of them in each tick.
        """
        lower: list[Setpoint] = []
        other: list[Setpoint] = []
        unfenced: list[tuple[bool, int, str, int]] = []
        for command in commands:
            unit = self.units[command.id]
            state = unit.state
            if state is None or not self._fenced(unit):
                deaf = state is None or now_ms - unit.heard_ms > SILENT_MS.get(state.plug, SILENT_MS_MIN)
                since_ms = now_ms - unit.fence_ms
                if command.ma < unit.set_ma or since_ms >= (FENCE_SILENT_MS if deaf else FENCE_MS):
                    unfenced.append((deaf, unit.fence_ms, command.id, command.ma))
            elif self._is_due(unit, state, command):
                setpoint = Setpoint(
                    command.id, self.epoch_of(unit), unit.seq + 1, state.boot, state.tick_ms, command.ma,
                    self.charging.lease_ms, *self._late_told(unit),
                )  # fmt: skip
                (lower if command.ma < unit.set_ma else other).append(setpoint)
        return lower + [self._fence(name, ma) for _, _, name, ma in sorted(unfenced)[:FENCES_MAX]] + other

    def _fence(self, charger: str, ma: int) -> Setpoint:
        """Our epoch for a charger, at no more than it has, as far as we know; if it has less it refuses and says so."""
        unit = self.units[charger]
        state = unit.state
        if state is None:
            boot, tick_ms, most = 0, 0, self.charging.fallback_ma
        else:
            boot, tick_ms, most = state.boot, state.tick_ms, min(state.allowed_ma, state.fallback_ma)
        ma = min(ma, most) if most >= MIN_MA else 0
        return Setpoint(charger, self.epoch_of(unit), unit.seq + 1, boot, tick_ms, ma, 0)

    def _is_due(self, unit: Unit, state: ChargerState, command: Command) -> bool:
        if command.ma != unit.set_ma or self._is_late_due(unit, state, command):
            return True
        if (state.boot, state.tick_ms) == unit.echo:
            return False  # it has said nothing since: a second message could tell it nothing new
        high = state.allowed_ma > command.ma
        if state.plug not in (WAITING, CHARGING):
            return state.lease_ms > 0 and high
        lost = state.seq < unit.seq
        if lost and (high or (command.renew and state.allowed_ma < command.ma)):
            return True
        leaseless = (command.ma == state.fallback_ma and state.slots == 1) or not command.renew
        if (leaseless or not unit.config.leased) and state.allowed_ma <= max(command.ma, state.fallback_ma):
            return False
        return unit.echo[0] != state.boot or state.tick_ms - unit.echo[1] >= self.charging.lease_ms // 4

    def _late_told(self, unit: Unit) -> tuple[int, int, int]:
        """The late fallback that a setpoint for this charger carries: mA, after and until, s."""
        if self.late is None or not unit.config.leased:
            return 0, 0, 0
        return self.late.told(unit.config.id, unit.heard_ms)

    def _is_late_due(self, unit: Unit, state: ChargerState, command: Command) -> bool:
        """Must it be told for its late fallback alone? What SAFE does not renew is not renewed for that."""
        if (self.late is None and not unit.late) or (state.boot, state.tick_ms) == unit.echo:
            return False
        if command.ma > state.fallback_ma and not command.renew:
            return False
        if self.late is not None and self.late.now_ms - unit.heard_ms > FRESH_MS:
            return False
        from_ms = min((row.from_ms for row in unit.late), default=NEVER)
        return is_due(self.late, self._late_told(unit), unit.late_until_ms, from_ms, state)

    def sent(self, setpoint: Setpoint, now_ms: int) -> None:
        """Remember a setpoint that has left: it may flow from now on."""
        unit = self.units[setpoint.charger]
        if not setpoint.lease_ms:
            # A fence adds nothing to what may flow.
            unit.told_ms = now_ms
            unit.set_ma, unit.seq, unit.fence_ms, unit.image = setpoint.ma, setpoint.seq, now_ms, None
            return
        drawn_ma = max(unit.state.ma) if unit.state is not None else 0
        if setpoint.ma != unit.set_ma and not drawn_ma <= setpoint.ma < unit.set_ma:
            unit.steady_ms = now_ms
        if setpoint.ma != unit.set_ma:
            unit.told_ms = now_ms
        unit.set_ma, unit.seq, unit.image = setpoint.ma, setpoint.seq, None
        unit.echo = (setpoint.boot, setpoint.tick_ms)
        ends_ms = ledger.lease_end_ms(now_ms, setpoint.lease_ms) if unit.config.leased else ledger.FOREVER
        entry = ledger.Sent(setpoint.epoch, setpoint.seq, setpoint.ma, ends_ms)
        # An older one that is not above this one adds nothing: it ends earlier and is disproved earlier.
        above = [s for s in unit.sent if s.ma > setpoint.ma and s.ends_ms > now_ms]
        if len(above) >= OUTSTANDING_MAX:
            # Bounded, and never forgetful: the oldest is folded into the next.
            first, second = above[:2]
            above[:2] = [ledger.Sent(second.epoch, second.seq, first.ma, second.ends_ms)]
        unit.sent = (*above, entry)
        if setpoint.late_until_s:
            window = ledger.late_window(now_ms, setpoint.late_after_s, setpoint.late_until_s)
            unit.late = _bounded((*unit.late, ledger.Late(setpoint.epoch, setpoint.seq, setpoint.late_ma, *window)))
            unit.late_until_ms = unit.heard_ms + setpoint.late_until_s * 1000


def place_of(config: ChargerConfig) -> Place:
    """How a charger is wired."""
    return Place(
        config.phases, 3 if config.phase_known and config.phases == 7 else 1, config.phase_known, config.feeder
    )


def _as_said(row: Charger, unit: Unit) -> Charger:
    """With the current its last word gave, however old that is, and with all it may rightly take by itself.

    In its turn, or on its late fallback, it obeys too.
    """
    if unit.state is None:
        return row
    ma = min(max(unit.state.ma), unit.config.max_ma)
    alone_ma = min(max(unit.state.fallback_ma, unit.state.late_ma), unit.config.max_ma)
    if ma == row.ma and alone_ma <= row.fallback_ma:
        return row
    return row._replace(ma=ma, fallback_ma=max(alone_ma, row.fallback_ma))


def next_epoch(newest: int, number: int) -> int:
    """The first epoch of the controller with this number that is newer than ``newest``, whoever begins beside it."""
    return (newest // EPOCH_STEP + 1) * EPOCH_STEP + number


def near(epoch: int, own: int) -> bool:
    """Is an epoch so little ahead that one charger is enough to believe in it?"""
    return epoch // EPOCH_STEP <= own // EPOCH_STEP + EPOCH_JUMP_MAX


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
