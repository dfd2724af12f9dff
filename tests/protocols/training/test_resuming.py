"""Training that is killed goes on from its last epoch, with the devices as the kill left them."""

import numpy as np
import pytest
from benches import write_bench
from boards import ServedBoard
from killed_runs import after_step, at_exchange, bench_for, killed_run
from small_digits import write_small_digits

import labctl
from labctl.errors import RunError

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
