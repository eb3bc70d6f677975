"""Spoilt wires, real mosquitto, a real Modbus server: nothing goes above the limit, nothing breaks, all comes back.

Five areas play at the same time and mostly wait. Residents alone load four of them to 74.5 %, so that cars fill them
to the line while the wires are spoilt.
"""

from __future__ import annotations

import pytest

from hil_tests.conftest import require_part
from hil_tests.rig import promises, wires
from hil_tests.rig.stopwatch import Place, Played, Script, play_all

pytestmark = pytest.mark.realtime

LEASE_S = 15
NAMES = [spoil.name for spoil in wires.METER_SPOILS]
AREAS = [script.name for script in wires.scripts()]


def play_cut(place: Place) -> None:
    """Cut the network as soon as cars charge."""
    place.await_cars(1.0)
    promises.play_network_cut(place, LEASE_S + 10)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Played]:
    """What all areas have shown."""
    require_part("mosquitto")
    cut = Script("network-cut", play_cut, {"spoilt": True, "lease_s": LEASE_S})
    return play_all([*wires.scripts(), cut], tmp_path_factory.mktemp("wires"), lambda _: None)


def seconds(played: dict[str, Played], what: str) -> float:
    """A reaction time, whichever area has shown it."""
    found = [one.seconds[what] for one in played.values() if what in one.seconds]
    assert found, [one.trouble for one in played.values() if one.trouble]
    print(f"{what}: {found[0]:.1f} s")
    return found[0]


@pytest.mark.parametrize("name", NAMES)
def test_meter_wire_spoilt_is_read_again(played: dict[str, Played], name: str) -> None:
    """Whatever happened to the meter's wire, it is read each second again 10 s after the wire is sound."""
    assert seconds(played, f"meter wire: {name}") <= 10


@pytest.mark.parametrize("name", NAMES)
def test_broker_wire_spoilt_is_used_again(played: dict[str, Played], name: str) -> None:
    """Chargers take setpoints again 35 s after the wire is sound; a half-open one is found out by its keep-alive."""
    assert seconds(played, f"broker wire: {name}") <= 35


@pytest.mark.parametrize("area", AREAS)
def test_wire_spoilt_nothing_above_the_limit(played: dict[str, Played], area: str) -> None:
    """The cars fill the transformer to its line, and no minute is above the limit, in total or on a phase.

    Seconds may be: who is not heard cannot lower what was given before, and the residents' noise comes on top.
    """
    one = played[area]
    print(f"{area}: {one.loading_pct:.1f} % of rating, {one.phase_pct:.1f} % on a phase, a second {one.peak_pct:.1f} %")
    assert one.below_limit
    assert one.peak_pct > 77


@pytest.mark.parametrize("area", AREAS)
def test_wire_spoilt_control_comes_back(played: dict[str, Played], area: str) -> None:
    """After all faults, residents take less and cars take more: control is normal again."""
    assert played[area].trouble == ""
    assert played[area].seconds["room is used"] <= wires.BACK_S


def test_wire_spoilt_the_daemon_lives(played: dict[str, Played]) -> None:
    """No daemon has ended or shown a traceback."""
    assert {name: one.sound for name, one in played.items()} == dict.fromkeys([*AREAS, "network-cut"], True)


def test_network_cut_leaves_the_chargers_to_their_leases(played: dict[str, Played]) -> None:
    """Network cut: all at fallback when their leases end; network back: cars are charged again."""
    assert seconds(played, "network cut") <= LEASE_S + 2
    assert seconds(played, "network back") <= 60
    assert played["network-cut"].below_limit
