"""What a compiled layer takes."""

from __future__ import annotations

import numpy as np

from labctl.associative import AssociativeGeometry, Counters
from labctl.compiler.counting import counters_of_stage
from labctl.compiler.layers import Stage, Statistics, TernaryLayer
from labctl.compiler.stages import Tile
from labctl.compiler.tiling import Cut, Layout


def statistics_of(
    layer: TernaryLayer,
    geometry: AssociativeGeometry,
    cut: Cut,
    layout: Layout,
    tiles: list[Tile],
    stages: tuple[Stage, ...],
) -> Statistics:
    """Of all stages, from heads at 0."""
    heads = np.zeros(geometry.tracks, np.int64)
    counted = Counters()
    for stage in stages:
        loaded = [stage.input_columns, stage.partials.all_columns]
        counted += counters_of_stage(geometry, loaded, stage.program, stage.output_columns, heads)
    terms = np.count_nonzero(layer.weights, axis=1)
    inputs = min(layer.inputs, layout.groups_at_once * (cut.groups[0][1] - cut.groups[0][0]))
    rows = max(tile.end - tile.begin for tile in tiles) * layer.pool
    slots = max(group.slots for tile in tiles for group in tile.groups)
    return Statistics(
        operations_without_cse=int(np.maximum(terms - 1, 0).sum()),
        operations=sum(stage.additions for stage in stages),
        columns=1 + inputs * layer.input_bits + rows * cut.sum_bits + slots * cut.slot_bits,
        passes=sum(stage.program.passes for stage in stages),
        searches=counted.searches,
        searched_columns=counted.searched_columns,
        writes=counted.writes,
        written_columns=counted.written_columns,
        shifts=counted.shifts,
        cycles=counted.searches + counted.writes,
        loaded_columns=counted.loaded_columns,
        read_columns=counted.read_columns,
        instructions=sum(len(stage.program.instructions) for stage in stages),
        stages=len(stages),
    )
