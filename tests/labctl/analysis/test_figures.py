"""Figures show what is in the file, of runs that ended well and of others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from benches import write_bench
from measured_runs import write_map

import labctl
from labctl.analysis.figures import draw, save_figure
from labctl.errors import LimitError, RecordingError

TARGET = np.random.default_rng(2).uniform(5e-6, 35e-6, (24, 24))


def panels(path: Path) -> dict[str, object]:
    with labctl.open_run(path) as tree:
        return {axis.get_title(): axis for axis in draw(tree).axes}


def programmed(folder: Path, target: np.ndarray, arrays: str = "") -> Path:
    """The run file of programming `target`, which a cell limit in `arrays` may end."""
    with labctl.load_bench(write_bench(folder, rows=24, cols=24, arrays=arrays)) as bench, bench.array() as array:
        try:
            return labctl.run("write_verify", array, target=target).path
        except LimitError as problem:
            return problem.run_path  # type: ignore[attr-defined]


def test_a_programming_run_is_drawn_whole(tmp_path: Path) -> None:
    path = programmed(tmp_path, TARGET)
    found = panels(path)
    with labctl.open_run(path) as tree:
        target, reached = (tree["maps"][name].values * 1e6 for name in ("target", "reached"))
    assert np.allclose(found["target (µS)"].images[0].get_array(), target)
    assert np.allclose(found["reached (µS)"].images[0].get_array(), reached)
    counts = [text.get_text() for text in found["outcome"].get_legend().get_texts()]
    assert sum(int(text.rpartition(": ")[2]) for text in counts) == 24 * 24
    assert found["convergence"].lines[0].get_ydata()[-1] > 500


def test_a_run_that_failed_is_drawn_from_its_events(tmp_path: Path) -> None:
    path = programmed(tmp_path, TARGET, "[arrays.main.cell_limits]\nmax_pulses = 15")
    with labctl.open_run(path) as tree:
        assert tree.attrs["outcome"] == "failed"
        assert not np.isfinite(tree["maps"]["reached"].values).any()
        events = tree["events"].to_dataset()
        last = {
            int(cell): float(value) for cell, value in zip(events["cell"].values, events["reading"].values, strict=True)
        }
    found = panels(path)
    expected = np.array([last[cell] for cell in range(24 * 24)]).reshape(24, 24) * 1e6
    assert np.allclose(found["reached (µS)"].images[0].get_array(), expected)
    assert found["pulses per cell"].lines


def test_few_levels_are_shown_level_by_level(tmp_path: Path) -> None:
    levels = np.tile(np.array([5e-6, 15e-6, 25e-6, 35e-6]), (24, 6))
    assert "reached by level" in panels(programmed(tmp_path, levels))


def test_forming_and_reading_have_figures_of_their_own(tmp_path: Path) -> None:
    with labctl.load_bench(write_bench(tmp_path)) as bench, bench.array() as array:
        formed, read = labctl.run("forming", array), labctl.run("read", array, repeats=3)
    notes = [note.get_text() for note in panels(formed.path)["where cells formed"].texts]
    assert notes == [f"never formed: {formed.summary['never_formed']}"]
    assert "conductance (µS)" in panels(read.path)
    for ending in ("png", "svg", "pdf"):
        assert save_figure(read.path, tmp_path / f"figure.{ending}").stat().st_size > 1000


@pytest.mark.parametrize(("name", "sentence"), [("figure", "by an ending"), ("absent/figure.png", "cannot be written")])
def test_a_figure_that_cannot_be_written_is_one_sentence(tmp_path: Path, name: str, sentence: str) -> None:
    with labctl.load_bench(write_bench(tmp_path)) as bench, bench.array() as array:
        path = labctl.run("read", array).path
    with pytest.raises(RecordingError, match=sentence):
        save_figure(path, tmp_path / name)


_LIMITED = """
import resource, sys
from labctl.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, 4_000))
main(sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of a file")
def test_a_full_disk_leaves_the_figure_that_was_there_and_nothing_else(tmp_path: Path) -> None:
    run = write_map(tmp_path / "run.h5", np.full((2, 12, 14), 2e-5))
    figure = tmp_path / "run.png"
    figure.write_bytes(b"older")
    words = [sys.executable, "-c", _LIMITED, "plot", str(run)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "run.png: the figure cannot be written" in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == [run, figure]
    assert figure.read_bytes() == b"older"
