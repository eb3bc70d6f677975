"""The composition root: wires meter, chargers and clock into the loop. The only place in edge that knows drivers."""

from __future__ import annotations

import faulthandler
import logging
import secrets
import signal
import sys
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from drivers.meters import MODELS
from drivers.modbus_meter import ModbusMeter
from drivers.native import NativeChargers
from edge import config as cfg
from edge.clock import LockstepClock, RealClock, monotonic_ms
from edge.cycle import live, quietly
from edge.fleet import EPOCH_STEP
from edge.journal import Journal
from edge.loop import Controller
from edge.memory import MemoryFile
from edge.notify import Notifier
from edge.planning import Beside, Inline
from edge.ports import MeterError
from edge.scribe import Scribe
from edge.site import fallback_problem

if TYPE_CHECKING:
    from types import FrameType

    from drivers.link import Link
    from edge.memory import Memory
    from edge.planning import Runner
    from edge.state import State

log = logging.getLogger("taiqu")

TICK_MS = 1000
PROBE_MS = 3000
SECRET_MAX = 1024


def load(path: Path, state: State | None = None) -> cfg.AreaConfig:
    """The area's configuration, validated as a whole; with a ``state``, the last good one where the file is broken.

    Raises edge.config.ConfigError with every problem, OSError when the state cannot be kept where it should be.
    """
    return cfg.load(path, MODELS.keys()) if state is None else state.load(path, MODELS.keys())


def run(
    config: cfg.AreaConfig,
    *,
    journal: Path | None = None,
    clock: tuple[str, int] | None = None,
    memory: Path | None = None,
    state: State | None = None,
) -> int:
    """Control the area until told to stop. Returns the exit code; never gives up on an absent meter, broker or disk.

    ``clock`` is the address of a bench that grants the ticks; without it a tick happens every second. Raises OSError
    when journal or memory stand where nothing can be written, or the bench is not there. ``memory`` is where what is
    learned is kept, else in ``state``, which must have loaded ``config``. An error of the daemon's own is CRASHED.
    """
    with suppress(ValueError):  # a standard error without a file
        faulthandler.enable()  # a watchdog that loses patience (SIGABRT) leaves word where the cycle hung
    with ExitStack() as last:
        notifier = Notifier.from_environment()
        last.callback(quietly, notifier.close)
        scribe = Scribe(patient=clock is not None)
        last.callback(quietly, scribe.close)
        store = MemoryFile(state.memory if state and memory is None else memory, config.area_id, scribe.do)
        learned = store.load()
        if problem := fallback_problem(cfg.site_of(config, learned), config.charging):
            log.warning("%s: by what was learned of residents %s", config.area_id, problem)
        book = Journal(journal, do=scribe.do)
        last.callback(quietly, book.close)
        ticks: LockstepClock | RealClock = LockstepClock(*clock) if clock else RealClock(TICK_MS)
        controller, link = _wire(config, book, learned, state.epoch if state else 0, bench=bool(clock), last=last)
        _listen_to_signals(ticks)
        note = _announce(config, book, state)

        def keep(now_ms: int) -> None:
            store.keep(controller.memory, now_ms)
            if state is not None:
                state.keep(controller.epoch, now_ms, scribe.do)

        code = live(controller, ticks, link, notifier, keep, note)
        if code == 0:  # what a broken run has learned may be what was wrong with it
            quietly(lambda: store.save(controller.memory))
    log.info("%s: stopped", config.area_id)
    return code


def _wire(
    config: cfg.AreaConfig, book: Journal, learned: Memory, stored_epoch: int, *, bench: bool, last: ExitStack
) -> tuple[Controller, Link]:
    """The controller with its meters, chargers and planner; ``last`` closes them."""
    meter = _meter(config.meter, config.exports)
    feeder_meters = tuple(None if f.meter is None else _meter(f.meter, config.exports) for f in config.feeders)
    for one in (meter, *feeder_meters):
        if one is not None:
            last.callback(quietly, one.close)
    chargers = _chargers(config, bench=bench)
    last.callback(quietly, chargers.close)
    # In virtual time the planner answers in place; on a gateway it has a process of its own, and the tick never waits.
    runner: Runner = Inline() if bench else Beside()
    last.callback(quietly, runner.close)
    # Two controllers that begin at once draw the same number once in 65,536 times; who sees it begins anew.
    number = partial(secrets.randbelow, EPOCH_STEP)
    controller = Controller(
        config, meter, chargers, book, runner, learned, feeder_meters, stored_epoch=stored_epoch, tie_break=number
    )
    return controller, chargers.link


def _listen_to_signals(ticks: LockstepClock | RealClock) -> None:
    def stop(_signal: int, _frame: FrameType | None) -> None:
        ticks.stopped = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def _announce(config: cfg.AreaConfig, book: Journal, state: State | None) -> str:
    """Say what begins. Returns what has to be said with every status: that a broken file is not in force."""
    log.info(
        "%s: %d kVA, %d charger(s), limit %g %%", config.area_id, config.rating_va // 1000, len(config.chargers),
        config.limit_permille / 10,
    )  # fmt: skip
    if state is None or not state.problems:
        return ""
    book.write({"now_ms": monotonic_ms(), "config": "last good", "file": str(config.path), "problems": state.problems})
    return f"{config.path.name} is broken, runs on the configuration accepted last; "


def probe(config: cfg.AreaConfig) -> list[tuple[bool, str]]:
    """Read each meter once and log in to the broker once: (did it work, one line) for each. Changes nothing."""
    results: list[tuple[bool, str]] = []
    feeders = ((f"the meter of feeder {feeder.id}", feeder.meter) for feeder in config.feeders)
    for name, meter in (("the meter", config.meter), *feeders):
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


def _probe_meter(config: cfg.AreaConfig, name: str, asked: cfg.MeterConfig) -> tuple[bool, str]:
    meter = _meter(asked, config.exports)
    try:
        reading = meter.read(monotonic_ms())
    except MeterError as err:
        return False, str(err) if name == "the meter" else f"{name}: {err}"
    finally:
        meter.close()
    if asked.serial and reading.identity and asked.serial != reading.identity:
        right = f'If that is right, set serial = "{reading.identity}"'
        return False, f"{name} says serial {reading.identity}, and {asked.serial} is configured. {right}"
    volts, amps = max(reading.mv) / 1000, max(reading.ma) / 1000
    serial = f", serial {reading.identity}" if reading.identity else ""
    loading = f" = {100 * reading.s_va / config.rating_va:.1f} %" if name == "the meter" else ""
    return True, f"{name} answers: {reading.s_va / 1000:.1f} kVA{loading}, {volts:.1f} V, {amps:.1f} A{serial}"


def _meter(m: cfg.MeterConfig, exports: bool) -> ModbusMeter:
    return ModbusMeter(MODELS[m.model], m.host, m.port, m.unit, m.ct_ratio_milli, exports=exports)


def _chargers(config: cfg.AreaConfig, *, bench: bool, client: str = "") -> NativeChargers:
    broker = config.broker
    return NativeChargers(
        config.area_id,
        broker.host,
        broker.port,
        broker.username,
        _secret(broker),
        # Under one name two controllers would throw each other out, and the older would never hear of the newer one.
        client=client or f"taiqu-{config.area_id}-{secrets.token_hex(4)}",
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
