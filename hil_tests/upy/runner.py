"""Runs scripts on real MicroPython (its WebAssembly build under Node), with ``edge.core`` in its file system."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

PACKAGE = "@micropython/micropython-webassembly-pyscript"
NODE_MODULES_ENV = "TAIQU_NODE_MODULES"
RUN_S = 60
"""A script that runs longer than this hangs."""

_REPOSITORY = Path(__file__).resolve().parents[2]
_RUNNER = Path(__file__).with_name("run.mjs")


class MicroPythonError(Exception):
    """The script raised, or hung; the message is MicroPython's traceback."""


@functools.cache
def find_package() -> Path | None:
    """Return the npm package's folder, or None when it or Node is missing.

    Looked for in ``./node_modules``, ``$TAIQU_NODE_MODULES`` (a ``node_modules`` folder) and npm's global folder.
    """
    if shutil.which("node") is None:
        return None
    folders = [_REPOSITORY / "node_modules", Path(os.environ.get(NODE_MODULES_ENV) or _REPOSITORY / "node_modules")]
    for folder in [*folders, *_global_folder()]:
        if (folder / PACKAGE / "micropython.mjs").is_file():
            return folder / PACKAGE
    return None


def _global_folder() -> list[Path]:
    if shutil.which("npm") is None:
        return []
    answer = subprocess.run(["npm", "root", "-g"], capture_output=True, text=True, check=False, timeout=RUN_S)
    return [Path(answer.stdout.strip())] if answer.returncode == 0 else []


def run_script(source: str) -> str:
    """Run a script and return what it printed.

    Args:
        source: Python source in MicroPython's subset; it may import ``edge.core``.

    Raises:
        MicroPythonError: the script raised anything (SystemExit too) or ran longer than 60 s.
        LookupError: Node or the npm package is missing; tests ask ``require("node")`` first.
    """
    package = find_package()
    if package is None:
        raise LookupError(f"node or {PACKAGE} is missing. Run: npm install {PACKAGE}")
    command = ["node", str(_RUNNER), str(package), str(_REPOSITORY)]
    try:
        done = subprocess.run(command, input=source, capture_output=True, text=True, check=False, timeout=RUN_S)
    except subprocess.TimeoutExpired as error:
        raise MicroPythonError(f"the script did not end within {RUN_S} s") from error
    if done.returncode != 0:
        raise MicroPythonError(f"{done.stdout}{done.stderr}")
    return done.stdout
