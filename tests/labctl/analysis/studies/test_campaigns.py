from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from measured_runs import write_programming
from programmed_runs import write_passes

import labctl
from labctl import analysis
from labctl.errors import RecordingError, UsageError

TARGET = np.full(60, 1e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four runs, a file that is none, and a run cut short."""
    found = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(1)
    for number in range(4):
        reached = TARGET + 1e-7 * rng.standard_normal(60)
        write_programming(found / f"run{number}.h5", TARGET, reached, np.ones(60), np.ones(60, bool))
    with h5py.File(found / "else.h5", "w") as file:
        file["x"] = 1
    whole = (found / "run0.h5").read_bytes()
    (found / "short.h5").write_bytes(whole[: len(whole) // 2])
    return found


def mean_reading(path: str, factor: float = 1.0) -> xr.Dataset:
    """A study of one's own."""
    with labctl.open_run(path) as tree:
        return xr.Dataset({"mean": factor * tree["events"]["reading"].mean()})


def breaks(path: str) -> xr.Dataset:
    if "run2" in path:
        raise ZeroDivisionError("by this study")
    return mean_reading(path)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_cannot_be_done_is_named_and_the_rest_is_as_one_by_one(folder: Path, workers: int) -> None:
    found = analysis.campaign(str(folder / "*.h5"), analysis.levels, workers=workers, window=1e-6)
    paths = [str(folder / f"run{number}.h5") for number in range(4)]
    assert found["path"].values.tolist() == paths
    alone = analysis.levels(paths, window=1e-6)
    xr.testing.assert_identical(found.drop_vars(["failed_path", "failure"]), alone)
    failed = dict(zip(found["failed_path"].values.tolist(), found["failure"].values.tolist(), strict=True))
    assert sorted(Path(path).name for path in failed) == ["else.h5", "short.h5"]
    assert "not a run file of labctl" in failed[str(folder / "else.h5")]
    assert "bytes are missing" in failed[str(folder / "short.h5")]


def test_a_study_may_be_anybodys_and_may_fail(folder: Path) -> None:
    found = analysis.campaign(str(folder / "run*.h5"), breaks)
    assert found.sizes["run"] == 3
    assert found["failure"].values.tolist() == ["ZeroDivisionError: by this study"]
    assert found["chip_serial"].values.tolist() == ["MADE-UP-1"] * 3
    doubled = analysis.campaign(folder / "run0.h5", mean_reading, factor=2.0)
    assert doubled["mean"].item() == pytest.approx(2 * found["mean"].values[0])
    assert doubled.sizes == {"run": 1, "failed": 0}


def test_a_campaign_of_curves_has_one_grid_and_the_median(tmp_path: Path) -> None:
    target = np.array([1e-5])
    paths = [write_passes(tmp_path / f"{n}.h5", target, [{0: 5e-6}, *[{0: 8e-6}] * n, {0: 1e-5}]) for n in (0, 1, 2)]
    found = analysis.campaign(paths, analysis.learning_curve)
    assert found["in_window"].dims == ("run", "pulses")
    assert found["in_window_median"].sel(pulses=2.01, method="nearest").item() == 1


def test_results_can_be_written_and_read_as_netcdf(folder: Path, tmp_path: Path) -> None:
    found = analysis.campaign(str(folder / "*.h5"), analysis.levels)
    found.to_netcdf(tmp_path / "levels.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "levels.nc", engine="h5netcdf") as back:
        xr.testing.assert_equal(back.load(), found)


def test_a_campaign_of_nothing_but_failures_says_the_first(folder: Path) -> None:
    with pytest.raises(RecordingError, match=r"none of 1 runs could be done; .*else\.h5: .*not a run file"):
        analysis.campaign([folder / "else.h5"], analysis.levels)


def test_a_campaign_is_here_or_elsewhere(folder: Path) -> None:
    with pytest.raises(UsageError, match="not both"):
        analysis.campaign(folder / "run0.h5", analysis.levels, workers=2, scheduler="tcp://127.0.0.1:1")
    with pytest.raises(UsageError, match="worker at least"):
        analysis.campaign(folder / "run0.h5", analysis.levels, workers=0)


def test_a_cluster_does_it_by_its_address(folder: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="needs the extra `dask`")
    with distributed.LocalCluster(
        n_workers=2, processes=True, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=50
    ) as cluster:
        assert cluster.scheduler_address.startswith("tcp://127.0.0.1:")
        found = analysis.campaign(str(folder / "*.h5"), analysis.levels, scheduler=cluster.scheduler_address)
        workers = cluster.scheduler.workers
        assert len(workers) == 2
    xr.testing.assert_identical(found, analysis.campaign(str(folder / "*.h5"), analysis.levels))


def test_a_scheduler_that_does_not_answer_is_said_in_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="needs the extra `dask`")
    monkeypatch.setattr("labctl.analysis.studies.campaigns.ANSWERS_WITHIN", "0.3s")
    with pytest.raises(UsageError, match=r"no dask scheduler answers at tcp://127\.0\.0\.1:9"):
        analysis.campaign(folder / "run0.h5", analysis.levels, scheduler="tcp://127.0.0.1:9")
