"""The daemon as a gateway runs it, a process of its own: bugs, a watchdog, a disk that stalls, a file that broke."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drivers.broker import BrokerChild, find_mosquitto
from edge.clock import monotonic_ms
from edge.cycle import CRASHED
from hil_tests.rig import night as rig
from hil_tests.rig.community import Community
from hil_tests.rig.night import BenchError, ControlledNight, Night

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.realtime

HOUR = 3600
SMALL = Community("small", rating_kva=400, peak_kw=290.0, valley_kw=150.0, piles=12)
START_S, BUG_S, END_S = 22 * HOUR + 3000, 23 * HOUR + 900, 24 * HOUR
"""From before the valley to its first hour; the bug shows when cars charge."""
ENOUGH_S = 30.0
CYCLE_S = 3.0
"""A cycle of 1 s, the last words, and a slow machine."""
AREA = """
[area]
id = "west"
rating_kva = 400
[meter]
model = "eastron_sdm630"
tcp = "127.0.0.1:{port}"
[broker]
host = "127.0.0.1"
port = {port}
[[chargers]]
id = "cp-01"
phase = "A"
max_a = 32
"""

# What breaks, as a statement in the daemon's own process, with the controller at hand as ``self``.
BUGS = {
    "meter": "ModbusMeter.read = bug",
    "fleet": "Fleet.hear = bug",
    "control": "loop.control.step = bug",
    "guard": "loop.guard.vet = bug",
    "link_callback": "self.chargers.link.accept = bug",
    "journal": "Journal.write = bug",
}
SCRIPT = """
import sys
from drivers.modbus_meter import ModbusMeter
from edge import loop
from edge.fleet import Fleet
from edge.journal import Journal
from edge.loop import Controller
from tools.cli import main

def bug(*_, **__):
    raise ZeroDivisionError("a bug that was put there")

tick = Controller.tick

def tick_with_a_bug(self, moment):
    if moment.now_ms >= {at_ms}:
        {bug}
    tick(self, moment)

if __name__ == "__main__":
    Controller.tick = tick_with_a_bug
    sys.exit(main())
"""


@pytest.mark.parametrize("where", BUGS)
def test_host_exception_brings_everybody_down_and_ends_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """H19 on real wires: exit code 70 within a cycle, all who charged are told 0, nobody more than 0 afterwards."""
    script = SCRIPT.format(at_ms=BUG_S * 1000, bug=BUGS[where])
    monkeypatch.setattr(rig, "CONTROLLER", (sys.executable, "-c", script, "run"))
    kind = "mosquitto" if find_mosquitto() else "amqtt"
    evening = Night(SMALL, 1, START_S, END_S)
    with BrokerChild.start(kind) as broker, ControlledNight(evening, broker, tmp_path) as bench:
        assert bench._process is not None
        with pytest.raises(BenchError):
            bench.play()
        charged = {n for n, ma in zip(bench.chargers.ids, bench.chargers.allowed_ma(), strict=True) if ma}
        began_ms = monotonic_ms()
        assert bench._process.wait(ENOUGH_S) == CRASHED
        took_s = (monotonic_ms() - began_ms) / 1000
        told: dict[str, list[int]] = {}
        while not charged <= told.keys():
            bench.fleet.pump(monotonic_ms() + 50)
            assert monotonic_ms() - began_ms < ENOUGH_S * 1000, told
            for topic, payload in bench.fleet.take():
                if topic.endswith("/dn/set"):
                    told.setdefault(topic.split("/")[2], []).append(json.loads(payload)["ma"])
    print(f"bug in {where}: the process has ended after {took_s:.1f} s")
    assert len(charged) >= 3
    assert BUG_S <= bench.plant.second <= BUG_S + 2 * rig.CYCLE_S
    assert {ma for each in told.values() for ma in each} == {0}
    assert took_s < CYCLE_S
    log = (tmp_path / "controller.log").read_text(encoding="utf-8")
    assert "ZeroDivisionError: a bug that was put there" in log
    if where != "journal":
        last = json.loads((tmp_path / "journal.jsonl").read_text(encoding="utf-8").splitlines()[-1])
        assert "a bug that was put there" in last["crash"]


# -------------------------------------------------------------------------------------------------------- on its own
class Gateway:
    """A daemon under something like systemd: it hears the datagrams, and restarts nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.area, self.log = folder, folder / "area.toml", folder / "log"
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            self.area.write_text(AREA.format(port=nobody.getsockname()[1]), encoding="utf-8")
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(folder / "notify"))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str, log: Path | None = None) -> None:
        """``taiqu run area.toml``."""
        with (log or self.log).open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tools.cli", "run", str(self.area), *options],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env={**os.environ, "NOTIFY_SOCKET": str(self.folder / "notify")},
            )  # fmt: skip

    def hear(self, word: str, times: int = 1) -> list[str]:
        """Wait until a word was said so often; every line until then."""
        end_ms = monotonic_ms() + round(ENOUGH_S * 1000)
        lines: list[str] = []
        while lines.count(word) < times:
            left_s = (end_ms - monotonic_ms()) / 1000
            assert left_s > 0, lines
            if select.select([self.manager], [], [], left_s)[0]:
                lines += self.manager.recv(4096).decode().split("\n")
        return lines

    def end(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """Send it a signal: (exit code, how long that took in s)."""
        assert self.process is not None
        began_ms = monotonic_ms()
        self.process.send_signal(number)
        code = self.process.wait(ENOUGH_S)
        return code, (monotonic_ms() - began_ms) / 1000

    def close(self) -> None:
        """Whatever happened, nothing is left."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.manager.close()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """One whose meter and broker do not answer."""
    one = Gateway(tmp_path)
    yield one
    one.close()


def test_watchdog_of_a_real_daemon(gateway: Gateway) -> None:
    """READY=1, then WATCHDOG=1 about once a second although meter and broker are away; STOPPING=1 at SIGTERM."""
    gateway.start()
    first = gateway.hear("READY=1")
    began_ms = monotonic_ms()
    gateway.hear("WATCHDOG=1", 4)
    assert 2000 < monotonic_ms() - began_ms < 8000
    assert any(line.startswith("STATUS=start-up; ") for line in first)
    code, took_s = gateway.end()
    assert (code, took_s < CYCLE_S) == (0, True)
    gateway.hear("STOPPING=1")


def test_watchdog_that_loses_patience_leaves_word_where_it_hung(gateway: Gateway) -> None:
    """H11: systemd ends a daemon that hangs with SIGABRT: the log shows what every thread was doing."""
    gateway.start()
    gateway.hear("READY=1")
    code, _ = gateway.end(signal.SIGABRT)
    assert code == -signal.SIGABRT
    log = gateway.log.read_text(encoding="utf-8")
    assert "Fatal Python error: Aborted" in log
    assert "in live" in log


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_host_disk_stalls_and_is_full_and_control_goes_on(gateway: Gateway) -> None:
    """H13, H4: a journal that takes no byte, a log without space: every cycle is whole, and SIGTERM ends it."""
    pipe = gateway.folder / "pipe"
    os.mkfifo(pipe)
    both = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    fcntl.fcntl(both, fcntl.F_SETPIPE_SZ, 4096)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(both, b"x" * 4096)
    gateway.start("--journal", str(pipe), log=Path("/dev/full"))
    gateway.hear("WATCHDOG=1", 5)
    code, took_s = gateway.end()
    os.close(both)
    assert (code, took_s < 3 * CYCLE_S) == (0, True)


def test_host_config_broken_at_a_restart_leaves_the_last_good_one(gateway: Gateway) -> None:
    """H15: accepted once, cut off, restarted: it runs, says which file is broken, and marks it in its journal."""
    state, journal = gateway.folder / "state", gateway.folder / "journal.jsonl"
    options = ("--state", str(state), "--journal", str(journal))
    gateway.start(*options)
    gateway.hear("WATCHDOG=1", 2)
    assert gateway.end()[0] == 0
    assert sorted(path.name for path in state.iterdir()) == ["config.json", "memory.json"]
    text = gateway.area.read_text(encoding="utf-8")
    gateway.area.write_text(text[: len(text) // 2], encoding="utf-8")

    gateway.start(*options)
    told = gateway.hear("WATCHDOG=1", 2)
    assert any("area.toml is broken" in line for line in told)
    assert gateway.end()[0] == 0
    assert f"{gateway.area} is broken and NOT in force" in gateway.log.read_text(encoding="utf-8")
    entries = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines() if line]
    (mark,) = [entry for entry in entries if "config" in entry]
    assert mark["problems"]
    assert mark["file"] == str(gateway.area)

    gateway.start("--journal", str(journal))
    assert gateway.process is not None
    assert gateway.process.wait(ENOUGH_S) == 2


def test_host_killed_at_any_moment_starts_again_on_its_state(gateway: Gateway) -> None:
    """H2, H3: SIGKILL in the middle of whatever it does, ten times: the next start finds its state whole."""
    for k in range(10):
        gateway.start("--state", str(gateway.folder / "state"))
        gateway.hear("READY=1")
        time.sleep(0.03 * k)
        assert gateway.end(signal.SIGKILL)[0] == -signal.SIGKILL
    log = gateway.log.read_text(encoding="utf-8")
    assert "damaged" not in log
    assert "Traceback" not in log
