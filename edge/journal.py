"""The journal: one JSON line a tick with inputs, decision and reasons. Control never waits for it, nor needs it."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from edge.scribe import at_once
from edge.vault import is_disk_trouble

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import FileIO
    from pathlib import Path

log = logging.getLogger("taiqu")

BYTES_MAX = 32_000_000
"""Two generations of this size are kept: the running one and the one before."""
RETRY_LINES = 60
"""A disk that failed is tried again every so many lines: each minute."""


class Journal:
    """Appends lines to ``path``, also after a restart; a disk that fails is said once and tried again.

    ``do`` has a line written: a ``Scribe``'s, so that nobody waits for the disk. Raises OSError when the path is wrong.
    """

    def __init__(
        self,
        path: Path | None,
        bytes_max: int = BYTES_MAX,
        do: Callable[[Callable[[], object]], None] = at_once,
    ) -> None:
        self.path, self.bytes_max, self._do = path, bytes_max, do
        self._file: FileIO | None = None
        self._size = 0
        self._failed = False
        self._lost = 0
        """Lines that were not written since it failed."""
        if path is not None:
            try:
                self._open(path)
            except OSError as err:
                if not is_disk_trouble(err):
                    raise
                self._fail(path, err)

    def write(self, entry: dict[str, Any]) -> None:
        """Append one line."""
        if self.path is not None:
            line = json.dumps(entry, separators=(",", ":")) + "\n"
            self._do(partial(self._append, self.path, line.encode()))

    def close(self) -> None:
        """No more lines."""
        self._do(self._close)

    def _append(self, path: Path, line: bytes) -> None:
        if self._failed and self._lost % RETRY_LINES:
            self._lost += 1
            return
        try:
            if self._file is None:
                self._open(path)
            self._put(line)
            if self._size > self.bytes_max and path.is_file():
                self._turn_over(path)
        except OSError as err:
            self._fail(path, err)
            self._lost += 1
        else:
            if self._failed:
                log.info("journal %s: is written again, %d lines are missing", path, self._lost)
            self._failed, self._lost = False, 0

    def _open(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._size = self._file.tell() if self._file.seekable() else 0
        if self._size:
            self._put(b"\n")  # a killed predecessor, or a full disk, may have left half a line

    def _put(self, line: bytes) -> None:
        while line and self._file is not None:
            written = self._file.write(line) or 0
            self._size += written
            line = line[written:]

    def _turn_over(self, path: Path) -> None:
        self._close()
        path.replace(path.with_suffix(path.suffix + ".1"))
        self._open(path)

    def _fail(self, path: Path, err: OSError) -> None:
        if not self._failed:
            log.warning("journal %s: %s. Control goes on without it", path, err.strerror or err)
        self._failed = True
        self._close()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # nothing is buffered here: there is nothing left to lose
                file.close()
