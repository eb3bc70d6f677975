"""The chargers of one area behind the native dialect: a link and the dialect, nothing more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.chargers import taiqu
from drivers.link import Link

if TYPE_CHECKING:
    from edge.ports import Message, Setpoint


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
        bench: bool,
    ) -> None:
        self.area = area
        self.dropped = 0
        self.last_drop = ""
        self.link = Link(
            host,
            port,
            client,
            taiqu.subscriptions(area),
            username=username,
            password=password,
            marker=f"taiqu/{area}/all/dn/sync" if bench else "",
        )

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
                self.dropped += 1
                self.last_drop = str(err)
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
