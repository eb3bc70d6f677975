"""The bench's daemon: it runs, speaks, and never outlives the bench that has started it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge.clock import monotonic_ms
from hil_tests.rig.daemon import BARE, Daemon

AREA = """
[area]
id = "west"
rating_kva = 400
[meter]
model = "eastron_sdm630"
tcp = "127.0.0.1:1"
[broker]
host = "127.0.0.1"
port = 1
[charging]
fallback_a = 0
valley = []
[[chargers]]
id = "cp-01"
phase = "A"
max_a = 32
"""
BENCH = """
import sys
from pathlib import Path
from hil_tests.rig.daemon import Daemon
daemon = Daemon(Path(sys.argv[1]))
daemon.await_words("west", within_s=20)
print(daemon.process.pid, flush=True)
sys.stdin.read()
"""
WITHIN_MS = 10_000


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """An area with nobody at either end."""
    path = tmp_path / "area.toml"
    path.write_text(AREA, encoding="utf-8")
    return path


def has_ended(proc: Path) -> bool:
    """Is the process gone, or only waiting for somebody to notice?"""
    try:
        return ") Z " in (proc / "stat").read_text(encoding="utf-8")
    except OSError:
        return True


def test_a_killed_bench_takes_its_daemon_along(config: Path) -> None:
    """SIGKILL of the bench: the daemon is gone within seconds, and speaks on no wire afterwards."""
    with subprocess.Popen(
        [sys.executable, "-c", BENCH, str(config)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as bench:
        assert bench.stdout is not None
        daemon = Path(f"/proc/{int(bench.stdout.readline())}")
        assert not has_ended(daemon)
        bench.kill()
    end_ms = monotonic_ms() + WITHIN_MS
    while not has_ended(daemon) and monotonic_ms() < end_ms:
        time.sleep(0.02)
    assert has_ended(daemon)


def test_a_daemon_that_ends_by_itself_is_not_sound(config: Path) -> None:
    """A running daemon is sound; one that could not read its configuration is not, and said why."""
    good = Daemon(config, command=BARE)
    try:
        good.await_words("start-up", within_s=20)
        assert good.runs()
    finally:
        good.end()
    assert not good.runs()
    config.write_text("[area]\n", encoding="utf-8")
    bad = Daemon(config, command=BARE)
    assert bad.process.wait(20) == 2
    assert not bad.runs()
    with pytest.raises(TimeoutError, match="rating_kva"):
        bad.await_words("start-up", within_s=0)
