from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from measured_runs import write_map, write_programming

from labctl import analysis
from labctl.errors import RecordingError, UsageError


def field(seed: int = 1, rows: int = 48, cols: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noise of 1 with rows of 0.5 and columns of 0.3, and those effects."""
    rng = np.random.default_rng(seed)
    row, col = 0.5 * rng.standard_normal(rows), 0.3 * rng.standard_normal(cols)
    return rng.standard_normal((rows, cols)) + row[:, None] + col, row, col


def test_effects_and_shares_of_rows_and_columns_are_found() -> None:
    values, row, _ = field()
    found = analysis.spatial(values)
    held = (found["row_effect_low"] <= row - np.median(row)) & (row - np.median(row) <= found["row_effect_high"])
    assert held.mean() > 0.85  # of 48 intervals of 95 %: fewer than 41 once in 10,000
    assert found["row_share_low"] < 0.25 / 1.34 < found["row_share_high"]
    assert found["column_share_low"] < 0.09 / 1.34 < found["column_share_high"]
    total = found["row_share"] + found["column_share"] + found["rest_share"]
    assert total.item() == pytest.approx(1)


def test_cells_far_off_are_left_out_and_counted_and_hide_nothing() -> None:
    values, _, _ = field()
    stuck = values.copy()
    rng = np.random.default_rng(2)
    stuck.flat[rng.choice(values.size, 40, replace=False)] = 500.0
    clean, spoilt = analysis.spatial(values), analysis.spatial(stuck)
    assert spoilt["outliers"].item() == 40
    assert spoilt["row_share"].item() == pytest.approx(clean["row_share"].item(), abs=0.02)
    assert analysis.spatial(stuck, outliers=None)["row_share"].item() < 0.05


def test_a_slope_across_the_array_is_told_for_each_direction() -> None:
    rng = np.random.default_rng(3)
    values = rng.standard_normal((64, 48)) + 0.02 * np.arange(64)[:, None] - 0.01 * np.arange(48)
    found = analysis.spatial(values)
    assert found["row_gradient_low"] < 0.02 < found["row_gradient_high"]
    assert found["column_gradient_low"] < -0.01 < found["column_gradient_high"]
    assert found["row_gradient_low"] > 0 > found["column_gradient_high"]


def test_smooth_maps_are_correlated_as_far_as_they_are_smooth() -> None:
    rng = np.random.default_rng(4)
    rough = rng.standard_normal((70, 70))
    smooth = sum(np.roll(rough, (i, j), (0, 1)) for i in range(4) for j in range(4))[4:, 4:] / 4
    found = analysis.spatial(smooth)["autocorrelation"].sel(of="map")
    assert found.sel(distance=1).item() == pytest.approx(0.75, abs=0.06)  # 12 of 16 cells in common
    far = analysis.spatial(rough)
    inside = (far["autocorrelation"] >= far["autocorrelation_null_low"]) & (
        far["autocorrelation"] <= far["autocorrelation_null_high"]
    )
    assert inside.mean() > 0.7


def test_moran_is_the_sum_over_pairs_also_with_missing_cells() -> None:
    rng = np.random.default_rng(5)
    values = rng.standard_normal((9, 11))
    values[rng.random(values.shape) < 0.2] = np.nan
    found = analysis.spatial(values, outliers=None)
    places = np.argwhere(np.isfinite(values))
    z = values[tuple(places.T)] - np.nanmean(values)
    apart = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    for distance, before in ((1, 0), (2, 1), (3, 2), (4, 3)):
        pairs = (apart > before) & (apart <= distance)
        expected = len(z) / pairs.sum() * (pairs * np.outer(z, z)).sum() / np.sum(z**2)
        one = found.sel(of="map", distance=distance)
        assert one["autocorrelation"].item() == pytest.approx(expected)
        assert one["pairs"].item() == pairs.sum() // 2


def test_runs_give_their_errors_or_conductances_and_any_map_they_wrote(tmp_path: Path) -> None:
    values = 1e-5 + 1e-6 * field()[0]
    read = write_map(tmp_path / "map.h5", np.stack([values, values]))
    found = analysis.spatial(read)
    assert found.attrs["quantity"] == "conductance"
    assert found["row_effect"].attrs["units"] == "S"
    assert found["row_share_low"] < 0.25 / 1.34 < found["row_share_high"]
    target = np.full(99, 1e-5)
    reached = target + 1e-7 * np.random.default_rng(1).standard_normal(99)
    paths = [
        write_programming(tmp_path / f"{name}.h5", target, reached, np.ones(99), np.ones(99, bool)) for name in "ab"
    ]
    many = analysis.spatial(paths)
    assert many["row_effect"].dims == ("run", "row")
    assert many.attrs["quantity"] == "error"
    named = analysis.spatial(paths[0], quantity="reached")
    assert named["cells"].item() == 99 - named["outliers"].item()


def test_what_is_no_map_is_refused() -> None:
    with pytest.raises(UsageError, match="rows and columns"):
        analysis.spatial(xr.DataArray(np.zeros(3), dims="cell"))
    with pytest.raises(RecordingError, match="less than two known cells"):
        analysis.spatial(np.full((4, 4), np.nan))
