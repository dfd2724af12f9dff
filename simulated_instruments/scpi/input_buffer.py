"""Where bytes arrive: one piece of memory that grows once to the length a block declares."""

from __future__ import annotations

import numpy as np

from labctl.links.blocks import Buffer

_SMALLEST = 64 * 1024  # what one receive call may bring
_LARGEST_IDLE = 16 * 1024 * 1024  # more than this is not kept for a message that may never come


class InputBuffer:
    """Received bytes that are not executed yet: `memory[start:stop]`, framed as far as `scanned`.

    The memory is numpy's because it is not touched before it is written, so room to spare costs nothing.
    """

    def __init__(self) -> None:
        self.memory = _allocate(_SMALLEST)
        self.clear()

    def __len__(self) -> int:
        return self.stop - self.start

    def clear(self) -> None:
        self.start = self.scanned = self.stop = 0

    def leave(self) -> None:
        """Move to other memory, because somebody keeps a view of this one."""
        self._move_to(_allocate(max(_SMALLEST, 2 * len(self))))

    def room(self, expected: int) -> memoryview:
        """Memory to receive into: at least `expected` bytes. `received` says how many came."""
        wanted = max(expected, _SMALLEST // 4)
        if len(self.memory) - self.stop < wanted:
            size = len(self)
            fits = size <= self.start and size + wanted <= len(self.memory)
            # Twice what is wanted, because a message with one block often has another of the like behind it.
            self._move_to(self.memory if fits else _allocate(2 * (size + wanted)))
        return self.memory[self.stop :]

    def received(self, count: int) -> None:
        self.stop += count

    def append(self, data: Buffer, expected: int) -> None:
        """Copy `data` in, with room for as much as `expected` behind it."""
        size = len(data)
        self.room(size + expected)[:size] = data
        self.stop += size

    def consumed(self, start: int, scanned: int) -> None:
        """What lies before `start` is done with; the rest is framed up to `scanned`."""
        self.start, self.scanned = start, scanned
        if start == self.stop:
            self.clear()
            if len(self.memory) > _LARGEST_IDLE:
                self.memory = _allocate(_SMALLEST)

    def _move_to(self, memory: memoryview) -> None:
        """Bring what is left to the front of `memory`."""
        size = len(self)
        memory[:size] = self.memory[self.start : self.stop]
        self.memory = memory
        self.start, self.scanned, self.stop = 0, self.scanned - self.start, size


def _allocate(size: int) -> memoryview:
    return np.empty(size, np.uint8).data
