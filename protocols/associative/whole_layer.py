"""A ternary layer on the array as a whole: compiled, run on random inputs of all rows, compared with whole numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from labctl.associative import AssociativeArray
from labctl.compiler import CompiledLayer, Options, TernaryLayer, compile_layer, reference, run_layer


class LayerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """name: what it is called. weights, input_bits, signed_inputs, pool, channel: as of the compiler's layers.

    unroll, order, cse: as the compiler has them.
    """

    weights: np.ndarray
    name: str = "layer"
    input_bits: int = 4
    signed_inputs: bool = False
    pool: int = 1
    channel: int | None = None
    unroll: int = 1
    order: Literal["outputs", "inputs"] = "outputs"
    cse: bool = True

    @property
    def ternary(self) -> TernaryLayer:
        """Raises UsageError where it is none."""
        return TernaryLayer(
            self.name,
            self.weights.astype(np.int8),
            input_bits=self.input_bits,
            signed_inputs=self.signed_inputs,
            pool=self.pool,
            channel=self.channel,
        )

    def compile(self, array: AssociativeArray) -> CompiledLayer:
        """Raises UsageError where it does not fit the array."""
        options = Options(unroll=self.unroll, order=self.order, cse=self.cse)
        return compile_layer(self.ternary, array.associative, options)


@dataclass(frozen=True, slots=True)
class LayerRun:
    """Sums computed, how many of them are not those of whole numbers, passes, and s of the board."""

    sums: int
    wrong: int
    passes: int
    seconds: float


def run_on_all_rows(
    compiled: CompiledLayer, array: AssociativeArray, rng: np.random.Generator, *, trace: bool = False
) -> LayerRun:
    """Random inputs on every row."""
    low, high = compiled.layer.input_range
    codes = rng.integers(low, high + 1, size=(array.associative.rows, compiled.layer.inputs))
    found = run_layer(compiled, codes, array.perform, trace=trace)
    wrong = int(np.count_nonzero(found.sums != reference(compiled.layer, codes)))
    return LayerRun(found.sums.size, wrong, int(compiled.statistics.passes), float(found.seconds))
