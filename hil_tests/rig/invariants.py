"""The checker: what must hold in every second of every night, whatever breaks.

It trusts nothing of the product's bookkeeping: it sees what meters answered, what left for the chargers, what each
charger truly allows and what truly flows, and keeps a ledger of its own. What each id says stands in ``rules``.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hil_tests.rig.ear import Naming
from hil_tests.rig.reaction import Stopwatches
from hil_tests.rig.rules import (
    CALM_S,
    ERROR,
    EXCESS,
    GRACE_S,
    IDLE_S,
    LAST_TICKS,
    LEASE_END_MS,
    LEND,
    LIMIT,
    SAVED_MA,
    TRANSFORMER,
    X2_KVA_MIN,
    Violation,
    Watch,
)
from hil_tests.rig.small import LIMIT_PERMILLE, NIGHT_S, QUIET_S

if TYPE_CHECKING:
    from edge.ports import Setpoint
    from hil_tests.rig.community import Floats
    from hil_tests.rig.faults import Strike
    from hil_tests.rig.piles import Taken
    from hil_tests.rig.plant import Busbar
    from hil_tests.rig.world import Host, World

AT_FALLBACK, AT_WORK = ("safe", "recover", "latch"), ("normal", "shed")
"""Modes: everybody at the fallback; control at work, also where residents alone are over the limit."""
BLIND = ("", "start-up", "safe", "latch")
"""The modes of a controller that has had no reading for long."""
CLAIMS = ("plug", "allowed_ma", "lease_ms", "fallback_ma")
"""What a charger says of what may flow in it."""


@dataclass(slots=True)
class Sent:
    """A setpoint that has left."""

    at_ms: int
    epoch: int
    seq: int
    ma: int


@dataclass
class Checker:
    """Judges one world, second by second."""

    world: World
    violations: list[Violation] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)
    ticks: deque[tuple[str, Busbar, tuple[int, ...], Floats]] = field(default_factory=lambda: deque(maxlen=LAST_TICKS))
    story: list[str] = field(default_factory=list)
    """The last ticks before the first violation."""
    longest_over_s: int = 0
    modes: list[tuple[int, str]] = field(default_factory=list)
    """The first controller's mode, each time it changed."""
    raises_s: list[int] = field(default_factory=list)
    """When somebody was raised."""

    def __post_init__(self) -> None:
        world = self.world
        count = len(world.piles.ids)
        lines = np.asarray(world.plant.lines)
        self.lines = [int(n) for n in lines]
        self.legs = np.asarray(world.plant._phases)
        self.rated_a = world.area.rated_a
        self.fallback_ma = world.area.config.charging.fallback_ma
        self.known = {charger.id: charger for charger in world.area.config.chargers}
        self.out: list[list[Sent]] = [[] for _ in range(count)]
        self.granted: list[tuple[int, int, int]] = [(-1, 0, 0)] * count
        """By charger: its run, and the mA it was truly granted until when on its own clock."""
        self.told: list[tuple[int, int]] = [(0, 0)] * count
        """By charger: since when it is told so many mA."""
        self.newer_s: list[tuple[int, int]] = [(0, 0)] * count
        """By charger: the newest epoch it has accepted, and since when."""
        self.base_a: Floats = np.zeros(3)
        self.stopwatches = Stopwatches(self)
        self.naming = Naming(self)
        self.over_since: dict[str, int] = {}
        self.beyond_until = [0] * count
        self.flow_rows: list[Floats] = []
        self.alone_rows: list[Floats] = []
        self.normal_since_s = 0
        self.idle_s = 0

    # ------------------------------------------------------------------------------------------------------ reporting
    def expect(self, invariant: str, holds: bool, text: str, span: tuple[int, int] | None = None) -> None:
        """One check, of now or of a ``span`` of seconds.

        A broken one is kept once a night, unless a fault in force takes its ground away.
        """
        if self._void(invariant, span or (self.world.second, self.world.second)):
            return
        self.checked[invariant] += 1
        if not holds and all(one.invariant != invariant for one in self.violations):
            if not self.violations:
                self.story = [self._line(*tick) for tick in self.ticks]
            self.violations.append(Violation(invariant, self.world.second, text))

    def _void(self, invariant: str, span: tuple[int, int]) -> bool:
        return any(
            invariant in strike.fault.voids and strike.start_s <= span[1] and span[0] <= strike.end_s + GRACE_S
            for strike in self.world.strikes
        )

    def within_s(self, since_s: int) -> int:
        """How long an excess that began then may last: by the promise, or by the faults that were in force."""
        return self._within_s(since_s, self.world.second)

    def _within_s(self, since_s: int, until_s: int) -> int:
        slow_s = 3 * (self.world.config.meter.period_ms // 1000 - 1)
        bounds = [
            strike.fault.within_s
            for strike in self.world.strikes
            if strike.start_s <= until_s and since_s <= strike.end_s + strike.fault.within_s
        ]
        return max([GRACE_S, *bounds]) + slow_s

    def raised_by_tick(self, host: Host, err: Exception) -> None:
        """The tick of a controller has failed."""
        self.expect("I15", False, f"{host.name}: {type(err).__name__}: {err}")

    # ------------------------------------------------------------------------------------------------- what was sent
    def judge_sent(self) -> None:
        """After all controllers' ticks: what they have sent, before it arrives."""
        raises: list[int] = []
        for host in self.world.hosts:
            if host.controller is None:
                continue
            watch, now_ms = host.watch, self.world.plant.second * 1000
            if watch.boot_ms is None and not host.paused:
                watch.boot_ms = now_ms
            for setpoint in host.port.sent:
                raises += self._one_sent(host, setpoint, now_ms)
            host.port.sent.clear()
            self._blind(host, now_ms)
            self._mode(host, now_ms)
            self._booked(host, now_ms)
            self.checked["I15"] += 1
        if raises:
            self.raises_s.append(self.world.second)
            self._ledger(raises)

    def _one_sent(self, host: Host, s: Setpoint, now_ms: int) -> list[int]:
        """Judge one setpoint; returns its charger when it is a raise."""
        watch, name = host.watch, f"{host.name} to {s.charger}: {s.ma} mA, epoch {s.epoch}, seq {s.seq}"
        charger = self.known.get(s.charger)
        self.expect("N1", charger is not None, name)
        if charger is None:
            return []
        k = self.world.piles.index[s.charger]
        self.expect("I16", not 0 < s.ma < 6000, name)
        whole = all(type(x) is int for x in (s.epoch, s.seq, s.boot, s.tick_ms, s.ma, s.lease_ms))
        sane = whole and 0 <= s.ma <= charger.max_ma and 0 <= s.lease_ms <= 60_000 and s.epoch > 0 and s.seq > 0
        fence = s.lease_ms == 0 and s.ma <= self.fallback_ma
        self.expect("I8", sane and (fence or (s.boot, s.tick_ms) in host.port.stamps.get(s.charger, ())), name)
        self._numbers(host, s, name)
        if fence:
            return []  # it extends nothing, and raises nobody
        if s.ma > self.fallback_ma:
            self.expect("I2", now_ms - watch.read_ms <= watch.safe_ms, f"{name}: {now_ms - watch.read_ms} ms blind")
            waited = watch.boot_ms is not None and now_ms - watch.boot_ms > 61_000
            self.expect("I12", waited and watch.proved, name)
            epoch, since_s = self.newer_s[k]
            self.expect("N2", not (epoch > s.epoch and self.world.second - since_s > 60), f"{name} after epoch {epoch}")
        believed = self.known_ma(host, k, now_ms)
        if s.ma != self.told[k][1]:
            self.told[k] = (self.world.second, s.ma)
        self.out[k].append(Sent(now_ms, s.epoch, s.seq, s.ma))
        if s.ma <= believed:
            return []
        self._raise(watch, k, s.ma - believed, now_ms, f"{name}, after {believed}")
        self.base_a = watch.base_a
        return [k]

    def _numbers(self, host: Host, s: Setpoint, name: str) -> None:
        watch = host.watch
        last = watch.pairs.get(s.charger, (0, 0))
        self.expect("I9", (s.epoch, s.seq) > last, f"{name} after {last}")
        watch.pairs[s.charger] = (s.epoch, s.seq)
        if watch.epoch == 0:
            watch.epoch = s.epoch
            said = [one for _, one in host.port.heard.values() if one not in self.world.piles.truth]
            newest = max((one.epoch for one in said), default=0)
            self.expect("I9", s.epoch > newest, f"{name}: it has heard {newest}")

    def possible_ma(self, k: int, now_ms: int) -> int:
        """What a charger may truly allow, now or by what is still on its way or was lost on it, and what it draws."""
        lease = self.world.piles.leases[k]
        coming = [one.ma for one in self._unexpired(k, now_ms) if (one.epoch, one.seq) > (lease.epoch, lease.seq)]
        return max([self._present_ma(k, 0), *coming])

    def known_ma(self, host: Host, k: int, now_ms: int) -> int:
        """The same as far as this controller can know: what telemetry has not disproved may still flow."""
        at_s, said = host.port.heard.get(self.world.piles.ids[k], (-NIGHT_S, None))
        pair = (0, 0) if said is None else (said.epoch, said.seq)
        coming = [one.ma for one in self._unexpired(k, now_ms) if (one.epoch, one.seq) > pair]
        if said is not None and 1000 * (self.world.second - at_s) <= LEASE_END_MS:
            coming.append(said.allowed_ma)
        # What flows may be told on: half an ampere is the step of telemetry, and setpoints are whole amperes.
        return max([self._present_ma(k, 1500), *coming])

    def _present_ma(self, k: int, more_ma: int) -> int:
        allowed, drawn_a = self.world.piles.allowed_ma()[k], float(self.world.plant.current_a[k])
        return max(allowed, self.fallback_ma, round(drawn_a * 1000.0) + more_ma)

    def _unexpired(self, k: int, now_ms: int) -> list[Sent]:
        self.out[k] = [one for one in self.out[k] if now_ms - one.at_ms <= LEASE_END_MS]
        return self.out[k]

    def _raise(self, watch: Watch, k: int, more_ma: int, now_ms: int, name: str) -> None:
        """The rules for going up."""
        age_ms = now_ms - watch.read_ms
        self.expect("I4", age_ms <= watch.hold_ms, f"{name}: the reading is {age_ms} ms old")
        self.expect("I5", watch.fresh >= watch.samples, f"{name}: {watch.fresh} fresh readings")
        rate_ma = 3.0 * self.rated_a * 1000.0 * 0.02
        at_ms, used_ma = watch.climbed
        used_ma = max(used_ma - rate_ma * (now_ms - at_ms) / 10_000.0, 0.0) + more_ma * self.lines[k]
        watch.climbed = (now_ms, used_ma)
        most = max(rate_ma, SAVED_MA)
        self.expect("I6", used_ma <= most + 1.0, f"{name}: {used_ma:.0f} mA at once, at most {most:.0f}")
        since_s = min(self.over_since.get(where, NIGHT_S) for where in TRANSFORMER)
        self.expect("I22", self.world.second - since_s < 4, f"{name}: over since {since_s}")

    def _ledger(self, raises: list[int]) -> None:
        """After raises: residents as last read and all that may flow stay within the line, where they were raised."""
        world, now_ms = self.world, self.world.plant.second * 1000
        plant = world.plant
        may_a = np.zeros(len(world.piles.ids))
        for k in range(len(may_a)):
            drawn_a = float(plant.current_a[k])
            here = bool(plant.plugged[k]) and not bool(plant.full[k])
            if not here or k == world.area.count or self._defies(k) or any(self._misled(h, k) for h in world.hosts):
                may_a[k] = drawn_a
            else:
                may_a[k] = max(self.possible_ma(k, now_ms) / 1000.0, drawn_a)
        may_a = np.minimum(may_a, np.maximum(plant.cars.max_a * 1.1, plant.current_a))
        flow = self.legs @ may_a + self.base_a
        for p in range(3):
            if any(self.legs[p][k] for k in raises):
                share = float(flow[p]) / self.rated_a
                self.expect("I1", share <= LIMIT + LEND + ERROR, f"phase {p}: {100 * share:.1f} % may flow")
        total = float(flow.sum()) / 3.0 / self.rated_a
        self.expect("I1", total <= LIMIT + LEND + ERROR, f"in all {100 * total:.1f} % may flow")

    def _booked(self, host: Host, now_ms: int) -> None:
        """The controller's own ledger against what honest chargers allow under its setpoints."""
        piles, allowed = self.world.piles, self.world.piles.allowed_ma()
        assert host.controller is not None
        for charger in host.controller.fleet.view(now_ms):
            k = piles.index[charger.id]
            if allowed[k] > self.fallback_ma and piles.leases[k].epoch == host.watch.epoch and not piles.dark:
                text = f"{host.name} books {charger.possible_ma} mA for {charger.id}, which allows {allowed[k]}"
                excused = self._defies(k) or self._misled(host, k)
                self.expect("I7", charger.possible_ma >= allowed[k] or excused, text)

    def _defies(self, k: int) -> bool:
        """Does it not do as it is told? What flows there is no current that anybody was granted."""
        wrong = self.world.piles.wrong[k]
        return wrong.pilot_a is not None or wrong.stuck_a is not None or bool(self.world.plant._deaf[k])

    def _misled(self, host: Host, k: int) -> bool:
        """Is the newest word this controller has of it untrue in what bears on what may flow?"""
        _, said = host.port.heard.get(self.world.piles.ids[k], (0, None))
        true = None if said is None else self.world.piles.truth.get(said)
        return true is not None and any(getattr(said, name) != getattr(true, name) for name in CLAIMS)

    def _blind(self, host: Host, now_ms: int) -> None:
        """What a controller makes of no reading, and of the limit."""
        watch, control = host.watch, host.controller.control if host.controller is not None else None
        if control is None or host.paused:
            return
        bases = control.bases[-1] if control.bases else ()
        if watch.read_ms == now_ms:
            watch.bases = bases
        elif watch.bases:
            lower = len(bases) != len(watch.bases) or any(ma < was for ma, was in zip(bases, watch.bases, strict=True))
            self.expect("I3", not lower, f"{host.name} reckons with {bases} after {watch.bases}")
        if now_ms - watch.read_ms > watch.safe_ms:
            self.expect("I2", host.mode in BLIND, f"{host.name}: {host.mode}, {now_ms - watch.read_ms} ms blind")
        self.expect("I14", control.limit_permille <= LIMIT_PERMILLE, f"{host.name}: {control.limit_permille} permille")

    def _mode(self, host: Host, now_ms: int) -> None:
        """How the guard moved."""
        watch, mode = host.watch, host.mode
        if now_ms - watch.read_ms > watch.hold_ms:
            watch.fresh = 0
        if now_ms - watch.read_ms > watch.safe_ms:
            watch.stale_ms = now_ms
        if watch.mode in AT_FALLBACK and mode not in (*AT_FALLBACK, "start-up"):
            ok = watch.fresh >= 10 and now_ms - watch.stale_ms >= 30_000
            text = f"{host.name}: {mode} after {watch.fresh} readings, {now_ms - watch.stale_ms} ms"
            self.expect("I17", ok, text)
        parts = {strike.fault.id.split("_")[0] for strike in self.world.strikes if self.near(strike)}
        if parts == {"wall"}:
            calm = not (watch.mode in AT_WORK and mode not in AT_WORK)
            self.expect("I13", calm, f"{host.name}: {watch.mode} -> {mode}")
        watch.mode = mode

    def near(self, strike: Strike) -> bool:
        """Is it happening, or has it only just ended?"""
        return strike.start_s <= self.world.second <= strike.end_s + strike.fault.within_s

    # ------------------------------------------------------------------------------------------------- every second
    def before(self, bar: Busbar) -> None:
        """What flows when the controllers look."""
        self._beyond()
        self._excess(bar)
        self.stopwatches.second()

    def after(self, bar: Busbar) -> None:
        """What chargers allow, once everything that is due has arrived."""
        self._taken()
        self._leases()
        self._progress()
        self.naming.second()
        mode = self.world.hosts[0].mode or "dead"
        if not self.modes or self.modes[-1][1] != mode:
            self.modes.append((self.world.second, mode))
        modes = " ".join(f"{host.name}:{host.mode or 'dead'}" for host in self.world.hosts)
        head = f"{self.world.second:5d} s  {modes:<16}"
        self.ticks.append((head, bar, self.world.piles.allowed_ma(), self.world.plant.current_a.copy()))

    def _taken(self) -> None:
        """What chargers have accepted, judged by the rule and not by the lease's code."""
        world = self.world
        for one in world.piles.log:
            if one.accepted:
                self._accepted(one)
        world.piles.log.clear()

    def _accepted(self, one: Taken) -> None:
        s, before = one.asked, one.before
        fresh = s.boot == one.boot and 0 <= one.now_ms - s.tick_ms <= 30_000
        run, ma, ends_ms = self.granted[one.k]
        if run != one.boot or one.now_ms >= ends_ms:
            ma = 0
        high = max(ma, self.fallback_ma)
        newer = (s.epoch, s.seq) > (before.epoch, before.seq)
        text = f"{self.world.piles.ids[one.k]} took {s.ma} mA on a stamp {one.now_ms - s.tick_ms} ms old"
        self.expect("I10", newer and (fresh or s.ma <= high), text)
        if fresh:
            self.granted[one.k] = (one.boot, s.ma, s.tick_ms + s.lease_ms)
        elif run == one.boot:
            self.granted[one.k] = (run, min(ma, s.ma), ends_ms)
        if s.epoch > self.newer_s[one.k][0]:
            self.newer_s[one.k] = (s.epoch, self.world.second)

    def _leases(self) -> None:
        """What honest chargers allow, against what they were truly granted."""
        piles = self.world.piles
        allowed = piles.allowed_ma()
        for k, ma in enumerate(allowed):
            run, granted, ends_ms = self.granted[k]
            # A charger ends its lease at the beginning of a second: one more may have gone by.
            if ma > self.fallback_ma:
                living = run == piles.boot[k] and piles.clock_ms(k) <= ends_ms + 1000 and ma <= granted
                left_ms = ends_ms - piles.clock_ms(k)
                self.expect("I11", living, f"{piles.ids[k]} allows {ma} mA of {granted}, {left_ms} ms left")
            else:
                self.checked["I11"] += 1

    def _beyond(self) -> None:
        """Who cannot be lowered, and for a while after."""
        world = self.world
        for k in (*world.unreachable, *world.disobeys):
            self.beyond_until[k] = world.second + GRACE_S

    def in_charge(self) -> bool:
        """Is there a controller that sees and may speak?"""
        now_ms = self.world.plant.second * 1000
        return any(
            host.controller is not None
            and not host.paused
            and host.port.half_open_s is None
            and host.mode not in ("", "start-up")
            and now_ms - host.watch.read_ms <= host.watch.safe_ms
            for host in self.world.hosts
        )

    def _excess(self, bar: Busbar) -> None:
        """Over a limit, with current that could be taken away."""
        world = self.world
        count = world.area.count
        drawn = world.plant.current_a
        beyond = np.array([until_s >= world.second for until_s in self.beyond_until])
        beyond[count] = True
        floor_a = 0.0 if self.in_charge() else self.fallback_ma / 1000.0
        can_a = np.where(beyond, 0.0, np.maximum(drawn - floor_a - 0.5, 0.0))
        alone_a = bar.base_a + self.legs @ np.where(beyond, drawn, 0.0)
        self.flow_rows.append(bar.i_a)
        self.alone_rows.append(alone_a)
        less_a = self.legs @ can_a
        imports = bool(bar.p_kw.sum() > 0.0)  # overload by export is no reason to cut cars
        most_a = self.rated_a * LIMIT * EXCESS
        over = imports & (bar.i_a > most_a) & (less_a > 0.0)
        in_all = imports and bool(less_a.sum() > 0.0 and bar.i_a.sum() > 3.0 * most_a)
        for where, is_over in zip(TRANSFORMER, (*over, in_all), strict=True):
            self._over(where, bool(is_over), bar)
        if world.feeder_bar is not None:
            limit_a = world.config.feeders[0].limit_ma / 1000.0
            late = world.feeder_dial is not None and any(
                world.plant.second * 1000 - host.watch.feeder_ms > 10_000 for host in world.hosts
            )
            behind_a = self.legs @ np.where(world.area.behind, can_a, 0.0)
            if late or world.feeder_dial is None:
                behind_a = behind_a * (self.fallback_ma == 0)
            seen = (
                world.feeder_bar.i_a
                if world.feeder_dial is not None
                else world.feeder_bar.i_a - world.feeder_bar.base_a
            )
            over = (seen > limit_a * EXCESS) & (behind_a > 0.0)
            for p in range(3):
                self._over(f"feeder {'ABC'[p]}", bool(over[p]), bar)

    def _over(self, where: str, over: bool, bar: Busbar) -> None:
        now_s = self.world.second
        if not over:
            self.over_since.pop(where, None)
            self.checked["X1"] += 1
            return
        since_s = self.over_since.setdefault(where, now_s)
        lasts_s, most_s = now_s - since_s, self.within_s(since_s)
        self.longest_over_s = max(self.longest_over_s, lasts_s)
        amps = ", ".join(f"{100 * float(a) / self.rated_a:.1f}" for a in bar.i_a)
        self.expect("X1", lasts_s <= most_s, f"{where} over for {lasts_s} s, at most {most_s}: phases {amps} %")

    def _line(self, head: str, bar: Busbar, allowed: tuple[int, ...], drawn: Floats) -> str:
        """One tick for the story."""
        phases, base = ("/".join(f"{100 * float(a) / self.rated_a:.0f}" for a in row) for row in (bar.i_a, bar.base_a))
        cars = " ".join(f"{ma // 1000}>{float(a):.0f}" for ma, a in zip(allowed, drawn, strict=True))
        return f"{head} phases {phases} % residents {base} %  allowed>drawn {cars}"

    # ---------------------------------------------------------------------------------------------------- the end
    def _progress(self) -> None:
        """Since when control is normal, and since when room and willing cars go unused."""
        world = self.world
        first = world.hosts[0]
        if first.mode not in AT_WORK:
            self.normal_since_s = world.second
        plant = world.plant
        room_a = self.rated_a * (LIMIT - 0.015) - self.flow_rows[-1]
        willing = [
            k
            for k in range(world.area.count)
            if plant.plugged[k]
            and not plant.full[k]
            and not world.area.wishes[k].orderly
            and world.config.chargers[k].feeder < 0
            and world.config.chargers[k].phase_known
            and (room_a[self.legs[:, k] > 0.0] > 15.0).all()
        ]
        self.idle_s = (
            self.idle_s + 1 if willing and self.normal_since_s != world.second and plant.current_a.sum() < 1 else 0
        )

    def calm(self) -> bool:
        """Has everything been normal for so long after the last fault that nothing more will come of it?"""
        since_s = max(self.normal_since_s, self._last_s())
        heard = self.world.second - since_s >= CALM_S and not self._unheard()
        return heard and not self.idle_s and not self.over_since

    def _last_s(self) -> int:
        return max([s.end_s for s in self.world.strikes if s.fault.seconds != (0, 0)], default=0)

    def end(self) -> None:
        """What the night as a whole must have kept."""
        world = self.world
        last_s = self._last_s()
        took_s = max(self.normal_since_s - last_s, 0)
        self.stopwatches.measure("P4", took_s)
        first = world.hosts[0]
        self.expect("I20", first.mode in AT_WORK and took_s <= QUIET_S, f"{first.mode} {world.second - last_s} s after")
        self.expect("I20", self.idle_s < IDLE_S, f"room and willing cars, and nobody charges for {self.idle_s} s")
        unheard = self._unheard()
        self.expect("I20", not unheard, f"what they said last is not believed: {', '.join(unheard)}")
        self._minutes()

    def _unheard(self) -> list[str]:
        """Chargers with a car whose last word, said after all faults were over, the first controller has not taken."""
        world, first, last_s = self.world, self.world.hosts[0], self._last_s()
        if first.controller is None:
            return []
        out = []
        for k in np.flatnonzero(world.plant.plugged[: world.area.count]).tolist():
            said_s, *stamp = world.piles.spoke[k]
            state = first.controller.fleet.units[world.piles.ids[k]].state
            has = None if state is None else [state.boot, state.tick_ms]
            if said_s > max(last_s + GRACE_S, first.watch.started_s) and has != stamp:
                out.append(f"{world.piles.ids[k]} {stamp}, not {has}")
        return out

    def _minutes(self) -> None:
        """Minutes over a limit, on a phase or in all, as the verdict counts them, less residents' own excess.

        A minute in which residents' mean is over is theirs. In a small area another may be half over by residents alone
        and half full of cars that left in time: what residents alone are over, second by second, is not the cars'.
        Nor is the minute counted in which a fault of the grid begins or ends: 15 s of a fifth are 5 points of it. Below
        ``X2_KVA_MIN`` nothing is owed.
        """
        if self.world.area.community.rating_kva < X2_KVA_MIN:
            return
        whole = len(self.flow_rows) // 60 * 60
        flow, alone = (np.asarray(rows[:whole]) / self.rated_a for rows in (self.flow_rows, self.alone_rows))
        flow, alone = (np.column_stack((rows, rows.mean(axis=1))) for rows in (flow, alone))
        cars = (flow - np.maximum(alone - LIMIT, 0.0)).reshape(-1, 60, 4).mean(axis=1)
        theirs = alone.reshape(-1, 60, 4).mean(axis=1) > LIMIT
        usual_s = self._within_s(-2, -1)
        steps = [at_s for s in self.world.strikes if s.fault.part == "grid" for at_s in (s.start_s, s.end_s)]
        for minute, row in enumerate(cars):
            if any(at_s < minute * 60 + 60 and at_s + GRACE_S > minute * 60 for at_s in steps):
                continue
            span = (minute * 60, minute * 60 + 60)
            if self._within_s(*span) == usual_s:
                shares = ", ".join(f"{100 * share:.2f}" for share in row)
                self.expect("X2", not ((row > LIMIT) & ~theirs[minute]).any(), f"minute {minute}: {shares} %", span)
