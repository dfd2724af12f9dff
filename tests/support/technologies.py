"""Technologies for tests that are about something else than one effect."""

from __future__ import annotations

from dataclasses import replace

from labctl.simulated_instruments.cells.rram_parameters import RramParameters

STILL = replace(RramParameters.default(), relaxation_times=())
"""The default RRAM, which keeps what it is programmed to."""
