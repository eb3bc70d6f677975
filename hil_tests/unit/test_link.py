"""The MQTT link against brokers that refuse, stall or talk nonsense: it never blocks, queues or gives up."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

import paho.mqtt.client as mqtt
import pytest

from drivers import link as under_test
from drivers.link import Link
from edge.clock import RealClock, monotonic_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILTER = "taiqu/a/+/up/#"
DEADLINE_MS = 8000
CONNECT, SUBSCRIBE, PUBLISH, PINGREQ = 1, 8, 3, 12


class FakeBroker:
    """A listener that answers MQTT 3.1.1 as it is told, on one connection after the other."""

    def __init__(self) -> None:
        self.connack = self.suback = 0
        self.answers_connect = self.answers_ping = self.reads = True
        self.greeting = b""
        """Sent right after the subscription is acknowledged."""
        self.connections = 0
        self.published: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._over, self._dropped = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def drop(self) -> None:
        """End the present connection, as a broker does when another client comes with the same name."""
        self._dropped.set()

    def end(self) -> None:
        """Close everything."""
        self._over.set()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            if select.select([self._listener], [], [], 0.05)[0]:
                wire, _ = self._listener.accept()
                self.connections += 1
                with wire, contextlib.suppress(OSError):
                    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                    self._talk(wire)

    def _talk(self, wire: socket.socket) -> None:
        have = b""
        self._dropped.clear()
        while not self._over.is_set() and not self._dropped.is_set():
            if not self.reads or not select.select([wire], [], [], 0.05)[0]:
                if not self.reads and self._is_closed(wire):
                    return
                continue
            more = wire.recv(65536)
            if not more:
                return
            have += more
            while (packet := _cut(have)) is not None:
                have = have[len(packet) :]
                if not self._answer(wire, packet):
                    return

    def _is_closed(self, wire: socket.socket) -> bool:
        """Whether the client has gone, without reading what it sent."""
        time.sleep(0.02)
        state = wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        return state != 1  # TCP_ESTABLISHED

    def _answer(self, wire: socket.socket, packet: bytes) -> bool:
        what = packet[0] >> 4
        if what == CONNECT and self.answers_connect:
            wire.sendall(bytes((0x20, 2, 0, self.connack)))
            return self.connack == 0
        if what == SUBSCRIBE:
            wire.sendall(bytes((0x90, 3)) + packet[2:4] + bytes((self.suback,)) + self.greeting)
        if what == PUBLISH:
            self.published.append(packet)
        if what == PINGREQ and self.answers_ping:
            wire.sendall(b"\xd0\x00")
        return True


def _cut(have: bytes) -> bytes | None:
    """The first whole packet, or None."""
    length = shift = 0
    for at in range(1, min(len(have), 5)):
        length |= (have[at] & 127) << shift
        shift += 7
        if not have[at] & 128:
            whole = at + 1 + length
            return have[:whole] if len(have) >= whole else None
    return None


def packet(topic: bytes, payload: bytes, *, retain: bool = False) -> bytes:
    """A PUBLISH packet of QoS 0."""
    body = struct.pack(">H", len(topic)) + topic + payload
    return bytes((0x30 | retain, len(body))) + body


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBroker]:
    """A fake broker; links come back to it fast."""
    monkeypatch.setattr(under_test, "RETRY_MS", (60,))
    fake = FakeBroker()
    yield fake
    fake.end()


def link_to(broker: FakeBroker) -> Link:
    """A link that listens to one filter."""
    return Link("127.0.0.1", broker.port, "unit", (FILTER,))


def pump_until(link: Link, holds: Callable[[], bool], deadline_ms: int = DEADLINE_MS) -> list[str]:
    """Pump until something holds; every trouble on the way, each once in a row."""
    end_ms = monotonic_ms() + deadline_ms
    troubles: list[str] = []
    while not holds():
        link.pump(monotonic_ms() + 10)
        if not troubles or troubles[-1] != link.trouble:
            troubles.append(link.trouble)
        assert monotonic_ms() < end_ms, troubles
    return troubles


def test_refused_credentials_are_said_once_and_tried_again(broker: FakeBroker) -> None:
    """CONNACK 5: one steady line for a person, attempts go on, and a mended broker is taken without a restart."""
    broker.connack = 5
    link = link_to(broker)
    troubles = pump_until(link, lambda: broker.connections >= 4)
    assert len(troubles) == 2  # "connecting", then why not
    assert "refuses" in troubles[1]
    assert "password_file" in troubles[1]
    assert not link.publish("t", "x")
    broker.connack = 0
    pump_until(link, lambda: link.connected)
    assert link.trouble == ""


def test_a_refused_version_of_mqtt_is_said_and_tried_again(broker: FakeBroker) -> None:
    """CONNACK 1: no end of the process (paho would dial by itself here), and a broker that learns it is taken."""
    broker.connack = 1
    link = link_to(broker)
    troubles = pump_until(link, lambda: broker.connections >= 3)
    assert any("refuses MQTT 3.1.1" in trouble for trouble in troubles)
    broker.connack = 0
    pump_until(link, lambda: link.connected)


def test_a_refused_subscription_is_tried_again(broker: FakeBroker) -> None:
    """SUBACK 0x80: not connected, said so, and mended when the ACL is."""
    broker.suback = 0x80
    link = link_to(broker)
    troubles = pump_until(link, lambda: broker.connections >= 3)
    assert not link.connected
    assert FILTER in troubles[-1]
    broker.suback = 0
    pump_until(link, lambda: link.connected)


def test_a_listener_that_is_no_broker_is_named(broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that takes connections and answers nothing is given up after the keep-alive, and called what it is."""
    monkeypatch.setattr(under_test, "KEEPALIVE_S", 1)
    broker.answers_connect = False
    link = link_to(broker)
    pump_until(link, lambda: broker.connections >= 2)
    assert "Is it an MQTT broker?" in link.trouble


def test_q10_a_client_of_the_same_name_is_suspected_and_not_fought(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that ends each connection at once: said after three times, tried less and less often, and forgotten."""
    monkeypatch.setattr(under_test, "RETRY_MS", (60, 60, 60, 60, 60_000))
    monkeypatch.setattr(under_test, "STEADY_MS", 300)
    link = link_to(broker)
    for _ in range(3):
        pump_until(link, lambda: link.connected)
        broker.drop()
        pump_until(link, lambda: not link.connected)
    assert "Is another client connected as unit?" in link.trouble
    pump_until(link, lambda: link.connected)
    assert "another client" in link.trouble  # it has to last first
    assert link._retry == 4
    pump_until(link, lambda: link.trouble == "")
    assert link.connected
    assert link._retry == 0


def test_a_half_open_connection_is_given_up(broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that no longer answers a ping is lost within two keep-alives and a look, and dialled again."""
    monkeypatch.setattr(under_test, "KEEPALIVE_S", 1)
    link = link_to(broker)
    pump_until(link, lambda: link.connected)
    broker.answers_ping = False
    pump_until(link, lambda: not link.connected, 5000)
    assert "connection lost" in link.trouble
    broker.answers_ping = True
    pump_until(link, lambda: link.connected)


def test_what_a_stuck_broker_did_not_take_is_never_sent(broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that takes no bytes: publishing says no within seconds; the next connection brings nothing old."""
    monkeypatch.setattr(under_test, "STUCK_MS", 300)
    link = link_to(broker)
    pump_until(link, lambda: link.connected)
    broker.reads = False
    end_ms = monotonic_ms() + DEADLINE_MS
    while link.publish("taiqu/a/p1/dn/set", "old" * 20_000):
        link.pump(monotonic_ms() + 1)
        assert monotonic_ms() < end_ms
    pump_until(link, lambda: not link.connected)
    assert "takes no more messages" in link.trouble
    broker.published.clear()
    broker.reads = True
    pump_until(link, lambda: link.connected)
    assert link.publish("taiqu/a/p1/dn/set", "new")
    pump_until(link, lambda: len(broker.published) > 0)
    assert [p[-3:] for p in broker.published] == [b"new"]


def test_a_slow_dial_does_not_block_the_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """While an address or a name server keeps a dial waiting, the link still gives the time back as asked."""
    gone = threading.Event()

    def hang(*_: object, **__: object) -> socket.socket:
        gone.wait(5)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", hang)
    link = Link("broker.invalid", 1883, "unit", (FILTER,))
    for _ in range(3):
        begun_ms = monotonic_ms()
        link.pump(begun_ms + 100)
        assert monotonic_ms() - begun_ms < 400
    gone.set()
    pump_until(link, lambda: "no answer" in link.trouble)


def test_only_fresh_messages_with_readable_topics_are_heard(broker: FakeBroker) -> None:
    """Retained messages are history and broken topics nobody's: neither is heard, neither does harm."""
    broker.greeting = (
        packet(b"taiqu/a/p1/up/state", b"retained", retain=True)
        + packet(b"taiqu/a/\xff\xfe/up/state", b"broken")
        + packet(b"taiqu/a/p2/up/state", b"two")
        + packet(b"taiqu/a/p1/up/state", b"one")
    )
    link = link_to(broker)
    pump_until(link, lambda: link.heard >= 4)
    assert link.take() == [("taiqu/a/p1/up/state", b"one"), ("taiqu/a/p2/up/state", b"two")]
    assert link.take() == []


def test_a_tick_that_takes_its_whole_second_does_not_starve_the_link(broker: FakeBroker) -> None:
    """The clock serves the link before every tick, even when the tick before it was late."""
    link = link_to(broker)
    clock = RealClock(20)
    end_ms = monotonic_ms() + DEADLINE_MS
    while not link.connected:
        assert monotonic_ms() < end_ms
        assert clock.wait(link) is not None
        time.sleep(0.03)


class Flood:
    """Stands in for paho: a socket that is always readable, and a packet at every read."""

    def __init__(self, link: Link) -> None:
        self.link, self.reads = link, 0
        self.near, self.far = socket.socketpair()
        self.far.sendall(b"x")

    def socket(self) -> socket.socket:
        """Readable for ever: nobody takes the byte."""
        return self.near

    def want_write(self) -> bool:
        """Nothing to send."""
        return False

    def loop_misc(self) -> None:
        """Nothing to keep alive."""

    def loop_read(self) -> None:
        """One more packet; a link that only ever reads is found out here."""
        self.reads += 1
        assert self.reads < 50 * under_test.BURST_MAX, "the flood keeps the tick waiting"
        self.link.heard += 1

    def close(self) -> None:
        """Let both ends go."""
        self.near.close()
        self.far.close()


def test_q14_a_flood_does_not_keep_the_tick_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packets without end: pump reads a burst, looks at the time and returns."""
    link = Link("127.0.0.1", 1, "flood", (FILTER,))
    flood = Flood(link)
    monkeypatch.setattr(link, "_client", flood)
    link.pump(monotonic_ms())
    assert flood.reads == under_test.BURST_MAX
    flood.close()


def test_q14_a_flood_on_one_topic_leaves_the_others_their_place() -> None:
    """The newest message of each topic is kept; beyond the bound a new topic is counted and dropped."""
    link = Link("127.0.0.1", 1, "inbox", (FILTER,))
    for k in range(under_test.INBOX_MAX + 5):
        link._on_message(link._client, None, message("taiqu/a/p1/up/state", b"%d" % k))
    link._on_message(link._client, None, message("taiqu/a/p2/up/state", b"quiet"))
    assert link.take() == [
        ("taiqu/a/p1/up/state", b"%d" % (under_test.INBOX_MAX + 4)),
        ("taiqu/a/p2/up/state", b"quiet"),
    ]
    for k in range(under_test.INBOX_MAX + 5):
        link._on_message(link._client, None, message(f"taiqu/a/x{k}/up/state", b""))
    assert (len(link.take()), link.dropped) == (under_test.INBOX_MAX, 5)


def test_q4_retained_and_s7_strange_markers_are_nothing() -> None:
    """A retained message is history, and a stranger's marker on a shared broker ends nobody."""
    link = Link("127.0.0.1", 1, "bench", (FILTER,), marker="taiqu/a/all/dn/sync")
    old = message("taiqu/a/p1/up/state", b"{}")
    old.retain = True
    link._on_message(link._client, None, old)
    for payload in (b"hello", b"[]", b"{}", b'{"step":"x","n":1}', b"\xff"):
        link._on_message(link._client, None, message("taiqu/a/zz/up/sync", payload))
    assert link.take() == []


def message(topic: str, payload: bytes) -> mqtt.MQTTMessage:
    """A message as paho hands it over."""
    made = mqtt.MQTTMessage(topic=topic.encode())
    made.payload = payload
    return made


# --------------------------------------------------------------------------------------- what must never pass unnoticed
def fails(*_: object, **__: object) -> bool:
    """A callback with a bug."""
    raise ZeroDivisionError("a bug in a callback")


@pytest.mark.parametrize("where", ["accept", "_on_connect", "_on_subscribe", "_on_disconnect", "_open"])
def test_host_exception_in_a_callback_surfaces_in_the_tick(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """H19: paho's own thread would die in silence and still say "connected"; here whoever pumps has the exception."""
    monkeypatch.setattr(Link, where, fails, raising=False)
    broker.greeting = packet(b"taiqu/a/p1/up/state", b"one")
    broker.connack = 5 if where == "_on_disconnect" else 0
    link = link_to(broker)
    if where == "accept":
        link.accept = fails
    with pytest.raises(ZeroDivisionError, match="a bug in a callback"):
        pump_until(link, lambda: False)


def test_host_exception_in_a_callback_leaves_the_last_words_their_way(broker: FakeBroker) -> None:
    """H19: after a message that cannot be handled, what is published still leaves, although reading fails again."""
    broker.greeting = b"".join(packet(b"taiqu/a/p%d/up/state" % k, b"x" * 100) for k in range(50))
    link = link_to(broker)
    link.accept = fails
    with pytest.raises(ZeroDivisionError):
        pump_until(link, lambda: False)
    with pytest.raises(ZeroDivisionError):
        link.pump(monotonic_ms())
    assert link.publish("taiqu/a/p1/dn/set", "come down")
    link.flush(DEADLINE_MS)
    link.close()
    end_ms = monotonic_ms() + DEADLINE_MS
    while not broker.published:
        assert monotonic_ms() < end_ms
        time.sleep(0.01)
    assert [p[-9:] for p in broker.published] == [b"come down"]


def test_last_words_do_not_wait_for_a_broker_that_takes_nothing(broker: FakeBroker) -> None:
    """A broker that hangs keeps nobody from ending; without a connection there is nothing to wait for at all."""
    link = link_to(broker)
    began_ms = monotonic_ms()
    link.flush(DEADLINE_MS)
    assert monotonic_ms() - began_ms < DEADLINE_MS
    pump_until(link, lambda: link.connected)
    broker.reads = False
    while not link._client.want_write():
        link.publish("taiqu/a/p1/dn/set", "x" * 100_000)
    began_ms = monotonic_ms()
    link.flush(200)
    assert 200 <= monotonic_ms() - began_ms < DEADLINE_MS


def test_last_words_are_written_to_a_broker_that_is_slow(broker: FakeBroker) -> None:
    """What did not fit into the wire at once leaves as soon as the broker reads again, and the last of it arrives."""
    link = link_to(broker)
    pump_until(link, lambda: link.connected)
    raw = link._client.socket()
    assert isinstance(raw, socket.socket)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    broker.reads = False
    while not link._client.want_write():
        link.publish("taiqu/a/p1/dn/set", "x" * 1000)
    assert link.publish("taiqu/a/p1/dn/set", "come down")
    broker.reads = True
    link.flush(DEADLINE_MS)
    assert not link._client.want_write()
    link.close()
    end_ms = monotonic_ms() + DEADLINE_MS
    while not broker.published or broker.published[-1][-9:] != b"come down":
        assert monotonic_ms() < end_ms
        time.sleep(0.01)


def test_host_exception_in_a_dial_surfaces_in_the_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """H18, H19: what nobody expects of a dial, as no memory, is not the silent end of all attempts."""

    def no_memory(*_: object, **__: object) -> socket.socket:
        raise MemoryError

    monkeypatch.setattr(socket, "create_connection", no_memory)
    link = Link("127.0.0.1", 1, "unit", (FILTER,))
    with pytest.raises(MemoryError):
        pump_until(link, lambda: False)


def test_host_out_of_threads_surfaces_in_the_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """H18: a dial that cannot begin ends the cycle, and with it the process: a restart lets everything go."""

    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    link = Link("127.0.0.1", 1, "unit", (FILTER,))
    with pytest.raises(RuntimeError, match="new thread"):
        link.pump(monotonic_ms())


def test_host_out_of_files_is_tried_again(broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """H18: no file descriptor for a connection is a trouble like others: said, and dialled again."""
    real = socket.create_connection
    left = [OSError(24, "Too many open files")] * 3

    def few(*args: object, **more: object) -> socket.socket:
        if left:
            raise left.pop()
        return real(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "create_connection", few)
    link = link_to(broker)
    troubles = pump_until(link, lambda: link.connected)
    assert any("Too many open files" in trouble for trouble in troubles)


def test_q18_nothing_is_queued_while_disconnected_and_nothing_is_retained(broker: FakeBroker) -> None:
    """What is said to nobody is not said later; what is said is QoS 0 and not retained."""
    link = link_to(broker)
    assert not link.publish("taiqu/a/p1/dn/set", "before")
    broker.connack = 5
    pump_until(link, lambda: "refuses" in link.trouble)
    assert not link.publish("taiqu/a/p1/dn/set", "refused")
    broker.connack = 0
    pump_until(link, lambda: link.connected)
    assert link.publish("taiqu/a/p1/dn/set", "now")
    pump_until(link, lambda: len(broker.published) > 0)
    link.pump(monotonic_ms() + 50)
    assert [(p[0] & 0x0F, p[-3:]) for p in broker.published] == [(0, b"now")]
