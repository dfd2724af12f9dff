"""Fidelity of what a read shows: noise at 400 Hz over minutes, and current against a small voltage."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from direct import DirectArray
from fidelity_chips import Study, bought, gate_for
from fidelity_relaxation import programmed
from fidelity_rows import Bullet, Expected, Row
from fidelity_statistics import relative_spread, small_signal, spectrum_slope
from scipy import stats

from labctl.protocols.write_verify_settings import CellOutcome
from labctl.simulated_instruments.cells.rram_parameters import RramParameters
from labctl.simulated_instruments.chips.periphery import Periphery

RANGE = 260e-6  # S
NOISY_CELLS = 96
LEVELS = (9e-6, 250e-6)
"""S, where the five measured cells stand."""

SETTLING = 1e5
"""s between programming and the noise run: not told; long enough that relaxation is over."""

LEAST_P = 0.05
"""Of a Kolmogorov-Smirnov test that the measured cells are a sample of the simulated ones."""

SLOPES = (0.8, 1.3)
VOLTAGES = np.arange(1, 8) * 0.05
"""V: those of the 36 measured that the simulated board can read at."""

CONDUCTANCES = np.array([20, 50, 100, 135]) * 1e-6
"""S, edges: below, the measured nonlinearity drowns in the bench's noise."""

NONLINEARITY_LIMIT = 0.5
OFFSET_LIMIT = 0.1  # uA


def sample(
    parameters: RramParameters, target: np.ndarray, serial: str, periphery: Periphery | None = None
) -> tuple[DirectArray, np.ndarray]:
    """A chip whose first cells were programmed to about `target` S, and those that reached it."""
    array = DirectArray(bought(serial, len(target), parameters, RANGE, periphery), instant=True)
    done = programmed(array, parameters, target, 0.1 * target, gate_for(parameters, 1.5 * target.max()))
    return array, np.flatnonzero(done.maps["outcome"] == CellOutcome.IN_WINDOW).astype(np.uint32)


def noise(study: Study) -> Iterator[Row]:
    """Five measured cells against as many as are needed to know the simulated ones."""
    bullet = Bullet("Noise at 400 Hz")
    group = study.reference["read_noise/techA"]
    rate = float(group.attrs["sample_rate_Hz"])
    measured = np.stack([group[name][:] for name in sorted(group)]).astype(np.float64)
    samples = measured.shape[1] // (8 if study.quick else 1)
    parameters = study.parameters("noise")
    array, cells = sample(parameters, np.geomspace(*LEVELS, NOISY_CELLS), "NOISE-1")
    if len(cells) < NOISY_CELLS // 2:
        yield bullet.missing("the whole bullet", f"only {len(cells)} of {NOISY_CELLS} cells reached 9 to 250 uS")
        return
    began = array.clock.now() + SETTLING
    codes = array.chip.read(cells, samples, began, 1 / rate / len(cells))
    simulated = array.adc.values(codes).T.astype(np.float64)
    measured = measured[:, :samples]
    second, whole = round(rate), samples
    length = f"{samples / rate:g} s"
    figures = [
        ("relative sd in 1 s", [100 * relative_spread(each, second) for each in (measured, simulated)]),
        (f"relative sd in {length}", [100 * relative_spread(each, whole) for each in (measured, simulated)]),
    ]
    for what, (known, found) in figures:
        expected = Expected(known.min(), known.max())
        middle = float(np.median(found))
        yield bullet.between(f"{what}, median cell", "%", expected, middle, known.min(), known.max())
        yield _same_population(bullet, what, np.log(known), np.log(np.where(found > 0, found, np.nan)))
    growth = [float(np.median(figures[1][1][side] / figures[0][1][side])) for side in (0, 1)]
    what = f"... {length} over 1 s, median cell"
    yield bullet.ratio(what, "1", Expected.one(growth[0]), growth[1], 0.5)
    slopes = [np.array([spectrum_slope(row, rate) for row in each]) for each in (measured, simulated)]
    expected = Expected(slopes[0].min(), slopes[0].max())
    yield bullet.between("spectrum slope, median cell", "1", expected, float(np.median(slopes[1])), *SLOPES)
    yield _same_population(bullet, "spectrum slope", *slopes)


def _same_population(bullet: Bullet, what: str, measured: np.ndarray, simulated: np.ndarray) -> Row:
    """A simulated cell that has relaxed to nothing has no relative noise, and is left out."""
    simulated = simulated[np.isfinite(simulated)]
    p = float(stats.ks_2samp(measured, simulated).pvalue)
    told = f"{what}: p that {len(measured)} are of {len(simulated)}"
    return bullet.between(told, "1", Expected(np.nan, np.nan), p, LEAST_P, np.inf)


def small_signal_rows(study: Study) -> Iterator[Row]:
    """Current against voltage up to 0.35 V: offset of the bench, and how conductance grows with voltage."""
    bullet = Bullet("Small-signal I-V")
    group = study.reference["iv_small_signal"]
    cells = len(np.unique(group["addr"][:]))
    order = np.lexsort((group["voltage"][:], group["addr"][:]))
    volts, amps = (group[name][:][order].reshape(cells, -1).astype(np.float64) for name in ("voltage", "current"))
    offset, conductance, curvature = small_signal(volts[0], amps)
    target = np.clip(conductance[:: 4 if study.quick else 1], 1e-6, None)
    bench = replace(Periphery.named("test_macro"), amplifier_offset=float(np.median(offset)))
    array, chosen = sample(study.parameters("noise"), target, "IV-1", bench)
    currents = [array.read(chosen, voltage=float(each)).conductance[0] * each for each in VOLTAGES]
    offset_simulated, shown, found = small_signal(VOLTAGES, np.stack(currents, axis=1).astype(np.float64))
    what = "offset of the bench, given to the simulated one"
    stated = Expected.one(float(np.median(offset)) * 1e6)
    yield bullet.difference(what, "uA", stated, float(np.median(offset_simulated)) * 1e6, OFFSET_LIMIT)
    for low, high in itertools.pairwise(CONDUCTANCES):
        here = [np.median(a[(g >= low) & (g < high)]) for a, g in ((curvature, conductance), (found, shown))]
        what = f"a of G (1 + a V^2), {low * 1e6:.0f}-{high * 1e6:.0f} uS"
        yield bullet.ratio(what, "1/V2", Expected.one(here[0]), float(here[1]), NONLINEARITY_LIMIT)
