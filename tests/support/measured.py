"""Runs of a protocol for tests: on a small simulated board over its wire, or step by step on an array at hand."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from benches import write_bench

import labctl
from labctl.errors import Interrupted
from labctl.plugins import load_protocol
from labctl.recording.layout import CLOCK
from labctl.runner import prepare
from labctl.steps import Cost, Step, StopRequested


@dataclass(frozen=True)
class Recorded:
    """What a run left. phase: (steps,) names. counted: (cells,) pulses by the board itself, read after the run."""

    summary: dict[str, Any]
    attrs: dict[str, Any]
    steps: xr.Dataset
    operations: xr.Dataset
    events: xr.Dataset
    maps: xr.Dataset
    phase: np.ndarray
    counted: np.ndarray
    cost: Cost

    def operations_of(self, step: int) -> np.ndarray:
        """Rows of the pulses and reads that belong to a step."""
        on_cells = self.operations["kind"].values != CLOCK
        return np.flatnonzero((self.operations["step"].values == step) & on_cells)

    def events_of(self, operation: int) -> slice:
        """Its rows in `events`."""
        first = int(self.operations["first_event"].values[operation])
        return slice(first, first + int(self.operations["events"].values[operation]))

    @property
    def pulses(self) -> int:
        return int(np.isfinite(self.events["amplitude"].values).sum())

    @property
    def readings(self) -> int:
        return int(np.isfinite(self.events["reading"].values).sum())


def record(
    folder: Path, protocol: str, *, stop_at: str = "", rows: int = 32, cols: int = 32, **settings: Any
) -> Recorded:
    """`protocol` on a fresh board in this process, over its wire. stop_at: ask it to stop at the first step of that
    phase."""
    procedure = load_protocol(protocol)

    asked = False

    def stop(step: Step) -> None:
        nonlocal asked
        if step.phase == stop_at and not asked:
            asked = True
            signal.raise_signal(signal.SIGINT)

    with labctl.load_bench(write_bench(folder, rows=rows, cols=cols)) as bench, bench.array() as array:
        cost = prepare(procedure, array, **settings).cost
        summary: dict[str, Any] = {}
        try:
            result = labctl.run(procedure, array, out=folder / "runs", progress=stop, **settings)
            path, summary = result.path, dict(result.summary)
        except Interrupted as stopped:
            path = stopped.run_path  # type: ignore[attr-defined]
        counted = array.driver.link.exchange(":ARRay:COUNt:PULSe?")[0].view("<u4").copy()
    with labctl.open_run(path) as tree:
        groups = {name: tree[name].to_dataset().load() for name in ("steps", "operations", "events", "maps")}
        attrs = dict(tree.attrs)
    names = np.array(groups["steps"]["phase"].attrs["flag_meanings"].split())
    return Recorded(summary, attrs, **groups, phase=names[groups["steps"]["phase"].values], counted=counted, cost=cost)


def finish(generator: Any, stop_at: str = "") -> tuple[dict[str, Any], dict[str, np.ndarray], list[Step]]:
    """(summary, last maps, steps) of a protocol's steps; asked to stop at the first one of the phase `stop_at`."""
    steps: list[Step] = []
    maps: dict[str, np.ndarray] = {}
    asked = False
    try:
        step = next(generator)
        while True:
            steps.append(step)
            maps.update(step.maps)
            if step.phase == stop_at and not asked:
                asked = True
                step = generator.throw(StopRequested())
            else:
                step = next(generator)
    except StopIteration as end:
        return end.value, maps, steps
    except StopRequested:
        return {}, maps, steps
