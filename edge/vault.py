"""A small value that must survive a power cut: two generations of it, each written whole or not at all.

A new generation is written beside, flushed to the disk, moved over the older of the two, and the folder is flushed; the
newer one is not touched meanwhile. Each carries its number, length and checksum, and loading takes the newest that is
whole. What fails to reach the disk counts as not written and takes the same place again.
"""

from __future__ import annotations

import errno
import json
import logging
import os
from contextlib import suppress
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger("taiqu")

FORMAT = 1
FILE_MAX = 4_000_000
ASIDE_MAX = 9
"""So many damaged files are kept for a person to look at; the next one takes the place of the last."""
RETRY_MS = 60_000
"""What could not be written is tried again after so long."""
_HEAD = ("taiqu", "v", "generation", "bytes", "sha256")
_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)

T = TypeVar("T")


def is_disk_trouble(err: OSError) -> bool:
    """Is the disk full, read-only or broken? Then control goes on without it; a path that is wrong is a mistake."""
    return err.errno in _TROUBLE


class DamagedError(ValueError):
    """A file does not hold what was once written; the text says why."""


class Vault:
    """One value, ``what``, in the files ``path`` and ``path``.2.

    ``plain``: a file that is nothing but JSON is taken too, as the oldest generation.
    """

    def __init__(self, path: Path, what: str, *, plain: bool = False) -> None:
        self.path, self.what, self._plain = path, what, plain
        self._slots = (path, path.with_name(path.name + ".2"))
        self._beside = path.with_name(path.name + ".new")
        self._newest: int | None = None
        """Which slot holds the newest whole generation; the other one is written next."""
        self._generation = 0
        self._looked = self._failed = False

    def load(self, read: Callable[[Any], T]) -> T | None:
        """The newest generation that is whole and that ``read`` understands; None where there is none.

        ``read`` raises ValueError for what it does not understand. What is damaged is moved aside and said.
        """
        self._looked, self._newest, self._generation = True, None, 0
        best: T | None = None
        for slot, path in enumerate(self._slots):
            try:
                generation, data = self._read(path)
                value = read(data)
            except FileNotFoundError:
                continue
            except OSError as err:
                log.warning("%s %s cannot be read: %s", self.what, path, err.strerror or err)
                continue
            except (ValueError, RecursionError) as err:
                self._put_aside(path, err)
                continue
            if self._newest is None or generation > self._generation:
                self._newest, self._generation, best = slot, generation, value
        return best

    def peek(self, read: Callable[[Any], T]) -> T:
        """The same, with everything left as it stands. Raises OSError or ValueError where nothing is whole."""
        found: list[tuple[int, T]] = []
        trouble: list[Exception] = []
        for path in self._slots:
            try:
                generation, data = self._read(path)
                found.append((generation, read(data)))
            except (OSError, ValueError, RecursionError) as err:
                trouble.append(err)
        if not found:
            raise trouble[0]
        return max(found, key=lambda one: one[0])[1]

    def try_out(self) -> None:
        """Can a file be written there? Better asked at the start than found out after a night.

        A disk in trouble is said. Raises OSError when the path is wrong.
        """
        if self.path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(self.path))
        try:
            self._beside.open("ab").close()
            self._beside.unlink()
        except OSError as err:
            if not is_disk_trouble(err):
                raise
            self._fail(err)

    def save(self, data: object) -> bool:
        """Write one more generation. False: it is not on the disk, which is said once."""
        if not self._looked:
            self.load(lambda data: data)
        slot = 0 if self._newest is None else 1 - self._newest
        try:
            self._write(self._slots[slot], _pack(self.what, self._generation + 1, data))
        except OSError as err:
            self._fail(err)
            return False
        if self._failed:
            log.info("%s %s: is kept again", self.what, self.path)
        self._failed, self._newest, self._generation = False, slot, self._generation + 1
        return True

    def _fail(self, err: OSError) -> None:
        if not self._failed:
            log.warning("%s %s: %s. It is not kept; control goes on", self.what, self.path, err.strerror or err)
        self._failed = True

    def _write(self, slot: Path, raw: bytes) -> None:
        try:
            handle = os.open(self._beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                rest = memoryview(raw)
                while rest:
                    rest = rest[os.write(handle, rest) :]
                os.fsync(handle)
            finally:
                os.close(handle)
            self._beside.replace(slot)
        except OSError:
            with suppress(OSError):
                self._beside.unlink()  # a full disk is not made fuller
            raise
        self._sync_folder()

    def _sync_folder(self) -> None:
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _read(self, path: Path) -> tuple[int, Any]:
        """One file: (generation, data). Raises OSError, or ValueError when it is not what was written."""
        with path.open("rb") as file:
            raw = file.read(FILE_MAX)
        first, _, body = raw.partition(b"\n")
        if self._plain and not first.startswith(b'{"taiqu":'):
            return 0, json.loads(raw)
        return _check(json.loads(first), self.what, body)

    def _put_aside(self, path: Path, err: Exception) -> None:
        names = [path.with_name(f"{path.name}.bad{number}") for number in ("", *range(2, ASIDE_MAX + 1))]
        aside = next((name for name in names if not name.exists()), names[-1])
        try:
            path.replace(aside)
        except OSError:
            aside = path
        log.warning("%s %s is damaged (%s) and not used; the file is now %s", self.what, path, err, aside.name)


class Kept:
    """Has a value written behind the tick's back, again and again until it is on the disk."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault
        self._wanted: object = None
        self._written: object = None
        self._try_ms = 0

    def set(self, data: object) -> None:
        """This is the value from now on."""
        self._wanted, self._try_ms = data, 0

    def step(self, now_ms: int, do: Callable[[Callable[[], object]], object]) -> None:
        """Have ``do`` write the value, when it is not on the disk and it is time."""
        if self._wanted is not self._written and now_ms >= self._try_ms:
            self._try_ms = now_ms + RETRY_MS
            do(partial(self._write, self._wanted))

    def _write(self, data: object) -> None:
        if self.vault.save(data):
            self._written = data


def _pack(what: str, generation: int, data: object) -> bytes:
    body = json.dumps(data, separators=(",", ":")).encode()
    values = (what, FORMAT, generation, len(body), _seal(what, generation, body))
    return json.dumps(dict(zip(_HEAD, values, strict=True))).encode() + b"\n" + body


def _check(head: object, what: str, body: bytes) -> tuple[int, Any]:
    """Generation and data. Raises DamagedError."""
    if not isinstance(head, dict) or head.get("taiqu") != what:
        raise DamagedError(f"it holds no {what}")
    if head.get("v") != FORMAT:
        raise DamagedError(f"format {str(head.get('v'))[:20]} is not {FORMAT}, which this version reads")
    generation = head.get("generation")
    if not isinstance(generation, int) or head.get("bytes") != len(body):
        raise DamagedError(f"it ends after {len(body)} bytes")
    if head.get("sha256") != _seal(what, generation, body):
        raise DamagedError("its checksum is wrong")
    return generation, json.loads(body)


def _seal(what: str, generation: int, body: bytes) -> str:
    return sha256(f"{what} {FORMAT} {generation} {len(body)}\n".encode() + body).hexdigest()
