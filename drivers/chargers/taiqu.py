"""The native dialect, version 1 (DESIGN §7): JSON objects of integers, closed schema, at most 512 bytes.

``taiqu/<area>/<charger>/up/state|wish|event`` come up, ``taiqu/<area>/<charger>/dn/set`` goes down.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from edge.ports import EPOCH_END, ChargerState, Setpoint, Wish

VERSION = 1
BYTES_MAX = 512
ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")

_INT_MAX = 1 << 53
_STATE = ("boot", "tick_ms", "epoch", "seq", "plug", "w", "wh", "allowed_ma", "lease_ms", "fallback_ma", "max_ma")
_STATE_KEYS = frozenset((*_STATE, "v", "ma"))
_STATE_MORE = ("slots", "late_ma")
"""A charger without turns, or that keeps no late fallback, leaves these out."""
_DEPART_S_MAX = 1 << 34
_SIGNED = frozenset(("w",))
_WISH_KEYS = frozenset(("v", "want_wh", "depart_s", "mode", "now", "prio"))


class DialectError(ValueError):
    """A message that is none: the reason in one line. It is counted and dropped, never acted upon."""


def subscriptions(area: str) -> tuple[str, ...]:
    """The topic filters a controller of ``area`` listens to."""
    return (f"taiqu/{area}/+/up/#",)


def topic_of(area: str, setpoint: Setpoint) -> str:
    """Where a setpoint goes."""
    return f"taiqu/{area}/{setpoint.charger}/dn/set"


def encode(setpoint: Setpoint) -> str:
    """A setpoint on the wire."""
    s = setpoint
    late = ""
    if s.late_until_s:
        late = f',"late_ma":{s.late_ma},"late_after_s":{s.late_after_s},"late_until_s":{s.late_until_s}'
    return (
        f'{{"v":1,"epoch":{s.epoch},"seq":{s.seq},"boot":{s.boot},"tick_ms":{s.tick_ms},'
        f'"ma":{s.ma},"lease_ms":{s.lease_ms}{late}}}'
    )


def decode(area: str, topic: str, payload: bytes) -> ChargerState | Wish | None:
    """Read one message from below. None: well-formed but not ours to read (an event). Raises DialectError."""
    parts = topic.split("/")
    if len(parts) != 5 or parts[0] != "taiqu" or parts[1] != area or parts[3] != "up":
        raise DialectError(f"topic {topic[:80]!r} is not taiqu/{area}/<charger>/up/<kind>")
    charger, kind = parts[2], parts[4]
    if not ID.fullmatch(charger) or charger == "all":
        raise DialectError(f"{charger[:40]!r} is no charger id (a-z, 0-9, _ and -, at most 32)")
    if kind == "state":
        return _state(charger, _object(payload))
    if kind == "wish":
        return _wish(charger, _object(payload))
    return None


def _object(payload: bytes) -> dict[str, Any]:
    if len(payload) > BYTES_MAX:
        raise DialectError(f"{len(payload)} bytes, more than {BYTES_MAX}")
    try:
        value = json.loads(payload, parse_constant=_no_constant)
    except (ValueError, RecursionError) as err:
        raise DialectError(f"not JSON: {err}") from None
    if not isinstance(value, dict) or type(value.get("v")) is not int or value["v"] != VERSION:
        raise DialectError("not a version 1 object")
    return value


def _no_constant(name: str) -> NoReturn:
    raise DialectError(f"{name} is no number")


def _state(charger: str, fields: dict[str, Any]) -> ChargerState:
    if fields.keys() - set(_STATE_MORE) != _STATE_KEYS:
        raise DialectError(f"state: fields differ at {sorted(fields.keys() - set(_STATE_MORE) ^ _STATE_KEYS)[:4]}")
    ma = fields["ma"]
    if type(ma) is not list or len(ma) != 3:
        raise DialectError("state: ma is not a list of three")
    for name in (*_STATE, *(more for more in _STATE_MORE if more in fields)):
        _integer(name, fields[name])
    if fields["epoch"] >= EPOCH_END:
        raise DialectError(f"state: epoch = {fields['epoch']} is above any that is ever told")
    if fields.get("slots", 1) < 1:
        raise DialectError("state: slots = 0, but every charger has a turn")
    a, b, c = ma
    for value in ma:
        _integer("ma", value)
    return ChargerState(
        charger,
        fields["boot"],
        fields["tick_ms"],
        fields["epoch"],
        fields["seq"],
        fields["plug"],
        (a, b, c),
        fields["w"],
        fields["wh"],
        fields["allowed_ma"],
        fields["lease_ms"],
        fields["fallback_ma"],
        fields["max_ma"],
        fields.get("slots", 1),
        fields.get("late_ma", 0),
    )


def _wish(charger: str, fields: dict[str, Any]) -> Wish:
    if not fields.keys() <= _WISH_KEYS:
        raise DialectError(f"wish: unknown fields {sorted(fields.keys() - _WISH_KEYS)[:4]}")
    if len(fields) < 2:
        raise DialectError("wish: asks for nothing")
    want_wh, depart_s = fields.get("want_wh"), fields.get("depart_s")
    for name in ("want_wh", "depart_s"):
        if name in fields:
            _integer(name, fields[name])
    if want_wh is not None and want_wh > 1_000_000:
        raise DialectError("wish: want_wh is above 1 MWh")
    if depart_s is not None and depart_s > _DEPART_S_MAX:
        raise DialectError(f"wish: depart_s = {depart_s} is no Unix time in seconds")
    for name, allowed in (("mode", (0, 1)), ("now", (0, 1)), ("prio", range(-9, 10))):
        kinds = (int, bool) if name == "now" else (int,)
        if name in fields and (type(fields[name]) not in kinds or fields[name] not in allowed):
            raise DialectError(f"wish: {name} = {fields[name]!r:.20} is not in range")
    mode, prio = fields.get("mode", 1), fields.get("prio", 0)
    return Wish(charger, want_wh, depart_s, mode == 1, bool(fields.get("now", 0)), int(prio))


def _integer(name: str, value: object) -> None:
    """Booleans are no integers; nothing but power may be negative."""
    if type(value) is not int or value >= _INT_MAX or (value < 0 and (name not in _SIGNED or value <= -_INT_MAX)):
        raise DialectError(f"{name} = {value!r:.20} is not an integer in range")
