from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from programmed_runs import write_passes

import labctl
from labctl import analysis
from labctl.errors import UsageError

TARGET = np.array([10e-6, 20e-6])
READINGS: list[dict[int, float]] = [{0: 5e-6, 1: 1e-3}, {0: 8e-6, 1: 9e-6}, {0: 9e-6}]


def test_a_history_is_the_cells_part_of_the_events_with_their_operations(tmp_path: Path) -> None:
    path = write_passes(tmp_path / "run.h5", TARGET, READINGS)
    found = analysis.cell_history(path, 0)
    with labctl.open_run(path) as tree:
        events = tree["events"].to_dataset().isel(event=found["event_row"].values).load()
    assert (events["cell"] == 0).all()
    for name in ("amplitude", "reading", "status", "time", "operation"):
        np.testing.assert_array_equal(found[name].values, events[name].values)
    kinds = found["kind"].attrs["flag_meanings"].split()
    assert [kinds[code] for code in found["kind"].values] == ["read", "set", "set"]
    np.testing.assert_array_equal(found["width"], [np.nan, 1e-7, 1e-7])
    assert found["status"].dtype == np.uint8
    assert analysis.cell_history(path, (0, 1))["status"].values.tolist() == [1, 0]  # the first one was saturated


def test_a_cells_life_over_many_runs_is_one_line_of_events(tmp_path: Path) -> None:
    paths = [
        write_passes(
            tmp_path / f"{name}.h5", TARGET, READINGS[:passes], wall_time_start=f"2024-05-0{day}T10:00:00+0200"
        )
        for name, passes, day in (("late", 3, 7), ("early", 2, 2))
    ]
    found = analysis.cell_history(paths, 0)
    assert found.sizes == {"event": 5}
    assert found["path"].values.tolist() == [str(paths[1])] * 2 + [str(paths[0])] * 3
    assert found["started"].values[0] == np.datetime64("2024-05-02T08:00:00")
    assert found["chip_serial"].values.tolist() == ["MADE-UP-1"] * 5


@pytest.mark.parametrize("cell", ["3,5", 0.0, 3.5, True, [0, 1], (0, 1.5), (0, 1, 0), None])
def test_what_names_no_cell_is_refused_before_a_file_is_opened(tmp_path: Path, cell: object) -> None:
    with pytest.raises(UsageError, match=r"names no cell: it is an index from 0 to n-1, or \(row, col\)"):
        analysis.cell_history(tmp_path / "absent.h5", cell)


def test_a_cell_may_be_named_in_numpys_integers_and_has_to_be_on_the_array(tmp_path: Path) -> None:
    path = write_passes(tmp_path / "run.h5", TARGET, READINGS)
    plain = analysis.cell_history(path, (0, 1))
    assert analysis.cell_history(path, (np.int64(0), np.uint8(1))).equals(plain)
    assert analysis.cell_history(path, np.int64(1)).equals(plain)
    with pytest.raises(UsageError, match="no cell 2"):
        analysis.cell_history(path, 2)
