"""What is written to disk is written by a thread of its own: a card that stalls for half a minute holds up no cycle.

The thread decides nothing and touches nothing of the controller's: it is handed whole lines and whole values.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("taiqu")

WAITING_MAX = 600
"""Ten minutes of journal lines; what does not fit is not written."""
CLOSE_S = 2.0


class Scribe:
    """Does what it is handed, one after the other. ``patient``: a full queue is waited for, as a bench wants it."""

    def __init__(self, waiting_max: int = WAITING_MAX, *, patient: bool = False) -> None:
        self._patient = patient
        self._queue: queue.Queue[Callable[[], object] | None] = queue.Queue(waiting_max)
        self._dropped = 0
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="scribe", daemon=True)
        self._thread.start()

    def do(self, act: Callable[[], object]) -> None:
        """Have something done soon, or not at all when too much waits. Raises what an earlier act has raised."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        try:
            self._queue.put(act, block=self._patient)
        except queue.Full:
            if not self._dropped:
                log.warning("the disk does not keep up: what does not fit is not written. Control goes on")
            self._dropped += 1
        else:
            if self._dropped and self._queue.qsize() <= 1:
                log.info("the disk keeps up again: %d journal lines or values were not written", self._dropped)
                self._dropped = 0

    def close(self, within_s: float = CLOSE_S) -> None:
        """Finish what waits, but wait for it no longer than this."""
        try:
            self._queue.put(None, timeout=within_s)
        except queue.Full:
            pass
        else:
            self._thread.join(within_s)
        if self._thread.is_alive():
            log.warning("the disk does not answer: the last journal lines and values are not written")
        if self._error is not None:
            log.error("while writing", exc_info=self._error)

    def _work(self) -> None:
        while (act := self._queue.get()) is not None:
            try:
                act()
            except Exception as err:  # noqa: BLE001 - it surfaces in the next cycle, which ends in safe
                self._error = err


def at_once(act: Callable[[], object]) -> None:
    """Without a thread: do it here and now."""
    act()
