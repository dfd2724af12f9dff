"""What a training run says of itself in the end: figures for its summary, arrays for its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.learning.accounts import Figures, LayerCounts, TrainingCounts, compare_mixed_precision
from labctl.learning.trainable.lstm import Lstm
from labctl.protocols.training.board import BoardTraining
from labctl.protocols.training.comparing import Compared
from labctl.protocols.training.devices import Purpose
from labctl.protocols.training.judging import Verdict, written
from labctl.protocols.training.resting import Rested
from labctl.steps import Result

_CHI_BINS = 80
_CONDUCTANCE_BINS = 100
_MOST_CONDUCTANCE = 25e-6  # S, of the histograms, unless a device conducts more
_MOST_PULSES = 64  # of a device that the histograms tell apart


def summary(training: BoardTraining, rests: Sequence[Rested], others: Mapping[str, Compared]) -> dict[str, Any]:
    """JSON values, and Results of their names."""
    devices, counts, verdict = training.devices, training.learner.counts, training.verdict
    assert verdict is not None
    own = np.concatenate([devices.cells(number) for number in range(devices.layers)])
    cells = len(own)
    pulses, rewriting = (int(devices.given[purpose].sum()) for purpose in (Purpose.UPDATE, Purpose.REFRESH))
    resets = 2 * devices.refreshed
    weights = sum(layer.inputs * layer.outputs for layer in training.network.layers)
    of_float = others.get("float")
    return {
        "task": training.settings.task,
        "network": training.network.name,
        "data": training.data.source,
        "data_sha256": training.data.digest,
        "epochs": training.epoch,
        "batch": training.course.batch,
        "rate": training.course.rate,
        "decay": training.course.decay,
        "devices": training.settings.pairs,
        "accuracy": verdict.accuracy,
        "accuracy_low": verdict.low,
        "accuracy_high": verdict.high,
        "accuracy_float": of_float.verdict.accuracy if of_float else None,
        "published": training.settings.of_task.published_of(training.network.name),
        "baselines": {name: each.verdict.accuracy for name, each in others.items()},
        "baseline_pulses": {name: {"pulses": each.pulses, "resets": each.resets} for name, each in others.items()},
        "curve": training.curve.accuracy,
        "loss_curve": training.curve.loss,
        "pulses": pulses,
        "pulses_per_device": pulses / cells,
        "pulses_of_refresh": rewriting,
        "resets": resets,
        "resets_per_device": resets / cells,
        "refreshed": devices.refreshed,
        "reads": devices.reads,
        "cells": cells,
        "cells_stuck": int(np.count_nonzero(training.stuck[own])),
        "cells_stuck_on_array": int(np.count_nonzero(training.stuck)),
        "products": {
            "vectors": devices.counts.vectors,
            "conversions": devices.counts.conversions,
            "saturated": devices.counts.saturated,
        },
        "sparsity": 1 - sum(counts.pulsed) / (weights * counts.batches) if counts.batches else None,
        "seconds_per_epoch": float(np.median(training.curve.seconds)) if training.curve.seconds else None,
        "layers": _layers(training),
        "rests": [_rested(each) for each in rests],
        "account": account(training),
        "placement": devices.placement.describe(),
        **_of_kind(training, verdict, of_float),
        **_arrays(training, rests, others),
        **verdict.results,
    }


def account(training: BoardTraining) -> dict[str, Any]:
    """What a training image takes, by what was counted, beside a dedicated design."""
    devices, counts = training.devices, training.learner.counts
    layers = []
    for number, (layer, tally) in enumerate(zip(training.network.layers, devices.tallies, strict=True)):
        cells = devices.cells(number)
        layers.append(
            LayerCounts(
                driven=tally.driven / max(tally.forward * layer.inputs, 1),
                touched=counts.touched[number] / max(counts.batches * layer.inputs * layer.outputs, 1),
                forward=tally.forward,
                backward=tally.backward,
                inputs_back=tally.inputs_back or layer.inputs,
                set_pulses=float(devices.given[[Purpose.UPDATE, Purpose.REFRESH], number].sum()),
                reset_pulses=float(devices.refresh_resets(number)),
                reads=devices.refresh_reads[number],
                conductance=float(training.after[cells].mean()),
            )
        )
    work = TrainingCounts(training.images, counts.batches, layers, training.settings.pairs)
    settings = training.settings
    shapes = {"set": settings.set, "reset": settings.reset}
    given = {
        f"{name}_{key}": float(getattr(shape, key)) for name, shape in shapes.items() for key in ("voltage", "width")
    }
    figures = Figures.named("mixed_precision").changed({"read_voltage": float(settings.voltage), **given})
    return compare_mixed_precision(training.network.layers, figures, work, training.settings.task).as_values()


def _layers(training: BoardTraining) -> list[dict[str, Any]]:
    """Of each layer its size, its devices, and what they were given."""
    found, devices = [], training.devices
    for number, layer in enumerate(training.network.layers):
        cells = devices.cells(number)
        found.append(
            {
                "name": layer.name,
                "inputs": layer.inputs,
                "outputs": layer.outputs,
                "products": layer.products,
                "weights": layer.inputs * layer.outputs,
                "cells": len(cells),
                "pulses": int(devices.given[Purpose.UPDATE, number]),
                "pulses_per_device": float(devices.given[Purpose.UPDATE, number] / len(cells)),
                "pulses_of_refresh": int(devices.given[Purpose.REFRESH, number]),
                "resets": devices.refresh_resets(number),
                "granule": devices.granules[number],
                "weight_per_siemens": 1 / devices.siemens[number],
            }
        )
    return found


def _rested(rested: Rested) -> dict[str, Any]:
    return {
        "after_s": rested.after,
        "accuracy": rested.plain.accuracy,
        "accuracy_compensated": rested.compensated.accuracy,
        "factors": list(rested.factors),
        **{name: value for name, value in rested.plain.values.items() if name == "bits_per_char"},
        **{
            f"{name}_compensated": value for name, value in rested.compensated.values.items() if name == "bits_per_char"
        },
    }


def _of_kind(training: BoardTraining, verdict: Verdict, of_float: Compared | None) -> dict[str, Any]:
    """What only texts or pictures have."""
    found = dict(verdict.values)
    if of_float is not None:
        found |= {
            f"{name}_float": value for name, value in of_float.verdict.values.items() if not name.endswith("_real")
        }
        if "samples" in of_float.verdict.results:
            found["samples_float"] = of_float.verdict.results["samples"]
    if isinstance(training.network, Lstm):
        found["sample"] = written(training.network, training.devices, training.data, training.seed)
    return found


def _arrays(training: BoardTraining, rests: Sequence[Rested], others: Mapping[str, Compared]) -> dict[str, Result]:
    return {
        **_curves(training, others),
        **_histograms(training),
        **(_rest_arrays(rests) if rests else {}),
    }


def _curves(training: BoardTraining, others: Mapping[str, Compared]) -> dict[str, Result]:
    """One value an epoch; baselines that were stopped before the end have no more."""
    epochs = len(training.curve.loss)
    if not epochs:
        return {}
    found = {
        "curve_epoch": Result(np.arange(1, epochs + 1, dtype=np.uint32), ("curve_epoch",), "epochs done"),
        "curve_accuracy": Result(
            np.array(training.curve.accuracy, np.float32), ("curve_epoch",), "accuracy, on the board"
        ),
        "curve_loss": Result(np.array(training.curve.loss, np.float32), ("curve_epoch",), "mean loss of training"),
    }
    for name, each in others.items():
        values = np.full(epochs, np.nan, np.float32)
        values[: len(each.curve)] = each.curve[:epochs]
        found[f"curve_accuracy_{name}"] = Result(values, ("curve_epoch",), f"accuracy of the baseline {name}")
    return found


def _histograms(training: BoardTraining) -> dict[str, Result]:
    """Of accumulators, conductances before and after, and pulses a device, per layer."""
    devices, layers = training.devices, range(training.devices.layers)
    chi, chi_bins = _counted([chi.ravel() for chi in training.learner.chi], -1.0, 1.0, _CHI_BINS)
    most = max(_MOST_CONDUCTANCE, float(np.nanmax(training.after)))
    moments = []
    for conductance in (training.before, training.after):
        counts, siemens = _counted([conductance[devices.cells(each)] for each in layers], 0.0, most, _CONDUCTANCE_BINS)
        moments.append(counts)
    pulses = [np.minimum(devices.set_pulses[devices.cells(each)], _MOST_PULSES) for each in layers]
    given = np.stack([np.bincount(each, minlength=_MOST_PULSES + 1) for each in pulses]).astype(np.uint32)
    return {
        "chi_bin": Result(chi_bins, ("chi_bin",), "accumulator, in granules"),
        "chi_histogram": Result(chi, ("layer_number", "chi_bin"), "accumulators"),
        "conductance_bin": Result(siemens, ("conductance_bin",), "conductance", "S"),
        "conductance_histogram": Result(
            np.stack(moments),
            ("moment", "layer_number", "conductance_bin"),
            "devices by conductance, before training (0) and after (1)",
        ),
        "pulse_bin": Result(
            np.arange(_MOST_PULSES + 1, dtype=np.uint32), ("pulse_bin",), "SET pulses of a device; the last: or more"
        ),
        "pulses_histogram": Result(given, ("layer_number", "pulse_bin"), "devices by the SET pulses they were given"),
    }


def _counted(
    layers: Sequence[NDArray[np.float32]], low: float, high: float, bins: int
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """(layers, bins) how many are in each bin, what lies beyond in the outermost ones, and (bins,) their centres."""
    edges = np.linspace(low, high, bins + 1)
    counts = [np.histogram(np.clip(each, low, high), edges)[0] for each in layers]
    return np.stack(counts).astype(np.uint32), ((edges[1:] + edges[:-1]) / 2).astype(np.float32)


def _rest_arrays(rests: Sequence[Rested]) -> dict[str, Result]:
    along = ("rest_time",)
    return {
        "rest_time": Result(np.array([each.after for each in rests]), along, "time since the last pulse", "s"),
        "rest_accuracy": Result(np.array([each.plain.accuracy for each in rests], np.float32), along, "accuracy"),
        "rest_accuracy_compensated": Result(
            np.array([each.compensated.accuracy for each in rests], np.float32), along, "accuracy, drift compensated"
        ),
        "rest_factor": Result(
            np.array([each.factors for each in rests], np.float32),
            ("rest_time", "layer_number"),
            "what a layer's products are multiplied by to compensate drift",
        ),
    }
