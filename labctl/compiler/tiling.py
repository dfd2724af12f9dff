"""How a layer is cut: groups of inputs, tiles of outputs, and where on the tracks words of each sort are."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from labctl.associative import AssociativeGeometry
from labctl.compiler.allocation import Area, tracks_for
from labctl.compiler.layers import CompileError, Options, TernaryLayer
from labctl.compiler.widths import bounds_of_sums, widths

CARRY = 0
"""The column of the carry, on a track of its own."""
_FIRST_TRACK = 1
_NO_CHANNEL = 16
"""Inputs in a group of a layer without channels."""
_FEW = 8
"""Smaller channels, as of 1x1 convolutions, are taken together until a group has so many inputs."""
_MOST = 3 / 4
"""Of the tracks, each with an input of a group of several channels: sums and temporaries need some, too."""


@dataclass(frozen=True)
class Cut:
    """groups: (begin, end) of their inputs. outputs: (begin, end) of the tiles. sum_bits: of a word for a sum;
    slot_bits: of one for a temporary."""

    groups: tuple[tuple[int, int], ...]
    outputs: tuple[tuple[int, int], ...]
    sum_bits: int
    slot_bits: int


@dataclass(frozen=True)
class Layout:
    """Where temporaries, inputs and sums are, and how many groups' inputs are on the array at once."""

    temporaries: Area
    inputs: Area
    sums: Area
    groups_at_once: int


def cut_layer(layer: TernaryLayer, geometry: AssociativeGeometry, options: Options, tile: int, more_bits: int) -> Cut:
    """Into groups, and tiles of about `tile` outputs, as even as they come. more_bits: for offsets of temporaries."""
    channel = layer.channel or _NO_CHANNEL
    most = max(1, int(geometry.tracks * _MOST) // channel)
    size = min(channel * min(-(-_FEW // channel) * options.unroll, most), layer.inputs)
    groups = tuple((at, min(at + size, layer.inputs)) for at in range(0, layer.inputs, size))
    edges = np.linspace(0, layer.outputs, -(-layer.outputs // tile) + 1).astype(int).tolist()
    sum_bits = _sum_bits(layer)
    top = layer.input_range[1] - layer.input_range[0]
    terms = max(np.count_nonzero(layer.weights[:, begin:end], axis=1).max() for begin, end in groups)
    slot_bits = max(1, (int(terms) * top).bit_length()) + more_bits
    if (most := max(sum_bits, slot_bits, layer.input_bits)) > geometry.reach:
        raise CompileError(
            f"layer {layer.name}: its words have up to {most} bits, and a port of this array reaches {geometry.reach} "
            "domains"
        )
    return Cut(groups, tuple(pairwise(edges)), sum_bits, slot_bits)


def first_tile(layer: TernaryLayer, geometry: AssociativeGeometry, options: Options) -> int:
    """How many outputs to have at once, if it is not said: what half of the tracks hold."""
    sum_bits = _sum_bits(layer)
    per_track = geometry.reach // sum_bits * geometry.ports
    held = max(1, geometry.tracks // 2 * per_track // layer.pool)
    return min(layer.outputs, held, options.output_tile or held)


def lay_out(layer: TernaryLayer, geometry: AssociativeGeometry, cut: Cut, slots: int) -> Layout | None:
    """Areas for so many slots at most; None where they do not fit beside each other."""
    rows = max(end - begin for begin, end in cut.outputs) * layer.pool
    sums = max(layer.pool, tracks_for(rows, cut.sum_bits, geometry))
    temporaries = tracks_for(slots, cut.slot_bits, geometry)
    left = geometry.tracks - _FIRST_TRACK - temporaries - sums
    size = max(end - begin for begin, end in cut.groups)
    inputs = min(left, max(size, tracks_for(layer.inputs, layer.input_bits, geometry)))
    if inputs < size:
        return None
    at_inputs = _FIRST_TRACK + temporaries
    area = Area(geometry, at_inputs, inputs, layer.input_bits)
    return Layout(
        temporaries=Area(geometry, _FIRST_TRACK, temporaries, cut.slot_bits),
        inputs=area,
        sums=Area(geometry, at_inputs + inputs, sums, cut.sum_bits),
        groups_at_once=area.words // size,
    )


def _sum_bits(layer: TernaryLayer) -> int:
    """Of a word that holds any sum, and the greatest of any pool of them."""
    low, high = (each.reshape(-1, layer.pool) for each in bounds_of_sums(layer.weights, layer.input_range))
    return int(widths(low.min(axis=1), high.max(axis=1))[0].max())
