"""The MQTT link: one connection, one thread, nothing queued.

The thread that decides is the thread that reads and writes the socket. So an exception in a callback surfaces in the
tick (paho's own thread would die silently and still say "connected"), and what is sent leaves now or not at all.
"""

from __future__ import annotations

import json
import random
import select
import socket
import time
from collections import deque
from typing import Any

import paho.mqtt.client as mqtt

from edge.clock import monotonic_ms

INBOX_MAX = 20000
KEEPALIVE_S = 15
CONNECT_S = 1.0
RETRY_MS = (500, 1000, 2000, 5000, 10000)
DRAIN_MS = 3000
STRAY_MS = 300


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
        self.topics = topics
        self.marker = marker
        """Where this side publishes its end-of-step marker (bench only)."""
        self.inbox: deque[tuple[str, bytes]] = deque(maxlen=INBOX_MAX)
        self.heard = 0
        self.sent = 0
        self.lost_steps = 0
        self.trouble = f"broker {host}:{port}: not tried yet"
        self._markers: dict[str, tuple[int, int]] = {}
        self._since_drain = 0
        self._since_mark = 0
        self._ready = False
        self._retry = 0
        self._next_try_ms = 0
        self._misc_ms = 0
        self._jitter = random.Random()  # noqa: S311 - spreads reconnects, guards no secret
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id, clean_session=True)
        self._client.connect_timeout = CONNECT_S
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
        """Hand a message to the broker now, QoS 0; False when there is no broker, and then it is not sent later either."""
        if not self._ready:
            return False
        if self._client.publish(topic, payload, qos=0, retain=False).rc != mqtt.MQTT_ERR_SUCCESS:
            return False
        self.sent += 1
        self._since_mark += 1
        return True

    def pump(self, until_ms: int) -> None:
        """Serve the connection until ``until_ms`` (monotonic ms), reconnecting when it is due."""
        while True:
            now_ms = monotonic_ms()
            if self._client.socket() is None and now_ms >= self._next_try_ms:
                self._connect(now_ms)
            wait_s = max(until_ms - monotonic_ms(), 0) / 1000
            if self._client.socket() is None:
                time.sleep(min(wait_s, 0.05))
            else:
                self._serve(wait_s)
            if now_ms - self._misc_ms >= 1000:
                self._misc_ms = now_ms
                self._client.loop_misc()
            if monotonic_ms() >= until_ms:
                return

    def drain(self, step: int, senders: list[str]) -> None:
        """Serve until each sender's marker of ``step`` is here, and as many messages as the markers announce."""
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
            self.pump(0)

    def mark(self, step: int) -> None:
        """Publish the end-of-step marker, with how many messages this side has sent since the last one."""
        count, self._since_mark = self._since_mark, 0
        if self.marker and self._ready:
            self._client.publish(self.marker, f'{{"v":1,"step":{step},"n":{count}}}', qos=0)

    def take(self) -> list[tuple[str, bytes]]:
        """What was heard since the last call, sorted by topic: a broker keeps order within a topic, not between them."""
        batch = sorted(self.inbox, key=_topic)
        self.inbox.clear()
        return batch

    def close(self) -> None:
        """Say goodbye and let the socket go."""
        self._client.disconnect()
        self._ready = False

    def _connect(self, now_ms: int) -> None:
        delay_ms = RETRY_MS[min(self._retry, len(RETRY_MS) - 1)]
        self._retry += 1
        self._next_try_ms = now_ms + delay_ms // 2 + self._jitter.randrange(delay_ms)
        try:
            self._client.connect(self.host, self.port, keepalive=KEEPALIVE_S)
        except (OSError, ValueError) as err:
            self.trouble = f"broker {self.host}:{self.port}: {_plain(err)}"
            return
        raw = self._client.socket()
        if isinstance(raw, socket.socket):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _serve(self, wait_s: float) -> None:
        raw: Any = self._client.socket()
        if raw is None:
            return
        writing = [raw] if self._client.want_write() else []
        readable, writable, _ = select.select([raw], writing, [], wait_s)
        if writable:
            self._client.loop_write()
        while readable and self._client.socket() is not None:
            # paho reads one packet a call and does not say when the socket is empty: stop when nothing more came.
            before = self.heard
            self._client.loop_read()
            if self.heard == before:
                return

    def _on_connect(self, client: mqtt.Client, _data: object, _flags: object, code: Any, _props: object) -> None:
        if code.is_failure:
            self.trouble = f"broker {self.host}:{self.port} refuses: {code}. Check [broker] username and password_file"
            return
        for topic in self.topics:
            client.subscribe(topic, qos=0)
        if not self.topics:
            self._open()

    def _on_subscribe(self, _client: mqtt.Client, _data: object, _mid: int, codes: list[Any], _props: object) -> None:
        if any(code.is_failure for code in codes):
            self.trouble = f"broker {self.host}:{self.port} refuses the subscription {self.topics[0]}. Check its ACL"
            return
        self._open()

    def _open(self) -> None:
        self._ready = True
        self._retry = 0
        self.trouble = ""

    def _on_disconnect(self, _client: mqtt.Client, _data: object, _flags: object, code: Any, _props: object) -> None:
        if self._ready or not self.trouble:
            self.trouble = f"broker {self.host}:{self.port}: connection lost ({code})"
        self._ready = False

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        self.heard += 1
        topic = message.topic
        if self.marker and topic.endswith("/sync"):
            mark = json.loads(message.payload)
            self._markers[topic] = (int(mark["step"]), int(mark["n"]))
            return
        if message.retain:
            return  # a retained message is history: it never counts as fresh
        self._since_drain += 1
        self.inbox.append((topic, message.payload))


def _topic(item: tuple[str, bytes]) -> str:
    return item[0]


def _plain(err: Exception) -> str:
    """An error in a technician's words."""
    if isinstance(err, ConnectionRefusedError):
        return "nobody listens there (connection refused). Is the broker running?"
    if isinstance(err, TimeoutError):
        return "no answer. Is the address right and the network up?"
    if isinstance(err, socket.gaierror):
        return "the name cannot be resolved. Check [broker] host"
    return str(err) or type(err).__name__
