"""Fidelity of phase-change cells to the two published models they are made after, within the error of the sample.

J. Appl. Phys. 124, 152135 (2018), fitted on 10,000 devices: cells that accumulate SET pulses. Nat. Commun. 11, 2473
(2020), a million devices: what programming leaves, its drift and its noise. Cells that are broken, and the periphery's
faults, are left out: neither model has them. Noise is the difference between two chips of one serial, with it and
without.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from direct import DirectArray
from fidelity_chips import Study, bought
from fidelity_rows import Bullet, Expected, Row
from scipy import stats

from labctl.array import Operation, PulseBatch
from labctl.simulated_instruments.cells.pcm_parameters import PcmParameters
from labctl.simulated_instruments.chips.periphery import Periphery

CELLS = 65_536
SIGMAS = 4.0
"""Standard errors of the sample that a figure may be off: one in 16,000 is further."""

JAP, NATURE = "JAP 124, 152135", "NC 11, 2473"
AFTER = {0: (0.1, 0.01), 1: (2.05, 1.52), 5: (5.92, 2.38), 10: (7.83, 2.46), 20: (9.39, 2.66)}
"""Mean and sd in uS after so many SET pulses of the first model, as its equations give them to two decimals."""

ROUNDED = 0.005
"""uS, of the stated figures."""

STEPPED, NOISE_STEPPED, DRIFT_STEPPED = 3e-4, 0.002, 1e-4
"""uS, 1, 1: what the converter's steps add to a spread, to noise and to exponents."""

SET_CURRENT, RESET_CURRENT, GATE = 90e-6, 420e-6, 2.5
"""A, A and V: of a SET, of a RESET that melts every cell whole, and of a word line that does not limit them."""

LEVELS = (0.05, 0.2, 0.5, 0.8)
DRIFTED = 500.0
"""Times `drift_time`, from programming to the read that tells the drift."""

CONDUCTS = 0.5
"""uS that a cell has to have for its drift to be told with the converter at hand."""

FULL_SCALE = 40e-6


def working(name: str, quiet: bool) -> PcmParameters:
    """A built-in set without broken cells, and where `quiet` without read noise."""
    parameters = replace(PcmParameters.named(name), stuck_low_fraction=0.0, stuck_high_fraction=0.0)
    if not quiet:
        return parameters
    return replace(parameters, read_noise=1e-12, read_noise_floor=0.0, read_noise_persistence=0.0)


def chip(name: str, cells: int, quiet: bool) -> DirectArray:
    return DirectArray(bought("PCM-1", cells, working(name, quiet), FULL_SCALE, Periphery.ideal()), instant=True)


def pulse(array: DirectArray, parameters: PcmParameters, operation: Operation, current: float) -> None:
    """One pulse of `current` A on every cell."""
    cells = np.arange(array.geometry.cells, dtype=np.uint32)
    codes = np.full(len(cells), array.dac.codes(current * parameters.series_resistance), np.uint16)
    array.pulse(PulseBatch(operation, cells, codes, parameters.pulse_width, GATE))


def read_after(arrays: list[DirectArray], seconds: float) -> list[np.ndarray]:
    """(cells,) uS of each of them, in so many seconds."""
    for array in arrays:
        array.clock.advance(seconds)
    return [array.read().conductance[0].astype(np.float64) * 1e6 for array in arrays]


def moments(
    bullet: Bullet, what: str, expected: tuple[float, float], source: str, values: np.ndarray, rounded: float = STEPPED
) -> Iterator[Row]:
    """Mean and sd of `values`, uS, against a model's."""
    n, mean, spread = len(values), values.mean(), values.std(ddof=1)
    fourth = np.mean((values - mean) ** 4)
    errors = spread / np.sqrt(n), np.sqrt(max(fourth - spread**4, 0.0) / n) / (2 * spread)
    for name, known, found, error in zip(("mean", "sd"), expected, (mean, spread), errors, strict=True):
        limit = SIGMAS * error + rounded
        yield bullet.difference(f"{name}, {what}", "uS", Expected.one(known, source), float(found), limit, _why(n))


def accumulation(study: Study) -> Iterator[Row]:
    """The first model: RESET, then SET pulse after SET pulse; drift and noise of what they leave.

    A chip for each count of pulses, as cells drift while they are read.
    """
    bullet = Bullet("PCM that accumulates (pcm_90nm)")
    parameters = working("pcm_90nm", quiet=True)
    for count, expected in AFTER.items():
        arrays = [chip("pcm_90nm", study.cells(CELLS), quiet) for quiet in (True, False)]
        for array in arrays:
            pulse(array, parameters, Operation.RESET, RESET_CURRENT)
            for _ in range(count):
                pulse(array, parameters, Operation.SET, SET_CURRENT)
        quiet, noisy = read_after(arrays, parameters.drift_time)
        where = f"{count} SET" if count else "RESET"
        yield from moments(bullet, where, expected, JAP, quiet, ROUNDED if count else STEPPED)
        yield from _noise(bullet, where, noisy - quiet, 0.03 * quiet + 0.13)
    later = read_after(arrays, (DRIFTED - 1) * parameters.drift_time)[0]
    yield from _drift(bullet, where, JAP, (0.04, None), quiet, later)


def landing(study: Study) -> Iterator[Row]:
    """The second model: levels of the full scale, their spread, drift and noise."""
    bullet = Bullet("PCM as a million devices landed (pcm_statistical)")
    p = working("pcm_statistical", quiet=True)
    arrays = [chip("pcm_statistical", study.cells(CELLS), quiet) for quiet in (True, False)]
    for g in LEVELS:
        target = g * p.full_scale
        current = float(np.interp(-target, -np.array(p.melt_conductances), p.melt_currents))
        for array in arrays:
            pulse(array, p, Operation.RESET, current)
        quiet, noisy = read_after(arrays, p.drift_time)
        where, spread = f"g = {g:g}", 0.26348 + 1.9650 * g - 1.1731 * g**2
        yield from moments(bullet, where, (target * 1e6, spread), NATURE, quiet)
        yield from _noise(bullet, where, noisy - quiet, _flicker(quiet, p))
        later = read_after(arrays, (DRIFTED - 1) * p.drift_time)[0]
        conducts = quiet > CONDUCTS
        mean, device = _exponents(quiet[conducts], p)
        exponents = float(mean.mean()), float(np.sqrt(np.mean(device**2) + mean.var()))
        yield from _drift(bullet, where, NATURE, exponents, quiet[conducts], later[conducts])


def _exponents(conductance: np.ndarray, p: PcmParameters) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread of the drift exponent of cells of `conductance` uS, in the second model; none is negative."""
    level = np.log(conductance * 1e-6 / p.full_scale)
    mean = np.clip(-0.0155 * level + 0.0244, 0.049, 0.1)
    spread = np.clip(-0.0125 * level - 0.0059, 0.008, 0.045)
    inside, density = stats.norm.cdf(mean / spread), stats.norm.pdf(mean / spread)
    least = mean * inside + spread * density
    square = (mean**2 + spread**2) * inside + mean * spread * density
    return least, np.sqrt(square - least**2)


def _flicker(conductance: np.ndarray, p: PcmParameters) -> np.ndarray:
    """Read sigma, uS, `drift_time` after programming, of cells of `conductance` uS in the second model."""
    g, width = np.maximum(conductance * 1e-6 / p.full_scale, 1e-6), 250e-9
    log = np.log((p.drift_time + width) / (2 * width))
    sigma: np.ndarray = conductance * np.minimum(0.0088 / g**0.65, 0.2) * np.sqrt(log)
    return sigma


def _noise(bullet: Bullet, where: str, noise: np.ndarray, sigma: np.ndarray) -> Iterator[Row]:
    """Root mean square of the noise over the model's own, `sigma`: 1."""
    scaled = noise / sigma
    n, square = len(scaled), np.mean(scaled**2)
    error = float(np.sqrt(np.var(scaled**2) / n) / (2 * np.sqrt(square)))
    what, limit = f"read noise over the model's, {where}", SIGMAS * error + NOISE_STEPPED
    yield bullet.difference(what, "1", Expected.one(1, "model"), float(np.sqrt(square)), limit, _why(n))


def _drift(
    bullet: Bullet, where: str, source: str, exponents: tuple[float, float | None], first: np.ndarray, last: np.ndarray
) -> Iterator[Row]:
    """Mean, and where the model has one, spread of the cells' drift exponents.

    first, last: uS, at 1 and DRIFTED times the model's drift time.
    """
    found = -np.log(last / first) / np.log(DRIFTED)
    n, spread = len(found), float(found.std(ddof=1))
    what, limit = f"drift exponent, {where}", SIGMAS * spread / np.sqrt(n) + DRIFT_STEPPED
    yield bullet.difference(what, "1", Expected.one(exponents[0], source), float(found.mean()), limit, _why(n))
    if exponents[1] is not None:
        limit = SIGMAS * spread / np.sqrt(2 * n) + DRIFT_STEPPED
        yield bullet.difference(
            f"... its spread, {where}", "1", Expected.one(exponents[1], source), spread, limit, _why(n)
        )


def _why(count: int) -> str:
    return f"{SIGMAS:g} se of {count:,}"
