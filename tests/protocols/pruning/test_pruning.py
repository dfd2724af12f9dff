"""Pruning a small network on a simulated chip, through the whole of labctl: what is recorded is what was done."""

import msgspec
import numpy as np
import pytest
from benches import write_bench
from small_digits import write_small_digits

import labctl
from labctl.array import Capability, Operation, PulseBatch
from labctl.drivers.test_board import TestBoard
from labctl.errors import CapabilityError, UsageError
from labctl.recording.checkpoint import read_checkpoint

SMALL = {
    "task": "mnist",
    "own_data": True,
    "network": "144-24-4",
    "epochs": 5,
    "batch": 20,
    "rate": 0.1,
    "baselines": (),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_small_digits(tmp_path_factory.mktemp("data"))


def _run(data, out, bench=None, **settings):
    with labctl.load_bench(bench) as live, live.array() as array:
        return labctl.run("pruning", array, out=out, data=str(data), **{**SMALL, **settings})


def _bench(folder, rows, cols, chip="R40-0001", more=""):
    return write_bench(folder, rows=rows, cols=cols, chip=chip, simulated=more)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return _run(data, tmp_path_factory.mktemp("runs"), rest=("1 s", "1 h"))


def test_a_pruned_random_network_knows_its_samples_on_the_board_and_in_software(run):
    found = run.summary

    assert found["accuracy_software"] > 0.9
    assert found["accuracy_board"] > 0.9
    assert found["accuracy_board_low"] < found["accuracy_board"] < found["accuracy_board_high"]
    assert found["epochs"] == 5
    assert found["tiles"] == 1


def test_the_record_holds_every_pulse_and_says_how_often_each_cell_was_switched(run):
    with labctl.open_run(run.path) as tree:
        operations = tree["operations"].to_dataset()
        kinds = np.asarray(operations["kind"])
        meanings = dict(
            zip(operations["kind"].attrs["flag_meanings"].split(), operations["kind"].attrs["flag_values"], strict=True)
        )
        pulses = np.asarray(operations["events"])[np.isin(kinds, [meanings["set"], meanings["reset"]])].sum()
        maps, steps = tree["maps"].to_dataset(), tree["steps"].to_dataset()
        switches, layer = np.asarray(maps["switches"]), np.asarray(maps["layer"])
        switched = np.nansum(np.asarray(steps["switched"], float))

    assert pulses == run.summary["pulses"]
    assert switches[layer < 255].sum() == switched
    assert switches[np.isnan(layer)].max() == 0
    assert np.isclose(switches[layer < 255].mean(), run.summary["switches_per_cell"])


def test_kept_cells_conduct_and_pruned_ones_hardly_do(run):
    with labctl.open_run(run.path) as tree:
        maps = {name: np.asarray(values) for name, values in tree["maps"].to_dataset().items()}
    formed = np.isin(maps["forming_outcome"], [1, 2])

    kept, pruned = (maps["conductance"][formed & (maps["kept"] == code)] for code in (1, 0))

    assert np.median(kept) > 9e-6
    assert np.median(pruned) < 1.5e-6
    for layer in run.summary["layers"]:
        assert layer["kept"] == layer["edges"] // 2


def test_results_are_arrays_of_the_file(run):
    with labctl.open_run(run.path) as tree:
        confusion = np.asarray(tree["results"]["confusion"])
        assert confusion.sum() == 200
        assert np.trace(confusion) / 200 == pytest.approx(run.summary["accuracy_board"])
        assert np.asarray(tree["results"]["switches_per_layer"]).shape == (7, 2)  # first masks, epochs, verify
        assert list(tree["results"]["after"].astype("timedelta64[s]").values.astype(float)) == [1.0, 3600.0]
    assert [rest["after_s"] for rest in run.summary["rests"]] == [1.0, 3600.0]
    assert run.summary["rests"][-1]["verified"]["accuracy"] > 0.85


def test_the_same_seed_is_the_same_run_and_another_chip_is_another(data, run, tmp_path):
    again = _run(data, tmp_path / "again", rest=("1 s", "1 h"))
    other = _run(data, tmp_path / "other", _bench(tmp_path, 512, 512, "R40-0002"))

    assert again.summary["switches_per_cell"] == run.summary["switches_per_cell"]
    assert again.summary["accuracy_board"] == run.summary["accuracy_board"]
    assert other.summary["pulses"] != run.summary["pulses"]
    assert other.summary["accuracy_board"] > 0.85


def test_hysteresis_saves_switches(data, tmp_path):
    eager = _run(data, tmp_path, hysteresis=0.0, synchronise=5, board=False)
    slow = _run(data, tmp_path, hysteresis=0.3, synchronise=5, board=False)

    assert slow.summary["switches_per_cell"] < 0.8 * eager.summary["switches_per_cell"]
    assert slow.summary["accuracy_software"] > 0.85


def test_resetting_one_cell_of_a_pair_takes_fewer_pulses(data, run, tmp_path):
    one = _run(data, tmp_path, policy="one")

    assert one.summary["pulses"] < run.summary["pulses"]
    assert one.summary["accuracy_board"] > 0.8


@pytest.mark.parametrize("how", [{"reads": "fresh"}, {"forward": "board", "synchronise": 10, "train": 400}])
def test_training_by_fresh_readings_and_by_products_on_the_board(data, tmp_path, how):
    found = _run(data, tmp_path, epochs=2, **how).summary

    assert found["accuracy_board"] > 0.7


def test_a_network_larger_than_the_array_takes_turns_on_it(data, tmp_path):
    run = _run(data, tmp_path, _bench(tmp_path, 128, 20), epochs=12)
    found = run.summary

    assert found["tiles"] > 1
    assert found["accuracy_board"] > 0.6  # of four classes: each turn writes other conductances
    with labctl.open_run(run.path) as tree:
        assert np.asarray(tree["results"]["switches_per_layer"]).sum() > 0


def test_a_board_that_only_multiplies_is_given_the_planes_one_by_one(data, tmp_path, monkeypatch):
    monkeypatch.setattr(TestBoard, "capabilities", TestBoard.capabilities & ~Capability.MULTIPLY_BITS)

    found = _run(data, tmp_path).summary

    assert found["accuracy_board"] > 0.85


def test_a_board_that_does_not_multiply_is_refused_before_any_pulse(data, tmp_path, monkeypatch):
    products = Capability.MULTIPLY_BITS | Capability.MULTIPLY
    monkeypatch.setattr(TestBoard, "capabilities", TestBoard.capabilities & ~products)

    with pytest.raises(CapabilityError, match="board=false"):
        _run(data, tmp_path / "refused")
    found = _run(data, tmp_path / "software", board=False).summary

    assert found["accuracy_board"] is None
    assert found["accuracy_software"] > 0.85


def test_dead_rows_and_excluded_cells_are_left_alone(data, tmp_path):
    exclude = np.zeros((512, 512), bool)
    exclude[[0, 7]] = True
    exclude.ravel()[np.random.default_rng(0).choice(512 * 512, 5000, replace=False)] = True

    run = _run(data, tmp_path, exclude=exclude)

    with labctl.open_run(run.path) as tree:
        maps = tree["maps"].to_dataset()
        assert np.isnan(np.asarray(maps["layer"])[[0, 7]]).all()
        assert np.asarray(maps["switches"])[exclude].max() == 0
        pulsed = tree["events"].to_dataset()
        cells = np.asarray(pulsed["cell"])[np.isfinite(np.asarray(pulsed["amplitude"]))]
    assert not exclude.ravel()[cells].any()
    assert run.summary["accuracy_board"] > 0.85


def test_a_chip_with_dead_cells_and_dead_lines_does_nearly_as_well(data, tmp_path):
    (tmp_path / "chip.toml").write_text(
        '[chip]\nbase = "rram_40nm"\nserial = "bad"\n'
        '[unformable_fraction]\nvalue = 0.02\nunit = "1"\nsource = "2 % of cells are dead"\n'
    )
    bench = _bench(tmp_path, 512, 512, "chip.toml", "dead_rows = [3, 200]\ndead_cols = [5]")

    run = _run(data, tmp_path, bench)

    with labctl.open_run(run.path) as tree:
        layer = np.asarray(tree["maps"]["layer"])
    assert np.isnan(layer[[3, 200]]).all()
    assert np.isnan(layer[:, 5]).all()
    assert run.summary["accuracy_board"] > 0.85


@pytest.fixture(scope="module")
def lasting(data, tmp_path_factory):
    """A bench whose chip lasts, in a folder of its own, and the run that pruned a network there."""
    folder = tmp_path_factory.mktemp("lasting")
    bench = _bench(folder, 512, 512, more='state = "chip.h5"')
    return bench, _run(data, folder, bench)


def _infer(data, bench, path, **settings):
    known = {**SMALL, "data": str(data), **settings}
    with labctl.load_bench(bench) as live, live.array() as array:
        return labctl.run("inference", array, out=bench.parent, state=_state(path), **known)


def test_the_network_left_on_the_array_is_judged_again(data, lasting):
    bench, first = lasting

    again = _infer(data, bench, first.path)

    assert abs(again.summary["accuracy_board"] - first.summary["accuracy_board"]) < 0.05
    assert abs(again.summary["accuracy_software"] - again.summary["accuracy_board"]) < 0.06
    assert again.summary["pulses"] == 0


def test_a_verify_switches_again_what_others_have_switched(data, lasting):
    bench, first = lasting
    with labctl.open_run(first.path) as tree:
        maps = tree["maps"].to_dataset()
        kept = (np.asarray(maps["kept"]) == 1) & (np.asarray(maps["conductance"]) > 8e-6)
    hurt = np.flatnonzero(kept)[::4].astype(np.uint32)
    with labctl.load_bench(bench) as live, live.array() as array:
        amplitude = np.full(len(hurt), array.driver.dac.codes(2.8), np.uint16)
        array.driver.pulse(PulseBatch(Operation.RESET, hurt, amplitude, 1e-7, 2.5))

    worse = _infer(data, bench, first.path).summary
    better = _infer(data, bench, first.path, verify=True)

    assert worse["accuracy_board"] < first.summary["accuracy_board"] - 0.05
    assert abs(worse["accuracy_software"] - worse["accuracy_board"]) < 0.1  # software knows what the cells read
    assert better.summary["accuracy_board"] > first.summary["accuracy_board"] - 0.05
    assert better.summary["pulses"] > 0.9 * len(hurt)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"chip": "R40-0009"}, "not what the network was pruned with"),
        ({"rows": 256}, "stands on an array of"),
        ({}, "does not hold this network"),
    ],
)
def test_an_array_that_does_not_hold_the_network_is_refused(data, lasting, tmp_path, other, said):
    _, first = lasting
    bench = _bench(tmp_path, **{"rows": 512, "cols": 512, **other})

    with pytest.raises(labctl.LabctlError, match=said):
        _infer(data, bench, first.path)


def test_a_second_network_on_a_chip_forms_nothing_anew(data, tmp_path):
    bench = _bench(tmp_path, 512, 512, more='state = "chip.h5"')
    first = _run(data, tmp_path, bench)

    second = _run(data, tmp_path, bench, network="144-32-4")

    with labctl.open_run(second.path) as tree:
        kinds = tree["operations"]["kind"]
        form = dict(zip(kinds.attrs["flag_meanings"].split(), kinds.attrs["flag_values"], strict=True))["form"]
        assert not np.any(np.asarray(kinds) == form)
    assert second.summary["accuracy_board"] > first.summary["accuracy_board"] - 0.1


def test_an_array_that_does_not_conduct_is_told(data, tmp_path):
    bench = _bench(tmp_path, 300, 40, more=f"dead_rows = {list(range(300))}")

    with pytest.raises(labctl.LabctlError, match=r"no cell of this array|conduct"):
        _run(data, tmp_path, bench)


def _state(path):
    import io

    content = io.BytesIO()
    np.savez(content, **read_checkpoint(path))
    return np.frombuffer(content.getvalue(), np.uint8)


def test_data_that_are_missing_are_told_before_anything_is_sent(tmp_path):
    with pytest.raises(UsageError, match="missing"):
        _run(tmp_path, tmp_path / "runs")
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"keep": 0}, "keep must be more than 0"),
        ({"bits": 9}, "bits must be 1 to 8"),
        ({"pruned_below": "7 uS"}, "below kept_above"),
        ({"network": "100-10"}, "does not go from 144"),
        ({"network": "nothing"}, "no network is called 'nothing'"),
        ({"rest": ("1 h", "1 s")}, "do not decrease"),
        ({"voltage": "0 V"}, "voltage must be more than 0"),
        ({"voltage": "600 mV"}, "max_read_voltage"),
        ({"keep": 1e-6}, "keeps no edge"),
        ({"batch": 700}, "batches of 700"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_in_a_sentence(data, tmp_path, wrong, said):
    with pytest.raises(labctl.LabctlError, match=said):
        _run(data, tmp_path, **wrong)


def test_a_network_for_pictures_is_refused_for_samples(data, tmp_path):
    pytest.importorskip("torch", reason="needs the extra `learn`")

    with pytest.raises(labctl.LabctlError, match="whole samples are labelled"):
        _run(data, tmp_path, network="unet-4")


def test_the_plan_bounds_what_a_run_does(data, run):
    with labctl.load_bench() as live, live.array() as array:
        from labctl.runner import prepare

        cost = prepare("pruning", array, data=str(data), **SMALL).cost
    with labctl.open_run(run.path) as tree:
        events = tree["events"].to_dataset()
        pulses = int(np.isfinite(np.asarray(events["amplitude"])).sum())
    assert pulses <= cost.max_pulses
    assert run.summary["switches_per_cell_most"] <= cost.max_pulses_per_cell


def test_the_settings_are_in_the_record(run):
    with labctl.open_run(run.path) as tree:
        settings = msgspec.json.decode(tree["provenance"].attrs["settings"])

    assert settings["network"] == "144-24-4"
    assert settings["keep"] == 0.5
