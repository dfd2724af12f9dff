"""What an associative board keeps programs in: slots of tables and instructions, within a memory of bounded size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..chips.associative import INSTRUCTION
from ..scpi import ScpiError

SLOTS = 256
MEMORY = 64 << 20
"""Bytes of all programs together, as they were sent."""
_PASS = 4  # bytes


@dataclass(frozen=True, slots=True)
class StoredProgram:
    """tables: (passes, 4) u8 each, masks and bits of key and then. instructions: (n,). size: bytes, as it was sent."""

    tables: tuple[NDArray[np.uint8], ...]
    instructions: NDArray[Any]
    size: int

    @property
    def passes(self) -> int:
        """How many it does in all."""
        each = np.array([len(table) for table in self.tables], np.int64)
        return int((each[self.instructions["table"]] * self.instructions["bits"]).sum()) if len(each) else 0


class ProgramMemory:
    """Programs by slot. Every call raises ScpiError, with nothing changed."""

    def __init__(self) -> None:
        self._programs: dict[int, StoredProgram] = {}

    @property
    def free(self) -> int:
        """Bytes."""
        return MEMORY - sum(each.size for each in self._programs.values())

    def clear(self) -> None:
        self._programs.clear()

    def define(self, slot: int, tables: NDArray[np.uint8], instructions: NDArray[np.uint8]) -> None:
        """In the place of what is in `slot`. tables: for each the number of its passes, u16, and 4 bytes a pass, little
        endian. instructions: bytes of `INSTRUCTION` records.
        """
        if len(instructions) % INSTRUCTION.itemsize:
            raise ScpiError(-161, f"{len(instructions)} bytes are no whole number of instructions")
        program = StoredProgram(_tables(tables), instructions.view(INSTRUCTION), len(tables) + len(instructions))
        needed = program.instructions["table"].max(initial=0)
        if len(program.instructions) and needed >= len(program.tables):
            raise ScpiError(-222, f"there is no table {needed}, but {len(program.tables)}")
        before = self._programs[slot].size if slot in self._programs else 0
        if program.size > self.free + before:
            raise ScpiError(-225, f"{program.size} bytes where {self.free + before} are free")
        self._programs[slot] = program

    def delete(self, slot: int) -> None:
        """Nothing where nothing is there."""
        self._programs.pop(slot, None)

    def part(self, slot: int, first: int, count: int) -> StoredProgram:
        """`count` instructions of what is in `slot`, from `first` on."""
        if slot not in self._programs:
            raise ScpiError(-224, f"there is no program in slot {slot}")
        program = self._programs[slot]
        if first + count > len(program.instructions):
            raise ScpiError(-222, f"the program ends behind instruction {len(program.instructions) - 1}")
        return StoredProgram(program.tables, program.instructions[first : first + count], 0)


def _tables(block: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
    tables, at = [], 0
    while at < len(block):
        passes = int.from_bytes(block[at : at + 2].tobytes(), "little")
        end = at + 2 + _PASS * passes
        if end > len(block):
            raise ScpiError(-161, "the last table is cut off")
        tables.append(block[at + 2 : end].reshape(passes, _PASS))
        at = end
    return tuple(tables)
