"""Who writes to the disk: nobody waits for it, nothing piles up without end, and what is wrong there is not hidden."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from edge.journal import Journal
from edge.scribe import Scribe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENOUGH_S = 10.0
BUSY = 3
"""So many acts may wait in these tests."""


class Stall:
    """An act that does not come back until it is let go."""

    def __init__(self) -> None:
        self.begun, self.over = threading.Event(), threading.Event()

    def __call__(self) -> None:
        """As a card that does not answer."""
        self.begun.set()
        self.over.wait(ENOUGH_S)


@pytest.fixture
def stall() -> Iterator[Stall]:
    """A stall that ends with the test."""
    one = Stall()
    yield one
    one.over.set()


def test_everything_is_done_in_order() -> None:
    """What was handed over before the end is done before the end."""
    done: list[int] = []
    scribe = Scribe()
    for k in range(100):
        scribe.do(lambda k=k: done.append(k))  # type: ignore[misc]
    scribe.close()
    assert done == list(range(100))


def test_host_disk_stalls_and_nobody_waits(stall: Stall, caplog: pytest.LogCaptureFixture) -> None:
    """H13: what does not fit is dropped and said once; when the disk is back, so is that it keeps up."""
    caplog.set_level(logging.INFO, "taiqu")
    done: list[int] = []
    scribe = Scribe(BUSY)
    scribe.do(stall)
    assert stall.begun.wait(ENOUGH_S)
    began_s = time.monotonic()
    for k in range(1000):
        scribe.do(lambda k=k: done.append(k))  # type: ignore[misc]
    assert time.monotonic() - began_s < ENOUGH_S / 2
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    stall.over.set()
    while len(done) < BUSY:
        time.sleep(0.001)
    scribe.do(lambda: done.append(-1))
    scribe.close()
    assert done == [*range(BUSY), -1]
    assert f"{1000 - BUSY} journal lines or values were not written" in caplog.text


def test_host_disk_stalls_and_the_end_is_not_kept_waiting(stall: Stall, caplog: pytest.LogCaptureFixture) -> None:
    """H13: a controller that is told to stop leaves, whatever its card does; that something is lost is said."""
    scribe = Scribe()
    scribe.do(stall)
    began_s = time.monotonic()
    scribe.close(within_s=0.05)
    assert time.monotonic() - began_s < ENOUGH_S / 2
    assert "does not answer" in caplog.text


def test_host_disk_stalls_with_a_full_queue_and_the_end_is_not_kept_waiting(stall: Stall) -> None:
    """H13: not even when there is no place left to say that it is the end."""
    scribe = Scribe(1)
    scribe.do(stall)
    assert stall.begun.wait(ENOUGH_S)
    scribe.do(stall)
    began_s = time.monotonic()
    scribe.close(within_s=0.05)
    assert time.monotonic() - began_s < ENOUGH_S / 2


def test_a_bench_waits_for_its_disk() -> None:
    """Patient: a night in virtual time loses no line to a slow disk."""
    done: list[int] = []

    def slowly(k: int) -> None:
        time.sleep(0.001)
        done.append(k)

    scribe = Scribe(1, patient=True)
    for k in range(20):
        scribe.do(lambda k=k: slowly(k))  # type: ignore[misc]
    scribe.close()
    assert done == list(range(20))


def test_host_exception_in_the_scribe_surfaces_in_the_next_cycle() -> None:
    """H19: what nobody expected is not buried in a thread: whoever hands over the next thing has it."""
    scribe = Scribe()

    def fail() -> None:
        raise ZeroDivisionError("in the thread")

    failed = threading.Event()
    scribe.do(fail)
    scribe.do(failed.set)
    assert failed.wait(ENOUGH_S)
    with pytest.raises(ZeroDivisionError, match="in the thread"):
        scribe.do(lambda: None)
    scribe.close()


def test_host_disk_stalls_under_the_journal(tmp_path: Path) -> None:
    """H13: a journal that nobody takes (a pipe that is full) keeps no writer waiting; what was taken is whole lines."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    scribe = Scribe()
    book = Journal(path, do=scribe.do)
    began_s = time.monotonic()
    for k in range(2000):
        book.write({"k": k, "pad": "x" * 100})
    assert time.monotonic() - began_s < ENOUGH_S / 2
    kept = os.read(reader, 1 << 20)
    os.close(reader)
    scribe.close(within_s=0.1)
    numbers = [json.loads(line)["k"] for line in kept.splitlines()[:-1]]
    assert 0 < len(numbers) < 2000
    assert numbers == sorted(set(numbers))
