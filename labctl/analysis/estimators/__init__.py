"""Estimators of what samples say of a population, each with its interval; no units, no files."""

from labctl.analysis.estimators.autocorrelation import Correlogram, correlogram
from labctl.analysis.estimators.correlation import correlation, lag1_correlation, rank_correlation
from labctl.analysis.estimators.displacements import ended_shares, step_errors
from labctl.analysis.estimators.estimate import CONFIDENCE, Estimate, bootstrap, jackknife
from labctl.analysis.estimators.fractions import fraction, tail_fraction
from labctl.analysis.estimators.lines import Lines, fit_lines, slope_of_pairs
from labctl.analysis.estimators.location import (
    mean,
    median,
    quantile,
    root_mean_square,
    root_of_mean,
    standard_deviation,
)
from labctl.analysis.estimators.missing import known_mean, known_median
from labctl.analysis.estimators.robust import MAD_TO_SD, robust_spread
from labctl.analysis.estimators.spectra import PowerLaw, allan_deviation, log_log_slope, power_law, power_spectrum
from labctl.analysis.estimators.telegraph import Telegraph, find_telegraph
from labctl.analysis.estimators.thresholds import Normal, normal_below
from labctl.analysis.estimators.two_samples import ks_distance, ks_probability, quantile_differences
from labctl.analysis.estimators.two_way import (
    Shares,
    TwoWay,
    mean_polish,
    median_polish,
    variance_shares,
)
from labctl.analysis.estimators.variance import Components, nested_components, robust_components, variance_components

__all__ = [
    "CONFIDENCE",
    "MAD_TO_SD",
    "Components",
    "Correlogram",
    "Estimate",
    "Lines",
    "Normal",
    "PowerLaw",
    "Shares",
    "Telegraph",
    "TwoWay",
    "allan_deviation",
    "bootstrap",
    "correlation",
    "correlogram",
    "ended_shares",
    "find_telegraph",
    "fit_lines",
    "fraction",
    "jackknife",
    "known_mean",
    "known_median",
    "ks_distance",
    "ks_probability",
    "lag1_correlation",
    "log_log_slope",
    "mean",
    "mean_polish",
    "median",
    "median_polish",
    "nested_components",
    "normal_below",
    "power_law",
    "power_spectrum",
    "quantile",
    "quantile_differences",
    "rank_correlation",
    "robust_components",
    "robust_spread",
    "root_mean_square",
    "root_of_mean",
    "slope_of_pairs",
    "standard_deviation",
    "step_errors",
    "tail_fraction",
    "variance_components",
    "variance_shares",
]
