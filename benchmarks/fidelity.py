"""Simulated against measured: a table for every bullet of the reference's README.

    python benchmarks/fidelity.py --reference DIR [--half] [--only NAME] [--quick] [--json]

DIR holds measured.h5. What it does not hold (pulse counts, step sizes, forming, cycling) is stated here with its public
source. The last lines list what misses; the exit code is 0 nevertheless: the table is a finding, not a test.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import fidelity_analog
import fidelity_half
import fidelity_pcm
import fidelity_programming
import fidelity_reading
import fidelity_relaxation
import h5py
from fidelity_chips import DEFAULT_SETS, Study, Unavailable
from fidelity_rows import Bullet, Row, print_table

from labctl.simulated_instruments.cells.parameters import ParameterError

EXPERIMENTS: dict[str, Callable[[Study], Iterator[Row]]] = {
    "relaxation": fidelity_relaxation.relaxation,
    "survival": fidelity_relaxation.survival,
    "mapping": fidelity_relaxation.mapping,
    "bake": fidelity_relaxation.bake,
    "pulse-counts": fidelity_programming.pulse_counts,
    "step-size": fidelity_programming.step_size,
    "forming": fidelity_programming.forming,
    "cycling": fidelity_programming.cycling,
    "analog": fidelity_analog.ramps,
    "noise": fidelity_reading.noise,
    "small-signal": fidelity_reading.small_signal_rows,
    "pcm-accumulation": fidelity_pcm.accumulation,
    "pcm-landing": fidelity_pcm.landing,
}


HALVES: dict[str, Callable[[Study], Iterator[Row]]] = {
    "relaxation": fidelity_half.retention,
    "analog": fidelity_half.analog,
    "one-train": fidelity_half.one_train,
}
"""Experiments that can be predicted from half of what was measured."""


def table(study: Study, experiments: Mapping[str, Callable[[Study], Iterator[Row]]]) -> list[Row]:
    """The rows of every experiment. One that cannot be made has a row that says why."""
    rows: list[Row] = []
    for name, experiment in experiments.items():
        started = time.perf_counter()
        try:
            rows += experiment(study)
        except (Unavailable, ParameterError) as problem:
            rows.append(Bullet(name).missing("the whole bullet", str(problem)))
        print(f"{name}: {time.perf_counter() - started:.1f} s", file=sys.stderr)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, required=True, help="folder that holds measured.h5")
    parser.add_argument(
        "--only", action="append", choices={**EXPERIMENTS, **HALVES}, help="only this experiment; may be repeated"
    )
    parser.add_argument("--half", action="store_true", help="fit on half of what was measured, predict the other half")
    parser.add_argument("--quick", action="store_true", help="an eighth of the cells")
    roles = ", ".join(f"{role} ({name})" for role, name in DEFAULT_SETS.items())
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="ROLE=SET",
        help=f"the parameter set, built-in or a file, that plays a technology: {roles}",
    )
    parser.add_argument("--json", action="store_true", help="print rows as JSON")
    arguments = parser.parse_args()
    chosen = dict(each.partition("=")[::2] for each in arguments.set)
    for role in chosen.keys() - DEFAULT_SETS.keys():
        parser.error(f"--set: no role {role!r}: one of {', '.join(DEFAULT_SETS)}")
    path = arguments.reference / "measured.h5"
    if not path.is_file():
        parser.error(f"--reference: there is no {path}")
    experiments = HALVES if arguments.half else EXPERIMENTS
    names = [name for name in arguments.only or experiments if name in experiments]
    with h5py.File(path, "r") as reference:
        study = Study(reference, arguments.quick, sets=DEFAULT_SETS | chosen)
        rows = table(study, {name: experiments[name] for name in names})
    if arguments.json:
        print(json.dumps([row.as_dict() for row in rows], indent=2))
    else:
        print_table(rows)


if __name__ == "__main__":
    main()
