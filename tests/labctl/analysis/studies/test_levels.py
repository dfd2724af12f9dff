from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from measured_runs import write_iv, write_programming, write_read_noise
from programmed_runs import write_passes
from scipy import stats

from labctl import analysis
from labctl.errors import RecordingError, UsageError

MICRO = 1e-6


def programmed(path: Path, n: int = 4000, sd: float = 0.3e-6) -> tuple[Path, np.ndarray]:
    """Two levels with normal errors, windows of 1 uS, and a known number of pulses."""
    rng = np.random.default_rng(1)
    target = np.repeat([10 * MICRO, 20 * MICRO], n)
    error = np.concatenate([rng.normal(0.1 * MICRO, sd, n), rng.normal(0, 3 * sd, n)])
    pulses = rng.geometric(0.2, 2 * n)
    inside = np.abs(error) <= MICRO
    settings = {"settings": {"tolerance": MICRO}}
    return write_programming(path, target, target + error, pulses, inside, **settings), error.reshape(2, n)


def test_statistics_of_levels_are_those_of_the_distributions_they_were_drawn_from(tmp_path: Path) -> None:
    path, _ = programmed(tmp_path / "run.h5")
    found = analysis.levels(path)
    np.testing.assert_allclose(found["target"], [10 * MICRO, 20 * MICRO], rtol=1e-6)
    assert found["cells"].values.tolist() == [4000, 4000]
    outside = 2 * stats.norm.sf(MICRO / (0.9 * MICRO))
    truths = {
        "error_mean": [0.1 * MICRO, 0],
        "error_median": [0.1 * MICRO, 0],
        "error_sd": [0.3 * MICRO, 0.9 * MICRO],
        "error_spread": [0.3 * MICRO, 0.9 * MICRO],
        "beyond_window": [stats.norm.sf(3) + stats.norm.cdf(-11 / 3), outside],
        "in_window": [1 - stats.norm.sf(3) - stats.norm.cdf(-11 / 3), 1 - outside],
        "pulses_mean": [5, 5],
        "pulses_median": [4, 4],
        "pulses_p99": [21, 21],
    }
    for name, truth in truths.items():
        value, low, high = (found[each].values for each in (name, f"{name}_low", f"{name}_high"))
        assert (low <= value).all(), name
        assert (value <= high).all(), name
        half = np.maximum(high - low, 1e-12) / 2
        assert (np.abs(value - truth) <= 2 * half).all(), name  # 4 standard errors
    assert found["beyond_spread"].values == pytest.approx(2 * stats.norm.sf(3), abs=4 * np.sqrt(0.0027 / 4000))
    assert found["error_sd"].attrs["units"] == "S"
    assert "95 %" in found["error_sd_low"].attrs["long_name"].replace("95%", "95 %")


def test_levels_are_bins_of_as_many_cells_or_between_edges(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    target = rng.uniform(5 * MICRO, 45 * MICRO, 1000)
    path = write_programming(tmp_path / "run.h5", target, target, np.ones(1000), np.ones(1000, bool))
    assert analysis.levels(path, bins=10)["cells"].values.tolist() == [100] * 10
    edged = analysis.levels(path, edges=[5 * MICRO, 15 * MICRO, 45 * MICRO])
    assert edged["cells"].values.tolist() == [
        np.count_nonzero(target < 15 * MICRO),
        np.count_nonzero(target >= 15 * MICRO),
    ]
    assert edged["target_highest"].values[0] < 15 * MICRO <= edged["target_lowest"].values[1]


def test_cells_of_one_target_are_never_shared_out_to_two_bins(tmp_path: Path) -> None:
    target = np.repeat([5e-6, 10e-6, 20e-6], [700, 200, 100])
    path = write_programming(tmp_path / "run.h5", target, target, np.ones(1000), np.ones(1000, bool))
    assert analysis.levels(path, bins=4)["cells"].values.tolist() == [700, 200, 100]


def test_without_a_window_in_its_settings_a_run_tells_no_share_beyond_it_unless_given_one(tmp_path: Path) -> None:
    target = np.full(100, 10 * MICRO)
    reached = target + np.linspace(-2, 2, 100) * MICRO
    path = write_programming(tmp_path / "run.h5", target, reached, np.ones(100), np.ones(100, bool))
    assert np.isnan(analysis.levels(path)["beyond_window"]).all()
    assert analysis.levels(path, window=1.01 * MICRO)["beyond_window"].item() == pytest.approx(0.5)


def test_quantities_may_be_text(tmp_path: Path) -> None:
    path, _ = programmed(tmp_path / "run.h5", 50)
    text = analysis.levels(path, window="0.5 uS", edges=["5 uS", 15e-6, np.float32(25e-6)])
    assert text.equals(analysis.levels(path, window=0.5e-6, edges=[5e-6, 15e-6, 25e-6]))
    assert text["cells"].values.tolist() == [50, 50]


def test_a_killed_run_is_told_by_its_events(tmp_path: Path) -> None:
    target = np.array([10e-6, 10e-6, 10e-6, np.nan])
    readings = [{0: 5e-6, 1: 5e-6, 2: 5e-6, 3: 5e-6}, {0: 7e-6, 1: 9.5e-6, 2: 8e-6}, {0: 10.2e-6, 2: 12e-6}]
    path = write_passes(tmp_path / "run.h5", target, readings, killed=True)
    found = analysis.levels(path)
    assert found["cells"].item() == found["n"].item() == 3
    assert found["in_window"].item() == pytest.approx(2 / 3)
    assert found["pulses_mean"].item() == pytest.approx(5 / 3)
    assert found["error_mean"].item() == pytest.approx(np.mean([0.2, -0.5, 2]) * MICRO, abs=2e-8)


def test_many_runs_are_told_apart_by_chip_and_path(tmp_path: Path) -> None:
    paths = [programmed(tmp_path / f"{name}.h5", 200)[0] for name in ("a", "b")]
    for many in (paths, str(tmp_path / "*.h5"), [tmp_path / "a.h5", str(tmp_path / "b.h5")]):
        found = analysis.levels(many)
        assert found["path"].values.tolist() == [str(path) for path in paths]
        assert found["chip_serial"].values.tolist() == ["MADE-UP-1"] * 2
        assert found["error_sd"].dims == ("run", "level")
    one = analysis.levels(paths[0])
    assert one["error_sd"].dims == ("level",)
    assert found["started"].values[0] == one["started"].values


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bins": 2, "edges": [0, 1]}, "not by both"),
        ({"bins": 0}, "hold no cells"),
        ({"edges": [2e-5, 1e-5]}, "increasing"),
        ({"edges": "1 uS"}, "edges: expected a list of quantities in S"),
        ({"edges": ["1 uS", "2 V"]}, "edges: '2 V' is not in S"),
        ({"window": "wide"}, "window: 'wide' is not a quantity"),
    ],
)
def test_levels_that_make_no_sense_are_refused(tmp_path: Path, options: dict[str, object], said: str) -> None:
    path, _ = programmed(tmp_path / "run.h5", 20)
    with pytest.raises(UsageError, match=said):
        analysis.levels(path, **options)


def test_a_run_that_programmed_nothing_is_refused(tmp_path: Path) -> None:
    path = write_read_noise(tmp_path / "run.h5", np.full((3, 70), 1e-5), 100.0)
    with pytest.raises(RecordingError, match="read-noise run programs no cells"):
        analysis.levels(path)


def test_a_pattern_that_no_file_fits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no file is called like"):
        analysis.levels(str(tmp_path / "*.h5"))


def test_messages_say_an_before_a_vowel(tmp_path: Path) -> None:
    path = write_iv(tmp_path / "run.h5", np.array([0.1, 0.2]), np.full((3, 2), 1e-6))
    with pytest.raises(RecordingError, match=r"^an iv run programs no cells"):
        analysis.levels(path)
