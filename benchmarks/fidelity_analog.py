"""Fidelity of analog switching: the steps of identical pulses, up and down, against conductance."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from direct import DirectArray
from fidelity_chips import Study, bought, form, formed_at, gate_for
from fidelity_rows import Bullet, Expected, Row
from fidelity_statistics import steps_against_level

from labctl.array import Operation, PulseBatch
from labctl.simulated_instruments.chips.periphery import Periphery
from labctl.units import Volt

TOP, BOTTOM = 2.45e-3, 1.61e-3
"""S: where the measured ramps turn."""

RANGE = 2.6e-3  # S
EDGES = np.array([1.6, 1.8, 2.0, 2.2, 2.4, 2.5]) * 1e-3
RAMPS = 40
MOST_PULSES = 400
READ_VOLTAGE = 0.1
"""V of the measured reads."""

STEP_LIMIT = 0.25
GATE = Volt(3.0)


def ramps(study: Study) -> Iterator[Row]:
    """Mean and spread of a step, by the conductance it began from."""
    bullet = Bullet("Analog ramps")
    group = study.reference["pulse_trains/sandia"]
    simulated = _simulated(study)
    for direction in ("set", "reset"):
        known = steps_against_level(group[direction][:].astype(np.float64), EDGES)
        found = steps_against_level(simulated[direction], EDGES)
        for place, (low, high) in enumerate(itertools.pairwise(EDGES)):
            where = f"{direction.upper()} step, {low * 1e3:.1f}-{high * 1e3:.1f} mS"
            if found[2][place] < 2:
                yield bullet.missing(where, "no simulated ramp came there")
                continue
            for name, measured, shown in (("mean", known[0], found[0]), ("sd", known[1], found[1])):
                expected = Expected.one(measured[place] * 1e6)
                yield bullet.ratio(f"{where}, {name}", "uS", expected, float(shown[place]) * 1e6, STEP_LIMIT)


def _simulated(study: Study) -> dict[str, np.ndarray]:
    """(RAMPS, pulses + 1) S, NaN-padded, up and down between the measured turning points; one cell a ramp."""
    parameters = study.parameters("analog")
    chip = bought("ANALOG-1", RAMPS, parameters, RANGE, Periphery.ideal())  # bench instruments on single devices
    array = DirectArray(chip)
    form(array, parameters, gate_for(parameters, TOP))
    cells = np.flatnonzero(array.read().conductance[0] > formed_at(parameters)).astype(np.uint32)[:RAMPS]
    down = (Operation.RESET, parameters.step_reset_voltage)
    up = (Operation.SET, parameters.step_set_voltage)
    _train(array, cells, *down, parameters.step_width)
    return {
        "set": _train(array, cells, *up, parameters.step_width),
        "reset": _train(array, cells, *down, parameters.step_width),
    }


def _train(array: DirectArray, cells: np.ndarray, operation: Operation, volts: float, width: float) -> np.ndarray:
    """Identical pulses on each of `cells` until it has passed the turning point: (n, pulses + 1) S."""
    shown = np.full((len(cells), MOST_PULSES + 1), np.nan)
    shown[:, 0] = array.read(cells).conductance[0]
    active = np.arange(len(cells))
    for pulse in range(1, MOST_PULSES + 1):
        last = shown[active, pulse - 1]
        active = active[last < TOP if operation is Operation.SET else last > BOTTOM]
        if not len(active):
            break
        codes = np.full(len(active), array.dac.codes(volts), np.uint16)
        (readout,) = array.pulse_and_verify(PulseBatch(operation, cells[active], codes, width, GATE))
        shown[active, pulse] = readout.conductance[0]
    return shown
