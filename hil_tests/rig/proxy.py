"""A TCP fault proxy: between a client and its server on this machine, it spoils the wire as it is told.

Faults are set for each direction while it runs (``up`` is from the client to the server, ``down`` back), or happen at
once (``reset``, ``half_open``, ``refuse``). What it does to the bytes depends on the seed, the number of the connection
and the bytes alone, so that the same conversation is spoilt in the same way again.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Coroutine

HOST = "127.0.0.1"
CHUNK = 65_536
READY_S = 10.0
STALL_POLL_S = 0.01
SLICE_GAP_S = 0.001
"""Between two slices, so that each is a segment of its own."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to bytes in one direction; as it stands here: nothing."""

    stall: bool = False
    """The connection stays and nothing passes; what was said meanwhile arrives afterwards."""
    delay_ms: int = 0
    """What arrives waits so long, and what comes meanwhile waits with it."""
    slice_bytes: int = 0
    """Segments of 1 to so many bytes; 0: as they came."""
    corrupt_permille: float = 0.0
    """So many bytes in a thousand have one bit flipped."""
    repeat_permille: float = 0.0
    """So many segments in a thousand arrive twice, half of these only with their tail."""


SOUND = Fault()


class Mangler:
    """What a fault makes of the bytes of one direction of one connection."""

    def __init__(self, seed: str) -> None:
        self._bits, self._segments = Random(f"{seed} bits"), Random(f"{seed} segments")

    def mangle(self, data: bytes, fault: Fault) -> list[bytes]:
        """The segments to send instead of ``data``, in their order."""
        if fault.corrupt_permille:
            data = self._corrupt(data, fault.corrupt_permille / 1000.0)
        if fault.repeat_permille and self._segments.random() < fault.repeat_permille / 1000.0:
            tail_only = self._segments.random() < 0.5
            data += data[self._segments.randrange(len(data)) if tail_only else 0 :]
        return self._slice(data, fault.slice_bytes) if fault.slice_bytes else [data]

    def _corrupt(self, data: bytes, share: float) -> bytes:
        bits = self._bits
        return bytes(byte ^ (1 << bits.randrange(8)) if bits.random() < share else byte for byte in data)

    def _slice(self, data: bytes, most: int) -> list[bytes]:
        slices = []
        while data:
            size = self._segments.randint(1, most)
            slices.append(data[:size])
            data = data[size:]
        return slices


@dataclass(slots=True)
class _Pair:
    """One proxied connection: the client's side and the server's."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    gone: asyncio.StreamWriter | None = None
    """The side that left without a word to the other."""
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def reset(self) -> None:
        """RST to both sides."""
        for task in self.tasks:
            task.cancel()
        for side in (self.client, self.server):
            _rst(side)


class FaultProxy:
    """Listens on a free port of 127.0.0.1 and passes everything on to ``host:port``. A context manager.

    Methods and attributes may be used from any thread.
    """

    def __init__(self, host: str, port: int, seed: int = 1) -> None:
        self.server, self.seed = (host, port), seed
        self.up = self.down = SOUND
        self.host, self.port = HOST, 0
        self.connections = 0
        """How many clients have come so far."""
        self._pairs: list[_Pair] = []
        self._serving: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.accept()
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(READY_S)
        self._loop.close()

    # ------------------------------------------------------------------------------------------------ what one may do
    def both(self, fault: Fault) -> None:
        """The same fault in both directions."""
        self.up = self.down = fault

    def reset(self) -> None:
        """End every connection with an RST to both sides."""
        self._do(self._reset())

    def half_open(self, *, client_gone: bool = False) -> None:
        """The server's side of every connection goes away (or the client's) and the other side is never told."""
        self._do(self._half_open(client_gone))

    def refuse(self) -> None:
        """Listen no more: who connects is refused. Connections that stand are left alone."""
        self._do(self._refuse())

    def accept(self) -> None:
        """Listen, on the same port as before."""
        self._do(self._accept())

    # ------------------------------------------------------------------------------------------------------ its thread
    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(READY_S)

    async def _accept(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._take, HOST, self.port)
            self.port = int(self._listener.sockets[0].getsockname()[1])

    async def _refuse(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    async def _reset(self) -> None:
        for pair in self._pairs:
            pair.reset()
        self._pairs.clear()

    async def _half_open(self, client_gone: bool) -> None:
        for pair in self._pairs:
            if pair.gone is None:
                pair.gone = pair.client if client_gone else pair.server
                _rst(pair.gone)

    async def _end(self) -> None:
        await self._refuse()
        await self._reset()
        if self._serving:
            await asyncio.wait(self._serving)

    def _take(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = self._loop.create_task(self._serve(reader, client, f"{self.seed} {self.connections}"))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter, seed: str) -> None:
        try:
            answers, server = await asyncio.open_connection(*self.server)
        except OSError:
            _rst(client)
            return
        pair = _Pair(client, server)
        self._pairs.append(pair)
        up = asyncio.create_task(self._pass(pair, reader, server, f"{seed} up"))
        down = asyncio.create_task(self._pass(pair, answers, client, f"{seed} down"))
        pair.tasks = {up, down}
        await asyncio.wait(pair.tasks)
        if pair in self._pairs:
            self._pairs.remove(pair)
        for side in (client, server):
            side.close()

    async def _pass(self, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seed: str) -> None:
        """Carry one direction until its sender ends; its end is passed on, unless it left without a word."""
        upward, mangler = writer is pair.server, Mangler(seed)
        _no_delay(writer)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(CHUNK):
                await self._hold(upward)
                if pair.gone is not None:
                    continue  # whoever still speaks is not told that nobody listens
                for piece in mangler.mangle(data, self._fault(upward)):
                    writer.write(piece)
                    await writer.drain()
                    if self._fault(upward).slice_bytes:
                        await asyncio.sleep(SLICE_GAP_S)
            await self._hold(upward)
        if pair.gone is None:
            writer.close()

    def _fault(self, upward: bool) -> Fault:
        return self.up if upward else self.down

    async def _hold(self, upward: bool) -> None:
        """Keep what has come for as long as the fault says."""
        if delay_ms := self._fault(upward).delay_ms:
            await asyncio.sleep(delay_ms / 1000)
        while self._fault(upward).stall:  # noqa: ASYNC110 - faults are plain attributes, set from other threads
            await asyncio.sleep(STALL_POLL_S)


def _rst(side: asyncio.StreamWriter) -> None:
    """End a connection with an RST: linger 0, then close."""
    wire: socket.socket | None = side.get_extra_info("socket")
    if wire is not None:
        with contextlib.suppress(OSError):
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    side.transport.abort()


def _no_delay(side: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        side.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
