"""The native dialect at its door: what is no message is dropped with a reason, what is one is read exactly."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.chargers import taiqu
from drivers.chargers.taiqu import DialectError, decode, encode
from drivers.native import NativeChargers
from edge.ports import ChargerState, Setpoint, Wish
from hil_tests.rig.chargers import Chargers
from hil_tests.rig.community import Community, sample_cars
from hil_tests.rig.plant import Plant

STATE: dict[str, Any] = {
    "v": 1, "boot": 305419896, "tick_ms": 123456, "epoch": 3, "seq": 17, "plug": 2, "ma": [15200, 0, 0], "w": 3344,
    "wh": 4210, "allowed_ma": 16000, "lease_ms": 41000, "fallback_ma": 6000, "max_ma": 32000,
}  # fmt: skip
WISH: dict[str, Any] = {"v": 1, "want_wh": 9000, "depart_s": 1768518000}


def read(kind: str, fields: object, charger: str = "p001") -> ChargerState | Wish | None:
    """One message through the door."""
    payload = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return decode("demo", f"taiqu/demo/{charger}/up/{kind}", payload)


def test_state_is_read_field_by_field() -> None:
    """A state as DESIGN §7 writes it."""
    assert read("state", STATE) == ChargerState(
        "p001", 305419896, 123456, 3, 17, 2, (15200, 0, 0), 3344, 4210, 16000, 41000, 6000, 32000
    )


def test_state_may_tell_of_turns_and_of_a_late_fallback() -> None:
    """Two more fields may be there or not: without them every moment is its turn, and it keeps no late fallback."""
    plain, more = read("state", STATE), read("state", {**STATE, "slots": 4, "late_ma": 6000})
    assert isinstance(plain, ChargerState)
    assert isinstance(more, ChargerState)
    assert ((plain.slots, plain.late_ma), (more.slots, more.late_ma)) == ((1, 0), (4, 6000))
    assert read("state", {**STATE, "slots": 1, "late_ma": 0}) == plain


@pytest.mark.parametrize(
    ("name", "value"),
    [*(("slots", v) for v in (0, -1, True, 1.0, "2", None)), *(("late_ma", v) for v in (-1, False, 6.0, "6000", None))],
)
def test_turns_and_late_fallback_out_of_range_are_refused(name: str, value: object) -> None:
    """What is no number of turns, or no current, makes the whole state none."""
    with pytest.raises(DialectError, match=name):
        read("state", {**STATE, name: value})


def test_epoch_that_is_never_told_is_refused() -> None:
    """A charger keeps what it was told: an epoch that no fence could outdo must not come in, nor go out."""
    assert read("state", {**STATE, "epoch": (1 << 48) - 1})
    with pytest.raises(DialectError, match="epoch"):
        read("state", {**STATE, "epoch": 1 << 48})


def test_wish_is_read_with_and_without_its_options() -> None:
    """The options of a wish may be there or not; without them it is orderly, patient and of no priority."""
    assert read("wish", WISH) == Wish("p001", 9000, 1768518000, orderly=True, now=False, prio=0)
    assert read("wish", {**WISH, "mode": 0, "now": True, "prio": 2}) == Wish(
        "p001", 9000, 1768518000, orderly=False, now=True, prio=2
    )


@pytest.mark.parametrize(
    ("name", "value", "field", "means"),
    [
        ("mode", 0, "orderly", False), ("mode", 1, "orderly", True),
        ("now", 0, "now", False), ("now", 1, "now", True), ("now", False, "now", False), ("now", True, "now", True),
        ("prio", -9, "prio", -9), ("prio", 0, "prio", 0), ("prio", 9, "prio", 9),
    ],
)  # fmt: skip
def test_options_of_a_wish(name: str, value: object, field: str, means: object) -> None:
    """Each option is read as what it means, up to its bounds, and leaves the others at their defaults."""
    wish = read("wish", {**WISH, name: value})
    assert isinstance(wish, Wish)
    assert asdict(wish) == {**asdict(Wish("p001", 9000, 1768518000)), field: means}
    assert type(getattr(wish, field)) is type(means)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("mode", value) for value in (-1, 2, "0", "fast", None, 1.0, 0.5, [], {})),
        *(("now", value) for value in (-1, 2, "true", "1", None, 1.0, [], {})),
        *(("prio", value) for value in (-10, 10, 1 << 53, "0", None, 2.0, 1.5, [], {})),
    ],
)
def test_options_out_of_range_are_refused(name: str, value: object) -> None:
    """An option that is none of the values it may have makes the whole wish none, and the line names the option."""
    with pytest.raises(DialectError, match=f"wish: {name} = .* is not in range"):
        read("wish", {**WISH, name: value})


def test_setpoint_is_written_as_the_charger_expects() -> None:
    """A setpoint carries the echo, and nothing that is not in the schema."""
    setpoint = Setpoint("p001", 3, 18, 305419896, 123456, 9000, 60000)
    assert json.loads(encode(setpoint)) == {
        "v": 1, "epoch": 3, "seq": 18, "boot": 305419896, "tick_ms": 123456, "ma": 9000, "lease_ms": 60000,
    }  # fmt: skip
    assert taiqu.topic_of("demo", setpoint) == "taiqu/demo/p001/dn/set"


def test_setpoint_carries_a_late_fallback_only_where_there_is_one() -> None:
    """Three fields more with a late fallback; without one they are not there, and a charger keeps none."""
    setpoint = Setpoint("p001", 3, 18, 305419896, 123456, 0, 60000, 6000, 3600, 36_000)
    late = {"late_ma": 6000, "late_after_s": 3600, "late_until_s": 36_000}
    assert json.loads(encode(setpoint)) == {
        "v": 1, "epoch": 3, "seq": 18, "boot": 305419896, "tick_ms": 123456, "ma": 0, "lease_ms": 60000, **late,
    }  # fmt: skip
    assert len(encode(Setpoint("a" * 32, *[(1 << 53) - 1] * 9))) <= 512


def heard(chargers: Chargers) -> dict[str, ChargerState | Wish | None]:
    """What emulated chargers have to say, as the driver reads it."""
    return {name: read("state", text.encode(), name) for name, text in chargers.telemetry()}


def test_emulated_charger_keeps_what_it_is_told_and_says_so() -> None:
    """Driver and emulator are written apart: what one writes the other reads, turns and late fallback included."""
    community = Community("two", 250, 10.0, 10.0, 2)
    plant = Plant.of_night(community, sample_cars(2, np.random.default_rng(1)), 1, 16 * 3600, 16 * 3600 + 60)
    for slots in (1, 3):
        chargers = Chargers(plant, 1, slots=slots)
        chargers.before_second()
        said = heard(chargers)
        state = said["p001"]
        assert isinstance(state, ChargerState)
        assert (state.slots, state.late_ma) == (slots, 0)
        setpoint = Setpoint("p001", 1, 1, state.boot, state.tick_ms, 0, 60_000, 6000, 3600, 36_000)
        chargers.obey("p001", encode(setpoint).encode())
        chargers.speak_up([0, 1])
        said = heard(chargers)
        states = [said["p001"], said["p002"]]
        assert [(one.seq, one.slots, one.late_ma) for one in states if isinstance(one, ChargerState)] == [
            (1, slots, 6000), (0, slots, 0),
        ]  # fmt: skip


def test_setpoint_fits_however_large_its_numbers() -> None:
    """The largest setpoint stays below 512 bytes."""
    big = (1 << 53) - 1
    assert len(encode(Setpoint("a" * 32, big, big, big, big, 63_000, 60_000))) <= 512


def test_event_is_not_ours_to_read() -> None:
    """An event is let pass unread."""
    assert read("event", b"anything") is None


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"\xff\xfe", b"{", b"[]", b"null", b"1", b'"state"', b"[" * 400, b"{}", b'{"v":2}', b'{"v":1}',
        b'{"v":true}', b'{"v":1.0}', b'{"v":"1"}',
        b'{"v":1,"ma":NaN}', b'{"v":1,"ma":Infinity}', b'{"v":1,"ma":-Infinity}', b" " * 513,
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["state", "wish"])
def test_q9_malformed_payload_is_dropped(kind: str, payload: bytes) -> None:
    """What is no version 1 object is refused with one line, and with nothing but DialectError."""
    with pytest.raises(DialectError) as caught:
        read(kind, payload)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a\nb", "\ud800", "\x1b[2J", "x" * 300])
def test_s8_refusal_is_one_line_that_can_be_logged(text: str) -> None:
    """Line ends, half characters and escapes in a value are shown, not obeyed; the line stays short."""
    for kind, fields in (("state", {**STATE, "seq": text}), ("wish", {**WISH, "prio": text})):
        with pytest.raises(DialectError) as caught:
            read(kind, fields)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 80


def test_s8_topic_is_logged_as_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """A stranger's name with a line end in it does not write a line of its own into the log."""
    wire = NativeChargers("demo", "broker.invalid", 1883, client="unit", ids=("p001",), bench=False)
    wire.link.take = lambda: [("taiqu/demo/p\nERROR all is lost/up/state", b"{}")]  # type: ignore[method-assign]
    assert wire.take() == []
    assert wire.dropped == 1
    assert ["\n" in record.getMessage() for record in caplog.records] == [False]
    assert "ERROR all is lost" in wire.last_unreadable


@pytest.mark.parametrize("pad", [-1, 0, 1])
def test_q9_512_bytes_and_no_more(pad: int) -> None:
    """The 513th byte is one too many."""
    text = json.dumps(STATE).encode()
    payload = text + b" " * (512 - len(text) + pad)
    if pad > 0:
        with pytest.raises(DialectError, match="513 bytes"):
            read("state", payload)
    else:
        assert read("state", payload)


@pytest.mark.parametrize("name", [key for key in STATE if key != "v"])
@pytest.mark.parametrize("value", [None, "1", 1.5, 16000.0, True, [], {}, 1 << 53, -(1 << 53)])
def test_state_fields_are_integers(name: str, value: object) -> None:
    """Each field takes an integer in range and nothing else: no float, no boolean, no text."""
    with pytest.raises(DialectError):
        read("state", {**STATE, name: value})
    with pytest.raises(DialectError):
        read("state", {**STATE, "ma": [0, value, 0]})


@pytest.mark.parametrize("name", [key for key in STATE if key not in {"v", "ma"}])
def test_only_power_may_be_negative(name: str) -> None:
    """Import is positive; a car that feeds back shows a negative power, nothing else is below zero."""
    if name == "w":
        state = read("state", {**STATE, "w": -1})
        assert isinstance(state, ChargerState)
        assert state.w == -1
    else:
        with pytest.raises(DialectError, match=name):
            read("state", {**STATE, name: -1})


@pytest.mark.parametrize("name", list(STATE))
def test_closed_schema(name: str) -> None:
    """A field too few or too many is no state."""
    with pytest.raises(DialectError):
        read("state", {key: value for key, value in STATE.items() if key != name})
    with pytest.raises(DialectError, match="differ at"):
        read("state", {**STATE, f"{name}_x": 1})


@pytest.mark.parametrize("ma", [[], [1, 2], [1, 2, 3, 4], 5, "abc", [-1, 0, 0]])
def test_three_currents_or_none(ma: object) -> None:
    """A charger names the current of three conductors, none negative."""
    with pytest.raises(DialectError):
        read("state", {**STATE, "ma": ma})


@pytest.mark.parametrize(
    "changes",
    [{"want_wh": -1}, {"want_wh": 1_000_001}, {"want_wh": 1.5}, {"want_wh": None}, {"depart_s": "08:00"}, {"force": 1}],
)
def test_s4_wish_is_bounded(changes: dict[str, object]) -> None:
    """A wish beyond 1 MWh, of the wrong type or with an unknown field is none."""
    with pytest.raises(DialectError):
        read("wish", {**WISH, **changes})


@pytest.mark.parametrize(("want_wh", "read_wh"), [(999_999, 999_999), (1_000_000, 1_000_000)])
def test_wish_up_to_a_megawatt_hour(want_wh: int, read_wh: int) -> None:
    """The bound itself is allowed."""
    wish = read("wish", {**WISH, "want_wh": want_wh})
    assert isinstance(wish, Wish)
    assert wish.want_wh == read_wh


@pytest.mark.parametrize(
    ("charger", "ok"),
    [
        ("p001", True), ("0", True), ("a" * 32, True), ("a_b-c", True),
        ("", False), ("a" * 33, False), ("all", False), ("A1", False), ("-a", False), ("_a", False),
        ("a b", False), ("a+", False), ("#", False), ("$sys", False), ("a\x00", False), ("a\n", False), ("桩1", False),
    ],
)  # fmt: skip
def test_s7_ids_at_the_door(charger: str, ok: bool) -> None:
    """An id is a-z, 0-9, _ and -, at most 32, and not ``all``."""
    if ok:
        assert read("state", STATE, charger)
    else:
        with pytest.raises(DialectError):
            read("state", STATE, charger)


@pytest.mark.parametrize(
    "topic",
    [
        "", "taiqu", "taiqu/demo/p001/up", "taiqu/demo/p001/up/state/x", "taiqu/other/p001/up/state",
        "other/demo/p001/up/state", "taiqu/demo/p001/dn/state", "taiqu/demo/a/b/up/state",
    ],
)  # fmt: skip
def test_other_topics_are_refused(topic: str) -> None:
    """Only our own tree, our own area, and upwards."""
    with pytest.raises(DialectError):
        decode("demo", topic, json.dumps(STATE).encode())


@given(
    st.binary(max_size=600) | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list(STATE)), inner, max_size=14),
        max_leaves=20,
    ).map(lambda value: json.dumps(value).encode()),
    st.sampled_from(["state", "wish", "event", "set"]),
)  # fmt: skip
def test_q9_any_bytes_are_read_or_refused(payload: bytes, kind: str) -> None:
    """Whatever comes: a message, none, or DialectError; no other exception reaches the callback."""
    try:
        message = read(kind, payload)
    except DialectError:
        return
    assert message is None or isinstance(message, ChargerState | Wish)


@pytest.mark.parametrize(
    ("payload", "wish"),
    [
        (b'{"v":1,"now":1}', Wish("p1", now=True)),
        (b'{"v":1,"want_wh":5000}', Wish("p1", 5000)),
        (b'{"v":1,"depart_s":1768430000}', Wish("p1", None, 1768430000)),
    ],
)
def test_a_wish_may_leave_out_what_it_does_not_care_for(payload: bytes, wish: Wish) -> None:
    """What is not said is the area's default."""
    assert decode("a", "taiqu/a/p1/up/wish", payload) == wish


def test_a_departure_in_milliseconds_is_refused() -> None:
    """A thousand times too far in the future would read as "no hurry"."""
    with pytest.raises(DialectError, match="no Unix time in seconds"):
        decode("a", "taiqu/a/p1/up/wish", b'{"v":1,"depart_s":1768430000000}')
