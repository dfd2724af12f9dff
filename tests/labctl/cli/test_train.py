"""`labctl train` as a command: what it prints, how it goes on, and how it refuses."""

import json
import signal
import time

import numpy as np
import pytest
from benches import started, write_bench
from small_digits import write_small_digits

import labctl
from labctl.cli import main
from labctl.recording.catalogue import Catalogue

SMALL = ["--task", "mnist", "--own-data", "--network", "144-16-4", "--epochs", "2", "-q", "--no-plot"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_small_digits(tmp_path_factory.mktemp("data"))


@pytest.fixture
def bench(tmp_path):
    """A small chip that lasts."""
    return write_bench(tmp_path, rows=64, cols=320, simulated='cells = "pcm_90nm"\nstate = "chip.h5"')


def _said(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in arguments])
    told = capsys.readouterr()
    return ended.value.code, told.out, told.err


def test_json_has_what_scripts_ask_for(data, bench, capsys):
    given = [*SMALL, "--data", data, "--bench", bench, "--rest", "1h", "--json"]

    code, out, _ = _said(capsys, "train", *given)

    found = json.loads(out)
    assert code == 0
    assert set(found["baselines"]) == {"float", "ideal", "granularity", "pcm"}
    assert found["accuracy_float"] == found["baselines"]["float"]
    assert len(found["curve"]) == 2
    assert found["curve"][-1] == found["accuracy"] > 0.5  # of four classes
    assert found["pulses_per_device"] > 0
    assert found["resets"] >= 0
    assert found["seconds_per_epoch"] > 0
    assert [each["after_s"] for each in found["rests"]] == [3600.0]
    with labctl.open_run(found["run"]) as run:
        assert np.allclose(run["results"]["curve_accuracy"].values, found["curve"])


def test_without_a_bench_it_is_a_new_chip_of_phase_change_cells(data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LABCTL_BENCH", raising=False)

    code, out, _ = _said(capsys, "train", *SMALL, "--data", data, "--no-baselines", "--account")

    assert code == 0
    for label in ("on the board", "learning curve", "SET pulses", "RESET pulses", "energy an image", "dedicated"):
        assert label in out
    (entry,) = Catalogue(tmp_path / "runs").find()
    assert (entry.rows, entry.cols, entry.cell) == (512, 2048, "PCM")


def test_the_wanted_baselines_alone_are_trained(data, bench, capsys):
    given = [*SMALL, "--data", data, "--bench", bench, "--baselines", "pcm,ideal", "--json"]

    found = json.loads(_said(capsys, "train", *given)[1])

    assert set(found["baselines"]) == {"pcm", "ideal"}
    assert found["accuracy_float"] is None


def test_settings_that_are_named_reach_the_run(data, bench, capsys):
    named = {"--devices": 2, "--rounding": "floor", "--refresh-images": 50, "--dac-bits": 0, "--adc-bits": 10}
    few = ["--train", 200, "--test", 40, "--rate", 0.2, "--decay", 0.5, "--batch", 20, "--no-baselines", "--json"]
    options = [each for pair in named.items() for each in pair]

    found = json.loads(_said(capsys, "train", *SMALL, "--data", data, "--bench", bench, *options, *few)[1])

    (entry,) = Catalogue(bench.parent / "runs").find()
    wanted = {"devices": 2, "rounding": "floor", "refresh_images": 50, "dac_bits": None, "adc_bits": 10, "batch": 20}
    wanted |= {"train": 200, "test": 40, "rate": 0.2, "decay": 0.5}
    assert {name: entry.settings[name] for name in wanted} == wanted
    assert (found["devices"], found["batch"], found["epochs"]) == (2, 20, 2)


def test_a_stopped_training_is_gone_on_with(data, bench, capsys, tmp_path):
    given = ["--data", data, "--bench", bench, "--no-baselines"]
    small = [each if each != "2" else "6" for each in SMALL]
    process = started("train", *small, *given, cwd=tmp_path)
    _stop_after_an_epoch(process, bench.parent / "runs")

    other = _said(capsys, "train", "--resume", "--batch", 50, "--bench", bench)
    code, out, _ = _said(capsys, "train", *small, *given, "--json", "--resume")

    assert other[0] == 2
    assert "was begun with batch" in other[2]
    assert code == 0
    found = json.loads(out)
    assert len(found["curve"]) == 6
    assert found["accuracy"] > 0.5
    assert _said(capsys, "train", "--resume", "--bench", bench)[0] == 2  # nothing is left to go on with


def _stop_after_an_epoch(process, runs):
    """As Ctrl-C does, so that the chip's state is saved."""
    for _ in range(600):
        if process.poll() is not None:
            raise AssertionError(process.communicate()[1])
        if list(runs.glob("*.h5")) and any(entry.steps > 22 for entry in Catalogue(runs).find()):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130, process.communicate()[1]
    process.communicate()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "nowhere"], "is not a folder"),
        (["--network", "144-4-5"], "does not go from"),
        (["--network", "lstm"], "is not one for the task mnist"),
        (["--rate", "0"], "rate must be more than 0"),
        (["--devices", "0"], "devices must be 1 to 16"),
        (["--dac-bits", "1"], "dac_bits must be 2 to 16"),
        (["--rest", "2h,1h"], "rest must be delays"),
        (["--baselines", "float,tea"], "invalid enum value 'tea'"),
        (["--baselines", "float", "--no-baselines"], "cannot both be meant"),
        (["--network", "144-4000-4"], "do not stand on an array of 64 x 320 cells"),
        (["--resume", "--seed", "3"], "--seed cannot be said with --resume"),
        (["--resume"], "no interrupted run of training"),
        (["--resume", "nothing"], "nothing"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(data, bench, tmp_path, capsys, arguments, said):
    given = ["--data", data, "--bench", bench, *SMALL, "--out", tmp_path, *arguments]

    code, out, err = _said(capsys, "train", *given)

    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert not out


def test_a_run_of_another_protocol_is_not_gone_on_with(bench, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    read = json.loads(_said(capsys, "read-array", "--bench", bench, "--json", "-q", "--no-plot")[1])

    code, _, err = _said(capsys, "train", "--resume", read["run"], "--bench", bench)

    assert code == 2
    assert "is finished" in err


def test_the_dry_run_costs_it(data, bench, capsys):
    code, out, _ = _said(capsys, "train", *SMALL, "--data", data, "--bench", bench, "--dry-run", "--json")

    assert code == 0
    assert json.loads(out)["max_pulses"] > 0
