"""A chip on a probe card: its lines are the leads of a fixture, for sources to drive directly or through a matrix.

The same cells and lines as the test board's chip of that serial number, without the board: what a measurement errs by
is the instrument's that makes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from ..chips.bare_array import ArrayProbe, BareArray
from ..network import Lead
from ..wire import Site
from .chip_socket import ChipOptions, chip_socket
from .clocks import BoardClock


class ProbeCard:
    """The chip in its socket; `close` saves what it remembers. There is nothing to talk to."""

    wire = None

    def __init__(self, options: ChipOptions, folder: Path) -> None:
        """Raises ValueError with one sentence."""
        self._socket = chip_socket(options, folder)
        self.array = BareArray(self._socket.chip, self._socket.clock)
        self.lines = self.array.lines
        self._leads: dict[str, ArrayProbe] = {}

    @property
    def clock(self) -> BoardClock:
        return self.array.clock

    def probe(self) -> ArrayProbe:
        return self.array.probe()

    def lead(self, name: str) -> Lead:
        if name not in self.lines:
            chip = self.array.chip
            last = f"BL0 to BL{chip.rows - 1}, SL0 to SL{chip.cols - 1}, WL0 to WL{chip.rows - 1}"
            raise ValueError(f"chip {chip.serial} has no line {name!r}; there are: {last}")
        if name not in self._leads:
            self._leads[name] = self.probe()
            self._leads[name].touch([name])
        return self._leads[name]

    def close(self) -> None:
        """May be called twice: the chip is saved once, as long as it is ours."""
        with self.array.lock:
            self._socket.close()


def build(options: dict[str, Any], site: Site) -> ProbeCard:
    """Entry point `labctl.simulators`: the chip of a `[simulated.NAME]` table. Raises ValueError with one sentence."""
    return ProbeCard(msgspec.convert(options, ChipOptions), site.folder)
