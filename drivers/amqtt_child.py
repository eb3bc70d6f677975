"""The embedded MQTT broker: amqtt in a process of its own, on the loopback only.

    python -m drivers.amqtt_child --port 1883

For the demo and for small tests where no mosquitto is installed. It admits anyone who reaches 127.0.0.1, carries a
stated number of connections and refuses more. SIGTERM ends it at once: it keeps nothing that would need saving.

amqtt's own listener wakes once for each field of a packet, arms a timer around each packet and sends each message by
itself. Its *external* listener is its public door for other transports. Through that door ``_Wire`` hands over bytes
that have already arrived, and gathers what one turn of the event loop writes into one send. With the two savings in
``Anonymous`` and ``_spare_the_collector`` a message costs about half of what it costs through amqtt's own listener.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import gc
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

from amqtt.adapters import ReaderAdapter, WriterAdapter
from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType
from amqtt.plugins.base import BaseAuthPlugin

if TYPE_CHECKING:
    import ssl

    from amqtt.session import Session

HOST = "127.0.0.1"
MAX_CONNECTIONS = 256
"""amqtt answers within 0.3 s at 300 clients and struggles at 1000; a client too many is refused, not served badly."""

_LISTENER = "default"
_UNREAD_BYTES_MAX = 1 << 20
_CONNACK_SERVER_UNAVAILABLE = b"\x20\x02\x00\x03"

_log = logging.getLogger("taiqu.broker")


class Anonymous(BaseAuthPlugin):
    """Admits everyone, and takes the keep-alive off the session.

    amqtt arms a timer around every read and does nothing when it fires, so nothing is lost; before Python 3.12 that
    timer is a task for each packet. As the only plugin it also replaces amqtt's defaults (packet and event loggers,
    $SYS topics), each of which would be called for every packet.
    """

    async def authenticate(self, *, session: Session) -> bool:
        """Return True: the loopback is the fence."""
        session.is_anonymous = True
        session.keep_alive = 0
        return True


class _Wire(asyncio.Protocol, ReaderAdapter, WriterAdapter):
    """One client's connection: amqtt's reader and writer in one object, over one transport."""

    def __init__(self, door: _Door) -> None:
        self._door = door
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._input = bytearray()
        self._input_paused = False
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None
        self._output: list[bytes] = []
        self._may_write = asyncio.Event()
        self._may_write.set()

    # asyncio's side; TCP_NODELAY is asyncio's default.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(f"a TCP server made a {type(transport).__name__}")
        self._transport = transport
        self._door.enter(self)

    def data_received(self, data: bytes) -> None:
        self._input += data
        if len(self._input) > _UNREAD_BYTES_MAX and self._transport:
            self._transport.pause_reading()
            self._input_paused = True
        self._wake()

    def eof_received(self) -> None:
        self.feed_eof()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the end of a client is no error here
        self.feed_eof()
        self._may_write.set()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    # amqtt's ReaderAdapter

    async def read(self, n: int = -1) -> bytes:
        """Return n bytes (all up to the end of the stream if negative), or fewer at the end of the stream."""
        while not self._ended and (n < 0 or len(self._input) < n):
            self._resume_input()  # a packet longer than the bound must still come through
            self._waiter = self._loop.create_future()
            await self._waiter
        size = len(self._input) if n < 0 else n
        data = bytes(self._input[:size])
        del self._input[:size]
        if len(self._input) <= _UNREAD_BYTES_MAX:
            self._resume_input()
        return data

    def _resume_input(self) -> None:
        if self._input_paused and self._transport:
            self._input_paused = False
            self._transport.resume_reading()

    def feed_eof(self) -> None:
        self._ended = True
        self._wake()

    # amqtt's WriterAdapter

    def write(self, data: bytes) -> None:
        if not self._output:
            self._loop.call_soon(self._flush)
        self._output.append(data)

    def _flush(self) -> None:
        data, self._output = b"".join(self._output), []
        if data and self._transport and not self._transport.is_closing():
            self._transport.write(data)

    async def drain(self) -> None:
        # The order of messages rests on this returning without a pause as long as the client keeps up.
        if not self._may_write.is_set():
            await self._may_write.wait()

    def get_peer_info(self) -> tuple[str, int] | None:
        peer = self._transport.get_extra_info("peername") if self._transport else None
        return (str(peer[0]), int(peer[1])) if peer else None

    def get_ssl_info(self) -> ssl.SSLObject | None:
        return None

    async def close(self) -> None:
        self._flush()
        if self._transport:
            self._transport.close()

    def refuse(self) -> None:
        self.write(_CONNACK_SERVER_UNAVAILABLE)
        self._flush()
        self.feed_eof()
        if self._transport:
            self._transport.close()


class _Door:
    """Lets clients in to the broker, as many as it carries."""

    def __init__(self, broker: Broker, connections_max: int) -> None:
        self._broker = broker
        self._connections_max = connections_max
        self._serving: set[asyncio.Task[None]] = set()

    def enter(self, wire: _Wire) -> None:
        if len(self._serving) >= self._connections_max:
            _log.warning("connection refused: %d clients are connected, no more are carried", len(self._serving))
            wire.refuse()
            return
        task = asyncio.ensure_future(self._serve(wire))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, wire: _Wire) -> None:
        try:
            await self._broker.external_connected(wire, wire, _LISTENER)
        except Exception:  # noqa: BLE001 - amqtt is not ours: what one session raises ends that session, not the others
            _log.exception("a client's session failed")
        finally:
            await wire.close()


def _spare_the_collector() -> None:
    """Collect rarely: amqtt makes a dozen short-lived tasks for each message and almost no cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _end_with_stdin() -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        signal.raise_signal(signal.SIGTERM)


async def serve(port: int, connections_max: int, *, end_with_stdin: bool) -> None:
    """Serve MQTT 3.1.1 on 127.0.0.1 until the process is ended.

    Args:
        port: TCP port.
        connections_max: how many clients are carried at once; the next one gets CONNACK 3 ("server unavailable").
        end_with_stdin: end when standard input (a pipe from the parent) does, which it does however the parent dies.

    Raises:
        OSError: the port cannot be bound.
    """
    loop = asyncio.get_running_loop()
    if end_with_stdin:
        loop.add_reader(sys.stdin.fileno(), _end_with_stdin)
    listener = ListenerConfig(type=ListenerType.EXTERNAL, bind=f"{HOST}:{port}")
    broker = Broker(BrokerConfig(listeners={_LISTENER: listener}, plugins={f"{__name__}.{Anonymous.__name__}": {}}))
    await broker.start()
    door = _Door(broker, connections_max)
    server = await loop.create_server(lambda: _Wire(door), HOST, port, backlog=connections_max)
    _spare_the_collector()
    await server.serve_forever()


def main() -> int:
    """Run the broker; the exit code is 2 with one line on stderr when the port cannot be bound."""
    parser = argparse.ArgumentParser(prog="python -m drivers.amqtt_child", description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True, metavar="N", help="TCP port on 127.0.0.1")
    parser.add_argument("--max-connections", type=int, default=MAX_CONNECTIONS, metavar="N", help="default %(default)s")
    parser.add_argument("--end-with-stdin", action="store_true", help="end when standard input (a pipe) ends")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(levelname)s: %(message)s")
    try:
        asyncio.run(serve(arguments.port, arguments.max_connections, end_with_stdin=arguments.end_with_stdin))
    except OSError as error:
        sys.stderr.write(f"{HOST}:{arguments.port}: {os.strerror(error.errno or errno.EIO)}\n")
        return 2
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
