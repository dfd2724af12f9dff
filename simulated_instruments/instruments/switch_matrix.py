"""A simulated switch matrix: inputs, on the side of the instruments, that relays put on the lines of a device.

It is a fixture itself: `lead("3")` is input 3. Output n is the n-th line of the device. Two inputs on one output are
connected with each other, and so are two outputs on one input; outputs beyond the device's lines go nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from ..network import Bias, Device, Lead, Probe
from ..wire import Site, Wire
from .clocks import BoardClock

Crosspoint = tuple[int, int]
"""Input and output, both from 1."""


class MatrixOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `[simulated.NAME]` table for a switch matrix.

    model: `707B` (8 inputs, 72 outputs), `3706A` (6 and 96) or `B2201A` (14 and 48). device: the `[simulated.NAME]`
    whose lines the outputs are on. ground: an input that is wired to ground. serial: its serial number.
    """

    device: str
    model: str = "707B"
    ground: int | None = None
    serial: str = "1400001"


class Relays:
    """The crosspoints of one matrix. Switching takes `settling` s on the clock of the bench."""

    def __init__(self, inputs: int, outputs: int, device: Device, settling: float, ground: int | None = None) -> None:
        """Raises ValueError where the device has more lines than there are outputs, or there is no such ground."""
        if len(device.lines) > outputs:
            raise ValueError(f"{len(device.lines)} lines of the device are more than the {outputs} outputs")
        if ground is not None and not 1 <= ground <= inputs:
            raise ValueError(f"ground must be one of the inputs 1 to {inputs}, not {ground}")
        self.inputs, self.outputs = inputs, outputs
        self.settling = settling
        self._device = device
        self._probes: dict[int, Probe] = {number: device.probe() for number in range(1, inputs + 1)}
        self._closed: frozenset[Crosspoint] = frozenset()
        self._joined: frozenset[tuple[int, int]] = frozenset()
        if ground is not None:
            self._probes[ground].hold(Bias("voltage", 0.0, float("inf")))
        self._ground = ground

    @property
    def clock(self) -> BoardClock:
        return self._device.clock

    @property
    def closed(self) -> frozenset[Crosspoint]:
        return self._closed

    def lead(self, name: str) -> Lead:
        """Input of that number. Raises ValueError."""
        names = [str(number) for number in self._probes if number != self._ground]
        if name not in names:
            raise ValueError(f"the matrix has no input {name!r}; there are: {', '.join(names)}")
        return self._probes[int(name)]

    def switch(self, wanted: Collection[Crosspoint], joined: Iterable[tuple[int, int]] = ()) -> None:
        """Close exactly these, all at once. joined: inputs that are connected with each other besides."""
        now, links = frozenset(wanted), frozenset(joined)
        if (now, links) == (self._closed, self._joined):
            return
        self._closed, self._joined = now, links
        for number, probe in self._probes.items():
            lines = {self._line(output) for each, output in now if each == number}
            posts = {f"joined {pair}" for pair in links if number in pair}
            probe.touch(lines | posts)
        self.clock.spend(self.settling)

    def _line(self, output: int) -> str:
        lines = self._device.lines
        return lines[output - 1] if output <= len(lines) else f"output {output}"


class Face(Protocol):
    """What a model makes of the relays: the wire to talk to."""

    @property
    def wire(self) -> Wire: ...


class SwitchMatrix:
    """The relays and the language they are told in."""

    def __init__(self, relays: Relays, face: Face) -> None:
        self._relays = relays
        self.wire = face.wire

    def lead(self, name: str) -> Lead:
        return self._relays.lead(name)

    def close(self) -> None:
        """Switched off, its relays open."""
        self._relays.switch(())


def build(options: dict[str, Any], site: Site) -> SwitchMatrix:
    """Entry point `labctl.simulators`: that of a `[simulated.NAME]` table. Raises ValueError with one sentence."""
    from .switch_matrix_b220x import KeysightB2201A
    from .switch_matrix_tsp import MODELS, TspMatrix

    given = msgspec.convert(options, MatrixOptions)
    makers: Mapping[str, Callable[[MatrixOptions, Device], tuple[Relays, Face]]] = {
        **dict.fromkeys(MODELS, TspMatrix.of),
        "B2201A": KeysightB2201A.of,
    }
    if given.model not in makers:
        raise ValueError(f"model must be one of {', '.join(makers)}, not {given.model!r}")
    device = site.find(given.device)
    if not isinstance(device, Device):
        raise ValueError(f"[simulated.{given.device}] has no lines to put outputs on")
    return SwitchMatrix(*makers[given.model](given, device))
