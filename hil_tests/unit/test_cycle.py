"""The life of the daemon: what goes wrong inside a cycle ends it in safe, and only whole cycles feed the watchdog."""

from __future__ import annotations

import errno
import json
import logging
import os
import select
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from edge import loop
from edge.cycle import CRASHED, live
from edge.fleet import Fleet
from edge.journal import Journal
from edge.notify import ADDRESS, Notifier
from hil_tests.unit.yard import Yard, raises

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BUG = ZeroDivisionError("a bug")
CHARGING_S = 300
"""By then cars charge on every phase."""
ENOUGH_S = 10.0


def run(yard: Yard, notifier: Notifier | None = None, keep: Callable[[int], None] = lambda _now_ms: None) -> int:
    """The daemon's own loop on a yard."""
    return live(yard.controller, yard, yard, notifier or Notifier(), keep)


# --------------------------------------------------------------------------------------- an exception in a cycle (H19)
PLACES: dict[str, Callable[[Yard], tuple[object, str]]] = {
    "meter": lambda yard: (yard, "read"),
    "fleet": lambda _: (Fleet, "hear"),
    "planner": lambda yard: (yard.controller, "_plan"),
    "control": lambda _: (loop.control, "step"),
    "guard": lambda _: (loop.guard, "vet"),
    "a_callback_of_the_link": lambda yard: (yard, "pump"),
    "decoding": lambda yard: (yard, "take"),
    "journal": lambda yard: (yard.journal, "write"),
    "what_is_learned": lambda yard: (yard.controller, "_learn"),
    "the_handing_back_of_a_step": lambda yard: (yard, "done"),
}
"""Where an exception may come from in a cycle."""
ERRORS = {
    "bug": BUG,
    "memory_short": MemoryError(),
    "out_of_files": OSError(errno.EMFILE, "Too many open files"),
    "out_of_threads": RuntimeError("can't start new thread"),
    "recursion": RecursionError(),
}


@pytest.mark.parametrize(
    ("where", "error"), [*((place, "bug") for place in PLACES), *(("decoding", error) for error in ERRORS)]
)
def test_host_exception_in_a_cycle_ends_the_process_in_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str, error: str
) -> None:
    """H19, H18: every charger is told to come down at once, nothing above fallback is sent, no cycle follows."""
    yard = Yard(journal=Journal(tmp_path / "j"))
    at: list[int] = []
    """How many setpoints had left when it first happened."""

    def break_down(*_: object) -> None:
        at.append(len(yard.sent))
        raise ERRORS[error]

    def hook(second: int) -> None:
        if second == CHARGING_S:
            monkeypatch.setattr(*PLACES[where](yard), break_down)

    yard.hook = hook
    assert run(yard) == CRASHED
    assert CHARGING_S <= yard.second <= CHARGING_S + 1
    before, after = yard.sent[: at[0]], yard.sent[at[0] :]
    latest = {setpoint.charger: setpoint.ma for _, setpoint in before}
    assert sum(ma > 0 for ma in latest.values()) >= 2
    assert {setpoint.ma for _, setpoint in after} == {0}
    assert {name for name, ma in latest.items() if ma} - {s.charger for _, s in after} == set()
    assert set(yard.allowed_ma().values()) == {0}
    assert f"exit code {CRASHED}" in caplog.text
    assert "Traceback" in caplog.text
    if where != "journal":
        last = json.loads((tmp_path / "j").read_text(encoding="utf-8").splitlines()[-1])
        assert "break_down" in last["crash"]
        assert last["now_ms"] > 0


@pytest.mark.parametrize("broken", ["view", "send"])
def test_host_exception_while_coming_down_ends_the_process_and_leases_do_the_rest(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    """H19: when not even the last words can be said, the process ends all the same; chargers fall back in a lease."""
    yard = Yard()

    def hook(second: int) -> None:
        if second == CHARGING_S:
            monkeypatch.setattr(Fleet if broken == "view" else yard, broken, raises(BUG))
            monkeypatch.setattr(yard, "flush", raises(BUG))

    yard.hook = hook
    assert run(yard) == CRASHED
    assert [second for second, _ in yard.sent if second >= CHARGING_S] == []
    assert caplog.text.count("while ending") == 2
    assert any(yard.allowed_ma().values())
    yard.now_ms += 60_000
    assert not any(yard.allowed_ma().values())


def test_host_exception_before_there_is_authority_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """H19: a daemon that fails in its start-up minute commands nobody, not even to come down."""
    yard = Yard()
    yard.hook = lambda second: None if second < 30 else monkeypatch.setattr(yard, "read", raises(BUG))
    assert run(yard) == CRASHED
    assert yard.sent == []


def test_told_to_stop_it_comes_down_and_is_no_failure(tmp_path: Path) -> None:
    """P4: on purpose: everybody to the lower of present and fallback, exit code 0, no crash in the journal."""
    yard = Yard(journal=Journal(tmp_path / "j"), seconds=CHARGING_S)
    assert run(yard) == 0
    assert any(setpoint.ma for _, setpoint in yard.sent)
    assert set(yard.allowed_ma().values()) == {0}
    assert "crash" not in (tmp_path / "j").read_text(encoding="utf-8")


# --------------------------------------------------------------------------------------------------------- the watchdog
class Manager:
    """systemd's end of the datagrams."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address[0] == "@" else address)
        self.socket.setblocking(False)

    def heard(self) -> list[list[str]]:
        """Every datagram since the last call, as lines."""
        out = []
        while select.select([self.socket], [], [], 0)[0]:
            out.append(self.socket.recv(4096).decode().split("\n"))
        return out


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """One that listens on a path."""
    one = Manager(str(tmp_path / "notify"))
    yield one
    one.socket.close()


def notifier(tmp_path: Path) -> Notifier:
    """As the daemon has it."""
    return Notifier(str(tmp_path / "notify"))


def listen(yard: Yard, manager: Manager) -> list[list[str]]:
    """Let the manager hear as the cycles go, for its socket holds few datagrams."""
    heard: list[list[str]] = []
    hook = yard.hook

    def hear(second: int) -> None:
        heard.extend(manager.heard())
        hook(second)

    yard.hook = hear
    return heard


def test_watchdog_is_fed_after_every_whole_cycle_and_told_of_the_end(tmp_path: Path, manager: Manager) -> None:
    """READY=1 with the first cycle, WATCHDOG=1 with each, STATUS= with each change, STOPPING=1 at the end."""
    yard = Yard(seconds=100)
    heard = listen(yard, manager)
    assert run(yard, notifier(tmp_path)) == 0
    heard += manager.heard()
    assert heard[0] == ["WATCHDOG=1", "READY=1", "STATUS=start-up"]
    assert sum("WATCHDOG=1" in words for words in heard) == 100
    assert sum("READY=1" in words for words in heard) == 1
    assert [word for words in heard for word in words if word.startswith("STATUS=")] == [
        "STATUS=start-up", "STATUS=normal", "STATUS=stopped on purpose",
    ]  # fmt: skip
    assert heard[-1][0] == "STOPPING=1"


def test_watchdog_is_not_fed_by_a_cycle_that_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manager: Manager
) -> None:
    """H19: the cycle with the bug in it feeds nobody; the manager is told why it ends."""
    yard = Yard()
    yard.hook = lambda second: None if second < 50 else monkeypatch.setattr(loop.guard, "vet", raises(BUG))
    heard = listen(yard, manager)
    assert run(yard, notifier(tmp_path)) == CRASHED
    heard += manager.heard()
    assert sum("WATCHDOG=1" in words for words in heard) == 49
    assert heard[-1] == ["STOPPING=1", "STATUS=ended by an error: ZeroDivisionError: a bug"]


def test_watchdog_is_not_fed_while_a_cycle_hangs(tmp_path: Path, manager: Manager) -> None:
    """H11: a meter that never comes back: not one datagram while it hangs, for no other thread may speak."""
    hangs, over = threading.Event(), threading.Event()
    yard = Yard(seconds=60)

    def hook(second: int) -> None:
        if second == 50:
            hangs.set()
            over.wait(ENOUGH_S)

    yard.hook = hook
    daemon = threading.Thread(target=run, args=(yard, notifier(tmp_path)))
    heard = listen(yard, manager)
    daemon.start()
    assert hangs.wait(ENOUGH_S)
    heard += manager.heard()
    assert sum("WATCHDOG=1" in words for words in heard) == 49
    assert select.select([manager.socket], [], [], 0.5)[0] == []
    over.set()
    daemon.join()
    assert sum("WATCHDOG=1" in words for words in heard + manager.heard()) == 60


def test_watchdog_is_not_fed_by_a_cycle_that_was_left_early(tmp_path: Path, manager: Manager) -> None:
    """A tick that returns before guard and sending is no cycle, although nothing was raised."""
    yard = Yard(seconds=5)
    yard.controller.tick = lambda _moment: None  # type: ignore[method-assign]
    assert run(yard, notifier(tmp_path)) == 0
    assert [words[0] for words in manager.heard()] == ["STOPPING=1"]


def test_watchdog_in_the_abstract_space_and_out_of_the_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name behind "@" is heard too; the variable is taken away, so that no planner can speak for the tick."""
    address = f"@taiqu-{os.getpid()}-{tmp_path.name}"
    manager = Manager(address)
    monkeypatch.setenv(ADDRESS, address)
    told = Notifier.from_environment()
    assert ADDRESS not in os.environ
    told.alive("normal")
    told.close()
    assert manager.heard() == [["WATCHDOG=1", "READY=1", "STATUS=normal"]]
    manager.socket.close()


def test_watchdog_nobody_listens_and_nobody_is_kept_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No manager, one that reads nothing, one that has gone and comes back: no word blocks, none raises."""
    monkeypatch.delenv(ADDRESS, raising=False)
    nobody = Notifier.from_environment()
    nobody.alive("normal")
    nobody.close()
    told = notifier(tmp_path)
    told.alive("normal")
    manager = Manager(str(tmp_path / "notify"))
    for _ in range(1000):
        told.alive("normal")
    assert manager.heard()[0] == ["WATCHDOG=1", "READY=1", "STATUS=normal"]
    told.stopping("stopped on purpose")
    assert manager.heard() == [["STOPPING=1", "STATUS=stopped on purpose"]]
    manager.socket.close()
    told.close()


def test_watchdog_hears_what_is_missing(tmp_path: Path, manager: Manager) -> None:
    """A technician who asks the service manager sees in one line that meter or broker is silent."""
    yard = Yard(seconds=3)
    yard.trouble = "broker 127.0.0.1:1: nobody listens there"
    logging.getLogger("taiqu").info("the yard's broker is away")
    assert run(yard, notifier(tmp_path)) == 0
    assert manager.heard()[0][2] == "STATUS=start-up; broker 127.0.0.1:1: nobody listens there"
