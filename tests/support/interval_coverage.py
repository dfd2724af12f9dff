"""How often intervals hold the truth, against how often they say they do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from labctl.analysis.estimators import Estimate

REPETITIONS = 300
NOMINAL = 0.95
_DEVIATIONS = 3.5  # of the binomial count: a right interval fails one test in 4,000


def assert_covers(
    estimate: Callable[[np.random.Generator], Estimate],
    truth: float,
    *,
    conservative: bool = False,
    slack: float = 0.0,
    seed: int = 1,
) -> None:
    """That the interval of `estimate(rng)` holds `truth` in about 95 of 100 repetitions.

    conservative: more often is right as well. slack: by how much an interval that is right for large samples may be
    off at this sample size.
    """
    rng = np.random.default_rng(seed)
    held = sum(found.low <= truth <= found.high for found in (estimate(rng) for _ in range(REPETITIONS)))
    margin = _DEVIATIONS * np.sqrt(NOMINAL * (1 - NOMINAL) / REPETITIONS) + slack
    share = held / REPETITIONS
    assert share >= NOMINAL - margin, f"held the truth in {share:.1%}"
    assert conservative or share <= NOMINAL + margin, f"held the truth in {share:.1%}"
