"""A crowd of chargers with a connection each: everybody is served alone, and comes back alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drivers.broker import BrokerChild
from drivers.link import Link
from edge.clock import monotonic_ms
from hil_tests.rig import crowd as under_test
from hil_tests.rig.crowd import Crowd, cut, packet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IDS = [f"p{k:03d}" for k in range(20)]
WITHIN_MS = 10_000


@pytest.fixture
def broker(require: Callable[[str], None]) -> Iterator[BrokerChild]:
    """A real broker."""
    require("mosquitto")
    with BrokerChild.start("mosquitto") as child:
        yield child


@pytest.fixture
def crowd(broker: BrokerChild, monkeypatch: pytest.MonkeyPatch) -> Iterator[Crowd]:
    """A crowd that is connected and does not wait long before it comes back."""
    monkeypatch.setattr(under_test, "FIRST_MS", 200)
    monkeypatch.setattr(under_test, "COME_BACK_MS", 500)
    monkeypatch.setattr(under_test, "AGAIN_MS", (50, 200))
    many = Crowd(broker.host, broker.port, "a", IDS, 1)
    until(lambda: many.online == len(IDS), many)
    yield many
    many.close()


def until(holds: Callable[[], bool], *links: Crowd | Link) -> None:
    """Serve these until something holds."""
    end_ms = monotonic_ms() + WITHIN_MS
    while not holds():
        assert monotonic_ms() < end_ms
        for link in links:
            link.pump(monotonic_ms() + 5)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 300, 16_383, 16_384])
def test_packets_of_every_length_are_cut_where_they_end(size: int) -> None:
    """The length is one to three bytes long; a packet that is not complete is left alone, what follows is kept."""
    whole = packet(0x30, b"x" * size)
    assert cut(whole + b"next") == (0x30, b"x" * size, b"next")
    assert cut(whole[:-1]) is None
    assert cut(whole[:1]) is None


def test_each_charger_hears_what_is_for_it_and_speaks_for_itself(crowd: Crowd, broker: BrokerChild) -> None:
    """A setpoint reaches one charger once; telemetry of each arrives under its own name."""
    controller = Link(broker.host, broker.port, "controller", ("taiqu/a/+/up/#",))
    until(lambda: controller.connected, controller, crowd)
    assert sorted(crowd.back()) == IDS
    controller.publish("taiqu/a/p007/dn/set", "{}")
    assert all(crowd.publish(f"taiqu/a/{name}/up/state", name) for name in IDS)
    heard: list[tuple[str, bytes]] = []
    until(lambda: len(controller.inbox) == len(IDS) and bool(heard or heard.extend(crowd.take())), controller, crowd)
    assert heard == [("taiqu/a/p007/dn/set", b"{}")]
    assert controller.take() == [(f"taiqu/a/{name}/up/state", name.encode()) for name in IDS]
    controller.close()


def test_broker_restart_brings_everybody_back(crowd: Crowd, broker: BrokerChild) -> None:
    """Broker dead: nobody is connected and nothing can be said; broker back: all of them are, each told once."""
    crowd.back()
    broker.kill()
    until(lambda: crowd.online == 0, crowd)
    assert not crowd.connected
    assert not crowd.publish("taiqu/a/p001/up/state", "{}")
    broker.restart()
    until(lambda: crowd.online == len(IDS), crowd)
    assert sorted(crowd.back()) == IDS
