"""A ternary network on the array: exact without faults, counted where it is not, resumed where it was killed."""

from pathlib import Path

import numpy as np
import pytest
from associative_benches import write_associative_bench
from computed_runs import SHAPE, steps_of
from killed_runs import after_step, killed_run, resumed
from small_ternary import small_network, write_network, write_pictures

import labctl
from labctl.errors import RunError, SettingsError, UsageError
from labctl.learning.datasets import load_dataset
from labctl.recording.past import Past

IMAGES = 60
POSITIONS = 36


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    return {
        "network": str(write_network(folder)),
        "data": str(write_pictures(folder, IMAGES)),
        "own_data": True,
        "group": 25,
    }


@pytest.fixture
def bench(tmp_path):
    return write_associative_bench(tmp_path, **SHAPE)


def _run(bench, given, **settings):
    with labctl.load_bench(bench) as live, live.array() as array:
        return labctl.run("associative_inference", array, seed=5, **{**given, **settings})


def test_what_the_chip_says_is_what_whole_numbers_say(bench, given):
    summary = _run(bench, given).summary
    data = load_dataset("fashion-mnist", Path(given["data"]), own=True)
    logits = small_network().infer(data.test_inputs)
    right = np.mean(logits.argmax(axis=1) == data.test_labels)

    assert summary["accuracy_chip"] == summary["accuracy_ternary"] == right
    assert (summary["mismatches"], summary["sums_mismatched"], summary["taken_differently"]) == (0, 0, 0)
    assert summary["sums"] == IMAGES * (POSITIONS * 4 + 4)
    assert summary["accuracy_float"] is None
    assert summary["accuracy_chip_low"] < right < summary["accuracy_chip_high"]


def test_its_file_holds_a_step_a_tile_and_what_came_of_each_group(bench, given):
    result = _run(bench, given, trace=True)
    with labctl.open_run(result.path) as tree:
        rows, layer, samples = (steps_of(tree, name) for name in ("rows", "layer", "samples"))
        searches, passes, traced = steps_of(tree, "searches"), steps_of(tree, "passes"), tree["events"].sizes["event"]
        confusion = tree["results"]["confusion"].values
    per_group = [-(-count * POSITIONS // SHAPE["rows"]) for count in (25, 25, 10)]
    assert np.isfinite(rows).sum() == sum(per_group) + 3
    assert np.nansum(rows[layer == 0]) == IMAGES * POSITIONS
    assert samples[np.isfinite(samples)].tolist() == [25, 50, 60]
    assert np.nansum(searches) == result.summary["counters"]["searches"]
    assert np.nansum(passes) == result.summary["passes"] == traced
    assert confusion.sum() == IMAGES


def test_mistakes_of_the_chip_are_counted_against_the_same_inputs(tmp_path, given):
    bench = write_associative_bench(tmp_path, **SHAPE, read_error=0.002)
    summary = _run(bench, given).summary
    wrong = {layer["name"]: layer["sums_mismatched"] / layer["sums"] for layer in summary["layers"]}
    # a sum is read in some 10 bits, each wrong two times of a thousand
    assert 0.005 < wrong["conv"] < 0.05
    assert summary["sums_mismatched"] == sum(layer["sums_mismatched"] for layer in summary["layers"])
    assert IMAGES / 2 < summary["mismatches"] <= IMAGES  # each has 144 sums of its first layer


def test_a_run_that_was_killed_goes_on_after_the_last_group(bench, given, tmp_path):
    path = killed_run(bench, tmp_path, after_step(2 + 5 + 2), "associative_inference", **given)
    with Past(path) as past:
        assert len(past.checkpoint.arrays["logits_chip"]) == 25
    result = resumed(bench, path)

    assert (result.summary["images"], result.summary["mismatches"], result.summary["sums_mismatched"]) == (IMAGES, 0, 0)
    with labctl.open_run(path) as tree:
        own = tree["steps"]["asked_by"].values == 0
        layer, rows, searches = (steps_of(tree, name)[own] for name in ("layer", "rows", "searches"))
    assert np.nansum(rows[layer == 0]) == IMAGES * POSITIONS
    assert np.nansum(searches) == result.summary["counters"]["searches"]


def test_it_goes_on_with_the_network_it_was_begun_with_alone(bench, given, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    network = write_network(own)
    path = killed_run(
        bench, tmp_path, after_step(2 + 5 + 2), "associative_inference", **{**given, "network": str(network)}
    )
    other = small_network()
    other.layers[1].weights[0, :] *= -1
    write_network(own, other)
    with pytest.raises(RunError, match="this is not what the run was begun with: then network"):
        resumed(bench, path)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"network": "nothing.npz"}, "nothing.npz"),
        ({"images": 0}, "images must be at least 1, not 0"),
        ({"order": "both"}, "outputs or inputs"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(bench, given, settings, told):
    with pytest.raises((SettingsError, UsageError), match=told):
        _run(bench, given, **settings)


def test_a_network_for_other_pictures_is_refused(bench, given):
    with pytest.raises(SettingsError, match="is for images of 1 x 28 x 28 in 10 classes, not for these of 1 x 12 x 12"):
        _run(bench, given, network="fashion-mnist")
