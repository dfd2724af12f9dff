"""A run that pruned a network is measured, told, drawn and reported as its file says; also one that was broken off."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from benches import write_bench
from boards import served_board
from killed_runs import bench_for, killed_run, resumed
from matplotlib.figure import Figure
from pages import ReadPage
from small_digits import CLASSES, write_small_digits

import labctl
from labctl.analysis import measurement
from labctl.analysis.characterisation import statistics, statistics_of
from labctl.analysis.characterisation.pruning import judged_ways
from labctl.analysis.characterisation.segmentation import errors, verdicts
from labctl.analysis.figures import draw, pruning
from labctl.analysis.figures.accounts import components, machines
from labctl.analysis.report import render, run_page
from labctl.analysis.report.packing import unpack
from labctl.errors import Interrupted, RecordingError
from labctl.learning.metrics import pr_auc
from labctl.recording.layout import AskedBy
from labctl.runner import RunResult
from labctl.steps import Step

EPOCHS, LAYERS = 3, ("fc1", "fc2")
SETTINGS: dict[str, Any] = {"task": "mnist", "own_data": True, "network": "144-8-4", "epochs": EPOCHS, "batch": 20}
SETTINGS |= {"rate": 0.1, "baselines": ("last_layer",), "baseline_epochs": 1, "calibrate": 100, "rest": ("1 s", "1 d")}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_digits(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


def pruned(data: Path, folder: Path, progress: Callable[[Step], None] | None = None, **settings: Any) -> RunResult:
    bench = write_bench(folder, rows=64, cols=64)
    with labctl.load_bench(bench) as live, live.array() as array:
        return labctl.run("pruning", array, data=str(data), progress=progress, **{**SETTINGS, **settings})


@pytest.fixture(scope="module")
def run(data: Path, folder: Path) -> RunResult:
    """Broken off after its second epoch too: as a kill would have left it, beside it as `killed.h5`."""

    def progress(step: Step) -> None:
        if step.values.get("epoch") == 2 and step.checkpoint is not None:
            (path,) = (folder / "runs").glob("*.h5")
            shutil.copyfile(path, folder / "killed.h5")

    return pruned(data, folder, progress)


@pytest.fixture(scope="module")
def measured(run: RunResult) -> xr.Dataset:
    with labctl.open_run(run.path) as tree:
        return measurement(tree)


def table(path: Path) -> dict[str, np.ndarray]:
    with labctl.open_run(path) as tree:
        return {str(name): each.values for name, each in tree["steps"].to_dataset().items()}


def test_the_measurement_is_what_the_run_recorded(run: RunResult, measured: xr.Dataset) -> None:
    steps, told = table(run.path), run.summary
    ended = np.isfinite(steps["accuracy_software"])
    assert measured["epoch"].values.tolist() == [1, 2, 3]
    for name in ("loss", "accuracy_train", "accuracy_software"):
        np.testing.assert_array_equal(measured[name], steps[name][ended])
    with labctl.open_run(run.path) as tree:
        kept, layer = (tree["maps"][name].values.ravel()[measured["cell"].values] for name in ("kept", "layer"))
    np.testing.assert_array_equal(measured["kept"], kept)
    np.testing.assert_array_equal(measured["layer"], layer)
    assert measured.sizes["cell"] == told["cells"] == 2 * (144 * 8 + 8 * 4)
    assert int(measured["formed"].sum()) == told["cells_formed"]
    assert measured.attrs["accuracy_board"] == told["accuracy_board"]
    assert measured["layer_name"].values.tolist() == list(LAYERS)


def test_every_switch_of_a_cell_belongs_to_a_layer_and_to_a_moment(run: RunResult, measured: xr.Dataset) -> None:
    counts, steps = measured["switched_of_layer"].values, table(run.path)
    np.testing.assert_array_equal(counts.sum(axis=1), measured["switched"])
    assert counts.sum() == measured["switches"].sum() == np.nansum(steps["switched"])
    for number, layer in enumerate(run.summary["layers"]):
        assert counts[:, number].sum() == pytest.approx(layer["switches_per_cell"] * layer["cells"])
    assert measured["synchronised_at"].values.tolist() == [0, 1, 2, 3, 3]
    assert measured["verifying"].values.tolist() == [False, False, False, False, True]


def test_statistics_have_the_accuracies_with_their_intervals(run: RunResult, measured: xr.Dataset) -> None:
    found, told = {each.name: each for each in statistics_of(measured)}, run.summary
    board = found["accuracy_board"]
    expected = (told["accuracy_board"], told["accuracy_board_low"], told["accuracy_board_high"])
    assert (board.value, board.low, board.high) == pytest.approx(expected)
    assert board.n == 200
    rests = [found[f"accuracy_after[time={time}]"].value for time in ("1 s", "86.4 ks")]
    assert rests == [each["accuracy"] for each in told["rests"]]
    assert found["switches_mean"].value == pytest.approx(told["switches_per_cell"])
    assert found["switching_pulses"].value == told["pulses"]
    residue, kept = (found[f"{name}_conductance_median"].value for name in ("pruned", "kept"))
    assert residue < 2e-6 < 6e-6 < kept
    assert {f"edges_kept[layer={name}]" for name in LAYERS} <= found.keys()


def test_the_figure_shows_the_numbers_of_the_file(run: RunResult, measured: xr.Dataset) -> None:
    with labctl.open_run(run.path) as tree:
        panels = {axis.get_title(): axis for axis in draw(tree).axes}
    software = panels["accuracy"].lines[1].get_ydata()
    np.testing.assert_allclose(software, measured["accuracy_software"] * 100)
    on_board = panels["accuracy"].containers[0].lines[0].get_ydata()
    assert on_board == pytest.approx([run.summary["accuracy_board"] * 100])
    (title,) = (name for name in panels if name.startswith("200 samples"))
    numbers = [int(text.get_text()) for text in panels[title].texts]
    assert numbers == measured["confusion"].values.ravel().tolist()
    shown = panels["edges kept"].images[0].get_array().filled(255).ravel()[measured["cell"].values]
    np.testing.assert_array_equal(shown, measured["kept"])
    so_far = {line.get_label(): line.get_ydata()[-1] for line in panels["switches a cell so far"].lines}
    assert so_far["fc1"] == pytest.approx(run.summary["layers"][0]["switches_per_cell"])
    labels = [text.get_text() for text in panels["accuracy after rest"].get_xticklabels()]
    assert labels == ["at once", "1 s", "86.4 ks", "then\nverified"]


def test_the_report_says_it_first_and_shows_maps_and_charts(run: RunResult, measured: xr.Dataset) -> None:
    text = render(run_page(run.path))
    page = ReadPage(text)
    assert page.problems == []
    assert page.loaded == []
    assert len(text) < 5e6
    told = run.summary
    sentence = rf"{told['accuracy_board'] * 100:.3g} % of 200 test samples right on the board; .* after 1 d of rest"
    assert re.search(sentence, page.text), page.text[:400]
    assert page.text.index("What the network reaches") < page.text.index("Outliers")
    rows = {row[0]: row[1] for row in page.rows if row}
    assert rows["pruned on the array, on the board"] == f"{told['accuracy_board']:.2%}".replace("%", " %")
    layers = {each["name"]: each for each in page.data["maps"][0]["layers"]}
    assert [each["name"] for each in page.data["maps"][0]["layers"]][:3] == ["kept", "layer", "switches"]
    kept = unpack(layers["kept"]["packed"])
    np.testing.assert_array_equal(kept[measured["cell"].values], measured["kept"])
    assert [each["name"] for each in layers["layer"]["flags"]] == [*LAYERS, "none"]
    accuracy = page.data["charts"][0]["series"][1]
    np.testing.assert_allclose(accuracy["y"], measured["accuracy_software"] * 100, rtol=1e-5)
    counts = [row[1:-1] for row in page.rows if len(row) == CLASSES + 2 and row[-1].endswith("%")]
    assert [[int(each) for each in row] for row in counts] == measured["confusion"].values.tolist()


def test_a_killed_run_is_told_and_drawn_as_far_as_it_came(run: RunResult, folder: Path) -> None:
    path = folder / "killed.h5"
    with labctl.open_run(path) as tree:
        measured = measurement(tree)
        panels = {axis.get_title() for axis in draw(tree).axes}
    assert run.path != path
    assert measured["epoch"].values.tolist() == [1, 2]
    assert measured["switched_of_layer"].sum() == measured["switches"].sum()
    assert "accuracy" in panels
    assert "accuracy after rest" not in panels
    page = ReadPage(render(run_page(path)))
    assert re.search(r"of the test samples right in software after 2 epochs", page.text), page.text[:300]


def test_a_run_without_a_network_yet_is_no_measurement_and_has_a_figure(data: Path, tmp_path: Path) -> None:
    def progress(step: Step) -> None:
        if step.phase != "initial_read":
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        pruned(data, tmp_path, progress)
    (path,) = (tmp_path / "runs").glob("*.h5")
    with labctl.open_run(path) as tree:
        with pytest.raises(RecordingError, match="before its network stood on the array"):
            statistics(tree)
        assert draw(tree).axes
    assert "What the network reaches" not in ReadPage(render(run_page(path))).text


def test_what_a_resumed_run_went_back_on_is_not_drawn_twice(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABCTL_LEASES", str(tmp_path / "leases"))
    with served_board(tmp_path, rows=64, cols=64, chip="TRAIN-2") as board:
        bench = bench_for(board, tmp_path)
        path = killed_run(bench, tmp_path, at_synchronisation(3), "pruning", data=str(data), **SETTINGS)
        resumed(bench, path)
    with labctl.open_run(path) as tree:
        steps = tree["steps"].to_dataset()
        again = (steps["asked_by"] == AskedBy.SUPERSEDED).values & np.isfinite(steps["edges_pruned"].values)
        measured = measurement(tree)
        (line,) = (axis.lines[0] for axis in draw(tree).axes if axis.get_title().startswith("edges that flipped"))
    assert again.sum() == 1
    assert measured["epoch"].values.tolist() == [1, 2, 3]
    at = [0, 1, 1.5, 2, 3, 3]  # after its first epoch it was killed, and brought the masks of then back onto the array
    assert line.get_xdata().tolist() == measured["synchronised_at"].values.tolist() == at


def at_synchronisation(number: int) -> Any:
    """Kills once so many synchronisations are recorded, before the epoch that they end."""

    def blow(array: Any, kill: Callable[[], None]) -> Callable[[Step], None]:  # noqa: ARG001
        seen = [0]

        def progress(step: Step) -> None:
            seen[0] += step.phase == "synchronise"
            if seen[0] == number and step.phase == "synchronise":
                kill()

        return progress

    return blow


def test_other_ways_stand_beside_it_with_names_and_values(run: RunResult, measured: xr.Dataset) -> None:
    value = run.summary["baselines"]["last_layer"]
    way = dict(judged_ways(measured))["only the last layer trained"]
    assert way.low < way.value == value < way.high
    panels = {axis.get_title(): axis for axis in pruning.draw(measured).axes}
    assert f"{value * 100:.2f}" in [text.get_text() for text in panels["beside other ways"].texts]
    assert {each.name: each.value for each in statistics_of(measured)}["accuracy_baseline[of=last_layer]"] == value


def test_the_account_is_drawn_with_its_ratios(run: RunResult, measured: xr.Dataset) -> None:
    told = run.summary["account"]
    first, second = Figure().subplots(1, 2)
    components(first, measured)
    machines(second, measured)
    assert sum(line.get_xdata()[0] for line in first.lines) == pytest.approx(told["energy"])
    drawn = [line.get_xdata()[0] for line in second.lines]
    assert drawn[-1] == pytest.approx(told["energy"])
    assert drawn[-2::-1] == pytest.approx([each["energy"] for each in told["references"]])
    assert second.get_xlabel().count("published") == len(told["published"])


@pytest.fixture(scope="module")
def segmented(measured: xr.Dataset) -> xr.Dataset:
    """As of a network that finds three vessels of four pixels in each of three pictures, and the third one worst."""
    rng = np.random.default_rng(5)
    truth = np.zeros((3, 12, 12), np.uint8)
    truth[:, 2, 2:6] = truth[:, 5, 2:6] = truth[:, 9, 4:8] = 1
    probability = np.clip(0.2 + 0.6 * truth + rng.normal(0, 0.1, truth.shape), 0, 1).astype(np.float32)
    probability[2, 9] = 1 - probability[2, 9]
    field = np.ones(truth.shape, bool)
    field[:, 11] = False
    probability[:, 11] = 1.0  # wrong, and out of sight
    dims = ("picture", "y", "x")
    pictures = {"pictures": (dims, 1 - truth.astype(float)), "truth": (dims, truth), "field": (dims, field)}
    area = pr_auc(truth[field], probability[field])
    told = {"pr_auc_board": area, "pr_auc_software": 0.5, "task": "vessels", "samples": 0}
    return measured.drop_vars("confusion").assign(probability=(dims, probability), **pictures).assign_attrs(told)


def test_pictures_stand_side_by_side_with_their_errors_and_only_pixels_in_view_count(segmented: xr.Dataset) -> None:
    axes = pruning.draw(segmented).axes
    titles = [axis.get_title() for axis in axes]
    assert "picture 3 of 3, the worst" in titles
    shares = errors(segmented)
    assert np.argmax(shares) == 2
    assert f"errors: {shares[2]:.2%} of the pixels" in titles
    judged = verdicts(segmented)[2][:11]
    wrong = (segmented["probability"].values[2] > 0.5) != (segmented["truth"].values[2] == 1)
    assert np.count_nonzero(judged >= 2) == np.count_nonzero(wrong[:11]) == round(shares[2] * 11 * 12)
    last = [axis for axis in axes if axis.get_title() == f"errors: {shares[2]:.2%} of the pixels"][-1]
    np.testing.assert_array_equal(last.images[0].get_array()[:11], judged)
    assert not last.images[0].get_array()[11].any()


def test_curves_go_with_the_areas_that_stand_beside_them(segmented: xr.Dataset) -> None:
    panels = {axis.get_title(): axis for axis in pruning.draw(segmented).axes}
    line = panels["precision and recall"].lines[0]
    area = np.sum(np.diff(line.get_xdata(), prepend=0) * line.get_ydata())
    assert area == pytest.approx(segmented.attrs["pr_auc_board"], abs=1e-6)
    assert f"{area:.4f}  pruned on the array, on the board" in panels["precision and recall"].texts[0].get_text()
    board = {each.name: each for each in statistics_of(segmented)}["accuracy_board"]
    assert board.low is None  # pixels of a picture go together
