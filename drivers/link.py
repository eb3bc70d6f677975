"""The MQTT link: one connection, one thread, nothing queued.

The thread that decides is the thread that reads and writes the socket. So an exception in a callback surfaces in the
tick (paho's own thread would die silently and still say "connected"), and what is sent leaves now or not at all. Only
dialling has a helper, because a name server or a dead address may keep it waiting for longer than a tick.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import random
import select
import socket
import struct
import termios
import threading
import time
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from edge.clock import monotonic_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from paho.mqtt.reasoncodes import ReasonCode

INBOX_MAX = 20000
BURST_MAX = 1000
"""Packets read in a row before the time is looked at: some 30 ms."""
KEEPALIVE_S = 10
"""A broker that says nothing is asked after this time, and given up after as long again."""
DIAL_S = 3.0
RETRY_MS = (500, 1000, 2000, 5000, 10000)
STEADY_MS = 30_000
"""A connection that has stood for so long is a good one: the next attempts begin fast again."""
THROWN_OUT = 3
"""So many connections in a row that did not stand for long, and somebody ends them."""
STUCK_MS = 2000
"""A broker that takes no byte for so long is given up: what waits for it must not arrive later as if it were new."""
IDLE_S = 0.05
ACK_S = 0.005
DRAIN_MS = 3000
STRAY_MS = 300


class _Dial(threading.Thread):
    """One attempt at a TCP connection. It touches nothing of the link: whoever dialled looks when it is done."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(name="dial", daemon=True)
        self.address = (host, port)
        self.wire: socket.socket | None = None
        self.error: Exception | None = None
        self.done = threading.Event()
        self.start()

    def run(self) -> None:
        """Resolve and connect."""
        try:
            self.wire = socket.create_connection(self.address, timeout=DIAL_S)
            self.wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except Exception as err:  # noqa: BLE001 - whoever dialled judges it: this thread must not die in silence
            self.error = err
        self.done.set()


class _DialError(ConnectionError):
    """paho wants to dial by itself: after a broker has refused this version of MQTT it would try an older one."""


class _Client(mqtt.Client):
    """paho on a connection that stands already: by itself it would dial in the calling thread."""

    wire: socket.socket | None = None

    def _create_socket_connection(self) -> socket.socket:
        wire, self.wire = self.wire, None
        if wire is None:
            raise _DialError
        return wire


class Link:
    """A connection to a broker that comes back by itself and is served by ``pump``."""

    def __init__(
        self,
        host: str,
        port: int,
        client_id: str,
        topics: tuple[str, ...],
        *,
        username: str | None = None,
        password: str | None = None,
        marker: str = "",
    ) -> None:
        self.host, self.port = host, port
        self.where = f"broker {host}:{port}"
        self.client_id = client_id
        self.topics = topics
        self.marker = marker
        """Where this side publishes its end-of-step marker (bench only)."""
        self.inbox: dict[str, bytes] = {}
        """The newest message of each topic: a flood on one topic takes nothing away from another."""
        self.accept: Callable[[str], bool] = _everything
        """Is a topic worth a place in the inbox?"""
        self.dropped = 0
        """Messages that found no place."""
        self.heard = 0
        self.sent = 0
        self.lost_steps = 0
        self.trouble = f"{self.where}: connecting"
        self._markers: dict[str, tuple[int, int]] = {}
        self._since_drain = 0
        self._since_mark = 0
        self._ready = False
        self._answered = False
        self._dial: _Dial | None = None
        self._retry = 0
        self._short = 0
        self._opened_ms = 0
        self._next_try_ms = 0
        self._misc_ms = 0
        self._moved_ms = 0
        self._jitter = random.Random()  # noqa: S311 - spreads reconnects, guards no secret
        self._client = _Client(CallbackAPIVersion.VERSION2, client_id, clean_session=True)
        if username is not None:
            self._client.username_pw_set(username, password)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message

    @property
    def connected(self) -> bool:
        """Has the broker taken both the connection and the subscription?"""
        return self._ready

    def publish(self, topic: str, payload: str) -> bool:
        """Hand a message to the broker now, QoS 0. False when it cannot be had: then it is not sent later either."""
        if not self._ready or self._is_stuck():
            return False
        if self._client.publish(topic, payload, qos=0, retain=False).rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return False
        self.sent += 1
        self._since_mark += 1
        return True

    def pump(self, until_ms: int) -> None:
        """Serve the connection until ``until_ms`` (monotonic ms), once at least, reconnecting when it is due."""
        while True:
            now_ms = monotonic_ms()
            if self._client.socket() is None:
                self._come_back(now_ms)
            wait_s = max(until_ms - monotonic_ms(), 0) / 1000
            if self._client.socket() is None:
                time.sleep(min(wait_s, IDLE_S))
            else:
                self._serve(wait_s)
            if now_ms - self._misc_ms >= 1000:
                self._misc_ms = now_ms
                self._client.loop_misc()
                self._drop_if_stuck()
                self._mind_steady()
            if monotonic_ms() >= until_ms:
                return

    def drain(self, step: int, senders: list[str]) -> None:
        """Serve until each sender's marker of ``step`` is here, and as many messages as the markers announce.

        What does not come in time is a lost step: counted, for the bench to judge.
        """
        end_ms = monotonic_ms() + DRAIN_MS
        marked = False
        while self._ready:
            if not marked and all(self._markers.get(name, (-1, 0))[0] >= step for name in senders):
                marked = True
                end_ms = min(end_ms, monotonic_ms() + STRAY_MS)
            if marked and self._since_drain >= sum(self._markers[name][1] for name in senders):
                break
            wait_ms = end_ms - monotonic_ms()
            if wait_ms <= 0:
                self.lost_steps += 1
                break
            self._serve(wait_ms / 1000)
        self._since_drain = 0
        if not self._ready:
            self.lost_steps += 1
            self.pump(0)

    def mark(self, step: int) -> None:
        """Publish the end-of-step marker, with how many messages this side has sent since the last one."""
        count, self._since_mark = self._since_mark, 0
        if self.marker and self._ready:
            self._client.publish(self.marker, f'{{"v":1,"step":{step},"n":{count}}}', qos=0)

    def flush(self, within_ms: int) -> None:
        """Write until the broker's machine has it all, and read nothing: what would be read may be what is wrong."""
        end_ms = monotonic_ms() + within_ms
        while (left_ms := end_ms - monotonic_ms()) > 0:
            raw: Any = self._client.socket()
            if raw is None:
                return
            if self._client.want_write():
                select.select([], [raw], [], left_ms / 1000)
                self._client.loop_write()
            elif struct.unpack("i", fcntl.ioctl(raw, termios.TIOCOUTQ, bytes(4)))[0]:
                time.sleep(ACK_S)
            else:
                return

    def take(self) -> list[tuple[str, bytes]]:
        """What was heard since the last call, sorted by topic: a broker keeps no order between topics."""
        batch = sorted(self.inbox.items())
        self.inbox.clear()
        return batch

    def close(self) -> None:
        """Say goodbye and let the socket go."""
        self._client.disconnect()
        self._ready = False

    def _come_back(self, now_ms: int) -> None:
        """Dial when it is due; take the connection over when it stands."""
        dial = self._dial
        if dial is None:
            if now_ms >= self._next_try_ms:
                delay_ms = RETRY_MS[min(self._retry, len(RETRY_MS) - 1)]
                self._retry += 1
                self._next_try_ms = now_ms + delay_ms // 2 + self._jitter.randrange(delay_ms)
                self._dial = _Dial(self.host, self.port)
            return
        if not dial.done.is_set():
            return
        self._dial = None
        if dial.error is not None and not isinstance(dial.error, (OSError, UnicodeError)):
            raise dial.error
        if dial.wire is None:
            self.trouble = f"{self.where}: {_plain(dial.error)}"
            return
        self._answered = False
        self._moved_ms = now_ms
        self._client.wire = dial.wire
        try:
            self._client.connect(self.host, self.port, keepalive=KEEPALIVE_S)
        except OSError as err:
            self.trouble = f"{self.where}: {_plain(err)}"

    def _serve(self, wait_s: float) -> None:
        raw: Any = self._client.socket()
        if raw is None:
            return
        writing = [raw] if self._client.want_write() else []
        readable, writable, _ = select.select([raw], writing, [], wait_s)
        if writable:
            self._moved_ms = monotonic_ms()
            self._client.loop_write()
        # paho reads one packet a call and does not say when the socket is empty: stop when nothing more came, and after
        # a burst in any case, for a flood must not keep the tick waiting.
        for _ in range(BURST_MAX if readable else 0):
            before = self.heard
            try:
                self._client.loop_read()
            except _DialError:
                self.trouble = f"{self.where} refuses MQTT 3.1.1. Is it an MQTT broker, and does it speak that version?"
            if self.heard == before or self._client.socket() is None:
                return

    def _is_stuck(self) -> bool:
        """Do bytes wait that the broker has not taken for a while?"""
        if not self._client.want_write():
            self._moved_ms = monotonic_ms()
            return False
        return monotonic_ms() - self._moved_ms > STUCK_MS

    def _drop_if_stuck(self) -> None:
        raw: Any = self._client.socket()
        if raw is not None and self._is_stuck():
            # Linger 0: the close drops what the kernel still holds instead of delivering it when the broker wakes.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(OSError):
                raw.shutdown(socket.SHUT_RD)
            self._client.loop_read()  # finds the end, and closes
            self.trouble = f"{self.where}: takes no more messages. Is the broker overloaded or stopped?"
            self._ready = False

    def _on_connect(self, client: mqtt.Client, _data: object, _flags: object, code: ReasonCode, _props: object) -> None:
        self._answered = True
        if code.is_failure:
            self.trouble = f"{self.where} refuses: {code}. Check [broker] username and password_file"
        elif self.topics:
            client.subscribe([(topic, 0) for topic in self.topics])
        else:
            self._open()

    def _on_subscribe(self, client: mqtt.Client, _data: object, _mid: int, codes: list[ReasonCode], _: object) -> None:
        if any(code.is_failure for code in codes):
            self.trouble = f"{self.where} refuses the subscription {self.topics[0]}. Check its ACL"
            client.disconnect()  # and ask again later: an ACL can be mended while we wait
            return
        self._open()

    def _open(self) -> None:
        self._ready = True
        self._opened_ms = monotonic_ms()
        if self._short < THROWN_OUT:
            self.trouble = ""

    def _mind_steady(self) -> None:
        """A connection that lasts ends the trouble of those that did not."""
        if self._ready and monotonic_ms() - self._opened_ms >= STEADY_MS:
            self._retry = self._short = 0
            self.trouble = ""

    def _on_disconnect(self, _client: mqtt.Client, _data: object, _flags: object, _code: object, _: object) -> None:
        if self._ready:
            self._mind_steady()
            self._short += 1
            self.trouble = f"{self.where}: connection lost"
            if self._short >= THROWN_OUT:
                self.trouble = (
                    f"{self.where} ends each connection soon. Is another client connected as {self.client_id}?"
                )
        elif not self._answered:
            self.trouble = f"{self.where}: takes connections but does not answer. Is it an MQTT broker?"
        self._ready = False

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        self.heard += 1
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return  # no topic of ours; a sound broker does not carry it
        if message.retain:
            return  # a retained message is history: it never counts as fresh
        if self.marker and topic.endswith("/sync"):
            with contextlib.suppress(ValueError, TypeError, KeyError):  # else a stranger's, on a shared broker
                mark = json.loads(message.payload)
                self._markers[topic] = (int(mark["step"]), int(mark["n"]))
            return
        self._since_drain += 1
        if not self.accept(topic):
            return
        if len(self.inbox) >= INBOX_MAX and topic not in self.inbox:
            self.dropped += 1
            return
        self.inbox[topic] = bytes(message.payload)


def _everything(_topic: str) -> bool:
    return True


def _plain(err: Exception | None) -> str:
    """An error in a technician's words."""
    if isinstance(err, ConnectionRefusedError):
        return "nobody listens there (connection refused). Is the broker running?"
    if isinstance(err, TimeoutError):
        return "no answer. Is the address right and the network up?"
    if isinstance(err, (socket.gaierror, UnicodeError)):
        return "the name cannot be resolved. Check [broker] host"
    return str(err) or type(err).__name__
