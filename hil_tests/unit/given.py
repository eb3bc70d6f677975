"""What the core's tests are given: words with defaults, and a small area that obeys."""

from __future__ import annotations

from typing import Any

from edge.core import control, guard, trust, watch
from edge.core.model import CHARGING, FULL, MIN_MA, NEVER, Charger, Command, Feeder, Meter, Place, Settings, Snapshot
from edge.core.sheet import Unit

RATED_VA = 1_000_000
RATED_MA = 1_500_000
MV = 220_000
SETTINGS = Settings(RATED_VA, RATED_MA, 15, 1000, 60_000, 5, False)
LINE_VA, LINE_MA = 785_000, 1_177_500
"""80 % of 1000 kVA and of 1500 A less the margin of 1.5 points: written out, not computed. What is given ends here."""
CUT_VA, CUT_MA = 789_000, 1_183_500
"""0.4 points above that: what is cut begins here."""
HOUR_MS = 3_600_000
FAR_MS = 1000 * HOUR_MS
NEED_MS = 9000 * HOUR_MS // (32 * 220)
"""What 9 kWh take at 32 A."""

WIRINGS = ((1, 1, True), (2, 1, True), (4, 1, True), (7, 3, True), (7, 1, False))
"""(phases, lines, known): what chargers in a community are like."""
PLACES = tuple(Place(*wiring, feeder) for feeder in (-1, 0, 1) for wiring in WIRINGS)
"""Straight from the transformer first, then behind feeder 0, then behind feeder 1."""


def meter(at_ms: int = 0, s_va: int = 0, ma: tuple[int, int, int] | None = None, mv: int = MV) -> Meter:
    """A reading; the phase currents follow from the apparent power unless given. Its energy counter moves with time."""
    each = s_va * 1_000_000 // (3 * MV)
    q_var = s_va * 31 // 100
    return Meter(at_ms, s_va, s_va * 95 // 100, q_var, ma or (each, each, each), (mv, mv, mv), None, max(at_ms, 0), "")


def roomy(s_va: int) -> tuple[int, int, int]:
    """Phase currents an eighth below those of an even load: the total binds, no phase does."""
    each = s_va * 1_000_000 // (3 * MV) * 7 // 8
    return each, each, each


def vet(
    state: watch.State, shot: Snapshot, commands: tuple[Command, ...], row: Settings, now_ms: int
) -> tuple[watch.State, tuple[Command, ...]]:
    """One tick of the guard: it looks, then it vets."""
    state, shown = watch.look(state, shot, row, now_ms)
    return state, guard.vet(state, shown, commands, row)


def wish(c: Charger, ma: int) -> Command:
    """What control wants for a charger."""
    return Command(c.id, ma, FULL, -1, True)


def normal(now_ms: int = 100_000) -> watch.State:
    """A guard with authority over an area of two feeders, its last reading a moment ago."""
    plain = watch.State(
        watch.NORMAL, 0, now_ms - 1000, 20, NEVER, NEVER, NEVER, 0, NEVER, (), NEVER, False, trust.start(), ()
    )
    return plain._replace(feeders=(plain, plain))


def place(phases: int = 1, lines: int = 1, known: bool = True, feeder: int = -1) -> int:
    """The index of the place that is wired so."""
    return PLACES.index(Place(phases, lines, known, feeder))


def places(feeders: tuple[Feeder, ...] = ()) -> tuple[Place, ...]:
    """The places there are with so many feeders; the index of each is the same with more of them."""
    return PLACES[: len(WIRINGS) * (1 + len(feeders))]


def charger(name: str = "a", **changes: Any) -> Charger:  # noqa: ANN401 - a row of any fields
    """A running, obedient charger on phase A at 16 A, with a long way to go.

    How it is wired is said by ``phases``, ``lines``, ``known`` and ``feeder``, or by ``place`` itself.
    """
    wiring = {key: changes.pop(key) for key in ("phases", "lines", "known", "feeder") if key in changes}
    row = {
        "id": name, "place": place(**wiring), "max_ma": 32_000, "fallback_ma": 0, "plug": CHARGING, "ma": 16_000,
        "allowed_ma": 16_000, "set_ma": 16_000, "possible_ma": 16_000, "silent": False, "settled": False,
        "need_wh": 9000, "aim_wh": changes.get("need_wh", 9000), "depart_ms": FAR_MS, "start_ms": NEVER, "now": False,
        "prio": 0,
    }  # fmt: skip
    return Charger(**{**row, **changes})


def still(name: str = "a", **changes: Any) -> Charger:  # noqa: ANN401 - a row of any fields
    """A plugged car that waits: nothing set, nothing drawn."""
    return charger(name, **{"plug": 1, "ma": 0, "allowed_ma": 0, "set_ma": 0, "possible_ma": 0, **changes})


def at(name: str, told: int, **changes: Any) -> Charger:  # noqa: ANN401 - a row of any fields
    """A charger that was ``told`` so much, allows it and draws it."""
    return charger(name, **{"ma": told, "allowed_ma": told, "set_ma": told, "possible_ma": told, **changes})


def feeder(limit_ma: int, residents_ma: tuple[int, ...] = (), period_ms: int = 1000) -> Feeder:
    """A feeder; with residents behind it, it has a meter, which ``snapshot`` lets see them and the cars."""
    return Feeder(limit_ma, residents_ma or None, period_ms if residents_ma else 0)


def snapshot(
    chargers: tuple[Charger, ...] = (),
    reading: Meter | None = None,
    limit: int = 800,
    feeders: tuple[Feeder, ...] = (),
) -> Snapshot:
    """Everything a decision may look at."""
    seen = tuple(_seen(row, k, chargers, reading) for k, row in enumerate(feeders))
    return Snapshot(reading, limit, places(feeders), seen, chargers)


def _seen(row: Feeder, k: int, chargers: tuple[Charger, ...], reading: Meter | None) -> Feeder:
    """A feeder whose meter, read with the transformer's, shows its residents and the cars that prove what they draw."""
    if row.meter is None or isinstance(row.meter, Meter):
        return row
    proven = [(c.ma, PLACES[c.place]) for c in chargers if not c.silent and PLACES[c.place].feeder == k]
    ma = [
        own + sum(max(drawn, 0) for drawn, at in proven if (at.phases if at.known else 1) >> p & 1)
        for p, own in enumerate(row.meter)
    ]
    at_ms = 0 if reading is None else reading.at_ms
    return row._replace(meter=meter(at_ms, sum(abs(x) for x in ma) * MV // 1_000_000, (ma[0], ma[1], ma[2])))


def awake(at_ms: int = 0, *chargers: Charger, feeders: int = 0) -> control.State:
    """A controller that had a reading at ``at_ms``, so that no starts are spread, and knows these chargers for long.

    Of so many feeders too.
    """
    units = tuple(
        Unit(c.id, c.set_ma, c.set_ma >= MIN_MA, NEVER, NEVER, NEVER, NEVER, 0, 0, 0, NEVER) for c in chargers
    )
    seen = (control.Seen(at_ms, (), NEVER),) * feeders
    return control.State(**{**control.start()._asdict(), "sample_ms": at_ms, "units": units, "feeders": seen})


def steps(shots: list[Snapshot], row: Settings = SETTINGS) -> list[tuple[Command, ...]]:
    """Play one snapshot a second from an empty state; the commands of each."""
    state, out = awake(feeders=len(shots[0].feeders)), []
    for k, shot in enumerate(shots):
        state, commands = control.step(state, shot, row, (k + 1) * 1000)
        out.append(commands)
    return out


def agreed(
    chargers: tuple[Charger, ...],
    s_va: int,
    samples: int = 5,
    ma: tuple[int, int, int] | None = None,
    **more: Any,  # noqa: ANN401 - fields of a snapshot
) -> tuple[Command, ...]:
    """The commands after ``samples`` equal readings one second apart."""
    return steps([snapshot(chargers, meter((k + 1) * 1000, s_va, ma), **more) for k in range(samples)])[-1]


class Area:
    """One area in ticks of a second: control and guard, a meter that sees it all, chargers that obey at once.

    Change ``base_va`` (residents, spread evenly) or a row of ``chargers`` between ticks; ``meter_ok`` mutes the meter;
    ``takes`` is the most a car draws of what it is offered.
    """

    def __init__(self, chargers: list[Charger], base_va: int = 300_000, settings: Settings = SETTINGS) -> None:
        self.chargers = {c.id: c for c in chargers}
        self.base_va, self.settings = base_va, settings
        self.now_ms = 0
        self.limit = 800
        self.feeders: tuple[Feeder, ...] = ()
        self.takes: dict[str, int] = {}
        self.meter_ok = True
        self.reading: Meter | None = None
        self.control = awake()
        self.guard: watch.State = watch.start(-100_000)
        self.commands: dict[str, Command] = {}
        self.wishes: dict[str, Command] = {}

    def true_meter(self) -> Meter:
        """What stands on the busbar now."""
        ma = [self.base_va * 1_000_000 // (3 * MV)] * 3
        s_va = self.base_va
        for c in self.chargers.values():
            wiring = PLACES[c.place]
            s_va += c.ma * wiring.lines * MV // 1_000_000
            for p in (0, 1, 2):
                ma[p] += c.ma * (wiring.phases >> p & 1)
        return meter(self.now_ms, s_va, (ma[0], ma[1], ma[2]))

    def loading_permille(self) -> int:
        """Loading by S, in permille."""
        return int(self.true_meter().s_va) * 1000 // int(self.settings.rated_va)

    def tick(self, seconds: int = 1) -> None:
        """Advance second by second."""
        for _ in range(seconds):
            self.now_ms += 1000
            if self.meter_ok:
                self.reading = self.true_meter()
            view = tuple(self.chargers[k] for k in sorted(self.chargers))
            shot = snapshot(view, self.reading, self.limit, self.feeders)
            self.guard, shown = watch.look(self.guard, shot, self.settings, self.now_ms)
            seen = watch.for_control(self.guard, shown)
            self.control, wishes = control.step(self.control, seen, self.settings, self.now_ms)
            commands = guard.vet(self.guard, shown, wishes, self.settings)
            self.wishes = {c.id: c for c in wishes}
            self.commands = {c.id: c for c in commands}
            if self.guard.mode != watch.STARTING:
                self._obey()

    def _obey(self) -> None:
        for name, command in self.commands.items():
            c = self.chargers[name]
            offered = command.ma if c.plug in (1, CHARGING) else 0
            draws = min(offered, self.takes.get(name, offered))
            plug = CHARGING if draws else (1 if c.plug == CHARGING else c.plug)
            self.chargers[name] = change(
                c, set_ma=command.ma, allowed_ma=command.ma, possible_ma=offered, ma=draws, plug=plug
            )

    def settle(self, seconds: int = 120) -> None:
        """Play until things stand still."""
        self.tick(seconds)


def change(row: Charger, **changes: Any) -> Charger:  # noqa: ANN401 - any fields
    """The same charger with other values."""
    return Charger(**{**row._asdict(), **changes})
