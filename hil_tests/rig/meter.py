"""The emulated transformer meter: a real Modbus TCP server laid out like an Eastron SDM630.

It is encoded from the datasheet's own parameter numbers in hil_tests/golden, never from the drivers' table: a table
that is wrong must not agree with itself.
"""

from __future__ import annotations

import asyncio
import json
import logging
import struct
import threading
from importlib import resources
from typing import TYPE_CHECKING, Any

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from hil_tests.rig.community import VOLT

if TYPE_CHECKING:
    from collections.abc import Callable

    from hil_tests.rig.plant import Busbar

READY_S = 10.0
HOLDING = 3
"""Function code: read holding registers."""
CLOSING_S = 0.02
"""What open connections get to be closed in, so that their clients see the end."""

logging.getLogger("pymodbus").setLevel(logging.CRITICAL)


class MeterServer:
    """Serves what ``show`` was last given, on 127.0.0.1, from a thread of its own. Port 0 takes a free one."""

    def __init__(self, port: int = 0, unit: int = 1) -> None:
        golden: dict[str, Any] = json.loads(
            resources.files("hil_tests.golden").joinpath("eastron_sdm630.json").read_text(encoding="utf-8")
        )
        first = golden["first_number"]
        self._at = {name: number - first for number, _, _, name in golden["parameters"]}
        self._count: int = golden["registers"]
        self._words = [0] * self._count
        self._serial_at: int = golden["serial"]["holding_register"]
        self.serial = 20_260_115
        self.unit = unit
        self.port = port
        self.reads = 0
        self.mute = False
        """A silent meter: it takes requests and answers none."""
        self.import_kwh = 1000.0
        self._thread: threading.Thread | None = None
        self._end: Callable[[], object] = lambda: None

    def start(self) -> None:
        """Listen, for the first time or again. Raises OSError when the port is in use."""
        ready = threading.Event()
        trouble: list[BaseException] = []

        def serve() -> None:
            try:
                asyncio.run(self._serve(ready))
            except (OSError, RuntimeError) as err:
                trouble.append(err)
                ready.set()

        self._thread = threading.Thread(target=serve, name="meter", daemon=True)
        self._thread.start()
        if not ready.wait(READY_S) or trouble:
            raise OSError(f"meter port {self.port}: {trouble[0] if trouble else 'did not start'}")

    def stop(self) -> None:
        """Close the port and every connection."""
        thread, self._thread = self._thread, None
        if thread is not None and thread.is_alive():
            self._end()
            thread.join(READY_S)

    def show(self, bar: Busbar, seconds: float) -> None:
        """Put the busbar on the display; ``seconds`` have passed since the last call."""
        p_w, q_var = bar.p_kw * 1000.0, bar.q_kvar * 1000.0
        s_va = bar.i_a * VOLT
        self.import_kwh += max(float(p_w.sum()), 0.0) * seconds / 3_600_000.0
        total_s = float(s_va.sum())
        total_p = float(p_w.sum())
        values = {
            "v_mean": VOLT,
            "i_mean": float(bar.i_a.mean()),
            "i_sum": float(bar.i_a.sum()),
            "p": total_p,
            "s": total_s,
            "q": float(q_var.sum()),
            "pf": total_p / total_s if total_s else 1.0,
            "f": 50.0,
            "import_kwh": self.import_kwh,
            "export_kwh": 0.0,
        }
        for k in range(3):
            values[f"v{k + 1}"] = VOLT
            values[f"i{k + 1}"] = float(bar.i_a[k])
            values[f"p{k + 1}"] = float(p_w[k])
            values[f"s{k + 1}"] = float(s_va[k])
            values[f"q{k + 1}"] = float(q_var[k])
            values[f"pf{k + 1}"] = float(p_w[k] / s_va[k]) if s_va[k] else 1.0
        words = [0] * self._count
        for name, value in values.items():
            at = self._at[name]
            words[at], words[at + 1] = struct.unpack(">HH", struct.pack(">f", value))
        self._words = words

    async def _serve(self, ready: threading.Event) -> None:
        device = SimDevice(
            self.unit,
            simdata=(
                [SimData(0, values=False, datatype=DataType.BITS)],
                [SimData(0, values=False, datatype=DataType.BITS)],
                [SimData(self._serial_at, values=[0, 0], datatype=DataType.REGISTERS)],
                [SimData(0, values=[0] * self._count, datatype=DataType.REGISTERS)],
            ),
            action=self._answer,
        )
        server = ModbusTcpServer(device, address=("127.0.0.1", self.port), ignore_missing_devices=True)
        if not await server.listen():
            raise OSError("already in use")
        listener: Any = server.transport
        self.port = listener.sockets[0].getsockname()[1]
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        self._end = lambda: loop.call_soon_threadsafe(over.set)
        ready.set()
        await over.wait()
        server.close()
        await asyncio.sleep(CLOSING_S)

    async def _answer(
        self, function: int, start: int, address: int, count: int, registers: list[int], values: object
    ) -> None:
        if self.mute:
            raise asyncio.CancelledError  # ends the request's own task: it is never answered, not even later
        if function == HOLDING:
            registers[address - start : address - start + 2] = [self.serial >> 16, self.serial & 0xFFFF]
            return
        if values is None and count > 2:
            self.reads += 1
        words = self._words
        for k in range(count):
            registers[address - start + k] = words[address + k]
