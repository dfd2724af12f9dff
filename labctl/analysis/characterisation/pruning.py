"""How a network pruned on the array does, what its edges conduct, and how often its cells were switched for that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from labctl.analysis import estimators
from labctl.analysis.characterisation.judging import share_right
from labctl.analysis.characterisation.statistic import Statistic, plain, quantity, statistic
from labctl.learning.tasks import BASELINES

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Conductances:
    """What the cells of one layer, or of all (""), read last, S: of edges that are kept, of pruned ones (that is their
    residue), and of cells that never formed.
    """

    layer: str
    kept: Floats
    pruned: Floats
    never_formed: Floats

    @property
    def groups(self) -> tuple[tuple[str, Floats], ...]:
        return (("kept", self.kept), ("pruned", self.pruned), ("never formed", self.never_formed))


def conductances(measured: xr.Dataset) -> list[Conductances]:
    """Of all cells whose edges stand on the array, then of each layer, unless tiles take turns."""
    found = [_conductances(measured, "", np.ones(measured.sizes["cell"], bool))]
    if takes_turns(measured):
        return found
    layer = measured["layer"].values
    names = enumerate(measured["layer_name"].values.tolist())
    return found + [_conductances(measured, name, layer == number) for number, name in names]


def _conductances(measured: xr.Dataset, name: str, chosen: NDArray[np.bool_]) -> Conductances:
    conductance = measured["conductance"].values[chosen].astype(np.float64)
    formed, kept = measured["formed"].values[chosen], measured["kept"].values[chosen]
    return Conductances(
        name, conductance[formed & (kept == 1)], conductance[formed & (kept == 0)], conductance[~formed & (kept <= 1)]
    )


def takes_turns(measured: xr.Dataset) -> bool:
    """Whether the network is larger than the array, so that the same cells stand for one tile after another."""
    return int(measured.attrs.get("tiles", 1)) > 1


def judged_ways(measured: xr.Dataset, what: str = "accuracy") -> list[tuple[str, estimators.Estimate]]:
    """By name what the network reached on the board and in software, and what other ways did.

    what: `accuracy`, or of segmentation `pr_auc` or `roc_auc`.
    """
    ways = [(f"pruned on the array, {_WHERE[where]}", measured.attrs.get(f"{what}_{where}")) for where in _WHERE]
    names, values = _of_baselines(measured, f"baseline_{what}")
    ways += [(BASELINES.get(name, name), value) for name, value in zip(names, values, strict=True)]
    known = [(name, float(value)) for name, value in ways if value is not None]
    if what == "accuracy":
        return [(name, share_right(measured, value)) for name, value in known]
    return [(name, estimators.Estimate(value, np.nan, np.nan, 0)) for name, value in known]


_WHERE = {"board": "on the board", "software": "in software"}


def statistics(measured: xr.Dataset) -> list[Statistic]:
    """Of the network, of its edges by layer, of its cells."""
    return [*_accuracies(measured), *_areas(measured), *_edges(measured), *_cells(measured)]


def _accuracies(measured: xr.Dataset) -> list[Statistic]:
    found = []
    for where in ("board", "software", "verified"):
        if (value := measured.attrs.get(f"accuracy_{where}")) is not None:
            found.append(_accuracy(measured, f"accuracy_{where}", value, _NOTES[where]))
    for name, value in zip(*_of_baselines(measured, "baseline_accuracy"), strict=True):
        found.append(_accuracy(measured, "accuracy_baseline", value, "in software", of=name))
    if "accuracy_after" in measured:
        for seconds, value in zip(measured["rest"].values, measured["accuracy_after"].values, strict=True):
            found.append(
                _accuracy(measured, "accuracy_after", value, "on the board, untouched", time=quantity(seconds, "s"))
            )
    return found


_NOTES = {
    "board": "on the board, of the test samples",
    "software": "by the last readings of the cells",
    "verified": "on the board, after the last rest and a verify",
}


def _accuracy(measured: xr.Dataset, name: str, value: float, note: str, **of: str) -> Statistic:
    return statistic(name, "1", share_right(measured, value), note, **of)


def _areas(measured: xr.Dataset) -> list[Statistic]:
    found = []
    for area in ("pr_auc", "roc_auc"):
        for where in ("board", "software"):
            if (value := measured.attrs.get(f"{area}_{where}")) is not None:
                found.append(plain(f"{area}_{where}", "1", value, measured.sizes.get("picture", 0)))
        for name, value in zip(*_of_baselines(measured, f"baseline_{area}"), strict=True):
            found.append(plain(f"{area}_baseline", "1", value, measured.sizes.get("picture", 0), of=name))
    return found


def _of_baselines(measured: xr.Dataset, name: str) -> tuple[list[str], list[float]]:
    if name not in measured:
        return [], []
    return measured["baseline"].values.tolist(), measured[name].values.tolist()


def _edges(measured: xr.Dataset) -> list[Statistic]:
    found = []
    if "layer_kept" in measured:
        columns = (measured[name].values.tolist() for name in ("layer_name", "layer_kept", "layer_edges"))
        for name, kept, edges in zip(*columns, strict=True):
            found.append(plain("edges_kept", "1", kept / edges, edges, "share of the layer's edges", layer=name))
    for each in conductances(measured):
        of = {"layer": each.layer}
        for name, values in each.groups:
            named = name.replace(" ", "_")
            found.append(statistic(f"{named}_conductance_median", "S", estimators.median(values), _MEANT[name], **of))
            found.append(
                statistic(f"{named}_conductance_spread", "S", estimators.robust_spread(values), "robust", **of)
            )
    return found


_MEANT = {
    "kept": "of cells that formed and whose edge is kept",
    "pruned": "of cells that formed and whose edge is pruned: their residue",
    "never formed": "of cells that never formed",
}


def _cells(measured: xr.Dataset) -> list[Statistic]:
    switches, formed = measured["switches"].values, measured["formed"].values
    cells = measured.sizes["cell"]
    failed = int(np.nansum(measured["failed"].values))
    found = [
        statistic("cells_formed", "1", estimators.fraction(int(formed.sum()), cells), "of the network's cells"),
        statistic("switches_mean", "1", estimators.mean(switches), "RESETs and SETs, of the network's cells"),
        statistic("switches_p99", "1", estimators.quantile(switches, 0.99), "of the network's cells"),
        plain("switches_most", "1", int(switches.max()), cells, "of the network's cells"),
        plain("switching_pulses", "1", np.nansum(measured["pulses"].values), cells, "SET and RESET"),
        statistic("cells_failed", "1", estimators.fraction(failed, cells), "did not follow their pulses"),
    ]
    if conversions := int(measured.attrs["conversions"]):
        share = estimators.fraction(int(measured.attrs["saturated"]), conversions)
        found.append(statistic("conversions_saturated", "1", share, "of products, at either end of the converter"))
    return found
