"""An account: how often each operation is done, and what it takes each time, summed over components and layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Entry:
    """What one component does for one layer, "" for what belongs to none.

    energy: J in all. seconds: that nothing hides, 0 for what goes on beside something else.
    """

    layer: str
    component: str
    operation: str
    count: float
    energy: float
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Account:
    """The entries of one machine that does one thing: of a sample, unless its name says otherwise."""

    name: str
    entries: tuple[Entry, ...]

    @property
    def energy(self) -> float:
        """J."""
        return sum(entry.energy for entry in self.entries)

    @property
    def latency(self) -> float:
        """s, one entry after another."""
        return sum(entry.seconds for entry in self.entries)

    @property
    def parts(self) -> dict[str, tuple[float, float]]:
        """(J, s) of each component, in the order of the entries."""
        return self._summed(lambda entry: entry.component)

    @property
    def layers(self) -> dict[str, tuple[float, float]]:
        """(J, s) of each layer; what belongs to none under ""."""
        return self._summed(lambda entry: entry.layer)

    def ratio(self, reference: Account) -> float:
        """How many times the energy of this one `reference` takes; infinite where this one takes none."""
        return reference.energy / self.energy if self.energy else math.inf

    def times(self, count: float) -> Account:
        """That often: a run of so many samples, or, by a fraction, the share of a sample in what many share."""
        return replace(
            self,
            entries=tuple(
                replace(entry, count=entry.count * count, energy=entry.energy * count, seconds=entry.seconds * count)
                for entry in self.entries
            ),
        )

    def plus(self, *others: Account) -> Account:
        """This one and then the others, under this one's name."""
        return replace(self, entries=sum((other.entries for other in others), self.entries))

    def as_values(self) -> dict[str, Any]:
        """As plain JSON values, SI units."""
        return {
            "name": self.name,
            "energy": self.energy,
            "latency": self.latency,
            "parts": [
                {"component": name, "energy": energy, "seconds": seconds}
                for name, (energy, seconds) in self.parts.items()
            ],
            "layers": [
                {"layer": name, "energy": energy, "seconds": seconds} for name, (energy, seconds) in self.layers.items()
            ],
            "operations": self.operations,
        }

    @property
    def operations(self) -> dict[str, float]:
        """How often each is done."""
        counts: dict[str, float] = {}
        for entry in self.entries:
            counts[entry.operation] = counts.get(entry.operation, 0.0) + entry.count
        return counts

    def _summed(self, key: Callable[[Entry], str]) -> dict[str, tuple[float, float]]:
        found: dict[str, tuple[float, float]] = {}
        for entry in self.entries:
            energy, seconds = found.get(key(entry), (0.0, 0.0))
            found[key(entry)] = energy + entry.energy, seconds + entry.seconds
        return found
