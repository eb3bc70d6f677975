"""The tick: latch the inputs, decide, guard, send, write it down. ``Controller.tick`` is the whole of it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from edge import config as cfg
from edge.core import control, guard, obey, watch
from edge.core.model import (
    ISOLATED,
    NEVER,
    SILENT,
    STOPPING,
    Charger,
    Command,
    Feeder,
    Settings,
    Snapshot,
    mean_mv,
)
from edge.fleet import RIVAL_MS, Fleet
from edge.gauge import Gauge, ask_all
from edge.late import Late
from edge.localtime import WallClock, ahead_ms, local_minute
from edge.memory import Memory
from edge.planner import Proposal, expected
from edge.planning import NEW_MS, PLAN_MS, Inline, Question, habits, skew_of, slots_ahead
from edge.report import MODES, Report, Tick
from edge.schema import clock
from edge.site import late_hours, unleased_ma
from edge.unleased import within
from edge.voice import Voice

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.clock import Moment
    from edge.core.model import Meter
    from edge.journal import Journal
    from edge.planning import Runner
    from edge.ports import ChargerPort, MeterPort, Wish

log = logging.getLogger("taiqu")

HOUR_MS = 3_600_000
MAX_STAY_MS = 86_400_000
PROMISE_WH = 500
"""A promise that has changed by so much is said again."""


class Controller:
    """One transformer area: owns the state between ticks, and nothing else."""

    def __init__(
        self,
        config: cfg.AreaConfig,
        meter: MeterPort,
        chargers: ChargerPort,
        journal: Journal,
        runner: Runner | None = None,
        memory: Memory | None = None,
        feeder_meters: tuple[MeterPort | None, ...] = (),
        stored_epoch: int = 0,
        tie_break: Callable[[], int] = lambda: 0,
    ) -> None:
        self.config, self.chargers, self.journal = config, chargers, journal
        self.voice, self.wall = Voice(config.area_id), WallClock(config.timezone)
        self.fleet = Fleet(config.chargers, config.charging, self._depart_ms, self._grant_now, stored_epoch, tie_break)
        self.memory = memory or Memory()
        self.runner = runner or Inline()
        self.planned_ms = NEVER
        self.proposal = Proposal()
        self.promised: dict[str, tuple[int, str]] = {}
        self.told: list[tuple[str, int, str]] = []
        """What has been promised since the last journal line: charger, Wh at departure, why not all."""
        period_ms = config.meter.period_ms
        self.settings = Settings(
            config.rating_va,
            config.rated_ma,
            config.margin_permille,
            period_ms,
            config.charging.lease_ms,
            control.samples(period_ms),
            config.exports,
        )
        self.gauge = Gauge(meter, period_ms)
        self.feeder_gauges = {
            at: Gauge(own, feeder.meter.period_ms)
            for at, (feeder, own) in enumerate(zip(config.feeders, feeder_meters, strict=False))
            if feeder.meter is not None and own is not None
        }
        self.report = Report(config, self.voice, self.wall, self.fleet, chargers, tuple(self.feeder_gauges))
        self.control = control.start()
        self.obey = obey.start()
        self.turn = 0
        self.guard: watch.State | None = None
        self.now_ms = 0
        self.done_ms = NEVER
        """When the last whole cycle began: decided, guarded, handed over."""
        self.quiet_until_ms = NEVER
        self._latched = False
        """It was latched before it began anew: only a person ends that."""
        self._learned_ms = NEVER
        self._site_hour = -1
        self._late_span: tuple[int, int] | None = None
        self._unleased_ma: tuple[int, ...] = ()
        self.unleased = frozenset(charger.id for charger in config.chargers if not charger.leased)

    def tick(self, moment: Moment) -> None:
        """One cycle. Inputs are read here, once; every setpoint of the tick leaves here."""
        self.now_ms = self.voice.now_ms = moment.now_ms
        if self.guard is None:
            serial = self._serial("", self.config.meter)
            behind = tuple(self._serial(f.id, f.meter) for f in self.config.feeders)
            self.guard = watch.start(self.now_ms, serial, behind)
        if self.wall.show(moment.wall_s, self.now_ms):
            self.fleet.date_anew(self.now_ms)  # departures are wall time and have moved on ours
        self.fleet.hear(self.chargers.take(), self.now_ms)
        if moment.gap:
            self._mind_gap(moment.gap)
        self._mind_rival()
        self._read_meters()
        self._plan()
        self._ask_site()
        self.fleet.late = self._late()
        snapshot = self._snapshot()
        before = self.guard.mode
        commands = self.decide(snapshot)
        if before == watch.STARTING and self.guard.mode != watch.STARTING:
            self.fleet.begin_epoch(self.now_ms)
            if self.voice.said("rival"):
                self.voice.say("rival", f"this controller commands again (epoch {self.fleet.epoch})")
        sent = 0 if self.guard.mode == watch.STARTING else self._send(commands)
        self._learn()
        self._note_serials()
        self._report(snapshot, commands, sent)
        self.done_ms = self.now_ms

    def decide(self, snapshot: Snapshot) -> tuple[Command, ...]:
        """Control proposes, the guard disposes."""
        assert self.guard is not None  # noqa: S101 - set at the top of the tick
        moved = not obey.unmoved(self.obey)
        self.guard, shown = watch.look(self.guard, snapshot, self.settings, self.now_ms, unmoved=not moved)
        if self._latched and self.guard.mode != watch.STARTING:
            self.guard, self._latched = self.guard._replace(mode=watch.LATCHED), False
        seen = watch.for_control(self.guard, shown)
        self.control, commands = control.step(self.control, seen, self.settings, self.now_ms)
        commands = guard.vet(self.guard, shown, commands, self.settings)
        if self.unleased:
            commands = within(commands, snapshot.chargers, snapshot.places, self.unleased, self._unleased_ma)
        if watch.doubts(self.guard):
            self.obey = obey.away(self.obey)
        else:
            if self.guard.new:
                self.obey = obey.seen(self.obey, shown, self.settings)
            self.obey = obey.told(self.obey, shown, commands, self.now_ms)
        return self._name_isolated(snapshot, commands)

    def _isolate(self, view: tuple[Charger, ...]) -> tuple[Charger, ...]:
        """Who does not obey counts at its worst, and proves nothing, like one that is not heard."""
        if self.guard is None or self.guard.mode == watch.STARTING:
            self.obey = obey.start()  # what chargers are told now is told by somebody else
            return view
        self.turn += 1
        self.obey = obey.look(self.obey, self.fleet.evidence(view, self.turn), self.now_ms)
        names = obey.isolated(self.obey)
        if not names:
            return view
        # What it says it draws is in the base already, however little it proves: what it may draw above that is not.
        planned_ma = self.config.charging.fallback_ma
        return tuple(
            c._replace(
                silent=True,
                ma=c.ma if c.silent else self.fleet.units[c.id].as_said(c, planned_ma).ma,
                possible_ma=max(c.possible_ma, c.max_ma),
            )
            if c.id in names
            else c
            for c in view
        )

    def _serial(self, feeder: str, meter: cfg.MeterConfig | None) -> str:
        """What a meter must say it is: as configured, else as it said when it was met first."""
        return "" if meter is None else meter.serial or self.memory.meters.get(feeder, "")

    def _note_serials(self) -> None:
        """Remember who the meters are, so that one that is exchanged while this does not run is noticed too."""
        assert self.guard is not None  # noqa: S101 - set at the top of the tick
        names = ("", *(feeder.id for feeder in self.config.feeders))
        for name, seen in zip(names, (self.guard, *self.guard.feeders), strict=True):
            if seen.trust.identity and seen.mode != watch.LATCHED:
                self.memory.meters[name] = seen.trust.identity

    def _name_isolated(self, snapshot: Snapshot, commands: tuple[Command, ...]) -> tuple[Command, ...]:
        names = obey.isolated(self.obey)
        if not names or len(commands) != len(snapshot.chargers):
            return commands
        return tuple(c._replace(reason=ISOLATED) if c.id in names and c.reason == SILENT else c for c in commands)

    def stop(self) -> None:
        """On purpose: everybody to the lower of present and fallback, no lease renewed."""
        if self.guard is None or self.guard.mode == watch.STARTING:
            return
        commands = [
            Command(c.id, min(max(c.set_ma, c.allowed_ma), c.fallback_ma), STOPPING, -1, False)
            for c in self.fleet.view(self.now_ms)
        ]
        sent = self._send(tuple(commands))
        log.info("%s: %d chargers lowered to their fallback", self.config.area_id, sent)

    @property
    def epoch(self) -> int:
        """The epoch this controller commands with; 0 before it has any authority."""
        return self.fleet.epoch

    @property
    def status(self) -> str:
        """How it stands, in one line."""
        mode = MODES[self.guard.mode] if self.guard else MODES[0]
        return "; ".join(word for word in (mode, self.gauge.trouble, self.chargers.trouble) if word)

    def _mind_gap(self, why: str) -> None:
        """Nobody has decided for a while, and much may have changed: come down, then begin as after a start."""
        log.warning("%s: %s: begins as after a start", self.config.area_id, why)
        self.stop()
        self._lose_authority()

    def _lose_authority(self) -> None:
        if self.guard is not None:
            self._latched = self._latched or self.guard.mode == watch.LATCHED
            self.guard = watch.start(self.now_ms)._replace(trust=self.guard.trust, feeders=self.guard.feeders)

    @property
    def wall_s(self) -> float | None:
        """Unix seconds, or None when the wall clock is not to be trusted."""
        return self.wall.wall_s

    @property
    def reading(self) -> Meter | None:
        """The transformer meter's latest reading."""
        return self.gauge.reading

    def _read_meters(self) -> None:
        """Ask the transformer's meter, then those of the feeders."""
        self.gauge.ask(self.now_ms)
        ask_all(list(self.feeder_gauges.values()), self.now_ms)
        self._say_meter("meter", self.gauge)
        for at, gauge in self.feeder_gauges.items():
            self._say_meter(f"feeder {self.config.feeders[at].id} meter", gauge)

    def _say_meter(self, topic: str, gauge: Gauge) -> None:
        if gauge.trouble and gauge.silent(self.now_ms):
            self.voice.warn(topic, gauge.trouble if topic == "meter" else f"{topic}: {gauge.trouble}")
        elif not gauge.trouble and gauge.reading is not None:
            self.voice.say(topic, f"{topic} answers")

    def _snapshot(self) -> Snapshot:
        """Everything the decision may look at, frozen."""
        minute = self.wall.minute()
        if minute is None:
            # The hour is unknown: the most restrictive window holds.
            limit = cfg.lowest_limit_permille(self.config)
        else:
            limit = cfg.limit_permille_at(self.config, int(minute))
        view = self._isolate(self.fleet.view(self.now_ms))
        return Snapshot(self.reading, limit, self.fleet.places, self._feeders(), view)

    def _feeders(self) -> tuple[Feeder, ...]:
        """Each feeder with what its own meter last said; a silent meter is never taken for none."""
        return tuple(
            Feeder(
                feeder.limit_ma,
                self.feeder_gauges[at].reading if at in self.feeder_gauges else None,
                0 if feeder.meter is None else feeder.meter.period_ms,
            )
            for at, feeder in enumerate(self.config.feeders)
        )

    def _plan(self) -> None:
        """Take an answer over, ask a new question when it is time. Without local time nobody waits for a valley."""
        self._follow()
        minute = self.wall.minute()
        if minute is not None:
            self.memory.note_arrivals(minute, self.fleet.arrivals)
        self.fleet.arrivals = 0
        since_ms = self.now_ms - self.planned_ms
        if self.wall_s is None or self.runner.busy or not self.control.bases:
            return
        if since_ms < PLAN_MS and not (self.fleet.news and since_ms >= NEW_MS):
            return
        self.planned_ms, self.fleet.news = self.now_ms, False
        self.runner.ask(self._question(self.wall_s))
        self._follow()

    def _follow(self) -> None:
        """Take over what the planner has answered, if it has."""
        if proposal := self.runner.take():
            self.proposal = proposal
            self.fleet.follow(proposal, self.planned_ms)
            self._promise(proposal)

    def _promise(self, proposal: Proposal) -> None:
        """Say of each request, when it is first known and whenever it changes, whether it will be met.

        The journal has every charger; the log has one line, for an evening may change hundreds.
        """
        now = {want.name: proposal.promise(want) for want in self.fleet.wants() if want.name in proposal.expect_wh}
        said = {name: self.promised[name] for name in now if name in self.promised}
        for name, (wh, why) in now.items():
            if name not in said or said[name][1] != why or abs(said[name][0] - wh) >= PROMISE_WH:
                said[name] = (wh, why)
                self.told.append((name, wh, why))
        self.promised = said
        short = sum(why != "" for _, why in now.values())
        if short:
            self.voice.say("requests", f"{short} of {len(now)} requests cannot be met in full")
        elif self.voice.said("requests") or now:
            self.voice.say("requests", "all requests fit")

    def _question(self, wall_s: float) -> Question:
        """What the planner is asked now."""
        wants = self.fleet.wants()
        minute = local_minute(self.wall.zone, wall_s)
        usual = habits(self.config, self.memory, minute, self.now_ms)
        wants += expected(usual, self.memory.seen, self.fleet.free_places(), self.now_ms)
        mv = mean_mv(self.reading) if self.reading is not None else 220_000
        skew = skew_of(self.control.bases[-1], self.memory.recent_ma)
        until_ms = max([want.depart_ms for want in wants], default=self.now_ms)
        slots = slots_ahead(self.config, self.memory, self.wall.zone, wall_s, self.now_ms, until_ms, skew, mv)
        return Question(tuple(wants), slots, self.fleet.places, mv, self.proposal.shares)

    def _learn(self) -> None:
        """Let the memory see residents' load, once a reading."""
        reading = self.reading
        if reading is None or self.control.sample_ms != reading.at_ms or reading.at_ms == self._learned_ms:
            return
        self._learned_ms = reading.at_ms
        base = self.control.bases[-1]
        base_va = max(base[3], 0) * mean_mv(reading) / 1_000_000
        self.memory.note_base(self.wall.minute(), base_va, self.config.meter.period_ms, base[:3] + base[4:])

    def _grant_now(self, charger: str) -> bool:
        """Charge now: so many times a month for each charger, counted once a session."""
        month = self.wall.month()
        if month is None:
            return False
        if self.memory.grant(charger, month, self.config.charging.now_per_month):
            return True
        self.voice.say(f"now {charger}", f"{charger}: charge now refused, {month} is used up")
        return False

    @property
    def granted(self) -> dict[str, int]:
        """How often each charger was charged at once this month."""
        return self.memory.granted

    def _depart_ms(self, wish: Wish | None, now_ms: int) -> int:
        """When a car will leave, on our clock: as it wished, else at the next default departure."""
        if self.wall_s is None:
            return now_ms + MAX_STAY_MS // 2
        if wish is not None and wish.depart_s is not None:
            stay_ms = round((wish.depart_s - self.wall_s) * 1000)
            if 0 < stay_ms < MAX_STAY_MS:
                self.memory.note_departure(local_minute(self.wall.zone, float(wish.depart_s)))
            return now_ms + min(max(stay_ms, 0), 7 * MAX_STAY_MS)
        return now_ms + ahead_ms(self.wall.zone, self.wall_s, self.config.charging.default_depart_min)

    def _ask_site(self) -> None:
        """Once an hour: what does the site bear when nobody watches it? Residents are learned day by day."""
        hour = self.now_ms // HOUR_MS
        if hour == self._site_hour:
            return
        self._site_hour = hour
        site, charging = cfg.site_of(self.config, self.memory), self.config.charging
        self._unleased_ma, self._late_span = unleased_ma(site, charging), late_hours(site, charging)
        if self._late_span is not None:
            first, end = map(clock, self._late_span)
            self.voice.say("late", f"chargers left alone charge by themselves from {first} to {end}")
        elif self.voice.said("late"):
            self.voice.say("late", "chargers left alone do not charge: there is no room any more")

    def _late(self) -> Late | None:
        """When chargers that nobody speaks to any more may charge by themselves."""
        if self._late_span is None or self.wall_s is None:
            return None
        from_ms, until_ms = (self.now_ms + ahead_ms(self.wall.zone, self.wall_s, minute) for minute in self._late_span)
        # Where the end comes first the time has begun.
        return Late(self.now_ms, self.now_ms if from_ms >= until_ms else from_ms, until_ms)

    def _mind_rival(self) -> None:
        """Another controller, a newer one or a twin, commands here: fall silent, start again later.

        A newer one is left in peace while it shows itself. A twin is not: only a newer epoch fences it.
        """
        assert self.guard is not None  # noqa: S101 - set at the top of the tick
        text = f"another controller commands this area (epoch {self.fleet.newest_epoch})"
        twin = self.fleet.newest_epoch == self.fleet.epoch
        silent = self.now_ms < self.quiet_until_ms
        if self.fleet.rival and twin:
            silent = silent or self.guard.mode != watch.STARTING
            self.voice.warn("rival", f"{text} and has drawn our number: begins anew")
        elif self.fleet.rival:
            silent, self.quiet_until_ms = True, self.now_ms + RIVAL_MS
            self.voice.warn("rival", f"{text}: silent until 10 min after its last word")
        self.fleet.rival = False
        if silent:
            self._lose_authority()

    def _send(self, commands: tuple[Command, ...]) -> int:
        """What is due leaves now, lowerings first; what the broker does not take is not sent later."""
        sent = 0
        for setpoint in self.fleet.due(commands, self.now_ms):
            if self.chargers.send(setpoint):
                self.fleet.sent(setpoint, self.now_ms)
                sent += 1
        return sent

    def _report(self, snapshot: Snapshot, commands: tuple[Command, ...], sent: int) -> None:
        assert self.guard is not None  # noqa: S101 - set at the top of the tick
        base_va = self.memory.recent_va if self.control.bases else None
        told, suspects = self.told[:], self.obey.suspects
        tick = Tick(self.now_ms, snapshot, commands, sent, self.guard, suspects, base_va, told)
        self.report.say(tick)
        if self.journal.path is not None:
            self.journal.write(self.report.entry(tick))
        self.told.clear()
