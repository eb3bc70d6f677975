"""The tick: latch the inputs, decide, guard, send, write it down. ``Controller.tick`` is the whole of it."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from edge import config as cfg
from edge import reasons
from edge.core import control, guard, obey, trust, watch
from edge.core.model import (
    ASLEEP,
    CHARGING,
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
from edge.memory import Memory
from edge.planner import Proposal, expected
from edge.planning import NEW_MS, PLAN_MS, Inline, Question, habits, local_minute, slots_ahead
from edge.schema import clock
from edge.site import late_hours, unleased_ma
from edge.unleased import within

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.clock import Moment
    from edge.core.model import Meter
    from edge.journal import Journal
    from edge.planning import Runner
    from edge.ports import ChargerPort, MeterPort, Wish

log = logging.getLogger("taiqu")

MODES = ("start-up", "normal", "hold", "shed", "recover", "safe", "latch")
_MODES_SAID = (
    "start-up: waits for a fresh meter and one full lease",
    "normal",
    "hold: nothing is raised",
    "shed: over the limit, chargers are cut",
    "recover: the meter is back and has to prove itself",
    "safe: its chargers go to their fallback",
    "latch: another meter than before; its chargers stay at their fallback until a person has looked",
)
HOUR_MS = 3_600_000
MAX_STAY_MS = 86_400_000
WALL_JUMP_S = 30.0
"""A wall clock that moved further than this against ours was set; less is its drift."""
ALARM_GAP_PERMILLE = 10
"""An alarm of load ends this far below the limit, so that it does not flicker."""
FLAPS, FLAPS_MS, FLAP_GAP_MS = 6, 600_000, 60_000
"""What has been said so often in ten minutes is said once a minute at most."""
OFTEN_SAID = "safe for the fourth time within an hour: the way back takes 10 min now. Look at the meter"
PROMISE_WH = 500
"""A promise that has changed by so much is said again."""
NAMED = 5


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
        self.zone = ZoneInfo(config.timezone)
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
        self.control = control.start()
        self.obey = obey.start()
        self.turn = 0
        self.named: set[str] = set()
        self.guard: watch.State | None = None
        self.wall_s: float | None = None
        self._wall_at_zero_s: float | None = None
        self.now_ms = 0
        self.done_ms = NEVER
        """When the last whole cycle began: decided, guarded, handed over."""
        self.quiet_until_ms = NEVER
        self._learned_ms = NEVER
        self._site_hour = -1
        self._late_span: tuple[int, int] | None = None
        self._unleased_ma: tuple[int, ...] = ()
        self.unleased = frozenset(charger.id for charger in config.chargers if not charger.leased)
        self._reasons: list[str] = []
        self._feeder_ids = tuple(feeder.id for feeder in config.feeders)
        self._reasons_hour = -1
        self._said: dict[str, str] = {}
        self._said_ms: dict[str, list[int]] = {}

    def tick(self, moment: Moment) -> None:
        """One cycle. Inputs are read here, once; every setpoint of the tick leaves here."""
        self.now_ms, self.wall_s = moment.now_ms, moment.wall_s
        if self.guard is None:
            serial = self._serial("", self.config.meter)
            behind = tuple(self._serial(f.id, f.meter) for f in self.config.feeders)
            self.guard = watch.start(self.now_ms, serial, behind)
        self._mind_wall()
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
            if "rival" in self._said:
                self._say("rival", f"this controller commands again (epoch {self.fleet.epoch})")
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
        seen = watch.for_control(self.guard, shown)
        self.control, commands = control.step(self.control, seen, self.settings, self.now_ms)
        commands = guard.vet(self.guard, shown, commands, self.settings)
        if self.guard.new:
            self.obey = obey.seen(self.obey, shown)
        if self.unleased:
            commands = within(commands, snapshot.chargers, snapshot.places, self.unleased, self._unleased_ma)
        self.obey = obey.told(self.obey, shown, commands, self.settings.rated_ma, self.now_ms)
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
        return tuple(
            c._replace(silent=True, possible_ma=max(c.possible_ma, c.max_ma)) if c.id in names else c for c in view
        )

    def _serial(self, feeder: str, meter: cfg.MeterConfig | None) -> str:
        """What a meter must say it is: as configured, else as it said when it was met first."""
        return "" if meter is None else meter.serial or self.memory.meters.get(feeder, "")

    def _note_serials(self) -> None:
        """Remember who the meters are, so that one that is exchanged while this does not run is noticed too."""
        assert self.guard is not None  # noqa: S101 - set at the top of the tick
        for name, seen in (("", self.guard), *zip(self._feeder_ids, self.guard.feeders, strict=True)):
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
            self.guard = watch.start(self.now_ms)._replace(trust=self.guard.trust, feeders=self.guard.feeders)

    def _mind_wall(self) -> None:
        """A wall clock that was set, or set right: departures are wall time and have moved on ours."""
        if self.wall_s is None:
            return
        at_zero_s = self.wall_s - self.now_ms / 1000
        if self._wall_at_zero_s is None or abs(at_zero_s - self._wall_at_zero_s) > WALL_JUMP_S:
            self._wall_at_zero_s = at_zero_s
            self.fleet.date_anew(self.now_ms)

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
            self._say(topic, gauge.trouble if topic == "meter" else f"{topic}: {gauge.trouble}", logging.WARNING)
        elif not gauge.trouble and gauge.reading is not None:
            self._say(topic, f"{topic} answers")

    def _snapshot(self) -> Snapshot:
        """Everything the decision may look at, frozen."""
        minute = self._minute()
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
        minute = self._minute()
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
            self._say("requests", f"{short} of {len(now)} requests cannot be met in full")
        elif "requests" in self._said or now:
            self._say("requests", "all requests fit")

    def _question(self, wall_s: float) -> Question:
        """What the planner is asked now."""
        wants = self.fleet.wants()
        minute = local_minute(self.zone, wall_s)
        usual = habits(self.config, self.memory, minute, self.now_ms)
        wants += expected(usual, self.memory.seen, self.fleet.free_places(), self.now_ms)
        mv = mean_mv(self.reading) if self.reading is not None else 220_000
        skew = self._skew()
        until_ms = max([want.depart_ms for want in wants], default=self.now_ms)
        slots = slots_ahead(self.config, self.memory, self.zone, wall_s, self.now_ms, until_ms, skew, mv)
        return Question(tuple(wants), slots, self.fleet.places, mv, self.proposal.shares)

    def _skew(self) -> tuple[int, ...]:
        """Residents' load by phase, then by feeder and phase, in permille of an even third: as of late, or as it is."""
        base = self.control.bases[-1]
        ma = self.memory.recent_ma
        if len(ma) != len(base) - 1:
            ma = tuple(float(max(now, 0)) for now in base[:3] + base[4:])
        even = max(sum(ma[:3]) / 3.0, 1.0)
        shares = [one * 1000.0 / even for one in ma]
        for at in range(3, len(shares), 3):
            # No feeder carries more than all residents together, however much of them solar power hides at noon.
            behind = max(sum(shares[at : at + 3]) / 3000.0, 1.0)
            shares[at : at + 3] = [share / behind for share in shares[at : at + 3]]
        return tuple(int(share) for share in shares)

    def _learn(self) -> None:
        """Let the memory see residents' load, once a reading."""
        reading = self.reading
        if reading is None or self.control.sample_ms != reading.at_ms or reading.at_ms == self._learned_ms:
            return
        self._learned_ms = reading.at_ms
        base = self.control.bases[-1]
        base_va = max(base[3], 0) * mean_mv(reading) / 1_000_000
        self.memory.note_base(self._minute(), base_va, self.config.meter.period_ms, base[:3] + base[4:])

    def _grant_now(self, charger: str) -> bool:
        """Charge now: so many times a month for each charger, counted once a session."""
        if self.wall_s is None:
            return False
        month = datetime.fromtimestamp(self.wall_s, self.zone).strftime("%Y-%m")
        if self.memory.grant(charger, month, self.config.charging.now_per_month):
            return True
        self._say(f"now {charger}", f"{charger}: charge now refused, {month} is used up")
        return False

    @property
    def granted(self) -> dict[str, int]:
        """How often each charger was charged at once this month."""
        return self.memory.granted

    def _minute(self) -> float | None:
        """Minutes of the local day, or None when the wall clock is not to be trusted."""
        if self.wall_s is None:
            return None
        local = datetime.fromtimestamp(self.wall_s, self.zone)
        return local.hour * 60 + local.minute + local.second / 60

    def _depart_ms(self, wish: Wish | None, now_ms: int) -> int:
        """When a car will leave, on our clock: as it wished, else at the next default departure."""
        if self.wall_s is None:
            return now_ms + MAX_STAY_MS // 2
        if wish is not None and wish.depart_s is not None:
            stay_ms = round((wish.depart_s - self.wall_s) * 1000)
            if 0 < stay_ms < MAX_STAY_MS:
                self.memory.note_departure(local_minute(self.zone, float(wish.depart_s)))
            return now_ms + min(max(stay_ms, 0), 7 * MAX_STAY_MS)
        return now_ms + self._ahead_ms(self.wall_s, self.config.charging.default_depart_min)

    def _ahead_ms(self, wall_s: float, minute_of_day: int) -> int:
        """How long it is to the next such minute of the local day."""
        local = datetime.fromtimestamp(wall_s, self.zone)
        hour, minute = divmod(minute_of_day, 60)
        then = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
        if then <= local:
            then += timedelta(days=1)  # by the calendar: seven is seven, also in the night the clock changes
        return round((then.timestamp() - wall_s) * 1000)

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
            self._say("late", f"chargers left alone charge by themselves from {first} to {end}")
        elif "late" in self._said:
            self._say("late", "chargers left alone do not charge: there is no room any more")

    def _late(self) -> Late | None:
        """When chargers that nobody speaks to any more may charge by themselves."""
        if self._late_span is None or self.wall_s is None:
            return None
        from_ms, until_ms = (self.now_ms + self._ahead_ms(self.wall_s, minute) for minute in self._late_span)
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
            self._say("rival", f"{text} and has drawn our number: begins anew", logging.WARNING)
        elif self.fleet.rival:
            silent, self.quiet_until_ms = True, self.now_ms + RIVAL_MS
            self._say("rival", f"{text}: silent until 10 min after its last word", logging.WARNING)
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
        self._say_watch("", self.guard)
        for at in self.feeder_gauges:
            self._say_watch(self.config.feeders[at].id, self.guard.feeders[at])
        self._say(
            "broker", self.chargers.trouble or "broker connected", logging.WARNING if self.chargers.trouble else 20
        )
        self._say("limit", f"limit {snapshot.limit_permille / 10:g} % of rating")
        minute = self._minute()
        if minute is not None and self.config.charging.valley:
            inside = cfg.in_valley(self.config, int(minute))
            self._say("valley", "inside the price valley" if inside else "outside the price valley")
        self._report_load(snapshot)
        if self.chargers.dropped:
            about = 10 ** (len(str(self.chargers.dropped)) - 1)  # said at 1, 10, 100 …: a flood fills no log
            self._say("dropped", f"{about} or more messages dropped: unreadable, or too many", logging.WARNING)
        asleep = [command.id for command in commands if command.reason == ASLEEP]
        if asleep or "asleep" in self._said:
            names = ", ".join(asleep[:NAMED]) + (f" and {len(asleep) - NAMED} more" if len(asleep) > NAMED else "")
            self._say("asleep", f"offered current and draw none: {names or 'none'}")
        self._say_isolated()
        if odd := sorted(self.fleet.odd_fallbacks):
            first, fallback_a = odd[0], self.fleet.odd_fallbacks[odd[0]] / 1000
            more = f" and {len(odd) - 1} more" if odd[1:] else ""
            asked = self.config.charging.fallback_ma / 1000
            text = f"{first}{more} would take {fallback_a:g} A without us; fallback_a = {asked:g} was planned with"
            self._say("fallback", text, logging.WARNING)
        elif "fallback" in self._said:
            self._say("fallback", "every charger has the fallback that was planned with")
        if self.fleet.strangers:
            self._say("strangers", f"not registered, not commanded: {', '.join(sorted(self.fleet.strangers)[:NAMED])}")
        if self.journal.path is not None:
            self.journal.write(self._entry(snapshot, commands, sent))
        self.told.clear()

    def _say_watch(self, feeder: str, seen: watch.State) -> None:
        """What the guard thinks of a meter, the transformer's or that of a ``feeder``."""
        name = f"feeder {feeder}: " if feeder else ""
        level = logging.WARNING if seen.mode in (watch.SAFING, watch.LATCHED) else logging.INFO
        self._say(f"mode {feeder}", name + _MODES_SAID[seen.mode], level)
        if seen.mode in watch.AT_FALLBACK and watch.often(seen, self.now_ms):
            self._say(
                f"often {feeder}", f"{name}{watch.OFTEN} times in safe within an hour: {OFTEN_SAID}", logging.WARNING
            )
        code = seen.trust.doubt
        topic = f"doubt {feeder}"
        if code == trust.FROZEN and seen.mode == watch.NORMAL:
            return  # the same values for some seconds are no news yet
        if code != trust.FINE:
            self._say(topic, reasons.doubt(code, seen.trust.phase, feeder=feeder), logging.WARNING)
        elif topic in self._said:
            self._say(topic, f"{name}what the meter says can be believed again")

    def _say_isolated(self) -> None:
        """Who is isolated, and why; who no longer is."""
        now = {suspect.id: suspect.code for suspect in self.obey.suspects if suspect.isolated}
        for name, code in now.items():
            said = f"{name} {reasons.OFFENCES[code][0]} It is isolated: told 0 A, counted at its worst"
            self._say(f"obey {name}", said, logging.WARNING)
        for name in self.named - now.keys():
            self._say(f"obey {name}", f"{name} obeys again")
        self.named = set(now)

    def _report_load(self, snapshot: Snapshot) -> None:
        """Alarms that no charger can cure: load outside control above the limit, and overload by export."""
        meter = snapshot.meter
        if meter is None or not self.control.bases:
            return
        alone = self.memory.recent_va * 1000.0 / self.config.rating_va
        if alone > snapshot.limit_permille:
            text = "uncontrollable load: residents and piles outside control alone are above the limit"
            self._say("load", text, logging.WARNING)
        elif "load" in self._said and alone < snapshot.limit_permille - ALARM_GAP_PERMILLE:
            self._say("load", "load outside control is below the limit")
        back = -min(meter.s_va, 0) * 1000 // self.config.rating_va
        if back > snapshot.limit_permille:
            self._say("export", "overload by export: cutting chargers would not help", logging.WARNING)
        elif "export" in self._said and back < snapshot.limit_permille - ALARM_GAP_PERMILLE:
            self._say("export", "export is below the limit")

    def _entry(self, snapshot: Snapshot, commands: tuple[Command, ...], sent: int) -> dict[str, Any]:
        """One journal line: inputs, decision, why. Only commands that differ from what was allowed are spelled out."""
        meter = snapshot.meter
        mode = MODES[self.guard.mode] if self.guard else ""
        why = Counter(reasons.key(command.reason, command.phase) for command in commands)
        return {
            "now_ms": self.now_ms,
            "wall_s": self.wall_s,
            "utc_offset_s": self._utc_offset_s(),
            "mode": mode,
            **self._doubt_entry(self.guard),
            "age_ms": None if meter is None else self.now_ms - meter.at_ms,
            "s_va": None if meter is None else meter.s_va,
            "ma": None if meter is None else meter.ma,
            "limit_permille": snapshot.limit_permille,
            **({"feeders": self._feeder_entries(snapshot)} if self.feeder_gauges else {}),
            "ev_ma": sum(c.ma for c in snapshot.chargers),
            "charging": sum(c.plug == CHARGING for c in snapshot.chargers),
            "why": dict(sorted(why.items())),
            "sent": sent,
            "promised": self.told[:],
            "reasons": self._changed_reasons(commands),
            "set": [
                [command.id, command.ma, reasons.key(command.reason, command.phase)]
                for charger, command in zip(snapshot.chargers, commands, strict=True)
                if command.ma != charger.allowed_ma and not charger.silent
            ],
        }

    def _doubt_entry(self, seen: watch.State | None) -> dict[str, str]:
        """What is wrong with a meter, for the journal: nothing, most of the time."""
        if seen is None or seen.trust.doubt == trust.FINE:
            return {}
        return {"doubt": reasons.DOUBTS[seen.trust.doubt][0]}

    def _feeder_entries(self, snapshot: Snapshot) -> dict[str, dict[str, Any]]:
        """What the journal keeps of feeders with a meter: what that says, how old it is, what the guard thinks."""
        out = {}
        for at in self.feeder_gauges:
            meter = snapshot.feeders[at].meter
            out[self.config.feeders[at].id] = {
                "mode": MODES[self.guard.feeders[at].mode] if self.guard else "",
                **self._doubt_entry(self.guard and self.guard.feeders[at]),
                "age_ms": None if meter is None else self.now_ms - meter.at_ms,
                "ma": None if meter is None else meter.ma,
            }
        return out

    def _utc_offset_s(self) -> int | None:
        """How far the area's local time is ahead of UTC, so that the journal can be read in it anywhere."""
        if self.wall_s is None:
            return None
        offset = datetime.fromtimestamp(self.wall_s, self.zone).utcoffset()
        return None if offset is None else round(offset.total_seconds())

    def _changed_reasons(self, commands: tuple[Command, ...]) -> list[list[str]]:
        """[charger, reason] wherever the reason is another than a tick ago; once an hour all of them."""
        now = [reasons.key(command.reason, command.phase, self._feeder_ids) for command in commands]
        hour = self.now_ms // HOUR_MS
        before = self._reasons if hour == self._reasons_hour and len(now) == len(self._reasons) else [""] * len(now)
        self._reasons, self._reasons_hour = now, hour
        return [[command.id, new] for command, new, old in zip(commands, now, before, strict=True) if new != old]

    def _say(self, topic: str, text: str, level: int = logging.INFO) -> None:
        """One readable line on every change of state, none while it stays, few while it flaps."""
        if self._said.get(topic) == text:
            return
        often = [at_ms for at_ms in self._said_ms.get(topic, ()) if self.now_ms - at_ms < FLAPS_MS]
        if len(often) >= FLAPS and self.now_ms - often[-1] < FLAP_GAP_MS:
            return  # it comes and goes: what holds then is said later
        self._said[topic], self._said_ms[topic] = text, [*often, self.now_ms]
        log.log(level, "%s: %s", self.config.area_id, text)
