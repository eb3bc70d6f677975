"""What a controller needs again after a restart: its epoch, and the configuration that was last accepted.

Neither is needed for control: without the folder, or with a disk that fails, the epoch follows from what chargers echo,
and a broken configuration file ends the start.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from edge import config as cfg
from edge.schema import ID_PATTERN, parse, read_file
from edge.vault import Kept, Vault, is_disk_trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

log = logging.getLogger("taiqu")


class State:
    """The state of one area, in a folder of its own. ``load`` comes first, then ``keep`` in every cycle."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[str] = []
        """What is wrong with the configuration file while the last good one is in force."""
        self.epoch = 0
        """The newest epoch that this area's controller has had."""
        self.memory: Path | None = folder / "memory.json"
        """Where what is learned is kept, unless another place is named; None where no folder could be made."""
        self._area = ""
        self._config = Kept(Vault(folder / "config.json", "config"))
        self._epoch = Kept(Vault(folder / "epoch.json", "epoch"))

    def load(self, path: Path, meter_models: Collection[str]) -> cfg.AreaConfig:
        """The configuration in ``path``; where that is broken the last good one, and ``problems`` says why.

        Raises ConfigError when there is none or the folder is another area's, OSError when it cannot be a folder.
        """
        self._make_folder()
        good, good_text = self._last_good(self._config.vault.load, path, meter_models)
        text = ""
        try:
            text = read_file(path)
            config = cfg.from_text(text, path, meter_models)
            if good is not None and config != good:
                _check_end(text, good_text, path)
        except cfg.ConfigError as err:
            if good is None or _names_another(text, good.area_id):
                raise
            self._fall_back(path, err.problems)
            config = good
        else:
            if text != good_text:
                self._config.set({"area": config.area_id, "path": str(path.absolute()), "text": text})
        self._area = config.area_id
        self._refuse_another(config.area_id)
        self.epoch = self._epoch.vault.load(_read_epoch) or 0
        return config

    def keep(self, epoch: int, now_ms: int, do: Callable[[Callable[[], object]], object]) -> None:
        """Have ``do`` write what is not on the disk yet; what fails is tried again later. ``epoch`` 0: none yet."""
        if epoch > self.epoch:
            self.epoch = epoch
            self._epoch.set({"area": self._area, "epoch": epoch})
        self._config.step(now_ms, do)
        self._epoch.step(now_ms, do)

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._config.vault.try_out()
        except OSError as err:
            if not is_disk_trouble(err):
                raise
            log.warning("state %s: %s. Nothing is kept; control goes on", self.folder, err.strerror or err)
            self.memory = None

    def check(self, path: Path, config: cfg.AreaConfig, meter_models: Collection[str]) -> None:
        """Would ``load`` take this configuration from ``path``? Changes nothing. Raises ConfigError."""
        self._refuse_another(config.area_id)
        try:
            good, good_text = self._last_good(self._config.vault.peek, path, meter_models)
        except (OSError, ValueError, RecursionError):
            return  # nothing was accepted yet, or it cannot be read any more
        if good is not None and config != good:
            _check_end(read_file(path), good_text, path)

    def _refuse_another(self, area: str) -> None:
        """Is anything in the folder another area's? Raises ConfigError."""
        for vault in (self._config.vault, self._epoch.vault, Vault(self.folder / "memory.json", "memory", plain=True)):
            try:
                other = vault.peek(_read_area)
            except (OSError, ValueError, RecursionError):
                continue
            if other != area:
                raise cfg.ConfigError(
                    [f"--state {self.folder} is the state of area {other[:40]}, not {area}. Choose another folder."]
                )

    def _last_good(
        self, read: Callable[[Callable[[Any], str]], str | None], path: Path, meter_models: Collection[str]
    ) -> tuple[cfg.AreaConfig | None, str]:
        """What was last accepted from this very path, with its text."""
        text = read(lambda data: _read_text(data, path))
        try:
            return (cfg.from_text(text, path, meter_models), text) if text else (None, "")
        except cfg.ConfigError:  # accepted by an earlier version, and no longer
            return None, ""

    def _fall_back(self, path: Path, problems: list[str]) -> None:
        self.problems = problems
        log.error("%s is broken and NOT in force:", path)
        for problem in problems:
            log.error("  %s", problem)
        log.error(
            "control goes on with the configuration that was accepted last, kept in %s. Correct the file until "
            "taiqu check %s --state %s is content, then restart",
            self._config.vault.path, path, self.folder,
        )  # fmt: skip


def _read_epoch(data: object) -> int:
    epoch = data.get("epoch") if isinstance(data, dict) else None
    if not isinstance(epoch, int) or epoch < 0:
        raise ValueError("no epoch")
    return epoch


def _read_area(data: object) -> str:
    """Whose it is. Raises ValueError."""
    area = data.get("area") if isinstance(data, dict) else None
    if not isinstance(area, str):
        raise ValueError("no area")  # noqa: TRY004 - a vault reads ValueError as damage
    return area


def _read_text(data: object, path: Path) -> str:
    """The text of a copy; empty when it is that of another file. Raises ValueError."""
    text = data.get("text") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(text, str):
        raise ValueError("no configuration")  # noqa: TRY004 - a vault reads ValueError as damage
    return text if data.get("path") == str(path.absolute()) else ""


def _check_end(text: str, good: str, path: Path) -> None:
    """Refuse a file that is what was accepted last without its end: a copy that was cut off. Raises ConfigError."""
    if good.startswith(text.rstrip()):
        lines = text.rstrip().count("\n") + 1
        problem = (
            f"{path.name}: ends after line {lines}, where the configuration that was accepted last goes on: it looks "
            "cut off. Write the file anew; if its end was taken out on purpose, say so in a comment (#) at its end."
        )
        raise cfg.ConfigError([problem])


def _names_another(text: str, area: str) -> bool:
    """Does a broken file still say that it is another area's?"""
    try:
        table = parse(text, "").get("area")
    except cfg.ConfigError:
        return False
    name = table.get("id") if isinstance(table, dict) else None
    return isinstance(name, str) and name != area and ID_PATTERN.fullmatch(name) is not None
