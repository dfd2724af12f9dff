"""Which run has which instruments: what is in a run's hands, no other run pulses, asks or puts in safe state."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from labctl.errors import RunError


@dataclass(slots=True, eq=False)
class Reservation:
    """own: instruments that one run has for itself. shared: those it only reads, as others may. path: its file.

    is_ending: it reads them no more.
    """

    own: frozenset[str]
    shared: frozenset[str]
    path: Path | None = None
    is_ending: bool = False


class Reservations:
    """Those of one bench; runs may be in threads."""

    def __init__(self) -> None:
        self._held: list[Reservation] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def reserve(self, own: Collection[str], shared: Collection[str]) -> Iterator[Reservation]:
        """`own` and `shared` for one run. Raises RunError while another has one of them that not both only read."""
        wanted = Reservation(frozenset(own), frozenset(shared))
        with self._lock:
            for name in [*own, *shared]:
                if any(name in each.own or (name in each.shared and name in own) for each in self._held):
                    raise RunError(f"a run is going on on {name!r} already: one instrument, one run at a time")
            self._held.append(wanted)
        try:
            yield wanted
        finally:
            with self._lock:
                self._held.remove(wanted)

    def end(self, reservation: Reservation) -> frozenset[str]:
        """What other runs still have; of what runs share, only the last to end is told that nobody has it."""
        with self._lock:
            reservation.is_ending = True
            others = [each for each in self._held if each is not reservation]
            return frozenset().union(*(each.own if each.is_ending else each.own | each.shared for each in others))

    def others(self, reservation: Reservation) -> list[Reservation]:
        """Those of the other runs that are going on."""
        with self._lock:
            return [each for each in self._held if each is not reservation]
