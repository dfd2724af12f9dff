"""What ends a layer on the array: the offset of each sum, the greatest of each pool, and no less than zero."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.associative import INSTRUCTION
from labctl.compiler.layers import TernaryLayer, Words
from labctl.compiler.tiling import CARRY
from labctl.compiler.widths import bounds_of_sums, width, widths
from labctl.compiler.words import Word, add_constant, emit


def true_widths(layer: TernaryLayer, begin: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Bits of each row's sum, of outputs begin to end, and whether it is signed."""
    return widths(*_bounds(layer, begin, end))


def end_of_outputs(
    layer: TernaryLayer, first_output: int, sums: Words, begun: NDArray[np.bool_], offsets: NDArray[np.int64]
) -> tuple[NDArray[Any], Words]:
    """Instructions, and where the results are then. sums: as they are held, each too great by its offset; those that
    no term went to have not begun, and their columns hold anything.
    """
    end = first_output + len(sums) // layer.pool
    low, high = (each.tolist() for each in _bounds(layer, first_output, end))
    ranges = list(zip(low, high, strict=True))
    made: list[NDArray[Any]] = [np.zeros(0, INSTRUCTION)]
    words = []
    for row, (first, bits, signed) in enumerate(
        zip(sums.columns.tolist(), sums.bits.tolist(), sums.signed.tolist(), strict=True)
    ):
        word = Word(first, *width(*ranges[row]))
        if not begun[row]:
            made.append(emit("clear", word, carry=CARRY))
        else:
            made.append(emit("extend", Word(first, bits, signed), word, carry=CARRY))
            made.append(add_constant(word, -int(offsets[row]), CARRY))
        words.append(word)
    results = []
    for at in range(0, len(words), layer.pool):
        pool = range(at, at + layer.pool)
        word, held = words[at], ranges[at]
        for other in pool[1:]:
            held = min(held[0], ranges[other][0]), max(held[1], ranges[other][1])
            wide = Word(word.first, *width(*held))
            made += [emit("extend", word, wide, carry=CARRY), emit("max", words[other], wide, carry=CARRY)]
            word = wide
        low, high = (max(ranges[each][end] for each in pool) for end in (0, 1))
        if layer.relu and low < 0:
            made.append(emit("relu", word, carry=CARRY))
            low = 0
        results.append((word.first, *width(low, high)))
    columns, bits, signed = zip(*results, strict=True)
    which = first_output + np.arange(len(results))
    return np.concatenate(made), Words(which, np.array(columns), np.array(bits), np.array(signed, np.bool_))


def _bounds(layer: TernaryLayer, begin: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return bounds_of_sums(layer.weights[begin * layer.pool : end * layer.pool], layer.input_range)
