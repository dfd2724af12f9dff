"""Training a small network on simulated phase-change devices, through the whole of labctl: it learns, and says how."""

import math
from dataclasses import replace

import numpy as np
import pytest
from benches import served, write_bench
from mixed_precision import CASES, bench_of
from small_digits import write_small_digits

import labctl
from labctl.array import Capability
from labctl.drivers.test_board import TestBoard
from labctl.errors import CapabilityError, LimitError, SettingsError, UsageError
from labctl.recording.checkpoint import read_checkpoint

SMALL = {
    "task": "mnist",
    "own_data": True,
    "network": "144-24-4",
    "epochs": 6,
    "batch": 10,
    "rate": 0.4,
    "baselines": (),
}
SIZE = {"rows": 64, "cols": 320}
PCM = 'cells = "pcm_90nm"'


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_small_digits(tmp_path_factory.mktemp("data"))


def _bench(folder, chip="P90-1", more="", **size):
    return write_bench(folder, chip=chip, simulated=f"{PCM}\n{more}", **{**SIZE, **size})


def _run(data, out, bench=None, **settings):
    out.mkdir(exist_ok=True)
    with labctl.load_bench(bench or _bench(out)) as live, live.array() as array:
        return labctl.run("training", array, out=out, data=str(data), **{**SMALL, **settings})


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    baselines = ("float", "ideal", "granularity", "pcm")
    return _run(data, tmp_path_factory.mktemp("runs"), rest=("1 s", "1 h", "10 d"), baselines=baselines)


def test_the_network_on_the_array_learns_nearly_as_well_as_in_float(run):
    found = run.summary

    assert found["accuracy"] > 0.9
    assert found["accuracy"] > found["accuracy_float"] - 0.06
    assert set(found["baselines"]) == {"float", "ideal", "granularity", "pcm"}
    assert min(found["baselines"].values()) > 0.85
    assert found["accuracy_low"] < found["accuracy"] < found["accuracy_high"]
    assert len(found["curve"]) == len(found["loss_curve"]) == 6
    assert found["curve"][-1] == found["accuracy"]
    assert found["loss_curve"][-1] < 0.5 * found["loss_curve"][0]


def _pulsed(tree):
    """(kind of each pulse event, its cell)."""
    operations = tree["operations"].to_dataset()
    meanings = operations["kind"].attrs
    kinds = dict(zip(meanings["flag_meanings"].split(), meanings["flag_values"], strict=True))
    cells = np.asarray(tree["events"]["cell"]).astype(int)
    found = {}
    for name in ("set", "reset"):
        chosen = np.asarray(operations["kind"]) == kinds[name]
        first = np.asarray(operations["first_event"])[chosen].astype(int)
        count = np.asarray(operations["events"])[chosen].astype(int)
        parts = [cells[begin : begin + size] for begin, size in zip(first, count, strict=True)]
        found[name] = np.bincount(np.concatenate(parts), minlength=SIZE["rows"] * SIZE["cols"])
    return found


def test_every_pulse_is_on_record_and_the_maps_say_how_many_each_cell_had(run):
    with labctl.open_run(run.path) as tree:
        given = _pulsed(tree)
        maps = {name: np.asarray(values) for name, values in tree["maps"].to_dataset().items()}
        steps = tree["steps"].to_dataset()
        ordered, resets = (float(np.nansum(np.asarray(steps[name], float))) for name in ("pulses", "resets"))

    assert np.array_equal(given["set"], np.nan_to_num(maps["pulses_set"]).ravel())
    assert np.array_equal(given["reset"], np.nan_to_num(maps["resets"]).ravel())
    assert ordered == run.summary["pulses"]
    assert resets == run.summary["resets"]
    own = ~np.isnan(maps["layer"])
    assert own.sum() == run.summary["cells"] == 2 * (145 * 24 + 25 * 4)
    assert maps["pulses_set"][~own].max() == 0
    assert maps["resets"][~own].max() == 1  # beside the network, cells are only RESET


def test_updates_are_sparse_and_accumulators_hold_less_than_a_granule(run):
    found = run.summary

    assert 0.98 < found["sparsity"] < 1
    assert found["pulses_per_device"] == pytest.approx(found["pulses"] / found["cells"])
    with labctl.open_run(run.path) as tree:
        results = tree["results"].to_dataset()
        assert np.asarray(results["chi_histogram"]).sum() == 145 * 24 + 25 * 4
        assert np.asarray(results["pulses_histogram"]).sum() == found["cells"]
        assert np.asarray(results["conductance_histogram"]).sum(axis=(1, 2)).tolist() == [found["cells"]] * 2
        assert np.trace(np.asarray(results["confusion"])) / 200 == pytest.approx(found["accuracy"])
        assert results["curve_accuracy_pcm"].shape == (6,)
    chi = [values for name, values in read_checkpoint(run.path).items() if name.startswith("learner.chi_")]
    assert all(np.abs(each).max() < 1 for each in chi)


def test_drift_costs_what_a_factor_a_layer_makes_up_for(run):
    rests = run.summary["rests"]

    assert [each["after_s"] for each in rests] == [1.0, 3600.0, 864_000.0]
    # G ~ t**-0.04 from 1 s after the last pulse on: 1.39 after an hour, 1.73 after ten days, were all of one age
    assert rests[1]["factors"][0] == pytest.approx(3600**0.04, rel=0.15)
    assert rests[2]["factors"][0] == pytest.approx(864_000**0.04, rel=0.15)
    assert rests[2]["accuracy_compensated"] > run.summary["accuracy"] - 0.1
    assert rests[2]["accuracy_compensated"] >= rests[2]["accuracy"] - 0.02


def test_what_a_layer_is_made_of_is_told(run):
    first, second = run.summary["layers"]

    assert (first["inputs"], first["outputs"], first["cells"]) == (145, 24, 2 * 145 * 24)
    assert first["granule"] == pytest.approx(0.77e-6 * first["weight_per_siemens"])
    assert first["pulses"] + second["pulses"] == run.summary["pulses"]
    assert first["granule"] < second["granule"]  # more inputs, smaller weights


def test_the_account_counts_what_training_took_and_not_what_was_judged(data, run, tmp_path):
    account = run.summary["account"]

    assert account["energy"] > 0
    unrested = _run(data, tmp_path).summary["account"]
    assert account["operations"] == unrested["operations"]
    assert {each["name"].partition(",")[0] for each in account["references"]} == {"dedicated 32-bit design"}
    assert [each["ratio"] for each in account["published"]] == [172.0]


def test_the_same_seed_and_chip_are_the_same_run_in_process_and_over_tcp(data, tmp_path):
    short = {"epochs": 2, "train": 200}
    inside = _run(data, tmp_path / "in", **short)
    with served(tmp_path, chip="P90-1", simulated=PCM, **SIZE) as (bench, _):
        outside = _run(data, tmp_path / "out", bench, **short)

    assert inside.summary["curve"] == outside.summary["curve"]
    assert inside.summary["pulses"] == outside.summary["pulses"]
    with labctl.open_run(inside.path) as one, labctl.open_run(outside.path) as other:
        assert np.array_equal(_pulsed(one)["set"], _pulsed(other)["set"])
        assert np.array_equal(*(np.asarray(tree["maps"]["conductance"]) for tree in (one, other)), equal_nan=True)


def test_batches_of_one_learn_too(data, tmp_path):
    found = _run(data, tmp_path, batch=1, rate=0.04, epochs=4).summary

    assert found["accuracy"] > 0.85


def test_several_devices_a_weight_share_its_pulses(data, tmp_path):
    run = _run(data, tmp_path, _bench(tmp_path, rows=128), devices=3)
    found = run.summary

    assert found["accuracy"] > 0.85
    assert found["cells"] == 3 * 2 * (145 * 24 + 25 * 4)
    with labctl.open_run(run.path) as tree:
        maps = tree["maps"].to_dataset()
        layer, given = np.asarray(maps["layer"]), np.nan_to_num(np.asarray(maps["pulses_set"]))
    assert set(layer[~np.isnan(layer)]) == {0, 1}
    assert given.sum() == pytest.approx(found["pulses"] + 0.3 * found["cells"], rel=0.1)  # and refreshes


def test_resistive_cells_are_trained_by_settings_alone(data, tmp_path):
    case = CASES["RRAM"]
    with labctl.load_bench(bench_of(case, tmp_path, **SIZE)) as live, live.array() as array:
        labctl.run("forming", array, out=tmp_path)
        found = labctl.run("training", array, out=tmp_path, data=str(data), **SMALL, **case.settings).summary

    assert found["accuracy"] > 0.85
    assert found["pulses"] > 0


def test_pulses_beyond_a_limit_are_refused_before_any(data, tmp_path):
    bench = write_bench(tmp_path, simulated=PCM, arrays="[arrays.main.limits]\nmax_reset_voltage = 3.0\n", **SIZE)

    with pytest.raises(LimitError, match=r"RESET pulse of 3\.3 V is above"):
        _run(data, tmp_path, bench)


def test_time_passes_between_samples_where_it_is_asked_to(data, tmp_path):
    fast = _run(data, tmp_path / "fast", epochs=1, train=200)
    slow = _run(data, tmp_path / "slow", epochs=1, train=200, image_time="1 s")

    assert fast.bench_s < 1
    assert 199 < slow.bench_s < 220
    unrefreshed = _run(data, tmp_path / "unrefreshed", epochs=1, train=200, image_time="1 s", refresh_images=0)
    assert 199 < unrefreshed.bench_s < 220


def test_pairs_are_refreshed_however_short_an_epoch_is(data, tmp_path):
    run = _run(data, tmp_path, epochs=4, refresh_images=700)  # of epochs of 600

    with labctl.open_run(run.path) as tree:
        steps = tree["steps"].to_dataset()
        refreshed, epoch = np.asarray(steps["refreshed"], float), np.asarray(steps["epoch"], float)
    assert np.nansum(refreshed) == run.summary["refreshed"] > 0
    assert np.nansum(refreshed[epoch == 1]) == 0


def test_the_rate_on_record_is_the_one_that_was_learnt_with(data, tmp_path):
    run = _run(data, tmp_path, epochs=3, decay=0.5, train=100)

    with labctl.open_run(run.path) as tree:
        steps = tree["steps"].to_dataset()
        epoch, rate = np.asarray(steps["epoch"], float), np.asarray(steps["rate"], float)
    for number, wanted in ((1, 0.4), (2, 0.2), (3, 0.1)):
        assert np.allclose(rate[epoch == number], wanted)


def test_a_converter_that_always_reads_its_end_does_not_widen_the_range_of_all(data, tmp_path, monkeypatch):
    multiply = TestBoard.multiply_lines

    def stuck(self, *products, pulses=()):
        found = multiply(self, *products, pulses=pulses)
        return tuple(replace(each, saturated=each.saturated + 1) for each in found)

    monkeypatch.setattr(TestBoard, "multiply_lines", stuck)
    found = _run(data, tmp_path, adc_bits=8).summary

    assert found["accuracy"] > 0.85
    assert found["products"]["saturated"] > 0


def test_without_judgements_between_the_last_one_is_in_the_curve(data, tmp_path):
    found = _run(data, tmp_path, epochs=3, judge=False).summary

    assert np.isnan(found["curve"][:-1]).all()
    assert found["curve"][-1] == found["accuracy"] > 0.7


def test_text_is_learnt_on_the_array(tmp_path):
    words = ["lo ", "and ", "behold ", "a ", "reed "]
    (tmp_path / "text").mkdir()
    text = "".join(np.random.default_rng(0).choice(words, 1500))
    (tmp_path / "text" / "input.txt").write_text(text)

    found = _run(
        tmp_path,
        tmp_path / "runs",
        _bench(tmp_path, rows=128),
        task="text",
        network="lstm-16",
        batch=8,
        rate=2.0,
        epochs=4,
        devices=1,
        baselines=("float",),
        rest=("1 h",),
    ).summary

    shares = np.unique(list(text), return_counts=True)[1] / len(text)
    unigram = float(-(shares * np.log2(shares)).sum())
    assert found["bits_per_char"] < unigram - 0.5
    assert found["bits_per_char_float"] < unigram - 0.5
    assert set(found["sample"]) <= set(text)
    assert found["rests"][0]["bits_per_char"] > 0


def test_pictures_are_generated_on_the_array(data, tmp_path):
    run = _run(
        data,
        tmp_path,
        _bench(tmp_path, rows=512, cols=640),
        task="gan",
        network="gan-16",
        devices=1,
        epochs=2,
        batch=20,
        rate=0.2,
        baselines=("float",),
    )

    found = run.summary
    assert {"score", "score_float", "score_real", "balance", "inception"} <= set(found)
    with labctl.open_run(run.path) as tree:
        pictures = np.asarray(tree["results"]["samples"])
    assert pictures.shape == (64, 12, 12)
    assert 0 <= pictures.min() < pictures.max() <= 1


def test_cells_that_are_excluded_get_no_pulse(data, tmp_path):
    exclude = np.zeros((SIZE["rows"], SIZE["cols"]), bool)
    exclude.ravel()[np.random.default_rng(0).choice(exclude.size, 400, replace=False)] = True

    run = _run(data, tmp_path, exclude=exclude)

    with labctl.open_run(run.path) as tree:
        given = _pulsed(tree)
    assert given["set"][exclude.ravel()].max() == given["reset"][exclude.ravel()].max() == 0
    assert run.summary["accuracy"] > 0.8
    prepared = given["set"].sum() - run.summary["pulses"] - run.summary["pulses_of_refresh"]
    assert 0.2 < prepared / (run.summary["cells"] - exclude.sum() / 2) < 0.4  # three in ten have one SET at first


def test_without_a_refresh_nothing_is_reset_after_preparation(data, tmp_path):
    found = _run(data, tmp_path, refresh_images=0, epochs=2).summary

    assert (found["resets"], found["refreshed"]) == (0, 0)
    assert found["reads"] == SIZE["rows"] * SIZE["cols"] + 2 * found["cells"]  # after the RESET, before and after


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"network": "144-400-4"}, SettingsError, "do not stand on an array of 64 x 320 cells at once"),
        ({"network": "100-4"}, UsageError, "100"),
        ({"network": "144-3000000-4"}, SettingsError, "takes 894,000,008 devices"),
        ({"refresh_pulses": 100_000}, SettingsError, "refresh_pulses must be at most 1000"),
        ({"exclude": np.zeros((3, 3), bool)}, SettingsError, "exclude"),
        ({"exclude": np.zeros((64, 320), int)}, SettingsError, "exclude"),
        ({"batch": 1000}, UsageError, "batches of 1000 cannot be made of 600 training samples"),
        ({"rounding": "up"}, SettingsError, "rounding"),
        ({"initial": 0.0, "granularity": "1 mS"}, SettingsError, "weight_per_siemens"),
        ({"initial": 2}, SettingsError, "initial must be a share from 0 to 1"),
        ({"adc_bits": 20}, SettingsError, "adc_bits must be 8 to 14"),
        ({"voltage": "5 V"}, LimitError, "read voltage of 5 V"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(data, tmp_path, wrong, error, said):
    with pytest.raises(error, match=said):
        _run(data, tmp_path, **wrong)


def test_a_board_without_products_on_lines_is_refused(data, tmp_path, monkeypatch):
    monkeypatch.setattr(TestBoard, "capabilities", TestBoard.capabilities & ~Capability.MULTIPLY_LINES)

    with pytest.raises(CapabilityError):
        _run(data, tmp_path)


def test_the_pulses_of_an_epoch_take_the_time_they_take(run):
    with labctl.open_run(run.path) as tree:
        steps = tree["steps"].to_dataset()
        time, images = np.asarray(steps["time"]).astype("datetime64[ns]"), np.asarray(steps["images"], float)
    training = np.isfinite(images) & (images > 0)
    assert (np.diff(time[training]).astype(float) >= 0).all()
    assert math.isclose(np.nanmax(images), 6 * 600)
