"""All chargers of the area: latched once a tick, and what must be sent to them.

A renewal answers telemetry, so that the lease counts from the charger's own fresh stamp.

Epochs fence two controllers. Who begins is the newest and tells every charger so with a *fence*: a setpoint without a
lease, which can only lower, but whose epoch the charger keeps. Until a charger has echoed our epoch another controller
may raise it: it is told nothing but fences, and counts at its nameplate. So the newest controller never counts too
little, whatever an older one does that has not heard of it yet, and raises only what fits beside that.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge.core.model import CHARGING, MIN_MA, NEVER, UNPLUGGED, WAITING, Charger, Command, Place
from edge.late import FRESH_MS, Late, is_due
from edge.planner import GO_MS, Proposal, Want
from edge.ports import EPOCH_END, ChargerState, Message, Setpoint, Wish
from edge.turns import in_turns
from edge.unit import Unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edge.config import ChargerConfig, ChargingConfig

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
EXAMINED = 200
"""So many chargers a tick are examined whether they obey."""


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
    """Chargers that would take more by themselves than was planned with, or less than the law demands: how much, mA."""
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
        if unit.said_newer(state, now_ms):
            return
        known = unit.state
        self._mind_fallback(unit.config.id, state.fallback_ma)
        self._mind_session(unit, state, now_ms)
        unit.hear(state, now_ms)
        self._mind_foreign(unit, state, known)

    def _mind_session(self, unit: Unit, state: ChargerState, now_ms: int) -> None:
        """Has a car come, or gone?"""
        known = unit.state
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

    def _mind_fallback(self, name: str, fallback_ma: int) -> None:
        """More than planned breaks the arithmetic the area's safety rests on, less only what the law may demand."""
        planned_ma = self.charging.fallback_ma
        if fallback_ma > planned_ma or (self.charging.floor_by_law and fallback_ma < planned_ma):
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
            unit.epoch = self._above(state.epoch)
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

    def _above(self, epoch: int) -> int:
        """Our epoch for a charger that has seen this one; 0, the area's, where there is none above: never fenced."""
        return next_epoch(epoch, self.epoch % EPOCH_STEP) if _has_next(epoch) else 0

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
        counted = [epoch for epoch, count in echoed.items() if near(epoch, newest) or (count > 1 and _has_next(epoch))]
        self.epoch = next_epoch(max([newest, *counted]), self.tie_break())
        self.begun_ms, self.rival = now_ms, False
        for unit in self.units.values():
            unit.set_ma, unit.epoch, unit.fence_ms, unit.image = 0, 0, NEVER, None
            if unit.state is not None and unit.state.epoch >= self.epoch:
                unit.epoch = self._above(unit.state.epoch)

    def view(self, now_ms: int) -> tuple[Charger, ...]:
        """The latched image of every charger, sorted by id."""
        late_begun = self.late is not None and self.late.begun
        images = tuple(
            unit.image
            if unit.image is not None and now_ms < unit.image_until_ms
            else unit.look(now_ms, self._doubt_until_ms(unit), self.charging, late_begun=late_begun)
            for unit in self.units.values()
        )
        if self.charging.fallback_slots < 2:
            return images
        turns_ma = [unit.turn_ma for unit in self.units.values()]
        return in_turns(images, turns_ma, self.places, self.charging.fallback_slots)

    def evidence(self, view: tuple[Charger, ...], turn: int) -> list[tuple[Charger, int, int]]:
        """What edge/core/obey.py judges: some chargers each tick, in turn, with when they were heard and told."""
        stride = 1 + len(view) // EXAMINED
        units = list(self.units.values())
        return [
            (units[k].as_said(view[k], self.charging.fallback_ma), units[k].said_ms, units[k].told_ms)
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
            want_wh = unit.want_wh(self.charging.default_want_wh)
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
            want_wh = unit.want_wh(self.charging.default_want_wh)
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
                deaf = now_ms >= unit.silent_ms
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
            boot, tick_ms = state.boot, state.tick_ms
            most = min(state.allowed_ma, unit.fallback_ma(self.charging.fallback_ma))
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
        fallback_ma = unit.fallback_ma(self.charging.fallback_ma)
        leaseless = (command.ma == state.fallback_ma and state.slots == 1) or not command.renew
        if (leaseless or not unit.config.leased) and state.allowed_ma <= max(command.ma, fallback_ma):
            return False
        # A stamp before the last echo is of a clock that was set back.
        since_ms = state.tick_ms - unit.echo[1]
        return unit.echo[0] != state.boot or not 0 <= since_ms < self.charging.lease_ms // 4

    def _late_told(self, unit: Unit) -> tuple[int, int, int]:
        """The late fallback that a setpoint for this charger carries: mA, after and until, s."""
        if self.late is None or not unit.config.leased:
            return 0, 0, 0
        return self.late.told(unit.config.id, unit.said_ms)

    def _is_late_due(self, unit: Unit, state: ChargerState, command: Command) -> bool:
        """Must it be told for its late fallback alone? What SAFE does not renew is not renewed for that."""
        if (self.late is None and not unit.late) or (state.boot, state.tick_ms) == unit.echo:
            return False
        if command.ma > state.fallback_ma and not command.renew:
            return False
        if self.late is not None and self.late.now_ms - unit.said_ms > FRESH_MS:
            return False
        from_ms = min((row.from_ms for row in unit.late), default=NEVER)
        return is_due(self.late, self._late_told(unit), unit.late_until_ms, from_ms, state)

    def sent(self, setpoint: Setpoint, now_ms: int) -> None:
        """Remember a setpoint that has left: it may flow from now on."""
        self.units[setpoint.charger].remember(setpoint, now_ms)


def place_of(config: ChargerConfig) -> Place:
    """How a charger is wired."""
    return Place(
        config.phases, 3 if config.phase_known and config.phases == 7 else 1, config.phase_known, config.feeder
    )


def next_epoch(newest: int, number: int) -> int:
    """The first epoch of the controller with this number that is newer than ``newest``, whoever begins beside it."""
    return (newest // EPOCH_STEP + 1) * EPOCH_STEP + number


def _has_next(epoch: int) -> bool:
    return next_epoch(epoch, EPOCH_STEP - 1) < EPOCH_END


def near(epoch: int, own: int) -> bool:
    """Is an epoch so little ahead that one charger is enough to believe in it?"""
    return epoch // EPOCH_STEP <= own // EPOCH_STEP + EPOCH_JUMP_MAX
