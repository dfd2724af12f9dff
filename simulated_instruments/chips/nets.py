"""What voltages the nets of a fixture take: sources with limits, and conductances between nets.

A net is everything that is connected without resistance. Each source is piecewise linear: a voltage source holds its
level, behind a milliohm, up to its limit of current, a current source its level up to its limit of voltage. In between
are ohmic cells, so what remains is nodal analysis, solved anew whenever a source goes over to its limit or back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..network import Bias

_CONTACT = 1e-3  # Ohm of a source that holds a voltage, so that two on one net share what they carry
_LEAKAGE = 1e-14  # S from a net to ground: where nothing holds it, it comes to rest there
_WITHIN = 1 + 1e-9  # of a limit, as rounding has it
_CHANGES = 50  # of state for each source, after which they are left as they are

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Source:
    """What `bias` holds on the net of that number."""

    net: int
    bias: Bias


@dataclass(frozen=True, slots=True)
class Solution:
    """volts: (nets,). amps: (sources,) out of each. limited: (sources,) whether it is at its limit."""

    volts: Float64
    amps: Float64
    limited: NDArray[np.bool_]


def solve(nets: int, sources: Sequence[Source], ends: NDArray[np.intp], conductance: Float64) -> Solution:
    """The one state that sources and conductances agree on.

    ends: (n, 2) nets that each of the (n,) conductances, S, is between.
    """
    touched = np.unique(np.concatenate([[source.net for source in sources], ends.ravel()])).astype(np.intp)
    within = [Source(int(np.searchsorted(touched, source.net)), source.bias) for source in sources]
    found = _solve(len(touched), within, np.searchsorted(touched, ends), conductance)
    volts = np.zeros(nets)  # what nothing is on is at rest
    volts[touched] = found.volts
    return Solution(volts, found.amps, found.limited)


def _solve(nets: int, sources: Sequence[Source], ends: NDArray[np.intp], conductance: Float64) -> Solution:
    admittance = _admittance(nets, ends, conductance)
    held = [_Held(source) for source in sources]
    for _ in range(_CHANGES * max(len(held), 1)):
        volts = _volts(admittance, held)
        wrong = max(held, key=lambda each: each.strain(volts), default=None)
        if wrong is None or not wrong.strain(volts):
            break
        wrong.state = wrong.wanted(volts)
    amps = _amps(volts, held, ends, conductance)
    return Solution(volts, amps, np.array([each.state != 0 for each in held], np.bool_))


class _Held:
    """A source, and the state it is in, which changes by one at a time.

    0: at its level. Of a voltage source, 1 and -1: at its limit of current, either way. Of a current source, 1: at its
    limit of voltage, 2: driven beyond that by another, when it takes no more than its level.
    """

    def __init__(self, source: Source) -> None:
        self.net = source.net
        self.is_voltage = source.bias.kind == "voltage"
        self.level = source.bias.level
        self.limit = abs(source.bias.limit)
        self.state = 0

    @property
    def norton(self) -> tuple[float, float]:
        """S to ground and A into the net that it now amounts to."""
        if self.is_voltage:
            return (0.0, self.state * self.limit) if self.state else (1 / _CONTACT, self.level / _CONTACT)
        if self.state == 1:
            return 1 / _CONTACT, math.copysign(self.limit, self.level) / _CONTACT
        return 0.0, -self.level if self.state else self.level

    def wanted(self, volts: Float64) -> int:
        """The state it would be in at these voltages of the nets, or the one on the way there."""
        amps, limit = self._regulating(volts)
        if self.is_voltage:
            state = 0 if abs(amps) <= limit * _WITHIN else 1 if amps > 0 else -1
        else:
            state = 1 if abs(amps) <= limit * _WITHIN else 0 if amps > 0 else 2
        return self.state + (state > self.state) - (state < self.state)

    def strain(self, volts: Float64) -> float:
        """How far from its state it is at these voltages, in V; 0 where it agrees."""
        if self.wanted(volts) == self.state:
            return 0.0
        amps, limit = self._regulating(volts)
        return max(abs(abs(amps) - limit) * _CONTACT, 1e-300)

    def _regulating(self, volts: Float64) -> tuple[float, float]:
        """A that would flow out of it if it held a voltage, its level or its limit, and A that it gives at most then.

        Of a current source in its own direction.
        """
        value = float(volts[self.net])
        if self.is_voltage:
            return (self.level - value) / _CONTACT, self.limit
        if not self.level:
            return math.inf, 0.0
        return (self.limit - math.copysign(1.0, self.level) * value) / _CONTACT, abs(self.level)


def _admittance(nets: int, ends: NDArray[np.intp], conductance: Float64) -> Float64:
    """(nets, nets) S of the conductances alone."""
    matrix = np.zeros((nets, nets))
    first, second = ends[:, 0], ends[:, 1]
    np.add.at(matrix, (first, first), conductance)
    np.add.at(matrix, (second, second), conductance)
    np.add.at(matrix, (first, second), -conductance)
    np.add.at(matrix, (second, first), -conductance)
    return matrix


def _volts(admittance: Float64, held: Sequence[_Held]) -> Float64:
    matrix, currents = admittance.copy(), np.zeros(len(admittance))
    matrix[np.diag_indices_from(matrix)] += _LEAKAGE
    for source in held:
        conductance, amps = source.norton
        matrix[source.net, source.net] += conductance
        currents[source.net] += amps
    return np.asarray(np.linalg.solve(matrix, currents), np.float64)


def _amps(volts: Float64, held: Sequence[_Held], ends: NDArray[np.intp], conductance: Float64) -> Float64:
    """Out of each source: of the only one that gives way on its net, what the net draws, free of rounding."""
    through = conductance * (volts[ends[:, 0]] - volts[ends[:, 1]])
    drawn, amps = np.zeros(len(volts)), np.zeros(len(held))
    np.add.at(drawn, ends[:, 0], through)
    np.subtract.at(drawn, ends[:, 1], through)
    giving: dict[int, list[int]] = {}
    for index, source in enumerate(held):
        conducts, level = source.norton
        if conducts:
            giving.setdefault(source.net, []).append(index)
            amps[index] = level - volts[source.net] * conducts
        else:
            amps[index] = level
    for net, indices in giving.items():
        if len(indices) == 1:
            others = sum(amps[index] for index, source in enumerate(held) if source.net == net and index != indices[0])
            amps[indices[0]] = drawn[net] - others
    return amps
