"""How often every interval labctl offers holds the truth, of samples of known distributions.

python benchmarks/coverage_of_intervals.py
python benchmarks/coverage_of_intervals.py --repeats 10000 --json

Each interval is to hold the truth in 95 of 100 samples. `accepted` is the range in which the share of so many repeats
lies with a probability of 99.9 % where that is so; an interval that is said to be conservative may hold it more often.
The tests run the same cases with fewer repeats.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from labctl.analysis import estimators
from labctl.analysis.estimators import CONFIDENCE, Estimate

Draw = Callable[[np.random.Generator], Estimate]
ACCEPT = 0.999
"""The probability with which a right interval passes."""


@dataclass(frozen=True)
class Case:
    """draw: a sample's estimate. truth: what it is to hold. conservative: whether more often is right too. quick: for
    every run of the tests; the others take seconds, or have a test of their own beside the estimator.
    """

    name: str
    draw: Draw
    truth: float
    conservative: bool = False
    quick: bool = False


def accepted(repeats: int, case: Case) -> tuple[float, float]:
    """Shares between which a right interval lies, with the probability ACCEPT."""
    tail = (1 - ACCEPT) / 2
    low, high = stats.binom.ppf([tail, 1 - tail], repeats, CONFIDENCE) / repeats
    return float(low), 1.0 if case.conservative else float(high)


def covered(case: Case, repeats: int, seed: int = 1) -> float:
    """The share of `repeats` samples whose interval holds the truth."""
    rng = np.random.default_rng(seed)
    found = (case.draw(rng) for _ in range(repeats))
    return sum(each.low <= case.truth <= each.high for each in found) / repeats


# -- samples ----------------------------------------------------------------------------------------------------------


def pairs(rng: np.random.Generator, n: int, rho: float, freedom: float = np.inf) -> np.ndarray:
    """(2, n) correlated by `rho`; of Student's distribution where `freedom` is finite."""
    x, y = rng.standard_normal((2, n))
    scale = 1.0 if np.isinf(freedom) else np.sqrt(freedom / rng.chisquare(freedom, n))
    return np.stack([x, rho * x + np.sqrt(1 - rho**2) * y]) * scale


def lines(rng: np.random.Generator, rows: int, cols: int, row_sd: float, col_sd: float) -> np.ndarray:
    """(rows, cols) of noise of standard deviation 1 with effects of rows and columns."""
    table = rng.standard_normal((rows, cols))
    return table + row_sd * rng.standard_normal((rows, 1)) + col_sd * rng.standard_normal(cols)


def coloured(rng: np.random.Generator, samples: int, slope: float) -> np.ndarray:
    """Noise whose one-sided density at 1 sample a second is f^slope per Hz."""
    frequency = np.fft.rfftfreq(8 * samples)  # a longer record, cut: its ends need not meet
    amplitude = np.zeros_like(frequency)
    amplitude[1:] = frequency[1:] ** (slope / 2)
    phase = rng.standard_normal((2, len(frequency)))
    spectrum = amplitude * (phase[0] + 1j * phase[1]) * np.sqrt(8 * samples) / 2
    return np.fft.irfft(spectrum, 8 * samples)[:samples]


def table_of(
    rng: np.random.Generator, devices: int, cycles: int, device: float = 0.5, cycle: float = 0.3
) -> np.ndarray:
    return device * rng.standard_normal((devices, 1)) + cycle * rng.standard_normal((devices, cycles))


def nested(rng: np.random.Generator) -> np.ndarray:
    parts = (0.5 * rng.standard_normal((60, 1, 1)), 0.3 * rng.standard_normal((60, 8, 1)))
    return parts[0] + parts[1] + 0.2 * rng.standard_normal((60, 8, 4))


def autoregressive(rng: np.random.Generator, series: int, samples: int, rho: float) -> np.ndarray:
    values = rng.standard_normal((series, samples))
    for place in range(1, samples):
        values[:, place] = rho * values[:, place - 1] + np.sqrt(1 - rho**2) * values[:, place]
    return values


# -- cases ------------------------------------------------------------------------------------------------------------


def _of_samples() -> list[Case]:
    """Of one sample: level, spread, shares."""
    log_normal_sd = float(stats.lognorm(0.5).std())
    rms = float(np.sqrt(1 + 0.5**2))
    tails = float(2 * stats.norm.sf(3))
    return [
        Case("mean, normal, n = 30", lambda rng: estimators.mean(rng.standard_normal(30)), 0.0),
        Case("mean, log-normal, n = 400", lambda rng: estimators.mean(rng.lognormal(0, 0.5, 400)), np.exp(0.125)),
        Case("median, log-normal, n = 200", lambda rng: estimators.median(rng.lognormal(0, 1, 200)), 1.0, True),
        Case(
            "quantile 0.99, log-normal, n = 2000",
            lambda rng: estimators.quantile(rng.lognormal(0, 1, 2000), 0.99),
            float(np.exp(stats.norm.ppf(0.99))),
            True,
        ),
        Case(
            "standard deviation, normal, n = 200", lambda rng: estimators.standard_deviation(rng.normal(0, 2, 200)), 2
        ),
        Case(
            "standard deviation, log-normal, n = 4000",
            lambda rng: estimators.standard_deviation(rng.lognormal(0, 0.5, 4000)),
            log_normal_sd,
        ),
        Case("robust spread, normal, n = 200", lambda rng: estimators.robust_spread(rng.normal(0, 2, 200)), 2.0, True),
        Case(
            "root mean square, normal, n = 200", lambda rng: estimators.root_mean_square(rng.normal(0.5, 1, 200)), rms
        ),
        Case("share 0.5, n = 400", lambda rng: estimators.fraction(int(rng.binomial(400, 0.5)), 400), 0.5),
        Case("share 0.02, n = 1000", lambda rng: estimators.fraction(int(rng.binomial(1000, 0.02)), 1000), 0.02),
        Case(
            "share beyond 3 sd, normal, n = 20000",
            lambda rng: estimators.tail_fraction(rng.standard_normal(20_000)),
            tails,
            True,
        ),
        Case("bootstrap of a median, n = 200", lambda rng: estimators.bootstrap(np.median, rng.normal(0, 1, 200)), 0.0),
        Case("jackknife of a ratio, n = 100", _ratio, 2.0),
    ]


def _ratio(rng: np.random.Generator) -> Estimate:
    """Of sums over units that each have something of both."""
    below = rng.lognormal(0, 0.3, 100)
    sums = np.stack([below, 2 * below + rng.normal(0, 0.3, 100)], axis=1)
    return estimators.jackknife(lambda each: each[:, 1] / each[:, 0], sums, positive=True)


def _of_pairs() -> list[Case]:
    spearman = float(6 / np.pi * np.arcsin(0.6 / 2))
    return [
        Case("Pearson, normal, n = 400", lambda rng: estimators.correlation(*pairs(rng, 400, 0.6)), 0.6),
        Case("Pearson, Student's 8, n = 4000", lambda rng: estimators.correlation(*pairs(rng, 4000, 0.6, 8)), 0.6),
        Case("Spearman, normal, n = 100", lambda rng: estimators.rank_correlation(*pairs(rng, 100, 0.6)), spearman),
        Case("Spearman, independent, n = 50", lambda rng: estimators.rank_correlation(*pairs(rng, 50, 0.0)), 0.0),
        Case(
            "lag-1 correlation, 60 series of 60",
            lambda rng: estimators.lag1_correlation(autoregressive(rng, 60, 60, 0.4)),
            0.4,
        ),
        Case(
            "KS distance, normals 0.5 apart, n = 2000",
            lambda rng: estimators.ks_distance(rng.normal(0, 1, 2000), rng.normal(0.5, 1, 2000)),
            float(2 * stats.norm.cdf(0.25) - 1),
        ),
        Case(
            "difference of p90, n = 500",
            lambda rng: estimators.quantile_differences(rng.normal(0, 1, 500), rng.normal(0.3, 1, 500), [0.9])[0],
            0.3,
        ),
    ]


def _of_tables() -> list[Case]:
    return [
        Case(
            "device part, 300 devices x 20 cycles",
            lambda rng: estimators.variance_components(table_of(rng, 300, 20)).device,
            0.5,
        ),
        Case(
            "cycle part, 300 devices x 20 cycles",
            lambda rng: estimators.variance_components(table_of(rng, 300, 20)).cycle,
            0.3,
        ),
        Case(
            "device part, robust, 300 x 20",
            lambda rng: estimators.robust_components(table_of(rng, 300, 20)).device,
            0.5,
        ),
        Case(
            "cycle part, robust, 300 x 20",
            lambda rng: estimators.robust_components(table_of(rng, 300, 20)).cycle,
            0.3,
        ),
        Case("nested: devices", lambda rng: estimators.nested_components(nested(rng)).device, 0.5),
        Case("nested: cycles", lambda rng: estimators.nested_components(nested(rng)).cycle, 0.3),
        Case("nested: reads", lambda rng: estimators.nested_components(nested(rng)).read or _NONE, 0.2),
        *(
            Case(f"share of variance: {part}, 64 x 48", _share(part), truth)
            for part, truth in (("row", 0.25 / 1.34), ("column", 0.09 / 1.34), ("rest", 1 / 1.34))
        ),
        Case("share of variance: row, 5 % missing", _share("row", missing=0.05), 0.25 / 1.34),
        Case("row effect by medians, 40 x 32", _row_effect, 0.0, True),
        Case("gradient over 64 rows", _gradient, 0.02),
    ]


_NONE = Estimate(np.nan, np.nan, np.nan, 0)


def _share(part: str, missing: float = 0.0) -> Draw:
    def draw(rng: np.random.Generator) -> Estimate:
        table = lines(rng, 64, 48, 0.5, 0.3)
        table[rng.random(table.shape) < missing] = np.nan
        found: Estimate = getattr(estimators.variance_shares(table), part)
        return found

    return draw


def _row_effect(rng: np.random.Generator) -> Estimate:
    """The first row's, less its true one, so that the truth is 0."""
    row = 0.5 * rng.standard_normal(40)
    row -= np.median(row)
    table = rng.standard_normal((40, 32)) + row[:, None]
    fit = estimators.median_polish(table)
    return estimators.median(fit.row[0] + fit.rest[0] - row[0])


def _gradient(rng: np.random.Generator) -> Estimate:
    return estimators.slope_of_pairs(np.arange(64), 0.02 * np.arange(64) + 0.5 * rng.standard_normal(64))


def _of_series() -> list[Case]:
    return [
        Case("slope of a line of 6 points", lambda rng: _line(rng, "slope"), -0.05),
        Case("level of a line of 6 points", lambda rng: _line(rng, "level"), 1.0),
        *(
            Case(f"slope of a spectrum, {slope:g}", lambda rng, s=slope: _law(rng, s).slope, slope)
            for slope in (0.0, -1.0)
        ),
        *(
            Case(f"density at 0.05 Hz, slope {slope:g}", lambda rng, s=slope: _law(rng, s).level, 0.05**slope)
            for slope in (0.0, -1.0)
        ),
    ]


def _line(rng: np.random.Generator, part: str) -> Estimate:
    x = np.array([[-1.0, 0.0, 1.0, 2.0, 3.0, 4.0]])
    fit = estimators.fit_lines(x, 1.0 - 0.05 * x + rng.normal(0, 0.02, x.shape))
    value, half = getattr(fit, part)[0], getattr(fit, f"{part}_half")[0]
    return Estimate(value, value - half, value + half, 6)


def _law(rng: np.random.Generator, slope: float) -> estimators.PowerLaw:
    frequency, density = estimators.power_spectrum(coloured(rng, 1024, slope), 1.0)
    return estimators.power_law(frequency, density, 0.05)


def _of_maps() -> list[Case]:
    """Where the truth is that cells are independent: the share of maps whose I lies within the null interval."""
    return [
        *(
            Case(f"Moran's I, independent cells, distance {name}", _moran(place, without_lines=False), 0.0)
            for place, name in ((0, "1"), (3, "4"), (7, "16"))
        ),
        *(
            Case(f"Moran's I, lines taken out, distance {name}", _moran(place, without_lines=True), 0.0, True)
            for place, name in ((0, "1"), (3, "4"), (7, "16"))
        ),
    ]


def _moran(place: int, *, without_lines: bool) -> Draw:
    def draw(rng: np.random.Generator) -> Estimate:
        table = lines(rng, 40, 36, 0.5 * without_lines, 0.5 * without_lines)
        table[rng.random(table.shape) < 0.05] = np.nan
        rest = estimators.mean_polish(table).rest if without_lines else table
        found = estimators.correlogram(rest, without_lines=without_lines)
        value = found.value[place]
        return Estimate(value, found.null_low[place] - value, found.null_high[place] - value, table.size)

    return draw


_QUICK = re.compile(
    "root mean|beyond 3|jackknife|Spearman|share of variance: row|row effect|gradient|of a line|density|distance 1$"
)
"""Of intervals that no test of their estimator covers."""

CASES = tuple(
    replace(case, quick=bool(_QUICK.search(case.name)))
    for case in (*_of_samples(), *_of_pairs(), *_of_tables(), *_of_series(), *_of_maps())
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=4000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = []
    for case in CASES:
        low, high = accepted(options.repeats, case)
        share = covered(case, options.repeats)
        found.append({"interval": case.name, "covered": share, "accepted": [low, high], "within": low <= share <= high})
        if not options.json:
            mark = "" if low <= share <= high else "  <-"
            print(f"{case.name:46} {share:7.2%}   accepted {low:.2%} to {high:.2%}{mark}", flush=True)
    if options.json:
        print(json.dumps({"repeats": options.repeats, "intervals": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
