"""A run that trained a network is measured, told, drawn and reported as its file says; also one that was broken off."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trained_runs
import xarray as xr
from matplotlib.figure import Figure
from pages import ReadPage
from trained_runs import EPOCHS, IMAGES, LAST, LAYERS, RESTS, SAMPLES, STRETCHES, curve, layer_of_cells, trained

import labctl
from labctl.analysis import measurement
from labctl.analysis.characterisation import statistics, statistics_of
from labctl.analysis.characterisation.training import histogram_quantile, ways
from labctl.analysis.figures import draw, generated, learning_curves, mixed_precision, updates
from labctl.analysis.report import render, run_page
from labctl.analysis.report.content import Picture, Terms, Text
from labctl.analysis.report.material import opened_run
from labctl.analysis.report.packing import unpack
from labctl.analysis.report.sentences import sentence
from labctl.analysis.report.trained import trained as reported
from labctl.errors import Interrupted, RecordingError
from labctl.runner import RunResult
from labctl.steps import Step

BASELINES = ["float", "ideal", "granularity", "pcm"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def run(folder: Path) -> RunResult:
    """Copied after its second epoch too, as a kill would have left it, as `killed.h5`."""

    def progress(step: Step) -> None:
        if step.phase == "judge" and step.values["epoch"] == 2:
            (path,) = (folder / "runs").glob("*.h5")
            shutil.copyfile(path, folder / "killed.h5")

    return trained(folder, progress=progress)


@pytest.fixture(scope="module")
def measured(run: RunResult) -> xr.Dataset:
    return measurement_of(run.path)


@pytest.fixture(scope="module")
def of_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("text"), "text").path


@pytest.fixture(scope="module")
def of_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("gan"), "gan").path


def measurement_of(path: Path) -> xr.Dataset:
    with labctl.open_run(path) as tree:
        return measurement(tree)


def titles_of(figure: Figure) -> dict[str, Any]:
    return {axis.get_title() or axis.get_title(loc="left"): axis for axis in figure.axes}


@pytest.fixture(scope="module")
def panels(run: RunResult) -> dict[str, Any]:
    with labctl.open_run(run.path) as tree:
        return titles_of(draw(tree))


@pytest.fixture(scope="module")
def page(run: RunResult) -> ReadPage:
    return ReadPage(render(run_page(run.path)))


def test_the_measurement_is_what_the_run_recorded(run: RunResult, measured: xr.Dataset) -> None:
    assert measured["epoch"].values.tolist() == list(range(1, EPOCHS + 1))
    np.testing.assert_allclose(measured["accuracy_board"], curve("board"), rtol=1e-6)
    np.testing.assert_array_equal(measured["images"], np.arange(1, EPOCHS * STRETCHES + 1) * IMAGES)
    assert np.nansum(measured["stretch_pulses"]) == run.summary["pulses"]
    assert np.nansum(measured["stretch_resets"]) == run.summary["resets"]
    own = np.flatnonzero(layer_of_cells() < len(LAYERS))
    np.testing.assert_array_equal(measured["cell"], own)
    with labctl.open_run(run.path) as tree:
        for name, of in (("layer", "layer"), ("pulses_set", "pulses_set"), ("pulses_reset", "resets")):
            np.testing.assert_array_equal(measured[name], tree["maps"][of].values.ravel()[own])
    assert measured["layer_name"].values.tolist() == ["hidden", "output"]
    assert measured["baseline"].values.tolist() == BASELINES
    for name in BASELINES:
        np.testing.assert_allclose(measured["baseline_curve"].sel(baseline=name), curve(name), rtol=1e-6)
    assert measured["rest"].values.tolist() == list(RESTS)


def test_the_devices_pulses_are_those_of_the_events(run: RunResult, measured: xr.Dataset) -> None:
    with labctl.open_run(run.path) as tree:
        events, operations = (tree[name].to_dataset() for name in ("events", "operations"))
        kinds = operations["kind"]
        names = dict(zip(kinds.attrs["flag_meanings"].split(), kinds.attrs["flag_values"], strict=True))
        owner = np.repeat(np.arange(operations.sizes["operation"]), operations["events"].values)
        for name, kind in (("pulses_set", "set"), ("pulses_reset", "reset")):
            cells = events["cell"].values[kinds.values[owner] == names[kind]]
            counted = np.bincount(cells, minlength=measured.attrs["rows"] * measured.attrs["cols"])
            np.testing.assert_array_equal(measured[name], counted[measured["cell"].values])


def test_statistics_have_accuracies_pulses_and_accumulators(run: RunResult, measured: xr.Dataset) -> None:
    found, told = {each.name: each for each in statistics_of(measured)}, run.summary
    board = found["accuracy_board"]
    assert (board.value, board.n) == (LAST["board"], SAMPLES)
    assert board.low < board.value < board.high
    for name in BASELINES:
        assert found[f"accuracy_baseline[of={name}]"].value == pytest.approx(LAST[name])
    assert found["pulses_per_device"].value == pytest.approx(told["pulses_per_device"])
    assert found["update_sparsity"].value == told["sparsity"]
    given = measured["pulses_set"].values[measured["layer"].values == 1]
    assert found["set_pulses_mean[layer=output]"].value == pytest.approx(given.mean())
    assert found["set_pulses_most"].value == measured["pulses_set"].values.max()
    drifted = [found[f"accuracy_{name}[time=1 Ms]"].value for name in ("after", "compensated")]
    assert drifted == pytest.approx([LAST["board"] - 0.02, LAST["board"] - 0.005])
    assert found["chi_mean[layer=hidden]"].value == pytest.approx(0, abs=1e-9)
    assert found["chi_sd[layer=hidden]"].value < found["chi_sd[layer=output]"].value < 1
    conducts = [found[f"conductance_p95[layer=output, moment={when}]"].value for when in ("before", "after")]
    assert conducts[0] < conducts[1] < 20e-6


def test_quantiles_of_a_histogram_are_those_of_what_was_counted() -> None:
    values = np.random.default_rng(3).gamma(2.0, 1.0, 4000)
    counts, edges = np.histogram(values, 200)
    centres = (edges[:-1] + edges[1:]) / 2
    for share in (0.05, 0.5, 0.95):
        found = histogram_quantile(counts, centres, share)
        assert abs(found - np.quantile(values, share)) <= edges[1] - edges[0]
    assert np.isnan(histogram_quantile(np.zeros(4, int), np.arange(4.0), 0.5))


def test_the_figure_shows_the_numbers_of_the_file(measured: xr.Dataset, panels: dict[str, Any]) -> None:
    lines = {line.get_label(): line.get_ydata() for line in panels["accuracy"].lines}
    for way in ways(measured):
        np.testing.assert_allclose(lines[way.name], way.curve * 100)
    beside = [float(text.get_text()) for text in panels["in the end, beside other ways"].texts]
    assert sorted(beside) == sorted(round(each * 100, 2) for each in LAST.values())
    (sparsity,) = (axis for title, axis in panels.items() if title.startswith("update sparsity"))
    np.testing.assert_allclose(sparsity.lines[0].get_ydata(), (1 - measured["stretch_sparsity"]) * 100)
    so_far = panels["pulses so far, mean over devices"].lines[0].get_ydata()[-1]
    assert so_far == pytest.approx(measured.attrs["pulses_per_device"])
    drift = {each.get_label(): each.lines[0].get_ydata() for each in panels["accuracy over drift"].containers}
    np.testing.assert_allclose(drift["without"], measured["accuracy_after"] * 100, atol=0.05)
    assert drift["with drift compensation"][-1] > drift["without"][-1]
    marks = [line.get_xdata()[0] for line in panels["accumulators in the end"].lines]
    assert marks == [-1, 1]


def test_every_device_is_in_the_histogram_of_its_layer(measured: xr.Dataset, panels: dict[str, Any]) -> None:
    for start in ("SET", "RESET"):
        (axis,) = (each for title, each in panels.items() if title.startswith(f"{start} pulses: "))
        counts = [patch.get_data().values.sum() for patch in axis.patches]
        assert counts == np.bincount(measured["layer"].values).tolist()
    for number, layer in enumerate(LAYERS):
        before, after = (patch.get_data().values for patch in panels[f"{layer.name}: conductance"].patches)
        np.testing.assert_array_equal([before, after], measured["conductance_histogram"][:, number])


def test_maps_show_the_part_of_the_array_that_the_network_stands_on(panels: dict[str, Any]) -> None:
    rows = 1 + np.flatnonzero(layer_of_cells() < len(LAYERS)).max() // trained_runs.COLS
    for title in ("layer of each cell", "SET pulses, powers of ten", "conductance, last reading (µS)"):
        assert panels[title].get_ylim() == (rows - 0.5, -0.5)


def test_many_layers_have_their_conductances_together_and_no_names(measured: xr.Dataset) -> None:
    many = xr.concat(
        [measured[["layer_name", "conductance_histogram", "chi_histogram"]]] * 6, "of_layer", data_vars="minimal"
    )
    assert mixed_precision.histograms(many) == [None]
    axis, other = Figure().subplots(1, 2)
    updates.conductance(axis, many, None)
    assert axis.patches[1].get_data().values.sum() == many["conductance_histogram"].values[1].sum()
    updates.chi(other, many)
    assert other.get_legend() is None


def test_the_report_says_it_first_and_shows_maps_and_charts(measured: xr.Dataset, page: ReadPage) -> None:
    assert page.problems == []
    assert page.loaded == []
    assert re.search(r"97\.2 % of 1,000 test samples right on the board; 98 % in float32; .* of drift", page.text)
    assert "0.80 points below the same network in float32; their intervals overlap" in page.text
    rows = {row[0]: row[1:] for row in page.rows if row}
    assert rows["with granularity only"][0] == "97.60 %"
    assert rows["on the PCM model"][-1] == "−0.60"
    assert rows["hidden"][:3] == ["30 × 40", "1,200", "2,400"]
    layers = {each["name"]: each for each in page.data["maps"][0]["layers"]}
    assert list(layers)[:3] == ["pulses_set", "layer", "resets"]
    pulses = unpack(layers["pulses_set"]["packed"])[measured["cell"].values]
    np.testing.assert_allclose(pulses, measured["pulses_set"], atol=0.01)
    charts = [chart["series"] for chart in page.data["charts"]]
    np.testing.assert_allclose(charts[0][0]["y"], measured["accuracy_board"] * 100, rtol=1e-5)
    for title in ("Accumulators in the end", "What devices conduct: output", "Accuracy over drift"):
        assert title in page.text


def test_float_that_is_better_by_more_than_chance_is_said_to_be(measured: xr.Dataset) -> None:
    better = measured["baseline_accuracy"].where(measured["baseline"] != "float", 0.997)
    text = told_of(measured.assign(baseline_accuracy=better))
    assert "2.50 points below the same network in float32, more than chance among these samples" in text


def told_of(measured: xr.Dataset) -> str:
    """The paragraph of its page."""
    (text,) = (block.text for block in reported(measured) if isinstance(block, Text))
    return text


def test_of_text_bits_and_a_sample_are_shown(of_text: Path) -> None:
    measured = measurement_of(of_text)
    assert measured["bits_per_char"].values == pytest.approx([3.5 - 0.2 * epoch for epoch in range(1, EPOCHS + 1)])
    panels = titles_of(mixed_precision.draw(measured))
    assert panels["test text"].lines[1].get_ydata()[0] == 2.48
    sample = measured.attrs["sample"]
    written = panels["text that the network writes on the board"].texts[0].get_text()
    assert written.replace("\n", " ") == sample.strip()
    assert "97.20\u00a0% of the next characters right" in told_of(measured)
    assert "a character of the test text takes 2.510 bits" in told_of(measured)
    (terms,) = (dict(block.items) for block in reported(measured) if isinstance(block, Terms))
    assert terms["written on the board"] == sample


def test_of_a_gan_what_it_generated_stands_beside_what_float_did(of_pictures: Path) -> None:
    measured = measurement_of(of_pictures)
    panels = titles_of(mixed_precision.draw(measured))
    for name, told in generated.SAMPLES.items():
        shown = panels[f"{told}: the first 24 of 24"].images[0].get_array()
        np.testing.assert_array_equal(shown[:28, 29:57], measured[name].values[1])
    blocks = reported(measured)
    assert [each.told for each in blocks if isinstance(each, Picture)] == [
        f"Pictures {told}" for told in generated.SAMPLES.values()
    ]
    (scores,) = (dict(block.items) for block in blocks if isinstance(block, Terms))
    assert scores["real digits, by the same judge"] == "99.50\u00a0%"


def test_a_killed_run_is_told_and_drawn_as_far_as_it_came(run: RunResult, folder: Path) -> None:
    path = folder / "killed.h5"
    found = measurement_of(path)
    assert run.path != path
    assert found["epoch"].values.tolist() == [1, 2]
    assert found.attrs["accuracy_board"] == pytest.approx(curve("board")[1])
    with labctl.open_run(path) as tree:
        panels, figures = titles_of(draw(tree)), {each.name: each for each in statistics(tree)}
    assert "accuracy" in panels
    assert "accuracy over drift" not in panels
    so_far = np.nansum(found["stretch_pulses"]) / found.sizes["cell"]
    assert figures["pulses_per_device"].value == pytest.approx(so_far)
    with opened_run(path) as opened:
        told = sentence(opened).replace("\u00a0", " ")
    expected = f"{curve('board')[1] * 100:.2f} % right on the board after 2 epochs; {2 * STRETCHES * IMAGES:,} training"
    assert expected in told


def test_a_run_without_a_network_yet_is_no_measurement_and_has_a_figure(tmp_path: Path) -> None:
    def refuse(_: Step) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        trained(tmp_path, progress=refuse)
    (path,) = (tmp_path / "runs").glob("*.h5")
    with labctl.open_run(path) as tree:
        with pytest.raises(RecordingError, match="before its network stood on the array"):
            statistics(tree)
        assert draw(tree).axes


def test_what_cannot_be_printed_is_a_point_and_long_text_is_cut() -> None:
    assert generated.printable("a\x07b\nc") == "a·b\nc"
    assert generated.wrapped("one two three four", 7, 2) == "one two\nthree\n…"


def test_ways_have_colours_of_their_own_and_further_ones_grey() -> None:
    colours = learning_curves.way_colours(7)
    assert len(colours) == 7
    assert len(set(colours[:5])) == 5
    assert colours[5] == colours[6]
