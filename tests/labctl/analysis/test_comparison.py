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


def trained(rng: np.random.Generator) -> xr.Dataset:
    """10 cells of one train of 200 pulses each; a cell's steps of 1 uS are its own to 20 %."""
    steps = 1e-6 * (1 + 0.2 * rng.standard_normal((10, 1)) + 0.05 * rng.standard_normal((10, 200)))
    values = np.concatenate([np.zeros((10, 1)), np.cumsum(steps, axis=1)], axis=1)
    both = np.stack([values, values[:, ::-1]], axis=1)[:, None]
    return xr.Dataset(
        {"conductance": (("cell", "train", "direction", "pulse"), both)},
        {"direction": ["set", "reset"]},
        {"measurement": "pulse-response"},
    )


def test_pulses_of_a_cell_are_not_cells() -> None:
    """Means of 10 cells differ by 9 % with one standard error, which intervals of 95 % take in 9 times of 10 and more;
    8 fits of 4 means hardly depend less than 8 draws: fewer than 75 % of them within error is 1 in 1,000."""
    rng = np.random.default_rng(6)
    rows = [row for _ in range(8) for row in compare(trained(rng), trained(rng)) if row.statistic == "mean"]
    assert np.mean([row.is_within_error for row in rows]) >= 0.75
    assert max(max(row.cells) for row in rows) <= 10


def test_a_single_train_is_compared_by_its_stretches() -> None:
    one, other = (trained(np.random.default_rng(seed)).isel(cell=[0]) for seed in (1, 2))
    rows = compare(one, other)
    assert rows
    assert all(max(row.cells) <= 20 for row in rows)


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        (1.0, 1.004, "differs by +0.4%"),
        (1.0, 0.5, "differs by -50%"),
        (-1.28e-6, -2.72e-6, "differs by -1.44 uS"),
        (-2.72e-6, -1.28e-6, "differs by +1.44 uS"),
    ],
)
def test_a_difference_is_said_so_that_it_tells(first: float, second: float, verdict: str) -> None:
    apart = second - first
    assert Comparison("mean", "x", "S", first, second, apart * 0.9, apart * 1.1, (9, 9)).verdict == verdict


def test_two_kinds_or_no_common_time_are_one_sentence() -> None:
    data = relaxing(200, np.random.default_rng(5))
    with pytest.raises(UsageError, match="a retention run and a forming run cannot be compared"):
        compare(data, data.assign_attrs(measurement="forming"))
    later = retention(data["conductance"].values, times=TIMES * 1000)
    with pytest.raises(UsageError, match="no time in common"):
        compare(data, later.isel(time=[0, 3, 4]))
