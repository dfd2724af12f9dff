"""How a network trained on the array does beside other ways, what training cost its devices, and what drift does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from labctl.analysis import estimators
from labctl.analysis.characterisation.judging import share_right
from labctl.analysis.characterisation.statistic import Statistic, plain, quantity, statistic
from labctl.analysis.estimators import Estimate
from labctl.learning.trainable.tasks import TRAINING_BASELINES

Floats = NDArray[np.float64]

BOARD = "on the board"
_TEXT = "text"
_GENERATED = "gan"


@dataclass(frozen=True, slots=True)
class Way:
    """One way to train the network. curve: (epochs,) accuracy after each. final: with its interval."""

    name: str
    curve: Floats
    final: Estimate


def on_board(measured: xr.Dataset) -> Estimate | None:
    """What the network reached there last: with Wilson's interval, or the one that the run itself told."""
    accuracy = measured.attrs.get("accuracy_board")
    if accuracy is None:
        return None
    if measured.attrs["samples"]:
        return share_right(measured, float(accuracy))
    low, high = (float(measured.attrs.get(f"accuracy_{end}", np.nan)) for end in ("low", "high"))
    return Estimate(float(accuracy), low, high, 0)


def ways(measured: xr.Dataset) -> list[Way]:
    """The board first, then those that the run compared it with."""
    found = []
    if (final := on_board(measured)) is not None:
        found.append(Way(BOARD, measured["accuracy_board"].values.astype(np.float64), final))
    if "baseline" in measured:
        columns = (measured[name].values for name in ("baseline", "baseline_curve", "baseline_accuracy"))
        for name, curve, accuracy in zip(*columns, strict=True):
            called = TRAINING_BASELINES.get(str(name), str(name))
            found.append(Way(called, curve, share_right(measured, float(accuracy))))
    return found


def is_generated(measured: xr.Dataset) -> bool:
    """Whether the network makes pictures: its accuracy is the share of them that a judge is sure of."""
    return str(measured.attrs["task"]) == _GENERATED


def what_is_right(measured: xr.Dataset) -> str:
    """What `accuracy` is a share of."""
    named = {_TEXT: "next characters right", _GENERATED: "generated digits clear to a judge"}
    return named.get(str(measured.attrs["task"]), "test samples right")


def histogram_quantile(counts: NDArray[np.integer], centres: Floats, share: float) -> float:
    """The centre of the bin that this share of the counts is reached in; NaN of no counts."""
    total = int(counts.sum())
    return float(centres[np.searchsorted(np.cumsum(counts), share * total)]) if total else np.nan


def statistics(measured: xr.Dataset) -> list[Statistic]:
    """Of the network, of its updates, of its devices."""
    return [*_accuracies(measured), *_qualities(measured), *_devices(measured), *_updates(measured), *_after(measured)]


def _accuracies(measured: xr.Dataset) -> list[Statistic]:
    found = []
    if (estimate := on_board(measured)) is not None:
        found.append(statistic("accuracy_board", "1", estimate, "of the test samples, on the board"))
    if "baseline" in measured:
        for name, value in zip(measured["baseline"].values, measured["baseline_accuracy"].values, strict=True):
            note = TRAINING_BASELINES.get(str(name), "")
            found.append(statistic("accuracy_baseline", "1", share_right(measured, float(value)), note, of=str(name)))
    if "rest" in measured:
        for name, note in (("after", "on the board, as it is"), ("compensated", "with global drift compensation")):
            for seconds, value in zip(measured["rest"].values, measured[f"accuracy_{name}"].values, strict=True):
                time = quantity(float(seconds), "s")
                found.append(statistic(f"accuracy_{name}", "1", share_right(measured, float(value)), note, time=time))
    return found


def _qualities(measured: xr.Dataset) -> list[Statistic]:
    """Of text and of generated pictures."""
    notes = {
        "bits_per_char": "of the test text, on the board",
        "bits_per_char_float": "of the test text, in float32",
        "score": "of generated pictures, on the board",
        "score_float": "of generated pictures, in float32",
        "score_real": "of real pictures",
    }
    found = []
    for name, note in notes.items():
        if name in measured.attrs:
            found.append(plain(name, "1", float(measured.attrs[name]), int(measured.attrs["samples"]), note))
    return found


def _devices(measured: xr.Dataset) -> list[Statistic]:
    pulses, resets, layer = (measured[name].values for name in ("pulses_set", "pulses_reset", "layer"))
    of_updates, of_refreshes = updates_per_device(measured)
    devices = len(layer)
    found = [
        plain("pulses_per_device", "1", of_updates, devices, "SET pulses of updates"),
        plain("resets_per_device", "1", of_refreshes, devices, "RESET pulses of refreshes"),
    ]
    for number, name in [(None, ""), *enumerate(measured["layer_name"].values.tolist())]:
        own = np.ones(devices, bool) if number is None else layer == number
        if own.any():
            found += [
                statistic("set_pulses_mean", "1", estimators.mean(pulses[own]), _GIVEN, layer=name),
                statistic("reset_pulses_mean", "1", estimators.mean(resets[own]), _GIVEN, layer=name),
            ]
    return [
        *found,
        statistic("set_pulses_p99", "1", estimators.quantile(pulses, 0.99), _GIVEN),
        plain("set_pulses_most", "1", int(pulses.max()), devices, _GIVEN),
        plain("reset_pulses_most", "1", int(resets.max()), devices, _GIVEN),
    ]


_GIVEN = "that a device was given: to prepare, update and refresh it"


def updates_per_device(measured: xr.Dataset) -> tuple[float, float]:
    """SET pulses of updates and RESET pulses of refreshes, a device: as told in the end, or else so far."""
    told = [measured.attrs.get(f"{name}_per_device") for name in ("pulses", "resets")]
    found = [
        float(np.nansum(measured[f"stretch_{name}"].values)) / measured.sizes["cell"] if each is None else float(each)
        for name, each in zip(("pulses", "resets"), told, strict=True)
    ]
    return found[0], found[1]


def _updates(measured: xr.Dataset) -> list[Statistic]:
    found = []
    if (sparsity := update_sparsity(measured)) is not None:
        weights = int(measured["layer_weights"].sum()) if "layer_weights" in measured else 0
        found.append(plain("update_sparsity", "1", sparsity, weights, "share of weights times batches without a pulse"))
    if "chi_histogram" in measured:
        centres, names = measured["chi_bin"].values, measured["layer_name"].values.tolist()
        for name, counts in zip(names, measured["chi_histogram"].values, strict=True):
            found += _of_chi(counts, centres, name)
    if conversions := int(measured.attrs["conversions"]):
        share = estimators.fraction(int(measured.attrs["saturated"]), conversions)
        found.append(statistic("conversions_saturated", "1", share, "of products, at either end of the converter"))
    if (seconds := measured.attrs.get("seconds_per_epoch")) is not None:
        found.append(plain("seconds_per_epoch", "s", float(seconds), measured.sizes["epoch"], "of the computer"))
    return found


def update_sparsity(measured: xr.Dataset) -> float | None:
    """As the run told it in the end, or else the mean of its stretches."""
    if "sparsity" in measured.attrs:
        return float(measured.attrs["sparsity"])
    known = measured["stretch_sparsity"].values
    known = known[np.isfinite(known)]
    return float(known.mean()) if known.size else None


def _of_chi(counts: NDArray[np.integer], centres: Floats, name: str) -> list[Statistic]:
    total = int(counts.sum())
    if not total:
        return []
    mean = float((counts * centres).sum() / total)
    spread = float(np.sqrt((counts * (centres - mean) ** 2).sum() / total))
    return [
        plain("chi_mean", "1", mean, total, "granules, in the end", layer=name),
        plain("chi_sd", "1", spread, total, "granules, in the end", layer=name),
    ]


def _after(measured: xr.Dataset) -> list[Statistic]:
    """What devices conduct, before and after training."""
    if "conductance_histogram" not in measured:
        return []
    found, centres = [], measured["conductance_bin"].values
    for moment, by_layer in zip(measured["moment"].values, measured["conductance_histogram"].values, strict=True):
        for name, counts in zip(measured["layer_name"].values.tolist(), by_layer, strict=True):
            for share, called in ((0.5, "p50"), (0.95, "p95")):
                value = histogram_quantile(counts, centres, share)
                note = f"{moment} training, to a bin of the histogram"
                of = {"layer": name, "moment": str(moment)}
                found.append(plain(f"conductance_{called}", "S", value, int(counts.sum()), note, **of))
    return found
