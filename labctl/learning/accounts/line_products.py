"""What products of analogue values take on lines of an array, forward and backward, on as many arrays as hold a layer.

An input stands on a line + and a line - for each pair of devices of its weights, outputs on lines across. Every line
has a driver and an amplifier. A layer of n inputs and m outputs of k pairs, in r parts of inputs and c of outputs, each
on an array of its own, takes for each vector:

                    forward                              backward
    cells           2 k n d m, d the share not zero      2 k n m
    driven lines    2 k n d c                            m r
    sensed lines    m r                                  2 k n' c, n' the inputs that are asked for
    additions       m (r - 1)                            n' (2 k c - 1), the lines - subtracted

Of each cell V^2 G t in the array and (V_supply - V) V G t in its driver; of each driven line an energy; of each sensed
line its amplifier while it integrates, and a conversion. Driven lines count as driven with all of V. Arrays work at the
same time, and lines that share a converter are converted one after another. Digitally, for each vector: inputs that are
not zero are scaled to codes, sums scaled back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from labctl.errors import SettingsError
from labctl.learning.accounts.account import Entry
from labctl.learning.accounts.crossbar import read_voltages
from labctl.learning.accounts.figures import Figures
from labctl.learning.accounts.training_counts import LayerWork


def line_products(work: LayerWork, figures: Figures) -> tuple[Entry, ...]:
    """All products of the layer, both ways. Raises SettingsError."""
    lines = 2 * work.devices
    parts_in, parts_out = _parts(work, figures)
    forward = _Way(
        vectors=work.forward,
        values=work.inputs * work.driven,
        cells=lines * work.weights * work.driven,
        driven=lines * work.inputs * work.driven * parts_out,
        sensed=work.outputs * parts_in,
        sums=work.outputs,
        arrays=parts_in * parts_out,
    )
    backward = _Way(
        vectors=work.backward,
        values=work.outputs,
        cells=lines * work.weights,
        driven=work.outputs * parts_in,
        sensed=lines * work.inputs_back * parts_out,
        sums=work.inputs_back,
        arrays=parts_in * parts_out,
    )
    return (*_products(work, forward, figures), *_products(work, backward, figures))


@dataclass(frozen=True, slots=True)
class _Way:
    """Forward or backward: `vectors`, and of each how many values it has, what they drive, and what is sensed."""

    vectors: float
    values: float
    cells: float
    driven: float
    sensed: float
    sums: float
    arrays: int


def _products(work: LayerWork, way: _Way, figures: Figures) -> tuple[Entry, ...]:
    if not way.vectors:
        return ()
    voltage, supply = read_voltages(figures)
    integration = figures.value("integration_time", "s")
    conductance = figures.value("cell_conductance", "S") if work.conductance is None else work.conductance
    multiply, add = figures.value("float_multiply", "J"), figures.value("float_add", "J")
    turns = min(figures.positive("columns_per_converter", "1"), math.ceil(way.sensed / way.arrays))
    cells, driven, sensed = (way.vectors * each for each in (way.cells, way.driven, way.sensed))
    values, sums = way.vectors * way.values, way.vectors * way.sums
    additions, charge = sensed - sums, cells * voltage * conductance * integration

    def entry(component: str, operation: str, count: float, energy: float, seconds: float = 0.0) -> Entry:
        return Entry(work.name, component, operation, count, energy, way.vectors * seconds)

    return (
        entry("array", "cell driven", cells, charge * voltage, integration),
        entry("line drivers", "current at the supply", cells, charge * (supply - voltage)),
        entry("line drivers", "line driven", driven, driven * figures.value("driver_energy", "J")),
        entry("amplifiers", "line integrated", sensed, sensed * figures.value("amplifier_power", "W") * integration),
        entry(
            "ADC",
            "conversion",
            sensed,
            sensed * figures.value("conversion_energy", "J"),
            turns * figures.value("conversion_time", "s"),
        ),
        entry("codes", "codes added", additions, additions * figures.value("integer_add", "J")),
        entry("codes", "value to a code", values, values * multiply),
        entry("codes", "code to a value", sums, sums * (multiply + add)),
    )


def _parts(work: LayerWork, figures: Figures) -> tuple[int, int]:
    """Of inputs and of outputs, whichever way round it takes fewer arrays."""
    rows, columns = int(figures.positive("array_rows", "1")), int(figures.positive("array_columns", "1"))
    found = [
        (math.ceil(work.inputs / inputs), math.ceil(work.outputs / across))
        for along, across in ((rows, columns), (columns, rows))
        if (inputs := along // (2 * work.devices))
    ]
    if not found:
        raise SettingsError(
            f"{figures.name}: an array of {rows} x {columns} cells has no lines for {work.devices} pairs of each weight"
        )
    return min(found, key=lambda parts: parts[0] * parts[1])
