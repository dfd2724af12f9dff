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

    formed: (cells,) conduct, so they can be switched. on, off: (reads, cells) S of each cell as it was read kept and
    pruned, one row a read. A cell never read pruned is taken to read like one of those that were. now: (reads, cells)
    S as each was read last. switches: (cells,) RESETs and SETs that moved the cell. fixed: (cells,) did not follow
    pulses, and get none any more.

    Of a network that stands on the array as a whole, the rows of `on` and `off` are readings since the cell was
    switched last. Of one whose tiles take turns, each row is of another turn.
    """

    def __init__(self, array: MemoryArray, placement: Placement, settings: PruningSettings, formed: NDArray[np.bool_]):
        cells = array.geometry.cells
        self.array = array
        self.placement = placement
        self.settings = settings
        self.formed = formed
        self.on = np.zeros((settings.replayed_reads, cells), np.float32)
        self.off = np.full((settings.replayed_reads, cells), settings.pruned_below / 2, np.float32)
        self.now = np.zeros((settings.replayed_reads, cells), np.float32)
        self.is_off = np.zeros(cells, bool)
        self.was_off = np.zeros(cells, bool)
        self.is_larger = np.zeros(cells, bool)
        self.fixed = ~formed
        self.switches = np.zeros(cells, np.uint16)
        self.tile = 0
        self.pulses = 0
        self.reads = 0
        self.switched = 0
        self._turn = 0
        self.used = np.unique(np.concatenate([placement.cells(tile) for tile in range(placement.tiles)]))

    @property
    def takes_turns(self) -> bool:
        return self.placement.tiles > 1

    # -- readings -----------------------------------------------------------------------------------------------

    def read_all(self) -> None:
        """Every cell of the network, as often as readings are kept."""
        self._note(self.used, slice(None))

    def read_once(self, turn: int) -> None:
        """The cells of the tile on the array, in place of the reading whose turn it is."""
        row = turn % len(self.on)
        self._note(self.placement.cells(self.tile), slice(row, row + 1))

    def note_larger(self) -> None:
        """Which cell of each pair conducts more, all being kept: the one that a policy of one cell resets."""
        mean = self.on.mean(axis=0)
        for plus, minus in zip(self.placement.plus, self.placement.minus, strict=True):
            self.is_larger[plus] = mean[plus] >= mean[minus]
            self.is_larger[minus] = ~self.is_larger[plus]

    def _note(self, cells: Cells, rows: slice) -> None:
        """Read `cells` for so many rows of what is kept."""
        found = self.array.read(cells, len(range(*rows.indices(len(self.on))))).conductance
        self.reads += found.size
        self.now[rows, cells] = found
        off = self.is_off[cells]
        self.off[rows, cells[off]] = found[:, off]
        self.on[rows, cells[~off]] = found[:, ~off]
        self.was_off[cells[off]] = True
        fixed = self.fixed[cells]  # what cannot be switched conducts the same whatever becomes of its edge
        same, other = cells[fixed & ~off], cells[fixed & off]
        self.off[rows, same] = self.on[rows, same]
        self.on[rows, other] = self.off[rows, other]

    def read_cycled(self) -> Switched:
        """Every cell of every tile pruned and kept again, as often as readings are kept, and read each time: what it
        may read like whenever its tile's turn has come.
        """
        total = Switched()
        for _ in range(len(self.on)):
            movable = self.used[~self.fixed[self.used]]
            nothing = movable[:0]
            total += self._switch(movable, nothing)
            total += self._switch(nothing, movable)
            self._turn += 1
        return total

    def guess_unread(self, rng: np.random.Generator) -> None:
        """Give cells that were never read pruned the readings of others that were, drawn at random."""
        known = np.flatnonzero(self.was_off & ~self.fixed)
        unknown = np.flatnonzero(self.formed & ~self.was_off & ~self.fixed)
        if len(known):
            self.off[:, unknown] = self.off[:, rng.choice(known, len(unknown))]

    def state(self) -> dict[str, NDArray[Any]]:
        """What is known of the cells; readings in uS."""
        return {
            "formed": self.formed,
            "on": (self.on * 1e6).astype(np.float16),
            "off": (self.off * 1e6).astype(np.float16),
            "is_off": self.is_off,
            "was_off": self.was_off,
            "is_larger": self.is_larger,
            "fixed": self.fixed,
            "switches": self.switches,
            "counts": np.array([self.tile, self.pulses, self.reads, self.switched, self._turn]),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> float:
        """Take over a `state`, and read how the cells are now: those that were switched since are found by that.

        Gives the share of cells that can be switched and are not as they were left.
        """
        self.on[:], self.off[:] = state["on"], state["off"]
        self.on *= np.float32(1e-6)
        self.off *= np.float32(1e-6)
        for name in ("was_off", "is_larger", "fixed", "switches"):
            getattr(self, name)[:] = state[name]
        self.tile, self.pulses, self.reads, self.switched, self._turn = (int(each) for each in state["counts"])
        self.is_off[:] = state["is_off"]
        movable = self.used[~self.fixed[self.used]]
        found, off = self.array.read(movable).conductance[0], self.is_off[movable]
        self.reads += len(movable)
        changed = movable[np.where(off, found >= self.settings.kept_above, found <= self.settings.pruned_below)]
        self.is_off[changed] ^= True
        self.switches[changed] += 1
        row = self._turn % len(self.on)
        self._note(self.used, slice(row, row + 1) if self.takes_turns else slice(None))
        if self.takes_turns:
            self.now[:] = self.now[row]
        return len(changed) / max(len(movable), 1)

    # -- weights ------------------------------------------------------------------------------------------------

    def kept(self, layer: int, read: int) -> Float32:
        """(inputs, outputs) S that the pairs of a layer's edges differ by, all of them kept."""
        return self._difference(self.on[read], layer)

    def pruned(self, layer: int, read: int) -> Float32:
        """The same, all of them pruned."""
        if self.settings.policy == "both":
            return self._difference(self.off[read], layer)
        return self._difference(np.where(self.is_larger, self.off[read], self.on[read]), layer)

    def present(self, block: Block) -> Float32:
        """(inputs, outputs) S that a block's pairs differ by as they are now, the mean of their last readings."""
        plus, minus = (each[block.layer][block.edges] for each in (self.placement.plus, self.placement.minus))
        return self._mean_now(plus) - self._mean_now(minus)

    def present_layer(self, layer: int, read: int) -> Float32:
        """(inputs, outputs) S that the pairs of a layer differ by, by one of the last readings of what is there now."""
        return self._difference(self.now[read], layer)

    def _difference(self, conductance: Float32, layer: int) -> Float32:
        found: Float32 = conductance[self.placement.plus[layer]] - conductance[self.placement.minus[layer]]
        return found

    def _mean_now(self, cells: NDArray[np.uint32]) -> Float32:
        found: Float32 = self.now[:, cells].mean(axis=0)
        return found

    # -- pulses -------------------------------------------------------------------------------------------------

    def show(self, masks: Masks, tile: int) -> Switched:
        """Bring the edges of `tile` into the state of `masks`: of each layer (inputs, outputs), True for a kept edge.

        Only cells whose state changes are pulsed, and read when it is done.
        """
        if tile != self.tile:
            self._turn += 1
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
        if not self.takes_turns:
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
                wanted[plus], wanted[minus] = pruned & self.is_larger[plus], pruned & self.is_larger[minus]
        return wanted

    def _switch(self, to_prune: Cells, to_reinstate: Cells) -> Switched:
        """RESET and SET cells, and read what was switched."""
        before, s = self.pulses, self.settings
        held = [
            self._ramp(Operation.RESET, s.reset, to_prune, lambda found: found <= s.pruned_below),
            self._ramp(Operation.SET, s.set, to_reinstate, lambda found: found >= s.kept_above),
        ]
        self.is_off[to_prune], self.is_off[to_reinstate] = True, False
        failed = np.concatenate(held)
        self.fixed[failed] = True
        moved = np.sort(np.concatenate([to_prune, to_reinstate]))
        self.switches[moved] += 1
        self.switched += len(moved)
        if len(moved):
            row = self._turn % len(self.on)
            self._note(moved, slice(row, row + 1) if self.takes_turns else slice(None))
            if self.takes_turns:
                self.now[:, moved] = self.now[row, moved]
        return Switched(len(to_prune), len(to_reinstate), self.pulses - before, len(failed))

    def _ramp(
        self, operation: Operation, ramp: Ramp, cells: Cells, is_done: Callable[[Float32], NDArray[np.bool_]]
    ) -> Cells:
        left, pulses = ramped(self.array, operation, ramp, self.settings.hold, cells, is_done)
        self.pulses += pulses
        return left


def ramped(
    array: MemoryArray,
    operation: Operation,
    ramp: Ramp,
    hold: int,
    cells: Cells,
    is_done: Callable[[Float32], NDArray[np.bool_]],
) -> tuple[Cells, int]:
    """Pulse `cells` up the `ramp`, and `hold` times more at its end, until each is done; gives those that are not, and
    how many pulses that took.
    """
    codes, pulses = ramp.codes(array.dac, operation.name.lower()), 0
    for code in np.concatenate([codes, np.repeat(codes[-1:], hold)]):
        if not len(cells):
            break
        amplitude = np.full(len(cells), code, np.uint16)
        (readout,) = array.pulse_and_verify(batch(operation, ramp, cells, amplitude))
        pulses += len(cells)
        cells = cells[~is_done(readout.conductance[0])]
    return cells, pulses
