"""The journal: one JSON line a tick with inputs, decision and reasons. Control never waits for it, nor needs it."""

from __future__ import annotations

import contextlib
import json
import logging
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger("taiqu")

BYTES_MAX = 32_000_000
"""Two generations of this size are kept: the running one and the one before."""


class Journal:
    """Appends lines to ``path``, also after a restart; on a disk that fails it says so once and goes quiet."""

    def __init__(self, path: Path | None, bytes_max: int = BYTES_MAX) -> None:
        self.path, self.bytes_max = path, bytes_max
        self._file: TextIO | None = None
        self._size = 0
        if path is not None:
            self._file = path.open("a", encoding="utf-8")
            if self._file.seekable():
                self._size = self._file.tell()
            if self._size:
                self._file.write("\n")  # a killed predecessor may have left half a line

    def write(self, entry: dict[str, Any]) -> None:
        """Append one line."""
        if self._file is None or self.path is None:
            return
        line = json.dumps(entry, separators=(",", ":")) + "\n"
        try:
            self._size += self._file.write(line)
            if self._size > self.bytes_max:
                self._file.close()
                self.path.replace(self.path.with_suffix(self.path.suffix + ".1"))
                self._file = self.path.open("w", encoding="utf-8")
                self._size = 0
        except OSError as err:
            log.warning("journal %s: %s. Control goes on without it", self.path, err.strerror or err)
            broken, self._file = self._file, None
            with contextlib.suppress(OSError):
                broken.close()

    def close(self) -> None:
        """Write what is buffered and close."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError as err:
                log.warning("journal %s: %s. Its last lines are lost", self.path, err.strerror or err)
            self._file = None
