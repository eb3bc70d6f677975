"""A connection for each charger, as in the field: when the broker restarts, all of them come back, one by one.

MQTT 3.1.1 with QoS 0 is little enough to be spoken here, and hundreds of clients in one thread want no library. A
crowd is used like a ``Link``.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from edge.clock import monotonic_ms

if TYPE_CHECKING:
    from collections.abc import Sequence

CONNACK, PUBLISH, SUBACK = 2, 3, 9
KEEPALIVE_S = 60
PING_MS = 20_000
COME_BACK_MS = 30_000
"""Who loses its broker waits for a random time up to this before it comes back, so that not all come at once."""
FIRST_MS = 2_000
AGAIN_MS = (1_000, 5_000)
DIAL_S = 1.0
CHUNK = 65_536


@dataclass(slots=True)
class _Client:
    """One charger's connection."""

    name: str
    next_try_ms: int
    wire: socket.socket | None = None
    have: bytes = b""
    ready: bool = False
    spoke_ms: int = 0


@dataclass(slots=True)
class _Heard:
    """What came since somebody looked."""

    messages: list[tuple[str, bytes]] = field(default_factory=list)
    back: list[str] = field(default_factory=list)


class Crowd:
    """The connections of all chargers ``ids`` of an area; served by ``pump``."""

    def __init__(self, host: str, port: int, area: str, ids: Sequence[str], seed: int) -> None:
        self.host, self.port, self.area = host, port, area
        self._random = Random(f"{seed} crowd")
        now_ms = monotonic_ms()
        self._clients = {name: _Client(name, now_ms + self._random.randrange(FIRST_MS)) for name in ids}
        self._selector = selectors.DefaultSelector()
        self._heard = _Heard()

    @property
    def online(self) -> int:
        """How many have both a connection and their subscription."""
        return sum(client.ready for client in self._clients.values())

    @property
    def connected(self) -> bool:
        """Has anybody a connection?"""
        return self.online > 0

    def pump(self, until_ms: int) -> None:
        """Serve all connections until ``until_ms`` (monotonic ms), once at least; dial where it is due."""
        while True:
            now_ms = monotonic_ms()
            for client in self._clients.values():
                if client.wire is None:
                    if now_ms >= client.next_try_ms:
                        self._dial(client)
                elif client.ready and now_ms - client.spoke_ms >= PING_MS:
                    self._send(client, b"\xc0\x00")
            for key, _ in self._selector.select(max(until_ms - monotonic_ms(), 0) / 1000):
                self._read(key.data)
            if monotonic_ms() >= until_ms:
                return

    def publish(self, topic: str, payload: str) -> bool:
        """Say something on the connection of the charger that the topic names. False: it has none."""
        client = self._clients[topic.split("/")[2]]
        return client.ready and self._send(client, packet(0x30, text(topic) + payload.encode()))

    def take(self) -> list[tuple[str, bytes]]:
        """What was heard since the last call, in the order in which it came."""
        messages, self._heard.messages = self._heard.messages, []
        return messages

    def back(self) -> list[str]:
        """Who has a connection, or has one again, since the last call."""
        back, self._heard.back = self._heard.back, []
        return back

    def close(self) -> None:
        """Say goodbye."""
        for client in self._clients.values():
            if client.wire is not None and self._send(client, b"\xe0\x00"):
                client.wire.close()
        self._selector.close()

    def _dial(self, client: _Client) -> None:
        try:
            wire = socket.create_connection((self.host, self.port), DIAL_S)
        except OSError:
            client.next_try_ms = monotonic_ms() + self._random.randrange(*AGAIN_MS)
            return
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire.setblocking(False)
        client.wire, client.have = wire, b""
        self._selector.register(wire, selectors.EVENT_READ, client)
        self._send(client, packet(0x10, text("MQTT") + struct.pack(">BBH", 4, 2, KEEPALIVE_S) + text(client.name)))

    def _send(self, client: _Client, data: bytes) -> bool:
        assert client.wire is not None
        try:
            sent = client.wire.send(data)
        except OSError:
            sent = 0
        client.spoke_ms = monotonic_ms()
        if sent != len(data):
            self._lose(client)
        return sent == len(data)

    def _lose(self, client: _Client) -> None:
        if client.wire is not None:
            self._selector.unregister(client.wire)
            client.wire.close()
        client.wire, client.ready = None, False
        client.next_try_ms = monotonic_ms() + self._random.randrange(COME_BACK_MS)

    def _read(self, client: _Client) -> None:
        if client.wire is None:
            return
        more = b""
        with contextlib.suppress(OSError):
            more = client.wire.recv(CHUNK)
        if not more:
            self._lose(client)
            return
        client.have += more
        while (found := cut(client.have)) is not None:
            first, body, client.have = found
            self._act(client, first >> 4, body)

    def _act(self, client: _Client, kind: int, body: bytes) -> None:
        if kind == CONNACK:
            topic = text(f"taiqu/{self.area}/{client.name}/dn/#")
            self._send(client, packet(0x82, b"\x00\x01" + topic + b"\x00"))
        elif kind == SUBACK:
            client.ready = True
            self._heard.back.append(client.name)
        elif kind == PUBLISH:
            size = 2 + int.from_bytes(body[:2])
            self._heard.messages.append((body[2:size].decode(), body[size:]))


def text(value: str) -> bytes:
    """An MQTT string: two bytes of length before it."""
    data = value.encode()
    return len(data).to_bytes(2) + data


def packet(first: int, body: bytes) -> bytes:
    """An MQTT packet: first byte, length in sevens of bits, body."""
    size, left = b"", len(body)
    while True:
        left, low = divmod(left, 128)
        size += bytes((low | (128 if left else 0),))
        if not left:
            return bytes((first,)) + size + body


def cut(data: bytes) -> tuple[int, bytes, bytes] | None:
    """(first byte, body, what follows) of the first packet; None when it is not complete."""
    size = 0
    for at in range(1, min(len(data), 5)):
        size |= (data[at] & 127) << 7 * (at - 1)
        if data[at] < 128:
            end = at + 1 + size
            return (data[0], data[at + 1 : end], data[end:]) if len(data) >= end else None
    return None
