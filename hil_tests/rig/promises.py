"""The promises with a stopwatch, on real wires: real mosquitto, a real Modbus server, the daemon as a gateway runs it.

One round plays every script once, side by side, in about four minutes.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.clock import monotonic_ms
from hil_tests.rig import wires
from hil_tests.rig.community import Community
from hil_tests.rig.proxy import SOUND, Fault
from hil_tests.rig.stopwatch import (
    LATE_CARS,
    LIMIT_PCT,
    STEP_PCT,
    Place,
    Played,
    Script,
    at_fallback,
    charges,
    is_off,
    one_charges,
    play_all,
    play_step,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from hil_tests.rig.live import Second

LARGE = Community("large", rating_kva=1250, peak_kw=475.0, valley_kw=475.0, piles=324)
RESTART_S = 5
"""How long a broker that restarts is away."""
CARS_PCT, CROWD_PCT = 5.0, 12.0
AS_BEFORE = 0.95
LIMIT_MIN_S, RECOVERY_S, RECONNECT_S = 90.0, 900.0, 180.0
FOLLOW_S = 10.0
STALL = Fault(stall=True)


@dataclass(frozen=True, slots=True)
class Promise:
    """What is promised, within how many seconds."""

    name: str
    text: str
    within_s: float


PROMISES = (
    Promise("base step", f"residents +{STEP_PCT:.0f} % of rating at once: under the limit", 15.0),
    Promise("meter silent", "meter silent: no EV load", 30.0),
    Promise("controller killed", "controller killed (SIGKILL): all chargers at fallback, lease 60 s", 75.0),
    Promise("broker dead", "broker dead: all chargers at fallback, lease 60 s", 75.0),
    Promise("network cut", "network cut: all chargers at fallback, lease 60 s", 75.0),
    Promise("broker restart", f"broker restarts, {LARGE.piles} chargers reconnect: all charged as before", RECONNECT_S),
    Promise("meter back", "meter back: a car that came meanwhile is charged", RECOVERY_S),
    Promise("broker back", "broker back: cars are charged again", RECOVERY_S),
    Promise("network back", "network back: cars are charged again", RECOVERY_S),
    Promise("all faults over", "meter, broker and network back at once: all charged as before", RECOVERY_S),
    *(
        Promise(f"{wire}: {spoil.name}", f"{wire}, {spoil.name}: in use again", RECOVERY_S)
        for wire in ("meter wire", "broker wire")
        for spoil in wires.METER_SPOILS
    ),
)


def play_meter(place: Place) -> None:
    """A base step, a meter that falls silent and comes back, a controller that is killed."""
    area = place.area
    place.await_cars(CARS_PCT)
    peak_pct, place.seconds["base step"] = play_step(area)
    if peak_pct <= LIMIT_PCT:
        raise TimeoutError(f"a step to {peak_pct:.1f} % proves nothing")
    area.base_step(0.0)
    place.await_cars(1.0)
    area.meter.mute = True
    place.time("meter silent", is_off, monotonic_ms(), LIMIT_MIN_S)
    area.plug_in(LATE_CARS)
    area.meter.mute = False
    place.time("meter back", one_charges(LATE_CARS), monotonic_ms(), RECOVERY_S)
    place.await_cars(CARS_PCT)
    place.daemon.end()
    place.time("controller killed", at_fallback, monotonic_ms(), LIMIT_MIN_S)


def play_broker(place: Place) -> None:
    """A broker that dies and comes back, then a network that is cut between it and the controller."""
    area = place.area
    place.await_cars(CARS_PCT)
    place.broker.kill()
    place.time("broker dead", at_fallback, monotonic_ms(), LIMIT_MIN_S)
    area.reaction_s(is_off, monotonic_ms(), FOLLOW_S)
    since_ms = place.restart_broker()
    place.time("broker back", charges(1.0), since_ms, RECOVERY_S)
    place.await_cars(CARS_PCT)
    play_network_cut(place, LIMIT_MIN_S)


def play_network_cut(place: Place, within_s: float) -> None:
    """Cut the network between controller and broker until no car draws, and mend it."""
    area = place.area
    area.broker_wire.both(STALL)
    place.time("network cut", at_fallback, monotonic_ms(), within_s)
    area.reaction_s(is_off, monotonic_ms(), FOLLOW_S)
    area.broker_wire.both(SOUND)
    place.time("network back", charges(1.0), monotonic_ms(), RECOVERY_S)


def play_all_faults(place: Place) -> None:
    """Everything at once; the stopwatch runs until cars draw what they drew before."""
    area = place.area
    place.await_cars(CARS_PCT)
    before_pct = area.history()[-1].ev_pct
    area.meter.mute = True
    area.broker_wire.both(STALL)
    place.broker.kill()
    area.reaction_s(is_off, monotonic_ms(), LIMIT_MIN_S)
    area.meter.mute = False
    area.broker_wire.both(SOUND)
    since_ms = place.restart_broker()
    place.time("all faults over", charges(AS_BEFORE * before_pct), since_ms, RECOVERY_S)


def play_reconnects(place: Place) -> None:
    """A broker that restarts under hundreds of chargers with a connection each."""
    area = place.area
    place.await_cars(CROWD_PCT)
    before_pct = area.history()[-1].ev_pct
    place.broker.kill()
    time.sleep(RESTART_S)
    since_ms = place.restart_broker()

    def as_before(second: Second) -> bool:
        told = {told.charger for told in area.told(since_ms)}
        drawing = {name for name, ma in zip(area.chargers.ids, second.allowed_ma, strict=True) if ma}
        return second.online == LARGE.piles and drawing <= told and second.ev_pct >= AS_BEFORE * before_pct

    place.time("broker restart", as_before, since_ms, RECONNECT_S)


def scripts() -> list[Script]:
    """One round."""
    spoilt = {"spoilt": True}
    return [
        Script("all-faults", play_all_faults, spoilt),
        Script("meter", play_meter),
        Script("broker", play_broker, spoilt),
        Script("reconnects", play_reconnects, {"community": LARGE, "crowd": True, "plugged": LARGE.piles}),
        *wires.scripts(),
    ]


def measure(rounds: int, folder: Path, say: Callable[[str], None]) -> list[dict[str, Played]]:
    """Play so many rounds, one after the other, each with its number as seed. Only in the main thread."""
    played = []
    for number in range(1, rounds + 1):
        own = folder / f"round-{number}"
        own.mkdir(exist_ok=True)
        say(f"round {number} of {rounds}")
        played.append(play_all(scripts(), own, say, number))
    return played


def rows(rounds: Sequence[dict[str, Played]]) -> list[dict[str, object]]:
    """Promise by promise: limit, median and worst in s; None where it was not kept even once."""
    out: list[dict[str, object]] = []
    for promise in PROMISES:
        values = [p.seconds[promise.name] for played in rounds for p in played.values() if promise.name in p.seconds]
        kept = len(values) == len(rounds) and max(values) <= promise.within_s
        out.append(
            {
                "promise": promise.name,
                "text": promise.text,
                "within_s": promise.within_s,
                "median_s": round(statistics.median(values), 1) if values else None,
                "worst_s": round(max(values), 1) if values else None,
                "kept": kept,
            }
        )
    return out


def troubles(rounds: Sequence[dict[str, Played]]) -> list[str]:
    """All that went wrong besides: what never happened, a daemon that stumbled, a minute above the limit."""
    said = []
    for number, played in enumerate(rounds, 1):
        for name, p in played.items():
            said += [f"round {number}: {p.trouble}"] if p.trouble else []
            said += [] if p.sound else [f"round {number}: {name}: the daemon stumbled"]
            if name != "meter" and not p.below_limit:  # there the residents' step passes it on purpose
                said.append(f"round {number}: {name}: {p.loading_pct:.1f} % of rating, {p.phase_pct:.1f} % on a phase")
    return said
