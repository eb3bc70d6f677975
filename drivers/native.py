"""The chargers of one area behind the native dialect: a link and the dialect, nothing more."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from drivers.chargers import taiqu
from drivers.link import Link

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge.ports import Message, Setpoint


log = logging.getLogger("taiqu")

STRANGERS_MAX = 1000
KINDS = ("/up/state", "/up/wish")


class NativeChargers:
    """Hears and commands every native charger of an area over one broker."""

    def __init__(
        self,
        area: str,
        host: str,
        port: int,
        username: str | None = None,
        password: str | None = None,
        *,
        client: str,
        ids: Iterable[str],
        bench: bool,
    ) -> None:
        self.area = area
        self.ids = frozenset(ids)
        self.unreadable = 0
        self.last_unreadable = ""
        self._strangers: set[str] = set()
        self.link = Link(
            host,
            port,
            client,
            taiqu.subscriptions(area),
            username=username,
            password=password,
            marker=f"taiqu/{area}/all/dn/sync" if bench else "",
        )
        self.link.accept = self._accept

    def _accept(self, topic: str) -> bool:
        """Only registered chargers take a place in the inbox; a stranger's first message does, so that he is listed."""
        parts = topic.split("/", 3)
        name = parts[2] if len(parts) == 4 else ""
        if name in self.ids:
            return topic.endswith(KINDS)
        if name in self._strangers or len(self._strangers) >= STRANGERS_MAX:
            return False
        self._strangers.add(name)
        return True

    @property
    def dropped(self) -> int:
        """Messages that could not be read or found no place."""
        return self.unreadable + self.link.dropped

    @property
    def connected(self) -> bool:
        """Does the broker answer and is the subscription taken?"""
        return self.link.connected

    @property
    def trouble(self) -> str:
        """Why it is not connected, in one line; empty when it is."""
        return self.link.trouble

    def take(self) -> list[Message]:
        """What was heard, decoded; what cannot be read is counted and dropped."""
        messages: list[Message] = []
        for topic, payload in self.link.take():
            try:
                message = taiqu.decode(self.area, topic, payload)
            except taiqu.DialectError as err:
                self.unreadable += 1
                self.last_unreadable = f"{topic[:120]!r}: {err}"
                if str(self.unreadable).strip("0") == "1":  # at 1, 10, 100 ...: a flood fills no log
                    log.warning("dropped %s", self.last_unreadable)
                continue
            if message is not None:
                messages.append(message)
        return messages

    def send(self, setpoint: Setpoint) -> bool:
        """Send now or not at all."""
        return self.link.publish(taiqu.topic_of(self.area, setpoint), taiqu.encode(setpoint))

    def close(self) -> None:
        """Say goodbye."""
        self.link.close()
