"""A transformer meter over Modbus TCP.

The library's defaults (3 s, three retries) would blind the loop for 12 s, so the time-out is our own and there is no
retry: the next tick is the retry. The age of a reading counts from the moment it was asked for.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException

from drivers.registers import Block, Model, decode, plan
from edge.core.model import Meter
from edge.ports import MeterError

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_S = 0.8
RETRY_MS = (0, 1000, 2000, 5000)
MISSES_TO_RECONNECT = 2
IDENTIFY_MS = 600_000

# The library logs each lost reply by itself; the controller says it once, in its own words.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)


class ModbusMeter:
    """Reads one meter model at ``host:port``, unit ``unit``; currents and powers are multiplied by the CT ratio."""

    def __init__(
        self, model: Model, host: str, port: int, unit: int, ct_ratio_milli: int = 1000, *, exports: bool = False
    ) -> None:
        self.model, self.unit = model, unit
        self.where = f"meter {host}:{port} unit {unit}"
        self.ratio = ct_ratio_milli / 1000
        self.exports = exports
        """May the site export? Only then is a negative power believed: elsewhere it is a CT the wrong way round."""
        self.reads = 0
        self._blocks = plan(model.rows, model.words_max, gap_max=model.words_max)
        self._client = ModbusTcpClient(host, port=port, timeout=TIMEOUT_S, retries=0)
        self._misses = 0
        self._next_try_ms = 0
        self._refused = 0
        self._identity = ""
        self._identify_ms = 0
        self._no_connection = f"{self.where}: no connection. Check address, cable and that Modbus TCP is enabled"

    def read(self, now_ms: int) -> Meter:
        """One reading, asked for at ``now_ms``. Raises MeterError when the meter is silent or talks nonsense."""
        self._connect(now_ms)
        self._identify(now_ms)
        registers: dict[int, int] = {}
        for block in self._blocks:
            words = self._block(block)
            registers.update(zip(range(block.address, block.address + block.count), words, strict=True))
        self.reads += 1
        return self._meter(decode(self.model.rows, registers), now_ms)

    def close(self) -> None:
        """Let the connection go."""
        self._client.close()

    def _connect(self, now_ms: int) -> None:
        if self._client.connected:
            return
        if now_ms < self._next_try_ms:
            raise MeterError(self._no_connection)
        if not self._client.connect():
            self._refused += 1
            self._next_try_ms = now_ms + RETRY_MS[min(self._refused, len(RETRY_MS) - 1)]
            raise MeterError(self._no_connection)
        self._refused = 0
        self._misses = 0
        self._identify_ms = now_ms

    def _block(self, block: Block) -> list[int]:
        call: Callable[..., object] = (
            self._client.read_input_registers if self.model.function == 4 else self._client.read_holding_registers
        )
        try:
            reply = call(block.address, count=block.count, device_id=self.unit)
        except (ModbusException, OSError):
            self._miss()
            raise MeterError(f"{self.where}: no reply within {TIMEOUT_S} s. Check unit, cable and power") from None
        registers = getattr(reply, "registers", None)
        if getattr(reply, "isError", lambda: True)() or registers is None or len(registers) != block.count:
            code = getattr(reply, "exception_code", "?")
            raise MeterError(
                f"{self.where}: exception {code} at register {block.address}. Is the model really {self.model.id}?"
            )
        self._misses = 0
        return list(registers)

    def _miss(self) -> None:
        """After two lost replies the connection counts as half-open and is made anew."""
        self._misses += 1
        if self._misses >= MISSES_TO_RECONNECT:
            self._client.close()
            self._misses = 0

    def _meter(self, v: dict[str, float | None], now_ms: int) -> Meter:
        """Turn values into integers; anything missing or impossible is an error, never a zero."""
        missing = [name for name in _NEEDED if v.get(name) is None]
        if missing:
            raise MeterError(f"{self.where}: no value for {', '.join(missing)}. Is the model really {self.model.id}?")
        n = {name: float(v[name] or 0.0) for name in _NEEDED}
        volts = [n[f"v_l{k}"] for k in (1, 2, 3)]
        if not any(150.0 < u < 300.0 for u in volts) or any(abs(u) > 1000.0 for u in volts):
            raise MeterError(f"{self.where}: voltages {volts} V cannot be. Check model, word order and wiring")
        amps = [abs(n[f"i_l{k}"]) * self.ratio for k in (1, 2, 3)]
        s_va = abs(n["s_va"]) * self.ratio
        if max(amps) > AMPS_MAX or s_va > VA_MAX:
            raise MeterError(f"{self.where}: {max(amps):.3g} A, {s_va:.3g} VA cannot be. Check model and CT ratio")
        if self.exports:
            s_va = -s_va if n["p_w"] < 0 else s_va
            amps = [-a if (v.get(f"p_l{k}") or 0.0) < 0 else a for k, a in enumerate(amps, 1)]
        return Meter(
            now_ms,
            round(s_va),
            round(n["p_w"] * self.ratio),
            round(n["q_var"] * self.ratio),
            tuple(round(a * 1000) for a in amps),
            tuple(round(u * 1000) for u in volts),
            self._phase_w(v),
            -1 if (wh := v.get("import_wh")) is None else round(wh * self.ratio),
            self._identity,
        )

    def _phase_w(self, v: dict[str, float | None]) -> tuple[int, int, int] | None:
        """Active power of each phase, signed as the meter signs it; None where it has not all three."""
        a, b, c = (v.get(f"p_l{k}") for k in (1, 2, 3))
        if a is None or b is None or c is None:
            return None
        return round(a * self.ratio), round(b * self.ratio), round(c * self.ratio)

    def _identify(self, now_ms: int) -> None:
        """Ask what device this is, after connecting and every ten minutes: another one may hang there by now.

        A device that has no such register, or does not answer this, keeps what is known of it.
        """
        serial = self.model.serial
        if serial is None or now_ms < self._identify_ms:
            return
        self._identify_ms = now_ms + IDENTIFY_MS
        try:
            reply = self._client.read_holding_registers(serial.address, count=serial.words, device_id=self.unit)
        except (ModbusException, OSError):
            return
        registers = getattr(reply, "registers", None)
        if registers is not None and len(registers) == serial.words:
            value = serial.decode(registers)
            self._identity = self._identity if value is None else f"{value:.0f}"


_NEEDED = ("v_l1", "v_l2", "v_l3", "i_l1", "i_l2", "i_l3", "p_w", "q_var", "s_va")
AMPS_MAX = 20_000.0
VA_MAX = 20_000_000.0
