"""The composition root: wires meter, chargers and clock into the loop. The only place in edge that knows drivers."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from drivers.meters import MODELS
from drivers.modbus_meter import ModbusMeter
from drivers.native import NativeChargers
from edge import config as cfg
from edge.clock import Clock, LockstepClock, RealClock, monotonic_ms
from edge.journal import Journal
from edge.loop import Controller

if TYPE_CHECKING:
    from types import FrameType

log = logging.getLogger("taiqu")

TICK_MS = 1000
GOODBYE_MS = 300


def load(path: Path) -> cfg.AreaConfig:
    """The area's configuration, validated as a whole. Raises edge.config.ConfigError with every problem."""
    return cfg.load(path, MODELS.keys())


def run(config: cfg.AreaConfig, *, journal: Path | None = None, clock: tuple[str, int] | None = None) -> int:
    """Control the area until told to stop. Returns the exit code; never gives up on an absent meter or broker.

    ``clock`` is the address of a bench that grants the ticks; without it a tick happens every second. Raises OSError
    when the journal cannot be opened or the bench is not there.
    """
    ticks: LockstepClock | RealClock = LockstepClock(*clock) if clock else RealClock(TICK_MS)
    book = Journal(journal)
    meter = ModbusMeter(
        MODELS[config.meter.model],
        config.meter.host,
        config.meter.port,
        config.meter.unit,
        config.meter.ct_ratio_milli,
    )
    broker = config.broker
    secret = broker.password_file.read_text(encoding="utf-8").strip() if broker.password_file else None
    chargers = NativeChargers(
        config.area_id, broker.host, broker.port, broker.username, secret, bench=clock is not None
    )
    controller = Controller(config, meter, chargers, book)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        ticks.stopped = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    log.info(
        "%s: %d kVA, %d chargers, limit %g %%", config.area_id, config.rating_va // 1000, len(config.chargers),
        config.limit_permille / 10,
    )  # fmt: skip
    try:
        _loop(controller, ticks, chargers)
        controller.stop()
        chargers.link.pump(monotonic_ms() + GOODBYE_MS)
    finally:
        chargers.close()
        meter.close()
        book.close()
    log.info("%s: stopped", config.area_id)
    return 0


def _loop(controller: Controller, ticks: Clock, chargers: NativeChargers) -> None:
    link = chargers.link
    while (moment := ticks.wait(link)) is not None:
        controller.tick(moment)
        ticks.done(link)


def main() -> int:
    """``python -m edge area.toml``: the daemon without the tools around it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m edge area.toml\n")
        return 2
    try:
        return run(load(Path(sys.argv[1])))
    except cfg.ConfigError as err:
        sys.stderr.write(f"{err}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
