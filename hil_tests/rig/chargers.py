"""The emulated chargers of one area: native dialect, echo lease, and manners on the wire.

Telemetry goes out at once on a change (plug, 0.5 A, what is allowed, a new controller) and in answer to a setpoint that
is refused or brings no lease, else as a heartbeat. The lease is the product's own ``edge.core.lease``; everything said
on the wire is encoded here and not by the driver.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from edge.core import lease as leases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hil_tests.rig.plant import Plant

UNPLUGGED, WAITING, CHARGING, FINISHED = 0, 1, 2, 3
HEARTBEAT_S = np.array((300.0, 120.0, 20.0, 120.0))
"""How often a charger speaks when nothing changes, by plug state; while a lease runs, three times in it at least."""
EAGER_S, EAGER_BEAT_S = 120.0, 20.0
"""After a connection has come (back), everybody speaks this often for a while: a controller may come after them."""
CHANGE_A = 0.5
VOLT = 220


class Chargers:
    """All chargers of a plant. Their clock is the plant's second plus an offset of their own.

    ``slots``: they take what they take by themselves in one of so many turns.
    """

    def __init__(self, plant: Plant, seed: int, fallback_ma: int = 0, slots: int = 1) -> None:
        rng = np.random.default_rng((seed, 3))
        self.plant = plant
        count = len(plant.cars.phase)
        self.ids = [f"p{k + 1:03d}" for k in range(count)]
        self.index = {name: k for k, name in enumerate(self.ids)}
        self.fallback_ma, self.slots = fallback_ma, slots
        self.turns = [leases.turn_of(name) for name in self.ids]
        self.max_ma = [int(a) * 1000 for a in plant.cars.max_a]
        self.boot = [int(x) for x in rng.integers(1, 1 << 31, count)]
        self.offset_ms = [int(x) for x in rng.integers(0, 1 << 22, count)]
        self.leases = [leases.start(b) for b in self.boot]
        self.lates: list[leases.Late | None] = [None] * count
        self.within_ms = 0
        """How far the present second has gone; a bench in real time moves it on between the plant's steps."""
        self.accepted = self.refused = 0
        self._ends_s = np.full(count, -np.inf)
        """When what a charger allows may change by itself: its lease ends, a late fallback begins, a turn."""
        self._allowed_ma = np.full(count, float(fallback_ma))
        self._beat_s = np.full(count, np.inf)
        self._leased = np.zeros(count, dtype=bool)
        self._eager_until_s = np.full(count, -np.inf)
        self._said_a = np.zeros(count)
        self._said_plug = np.full(count, UNPLUGGED)
        # Spread, so that a night does not begin with everybody's heartbeat in the same second for ever.
        self._due_s = plant.second + rng.uniform(0.0, 20.0, count)
        self._dirty = np.zeros(count, dtype=bool)

    def before_second(self) -> None:
        """End leases that are over and put every charger's allowance on its pilot, for the plant's next second."""
        over = self._ends_s <= self.plant.second
        for k in np.flatnonzero(over).tolist():
            self._settle(k, self._tick_ms(k))
        self._dirty |= over
        self.plant.pilot_a[:] = self._allowed_ma / 1000.0

    def obey(self, charger: str, payload: bytes) -> None:
        """One setpoint from the wire; what cannot be read, or is for nobody here, is refused."""
        read = read_setpoint(payload)
        if read is None or charger not in self.index:
            self.refused += 1
            return
        self.judge(self.index[charger], *read)

    def judge(self, k: int, asked: leases.Setpoint, late: tuple[int, int, int] = (0, 0, 0)) -> None:
        """One setpoint, judged by the lease; refused for its age, it is answered with telemetry."""
        now_ms = self._tick_ms(k)
        alone_ma = self._alone_ma(k, now_ms)
        lease, verdict = leases.accept(self.leases[k], asked, alone_ma, self.max_ma[k], now_ms)
        if verdict != leases.ACCEPTED:
            self.refused += 1
            self._dirty[k] |= verdict == leases.STALE
            return
        self.accepted += 1
        # A new controller is waiting to hear that it is the newest; a setpoint without a lease asks for an answer.
        self._dirty[k] |= lease.epoch != self.leases[k].epoch or asked.lease_ms == 0
        self.leases[k] = lease
        self.lates[k] = leases.late_of(lease, asked, *late, now_ms)
        self._settle(k, now_ms)
        if asked.lease_ms:
            self._beat_s[k] = asked.lease_ms / 3000.0

    def _settle(self, k: int, now_ms: int) -> None:
        """What a charger allows from now on, and when that may change by itself."""
        lease, late = self.leases[k], self.lates[k]
        allowed = leases.allowed_ma(lease, self._alone_ma(k, now_ms), now_ms)
        self._dirty[k] |= allowed != self._allowed_ma[k]
        self._allowed_ma[k], self._leased[k] = allowed, now_ms < lease.ends_ms
        moments = [lease.ends_ms, *(late[1:] if late is not None else ())]
        if self.slots > 1:
            moments.append((now_ms // leases.SLOT_MS + 1) * leases.SLOT_MS)
        next_ms = min((at_ms for at_ms in moments if at_ms > now_ms), default=np.inf)
        self._ends_s[k] = self.plant.second + (self.within_ms + next_ms - now_ms) / 1000.0

    def _alone_ma(self, k: int, now_ms: int) -> int:
        """What a charger takes by itself."""
        return leases.alone_ma(self.lates[k], self.fallback_ma, self.slots, self.turns[k], now_ms)

    def kept(self, k: int) -> tuple[int, int]:
        """What a charger says of its turns and of its late fallback: slots, mA."""
        late = self.lates[k]
        return self.slots, late.ma if late is not None and self._tick_ms(k) < late.to_ms else 0

    def telemetry(self) -> list[tuple[str, str]]:
        """What the chargers have to say now: (id, payload), by id."""
        return [(self.ids[k], self._state(k, plug)) for k, plug in self.speaking()]

    def speaking(self) -> list[tuple[int, int]]:
        """Who has something to say now: (index, plug state), by index. They have said it then."""
        plant = self.plant
        plug = np.where(plant.full, FINISHED, np.where(plant.current_a > 0.0, CHARGING, WAITING))
        plug = np.where(plant.plugged, plug, UNPLUGGED)
        speak = self._dirty | (plug != self._said_plug) | (plant.second >= self._due_s)
        speak |= np.abs(plant.current_a - self._said_a) >= CHANGE_A
        speaking = np.flatnonzero(speak)
        self._said_a[speaking] = plant.current_a[speaking]
        self._said_plug[speaking] = plug[speaking]
        most_s = np.where(plant.second < self._eager_until_s, EAGER_BEAT_S, np.inf)
        kept_up = self._leased & ((self._allowed_ma != self.fallback_ma) | (self.slots > 1))
        beat_s = np.where(kept_up, self._beat_s, most_s)[speaking]
        self._due_s[speaking] = plant.second + np.minimum(HEARTBEAT_S[plug[speaking]], beat_s)
        self._dirty[:] = False
        return [(int(k), int(plug[k])) for k in speaking]

    def speak_up(self, which: Sequence[int]) -> None:
        """These have a broker, or have it again: each says its state next, and more often for a while."""
        at = list(which)
        self._dirty[at] = True
        self._eager_until_s[at] = self.plant.second + EAGER_S

    def allowed_ma(self) -> tuple[int, ...]:
        """What each charger allows its car now, mA."""
        return tuple(int(ma) for ma in self._allowed_ma)

    def _tick_ms(self, k: int) -> int:
        return self.plant.second * 1000 + self.within_ms + self.offset_ms[k]

    def said(self, k: int, plug: int) -> tuple[int, ...]:
        """One telemetry message: boot, tick_ms, epoch, seq, three currents, w, wh, allowed_ma, lease_ms, max_ma."""
        lease, now_ms = self.leases[k], self._tick_ms(k)
        ma = round(float(self.plant.current_a[k]) * 1000.0)
        lines = int(self.plant.lines[k])
        wh = int(self.plant.delivered_wh[k]) if plug != UNPLUGGED else 0
        return (
            lease.boot, now_ms, lease.epoch, lease.seq, ma, ma if lines == 3 else 0, ma if lines == 3 else 0,
            ma * lines * VOLT // 1000, wh, int(self._allowed_ma[k]), max(lease.ends_ms - now_ms, 0), self.max_ma[k],
        )  # fmt: skip

    def _state(self, k: int, plug: int) -> str:
        boot, tick_ms, epoch, seq, a, b, c, w, wh, allowed_ma, lease_ms, max_ma = self.said(k, plug)
        said = (boot, tick_ms, epoch, seq, plug, (a, b, c), w, wh, allowed_ma, lease_ms, self.fallback_ma, max_ma)
        return state_text(*said, *self.kept(k))


def state_text(
    boot: int, tick_ms: int, epoch: int, seq: int, plug: int, ma: tuple[int, int, int], w: int, wh: int,
    allowed_ma: int, lease_ms: int, fallback_ma: int, max_ma: int, slots: int, late_ma: int,
) -> str:  # fmt: skip
    """One telemetry message on the wire."""
    more = (f',"slots":{slots}' if slots > 1 else "") + (f',"late_ma":{late_ma}' if late_ma else "")
    return (
        f'{{"v":1,"boot":{boot},"tick_ms":{tick_ms},"epoch":{epoch},"seq":{seq},"plug":{plug},'
        f'"ma":[{ma[0]},{ma[1]},{ma[2]}],"w":{w},"wh":{wh},"allowed_ma":{allowed_ma},'
        f'"lease_ms":{lease_ms},"fallback_ma":{fallback_ma},"max_ma":{max_ma}{more}}}'
    )


def read_setpoint(payload: bytes) -> tuple[leases.Setpoint, tuple[int, int, int]] | None:
    """A setpoint and its late fallback off the wire, None when it is none: a charger does not trust its wire."""
    try:
        s = json.loads(payload)
        asked = leases.Setpoint(s["epoch"], s["seq"], s["boot"], s["tick_ms"], s["ma"], s["lease_ms"])
        late = (s.get("late_ma", 0), s.get("late_after_s", 0), s.get("late_until_s", 0))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return (asked, late) if all(type(value) is int for value in (*asked, *late)) else None
