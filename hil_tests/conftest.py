"""What every test may ask for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from drivers.broker import find_mosquitto
from hil_tests.upy.runner import PACKAGE, find_package

if TYPE_CHECKING:
    from collections.abc import Callable

# The same inputs in every run; whoever hunts for others says --hypothesis-profile hunt.
settings.register_profile("same", derandomize=True, database=None, print_blob=True)
settings.register_profile("hunt", print_blob=True)
settings.load_profile("same")

REQUIRE_ENV = "TAIQU_REQUIRE"

# Parts that pip does not bring: how to find one, and how to get it.
PARTS: dict[str, tuple[Callable[[], object], str]] = {
    "mosquitto": (find_mosquitto, "apt install mosquitto"),
    "node": (find_package, f"apt install nodejs npm && npm install {PACKAGE}"),
}


def pytest_configure() -> None:
    """Refuse a misspelt part: it would turn a required test into a skipped one."""
    if unknown := _required() - set(PARTS):
        raise pytest.UsageError(
            f"{REQUIRE_ENV}: {', '.join(sorted(unknown))} unknown; the parts are {', '.join(PARTS)}"
        )


def require_part(part: str) -> None:
    """Skip the running test when a part is missing; fail it when ``TAIQU_REQUIRE`` (a comma list) names the part."""
    find, remedy = PARTS[part]
    if find() is not None:
        return
    reason = f"{part} is missing: {remedy}"
    if part in _required():
        pytest.fail(f"{reason} ({REQUIRE_ENV} asks for it)", pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def require() -> Callable[[str], None]:
    """Return ``require(part)``: call it first in a test that needs "mosquitto" or "node"."""
    return require_part


def _required() -> set[str]:
    return {part.strip() for part in os.environ.get(REQUIRE_ENV, "").split(",") if part.strip()}
