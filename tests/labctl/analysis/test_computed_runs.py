"""Self-tests and inference on an associative array are measured, told, drawn and reported as their files say."""

import re

import numpy as np
import pytest
from associative_benches import write_associative_bench
from computed_runs import SHAPE
from killed_runs import after_step, killed_run
from pages import ReadPage
from small_ternary import small_network, write_network, write_pictures

import labctl
from labctl.analysis import measurement
from labctl.analysis.characterisation import statistics
from labctl.analysis.figures import draw
from labctl.analysis.report import render, run_page
from labctl.analysis.report.charts.computing import selftest
from labctl.analysis.report.material import opened_run

IMAGES = 40


def _run(bench, protocol, **settings):
    with labctl.load_bench(bench) as live, live.array() as array:
        return labctl.run(protocol, array, seed=5, **settings)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    return write_associative_bench(tmp_path_factory.mktemp("bench"), **SHAPE, read_error=0.003)


@pytest.fixture(scope="module")
def tested(faulty):
    layer = {"name": "drawn", "weights": np.random.default_rng(2).choice([-1, 0, 1], size=(5, 20))}
    return _run(faulty, "associative_selftest", operations=1, bits=6, layer=layer)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    folder = tmp_path_factory.mktemp("network")
    path = write_network(folder, small_network(floats=True))
    return {"network": str(path), "data": str(write_pictures(folder, IMAGES)), "own_data": True, "group": 15}


@pytest.fixture(scope="module")
def inferred(faulty, network):
    return _run(faulty, "associative_inference", **network)


def _named(found):
    return {each.name: each for each in found}


def test_a_selftest_is_measured_as_it_tells(tested):
    told = tested.summary
    with labctl.open_run(tested.path) as tree:
        measured, found = measurement(tree), _named(statistics(tree))
    assert measured["kind"].values.tolist() == list(told["kinds"])
    for name in ("operations", "mismatches", "passes", "board_seconds"):
        assert measured[name].values == pytest.approx([kind[name] for kind in told["kinds"].values()])
    assert dict(zip(measured["counter"].values, measured["count"].values, strict=True)) == told["counters"]
    assert round(found["wrong"].value * found["wrong"].n) == told["mismatches"] > 0
    assert found["wrong"].low < found["wrong"].value < found["wrong"].high
    assert round(found["table_wrong"].value * found["table_wrong"].n) == told["table_mismatches"]
    assert round(found["layer_wrong"].value * found["layer_wrong"].n) == told["layer"]["mismatches"] > 0


def test_an_inference_is_measured_as_it_tells(inferred):
    told = inferred.summary
    with labctl.open_run(inferred.path) as tree:
        measured, found = measurement(tree), _named(statistics(tree))
    for name in ("sums", "sums_mismatched", "passes", "operations", "columns"):
        assert measured[f"layer_{name}"].values.tolist() == [layer[name] for layer in told["layers"]]
    assert measured["samples"].values.tolist() == [15, 30, IMAGES]
    assert measured["differing"].values.sum() == told["mismatches"] > 0
    for way in ("chip", "ternary", "float"):
        assert found[f"accuracy_{way}"].value == told[f"accuracy_{way}"]
        assert found[f"accuracy_{way}"].low == pytest.approx(told[f"accuracy_{way}_low"])
    assert dict(zip(measured["counter"].values, measured["count"].values, strict=True)) == told["counters"]


@pytest.mark.parametrize(
    ("which", "panels"),
    [
        ("tested", {"wrong bits", "an operation of 6 bits, all rows at once", "what the array did"}),
        ("inferred", {"beside software", "time of the layers' programs", "what the array did", "additions of a layer"}),
    ],
)
def test_the_figure_shows_all_of_it(which, panels, request):
    with labctl.open_run(request.getfixturevalue(which).path) as tree:
        figure = draw(tree)
    titles = {axis.get_title() for axis in figure.axes}
    assert panels <= titles
    assert any(re.search(r"[1-9][\d,]* of [\d,]+ (operations|sums) wrong", title) for title in titles)


def test_bits_that_a_result_does_not_have_are_in_no_figure_or_chart(tested):
    with labctl.open_run(tested.path) as tree:
        (axis,) = [axis for axis in draw(tree).axes if axis.get_title() == "wrong bits"]
    drawn = {line.get_label(): len(line.get_xdata()) for line in axis.get_lines()}
    assert (drawn["add"], drawn["max"], drawn.get("compare", 1)) == (7, 6, 1)
    with opened_run(tested.path) as run:
        shares, bits = selftest(run)
    assert [len(series.x) for series in bits.series] == [
        {"compare": 1, "max": 6, "relu": 6}.get(each.label, 7) for each in bits.series
    ]
    assert [series.label for series in shares.series] == [
        f"{place} {name}" for place, name in enumerate(tested.summary["kinds"], 1)
    ]
    assert all(len(series.x) == 1 for series in shares.series)
    assert shares.x.label == "kind"


def test_a_chart_of_one_kind_names_it_on_its_axis(faulty):
    result = _run(faulty, "associative_selftest", operations=1, bits=4, kinds=("max",))
    with opened_run(result.path) as run:
        assert selftest(run)[0].x.label == "kind: 1 max"


def test_a_page_says_how_much_was_wrong(tested, inferred):
    told, page = tested.summary, run_page(tested.path)
    assert (
        f"{told['mismatches']:,} mismatches of {told['operations']:,} operations on words of 6 bits; " in page.sentence
    )
    assert f"mismatches of {told['table_rows']:,} rows of truth tables." in page.sentence

    told, page = inferred.summary, run_page(inferred.path)
    text = ReadPage(render(page)).text
    assert f"{told['sums_mismatched']:,} mismatches of {told['sums']:,} sums." in page.sentence
    assert f"of {IMAGES} images {told['mismatches']:,} have other logits than in software" in text
    assert "16 × 4" in text


def test_an_inference_that_was_killed_tells_of_the_groups_that_were_done(tmp_path, network):
    bench = write_associative_bench(tmp_path, **SHAPE)
    path = killed_run(bench, tmp_path, after_step(2 + 4), "associative_inference", **network)
    with labctl.open_run(path) as tree:
        measured = measurement(tree)
    assert measured["samples"].values.tolist() == [15]
    assert measured.attrs["accuracy_chip"] == measured.attrs["accuracy_ternary"]
    assert "right on the chip" in run_page(path).sentence


def test_a_selftest_killed_among_its_tables_tells_of_these(tmp_path):
    bench = write_associative_bench(tmp_path, **SHAPE)
    path = killed_run(bench, tmp_path, after_step(3), "associative_selftest", operations=1)
    with labctl.open_run(path) as tree:
        found = _named(statistics(tree))
    assert found["table_wrong"].n == 3 * SHAPE["rows"]
    assert "wrong" not in found
    assert f"0 mismatches of {3 * SHAPE['rows']:,} rows of truth tables." in run_page(path).sentence
