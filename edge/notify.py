"""What the service manager is told: systemd's datagrams, by hand. Without ``NOTIFY_SOCKET`` nobody is told anything.

``WATCHDOG=1`` is said by the thread that decides, after a whole cycle and never otherwise: a cycle that hangs or raises
is followed by silence, and the service manager ends the process.
"""

from __future__ import annotations

import os
import socket

ADDRESS = "NOTIFY_SOCKET"


class Notifier:
    """Tells the service manager how the daemon is. ``address``: a path, or a name in the abstract space behind "@"."""

    def __init__(self, address: str | None = None) -> None:
        self._address = "\0" + address[1:] if address and address[0] == "@" else address
        self._socket = None
        self._ready = False
        self._status = ""
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)  # a service manager that does not listen keeps nobody waiting

    @classmethod
    def from_environment(cls) -> Notifier:
        """As the service manager asks for it. The variable is taken away: no child of ours may speak for us."""
        return cls(os.environ.pop(ADDRESS, None))

    def alive(self, status: str) -> None:
        """One whole cycle is done."""
        lines = ["WATCHDOG=1"]
        if not self._ready:
            lines.append("READY=1")
        if status != self._status:
            lines.append(f"STATUS={status}")
        self._ready, self._status = True, status
        self._send(lines)

    def stopping(self, status: str) -> None:
        """The daemon is about to end."""
        self._send(["STOPPING=1", f"STATUS={status}"])

    def _send(self, lines: list[str]) -> None:
        if self._socket is None or self._address is None:
            return
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            self._ready = False  # whoever listens again is told everything
            self._status = ""

    def close(self) -> None:
        """No more words."""
        if self._socket is not None:
            self._socket.close()
