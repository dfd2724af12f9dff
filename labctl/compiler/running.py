"""A compiled layer on an array, and the same by whole numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.associative import Action, Counters, Execution, Load, Read, Run, planes_of, values_of
from labctl.compiler.layers import CompiledLayer, Stage, TernaryLayer, Words

Perform = Callable[..., tuple[Any, ...]]


@dataclass(frozen=True)
class LayerResult:
    """sums: (n, outputs). counters, seconds: of the programs. traces: of every stage's program, or None."""

    sums: NDArray[np.int64]
    counters: Counters
    seconds: float
    traces: tuple[NDArray[np.uint32], ...] | None


def run_layer(compiled: CompiledLayer, codes: NDArray[Any], perform: Perform, trace: bool = False) -> LayerResult:
    """Results for `codes`, (n, inputs) whole numbers, a row of the array each, by `AssociativeArray.perform`.

    Raises ValueError where codes are not those of the layer, or more than the array has rows.
    """
    _check(compiled, codes)
    layer = compiled.layer
    partials = np.zeros((len(codes), len(layer.weights)), np.int64)
    results = np.zeros((len(codes), layer.outputs), np.int64)
    counters, seconds, traces = Counters(), 0.0, []
    for stage in compiled.stages:
        actions = _actions(compiled, stage, codes, partials, trace)
        done = perform(*actions)
        execution = next(each for each in done if isinstance(each, Execution))
        counters += execution.counters
        seconds += execution.seconds
        if execution.trace is not None:
            traces.append(execution.trace)
        if len(stage.outputs):
            found = _numbers(stage.outputs, done[-1], len(codes))
            (results if stage.final else partials)[:, stage.outputs.which] = found
    return LayerResult(results, counters, seconds, tuple(traces) if trace else None)


def reference(layer: TernaryLayer, codes: NDArray[Any]) -> NDArray[np.int64]:
    """(n, outputs) for codes (n, inputs), by whole numbers."""
    # sums of numbers of 16 bits are exact in float64, whose products BLAS does
    sums = (np.asarray(codes, np.float64) @ layer.weights.T.astype(np.float64)).astype(np.int64)
    results: NDArray[np.int64] = sums.reshape(len(sums), layer.outputs, layer.pool).max(axis=2)
    return np.maximum(results, 0) if layer.relu else results


def _check(compiled: CompiledLayer, codes: NDArray[Any]) -> None:
    layer = compiled.layer
    if codes.ndim != 2 or codes.shape[1] != layer.inputs or codes.dtype.kind not in "iu":
        raise ValueError(
            f"layer {layer.name} takes whole numbers, (n, {layer.inputs}), not {codes.dtype} {codes.shape}"
        )
    if len(codes) > compiled.geometry.rows:
        raise ValueError(f"{len(codes)} rows are more than the array's {compiled.geometry.rows}")
    low, high = layer.input_range
    if codes.size and not (low <= codes.min() and codes.max() <= high):
        raise ValueError(f"layer {layer.name} takes inputs from {low} to {high}")


def _actions(
    compiled: CompiledLayer, stage: Stage, codes: NDArray[Any], partials: NDArray[np.int64], trace: bool
) -> list[Action]:
    rows = compiled.geometry.rows
    actions: list[Action] = []
    if len(stage.inputs):
        given, least = codes[:, stage.inputs.which], compiled.layer.input_range[0]
        if least:  # the array holds by how much an input is above the least
            given = given.astype(np.int32) - least
        planes = planes_of(given, compiled.layer.input_bits, rows)
        actions.append(Load(stage.inputs.all_columns, planes))
    if len(stage.partials):
        words = stage.partials
        each = zip(words.which.tolist(), words.bits.tolist(), strict=True)
        planes = np.concatenate([planes_of(partials[:, [row]], bits, rows) for row, bits in each])
        actions.append(Load(words.all_columns, planes))
    actions.append(Run(stage.program, trace))
    if len(stage.outputs):
        actions.append(Read(stage.outputs.all_columns))
    return actions


def _numbers(words: Words, planes: NDArray[np.uint8], rows: int) -> NDArray[np.int64]:
    """(rows, words) of planes that were read."""
    ends = np.cumsum(words.bits)
    found = np.zeros((rows, len(words)), np.int64)
    for place, (end, bits, signed) in enumerate(
        zip(ends.tolist(), words.bits.tolist(), words.signed.tolist(), strict=True)
    ):
        found[:, place] = values_of(planes[end - bits : end], bits, rows, signed)[:, 0]
    return found
