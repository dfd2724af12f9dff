"""Two runs that are the same are told to be, and what differs is named with how much."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from made_up import TIMES, relaxing, retention

from labctl.analysis.comparison import Comparison, compare
from labctl.errors import UsageError


def by_name(rows: list[Comparison]) -> dict[str, Comparison]:
    return {f"{each.statistic} {each.what}".strip(): each for each in rows}


def test_cells_of_one_chip_agree() -> None:
    """At 95 % an interval; statistics of a level go together, so that of some 60 independent ones 85 % is 3 sigma."""
    rng = np.random.default_rng(1)
    rows = compare(relaxing(2000, rng), relaxing(2000, rng))
    assert np.mean([each.is_within_error for each in rows]) >= 0.85
    kinds = {each.statistic for each in rows}
    assert {"mean", "sd", "robust_sd", "p1", "p99", "escape", "tail_beyond_3_sd", "correlation"} <= kinds


def test_what_differs_is_named_with_how_much() -> None:
    rng = np.random.default_rng(2)
    first, second = relaxing(3000, rng), relaxing(3000, rng)
    table = second["conductance"].values
    wider = table[:, :1] + 1.5 * (table - table[:, :1])
    rows = compare(first, second.assign(conductance=(("cell", "time"), np.minimum(wider, 65e-6))))
    spread = [each for each in rows if each.statistic == "robust_sd"]
    assert all(not each.is_within_error for each in spread)
    assert np.median([each.relative for each in spread]) == pytest.approx(0.5, abs=0.1)
    assert spread[0].verdict.startswith("differs by +")
    escape = by_name(rows)["escape 10 ms"]
    assert escape.second > escape.first
    assert escape.verdict == f"differs by {escape.second - escape.first:+.3f}"


def test_times_are_matched_and_missing_ones_left_out() -> None:
    rng = np.random.default_rng(3)
    first, second = relaxing(500, rng), relaxing(500, rng)
    second = second.assign_coords(time=second["time"] * 1.05).isel(time=[0, 1, 3])
    times = {each.what for each in compare(first, second) if each.statistic == "escape"}
    assert times == {"10 ms", "1 s"}


def test_distributions_are_compared_quantile_by_quantile() -> None:
    rng = np.random.default_rng(4)

    def formed(middle: float) -> xr.Dataset:
        voltage = rng.normal(middle, 0.1, 2000)
        voltage[:100] = np.nan
        return xr.Dataset(
            {"forming_voltage": ("cell", voltage), "conductance": ("cell", rng.normal(12e-6, 1e-6, 2000))},
            attrs={"measurement": "forming"},
        )

    rows = by_name(compare(formed(3.4), formed(3.5)))
    assert rows["p50 forming voltage"].second - rows["p50 forming voltage"].first == pytest.approx(0.1, abs=0.02)
    assert not rows["p50 forming voltage"].is_within_error
    assert rows["share share formed"].first == rows["share share formed"].second == 0.95


def test_two_kinds_or_no_common_time_are_one_sentence() -> None:
    data = relaxing(200, np.random.default_rng(5))
    with pytest.raises(UsageError, match="a retention run and a forming run cannot be compared"):
        compare(data, data.assign_attrs(measurement="forming"))
    later = retention(data["conductance"].values, times=TIMES * 1000)
    with pytest.raises(UsageError, match="no time in common"):
        compare(data, later.isel(time=[0, 3, 4]))
