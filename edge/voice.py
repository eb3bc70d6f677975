"""What the controller says to people: one readable line on every change of state, in the log."""

from __future__ import annotations

import logging

log = logging.getLogger("taiqu")

FLAPS, FLAPS_MS, FLAP_GAP_MS = 6, 600_000, 60_000
"""What has been said so often in ten minutes is said once a minute at most."""


class Voice:
    """Speaks for one area, by topic: nothing while a state stays, little while it flaps."""

    def __init__(self, area_id: str) -> None:
        self.area_id = area_id
        self.now_ms = 0
        """The moment of the tick."""
        self._said: dict[str, str] = {}
        self._said_ms: dict[str, list[int]] = {}

    def said(self, topic: str) -> bool:
        """Was anything ever said of this?"""
        return topic in self._said

    def say(self, topic: str, text: str, level: int = logging.INFO) -> None:
        """Say how it stands with this, if that is another than was said last."""
        if self._said.get(topic) == text:
            return
        often = [at_ms for at_ms in self._said_ms.get(topic, ()) if self.now_ms - at_ms < FLAPS_MS]
        if len(often) >= FLAPS and self.now_ms - often[-1] < FLAP_GAP_MS:
            return  # it comes and goes: what holds then is said later
        self._said[topic], self._said_ms[topic] = text, [*often, self.now_ms]
        log.log(level, "%s: %s", self.area_id, text)

    def warn(self, topic: str, text: str) -> None:
        """Say it as a warning."""
        self.say(topic, text, logging.WARNING)
