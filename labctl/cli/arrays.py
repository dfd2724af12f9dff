"""`program-array`, `form-array` and `read-array`: parse, call, print."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

from labctl.array import MemoryArray
from labctl.bench.live import ArrayPlan, BenchArray
from labctl.cli.console import QuantityType
from labctl.cli.procedures import carry_out, common, flat, print_plain, print_rows, yes
from labctl.errors import TargetError, UsageError
from labctl.runner import RunResult
from labctl.targets import DEFAULT_MAPPING, Target, WeightMapping, default_target, load_target, place, readable_range
from labctl.units import format_quantity


@click.command("program-array")
@click.argument("target", required=False)
@click.option("--unit", help="Unit of the target's conductances, as in uS, where the file does not say.")
@click.option("--dataset", help="Which array of a .npz or .h5 file.")
@click.option(
    "--mapping",
    type=click.Choice(["single", "differential"]),
    help="The target holds weights: how they stand in cells.",
)
@click.option("--g-min", type=QuantityType("S"), help="Lowest conductance a weight maps to.  [default: 2uS]")
@click.option("--g-max", type=QuantityType("S"), help="Highest conductance a weight maps to.  [default: 40uS]")
@click.option(
    "--scale",
    type=QuantityType("S"),
    help="Conductance per unit of weight. Default: the largest weight at the end of the range.",
)
@click.option(
    "--at", default="0,0", show_default=True, metavar="ROW,COL", help="Where on the array the target's first cell goes."
)
@click.option(
    "--exclude", type=click.Path(path_type=Path), help="Cells never to touch: .npy of booleans, or .csv of row,column."
)
@click.option(
    "--tolerance",
    type=QuantityType("S"),
    default="1uS",
    show_default=True,
    help="Half the width of every cell's window.",
)
@click.option("--max-pulses", type=int, help="Pulses a cell may get.  [default: 200]")
@click.option(
    "--reverify",
    type=QuantityType("s", many=True),
    help="Delays at which to read again, as in 0s,1s.  [default: 0s,1s]",
)
@click.option("--form/--no-form", default=True, show_default=True, help="Form pristine cells first.")
@yes
@common
def program_array(
    target: str | None,
    unit: str | None,
    dataset: str | None,
    mapping: str | None,
    g_min: float | None,
    g_max: float | None,
    scale: float | None,
    at: str,
    exclude: Path | None,
    tolerance: float,
    max_pulses: int | None,
    reverify: list[float] | None,
    form: bool,
    **options: Any,
) -> None:
    """Program cells to the conductances of TARGET and verify them.

    TARGET is a .npy, .npz, .csv or .h5 file: conductances (--unit, where the file does not say it) or weights
    (--mapping). Without TARGET the shipped weights of a trained MNIST layer are programmed.
    """
    _refuse_idle_options(
        target,
        mapping,
        {"--unit": unit, "--dataset": dataset, "--mapping": mapping},
        {"--g-min": g_min, "--g-max": g_max, "--scale": scale},
    )
    weights = None
    if mapping:
        low = DEFAULT_MAPPING.g_min if g_min is None else g_min
        high = DEFAULT_MAPPING.g_max if g_max is None else g_max
        weights = WeightMapping(mapping, low, high, scale)  # type: ignore[arg-type]
    loaded = load_target(target, unit=unit, mapping=weights, dataset=dataset) if target else default_target()
    corner = _corner(at)
    settings: dict[str, Any] = {"tolerance": tolerance}
    if max_pulses is not None:
        settings["max_pulses"] = max_pulses
    if reverify is not None:
        settings["reverify"] = reverify
    if not form:
        settings["form_pristine"] = False

    def with_target(array: BenchArray | ArrayPlan) -> dict[str, Any]:
        return {**settings, **_on_array(loaded, corner, exclude, array)}

    carry_out("write_verify", with_target, print_programmed, flat, **options)


@click.command("form-array")
@click.option(
    "--density",
    type=float,
    help="Share of the cells to form, as in 0.5: with one pulse of the voltage that some rows tell.  [default: all]",
)
@click.option("--sample-rows", type=int, help="With --density: how many rows tell the voltage.  [default: 8]")
@yes
@common
def form_array(density: float | None, sample_rows: int | None, **options: Any) -> None:
    """Form pristine cells with a ramp of pulses, each cell until it conducts; or a share of them."""
    if density is None:
        if sample_rows is not None:
            raise UsageError("--sample-rows: says how a --density is found, and none is given")
        carry_out("forming", lambda _: {}, print_plain, flat, **options)
        return
    settings = {"density": density} | ({} if sample_rows is None else {"sample_rows": sample_rows})
    carry_out("forming_density", lambda _: settings, print_density, flat, **options)


@click.command("read-array")
@click.option("--repeats", type=int, default=1, show_default=True, help="How often to read each cell.")
@common
def read_array(repeats: int, **options: Any) -> None:
    """Read every cell; nothing is pulsed."""
    carry_out("read", lambda _: {"repeats": repeats}, print_plain, flat, **options)


def _refuse_idle_options(
    target: str | None, mapping: str | None, of_target: dict[str, Any], of_mapping: dict[str, Any]
) -> None:
    """An option that would do nothing is a mistake the user wants to hear of."""
    idle = [name for name, value in of_target.items() if value is not None and target is None]
    if idle:
        raise UsageError(f"{', '.join(idle)}: says how to read a TARGET file, and none is given")
    idle = [name for name, value in of_mapping.items() if value is not None and mapping is None]
    if idle:
        raise UsageError(f"{', '.join(idle)}: says how weights map to conductances, and there is no --mapping")


def _corner(text: str) -> tuple[int, int]:
    try:
        row, col = (int(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter("write ROW,COL, like 0,128", param_hint="--at") from None
    return row, col


def _on_array(
    target: Target, corner: tuple[int, int], exclude: Path | None, array: BenchArray | ArrayPlan | MemoryArray
) -> dict[str, Any]:
    """The target as maps of the whole array."""
    geometry = array.geometry
    placed = place(target, geometry, within=readable_range(array.adc), at=corner)
    conductance = np.zeros(geometry.cells, np.float32)
    wanted = np.zeros(geometry.cells, bool)
    conductance[placed.cells], wanted[placed.cells] = placed.conductance, True
    shape = (geometry.rows, geometry.cols)
    maps: dict[str, Any] = {"target": conductance.reshape(shape), "cells": wanted.reshape(shape)}
    if exclude is not None:
        maps["exclude"] = _excluded(exclude, shape)
    return maps


def _excluded(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """(rows, cols) bool of a .npy mask or a .csv of row,column."""
    try:
        if path.suffix == ".npy":
            mask = np.load(path, allow_pickle=False)
            if mask.shape != shape or mask.dtype != bool:
                raise TargetError(f"{path.name}: must be booleans of shape {shape}, not {mask.dtype} of {mask.shape}")
            return np.asarray(mask)
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.partition("#")[0].strip()]
        pairs = np.loadtxt(lines, int, delimiter=",", ndmin=2, comments="#") if lines else np.empty((0, 2), int)
        mask = np.zeros(shape, bool)
        if pairs.shape[1] != 2 or (pairs < 0).any() or (pairs >= shape).any():
            raise TargetError(f"{path.name}: every line must be row,column on an array of {shape[0]} x {shape[1]}")
        mask[pairs[:, 0], pairs[:, 1]] = True
        return mask
    except (OSError, ValueError) as problem:
        raise TargetError(f"{path}: cannot be read as cells to exclude: {problem}") from None


def print_density(result: RunResult) -> int:
    """What came of forming a share of the cells; gives the width of the first column."""
    found = result.summary
    if "density" not in found:
        return print_rows([], result)
    low, high = found["density_low"], found["density_high"]
    rows: list[tuple[str, Any]] = [
        ("cells", f"{found['cells']:,}, of which {found['formed_before']:,} conducted before"),
        ("density", f"{found['density']:.4f} ({low:.4f} to {high:.4f}), wanted {found['density_wanted']:g}"),
    ]
    if found["dead_rows"] or found["dead_cols"]:
        rows.append(
            ("of it without", f"dead rows {_listed(found['dead_rows'])}, columns {_listed(found['dead_cols'])}")
        )
    if "row_density_sd" in found:
        spread = f"{found['row_density_min']:.3f} to {found['row_density_max']:.3f}, sd {found['row_density_sd']:.4f}"
        rows.append(("by row", f"{spread}, of chance alone {found['row_density_sd_of_chance']:.4f}"))
    if np.isfinite(found["chosen_voltage_volts"]):
        rows.append(("voltage", format_quantity(found["chosen_voltage_volts"], "V")))
    rows += [
        (f"breakdown {name}", _with_interval(found, f"breakdown_{name}", "V"))
        for name in ("mean", "sd")
        if np.isfinite(found[f"breakdown_{name}_volts"])
    ]
    if "conductance_mean_siemens" in found:
        mean, sd = (format_quantity(found[f"conductance_{name}_siemens"], "S") for name in ("mean", "sd"))
        rows.append(("conductance", f"mean {mean}, sd {sd}, skew {found['conductance_skew']:.2f}"))
        quantiles = [format_quantity(found[f"conductance_{name}_siemens"], "S") for name in ("p5", "median", "p95")]
        rows.append(("5, 50, 95 % of it", ", ".join(quantiles)))
        mu, sigma = found["conductance_lognormal_mu"], found["conductance_lognormal_sigma"]
        rows.append(("lognormal (in uS)", f"mu {mu:.4f}, sigma {sigma:.4f}"))
    if found["saturated"]:
        rows.append(("saturated", f"{found['saturated']:,} cells, not in these"))
    rows += [("pulses", f"{found['pulses']:,}"), ("reads", f"{found['reads']:,}")]
    if high < found["density_wanted"]:
        click.echo("labctl: fewer cells formed than wanted: raise ramp.stop, or further, to go on", err=True)
    return print_rows(rows, result)


def _listed(lines: list[int]) -> str:
    return ", ".join(map(str, lines)) or "none"


def _with_interval(found: Mapping[str, Any], name: str, unit: str) -> str:
    value, low, high = (format_quantity(found[f"{name}{end}_volts"], unit) for end in ("", "_low", "_high"))
    return f"{value} ({low} to {high})"


def print_programmed(result: RunResult) -> int:
    """What became of programming; gives the width of the first column."""
    summary = result.summary
    share, rms = summary["fraction_in_window"], summary["rms_error_siemens"]
    per_cell = summary["pulses_per_cell"]
    rows = [
        ("cells", f"{summary['cells']:,}"),
        ("in window", f"{share:.2%} of {summary['formable']:,} formed" if share is not None else "no cell formed"),
        *((name.replace("_", " "), f"{count:,}") for name, count in summary["outcomes"].items() if count),
        *(
            (f"verify after {each['after_s']:g} s", f"{each['in_window']:,} of {each['cells']:,} still in window")
            for each in summary["verifies"]
        ),
        ("pulses", f"{summary['pulses']:,}, of which {summary['forming_pulses']:,} to form"),
        (
            "pulses a cell",
            f"mean {per_cell['mean']:.1f}, median {per_cell['median']:.0f}, 99 % within {per_cell['p99']:.0f}",
        ),
        ("RMS error", format_quantity(rms, "S") if rms is not None else "-"),
    ]
    return print_rows(rows, result)
