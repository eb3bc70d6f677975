"""Brokers as children: they answer, carry bursts in order, stay on the loopback, and die with their parent."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from drivers import broker as under_test
from drivers.broker import BrokerChild, BrokerError, Kind, find_mosquitto, start_best

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from paho.mqtt.reasoncodes import ReasonCode

DEADLINE_S = 20.0
FILTER = "taiqu/a/+/up/#"
TOPIC = "taiqu/a/c1/up/state"
PAD = "x" * 140

# A parent that holds a broker until it is killed; it prints the broker's pid and port.
PARENT = """
import sys, time
from drivers.broker import BrokerChild
child = BrokerChild.start(sys.argv[1])
print(child.pid, child.port, flush=True)
time.sleep(600)
"""


class Client:
    """An MQTT client without threads: whoever waits for something serves its socket."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.refused: list[ReasonCode] = []
        self.subscribed = False
        self.mqtt = mqtt.Client(CallbackAPIVersion.VERSION2)
        self.mqtt.on_message = lambda _client, _data, message: self.heard.append(
            (message.topic, bytes(message.payload))
        )
        self.mqtt.on_subscribe = self._on_subscribe
        self.mqtt.on_connect = self._on_connect
        self.mqtt.connect("127.0.0.1", port)

    def _on_subscribe(self, *_: object) -> None:
        self.subscribed = True

    def _on_connect(
        self, _client: mqtt.Client, _data: object, _flags: object, code: ReasonCode, _props: object
    ) -> None:
        if code.is_failure:
            self.refused.append(code)

    def subscribe(self, topic_filter: str) -> None:
        """Subscribe, and return once the broker has taken it."""
        self.mqtt.subscribe(topic_filter)
        serve([self], lambda: self.subscribed)

    def close(self) -> None:
        """Let the socket go."""
        self.mqtt.disconnect()


def serve(clients: list[Client], until: Callable[[], bool]) -> None:
    """Serve the clients' sockets until a condition holds; fail at a deadline."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not until():
        assert time.monotonic() < deadline_s, "nothing more came"
        wires = {wire.fileno(): client.mqtt for client in clients if (wire := client.mqtt.socket()) is not None}
        writing = [wire for wire, client in wires.items() if client.want_write()]
        readable, writable, _ = select.select(list(wires), writing, [], 0.2)
        for number in writable:
            wires[number].loop_write()
        for number in readable:
            wires[number].loop_read()


@contextlib.contextmanager
def connected(port: int) -> Iterator[Client]:
    """A client whose connection the broker has accepted."""
    client = Client(port)
    try:
        serve([client], client.mqtt.is_connected)
        yield client
    finally:
        client.close()


@pytest.fixture(params=["mosquitto", "amqtt"])
def kind(request: pytest.FixtureRequest, require: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> Kind:
    """Each kind of broker, whatever the environment forces."""
    monkeypatch.delenv(under_test.BROKER_ENV, raising=False)
    name: Kind = request.param
    if name == "mosquitto":
        require(name)
    return name


@pytest.fixture
def child(kind: Kind) -> Iterator[BrokerChild]:
    """A running broker."""
    with BrokerChild.start(kind) as started:
        yield started


def round_trip(port: int) -> list[tuple[str, bytes]]:
    """What a subscriber hears of one message."""
    with connected(port) as subscriber, connected(port) as publisher:
        subscriber.subscribe(FILTER)
        publisher.mqtt.publish(TOPIC, b"{}")
        serve([publisher, subscriber], lambda: bool(subscriber.heard))
        return subscriber.heard


def is_running(pid: int) -> bool:
    """Does a process run? A dead one that nobody has reaped does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:  # noqa: PTH123 - a line of the kernel's
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll a condition of the operating system; fail at a deadline."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_round_trip(child: BrokerChild) -> None:
    """A message reaches a subscriber through the wildcard filter of the controller."""
    assert round_trip(child.port) == [(TOPIC, b"{}")]


def test_burst_arrives_in_order(child: BrokerChild) -> None:
    """Of 3000 QoS 0 messages on one topic each arrives, once and in order."""
    sent = [f"{n} {PAD}".encode() for n in range(3000)]
    with connected(child.port) as subscriber, connected(child.port) as publisher:
        subscriber.subscribe(FILTER)
        for payload in sent:
            publisher.mqtt.publish(TOPIC, payload)
        serve([publisher, subscriber], lambda: len(subscriber.heard) >= len(sent))
    assert [payload for _, payload in subscriber.heard] == sent


def test_burst_survives_a_slow_reader(child: BrokerChild) -> None:
    """A subscriber that reads nothing during a burst larger than its socket holds still gets all of it, in order."""
    sent = [f"{n} {PAD * 40}".encode() for n in range(3000)]
    with connected(child.port) as subscriber, connected(child.port) as publisher, connected(child.port) as witness:
        subscriber.subscribe(FILTER)
        witness.subscribe(FILTER)
        for payload in sent:
            publisher.mqtt.publish(TOPIC, payload)
        serve([publisher, witness], lambda: len(witness.heard) >= len(sent))
        serve([subscriber], lambda: len(subscriber.heard) >= len(sent))
    assert [payload for _, payload in subscriber.heard] == sent


def test_large_packet_passes(child: BrokerChild) -> None:
    """A bridge's batch of 60 kB passes whole."""
    payload = os.urandom(60_000)
    with connected(child.port) as client:
        client.subscribe(FILTER)
        client.mqtt.publish(TOPIC, payload)
        serve([client], lambda: bool(client.heard))
    assert client.heard == [(TOPIC, payload)]


def test_port_in_use_is_one_line(kind: Kind) -> None:
    """A taken port is refused at once, with one line that names it and says what to do."""
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        with pytest.raises(BrokerError) as caught:
            BrokerChild.start(kind, port)
    assert str(caught.value) == (
        f"{kind} cannot listen on 127.0.0.1:{port}: the port is in use. Stop what listens there or choose another."
    )


def test_port_lost_in_a_race_is_the_same_line(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that is taken after our look is found out from the child's own words, and reads the same."""
    monkeypatch.setattr(under_test, "_check_port", lambda _kind, _port: None)
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen(0)
        port = stranger.getsockname()[1]
        with pytest.raises(BrokerError, match=rf"^{kind} cannot listen on 127\.0\.0\.1:{port}: the port is in use"):
            BrokerChild.start(kind, port)


def test_early_death_tells_why(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that dies at its start leaves its exit code and its last words in one line."""
    dying = [sys.executable, "-c", "import sys; sys.stderr.write('one\\ntwo\\n'); sys.exit(7)"]
    monkeypatch.setattr(BrokerChild, "_command", lambda _self, _private: dying)
    port = under_test._free_port()
    with pytest.raises(BrokerError) as caught:
        BrokerChild.start(kind, port)
    assert str(caught.value) == (
        f"{kind} on 127.0.0.1:{port} ended at its start with exit code 7. Its last words: one | two"
    )


def test_silent_child_is_given_up(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that never answers is ended at the deadline, and no process is left."""
    monkeypatch.setattr(under_test, "_START_MS", 200)
    silent = [sys.executable, "-c", "import time; time.sleep(600)"]
    monkeypatch.setattr(BrokerChild, "_command", lambda _self, _private: silent)
    child = BrokerChild(kind, under_test._free_port())
    with pytest.raises(BrokerError, match=r"gave no answer within 0 s\. It said nothing\.$"):
        child.restart()
    assert not is_running(child.pid)


def test_kill_and_restart_on_the_same_port(child: BrokerChild) -> None:
    """After SIGKILL the broker comes back on its port, and carries messages."""
    port, pid = child.port, child.pid
    with connected(port):
        child.kill()
        assert not is_running(pid)
        child.restart()
    assert (child.port, child.pid != pid) == (port, True)
    assert round_trip(port) == [(TOPIC, b"{}")]


def test_stop_ends_it_and_may_be_repeated(child: BrokerChild) -> None:
    """After stop() no process is left and nobody listens; a second stop() does nothing."""
    child.stop()
    assert not is_running(child.pid)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", child.port), timeout=1)
    child.stop()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_dies_with_its_parent(kind: Kind, number: signal.Signals) -> None:
    """When the parent is killed the broker goes too, although nobody told it to."""
    command = [sys.executable, "-c", PARENT, kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=under_test._child_env()) as parent:
        assert parent.stdout is not None
        pid, port = (int(word) for word in parent.stdout.readline().split())
        assert is_running(pid)
        assert round_trip(port) == [(TOPIC, b"{}")]
        parent.send_signal(number)
    wait_until(lambda: not is_running(pid))


def test_listens_on_one_address_only(child: BrokerChild) -> None:
    """Another loopback address is refused: the broker is not bound to all interfaces."""
    with socket.create_connection(("127.0.0.1", child.port), timeout=1):
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", child.port), timeout=1)


def test_amqtt_refuses_one_client_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded broker carries its stated number of clients, tells the next so, and gives a free place again."""
    command = BrokerChild._command
    monkeypatch.setattr(BrokerChild, "_command", lambda *given: [*command(*given), "--max-connections", "2"])
    with BrokerChild.start("amqtt") as child, connected(child.port), contextlib.ExitStack() as second:
        second.enter_context(connected(child.port))
        third = Client(child.port)
        serve([third], lambda: bool(third.refused))
        assert str(third.refused[0]) == "Server unavailable"
        second.close()
        wait_until(lambda: _admits(child.port))


def _admits(port: int) -> bool:
    client = Client(port)
    serve([client], lambda: client.mqtt.is_connected() or bool(client.refused))
    client.close()
    return not client.refused


def test_mosquitto_is_not_started_in_a_side_thread(require: Callable[[str], None]) -> None:
    """A side thread would take the broker with it when it ends, so it is refused with the reason."""
    require("mosquitto")
    errors: list[BrokerError] = []

    def start() -> None:
        try:
            BrokerChild.start("mosquitto").stop()
        except BrokerError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert [str(error) for error in errors] == [
        "mosquitto would end with the side thread that was to start it. Start it in the main thread."
    ]


def fake_mosquitto(folder: Path) -> Path:
    """An executable of that name in a folder of its own."""
    binary = folder / "mosquitto"
    binary.write_text("#!/bin/sh\n", encoding="ascii")
    binary.chmod(0o755)
    return binary


def hide_mosquitto(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every search for a program come back empty, in /usr/sbin too."""
    monkeypatch.setattr(shutil, "which", lambda _name, **_given: None)


@pytest.mark.parametrize("forced", ["", "mosquitto"])
def test_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forced: str) -> None:
    """A mosquitto on PATH is the one that is used."""
    binary = fake_mosquitto(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(under_test.BROKER_ENV, forced)
    assert find_mosquitto() == binary


def test_amqtt_can_be_forced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TAIQU_BROKER=amqtt hides an installed mosquitto, also from start_best()."""
    fake_mosquitto(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(under_test.BROKER_ENV, "amqtt")
    assert find_mosquitto() is None
    with start_best() as child:
        assert child.kind == "amqtt"


def test_best_is_mosquitto(require: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """With mosquitto installed and nothing forced, mosquitto it is."""
    require("mosquitto")
    monkeypatch.delenv(under_test.BROKER_ENV, raising=False)
    with start_best() as child:
        assert child.kind == "mosquitto"


def test_forced_but_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """TAIQU_BROKER=mosquitto without a mosquitto is an error that says how to get one."""
    hide_mosquitto(monkeypatch)
    monkeypatch.setenv(under_test.BROKER_ENV, "mosquitto")
    with pytest.raises(BrokerError, match=r"none is on PATH or in /usr/sbin\. Run: apt install mosquitto$"):
        find_mosquitto()


def test_unknown_force(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt TAIQU_BROKER is an error, not a default."""
    monkeypatch.setenv(under_test.BROKER_ENV, "mosquito")
    with pytest.raises(BrokerError, match=r"^TAIQU_BROKER=mosquito is not a broker\. Set it to mosquitto or amqtt"):
        find_mosquitto()


def test_no_broker_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where neither is installed, the error names both ways out."""
    hide_mosquitto(monkeypatch)
    monkeypatch.delenv(under_test.BROKER_ENV, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(BrokerError, match=r"apt install mosquitto.*pip install 'taiqu\[demo\]'$"):
        start_best()
