"""The cells of a network on an array: what each conducts as a kept edge and as a pruned one, and how it is switched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.array import Cells, MemoryArray, Operation
from labctl.learning.placement import Block, Placement
from labctl.protocols.pruning.settings import PruningSettings
from labctl.protocols.ramps import Ramp, batch

Float32 = NDArray[np.float32]
Masks = Sequence[NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class Switched:
    """What bringing masks onto the array took. pruned, reinstated: cells. failed: those of them that did not follow."""

    pruned: int = 0
    reinstated: int = 0
    pulses: int = 0
    failed: int = 0

    def __add__(self, other: Switched) -> Switched:
        return Switched(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))


class NetworkCells:
    """The cells of `placement` on `array`, all of them kept at first.

    formed: (cells,) conduct, so they can be switched. on, off: (reads, cells) S of each cell as it was last read kept
    and pruned, one row a read. A cell never read pruned is taken to read like one of those that were. switches:
    (cells,) RESETs and SETs that moved the cell. fixed: (cells,) did not follow pulses, and get none any more.
    """

    def __init__(self, array: MemoryArray, placement: Placement, settings: PruningSettings, formed: NDArray[np.bool_]):
        cells = array.geometry.cells
        self.array = array
        self.placement = placement
        self.settings = settings
        self.formed = formed
        self.on = np.zeros((settings.replayed_reads, cells), np.float32)
        self.off = np.full((settings.replayed_reads, cells), settings.pruned_below / 2, np.float32)
        self.is_off = np.zeros(cells, bool)
        self.was_off = np.zeros(cells, bool)
        self.fixed = ~formed
        self.switches = np.zeros(cells, np.uint16)
        self.tile = 0
        self.pulses = 0
        self.reads = 0
        self._larger: list[NDArray[np.bool_]] | None = None

    # -- readings -----------------------------------------------------------------------------------------------

    def read_all(self) -> None:
        """Every cell, as often as readings are kept."""
        readout = self.array.read(None, self.settings.replayed_reads)
        self.reads += readout.codes.size
        self._note(np.arange(self.array.geometry.cells, dtype=np.uint32), readout.conductance)

    def read_once(self, turn: int) -> None:
        """The cells of the tile on the array, in place of the reading whose turn it is."""
        cells = self.placement.cells(self.tile)
        found = self.array.read(cells).conductance[0]
        self.reads += len(cells)
        off, row = self.is_off[cells], turn % len(self.on)
        self.off[row, cells[off]] = found[off]
        self.on[row, cells[~off]] = found[~off]
        self._note_unswitched(cells, row)

    def _note(self, cells: Cells, conductance: Float32, rows: slice = slice(None)) -> None:
        """(reads, n) S of `cells` as they are now."""
        off = self.is_off[cells]
        self.off[rows, cells[off]] = conductance[:, off]
        self.on[rows, cells[~off]] = conductance[:, ~off]
        self.was_off[cells[off]] = True
        self._note_unswitched(cells, rows)

    def _note_unswitched(self, cells: Cells, row: int | slice) -> None:
        """What cannot be switched conducts the same whatever becomes of its edge."""
        fixed, off = self.fixed[cells], self.is_off[cells]
        same, other = cells[fixed & ~off], cells[fixed & off]
        self.off[row, same] = self.on[row, same]
        self.on[row, other] = self.off[row, other]

    def read_cycled(self) -> Switched:
        """Every cell of every tile pruned and kept again, as often as readings are kept, and read each time: what it
        may read like whenever its tile's turn has come.
        """
        cells = np.unique(np.concatenate([self.placement.cells(tile) for tile in range(self.placement.tiles)]))
        total = Switched()
        for row in range(len(self.on)):
            movable = cells[~self.fixed[cells]]
            nothing = movable[:0]
            total += self._switch(movable, nothing, row)
            total += self._switch(nothing, movable, row)
        return total

    def guess_unread(self, rng: np.random.Generator) -> None:
        """Give cells that were never read pruned the readings of others that were, drawn at random."""
        known = np.flatnonzero(self.was_off & ~self.fixed)
        unknown = np.flatnonzero(self.formed & ~self.was_off & ~self.fixed)
        if len(known):
            self.off[:, unknown] = self.off[:, rng.choice(known, len(unknown))]

    def last(self) -> Float32:
        """(cells,) S, the mean of the readings kept of each cell as it is now."""
        found: Float32 = np.where(self.is_off, self.off.mean(axis=0), self.on.mean(axis=0))
        return found

    def state(self) -> dict[str, NDArray[Any]]:
        """What is known of the cells, but for how they are now."""
        return {
            "formed": self.formed,
            "on": self.on.mean(axis=0),
            "off": self.off.mean(axis=0),
            "is_off": self.is_off,
            "was_off": self.was_off,
            "fixed": self.fixed,
            "switches": self.switches,
            "tile": np.array(self.tile),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over a `state`, and read how the cells are now: those that were switched since are found by that."""
        self.on[:], self.off[:] = state["on"], state["off"]
        self.was_off[:], self.fixed[:] = state["was_off"], state["fixed"]
        self.switches[:], self.tile = state["switches"], int(state["tile"])
        now = self.array.read(None, self.settings.replayed_reads)
        self.reads += now.codes.size
        mean = now.conductance.mean(axis=0)
        was_off, movable = state["is_off"].astype(bool), ~self.fixed
        risen = movable & was_off & (mean >= self.settings.kept_above)
        fallen = movable & ~was_off & (mean <= self.settings.pruned_below)
        self.is_off = was_off ^ (risen | fallen)
        self.switches[risen | fallen] += 1
        self._note(np.arange(self.array.geometry.cells, dtype=np.uint32), now.conductance)

    # -- weights ------------------------------------------------------------------------------------------------

    def kept(self, layer: int, read: int) -> Float32:
        """(inputs, outputs) S that the pairs of a layer's edges differ by, all of them kept."""
        return self._difference(self.on[read], layer)

    def pruned(self, layer: int, read: int) -> Float32:
        """The same, all of them pruned."""
        if self.settings.policy == "both":
            return self._difference(self.off[read], layer)
        plus, minus = self.placement.plus[layer], self.placement.minus[layer]
        larger = self.larger(layer)
        on, off = self.on[read], self.off[read]
        found: Float32 = np.where(larger, off[plus] - on[minus], on[plus] - off[minus])
        return found

    def present(self, block: Block) -> Float32:
        """(inputs, outputs) S that a block's pairs differ by as they are now, the mean of the readings kept."""
        inputs, outputs = block.edges
        plus = self.placement.plus[block.layer][inputs, outputs]
        minus = self.placement.minus[block.layer][inputs, outputs]
        return self._now(plus) - self._now(minus)

    def larger(self, layer: int) -> NDArray[np.bool_]:
        """(inputs, outputs) whether it is the + cell that conducts more, both being kept."""
        if self._larger is None:
            mean = self.on.mean(axis=0)
            pairs = zip(self.placement.plus, self.placement.minus, strict=True)
            self._larger = [mean[plus] >= mean[minus] for plus, minus in pairs]
        return self._larger[layer]

    def _difference(self, conductance: Float32, layer: int) -> Float32:
        found: Float32 = conductance[self.placement.plus[layer]] - conductance[self.placement.minus[layer]]
        return found

    def _now(self, cells: NDArray[np.uint32]) -> Float32:
        found: Float32 = np.where(self.is_off[cells], self.off[:, cells].mean(axis=0), self.on[:, cells].mean(axis=0))
        return found

    # -- pulses -------------------------------------------------------------------------------------------------

    def show(self, masks: Masks, tile: int) -> Switched:
        """Bring the edges of `tile` into the state of `masks`: of each layer (inputs, outputs), True for a kept edge.

        Only cells whose state changes are pulsed; each is read as often as readings are kept when it is done.
        """
        wanted = self._wanted_off(masks, tile)
        cells = self.placement.cells(tile)
        movable = cells[~self.fixed[cells]]
        to_prune = movable[wanted[movable] & ~self.is_off[movable]]
        to_reinstate = movable[~wanted[movable] & self.is_off[movable]]
        self.tile = tile
        return self._switch(to_prune, to_reinstate)

    def reverify(self) -> Switched:
        """Read the tile on the array, and switch again what is no longer in the state it should be in."""
        cells = self.placement.cells(self.tile)
        cells = cells[~self.fixed[cells]]
        found = self.array.read(cells).conductance[0]
        self.reads += len(cells)
        off = self.is_off[cells]
        risen = cells[off & (found > self.settings.pruned_below)]
        fallen = cells[~off & (found < self.settings.kept_above)]
        self.is_off[risen], self.is_off[fallen] = False, True
        done = self._switch(risen, fallen)
        self.read_all()
        return done

    def _wanted_off(self, masks: Masks, tile: int) -> NDArray[np.bool_]:
        """(cells,) whether an edge that is to be pruned in `tile` has this cell RESET."""
        wanted = np.zeros(self.array.geometry.cells, bool)
        for block in self.placement.of_tile(tile):
            pruned = ~masks[block.layer][block.edges]
            plus, minus = (each[block.layer][block.edges] for each in (self.placement.plus, self.placement.minus))
            if self.settings.policy == "both":
                wanted[plus], wanted[minus] = pruned, pruned
            else:
                larger = self.larger(block.layer)[block.edges]
                wanted[plus], wanted[minus] = pruned & larger, pruned & ~larger
        return wanted

    def _switch(self, to_prune: Cells, to_reinstate: Cells, row: int | None = None) -> Switched:
        """RESET and SET cells, and read them: as often as readings are kept, or once, in place of the one of `row`."""
        before = self.pulses
        s = self.settings
        held = [
            self._ramp(Operation.RESET, s.reset, to_prune, lambda found: found <= s.pruned_below),
            self._ramp(Operation.SET, s.set, to_reinstate, lambda found: found >= s.kept_above),
        ]
        self.is_off[to_prune], self.is_off[to_reinstate] = True, False
        failed = np.concatenate(held)
        self.fixed[failed] = True
        moved = np.sort(np.concatenate([to_prune, to_reinstate]))
        self.switches[moved] += 1
        if len(moved):
            readout = self.array.read(moved, s.replayed_reads if row is None else 1)
            self.reads += readout.codes.size
            self._note(moved, readout.conductance, slice(None) if row is None else slice(row, row + 1))
        return Switched(len(to_prune), len(to_reinstate), self.pulses - before, len(failed))

    def _ramp(
        self, operation: Operation, ramp: Ramp, cells: Cells, is_done: Callable[[Float32], NDArray[np.bool_]]
    ) -> Cells:
        """Pulse `cells` up the `ramp` until each is done; gives those that are not at its end."""
        codes = ramp.codes(self.array.dac, operation.name.lower())
        for code in np.concatenate([codes, np.repeat(codes[-1:], self.settings.hold)]):
            if not len(cells):
                break
            amplitude = np.full(len(cells), code, np.uint16)
            (readout,) = self.array.pulse_and_verify(batch(operation, ramp, cells, amplitude))
            self.pulses += len(cells)
            cells = cells[~is_done(readout.conductance[0])]
        return cells
