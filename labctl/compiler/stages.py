"""Tiles with their groups scheduled to stages: loads, programs and reads, in the order of loops that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labctl.associative import Program
from labctl.compiler.emission import Kind, WordOperations, instructions_of, tables
from labctl.compiler.endings import end_of_outputs, true_widths
from labctl.compiler.layers import Options, Stage, TernaryLayer, Words
from labctl.compiler.scheduling import INPUT
from labctl.compiler.tiling import CARRY, Cut, Layout
from labctl.compiler.widths import widths


@dataclass(frozen=True)
class ScheduledGroup:
    """`scheduling.Schedule` as arrays. steps: (n, 22), kind and the seven numbers of the places a, b and result.
    deliveries: (n, 10), steps, row (of the tile), sign, the seven numbers of the place. bits: of the widest temporary.
    """

    steps: NDArray[np.int32]
    deliveries: NDArray[np.int32]
    slots: int
    bits: int


@dataclass(frozen=True)
class Tile:
    """Outputs begin to end of a layer, and all groups of their sums."""

    begin: int
    end: int
    groups: tuple[ScheduledGroup, ...]


@dataclass(frozen=True)
class Held:
    """What the columns of a tile's sums hold after so many groups, (groups + 1, rows): words of so many bits, whether
    signed, and whether begun at all. offsets: (rows,), by how much too much they hold at the end.
    """

    bits: NDArray[np.int64]
    signed: NDArray[np.bool_]
    begun: NDArray[np.bool_]
    offsets: NDArray[np.int64]


def stages_of(layer: TernaryLayer, options: Options, cut: Cut, layout: Layout, tiles: list[Tile]) -> Iterator[Stage]:
    """All stages, in order."""
    held = [_held(layer, tile) for tile in tiles]
    pieces = [
        (at, min(at + layout.groups_at_once, len(cut.groups)))
        for at in range(0, len(cut.groups), layout.groups_at_once)
    ]
    by_outputs = [(tile, piece) for tile in range(len(tiles)) for piece in pieces]
    by_inputs = [(tile, piece) for piece in pieces for tile in range(len(tiles))]
    loaded, before = None, None
    for number, piece in by_outputs if options.order == "outputs" else by_inputs:
        make = _StageMaker(layer, cut, layout, tiles[number], held[number], piece)
        final = piece[1] == len(cut.groups)
        leaves = not final and options.order == "inputs" and len(tiles) > 1
        comes_back = piece[0] > 0 and before != number
        yield make.stage(loads=loaded != piece, comes_back=comes_back, leaves=leaves, final=final)
        loaded, before = piece, number


def _held(layer: TernaryLayer, tile: Tile) -> Held:
    shape = len(tile.groups) + 1, (tile.end - tile.begin) * layer.pool
    low, high, terms = (np.zeros(shape, np.int64) for _ in range(3))
    offsets = np.zeros(shape[1], np.int64)
    for number, group in enumerate(tile.groups, 1):
        _, rows, sign, _, _, _, _, least, most, offset = group.deliveries.astype(np.int64).T
        low[number, rows] = np.where(sign > 0, least, -most)
        high[number, rows] = np.where(sign > 0, most, -least)
        terms[number, rows] = 1
        offsets[rows] += sign * offset
    bits, signed = widths(low.cumsum(axis=0), high.cumsum(axis=0))
    # a sum is needed modulo its own width only, whatever its offset is
    final, _ = true_widths(layer, tile.begin, tile.end)
    return Held(np.minimum(bits, final), signed, terms.cumsum(axis=0) > 0, offsets)


class _StageMaker:
    """One tile of outputs and the groups begin to end."""

    def __init__(
        self, layer: TernaryLayer, cut: Cut, layout: Layout, tile: Tile, held: Held, piece: tuple[int, int]
    ) -> None:
        self.layer, self.layout, self.tile, self.held = layer, layout, tile, held
        self.begin, self.end = piece
        self.spans = cut.groups[self.begin : self.end]

    def stage(self, *, loads: bool, comes_back: bool, leaves: bool, final: bool) -> Stage:
        operations = self._operations()
        made = [instructions_of(operations)]
        outputs = self._sums(self.end, self.held.begun[self.end] & leaves)
        if final:
            sums = self._sums(self.end, np.ones(len(self.held.offsets), np.bool_))
            endings, outputs = end_of_outputs(self.layer, self.tile.begin, sums, self.held.begun[-1], self.held.offsets)
            made.append(endings)
        name = f"{self.layer.name} outputs {self.tile.begin}-{self.tile.end - 1} groups {self.begin}-{self.end - 1}"
        return Stage(
            inputs=self._inputs(loads),
            partials=self._sums(self.begin, self.held.begun[self.begin] & comes_back),
            program=Program(tables(), np.concatenate(made), name),
            outputs=outputs,
            final=final,
            additions=int(np.isin(operations.kind, _ADDITIONS).sum()),
        )

    def _inputs(self, loads: bool) -> Words:
        first, last = self.spans[0][0], self.spans[-1][1]
        which = np.arange(first, last if loads else first)
        columns = self.layout.inputs.across_tracks(which - first)
        bits = np.full(len(which), self.layer.input_bits)
        return Words(which, columns, bits, np.zeros(len(which), np.bool_))

    def _sums(self, groups: int, wanted: NDArray[np.bool_]) -> Words:
        """The sums of the rows that are wanted, as they are after so many groups."""
        rows = np.flatnonzero(wanted)
        bits, signed = self.held.bits[groups, rows], self.held.signed[groups, rows]
        return Words(rows + self.tile.begin * self.layer.pool, self.layout.sums.across_tracks(rows), bits, signed)

    def _operations(self) -> WordOperations:
        """Steps of all groups and deliveries to sums, in order."""
        columns, keys, done = [], [], 0
        for number in range(self.begin, self.end):
            group = self.tile.groups[number]
            base = self.spans[number - self.begin][0] - self.spans[0][0]
            columns += [self._of_steps(group, base), self._of_deliveries(group, base, number)]
            keys += [2 * (done + np.arange(len(group.steps))), 2 * (done + group.deliveries[:, 0].astype(np.int64)) - 1]
            done += len(group.steps)
        order = np.argsort(np.concatenate(keys), kind="stable")
        kind, a, a_bits, b, b_bits, b_signed, r, bits = np.concatenate(columns)[order].T
        return WordOperations(kind, a, a_bits, False, b, b_bits, b_signed, r, bits, CARRY)

    def _of_steps(self, group: ScheduledGroup, base: int) -> NDArray[np.int64]:
        """(n, 8): kind; a: first column, bits; b: first column, bits, signed; r; bits."""
        steps = group.steps.astype(np.int64)
        a, b, r = (self._column(steps[:, at], steps[:, at + 1], base) for at in (1, 8, 15))
        return np.stack([steps[:, 0], a, steps[:, 4], b, steps[:, 11], 0 * b, r, steps[:, 18]], axis=1)

    def _of_deliveries(self, group: ScheduledGroup, base: int, number: int) -> NDArray[np.int64]:
        """The same for what the sums take: they grow in place, or begin with a copy or a negative."""
        _, rows, sign, where, slot, _, bits, *_ = group.deliveries.astype(np.int64).T
        value, sums = self._column(where, slot, base), self.layout.sums.across_tracks(rows)
        held, none = self.held, np.zeros_like(rows)
        after = held.bits[number + 1, rows]
        kind = np.where(sign > 0, Kind.ADD, Kind.SUBTRACT)
        grown = [kind, value, bits, sums, held.bits[number, rows], held.signed[number, rows], sums, after]
        copied = [none + Kind.COPY, value, bits, none, none, none, sums, after]
        negated = [none + Kind.SUBTRACT_OUT, none, none, value, bits, none, sums, after]
        begins = np.where((sign > 0)[:, None], np.stack(copied, axis=1), np.stack(negated, axis=1))
        return np.where(held.begun[number, rows][:, None], np.stack(grown, axis=1), begins)

    def _column(self, where: NDArray[np.int64], number: NDArray[np.int64], base: int) -> NDArray[np.int64]:
        inputs = self.layout.inputs.across_tracks(number + base)
        return np.where(where == INPUT, inputs, self.layout.temporaries.track_by_track(number))


_ADDITIONS = [int(kind) for kind in (Kind.ADD, Kind.SUBTRACT, Kind.ADD_NOT, Kind.ADD_OUT, Kind.ADD_NOT_OUT)]
