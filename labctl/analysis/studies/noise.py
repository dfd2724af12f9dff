"""Noise of cells that are only read: its spectrum as a power law, and how it goes with the conductance."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from labctl.analysis import estimators
from labctl.analysis.characterisation.noise import (
    even_cells,
    even_stretch,
    relative_sd,
    relative_spectrum,
    short_window,
)
from labctl.analysis.estimators import Estimate
from labctl.analysis.measurements import a_run_of, measurement
from labctl.analysis.studies.arguments import quantity
from labctl.analysis.studies.labelled import Variables, estimated, plain
from labctl.analysis.studies.many import of_runs
from labctl.errors import RecordingError

_FEWEST = 10  # cells, of which a line against their conductance says something


@of_runs
def noise(run: xr.DataTree, *, at: float | str = 1.0) -> xr.Dataset:
    """Fits of a read-noise run with 95 % intervals (NAME_low, NAME_high): S(f) / G^2 = amplitude (f / at)^-exponent.

    Of the longest stretch of samples at even times, of cells that miss none in it. By `cell`: `conductance` (mean, S),
    cell_exponent, cell_amplitude (1/Hz at the frequency `at`, Hz or text), and relative_noise, the standard deviation
    over the mean within a second (`window`, s, where the record is short of eight). Over cells: exponent and amplitude
    (medians), exponent_spread (robust), and noise_slope, of log relative noise against log conductance: 0 where noise
    goes with the conductance, -0.5 for shot-like, -1 for noise that is the same at every conductance; the median slope
    of all pairs of cells, with Sen's interval.

    Spectra are Welch's; the fit is `estimators.power_law`, whose exponent is right within 0.02, so that amplitudes are
    best told in the middle of the spectrum. Where the board's own noise reaches up, a slope is between
    both: look at `labctl plot` too. Raises RecordingError for other runs, and for less than 64 even samples.
    """
    measured = measurement(run)
    if measured.attrs["measurement"] != "read-noise":
        raise RecordingError(
            f"{a_run_of(measured.attrs['measurement'])} is not read over and over: noise needs read-noise"
        )
    at = quantity("at", at, "Hz")
    values, rate = even_stretch(measured)
    try:
        frequency, density = relative_spectrum(values, rate)
    except ValueError as problem:
        raise RecordingError(f"this run's noise has no spectrum: {problem}") from None
    fits = [estimators.power_law(frequency, each, at) for each in density]
    exponents = [Estimate(-each.slope.value, -each.slope.high, -each.slope.low, each.slope.n) for each in fits]
    window = short_window(values.shape[1], rate)
    relative, conductance = relative_sd(values, window), values.mean(axis=1)
    cells = ("cell",)
    told: Variables = plain("conductance", cells, conductance, "S", "mean conductance")
    told |= estimated("cell_exponent", cells, exponents, "1", "exponent of the noise spectrum")
    told |= estimated("cell_amplitude", cells, [each.level for each in fits], "1/Hz", "relative noise density at `at`")
    told |= plain("relative_noise", cells, relative, "1", "standard deviation over mean within the window")
    told |= plain("window", (), np.float64(window / rate), "s", "length of the window of the relative noise")
    told |= _over_cells(exponents, [each.level for each in fits], relative, conductance)
    coords = {"cell": measured["cell"].values[even_cells(measured)]}
    return xr.Dataset(told, coords, {"at": at, "sample_rate": rate, "saturated": measured.attrs["saturated"]})


def _over_cells(
    exponents: list[Estimate], levels: list[Estimate], relative: NDArray[np.float64], conductance: NDArray[np.float64]
) -> Variables:
    exponent, amplitude = (np.array([each.value for each in estimates]) for estimates in (exponents, levels))
    told = estimated("exponent", (), estimators.median(exponent), "1", "median over cells of the exponent")
    told |= estimated("exponent_spread", (), estimators.robust_spread(exponent), "1", "robust spread of the exponent")
    told |= estimated("amplitude", (), estimators.median(amplitude), "1/Hz", "median over cells of the density at `at`")
    slope = estimators.slope_of_pairs(np.log(conductance), np.log(relative), least=_FEWEST)
    return told | estimated("noise_slope", (), slope, "1", "slope of log relative noise against log conductance")
