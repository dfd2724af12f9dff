"""What is between the outputs of simulated sources and the devices they drive: leads, fixtures and biases.

A source (an SMU, a pulse generator) drives a `Lead`. Where the lead goes is the `Fixture`'s affair: straight to a
resistor, or through a switch matrix to the lines of a chip. All voltages are against the one common ground of the
fixture.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from .instruments.clocks import BoardClock


@dataclass(frozen=True, slots=True)
class Bias:
    """What a source holds on its lead: a level in V or A, with a limit on the other quantity, in A or V."""

    kind: Literal["voltage", "current"]
    level: float
    limit: float


@dataclass(frozen=True, slots=True)
class Sensed:
    """V on a lead and A out of it, means over a measurement. limited: the source is at its limit (compliance)."""

    volts: float
    amps: float
    limited: bool


class Lead(Protocol):
    """One output wire of a source."""

    @property
    def clock(self) -> BoardClock:
        """Time on the bench: what a source does takes as long as it would, and is spent here."""

    def hold(self, bias: Bias | None) -> None:
        """From now on `bias` is on the lead. None: the output is off, at high impedance."""

    def sense(self, seconds: float) -> Sensed:
        """Measure for `seconds`, which pass meanwhile and in which what is held acts on the devices."""

    def pulse(self, volts: float, width: float) -> None:
        """`volts` for `width` s instead of what is held, which then comes back."""


class Probe(Lead, Protocol):
    """A lead that can be put on other lines of its device."""

    def touch(self, lines: Iterable[str]) -> None:
        """From now on the lead is on these lines, which are thereby connected.

        A name that is no line of the device is a post: where the probes that touch it meet.
        """


@runtime_checkable
class Device(Protocol):
    """A device whose lines are brought out, for a switch matrix to put leads on."""

    lines: tuple[str, ...]

    @property
    def clock(self) -> BoardClock:
        """Time on the bench."""

    def probe(self) -> Probe:
        """A new one, on no line."""


@runtime_checkable
class Fixture(Protocol):
    """What leads go to. A simulated instrument that is one is found by its name (`wire.Site.find`)."""

    def lead(self, name: str) -> Lead:
        """The lead of that name; the same one each time. Raises ValueError that lists the names there are."""
