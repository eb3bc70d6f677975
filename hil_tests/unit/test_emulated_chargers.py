"""Emulated chargers on a bad wire: what cannot be read is refused, and who comes back speaks for itself alone."""

from __future__ import annotations

import json

import pytest

from hil_tests.rig.chargers import EAGER_BEAT_S, Chargers
from hil_tests.rig.live import SMALL, flat_base_kw, waiting_cars
from hil_tests.rig.plant import Plant


@pytest.fixture
def chargers() -> Chargers:
    """Sixteen chargers, each with a car, after a first heartbeat of everybody."""
    plant = Plant(SMALL, waiting_cars(SMALL.piles, 1, SMALL.piles), flat_base_kw(SMALL, 1), 0)
    emulated = Chargers(plant, 1)
    for _ in range(25):
        emulated.before_second()
        plant.step()
        emulated.telemetry()
    return emulated


def setpoint(chargers: Chargers, k: int, **more: object) -> bytes:
    """What allows charger ``k`` 10 A now, as it stands on the wire."""
    said = chargers.said(k, 1)
    fields = {"v": 1, "epoch": 1, "seq": 1, "boot": said[0], "tick_ms": said[1], "ma": 10_000, "lease_ms": 60_000}
    return json.dumps(fields | more).encode()


def test_a_setpoint_is_obeyed(chargers: Chargers) -> None:
    """The one that the others below are spoilt versions of."""
    chargers.obey("p003", setpoint(chargers, 2))
    assert chargers.allowed_ma()[2] == 10_000
    assert (chargers.accepted, chargers.refused) == (1, 0)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"}", b""), (b"{", b""), (b'"v"', b"\xff"), (b'"ma"', b'"mb"'), (b"10000", b"1e4"), (b"10000", b"true")],
)
def test_what_cannot_be_read_is_refused(chargers: Chargers, old: bytes, new: bytes) -> None:
    """Cut off, no object, no text, a name or a number spoilt: nothing is allowed and nothing breaks."""
    chargers.obey("p003", setpoint(chargers, 2).replace(old, new))
    assert not any(chargers.allowed_ma())
    assert (chargers.accepted, chargers.refused) == (0, 1)


@pytest.mark.parametrize("payload", [b"", b"[]", b"7", b"null"])
def test_what_is_no_object_is_refused(chargers: Chargers, payload: bytes) -> None:
    """JSON of another kind, or none."""
    chargers.obey("p003", payload)
    assert (chargers.accepted, chargers.refused) == (0, 1)


def test_a_setpoint_for_nobody_is_refused(chargers: Chargers) -> None:
    """The topic names a charger that is not here."""
    chargers.obey("q003", setpoint(chargers, 2))
    assert (chargers.accepted, chargers.refused) == (0, 1)


def test_who_comes_back_speaks_and_nobody_else(chargers: Chargers) -> None:
    """Two have a connection again: these two speak at once and again after 20 s, the others at their heartbeat."""
    chargers.telemetry()
    chargers.speak_up([2, 5])
    assert [name for name, _ in chargers.telemetry()] == ["p003", "p006"]
    spoke = []
    for _ in range(int(EAGER_BEAT_S)):
        chargers.before_second()
        chargers.plant.step()
        spoke += [name for name, _ in chargers.telemetry()]
    assert spoke == ["p003", "p006"]
