"""Measure a twin: the protocol, schedule and starting points of a recorded run, on a simulated board with a chip file.

The twin's run is an ordinary run file, made by the same protocol through the same driver and recorder as any other.
"""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labctl.analysis.calibration import Base, ChipFile, MeasuredRun, read_chip
from labctl.bench.live import Bench, BenchArray
from labctl.bench.settings import BenchFile, check_text
from labctl.errors import LinkError, UsageError
from labctl.plugins import load_protocol
from labctl.runner import Progress, run

if TYPE_CHECKING:
    import xarray as xr

_RESOURCE = "TCPIP0::127.0.0.1::5025::SOCKET"
_BENCH = """\
name = "twin"

[instruments.board]
driver = "test_board"
resource_name = "{resource}"
visa_library = "@labctl"
rows = {rows}
cols = {cols}
read_voltage = {volts:.6g}
current_range = {amperes:.6g}

[arrays.main]
instrument = "board"

[simulated.board]
simulator = "test_board"
resource_name = "{resource}"
chip = {chip}
rows = {rows}
cols = {cols}
periphery = "ideal"  # what lines and converters do to a cell is in the fit already
"""
_MOST_CURRENT, _READ_VOLTAGES = 1e-3, (0.05, 0.2)
"""A, the board's highest range; V, its lowest read voltage and the usual one."""

_PROTOCOLS = {"programming": "write_verify", "map": "read"}
"""Where the protocol of a kind of measurement is not called as the kind is."""

_HEADROOM = 1.6  # of the converter's range over the highest conductance that was measured
_FORMED_AT = 0.5e-6  # S, the protocols' own
_GROUP_A_SECOND = 1000.0  # cells; programming one takes the board some 50 us
_STEPS_CLEAR = 10  # of the converter
_MOST_GATE = 3.3  # V
_LOWEST = 1.6  # times that: programming lands cells at 1.5 times it and above
_TOLERANCE = 0.025  # of the highest target: half the window's width where the run does not say one

_AT_REST = ("read-noise", "iv")
"""Measurements of cells that are just read: what they were brought to, and when, is not in the run."""

_REST = 1e5  # s

Settings = dict[str, Any]


def measure_twin(measured: MeasuredRun, chip: Path, out: Path, progress: Progress | None = None) -> Path:
    """The run file, in the folder `out`, of the chip file `chip` measured as `measured` was.

    Raises UsageError where that kind of measurement, or its conductances, are beyond the simulated board, and what
    `labctl.run` raises.
    """
    twin = _checked(chip)
    name = _PROTOCOLS.get(measured.kind, measured.kind.replace("-", "_"))
    protocol = load_protocol(name)
    rows, cols = _shape(measured.dataset)
    known = set(protocol.settings.__struct_fields__)
    with _bench(chip, rows, cols, _highest(measured.dataset)) as array:
        target = _Target(measured.dataset, (rows, cols), _formed_at(twin, array.adc.step), twin)
        given = {key: value for key, value in _settings(measured, target).items() if key in known}
        if _rests(measured):
            _form_and_rest(array, given.get("form", {}))
        return run(protocol, array, out=out, progress=progress, command=f"twin of {measured.path.name}", **given).path


def histories(measured: MeasuredRun) -> list[str]:
    """Sentences on what the cells of the run and of its twin have been through that is not alike."""
    if measured.kind in _AT_REST and _rests(measured):
        return [
            f"the twin's cells were formed, and rested for {_REST:g} s before they were measured; the run does not say "
            "what its cells did before it: their levels, and relaxation since, may differ for that alone"
        ]
    if measured.kind in _AT_REST:
        return ["the run formed cells first, and so did the twin: relaxation right after forming is in both"]
    return []


def _rests(measured: MeasuredRun) -> bool:
    """Whether the cells of the twin are formed long before they are measured: the run's were not formed in it."""
    return measured.kind in _AT_REST and not measured.dataset.attrs.get("forms_cells", False)


def _form_and_rest(array: BenchArray, form: Settings) -> None:
    """Every cell formed as `form` says, and the chip's clock well past the relaxation that follows."""
    forming = load_protocol("forming")
    known = set(forming.settings.__struct_fields__)
    with tempfile.TemporaryDirectory(prefix="labctl-forming-") as folder:
        run(forming, array, out=Path(folder), **{key: value for key, value in form.items() if key in known})
    array.clock.sleep_until(array.clock.now() + _REST)


def _checked(chip: Path) -> ChipFile:
    """The chip file at `chip`. Raises UsageError also where its base is none."""
    twin = read_chip(chip)
    try:
        Base.load(twin.base)
    except UsageError as problem:
        text = str(problem).removeprefix(f"--base {twin.base}: ")
        raise UsageError(f"{chip.name}: $.chip.base: {twin.base!r}: {text}") from None
    return twin


@contextlib.contextmanager
def _bench(chip: Path, rows: int, cols: int, highest: float) -> Iterator[BenchArray]:
    """A connected array of a simulated board with that chip, ranged so that it can read `highest` S."""
    volts = min(_READ_VOLTAGES[1], _MOST_CURRENT / (highest * _HEADROOM))
    if volts < _READ_VOLTAGES[0]:
        most = _MOST_CURRENT / _READ_VOLTAGES[0] / _HEADROOM
        raise UsageError(
            f"the run has conductances up to {highest:.3g} S; the simulated board takes {most:.3g} S at most"
        )
    with tempfile.TemporaryDirectory(prefix="labctl-twin-") as folder:
        path = Path(folder) / "bench.toml"
        text = _BENCH.format(
            resource=_RESOURCE,
            rows=rows,
            cols=cols,
            volts=volts,
            amperes=highest * _HEADROOM * volts,
            chip=json.dumps(str(chip.resolve())),
        )
        path.write_text(text, encoding="utf-8")
        with contextlib.ExitStack() as stack:
            yield _connected(stack, check_text(text, path), chip)


def _connected(stack: contextlib.ExitStack, settings: BenchFile, chip: Path) -> BenchArray:
    """The array of that bench, until `stack` closes. Raises UsageError for a chip file that no chip can be made of."""
    try:
        return stack.enter_context(stack.enter_context(Bench(settings)).array())
    except LinkError as problem:
        _, names_it, reason = str(problem).partition(f"{chip.resolve()}: ")
        if not names_it:
            raise
        raise UsageError(f"{chip.name}: {reason}") from None


def _shape(dataset: xr.Dataset) -> tuple[int, int]:
    """Rows and columns of an about square array that holds the run's cells; of a map, the map's."""
    if "cell" not in dataset.sizes:
        return int(dataset.sizes["row"]), int(dataset.sizes["col"])
    cells = dataset.sizes["cell"] * dataset.sizes.get("train", 1)
    rows = max(math.ceil(math.sqrt(cells)), 2)
    return rows, max(math.ceil(cells / rows), 2)


def _highest(dataset: xr.Dataset) -> float:
    """The highest conductance, S, that the twin has to be read at."""
    values = [
        dataset[name].values[np.isfinite(dataset[name].values)]
        for name in ("conductance", "target", "reached")
        if name in dataset
    ]
    return max((float(np.quantile(each, 0.999)) for each in values if len(each)), default=4e-5)


# -- the settings that repeat a run -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Target:
    """What is measured again. shape: of the twin's array. formed_at: S, where its cells count as formed."""

    dataset: xr.Dataset
    shape: tuple[int, int]
    formed_at: float
    twin: ChipFile

    def number(self, name: str) -> float:
        """A parameter of the twin, its base's where it has none of its own."""
        found = self.twin.parameters.get(name)
        return Base.load(self.twin.base).number(name) if found is None else float(found.value)


def _settings(measured: MeasuredRun, target: _Target) -> Settings:
    """What the run's own protocol was told, as far as it can be told again, and what follows from its measurement."""
    settings = {
        name: value
        for name, value in measured.settings.items()
        if not _is_described(value) and name not in ("rows", "cols", "cells")
    }
    if measured.kind in _OF_KIND:
        settings = _OF_KIND[measured.kind](target, settings)
    if measured.kind in ("forming", "forming-density"):
        return settings | {"formed_at": target.formed_at}
    form = settings.get("form")
    return settings | {"form": {**(form if isinstance(form, dict) else {}), "formed_at": target.formed_at}}


def _is_described(value: Any) -> bool:
    """Whether a recorded setting is an array, of which only shape and digest were kept."""
    return isinstance(value, Mapping) and "sha256" in value


def _formed_at(twin: ChipFile, step: float) -> float:
    """Where a cell counts as formed, S: the usual place, in a technology scaled down in proportion; well above what a
    converter of that step, S, shows of a pristine cell."""
    pristine = twin.parameters.get("pristine_conductance")
    usual = Base.load(twin.base).number("pristine_conductance")
    return max(_FORMED_AT * (1.0 if pristine is None else float(pristine.value) / usual), _STEPS_CLEAR * step)


def _retention(target: _Target, settings: Settings) -> Settings:
    """Cells to what the run's cells read as programmed, and reads at the same times.

    Where the run does not say how many cells were programmed together, so few that they wait but a small part of the
    first time for each other.
    """
    programmed = target.dataset["conductance"].transpose("cell", "time").values[:, 0]
    programmed = programmed[np.isfinite(programmed)].astype(np.float64)
    if not len(programmed):
        raise UsageError("the retention run has no cell whose conductance as programmed is known")
    times = [float(each) for each in target.dataset["time"].values if each > 0]
    group = settings.get("group", int(np.clip(_GROUP_A_SECOND * min(times, default=1.0), 8, 64)))
    return settings | {"times": times, "group": group, "cells": "all", **_programmed_to(programmed, target)}


def _programming(target: _Target, settings: Settings) -> Settings:
    """The same targets, with the run's tolerance if it says one; cells without a target are left alone."""
    found = _programmed_to(target.dataset["target"].values.astype(np.float64), target)
    wanted = np.isfinite(found["target"])
    return found | settings | {"cells": wanted, "target": np.where(wanted, found["target"], np.float32(0))}


def _programmed_to(wanted: np.ndarray, target: _Target) -> Settings:
    """`wanted` (cells,) S as a target map, none so low that a pristine cell might have it, and a tolerance."""
    top = float(np.quantile(wanted, 0.999))
    conductance = np.full(target.shape[0] * target.shape[1], np.nan, np.float32)
    conductance[: len(wanted)] = np.clip(wanted, _LOWEST * target.formed_at, top)
    return {"target": conductance.reshape(target.shape), "tolerance": top * _TOLERANCE}


def _endurance(target: _Target, settings: Settings) -> Settings:
    """As many cycles, those read that were read one by one, with the run's pulses where it had the same throughout."""
    cycles = target.dataset["cycle"].values.astype(np.int64)
    even = int(np.count_nonzero(np.diff(cycles, prepend=cycles[0] - 1) == 1))
    counts = {"cells": target.dataset.sizes["cell"], "cycles": int(cycles[-1]), "every": max(even, 1)}
    pulses = {name: _pulse(target.dataset, name) for name in ("set", "reset")}
    return settings | counts | {name: pulse for name, pulse in pulses.items() if pulse}


def _pulse_response(target: _Target, settings: Settings) -> Settings:
    """As many trains of as many pulses; where the run does not say how cells were prepared, cells of their own for the
    trains, formed to where its SET trains began."""
    sizes = target.dataset.sizes
    found = settings | {"cells": sizes["cell"], "trains": sizes["train"], "pulses": sizes["pulse"] - 1}
    for name, gate in (("set", 2.0), ("reset", 2.5)):
        usual = {"amplitude": target.number(f"step_{name}_voltage"), "width": target.number("step_width"), "gate": gate}
        found[name] = _pulse(target.dataset, name) or settings.get(name) or usual
    if "prepare" in settings:
        return found
    conductance = target.dataset["conductance"]
    start = conductance.sel(direction="set").isel(pulse=0).values
    begin = float(np.nanmedian(start)) if np.isfinite(start).any() else target.number("compliance_conductance")
    read = np.isfinite(conductance.transpose("direction", "pulse", "cell", "train").values).any(axis=(2, 3))
    pulses = int(read.sum(axis=1).min()) - 1  # SET and RESET trains of this protocol are of one length
    ramp = {"ramp": _forming_to(begin, target)}
    trains = {"cells": sizes["cell"] * sizes["train"], "trains": 1, "pulses": max(pulses, 1)}
    return found | trains | {"prepare": None, "form": ramp}


def _forming_to(conductance: float, target: _Target) -> Settings:
    """A usual forming ramp with the gate whose compliance leaves so many S."""
    threshold, exponent = target.number("gate_threshold"), target.number("gate_exponent")
    ratio = (conductance / target.number("compliance_conductance")) ** (1 / exponent)
    gate = threshold + (target.number("gate_reference") - threshold) * ratio
    voltage = target.number("breakdown_voltage")
    ramp = {"start": voltage - 0.3, "stop": voltage + 0.5, "step": 0.1, "width": 1e-6}
    return ramp | {"gate": min(max(gate, threshold + 0.1), _MOST_GATE)}


def _pulse(dataset: xr.Dataset, name: str) -> Settings:
    """amplitude, width and gate of the run's SET or RESET pulses; empty where they were not all the same."""
    found = {part: dataset.attrs.get(f"pulse_{part}_{name}") for part in ("amplitude", "width", "gate")}
    return {} if None in found.values() else {part: float(value) for part, value in found.items() if value}


def _read_noise(target: _Target, settings: Settings) -> Settings:
    """As many samples, as far apart."""
    time = target.dataset["time"].values.astype(np.float64)
    interval = float(np.median(np.diff(time)))
    pace = {"interval": interval} if interval > 0 and settings.get("interval", 0.0) is not None else {}
    return settings | {"cells": target.dataset.sizes["cell"], "samples": len(time)} | pace


def _iv(target: _Target, settings: Settings) -> Settings:
    """The same voltages, as far as a board can read at them."""
    volts = [float(each) for each in target.dataset["voltage"].values if 0.05 <= each <= 0.5]
    if not volts:
        raise UsageError("the iv run has no voltage from 50 to 500 mV, where the simulated board reads")
    return settings | {"cells": target.dataset.sizes["cell"], "read_voltages": volts}


def _forming(target: _Target, settings: Settings) -> Settings:
    """The gates of the run."""
    gates = [float(each) for each in np.unique(np.round(target.dataset["gate"].values, 4))]
    return settings | ({"gates": gates} if len(gates) > 1 else {})


_OF_KIND: dict[str, Callable[[_Target, Settings], Settings]] = {
    "retention": _retention,
    "programming": _programming,
    "endurance": _endurance,
    "pulse-response": _pulse_response,
    "read-noise": _read_noise,
    "iv": _iv,
    "forming": _forming,
}
"""What is measured again, by kind; of others the run's settings say it all."""
