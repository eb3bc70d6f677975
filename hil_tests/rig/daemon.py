"""The daemon as a gateway runs it, ``taiqu run``: a process of its own, what it says and what it takes."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from edge.clock import monotonic_ms

CONTROLLER = (sys.executable, "-P", "-m", "tools.cli", "run")
BARE = (sys.executable, "-P", "-m", "edge")
"""The same daemon without the tools around it."""
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process and its children take: memory of their own and resident memory, bytes; bytes written to disk."""

    own: int
    """Anonymous memory: what the process has allocated and touched, without the files it has mapped."""
    resident: int
    written: int
    """What the kernel has counted for the disk; nothing where the folder is kept in memory."""


class Daemon:
    """``taiqu run area.toml``; with ``keeps`` it writes journal and memory beside its configuration."""

    def __init__(self, config: Path, *, keeps: bool = False, command: tuple[str, ...] = CONTROLLER) -> None:
        self.log = config.with_name("controller.log")
        self.journal, self.memory = config.with_name("journal.jsonl"), config.with_name("memory.json")
        kept = ("--journal", str(self.journal), "--memory", str(self.memory)) if keeps else ()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, str(config), *kept], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def words(self) -> str:
        """All it has said."""
        return self.log.read_text(encoding="utf-8")

    def await_words(self, *words: str, within_s: float) -> None:
        """Wait until it has said all of these. Raises TimeoutError."""
        end_ms = monotonic_ms() + round(within_s * 1000)
        while missing := [w for w in words if w not in self.words()]:
            if monotonic_ms() > end_ms:
                raise TimeoutError(f"it never said {missing}: {self.words()}")
            time.sleep(POLL_S)

    def runs(self) -> bool:
        """Is it alive, and has it never stumbled?"""
        return self.process.poll() is None and "Traceback" not in self.words()

    def end(self) -> None:
        """Whatever its state, it is gone."""
        self.process.kill()
        self.process.wait()


def usage(pid: int) -> Usage:
    """What a process and its children take now. Raises OSError when it has ended."""
    own = _usage(Path(f"/proc/{pid}"))
    for child in _children(pid):
        with contextlib.suppress(OSError):  # it has just ended
            one = usage(child)
            own = Usage(own.own + one.own, own.resident + one.resident, own.written + one.written)
    return own


def _usage(proc: Path) -> Usage:
    memory, disk = _fields(proc / "smaps_rollup"), _fields(proc / "io")
    own = memory["Anonymous"] + memory["Swap"]
    return Usage(own * 1024, memory["Rss"] * 1024, disk["write_bytes"])


def _fields(path: Path) -> dict[str, int]:
    """``name: number`` lines of a file under /proc."""
    rows = (line.split() for line in path.read_text(encoding="ascii").splitlines())
    return {row[0].rstrip(":"): int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}


def _children(pid: int) -> list[int]:
    texts = [path.read_text(encoding="ascii") for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(word) for text in texts for word in text.split()]
