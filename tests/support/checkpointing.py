"""A protocol with checkpoints: each epoch it SETs some cells that its generator draws, and multiplies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from labctl.array import Capability, Geometry, MemoryArray, Operation, PulseBatch, Scale
from labctl.steps import Cost, Procedure, Result, Step, Steps, Variable

DRAWN = 6
PEAKS = {Operation.FORM: 4.2, Operation.SET: 2.2}
WIDTH, GATE = 1e-6, 1.8


class TrainingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """every: epochs from one checkpoint to the next. weights: numbers that a checkpoint holds beside."""

    epochs: int = 12
    every: int = 3
    weights: int = 300


def plan(geometry: Geometry, dac: Scale, adc: Scale, settings: TrainingSettings) -> Cost:  # noqa: ARG001
    return Cost(
        max_pulses=geometry.cells + settings.epochs * DRAWN,
        max_reads=2 * geometry.cells + settings.epochs * DRAWN,
        amplitudes=PEAKS,
        gates=dict.fromkeys(PEAKS, GATE),
        widths=dict.fromkeys(PEAKS, WIDTH),
        max_pulses_per_cell=1 + settings.epochs,
    )


def steps(
    array: MemoryArray,
    settings: TrainingSettings,
    rng: np.random.Generator,
    checkpoint: Mapping[str, NDArray[Any]] | None,
) -> Steps:
    if checkpoint is None:
        array.pulse_and_verify(batch(array, Operation.FORM, np.arange(array.geometry.cells, dtype=np.uint32)))
        yield Step("form")
        checkpoint = {"epoch": np.array(0), "draws": np.zeros((0, DRAWN), np.uint32)}
    draws = checkpoint["draws"]
    for epoch in range(int(checkpoint["epoch"]), settings.epochs):
        drawn = np.sort(rng.choice(array.geometry.cells, DRAWN, replace=False)).astype(np.uint32)
        (readout,) = array.pulse_and_verify(batch(array, Operation.SET, drawn))
        array.multiply(np.full((2, array.geometry.rows), 0.1, np.float32))
        draws = np.concatenate([draws, drawn[None]])
        done = {"epoch": np.array(epoch + 1), "draws": draws, "weights": np.full(settings.weights, epoch, np.float32)}
        yield Step(
            "train",
            {"epoch": epoch, "median": float(np.median(readout.conductance))},
            {"drawn": np.bincount(draws.ravel(), minlength=array.geometry.cells).reshape(array.geometry.rows, -1)},
            progress=(epoch + 1, settings.epochs),
            checkpoint=done if (epoch + 1) % settings.every == 0 else None,
        )
    return {
        "epochs": settings.epochs,
        "draws": Result(draws, ("epoch", "draw"), "cells that were SET"),
        "epoch": Result(np.arange(settings.epochs), ("epoch",), "number of the epoch"),
    }


def batch(array: MemoryArray, operation: Operation, cells: NDArray[np.uint32]) -> PulseBatch:
    amplitude = np.full(len(cells), array.dac.codes(PEAKS[operation]), array.dac.dtype)
    return PulseBatch(operation, cells, amplitude, WIDTH, GATE)


def draws_of(seed: int, epochs: int, cells: int) -> NDArray[np.int64]:
    """What a run with this `seed` draws, however often it was interrupted."""
    rng = np.random.default_rng(seed)
    return np.array([np.sort(rng.choice(cells, DRAWN, replace=False)) for _ in range(epochs)])


TRAINING = Procedure(
    name="training",
    title="SET some cells, and multiply",
    settings=TrainingSettings,
    phases=("form", "train"),
    variables=(
        Variable("epoch", "epoch", dtype="u4"),
        Variable("median", "median conductance", unit="S"),
        Variable("drawn", "times drawn", ("row", "col"), "u2"),
    ),
    needs=Capability.PULSE | Capability.READ | Capability.MULTIPLY,
    steps=steps,
    plan=plan,
    checkpoints=True,
)


def steps_without(*given: Any) -> Steps:
    for step in steps(*given, None):
        yield replace(step, checkpoint=None)
    return {}


WITHOUT_CHECKPOINTS = replace(TRAINING, checkpoints=False, steps=steps_without)
