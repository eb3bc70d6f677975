"""The life of the daemon: one cycle after the other until told to stop, or until one of them raises.

An exception in a cycle (a callback of the link is a part of it) ends the process and never the cycle alone: everybody
is told the lower of present and fallback, and the service manager starts the daemon anew, without authority.
"""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.clock import Clock, Pumped
    from edge.loop import Controller
    from edge.notify import Notifier

log = logging.getLogger("taiqu")

CRASHED = 70
"""The exit code of a daemon in which something was wrong (EX_SOFTWARE of sysexits.h)."""
GOODBYE_MS = 300
CRASH_CHARS = 8000


def live(
    controller: Controller, ticks: Clock, link: Pumped, notifier: Notifier, keep: Callable[[int], None], note: str = ""
) -> int:
    """Cycle until told to stop; returns the exit code. However it ends, everybody has been told to come down.

    ``keep(now_ms)`` has written what must survive. ``note`` is said to the service manager with every status.
    """
    crash = ""
    try:
        while (moment := ticks.wait(link)) is not None:
            controller.tick(moment)
            keep(moment.now_ms)
            ticks.done(link)
            if controller.done_ms == moment.now_ms:
                notifier.alive(note + controller.status)
    except Exception:  # noqa: BLE001 - whatever it is, nobody may go on deciding after it
        crash = traceback.format_exc()
    quietly(controller.stop)
    quietly(lambda: link.flush(GOODBYE_MS))
    if not crash:
        notifier.stopping("stopped on purpose")
        return 0
    log.error("%s: ends on an error of its own, exit code %d\n%s", controller.config.area_id, CRASHED, crash)
    notifier.stopping(f"ended by an error: {crash.strip().splitlines()[-1]}")
    line = {"now_ms": controller.now_ms, "wall_s": controller.wall_s, "crash": crash[-CRASH_CHARS:]}
    quietly(lambda: controller.journal.write(line))
    return CRASHED


def quietly(act: Callable[[], object]) -> None:
    """Do one of the last things; what is wrong with it is said, and keeps none of the others from being done."""
    try:
        act()
    except Exception:
        log.exception("while ending")
