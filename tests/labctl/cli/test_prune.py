"""`labctl prune` and `labctl infer` as commands: what they print, and how they refuse."""

import json

import pytest
from small_digits import write_small_digits

from labctl.cli import main

SMALL = ["--task", "mnist", "--own-data", "--network", "144-24-4", "--epochs", "3", "-q", "--set", "batch=20"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_small_digits(tmp_path_factory.mktemp("data"))


def _said(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in arguments])
    told = capsys.readouterr()
    return ended.value.code, told.out, told.err


def test_json_has_what_scripts_ask_for(data, tmp_path, capsys):
    code, out, _ = _said(capsys, "prune", *SMALL, "--data", data, "--out", tmp_path, "--json", "--no-plot")

    found = json.loads(out)
    assert code == 0
    names = {"untouched", "last_layer", "trained_then_written", "pruned_software", "float"}
    assert set(found["baselines"]) == names
    assert all(0 <= found["baselines"][name] <= 1 for name in names)
    assert found["baselines"]["float"] > found["baselines"]["untouched"]
    for name in ("run", "accuracy_board", "accuracy_software", "switches_per_cell", "pulses"):
        assert found[name]


def test_a_network_is_pruned_and_judged_again_on_a_chip_that_lasts(data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _said(capsys, "bench", "init", "bench.toml")[0] == 0
    bench = ["--bench", "bench.toml", "--yes", "--no-plot"]

    code, out, _ = _said(capsys, "prune", *SMALL, "--data", data, "--no-baselines", "--rest", "1h", "--account", *bench)
    assert code == 0
    for label in ("on the board", "in software", "after 1 h", "switches a cell", "GPU, batches of 256"):
        assert label in out
    first = _said(capsys, "infer", "last", "-q", "--verify", *bench)
    again = _said(capsys, "infer", "last", "-q", *bench)  # the last of pruning

    assert (first[0], again[0]) == (0, 0)
    assert "on the board" in again[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "nowhere"], "is not a folder"),
        (["--network", "144-4-4-5"], "does not go from"),
        (["--set", "rate=0"], "rate must be more than 0"),
        (["--density", "1.5"], "density must be"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(data, tmp_path, capsys, arguments, said):
    given = ["--data", data, *SMALL, "--out", tmp_path, *arguments]

    code, out, err = _said(capsys, "prune", *given)

    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert not out


def test_the_dry_run_costs_it(data, capsys):
    code, out, _ = _said(capsys, "prune", *SMALL, "--data", data, "--dry-run", "--json")

    assert code == 0
    assert json.loads(out)["max_pulses"] > 0
