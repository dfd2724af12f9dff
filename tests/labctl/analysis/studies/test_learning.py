from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from measured import record
from programmed_runs import TOLERANCE, write_passes

from labctl import analysis
from labctl.errors import RecordingError

TARGET = np.array([10e-6, 10e-6, 20e-6, 20e-6, np.nan, 10e-6])
READINGS: list[dict[int, float]] = [
    {0: 9.5e-6, 1: 5e-6, 2: 5e-6, 3: 5e-6, 4: 5e-6, 5: 1e-7},  # cell 5 was never formed
    {1: 8e-6, 2: 12e-6, 3: 19.5e-6},
    {1: 9.9e-6, 2: 16e-6},
    {2: 20.5e-6},
]


@pytest.mark.parametrize("killed", [False, True])
def test_the_curve_is_what_the_readings_say_after_each_pass(tmp_path: Path, killed: bool) -> None:
    found = analysis.learning_curve(write_passes(tmp_path / "run.h5", TARGET, READINGS, killed=killed))
    assert found.attrs["cells"] == 4
    assert found["step"].values.tolist() == [0, 1, 2, 3]
    assert found["phase"].values.tolist() == ["initial_read"] + ["program"] * 3
    np.testing.assert_allclose(found["pulses"], [0, 0.75, 1.25, 1.5])
    np.testing.assert_allclose(found["in_window"], [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(found["unfinished"], [0.75, 0.5, 0.25, 0])
    last = dict(READINGS[0])
    for place, done in enumerate(READINGS):
        last |= done
        errors = [last[cell] - TARGET[cell] for cell in range(4)]
        assert found["rms_error"].values[place] == pytest.approx(np.sqrt(np.mean(np.square(errors))), abs=1e-8)
    assert (found["in_window_low"] < found["in_window"]).all()


def test_a_run_on_a_board_ends_where_its_last_readings_are(tmp_path: Path) -> None:
    target = np.random.default_rng(1).uniform(5e-6, 40e-6, (16, 16))
    recorded = record(tmp_path, "write_verify", rows=16, cols=16, target=target, tolerance="2 uS", reverify=[])
    (path,) = (tmp_path / "runs").glob("*.h5")
    found = analysis.learning_curve(path)
    assert found["unfinished"].values[-1] == 0
    kinds = np.isin(recorded.operations["kind"].values, [2, 3])
    pulses = int(recorded.operations["events"].values[kinds].sum())
    assert found["pulses"].values[-1] * found.attrs["cells"] == pytest.approx(pulses)
    last = np.full(256, np.nan)
    read = np.isfinite(recorded.events["reading"].values)
    last[recorded.events["cell"].values[read]] = recorded.events["reading"].values[read]
    inside = np.abs(last - target.ravel()) <= 2e-6
    assert found["in_window"].values[-1] * found.attrs["cells"] == pytest.approx(np.count_nonzero(inside))


def test_many_runs_stand_on_one_grid_with_their_median(tmp_path: Path) -> None:
    paths = [write_passes(tmp_path / f"{name}.h5", TARGET, READINGS[: 2 + name]) for name in (0, 1, 2)]
    paths.append(write_passes(tmp_path / "killed.h5", TARGET, READINGS[:2], killed=True))
    found = analysis.learning_curve(paths, pulses=[0, 0.75, 1, 1.25, 1.5])
    np.testing.assert_allclose(
        found["in_window"],
        [
            [0.25, 0.5, 0.5, 0.5, 0.5],
            [0.25, 0.5, 0.5, 0.75, 0.75],
            [0.25, 0.5, 0.5, 0.75, 1],
            [0.25, 0.5] + [np.nan] * 3,
        ],
    )
    np.testing.assert_allclose(found["in_window_median"], [0.25, 0.5, 0.5, 0.75, 0.75])
    assert found["runs"].values.tolist() == [4, 4, 3, 3, 3]
    assert np.isinf(found["in_window_median_high"]).all()
    assert found["in_window_median"].dims == ("pulses",)


def test_the_window_may_be_another(tmp_path: Path) -> None:
    path = write_passes(tmp_path / "run.h5", TARGET, READINGS, settings={})
    assert np.isnan(analysis.learning_curve(path)["in_window"]).all()
    wide = analysis.learning_curve(path, window=4 * TOLERANCE)
    np.testing.assert_allclose(wide["in_window"].values[:2], [0.25, 0.75])


def test_a_run_without_a_pulse_has_no_curve(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no SET or RESET pulse"):
        analysis.learning_curve(write_passes(tmp_path / "run.h5", TARGET, READINGS[:1]))
