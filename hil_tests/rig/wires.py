"""Spoilt wires: every fault of the proxy on the meter's wire or the broker's, one after the other while cars charge.

After each fault the stopwatch shows how long the controller takes until it has hold of that wire again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from edge.clock import monotonic_ms
from hil_tests.rig.community import Community
from hil_tests.rig.proxy import SOUND, Fault, FaultProxy
from hil_tests.rig.stopwatch import Place, Script, charges

if TYPE_CHECKING:
    from collections.abc import Callable

BACK_S = 60.0
"""Nothing that happens to a wire may keep the controller off it for longer once it is sound."""
TIGHT = Community("tight", rating_kva=500, peak_kw=354.0, valley_kw=354.0, piles=16)
"""Residents alone load this transformer to 74.5 %: a few cars fill it to the line, the others wait."""
CARS_PCT, ROOM_PCT = 3.0, 10.0
READS, READ_GAP_S = 3, 0.5
POLL_S = 0.05


def _nothing(_wire: FaultProxy) -> None:
    pass


def _refuse(wire: FaultProxy) -> None:
    wire.refuse()
    wire.reset()


@dataclass(frozen=True, slots=True)
class Spoil:
    """One fault: for ``seconds`` in both directions, or an ``act`` at its beginning."""

    name: str
    seconds: float
    fault: Fault = SOUND
    act: Callable[[FaultProxy], None] = _nothing


# The stalls end before the meter counts as silent for so long that cars are stopped (10 s).
METER_SPOILS = (
    Spoil("slice", 3, Fault(slice_bytes=3)),
    Spoil("delay", 3, Fault(delay_ms=200)),
    Spoil("duplicate", 5, Fault(repeat_permille=300)),
    Spoil("corrupt", 6, Fault(corrupt_permille=2)),
    Spoil("stall", 6, Fault(stall=True)),
    Spoil("reset", 0, act=FaultProxy.reset),
    Spoil("refuse", 3, act=_refuse),
    Spoil("half-open", 0, act=FaultProxy.half_open),
)
# A digit that becomes another one, in a protocol without a checksum, may be another controller's epoch: then this one
# rightly falls silent for ten minutes.
BROKER_SPOILS = tuple(
    replace(one, fault=replace(one.fault, text_stays_unread=True)) if one.name == "corrupt" else one
    for one in METER_SPOILS
)


def spoil(wire: FaultProxy, fault: Spoil) -> int:
    """Let one fault come and go. Returns when the wire was sound again, real ms."""
    fault.act(wire)
    wire.both(fault.fault)
    time.sleep(fault.seconds)
    wire.both(SOUND)
    wire.accept()
    return monotonic_ms()


def play_meter_wire(place: Place, spoils: tuple[Spoil, ...]) -> None:
    """Spoil the meter's wire; it is back when the meter is read again, second after second."""
    place.await_cars(CARS_PCT)
    for fault in spoils:
        since_ms = spoil(place.area.meter_wire, fault)
        for _ in range(READS):  # what was held back arrives in one second: that is not yet reading
            _await_more(place, lambda: place.area.meter.reads, since_ms)
            time.sleep(READ_GAP_S)
        place.seconds[f"meter wire: {fault.name}"] = (monotonic_ms() - since_ms) / 1000
    _give_room(place)


def play_broker_wire(place: Place, spoils: tuple[Spoil, ...]) -> None:
    """Spoil the broker's wire; it is back when a charger has taken a setpoint again."""
    place.await_cars(CARS_PCT)
    for fault in spoils:
        since_ms = spoil(place.area.broker_wire, fault)
        _await_more(place, lambda: place.area.chargers.accepted, since_ms)
        place.seconds[f"broker wire: {fault.name}"] = (monotonic_ms() - since_ms) / 1000
    _give_room(place)


def _give_room(place: Place) -> None:
    """Residents take less: cars that wait are started when control is what it was."""
    before_pct = place.area.history()[-1].ev_pct
    since_ms = place.area.base_step(-ROOM_PCT)
    place.time("room is used", charges(before_pct + ROOM_PCT / 4), since_ms, BACK_S)


def _await_more(place: Place, count: Callable[[], int], since_ms: int) -> None:
    """Wait until a counter has moved on. Raises TimeoutError."""
    seen = count()
    while count() == seen:
        place.area.mind()
        if monotonic_ms() > since_ms + BACK_S * 1000:
            raise TimeoutError(f"not back on its wire within {BACK_S:g} s")
        time.sleep(POLL_S)


def scripts() -> list[Script]:
    """Both wires, each in two areas that play side by side: half of the faults for each."""
    options = {"spoilt": True, "community": TIGHT, "plugged": TIGHT.piles}
    wires = (("meter-wire", play_meter_wire, METER_SPOILS), ("broker-wire", play_broker_wire, BROKER_SPOILS))
    return [
        Script(f"{name}-{number}", partial(play, spoils=half), options)
        for name, play, spoils in wires
        for number, half in enumerate((spoils[:4], spoils[4:]), 1)
    ]
