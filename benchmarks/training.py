"""What an epoch of mixed-precision training takes, of the MNIST perceptron: on the board, without one, and in float32.

    LABCTL_DATA=DIR OMP_NUM_THREADS=1 python benchmarks/training.py [--images 3000] [--rounds 3] [--batch 1 10] [--json]

Four ways to the same training, in turns, each in a process of its own: plain float32 numpy; the simulated chip called
directly, with no wire and no file; the chip in process, through PyVISA and recorded; the chip in another process,
through TCP and recorded. Each goes twice through the images, and the second time is timed: what is learnt first takes
more pulses than what follows. Processor time, of the server too, is told beside that on the clock: it says more where
others work on the same machine; memory is the server's too. Without LABCTL_DATA the images are made up, as sparse as
MNIST's.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from benches import served, write_bench
from direct import DirectArray

import labctl
from labctl.cli.console import print_table
from labctl.learning.datasets import Dataset, load_dataset
from labctl.learning.datasets.idx import encode_idx
from labctl.learning.mixed_precision.float_weights import FloatWeights
from labctl.learning.mixed_precision.training import Course, train
from labctl.learning.trainable.making import make_trainable
from labctl.plugins import load_protocol
from labctl.simulated_instruments.cells.technologies import Technology
from labctl.simulated_instruments.chips.crossbar import CrossbarMacro
from labctl.simulated_instruments.chips.dead_lines import DeadLines
from labctl.simulated_instruments.chips.periphery import DEFAULT, Periphery
from labctl.steps import Step
from labctl.units import convert

EPOCH = 60_000
CELLS, ROWS, COLS = "pcm_90nm", 512, 2048
RATES = {1: 0.02}  # by batch
_TESTED = 100
_RATE = 0.4
_SIDE = 28
_INK = 0.191  # share of MNIST's pixels that are not 0


class Laps:
    """How long the training took from when it was through the images once, by the steps of the protocol."""

    def __init__(self, images: int, server: int | None = None) -> None:
        """server: number of the process that the chip is in, where it is another."""
        self._images, self._server = images, server
        self._moments: list[tuple[int, float, float]] = []

    def __call__(self, step: Step) -> None:
        images = int(step.values.get("images", 0))
        if images == self._images or (step.phase == "train" and images > self._images):
            self._moments.append((images, time.perf_counter(), time.process_time() + _cpu_of(self._server)))

    def taken(self) -> dict[str, float]:
        """s for as many images, by all but the last few, which end with a judgement; and s of processors."""
        (before, began, used), (after, ended, used_then) = self._moments[0], self._moments[-1]
        share = self._images / (after - before)
        return {"seconds": (ended - began) * share, "cpu_seconds": (used_then - used) * share}


def _peak_of(process: int) -> int:
    """Bytes that a process has had in memory at most."""
    peak = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process}/status").read_text(encoding="utf-8"))
    assert peak is not None
    return int(peak[1]) * 1024


def _cpu_of(process: int | None) -> float:
    """s that another process has used."""
    if process is None:
        return 0.0
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--way", choices=list(WAYS), help="one of the ways, once: what the process of each does")
    given = parser.parse_args()
    if given.way:
        print(json.dumps(_once(given.way, given.batch[0], given.images)))
        return
    with _data() as environment:
        found = [_row(batch, given, environment) for batch in given.batch]
    if given.json:
        print(json.dumps([each for rows in found for each in rows]))
        return
    print_table([_shown(each) for rows in found for each in rows], _HEAD)


_HEAD = (
    *("batch", "way", "images/s", "an epoch of 60,000", "to float32", "to the chip alone"),
    *("processors", "to float32", "to the chip alone", "memory at most"),
)


def _row(batch: int, given: argparse.Namespace, environment: dict[str, str]) -> list[dict[str, Any]]:
    """What each way takes for a batch: medians over the rounds, and of the ratios within a round."""
    rounds = [{way: _in_process(way, batch, given.images, environment) for way in WAYS} for _ in range(given.rounds)]

    def median(way: str, *, over: str = "", of: str = "seconds") -> float:
        return statistics.median(each[way][of] / (each[over][of] if over else 1) for each in rounds)

    return [
        {
            "batch": batch,
            "way": way,
            "images_per_s": given.images / median(way),
            "epoch_s": EPOCH * median(way) / given.images,
            "to_float": median(way, over="float"),
            "to_chip": median(way, over="chip"),
            "epoch_cpu_s": EPOCH * median(way, of="cpu_seconds") / given.images,
            "cpu_to_float": median(way, over="float", of="cpu_seconds"),
            "cpu_to_chip": median(way, over="chip", of="cpu_seconds"),
            "peak_bytes": max(each[way]["peak_bytes"] for each in rounds),
            "rounds_s": [each[way]["seconds"] for each in rounds],
        }
        for way in WAYS
    ]


def _shown(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(row["batch"]),
        WAYS[row["way"]],
        f"{row['images_per_s']:,.0f}",
        f"{row['epoch_s']:.1f} s",
        f"{row['to_float']:.2f} times",
        f"{row['to_chip']:.2f} times",
        f"{row['epoch_cpu_s']:.1f} s",
        f"{row['cpu_to_float']:.2f} times",
        f"{row['cpu_to_chip']:.2f} times",
        f"{row['peak_bytes'] / 1e6:,.0f} MB",
    )


WAYS = {
    "float": "float32, numpy",
    "chip": "simulated chip alone",
    "process": "in process, recorded",
    "tcp": "over TCP, recorded",
}


def _in_process(way: str, batch: int, images: int, environment: dict[str, str]) -> dict[str, float]:
    """`_once`, in a process of its own."""
    command = [sys.executable, __file__, "--way", way, "--batch", str(batch), "--images", str(images)]
    done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _once(way: str, batch: int, images: int) -> dict[str, float]:
    settings = {
        "task": "mnist",
        "own_data": "TRAINING_MADE_UP" in os.environ,
        "network": "784-250-10",
        "epochs": 2,
        "batch": batch,
        "rate": RATES.get(batch, _RATE),
        "train": images,
        "test": _TESTED,
        "judge": False,
        "baselines": (),
    }
    with tempfile.TemporaryDirectory() as folder:
        if way == "float":
            taken = _in_float(settings)
        elif way == "chip":
            taken = _on_chip(settings)
        else:
            taken = _on_board(settings, Path(folder), over_tcp=way == "tcp")
    return {"peak_bytes": _peak_of(os.getpid()), **taken}


def _in_float(settings: dict[str, Any]) -> dict[str, float]:
    data = _loaded(settings)
    rng = np.random.default_rng(0)
    network = make_trainable("mnist", settings["network"], data.train_inputs.shape[1:], data.classes)
    weights = FloatWeights(
        [
            (rng.standard_normal((layer.inputs, layer.outputs)) * spread).astype(np.float32)
            for layer, spread in zip(network.layers, network.spreads, strict=True)
        ]
    )
    course = Course(settings["epochs"], settings["batch"], settings["rate"], 1.0, 0)
    laps, images = Laps(settings["train"]), 0
    for each in train(network, weights, data, course):
        images += each.samples
        if each.ends_epoch:
            laps(Step("train", {"images": images}))
    return laps.taken()


def _loaded(settings: dict[str, Any]) -> Dataset:
    """As many of the samples as are trained with."""
    data = load_dataset("mnist", None, **({"own": True} if settings["own_data"] else {}))
    return Dataset(
        data.name,
        data.classes,
        data.train_inputs[: settings["train"]],
        data.train_labels[: settings["train"]],
        data.test_inputs,
        data.test_labels,
        data.digest,
        data.source,
    )


def _on_chip(settings: dict[str, Any]) -> dict[str, float]:
    around = Periphery.named(DEFAULT), DeadLines((), ())
    chip = CrossbarMacro.buy("P90-0001", Technology.named(CELLS).parameters, ROWS, COLS, *around)
    procedure = load_protocol("training")
    typed = convert(settings, procedure.settings, what=procedure.name)
    laps = Laps(settings["train"])
    for step in procedure.steps(DirectArray(chip), typed, np.random.default_rng(0), None):
        laps(step)
    return laps.taken()


def _on_board(settings: dict[str, Any], folder: Path, *, over_tcp: bool) -> dict[str, float]:
    shape: dict[str, Any] = {"rows": ROWS, "cols": COLS, "chip": "P90-0001", "simulated": f'cells = "{CELLS}"'}
    with contextlib.ExitStack() as closing:
        if over_tcp:
            bench, server = closing.enter_context(served(folder, **shape))
            laps = Laps(settings["train"], server.pid)
        else:
            bench, laps = write_bench(folder, **shape), Laps(settings["train"])
        array = closing.enter_context(closing.enter_context(labctl.load_bench(bench)).array())
        labctl.run("training", array, progress=laps, **settings)
        peak = _peak_of(os.getpid()) + (_peak_of(server.pid) if over_tcp else 0)
    return {**laps.taken(), "peak_bytes": peak}


@contextlib.contextmanager
def _data() -> Iterator[dict[str, str]]:
    """Environment of the processes, in which there are data."""
    if os.environ.get("LABCTL_DATA"):
        yield {}
        return
    with tempfile.TemporaryDirectory() as folder:
        _make_up(Path(folder) / "mnist")
        yield {"LABCTL_DATA": folder, "TRAINING_MADE_UP": "1"}


def _make_up(folder: Path) -> None:
    """Ten patterns of ink, denser in the middle, in each image one of them with a tenth of its pixels changed."""
    rng = np.random.default_rng(1)
    across = np.linspace(-1, 1, _SIDE)
    ink = np.exp(-3 * (across[:, None] ** 2 + across**2))
    ink *= _INK / ink.mean()
    patterns = rng.random((10, _SIDE, _SIDE)) < ink
    folder.mkdir()
    for prefix, count in (("train", EPOCH), ("t10k", _TESTED)):
        labels = rng.integers(0, 10, count).astype(np.uint8)
        changed = rng.random((count, _SIDE, _SIDE), np.float32) < 0.1
        drawn = rng.random((count, _SIDE, _SIDE), np.float32) < ink
        images = (np.where(changed, drawn, patterns[labels]) * rng.integers(64, 256, (count, 1, 1))).astype(np.uint8)
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            (folder / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(encode_idx(values), 1))


if __name__ == "__main__":
    main()
