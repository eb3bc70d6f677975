"""Brings up an MQTT broker as a child of this process, on the loopback only, for the emulated area and for tests.

The controller of a real area uses the broker its configuration names; nothing here is for the street. A child started
here dies with its parent, however the parent dies: a forgotten broker would feed yesterday's retained messages to
tomorrow's run.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, Self

from edge.clock import monotonic_ms

if TYPE_CHECKING:
    from types import TracebackType

Kind = Literal["mosquitto", "amqtt"]

HOST = "127.0.0.1"
BROKER_ENV = "TAIQU_BROKER"

_START_MS = 10_000
_STOP_S = 5.0
_POLL_S = 0.02
_PORT_TRIES = 3
_STDERR_TAIL_LINES = 5
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

# max_queued_messages: above its default of 1000 mosquitto drops the rest of a burst. 0 ought to mean "no bound", but
# did not in several releases up to 2.0.21, so a number it is. Packets are bounded: our own are 512 bytes, other brands'
# a few kB. Every option is known to 2.0 and to 2.1.
_MOSQUITTO_CONF = """\
listener {port} {host}
allow_anonymous true
persistence false
max_queued_messages 1000000
max_packet_size 65536
set_tcp_nodelay true
log_dest stderr
log_type error
log_type warning
"""

# MQTT 3.1.1 CONNECT (clean session, keep-alive 10 s, an id the broker gives), the CONNACK that accepts it, DISCONNECT.
_CONNECT = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x0a\x00\x00"
_CONNACK_ACCEPTED = b"\x20\x02\x00\x00"
_DISCONNECT = b"\xe0\x00"


class BrokerError(Exception):
    """A broker cannot be had; the message is one line for a person: what, where, why, and what to do next."""


def _forced() -> Kind | None:
    """Return the kind that the environment asks for, or None when it leaves the choice free."""
    value = os.environ.get(BROKER_ENV, "")
    if value == "":
        return None
    if value == "mosquitto":
        return "mosquitto"
    if value == "amqtt":
        return "amqtt"
    raise BrokerError(f"{BROKER_ENV}={value} is not a broker. Set it to mosquitto or amqtt, or unset it.")


def find_mosquitto() -> Path | None:
    """Return the mosquitto on PATH, else the one in /usr/sbin (off an ordinary user's PATH), else None.

    ``TAIQU_BROKER=amqtt`` hides it; ``TAIQU_BROKER=mosquitto`` makes its absence an error.

    Raises:
        BrokerError: ``TAIQU_BROKER`` has another value, or asks for a mosquitto that is not installed.
    """
    forced = _forced()
    if forced == "amqtt":
        return None
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if found is None and forced == "mosquitto":
        raise BrokerError(f"{BROKER_ENV}=mosquitto, but none is on PATH or in /usr/sbin. Run: apt install mosquitto")
    return Path(found) if found else None


def start_best() -> BrokerChild:
    """Start mosquitto where it is installed, else amqtt, on a free port.

    Raises:
        BrokerError: neither is installed, or the one found does not start.
    """
    if find_mosquitto() is not None:
        return BrokerChild.start("mosquitto")
    if importlib.util.find_spec("amqtt") is not None:
        return BrokerChild.start("amqtt")
    raise BrokerError("no MQTT broker is installed. Run: apt install mosquitto   or: pip install 'taiqu[demo]'")


class BrokerChild:
    """A broker that runs as a child of this process; as a context manager it stops at the end of the block.

    A mosquitto child would end with the thread that started it (the kernel's rule for parent-death signals), so it
    starts in the main thread only. The child has a process session of its own: Ctrl-C in a terminal reaches the parent
    alone, which then stops the child in its order.
    """

    def __init__(self, kind: Kind, port: int) -> None:
        """Describe a broker without starting it; use :meth:`start`."""
        self.kind: Kind = kind
        self.host = HOST
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None

    @classmethod
    def start(cls, kind: Kind, port: int | None = None) -> Self:
        """Start a broker and return when it has accepted an MQTT connection.

        Args:
            kind: "mosquitto" or "amqtt".
            port: TCP port on 127.0.0.1; None takes a free one.

        Raises:
            BrokerError: not installed, port in use, child died, or no answer within 10 s.
        """
        # Another process may take a free port between our look and the broker's bind: look again, but not for ever.
        tries_left = _PORT_TRIES if port is None else 1
        while True:
            tries_left -= 1
            child = cls(kind, _free_port() if port is None else port)
            try:
                child.restart()
            except _PortInUseError:
                if not tries_left:
                    raise
            else:
                return child

    @property
    def pid(self) -> int:
        """Process id of the running child, or of the last one."""
        if self._process is None:
            raise BrokerError(f"{self.kind} was never started. Use BrokerChild.start().")
        return self._process.pid

    def stop(self) -> None:
        """End the child: SIGTERM, then SIGKILL after 5 s. Does nothing when it has ended already."""
        if self._process and self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_S)
        self.kill()

    def kill(self) -> None:
        """End the child with SIGKILL, as a power cut would; :meth:`restart` brings it back."""
        if self._process:
            self._process.kill()
            self._process.wait()
            if self._process.stdin:
                self._process.stdin.close()
        if self._stderr:
            self._stderr.close()
            self._stderr = None

    def restart(self) -> None:
        """Stop the child if it runs and start it again on the same port; it remembers nothing.

        Raises:
            BrokerError: as :meth:`start`.
        """
        self.stop()
        self._launch()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self) -> None:
        _check_port(self.kind, self.port)
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - a file, not a pipe, which would block when nobody reads
        try:
            # The configuration is read once, at the start: its directory is gone before anybody can kill us with it.
            with tempfile.TemporaryDirectory(prefix="taiqu-broker-") as private:
                self._process = subprocess.Popen(  # noqa: S603 - our own command line, no shell
                    self._command(Path(private)),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=self._stderr,
                    env=_child_env(),
                    start_new_session=True,
                )
                self._wait_ready()
        except BaseException:
            self.kill()
            raise

    def _command(self, private: Path) -> list[str]:
        if self.kind == "amqtt":
            if importlib.util.find_spec("amqtt") is None:
                raise BrokerError("amqtt is not installed. Run: pip install 'taiqu[demo]'")
            return [sys.executable, "-P", "-m", "drivers.amqtt_child", "--port", str(self.port), "--end-with-stdin"]
        binary = find_mosquitto()
        if binary is None:
            raise BrokerError("mosquitto is not on PATH or in /usr/sbin. Run: apt install mosquitto")
        if threading.current_thread() is not threading.main_thread():
            raise BrokerError(
                "mosquitto would end with the side thread that was to start it. Start it in the main thread."
            )
        conf = private / "mosquitto.conf"
        conf.write_text(_mosquitto_conf(self.port), encoding="utf-8")
        return [sys.executable, "-P", "-S", "-m", "drivers.broker", str(os.getpid()), str(binary), "-c", str(conf)]

    def _wait_ready(self) -> None:
        assert self._process is not None  # noqa: S101 - called by _launch alone
        deadline_ms = monotonic_ms() + _START_MS
        while not _answers(self.port):
            if self._process.poll() is not None:
                raise self._death(self._process.returncode)
            if monotonic_ms() > deadline_ms:
                raise BrokerError(f"{self._where()} gave no answer within {_START_MS // 1000} s. {self._tail()}")
            time.sleep(_POLL_S)

    def _death(self, code: int) -> BrokerError:
        tail = self._tail()
        if os.strerror(errno.EADDRINUSE) in tail:
            return _port_in_use(self.kind, self.port)
        return BrokerError(f"{self._where()} ended at its start with exit code {code}. {tail}")

    def _where(self) -> str:
        return f"{self.kind} on {self.host}:{self.port}"

    def _tail(self) -> str:
        if self._stderr is None:
            return "It said nothing."
        size = os.fstat(self._stderr.fileno()).st_size
        # pread leaves the file's position alone: the child writes at that position.
        text = os.pread(self._stderr.fileno(), 4096, max(0, size - 4096)).decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return f"Its last words: {' | '.join(lines[-_STDERR_TAIL_LINES:])}" if lines else "It said nothing."


class _PortInUseError(BrokerError):
    """The port has a listener already."""


def _port_in_use(kind: Kind, port: int) -> _PortInUseError:
    return _PortInUseError(
        f"{kind} cannot listen on {HOST}:{port}: the port is in use. Stop what listens there or choose another."
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _check_port(kind: Kind, port: int) -> None:
    """Raise when the port has a listener: a readiness probe would talk to the stranger and call it our child."""
    with socket.socket() as probe:
        # As the brokers do, so that connections of a killed predecessor in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise _port_in_use(kind, port) from None
            why = error.strerror or str(error)
            raise BrokerError(f"{kind} cannot listen on {HOST}:{port}: {why}. Choose another port.") from None


def _answers(port: int) -> bool:
    """Tell whether an MQTT broker accepts a connection on this port."""
    try:
        with socket.create_connection((HOST, port), timeout=1.0) as wire:
            wire.sendall(_CONNECT)
            accepted = wire.recv(len(_CONNACK_ACCEPTED), socket.MSG_WAITALL) == _CONNACK_ACCEPTED
            wire.sendall(_DISCONNECT)
            return accepted
    except OSError:
        return False


def _mosquitto_conf(port: int) -> str:
    conf = _MOSQUITTO_CONF.format(port=port, host=HOST)
    if os.geteuid() == 0:
        # As root mosquitto becomes another user, and the kernel takes the parent-death signal off a process that does.
        conf += f"user {pwd.getpwuid(0).pw_name}\n"
    return conf


def _child_env() -> dict[str, str]:
    """Return the environment with the folder of these packages on PYTHONPATH: they may run without being installed."""
    home = str(Path(__file__).resolve().parent.parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))}


def _exec_bound(parent_pid: int, command: list[str]) -> None:
    """Become ``command``, which the kernel kills when the parent ends.

    A program of its own because Python code between fork and exec is not safe in a parent with threads.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        sys.exit(1)  # the parent ended before the kernel was told
    os.execv(command[0], command)  # noqa: S606 - our own command line


if __name__ == "__main__":
    _exec_bound(int(sys.argv[1]), sys.argv[2:])
