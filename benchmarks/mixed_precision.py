"""Mixed-precision training of the MNIST perceptron under different circumstances: what it reaches, and what it costs.

    LABCTL_DATA=DIR OMP_NUM_THREADS=1 python benchmarks/mixed_precision.py [--epochs 12] [--seeds 3] [--json] [NAME ...]

Each row is a run of `labctl train` per seed on fresh simulated chips, in process; NAME picks some of them. Three
things are finer or coarser in some of them, by 0.3 or 3. `granule` is what the trainer takes a SET pulse to add, S:
the devices are the same, pulses are ordered more or less often. `scale` is what a siemens is as a weight, and with it
a pulse: 1/8 a uS is the published one, where a granule is 0.096; the usual one here follows from the random devices
of each layer. `steps` is what a SET pulse adds on other devices, the granule along with it: more or fewer steps fit
into their range.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benches import write_bench

import labctl
from labctl.cli.console import print_table
from labctl.simulated_instruments.cells.parameters import built_in

GRANULE = 0.77e-6
"""S, the mean step over the first ten SET pulses of the model."""

SCALE = 125e3
"""A weight per S, as published: 1/8 per uS."""

_RRAM_SCALE = 1 / 200
_STEPS = ("mean", "mean_slope", "mean_memory", "spread", "spread_slope", "spread_memory")
_NO_DRIFT = ("drift_exponent", "drift_exponent_least", "drift_exponent_most")
_NO_SPREAD_OF_DRIFT = ("drift_device_spread", "drift_device_spread_least", "drift_device_spread_most")
_SCALED = (
    *(f"{operation}_step_{name}" for operation in ("set", "reset") for name in ("levels", "mean", "spread")),
    *("compliance_conductance", "compliance_limit", "stuck_high_conductance"),
)


@dataclass(frozen=True)
class Case:
    """settings: of the protocol. changes: of the parameters of the `cells`, by which the chip is another."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    chip: str = "P90-0001"
    cells: str = "pcm_90nm"
    changes: Mapping[str, Any] = field(default_factory=dict)


def _scaled(cells: str, names: tuple[str, ...], factor: float) -> dict[str, Any]:
    """Parameters of the `cells` times a factor."""
    found = {name: built_in(cells).tables[name]["value"] for name in names}
    return {
        name: [factor * each for each in value] if isinstance(value, list) else factor * value
        for name, value in found.items()
    }


def _of_steps(factor: float) -> Case:
    changes = _scaled("pcm_90nm", tuple(f"step_{name}" for name in _STEPS), factor)
    return Case({"granularity": factor * GRANULE}, f"P90-steps-{factor:g}", changes=changes)


CASES = {
    "as it is": Case(),
    "batch 1": Case({"batch": 1}),
    "granule x0.3": Case({"granularity": 0.3 * GRANULE}),
    "granule x3": Case({"granularity": 3 * GRANULE}),
    "scale 1/8": Case({"weight_per_siemens": SCALE}),
    "scale 1/8 x0.3": Case({"weight_per_siemens": 0.3 * SCALE}),
    "scale 1/8 x3": Case({"weight_per_siemens": 3 * SCALE}),
    "steps x0.3": _of_steps(0.3),
    "steps x3": _of_steps(3.0),
    "floor": Case({"rounding": "floor"}),
    "no refresh": Case({"refresh_images": 0}),
    "no drift": Case(chip="P90-still", changes=dict.fromkeys((*_NO_DRIFT, *_NO_SPREAD_OF_DRIFT), 0.0)),
    "an image a ms": Case({"image_time": 1e-3}),
    "another chip": Case(chip="P90-0002"),
    "1 % dead devices": Case(chip="P90-dead", changes={"stuck_low_fraction": 0.005, "stuck_high_fraction": 0.005}),
    "two devices a weight": Case({"devices": 2}),
    "8-bit ADC": Case({"adc_bits": 8}),
    "RRAM": Case(  # as gradual as the one measured, which conducts 200 times as much: lines and converters take no more
        {
            "granularity": 0.52e-6,
            "set": {"voltage": 1.8, "width": 1e-6, "gate": 2.5},
            "reset": {"voltage": 3.3, "width": 1e-6, "gate": 2.5},
        },
        "R-analog",
        "rram_analog",
        _scaled("rram_analog", _SCALED, _RRAM_SCALE),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=1, help="runs of each, with seeds from 0 on")
    parser.add_argument("--train", type=int, help="training samples; all, unless said")
    parser.add_argument("--test", type=int, help="test samples; all, unless said")
    parser.add_argument("--data", default="", help="folder of the data sets; that of $LABCTL_DATA, unless said")
    parser.add_argument("--rest", default="1 d,1e6 s", help="delays after which it is judged again; none where empty")
    parser.add_argument("--baselines", default="", help="what to train beside it, as in float,pcm")
    parser.add_argument("--keep", type=Path, help="folder that run files stay in")
    parser.add_argument("--json", action="store_true", help="every run as one line of JSON, and no table")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in CASES]
    if unknown:
        parser.error(f"no case is called {unknown[0]!r}: choose of {', '.join(CASES)}")
    settings = {
        "task": "mnist",
        "data": given.data,
        "epochs": given.epochs,
        "train": given.train,
        "test": given.test,
        "rest": tuple(each for each in given.rest.split(",") if each),
        "baselines": tuple(each for each in given.baselines.split(",") if each),
    }
    rows = []
    for name in given.names or CASES:
        found = [_run(name, seed, settings, given.keep) for seed in range(given.seeds)]
        if given.json:
            for each in found:
                print(json.dumps(each), flush=True)
        else:
            rows.append(_row(name, found))
            print(*rows[-1], sep="\t", flush=True)
    if rows:
        rests = [f"after {each}" for each in settings["rest"]]
        print_table(rows, ("", "on the board", *rests, "SETs a device", "RESETs a device", "sparsity", "an epoch"))


def _run(name: str, seed: int, settings: Mapping[str, Any], keep: Path | None) -> dict[str, Any]:
    """What came of one run: its summary."""
    case = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        bench = bench_of(case, Path(folder))
        with labctl.load_bench(bench) as live, live.array() as array:
            if case.cells != "pcm_90nm":
                labctl.run("forming", array, out=Path(folder) / "formed")
            out = keep or Path(folder) / "runs"
            result = labctl.run("training", array, seed=seed, out=out, **{**settings, **case.settings})
    return {"case": name, "seed": seed, "run": str(result.path) if keep else None, **result.summary}


def bench_of(case: Case, folder: Path, rows: int = 512, cols: int = 2048) -> Path:
    """A bench file with the case's chip, new."""
    chip, simulated = case.chip, f'cells = "{case.cells}"'
    if case.changes:
        chip, simulated = f"{case.chip}.toml", ""
        file = built_in(case.cells)
        tables = [f'[chip]\nbase = "{case.cells}"\nserial = "{case.chip}"\n']
        tables += [
            f'[{name}]\nvalue = {value}\nunit = "{file.tables[name]["unit"]}"\nsource = "changed to see what it does"\n'
            for name, value in case.changes.items()
        ]
        (folder / chip).write_text("\n".join(tables), encoding="utf-8")
    return write_bench(folder, rows=rows, cols=cols, chip=chip, simulated=simulated)


def _row(name: str, found: list[dict[str, Any]]) -> tuple[str, ...]:
    rests = [
        f"{fmean(each['accuracy'] for each in of_one):.2%} ({_compensated(of_one)})"
        for of_one in zip(*(each["rests"] for each in found), strict=True)
    ]
    spread = f" +- {stdev(each['accuracy'] for each in found):.2%}" if len(found) > 1 else ""
    return (
        name,
        f"{fmean(each['accuracy'] for each in found):.2%}{spread}",
        *rests,
        f"{fmean(each['pulses_per_device'] for each in found):.2f}",
        f"{fmean(each['resets_per_device'] for each in found):.3f}",
        f"{fmean(each['sparsity'] for each in found):.3%}",
        f"{fmean(each['seconds_per_epoch'] for each in found):.1f} s",
    )


def _compensated(rests: tuple[Mapping[str, Any], ...]) -> str:
    return f"{fmean(each['accuracy_compensated'] for each in rests):.2%} compensated"


if __name__ == "__main__":
    main()
