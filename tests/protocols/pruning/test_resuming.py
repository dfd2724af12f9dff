"""Pruning that is killed goes on from its last epoch, on the array as the kill left it."""

import signal

import numpy as np
import pytest
from boards import ServedBoard
from killed_runs import after_step, at_exchange, bench_for, killed_run
from small_digits import write_small_digits

import labctl
from labctl.errors import Interrupted

SMALL = {"task": "mnist", "own_data": True, "network": "144-24-4", "epochs": 6, "batch": 20, "rate": 0.1}
SIZE = {"rows": 300, "cols": 40}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_small_digits(tmp_path_factory.mktemp("data"))


@pytest.fixture
def board(tmp_path):
    served = ServedBoard(tmp_path, **SIZE)
    yield served
    served.close()


def _resumed(path, bench):
    with labctl.load_bench(bench) as live, live.array() as array:
        return labctl.resume(path, array)


@pytest.mark.parametrize("blow", [after_step(20), at_exchange(60, applied=True), at_exchange(61, applied=False)])
def test_a_run_killed_in_training_or_in_its_pulses_ends_as_well_as_any(board, data, tmp_path, blow):
    bench = bench_for(board, tmp_path)
    path = killed_run(bench, tmp_path, blow, "pruning", data=str(data), baselines=(), **SMALL)

    result = _resumed(path, bench)

    assert result.summary["epochs"] == 6
    assert result.summary["accuracy_board"] > 0.85
    assert abs(result.summary["accuracy_board"] - result.summary["accuracy_software"]) < 0.06
    with labctl.open_run(path) as tree:
        assert tree.attrs["outcome"] == "finished"
        steps = tree["steps"].to_dataset()
        kept = np.asarray(steps["asked_by"]) == 0
        epochs = np.asarray(steps["epoch"])[kept & np.isfinite(np.asarray(steps["accuracy_software"]))]
        given = int(np.isfinite(np.asarray(tree["events"]["amplitude"])).sum())
    assert epochs.tolist() == [1, 2, 3, 4, 5, 6]  # none twice
    assert int(board.board.firmware.chip.pulse_counts.sum()) <= given  # none that is not on record


def test_what_a_resumed_run_says_of_switches_is_what_its_map_says(board, data, tmp_path):
    bench = bench_for(board, tmp_path)
    path = killed_run(bench, tmp_path, at_exchange(60, applied=True), "pruning", data=str(data), baselines=(), **SMALL)

    _resumed(path, bench)

    with labctl.open_run(path) as tree:
        by_layer = np.asarray(tree["results"]["switches_per_layer"]).sum()
        switches = np.asarray(tree["maps"]["switches"])
    assert by_layer == np.nansum(switches)


def test_a_run_that_was_told_to_stop_goes_on_in_its_file(board, data, tmp_path):
    bench = bench_for(board, tmp_path)
    seen = []

    def progress(step):
        seen.append(step)
        if len(seen) == 25:
            signal.raise_signal(signal.SIGINT)

    with labctl.load_bench(bench) as live, live.array() as array, pytest.raises(Interrupted):
        labctl.run("pruning", array, out=tmp_path / "runs", progress=progress, data=str(data), baselines=(), **SMALL)
    (path,) = (tmp_path / "runs").glob("*.h5")
    with labctl.open_run(path) as tree:
        assert tree.attrs["outcome"] == "interrupted"

    result = _resumed(path, bench)

    assert result.path == path
    assert result.summary["epochs"] == 6
    assert result.summary["accuracy_board"] > 0.85
