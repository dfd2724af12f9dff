"""Training that is killed goes on from its last epoch, with the devices as the kill left them."""

import signal

import numpy as np
import pytest
from benches import write_bench
from boards import ServedBoard
from killed_runs import after_step, at_exchange, bench_for, killed_run
from small_digits import write_small_digits

import labctl
from labctl.errors import Interrupted, RunError
from labctl.recording.checkpoint import read_checkpoint

SMALL = {"task": "mnist", "own_data": True, "network": "144-24-4", "epochs": 5, "batch": 10, "rate": 0.4}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_small_digits(tmp_path_factory.mktemp("data"))


@pytest.fixture
def board(tmp_path):
    served = ServedBoard(tmp_path, rows=64, cols=320, cells="pcm_90nm", chip="P90-1")
    yield served
    served.close()


def _resumed(path, bench):
    with labctl.load_bench(bench) as live, live.array() as array:
        return labctl.resume(path, array)


@pytest.mark.parametrize("blow", [after_step(47), at_exchange(120, applied=True), at_exchange(121, applied=False)])
def test_a_run_killed_in_an_epoch_or_in_its_pulses_ends_as_well_as_any(board, data, tmp_path, blow):
    bench = bench_for(board, tmp_path)
    path = killed_run(bench, tmp_path, blow, "training", data=str(data), baselines=(), **SMALL)

    result = _resumed(path, bench)

    assert result.summary["epochs"] == 5
    assert len(result.summary["curve"]) == len(result.summary["loss_curve"]) == 5
    assert result.summary["accuracy"] > 0.88
    with labctl.open_run(path) as tree:
        assert tree.attrs["outcome"] == "finished"
        steps = tree["steps"].to_dataset()
        kept = np.asarray(steps["asked_by"]) == 0
        judged = np.asarray(steps["epoch"])[kept & np.isfinite(np.asarray(steps["accuracy_board"]))]
        given = int(np.isfinite(np.asarray(tree["events"]["amplitude"])).sum())
    assert judged.tolist() == [1, 2, 3, 4, 5]  # none twice
    assert int(board.pulses.sum()) <= given  # none that is not on record


def test_it_goes_on_only_on_the_chip_it_was_begun_on(board, data, tmp_path):
    path = killed_run(
        bench_for(board, tmp_path), tmp_path, after_step(47), "training", data=str(data), baselines=(), **SMALL
    )
    other = write_bench(tmp_path, name="other.toml", rows=64, cols=320, chip="P90-2", simulated='cells = "pcm_90nm"')

    with pytest.raises(RunError, match="P90-1"):
        _resumed(path, other)


def test_a_run_killed_at_rest_counts_the_rest_from_the_last_pulse(board, data, tmp_path):
    bench = bench_for(board, tmp_path)

    def once_rested(array, kill):  # noqa: ARG001
        return lambda step: kill() if step.phase == "rest" else None

    settings = {**SMALL, "epochs": 2, "rest": ("1 h", "30 h")}
    path = killed_run(bench, tmp_path, once_rested, "training", data=str(data), baselines=(), **settings)

    rests = _resumed(path, bench).summary["rests"]

    assert [each["after_s"] for each in rests] == [3600.0, 108_000.0]
    assert rests[0]["factors"][0] == pytest.approx(3600**0.04, rel=0.15)  # by products from before the kill
    assert rests[1]["factors"][0] == pytest.approx(108_000**0.04, rel=0.15)


def test_a_run_that_was_told_to_stop_goes_on_in_the_middle_of_its_epoch(board, data, tmp_path):
    bench, seen = bench_for(board, tmp_path), []

    def progress(step):
        seen.append(step)
        if len(seen) == 30:
            signal.raise_signal(signal.SIGINT)

    with labctl.load_bench(bench) as live, live.array() as array, pytest.raises(Interrupted):
        labctl.run("training", array, out=tmp_path / "runs", progress=progress, data=str(data), baselines=(), **SMALL)
    (path,) = (tmp_path / "runs").glob("*.h5")
    stopped = read_checkpoint(path)["progress"].tolist()

    result = _resumed(path, bench)

    with labctl.open_run(path) as tree:
        images = np.asarray(tree["steps"]["images"], float)
        pulsed = int(np.nansum(np.asarray(tree["steps"]["pulses"], float)))
    assert stopped[1] % 60  # batches: not a whole epoch
    assert (np.diff(images[np.isfinite(images)]) >= 0).all()  # none is seen twice
    assert np.nanmax(images) == 5 * 600
    assert pulsed == result.summary["pulses"]
    assert result.summary["accuracy"] > 0.88
