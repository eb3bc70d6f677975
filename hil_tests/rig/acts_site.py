"""What faults of chargers, cars, hosts and the grid do to the world: one generator a fault, as for the wires."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from hil_tests.rig.acts_wire import fails, lasting, twisted
from hil_tests.rig.community import BASE_PF, VOLT

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from edge.ports import ChargerState
    from hil_tests.rig.faults import Strike
    from hil_tests.rig.world import World

CHARGING = 2


# ------------------------------------------------------------------------------------------------------------ chargers
def _stuck_a(world: World, k: int, rng: random.Random) -> float:
    """Where a charger that listens no more stands: where it is, or at a current of its own."""
    now_a = float(world.plant.pilot_a[k])
    return now_a if now_a >= 6.0 else float(rng.choice((6, 10, 16)))


def _charger_deaf(world: World, strike: Strike) -> Generator[None]:
    rng = random.Random(strike.seed)
    k = world.pick(rng)
    with world.wrong(k) as wrong:
        wrong.pilot_a = _stuck_a(world, k, rng)
        wrong.mute = strike.fault.id == "charger_dumb"
        yield from lasting()


def _charger_late(world: World, strike: Strike) -> Generator[None]:
    k = world.pick(random.Random(strike.seed))
    with world.wrong(k) as wrong:
        wrong.lag_s = int(strike.params["lag_s"])
        yield from lasting()


def _charger_rounds_up(world: World, strike: Strike) -> Generator[None]:
    k = world.pick(random.Random(strike.seed))
    with world.wrong(k, obeys=True) as wrong:
        wrong.extra_a = 1.0
        yield from lasting()


def _charger_lies(world: World, strike: Strike) -> Generator[None]:
    k, factor = world.pick(random.Random(strike.seed)), float(strike.params["factor"])

    def twist(state: ChargerState) -> ChargerState:
        a, b, c = (int(ma * factor) for ma in state.ma)
        return replace(state, ma=(a, b, c), w=int(state.w * factor))

    with world.wrong(k, obeys=True) as wrong:
        wrong.twist = twist
        yield from lasting()


def _charger_claims(world: World, strike: Strike) -> Generator[None]:
    rng = random.Random(strike.seed)
    k = world.pick(rng)

    def twist(state: ChargerState) -> ChargerState:
        a, b, c = (min(ma, state.allowed_ma) for ma in state.ma)
        return replace(state, ma=(a, b, c), w=(a + b + c) * int(VOLT) // 1000)

    with world.wrong(k) as wrong:
        wrong.stuck_a, wrong.twist = _stuck_a(world, k, rng), twist
        yield from lasting()


def _charger_reboots(world: World, strike: Strike) -> Generator[None]:
    k, every_s = world.pick(random.Random(strike.seed)), int(strike.params["every_s"])
    while True:
        if (world.second - strike.start_s) % every_s == 0:
            world.piles.reboot(k)
        yield


def _charger_mute(world: World, strike: Strike) -> Generator[None]:
    k = world.pick(random.Random(strike.seed))
    with world.wrong(k) as wrong:
        wrong.mute = True
        yield from lasting()


def _charger_stranger(world: World, strike: Strike) -> Generator[None]:
    k, rng = world.area.count, random.Random(strike.seed)
    cars, now_s = world.plant.cars, world.plant.second
    cars.arrive_s[k], cars.depart_s[k] = now_s, 1 << 30
    with world.wrong(k) as wrong:
        wrong.pilot_a = float(rng.choice((6, 16, 32)))
        try:
            yield from lasting()
        finally:
            cars.depart_s[k] = world.plant.second


def _charger_swings(world: World, strike: Strike) -> Generator[None]:
    k = world.pick(random.Random(strike.seed))
    with world.wrong(k, obeys=True) as wrong:
        wrong.swing_s = int(strike.params["every_s"])
        yield from lasting()


def _charger_exports(world: World, strike: Strike) -> Generator[None]:
    k, amps = world.pick(random.Random(strike.seed)), int(strike.params["amps"])
    phase = int(world.plant.cars.phase[k])
    rows = slice(world.second, strike.end_s)
    fed_kw = amps * VOLT / 1000.0
    world.plant.base_kw[rows, phase] -= fed_kw

    def twist(state: ChargerState) -> ChargerState:
        return replace(state, plug=CHARGING, ma=(amps * 1000, 0, 0), w=round(-amps * VOLT))

    with world.wrong(k) as wrong:
        wrong.pilot_a, wrong.twist = 0.0, twist
        yield from lasting()


def _charger_wrong_clock(world: World, strike: Strike) -> Generator[None]:
    k, by_ms = world.pick(random.Random(strike.seed)), int(strike.params["by_s"]) * 1000
    with world.wrong(k, obeys=True) as wrong:
        wrong.twist = lambda state: replace(state, tick_ms=max(state.tick_ms + by_ms, 0))
        yield from lasting()


def _one_word(world: World, k: int, twist: Callable[[ChargerState], ChargerState]) -> Generator[None]:
    """The next word of a charger is twisted, and no other."""
    with world.wrong(k, obeys=True) as wrong:

        def once(state: ChargerState) -> ChargerState:
            wrong.twist = None
            return twist(state)

        wrong.twist = once
        world.piles.speak(k)
        yield from lasting()


def _charger_tick_ahead(world: World, strike: Strike) -> Generator[None]:
    k, by_ms = world.pick(random.Random(strike.seed)), int(strike.params["by_ms"])
    yield from _one_word(world, k, lambda state: replace(state, tick_ms=state.tick_ms + by_ms))


def _charger_epoch_ahead(world: World, strike: Strike) -> Generator[None]:
    k, epoch = world.pick(random.Random(strike.seed)), int(strike.params["epoch"])
    yield from _one_word(world, k, lambda state: replace(state, epoch=epoch))


def _charger_claims_fallback(world: World, strike: Strike) -> Generator[None]:
    k, ma = world.pick(random.Random(strike.seed)), int(strike.params["amps"]) * 1000
    with world.wrong(k, obeys=True) as wrong:
        wrong.twist = lambda state: replace(state, fallback_ma=ma)
        world.piles.speak(k)
        yield from lasting()


def _charger_drift(world: World, strike: Strike) -> Generator[None]:
    world.piles.rate[:] = [float(strike.params["rate"])] * len(world.piles.rate)
    yield from lasting()


# ---------------------------------------------------------------------------------------------------------------- cars
def _car_sleeps(world: World, strike: Strike) -> Generator[None]:
    k = world.pick(random.Random(strike.seed))
    while True:
        if world.plant.current_a[k] == 0.0:
            world.plant._asleep[k] = True
        yield


def _car_leaves(world: World, strike: Strike) -> Generator[None]:
    rng, share = random.Random(strike.seed), float(strike.params["share"])
    here = [k for k in range(world.area.count) if world.plant.plugged[k] and rng.random() < share]
    world.plant.cars.depart_s[here] = world.plant.second
    yield from lasting()


def _car_refuses(world: World, strike: Strike) -> Generator[None]:
    k = world.pick(random.Random(strike.seed))
    world.plant._deaf[k] = True
    world.disobeys.add(k)
    try:
        yield from lasting()
    finally:
        world.plant._deaf[k] = False
        world.disobeys.discard(k)


def _car_overshoots(world: World, strike: Strike) -> Generator[None]:
    draws, factor = world.plant.cars.draw, float(strike.params["factor"])
    usual = draws.copy()
    draws[:] = factor
    try:
        yield from lasting()
    finally:
        draws[:] = usual


# ---------------------------------------------------------------------------------------------------------------- host
def _host_killed(world: World, strike: Strike) -> Generator[None]:
    host = world.hosts[0]
    host.kill()
    world.left_alone(strike, set(range(world.area.count)))
    try:
        yield from lasting()
    finally:
        host.start()


def _host_pause(world: World, strike: Strike) -> Generator[None]:
    host = world.hosts[0]
    host.paused = True
    if strike.fault.promise:
        world.left_alone(strike, set(range(world.area.count)))
    try:
        yield from lasting()
    finally:
        host.paused = False


def _tick_raises(world: World, _strike: Strike) -> Generator[None]:
    world.hosts[0].break_tick = True
    yield from lasting()


def _wall_jump(world: World, strike: Strike) -> Generator[None]:
    world.wall_off_s += int(strike.params["by_s"])
    try:
        yield from lasting()
    finally:
        world.wall_off_s -= int(strike.params["by_s"])


def _wall_unknown(world: World, _strike: Strike) -> Generator[None]:
    world.wall_known = False
    try:
        yield from lasting()
    finally:
        world.wall_known = True


# 2026-03-29 01:00 and 2026-10-25 01:00 UTC: in Berlin the clock goes from 2 to 3, and from 3 to 2.
DST_S = {"spring": 1_774_746_000, "autumn": 1_792_890_000}


def _wall_dst(world: World, strike: Strike) -> Generator[None]:
    world.config = replace(world.config, timezone="Europe/Berlin")
    world.wall_off_s += DST_S[str(strike.params["change"])] - 600 - int(world.wall_at(world.area.begin_s))
    yield from lasting()


def _second_controller(world: World, _strike: Strike) -> Generator[None]:
    host = world.host("second")
    try:
        yield from lasting()
    finally:
        host.gone = True
        host.kill()
        world.hosts.remove(host)


# ---------------------------------------------------------------------------------------------------------------- grid
def _added(world: World, strike: Strike, kw: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Generator[None]:
    """So many kW more on each phase while it lasts."""
    rows = slice(world.second, strike.end_s)
    world.plant.base_kw[rows] += kw
    yield from lasting()


def _base_step(world: World, strike: Strike) -> Generator[None]:
    kw = world.area.community.rating_kva * float(strike.params["share"]) * BASE_PF
    yield from _added(world, strike, np.full(3, kw / 3.0))


def _residents_over(world: World, strike: Strike) -> Generator[None]:
    has_kw = world.plant.base_kw[world.second]
    wants_kw = world.area.community.rating_kva * BASE_PF * 0.86 / 3.0
    yield from _added(world, strike, np.maximum(wants_kw - has_kw, 0.0))


def _unbalance(world: World, strike: Strike) -> Generator[None]:
    kw = np.zeros(3)
    kw[int(strike.params["phase"])] = world.area.community.rating_kva * BASE_PF / 3.0 * float(strike.params["share"])
    yield from _added(world, strike, kw)


def _outage(world: World, strike: Strike) -> Generator[None]:
    base = world.plant.base_kw
    again = np.linspace(1.5, 1.0, 600)[:, None]
    end = base[strike.end_s : strike.end_s + 600]
    end *= again[: len(end)]
    base[world.second : strike.end_s] = 0.0
    host, air = world.hosts[0], world.air
    host.kill()
    air.broker, world.piles.dark = False, True
    everybody = set(range(world.area.count))
    world.unreachable |= everybody
    try:
        with twisted(world.dial, fails("meter: no power")):
            yield from lasting()
    finally:
        air.broker, world.piles.dark = True, False
        world.unreachable -= everybody
        for k in everybody:
            world.piles.reboot(k)
        host.start()


def _reverse_flow(world: World, strike: Strike) -> Generator[None]:
    lean = random.Random(strike.seed).uniform(0.9, 1.5)
    has_kw = world.plant.base_kw[world.second]
    yield from _added(world, strike, -has_kw * lean)


ACTS: dict[str, Callable[[World, Strike], Generator[None]]] = {
    "charger_deaf": _charger_deaf,
    "charger_dumb": _charger_deaf,
    "charger_late": _charger_late,
    "charger_rounds_up": _charger_rounds_up,
    "charger_lies_low": _charger_lies,
    "charger_lies_high": _charger_lies,
    "charger_claims": _charger_claims,
    "charger_reboots": _charger_reboots,
    "charger_mute": _charger_mute,
    "charger_stranger": _charger_stranger,
    "charger_swings": _charger_swings,
    "charger_exports": _charger_exports,
    "charger_wrong_clock": _charger_wrong_clock,
    "charger_tick_ahead": _charger_tick_ahead,
    "charger_epoch_ahead": _charger_epoch_ahead,
    "charger_claims_fallback": _charger_claims_fallback,
    "charger_drift": _charger_drift,
    "car_sleeps": _car_sleeps,
    "car_leaves": _car_leaves,
    "car_refuses": _car_refuses,
    "car_overshoots": _car_overshoots,
    "host_killed": _host_killed,
    "host_pause": _host_pause,
    "host_suspended": _host_pause,
    "tick_raises": _tick_raises,
    "wall_jump": _wall_jump,
    "wall_unknown": _wall_unknown,
    "wall_dst": _wall_dst,
    "second_controller": _second_controller,
    "base_step": _base_step,
    "residents_over": _residents_over,
    "unbalance": _unbalance,
    "outage": _outage,
    "reverse_flow": _reverse_flow,
}
