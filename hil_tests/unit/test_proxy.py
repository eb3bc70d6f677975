"""The fault proxy: each fault does to the wire what it says, no more, and the same again for the same seed."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from edge.clock import monotonic_ms
from hil_tests.rig.proxy import HOST, SOUND, Fault, FaultProxy, Mangler

if TYPE_CHECKING:
    from collections.abc import Iterator

WITHIN_S = 5.0
QUIET_S = 0.2
TEXT = bytes(range(256)) * 8


class Echo:
    """A server that says everything back, and remembers how each of its connections ended."""

    def __init__(self) -> None:
        self.listener = socket.create_server((HOST, 0))
        self.port = int(self.listener.getsockname()[1])
        self.ends: list[str] = []
        self.ended = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                wire, _ = self.listener.accept()
                threading.Thread(target=self._talk, args=(wire,), daemon=True).start()

    def die(self) -> None:
        """Listen no more; shut down first, for a thread waits in accept."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _talk(self, wire: socket.socket) -> None:
        with wire:
            try:
                while data := wire.recv(65_536):
                    wire.sendall(data)
                self.ends.append("end")
            except ConnectionResetError:
                self.ends.append("reset")
            self.ended.set()


@pytest.fixture
def echo() -> Iterator[Echo]:
    """An echo server."""
    server = Echo()
    yield server
    with contextlib.suppress(OSError):
        server.die()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[FaultProxy]:
    """A proxy before it."""
    with FaultProxy(HOST, echo.port) as between:
        yield between


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[socket.socket]:
    """A client of the proxy that has had one answer, so that both sides of its connection stand."""
    with socket.create_connection((HOST, proxy.port), WITHIN_S) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire.sendall(b"hello")
        assert receive(wire, 5) == b"hello"
        yield wire


def receive(wire: socket.socket, count: int) -> bytes:
    """Exactly so many bytes."""
    got = b""
    while len(got) < count and (more := wire.recv(count - len(got))):
        got += more
    return got


def is_quiet(wire: socket.socket) -> bool:
    """Is there nothing to read for a while, not even an end?"""
    return not select.select([wire], [], [], QUIET_S)[0]


@pytest.mark.parametrize("fault", [Fault(corrupt_permille=20), Fault(repeat_permille=500), Fault(slice_bytes=7)])
def test_the_same_seed_spoils_the_same_way(fault: Fault) -> None:
    """One seed gives the same bytes in the same segments again; another seed gives others."""

    def spoilt(seed: str) -> list[list[bytes]]:
        mangler = Mangler(seed)
        return [mangler.mangle(TEXT, fault) for _ in range(20)]

    assert spoilt("1 1 up") == spoilt("1 1 up")
    assert spoilt("1 1 up") != spoilt("1 2 up")
    assert spoilt("1 1 up") != spoilt("1 1 down")


def test_corruption_does_not_depend_on_the_segments() -> None:
    """The same bytes in other segments, as TCP may cut them, are corrupted at the same places."""
    fault = Fault(corrupt_permille=20)
    whole, cut = Mangler("s"), Mangler("s")
    pieces = [TEXT[at:end] for at, end in pairwise([0, 1, 100, 777, len(TEXT)])]
    assert b"".join(whole.mangle(TEXT, fault)) == b"".join(b"".join(cut.mangle(piece, fault)) for piece in pieces)


def test_corruption_flips_one_bit_in_so_many_bytes() -> None:
    """20 in a thousand bytes differ, each in one bit, and the length stays."""
    (got,) = Mangler("s").mangle(TEXT * 10, Fault(corrupt_permille=20))
    changed = [a ^ b for a, b in zip(got, TEXT * 10, strict=True) if a != b]
    assert {flips.bit_count() for flips in changed} == {1}
    assert len(changed) == pytest.approx(0.02 * len(got), rel=0.2)


def test_repetition_repeats_a_segment_or_its_tail() -> None:
    """Every segment arrives, and what follows it is nothing, its tail or all of it; about half of them are repeated."""
    mangler = Mangler("s")
    got = [b"".join(mangler.mangle(TEXT, Fault(repeat_permille=500))) for _ in range(200)]
    extra = [data[len(TEXT) :] for data in got]
    assert all(data.startswith(TEXT) and TEXT.endswith(more) for data, more in zip(got, extra, strict=True))
    assert 60 < sum(more != b"" for more in extra) < 140
    assert TEXT in extra
    assert any(0 < len(more) < len(TEXT) for more in extra)


def test_slices_are_small_and_lose_nothing() -> None:
    """No segment is longer than said, none is empty, and together they are what was sent."""
    slices = Mangler("s").mangle(TEXT, Fault(slice_bytes=7))
    assert b"".join(slices) == TEXT
    assert {len(piece) for piece in slices} == set(range(1, 8))


def test_a_sound_wire_passes_everything(client: socket.socket) -> None:
    """Without a fault a conversation is what it is without a proxy."""
    client.sendall(TEXT)
    assert receive(client, len(TEXT)) == TEXT


def test_sliced_and_delayed_bytes_arrive_in_order(proxy: FaultProxy, client: socket.socket) -> None:
    """Slices lose nothing on a real wire; a delay each way is at least that long."""
    proxy.both(Fault(slice_bytes=3, delay_ms=150))
    begun_ms = monotonic_ms()
    client.sendall(TEXT[:300])
    assert receive(client, 300) == TEXT[:300]
    assert monotonic_ms() - begun_ms >= 300


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_stalled_wire_keeps_the_connection_and_the_bytes(
    proxy: FaultProxy, client: socket.socket, echo: Echo, way: str
) -> None:
    """Nothing passes while it stalls, in one direction or the other; then all of it does, on the same connection."""
    setattr(proxy, way, Fault(stall=True))
    client.sendall(b"late")
    assert is_quiet(client)
    setattr(proxy, way, SOUND)
    assert receive(client, 4) == b"late"
    assert proxy.connections == 1
    assert echo.ends == []


def test_a_reset_reaches_both_sides(proxy: FaultProxy, client: socket.socket, echo: Echo) -> None:
    """RST to the client and to the server; whoever connects again is served."""
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert echo.ended.wait(WITHIN_S)
    assert echo.ends == ["reset"]
    with socket.create_connection((HOST, proxy.port), WITHIN_S) as again:
        again.sendall(b"again")
        assert receive(again, 5) == b"again"


def test_half_open_with_the_server_gone(proxy: FaultProxy, client: socket.socket, echo: Echo) -> None:
    """The server's side has ended; the client may go on speaking, and hears nothing, not even an end."""
    proxy.half_open()
    assert echo.ended.wait(WITHIN_S)
    client.sendall(b"anybody?")
    client.sendall(b"there?")
    assert is_quiet(client)


def test_half_open_with_the_client_gone(proxy: FaultProxy, client: socket.socket, echo: Echo) -> None:
    """The client's side has ended; the server is not told."""
    proxy.half_open(client_gone=True)
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert not echo.ended.wait(QUIET_S)


def test_a_refusing_proxy_leaves_standing_connections_alone(proxy: FaultProxy, client: socket.socket) -> None:
    """A new client is refused, the old one is served; afterwards the port is the same."""
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, proxy.port), WITHIN_S)
    client.sendall(b"still")
    assert receive(client, 5) == b"still"
    proxy.accept()
    with socket.create_connection((HOST, proxy.port), WITHIN_S) as late:
        late.sendall(b"back")
        assert receive(late, 4) == b"back"


def test_a_dead_server_ends_its_clients(proxy: FaultProxy, client: socket.socket, echo: Echo) -> None:
    """Nobody behind the proxy: who connects is reset, as by a machine whose service has died."""
    echo.die()
    client.close()
    assert echo.ended.wait(WITHIN_S)
    assert echo.ends == ["end"]
    with socket.create_connection((HOST, proxy.port), WITHIN_S) as late, pytest.raises(ConnectionResetError):
        late.recv(1)
