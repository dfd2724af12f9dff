"""The run of each kind of measurement, made of the quantities a mapping finds in a foreign file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from labctl.array import Operation
from labctl.errors import MappingError
from labctl.exchange import mapping as said
from labctl.exchange.grids import Grid, Grids
from labctl.exchange.mapping import Mapping, Place, Pulses
from labctl.exchange.quantities import Dimension, Floats
from labctl.exchange.stages import (
    CELL_MAP,
    SECONDS_SINCE,
    Addresses,
    Reads,
    Stage,
    Staged,
    moments,
    pulse_of,
    quantity,
    read_of,
    spread,
)

_S, _V, _T, _ONE = Dimension.CONDUCTANCE, Dimension.VOLTAGE, Dimension.TIME, Dimension.NUMBER
_MOSTLY = 0.5
"""The part of a table of cells and times that is empty where cells do not share their times."""
_APART = 0.1
"""How far the times of one reading may be from one cell to another, of the time itself."""
_EVEN = 1e-3
"""How far samples may be from an even spacing, in spacings, to be recorded as evenly spaced."""

Sized = Callable[[Addresses], int]
"""How many cells the array has, given the addresses that occur."""

# The outcomes of program-and-verify that a measurement of somebody else's can tell, by their codes.
_OUTCOMES = {"not_targeted": 0, "in_window": 1, "unreached": 2}


def staged(mapping: Mapping, grids: Grids, sized: Sized, started: float) -> Staged:
    """The measurement that `mapping` describes. started: s since 1970. Raises MappingError."""
    makers: dict[type[Mapping], Callable[[Any, Grids, Sized, float], Staged]] = {
        said.Retention: _retention,
        said.ReadNoise: _read_noise,
        said.PulseResponse: _pulse_response,
        said.Iv: _iv,
        said.Forming: _forming,
        said.Map: _map,
        said.Endurance: _endurance,
        said.Programming: _programming,
    }
    return makers[type(mapping)](mapping, grids, sized, started)


def _retention(mapping: said.Retention, grids: Grids, sized: Sized, started: float) -> Staged:
    grid = grids.grid("conductance", mapping.conductance, _S, ("cell", "time"), {"time": mapping.time})
    times = grid.coordinates.get("time")
    if times is not None and np.isnan(grid.values).mean() > _MOSTLY:
        grid, times = _by_turn(mapping, grids)
    cells, table = grid.addresses, grid.values
    if times is None:
        times = grids.along("time", mapping.time, _T, table.shape[1], "time")
    order = _increasing(times, "time")
    times, table, count = times[order] - times[order[0]], table[:, order], sized(cells)
    target = np.full(len(cells), np.nan)
    if mapping.target is not None:
        target = grids.of_cells("target", mapping.target, _S, cells)
    maps: dict[str, NDArray[Any]] = {
        "target": spread(target, cells, count),
        "programmed": spread(table[:, 0], cells, count),
        "programmed_at": moments(np.full(len(cells), started), cells, count),
    }
    stages = [Stage("program", read_of(cells, table[:, 0], 0.0), {"group": 0}, maps)]
    for time, column in zip(times[1:], table.T[1:], strict=True):
        values = {"scheduled": float(time), "group": 0}
        stages.append(Stage("read", read_of(cells, column, float(time)), values, time=float(time)))
    variables = (
        quantity("scheduled", "time of the read after the group's programming ended", "s", dtype="f8"),
        quantity("group", "group of cells", "1", dtype="u4"),
        quantity("target", "target conductance", "S", CELL_MAP),
        quantity("programmed", "conductance at the verify after the cell's last pulse", "S", CELL_MAP),
        quantity("programmed_at", "when that was", SECONDS_SINCE, CELL_MAP, "f8"),
    )
    return Staged(("program", "read"), variables, stages, cells)


def _by_turn(mapping: said.Retention, grids: Grids) -> tuple[Grid, Floats]:
    """The n-th reading of each cell in one column, and the median times, where every cell has a clock of its own."""
    grid = grids.grid("conductance", mapping.conductance, _S, ("cell", "time"), {})
    own = structs.replace(mapping.time, where=mapping.conductance.where)
    moments = grids.grid("time", own, _T, ("cell", "time"), {}).values
    moments = moments - moments[:, :1]
    times = np.nanmedian(moments, axis=0)
    apart = np.nanmax(np.abs(moments - times), axis=0)
    worst = int((apart - _APART * times).argmax())
    if apart[worst] > _APART * times[worst]:
        raise MappingError(
            f"$.time: cells have schedules of their own: reading {worst + 1} is at {times[worst]:g} s, but up to "
            f"{apart[worst]:g} s from that in some; import them one a run"
        )
    return grid, times


def _read_noise(mapping: said.ReadNoise, grids: Grids, sized: Sized, started: float) -> Staged:  # noqa: ARG001
    timed = mapping.time
    grid = grids.grid("conductance", mapping.conductance, _S, ("cell", "sample"), {})
    cells, table = grid.addresses, grid.values
    if mapping.sample_rate is not None:
        (rate,) = grids.along("sample_rate", mapping.sample_rate, Dimension.FREQUENCY, 1, "sample")
        if not rate > 0:
            raise MappingError(f"$.sample_rate: must be above 0 Hz, not {rate:g}")
        times = np.arange(table.shape[1]) / rate
    else:
        assert timed is not None
        times = _sample_times(mapping, timed, grids, table.shape)
    whole: NDArray[np.bool_] = np.all(np.isfinite(table), axis=0)
    stages = [Stage("read", (reads,), time=reads.time) for reads in _samples(cells, table, times, whole)]
    left_out = int(np.count_nonzero(~whole))
    notes = (f"{left_out} samples that not every cell has are left out",) if left_out else ()
    return Staged(("read",), (), stages, cells, notes)


def _sample_times(mapping: said.ReadNoise, timed: Place, grids: Grids, shape: tuple[int, ...]) -> Floats:
    """(samples,) s from the first. In a table every reading has its own, and cells must share them."""
    if mapping.conductance.axes or shape[0] == 1 or timed.axes:
        times = grids.along("time", timed, _T, shape[1], "sample")
    else:
        of_readings = grids.grid("time", timed, _T, ("cell", "sample"), {}).values
        times = of_readings[0]
        apart = np.nanmax(np.abs(of_readings - times), initial=0.0)
        if apart > _EVEN * float(np.ptp(times)) / max(shape[1] - 1, 1):
            raise MappingError(f"$.time: cells were read at different times, up to {apart:g} s apart: import one a run")
    if not np.all(np.diff(times) > 0):
        raise MappingError("$.time: the samples' times do not increase")
    since_first: Floats = times - times[0]
    return since_first


def _samples(cells: Addresses, table: Floats, times: Floats, whole: NDArray[np.bool_]) -> list[Reads]:
    """Runs of evenly spaced samples, each as one read with repeats."""
    step = float(times[-1] / (len(times) - 1)) if len(times) > 1 else 0.0
    even = np.abs(times - np.arange(len(times)) * step).max(initial=0.0) <= _EVEN * step
    kept = np.flatnonzero(whole)
    breaks = np.flatnonzero(np.diff(kept) > 1) + 1 if even else np.arange(1, len(kept))
    parts = np.split(kept, breaks) if len(kept) else []
    return [Reads(cells, table[:, part].T, float(times[part[0]]), step / len(cells)) for part in parts]


def _pulse_response(mapping: said.PulseResponse, grids: Grids, sized: Sized, started: float) -> Staged:  # noqa: ARG001
    axes, indices = ("cell", "train", "pulse"), {"train": mapping.train, "pulse": mapping.pulse}
    stages: list[tuple[tuple[int, int, int], Stage]] = []
    cells: Addresses = np.zeros(0, np.int64)
    for turn, (phase, place) in enumerate((("set", mapping.set), ("reset", mapping.reset))):
        if place is None:
            continue
        grid = grids.grid(phase, place, _S, axes, indices)
        cells = np.union1d(cells, grid.addresses)
        numbers = grid.coordinates.get("pulse")
        pulses = np.arange(grid.values.shape[2]) + mapping.first_pulse if numbers is None else _whole(numbers, "pulse")
        for train, pulse in np.ndindex(grid.values.shape[1:]):
            stage = _pulsed(phase, place, grid, train, pulse, int(pulses[pulse]))
            stages.append(((train, turn, int(pulses[pulse])), stage))
    ordered = [stage for _, stage in sorted(stages, key=lambda each: each[0]) if stage.reads]
    variables = (
        quantity("train", "number of the train", "1", dtype="u4"),
        quantity("pulse", "number of the pulse in its train; 0: before it", "1", dtype="u4"),
        quantity("amplitude", "amplitude of the train's pulses", "V"),
    )
    return Staged(("prepare", "set", "reset"), variables, _in_turn(ordered), cells)


def _pulsed(phase: str, place: Pulses, grid: Grid, train: int, column: int, pulse: int) -> Stage:
    """What the cells read after one pulse of a train."""
    described = pulse_of(Operation[phase.upper()], place) if pulse else None
    reads = read_of(grid.addresses, grid.values[:, train, column], 0.0, pulse=described)
    values: dict[str, float | int] = {"train": train, "pulse": pulse}
    if place.amplitude is not None:
        values["amplitude"] = float(place.amplitude)
    return Stage(phase, reads, values)


def _iv(mapping: said.Iv, grids: Grids, sized: Sized, started: float) -> Staged:  # noqa: ARG001
    name, place = ("current", mapping.current) if mapping.current is not None else ("conductance", mapping.conductance)
    assert place is not None
    dimension = Dimension.CURRENT if name == "current" else _S
    grid = grids.grid(name, place, dimension, ("cell", "voltage"), {"voltage": mapping.voltage})
    cells, table = grid.addresses, grid.values
    voltages = grid.coordinates.get("voltage")
    if voltages is None:
        voltages = grids.along("voltage", mapping.voltage, _V, table.shape[1], "voltage")
    stages = []
    for volts, column in zip(voltages, table.T, strict=True):
        if volts:
            reads = read_of(cells, column / volts if name == "current" else column, 0.0, voltage=float(volts))
            stages.append(Stage("read", reads, {"read_voltage": float(volts)}))
    at_rest = int(np.count_nonzero(voltages == 0))
    notes = (f"{at_rest} points at 0 V are left out: they have no conductance",) if at_rest else ()
    variables = (quantity("read_voltage", "read voltage of this step", "V"),)
    return Staged(("read",), variables, _in_turn(stages), cells, notes)


def _forming(mapping: said.Forming, grids: Grids, sized: Sized, started: float) -> Staged:  # noqa: ARG001
    grid = grids.grid("conductance", mapping.conductance, _S, ("cell",), {})
    cells, count = grid.addresses, sized(grid.addresses)
    gate = grids.of_cells("gate", mapping.gate, _V, cells)
    voltage = np.full(len(cells), np.nan)
    if mapping.forming_voltage is not None:
        voltage = grids.of_cells("forming_voltage", mapping.forming_voltage, _V, cells)
    before = np.full(len(cells), np.nan)
    if mapping.initial is not None:
        before = grids.of_cells("initial", mapping.initial, _S, cells)
    tried = int(np.count_nonzero(np.isfinite(gate)))
    last = {
        "forming_voltage": spread(voltage, cells, count),
        "gate": spread(gate, cells, count),
        "conductance": spread(grid.values, cells, count),
    }
    stages = [
        Stage("initial_read", read_of(cells, before, 0.0), {"unformed": tried}),
        Stage("forming", read_of(cells, grid.values, 1.0), {}, last, time=1.0),
    ]
    variables = (
        quantity("unformed", "cells not formed yet", "1", dtype="u4", fill=2**32 - 1),
        quantity("forming_voltage", "amplitude at which the cell formed", "V", CELL_MAP),
        quantity("gate", "gate voltage of the cell's FORM pulses", "V", CELL_MAP),
        quantity("conductance", "conductance at the last read", "S", CELL_MAP),
    )
    return Staged(("initial_read", "forming"), variables, stages, cells)


def _map(mapping: said.Map, grids: Grids, sized: Sized, started: float) -> Staged:  # noqa: ARG001
    grid = grids.grid("conductance", mapping.conductance, _S, ("cell", "sample"), {}, bare="cell")
    cells, table, count = grid.addresses, grid.values, sized(grid.addresses)
    known = np.isfinite(table).any(axis=1)
    mean, deviation = np.full(len(cells), np.nan), np.full(len(cells), np.nan)
    mean[known] = np.nanmean(table[known], axis=1)
    several = np.isfinite(table).sum(axis=1) > 1
    deviation[several] = np.nanstd(table[several], axis=1, ddof=1)
    reads = tuple(reads for column in table.T for reads in read_of(cells, column, 0.0))
    maps = {"conductance": spread(mean, cells, count), "conductance_spread": spread(deviation, cells, count)}
    variables = (
        quantity("conductance", "mean conductance over the repeats", "S", CELL_MAP),
        quantity("conductance_spread", "standard deviation over the repeats", "S", CELL_MAP),
    )
    return Staged(("read",), variables, [Stage("read", reads, {}, maps)], cells)


def _endurance(mapping: said.Endurance, grids: Grids, sized: Sized, started: float) -> Staged:  # noqa: ARG001
    stages: list[tuple[tuple[int, int], Stage]] = []
    cells: Addresses = np.zeros(0, np.int64)
    for turn, (phase, name, place) in enumerate((("set", "lrs", mapping.lrs), ("reset", "hrs", mapping.hrs))):
        grid = grids.grid(name, place, _S, ("cell", "cycle"), {"cycle": mapping.cycle})
        cells = np.union1d(cells, grid.addresses)
        told = grid.coordinates.get("cycle") if mapping.cycle is not None else None
        if told is None and mapping.cycle is not None:
            told = grids.along("cycle", mapping.cycle, _ONE, grid.values.shape[1], "cycle")
        cycles = np.arange(1, grid.values.shape[1] + 1) if told is None else _whole(told, "cycle")
        described = pulse_of(Operation[phase.upper()], place)
        for number, column in zip(cycles, grid.values.T, strict=True):
            reads = read_of(grid.addresses, column, 0.0, pulse=described)
            stages.append(((int(number), turn), Stage(phase, reads, {"cycle": int(number)})))
    ordered = [stage for _, stage in sorted(stages, key=lambda each: each[0]) if stage.reads]
    variables = (quantity("cycle", "number of the cycle", "1", dtype="u4"),)
    return Staged(("set", "reset"), variables, _in_turn(ordered), cells)


def _programming(mapping: said.Programming, grids: Grids, sized: Sized, started: float) -> Staged:  # noqa: ARG001
    grid = grids.grid("reached", mapping.reached, _S, ("cell",), {})
    cells, reached, count = grid.addresses, grid.values, sized(grid.addresses)
    target = grids.of_cells("target", mapping.target, _S, cells)
    pulses = grids.of_cells("pulses", mapping.pulses, _ONE, cells)
    initial = np.full(len(cells), np.nan)
    if mapping.initial is not None:
        initial = grids.of_cells("initial", mapping.initial, _S, cells)
    if mapping.success is not None:
        success = grids.of_cells("success", mapping.success, _ONE, cells) != 0
    else:
        success = np.abs(reached - target) <= cast("float", mapping.tolerance)
    outcome = np.zeros(count, np.uint8)
    outcome[cells] = np.where(np.isfinite(target), np.where(success, 1, 2), 0)
    numbers = np.full(count, np.iinfo(np.uint32).max, np.uint32)
    numbers[cells] = _whole(np.where(np.isfinite(pulses), pulses, np.iinfo(np.uint32).max), "pulses")
    maps = {name: spread(each, cells, count) for name, each in (("initial", initial), ("target", target))}
    last = {"reached": spread(reached, cells, count), "error": spread(reached - target, cells, count)}
    stages = [
        Stage("initial_read", read_of(cells, initial, 0.0), {}, maps),
        Stage("done", read_of(cells, reached, 1.0), {}, {**last, "outcome": outcome, "pulses_per_cell": numbers}, 1.0),
    ]
    variables = (
        quantity("initial", "conductance before programming, after forming", "S", CELL_MAP),
        quantity("target", "target conductance", "S", CELL_MAP),
        quantity("reached", "conductance at the cell's last verify", "S", CELL_MAP),
        quantity("error", "reached minus target", "S", CELL_MAP),
        quantity("outcome", "how programming the cell ended", "1", CELL_MAP, "u1", flags=_OUTCOMES),
        quantity("pulses_per_cell", "SET and RESET pulses the cell got", "1", CELL_MAP, "u4"),
    )
    return Staged(("initial_read", "program", "done"), variables, stages, cells)


def _increasing(times: Floats, name: str) -> NDArray[np.intp]:
    """The order of the times. Raises MappingError where two are the same or one is no number."""
    order: NDArray[np.intp] = np.argsort(times)
    if not np.all(np.isfinite(times)) or np.any(np.diff(times[order]) <= 0):
        raise MappingError(f"$.{name}: every column needs a time of its own")
    if len(times) < 2:
        raise MappingError(f"$.{name}: a measurement over time needs at least two times")
    return order


def _whole(numbers: Floats, name: str) -> NDArray[np.int64]:
    if not np.all((numbers == np.rint(numbers)) & (numbers >= 0)):
        raise MappingError(f"$.{name}: not every number is a whole one from 0 on")
    return numbers.astype(np.int64)


def _in_turn(stages: list[Stage]) -> list[Stage]:
    """The stages with a time each, a second apart, where the file tells none: their order is what is known."""
    timed = []
    for second, stage in enumerate(stages):
        reads = tuple(_at(each, float(second)) for each in stage.reads)
        timed.append(Stage(stage.phase, reads, stage.values, stage.maps, float(second)))
    return timed


def _at(reads: Reads, time: float) -> Reads:
    return Reads(reads.cells, reads.conductance, time, reads.seconds_per_cell, reads.voltage, reads.pulse)
