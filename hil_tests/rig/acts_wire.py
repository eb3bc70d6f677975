"""What faults of meters and of the network do to the world: one generator a fault.

It is begun when the fault begins, stepped once a second while it lasts, and closed when it ends; what it undoes stands
in its ``finally`` or ``with``.
"""

from __future__ import annotations

import random
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.ports import ChargerState, MeterError
from hil_tests.rig.air import Weather
from hil_tests.rig.dial import IDENTITY, Dial, Shown

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from hil_tests.rig.faults import Strike
    from hil_tests.rig.world import World


JUNK = ("", "[]", "nul", '{"v":1}', '{"v":1,"boot":NaN}', '{"v":1,"ma":[0,0,0],"x":"' + 600 * "9" + '"}', 99 * "[")
"""What is no message at all."""


def lasting() -> Generator[None]:
    """Nothing more to do until the fault ends."""
    while True:
        yield


# --------------------------------------------------------------------------------------------------------------- meter
@contextmanager
def twisted(dial: Dial, twist: Callable[[Shown, int], Shown]) -> Iterator[None]:
    """A meter that shows something else."""
    dial.twists.append(twist)
    try:
        yield
    finally:
        dial.twists.remove(twist)


def _showing(dial: Dial, twist: Callable[[Shown, int], Shown]) -> Generator[None]:
    with twisted(dial, twist):
        yield from lasting()


def fails(text: str) -> Callable[[Shown, int], Shown]:
    """A meter that does not answer."""

    def twist(_shown: Shown, _now_ms: int) -> Shown:
        raise MeterError(text)

    return twist


def _meter_silent(world: World, strike: Strike) -> Generator[None]:
    yield from _showing(world.dial, fails(f"meter: {strike.fault.id}"))


def _feeder_meter_silent(world: World, _strike: Strike) -> Generator[None]:
    dial = world.feeder_dial or Dial("none", 0)  # on request it also strikes areas without one
    yield from _showing(dial, fails("feeder meter: silent"))


def _meter_misses(world: World, strike: Strike) -> Generator[None]:
    rng, share = random.Random(strike.seed), float(strike.params["share"])

    def twist(shown: Shown, _now_ms: int) -> Shown:
        if rng.random() < share:
            raise MeterError("meter: no reply")
        return shown

    yield from _showing(world.dial, twist)


def _meter_lags(world: World, strike: Strike) -> Generator[None]:
    past: list[tuple[int, Shown]] = []
    lag_ms = int(strike.params["lag_s"]) * 1000

    def twist(shown: Shown, now_ms: int) -> Shown:
        past.append((now_ms, shown))
        while len(past) > 1 and past[1][0] <= now_ms - lag_ms:
            past.pop(0)
        return past[0][1]

    yield from _showing(world.dial, twist)


def _meter_frozen(world: World, strike: Strike) -> Generator[None]:
    kept: list[tuple[int, Shown]] = []
    every_ms = int(strike.params.get("every_s", 1 << 20)) * 1000

    def twist(shown: Shown, now_ms: int) -> Shown:
        if not kept or now_ms - kept[0][0] >= every_ms:
            kept[:] = [(now_ms, shown)]
        return kept[0][1]

    yield from _showing(world.dial, twist)


def _meter_nonsense(world: World, strike: Strike) -> Generator[None]:
    kind = strike.params["kind"]
    value = {"nan": float("nan"), "inf": float("inf"), "huge": 3.0e5, "volts": 0.0}[str(kind)]

    def twist(shown: Shown, _now_ms: int) -> Shown:
        if kind == "volts":
            return replace(shown, volt=[value] * 3)
        return replace(shown, i_a=[value, *shown.i_a[1:]])

    yield from _showing(world.dial, twist)


def _meter_factor(world: World, strike: Strike) -> Generator[None]:
    factor = {
        "meter_zeros": 0.0, "meter_ratio_half": 0.5, "meter_ratio_double": 2.0, "meter_scale": 0.001,
        "meter_scale_up": 1000.0, "meter_wrong_sign": -1.0,
    }[strike.fault.id]  # fmt: skip
    yield from _showing(world.dial, lambda shown, _now_ms: shown.times(factor))


def _meter_other(world: World, _strike: Strike) -> Generator[None]:
    try:
        yield from _showing(world.dial, lambda shown, _ms: replace(shown.times(0.33), identity=IDENTITY + 1))
    finally:
        # Somebody has looked, put the right one back, and started the controller again.
        for host in world.hosts:
            host.kill()
            world.later(2, host.start)


def _meter_ct_reversed(world: World, strike: Strike) -> Generator[None]:
    phase, vector = int(strike.params["phase"]), bool(strike.params["vector"])

    def twist(shown: Shown, _now_ms: int) -> Shown:
        turned = shown.times(-1.0, (phase,))
        if vector:  # some meters add the phases up with their signs
            turned = replace(turned, s_va=float(np.hypot(sum(turned.p_w), sum(turned.q_var))))
        return turned

    yield from _showing(world.dial, twist)


def _meter_phase_lost(world: World, strike: Strike) -> Generator[None]:
    phase = int(strike.params["phase"])
    yield from _showing(world.dial, lambda shown, _now_ms: shown.times(0.0, (phase,)))


def _meter_spike(world: World, strike: Strike) -> Generator[None]:
    every_s, factor = int(strike.params["every_s"]), 10.0 if strike.fault.id == "meter_spike_up" else 0.1
    count = [0]

    def twist(shown: Shown, _now_ms: int) -> Shown:
        count[0] += 1
        return shown.times(factor) if count[0] % every_s == 0 else shown

    yield from _showing(world.dial, twist)


def _meter_energy_back(world: World, _strike: Strike) -> Generator[None]:
    yield from _showing(world.dial, lambda shown, _ms: replace(shown, import_wh=shown.import_wh - 10_000.0))


# ------------------------------------------------------------------------------------------------------------- network
def _weather(world: World, weather: Weather) -> Generator[None]:
    world.air.weather.append(weather)
    try:
        yield from lasting()
    finally:
        world.air.weather.remove(weather)


def _net_loss(world: World, strike: Strike) -> Generator[None]:
    yield from _weather(world, Weather(loss=float(strike.params["share"])))


def _net_twice(world: World, strike: Strike) -> Generator[None]:
    yield from _weather(world, Weather(twice=float(strike.params["share"])))


def _net_delay(world: World, strike: Strike) -> Generator[None]:
    yield from _weather(world, Weather(late=float(strike.params["share"]), late_s=int(strike.params["late_s"])))


def _net_part(world: World, strike: Strike) -> Generator[None]:
    rng, share = random.Random(strike.seed), float(strike.params.get("share", 1.0))
    cut = {k for k in range(world.area.count) if rng.random() < share} or {0}
    names = {world.piles.ids[k] for k in cut}
    world.air.cut |= names
    world.unreachable |= cut
    world.left_alone(strike, cut)
    try:
        yield from lasting()
    finally:
        world.air.cut -= names
        world.unreachable -= cut
        for k in cut:
            world.piles.speak(k)


def _broker_down(world: World, strike: Strike) -> Generator[None]:
    rng, air = random.Random(strike.seed), world.air
    air.broker = False
    everybody = set(range(world.area.count))
    world.unreachable |= everybody
    world.left_alone(strike, everybody)
    try:
        yield from lasting()
    finally:
        air.broker = True
        # Clients come back one by one; each says its state then.
        for k in everybody:
            world.later(rng.randint(0, int(strike.params["jitter_s"])), _back(world, k))
            air.cut.add(world.piles.ids[k])


def _back(world: World, k: int) -> Callable[[], None]:
    def back() -> None:
        world.air.cut.discard(world.piles.ids[k])
        world.unreachable.discard(k)
        world.piles.speak(k)

    return back


def _half_open(world: World, strike: Strike) -> Generator[None]:
    port = world.hosts[0].port
    port.half_open_s = world.air.now_s
    world.left_alone(strike, set(range(world.area.count)))
    try:
        yield from lasting()
    finally:
        port.half_open_s = None


def _replay(world: World, strike: Strike) -> Generator[None]:
    rng, every_s = random.Random(strike.seed), int(strike.params["every_s"])
    while True:
        if world.air.told and world.plant.second % every_s == 0:
            world.air.down(rng.choice(world.air.told)[1])
        yield


def _flood(world: World, strike: Strike) -> Generator[None]:
    rng = random.Random(strike.seed)
    k = world.pick(rng)
    while True:
        plug = world.piles.plug(k)
        for _ in range(20):
            world.air.up(world.piles.state(k, plug))
            world.air.up(replace(world.piles.state(k, plug), charger=f"s{rng.randrange(2000)}"))
        yield


def _malformed(world: World, strike: Strike) -> Generator[None]:
    rng, share = random.Random(strike.seed), float(strike.params["share"])
    k = world.pick(rng)

    def twist(state: ChargerState) -> ChargerState:
        if rng.random() >= share:
            return state
        name = rng.choice(("boot", "tick_ms", "epoch", "seq", "plug", "w", "wh", "allowed_ma", "lease_ms", "max_ma",
                           "fallback_ma"))  # fmt: skip
        odd: int = rng.choice((0, 1, 5, 255, 70_000, 1 << 31, (1 << 53) - 1, 1 << 53, -1))
        said: dict[str, Any] = {name: odd}
        return replace(state, **said)

    with world.wrong(k, obeys=True) as wrong:
        wrong.twist = twist
        while True:
            world.air.say(world.piles.ids[k], "state", rng.choice(JUNK))
            yield


ACTS: dict[str, Callable[[World, Strike], Generator[None]]] = {
    "meter_silent": _meter_silent,
    "meter_crc_burst": _meter_silent,
    "meter_exception": _meter_silent,
    "feeder_meter_silent": _feeder_meter_silent,
    "meter_late": _meter_misses,
    "meter_crc": _meter_misses,
    "meter_lags": _meter_lags,
    "meter_frozen": _meter_frozen,
    "meter_cached": _meter_frozen,
    "meter_nonsense": _meter_nonsense,
    "meter_zeros": _meter_factor,
    "meter_ratio_half": _meter_factor,
    "meter_ratio_double": _meter_factor,
    "meter_scale": _meter_factor,
    "meter_scale_up": _meter_factor,
    "meter_wrong_sign": _meter_factor,
    "meter_other": _meter_other,
    "meter_ct_reversed": _meter_ct_reversed,
    "meter_phase_lost": _meter_phase_lost,
    "meter_spike_up": _meter_spike,
    "meter_spike_down": _meter_spike,
    "meter_energy_back": _meter_energy_back,
    "net_loss": _net_loss,
    "net_twice": _net_twice,
    "net_reorder": _net_delay,
    "net_delay": _net_delay,
    "net_part": _net_part,
    "net_all": _net_part,
    "broker_restart": _broker_down,
    "broker_dead": _broker_down,
    "half_open": _half_open,
    "replay": _replay,
    "flood": _flood,
    "malformed": _malformed,
}
