"""A layer to programs: cut, common subexpressions and schedules of every group, layout, stages."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labctl.associative import AssociativeGeometry
from labctl.compiler.allocation import Slots
from labctl.compiler.layers import CompiledLayer, CompileError, Options, Stage, TernaryLayer
from labctl.compiler.scheduling import schedule
from labctl.compiler.stages import ScheduledGroup, Tile, stages_of
from labctl.compiler.statistics import statistics_of
from labctl.compiler.subexpressions import eliminate
from labctl.compiler.tiling import Cut, Layout, cut_layer, first_tile, lay_out

_DEFAULT = Options()


def compile_layer(layer: TernaryLayer, geometry: AssociativeGeometry, options: Options = _DEFAULT) -> CompiledLayer:
    """`layer` for an array of `geometry`. Raises CompileError where it cannot fit."""
    tile, more_bits = first_tile(layer, geometry, options), 0
    while True:
        cut = cut_layer(layer, geometry, options, tile, more_bits)
        fitted = _fit(layer, geometry, options, cut)
        if not isinstance(fitted, int):
            break
        more_bits += fitted
        if fitted:
            continue
        if tile == 1:
            raise CompileError(
                f"layer {layer.name} does not fit {geometry.tracks} tracks of {geometry.domains} domains with "
                f"{max(end - begin for begin, end in cut.groups)} inputs in a group: use a smaller channel"
            )
        tile = -(-tile // 2)
    layout, tiles = fitted
    stages: tuple[Stage, ...] = tuple(stages_of(layer, options, cut, layout, tiles))
    return CompiledLayer(layer, geometry, options, stages, statistics_of(layer, geometry, cut, layout, tiles, stages))


def _fit(
    layer: TernaryLayer, geometry: AssociativeGeometry, options: Options, cut: Cut
) -> tuple[Layout, list[Tile]] | int:
    """The layout, and every tile with its groups scheduled; or how many bits slots lack: 0 where they lack
    none, but there are too few tracks.
    """
    per_track = geometry.reach // cut.slot_bits * geometry.ports
    most, tiles = 0, []
    for begin, end in cut.outputs:
        rows = layer.weights[begin * layer.pool : end * layer.pool]
        groups = []
        for first, last in cut.groups:
            groups.append(_scheduled(rows[:, first:last], layer.input_range, per_track, options.cse))
            most = max(most, groups[-1].slots)
            if groups[-1].bits > cut.slot_bits:
                return groups[-1].bits - cut.slot_bits
            if lay_out(layer, geometry, cut, most) is None:
                return 0
        tiles.append(Tile(begin, end, tuple(groups)))
    layout = lay_out(layer, geometry, cut, most)
    assert layout is not None
    return layout, tiles


def _scheduled(signs: NDArray[np.int8], input_range: tuple[int, int], per_track: int, share: bool) -> ScheduledGroup:
    made = schedule(eliminate(signs, share), input_range, Slots(per_track))
    steps = [(step.kind, *step.a, *step.b, *step.result) for step in made.steps]
    deliveries = [(each.steps, each.row, each.sign, *each.place) for each in made.deliveries]
    bits = max((step.result.bits for step in made.steps), default=0)
    return ScheduledGroup(
        np.array(steps, np.int32).reshape(-1, 22), np.array(deliveries, np.int32).reshape(-1, 10), made.slots, bits
    )
