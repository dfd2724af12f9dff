"""What a pruning run says of itself in the end: figures for its summary, arrays for its results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from labctl.learning.accounts import Figures, OnArray, compare_inference
from labctl.protocols.pruning.judging import Judged
from labctl.protocols.pruning.training import PrunedNetwork
from labctl.steps import Result


def summary(
    pruned: PrunedNetwork,
    software: Judged,
    board: Judged | None,
    others: Mapping[str, Judged],
) -> dict[str, Any]:
    """JSON values, and Results of their names."""
    cells = pruned.cells
    used = cells.used
    counts = pruned.board.counts if pruned.board is not None else None
    return {
        "task": pruned.settings.task,
        "network": pruned.network.name,
        "bits": pruned.network.bits,
        "data": pruned.data.source,
        "data_sha256": pruned.data.digest,
        "epochs": pruned.epoch,
        "tiles": pruned.placement.tiles,
        "accuracy_board": board.accuracy.value if board else None,
        "accuracy_board_low": board.interval[0] if board else None,
        "accuracy_board_high": board.interval[1] if board else None,
        "accuracy_software": software.accuracy.value,
        "baselines": {name: found.accuracy.value for name, found in others.items()},
        **_of_segmentation(software, board, others),
        "switches_per_cell": float(cells.switches[used].mean()),
        "switches_per_cell_most": int(cells.switches[used].max()),
        "pulses": cells.pulses,
        "reads": cells.reads,
        "cells": len(used),
        "cells_fixed": int(np.count_nonzero(cells.fixed[used] & cells.formed[used])),
        "cells_formed": int(np.count_nonzero(cells.formed[used])),
        "layers": _layers(pruned),
        "products": None
        if counts is None
        else {
            "vectors": counts.vectors,
            "planes": counts.planes,
            "conversions": counts.conversions,
            "saturated": counts.saturated,
            "input_bits": counts.input_bits,
            "set_bits": counts.set_bits,
        },
        "account": account(pruned),
        "placement": pruned.placement.describe(),
        "switches_per_layer": Result(
            np.array(pruned.switched), ("synchronisation", "layer_number"), "cells switched, of each layer"
        ),
        **_arrays(pruned, board or software),
    }


def account(pruned: PrunedNetwork) -> dict[str, Any]:
    """What a sample takes on the array, beside digital machines, with what was measured in place of assumed figures."""
    placement, cells = pruned.placement, pruned.cells
    pairs = [np.stack(each) for each in zip(placement.plus, placement.minus, strict=True)]
    network = OnArray(
        pruned.network.layers,
        pruned.network.bits,
        conductance=[float(cells.now[:, pair].mean()) for pair in pairs],
        arrays=pruned.array.geometry.chips,
        blocks=[
            [(len(block.plus), len(block.cols)) for block in placement.of_layer(number)]
            for number in range(len(pruned.network.layers))
        ],
    )
    measured: dict[str, float] = {"read_voltage": float(pruned.settings.voltage)}
    counts = pruned.board.counts if pruned.board is not None else None
    if counts is not None and counts.input_bits:
        measured["bits_set"] = counts.set_bits / counts.input_bits
    if cells.switched:
        measured["pulses_per_switch"] = cells.pulses / cells.switched
    figures = Figures.named("pruning").changed(measured)
    turns = {}
    if placement.tiles > 1:
        turns = {"turn_cells": float(pruned.turned), "turn_samples": float(len(pruned.data.test_inputs))}
    return compare_inference(network, figures, pruned.settings.task, **turns).as_values()


def _layers(pruned: PrunedNetwork) -> list[dict[str, Any]]:
    """Of each layer its size, how many edges are kept, and how often its cells were switched."""
    found = []
    for number, layer in enumerate(pruned.network.layers):
        pairs = np.concatenate([pruned.placement.plus[number].ravel(), pruned.placement.minus[number].ravel()])
        found.append(
            {
                "name": layer.name,
                "inputs": layer.inputs,
                "outputs": layer.outputs,
                "products": layer.products,
                "edges": layer.inputs * layer.outputs,
                "kept": int(np.count_nonzero(pruned.masks[number])),
                "cells": len(pairs),
                "switches_per_cell": float(pruned.cells.switches[pairs].mean()),
                "kept_siemens": float(np.abs(pruned.cells.kept(number, 0)).mean()),
                "residue_siemens": float(np.abs(pruned.cells.pruned(number, 0)).mean()),
            }
        )
    return found


def _of_segmentation(software: Judged, board: Judged | None, others: Mapping[str, Judged]) -> dict[str, Any]:
    if software.pr_auc is None:
        return {}
    return {
        "pr_auc_board": board.pr_auc if board else None,
        "roc_auc_board": board.roc_auc if board else None,
        "pr_auc_software": software.pr_auc,
        "roc_auc_software": software.roc_auc,
        "baselines_pr_auc": {name: found.pr_auc for name, found in others.items()},
        "baselines_roc_auc": {name: found.roc_auc for name, found in others.items()},
    }


def _arrays(pruned: PrunedNetwork, best: Judged) -> dict[str, Any]:
    if not best.is_segmentation:
        return {"confusion": best.confusion()}
    logits, picture = best.logits, ("picture", "y", "x")
    odds = (logits[:, 1] - logits[:, 0]).clip(-80, 80)  # beyond, exp leaves float32
    data = pruned.data
    return {
        "probability": Result(1 / (1 + np.exp(-odds)), picture, "probability of a vessel, as the network says"),
        "truth": Result(data.test_labels[: len(logits)].astype(np.uint8), picture, "whether there is a vessel"),
        "pictures": Result(data.test_inputs[: len(logits), 0], picture, "what was shown to the network"),
        **({} if pruned.field is None else {"field": Result(pruned.field, picture, "which pixels are judged")}),
    }
