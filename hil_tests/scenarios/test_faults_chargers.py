"""Every fault of chargers and cars of the catalogue alone, in one seeded night each."""

from __future__ import annotations

from hil_tests.scenarios.alone import Alone

