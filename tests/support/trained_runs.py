"""Runs that look as those of training a network do, with numbers that are made up and go together.

Nothing learns here: a protocol of its own, under the same name and with the same variables and results, gives real
pulses to a real (simulated) array and tells curves that a formula makes. What analysis makes of such a run is so known
beforehand, whatever a network would do; runs that do learn are tested beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from benches import write_bench

import labctl
from labctl.array import Capability, Geometry, MemoryArray, Operation, PulseBatch, Scale
from labctl.learning.accounts import Figures, OnArray, compare_inference
from labctl.learning.networks.network import Layer
from labctl.runner import RunResult
from labctl.steps import Cost, Procedure, Result, Step, Steps, Variable

ROWS, COLS = 48, 96
LAYERS = (Layer("hidden", 30, 40, 1), Layer("output", 41, 10, 1))
CLASSES, SAMPLES = 10, 1000
EPOCHS, STRETCHES, IMAGES = 5, 8, 400
PER_DEVICE = (0.05, 0.3)
"""SET pulses a device of each layer has in a stretch, on average."""

SET_VOLTAGE, RESET_VOLTAGE, WIDTH, GATE = 0.75, 3.3, 5e-8, 2.5
BASELINES = {"float": 0.98, "ideal": 0.979, "granularity": 0.976, "pcm": 0.974}
LAST = {"board": 0.972, **BASELINES}
RESTS = (1.0, 1e2, 1e4, 1e6)
NOT_GIVEN = 2**32 - 1


class MadeUpSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """task: of which the run tells. told: whether it tells anything in the end."""

    task: str = "mnist"
    told: bool = True


def trained(folder: Path, task: str = "mnist", progress: Any = None, **settings: Any) -> RunResult:
    """Such a run on a small board in this process, over its wire."""
    bench = write_bench(folder, rows=ROWS, cols=COLS, chip="MADE-UP", simulated='cells = "pcm_90nm"')
    with labctl.load_bench(bench) as live, live.array() as array:
        return labctl.run(training, array, out=folder / "runs", seed=1, progress=progress, task=task, **settings)


def curve(of: str) -> np.ndarray:
    """(epochs,) accuracy after each, up to its last."""
    return LAST[of] - 0.12 * np.exp(-np.arange(EPOCHS) * 0.9) + 0.12 * np.exp(-(EPOCHS - 1) * 0.9)


def layer_of_cells() -> np.ndarray:
    """(cells,) u1: a layer's devices stand one after another, those of none after them."""
    found = np.full(ROWS * COLS, 255, np.uint8)
    start = 0
    for number, layer in enumerate(LAYERS):
        found[start : start + 2 * layer.inputs * layer.outputs] = number
        start += 2 * layer.inputs * layer.outputs
    return found


def _plan(geometry: Geometry, dac: Scale, adc: Scale, settings: MadeUpSettings) -> Cost:  # noqa: ARG001
    voltages = {Operation.SET: SET_VOLTAGE, Operation.RESET: RESET_VOLTAGE}
    gates, widths = dict.fromkeys(voltages, GATE), dict.fromkeys(voltages, WIDTH)
    pulses = geometry.cells * EPOCHS * STRETCHES * 12
    return Cost(pulses, geometry.cells * 10, voltages, gates, widths, max_pulses_per_cell=EPOCHS * STRETCHES * 12)


_MAPS = ("layer", "pulses_set", "resets", "conductance")


class _Devices:
    """What of the run stands on the array: real pulses, counted as they are given."""

    def __init__(self, array: MemoryArray, rng: np.random.Generator) -> None:
        self.array, self.rng, self.layer = array, rng, layer_of_cells()
        self.cells = array.geometry.cells
        self.pulses_set, self.resets = np.zeros(self.cells, np.uint32), np.zeros(self.cells, np.uint16)
        self.conductance = np.full(self.cells, np.nan, np.float32)
        self.updates, self.refreshes = np.zeros((2, self.cells), int)
        self.favoured = rng.gamma(0.5, 2.0, self.cells)  # some devices have far more pulses than others

    def prepare(self) -> np.ndarray:
        """RESET, and a SET for some. (devices,) S, what they conduct then."""
        own = np.flatnonzero(self.layer < len(LAYERS))
        some = own[self.rng.random(len(own)) < 0.3]
        self._pulse(Operation.RESET, RESET_VOLTAGE, own)
        self._pulse(Operation.SET, SET_VOLTAGE, some)
        self.resets[own] += 1
        self.pulses_set[some] += 1
        self.read()
        return self.conductance[own]

    def learn(self) -> int:
        """A stretch's SET pulses. How many."""
        wanted = np.array([*PER_DEVICE, *np.zeros(254)])[self.layer] * self.favoured
        counts = np.minimum(self.rng.poisson(wanted), 10)
        for turn in range(int(counts.max())):
            self._pulse(Operation.SET, SET_VOLTAGE, np.flatnonzero(counts > turn))
        self.pulses_set += counts.astype(np.uint32)
        self.updates += counts
        return int(counts.sum())

    def refresh(self) -> int:
        cells = np.flatnonzero((self.layer < len(LAYERS)) & (self.rng.random(self.cells) < 0.01))
        self._pulse(Operation.RESET, RESET_VOLTAGE, cells)
        self.resets[cells] += 1
        self.refreshes[cells] += 1
        return len(cells)

    def read(self) -> None:
        self.conductance = self.array.read().conductance[0]

    def maps(self) -> dict[str, np.ndarray]:
        shape = (ROWS, COLS)
        return {name: getattr(self, name).reshape(shape) for name in _MAPS}

    def _pulse(self, operation: Operation, voltage: float, cells: np.ndarray) -> None:
        code = int(self.array.dac.codes(voltage))
        batch = PulseBatch(operation, cells.astype(np.uint32), np.full(len(cells), code, np.uint16), WIDTH, GATE)
        self.array.pulse(batch)


def _steps(array: MemoryArray, settings: MadeUpSettings, rng: np.random.Generator) -> Steps:
    devices = _Devices(array, rng)
    before = devices.prepare()
    yield Step("prepare", {"epoch": 0, "images": 0})
    yield Step("prepare", {"epoch": 0, "images": 0}, devices.maps())
    losses: list[float] = []
    for epoch in range(1, EPOCHS + 1):
        losses.clear()
        for stretch in range(STRETCHES):
            images = ((epoch - 1) * STRETCHES + stretch + 1) * IMAGES
            losses.append(0.1 + 1.5 * np.exp(-images / 4000))
            told = {"epoch": epoch, "images": images, "loss": np.mean(losses), "rate": 0.4 * 0.8**epoch}
            told |= {"accuracy_train": 0.9 + 0.02 * epoch, "sparsity": 1 - 0.02 * losses[-1], "saturated": 0}
            resets = devices.refresh() if stretch % 3 == 2 else 0
            told |= {"pulses": devices.learn(), "resets": resets, "refreshed": resets // 2, "products": 3 * IMAGES}
            if stretch < STRETCHES - 1:
                yield Step("train", told)
        devices.read()
        yield Step("judge", told | _judged(settings.task, epoch), devices.maps())
    yield Step("done", {}, devices.maps())
    if not settings.told:
        return {}
    return _summary(devices, settings, before)


def _judged(task: str, epoch: int) -> dict[str, float]:
    accuracy = curve("board")[epoch - 1]
    more = {"text": {"bits_per_char": 3.5 - 0.2 * epoch}, "gan": {"gan_score": accuracy}}
    return {"accuracy_board": accuracy, **more.get(task, {})}


def _summary(devices: _Devices, settings: MadeUpSettings, before: np.ndarray) -> dict[str, Any]:
    own = devices.layer < len(LAYERS)
    figures = _curves() | _chi() | _conductances(devices, before) | _rests()
    figures |= _generated(devices.rng) if settings.task == "gan" else {}
    if settings.task == "mnist":
        figures["confusion"] = Result(_confusion(), ("label", "predicted"), "samples by label and what they became")
    return {
        "task": settings.task,
        "network": "30-40-10",
        "epochs": EPOCHS,
        "batch": 1,
        "devices": 1,
        "layers": [_layer(devices, number, layer) for number, layer in enumerate(LAYERS)],
        "accuracy": LAST["board"],
        "accuracy_low": LAST["board"] - 0.013,
        "accuracy_high": LAST["board"] + 0.011,
        "accuracy_float": LAST["float"],
        "baselines": dict(BASELINES),
        "curve": curve("board").tolist(),
        "pulses": int(devices.updates.sum()),
        "pulses_per_device": float(devices.updates[own].mean()),
        "resets": int(devices.refreshes.sum()),
        "resets_per_device": float(devices.refreshes[own].mean()),
        "products": {"vectors": 3 * EPOCHS * STRETCHES * IMAGES, "conversions": 10_000_000, "saturated": 40},
        "sparsity": 0.985,
        "seconds_per_epoch": 12.5,
        **_told(settings.task),
        "account": compare_inference(OnArray(LAYERS, 8, arrays=1), Figures.named("pruning"), "mnist").as_values(),
        **figures,
    }


def _told(task: str) -> dict[str, Any]:
    text = "the ship was in the harbour and a man of the sea had come to the window <of> the old house; " * 4
    return {
        "text": {"bits_per_char": 2.51, "bits_per_char_float": 2.48, "sample": text},
        "gan": {"score": LAST["board"], "score_float": LAST["float"], "score_real": 0.995},
    }.get(task, {})


def _layer(devices: _Devices, number: int, layer: Layer) -> dict[str, Any]:
    own = devices.layer == number
    return {
        "name": layer.name,
        "inputs": layer.inputs,
        "outputs": layer.outputs,
        "products": layer.products,
        "weights": layer.inputs * layer.outputs,
        "cells": int(own.sum()),
        "pulses": int(devices.updates[own].sum()),
        "pulses_per_device": float(devices.updates[own].mean()),
        "resets": int(devices.refreshes[own].sum()),
        "granule": 0.77e-6 * 125_000,
        "weight_per_siemens": 125_000.0,
    }


def _curves() -> dict[str, Result]:
    found = {
        "curve_epoch": Result(np.arange(1, EPOCHS + 1, dtype=np.uint32), ("curve_epoch",), "epochs done"),
        "curve_accuracy": Result(curve("board").astype(np.float32), ("curve_epoch",), "accuracy on the board"),
    }
    for name in BASELINES:
        found[f"curve_accuracy_{name}"] = Result(curve(name).astype(np.float32), ("curve_epoch",), f"accuracy, {name}")
    return found


def _chi() -> dict[str, Result]:
    """Of weights that were seldom near a granule, and of weights that often were."""
    edges = np.linspace(-1, 1, 41)
    centres = (edges[:-1] + edges[1:]) / 2
    shares = [np.exp(-((centres / width) ** 2)) for width in (0.2, 0.6)]
    counts = [layer.inputs * layer.outputs * each / each.sum() for layer, each in zip(LAYERS, shares, strict=True)]
    return {
        "chi_bin": Result(centres.astype(np.float32), ("chi_bin",), "chi, granules"),
        "chi_histogram": Result(np.rint(counts).astype(np.uint32), ("layer_number", "chi_bin"), "weights by chi"),
    }


def _conductances(devices: _Devices, before: np.ndarray) -> dict[str, Result]:
    """What the devices conduct, counted."""
    edges = np.linspace(0, 20e-6, 81)
    own = devices.layer < len(LAYERS)
    layer = devices.layer[own]
    counts = [
        [np.histogram(values[layer == number].clip(0, edges[-1]), edges)[0] for number in range(len(LAYERS))]
        for values in (before, devices.conductance[own])
    ]
    bins = ((edges[:-1] + edges[1:]) / 2).astype(np.float32)
    dims = ("moment", "layer_number", "conductance_bin")
    return {
        "conductance_bin": Result(bins, ("conductance_bin",), "conductance", "S"),
        "conductance_histogram": Result(np.array(counts, np.uint32), dims, "devices by conductance"),
    }


def _rests() -> dict[str, Result]:
    lost = 0.02 * np.log10(np.array(RESTS)) / 6
    factors = np.outer(1 + 0.08 * np.log10(np.array(RESTS)), [1.0, 1.05])
    return {
        "rest_time": Result(np.array(RESTS), ("rest_time",), "rest before the network was judged", "s"),
        "rest_accuracy": Result(LAST["board"] - lost, ("rest_time",), "accuracy as it is"),
        "rest_accuracy_compensated": Result(LAST["board"] - lost / 4, ("rest_time",), "with drift compensation"),
        "rest_factor": Result(factors, ("rest_time", "layer_number"), "drift compensation"),
    }


def _confusion() -> np.ndarray:
    counts = np.diag(np.full(CLASSES, SAMPLES // CLASSES)).astype(np.uint32)
    for wrong in range(round(SAMPLES * (1 - LAST["board"]))):
        label, other = wrong % CLASSES, (3 * wrong + 1 + wrong // CLASSES) % CLASSES
        counts[label, label] -= 1
        counts[label, other if other != label else (other + 1) % CLASSES] += 1
    return counts


def _generated(rng: np.random.Generator) -> dict[str, Result]:
    y, x = np.mgrid[-1:1:28j, -1:1:28j]

    def ring(radius: float) -> np.ndarray:
        return np.exp(-(((np.hypot(x, y) - radius) / 0.15) ** 2)) * 2 - 1

    rows = {name: np.stack([ring(each) for each in rng.uniform(0.2, 0.8, 24)]) for name in ("samples", "samples_float")}
    return {name: Result(each.astype(np.float32), ("sample", "y", "x"), "generated") for name, each in rows.items()}


training = Procedure(
    name="training",
    title="Train a network on the array",
    settings=MadeUpSettings,
    phases=("prepare", "train", "judge", "rest", "compare", "done"),
    variables=(
        *(
            Variable(name, name, dtype="u4", fill=NOT_GIVEN)
            for name in ("epoch", "images", "pulses", "resets", "refreshed", "saturated", "products")
        ),
        *(
            Variable(name, name)
            for name in ("loss", "rate", "accuracy_train", "accuracy_board", "sparsity", "bits_per_char", "gan_score")
        ),
        Variable("layer", "layer of the cell; 255: none", ("row", "col"), "u1"),
        Variable("pulses_set", "SET pulses of updates", ("row", "col"), "u4"),
        Variable("resets", "RESET pulses", ("row", "col"), "u2"),
        Variable("conductance", "conductance at the last reading", ("row", "col"), unit="S"),
    ),
    needs=Capability.PULSE | Capability.READ,
    steps=_steps,
    plan=_plan,
    measurement="training",
)
