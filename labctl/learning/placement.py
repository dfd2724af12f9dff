"""Where the edges of a network stand on an array: layers cut into blocks of pairs of cells, around lines that are dead.

An edge from input i to output j is a pair of cells in one column, that of the output: the + cell on the input's + row,
the - cell on its - row. Rows driven with opposite voltages make the column's current the weighted sum itself.

A layer with more inputs than the array has pairs of rows, or more outputs than columns, is cut into blocks. Blocks that
do not fit beside each other take turns on the same cells: each turn is a tile, for which the array is programmed anew.

The other way round, an input has two columns and an output a row: `place_either_way` chooses what takes fewer blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.errors import SettingsError

Rows = NDArray[np.uint16]

_ROUNDS = 4  # of choosing columns for rows and rows for columns
_LEAST = 8  # inputs of a block that is cut off only to fill what is left of an array


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a layer: its inputs from `first_input` and its outputs from `first_output` on.

    plus, minus: (inputs,) rows of the array. cols: (outputs,) columns. tile: the turn in which it stands there.
    """

    layer: int
    tile: int
    first_input: int
    first_output: int
    plus: Rows
    minus: Rows
    cols: Rows

    @property
    def edges(self) -> tuple[slice, slice]:
        """Of the layer's matrix (inputs, outputs)."""
        inputs = slice(self.first_input, self.first_input + len(self.plus))
        return inputs, slice(self.first_output, self.first_output + len(self.cols))


@dataclass(frozen=True, slots=True)
class Placement:
    """The blocks of all layers, in their order, on an array of (rows, cols) `shape`.

    plus, minus: per layer (inputs, outputs) flat indices of the cells of each edge. on_columns: inputs stand on columns
    and outputs on rows, and the lines of blocks are to be read so.
    """

    shape: tuple[int, int]
    blocks: tuple[Block, ...]
    tiles: int
    plus: tuple[NDArray[np.uint32], ...]
    minus: tuple[NDArray[np.uint32], ...]
    on_columns: bool = False

    @property
    def layers(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of each."""
        return tuple((plus.shape[0], plus.shape[1]) for plus in self.plus)

    def of_layer(self, layer: int) -> list[Block]:
        return [block for block in self.blocks if block.layer == layer]

    def of_tile(self, tile: int) -> list[Block]:
        return [block for block in self.blocks if block.tile == tile]

    def cells(self, tile: int) -> NDArray[np.uint32]:
        """(n,) the cells of all edges of `tile`, increasing."""
        parts = [cells[block.edges].ravel() for block in self.of_tile(tile) for cells in self._pairs(block.layer)]
        return np.sort(np.concatenate(parts))

    def layer_map(self, tile: int) -> NDArray[np.uint8]:
        """(rows, cols) the number of the layer that each cell belongs to in `tile`; 255: none."""
        found = np.full(self.shape[0] * self.shape[1], 255, np.uint8)
        for block in self.of_tile(tile):
            for cells in self._pairs(block.layer):
                found[cells[block.edges]] = block.layer
        return found.reshape(self.shape)

    def describe(self) -> list[dict[str, Any]]:
        """As JSON values: for each block its layer, tile, edges and lines."""
        inputs_on, outputs_on = ("cols", "rows") if self.on_columns else ("rows", "cols")
        return [
            {
                "layer": block.layer,
                "tile": block.tile,
                "inputs": [block.first_input, len(block.plus)],
                "outputs": [block.first_output, len(block.cols)],
                f"plus_{inputs_on}": _ranges(block.plus),
                f"minus_{inputs_on}": _ranges(block.minus),
                outputs_on: _ranges(block.cols),
            }
            for block in self.blocks
        ]

    def _pairs(self, layer: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        return self.plus[layer], self.minus[layer]


def place(
    layers: Sequence[tuple[int, int]],
    shape: tuple[int, int],
    dead: NDArray[np.bool_] | None = None,
    most_dead: float = 0.5,
    chips: int = 1,
) -> Placement:
    """Place `layers`, each (inputs, outputs), on an array of (rows, cols) `shape`.

    dead: (rows, cols) cells that cannot be used; lines more than `most_dead` of which are so are passed over, single
    ones are not (a window has whole lines): what they conduct then is the weight. chips: of how many the array is
    stacked, row upon row; a block stands on one of them. Raises SettingsError where too few lines are left.
    """
    alive_rows, alive_cols = _alive(dead, shape, most_dead)
    per_chip = shape[0] // chips
    chip_rows = [
        alive_rows[(alive_rows >= chip * per_chip) & (alive_rows < (chip + 1) * per_chip)] for chip in range(chips)
    ]
    chip_rows = [rows[: len(rows) // 2 * 2] for rows in chip_rows]
    most_inputs = max(len(rows) for rows in chip_rows) // 2
    if most_inputs < 1 or not len(alive_cols):
        raise SettingsError(
            f"no network can stand on this array: {len(alive_rows)} of {shape[0]} rows and {len(alive_cols)} of "
            f"{shape[1]} columns can be used"
        )
    wanted = sorted(
        (part for number, layer in enumerate(layers) for part in _cut(number, layer, most_inputs, len(alive_cols))),
        key=lambda part: (-part.outputs, -part.inputs),
    )
    strips: list[_Strip] = []
    blocks = []
    while wanted:
        part = wanted.pop(0)
        strip = next((each for each in strips if each.fits(part)), None)
        if strip is None:
            strip = _opened(strips, part, chip_rows, len(alive_cols))
            if strip.tile > max((each.tile for each in strips), default=0):  # rather than that, fill what is left
                roomy = max(
                    (each for each in strips if each.width >= part.outputs), key=lambda each: each.left, default=None
                )
                if roomy is not None and roomy.left >= min(part.inputs, _LEAST):
                    part, rest = part.cut(roomy.left)
                    wanted.insert(0, rest)
                    strip = roomy
            if strip not in strips:
                strips.append(strip)
        blocks.append(strip.take(part, chip_rows[strip.chip], alive_cols, strips))
    blocks.sort(key=lambda block: (block.layer, block.tile, block.first_input, block.first_output))
    plus, minus = _cells(layers, blocks, shape[1])
    return Placement(shape, tuple(blocks), 1 + max(block.tile for block in blocks), plus, minus)


def place_either_way(
    layers: Sequence[tuple[int, int]],
    shape: tuple[int, int],
    dead: NDArray[np.bool_] | None = None,
    most_dead: float = 0.5,
) -> Placement:
    """`place`, with inputs on rows or on columns: as it takes fewer tiles, and then fewer blocks."""
    found: list[Placement] = []
    problem: SettingsError | None = None
    for on_columns in (False, True):
        try:
            found.append(
                _turned(layers, shape, dead, most_dead) if on_columns else place(layers, shape, dead, most_dead)
            )
        except SettingsError as refused:
            problem = problem or refused
    if not found:
        assert problem is not None
        raise problem
    return min(found, key=lambda placement: (placement.tiles, len(placement.blocks)))


def place_sparing(
    layers: Sequence[tuple[int, int]],
    shape: tuple[int, int],
    spare: NDArray[np.bool_],
    dead: NDArray[np.bool_] | None = None,
    most_dead: float = 0.5,
) -> Placement:
    """`place_either_way`, on those lines of an array larger than the network that have fewest of the cells `spare`.

    spare: (rows, cols) cells that had better not be used.
    """
    found = place_either_way(layers, shape, dead, most_dead)
    cells = np.concatenate([found.cells(tile) for tile in range(found.tiles)])
    counts = len(np.unique(cells // shape[1])), len(np.unique(cells % shape[1]))
    rows, cols = _cleanest(spare, _alive(dead, shape, most_dead), counts)
    others = np.ones(shape, bool)
    others[np.ix_(rows, cols)] = False if dead is None else dead[np.ix_(rows, cols)]
    try:
        chosen = place_either_way(layers, shape, others, most_dead)
    except SettingsError:  # lines that each could be used, and together are too few
        return found
    used = np.concatenate([chosen.cells(tile) for tile in range(chosen.tiles)])
    is_better = chosen.tiles == found.tiles and spare.ravel()[used].sum() < spare.ravel()[cells].sum()
    return chosen if is_better else found


def _cleanest(
    spare: NDArray[np.bool_], alive: tuple[NDArray[np.intp], NDArray[np.intp]], counts: tuple[int, int]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """So many of the rows and columns `alive`, such that few cells of `spare` are where they cross."""
    rows, cols = alive
    for _ in range(_ROUNDS):
        of_cols = spare[np.ix_(rows, alive[1])].sum(axis=0)
        cols = np.sort(alive[1][np.argsort(of_cols, kind="stable")[: counts[1]]])
        of_rows = spare[np.ix_(alive[0], cols)].sum(axis=1)
        rows = np.sort(alive[0][np.argsort(of_rows, kind="stable")[: counts[0]]])
    return rows, cols


def _turned(
    layers: Sequence[tuple[int, int]], shape: tuple[int, int], dead: NDArray[np.bool_] | None, most_dead: float
) -> Placement:
    """With inputs on columns: placed on the array turned over, with the cells' own indices."""
    rows, cols = shape
    found = place(layers, (cols, rows), None if dead is None else dead.T, most_dead)
    plus, minus = (
        tuple(cells % np.uint32(rows) * np.uint32(cols) + cells // np.uint32(rows) for cells in each)
        for each in (found.plus, found.minus)
    )
    return replace(found, shape=shape, plus=plus, minus=minus, on_columns=True)


@dataclass(frozen=True, slots=True)
class _Part:
    layer: int
    first_input: int
    inputs: int
    first_output: int
    outputs: int

    def cut(self, inputs: int) -> tuple[_Part, _Part]:
        """The first so many of its inputs, and the others."""
        first, inputs_left = self.first_input + inputs, self.inputs - inputs
        return replace(self, inputs=inputs), replace(self, first_input=first, inputs=inputs_left)


@dataclass(slots=True, eq=False)
class _Strip:
    """Columns of one chip in one tile, filled with blocks from the first row on."""

    tile: int
    chip: int
    first_col: int
    width: int
    pairs: int
    used: int = 0

    @property
    def left(self) -> int:
        """Pairs of rows."""
        return self.pairs - self.used

    def fits(self, part: _Part) -> bool:
        return part.outputs <= self.width and part.inputs <= self.left

    def take(self, part: _Part, rows: NDArray[np.intp], cols: NDArray[np.intp], strips: list[_Strip]) -> Block:
        """The block of `part`; what is beside it, where it is narrower, is a strip of its own from here on."""
        if part.outputs < self.width:
            beside, width = self.first_col + part.outputs, self.width - part.outputs
            strips.append(_Strip(self.tile, self.chip, beside, width, self.pairs, self.used))
            self.width = part.outputs
        taken = rows[2 * self.used : 2 * (self.used + part.inputs)].astype(np.uint16)
        self.used += part.inputs
        columns = cols[self.first_col : self.first_col + part.outputs].astype(np.uint16)
        return Block(part.layer, self.tile, part.first_input, part.first_output, taken[::2], taken[1::2], columns)


def _cut(number: int, layer: tuple[int, int], most_inputs: int, most_outputs: int) -> Iterator[_Part]:
    for first_input in range(0, layer[0], most_inputs):
        for first_output in range(0, layer[1], most_outputs):
            inputs, outputs = min(most_inputs, layer[0] - first_input), min(most_outputs, layer[1] - first_output)
            yield _Part(number, first_input, inputs, first_output, outputs)


def _opened(strips: list[_Strip], part: _Part, chip_rows: list[NDArray[np.intp]], cols: int) -> _Strip:
    """A new strip for `part`: in the first tile and on the first chip that has the columns left for it."""
    ends: dict[tuple[int, int], int] = {}
    for strip in strips:
        place = (strip.tile, strip.chip)
        ends[place] = max(ends.get(place, 0), strip.first_col + strip.width)
    for tile in range(1 + max((strip.tile for strip in strips), default=-1) + 1):
        for chip, rows in enumerate(chip_rows):
            end = ends.get((tile, chip), 0)
            if end + part.outputs <= cols and part.inputs <= len(rows) // 2:
                return _Strip(tile, chip, end, part.outputs, len(rows) // 2)
    raise AssertionError("a part is never larger than an empty array")


def _cells(
    layers: Sequence[tuple[int, int]], blocks: Sequence[Block], cols: int
) -> tuple[tuple[NDArray[np.uint32], ...], tuple[NDArray[np.uint32], ...]]:
    plus = tuple(np.zeros(layer, np.uint32) for layer in layers)
    minus = tuple(np.zeros(layer, np.uint32) for layer in layers)
    for block in blocks:
        columns = block.cols.astype(np.uint32)
        plus[block.layer][block.edges] = np.add.outer(block.plus.astype(np.uint32) * np.uint32(cols), columns)
        minus[block.layer][block.edges] = np.add.outer(block.minus.astype(np.uint32) * np.uint32(cols), columns)
    return plus, minus


def _alive(
    dead: NDArray[np.bool_] | None, shape: tuple[int, int], most_dead: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The rows and columns that can be used: the worst lines go first, the others are judged by what is left."""
    if dead is None:
        return np.arange(shape[0]), np.arange(shape[1])
    rows, cols = np.arange(shape[0]), np.arange(shape[1])
    while len(rows) and len(cols):
        left = dead[np.ix_(rows, cols)]
        of_rows, of_cols = left.mean(axis=1), left.mean(axis=0)
        worst = max(of_rows.max(), of_cols.max())
        if worst <= most_dead:
            break
        rows, cols = rows[of_rows < worst], cols[of_cols < worst]
    return rows, cols


def _ranges(lines: Rows) -> list[list[int]]:
    """`lines` as [first, count, step] each, where they are equally far apart."""
    found: list[list[int]] = []
    for line in lines.tolist():
        if found:
            first, count, step = found[-1]
            if count == 1:
                found[-1] = [first, 2, line - first]
                continue
            if line == first + count * step:
                found[-1][1] += 1
                continue
        found.append([line, 1, 1])
    return found
