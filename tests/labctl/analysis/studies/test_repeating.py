from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from measured_runs import write_endurance, write_programming

import labctl
from labctl import analysis
from labctl.errors import RecordingError, UsageError


def runs(folder: Path, n: int = 900) -> tuple[list[Path], np.ndarray]:
    """Three runs of the same cells: the second does half as the first did, the third something else."""
    rng = np.random.default_rng(1)
    first, second, third = rng.standard_normal((3, n))
    columns = np.stack([first, 0.6 * first + 0.8 * second, third])
    pulses = np.rint(100 + 20 * columns)
    target = np.full(n, 1e-5)
    paths = [
        write_programming(folder / f"{k}.h5", target, target + 1e-7 * columns[k], pulses[k], np.ones(n, bool))
        for k in range(3)
    ]
    return paths, columns


def test_what_cells_did_before_predicts_what_they_do_again(tmp_path: Path) -> None:
    paths, columns = runs(tmp_path)
    found = analysis.correlation(paths, quantity="error", method="pearson")
    np.testing.assert_allclose(found["correlation"], np.corrcoef(columns), atol=0.01)
    assert found["correlation_low"].values[0, 1] < 0.6 < found["correlation_high"].values[0, 1]
    assert found["correlation_low"].values[0, 2] < 0 < found["correlation_high"].values[0, 2]
    assert found["n"].values.tolist() == [[900] * 3] * 3
    assert found["other_path"].values.tolist() == [str(path) for path in paths]


def test_ranks_of_pulses_are_the_default(tmp_path: Path) -> None:
    paths, _ = runs(tmp_path)
    found = analysis.correlation(paths)
    assert found.attrs == {"method": "spearman", "quantity": "pulses"}
    spearman = 6 / np.pi * np.arcsin(0.3)
    assert found["correlation_low"].values[0, 1] < spearman < found["correlation_high"].values[0, 1]


def test_repeats_within_a_run_stand_under_their_own_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    device = rng.standard_normal((500, 1))
    lrs = 1e-4 * np.exp(0.2 * device + 0.2 * rng.standard_normal((500, 4)))
    path = write_endurance(tmp_path / "run.h5", lrs, np.full((500, 4), 2e-6))
    with labctl.open_run(path) as tree:
        states = np.log(analysis.measurement(tree)["conductance"].sel(state="lrs"))
    found = analysis.correlation(states.drop_vars("state"))
    assert found["correlation"].dims == ("cycle", "other")
    upper = found["correlation"].values[np.triu_indices(4, 1)]
    assert upper.mean() == pytest.approx(0.5 * 0.97, abs=0.1)


def test_what_cannot_be_correlated_is_refused(tmp_path: Path) -> None:
    paths, _ = runs(tmp_path, 50)
    with pytest.raises(UsageError, match="needs two"):
        analysis.correlation(paths[0])
    with pytest.raises(UsageError, match="no method"):
        analysis.correlation(paths, method="kendall")  # type: ignore[arg-type]
    with pytest.raises(RecordingError, match="has no `charge`"):
        analysis.correlation(paths, quantity="charge")
    with pytest.raises(UsageError, match="`cell` and one other"):
        analysis.correlation(xr.DataArray(np.zeros((3, 4)), dims=("a", "b")))
    with pytest.raises(UsageError, match="different numbers of cells"):
        analysis.correlation([paths[0], *runs_of_another_size(tmp_path)])


def runs_of_another_size(folder: Path) -> list[Path]:
    target = np.full(200, 1e-5)
    return [write_programming(folder / "other.h5", target, target, np.ones(200), np.ones(200, bool))]
