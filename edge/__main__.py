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
from edge.memory import MemoryFile
from edge.planning import Beside, Inline
from edge.ports import MeterError
from edge.site import fallback_problem

if TYPE_CHECKING:
    from types import FrameType

    from edge.planning import Runner

log = logging.getLogger("taiqu")

TICK_MS = 1000
PROBE_MS = 3000
SECRET_MAX = 1024
GOODBYE_MS = 300


def load(path: Path) -> cfg.AreaConfig:
    """The area's configuration, validated as a whole. Raises edge.config.ConfigError with every problem."""
    return cfg.load(path, MODELS.keys())


def run(
    config: cfg.AreaConfig,
    *,
    journal: Path | None = None,
    clock: tuple[str, int] | None = None,
    memory: Path | None = None,
) -> int:
    """Control the area until told to stop. Returns the exit code; never gives up on an absent meter or broker.

    ``clock`` is the address of a bench that grants the ticks; without it a tick happens every second. Raises OSError
    when journal or memory cannot be written or the bench is not there. ``memory`` is where what is learned is kept.
    """
    store = MemoryFile(memory, config.area_id)
    learned = store.load()
    if problem := fallback_problem(cfg.site_of(config, learned), config.charging):
        log.warning("%s: by what was learned of residents %s", config.area_id, problem)
    book = Journal(journal)
    ticks: LockstepClock | RealClock = LockstepClock(*clock) if clock else RealClock(TICK_MS)
    meter, *feeder_meters = _meters(config)
    assert meter is not None  # noqa: S101 - the transformer's is always there
    chargers = _chargers(config, bench=clock is not None)
    # In virtual time the planner answers in place; on a gateway it has a process of its own, and the tick never waits.
    runner: Runner = Inline() if clock else Beside()
    controller = Controller(config, meter, chargers, book, runner, learned, tuple(feeder_meters))

    def stop(_signal: int, _frame: FrameType | None) -> None:
        ticks.stopped = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    log.info(
        "%s: %d kVA, %d charger(s), limit %g %%", config.area_id, config.rating_va // 1000, len(config.chargers),
        config.limit_permille / 10,
    )  # fmt: skip
    try:
        _loop(controller, ticks, chargers, store)
        controller.stop()
        chargers.link.pump(monotonic_ms() + GOODBYE_MS)
    finally:
        store.save(controller.memory)
        runner.close()
        chargers.close()
        for one in (meter, *feeder_meters):
            if one is not None:
                one.close()
        book.close()
    log.info("%s: stopped", config.area_id)
    return 0


def probe(config: cfg.AreaConfig) -> list[tuple[bool, str]]:
    """Read each meter once and log in to the broker once: (did it work, one line) for each. Changes nothing."""
    results: list[tuple[bool, str]] = []
    names = ["the meter", *(f"the meter of feeder {feeder.id}" for feeder in config.feeders)]
    for name, meter in zip(names, _meters(config), strict=True):
        if meter is not None:
            results.append(_probe_meter(config, name, meter))
    link = _chargers(config, bench=False, client=f"taiqu-{config.area_id}-check").link
    end_ms = monotonic_ms() + PROBE_MS
    while not link.connected and monotonic_ms() < end_ms:
        link.pump(monotonic_ms() + 50)
    where = f"{link.host}:{link.port}"
    slow = f"broker {where}: no answer within {PROBE_MS // 1000} s. Check address and network"
    trouble = slow if link.trouble.endswith("connecting") else link.trouble
    results.append((link.connected, trouble or f"the broker at {where} takes us in"))
    link.close()
    return results


def _probe_meter(config: cfg.AreaConfig, name: str, meter: ModbusMeter) -> tuple[bool, str]:
    try:
        reading = meter.read(monotonic_ms())
    except MeterError as err:
        return False, str(err) if name == "the meter" else f"{name}: {err}"
    finally:
        meter.close()
    volts, amps = max(reading.mv) / 1000, max(reading.ma) / 1000
    loading = f" = {100 * reading.s_va / config.rating_va:.1f} %" if name == "the meter" else ""
    return True, f"{name} answers: {reading.s_va / 1000:.1f} kVA{loading}, {volts:.1f} V, {amps:.1f} A"


def _meters(config: cfg.AreaConfig) -> list[ModbusMeter | None]:
    """The transformer's meter, then each feeder's, None where it has none."""
    rows = [config.meter, *(feeder.meter for feeder in config.feeders)]
    return [
        None
        if m is None
        else ModbusMeter(MODELS[m.model], m.host, m.port, m.unit, m.ct_ratio_milli, exports=config.exports)
        for m in rows
    ]


def _chargers(config: cfg.AreaConfig, *, bench: bool, client: str = "") -> NativeChargers:
    broker = config.broker
    return NativeChargers(
        config.area_id,
        broker.host,
        broker.port,
        broker.username,
        _secret(broker),
        client=client or f"taiqu-{config.area_id}",
        ids=[charger.id for charger in config.chargers],
        bench=bench,
    )


def _secret(broker: cfg.BrokerConfig) -> str | None:
    """The broker's password. Raises ConfigError when its file cannot be read."""
    if broker.password_file is None:
        return None
    try:
        secret = broker.password_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as err:
        reason = getattr(err, "strerror", None) or "is not text"
    else:
        if len(secret) <= SECRET_MAX:
            return secret
        reason = f"holds {len(secret)} characters, more than {SECRET_MAX}"
    raise cfg.ConfigError(
        [f"[broker] password_file {broker.password_file}: {reason}. Put the password, alone, into that file."]
    )


def _loop(controller: Controller, ticks: Clock, chargers: NativeChargers, store: MemoryFile) -> None:
    link = chargers.link
    while (moment := ticks.wait(link)) is not None:
        controller.tick(moment)
        store.keep(controller.memory, moment.now_ms)
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
