"""Pruning perceptrons on Fashion-MNIST under different circumstances: what it reaches on the board, and what it costs.

    LABCTL_DATA=DIR OMP_NUM_THREADS=1 python benchmarks/pruning.py [--epochs 10] [NAME ...]

Each row is a run of `labctl prune` on fresh simulated chips, in process; NAME picks some of them.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import labctl
from labctl.cli.console import print_table

_BOARD = """
[instruments.{name}]
driver = "test_board"
resource_name = "TCPIP0::127.0.0.{number}::5025::SOCKET"
visa_library = "@labctl"

[simulated.{name}]
simulator = "test_board"
resource_name = "TCPIP0::127.0.0.{number}::5025::SOCKET"
chip = "{chip}"
{more}
"""
_DEAD = """
[chip]
base = "rram_40nm"
serial = "R40-dead"

[unformable_fraction]
value = 0.02
unit = "1"
source = "2 % of the cells are dead"
"""
_SMALL = "784-128-10"  # stands on one chip


@dataclass(frozen=True)
class Case:
    """chips: serial numbers, several stacked. more: of each simulated board."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    network: str = _SMALL
    chips: tuple[str, ...] = ("R40-0001",)
    more: str = ""


CASES = {
    "as it is": Case(),
    "another chip": Case(chips=("R40-0002",)),
    "2 % dead cells, 2 dead rows": Case(chips=("dead.toml",), more="dead_rows = [3, 200]"),
    "no hysteresis": Case({"hysteresis": 0.0}),
    "hysteresis 0.1": Case({"hysteresis": 0.1}),
    "hysteresis 0.3": Case({"hysteresis": 0.3}),
    "100 batches a sync": Case({"synchronise": 100}),
    "100 batches a sync, no hysteresis": Case({"synchronise": 100, "hysteresis": 0.0}),
    "100 batches a sync, hysteresis 0.3": Case({"synchronise": 100, "hysteresis": 0.3}),
    "one cell of a pair": Case({"policy": "one"}),
    "density 0.3": Case({"form": {"density": 0.3}}),
    "density 1": Case({"form": {"density": 1.0}}),
    "784-512-10, in turns": Case(network="784-512-10"),
    "vessels, unet-16 on ten chips": Case(
        {"task": "vessels", "train": 1000, "replayed_reads": 2, "calibrate": 200, "baselines": ("untouched", "float")},
        "unet-16",
        tuple(f"R40-{number:04}" for number in range(1, 11)),
    ),
    "784-512-10, four chips": Case({}, "784-512-10", ("R40-0001", "R40-0002", "R40-0003", "R40-0004")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--epochs", type=int, default=10)
    given = parser.parse_args()
    rows = []
    for name in given.names or CASES:
        with tempfile.TemporaryDirectory() as folder:
            rows.append((name, *_row(_run(CASES[name], Path(folder), given.epochs))))
            print(*rows[-1], sep="\t", flush=True)
    head = ("", "board", "software", "1 day", "verified", "pulses", "switches a cell", "most", "time")
    print_table(rows, head)


def _run(case: Case, folder: Path, epochs: int) -> Any:
    (folder / "dead.toml").write_text(_DEAD, encoding="utf-8")
    names = [f"board{number}" for number in range(1, len(case.chips) + 1)]
    text = "".join(
        _BOARD.format(name=name, number=number, chip=chip, more=case.more)
        for number, (name, chip) in enumerate(zip(names, case.chips, strict=True), 1)
    )
    whole = names[0]
    if len(names) > 1:
        whole = "stack"
        listed = ", ".join(f'"{name}"' for name in names)
        text += f'\n[instruments.stack]\ndriver = "stacked_boards"\nboards = [{listed}]\n'
    text += f'\n[arrays.main]\ninstrument = "{whole}"\n'
    bench = folder / "bench.toml"
    bench.write_text(text, encoding="utf-8")
    settings = {"network": case.network, "epochs": epochs, "baselines": (), "rest": ("1 d",), "task": "fashion-mnist"}
    with labctl.load_bench(bench) as live, live.array() as array:
        return labctl.run("pruning", array, out=folder / "runs", **{**settings, **case.settings})


def _row(result: Any) -> tuple[str, ...]:
    found = result.summary
    if "pr_auc_board" in found:
        print({name: found[name] for name in found if "_auc" in name}, flush=True)
    (rest,) = found["rests"]
    return (
        f"{found['accuracy_board']:.2%}",
        f"{found['accuracy_software']:.2%}",
        f"{rest['accuracy']:.2%}",
        f"{rest['verified']['accuracy']:.2%}",
        f"{found['pulses']:,}",
        f"{found['switches_per_cell']:.2f}",
        f"{found['switches_per_cell_most']}",
        f"{result.elapsed_s:.0f} s",
    )


if __name__ == "__main__":
    main()
