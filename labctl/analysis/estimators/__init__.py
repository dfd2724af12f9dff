"""Estimators of what samples say of a population, each with its interval; no units, no files."""

from labctl.analysis.estimators.correlation import correlation, lag1_correlation
from labctl.analysis.estimators.estimate import CONFIDENCE, Estimate, bootstrap, jackknife
from labctl.analysis.estimators.fractions import fraction, tail_fraction
from labctl.analysis.estimators.location import mean, median, quantile, standard_deviation
from labctl.analysis.estimators.missing import known_mean, known_median
from labctl.analysis.estimators.robust import MAD_TO_SD, robust_spread
from labctl.analysis.estimators.spectra import allan_deviation, log_log_slope, power_spectrum
from labctl.analysis.estimators.telegraph import Telegraph, find_telegraph
from labctl.analysis.estimators.two_samples import ks_distance, ks_probability, quantile_differences
from labctl.analysis.estimators.variance import Components, nested_components, robust_components, variance_components

__all__ = [
    "CONFIDENCE",
    "MAD_TO_SD",
    "Components",
    "Estimate",
    "Telegraph",
    "allan_deviation",
    "bootstrap",
    "correlation",
    "find_telegraph",
    "fraction",
    "jackknife",
    "known_mean",
    "known_median",
    "ks_distance",
    "ks_probability",
    "lag1_correlation",
    "log_log_slope",
    "mean",
    "median",
    "nested_components",
    "power_spectrum",
    "quantile",
    "quantile_differences",
    "robust_components",
    "robust_spread",
    "standard_deviation",
    "tail_fraction",
    "variance_components",
]
