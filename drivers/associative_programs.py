"""Which programs an associative-processor board holds: each is sent once, the one not used for longest makes room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.associative import AssociativeGeometry, Program
from labctl.drivers.associative_works import MESSAGE, CommandWork, plain

_PART = MESSAGE // 2  # bytes of instructions that are kept in one slot: they travel in one message with their tables


@dataclass(frozen=True, slots=True)
class Held:
    """Where a program, or a part of it, is. passes, shifts: (instructions,) of each."""

    slot: int
    size: int
    passes: NDArray[np.int64]
    shifts: NDArray[np.int64]


class HeldPrograms:
    """By digest and part. slots, memory: of the board of that geometry, memory in bytes."""

    def __init__(self, geometry: AssociativeGeometry, slots: int, memory: int) -> None:
        self._geometry = geometry
        self._memory = memory
        self._free = list(range(slots))[::-1]
        self._held: OrderedDict[tuple[str, int], Held] = OrderedDict()
        self._slots = slots
        self._is_known = True

    def forget(self) -> None:
        """What the board holds is no longer known."""
        self._is_known = False

    def parts(self, program: Program) -> Iterator[tuple[list[CommandWork], Held]]:
        """Of a program, in the order they are run: what has to be done first for the board to hold it, and where it is.

        A part may be gone once the next is asked for. Raises ValueError where one is longer than the memory.
        """
        size = program.instructions.dtype.itemsize
        most = min(_PART, self._memory // 2) // size
        for part, first in enumerate(range(0, len(program.instructions), most)):
            yield self._part(program, part, slice(first, first + most))

    def _part(self, program: Program, part: int, which: slice) -> tuple[list[CommandWork], Held]:
        works = [] if self._is_known else self._cleared()
        key = program.digest, part
        if key in self._held:
            self._held.move_to_end(key)
            return works, self._held[key]
        tables = b"".join(len(each.passes).to_bytes(2, "little") + each.codes.tobytes() for each in program.tables)
        instructions = program.instructions[which]
        size = len(tables) + instructions.nbytes
        if size > self._memory:
            raise ValueError(f"a program of {size} bytes where the board has {self._memory}")
        while not self._free or self._used + size > self._memory:
            works.append(self._dropped())
        each = np.array([len(table.passes) for table in program.tables], np.int64)
        passes, shifts = each[instructions["table"]] * instructions["bits"], _shifts(instructions, self._geometry)
        held = Held(self._free.pop(), size, passes, shifts)
        self._held[key] = held
        block = np.frombuffer(instructions.tobytes(), np.uint8)
        works.append(plain(f":PROGram:DEFine {held.slot},", np.frombuffer(tables, np.uint8), ",", block))
        return works, held

    @property
    def _used(self) -> int:
        return sum(each.size for each in self._held.values())

    def _dropped(self) -> CommandWork:
        """The program not used for longest."""
        held = self._held.popitem(last=False)[1]
        self._free.append(held.slot)
        return plain(f":PROGram:DELete {held.slot}")

    def _cleared(self) -> list[CommandWork]:
        self._held.clear()
        self._free = list(range(self._slots))[::-1]
        self._is_known = True
        return [plain(":PROGram:DELete:ALL")]


def _shifts(instructions: NDArray[Any], geometry: AssociativeGeometry) -> NDArray[np.int64]:
    """(n,) about how many each of `instructions` takes, one after another: from bit to bit, and to its first one."""
    firsts = instructions["columns"].astype(np.int64)
    within = instructions["steps"] * np.maximum(instructions["bits"].astype(np.int64) - 1, 0)[:, np.newaxis]
    tracks, begun, ended = (
        each.ravel() for each in (firsts // geometry.domains, geometry.heads(firsts), geometry.heads(firsts + within))
    )
    order = np.argsort(tracks, kind="stable")
    moves = np.abs(begun[order][1:] - ended[order][:-1]) * (np.diff(tracks[order]) == 0)
    jumps = np.zeros(len(tracks), np.int64)
    jumps[order[1:]] = moves
    shifts: NDArray[np.int64] = np.abs(within).sum(axis=1) + jumps.reshape(firsts.shape).sum(axis=1)
    return shifts
